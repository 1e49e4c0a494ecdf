//! curl, with the CA file and nothing special: TLS 1.3 works, older versions are refused unless the configuration
//! allows 1.2.

use keyreeve_tests::{Layout, Production, base64};

use crate::{Bench, have};

#[test]
fn curl_speaks_tls_1_3_and_nothing_older() {
    if !have("curl", &["--version"]) {
        return;
    }
    let bench = Bench::new();
    let url = |path: &str| format!("{}{path}", bench.dev.endpoint.url);
    let bearer = format!("Authorization: Bearer {}", bench.dev.endpoint.token.as_ref().unwrap());
    let ca = ".keyreeve-dev/ca.pem";
    let start = ["-sS", "--fail-with-body", "--cacert", ca, "-H", &bearer];
    let key = bench.api.make_key("xaes-256-gcm", None);
    for version in ["--http1.1", "--http2"] {
        let body = format!("{{\"plaintext\":\"{}\"}}", base64("by curl"));
        let (path, more) =
            (url(&format!("/v1/keys/{key}/encrypt")), ["-H", "Content-Type: application/json", "-d", &body]);
        let answer = bench.run("curl", &[&start[..], &["--tlsv1.3", version], &more, &[&path]].concat());
        assert!(String::from_utf8_lossy(&answer).contains("kr1."));
    }
    bench.write("plaintext", vec![7u8; 3_000_000]);
    let octets = ["-H", "Content-Type: application/octet-stream", "--data-binary"];
    let sealed = url(&format!("/v1/keys/{key}/encrypt"));
    let _ = bench.run("curl", &[&start[..], &octets, &["@plaintext", "-o", "sealed", &sealed]].concat());
    let _ = bench.run("curl", &[&start[..], &octets, &["@sealed", "-o", "back", &url("/v1/decrypt")]].concat());
    assert!(bench.read("back") == bench.read("plaintext") && bench.read("sealed").len() > 3_000_000);
    let old = bench.output("curl", &["-sS", "--cacert", ca, "--tls-max", "1.2", &url("/healthz")]);
    assert_eq!(old.status.code(), Some(35), "{}", String::from_utf8_lossy(&old.stderr));
    // Without the CA file it is a server like any other on the internet: not trusted.
    let stranger = bench.output("curl", &["-sS", &url("/healthz")]);
    assert_eq!(stranger.status.code(), Some(60), "{}", String::from_utf8_lossy(&stranger.stderr));
    let headers = bench.run("curl", &["-sS", "-I", "-X", "GET", "--cacert", ca, &url("/v1/keys")]);
    let headers = String::from_utf8_lossy(&headers).to_lowercase();
    assert!(headers.contains("401") && headers.contains("www-authenticate: bearer") && headers.contains("no-store"));
}

#[test]
fn tls_1_2_is_spoken_where_it_is_allowed() {
    if !have("curl", &["--version"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let production = Production::prepare(home.path(), &Layout::default());
    let text = std::fs::read_to_string(&production.config).unwrap();
    let allowed = text.replace("key = \"server.key\"", "key = \"server.key\", min_version = \"1.2\"");
    std::fs::write(&production.config, allowed).unwrap();
    std::fs::write(home.path().join("ca.pem"), production.pki.pem()).unwrap();
    let up = production.start();
    let url = format!("{}/healthz", up.endpoint("all").url);
    let asked = |versions: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        let words = [&["-sS", "--cacert", "ca.pem"], versions, &[&url]].concat();
        curl.args(words).current_dir(home.path()).output().unwrap()
    };
    for versions in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let answer = asked(versions);
        assert!(answer.status.success(), "{versions:?}: {}", String::from_utf8_lossy(&answer.stderr));
    }
    assert!(!asked(&["--tlsv1.1", "--tls-max", "1.1"]).status.success());
}
