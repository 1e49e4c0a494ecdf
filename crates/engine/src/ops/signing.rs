//! Signatures and message authentication codes.

use keyreeve_crypto::{CryptoError, HashAlgorithm, LoadedKey, Message, Purpose, SignatureScheme};
use keyreeve_model::{State, UnixMillis, Usage};
use std::sync::Arc;

use super::usable::{Usable, Want, usable, with_key};
use super::{Each, Payload, lone};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error, Fault};
use crate::keys::{HeldKey, KeyRef};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// Versions tried, newest first, when a caller verifies without saying which (count).
const TRIED: usize = 8;

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// The message itself.
    Raw,
    /// Its digest under the scheme's hash.
    Digest,
}

fn message(form: MessageForm, bytes: &[u8]) -> Message<'_> {
    match form {
        MessageForm::Raw => Message::Raw(bytes),
        MessageForm::Digest => Message::Digest(bytes),
    }
}

/// Signs each message with the key's primary version.
#[derive(Debug)]
pub struct Sign {
    /// The key.
    pub key: KeyRef,
    /// How; the algorithm's usual scheme unless said.
    pub scheme: Option<SignatureScheme>,
    /// Messages or digests.
    pub form: MessageForm,
    /// What to sign.
    pub items: Arc<[Payload]>,
}

/// Signatures.
#[derive(Debug)]
pub struct Signed {
    /// The version that signed.
    pub version: u32,
    /// The scheme.
    pub scheme: SignatureScheme,
    /// In the caller's order; ECDSA in ASN.1 DER.
    pub items: Each<Vec<u8>>,
}

impl Remember for Signed {}

fn scheme_for(key: &HeldKey, wanted: Option<SignatureScheme>) -> Result<SignatureScheme, Error> {
    let algorithm = key.record.algorithm();
    let scheme = wanted.or_else(|| SignatureScheme::default_for(algorithm));
    scheme.filter(|scheme| scheme.fits(algorithm)).ok_or_else(|| {
        Error::new(Code::WrongKeyUse, format!("a key of algorithm `{algorithm}` does not sign with this scheme"))
    })
}

/// Makes the proof of each message with the key's primary version.
async fn prove_all(
    core: &Core,
    key: &HeldKey,
    (purpose, now): (Purpose, UnixMillis),
    items: &Arc<[Payload]>,
    prove: impl Fn(&LoadedKey, &[u8]) -> Result<Vec<u8>, Error> + Send + 'static,
) -> Result<(u32, Each<Vec<u8>>), Error> {
    core.check_batch(items.len())?;
    let Usable { version, loaded } = usable(core, key, Want { purpose, usage: Usage::Apply }, None, now).await?;
    let bytes = items.iter().map(|item| item.expose().len()).sum();
    let (size, items, asked) = ((items.len(), bytes), Arc::clone(items), Arc::clone(&loaded));
    let proofs = move || -> Each<Vec<u8>> { items.iter().map(|item| prove(&loaded, item.expose())).collect() };
    Ok((version, lone(with_key(core, &asked, size, proofs).await?)?))
}

impl Operation for Sign {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_SIGN;
    type Reply = Signed;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Signed>, Error> {
        let key = approved.key()?;
        let (scheme, form, random) = (scheme_for(key, self.scheme)?, self.form, Arc::clone(&core.ports.random));
        let sign = move |loaded: &LoadedKey, bytes: &[u8]| Ok(loaded.sign(&random, scheme, message(form, bytes))?);
        let (version, items) = prove_all(core, key, (Purpose::Sign, approved.now()), &self.items, sign).await?;
        let outcome = Outcome::reply(Signed { version, scheme, items }).version(version).detail("scheme", scheme);
        Ok(outcome.failures(|reply| &reply.items))
    }
}

/// One thing to verify.
#[derive(Debug)]
pub struct Claim {
    /// The message or digest.
    pub message: Payload,
    /// The signature or tag.
    pub proof: Vec<u8>,
}

/// Verifies signatures.
#[derive(Debug)]
pub struct Verify {
    /// The key.
    pub key: KeyRef,
    /// The version; unless said, the newest ones are tried.
    pub version: Option<u32>,
    /// How; the algorithm's usual scheme unless said.
    pub scheme: Option<SignatureScheme>,
    /// Messages or digests.
    pub form: MessageForm,
    /// What to verify.
    pub items: Arc<[Claim]>,
}

/// Verdicts: the version whose signature or tag it is, or none when it does not verify.
#[derive(Debug)]
pub struct Verified {
    /// In the caller's order.
    pub items: Each<Option<u32>>,
}

impl Remember for Verified {}

/// Whether a proof is right, asked of one version.
type Check = dyn Fn(&LoadedKey, &Claim) -> Result<(), CryptoError> + Send + Sync;

async fn verify_all(
    core: &Core,
    key: &HeldKey,
    (purpose, version, now): (Purpose, Option<u32>, UnixMillis),
    items: &Arc<[Claim]>,
    check: Arc<Check>,
) -> Result<Outcome<Verified>, Error> {
    core.check_batch(items.len())?;
    let want = Want { purpose, usage: Usage::Process };
    let versions = match version {
        Some(version) => vec![usable(core, key, want, Some(version), now).await?],
        None => newest_usable(core, key, want, now).await?,
    };
    let bytes = items.iter().map(|item| item.message.expose().len()).sum();
    let newest = versions.first().map(|one| Arc::clone(&one.loaded));
    let newest = newest.ok_or_else(|| Error::internal("nothing to verify with"))?;
    let (size, items) = ((items.len() * versions.len(), bytes), Arc::clone(items));
    let verdicts = move || -> Each<Option<u32>> {
        items.iter().map(|claim| verdict(&versions, |one| check(&one.loaded, claim))).collect()
    };
    let items = lone(with_key(core, &newest, size, verdicts).await?)?;
    let invalid = items.iter().filter(|verdict| matches!(verdict, Ok(None))).count();
    Ok(Outcome::reply(Verified { items }).detail("invalid", invalid).failures(|reply| &reply.items))
}

/// The first version whose proof it is. A device that did not answer has not said that a proof is wrong.
fn verdict(versions: &[Usable], check: impl Fn(&Usable) -> Result<(), CryptoError>) -> Result<Option<u32>, Error> {
    let mut silent = None;
    for one in versions {
        match check(one) {
            Ok(()) => return Ok(Some(one.version)),
            Err(error @ CryptoError::Remote(_)) => silent = Some(error),
            Err(_) => {}
        }
    }
    silent.map_or(Ok(None), |error| Err(error.into()))
}

/// The newest versions that may process; the refusal of the primary one when none may.
async fn newest_usable(core: &Core, key: &HeldKey, want: Want, now: UnixMillis) -> Result<Vec<Usable>, Error> {
    let mut found = Vec::new();
    let mut refusal = None;
    for version in key.record.versions().iter().rev().map(|record| record.version()) {
        if found.len() == TRIED {
            break;
        }
        if key.record.version_state(version, now)? == State::PreActivation {
            continue;
        }
        match usable(core, key, want, Some(version), now).await {
            Ok(one) => found.push(one),
            // It may be the one whose proof this is: that it is none could not be said.
            Err(error) if error.code().fault() == Fault::Unavailable => return Err(error),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match (found.is_empty(), refusal) {
        (false, _) => Ok(found),
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::new(Code::WrongState, "the key is not active yet: `keyreeve key activate`")),
    }
}

impl Operation for Verify {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_VERIFY;
    type Reply = Verified;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Verified>, Error> {
        let key = approved.key()?;
        let (scheme, form) = (scheme_for(key, self.scheme)?, self.form);
        let check = Arc::new(move |loaded: &LoadedKey, claim: &Claim| {
            loaded.verify(scheme, message(form, claim.message.expose()), &claim.proof)
        });
        let outcome = verify_all(core, key, (Purpose::Sign, self.version, approved.now()), &self.items, check).await?;
        Ok(outcome.detail("scheme", scheme))
    }
}

/// Computes message authentication codes (HMAC, FIPS 198-1) with the key's primary version.
#[derive(Debug)]
pub struct Mac {
    /// The key.
    pub key: KeyRef,
    /// The messages.
    pub items: Arc<[Payload]>,
}

/// Tags.
#[derive(Debug)]
pub struct Tagged {
    /// The version that computed them.
    pub version: u32,
    /// In the caller's order.
    pub items: Each<Vec<u8>>,
}

impl Remember for Tagged {}

impl Operation for Mac {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_MAC;
    type Reply = Tagged;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Tagged>, Error> {
        let tag = |loaded: &LoadedKey, bytes: &[u8]| Ok(loaded.mac(bytes)?);
        let which = (Purpose::Mac, approved.now());
        let (version, items) = prove_all(core, approved.key()?, which, &self.items, tag).await?;
        Ok(Outcome::reply(Tagged { version, items }).version(version).failures(|reply| &reply.items))
    }
}

/// Verifies message authentication codes.
#[derive(Debug)]
pub struct VerifyMac {
    /// The key.
    pub key: KeyRef,
    /// The version; unless said, the newest ones are tried.
    pub version: Option<u32>,
    /// What to verify.
    pub items: Arc<[Claim]>,
}

impl Operation for VerifyMac {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_VERIFY_MAC;
    type Reply = Verified;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Verified>, Error> {
        let check =
            Arc::new(|loaded: &LoadedKey, claim: &Claim| loaded.verify_mac(claim.message.expose(), &claim.proof));
        let which = (Purpose::Mac, self.version, approved.now());
        verify_all(core, approved.key()?, which, &self.items, check).await
    }
}

/// The hash of a scheme, for callers that send digests.
#[must_use]
pub fn digest_of(scheme: SignatureScheme) -> Option<HashAlgorithm> {
    scheme.hash()
}
