//! What is wrong with a configuration is told before anything starts.

use keyreeve_tests::{Cli, Layout, Production};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

struct Case {
    what: &'static str,
    change: fn(&Path, String) -> String,
    /// What the refusal must name.
    says: &'static str,
}

fn case(what: &'static str, says: &'static str, change: fn(&Path, String) -> String) -> Case {
    Case { what, change, says }
}

fn cases() -> Vec<Case> {
    vec![
        case("an unknown field", "line", |_, text| format!("data_dri = \"x\"\n{text}")),
        case("an unknown field in a section", "line", |_, text| text.replace("[root]", "[root]\nshares = 3")),
        case("no root", "root", |_, text| text.replace("[root]\nkind = \"shamir\"", "")),
        case("the root of development mode", "root.kind", |_, text| text.replace("shamir", "sealed-file")),
        case("an unknown root", "line", |_, text| text.replace("shamir", "hsm")),
        case("no listener", "listeners", |_, text| text.split("[listeners").next().unwrap().to_owned()),
        case("data without administration", "listeners.admin", |_, text| {
            text.replace("listeners.all", "listeners.data")
        }),
        case("plain HTTP for everybody", "plain_http", |_, text| {
            let start = text.split("[listeners").next().unwrap();
            format!("{start}[listeners.all]\naddress = \"0.0.0.0:0\"\nplain_http = true\n")
        }),
        case("a certificate that is missing", "listeners.all.tls.cert", |home, text| {
            std::fs::remove_file(home.join("server.pem")).unwrap();
            text
        }),
        case("a key that others may read", "chmod 600", |home, text| {
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(home.join("server.key"), open).unwrap();
            text
        }),
        case("a key of another certificate", "listeners.all.tls", |home, text| {
            let (_, key) = keyreeve_tests::Pki::new("other").server();
            std::fs::write(home.join("server.key"), key).unwrap();
            text
        }),
        case("a data directory that others may read", "chmod 700", |home, text| {
            std::fs::create_dir(home.join("data")).unwrap();
            std::fs::set_permissions(home.join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
            text
        }),
        case("a password in the address of the store", "store.url", |_, text| {
            format!("{text}\n[store]\nkind = \"postgres\"\nurl = \"postgres://me:secret@h/d\"\n")
        }),
        case("a password file that is missing", "store.password_file", |_, text| {
            format!("{text}\n[store]\nkind = \"postgres\"\nurl = \"postgres://me@h/d\"\npassword_file = \"none\"\n")
        }),
        case("a limit of nothing", "limits.connections", |_, text| format!("{text}\n[limits]\nconnections = 0\n")),
        case("an unknown algorithm", "algorithms.des", |_, text| {
            format!("{text}\n[algorithms.des]\nno_new_keys_from = \"2030-01-01\"\n")
        }),
        case("a date that is none", "algorithms.rsa-2048", |_, text| {
            format!("{text}\n[algorithms.rsa-2048]\nno_new_keys_from = \"soon\"\n")
        }),
        case("a name of the log that is none", "audit.origin", |_, text| text.replace("test.example/log", "a+b")),
        case("no configuration at all", "line 1", |_, _| "\u{0}".to_owned()),
    ]
}

#[test]
fn wrong_configurations_are_refused_with_field_and_remedy() {
    for case in cases() {
        let home = tempfile::tempdir().unwrap();
        let production = Production::prepare(home.path(), &Layout::default());
        let text = std::fs::read_to_string(&production.config).unwrap();
        std::fs::write(&production.config, (case.change)(home.path(), text)).unwrap();
        let cli = Cli::new(home.path());
        let config = production.config.to_str().unwrap();
        for words in [["config", "check", config], ["serve", "--config", config]] {
            let refused = cli.run(&words).code(2);
            assert!(refused.stderr.contains(case.says), "{}: {refused}", case.what);
            assert!(!refused.stderr.contains("secret") || case.what.contains("password"), "{}: {refused}", case.what);
            assert!(!refused.stderr.contains("me:secret"), "{}: {refused}", case.what);
        }
        assert!(!home.path().join("data/lock").exists(), "{}: something was started", case.what);
    }
}

#[test]
fn good_configurations_pass_with_remarks() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout { separate: true, ..Layout::default() });
    let checked = Cli::new(home.path()).json(&["config", "check", production.config.to_str().unwrap()]);
    assert_eq!(checked["ok"], true);
    let lines = |name: &str| checked[name].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    for looked_at in ["data_dir", "epochs.dir", "audit.dir", "store.path", "listeners.admin.tls.cert"] {
        assert!(lines("checked").any(|line| line.contains(looked_at)), "{looked_at}: {checked}");
    }
    assert_eq!(lines("warnings").count(), 0, "{checked}");
    let _ = Cli::new(home.path()).run(&["config", "check", "none.toml"]).code(2);
    assert!(!home.path().join("data").exists(), "a check changes nothing");
}

/// The server would start, and clients would not like it.
#[test]
fn certificates_that_clients_refuse_are_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout::default());
    let config = production.config.to_str().unwrap();
    let cli = Cli::new(home.path());
    let put = |(certificate, key): (String, String)| {
        std::fs::write(home.path().join("server.pem"), certificate).unwrap();
        std::fs::write(home.path().join("server.key"), key).unwrap();
    };
    put(production.pki.server_as(&["10.9.8.7"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }));
    let warned = cli.run(&["config", "check", config]).code(0).text();
    for says in ["CA:TRUE", "expired on 2021-01-01", "is not for 127.0.0.1", "3 warnings"] {
        assert!(warned.contains(says), "no `{says}`:\n{warned}");
    }
    // The server's own log has them, too.
    let up = production.start();
    assert!(up.server.log().contains("CA:TRUE"), "{}", up.server.log());
    assert!(up.server.terminate().success());
    let (certificate, _) = production.pki.server();
    put((certificate, production.pki.server().1));
    let other_key = cli.run(&["config", "check", config]).code(2);
    assert!(other_key.stderr.contains("listeners.all.tls.cert"), "{other_key}");
    assert!(!other_key.stderr.contains("checks a configuration"), "that is what was just done: {other_key}");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_next_step() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout::default());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&production.config).unwrap().replace("127.0.0.1:0", &address);
    std::fs::write(&production.config, text).unwrap();
    let cli = Cli::new(home.path());
    let serve = cli.run(&["serve", "--config", production.config.to_str().unwrap()]).code(2);
    assert!(serve.stderr.contains(&format!("{address} is taken")), "{serve}");
    assert!(serve.stderr.contains("`listeners.all.address`"), "{serve}");
    let dev = cli.run(&["dev", "--listen", &address]).code(2);
    assert!(dev.stderr.contains(&format!("{address} is taken")) && dev.stderr.contains("`--listen`"), "{dev}");
}

/// The commented example in the repository is one.
#[test]
fn the_example_is_a_configuration() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/keyreeve.toml");
    let home = tempfile::tempdir().unwrap();
    let checked = Cli::new(home.path()).run(&["config", "check", example.to_str().unwrap()]);
    // The files it names are those of its reader; everything before them is in order.
    assert!(checked.code == 0 || checked.stderr.contains("cannot be read"), "{checked}");
}
