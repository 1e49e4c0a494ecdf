//! Encryption to an OpenPGP certificate of version 4 (RFC 9580; RFC 4880 and RFC 6637 as GnuPG 2.2 has them).
//!
//! What a person compares is the fingerprint of the primary key. So a subkey counts only if the primary key says that
//! it is its own: with a signature that verifies here, over SHA-256 or better. Otherwise whoever passes the certificate
//! on could add a subkey of theirs.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{AES_128, AES_256 as KW_AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes};

use super::RecipientError;
use super::packets::{
    MARKER, PADDING, PUBLIC_KEY, PUBLIC_SUBKEY, Packet, Reader, SECRET_KEYS, SIGNATURE, TRUST, USER_ATTRIBUTE, USER_ID,
    packets, write_mpi, write_packet,
};
use crate::agreement::Agreer;
use crate::algorithm::{HashAlgorithm, KeyAlgorithm};
use crate::digest::digest;
use crate::error::{CryptoError, KeyError, module};
use crate::public::PublicKey;
use crate::random::Random;

/// Curve25519 for encryption and Ed25519 for signatures, as RFC 4880 keys name them (RFC 9580, 9.2).
const OID_CURVE25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
const OID_ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
/// Begins a point in the form of its curve (RFC 9580, 11.2).
const NATIVE_POINT: u8 = 0x40;

const RSA: u8 = 1;
const ECDH: u8 = 18;
const EDDSA: u8 = 22;
/// AES with 256 bits, as session key.
const CIPHER_AES256: u8 = 9;
/// Key flags: encrypts communications, encrypts storage (RFC 9580, 5.2.3.29).
const ENCRYPTS: u8 = 0x0c;
/// Longest name that is shown of a user id, in characters.
const USER_MAX: usize = 200;

/// A certificate, and the subkey of it that is encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    fingerprint: [u8; 20],
    user: String,
    subkey: Subkey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subkey {
    fingerprint: [u8; 20],
    key: SubkeyKind,
}

/// Longest user id that is read (bytes): each signature over one hashes it.
const USER_ID_MAX: usize = 1024;
/// Most signatures of one part of a certificate (count): each that is of the right kind is verified.
const SIGNATURES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
enum SubkeyKind {
    Rsa(PublicKey),
    /// The point, the hash of the derivation, and the cipher that wraps.
    Curve25519 {
        point: [u8; 32],
        hash: HashAlgorithm,
        hash_id: u8,
        cipher_id: u8,
    },
}

/// A public key packet of version 4.
struct KeyPacket<'a> {
    body: &'a [u8],
    created: u32,
    algorithm: u8,
    fields: &'a [u8],
}

/// A signature packet of version 4 that reads.
struct Signature<'a> {
    kind: u8,
    algorithm: u8,
    hash: u8,
    hashed: &'a [u8],
    values: &'a [u8],
    created: u32,
    flags: u8,
    /// Seconds after the key was made.
    key_expires: Option<u32>,
    /// Seconds after the signature was made.
    expires: Option<u32>,
}

/// A part of a certificate with the signatures that follow it.
struct Part<'a> {
    packet: Packet<'a>,
    signatures: Vec<Signature<'a>>,
    /// How many follow it, whether or not they read.
    count: usize,
    revoked: bool,
}

impl<'a> Part<'a> {
    const fn new(packet: Packet<'a>) -> Self {
        Self { packet, signatures: Vec::new(), count: 0, revoked: false }
    }

    fn sign(&mut self, body: &'a [u8]) -> Result<(), RecipientError> {
        self.count += 1;
        if self.count > SIGNATURES_MAX {
            return Err(RecipientError::Malformed(
                "one of its parts has more than 64 signatures: export it without those of others (gpg \
                 --export-options export-minimal)",
            ));
        }
        self.revoked |= is_revocation(body);
        self.signatures.extend(Signature::read(body));
        Ok(())
    }
}

/// Whether a signature revokes a key or a subkey, by its kind alone: one whose rest does not read, or has critical
/// parts that are not known, means it all the same. Version 3 has a length before its kind.
fn is_revocation(body: &[u8]) -> bool {
    let kind = match body {
        [3, _, kind, ..] | [_, kind, ..] => *kind,
        _ => return false,
    };
    matches!(kind, 0x20 | 0x28)
}

impl<'a> KeyPacket<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        if reader.byte()? != 4 {
            return None;
        }
        Some(Self { body, created: reader.u32()?, algorithm: reader.byte()?, fields: reader.0 })
    }

    /// How a key goes into fingerprints and signatures (RFC 9580, 5.2.4 and 5.5.4.2).
    fn hashed(&self) -> Vec<u8> {
        // A body that was read from a certificate of at most 256 KiB and does not fit two bytes is no key of version 4.
        let len = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        [&[0x99], &len.to_be_bytes()[..], self.body].concat()
    }

    fn fingerprint(&self) -> [u8; 20] {
        sha1(&[&self.hashed()])
    }

    /// The parts of an RSA key.
    fn rsa(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut reader = Reader(self.fields);
        let parts = (reader.mpi()?, reader.mpi()?);
        (self.algorithm == RSA && reader.is_empty()).then_some(parts)
    }

    fn rsa_key(&self) -> Option<PublicKey> {
        let (modulus, exponent) = self.rsa()?;
        PublicKey::from_rsa_numbers(modulus, exponent).ok()
    }

    /// The point of a curve in its native form, and what follows it.
    fn point(&self, oid: &[u8]) -> Option<([u8; 32], &'a [u8])> {
        let mut reader = Reader(self.fields);
        let len = reader.byte()?;
        let named = reader.take(usize::from(len))?;
        let (&form, point) = reader.mpi()?.split_first()?;
        let point = point.try_into().ok()?;
        (named == oid && form == NATIVE_POINT).then_some((point, reader.0))
    }

    /// What this key takes as a subkey that encrypts, if we can do it.
    fn encrypting(&self) -> Option<SubkeyKind> {
        match self.algorithm {
            RSA => self.rsa_key().map(SubkeyKind::Rsa),
            ECDH => {
                let (point, parameters) = self.point(OID_CURVE25519)?;
                let &[3, 1, hash_id, cipher_id] = parameters else { return None };
                let hash = hash_of(hash_id)?;
                matches!(cipher_id, 7 | CIPHER_AES256).then_some(())?;
                PublicKey::from_raw(KeyAlgorithm::X25519, &point).ok()?;
                Some(SubkeyKind::Curve25519 { point, hash, hash_id, cipher_id })
            }
            _ => None,
        }
    }
}

/// Hash functions that a signature may rest on: none of those with collisions.
fn hash_of(id: u8) -> Option<HashAlgorithm> {
    match id {
        8 => Some(HashAlgorithm::Sha256),
        9 => Some(HashAlgorithm::Sha384),
        10 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    // Fixed by the format: version 4 names keys by it, and guards messages with it.
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 20];
    out.copy_from_slice(context.finish().as_ref());
    out
}

impl<'a> Signature<'a> {
    /// Reads a signature; one of another version, or with a critical part that is not known, does not count.
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let [version, kind, algorithm, hash] = reader.take(4)?.try_into().ok()?;
        if version != 4 {
            return None;
        }
        let len = usize::from(reader.u16()?);
        let subpackets = reader.take(len)?;
        let hashed = &body[..6 + len];
        let unhashed = usize::from(reader.u16()?);
        // What is not signed says nothing here; then the beginning of the digest, which is of no use.
        reader.take(unhashed + 2)?;
        let (created, flags, key_expires, expires) = (0, 0, None, None);
        let values = reader.0;
        let mut read = Self { kind, algorithm, hash, hashed, values, created, flags, key_expires, expires };
        read.read_subpackets(subpackets)?;
        Some(read)
    }

    fn read_subpackets(&mut self, subpackets: &[u8]) -> Option<()> {
        let mut reader = Reader(subpackets);
        while !reader.is_empty() {
            let len = reader.subpacket_length()?;
            let (&kind, body) = reader.take(len)?.split_first()?;
            let number = || body.try_into().ok().map(u32::from_be_bytes);
            match kind & 0x7f {
                2 => self.created = number()?,
                3 => self.expires = Some(number()?),
                9 => self.key_expires = Some(number()?),
                27 => self.flags = body.first().copied().unwrap_or(0),
                // Preferences, the issuer, features, an embedded signature and the like: understood, and of no use
                // here.
                4..=7 | 11 | 16 | 21..=26 | 28 | 30..=35 | 39 => {}
                _ if kind & 0x80 == 0 => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// Whether `signer` made this over `data`.
    fn verifies(&self, signer: &KeyPacket<'_>, data: &[&[u8]]) -> bool {
        // At most 6 + 65535 bytes.
        let len = u32::try_from(self.hashed.len()).unwrap_or(u32::MAX).to_be_bytes();
        let signed = [&data.concat(), self.hashed, &[4, 0xff], &len].concat();
        self.verified(signer, &signed).is_some()
    }

    fn verified(&self, signer: &KeyPacket<'_>, signed: &[u8]) -> Option<()> {
        let hash = hash_of(self.hash)?;
        let mut values = Reader(self.values);
        if self.algorithm != signer.algorithm {
            return None;
        }
        match self.algorithm {
            RSA => {
                let (n, e) = signer.rsa()?;
                let signature = padded(values.mpi()?, n.len())?;
                RsaPublicKeyComponents { n, e }.verify(rsa_parameters(hash), signed, &signature).ok()
            }
            EDDSA => {
                let (point, rest) = signer.point(OID_ED25519)?;
                let signature = [padded(values.mpi()?, 32)?, padded(values.mpi()?, 32)?].concat();
                let key = UnparsedPublicKey::new(&ED25519, point);
                let verified = key.verify(&digest(hash, signed), &signature).ok();
                verified.filter(|()| rest.is_empty())
            }
            _ => None,
        }
    }

    fn lives(&self, now: u64) -> bool {
        let created = u64::from(self.created);
        self.expires.is_none_or(|after| after == 0 || created + u64::from(after) > now)
    }

    fn key_lives(&self, key: &KeyPacket<'_>, now: u64) -> bool {
        let created = u64::from(key.created);
        self.key_expires.is_none_or(|after| after == 0 || created + u64::from(after) > now)
    }
}

fn rsa_parameters(hash: HashAlgorithm) -> &'static RsaParameters {
    match hash {
        HashAlgorithm::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        HashAlgorithm::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        HashAlgorithm::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
    }
}

/// A number with zeros before it, `len` bytes long.
fn padded(number: &[u8], len: usize) -> Option<Vec<u8>> {
    let missing = len.checked_sub(number.len())?;
    Some([vec![0; missing], number.to_vec()].concat())
}

/// Sorts packets: the primary key, user ids, subkeys, each with its signatures.
fn parts(bytes: &[u8]) -> Result<Vec<Part<'_>>, RecipientError> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for packet in packets(bytes)? {
        match packet.tag {
            tag if SECRET_KEYS.contains(&tag) => return Err(RecipientError::Secret),
            PUBLIC_KEY if !parts.is_empty() => {
                return Err(RecipientError::Malformed("it holds several certificates: give one"));
            }
            PUBLIC_KEY => parts.push(Part::new(packet)),
            _ if parts.is_empty() => return Err(RecipientError::Malformed("it does not begin with a public key")),
            USER_ID if packet.body.len() > USER_ID_MAX => {
                return Err(RecipientError::Malformed("one of its names is longer than 1,024 bytes"));
            }
            PUBLIC_SUBKEY | USER_ID | USER_ATTRIBUTE => parts.push(Part::new(packet)),
            SIGNATURE => {
                if let Some(part) = parts.last_mut() {
                    part.sign(packet.body)?;
                }
                refuse_if_revoked(&parts)?;
            }
            TRUST | MARKER | PADDING | 40..=63 => {}
            _ => return Err(RecipientError::Malformed("it has a packet that belongs to no certificate")),
        }
    }
    if parts.is_empty() { Err(RecipientError::Malformed("it is empty")) } else { Ok(parts) }
}

/// A certificate that calls itself revoked is refused, whoever signed that: at worst its holder is asked for another.
fn refuse_if_revoked(parts: &[Part<'_>]) -> Result<(), RecipientError> {
    let [primary] = parts else { return Ok(()) };
    if primary.revoked { Err(RecipientError::Unusable("it is revoked")) } else { Ok(()) }
}

impl Certificate {
    /// Reads a binary certificate and chooses the newest subkey that encrypts.
    pub(super) fn parse(bytes: &[u8], now: u64) -> Result<Self, RecipientError> {
        let parts = parts(bytes)?;
        let old = RecipientError::Unusable("its keys are not of version 4");
        let primary = KeyPacket::read(parts[0].packet.body).ok_or(old)?;
        let user = checked_user(&primary, &parts, now)?;
        let mut best: Option<(u32, Subkey)> = None;
        for part in parts.iter().filter(|part| part.packet.tag == PUBLIC_SUBKEY) {
            if let Some((created, subkey)) = checked_subkey(&primary, part, now)
                && best.as_ref().is_none_or(|(before, _)| created >= *before)
            {
                best = Some((created, subkey));
            }
        }
        let (_, subkey) = best.ok_or(RecipientError::Unusable(
            "it has no subkey for encryption that is valid now, of RSA (2048, 3072 or 4096 bits) or Curve25519",
        ))?;
        Ok(Self { fingerprint: primary.fingerprint(), user, subkey })
    }

    /// 40 hexadecimal digits, upper case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.fingerprint)
    }

    /// The fingerprint of the subkey that is encrypted to, likewise.
    #[must_use]
    pub fn subkey_fingerprint(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.subkey.fingerprint)
    }

    pub(super) fn user(&self) -> Option<&str> {
        (!self.user.is_empty()).then_some(self.user.as_str())
    }

    /// The encrypted message, binary: the session key to the subkey, then the data under it.
    pub(super) fn encrypt(&self, random: &Random, plaintext: &SecretBytes) -> Result<Vec<u8>, CryptoError> {
        let session = random.secret_array::<32>()?;
        let mut message = Vec::new();
        write_packet(1, &self.subkey.session_packet(&session)?, &mut |part| message.extend_from_slice(part));
        write_packet(18, &protected(random, &session, plaintext)?, &mut |part| message.extend_from_slice(part));
        Ok(message)
    }
}

/// The name in the first user id that the primary key certified; without any that is certified, or after the newest
/// of them says that the key has expired, the certificate is refused.
fn checked_user(primary: &KeyPacket<'_>, parts: &[Part<'_>], now: u64) -> Result<String, RecipientError> {
    let key = primary.hashed();
    let mut name = None;
    let mut newest: Option<&Signature<'_>> = None;
    for part in parts {
        let body = part.packet.body;
        // At most 256 KiB.
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let (kinds, data) = match part.packet.tag {
            PUBLIC_KEY => (0x1f..=0x1f, vec![&key[..]]),
            USER_ID => (0x10..=0x13, vec![&key[..], &[0xb4], &len, body]),
            _ => continue,
        };
        for signature in part.signatures.iter().filter(|signature| kinds.contains(&signature.kind)) {
            if signature.lives(now) && signature.verifies(primary, &data) {
                if part.packet.tag == USER_ID && name.is_none() {
                    name = Some(shown(body));
                }
                newest = newest.filter(|before| before.created > signature.created).or(Some(signature));
            }
        }
    }
    match newest {
        None => Err(RecipientError::Unusable("no signature of its own key over it verifies (with SHA-256 or better)")),
        Some(newest) if !newest.key_lives(primary, now) => Err(RecipientError::Unusable("it has expired")),
        Some(_) => Ok(name.unwrap_or_default()),
    }
}

/// A user id as it can be shown: without anything that a terminal acts on.
fn shown(user: &[u8]) -> String {
    String::from_utf8_lossy(user).chars().filter(|c| !c.is_control()).take(USER_MAX).collect()
}

/// The subkey of a part, if its newest binding says that it encrypts and is valid now.
fn checked_subkey(primary: &KeyPacket<'_>, part: &Part<'_>, now: u64) -> Option<(u32, Subkey)> {
    let subkey = KeyPacket::read(part.packet.body)?;
    if part.revoked {
        return None;
    }
    let (outer, inner) = (primary.hashed(), subkey.hashed());
    let bindings = part.signatures.iter().filter(|signature| signature.kind == 0x18);
    let bindings = bindings.filter(|binding| binding.lives(now) && binding.verifies(primary, &[&outer, &inner]));
    let binding = bindings.max_by_key(|binding| binding.created)?;
    if binding.flags & ENCRYPTS == 0 || !binding.key_lives(&subkey, now) {
        return None;
    }
    let key = subkey.encrypting()?;
    Some((subkey.created, Subkey { fingerprint: subkey.fingerprint(), key }))
}

impl Subkey {
    /// The body of the packet that holds the session key (RFC 9580, 5.1, version 3).
    fn session_packet(&self, session: &SecretArray<32>) -> Result<Vec<u8>, CryptoError> {
        let sum = session.expose().iter().fold(0u16, |sum, &byte| sum.wrapping_add(byte.into()));
        let mut plain = SecretBuffer::with_capacity(40);
        plain.push(CIPHER_AES256);
        plain.extend_from_slice(session.expose());
        plain.extend_from_slice(&sum.to_be_bytes());
        // The key id is the end of the fingerprint.
        let mut body = vec![3];
        body.extend_from_slice(&self.fingerprint[12..]);
        match &self.key {
            SubkeyKind::Rsa(key) => {
                body.push(RSA);
                write_mpi(&rsa_encrypt(key, plain.expose())?, &mut body);
            }
            SubkeyKind::Curve25519 { point, hash, hash_id, cipher_id } => {
                // Padded to a multiple of 8 (RFC 6637, 8): 35 bytes and 5 of padding.
                plain.extend_from_slice(&[5; 5]);
                let (agreer, _) = Agreer::generate_x25519()?;
                let secret = agreer.agree(KeyAlgorithm::X25519, &PublicKey::from_raw(KeyAlgorithm::X25519, point)?)?;
                let kek = self.derive(*hash, *hash_id, *cipher_id, &secret);
                let wrapped = wrap(*cipher_id, &kek, plain.expose())?;
                body.push(ECDH);
                write_mpi(&[&[NATIVE_POINT], agreer.public_raw()?.as_slice()].concat(), &mut body);
                // 48 bytes.
                body.push(u8::try_from(wrapped.len()).map_err(|_| CryptoError::Module)?);
                body.extend_from_slice(&wrapped);
            }
        }
        Ok(body)
    }

    /// The key that wraps (RFC 6637, 7: SP 800-56A with one block; RFC 9580, 11.5).
    fn derive(&self, hash: HashAlgorithm, hash_id: u8, cipher_id: u8, secret: &SecretBytes) -> SecretBytes {
        let mut input = SecretBuffer::with_capacity(128);
        input.extend_from_slice(&[0, 0, 0, 1]);
        input.extend_from_slice(secret.expose());
        // The length of the name of the curve: 10 bytes.
        input.push(OID_CURVE25519.len().to_le_bytes()[0]);
        input.extend_from_slice(OID_CURVE25519);
        input.extend_from_slice(&[ECDH, 3, 1, hash_id, cipher_id]);
        input.extend_from_slice(b"Anonymous Sender    ");
        input.extend_from_slice(&self.fingerprint);
        let mut derived = SecretBytes::from_vec(digest(hash, input.expose()));
        derived.truncate(if cipher_id == CIPHER_AES256 { 32 } else { 16 });
        derived
    }
}

fn wrap(cipher_id: u8, kek: &SecretBytes, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let cipher = if cipher_id == CIPHER_AES256 { &KW_AES_256 } else { &AES_128 };
    let mut out = vec![0; plain.len() + 16];
    let len = AesKek::new(cipher, kek.expose()).map_err(module)?.wrap(plain, &mut out).map_err(module)?.len();
    out.truncate(len);
    Ok(out)
}

/// RSAES-PKCS1-v1_5, which is the only RSA encryption that OpenPGP has. Its known attack needs somebody who decrypts
/// and tells what came of it; nobody decrypts here.
fn rsa_encrypt(key: &PublicKey, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let key = PublicEncryptingKey::from_der(key.spki()).map_err(|_| KeyError::Malformed)?;
    let key = Pkcs1PublicEncryptingKey::new(key).map_err(module)?;
    let mut out = vec![0; key.ciphertext_size()];
    let len = key.encrypt(plain, &mut out).map_err(module)?.len();
    out.truncate(len);
    Ok(out)
}

/// The body of the packet with the data (RFC 9580, 5.13.1): a block of random bytes with its last two repeated, the
/// data as a literal packet, and a digest over both; under AES-256 in CFB mode from an IV of zeros. The session key is
/// fresh.
fn protected(random: &Random, session: &SecretArray<32>, plaintext: &SecretBytes) -> Result<Vec<u8>, CryptoError> {
    let mut plain = SecretBuffer::with_capacity(plaintext.len() + 64);
    let block: [u8; 16] = random.nonce_array()?;
    plain.extend_from_slice(&block);
    plain.extend_from_slice(&block[14..]);
    // Binary, without a name, without a date.
    let mut literal = SecretBuffer::with_capacity(plaintext.len() + 6);
    literal.extend_from_slice(b"b\0\0\0\0\0");
    literal.extend_from_slice(plaintext.expose());
    write_packet(11, literal.expose(), &mut |part| plain.extend_from_slice(part));
    plain.extend_from_slice(&[0xd3, 20]);
    let digest = sha1(&[plain.expose()]);
    plain.extend_from_slice(&digest);
    let mut data = plain.finish();
    let key = UnboundCipherKey::new(&AES_256, session.expose()).map_err(module)?;
    let key = EncryptingKey::cfb128(key).map_err(module)?;
    let start = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(data.expose_mut(), start).map_err(module)?;
    Ok([&[1], data.expose()].concat())
}
