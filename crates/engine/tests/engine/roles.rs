//! The six roles of the access control table of the key management policy template that the requirements were drawn
//! from, the operator and the seven roles of governance: every operation tried by every role, through the whole
//! pipeline, is allowed exactly where the table says.

use keyreeve_engine::{Code, Settings, catalogue};
use keyreeve_model::PrincipalKind;
use keyreeve_policy::shipped;
use std::collections::BTreeSet;

use crate::cases::mfa::{enrol, start};
use crate::cases::{self, CONSUMERS, Stage};
use crate::support::{House, RootKind, Who};

const EVERYBODY: &str = "system.health system.status system.metrics request.refuse system.init system.unseal \
    random.generate root.verify-share root.reshare-give escrow.verify-share escrow.give-share \
    algorithm.list token.self token.renew token.revoke-self \
    login.methods login.oidc-start login.oidc-finish login.jwt login.ldap login.certificate login.credential \
    credential.unwrap grant.self audit.prove approval.list approval.describe approval.vote \
    approval.withdraw approval.execute mfa.status mfa.totp-start mfa.totp-finish mfa.webauthn-start \
    mfa.webauthn-finish mfa.challenge mfa.verify mfa.recovery-codes mfa.remove";
const LIFECYCLE: &str = "keyring.create keyring.rotate-kek root.migrate job.cancel key.create key.update key.activate \
    key.suspend key.deactivate key.compromise \
    key.rotate key.schedule-destruction key.cancel-destruction key.destroy key.import-parameters key.import \
    key.import-version key.reimport";
const READ: &str = "keyring.list keyring.describe key.list key.describe key.destruction hold.list \
    root.list job.list job.describe";
const READ_KEY: &str = "key.describe key.destruction";
const ENCRYPT: &str = "key.encrypt key.rewrap key.generate-data-key key.generate-data-key-without-plaintext key.wrap \
    key.encapsulate";
const DECRYPT: &str = "key.decrypt key.unwrap-data-key key.unwrap key.decapsulate";
/// Needs both halves.
const RE_ENCRYPT: &str = "key.re-encrypt-from";
const OTHER_USE: &str = "key.sign key.verify key.mac key.verify-mac key.derive key.agree";
const ACCESS: &str = "access.report login-method.put login-method.set-secret login-method.list login-method.describe \
    login-method.delete credential.issue credential.list credential.revoke token.create token.list token.revoke \
    principal.put principal.list principal.describe principal.delete policy.put policy.list policy.describe \
    policy.delete policy.explain policy.apply policy.rollback \
    policy.history policy.diff policy.simulate policy.shadow policy.shadow-report rules.describe \
    mfa.invite mfa.reset mfa.list";
const AUDIT: &str = "root.holders escrow.describe escrow.deposits \
    access.report audit.search audit.read policy.list policy.describe policy.explain \
    policy.history \
    policy.diff policy.simulate policy.shadow-report rules.describe incident.list incident.describe \
    emergency.list emergency.describe grant.list grant.describe review.list review.describe \
    integrity.status integrity.list integrity.describe";
const GRANT: &str = "grant.create grant.revoke grant.list grant.describe";
/// What one person may do in an emergency revocation.
const REVOKE: &str = "key.suspend key.compromise";
const EMERGENCY: &str = "incident.open incident.list incident.describe incident.note incident.confirm incident.close \
    emergency.declare emergency.end emergency.list emergency.describe emergency.review";
const REVIEW: &str = "access.report emergency.list emergency.describe emergency.review review.open review.list \
    review.describe review.decide review.close";
const HOLD: &str = "hold.place hold.place-on-keyring hold.release";
/// Of what everybody who agrees may do.
const AGREE: &str = "incident.confirm rules.describe";
/// Writing the rules that everybody is bound by.
const GOVERN: &str = "rules.check rules.put governance.enact rules.describe";
const SYSTEM: &str = "system.seal system.info system.accept-rollback root.list root.join root.retire job.list \
    job.describe job.cancel ceremony.record root.holders root.name-holder root.challenge root.reshare \
    root.reshare-show root.reshare-commit root.reshare-abandon notice.list notice.test \
    backup.create backup.list backup.verify backup.acknowledge \
    integrity.status integrity.list integrity.describe integrity.scan integrity.release \
    drill.restore drill.record drill.list";

const ESCROW: &str = "escrow.describe escrow.set-policy escrow.make-key escrow.accept-key escrow.open-campaign \
    escrow.hand-in-rehearsal escrow.deposit escrow.deposits escrow.recover escrow.recovery escrow.abandon-recovery";

struct Row {
    role: &'static str,
    kind: PrincipalKind,
    may: &'static [&'static str],
}

const fn row(role: &'static str, kind: PrincipalKind, may: &'static [&'static str]) -> Row {
    Row { role, kind, may }
}

/// Its text, and that of the lists above, is read by the test of the roles from outside (`tests/tests/access/roles/`
/// `table.rs`): a row is `row("ROLE", PrincipalKind::KIND, &[LIST, …]),` with lists by their names.
const TABLE: [Row; 17] = [
    row("operator", PrincipalKind::Person, &[SYSTEM, ACCESS, GOVERN, GRANT]),
    row("key-admin", PrincipalKind::Person, &[LIFECYCLE, READ, GRANT]),
    row("escrow-administrator", PrincipalKind::Person, &[ESCROW, READ]),
    row("key-user-encrypt", PrincipalKind::Person, &[ENCRYPT]),
    row("key-user-decrypt", PrincipalKind::Person, &[DECRYPT]),
    row("key-auditor", PrincipalKind::Person, &[READ, AUDIT]),
    row("pipeline", PrincipalKind::Service, &[ENCRYPT]),
    row("pipeline", PrincipalKind::Person, &[]),
    row("application", PrincipalKind::Service, &[READ_KEY, ENCRYPT, DECRYPT, RE_ENCRYPT, OTHER_USE]),
    row("application", PrincipalKind::Person, &[]),
    row("security-lead", PrincipalKind::Person, &[READ, AGREE, GOVERN, REVOKE, EMERGENCY]),
    row("ciso", PrincipalKind::Person, &[READ, AGREE, EMERGENCY, REVIEW]),
    row("legal", PrincipalKind::Person, &[READ, AGREE, HOLD]),
    row("system-owner", PrincipalKind::Person, &[READ, AGREE]),
    row("incident-commander", PrincipalKind::Person, &[READ, AGREE, REVOKE, EMERGENCY]),
    row("engineering-lead", PrincipalKind::Person, &[READ, AGREE]),
    row("dpo", PrincipalKind::Person, &[READ, AGREE, REVIEW]),
];

async fn actor(house: &House, row: &Row) -> Who {
    let named = match (row.role, row.kind) {
        // The services are those whom the keys name.
        ("pipeline", PrincipalKind::Service) => CONSUMERS[0],
        ("application", PrincipalKind::Service) => CONSUMERS[1],
        _ => "pat",
    };
    let mut principal = House::person(named, &[row.role]);
    principal.kind = row.kind;
    principal.networks.insert("10.0.0.0/8".to_owned());
    house.welcome(principal).await
}

async fn check(stage: &mut Stage, row: &Row) {
    let who = actor(&stage.house, row).await;
    let lists = row.may.iter().chain([&EVERYBODY]);
    let may: BTreeSet<&str> = lists.flat_map(|list| list.split_whitespace()).collect();
    for name in &may {
        assert!(catalogue::find(name).is_some(), "the table names `{name}`, which is no operation");
    }
    for case in cases::all() {
        let run = (case.run)(stage, &who).await;
        assert_ne!(run.code, Some(Code::Unauthenticated), "{} as {}", case.name, row.role);
        let allowed = run.code != Some(Code::Denied);
        assert_eq!(allowed, may.contains(case.name), "{} as {} {:?}: {:?}", case.name, row.role, row.kind, run.code);
        if case.name == "system.seal" && allowed {
            stage.house.reopen().await;
        }
    }
}

#[tokio::test]
async fn every_role_may_do_exactly_what_its_row_says() {
    for row in &TABLE {
        let mut stage = Stage::new().await;
        check(&mut stage, row).await;
    }
    for role in shipped::ROLES {
        assert!(TABLE.iter().any(|row| row.role == role), "{role} has no row");
    }
}

/// The same, where people have no second factor: what the row gives is missing just that, and the rest stays as it is.
async fn check_without_factor(stage: &Stage, row: &Row) {
    let who = actor(&stage.house, row).await;
    let words = |list: &'static str| list.split_whitespace();
    let everybody: BTreeSet<&str> = words(EVERYBODY).collect();
    let may: BTreeSet<&str> = row.may.iter().flat_map(|list| words(list)).collect();
    for case in cases::all() {
        let code = (case.run)(stage, &who).await.code;
        let told = format!("{} as {}: {code:?}", case.name, row.role);
        match (everybody.contains(case.name), may.contains(case.name)) {
            (true, _) => assert_ne!(code, Some(Code::Denied), "{told}"),
            (false, true) => assert_eq!(code, Some(Code::MfaNeeded), "{told}"),
            // Each half of what needs two rights is missing the factor, where the role gives that half.
            (false, false) if case.name == RE_ENCRYPT => assert!(code.is_some(), "{told}"),
            (false, false) => assert_eq!(code, Some(Code::Denied), "{told}"),
        }
    }
}

/// Demands a second factor of everybody but the developer, who makes what the tests need.
pub(crate) fn demand_factors(settings: &mut Settings) {
    let all = Settings::default().extra_policies.into_iter();
    settings.extra_policies.extend(all.map(|(name, text)| {
        let others = r#"principal.kind == "person" && principal.name != "developer""#;
        assert!(text.contains(r#"principal.kind == "person""#));
        (name, text.replace(r#"principal.kind == "person""#, others))
    }));
}

#[tokio::test]
async fn no_human_role_gives_anything_without_a_second_factor() {
    let humans: Vec<&Row> =
        TABLE.iter().filter(|row| row.kind == PrincipalKind::Person && !row.may.is_empty()).collect();
    assert_eq!(humans.len(), 13);
    for row in humans {
        let house = House::with(RootKind::SealedFile, demand_factors).await;
        // Somebody has a factor: whoever has none needs an invitation from now on.
        assert!(enrol(&house, &house.developer, start()).await.is_some());
        check_without_factor(&Stage::in_house(house).await, row).await;
    }
}

#[tokio::test]
async fn services_reach_only_keys_that_name_them_and_only_from_their_network() {
    let house = House::new().await;
    let elsewhere = house.aead().await;
    for (role, kind) in [("pipeline", PrincipalKind::Service), ("application", PrincipalKind::Service)] {
        let mut principal = House::person(role, &[role]);
        principal.kind = kind;
        principal.networks.insert("10.0.0.0/8".to_owned());
        let who = house.welcome(principal).await;
        assert_eq!(house.code_for(&who, House::encrypting(&elsewhere, b"x")).await, Code::Denied, "{role}");
    }
}

#[tokio::test]
async fn who_manages_keys_does_not_use_them_whatever_other_role_is_added() {
    let house = House::new().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"x").await;
    for role in ["key-admin", "key-auditor"] {
        let roles = [role, "key-user-encrypt", "key-user-decrypt", "developer"];
        let who = house.welcome(House::person(role, &roles)).await;
        assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied, "{role}");
        assert_eq!(house.code_for(&who, House::decrypting(&key, &ciphertext)).await, Code::Denied, "{role}");
    }
}
