//! How the command line gets to a server: one profile for both listeners, and what it says when it is not let in.

use keyreeve_tests::{Cli, Done, Factor, Layout, Production, Up};
use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;

/// A profile of these lines.
fn profile(production: &Production, name: &str, lines: &[String]) -> Cli {
    let path = production.home.join(name);
    std::fs::write(production.home.join("ca.pem"), production.pki.pem()).unwrap();
    std::fs::write(&path, lines.join("\n")).unwrap();
    Cli::new(&production.home).with_profile(&path)
}

fn address(field: &str, up: &Up, listener: &str) -> String {
    format!("{field} = \"{}\"", up.endpoint(listener).url)
}

fn ca() -> String {
    "ca_file = \"ca.pem\"".to_owned()
}

fn mode(production: &Production, name: &str) -> u32 {
    std::fs::metadata(production.home.join(name)).unwrap().permissions().mode() & 0o777
}

/// Enrols codes by time, as a script does it; these words say who.
fn enrols(cli: &Cli, who: &[&str], more: &[&str]) {
    let start = ["mfa", "totp", "--label", "phone", "--output", "json"];
    let started = cli.run(&[who, &start, more].concat()).code(0).json();
    let code = Factor::of(started["seed"].as_str().unwrap()).code();
    let id = started["id"].as_str().unwrap();
    let _ = cli.run_with(&[who, &["mfa", "confirm", id]].concat(), code.as_bytes()).code(0);
}

/// The first of all needs a second factor for whatever an operator does, and nobody to invite to it.
fn the_operator_enrols(operator: &Cli) {
    let list = ["principal", "list"];
    let refused = operator.run(&list).code(3);
    assert!(refused.stderr.contains("keyreeve mfa totp"), "{refused}");
    enrols(operator, &[], &[]);
    let _ = operator.run(&list).code(0);
    // A token made later shows nothing by itself.
    let _ = operator.ok(&["token", "create", "operator", "--for", "1d", "-o", "second.token"]);
    let profile = operator.home().join("ceremony/client.toml");
    let second = ["--profile", profile.to_str().unwrap(), "--token-file", "second.token"];
    let refused = operator.run(&[&second[..], &list].concat()).code(3);
    assert!(refused.stderr.contains("keyreeve mfa verify"), "{refused}");
}

/// Makes somebody's token and second factor, with an invitation.
fn invited(operator: &Cli, name: &str) {
    let token = format!("{name}.token");
    let _ = operator.ok(&["token", "create", name, "--for", "1d", "-o", &token]);
    let path = operator.home().join("invitation");
    std::fs::write(&path, operator.json(&["mfa", "invite", name])["code"].as_str().unwrap()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let profile = operator.home().join("ceremony/client.toml");
    let who = ["--profile", profile.to_str().unwrap(), "--token-file", &token];
    let refused = operator.run(&[&who[..], &["mfa", "totp"]].concat()).code(5);
    assert!(refused.stderr.contains("keyreeve mfa invite"), "{refused}");
    enrols(operator, &who, &["--invitation-file", "invitation"]);
}

#[test]
fn one_profile_reaches_both_listeners_and_initialisation_writes_it() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout { separate: true, ..Layout::default() });
    let up = production.start();
    let lines = [address("address", &up, "data"), address("admin_address", &up, "admin"), ca()];
    let cli = profile(&production, "first.toml", &lines);
    let made = cli.json(&["init", "--shares", "3", "--threshold", "2", "--out-dir", "ceremony"]);
    assert_eq!((made["files"].as_array().unwrap().len(), &made["profile"]), (4, &"ceremony/client.toml".into()));
    assert_eq!(mode(&production, "ceremony/client.toml"), 0o600);
    let keys = std::fs::read_to_string(home.path().join("ceremony/log.vkey")).unwrap();
    assert_eq!(keys.lines().count(), made["log_vkeys"].as_array().unwrap().len());
    let again = cli.run(&["init", "--out-dir", "ceremony"]).code(2);
    assert!(again.stderr.contains("share-1"), "{again}");
    let twice = cli.run(&["init", "--out-dir", "other"]).code(5);
    assert!(twice.stderr.contains("keyreeve unseal") && !twice.stderr.contains("key show"), "{twice}");

    let operator = Cli::new(home.path()).with_profile(&home.path().join("ceremony/client.toml"));
    let status = operator.ok(&["status"]);
    assert!(status.contains(&up.endpoint("admin").url) && status.contains(&up.endpoint("data").url), "{status}");
    the_operator_enrols(&operator);
    for (name, role) in [("keeper", "key-admin"), ("user", "key-user-encrypt"), ("auditor", "key-auditor")] {
        let _ = operator.ok(&["principal", "put", name, "--kind", "person", "--role", role]);
        invited(&operator, name);
    }
    let as_who = |name: &str, words: &[&str]| operator.run(&[&["--token-file", name], words].concat());
    let profile = home.path().join("ceremony/client.toml");
    let named = ["--profile", profile.to_str().unwrap()];
    let _ = as_who("keeper.token", &[&named[..], &["key", "create", "--alias", "docs"]].concat()).code(0);
    std::fs::write(home.path().join("letter"), "something to read").unwrap();
    let _ = as_who("user.token", &["encrypt", "docs", "letter"]).code(0);
    let _ = as_who("auditor.token", &["audit", "verify", "--remote", "--vkey", "ceremony/log.vkey"]).code(0);

    let data = up.endpoint("data").url;
    let one_sided = operator.run(&["--address", &data, "principal", "list"]).code(4);
    assert!(one_sided.stderr.contains("--admin-address"), "{one_sided}");
    let admin = up.endpoint("admin").url;
    let _ = operator.run(&["--address", &data, "--admin-address", &admin, "principal", "list"]).code(0);
    assert!(up.server.terminate().success());
}

/// Not "is it running there?": somebody answers, and why that is not good enough is told with the field to look at.
fn distrusted(done: Done, says: &[&str]) {
    let done = done.code(10);
    assert!(done.stderr.contains("next:") && !done.stderr.contains("is it running"), "{done}");
    for word in says {
        assert!(done.stderr.contains(word), "no `{word}`: {done}");
    }
}

#[test]
fn certificates_that_are_not_accepted_are_told_from_a_server_that_is_not_there() {
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout::default());
    let up = production.start();
    let lines = [address("address", &up, "all"), ca()];
    let status = |lines: &[String]| profile(&production, "client.toml", lines).run(&["status"]);
    let _ = status(&lines).code(1);
    std::fs::write(home.path().join("other.pem"), production.clients.pem()).unwrap();
    let other = [lines[0].clone(), "ca_file = \"other.pem\"".to_owned()];
    distrusted(status(&other), &["not from an authority", "other.pem", "`ca_file`", "client.toml"]);
    distrusted(status(&lines[..1]), &["not from an authority", "`--ca-file FILE`"]);
    let elsewhere = [lines[0].replace("127.0.0.1", "127.0.0.2"), ca()];
    let nobody = status(&elsewhere).code(6);
    assert!(nobody.stderr.contains("is it running there?"), "{nobody}");

    let past = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2200, 1, 1);
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let here = ["localhost", "127.0.0.1"];
    let certificates = [
        (production.pki.server_as(&here, past), "no longer valid"),
        (production.pki.server_as(&here, future), "not valid yet"),
        (production.pki.server_as(&here, authority), "CA:FALSE"),
        (production.pki.server_as(&["kms.example.com"], |_| ()), "kms.example.com"),
    ];
    for ((certificate, key), says) in certificates {
        std::fs::write(home.path().join("server.pem"), certificate).unwrap();
        std::fs::write(home.path().join("server.key"), key).unwrap();
        up.server.signal(Signal::HUP);
        let found =
            keyreeve_tests::wait_until(std::time::Duration::from_secs(10), || status(&lines).stderr.contains(says));
        assert!(found, "{says}: {}", status(&lines));
        distrusted(status(&lines), &[says]);
    }
}

#[test]
fn client_certificates_and_plain_http_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let metrics = "[listeners.metrics]\naddress = \"127.0.0.1:0\"\nplain_http = true\n".to_owned();
    let layout = Layout { client_certificates: true, more: metrics, ..Layout::default() };
    let production = Production::prepare(home.path(), &layout);
    let text = std::fs::read_to_string(&production.config).unwrap().replace("\"optional\"", "\"required\"");
    std::fs::write(&production.config, text).unwrap();
    let up = production.start();
    let shown = |name: &str, pair: (String, String)| {
        for (ending, text) in [("pem", pair.0), ("key", pair.1)] {
            let path = home.path().join(format!("{name}.{ending}"));
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        [format!("client_cert = \"{name}.pem\""), format!("client_key = \"{name}.key\"")]
    };
    let lines = [address("address", &up, "all"), ca()];
    let ask = |lines: &[String]| profile(&production, "client.toml", lines).run(&["token", "self"]);
    distrusted(ask(&lines), &["asks for a client certificate", "`client_cert`", "client_key"]);
    let foreign = [&lines[..], &shown("foreign", production.pki.client("a.test"))].concat();
    distrusted(ask(&foreign), &["does not accept the client certificate", "foreign.pem", "client_ca"]);
    // With a good one it is the server that does not know anybody yet.
    let _ = ask(&[&lines[..], &shown("good", production.clients.client("a.test"))].concat()).code(6);
    let plain = [address("address", &up, "metrics"), ca()];
    distrusted(ask(&plain), &["does not speak TLS", "plain_http"]);
}
