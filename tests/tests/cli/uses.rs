//! Everything a key can be used for, and random bytes.

use keyreeve_tests::{base64, unbase64};

use crate::Desk;

#[test]
fn signatures_verify_and_others_do_not() {
    let desk = Desk::new();
    desk.write("short", b"a message");
    desk.write("long", vec![9u8; 300_000]);
    for (alias, algorithm) in [("ec", "ec-p384"), ("ed", "ed25519"), ("rsa", "rsa-2048"), ("dsa", "ml-dsa-44")] {
        desk.key(alias, &["--algorithm", algorithm, "--purpose", "sign"]);
        for file in ["short", "long"] {
            let name = format!("{alias}.{file}.sig");
            let _ = desk.cli.ok(&["sign", alias, file, "-o", &name]);
            let said = desk.cli.ok(&["verify", alias, file, "--signature", &name]);
            assert!(said.contains("valid"), "{said}");
            let _ = desk.cli.run(&["verify", alias, "ec.short.sig", "--signature", &name]).code(1);
        }
        let signed = desk.cli.json(&["sign", alias, "short"]);
        let text = signed["signature"].as_str().unwrap();
        let verified = desk.cli.json(&["verify", alias, "short", "--signature-base64", text]);
        assert_eq!((&verified["valid"], &verified["version"]), (&true.into(), &1.into()));
        let _ = desk.cli.ok(&["key", "rotate", alias]);
        let _ = desk.cli.ok(&["verify", alias, "short", "--signature-base64", text]);
        let _ = desk.cli.run(&["verify", alias, "short", "--signature-base64", text, "--key-version", "2"]).code(1);
        assert!(desk.cli.ok(&["key", "public", alias]).starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}

#[test]
fn codes_are_made_and_verified() {
    let desk = Desk::new();
    desk.key("sessions", &["--algorithm", "hmac-sha256"]);
    let tag = desk.cli.run_with(&["mac", "sessions"], b"cookie").code(0).text();
    let verify =
        |message: &[u8]| desk.cli.run_with(&["verify-mac", "sessions", "--mac-base64", tag.trim()], message).code;
    assert_eq!((verify(b"cookie"), verify(b"other")), (0, 1));
    assert_eq!(unbase64(tag.trim()).len(), 32);
}

#[test]
fn data_keys_are_wrapped_and_come_back() {
    let desk = Desk::new();
    desk.key("backups", &[]);
    for bytes in ["32", "64"] {
        let (plain, wrapped, back) = (format!("{bytes}.key"), format!("{bytes}.wrapped"), format!("{bytes}.back"));
        let printed = desk.cli.ok(&["data-key", "backups", "--bytes", bytes, "-o", &plain, "--context", "a=b"]);
        desk.write(&wrapped, printed);
        assert_eq!(desk.read(&plain).len().to_string(), bytes);
        let _ = desk.cli.ok(&["unwrap-data-key", &wrapped, "-o", &back, "--context", "a=b"]);
        assert_eq!(desk.read(&plain), desk.read(&back));
        let _ = desk.cli.run(&["unwrap-data-key", &wrapped, "-o", "no", "--context", "a=c"]).code(7);
    }
    let later = desk.cli.ok(&["data-key", "backups", "--wrapped-only"]);
    assert_eq!(desk.cli.run_with(&["unwrap-data-key", "-o", "-"], later.as_bytes()).code(0).stdout.len(), 32);
    let shown = desk.cli.run(&["data-key", "backups"]).code(2);
    assert!(shown.stderr.contains("secret"), "{shown}");
}

#[test]
fn keys_are_wrapped_derived_agreed_and_encapsulated() {
    let desk = Desk::new();
    desk.key("transport", &["--algorithm", "aes-256-kw"]);
    desk.write("disk.key", [5u8; 40]);
    for mode in ["kw", "kwp"] {
        let (wrapped, back) = (format!("{mode}.wrapped"), format!("{mode}.back"));
        let _ = desk.cli.ok(&["wrap", "transport", "disk.key", "--mode", mode, "-o", &wrapped]);
        let _ = desk.cli.ok(&["unwrap", "transport", &wrapped, "--mode", mode, "-o", &back]);
        assert_eq!(desk.read(&back), [5u8; 40]);
    }
    desk.key("master", &["--algorithm", "kdk-256"]);
    let derive = |words: &[&str]| desk.cli.run(&[&["derive", "master", "-o", "-"], words].concat()).code(0).stdout;
    let tenant = derive(&["--info", "tenant 42"]);
    assert_eq!((tenant.len(), &tenant), (32, &derive(&["--info", "tenant 42"])));
    assert_ne!(tenant, derive(&["--info", "tenant 43"]));
    assert_eq!(derive(&["--kbkdf", "--label", "disk", "--party", "hex:0042", "--bytes", "64"]).len(), 64);
    for algorithm in ["x25519", "ec-p256"] {
        for side in ["left", "right"] {
            desk.key(&format!("{algorithm}-{side}"), &["--algorithm", algorithm, "--purpose", "agree"]);
            let _ = desk.cli.ok(&[
                "key",
                "public",
                &format!("{algorithm}-{side}"),
                "-o",
                &format!("{algorithm}-{side}.pem"),
            ]);
        }
        let agree = |own: &str, peer: &str| {
            let (own, peer) = (format!("{algorithm}-{own}"), format!("{algorithm}-{peer}.pem"));
            desk.cli.run(&["agree", &own, "--peer", &peer, "-o", "-"]).code(0).stdout
        };
        assert_eq!(agree("left", "right"), agree("right", "left"));
    }
    desk.key("mailbox", &["--algorithm", "ml-kem-768"]);
    let secret = desk.cli.run(&["encapsulate", "mailbox", "--ciphertext", "kem", "-o", "-"]).code(0).stdout;
    let back = desk.cli.run(&["decapsulate", "mailbox", "kem", "-o", "-"]).code(0).stdout;
    assert_eq!((secret.len(), secret), (32, back));
}

#[test]
fn random_bytes_are_not_the_same_twice() {
    let desk = Desk::new();
    let draw = || desk.cli.run(&["random", "32", "-o", "-"]).code(0).stdout;
    let (one, two) = (draw(), draw());
    assert_eq!((one.len(), two.len()), (32, 32));
    assert_ne!(one, two);
    let json = desk.cli.json(&["random", "16"]);
    assert_eq!(unbase64(json["random"].as_str().unwrap()).len(), 16);
    assert_ne!(base64(one), desk.cli.ok(&["random", "32"]).trim());
}
