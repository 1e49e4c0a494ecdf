//! Every mistake in a configuration is refused with file, field and remedy.

use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A directory with everything a good configuration names.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["server", "other"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        secret(&dir, &format!("{name}-key.pem"), &key.serialize_pem());
    }
    secret(&dir, "password", "hunter2\n");
    secret(&dir, "secret", "0123456789abcdef0123456789abcdef\n");
    secret(&dir, "empty", "\n");
    secret(&dir, "open-key.pem", "key");
    std::fs::set_permissions(dir.path().join("open-key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    dir
}

fn secret(dir: &TempDir, name: &str, content: &str) {
    files::write_private(&dir.path().join(name), content.as_bytes()).unwrap();
}

const GOOD: &str = r#"
data_dir = "data"
[root]
kind = "shamir"
[audit]
origin = "kms.example.com/audit"
[listeners.all]
address = "127.0.0.1:7433"
tls = { cert = "server.pem", key = "server-key.pem" }
"#;

fn webhook(url: &str, secret: &str) -> String {
    format!("[[notify.channels]]\nkind = \"webhook\"\nname = \"oncall\"\nurl = \"{url}\"\nsecret_file = \"{secret}\"\n")
}

fn smtp(host: &str, tls: &str, more: &str) -> String {
    format!(
        "[[notify.channels]]\nkind = \"smtp\"\nname = \"mail\"\nhost = \"{host}\"\nport = 587\ntls = \"{tls}\"\n\
         from = \"k@example.com\"\nto = [\"s@example.com\"]\n{more}"
    )
}

fn load(dir: &TempDir, text: &str) -> Result<Config, ConfigError> {
    let path = dir.path().join("keyreeve.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path)
}

#[test]
fn a_good_configuration_is_read_and_its_paths_are_beside_it() {
    let dir = directory();
    let config = load(&dir, GOOD).unwrap();
    assert_eq!(config.data_dir, dir.path().join("data"));
    assert_eq!(config.audit_dir(), dir.path().join("data/audit"));
    assert_eq!(config.sqlite_path(None), dir.path().join("data/store/keyreeve.db"));
    assert!(!config.data_dir.exists(), "checking makes nothing");
    assert!(config.remarks().iter().any(|remark| remark.starts_with("listeners.metrics")));
}

#[test]
fn channels_are_opened_with_the_files_beside_the_configuration() {
    let dir = directory();
    let told = smtp("mail.example.com", "starttls", "user = \"u\"\npassword_file = \"password\"\nca = \"server.pem\"");
    let text = format!("{GOOD}\n{}only = [\"approval-needed\"]\n{told}", webhook("https://h:8/x", "secret"));
    let config = load(&dir, &text).unwrap();
    let seen = config.notify.seen().ok().unwrap();
    assert_eq!(
        seen,
        [
            "notify.channels[0]: `oncall` (webhook) leads to https://h:8",
            "notify.channels[1]: `mail` (smtp) leads to s@example.com by mail.example.com:587",
        ]
    );
    let opened = config.notify.open().ok().unwrap();
    assert_eq!(opened[0].only.as_ref().map(|kinds| kinds.len()), Some(1));
    assert!(opened[1].only.is_none());
    assert!(!config.remarks().iter().any(|remark| remark.starts_with("notify")));
}

fn azure(key: &str, more: &str) -> String {
    format!("\"azure-key-vault\"\nkey = \"{key}\"\nlogin = {{ method = \"managed-identity\"{more} }}")
}

/// A root in Google Cloud KMS, and one in Vault.
fn google(key: &str, more: &str) -> String {
    let key = format!("projects/p/locations/l/keyRings/r/cryptoKeys/{key}");
    GOOD.replace("\"shamir\"", &format!("\"google-kms\"\nkey = \"{key}\"\n{more}"))
}

fn vault(address: &str, key: &str, login: &str) -> String {
    let root = format!("\"vault-transit\"\naddress = \"{address}\"\nkey = \"{key}\"\nlogin = {{ {login} }}");
    GOOD.replace("\"shamir\"", &root)
}

#[test]
fn google_and_vault_are_roots_with_every_way_to_log_in() {
    let dir = directory();
    let text = google("k", "ca = \"server.pem\"\nkeep_seconds = 60");
    let config = load(&dir, &text).unwrap();
    let Some(RootConfig::GoogleKms(found)) = &config.root else { panic!("{:?}", config.root) };
    assert_eq!((found.ca.as_deref(), found.keep_seconds), (Some(dir.path().join("server.pem").as_path()), 60));
    for login in [
        "method = \"token\", file = \"secret\"",
        "method = \"approle\", role_id_file = \"password\", secret_id_file = \"secret\", wrapped = true",
        "method = \"kubernetes\", role = \"keyreeve\"",
        "method = \"certificate\", cert = \"server.pem\", key = \"server-key.pem\"",
    ] {
        let config = load(&dir, &vault("https://vault.example.com:8200", "keyreeve", login)).expect(login);
        let Some(RootConfig::VaultTransit(found)) = &config.root else { panic!("{:?}", config.root) };
        assert_eq!((found.mount.as_str(), found.keep_seconds), ("transit", 900));
    }
}

#[test]
fn mistakes_about_google_and_vault_name_their_field() {
    let (dir, url, token) = (directory(), "https://vault.example.com", "method = \"token\", file = \"secret\"");
    for (text, field, told) in [
        (google("k/cryptoKeyVersions/1", ""), "root.key", "without a version"),
        (google("k", "credentials = \"secret\""), "root.credentials", "service account"),
        (google("k", "credentials = \"open-key.pem\""), "root.credentials", "chmod 600"),
        (google("k", "endpoint = \"http://kms.example.com\""), "root.endpoint", "https"),
        (google("k", "keep_seconds = 90000"), "root.keep_seconds", "86400"),
        (vault("http://vault.example.com", "k", token), "root.address", "https"),
        (vault(url, "../sys", token), "root.key", "no path in Vault"),
        (vault(url, "k", "method = \"token\", file = \"open-key.pem\""), "root.login.file", "chmod 600"),
        (vault(url, "k", "method = \"certificate\", cert = \"password\", key = \"secret\""), "root", "certificate"),
        (vault(url, "k", "method = \"userpass\""), "root", "unknown variant"),
    ] {
        let error = load(&dir, &text).expect_err(&text);
        assert!(error.field.contains(field) && error.to_string().contains(told), "{error}");
    }
}

#[test]
fn services_are_roots_with_the_files_beside_the_configuration() {
    let dir = directory();
    let aws = "\"aws-kms\"\nkey = \"alias/keyreeve\"\nregion = \"eu-central-1\"\ncredentials = \"secret\"";
    let config = load(&dir, &GOOD.replace("\"shamir\"", aws)).unwrap();
    let Some(RootConfig::AwsKms(aws)) = &config.root else { panic!("{:?}", config.root) };
    assert_eq!((aws.credentials.as_deref(), aws.keep_seconds), (Some(dir.path().join("secret").as_path()), 900));
    let login = "{ method = \"secret\", tenant = \"t\", client = \"c\", secret_file = \"secret\" }";
    let azure = format!("\"azure-key-vault\"\nkey = \"https://k.vault.azure.net/keys/root\"\nlogin = {login}");
    let config = load(&dir, &GOOD.replace("\"shamir\"", &azure)).unwrap();
    let Some(RootConfig::AzureKeyVault(azure)) = &config.root else { panic!("{:?}", config.root) };
    assert_eq!(
        azure.seen("root")[0],
        format!("root.login.secret_file: {} is for its owner alone", dir.path().join("secret").display())
    );
}

#[test]
fn every_mistake_names_its_field_and_a_remedy() {
    let dir = directory();
    let replaced = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let added = |text: &str| format!("{GOOD}\n{text}");
    let tls = "tls = { cert = \"server.pem\", key = \"server-key.pem\" }";
    let cases = [
        (added("[nonsense]\n"), "line 11", "unknown field `nonsense`"),
        (added("[log]\ncolour = true"), "line 12", "unknown field `colour`"),
        (added("[log]\nlevel = \"loud\""), "line 12", "unknown variant"),
        (replaced("data_dir = \"data\"", ""), "line 1", "missing field `data_dir`"),
        (replaced("\"shamir\"", "\"none\""), "root.kind (line 4)", "expected one of `shamir`, `sealed-file`"),
        (replaced("kind = \"shamir\"", ""), "root (line 3)", "missing field `kind`"),
        (replaced("\"shamir\"", "\"shamir\"\nslot = 1"), "root (line 3)", "unknown field `slot`"),
        (added("[log]\nlevel = 1"), "log.level (line 12)", "wanted string"),
        (replaced("\"shamir\"", "\"sealed-file\""), "root.kind", "dev"),
        (replaced("\"shamir\"", "\"aws-kms\"\nkey = \"keyreeve\""), "root.key", "describe-key"),
        (
            replaced("\"shamir\"", "\"aws-kms\"\nkey = \"alias/keyreeve\"\ncredentials = \"open-key.pem\""),
            "root.credentials",
            "chmod 600",
        ),
        (
            replaced("\"shamir\"", "\"aws-kms\"\nkey = \"alias/keyreeve\"\nca = \"password\""),
            "root.ca",
            "Services as roots",
        ),
        (
            replaced("\"shamir\"", "\"aws-kms\"\nkey = \"alias/keyreeve\"\nkeep_seconds = 5"),
            "root.keep_seconds",
            "write 900",
        ),
        (replaced("\"shamir\"", &azure("https://k.example.com/keys/root", "")), "root.key", "`resource`"),
        (replaced("\"shamir\"", &azure("https://k.vault.azure.net/secrets/x", "")), "root.key", "kid"),
        (
            replaced("\"shamir\"", &azure("https://k.vault.azure.net/keys/root", ", secret = \"x\"")),
            "root",
            "unknown field `secret`",
        ),
        (replaced("kms.example.com/audit", "two words"), "audit.origin", "visible ASCII"),
        (replaced("server-key.pem", "missing.pem"), "listeners.all.tls.key", "cannot be read"),
        (replaced("server-key.pem", "open-key.pem"), "listeners.all.tls.key", "chmod 600"),
        (replaced("server-key.pem", "other-key.pem"), "listeners.all.tls.cert", "made for this key"),
        (replaced("\"server.pem\"", "\"password\""), "listeners.all.tls.cert", "no certificate"),
        (
            replaced("key = \"server-key.pem\"", "key = \"server-key.pem\", client_auth = \"required\""),
            "client_ca",
            "issuers",
        ),
        (
            replaced("key = \"server-key.pem\"", "key = \"server-key.pem\", client_ca = \"server.pem\""),
            "listeners.all.tls.client_ca",
            "client_auth",
        ),
        (
            replaced("key = \"server-key.pem\"", "key = \"server-key.pem\", client_crl = [\"server.pem\"]"),
            "listeners.all.tls.client_crl",
            "client_ca",
        ),
        (
            replaced(
                "key = \"server-key.pem\"",
                "key = \"server-key.pem\", client_ca = \"server.pem\", client_auth = \"optional\", \
                 client_crl = [\"server.pem\"]",
            ),
            "listeners.all.tls.client_crl",
            "PEM or DER",
        ),
        (
            replaced("key = \"server-key.pem\"", "key = \"server-key.pem\", min_version = \"1.1\""),
            "line 9",
            "unknown variant",
        ),
        (replaced(tls, ""), "listeners.all.tls", "missing"),
        (replaced(tls, &format!("{tls}\nplain_http = true")), "plain_http", "remove one"),
        (replaced("127.0.0.1:7433", "here"), "line 8", "invalid socket address"),
        (replaced(tls, "plain_http = true").replace("127.0.0.1", "0.0.0.0"), "plain_http", "loopback"),
        (replaced("listeners.all", "listeners.data"), "listeners.admin", "missing"),
        (added("[listeners.data]\naddress = \"127.0.0.1:1\"\nplain_http = true"), "listeners.all", "either"),
        (
            added("[listeners.metrics]\naddress = \"127.0.0.1:7433\"\nplain_http = true"),
            "metrics.address",
            "same address",
        ),
        (added("[store]\nkind = \"sqlite\"\nurl = \"x\""), "line 11", "unknown field"),
        (added("[store]\nkind = \"postgres\"\nurl = \"mysql://x\""), "store.url", "postgres://"),
        (added("[store]\nkind = \"postgres\"\nurl = \"postgres://u:secret@h/d\""), "store.url", "password_file"),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres://u@localhost/d\"\npassword_file = \"empty\""),
            "password_file",
            "empty",
        ),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres://u@localhost/d\"\npassword_file = \"server.pem\""),
            "password_file",
            "chmod 600",
        ),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres://u@localhost/d\"\npassword_file = \"gone\""),
            "password_file",
            "check the path",
        ),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres://u@db.example:5432/d\""),
            "store.url",
            "sslmode=verify-full",
        ),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres:///d\"\npassword_file = \"password\""),
            "store.url",
            "no user",
        ),
        (
            added("[store]\nkind = \"postgres\"\nurl = \"postgres://u@localhost/d?host=db.example\""),
            "store.url",
            "other than",
        ),
        (added("[limits]\ngrace_seconds = 61"), "limits.grace_seconds", "60 or less"),
        (added("[limits]\nconnections = 0"), "limits.connections", "too little"),
        (added("[limits]\nall_bodies_bytes = 1024"), "limits.all_bodies_bytes", "33554432 or more"),
        (added("[limits]\nbodies_per_source_bytes = 1024"), "limits.bodies_per_source_bytes", "33554432 or more"),
        (added("[limits]\nconnections_per_source = 0"), "limits.connections_per_source", "too little"),
        (added("[limits]\nconnection_seconds = 0"), "limits.connection_seconds", "too little"),
        (added("[limits.rates]\nper_source = { per_second = 1 }"), "line 12", "missing field `burst`"),
        (added("[memory]\nkeys = 0"), "memory", "at least 1"),
        (added(&webhook("http://h", "secret")), "notify.channels[0]", "https"),
        (added(&webhook("https://h", "open-key.pem")), "channels[0].secret_file", "chmod 600"),
        (added(&webhook("https://h", "password")), "notify.channels[0]", "32 bytes"),
        (added(&format!("{}to = []", webhook("https://h", "secret"))), "line 11", "unknown field `to`"),
        (added(&webhook("https://h", "secret").repeat(2)), "notify.channels[1].name", "two channels"),
        (added(&format!("{}only = [\"all\"]", webhook("https://h", "secret"))), "notify.channels", "kind of notice"),
        (added(&format!("{}timeout_seconds = 99", webhook("https://h", "secret"))), "timeout_seconds", "between 1"),
        (added(&smtp("mail.example.com", "none", "")), "notify.channels[0]", "this machine only"),
        (added(&smtp("mail.example.com", "starttls", "user = \"u\"")), "password_file", "belong together"),
        (added(&smtp("mail.example.com", "opportunistic", "")), "notify.channels", "unknown variant"),
        (added(&smtp("localhost", "none", "user = \"u\"\npassword_file = \"password\"")), "channels[0]", "password"),
        (added("[algorithms.des]\n"), "algorithms.des", "known are"),
        (added("[algorithms.rsa-2048]\nno_new_keys_from = \"soon\""), "no_new_keys_from", "2030-12-31"),
        (
            added("[algorithms.rsa-2048]\nprocess_only_from = \"2040-01-01\"\ndisallowed_from = \"2039-01-01\""),
            "algorithms.rsa-2048",
            "order",
        ),
        (added("[lifecycle]\nprofile = \"rev4\""), "line 12", "unknown variant"),
        ("data_dir = ".to_owned(), "line 1", "example"),
    ];
    for (text, field, told) in cases {
        let error = load(&dir, &text).expect_err(&text);
        let message = error.to_string();
        assert!(error.field.contains(field), "{message}\n{text}");
        assert!(message.contains(told), "{message}\n{text}");
        assert!(message.contains("keyreeve.toml") && !error.remedy.is_empty(), "{message}");
        assert!(!message.contains("secret@") && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_data_directory_open_to_others_is_refused() {
    let dir = directory();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::set_permissions(dir.path().join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = load(&dir, GOOD).unwrap_err();
    assert_eq!(error.field, "data_dir");
    assert!(error.remedy.contains("chmod 700"));
}

#[test]
fn a_password_put_into_the_file_is_refused_and_not_repeated() {
    let dir = directory();
    let text =
        format!("{GOOD}\n[store]\nkind = \"postgres\"\nurl = \"postgres://u@localhost/d\"\npassword = \"CANARY\"");
    let message = load(&dir, &text).unwrap_err().to_string();
    assert!(message.contains("unknown field `password`") && !message.contains("CANARY"), "{message}");
}

#[test]
fn dates_replace_the_shipped_ones() {
    let dir = directory();
    let text =
        format!("{GOOD}\n[algorithms.rsa-2048]\nno_new_keys_from = \"2027-01-01\"\nprocess_only_from = \"never\"");
    let registry = load(&dir, &text).unwrap().registry().ok().unwrap();
    let schedule = registry.entry("rsa-2048".parse().unwrap()).schedule;
    assert_eq!(schedule.no_new_keys_from, Some(1_798_761_600_000));
    assert_eq!(schedule.process_only_from, None);
    assert_eq!(schedule.deprecated_from, schedule.no_new_keys_from, "what comes before is pulled along");
}

#[test]
fn the_commented_example_is_a_good_configuration() {
    let text = include_str!("../../../../../deploy/keyreeve.toml");
    let config = Config::parse(text).ok().unwrap();
    assert!(config.listeners.data.is_some() && config.listeners.admin.is_some() && config.listeners.metrics.is_some());
    // With every default written out it is the same: the comments tell the truth.
    let fields = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = "));
    let limits = fields.clone().filter(|line| line.contains("_bytes =") || line.contains("_seconds =")).count();
    assert!(limits >= 10, "{limits}");
    let uncommented: String = text
        .lines()
        .skip_while(|line| !line.starts_with("[limits]"))
        .take_while(|line| !line.starts_with("# [algorithms"))
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line).to_owned() + "\n")
        .collect();
    let (head, _) = text.split_once("[limits]").unwrap();
    let written = Config::parse(&format!("{head}{uncommented}")).ok().unwrap();
    assert_eq!(written.limits.http(), keyreeve_http::Limits::default());
    assert_eq!(written.limits.batch_items, 1000);
}

/// A good configuration with one stretch of it replaced by anything.
fn damaged() -> impl Strategy<Value = String> {
    let junk = prop_oneof![
        any::<String>(),
        "[a-z_.=\\[\\]{}\"', \n-]{0,24}",
        Just("99999999999999999999".to_owned()),
        Just("\n[limits]\nrequest_seconds = -1\n".to_owned()),
    ];
    let places = 0..GOOD.len();
    (places.clone(), places, junk).prop_map(|(a, b, junk)| {
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 40));
        format!("{}{junk}{}", &GOOD[..from], &GOOD[to..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_the_file_is_read_or_refused_with_its_field(text in damaged()) {
        thread_local!(static DIR: TempDir = directory());
        DIR.with(|dir| {
            if let Err(error) = load(dir, &text) {
                let told = error.to_string();
                prop_assert!(told.contains("keyreeve.toml"), "{told}");
            }
            Ok(())
        })?;
    }
}
