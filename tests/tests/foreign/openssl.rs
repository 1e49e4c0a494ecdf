//! OpenSSL verifies, encrypts and agrees.

use keyreeve_tests::{base64, unbase64};
use serde_json::json;

use crate::{Bench, have};

struct Signing {
    algorithm: &'static str,
    scheme: &'static str,
    digest: &'static str,
    options: &'static [&'static str],
}

const PSS: &[&str] = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
const PKCS1: &[&str] = &["-sigopt", "rsa_padding_mode:pkcs1"];

const SIGNING: &[Signing] = &[
    Signing { algorithm: "rsa-2048", scheme: "rsa-pss-sha256", digest: "-sha256", options: PSS },
    Signing { algorithm: "rsa-2048", scheme: "rsa-pss-sha384", digest: "-sha384", options: PSS },
    Signing { algorithm: "rsa-3072", scheme: "rsa-pss-sha512", digest: "-sha512", options: PSS },
    Signing { algorithm: "rsa-2048", scheme: "rsa-pkcs1-sha256", digest: "-sha256", options: PKCS1 },
    Signing { algorithm: "rsa-3072", scheme: "rsa-pkcs1-sha384", digest: "-sha384", options: PKCS1 },
    Signing { algorithm: "rsa-2048", scheme: "rsa-pkcs1-sha512", digest: "-sha512", options: PKCS1 },
    Signing { algorithm: "ec-p256", scheme: "ecdsa-sha256", digest: "-sha256", options: &[] },
    Signing { algorithm: "ec-p384", scheme: "ecdsa-sha384", digest: "-sha384", options: &[] },
    Signing { algorithm: "ec-p521", scheme: "ecdsa-sha512", digest: "-sha512", options: &[] },
];

#[test]
fn openssl_verifies_signatures() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    let message = b"what was signed";
    bench.write("message", message);
    bench.write("other", b"what was not signed");
    for case in SIGNING {
        let key = bench.api.make_key(case.algorithm, Some("sign"));
        bench.public(&key, "public.pem");
        let body = json!({ "message": base64(message), "scheme": case.scheme });
        let signed = bench.api.post(&format!("/v1/keys/{key}/sign"), &body).ok();
        bench.write("signature", unbase64(signed["signature"].as_str().unwrap()));
        let start = ["dgst", case.digest, "-verify", "public.pem", "-signature", "signature"];
        let words = |file| [&start[..], case.options, &[file]].concat();
        let said = bench.run("openssl", &words("message"));
        assert!(String::from_utf8_lossy(&said).contains("Verified OK"), "{}", case.scheme);
        assert!(!bench.output("openssl", &words("other")).status.success(), "{}", case.scheme);
    }
}

#[test]
fn openssl_verifies_ed25519() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    let key = bench.api.make_key("ed25519", None);
    bench.public(&key, "public.pem");
    bench.write("message", b"what was signed");
    bench.write("other", b"what was not signed");
    let _ = bench.cli.ok(&["sign", &key, "message", "-o", "signature"]);
    let words =
        |file| ["pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-sigfile", "signature", "-in", file];
    let _ = bench.run("openssl", &words("message"));
    assert!(!bench.output("openssl", &words("other")).status.success());
}

/// What OpenSSL encrypted with an exported public key, Keyreeve decrypts; altered, it does not.
#[test]
fn openssl_encrypts_for_keyreeve() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("plaintext", b"for the holder of the key");
    for hash in ["sha256", "sha384", "sha512"] {
        let key = bench.api.make_key("rsa-3072", Some("encrypt"));
        bench.public(&key, "public.pem");
        let (md, mgf) = (format!("rsa_oaep_md:{hash}"), format!("rsa_mgf1_md:{hash}"));
        let words = [
            "pkeyutl",
            "-encrypt",
            "-pubin",
            "-inkey",
            "public.pem",
            "-in",
            "plaintext",
            "-out",
            "ciphertext",
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            &md,
            "-pkeyopt",
            &mgf,
        ];
        let _ = bench.run("openssl", &words);
        let mut ciphertext = bench.read("ciphertext");
        let decrypt = |ciphertext: &[u8]| {
            let body = json!({ "rsa_oaep": { "ciphertext": base64(ciphertext), "version": 1, "hash": hash } });
            bench.api.post(&format!("/v1/keys/{key}/decrypt"), &body)
        };
        assert_eq!(decrypt(&ciphertext).ok()["plaintext"], base64("for the holder of the key"));
        ciphertext[10] ^= 1;
        decrypt(&ciphertext).refused(400, "decryption-failed");
    }
}

/// Both sides of an agreement, one of them OpenSSL, come to the same secret.
#[test]
fn openssl_agrees_with_keyreeve() {
    if !have("openssl", &["version"]) {
        return;
    }
    let bench = Bench::new();
    let curves =
        [("x25519", "X25519", ""), ("ec-p256", "EC", "P-256"), ("ec-p384", "EC", "P-384"), ("ec-p521", "EC", "P-521")];
    for (algorithm, kind, curve) in curves {
        let key = bench.api.make_key(algorithm, Some("agree"));
        bench.public(&key, "keyreeve.pem");
        let group = format!("ec_paramgen_curve:{curve}");
        let mut words = vec!["genpkey", "-algorithm", kind, "-out", "own.key"];
        if !curve.is_empty() {
            words.extend(["-pkeyopt", &group]);
        }
        let _ = bench.run("openssl", &words);
        let _ = bench.run("openssl", &["pkey", "-in", "own.key", "-pubout", "-out", "own.pem"]);
        let derive = ["pkeyutl", "-derive", "-inkey", "own.key", "-peerkey", "keyreeve.pem", "-out", "raw"];
        let _ = bench.run("openssl", &derive);
        // HKDF-SHA-256 (RFC 5869) over the raw secret, by OpenSSL as well.
        let raw: String = bench.read("raw").iter().map(|byte| format!("{byte:02x}")).collect();
        let key_option = format!("hexkey:{raw}");
        let hkdf = [
            "kdf",
            "-keylen",
            "42",
            "-binary",
            "-kdfopt",
            "digest:SHA256",
            "-kdfopt",
            &key_option,
            "-kdfopt",
            "hexsalt:0102",
            "-kdfopt",
            "info:both sides",
            "HKDF",
        ];
        let theirs = bench.run("openssl", &hkdf);
        let words = ["--salt", "hex:0102", "--info", "both sides", "--bytes", "42", "-o", "-"];
        let ours = bench.cli.run(&[&["agree", &key, "--peer", "own.pem"], &words[..]].concat()).code(0).stdout;
        assert_eq!(ours, theirs, "{algorithm}");
    }
}
