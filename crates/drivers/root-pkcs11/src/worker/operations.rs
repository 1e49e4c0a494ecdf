//! What is done with keys in a token.

use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, SignatureScheme};
use keyreeve_secret::{SecretBuffer, SecretBytes};

use super::desk::Open;
use super::keys;
use super::trouble::{Trouble, blames_input, is_vague};
use crate::wire::{Failure, KeyRef, Kind};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// A ciphertext known to open, by which a device in trouble is told from a ciphertext that does not open.
pub(super) struct Probe(Vec<u8>);

const PROBE: &[u8] = b"keyreeve: does this key still decrypt?";

/// AES-GCM: `nonce || ciphertext || tag`.
pub(super) fn seal(
    open: &mut Open,
    key: &KeyRef,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Trouble> {
    let handle = open.key(key)?;
    let session = &open.session;
    let works = || random(session).is_ok_and(|nonce| gcm_seal(session, handle, nonce, b"", PROBE).is_ok());
    excused(gcm_seal(session, handle, *nonce, aad, plaintext), works)
}

/// What one caller wants protected may be to blame where the token says nothing definite and does the same with
/// something else right after it: no reason to give up the worker of all.
fn excused<T>(made: Result<T, Error>, works: impl FnOnce() -> bool) -> Result<T, Trouble> {
    made.map_err(|error| match is_vague(&error) && works() {
        true => Trouble::new(Failure::NotOffered, error.to_string()),
        false => error.into(),
    })
}

fn gcm_seal(
    session: &Session,
    key: ObjectHandle,
    mut nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let params = GcmParams::new(&mut nonce, aad, Ulong::try_from(TAG_LEN * 8)?)?;
    let sealed = session.encrypt(&Mechanism::AesGcm(params), key, plaintext)?;
    // Tokens that insist on a nonce of their own have written it where ours was.
    Ok([&nonce[..], &sealed].concat())
}

fn gcm_open(session: &Session, key: ObjectHandle, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Error::InvalidValue)?;
    let mut nonce: [u8; NONCE_LEN] = nonce.try_into()?;
    let params = GcmParams::new(&mut nonce, aad, Ulong::try_from(TAG_LEN * 8)?)?;
    session.decrypt(&Mechanism::AesGcm(params), key, body).map(SecretBytes::from_vec)
}

/// Opens what [`seal`] made.
pub(super) fn unseal(open: &mut Open, key: &KeyRef, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, Trouble> {
    if sealed.len() < NONCE_LEN + TAG_LEN {
        return Err(Trouble::new(Failure::Input, "too short"));
    }
    let handle = open.key(key)?;
    // The sample is made while the key works; afterwards would be too late to tell.
    let (session, probes) = open.probes();
    if !probes.contains_key(key) {
        let made = gcm_seal(session, handle, random(session)?, b"", PROBE)?;
        probes.insert(key.clone(), Probe(made));
    }
    let error = match gcm_open(session, handle, aad, sealed) {
        Ok(plaintext) => return Ok(plaintext),
        Err(error) => error,
    };
    let Some(Probe(probe)) = probes.get(key) else { return Err(error.into()) };
    let works = || gcm_open(session, handle, b"", probe).is_ok_and(|opened| opened.ct_eq(PROBE));
    judge(error, works)
}

/// A ciphertext is to blame if the token says so, or says nothing definite and opens another one right after it.
fn judge<T>(error: Error, works: impl FnOnce() -> bool) -> Result<T, Trouble> {
    if blames_input(&error) || (is_vague(&error) && works()) {
        Err(Trouble::new(Failure::Input, error.to_string()))
    } else if is_vague(&error) {
        Err(Trouble::new(Failure::Unavailable, error.to_string()))
    } else {
        Err(error.into())
    }
}

fn random(session: &Session) -> Result<[u8; NONCE_LEN], Error> {
    let mut nonce = [0; NONCE_LEN];
    session.generate_random_slice(&mut nonce)?;
    Ok(nonce)
}

/// SP 800-108r1, 4.1, with CMAC: two blocks of `counter || label || 0x00 || length`.
///
/// The key is also used for GCM, whose blocks are `nonce || counter`: the last four bytes of the first block here would
/// be a counter that no message of ours reaches, so no block is ever encrypted for both.
pub(super) fn commitment_key(open: &mut Open, key: &KeyRef) -> Result<SecretBytes, Trouble> {
    const LABEL: &[u8] = b"keyreeve/commitment/1";
    let handle = open.key(key)?;
    let mut out = SecretBuffer::with_capacity(32);
    for counter in 1u32..=2 {
        let input = [&counter.to_be_bytes()[..], LABEL, &[0], &256u32.to_be_bytes()].concat();
        let block = SecretBytes::from_vec(open.session.sign(&Mechanism::AesCMac, handle, &input)?);
        out.extend_from_slice(block.expose());
    }
    let out = out.finish();
    if out.len() == 32 { Ok(out) } else { Err(Trouble::new(Failure::Unavailable, "a CMAC of the wrong length")) }
}

fn hash_mechanism(hash: HashAlgorithm) -> (MechanismType, PkcsMgfType) {
    match hash {
        HashAlgorithm::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        HashAlgorithm::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        HashAlgorithm::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    }
}

fn oaep_mechanism(hash: HashAlgorithm, label: &[u8]) -> Mechanism<'_> {
    let (digest, mgf) = hash_mechanism(hash);
    let source = if label.is_empty() { PkcsOaepSource::empty() } else { PkcsOaepSource::data_specified(label) };
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(digest, mgf, source))
}

/// RSA-OAEP.
pub(super) fn oaep(
    open: &mut Open,
    key: &KeyRef,
    hash: HashAlgorithm,
    label: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, Trouble> {
    let handle = open.key(key)?;
    let session = &open.session;
    let mechanism = oaep_mechanism(hash, label);
    match session.decrypt(&mechanism, handle, ciphertext) {
        Ok(plaintext) => Ok(SecretBytes::from_vec(plaintext)),
        Err(error) => {
            let works = || {
                let public = keys::find_public(session, &key.id).ok()?;
                let probe = session.encrypt(&mechanism, public, PROBE).ok()?;
                session.decrypt(&mechanism, handle, &probe).ok()
            };
            judge(error, || works().map(SecretBytes::from_vec).is_some_and(|opened| opened.ct_eq(PROBE)))
        }
    }
}

/// Signs a digest, or the message for Ed25519. ECDSA gives `r || s`.
pub(super) fn sign(open: &mut Open, key: &KeyRef, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, Trouble> {
    use SignatureScheme as S;
    let fits = matches!(key.kind, Kind::Key(algorithm, _) if scheme.fits(algorithm));
    let len = scheme.hash().map_or(input.len(), HashAlgorithm::output_len);
    if !fits || len != input.len() {
        return Err(Trouble::new(Failure::Protocol, "the scheme does not fit the key or the input"));
    }
    let handle = open.key(key)?;
    let session = &open.session;
    let signature = match scheme {
        S::RsaPssSha256 => session.sign(&pss(HashAlgorithm::Sha256)?, handle, input),
        S::RsaPssSha384 => session.sign(&pss(HashAlgorithm::Sha384)?, handle, input),
        S::RsaPssSha512 => session.sign(&pss(HashAlgorithm::Sha512)?, handle, input),
        S::RsaPkcs1Sha256 | S::RsaPkcs1Sha384 | S::RsaPkcs1Sha512 => {
            session.sign(&Mechanism::RsaPkcs, handle, &digest_info(scheme, input))
        }
        S::EcdsaSha256 | S::EcdsaSha384 | S::EcdsaSha512 => session.sign(&Mechanism::Ecdsa, handle, input),
        S::Ed25519 => {
            let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            let works = || session.sign(&mechanism, handle, PROBE).is_ok();
            return excused(session.sign(&mechanism, handle, input), works);
        }
        S::MlDsa44 | S::MlDsa65 | S::MlDsa87 => {
            return Err(Trouble::new(Failure::NotOffered, "no token key signs by this scheme"));
        }
    };
    Ok(signature?)
}

fn pss(hash: HashAlgorithm) -> Result<Mechanism<'static>, Error> {
    let (hash_alg, mgf) = hash_mechanism(hash);
    Ok(Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len: Ulong::try_from(hash.output_len())? }))
}

/// RFC 8017, 9.2, note 1: the digest with its algorithm in DER.
fn digest_info(scheme: SignatureScheme, digest: &[u8]) -> Vec<u8> {
    let last = match scheme.hash() {
        Some(HashAlgorithm::Sha384) => 2,
        Some(HashAlgorithm::Sha512) => 3,
        _ => 1,
    };
    // At most 64 bytes of digest: every length takes one byte.
    let len = u8::try_from(digest.len()).unwrap_or_default();
    let prefix = [
        0x30,
        len.wrapping_add(17),
        0x30,
        0x0d,
        0x06,
        0x09,
        0x60,
        0x86,
        0x48,
        0x01,
        0x65,
        0x03,
        0x04,
        0x02,
        last,
        0x05,
        0x00,
        0x04,
        len,
    ];
    [&prefix[..], digest].concat()
}

/// An HMAC tag.
pub(super) fn mac(open: &mut Open, key: &KeyRef, data: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mechanism = match key.kind {
        Kind::Key(KeyAlgorithm::HmacSha256, _) => Mechanism::Sha256Hmac,
        Kind::Key(KeyAlgorithm::HmacSha384, _) => Mechanism::Sha384Hmac,
        Kind::Key(KeyAlgorithm::HmacSha512, _) => Mechanism::Sha512Hmac,
        _ => return Err(Trouble::new(Failure::Protocol, "this key makes no tags")),
    };
    let handle = open.key(key)?;
    let works = || open.session.sign(&mechanism, handle, PROBE).is_ok();
    excused(open.session.sign(&mechanism, handle, data), works)
}

/// Which hash functions the token takes for OAEP, tried with a public key that goes away with the session: mechanism
/// lists do not say, and some tokens take SHA-1 only.
pub(super) fn tried_oaep(session: &Session) -> u8 {
    let public = session.create_object(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Encrypt(true),
        Attribute::Modulus(SAMPLE_MODULUS.to_vec()),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ]);
    let Ok(public) = public else { return 0 };
    let takes = |hash: &HashAlgorithm| session.encrypt(&oaep_mechanism(*hash, b""), public, PROBE).is_ok();
    let bits = HashAlgorithm::ALL.iter().filter(|hash| takes(hash)).map(|hash| 1 << hash.code()).sum();
    let _ = session.destroy_object(public);
    bits
}

/// A modulus of 2048 bits of which nobody needs to know the factors.
const SAMPLE_MODULUS: [u8; 256] = [
    0xb9, 0x3c, 0x6e, 0xa6, 0x0a, 0x1b, 0x81, 0x9a, 0x7a, 0x59, 0x9d, 0x2b, 0x21, 0x25, 0x5c, 0xf0, 0x1e, 0xc9, 0x4b,
    0x02, 0x2c, 0x03, 0xc7, 0x80, 0x78, 0xbb, 0xa4, 0x57, 0x7c, 0x66, 0xa8, 0x61, 0x64, 0x68, 0xf2, 0xb4, 0x24, 0xa3,
    0x07, 0xc6, 0x19, 0xed, 0x09, 0x35, 0xcc, 0x91, 0x8b, 0x91, 0x44, 0x4f, 0x23, 0x3b, 0x5a, 0x7b, 0x47, 0x3b, 0x3b,
    0xa2, 0xb9, 0x0f, 0x68, 0xcc, 0x75, 0xdc, 0x9f, 0x19, 0x9a, 0xdf, 0xcc, 0xd4, 0xa1, 0x68, 0x36, 0x6a, 0xd5, 0x8a,
    0x4f, 0x27, 0x87, 0x3d, 0x87, 0xd9, 0xe1, 0x8f, 0x81, 0x7f, 0xc5, 0xd3, 0x9c, 0x02, 0xf4, 0xd2, 0x6e, 0x17, 0x2c,
    0xcc, 0xe9, 0xe4, 0x31, 0x11, 0x19, 0x21, 0x67, 0x61, 0x83, 0xc9, 0xdf, 0xd1, 0xbf, 0x83, 0xff, 0x28, 0x22, 0xab,
    0x7a, 0xcf, 0x43, 0x3b, 0x85, 0xaa, 0x73, 0x99, 0xe5, 0xb7, 0x26, 0xa1, 0x7d, 0xd0, 0xba, 0xa1, 0x41, 0x7a, 0xe2,
    0x1e, 0x45, 0x35, 0x45, 0x56, 0x78, 0x1b, 0x40, 0x2e, 0x25, 0x5b, 0x6e, 0x0a, 0x86, 0x3b, 0x64, 0x70, 0x51, 0x61,
    0x8b, 0x9d, 0x4b, 0x07, 0xff, 0x6b, 0x2e, 0x88, 0x79, 0x5a, 0xb0, 0xfe, 0xaa, 0x02, 0xf2, 0x86, 0xf7, 0x4a, 0xa5,
    0xa8, 0xd5, 0x2d, 0xdc, 0x45, 0xa2, 0x54, 0xeb, 0x0f, 0x2f, 0x0e, 0x1a, 0x38, 0xe7, 0x78, 0x96, 0x7a, 0x73, 0x74,
    0xe2, 0x58, 0x5a, 0x85, 0xa9, 0x4f, 0x70, 0xfb, 0x80, 0x5d, 0x78, 0x1e, 0x76, 0xe3, 0xea, 0xb1, 0x8b, 0x86, 0xe3,
    0x8f, 0x80, 0xb0, 0x16, 0x8d, 0x88, 0xdf, 0xb2, 0x01, 0xc5, 0xde, 0xd1, 0xa8, 0x56, 0x1a, 0x67, 0xd2, 0x4a, 0x96,
    0xe7, 0xea, 0x06, 0xbb, 0xfd, 0xc5, 0x06, 0x9d, 0x03, 0x2e, 0x26, 0x28, 0xbb, 0x3e, 0x77, 0x75, 0xb5, 0x82, 0x4c,
    0x9c, 0xbf, 0x0b, 0xef, 0x70, 0x19, 0x59, 0xd2, 0x67,
];

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;
    use cryptoki::error::RvError;

    #[test]
    fn a_message_that_a_token_does_not_take_is_told_from_a_token_in_trouble() {
        let failure = |code, works: bool| match excused::<()>(Err(Error::Pkcs11(code, Function::Sign)), || works) {
            Err(Trouble::Final(failure, _)) => Some(failure),
            Ok(()) | Err(Trouble::Stale(_)) => None,
        };
        assert_eq!(failure(RvError::GeneralError, true), Some(Failure::NotOffered));
        assert_eq!(failure(RvError::GeneralError, false), Some(Failure::Unavailable));
        assert_eq!(failure(RvError::DeviceRemoved, true), Some(Failure::Unavailable));
        assert_eq!(failure(RvError::UserNotLoggedIn, true), None);
        assert!(excused(Ok(1), || false).is_ok());
    }
}
