//! What `age` and `gpg` made is read here by a reader of the tests alone, and so is what we made: the same reader for
//! both. The files were made with age 1.1.1 and GnuPG 2.2.40. That the programs read what we make is shown end to end,
//! in tests/tests/custody.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use keyreeve_secret::{SecretArray, SecretBytes};
use proptest::prelude::*;

use super::*;
use crate::aead::NumberedAead;
use crate::agreement::Agreer;
use crate::algorithm::KeyAlgorithm;
use crate::digest::sha256;
use crate::public::PublicKey;
use crate::{kdf, mac};

const ALICE: &str = include_str!("fixtures/alice.recipient");
const ALICE_IDENTITY: &str = include_str!("fixtures/alice.identity");
const ALICE_FILE: &str = include_str!("fixtures/alice.age");
const BOB: &str = include_str!("fixtures/bob.asc");
const BOB_SCALAR: &str = include_str!("fixtures/bob.scalar");
const BOB_MESSAGE: &str = include_str!("fixtures/bob.msg");
const CAROL: &str = include_str!("fixtures/carol.asc");
const DORA: &str = include_str!("fixtures/dora.asc");
const EVE: &str = include_str!("fixtures/eve.asc");
const BOB_FINGERPRINT: &str = "AF69764D1DE75490029F4F2A64F1FB0573D6427C";
/// A day after the certificates were made.
const NOW: u64 = 1_795_474_200;

fn recipient(text: &str) -> Recipient {
    Recipient::parse(text.as_bytes(), NOW).unwrap()
}

fn agreer(scalar: &[u8]) -> Agreer {
    Agreer::new(KeyAlgorithm::X25519, scalar).unwrap()
}

fn agree(scalar: &[u8], point: &[u8]) -> SecretBytes {
    let point = PublicKey::from_raw(KeyAlgorithm::X25519, point).unwrap();
    agreer(scalar).agree(KeyAlgorithm::X25519, &point).unwrap()
}

fn between(text: &str, label: &str) -> Vec<u8> {
    let lines = text.lines().skip_while(|line| *line != format!("-----BEGIN {label}-----")).skip(1);
    let lines = lines.take_while(|line| *line != format!("-----END {label}-----"));
    let digits: String = lines.filter(|line| !line.starts_with('=')).collect();
    BASE64.decode(digits.as_bytes()).unwrap()
}

fn chacha(key: &SecretArray<32>, nonce: [u8; 12], sealed: &[u8]) -> SecretBytes {
    let key = NumberedAead::with_algorithm(KeyAlgorithm::ChaCha20Poly1305, key).unwrap();
    key.open(nonce, b"", sealed).unwrap()
}

/// Opens an age file as age-encryption.org/v1 says.
fn open_age(text: &str) -> Vec<u8> {
    let identity = ALICE_IDENTITY.trim().to_lowercase();
    let checked = bech32::primitives::decode::CheckedHrpstring::new::<bech32::Bech32>(&identity).unwrap();
    let scalar: Vec<u8> = checked.byte_iter().collect();
    let file = between(text, "AGE ENCRYPTED FILE");
    let end = file.windows(5).position(|at| at == b"\n--- ").unwrap();
    let line_end = end + 1 + file[end + 1..].iter().position(|&byte| byte == b'\n').unwrap();
    let header = std::str::from_utf8(&file[..line_end]).unwrap();
    let lines: Vec<&str> = header.lines().collect();
    let [version, stanza, body, tag] = lines.as_slice() else { panic!("{header}") };
    assert_eq!(*version, "age-encryption.org/v1");
    let share = BASE64_NOPAD.decode(stanza.strip_prefix("-> X25519 ").unwrap().as_bytes()).unwrap();
    let salt = [share.clone(), agreer(&scalar).public_raw().unwrap()].concat();
    let wrapping = kdf::hkdf_sha256(agree(&scalar, &share).expose(), &salt, b"age-encryption.org/v1/X25519").unwrap();
    let file_key = chacha(&wrapping, [0; 12], &BASE64_NOPAD.decode(body.as_bytes()).unwrap());
    let mac_key = kdf::hkdf_sha256::<32>(file_key.expose(), b"", b"header").unwrap();
    let expected = mac::hmac_sha256(mac_key.expose(), &file[..end + 4]);
    assert_eq!(BASE64_NOPAD.decode(tag.strip_prefix("--- ").unwrap().as_bytes()).unwrap(), expected);
    let (nonce, mut payload) = file[line_end + 1..].split_at(16);
    let key = kdf::hkdf_sha256(file_key.expose(), nonce, b"payload").unwrap();
    let (mut plain, mut number) = (Vec::new(), 0u64);
    loop {
        let (chunk, rest) = payload.split_at(payload.len().min(64 * 1024 + 16));
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(rest.is_empty());
        plain.extend_from_slice(chacha(&key, nonce, chunk).expose());
        (payload, number) = (rest, number + 1);
        if rest.is_empty() {
            return plain;
        }
    }
}

/// Opens an OpenPGP message to Bob's subkey as RFC 6637 and RFC 4880 say.
fn open_openpgp(text: &str) -> Vec<u8> {
    let message = between(text, "PGP MESSAGE");
    let found = packets::packets(&message).unwrap();
    let [session, data] = found.as_slice() else { panic!("{} packets", found.len()) };
    assert_eq!((session.tag, data.tag, data.body[0]), (1, 18, 1));
    let mut reader = packets::Reader(&session.body[10..]);
    assert_eq!((session.body[0], session.body[9]), (3, 18));
    let point = reader.mpi().unwrap();
    assert_eq!(reader.byte(), Some(48));
    let wrapped = reader.take(48).unwrap();
    let scalar = HEXLOWER.decode(BOB_SCALAR.trim().as_bytes()).unwrap();
    let Recipient::OpenPgp(bob) = recipient(BOB) else { panic!("no certificate") };
    let fingerprint = data_encoding::HEXUPPER.decode(bob.subkey_fingerprint().as_bytes()).unwrap();
    assert_eq!(session.body[1..9], fingerprint[12..]);
    let mut input = vec![0, 0, 0, 1];
    input.extend_from_slice(agree(&scalar, &point[1..]).expose());
    input.extend_from_slice(&[10, 0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1, 18, 3, 1, 8, 7]);
    input.extend_from_slice(b"Anonymous Sender    ");
    input.extend_from_slice(&fingerprint);
    let mut plain = [0; 64];
    let kek = AesKek::new(&AES_128, &sha256(&input)[..16]).unwrap();
    let plain = kek.unwrap(wrapped, &mut plain).unwrap();
    assert_eq!(plain[0], 9, "AES-256");
    let sum = plain[1..33].iter().map(|&byte| u16::from(byte)).fold(0, u16::wrapping_add);
    assert_eq!(plain[33..35], sum.to_be_bytes());
    let mut data = data.body[1..].to_vec();
    let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_256, &plain[1..33]).unwrap()).unwrap();
    key.decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from([0; 16]))).unwrap();
    assert_eq!(data[14..16], data[16..18]);
    let (signed, digest) = data.split_at(data.len() - 20);
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, signed);
    assert_eq!(digest, sha1.as_ref());
    let literal = packets::packets(&data[18..data.len() - 22]).unwrap();
    assert_eq!((literal.len(), literal[0].tag, literal[0].body[0]), (1, 11, b'b'));
    let name = usize::from(literal[0].body[1]);
    literal[0].body[2 + name + 4..].to_vec()
}

#[test]
fn the_programs_files_are_read_by_the_tests_reader() {
    assert_eq!(open_age(ALICE_FILE), b"made by age 1.1.1");
    assert_eq!(open_openpgp(BOB_MESSAGE), b"made by gpg 2.2.40");
}

#[test]
fn what_is_encrypted_is_read_by_the_same_reader() {
    let random = Random::from_module().unwrap();
    for len in [0, 1, 17, 200, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let plain: Vec<u8> = (0..len).map(|n: usize| n.to_le_bytes()[0]).collect();
        let secret = SecretBytes::copy_from(&plain);
        let text = recipient(ALICE).encrypt(&random, &secret).unwrap();
        assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && text.lines().all(|line| line.len() <= 64));
        assert_eq!(open_age(&text), plain, "{len}");
        let text = recipient(BOB).encrypt(&random, &secret).unwrap();
        assert!(text.starts_with("-----BEGIN PGP MESSAGE-----\n\n") && text.lines().all(|line| line.len() <= 64));
        assert_eq!(open_openpgp(&text), plain, "{len}");
    }
    let long = SecretBytes::init_with(MAX_PLAINTEXT + 1, |_| ());
    assert!(matches!(recipient(ALICE).encrypt(&random, &long), Err(CryptoError::InputTooLong { .. })));
}

#[test]
fn recipients_say_who_they_are() {
    let bob = recipient(BOB);
    assert_eq!(bob.fingerprint(), BOB_FINGERPRINT);
    assert_eq!((bob.kind().name(), bob.user()), ("openpgp", Some("Bob Curve <bob@example.test>")));
    assert!(bob.has_fingerprint("af69 764d 1de7 5490 029f  4f2a 64f1 fb05 73d6 427c"));
    assert!(!bob.has_fingerprint("73D6427C") && !bob.has_fingerprint(""), "in full or not at all");
    assert_eq!(recipient(CAROL).fingerprint(), "6FC86D0DB65302A0ABF01B39898BF3496BAB4CC0");
    let binary = Recipient::parse(&between(BOB, "PGP PUBLIC KEY BLOCK"), NOW).unwrap();
    assert_eq!(binary, bob, "armored or not");
    let alice = recipient(ALICE);
    assert_eq!((alice.kind().name(), alice.user()), ("age", None));
    assert_eq!(alice.fingerprint(), ALICE.trim());
    assert!(recipient(CAROL).encrypt(&Random::from_module().unwrap(), &SecretBytes::copy_from(b"x")).is_ok());
}

#[test]
fn mistyped_age_recipients_and_secret_keys_are_refused() {
    let parse = |text: &str| Recipient::parse(text.as_bytes(), NOW).unwrap_err();
    let good = ALICE.trim();
    for at in 4..good.len() {
        let mut bad = good.to_owned();
        let other = if good.as_bytes()[at] == b'q' { "p" } else { "q" };
        bad.replace_range(at..=at, other);
        assert_eq!(parse(&bad), RecipientError::Age, "{at}");
    }
    assert_eq!(parse(&good.to_uppercase()), RecipientError::Age);
    assert_eq!(parse(ALICE_IDENTITY), RecipientError::Secret);
    assert_eq!(parse("-----BEGIN PGP PRIVATE KEY BLOCK-----"), RecipientError::Secret);
    assert_eq!(parse(""), RecipientError::Unknown);
    assert_eq!(parse("ssh-ed25519 AAAA"), RecipientError::Unknown);
    // A point of small order: everybody would know the secret.
    let hrp = bech32::Hrp::parse_unchecked("age");
    assert_eq!(parse(&bech32::encode::<bech32::Bech32>(hrp, &[0; 32]).unwrap()), RecipientError::Age);
    assert_eq!(parse(&bech32::encode::<bech32::Bech32>(hrp, &[9; 31]).unwrap()), RecipientError::Age);
}

#[test]
fn certificates_that_should_not_be_used_are_refused() {
    let parse = |text: &str, now| Recipient::parse(text.as_bytes(), now);
    assert_eq!(parse(EVE, NOW), Err(RecipientError::Unusable("it is revoked")));
    assert!(parse(DORA, NOW).is_ok());
    assert_eq!(parse(DORA, NOW + 3 * 86_400), Err(RecipientError::Unusable("it has expired")));
    let doubled = [between(BOB, "PGP PUBLIC KEY BLOCK"), between(DORA, "PGP PUBLIC KEY BLOCK")].concat();
    assert!(matches!(Recipient::parse(&doubled, NOW), Err(RecipientError::Malformed(_))));
    for cut in ["-----BEGIN PGP PUBLIC KEY BLOCK-----", &BOB[..BOB.len() - 40]] {
        assert!(matches!(parse(cut, NOW), Err(RecipientError::Malformed(_))));
    }
    assert_eq!(Recipient::parse(&vec![0x99; MAX_RECIPIENT + 1], NOW), Err(RecipientError::TooLong));
}

/// Bob's certificate with packets after its primary key, or after its subkey.
fn bob_with(after_primary: bool, tag: u8, body: &[u8], times: usize) -> Result<Recipient, RecipientError> {
    let bob = between(BOB, "PGP PUBLIC KEY BLOCK");
    let subkey = bob.windows(2).position(|at| at == [0xb8, 56]).unwrap();
    let at = if after_primary { 2 + usize::from(bob[1]) } else { subkey + 2 + usize::from(bob[subkey + 1]) };
    let mut forged = bob[..at].to_vec();
    for _ in 0..times {
        packets::write_packet(tag, body, &mut |part| forged.extend_from_slice(part));
    }
    forged.extend_from_slice(&bob[at..]);
    Recipient::parse(&forged, NOW)
}

/// The reason is in a subpacket that nobody here knows and that is marked critical: it revokes all the same.
#[test]
fn a_revocation_counts_whatever_else_it_says() {
    let with = |version: u8, kind: u8| match version {
        3 => vec![3, 5, kind, 0, 0, 0, 0],
        _ => vec![version, kind, 22, 8, 0, 2, 1, 0x80 | 29, 0, 0, 0, 0],
    };
    for version in [3, 4, 5, 6] {
        let revoked = bob_with(true, 2, &with(version, 0x20), 1);
        assert_eq!(revoked, Err(RecipientError::Unusable("it is revoked")), "version {version}");
        let subkey = bob_with(false, 2, &with(version, 0x28), 1);
        assert!(matches!(subkey, Err(RecipientError::Unusable(_))), "version {version}");
        assert_eq!(bob_with(true, 2, &with(version, 0x10), 1).unwrap(), recipient(BOB), "of another kind");
    }
}

#[test]
fn a_certificate_makes_no_more_work_than_it_should() {
    let other = [4, 0x10, 22, 8, 0, 0, 0, 0, 0, 0];
    assert_eq!(bob_with(true, 2, &other, 64).unwrap(), recipient(BOB));
    assert!(matches!(bob_with(true, 2, &other, 65), Err(RecipientError::Malformed(_))));
    assert_eq!(bob_with(true, 13, &[b'x'; 1024], 1).unwrap().fingerprint(), BOB_FINGERPRINT);
    assert!(matches!(bob_with(true, 13, &[b'x'; 1025], 1), Err(RecipientError::Malformed(_))));
}

/// Somebody who passes Bob's certificate on adds a subkey of their own to it: the primary key never said that it is
/// his, so it is not encrypted to.
#[test]
fn a_subkey_of_somebody_else_is_not_taken() {
    let bob = between(BOB, "PGP PUBLIC KEY BLOCK");
    let dora = between(DORA, "PGP PUBLIC KEY BLOCK");
    let start = dora.windows(2).position(|at| at == [0xb8, 56]).unwrap();
    // Dora's subkey with its signature, whole, after Bob's.
    let forged = [bob.as_slice(), &dora[start..]].concat();
    assert_eq!(Recipient::parse(&forged, NOW).unwrap(), recipient(BOB));
    // And in the place of Bob's own.
    let own = bob.windows(2).position(|at| at == [0xb8, 56]).unwrap();
    let replaced = [&bob[..own], &dora[start..]].concat();
    assert!(matches!(Recipient::parse(&replaced, NOW), Err(RecipientError::Unusable(_))));
}

/// No byte of what is signed can be changed so that another key is taken.
#[test]
fn altered_certificates_never_lead_to_another_key() {
    let good = between(BOB, "PGP PUBLIC KEY BLOCK");
    let bob = recipient(BOB);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        if let Ok(read) = Recipient::parse(&bad, NOW) {
            // What is not signed may change: hints to the issuer, and the first bytes of digests.
            assert_eq!(read, bob, "byte {place}");
        }
    }
}

proptest! {
    #[test]
    fn noise_is_nobody(noise: Vec<u8>) {
        prop_assert!(Recipient::parse(&noise, NOW).is_err());
        let armored = armor::encode(&noise, armor::CERTIFICATE, false);
        prop_assert!(Recipient::parse(armored.as_bytes(), NOW).is_err());
    }

    #[test]
    fn lengths_that_lie_are_refused(at in 0usize..600, byte: u8) {
        let mut certificate = between(CAROL, "PGP PUBLIC KEY BLOCK");
        certificate[at] = byte;
        // Whatever comes of it, it comes without a panic.
        let _ = Recipient::parse(&certificate, NOW);
    }
}
