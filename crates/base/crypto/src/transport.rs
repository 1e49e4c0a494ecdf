//! Keys on their way in or out: material wrapped for whoever has a private key (requirement K10).
//!
//! | method | the wrapped form |
//! |---|---|
//! | `rsa-oaep-sha256` | RSA-OAEP, SHA-256 for label and MGF1 (RFC 8017, 7.1), of the material itself |
//! | `rsa-aes-kwp` | RSA-OAEP, as above, of an ephemeral AES-256 key; then AES-KWP (RFC 5649) of the material |
//! | `x25519-ml-kem-768`, `p384-ml-kem-1024` | ephemeral public key, ML-KEM ciphertext; then AES-KWP of the material |
//!
//! The second is `CKM_RSA_AES_KEY_WRAP` of PKCS #11 (v3.0, 2.1.21) with SHA-256, as the clouds take it. In the hybrids
//! the key of AES-KWP is
//!
//! ```text
//! HKDF-SHA-256(ikm  = ML-KEM shared secret || ECDH shared secret,
//!              salt = none,
//!              info = "keyreeve/transport/1" 00 method 00 SHA-256(transcript) context), 32 bytes
//! transcript = recipient's ECDH key || recipient's ML-KEM key || ephemeral ECDH key || ML-KEM ciphertext
//! ```
//!
//! with raw public keys: 32 bytes for X25519, the uncompressed point of 97 bytes for P-384, the encapsulation key of
//! FIPS 203 for ML-KEM. Every part has one length, so the parts cannot be shifted into one another. Whoever breaks one
//! of the two key agreements has nothing; whoever alters any part gets another key.
//!
//! Nothing but the private key opens what was wrapped, and everybody can wrap: the forms say nothing of the sender.

use std::fmt;

use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes, SecretString};

use crate::agreement::Agreer;
use crate::algorithm::{HashAlgorithm, KeyAlgorithm, WrappingMethod};
use crate::digest::sha256;
use crate::error::{CryptoError, KeyError};
use crate::kdf::hkdf_sha256;
use crate::kem::{self, Decapsulator};
use crate::material::Material;
use crate::pem;
use crate::public::{Fingerprint, PublicKey};
use crate::random::Random;
use crate::rsa_oaep::OaepPrivate;
use crate::wrap::{WrapKey, WrapMode};

/// Longest material that is wrapped, in bytes; an RSA-4096 key has about 2,400.
pub const LONGEST_MATERIAL: usize = 8192;

/// Longest wrapped form, in bytes: the parts before the material, the material, its padding and check value.
pub const LONGEST_WRAPPED: usize = LONGEST_MATERIAL + 2048;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";

/// Separates these keys from all other uses of the secrets that they come from.
const LABEL: &[u8] = b"keyreeve/transport/1";

/// The sizes of RSA keys that wrap.
const RSA: [KeyAlgorithm; 3] = [KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096];

/// The two key agreements of a hybrid.
const fn hybrid(method: WrappingMethod) -> Option<(KeyAlgorithm, KeyAlgorithm)> {
    match method {
        WrappingMethod::RsaOaepSha256 | WrappingMethod::RsaAesKwp => None,
        WrappingMethod::X25519MlKem768 => Some((KeyAlgorithm::X25519, KeyAlgorithm::MlKem768)),
        WrappingMethod::P384MlKem1024 => Some((KeyAlgorithm::EcP384, KeyAlgorithm::MlKem1024)),
    }
}

/// The public half: whoever has it wraps.
#[derive(Clone, PartialEq, Eq)]
pub struct TransportPublic {
    method: WrappingMethod,
    /// RSA, or the ECDH half of a hybrid.
    first: PublicKey,
    /// The ML-KEM half of a hybrid.
    second: Option<PublicKey>,
}

impl TransportPublic {
    /// From PEM: one SubjectPublicKeyInfo for RSA, two for a hybrid, the one for ECDH first.
    ///
    /// # Errors
    /// [`KeyError`]: not that many keys, of other algorithms or sizes, or not valid.
    pub fn from_pem(method: WrappingMethod, text: &str) -> Result<Self, CryptoError> {
        let blocks = pem::decode(PUBLIC, text)?;
        let blocks: Vec<&[u8]> = blocks.iter().map(SecretBytes::expose).collect();
        match (hybrid(method), blocks.as_slice()) {
            (None, [der]) => Ok(Self { method, first: rsa_key(der)?, second: None }),
            (Some((dh, kem)), [first, second]) => {
                let (first, second) = (PublicKey::from_spki(dh, first)?, PublicKey::from_spki(kem, second)?);
                Ok(Self { method, first, second: Some(second) })
            }
            (None | Some(_), _) => Err(KeyError::OtherAlgorithm.into()),
        }
    }

    /// As [`from_pem`](Self::from_pem) takes it.
    pub fn to_pem(&self) -> String {
        self.keys().map(|key| pem::encode(PUBLIC, key.spki())).collect()
    }

    /// How it wraps.
    pub fn method(&self) -> WrappingMethod {
        self.method
    }

    /// What the key is: the size of an RSA key, the curve of a hybrid.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.first.algorithm()
    }

    /// SHA-256 of the SubjectPublicKeyInfo, of both one after the other in a hybrid.
    pub fn fingerprint(&self) -> Fingerprint {
        let parts: Vec<&[u8]> = self.keys().map(PublicKey::spki).collect();
        Fingerprint(sha256(&parts.concat()))
    }

    /// Most bytes of material that it wraps.
    pub fn capacity(&self) -> usize {
        match self.method {
            // RFC 8017, 7.1.1: the modulus without two digests and two bytes.
            WrappingMethod::RsaOaepSha256 => self.first.algorithm().rsa_bits().map_or(0, |bits| bits / 8 - 66),
            WrappingMethod::RsaAesKwp | WrappingMethod::X25519MlKem768 | WrappingMethod::P384MlKem1024 => {
                LONGEST_MATERIAL
            }
        }
    }

    /// Wraps `material`. `context` must be given again to unwrap, it is not in the wrapped form: the label of RSA-OAEP,
    /// or the end of the HKDF info. What others unwrap too, with tools that know no label, has an empty one.
    ///
    /// # Errors
    /// [`CryptoError::InputTooLong`] above [`capacity`](Self::capacity); [`CryptoError::WrapLength`] for nothing;
    /// [`CryptoError::Random`].
    pub fn wrap(&self, random: &Random, context: &[u8], material: &SecretBytes) -> Result<Vec<u8>, CryptoError> {
        let (max, actual) = (self.capacity() as u64, material.len() as u64);
        match actual {
            0 => return Err(CryptoError::WrapLength),
            _ if actual > max => return Err(CryptoError::InputTooLong { max, actual }),
            _ => {}
        }
        let (mut wrapped, key) = match (self.method, &self.second) {
            (WrappingMethod::RsaOaepSha256, _) => {
                return self.first.oaep_encrypt(random, HashAlgorithm::Sha256, context, material.expose());
            }
            (WrappingMethod::RsaAesKwp, _) => {
                let key = random.secret_array::<32>()?;
                (self.first.oaep_encrypt(random, HashAlgorithm::Sha256, context, key.expose())?, key)
            }
            (WrappingMethod::X25519MlKem768 | WrappingMethod::P384MlKem1024, Some(kem)) => {
                self.encapsulate(random, kem, context)?
            }
            (WrappingMethod::X25519MlKem768 | WrappingMethod::P384MlKem1024, None) => return Err(CryptoError::Module),
        };
        wrapped.extend(WrapKey::new(key.expose()).wrap(WrapMode::Kwp, material.expose())?);
        Ok(wrapped)
    }

    /// What goes before the material in a hybrid, and the key that comes of it.
    fn encapsulate(
        &self,
        random: &Random,
        kem: &PublicKey,
        context: &[u8],
    ) -> Result<(Vec<u8>, SecretArray<32>), CryptoError> {
        let ephemeral = Material::generate(self.first.algorithm(), random)?;
        let dh = Agreer::new(self.first.algorithm(), ephemeral.bytes())?.agree(self.first.algorithm(), &self.first)?;
        let public = ephemeral.public_key()?.ok_or(CryptoError::Module)?;
        let (ciphertext, secret) = kem.encapsulate(random)?;
        let head = [public.raw().unwrap_or_default(), &ciphertext].concat();
        let key = self.derive(kem, &head, (&secret, &dh), context)?;
        Ok((head, key))
    }

    /// The key of AES-KWP in a hybrid, see the module.
    fn derive(
        &self,
        kem: &PublicKey,
        head: &[u8],
        (secret, dh): (&SecretBytes, &SecretBytes),
        context: &[u8],
    ) -> Result<SecretArray<32>, CryptoError> {
        let mut ikm = SecretBuffer::with_capacity(secret.len() + dh.len());
        ikm.extend_from_slice(secret.expose());
        ikm.extend_from_slice(dh.expose());
        let raw = |key: &PublicKey| key.raw().unwrap_or_default().to_vec();
        let transcript = sha256(&[raw(&self.first), raw(kem), head.to_vec()].concat());
        let info = [LABEL, &[0], self.method.name().as_bytes(), &[0], &transcript, context].concat();
        hkdf_sha256::<32>(ikm.finish().expose(), &[], &info)
    }

    fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl fmt::Debug for TransportPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportPublic({}, {})", self.method, self.fingerprint())
    }
}

fn rsa_key(der: &[u8]) -> Result<PublicKey, CryptoError> {
    let mut refused = KeyError::OtherAlgorithm.into();
    for algorithm in RSA {
        match PublicKey::from_spki(algorithm, der) {
            Ok(key) => return Ok(key),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The private half: whoever has it unwraps.
#[derive(Debug)]
pub struct TransportPrivate {
    method: WrappingMethod,
    first: Material,
    second: Option<Material>,
}

impl TransportPrivate {
    /// Makes a fresh key. `rsa` is the size of an RSA key, 3072 bits unless said; hybrids have no choice.
    ///
    /// # Errors
    /// [`KeyError::OtherAlgorithm`] for what is no size of the method; [`CryptoError::Random`],
    /// [`CryptoError::Module`].
    pub fn generate(method: WrappingMethod, rsa: Option<KeyAlgorithm>, random: &Random) -> Result<Self, CryptoError> {
        let (first, second) = match (hybrid(method), rsa) {
            (None, Some(size)) if !RSA.contains(&size) => return Err(KeyError::OtherAlgorithm.into()),
            (Some(_), Some(_)) => return Err(KeyError::OtherAlgorithm.into()),
            (None, size) => (size.unwrap_or(KeyAlgorithm::Rsa3072), None),
            (Some((dh, kem)), None) => (dh, Some(kem)),
        };
        let second = second.map(|kem| Material::generate(kem, random)).transpose()?;
        Ok(Self { method, first: Material::generate(first, random)?, second })
    }

    /// The public half.
    ///
    /// # Errors
    /// [`KeyError`] if the key, taken from storage, is damaged.
    pub fn public(&self) -> Result<TransportPublic, CryptoError> {
        let public = |key: &Material| key.public_key()?.ok_or(CryptoError::Module);
        let second = self.second.as_ref().map(public).transpose()?;
        Ok(TransportPublic { method: self.method, first: public(&self.first)?, second })
    }

    /// From PEM: PKCS #8, one block for RSA and two for a hybrid, as [`to_pem`](Self::to_pem) gives them.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(method: WrappingMethod, text: &SecretString) -> Result<Self, CryptoError> {
        let blocks = pem::decode(PRIVATE, text.expose())?;
        match (hybrid(method), blocks.as_slice()) {
            (None, [der]) => {
                let mut refused = KeyError::OtherAlgorithm.into();
                for size in RSA {
                    match Material::import(size, der) {
                        Ok(first) => return Ok(Self { method, first, second: None }),
                        Err(error) => refused = error,
                    }
                }
                Err(refused)
            }
            (Some((dh, kem)), [first, second]) => {
                let (first, second) = (Material::import(dh, first)?, Material::import(kem, second)?);
                Ok(Self { method, first, second: Some(second) })
            }
            (None | Some(_), _) => Err(KeyError::OtherAlgorithm.into()),
        }
    }

    /// PKCS #8 in PEM, see [`Material::portable`].
    pub fn to_pem(&self) -> SecretString {
        let keys = std::iter::once(&self.first).chain(&self.second);
        let blocks = keys.map(|key| pem::encode(PRIVATE, key.portable().expose()));
        let text = SecretBytes::from_vec(blocks.collect::<String>().into_bytes());
        // What was just encoded is ASCII.
        SecretString::from_utf8(text).unwrap_or_else(|_| SecretString::copy_from(""))
    }

    /// The material in what [`TransportPublic::wrap`] made with the same `context`.
    ///
    /// # Errors
    /// [`CryptoError::Open`] for everything that is not such a form, whatever is wrong with it: what whoever submits
    /// forms can tell apart helps them to guess.
    pub fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        if wrapped.len() > LONGEST_WRAPPED {
            return Err(CryptoError::Open);
        }
        let opened = match (self.method, &self.second) {
            (WrappingMethod::RsaOaepSha256, _) => self.oaep(context, wrapped),
            (WrappingMethod::RsaAesKwp, _) => self.unwrap_rsa_aes(context, wrapped),
            (WrappingMethod::X25519MlKem768 | WrappingMethod::P384MlKem1024, Some(kem)) => {
                self.unwrap_hybrid(kem, context, wrapped)
            }
            (WrappingMethod::X25519MlKem768 | WrappingMethod::P384MlKem1024, None) => Err(CryptoError::Module),
        };
        match opened {
            Ok(material) if !material.is_empty() && material.len() <= LONGEST_MATERIAL => Ok(material),
            _ => Err(CryptoError::Open),
        }
    }

    fn oaep(&self, context: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        OaepPrivate::from_pkcs8(self.first.bytes())?.decrypt(HashAlgorithm::Sha256, context, ciphertext)
    }

    fn unwrap_rsa_aes(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        let len = self.first.algorithm().rsa_bits().ok_or(CryptoError::Module)? / 8;
        let (head, body) = wrapped.split_at_checked(len).ok_or(CryptoError::Open)?;
        let key = self.oaep(context, head).and_then(|key| key.to_array::<32>().map_err(|_| CryptoError::Open));
        // A key that does not fit is used instead of one that is not there, so that the time tells neither.
        let absent = SecretArray::init_with(|place| place.fill(0));
        let material = WrapKey::new(key.as_ref().unwrap_or(&absent).expose()).unwrap(WrapMode::Kwp, body);
        key.and(material)
    }

    fn unwrap_hybrid(&self, kem: &Material, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        let public = self.public()?;
        let dh_len = public.first.raw().map_or(0, <[u8]>::len);
        let head_len = dh_len + kem::ciphertext_len(kem.algorithm()).ok_or(CryptoError::Module)?;
        let (head, body) = wrapped.split_at_checked(head_len).ok_or(CryptoError::Open)?;
        let (ephemeral, ciphertext) = head.split_at(dh_len);
        let ephemeral = PublicKey::from_raw(self.first.algorithm(), ephemeral)?;
        let dh = Agreer::new(self.first.algorithm(), self.first.bytes())?.agree(self.first.algorithm(), &ephemeral)?;
        let secret = Decapsulator::new(kem.algorithm(), kem.bytes())?.decapsulate(ciphertext)?;
        let kem_public = public.second.as_ref().ok_or(CryptoError::Module)?;
        let key = public.derive(kem_public, head, (&secret, &dh), context)?;
        WrapKey::new(key.expose()).unwrap(WrapMode::Kwp, body)
    }

    /// A form for storage: 2 bytes length of the first part, big-endian, the first part, the second if there is one,
    /// each as [`Material::serialize`] has it.
    pub fn serialize(&self) -> SecretBytes {
        let first = self.first.bytes();
        let second = self.second.as_ref().map(Material::bytes).unwrap_or_default();
        let mut out = SecretBuffer::with_capacity(2 + first.len() + second.len());
        // The longest first part is an RSA-4096 key.
        out.extend_from_slice(&(first.len() as u16).to_be_bytes());
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        out.finish()
    }

    /// Takes back what [`serialize`](Self::serialize) gave; `algorithm` is that of the public half.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn parse(method: WrappingMethod, algorithm: KeyAlgorithm, bytes: &SecretBytes) -> Result<Self, CryptoError> {
        let (len, rest) = bytes.expose().split_first_chunk::<2>().ok_or(KeyError::Malformed)?;
        let (first, second) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(KeyError::Malformed)?;
        let parse = |algorithm, bytes: &[u8]| Material::parse(algorithm, SecretBytes::copy_from(bytes));
        match hybrid(method) {
            None if RSA.contains(&algorithm) && second.is_empty() => {
                Ok(Self { method, first: parse(algorithm, first)?, second: None })
            }
            Some((dh, kem)) if dh == algorithm => {
                Ok(Self { method, first: parse(dh, first)?, second: Some(parse(kem, second)?) })
            }
            None | Some(_) => Err(KeyError::OtherAlgorithm.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    fn random() -> Random {
        Random::from_module().unwrap()
    }

    /// One key of each method, made once: RSA takes its time.
    fn keys() -> &'static [TransportPrivate] {
        static KEYS: OnceLock<Vec<TransportPrivate>> = OnceLock::new();
        KEYS.get_or_init(|| {
            let make = |method: &WrappingMethod| {
                let rsa = hybrid(*method).is_none().then_some(KeyAlgorithm::Rsa2048);
                TransportPrivate::generate(*method, rsa, &random()).unwrap()
            };
            WrappingMethod::ALL.iter().map(make).collect()
        })
    }

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::copy_from(bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_wrapped_comes_back(bytes in prop::collection::vec(any::<u8>(), 1..190), context in ".{0,20}") {
            for key in keys() {
                let wrapped = key.public().unwrap().wrap(&random(), context.as_bytes(), &secret(&bytes)).unwrap();
                let opened = key.unwrap(context.as_bytes(), &wrapped).unwrap();
                prop_assert_eq!(opened.expose(), &bytes[..]);
                prop_assert_eq!(key.unwrap(b"another context altogether", &wrapped).unwrap_err(), CryptoError::Open);
            }
        }

        #[test]
        fn any_alteration_is_refused_alike(place in any::<prop::sample::Index>(), bit in 0..8u32, cut in 1..64usize) {
            for key in keys() {
                let wrapped = key.public().unwrap().wrap(&random(), b"", &secret(&[7; 48])).unwrap();
                let mut altered = wrapped.clone();
                altered[place.index(wrapped.len())] ^= 1 << bit;
                prop_assert_eq!(key.unwrap(b"", &altered).unwrap_err(), CryptoError::Open);
                prop_assert_eq!(key.unwrap(b"", &wrapped[..wrapped.len() - cut]).unwrap_err(), CryptoError::Open);
                prop_assert_eq!(key.unwrap(b"", &[&wrapped[..], &[0; 8]].concat()).unwrap_err(), CryptoError::Open);
            }
        }

        #[test]
        fn bytes_from_anywhere_are_refused_alike(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
            for key in keys() {
                prop_assert_eq!(key.unwrap(b"", &bytes).unwrap_err(), CryptoError::Open);
            }
        }
    }

    #[test]
    fn a_private_key_of_full_size_fits_all_but_bare_oaep() {
        let material = secret(&[9; LONGEST_MATERIAL]);
        for key in keys() {
            let public = key.public().unwrap();
            if key.method == WrappingMethod::RsaOaepSha256 {
                let refused = public.wrap(&random(), b"", &secret(&[1; 191])).unwrap_err();
                assert_eq!(refused, CryptoError::InputTooLong { max: 190, actual: 191 });
                continue;
            }
            let wrapped = public.wrap(&random(), b"", &material).unwrap();
            assert!(wrapped.len() <= LONGEST_WRAPPED);
            assert_eq!(key.unwrap(b"", &wrapped).unwrap().len(), LONGEST_MATERIAL);
            let long = public.wrap(&random(), b"", &secret(&[9; LONGEST_MATERIAL + 1])).unwrap_err();
            assert!(matches!(long, CryptoError::InputTooLong { .. }));
            assert_eq!(public.wrap(&random(), b"", &secret(&[])).unwrap_err(), CryptoError::WrapLength);
        }
    }

    #[test]
    fn every_form_of_a_key_leads_back_to_it() {
        for key in keys() {
            let public = key.public().unwrap();
            let wrapped = public.wrap(&random(), b"", &secret(b"material of 32 bytes, as it were")).unwrap();
            let stored = TransportPrivate::parse(key.method, public.algorithm(), &key.serialize()).unwrap();
            let written = TransportPrivate::from_pem(key.method, &key.to_pem()).unwrap();
            for back in [stored, written] {
                assert_eq!(back.public().unwrap(), public);
                assert!(back.unwrap(b"", &wrapped).is_ok());
            }
            assert_eq!(TransportPublic::from_pem(key.method, &public.to_pem()).unwrap(), public);
        }
    }

    #[test]
    fn a_key_of_one_method_is_none_of_another() {
        for key in keys() {
            let public = key.public().unwrap();
            for other in keys().iter().filter(|other| hybrid(other.method) != hybrid(key.method)) {
                assert!(TransportPublic::from_pem(other.method, &public.to_pem()).is_err());
                assert!(TransportPrivate::from_pem(other.method, &key.to_pem()).is_err());
                assert!(TransportPrivate::parse(other.method, public.algorithm(), &key.serialize()).is_err());
            }
        }
        let hybrid = WrappingMethod::X25519MlKem768;
        let two = TransportPrivate::generate(hybrid, Some(KeyAlgorithm::Rsa2048), &random());
        assert_eq!(two.unwrap_err(), KeyError::OtherAlgorithm.into());
        let curve = TransportPrivate::generate(WrappingMethod::RsaAesKwp, Some(KeyAlgorithm::EcP256), &random());
        assert_eq!(curve.unwrap_err(), KeyError::OtherAlgorithm.into());
    }

    /// The halves of one hybrid key do not go with those of another.
    #[test]
    fn the_halves_of_a_hybrid_belong_together() {
        let method = WrappingMethod::X25519MlKem768;
        let make = || TransportPrivate::generate(method, None, &random()).unwrap();
        let (one, two) = (make(), make());
        let wrapped = one.public().unwrap().wrap(&random(), b"", &secret(&[5; 32])).unwrap();
        let mixed = TransportPrivate { method, first: two.first, second: one.second };
        assert_eq!(mixed.unwrap(b"", &wrapped).unwrap_err(), CryptoError::Open);
    }
}
