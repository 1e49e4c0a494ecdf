//! Each operation with the command line.

use keyreeve_tests::{Cli, Done};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Actor;

/// How an operation is asked for: words, and what stands on standard input.
struct Command {
    operation: &'static str,
    words: &'static str,
    input: &'static str,
}

const fn command(operation: &'static str, words: &'static str) -> Command {
    Command { operation, words, input: "" }
}

const fn given(operation: &'static str, words: &'static str, input: &'static str) -> Command {
    Command { operation, words, input }
}

/// Operations that have no command, and why.
const WITHOUT: [(&str, &str); 8] = [
    ("escrow.hand-in-rehearsal", "`escrow rehearse` hands in what its sealed process answered"),
    ("ceremony.record", "`ceremony record` takes the transcript of a ceremony that is over: tests/cli/ceremony.rs"),
    (
        "grant.request",
        "`grant request` asks for oneself, which everybody may; the row is about asking for somebody else",
    ),
    ("audit.read", "`audit verify` works on a copy of the log's directory"),
    ("login.oidc-finish", "the second half of `login --method`"),
    ("mfa.challenge", "the first half of `mfa verify` with a security key, in a browser"),
    ("mfa.webauthn-start", "security keys are enrolled in a browser"),
    ("mfa.webauthn-finish", "security keys are enrolled in a browser"),
];

/// `DOOMED` is a key that may be brought to any state, `SEALED` a ciphertext of the key `orders`, `RECORD` an audit
/// record of one's own.
const COMMANDS: &[Command] = &[
    command("system.status", "status"),
    command("system.init", "init --shares 3 --threshold 2 --out-dir never"),
    given("system.unseal", "unseal -", "no share"),
    command("system.seal", "seal"),
    command("root.holders", "root holders"),
    command("root.name-holder", "root name-holder 1 alice"),
    command("root.challenge", "root challenge"),
    command(
        "root.verify-share",
        "root verify-share \
         krp1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyg\
         pKissLS4vMDEyMzQ1Njc4OTo7PD0-P0BBQkNERUZHSElKS0xNTk9Q",
    ),
    command(
        "root.reshare",
        "root reshare begin --threshold 2 --reason test \
         --holder alice=age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a \
         --holder bob=age1hqcy8w9krzlq4ncqpux8pvemvp6n0jjlm5xc0szm87xhe8gv7vfqqdntux",
    ),
    given("root.reshare-give", "root reshare give -", "no share"),
    command("root.reshare-show", "root reshare show"),
    command("root.reshare-commit", "root reshare commit"),
    command("root.reshare-abandon", "root reshare abandon --reason test"),
    command("escrow.describe", "escrow status"),
    command("escrow.set-policy", "escrow policy set --no-key --reason test"),
    command(
        "escrow.make-key",
        "escrow key make --threshold 2 --reason test \
         --holder alice=age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a \
         --holder bob=age1hqcy8w9krzlq4ncqpux8pvemvp6n0jjlm5xc0szm87xhe8gv7vfqqdntux",
    ),
    command("escrow.accept-key", "escrow key accept"),
    command(
        "escrow.verify-share",
        "escrow verify-share \
         krp1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyg\
         pKissLS4vMDEyMzQ1Njc4OTo7PD0-P0BBQkNERUZHSElKS0xNTk9Q",
    ),
    command("escrow.open-campaign", "escrow campaign"),
    command("escrow.deposit", "escrow deposit DOOMED"),
    command("escrow.deposits", "escrow deposits"),
    command("escrow.recover", "escrow recover DOOMED --key-version 1 --reason test"),
    given("escrow.give-share", "escrow give rcv_0190a7b2c3d4e5f60718293a4b5c6d7e -", "no share"),
    command("escrow.recovery", "escrow recovery rcv_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("escrow.abandon-recovery", "escrow abandon rcv_0190a7b2c3d4e5f60718293a4b5c6d7e --reason test"),
    command("random.generate", "random 8"),
    command("algorithm.list", "algorithms"),
    command("audit.search", "audit search --limit 1"),
    command("audit.prove", "audit prove RECORD"),
    command("token.create", "token create somebody"),
    command("token.list", "token list"),
    command("token.revoke", "token revoke tok_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("token.self", "token self"),
    command("principal.put", "principal put somebody --kind person"),
    command("principal.list", "principal list"),
    command("principal.describe", "principal show somebody"),
    command("principal.delete", "principal delete somebody"),
    given("policy.put", "policy put nothing -", "forbid (principal, action, resource) when { 1 == 2 };"),
    command("policy.list", "policy list"),
    command("policy.describe", "policy show nothing"),
    command("policy.delete", "policy delete nothing"),
    command("policy.explain", "policy explain somebody key.encrypt orders"),
    command("policy.apply", "policy check policies"),
    command("policy.simulate", "policy simulate policies"),
    command("policy.shadow", "policy shadow start policies"),
    command("policy.shadow-report", "policy shadow report"),
    command("policy.history", "policy log"),
    command("policy.diff", "policy diff 1 2"),
    command("policy.rollback", "policy rollback 99 --comment none"),
    command("grant.create", "grant create somebody --key orders --operation key.decrypt --for 8h --reason none"),
    command("grant.list", "grant list"),
    command("grant.describe", "grant show grt_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("grant.revoke", "grant revoke grt_0190a7b2c3d4e5f60718293a4b5c6d7e --reason none"),
    command("grant.self", "grant mine"),
    command("access.report", "access report"),
    command("review.open", "review open --subject grants --reason none"),
    command("review.list", "review list"),
    command("review.describe", "review show rvw_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("review.decide", "review decide rvw_0190a7b2c3d4e5f60718293a4b5c6d7e 1 keep --reason none"),
    command("review.close", "review close rvw_0190a7b2c3d4e5f60718293a4b5c6d7e --text none"),
    command("notice.list", "notice list"),
    command("system.info", "system info"),
    command("system.accept-rollback", "system accept-rollback --reason because"),
    command("backup.create", "backup create"),
    command("backup.list", "backup list"),
    command("backup.verify", "backup verify 1 --at nowhere"),
    command("backup.acknowledge", "backup acknowledge --reason because"),
    command("drill.restore", "drill restore"),
    command("drill.record", "drill record share-holder --took 84s --step exchanged"),
    command("drill.list", "drill list"),
    command("notice.test", "notice test"),
    command("keyring.create", "keyring create payments"),
    command("keyring.list", "keyring list"),
    command("keyring.describe", "keyring show default"),
    command("key.create", "key create"),
    command("key.list", "key list"),
    command("key.describe", "key show orders"),
    command("key.update", "key update DOOMED --description none"),
    command("key.activate", "key activate DOOMED --reason none"),
    command("key.suspend", "key suspend DOOMED --reason none"),
    command("key.deactivate", "key deactivate DOOMED --reason none"),
    command("key.compromise", "key compromise DOOMED --reason none"),
    command("key.rotate", "key rotate DOOMED --reason none"),
    command("key.import-parameters", "key import-parameters --method x25519-ml-kem-768"),
    command("key.import", "key import import.json --wrapped wrapped.bin"),
    command("key.import-version", "key rotate DOOMED --import import.json --wrapped wrapped.bin"),
    command("key.reimport", "key reimport DOOMED import.json --wrapped wrapped.bin"),
    command("key.export", "key export DOOMED --to recipient.pem --key-version 1 -o exported"),
    command("key.schedule-destruction", "key destroy schedule DOOMED --reason none"),
    command("key.cancel-destruction", "key destroy cancel DOOMED --reason none"),
    command("key.destroy", "key destroy now DOOMED"),
    command("key.destruction", "key destroy record orders"),
    given("key.encrypt", "encrypt orders --small --context tenant=acme", "text"),
    given("key.decrypt", "decrypt --context tenant=acme", "SEALED"),
    given("key.rewrap", "rewrap --context tenant=acme", "SEALED"),
    given("key.re-encrypt-from", "reencrypt orders archive --context tenant=acme", "SEALED"),
    command("key.generate-data-key", "data-key orders -o data.key"),
    command("key.generate-data-key-without-plaintext", "data-key orders --wrapped-only"),
    given("key.unwrap-data-key", "unwrap-data-key -o unwrapped.key", "SEALED"),
    given("key.sign", "sign orders", "text"),
    given("key.verify", "verify orders --signature-base64 AAAA", "text"),
    given("key.mac", "mac orders", "text"),
    given("key.verify-mac", "verify-mac orders --mac-base64 AAAA", "text"),
    command("key.derive", "derive orders --info none -o derived.key"),
    command("key.agree", "agree orders --peer peer.pem --info none -o agreed.key"),
    command("key.encapsulate", "encapsulate orders --ciphertext secret.kem -o shared.key"),
    given("key.decapsulate", "decapsulate orders -o shared.key", "secret"),
    given("key.wrap", "wrap orders", "0123456789abcdef0123456789abcdef"),
    given("key.unwrap", "unwrap orders -o unwrapped.key", "0123456789abcdef0123456789abcdef"),
    command("mfa.status", "mfa status"),
    command("mfa.list", "mfa list somebody"),
    command("mfa.invite", "mfa invite somebody"),
    command("mfa.reset", "mfa reset somebody"),
    command("mfa.remove", "mfa remove mfa_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("mfa.recovery-codes", "mfa recovery-codes"),
    given("mfa.totp-start", "mfa totp --label phone", ""),
    given("mfa.totp-finish", "mfa confirm mfa_0190a7b2c3d4e5f60718293a4b5c6d7e", "123456"),
    given("mfa.verify", "mfa verify", "123456"),
    command("login.methods", "login --list"),
    command("login.oidc-start", "login --method corp"),
    command("login.jwt", "login --method ci --jwt-file jwt -o new.token"),
    given("login.ldap", "login --method ad --user olga -o new.token", "password"),
    command("login.certificate", "login --method spiffe --certificate -o new.token"),
    command("login.credential", "login --role-id billing --secret-id-file jwt -o new.token"),
    command("credential.unwrap", "credential unwrap jwt -o secret-id"),
    command("credential.issue", "credential issue somebody --for 1d -o secret-id"),
    command("credential.list", "credential list somebody"),
    command("credential.revoke", "credential revoke somebody crd_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("login-method.put", "login-method put corp corp.toml"),
    command("login-method.set-secret", "login-method set-secret corp jwt"),
    command("login-method.list", "login-method list"),
    command("login-method.describe", "login-method show corp"),
    command("login-method.delete", "login-method delete corp"),
    command("token.renew", "token renew"),
    command("token.revoke-self", "logout"),
    command("approval.list", "approval list"),
    command("approval.describe", "approval show apr_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("approval.vote", "approval reject apr_0190a7b2c3d4e5f60718293a4b5c6d7e --reason none"),
    command("approval.withdraw", "approval withdraw apr_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("approval.execute", "approval run apr_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("rules.describe", "rules show"),
    command("rules.check", "rules check rules.toml"),
    command("rules.put", "rules put rules.toml"),
    command("governance.enact", "governance enact --yes"),
    command("hold.place", "hold place DOOMED --matter none"),
    command("hold.place-on-keyring", "hold place --keyring default --matter none"),
    command("hold.list", "hold list"),
    command("root.list", "root list"),
    command("root.join", "root join none --reason none"),
    command("root.retire", "root retire none --reason none"),
    command("root.migrate", "root migrate --to none --reason none"),
    command("keyring.rotate-kek", "keyring rotate-kek default --reason none"),
    command("job.list", "job list"),
    command("job.describe", "job show job_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("job.cancel", "job cancel job_0190a7b2c3d4e5f60718293a4b5c6d7e --reason none"),
    command("integrity.status", "integrity status"),
    command("integrity.list", "integrity list"),
    command("integrity.describe", "integrity show principals/none"),
    command("integrity.scan", "integrity scan --reason none"),
    command("integrity.release", "integrity release principals/none --reason none"),
    command("hold.release", "hold release hld_0190a7b2c3d4e5f60718293a4b5c6d7e --reason none"),
    command("incident.open", "incident open --kind other --reason none"),
    command("incident.list", "incident list"),
    command("incident.describe", "incident show inc_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("incident.note", "incident note inc_0190a7b2c3d4e5f60718293a4b5c6d7e none"),
    command("incident.confirm", "incident confirm inc_0190a7b2c3d4e5f60718293a4b5c6d7e 1"),
    command("incident.close", "incident close inc_0190a7b2c3d4e5f60718293a4b5c6d7e --text none"),
    command("emergency.list", "emergency list"),
    command("emergency.describe", "emergency show emg_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("emergency.end", "emergency end emg_0190a7b2c3d4e5f60718293a4b5c6d7e"),
    command("emergency.declare", EMERGENCY),
    command("emergency.review", "emergency review emg_0190a7b2c3d4e5f60718293a4b5c6d7e --text none"),
];

/// What the command for an operation asks for first, so that the operation itself is not reached where that is not
/// there.
pub(super) const BEHIND_ANOTHER: [&str; 2] = ["approval.vote", "emergency.declare"];

/// The operations that have a command, and those that have none.
pub(super) fn named() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.operation).chain(WITHOUT.iter().map(|(operation, _)| *operation))
}

/// Whether policy refuses an operation to somebody; nothing where there is no command.
pub(super) fn denied(actor: &Actor<'_>, operation: &str) -> Option<bool> {
    let command = COMMANDS.iter().find(|command| command.operation == operation)?;
    let stage = actor.stage;
    let home = stage.home.path().join(&actor.name);
    let cli = at_home(actor, &home, &actor.token_for(operation));
    let doomed = if command.words.contains("DOOMED") { stage.doomed() } else { String::new() };
    let record = if command.words.contains("RECORD") { own_record(actor) } else { String::new() };
    let words = command.words.replace("DOOMED", &doomed).replace("RECORD", &record);
    let input = command.input.replace("SEALED", &stage.ciphertext);
    let words: Vec<&str> = words.split(' ').chain(["--output", "json"]).collect();
    let done = cli.run_with(&words, input.as_bytes());
    assert!(done.code != 2 || told(&done).is_some(), "the command was not understood: {done}");
    let code = told(&done).unwrap_or_default();
    let denied = super::is_denied(403, &code);
    assert!(!denied || done.code == 3, "{done}");
    Some(denied)
}

/// The code of a refusal, as programs are told of it.
fn told(done: &Done) -> Option<String> {
    let line = done.stderr.lines().find(|line| line.starts_with('{'))?;
    let told: Value = serde_json::from_str(line).ok()?;
    Some(told["code"].as_str().unwrap_or("none").to_owned())
}

/// A directory with everything that the commands name.
fn at_home(actor: &Actor<'_>, home: &Path, token: &str) -> Cli {
    let profile = home.join("client.toml");
    if !home.exists() {
        std::fs::create_dir_all(home.join("policies")).unwrap();
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
        write("policies/nothing.cedar", "forbid (principal, action, resource) when { 1 == 2 };");
        write("peer.pem", PEER);
        write("recipient.pem", RECIPIENT);
        write("import.json", PARAMETERS);
        write("wrapped.bin", "wrapped");
        write("corp.toml", METHOD);
        write("rules.toml", "");
        write("jwt", "e30.e30.e30");
        std::fs::set_permissions(home.join("jwt"), std::fs::Permissions::from_mode(0o600)).unwrap();
        write("ca.pem", actor.stage.production.pki.pem());
        let url = actor.stage.up.endpoint("all").url;
        write("client.toml", &format!("address = \"{url}\"\nca_file = \"ca.pem\"\ntoken_file = \"token\"\n"));
    }
    std::fs::write(home.join("token"), token).unwrap();
    std::fs::set_permissions(home.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    Cli::new(home).with_profile(&profile)
}

fn own_record(actor: &Actor<'_>) -> String {
    let api = actor.stage.up.api("all", &actor.token);
    api.post("/v1/random", &json!({ "bytes": 1 })).record().unwrap().to_owned()
}

const EMERGENCY: &str = "emergency declare inc_0190a7b2c3d4e5f60718293a4b5c6d7e --key orders --operation key.decrypt \
    --participant somebody --minutes 30 --why none";

/// A way to log in.
const METHOD: &str = "[kind.oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"keyreeve\"\n\n\
    [[bindings]]\nname = \"staff\"\nprincipal = { from-claim = { claim = \"sub\" } }\n";

/// An X25519 public key (RFC 7748, section 6.1).
const PEER: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n-----END PUBLIC KEY-----\n";

/// An RSA public key that keys could be wrapped for.
const RECIPIENT: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnLVJFxdj99Y6aqtSA6YiCydiPoxOKsaZgjUsM4OgtizJPVApsCzLfv\n\
    OEVIOsPDGtxihzFaf19quvEqr0TF93QpMDxqO+77/vUAetxsClvnWgO3qsz9EzRuYQUtP00XqRwk/Z1Rp4k6VYglaHfRPU17oD\n\
    L9+7vhg1x4gwpRp9e984kM7eqnVLONwFrWFlUZUYOrF02xHlYVOHFzAAgh/Yr98uUbyKVisXW84lP4AsFOczxmUVtaVepCLHJm\n\
    RTB6Ma17rU4U5BLyBWTBQLgpMWeDm1hoqv2NMEhKaXS6gbpLUG3GsQrtIZZAnffFEQDsxiGoEH/OaJ29bwGCXq3/mlpwIDAQAB\n\
    -----END PUBLIC KEY-----\n";

/// As a wrapping key of the server is told of.
const PARAMETERS: &str = r#"{"import":"imp_0190a7b2c3d4e5f60718293a4b5c6d7e","method":"rsa-aes-kwp",
    "key":"key_0190a7b2c3d4e5f60718293a4b5c6d7e","keyring":"default","algorithm":"xaes-256-gcm","purpose":"encrypt",
    "public_key":"","fingerprint":"","expires":"2030-01-01T00:00:00Z"}"#;
