//! Keys inside the token.
//!
//! The `CKA_ID` of one is that of the root key, the codes of its algorithm and purpose, and 16 random bytes. Its
//! reference is a byte 1 and what follows the root's id.

use std::sync::Arc;

use async_trait::async_trait;
use keyreeve_crypto::{
    CryptoError, HashAlgorithm, KeyAlgorithm, PublicKey, Purpose, RemoteFault, RemoteKey, SignatureScheme,
};
use keyreeve_root::RootError;
use keyreeve_root::device::KeyDevice;
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::link::Problem;
use crate::root::{Token, wrong_answer};
use crate::signature::{der, public};
use crate::wire::{DATA_MAX, Failure, KeyRef, Kind, Reply, Request};

/// The form of references.
const FORM: u8 = 1;
const ID_LEN: usize = 16;
/// Longest label, in bytes.
const LABEL_MAX: usize = 64;

/// The device of an open root.
pub(crate) struct Device(pub(crate) Arc<Token>);

/// One key in it.
struct InToken {
    token: Arc<Token>,
    key: KeyRef,
}

impl Device {
    fn key(&self, reference: &[u8]) -> Result<KeyRef, RootError> {
        let root = self.0.root()?;
        let [FORM, algorithm, purpose, id @ ..] = reference else { return Err(RootError::Unwrap) };
        if id.len() != ID_LEN {
            return Err(RootError::Unwrap);
        }
        let algorithm = KeyAlgorithm::from_code(*algorithm).map_err(|_| RootError::Unwrap)?;
        let purpose = Purpose::from_code(*purpose).map_err(|_| RootError::Unwrap)?;
        Ok(named(&root.prefix(), algorithm, purpose, id))
    }

    fn makes(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> Result<(), RootError> {
        if self.supports(algorithm, purpose) {
            return Ok(());
        }
        Err(RootError::Refused(format!("the token makes no {algorithm} keys for {purpose}")))
    }
}

fn named(prefix: &[u8], algorithm: KeyAlgorithm, purpose: Purpose, id: &[u8]) -> KeyRef {
    let id = [prefix, &[algorithm.code(), purpose.code()], id].concat();
    KeyRef { id, kind: Kind::Key(algorithm, purpose) }
}

#[async_trait]
impl KeyDevice for Device {
    fn supports(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> bool {
        self.0.link.survey().is_some_and(|survey| survey.offers(algorithm, purpose))
    }

    fn describe(&self) -> String {
        let Some(survey) = self.0.link.survey() else { return String::new() };
        let (maker, model) = (survey.manufacturer.trim(), survey.model.trim());
        format!("{maker} {model}, token `{}`, serial number {}", survey.label.trim(), survey.serial.trim())
    }

    fn draw(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> Result<Vec<u8>, RootError> {
        self.0.root()?;
        self.makes(algorithm, purpose)?;
        let id: [u8; ID_LEN] =
            self.0.random.nonce_array().map_err(|error| RootError::Unavailable(error.to_string()))?;
        Ok([&[FORM, algorithm.code(), purpose.code()], &id[..]].concat())
    }

    async fn generate(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
        label: &str,
    ) -> Result<Option<PublicKey>, RootError> {
        let key = self.key(reference)?;
        if key.kind != Kind::Key(algorithm, purpose) {
            return Err(RootError::Unwrap);
        }
        self.makes(algorithm, purpose)?;
        if label.len() > LABEL_MAX || !label.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(RootError::Refused(format!("a label has at most {LABEL_MAX} printable ASCII characters")));
        }
        let label = label.to_owned();
        self.0
            .blocking(move |token| {
                let limit = token.link.settings().making;
                let Reply::Public(half) = token.link.call(&Request::Generate(key.clone(), label), limit)? else {
                    return Err(wrong_answer());
                };
                match public(algorithm, &half) {
                    Ok(public) => Ok(public),
                    Err(text) => {
                        token.call(&Request::Erase(key.id))?;
                        Err(RootError::Refused(text))
                    }
                }
            })
            .await
    }

    async fn open(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
    ) -> Result<Arc<dyn RemoteKey>, RootError> {
        let key = self.key(reference)?;
        if key.kind != Kind::Key(algorithm, purpose) {
            return Err(RootError::Unwrap);
        }
        let token = Arc::clone(&self.0);
        self.0
            .blocking(move |asked| {
                let looked = asked.call(&Request::Look(key.clone()));
                if looked.as_ref().is_err_and(|problem| problem.failure == Failure::Missing) {
                    asked.root_is_there()?;
                }
                looked?;
                Ok(Arc::new(InToken { token, key }) as Arc<dyn RemoteKey>)
            })
            .await
    }

    async fn erase(&self, reference: &[u8]) -> Result<(), RootError> {
        let key = self.key(reference)?;
        self.0
            .blocking(move |token| {
                // In another token there is nothing to erase either.
                token.root_is_there()?;
                token.call(&Request::Erase(key.id))?;
                Ok(())
            })
            .await
    }

    async fn list(&self) -> Result<Vec<Vec<u8>>, RootError> {
        let prefix = self.0.root()?.prefix();
        self.0
            .blocking(move |token| {
                token.root_is_there()?;
                let Reply::Ids(ids) = token.call(&Request::List(prefix.clone()))? else { return Err(wrong_answer()) };
                let ours = ids.iter().filter_map(|id| id.strip_prefix(prefix.as_slice()));
                let ours = ours.filter(|rest| rest.len() == 2 + ID_LEN);
                Ok(ours.map(|rest| [&[FORM], rest].concat()).collect())
            })
            .await
    }
}

impl InToken {
    fn call(&self, request: &Request) -> Result<Reply, CryptoError> {
        self.token.root().map_err(|_| RemoteFault::Unavailable)?;
        self.token.call(request).map_err(|problem| fault(&problem))
    }

    fn bytes(&self, request: &Request) -> Result<Vec<u8>, CryptoError> {
        match self.call(request)? {
            Reply::Bytes(bytes) => Ok(bytes),
            _ => Err(RemoteFault::WrongAnswer.into()),
        }
    }

    fn secret(&self, request: &Request) -> Result<SecretBytes, CryptoError> {
        match self.call(request)? {
            Reply::Secret(secret) => Ok(secret),
            _ => Err(RemoteFault::WrongAnswer.into()),
        }
    }
}

fn fault(problem: &Problem) -> CryptoError {
    let fault = match problem.failure {
        Failure::Input => return CryptoError::Open,
        Failure::Unavailable | Failure::Pin | Failure::Protocol => RemoteFault::Unavailable,
        Failure::NotOffered | Failure::Exposed => RemoteFault::NotOffered,
        Failure::Missing => RemoteFault::Missing,
    };
    tracing::warn!(cause = %problem.text, "a key in the PKCS #11 token could not be used");
    fault.into()
}

/// What goes into one request.
fn bounded(len: usize) -> Result<(), CryptoError> {
    let (max, actual) = (DATA_MAX as u64, len as u64);
    if actual > max { Err(CryptoError::InputTooLong { max, actual }) } else { Ok(()) }
}

impl RemoteKey for InToken {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        bounded(aad.len().saturating_add(plaintext.len()).saturating_add(28))?;
        let plaintext = SecretBytes::copy_from(plaintext);
        self.bytes(&Request::Seal(self.key.clone(), *nonce, aad.to_vec(), plaintext))
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        // Longer than anything that was sealed here.
        bounded(aad.len().saturating_add(sealed.len())).map_err(|_| CryptoError::Open)?;
        self.secret(&Request::Unseal(self.key.clone(), aad.to_vec(), sealed.to_vec()))
    }

    fn commitment_key(&self) -> Result<SecretArray<32>, CryptoError> {
        let key = self.secret(&Request::Derive(self.key.clone()))?;
        key.to_array().map_err(|_| RemoteFault::WrongAnswer.into())
    }

    fn oaep_decrypt(&self, hash: HashAlgorithm, label: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        bounded(label.len().saturating_add(ciphertext.len())).map_err(|_| CryptoError::Open)?;
        self.secret(&Request::Oaep(self.key.clone(), hash, label.to_vec(), ciphertext.to_vec()))
    }

    fn sign(&self, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        bounded(input.len())?;
        let signature = self.bytes(&Request::Sign(self.key.clone(), scheme, input.to_vec()))?;
        match (scheme, self.key.kind) {
            (
                SignatureScheme::EcdsaSha256 | SignatureScheme::EcdsaSha384 | SignatureScheme::EcdsaSha512,
                Kind::Key(algorithm, _),
            ) => der(algorithm, &signature).ok_or_else(|| RemoteFault::WrongAnswer.into()),
            _ => Ok(signature),
        }
    }

    fn mac(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        bounded(data.len())?;
        self.bytes(&Request::Mac(self.key.clone(), data.to_vec()))
    }
}
