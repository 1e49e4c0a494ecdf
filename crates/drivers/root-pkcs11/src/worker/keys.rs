//! Making, finding and looking at keys in a token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use keyreeve_crypto::{KeyAlgorithm, Purpose};

use super::trouble::Trouble;
use crate::wire::{Failure, KeyRef, Kind, PublicHalf};

/// Named curves as `CKA_EC_PARAMS` (RFC 5480, 2.1.1; RFC 8410, 3).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The other spelling PKCS #11 3.0 allows (2.3.5): the name as a PrintableString.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// What a kind of key is in a token.
struct Form {
    class: ObjectClass,
    key_type: KeyType,
    /// Bytes of a symmetric key.
    len: Option<u64>,
}

fn form(kind: Kind) -> Result<Form, Trouble> {
    use KeyAlgorithm as K;
    let secret = |key_type, len| Form { class: ObjectClass::SECRET_KEY, key_type, len: Some(len) };
    let private = |key_type| Form { class: ObjectClass::PRIVATE_KEY, key_type, len: None };
    match kind {
        Kind::Root | Kind::Key(K::Aes256Gcm, Purpose::Encrypt) => Ok(secret(KeyType::AES, 32)),
        Kind::Key(K::HmacSha256, Purpose::Mac) => Ok(secret(KeyType::GENERIC_SECRET, 32)),
        Kind::Key(K::HmacSha384, Purpose::Mac) => Ok(secret(KeyType::GENERIC_SECRET, 48)),
        Kind::Key(K::HmacSha512, Purpose::Mac) => Ok(secret(KeyType::GENERIC_SECRET, 64)),
        Kind::Key(K::Rsa2048 | K::Rsa3072 | K::Rsa4096, Purpose::Sign | Purpose::Encrypt) => Ok(private(KeyType::RSA)),
        Kind::Key(K::EcP256 | K::EcP384 | K::EcP521, Purpose::Sign) => Ok(private(KeyType::EC)),
        Kind::Key(K::Ed25519, Purpose::Sign) => Ok(private(KeyType::EC_EDWARDS)),
        Kind::Key(..) => Err(Trouble::new(Failure::NotOffered, "no token key can be of this algorithm and purpose")),
    }
}

/// Which of its mechanisms a key may be used with.
fn uses(kind: Kind) -> Vec<Attribute> {
    match kind {
        Kind::Root => vec![Attribute::Encrypt(true), Attribute::Decrypt(true), Attribute::Sign(false)],
        // CMAC, for the key of commitments, is signing.
        Kind::Key(KeyAlgorithm::Aes256Gcm, _) => {
            vec![Attribute::Encrypt(true), Attribute::Decrypt(true), Attribute::Sign(true)]
        }
        Kind::Key(_, Purpose::Encrypt) => vec![Attribute::Decrypt(true), Attribute::Sign(false)],
        Kind::Key(..) => vec![Attribute::Sign(true), Attribute::Decrypt(false)],
    }
}

/// What every secret or private key of ours has: it stays in the token, and nobody can make it leave.
fn guarded(key: &KeyRef, label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Derive(false),
        Attribute::Unwrap(false),
        Attribute::Id(key.id.clone()),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

/// Makes a key, and erases it again if the token did not make it as it must be.
pub(super) fn generate(session: &Session, key: &KeyRef, label: &str) -> Result<PublicHalf, Trouble> {
    let form = form(key.kind)?;
    if !session.find_objects(&[Attribute::Id(key.id.clone())])?.is_empty() {
        return Err(Trouble::new(Failure::Protocol, "a key of this id is in the token already"));
    }
    let mut template = guarded(key, label);
    template.extend(uses(key.kind));
    if let Some(len) = form.len {
        let len = Ulong::try_from(usize::try_from(len).unwrap_or_default())?;
        template.extend([Attribute::Class(form.class), Attribute::KeyType(form.key_type), Attribute::ValueLen(len)]);
        template.push(Attribute::Wrap(false));
        let mechanism =
            if form.key_type == KeyType::AES { Mechanism::AesKeyGen } else { Mechanism::GenericSecretKeyGen };
        session.generate_key(&mechanism, &template)?;
    } else {
        generate_pair(session, key, label, &template)?;
    }
    let made = find(session, key).and_then(|handle| public_half(session, key, handle));
    if made.is_err() {
        // Nothing of a key that may not be is left behind; if that fails too, the list of keys names it.
        let _ = erase(session, &key.id);
    }
    made
}

fn generate_pair(session: &Session, key: &KeyRef, label: &str, private: &[Attribute]) -> Result<(), Trouble> {
    let Kind::Key(algorithm, purpose) = key.kind else { return Err(Trouble::missing()) };
    let encrypts = purpose == Purpose::Encrypt;
    let public = |more: &[Attribute]| {
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Encrypt(encrypts),
            Attribute::Verify(!encrypts),
            Attribute::Wrap(false),
            Attribute::Id(key.id.clone()),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        public.extend_from_slice(more);
        public
    };
    let rsa = |bits: usize| {
        let bits = Attribute::ModulusBits(Ulong::try_from(bits)?);
        let public = public(&[bits, Attribute::PublicExponent(vec![1, 0, 1])]);
        session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, private)
    };
    let curve = |mechanism: &Mechanism, params: &[u8]| {
        session.generate_key_pair(mechanism, &public(&[Attribute::EcParams(params.to_vec())]), private)
    };
    match algorithm {
        KeyAlgorithm::Rsa2048 => rsa(2048),
        KeyAlgorithm::Rsa3072 => rsa(3072),
        KeyAlgorithm::Rsa4096 => rsa(4096),
        KeyAlgorithm::EcP256 => curve(&Mechanism::EccKeyPairGen, P256),
        KeyAlgorithm::EcP384 => curve(&Mechanism::EccKeyPairGen, P384),
        KeyAlgorithm::EcP521 => curve(&Mechanism::EccKeyPairGen, P521),
        // Tokens know one spelling or the other.
        _ => curve(&Mechanism::EccEdwardsKeyPairGen, ED25519_OID)
            .or_else(|_| curve(&Mechanism::EccEdwardsKeyPairGen, ED25519_NAME)),
    }?;
    Ok(())
}

/// The secret or private key, after a look at whether it may be used: it must never have been possible to take it out.
pub(super) fn find(session: &Session, key: &KeyRef) -> Result<ObjectHandle, Trouble> {
    let form = form(key.kind)?;
    let found = session.find_objects(&[Attribute::Class(form.class), Attribute::Id(key.id.clone())])?;
    let handle = match found.as_slice() {
        [handle] => *handle,
        [] => return Err(Trouble::missing()),
        _ => return Err(Trouble::new(Failure::Exposed, "several keys in the token have this id")),
    };
    let mut must = vec![
        Attribute::KeyType(form.key_type),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::AlwaysSensitive(true),
        Attribute::Extractable(false),
        Attribute::NeverExtractable(true),
        Attribute::Local(true),
    ];
    if let Some(len) = form.len {
        must.push(Attribute::ValueLen(Ulong::try_from(usize::try_from(len).unwrap_or_default())?));
    }
    let types: Vec<AttributeType> = must.iter().map(Attribute::attribute_type).collect();
    let said = session.get_attributes(handle, &types)?;
    for attribute in &must {
        if !said.contains(attribute) {
            let what = format!("the token does not confirm of this key: {attribute:?}");
            return Err(Trouble::new(Failure::Exposed, what));
        }
    }
    Ok(handle)
}

/// The public object of a pair.
pub(super) fn find_public(session: &Session, id: &[u8]) -> Result<ObjectHandle, Trouble> {
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())];
    session.find_objects(&template)?.first().copied().ok_or_else(Trouble::missing)
}

/// The public half of a key.
pub(super) fn public_half(session: &Session, key: &KeyRef, private: ObjectHandle) -> Result<PublicHalf, Trouble> {
    let Kind::Key(algorithm, _) = key.kind else { return Ok(PublicHalf::None) };
    if !algorithm.is_asymmetric() {
        return Ok(PublicHalf::None);
    }
    if form(key.kind)?.key_type == KeyType::RSA {
        // The private object says them as well, and is the one that counts.
        let said = session.get_attributes(private, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
        if let [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] = said.as_slice() {
            return Ok(PublicHalf::Rsa(modulus.clone(), exponent.clone()));
        }
    } else {
        let public = find_public(session, &key.id)?;
        if let [Attribute::EcPoint(point)] = session.get_attributes(public, &[AttributeType::EcPoint])?.as_slice() {
            return Ok(PublicHalf::Point(point.clone()));
        }
    }
    Err(Trouble::new(Failure::Exposed, "the token does not tell the public half of the key"))
}

/// Erases all objects with this id.
pub(super) fn erase(session: &Session, id: &[u8]) -> Result<(), Trouble> {
    for handle in session.find_objects(&[Attribute::Id(id.to_vec())])? {
        session.destroy_object(handle)?;
    }
    Ok(())
}

/// Ids of the secret and private keys in the token that fit.
pub(super) fn list(
    session: &Session,
    fits: impl Fn(&[u8]) -> bool,
    label: Option<&str>,
) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut ids = Vec::new();
    for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
        let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        for handle in session.find_objects(&template)? {
            if let [Attribute::Id(id)] = session.get_attributes(handle, &[AttributeType::Id])?.as_slice()
                && fits(id)
            {
                ids.push(id.clone());
            }
        }
    }
    Ok(ids)
}
