//! The format does not change: files of `vectors/envelope-v1.json` are made again byte for byte, and opened.
//!
//! The vectors come from this implementation: they anchor its format. What checks it is the second writer below, which
//! follows the layout in the documentation of the crate and shares no code with it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use keyreeve_crypto::aead::NumberedAead;
use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::kdf::hkdf_sha256;
use keyreeve_crypto::mac::hmac_sha256;
use keyreeve_envelope::{Header, decrypt_stream, encrypt_stream, read_header};
use keyreeve_secret::SecretBytes;
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/envelope-v1.json");

struct Case {
    data_key: Vec<u8>,
    salt: [u8; 32],
    chunk_size: u32,
    wrapped_key: Vec<u8>,
    context: BTreeMap<String, String>,
    plaintext_len: usize,
}

/// Byte i is i modulo 251, so that no two chunks are equal.
fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn cases() -> Vec<Case> {
    let context = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let case = |n: u8, wrapped: usize, context, plaintext_len| Case {
        data_key: (0..32).map(|i| i ^ n).collect(),
        salt: std::array::from_fn(|i| i as u8 + n),
        chunk_size: 4096,
        wrapped_key: vec![n; wrapped],
        context,
        plaintext_len,
    };
    vec![
        case(1, 1, context(&[]), 0),
        case(2, 92, context(&[("tenant", "a")]), 1),
        case(3, 92, context(&[("b", ""), ("a", "ä € 😀"), ("B", "2")]), 300),
        case(4, 92, context(&[]), 4096),
        case(5, 92, context(&[("path", "/x")]), 2 * 4096 + 77),
        Case { chunk_size: 65536, ..case(6, 4096, context(&[]), 10) },
    ]
}

fn encrypted(case: &Case) -> Vec<u8> {
    let header =
        Header::with_parts(case.chunk_size, case.salt, case.wrapped_key.clone(), case.context.clone()).unwrap();
    let key = SecretBytes::copy_from(&case.data_key);
    let mut file = Vec::new();
    encrypt_stream(&key, header, plaintext(case.plaintext_len).as_slice(), &mut file, |_| ()).unwrap();
    file
}

/// The documented layout, written down a second time.
fn encrypted_by_the_book(case: &Case) -> Vec<u8> {
    let counted = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let pairs: Vec<u8> =
        case.context.iter().flat_map(|(n, v)| [counted(n.as_bytes()), counted(v.as_bytes())].concat()).collect();
    let context = [&(case.context.len() as u32).to_be_bytes()[..], &pairs].concat();
    let body = [&case.salt[..], &counted(&case.wrapped_key), &counted(&context)].concat();
    let len = 20 + body.len() as u32 + 64;
    let mut file = b"\x8bKREENV\n\0\x01\0\x01".to_vec();
    for part in [&case.chunk_size.to_be_bytes()[..], &len.to_be_bytes(), &body] {
        file.extend_from_slice(part);
    }
    let derive = |info: &[u8]| hkdf_sha256::<32>(&case.data_key, &case.salt, info).unwrap();
    file.extend_from_slice(derive(b"keyreeve envelope commit v1").expose());
    let hash = sha256(&file);
    file.extend_from_slice(&hmac_sha256(derive(b"keyreeve envelope header v1").expose(), &file));
    let key = NumberedAead::new(&derive(&[b"keyreeve envelope payload v1", &hash[..]].concat())).unwrap();
    let plain = plaintext(case.plaintext_len);
    let mut chunks: Vec<&[u8]> = plain.chunks(case.chunk_size as usize).collect();
    if chunks.is_empty() {
        chunks.push(b"");
    }
    for (n, chunk) in chunks.iter().enumerate() {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&(n as u32).to_be_bytes());
        nonce[11] = u8::from(n + 1 == chunks.len());
        key.seal_into(nonce, b"", chunk, &mut file).unwrap();
    }
    file
}

fn as_json() -> Value {
    let cases: Vec<Value> = cases()
        .iter()
        .map(|case| {
            json!({
                "data_key": hex::encode(&case.data_key),
                "salt": hex::encode(case.salt),
                "chunk_size": case.chunk_size,
                "wrapped_key": hex::encode(&case.wrapped_key),
                "context": case.context,
                "plaintext_len": case.plaintext_len,
                "file": hex::encode(encrypted(case)),
            })
        })
        .collect();
    json!({
        "format": "Keyreeve envelope file, version 1, suite 1",
        "origin": "Made by keyreeve-envelope itself: an anchor that keeps the format from changing. \
                   Opened once by a script on Python's cryptography 48 (OpenSSL).",
        "plaintext": "byte i is i modulo 251",
        "binary": "hexadecimal",
        "cases": cases,
    })
}

#[test]
fn files_are_made_as_they_always_were() {
    let made = as_json();
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    if serde_json::from_str::<Value>(&kept).ok().as_ref() != Some(&made) {
        // To compare, or to take over when a new version of the format is added.
        let place = concat!(env!("CARGO_TARGET_TMPDIR"), "/envelope-v1.json");
        std::fs::write(place, format!("{made:#}\n")).unwrap();
        panic!("the format has changed: files in the world do not open any more; {FILE} differs from {place}");
    }
}

#[test]
fn the_kept_files_open() {
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let cases = kept["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let file = bytes(&case["file"]);
        let mut reader = file.as_slice();
        let header = read_header(&mut reader).unwrap();
        assert_eq!(header.header().wrapped_key(), bytes(&case["wrapped_key"]));
        assert_eq!(json!(header.header().context()), case["context"]);
        let mut out = Vec::new();
        let key = SecretBytes::from_vec(bytes(&case["data_key"]));
        decrypt_stream(&key, &header, reader, &mut out, |_| ()).unwrap();
        assert_eq!(out, plaintext(usize::try_from(case["plaintext_len"].as_u64().unwrap()).unwrap()));
    }
}

#[test]
fn the_documentation_says_how_files_are_made() {
    for case in cases() {
        assert_eq!(encrypted(&case), encrypted_by_the_book(&case), "{} bytes", case.plaintext_len);
    }
}
