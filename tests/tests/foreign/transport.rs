//! OpenSSL and Python do the half of whoever brings a key or receives one, as docs/formats.md says it.

use keyreeve_tests::{base64, unbase64};
use serde_json::{Value, json};
use std::path::Path;

use crate::{Bench, have};

/// The first initial value of RFC 5649, which OpenSSL wants to be told.
const KWP_IV: &str = "a65959a6";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bench {
    /// A wrapping key of the server's, its public half in `wrapping.pem`.
    fn parameters(&self, algorithm: &str, method: &str) -> Value {
        let body = json!({ "algorithm": algorithm, "method": method });
        let parameters = self.api.post("/v1/imports", &body).ok();
        self.write("wrapping.pem", parameters["public_key"].as_str().unwrap());
        parameters
    }

    /// RSA-OAEP with SHA-256 by OpenSSL.
    fn oaep(&self, file: &str, out: &str) {
        let words = ["pkeyutl", "-encrypt", "-pubin", "-inkey", "wrapping.pem", "-in", file, "-out", out];
        let options = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"];
        let options = options.iter().flat_map(|option| ["-pkeyopt", option]);
        let _ = self.run("openssl", &words.into_iter().chain(options).collect::<Vec<_>>());
    }

    /// AES-KWP by OpenSSL.
    fn kwp(&self, key: &[u8], file: &str, out: &str) {
        let words = ["enc", "-id-aes256-wrap-pad", "-K", &hex(key), "-iv", KWP_IV, "-in", file, "-out", out];
        let _ = self.run("openssl", &words);
    }

    /// As PKCS #11's CKM_RSA_AES_KEY_WRAP has it, by OpenSSL.
    fn rsa_aes(&self, file: &str) -> Vec<u8> {
        let ephemeral = self.run("openssl", &["rand", "32"]);
        self.write("ephemeral", &ephemeral);
        self.oaep("ephemeral", "head");
        self.kwp(&ephemeral, file, "body");
        [self.read("head"), self.read("body")].concat()
    }

    fn import(&self, parameters: &Value, wrapped: &[u8]) -> Value {
        let path = format!("/v1/imports/{}/key", parameters["import"].as_str().unwrap());
        let key = json!({ "algorithm": parameters["algorithm"] });
        let body = json!({ "key": key, "wrapped": base64(wrapped), "statement": "made by OpenSSL" });
        self.api.post(&path, &body).ok()
    }
}

/// A MAC key that OpenSSL made and wrapped: both compute the same afterwards.
#[test]
fn openssl_brings_a_symmetric_key() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    for method in ["rsa-oaep-sha256", "rsa-aes-kwp"] {
        let key = bench.run("openssl", &["rand", "32"]);
        bench.write("material", &key);
        let parameters = bench.parameters("hmac-sha256", method);
        let wrapped = if method == "rsa-aes-kwp" {
            bench.rsa_aes("material")
        } else {
            bench.oaep("material", "wrapped");
            bench.read("wrapped")
        };
        let imported = bench.import(&parameters, &wrapped);
        assert_eq!(imported["id"], parameters["key"]);
        assert_eq!(imported["versions"][0]["provenance"]["origin"], "imported");
        assert_eq!(imported["versions"][0]["imported"]["statement"], "made by OpenSSL");
        let path = format!("/v1/keys/{}/mac", imported["id"].as_str().unwrap());
        let ours = bench.api.post(&path, &json!({ "message": base64("message") })).ok();
        bench.write("message", b"message");
        let option = format!("hexkey:{}", hex(&key));
        let theirs = bench.run("openssl", &["mac", "-digest", "SHA256", "-macopt", &option, "-in", "message", "HMAC"]);
        let theirs = String::from_utf8(theirs).unwrap().trim().to_lowercase();
        assert_eq!(hex(&unbase64(ours["mac"].as_str().unwrap())), theirs, "{method}");
    }
}

/// Private keys that OpenSSL made, as PKCS #8: what Keyreeve signs, OpenSSL verifies with the public half it kept.
#[test]
fn openssl_brings_private_keys() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("message", b"what is signed");
    let kinds = [
        ("ec-p256", "ecdsa-sha256", vec!["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("ec-p384", "ecdsa-sha384", vec!["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("rsa-3072", "rsa-pkcs1-sha256", vec!["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    ];
    for (algorithm, scheme, options) in kinds {
        let _ = bench.run("openssl", &[&["genpkey", "-outform", "DER", "-out", "own.key"], &options[..]].concat());
        let pkcs8 =
            ["pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", "-in", "own.key", "-out", "p8"];
        let _ = bench.run("openssl", &pkcs8);
        let _ = bench.run("openssl", &["pkey", "-inform", "DER", "-in", "own.key", "-pubout", "-out", "own.pem"]);
        let body = json!({ "algorithm": algorithm, "purpose": "sign", "method": "rsa-aes-kwp", "rsa_bits": 2048 });
        let parameters = bench.api.post("/v1/imports", &body).ok();
        bench.write("wrapping.pem", parameters["public_key"].as_str().unwrap());
        let wrapped = bench.rsa_aes("p8");
        let path = format!("/v1/imports/{}/key", parameters["import"].as_str().unwrap());
        let key = json!({ "algorithm": algorithm, "purpose": "sign" });
        let imported = bench.api.post(&path, &json!({ "key": key, "wrapped": base64(&wrapped) })).ok();
        let id = imported["id"].as_str().unwrap();
        bench.public(id, "shown.pem");
        assert_eq!(bench.read("shown.pem"), bench.read("own.pem"), "{algorithm}");
        let body = json!({ "message": base64("what is signed"), "scheme": scheme });
        let signed = bench.api.post(&format!("/v1/keys/{id}/sign"), &body).ok();
        bench.write("signature", unbase64(signed["signature"].as_str().unwrap()));
        let digest = if scheme == "ecdsa-sha384" { "-sha384" } else { "-sha256" };
        let _ = bench.run("openssl", &["dgst", digest, "-verify", "own.pem", "-signature", "signature", "message"]);
    }
}

/// What OpenSSL altered, cut short or wrapped in another way is refused, all alike.
#[test]
fn what_was_wrapped_in_another_way_is_refused_alike() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("material", [7; 32]);
    let parameters = bench.parameters("hmac-sha256", "rsa-aes-kwp");
    let good = bench.rsa_aes("material");
    // With the defaults of OpenSSL: SHA-1.
    let words = ["pkeyutl", "-encrypt", "-pubin", "-inkey", "wrapping.pem", "-in", "ephemeral", "-out", "head"];
    let _ = bench.run("openssl", &[&words[..], &["-pkeyopt", "rsa_padding_mode:oaep"]].concat());
    let old_hash = [bench.read("head"), bench.read("body")].concat();
    let path = format!("/v1/imports/{}/key", parameters["import"].as_str().unwrap());
    let mut said = Vec::new();
    for wrapped in [&old_hash[..], &good[..good.len() - 8], &good[..384]] {
        let body = json!({ "key": { "algorithm": "hmac-sha256" }, "wrapped": base64(wrapped) });
        let refused = bench.api.post(&path, &body);
        refused.refused(400, "decryption-failed");
        let problem: Value = serde_json::from_slice(&refused.body).unwrap();
        said.push(problem["detail"].clone());
    }
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
    let _ = bench.import(&parameters, &good);
}

fn script() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join("transport.py").to_str().unwrap().to_owned()
}

/// The hybrids, written anew in Python from docs/formats.md.
#[test]
fn python_brings_a_key_by_the_hybrids() {
    if !have("python3", &["-c", "from cryptography.hazmat.primitives.asymmetric import mlkem"]) {
        return;
    }
    let bench = Bench::new();
    for method in ["x25519-ml-kem-768", "p384-ml-kem-1024"] {
        let parameters = bench.parameters("hmac-sha256", method);
        bench.write("material", format!("{method:-<32}"));
        let wrapped = bench.run("python3", &[&script(), "wrap", method, "wrapping.pem", "material"]);
        let imported = bench.import(&parameters, &wrapped);
        assert_eq!(imported["versions"][0]["imported"]["method"], method);
        let path = format!("/v1/keys/{}/mac", imported["id"].as_str().unwrap());
        let ours = bench.api.post(&path, &json!({ "message": base64("message") })).ok();
        bench.write("message", b"message");
        let option = format!("hexkey:{}", hex(&bench.read("material")));
        let theirs = bench.run("openssl", &["mac", "-digest", "SHA256", "-macopt", &option, "-in", "message", "HMAC"]);
        let theirs = String::from_utf8(theirs).unwrap().trim().to_lowercase();
        assert_eq!(hex(&unbase64(ours["mac"].as_str().unwrap())), theirs, "{method}");
    }
}

/// What the command line wraps for a recipient, others unwrap: the pure half of an export.
#[test]
fn others_unwrap_what_the_command_line_wraps() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("material", [0x5a; 32]);
    for method in ["rsa-oaep-sha256", "rsa-aes-kwp", "x25519-ml-kem-768", "p384-ml-kem-1024"] {
        let words = ["key", "new-recipient", "--method", method, "--public", "their.pem", "-o", "their.key", "--force"];
        let _ = bench.cli.ok(&words);
        let parameters = as_parameters(&bench, method);
        let mut other = parameters.clone();
        other["fingerprint"] = json!("00");
        bench.write("parameters.json", other.to_string());
        let refused = bench.cli.run(&["key", "wrap-for-import", "parameters.json", "material", "-o", "w"]).code(2);
        assert!(refused.stderr.contains("fingerprint"), "{refused}");
        bench.write("parameters.json", parameters.to_string());
        let _ = bench.cli.ok(&["key", "wrap-for-import", "parameters.json", "material", "-o", "w", "--force"]);
        let words = ["key", "unwrap-export", "w", "--with", "their.key", "--method", method, "-o", "back", "--force"];
        let _ = bench.cli.ok(&words);
        assert_eq!(bench.read("back"), [0x5a; 32], "{method}");
        match method {
            "rsa-oaep-sha256" => assert_eq!(openssl_oaep(&bench, "w"), [0x5a; 32]),
            "rsa-aes-kwp" => {
                let wrapped = bench.read("w");
                bench.write("head", &wrapped[..384]);
                bench.write("body", &wrapped[384..]);
                let key = hex(&openssl_oaep(&bench, "head"));
                let words = ["enc", "-d", "-id-aes256-wrap-pad", "-K", &key, "-iv", KWP_IV, "-in", "body"];
                assert_eq!(bench.run("openssl", &words), [0x5a; 32]);
            }
            _ => {}
        }
    }
}

/// The command line wraps for a hybrid key pair that Python made.
#[test]
fn python_unwraps_what_the_command_line_wraps() {
    if !have("python3", &["-c", "from cryptography.hazmat.primitives.asymmetric import mlkem"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("material", [0x5b; 32]);
    for method in ["x25519-ml-kem-768", "p384-ml-kem-1024"] {
        let _ = bench.run("python3", &[&script(), "recipient", method, "their.key", "their.pem"]);
        bench.write("parameters.json", as_parameters(&bench, method).to_string());
        let _ = bench.cli.ok(&["key", "wrap-for-import", "parameters.json", "material", "-o", "w", "--force"]);
        assert_eq!(bench.run("python3", &[&script(), "unwrap", method, "their.key", "w"]), [0x5b; 32], "{method}");
    }
}

/// A public key of somebody's in the form in which the server says its own; nothing is asked of the server.
fn as_parameters(bench: &Bench, method: &str) -> Value {
    let pem = String::from_utf8(bench.read("their.pem")).unwrap();
    json!({
        "import": "imp_00000000000000000000000000000000", "key": "key_00000000000000000000000000000000",
        "keyring": "default", "algorithm": "xaes-256-gcm", "purpose": "encrypt", "method": method,
        "fingerprint": fingerprint(bench, &pem), "public_key": pem, "expires": "2030-01-01T00:00:00Z",
    })
}

/// SHA-256 over the DER of all blocks of a PEM text, by OpenSSL.
fn fingerprint(bench: &Bench, pem: &str) -> String {
    let blocks = pem.split("-----END PUBLIC KEY-----").filter(|block| block.contains("BEGIN"));
    let der: Vec<u8> = blocks
        .flat_map(|block| unbase64(&block.lines().filter(|line| !line.contains("-----")).collect::<String>()))
        .collect();
    bench.write("der", der);
    let said = bench.run("openssl", &["dgst", "-sha256", "-r", "der"]);
    String::from_utf8(said).unwrap()[..64].to_owned()
}

fn openssl_oaep(bench: &Bench, file: &str) -> Vec<u8> {
    let words = ["pkeyutl", "-decrypt", "-inkey", "their.key", "-in", file];
    let options = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"];
    let options = options.iter().flat_map(|option| ["-pkeyopt", option]);
    bench.run("openssl", &words.into_iter().chain(options).collect::<Vec<_>>())
}

/// All of it at the command line, with keys that OpenSSL made.
#[test]
fn the_command_line_brings_a_key_lets_it_end_and_turns_it() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    let ec = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "own.pem"];
    let _ = bench.run("openssl", &ec);
    let words = ["key", "import-parameters", "--algorithm", "ec-p256", "--purpose", "sign", "-o", "import.json"];
    let said = bench.cli.run(&words).code(0);
    assert!(said.stderr.contains("wrap-for-import import.json"), "{said}");
    let _ = bench.cli.ok(&["key", "wrap-for-import", "import.json", "own.pem", "-o", "wrapped.bin"]);
    let words =
        ["key", "import", "import.json", "--wrapped", "wrapped.bin", "--alias", "mine", "--expires", "2035-01-01"];
    let shown = bench.cli.ok(&words);
    assert!(shown.contains("imported, ends 2035-01-01"), "{shown}");
    let again = bench.cli.run(&["key", "import", "import.json", "--wrapped", "wrapped.bin"]).code(4);
    assert!(again.stderr.contains("no such import waits for you"), "{again}");
    let words = ["key", "import-parameters", "--key", "mine", "-o", "import.json", "--force"];
    let _ = bench.cli.ok(&words);
    let _ = bench.cli.ok(&["key", "wrap-for-import", "import.json", "own.pem", "-o", "wrapped.bin", "--force"]);
    let words = ["key", "reimport", "mine", "import.json", "--wrapped", "wrapped.bin", "--reason", "for good"];
    let shown = bench.cli.ok(&words);
    assert!(shown.contains("(imported)"), "{shown}");
    let _ = bench.run("openssl", &ec);
    let _ = bench.cli.ok(&["key", "import-parameters", "--key", "mine", "-o", "import.json", "--force"]);
    let _ = bench.cli.ok(&["key", "wrap-for-import", "import.json", "own.pem", "-o", "wrapped.bin", "--force"]);
    let words = ["key", "rotate", "mine", "--import", "import.json", "--wrapped", "wrapped.bin", "--reason", "yearly"];
    let shown = bench.cli.ok(&words);
    assert!(shown.contains("2*"), "{shown}");
    let refused = bench.cli.run(&["key", "wrap-for-import", "import.json", "import.json", "-o", "x"]).code(2);
    assert!(refused.stderr.contains("this is no `ec-p256` key"), "{refused}");
}

/// Without rules of approval nothing leaves: a development server has none.
#[test]
fn nothing_leaves_a_development_server() {
    let bench = Bench::new();
    let _ = bench.cli.ok(&["key", "create", "--alias", "free", "--exportable"]);
    let _ =
        bench.cli.ok(&["key", "new-recipient", "--method", "x25519-ml-kem-768", "--public", "t.pem", "-o", "t.key"]);
    let words = ["key", "export", "free", "--to", "t.pem", "--method", "x25519-ml-kem-768", "-o", "out"];
    let refused = bench.cli.run(&words);
    assert!(refused.code != 0 && refused.stderr.contains("consent of 2 people"), "{refused}");
    assert!(!bench.path("out").exists());
}
