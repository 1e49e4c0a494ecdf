//! What the operator says about PCRs: these values, signed, open the root.
//!
//! An approval is a JSON file. It names a bank, the PCRs with their values, the policy that a TPM computes from them,
//! and the signature of the operator's policy key over that policy followed by [`POLICY_REF`]: ECDSA on P-256 with
//! SHA-256, which every TPM can verify. The private key never comes to the server; whatever signs SHA-256 digests with
//! P-256 can approve.

use std::collections::BTreeMap;
use std::path::Path;

use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::pem;
use keyreeve_crypto::public::PublicKey;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::signature::Message;
use keyreeve_crypto::{KeyAlgorithm, Purpose, SignatureScheme};
use keyreeve_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize};
use tpm2_protocol::data::{
    TpmAlgId, TpmEccCurve, TpmaObject, TpmsEccParms, TpmsEccPoint, TpmsSignatureEcc, TpmtPublic, TpmtSignature,
    TpmuPublicId, TpmuPublicParms, TpmuSignature,
};

use crate::bench::Trouble;
use crate::pcrs::{Bank, PcrValues};
use crate::session::coordinates;
use crate::wire::{Digest, authorised_policy, bytes_of, name_of, pcr_policy};

/// What the signed policy is followed by: says that the signature approves PCRs for a root of Keyreeve and nothing else
/// that the same key might sign.
pub const POLICY_REF: &[u8] = b"keyreeve tpm root policy v1";

/// Longest file that is taken for an approval (bytes): 24 PCRs take less than 4 KiB.
const LONGEST: u64 = 64 * 1024;

/// Why something is no approval.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApprovalError {
    /// It cannot be read as one.
    #[error("this is not an approval of PCRs: {0}")]
    Malformed(String),
    /// The policy key is no key on P-256.
    #[error("the policy key must be a key on the curve P-256 (`openssl genpkey -algorithm EC` makes one)")]
    Key,
    /// It was signed by another key.
    #[error("this approval is of another policy key, {0}")]
    OtherKey(String),
    /// Its signature does not fit, or its policy is not that of its values.
    #[error("this approval was altered: its signature does not fit what stands in it")]
    Forged,
    /// The cryptographic module or the generator failed.
    #[error("it could not be signed: {0}")]
    Module(String),
}

/// The public half of the operator's key that approves PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyKey {
    key: PublicKey,
    name: Vec<u8>,
}

impl PolicyKey {
    /// Takes the SubjectPublicKeyInfo of a key on P-256, in DER.
    ///
    /// # Errors
    /// [`ApprovalError::Key`].
    pub fn from_spki(der: &[u8]) -> Result<Self, ApprovalError> {
        let key = PublicKey::from_spki(KeyAlgorithm::EcP256, der).map_err(|_| ApprovalError::Key)?;
        let public = public_area(&key).and_then(|area| bytes_of(&area)).map_err(|_| ApprovalError::Key)?;
        Ok(Self { key, name: name_of(&public) })
    }

    /// The same in PEM, `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`ApprovalError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, ApprovalError> {
        match pem::decode("PUBLIC KEY", text).map_err(|_| ApprovalError::Key)?.as_slice() {
            [der] => Self::from_spki(der.expose()),
            _ => Err(ApprovalError::Key),
        }
    }

    /// What a TPM calls it: `000b` and the SHA-256 of its public area, in hexadecimal digits.
    #[must_use]
    pub fn name(&self) -> String {
        hex::encode(&self.name)
    }

    pub(crate) fn name_bytes(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn public_area(&self) -> Result<TpmtPublic, Trouble> {
        public_area(&self.key)
    }

    /// The policy of what opens under any set of PCRs that this key approved.
    pub(crate) fn policy(&self) -> Digest {
        authorised_policy(&self.name, POLICY_REF)
    }
}

fn public_area(key: &PublicKey) -> Result<TpmtPublic, Trouble> {
    let (x, y) = coordinates(key).ok_or_else(|| Trouble::unexpected("no point on P-256"))?;
    let point =
        TpmsEccPoint { x: x.try_into().map_err(Trouble::unexpected)?, y: y.try_into().map_err(Trouble::unexpected)? };
    Ok(TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::USER_WITH_AUTH | TpmaObject::SIGN_ENCRYPT,
        parameters: TpmuPublicParms::Ecc(TpmsEccParms { curve_id: TpmEccCurve::NistP256, ..TpmsEccParms::default() }),
        unique: TpmuPublicId::Ecc(point),
        ..TpmtPublic::default()
    })
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: Format,
    #[serde(default)]
    note: String,
    bank: Bank,
    pcrs: BTreeMap<u8, String>,
    #[serde(with = "hex::serde")]
    policy: Digest,
    key: String,
    #[serde(with = "hex::serde")]
    signature: Vec<u8>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-tpm-approval-1")]
    V1,
}

/// PCR values that the operator approved, with a signature that was verified.
#[derive(Clone)]
pub struct Approval {
    content: Content,
    values: PcrValues,
}

impl Approval {
    /// Approves `values` with the private half of a policy key, in PKCS #8. `note` is for people.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn sign(random: &Random, private: &SecretBytes, values: &PcrValues, note: &str) -> Result<Self, ApprovalError> {
        let material = Material::import(KeyAlgorithm::EcP256, private).map_err(|_| ApprovalError::Key)?;
        let public = material.public_key().ok().flatten().ok_or(ApprovalError::Key)?;
        let key = PolicyKey::from_spki(public.spki())?;
        let policy = policy_of(values)?;
        let module = |error: keyreeve_crypto::CryptoError| ApprovalError::Module(error.to_string());
        let loaded = LoadedKey::load(&material, Purpose::Sign).map_err(module)?;
        let message = [&policy[..], POLICY_REF].concat();
        let signed = loaded.sign(random, SignatureScheme::EcdsaSha256, Message::Raw(&message)).map_err(module)?;
        Self::from_signature(&key, values, &signed, note)
    }

    /// The same with the private half in PEM, `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn sign_with_pem(
        random: &Random,
        private: &SecretString,
        values: &PcrValues,
        note: &str,
    ) -> Result<Self, ApprovalError> {
        match pem::decode("PRIVATE KEY", private.expose()).map_err(|_| ApprovalError::Key)?.as_slice() {
            [der] => Self::sign(random, der, values, note),
            _ => Err(ApprovalError::Key),
        }
    }

    /// Puts an approval together from a signature (ECDSA, DER) that was made elsewhere over [`Approval::to_sign`].
    ///
    /// # Errors
    /// [`ApprovalError`]: the signature does not fit.
    pub fn from_signature(
        key: &PolicyKey,
        values: &PcrValues,
        signature: &[u8],
        note: &str,
    ) -> Result<Self, ApprovalError> {
        let content = Content {
            format: Format::V1,
            note: note.to_owned(),
            bank: values.bank,
            pcrs: values.values.iter().map(|(pcr, value)| (*pcr, hex::encode(value))).collect(),
            policy: policy_of(values)?,
            key: key.name(),
            signature: signature.to_vec(),
        };
        Self::check(content, key)
    }

    /// What the policy key signs to approve `values`: hashed with SHA-256 as a part of signing.
    ///
    /// # Errors
    /// [`ApprovalError::Malformed`] for PCRs that do not exist.
    pub fn to_sign(values: &PcrValues) -> Result<Vec<u8>, ApprovalError> {
        Ok([&policy_of(values)?[..], POLICY_REF].concat())
    }

    /// Reads an approval and verifies it.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn parse(bytes: &[u8], key: &PolicyKey) -> Result<Self, ApprovalError> {
        let content = serde_json::from_slice(bytes).map_err(|error| ApprovalError::Malformed(error.to_string()))?;
        Self::check(content, key)
    }

    fn check(content: Content, key: &PolicyKey) -> Result<Self, ApprovalError> {
        if content.key != key.name() {
            return Err(ApprovalError::OtherKey(content.key));
        }
        let mut values = BTreeMap::new();
        for (pcr, digits) in &content.pcrs {
            let value = hex::decode(digits).map_err(|error| ApprovalError::Malformed(error.to_string()))?;
            values.insert(*pcr, value);
        }
        let values = PcrValues { bank: content.bank, values };
        if policy_of(&values)? != content.policy {
            return Err(ApprovalError::Forged);
        }
        let message = [&content.policy[..], POLICY_REF].concat();
        let verified = key.key.verify(SignatureScheme::EcdsaSha256, Message::Raw(&message), &content.signature);
        verified.map_err(|_| ApprovalError::Forged)?;
        Ok(Self { content, values })
    }

    /// As it lies in a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A map of numbers and texts cannot fail to be written.
        serde_json::to_string_pretty(&self.content).unwrap_or_default() + "\n"
    }

    /// The approved values.
    #[must_use]
    pub fn values(&self) -> &PcrValues {
        &self.values
    }

    /// What people wrote about it.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.content.note
    }

    pub(crate) fn policy(&self) -> &Digest {
        &self.content.policy
    }

    /// The digest that was signed, and the signature as a TPM takes it.
    pub(crate) fn proof(&self) -> Result<(Digest, TpmtSignature), Trouble> {
        let (r, s) = numbers(&self.content.signature).ok_or_else(|| Trouble::unexpected("no ECDSA signature"))?;
        let signature = TpmsSignatureEcc {
            hash: TpmAlgId::Sha256,
            signature_r: r[..].try_into().map_err(Trouble::unexpected)?,
            signature_s: s[..].try_into().map_err(Trouble::unexpected)?,
        };
        let digest = sha256(&[&self.content.policy[..], POLICY_REF].concat());
        Ok((digest, TpmtSignature { sig_alg: TpmAlgId::Ecdsa, signature: TpmuSignature::Ecdsa(signature) }))
    }
}

fn policy_of(values: &PcrValues) -> Result<Digest, ApprovalError> {
    let lengths = values.values.values().all(|value| value.len() == values.bank.len());
    if values.values.is_empty() || !lengths {
        return Err(ApprovalError::Malformed("no PCRs, or values of another length than their bank's".to_owned()));
    }
    let selection = values.selection().map_err(|trouble| ApprovalError::Malformed(trouble.to_string()))?;
    pcr_policy(&selection, &values.joined()).map_err(|trouble| ApprovalError::Malformed(trouble.to_string()))
}

/// The two numbers of a signature in DER, each of 32 bytes. The signature was verified, so it is well-formed.
fn numbers(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let rest = der.strip_prefix(&[0x30])?;
    let (&len, rest) = rest.split_first()?;
    if usize::from(len) != rest.len() {
        return None;
    }
    let (r, rest) = number(rest)?;
    let (s, rest) = number(rest)?;
    rest.is_empty().then_some((r, s))
}

fn number(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let rest = der.strip_prefix(&[0x02])?;
    let (&len, rest) = rest.split_first()?;
    let (digits, rest) = rest.split_at_checked(usize::from(len))?;
    let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
    let mut out = [0; 32];
    out.get_mut(32usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some((out, rest))
}

/// What lies in a directory of approvals.
pub(crate) struct Found {
    /// What is in order, with the name of its file.
    pub(crate) good: Vec<(String, Approval)>,
    /// What is not, and why.
    pub(crate) left_out: Vec<String>,
}

/// The approvals in a directory: every file whose name ends in `.json`. What is not in order is left out and told of:
/// one bad file must not keep the machine from starting.
pub(crate) fn read_all(directory: &Path, key: &PolicyKey) -> Result<Found, Trouble> {
    let io = |error: std::io::Error| Trouble::Files(format!("{}: {error}", directory.display()));
    let (mut good, mut left_out) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        match read_one(&entry.path(), key) {
            Ok(approval) => good.push((name, approval)),
            Err(why) => left_out.push(format!("{name}: {why}")),
        }
    }
    good.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Found { good, left_out })
}

fn read_one(path: &Path, key: &PolicyKey) -> Result<Approval, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err("this is no file, or too long for an approval".to_owned());
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    Approval::parse(&bytes, key).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (Random, SecretBytes, PolicyKey) {
        let random = Random::from_module().unwrap();
        let private = Material::generate(KeyAlgorithm::EcP256, &random).unwrap();
        let public = PolicyKey::from_spki(private.public_key().unwrap().unwrap().spki()).unwrap();
        (random, private.serialize(), public)
    }

    fn values() -> PcrValues {
        PcrValues { bank: Bank::Sha256, values: BTreeMap::from([(7, vec![7; 32]), (11, vec![11; 32])]) }
    }

    #[test]
    fn what_is_signed_is_read_again() {
        let (random, private, public) = key();
        let signed = Approval::sign(&random, &private, &values(), "kernel 6.1").unwrap();
        let read = Approval::parse(signed.to_json().as_bytes(), &public).unwrap();
        assert_eq!((read.values(), read.note()), (&values(), "kernel 6.1"));
        assert_eq!(public.name().len(), 68);
        read.proof().unwrap();
    }

    #[test]
    fn keys_come_in_pem() {
        let (random, private, public) = key();
        let text = pem::encode("PUBLIC KEY", public.key.spki());
        assert_eq!(PolicyKey::from_pem(&text), Ok(public));
        let text = SecretString::copy_from(&pem::encode("PRIVATE KEY", private.expose()));
        assert!(Approval::sign_with_pem(&random, &text, &values(), "").is_ok());
        let other = Material::generate(KeyAlgorithm::EcP384, &random).unwrap();
        let public = pem::encode("PUBLIC KEY", other.public_key().unwrap().unwrap().spki());
        let private = SecretString::copy_from(&pem::encode("PRIVATE KEY", other.serialize().expose()));
        for bad in ["", "x", &public, &public.repeat(2), private.expose()] {
            assert_eq!(PolicyKey::from_pem(bad).err(), Some(ApprovalError::Key));
        }
        assert_eq!(Approval::sign_with_pem(&random, &private, &values(), "").err(), Some(ApprovalError::Key));
    }

    #[test]
    fn what_was_altered_is_forged() {
        let (random, private, public) = key();
        let good = Approval::sign(&random, &private, &values(), "").unwrap().to_json();
        let json = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut value: serde_json::Value = serde_json::from_str(&good).unwrap();
            edit(&mut value);
            Approval::parse(value.to_string().as_bytes(), &public).err()
        };
        assert_eq!(json(&|_| ()), None);
        assert_eq!(json(&|v| v["note"] = "another".into()), None, "notes are for people and not signed");
        assert_eq!(json(&|v| v["pcrs"]["7"] = "08".repeat(32).into()), Some(ApprovalError::Forged));
        assert_eq!(json(&|v| v["policy"] = "08".repeat(32).into()), Some(ApprovalError::Forged));
        assert!(matches!(json(&|v| v["pcrs"]["7"] = "08".into()), Some(ApprovalError::Malformed(_))));
        assert!(matches!(json(&|v| v["pcrs"]["24"] = "08".repeat(32).into()), Some(ApprovalError::Malformed(_))));
        assert!(matches!(json(&|v| v["bank"] = "sha1".into()), Some(ApprovalError::Malformed(_))));
        assert!(matches!(json(&|v| v["more"] = 1.into()), Some(ApprovalError::Malformed(_))));
        assert!(matches!(json(&|v| v["format"] = "keyreeve-tpm-approval-2".into()), Some(ApprovalError::Malformed(_))));
        let (_, _, other) = key();
        assert!(matches!(Approval::parse(good.as_bytes(), &other), Err(ApprovalError::OtherKey(_))));
    }

    #[test]
    fn a_signature_from_elsewhere_is_taken_if_it_fits() {
        let (random, private, public) = key();
        let material = Material::import(KeyAlgorithm::EcP256, &private).unwrap();
        let loaded = LoadedKey::load(&material, Purpose::Sign).unwrap();
        let message = Approval::to_sign(&values()).unwrap();
        let signature = loaded.sign(&random, SignatureScheme::EcdsaSha256, Message::Raw(&message)).unwrap();
        Approval::from_signature(&public, &values(), &signature, "").unwrap();
        let mut other = values();
        other.values.insert(7, vec![8; 32]);
        assert!(matches!(Approval::from_signature(&public, &other, &signature, ""), Err(ApprovalError::Forged)));
        let none = PcrValues { bank: Bank::Sha256, values: BTreeMap::new() };
        assert!(Approval::to_sign(&none).is_err(), "an approval of nothing would approve everything");
    }

    #[test]
    fn numbers_are_taken_from_der() {
        let (random, private, _) = key();
        // Of many signatures some have short numbers, and about half a leading zero.
        for _ in 0..40 {
            let approval = Approval::sign(&random, &private, &values(), "").unwrap();
            assert!(numbers(&approval.content.signature).is_some());
        }
        for bad in [&b""[..], b"\x30\x00", b"\x30\x06\x02\x01\x01\x02\x01", b"\x31\x06\x02\x01\x01\x02\x01\x01"] {
            assert!(numbers(bad).is_none());
        }
        assert!(numbers(b"\x30\x06\x02\x01\x01\x02\x01\x02").is_some());
    }
}
