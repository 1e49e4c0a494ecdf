//! Rights for a time: they begin and end to the millisecond, never win over a forbid, and are gone with the revocation.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::cipher::Encrypt;
use keyreeve_engine::ops::explain::Explain;
use keyreeve_engine::ops::grants::{Create, Describe, GrantReply, List, Mine, Request, Revoke, Wanted};
use keyreeve_engine::ops::keys::{MetadataPatch, Update};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::tokens::WhoAmI;
use keyreeve_engine::ops::{SetPatch, keyrings, policies, principals};
use keyreeve_engine::{Arrival, Clock, Code, KeyRef};
use keyreeve_model::grant::{Constraints, ELEVATION_MAX, GRANTS_MAX, GrantState};
use keyreeve_model::ids::{ApprovalId, GrantId};
use keyreeve_model::{Classification, Environment, NoticeKind, PrincipalKind, UnixMillis};
use keyreeve_policy::Method;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{
    Checked, Council, House, RootKind, Who, context, create, forge_session, key_of, keyring, label, name, payloads,
    waiting,
};

const BATCH: &str = "batch";

/// A program without any role.
async fn batch(house: &House) -> Who {
    let mut program = House::person(BATCH, &[]);
    program.kind = PrincipalKind::Service;
    program.person = Some(label("ben"));
    house.welcome(program).await
}

fn on_key(key: &KeyRef, operations: &[&str]) -> Wanted {
    Wanted::Key { key: key.clone(), operations: operations.iter().map(|text| name(text)).collect() }
}

fn role(text: &str) -> Wanted {
    Wanted::Role { role: name(text) }
}

fn granting(principal: &str, what: Wanted) -> Create {
    let constraints = Constraints::default();
    Create { principal: name(principal), what, constraints, not_before: None, seconds: 60, reason: label("audit") }
}

async fn grant(house: &House, operation: Create) -> GrantId {
    house.ask(operation).await.record.id
}

async fn revoke(house: &House, grant: GrantId) -> GrantReply {
    house.ask(Revoke { grant, reason: label("done") }).await
}

fn encrypting(key: &KeyRef, pairs: &[(&str, &str)]) -> Encrypt {
    Encrypt { key: key.clone(), context: context(pairs), items: payloads(&[b"x"]) }
}

async fn roles(house: &House, who: &Who) -> Vec<String> {
    house.call(who, WhoAmI).await.unwrap().reply.roles
}

#[tokio::test]
async fn a_grant_gives_its_operations_on_its_key_between_its_instants() {
    let house = House::new().await;
    let (key, other, who) = (house.aead().await, house.aead().await, batch(&house).await);
    let ciphertext = house.encrypt(&key, b"x").await;
    assert_eq!(house.code_for(&who, House::decrypting(&key, &ciphertext)).await, Code::Denied);
    let from = house.clock.now().0 + 1000;
    let operation = Create { not_before: Some(UnixMillis(from)), ..granting(BATCH, on_key(&key, &["key.decrypt"])) };
    let made = house.ask(operation).await;
    assert_eq!((made.state(), made.record.expires.0), (GrantState::Pending, from + 60_000));

    house.clock.turn(999);
    assert_eq!(house.code_for(&who, House::decrypting(&key, &ciphertext)).await, Code::Denied, "not yet");
    house.clock.turn(1);
    house.call(&who, House::decrypting(&key, &ciphertext)).await.unwrap();
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied, "another operation");
    assert_eq!(house.code_for(&who, House::decrypting(&other, b"x")).await, Code::Denied, "another key");
    house.clock.turn(59_999);
    house.call(&who, House::decrypting(&key, &ciphertext)).await.unwrap();
    house.clock.turn(1);
    assert_eq!(house.code_for(&who, House::decrypting(&key, &ciphertext)).await, Code::Denied, "no longer");
    assert_eq!(house.ask(Describe { grant: made.record.id }).await.state(), GrantState::Expired);

    let records = house.records().await;
    let uses = records.iter().filter(|record| record.operation == "key.decrypt" && record.outcome.code().is_none());
    let grants: Vec<_> = uses.map(|record| record.details.get("granted_by").cloned()).collect();
    assert_eq!(grants, vec![Some(made.record.id.to_string()); 2], "each record tells the grant that allowed it");
    let record = records.iter().find(|record| record.operation == "grant.create").unwrap();
    let told = ["grant", "grantee", "key", "permissions", "reason"].map(|name| record.details[name].clone());
    assert_eq!(told, [made.record.id.to_string(), BATCH.into(), key.to_string(), "key.decrypt".into(), "audit".into()]);
    house.verify_log().await;
}

#[tokio::test]
async fn a_grant_on_a_keyring_is_on_its_keys_of_later_too_and_on_no_other() {
    let house = House::new().await;
    let who = batch(&house).await;
    let ring = || keyrings::Create {
        name: name("payroll"),
        owner: label("finance"),
        description: label(""),
        classification: Classification::Restricted,
        environment: Environment::Development,
        allow_deterministic: false,
        roots: None,
    };
    house.ask(ring()).await;
    let operations = [name("key.encrypt")].into();
    grant(&house, granting(BATCH, Wanted::Keyring { keyring: keyring("payroll"), operations })).await;
    let spec =
        keyreeve_engine::ops::keys::CreateSpec { keyring: keyring("payroll"), ..create(KeyAlgorithm::Xaes256Gcm) };
    let inside = key_of(&house.ask(spec.checked()).await);
    house.call(&who, House::encrypting(&inside, b"x")).await.unwrap();
    let outside = house.aead().await;
    assert_eq!(house.code_for(&who, House::encrypting(&outside, b"x")).await, Code::Denied);
}

#[tokio::test]
async fn what_a_policy_forbids_no_grant_allows() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, batch(&house).await);
    grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    let text =
        r#"forbid(principal == Keyreeve::Principal::"batch", action == Keyreeve::Action::"key.encrypt", resource);"#;
    house.ask(policies::Put { name: name("stop"), text: text.to_owned() }).await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
    house.ask(policies::Delete { name: name("stop"), base: None }).await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    // The shipped forbid: who manages keys does not use them, and no grant of use or role makes it so.
    let admin = house.welcome(House::person("admin", &["key-admin"])).await;
    grant(&house, granting("admin", on_key(&key, &["key.encrypt"]))).await;
    assert_eq!(house.code_for(&admin, House::encrypting(&key, b"x")).await, Code::Denied);
}

#[tokio::test]
async fn a_revoked_grant_is_gone_with_the_answer_and_others_stay() {
    let mut house = House::new().await;
    let (key, other, who) = (house.aead().await, house.aead().await, batch(&house).await);
    let first = grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
    grant(&house, granting(BATCH, on_key(&other, &["key.encrypt"]))).await;
    house.reopen().await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    let revoked = revoke(&house, first).await;
    assert_eq!(revoked.state(), GrantState::Revoked);
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
    house.call(&who, House::encrypting(&other, b"x")).await.unwrap();
    assert_eq!(house.code(Revoke { grant: first, reason: label("") }).await, Code::WrongState);
    house.reopen().await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied, "after a restart too");
    house.call(&who, House::encrypting(&other, b"x")).await.unwrap();
}

#[tokio::test]
async fn a_grant_holds_under_its_circumstances_only() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, batch(&house).await);
    let with = |constraints| Create { constraints, ..granting(BATCH, on_key(&key, &["key.encrypt"])) };
    let tenant = |value| [("tenant", value)];
    let includes = Constraints { context_includes: context(&tenant("a")), ..Constraints::default() };
    let first = grant(&house, with(includes)).await;
    house.call(&who, encrypting(&key, &tenant("a"))).await.unwrap();
    house.call(&who, encrypting(&key, &[("tenant", "a"), ("more", "b")])).await.unwrap();
    for other in [&[][..], &tenant("b"), &[("Tenant", "a")]] {
        assert_eq!(house.code_for(&who, encrypting(&key, other)).await, Code::Denied, "{other:?}");
    }
    revoke(&house, first).await;
    let equals = Constraints { context_equals: Some(context(&tenant("a"))), ..Constraints::default() };
    let second = grant(&house, with(equals)).await;
    house.call(&who, encrypting(&key, &tenant("a"))).await.unwrap();
    assert_eq!(house.code_for(&who, encrypting(&key, &[("tenant", "a"), ("more", "b")])).await, Code::Denied);
    revoke(&house, second).await;

    let networks = ["10.1.0.0/16".to_owned()].into();
    grant(&house, with(Constraints { networks, ..Constraints::default() })).await;
    house.call(&who, encrypting(&key, &[])).await.unwrap();
    for source in [Some([10, 2, 0, 1].into()), None] {
        let arrival = Arrival { source, ..House::arrival(&who) };
        let refused = house.engine().call(arrival, encrypting(&key, &[])).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Denied, "{source:?}");
    }
}

#[tokio::test]
async fn a_role_for_a_time_ends_between_two_requests_of_one_token() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, batch(&house).await);
    let made = grant(&house, granting(BATCH, role("key-user-encrypt"))).await;
    assert_eq!(roles(&house, &who).await, ["key-user-encrypt"]);
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    house.clock.turn(59_999);
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    house.clock.turn(1);
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
    assert_eq!(roles(&house, &who).await, [""; 0]);
    let elevated = house
        .records()
        .await
        .into_iter()
        .rfind(|record| record.operation == "key.encrypt" && record.outcome.code().is_none());
    assert_eq!(elevated.unwrap().details["elevation"], made.to_string());

    let again = grant(&house, granting(BATCH, role("key-user-encrypt"))).await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    revoke(&house, again).await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
    let too_long = ELEVATION_MAX.as_secs() + 1;
    let operation = Create { seconds: too_long, ..granting(BATCH, role("key-user-encrypt")) };
    assert_eq!(house.code(operation).await, Code::InvalidRequest);
}

#[tokio::test]
async fn a_person_needs_a_fresh_second_factor() {
    let mut house = House::new().await;
    let (key, who) = (house.aead().await, house.welcome(House::person("pat", &[])).await);
    let operation = Create {
        constraints: Constraints { mfa_minutes: Some(5), ..Constraints::default() },
        ..granting("pat", on_key(&key, &["key.encrypt"]))
    };
    grant(&house, Create { seconds: 3000, ..operation }).await;
    grant(&house, Create { seconds: 3000, ..granting("pat", role("key-user-decrypt")) }).await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::MfaNeeded);
    assert_eq!(roles(&house, &who).await, [""; 0]);
    let token = house.call(&who, WhoAmI).await.unwrap().reply.token.unwrap();
    house.crash();
    forge_session(&house, token, house.clock.now()).await;
    house.reopen().await;
    assert_eq!(roles(&house, &who).await, ["key-user-decrypt"]);
    house.clock.turn(300_000);
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    house.clock.turn(1);
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::MfaNeeded, "five minutes are over");
    // What a policy forbids besides is not for a second factor to mend.
    let text = r#"forbid(principal, action == Keyreeve::Action::"key.encrypt", resource);"#;
    house.ask(policies::Put { name: name("stop"), text: text.to_owned() }).await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
}

#[tokio::test]
async fn nobody_grants_to_themselves_or_what_cannot_be_granted() {
    let house = House::new().await;
    let key = house.aead().await;
    batch(&house).await;
    let to = |principal| granting(principal, on_key(&key, &["key.encrypt"]));
    assert_eq!(house.code(to("developer")).await, Code::WrongState);
    // The same human being under another name.
    let mut second = House::person("second", &[]);
    second.person = Some(label("developer"));
    house.ask(principals::Put::new(second)).await;
    assert_eq!(house.code(to("second")).await, Code::WrongState);
    // The giver's person is said by another name than the receiver's principal, which is the giver's person.
    let mut giver = House::person("giver", &["key-admin"]);
    giver.person = Some(label("receiver"));
    let giver = house.welcome(giver).await;
    let mut receiver = House::person("receiver", &[]);
    receiver.person = Some(label("r. doe"));
    house.ask(principals::Put::new(receiver)).await;
    assert_eq!(house.code_for(&giver, to("receiver")).await, Code::WrongState);
    assert_eq!(house.code(to("stranger")).await, Code::NotFound);
    let unknown: KeyRef = "no-such-key".parse().unwrap();
    assert_eq!(house.code(granting(BATCH, on_key(&unknown, &["key.encrypt"]))).await, Code::NotFound);
    for operation in ["key.rotate", "key.create", "key.update", "key.destroy", "policy.put", "nonsense"] {
        assert_eq!(house.code(granting(BATCH, on_key(&key, &[operation]))).await, Code::InvalidRequest, "{operation}");
    }
    assert_eq!(house.code(granting(BATCH, on_key(&key, &[]))).await, Code::InvalidRequest);
    assert_eq!(house.code(Create { seconds: 0, ..to(BATCH) }).await, Code::InvalidRequest);
    assert_eq!(house.code(Create { seconds: 367 * 86_400, ..to(BATCH) }).await, Code::InvalidRequest);
    assert_eq!(house.code(Create { seconds: u64::MAX, ..to(BATCH) }).await, Code::InvalidRequest);
    let networks = ["everywhere".to_owned()].into();
    let bad = Constraints { networks, ..Constraints::default() };
    assert_eq!(house.code(Create { constraints: bad, ..to(BATCH) }).await, Code::InvalidRequest);
}

#[tokio::test]
async fn key_administrators_give_rights_to_keys_and_no_roles() {
    let house = House::new().await;
    let key = house.aead().await;
    batch(&house).await;
    let admin = house.welcome(House::person("admin", &["key-admin"])).await;
    let made = house.call(&admin, granting(BATCH, on_key(&key, &["key.encrypt"]))).await.unwrap().reply.record.id;
    assert_eq!(house.code_for(&admin, granting(BATCH, role("operator"))).await, Code::Denied);
    let operator = house.welcome(House::person("op", &["operator"])).await;
    let elevated = house.call(&operator, granting(BATCH, role("key-auditor"))).await.unwrap().reply.record.id;
    assert_eq!(house.code_for(&admin, Describe { grant: elevated }).await, Code::Denied);
    assert_eq!(house.code_for(&admin, Describe { grant: GrantId::from_bytes([9; 16]) }).await, Code::NotFound);
    house.call(&admin, Revoke { grant: made, reason: label("") }).await.unwrap();
}

#[tokio::test]
async fn a_name_given_anew_has_no_grants() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, batch(&house).await);
    grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
    grant(&house, granting(BATCH, role("key-user-decrypt"))).await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    house.clock.turn(1);
    house.ask(principals::Delete { name: name(BATCH) }).await;
    house.clock.turn(1);
    let who = batch(&house).await;
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied);
    assert_eq!(roles(&house, &who).await, [""; 0]);
}

#[tokio::test]
async fn grants_are_listed_by_whose_and_on_what() {
    let house = House::new().await;
    let (key, other, who) = (house.aead().await, house.aead().await, batch(&house).await);
    house.ask(House::putting("else", &[])).await;
    let mut ids = Vec::new();
    for operation in [
        granting(BATCH, on_key(&key, &["key.encrypt"])),
        granting(BATCH, on_key(&other, &["key.encrypt"])),
        granting("else", on_key(&key, &["key.encrypt"])),
        granting(BATCH, role("key-user-encrypt")),
    ] {
        house.clock.turn(1);
        ids.push(grant(&house, operation).await);
    }
    revoke(&house, ids[1]).await;
    let all = || List { principal: None, key: None, standing: false, after: None, limit: 100 };
    let listed = async |list: List| -> Vec<GrantId> {
        house.ask(list).await.items.into_iter().map(|item| item.record.id).collect()
    };
    assert_eq!(listed(all()).await, ids);
    assert_eq!(listed(List { standing: true, ..all() }).await, [ids[0], ids[2], ids[3]]);
    assert_eq!(listed(List { principal: Some(name(BATCH)), ..all() }).await, [ids[0], ids[1], ids[3]]);
    assert_eq!(listed(List { key: Some(key.clone()), ..all() }).await, [ids[0], ids[2]]);
    let page = house.ask(List { limit: 2, ..all() }).await;
    let next = page.next.unwrap().parse().unwrap();
    assert_eq!(listed(List { after: Some(next), ..all() }).await, ids[2..]);
    let mine = house.call(&who, Mine).await.unwrap().reply.items;
    assert_eq!(mine.iter().map(|item| item.record.id).collect::<Vec<_>>(), [ids[0], ids[3]]);
}

#[tokio::test]
async fn nobody_has_more_grants_than_can_be_seen_through() {
    let house = House::new().await;
    let key = house.aead().await;
    batch(&house).await;
    let mut last = None;
    for _ in 0..GRANTS_MAX {
        last = Some(grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await);
    }
    let one_more = || granting(BATCH, on_key(&key, &["key.encrypt"]));
    assert_eq!(house.code(one_more()).await, Code::WrongState);
    revoke(&house, last.unwrap()).await;
    grant(&house, one_more()).await;
    assert_eq!(house.code(one_more()).await, Code::WrongState);
    house.clock.turn(60_000);
    grant(&house, one_more()).await;
}

#[tokio::test]
async fn explanations_look_at_grants_too() {
    let house = House::new().await;
    let key = house.aead().await;
    batch(&house).await;
    let explain = |action: &str| Explain {
        principal: name(BATCH),
        action: action.to_owned(),
        resource: Some(key.to_string()),
        to: None,
        source: None,
        time: None,
        mfa_age_seconds: None,
        login: None,
        method: Method::Token,
        context: context(&[]),
    };
    assert!(!house.ask(explain("key.encrypt")).await.allowed);
    let id = grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
    let answer = house.ask(explain("key.encrypt")).await;
    assert!(answer.allowed && answer.answer.contains(&id.to_string()), "{}", answer.answer);
    let later = UnixMillis(house.clock.now().0 + 60_000);
    assert!(!house.ask(Explain { time: Some(later), ..explain("key.encrypt") }).await.allowed, "it will be over");
    assert!(!house.ask(explain("key.decrypt")).await.allowed);
    let elevation = grant(&house, granting(BATCH, role("key-user-decrypt"))).await;
    let answer = house.ask(explain("key.decrypt")).await;
    assert!(answer.allowed && answer.answer.contains(&elevation.to_string()), "{}", answer.answer);
    let text = r#"forbid(principal, action == Keyreeve::Action::"key.encrypt", resource);"#;
    house.ask(policies::Put { name: name("stop"), text: text.to_owned() }).await;
    let answer = house.ask(explain("key.encrypt")).await;
    assert!(!answer.allowed && !answer.answer.contains(&id.to_string()), "{}", answer.answer);
}

/// A use that begins after the revocation was answered is refused, however many are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uses_that_race_a_revocation_end_with_its_answer() {
    let house = Arc::new(House::new().await);
    let (key, who) = (house.aead().await, Arc::new(batch(&house).await));
    for _ in 0..10 {
        let id = grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
        let revoked = Arc::new(AtomicBool::new(false));
        let mut users = Vec::new();
        for _ in 0..4 {
            let (house, key, who, revoked) = (Arc::clone(&house), key.clone(), Arc::clone(&who), Arc::clone(&revoked));
            users.push(tokio::spawn(async move {
                loop {
                    let after = revoked.load(Ordering::SeqCst);
                    let outcome = house.call(&who, House::encrypting(&key, b"x")).await;
                    match outcome {
                        Ok(_) => assert!(!after, "used after the grant was taken back"),
                        Err(refused) => assert_eq!(refused.error.code(), Code::Denied),
                    }
                    if after {
                        return;
                    }
                }
            }));
        }
        revoke(&house, id).await;
        revoked.store(true, Ordering::SeqCst);
        for user in users {
            user.await.unwrap();
        }
    }
}

/// What happens to a house with one key and one program.
#[derive(Clone, Debug)]
enum Step {
    Grant { delay: i64, seconds: u64, role: bool },
    Revoke(usize),
    Turn(i64),
    Use,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0i64..3000, 1u64..5, any::<bool>())
            .prop_map(|(delay, seconds, role)| Step::Grant { delay, seconds, role }),
        2 => (0usize..4).prop_map(Step::Revoke),
        4 => prop_oneof![Just(1i64), Just(999), Just(1000), 0i64..3000].prop_map(Step::Turn),
        6 => Just(Step::Use),
        1 => Just(Step::Reopen),
    ]
}

/// The grants as a table of instants, worked out by hand.
#[derive(Default)]
struct Oracle(BTreeMap<usize, (GrantId, i64, i64, bool)>);

impl Oracle {
    fn allows(&self, now: i64) -> bool {
        self.0.values().any(|(_, from, until, revoked)| !revoked && *from <= now && now < *until)
    }
}

async fn play(steps: Vec<Step>) {
    let mut house = House::with(RootKind::SealedFile, |_| {}).await;
    let (key, who) = (house.aead().await, batch(&house).await);
    let mut oracle = Oracle::default();
    for step in steps {
        let now = house.clock.now().0;
        match step {
            Step::Grant { delay, seconds, role: with_role } => {
                let what = if with_role { role("key-user-encrypt") } else { on_key(&key, &["key.encrypt"]) };
                let from = UnixMillis(now + delay);
                let operation = Create { not_before: Some(from), seconds, ..granting(BATCH, what) };
                let id = grant(&house, operation).await;
                let until = from.0 + i64::try_from(seconds).unwrap() * 1000;
                oracle.0.insert(oracle.0.len(), (id, from.0, until, false));
            }
            Step::Revoke(n) => {
                let Some((id, _, until, revoked)) = oracle.0.get_mut(&n) else { continue };
                let outcome = house.call(&house.developer, Revoke { grant: *id, reason: label("") }).await;
                assert_eq!(outcome.is_ok(), !*revoked && now < *until, "{n}");
                *revoked = true;
            }
            Step::Turn(millis) => house.clock.turn(millis),
            Step::Use => {
                let outcome = house.call(&who, House::encrypting(&key, b"x")).await;
                assert_eq!(outcome.is_ok(), oracle.allows(now), "at {now}: {:?}", oracle.0);
            }
            Step::Reopen => house.reopen().await,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Grants, revocations, time, restarts and uses in any order: a use is allowed exactly while a grant is in force.
    #[test]
    fn a_use_is_allowed_exactly_while_a_grant_is_in_force(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

fn requesting(principal: &str, what: Wanted) -> Request {
    Request { request: granting(principal, what) }
}

async fn run(house: &House, who: &Who, approval: ApprovalId) -> Result<(), Code> {
    let ran = house.engine().execute_approved(House::arrival(who), approval).await;
    ran.map(|_| ()).map_err(|refused| refused.error.code())
}

#[tokio::test]
async fn nobody_gets_what_they_ask_for_before_others_can_agree() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, batch(&house).await);
    let mine = requesting(BATCH, on_key(&key, &["key.encrypt"]));
    assert_eq!(house.code_for(&who, mine.clone()).await, Code::WrongState);
    let other = house.welcome(House::person("pat", &[])).await;
    assert_eq!(house.code_for(&other, mine).await, Code::Denied, "for somebody else");
}

#[tokio::test]
async fn a_grant_of_nobody_is_not_shown_as_active_and_ends_with_its_principal() {
    let house = House::new().await;
    let key = house.aead().await;
    let who = batch(&house).await;
    let id = grant(&house, granting(BATCH, on_key(&key, &["key.encrypt"]))).await;
    let state = async || house.ask(Describe { grant: id }).await.state();
    let standing = async || {
        let list = List { principal: None, key: None, standing: true, after: None, limit: 100 };
        house.ask(list).await.items.len()
    };
    let switched = |off: bool| {
        let patch = principals::PrincipalPatch { disabled: Some(off), ..Default::default() };
        principals::Update { name: name(BATCH), patch }
    };
    house.ask(switched(true)).await;
    assert_eq!((state().await, standing().await), (GrantState::Inactive, 0));
    house.ask(switched(false)).await;
    assert_eq!((state().await, standing().await), (GrantState::Active, 1));
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();

    let _ = told(&house).await;
    house.ask(principals::Delete { name: name(BATCH) }).await;
    assert_eq!((state().await, standing().await), (GrantState::Revoked, 0));
    assert_eq!(told(&house).await, [NoticeKind::GrantEnded]);
    let record = house.records().await.into_iter().rfind(|record| record.operation == "principal.delete").unwrap();
    assert_eq!(record.details["grants"], id.to_string());
    // Whoever is called the same later has nothing of it.
    house.clock.turn(1);
    let other = batch(&house).await;
    assert_eq!(house.code_for(&other, House::encrypting(&key, b"x")).await, Code::Denied);
}

/// What people were told of grants since they were last told.
async fn told(house: &House) -> Vec<NoticeKind> {
    let _ = house.engine().deliver(0).await;
    let kinds = house.posts[0].taken().into_iter().map(|notice| notice.kind);
    kinds.filter(|kind| kind.name().starts_with("grant")).collect()
}

#[tokio::test]
async fn people_are_told_of_a_grant_before_its_end_and_at_it() {
    let house = House::new().await;
    let key = house.aead().await;
    batch(&house).await;
    let operation = Create { seconds: 7200, ..granting(BATCH, on_key(&key, &["key.encrypt"])) };
    let (ends, revoked) = (grant(&house, operation.clone()).await, grant(&house, operation).await);
    assert_eq!(told(&house).await, [NoticeKind::GrantCreated; 2]);
    revoke(&house, revoked).await;
    assert_eq!(told(&house).await, [NoticeKind::GrantEnded]);
    let mut kinds = Vec::new();
    for minutes in [89, 1, 1, 28, 1, 1] {
        house.pass(minutes * 60_000).await;
        kinds.push(told(&house).await);
    }
    let none = Vec::new;
    assert_eq!(kinds, [none(), vec![NoticeKind::GrantExpiring], none(), none(), vec![NoticeKind::GrantEnded], none()]);
    assert_eq!(house.ask(Describe { grant: ends }).await.state(), GrantState::Expired);
}

#[tokio::test]
async fn a_right_that_was_asked_for_comes_when_others_agreed_on_the_key_that_was_meant() {
    let council = Council::gathered().await;
    let house = &council.house;
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.owner = label("owen");
    spec.metadata.aliases = [name("ledger")].into();
    let key = key_of(&house.make(spec).await);
    let other = house.aead().await;
    let who = batch(house).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let what = on_key(&"ledger".parse().unwrap(), &["key.encrypt"]);
    let operation = requesting(BATCH, what);
    let id = waiting(house.call(&who, operation.clone()).await.map(|_| ()));
    assert_eq!(waiting(house.call(&who, operation).await.map(|_| ())), id, "asking again leads to the same");
    council.sue.approve(house, id).await;
    let alone = run(house, &who, id).await;
    assert!(alone.is_err(), "the owner did not agree yet");
    council.owen.approve(house, id).await;
    // The alias leads elsewhere by now: what was agreed to was the key.
    let aliases = |add: &[&str], remove: &[&str]| MetadataPatch {
        aliases: SetPatch::Alter {
            add: add.iter().map(|text| name(text)).collect(),
            remove: remove.iter().map(|text| name(text)).collect(),
        },
        ..MetadataPatch::default()
    };
    house.call(&council.ann.who, Update { key: key.clone(), patch: aliases(&[], &["ledger"]) }).await.unwrap();
    // A name that programs already use is a way to their data: taking it over needs consent too.
    let taking = Update { key: other.clone(), patch: aliases(&["ledger"], &[]) };
    let taken = waiting(house.call(&council.ann.who, taking).await.map(|_| ()));
    council.sue.approve(house, taken).await;
    council.owen.approve(house, taken).await;
    run(house, &council.ann.who, taken).await.unwrap();
    run(house, &who, id).await.unwrap();
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(house.code_for(&who, House::encrypting(&other, b"x")).await, Code::Denied);
    let mine = house.call(&who, Mine).await.unwrap().reply.items;
    assert_eq!(mine.iter().map(|item| item.record.approval).collect::<Vec<_>>(), [Some(id)]);
    assert!(run(house, &who, id).await.is_err(), "once");
    assert_eq!(told(house).await, [NoticeKind::GrantCreated]);
    house.clock.turn(60_000);
    assert_eq!(house.code_for(&who, House::encrypting(&key, b"x")).await, Code::Denied, "its time is over");
    let given = house
        .records()
        .await
        .into_iter()
        .find(|record| record.operation == "grant.request" && record.outcome.code().is_none());
    assert_eq!(given.unwrap().details["approval"], id.to_string());
}

#[tokio::test]
async fn an_elevation_takes_a_peer_and_the_security_lead_and_never_gives_a_role_that_agrees() {
    let council = Council::gathered().await;
    let house = &council.house;
    let pat = house.welcome(House::person("pat", &["key-admin"])).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = waiting(house.call(&pat, requesting("pat", role("operator"))).await.map(|_| ()));
    council.ann.approve(house, id).await;
    council.sue.approve(house, id).await;
    run(house, &pat, id).await.unwrap();
    let mine = house.call(&pat, Mine).await.unwrap().reply.items;
    assert_eq!(mine.iter().map(|item| item.record.approval).collect::<Vec<_>>(), [Some(id)]);
    assert_eq!(house.code_for(&pat, requesting("pat", role("ciso"))).await, Code::InvalidRequest);
}
