//! Verifiers in another language, written from the specifications and from docs/formats.md.

use keyreeve_tests::{base64, unbase64};
use serde_json::json;
use std::path::Path;

use crate::{Bench, have};

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(name).to_str().unwrap().to_owned()
}

#[test]
fn python_verifies_the_audit_log() {
    if !have("python3", &["--version"]) {
        return;
    }
    let bench = Bench::new();
    // More than one tile on the lowest level, so that there are whole and partial ones.
    for _ in 0..600 {
        let _ = bench.api.get("/v1/algorithms");
    }
    let key = bench.api.post("/v1/keys", &json!({}));
    let record = key.record().unwrap().to_owned();
    let proof = bench.api.get(&format!("/v1/audit/records/{record}/proof")).ok();
    bench.write("proof", proof["proof"].as_str().unwrap());
    bench.write("record", proof["record"].as_str().unwrap());
    let checkpoint = bench.api.get("/v1/audit/checkpoint").body;
    let vkey = bench.dev.log_keys()[0].clone();
    let (program, log) = (script("tlog.py"), ".keyreeve-dev/audit/log");
    let said = bench.run("python3", &[&program, log, &vkey, "proof", "record"]);
    assert!(String::from_utf8_lossy(&said).contains("records verified"));
    // The verifier is no rubber stamp: another record, another key, another root are refused.
    let altered = proof["record"].as_str().unwrap().replacen("key.create", "key.rotate", 1);
    bench.write("altered", altered);
    let wrong_record = bench.output("python3", &[&program, log, &vkey, "proof", "altered"]);
    assert!(String::from_utf8_lossy(&wrong_record.stderr).contains("not proved"));
    let other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert!(!bench.output("python3", &[&program, log, other]).status.success());
    let text = String::from_utf8(checkpoint).unwrap();
    let size = text.lines().nth(1).unwrap();
    let forged = text.replacen(size, &(size.parse::<u64>().unwrap() - 1).to_string(), 1);
    bench.write("forged", forged);
    let _ = bench.run("cp", &["-r", log, "log"]);
    let _ = bench.run("cp", &["forged", "log/checkpoint"]);
    let refused = bench.output("python3", &[&program, "log", &vkey]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("signature is not good"));
}

#[test]
fn python_decrypts_envelope_files() {
    if !have("python3", &["-c", "import cryptography"]) {
        return;
    }
    let bench = Bench::new();
    let key = bench.api.make_key("xaes-256-gcm", None);
    let program = script("envelope.py");
    for (name, bytes) in [("empty", Vec::new()), ("short", b"short".to_vec()), ("long", vec![5u8; 2_500_000])] {
        bench.write(name, &bytes);
        let _ = bench.cli.ok(&["encrypt", &key, name, "--context", "a=b"]);
        let file = format!("{name}.krv");
        let wrapped = bench.run("python3", &[&program, "header", &file]);
        let wrapped = unbase64(String::from_utf8(wrapped).unwrap().trim());
        let text = base64(&wrapped).replace('+', "-").replace('/', "_");
        let body = json!({ "ciphertext": format!("kr1.{}", text.trim_end_matches('=')), "context": { "a": "b" } });
        let data_key = bench.api.post("/v1/unwrap-data-key", &body).ok();
        bench.write("data.key", unbase64(data_key["plaintext"].as_str().unwrap()));
        assert!(bench.run("python3", &[&program, "decrypt", &file, "data.key"]) == bytes, "{name}");
        let mut altered = bench.read(&file);
        *altered.last_mut().unwrap() ^= 1;
        bench.write(&file, altered);
        assert!(!bench.output("python3", &[&program, "decrypt", &file, "data.key"]).status.success());
    }
}
