//! What is done with the TPM as a whole: sealing, opening, and why not. Everything here blocks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyreeve_crypto::random::Random;
use keyreeve_root::root_key::SetId;
use keyreeve_secret::SecretArray;
use tpm2_protocol::data::{TpmCc, TpmRcBase, TpmSe};

use crate::approval::{Approval, Found, POLICY_REF, PolicyKey, read_all};
use crate::commands::{Parent, Tpm};
use crate::pcrs::{self, Bank, PcrValues};
use crate::sealed::{Sealed, SealedFile};
use crate::transport::Device;

/// What a root in a TPM needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The TPM.
    pub device: Device,
    /// Which PCRs are looked at, of 0 to 23.
    pub pcrs: BTreeSet<u8>,
    /// Of which bank.
    pub bank: Bank,
    /// Whose signature approves PCRs.
    pub policy_key: PolicyKey,
    /// The directory of approvals.
    pub approvals: PathBuf,
    /// The file with the sealed key. Without this TPM it says nothing.
    pub sealed: PathBuf,
    /// How long the TPM may take for all that is asked of it at once.
    pub limit: Duration,
}

/// Why a TPM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It cannot be reached, or stopped in the middle.
    #[error("{0}")]
    Silent(String),
    /// It said no.
    #[error("the TPM refuses {0}: {1}")]
    Refused(TpmCc, TpmRcBase),
    /// What it answered is not what was asked for.
    #[error("the TPM's answer makes no sense: {0}")]
    Unexpected(String),
    /// What it answered is not signed with the session's key.
    #[error("the answer is not the TPM's own: something stands between it and this program")]
    Impostor,
    /// The owner's hierarchy has a password.
    #[error("the TPM's owner hierarchy has a password: a root in a TPM needs it to be empty")]
    OwnerAuth,
    /// It lacks something.
    #[error("this TPM cannot {0}, which a root needs")]
    Unable(&'static str),
    /// It does not have the bank, or not all of the PCRs.
    #[error("the TPM has no bank {0}, or not all of these PCRs in it")]
    NoBank(&'static str),
    /// The sealed key is of another TPM, or this one was cleared.
    #[error("the key was sealed to another TPM, or this one was cleared since")]
    OtherTpm,
    /// The key was sealed under another policy key.
    #[error("the key was sealed under the policy key {sealed}, configured is {configured}")]
    OtherKey {
        /// Whose approvals open it.
        sealed: String,
        /// Whose approvals are at hand.
        configured: String,
    },
    /// No approval fits the present PCRs.
    #[error("{0}")]
    NotApproved(String),
    /// The sealed key or the approvals cannot be read or written.
    #[error("{0}")]
    Files(String),
    /// Nobody said that the TPM which is there is the machine's own.
    #[error(
        "the key is not sealed anew, to a TPM that calls its storage key {parent}: nothing says that it is this \
         machine's, and not one that stands in between. Only if you know it to be, write that name into {consent}"
    )]
    Stranger {
        /// What the TPM that is there calls its storage key, in hexadecimal digits.
        parent: String,
        /// The file in which an operator consents.
        consent: String,
    },
    /// Something else lies where the counter should.
    #[error("what the TPM has at the index {0:#010x} is not the counter that was made there")]
    NotOurs(u32),
    /// There is no sealed key.
    #[error("{0}: there is no sealed key")]
    NoFile(String),
    /// The sealed key is that of another deployment.
    #[error("{0}: the sealed key belongs to another deployment")]
    OtherDeployment(String),
}

impl Trouble {
    pub(crate) fn unexpected(what: impl std::fmt::Display) -> Self {
        Self::Unexpected(what.to_string())
    }

    pub(crate) fn cut_short() -> Self {
        Self::Unexpected("it is too short".to_owned())
    }
}

/// What became of the sealed key after shares had opened the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// It is good for the TPM that is there.
    Kept,
    /// It was sealed anew.
    Anew,
}

/// The TPM, and the files beside it.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) random: Random,
}

impl Bench {
    pub(crate) fn tpm(&self) -> Result<Tpm, Trouble> {
        Tpm::open(&self.options.device, &self.random, self.options.limit)
    }

    /// Talks to the TPM on a thread that may block, for as long as the options allow.
    pub(crate) async fn within_limit<T: Send + 'static>(
        bench: Arc<Self>,
        about: impl FnOnce(&Self) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let limit = bench.options.limit;
        let talk = tokio::task::spawn_blocking(move || about(&bench));
        let late = |_| Trouble::Silent(format!("the TPM did not answer within {} seconds", limit.as_secs()));
        tokio::time::timeout(limit, talk).await.map_err(late)?.map_err(Trouble::unexpected)?
    }

    pub(crate) fn file(&self) -> SealedFile<'_> {
        SealedFile(&self.options.sealed)
    }

    /// Opens what lies in the file.
    pub(crate) fn open(&self) -> Result<(SetId, SecretArray<32>), Trouble> {
        let path = || self.options.sealed.display().to_string();
        let sealed = self.file().read()?.ok_or_else(|| Trouble::NoFile(path()))?;
        self.same_key(&sealed)?;
        Ok((sealed.set, self.unseal(&sealed)?))
    }

    fn same_key(&self, sealed: &Sealed) -> Result<(), Trouble> {
        let configured = self.options.policy_key.name();
        if sealed.policy_key == configured {
            return Ok(());
        }
        Err(Trouble::OtherKey { sealed: sealed.policy_key.clone(), configured })
    }

    fn unseal(&self, sealed: &Sealed) -> Result<SecretArray<32>, Trouble> {
        let mut tpm = self.tpm()?;
        let (_, approval) = self.approval(&mut tpm)?;
        let parent = tpm.parent()?;
        // Sessions are salted to this key. One of another name may be that of whoever stands in between.
        if parent.name != sealed.parent {
            return Err(Trouble::OtherTpm);
        }
        let (digest, signature) = approval.proof()?;
        let ticket = tpm.verified(self.options.policy_key.public_area()?, &digest, &signature)?;
        let session = tpm.session(&parent, TpmSe::Policy)?;
        let object = tpm.load(&parent, &sealed.blob())?;
        tpm.flush(parent.handle)?;
        tpm.policy_pcr(&session, &approval.values().selection()?)?;
        let key = self.options.policy_key.name_bytes();
        tpm.policy_authorize(&session, approval.policy(), POLICY_REF, key, &ticket).map_err(changed)?;
        let secret = tpm.unseal(&object, session).map_err(changed)?;
        tpm.flush(object.0)?;
        secret.to_array().map_err(Trouble::unexpected)
    }

    /// The approval of what the PCRs hold at present. The TPM looks itself; this finds the right one, and words for it
    /// when there is none.
    fn approval(&self, tpm: &mut Tpm) -> Result<(String, Approval), Trouble> {
        let Options { bank, pcrs, approvals, policy_key, .. } = &self.options;
        let present = pcrs::read(tpm, *bank, pcrs.iter().copied())?;
        let Found { good, mut left_out } = read_all(approvals, policy_key)?;
        let same = |values: &PcrValues| values.bank == *bank && values.values.keys().eq(pcrs.iter());
        let (good, others): (Vec<_>, Vec<_>) = good.into_iter().partition(|(_, one)| same(one.values()));
        left_out
            .extend(others.into_iter().map(|(name, _)| format!("{name}: it is about other PCRs than are configured")));
        for why in &left_out {
            tracing::warn!(approvals = %approvals.display(), why, "an approval of PCRs is left out");
        }
        let nearest = good.into_iter().min_by_key(|(_, one)| present.distance(one.values()));
        let directory = approvals.display();
        let how = "`keyreeve root tpm approve` approves the present ones";
        match nearest {
            Some(nearest) if present.distance(nearest.1.values()) == 0 => Ok(nearest),
            Some((name, one)) => {
                let differences = present.differences(one.values());
                let text = format!(
                    "the PCRs are not what was approved; nearest is {name}: {differences} (bank {}, approvals in \
                     {directory}); {how}",
                    bank.name()
                );
                Err(Trouble::NotApproved(text))
            }
            None => {
                let text = format!("no approval of these PCRs by the policy key is in {directory}; {how}");
                Err(Trouble::NotApproved(text))
            }
        }
    }

    /// Seals a key to this TPM.
    fn seal(&self, tpm: &mut Tpm, parent: Parent, set: SetId, key: &SecretArray<32>) -> Result<Sealed, Trouble> {
        let mut session = tpm.session(&parent, TpmSe::Hmac)?;
        let policy = self.options.policy_key.policy();
        let blob = tpm.seal(&parent, &mut session, key.expose(), &policy)?;
        tpm.flush(parent.handle)?;
        Ok(Sealed::new(set, parent.name, self.options.policy_key.name(), blob))
    }

    /// The key in the file, or a new one, which lies there afterwards and has been opened from there.
    pub(crate) fn open_or_make(&self) -> Result<(SetId, SecretArray<32>), Trouble> {
        if self.file().read()?.is_some() {
            return self.open();
        }
        // Before anything is made: would it open again?
        let mut tpm = self.tpm()?;
        self.approval(&mut tpm)?;
        let set: SetId = self.random.nonce_array().map_err(Trouble::unexpected)?;
        let key = self.random.secret_array::<32>().map_err(Trouble::unexpected)?;
        let parent = tpm.parent()?;
        let sealed = self.seal(&mut tpm, parent, set, &key)?;
        drop(tpm);
        if !self.unseal(&sealed)?.ct_eq(key.expose()) {
            return Err(Trouble::unexpected("what was sealed came back as something else"));
        }
        self.file().place(&sealed, false)?;
        self.open()
    }

    /// After shares have opened the root: sees to it that the TPM can open it again, as soon as its PCRs are approved.
    ///
    /// Whoever stands between this program and the TPM, or put another one in, can name a parent of their own and so be
    /// told the key. So it is sealed to the parent it was sealed to before, or to one that an operator consents to.
    pub(crate) fn mend(&self, set: SetId, key: &SecretArray<32>) -> Result<Mended, Trouble> {
        let mut tpm = self.tpm()?;
        let parent = tpm.parent()?;
        let before = self.file().read()?;
        if let Some(sealed) = &before {
            if sealed.set != set {
                return Err(Trouble::OtherDeployment(self.options.sealed.display().to_string()));
            }
            if parent.name == sealed.parent
                && self.same_key(sealed).is_ok()
                && let Ok(object) = tpm.load(&parent, &sealed.blob())
            {
                tpm.flush(object.0)?;
                tpm.flush(parent.handle)?;
                return Ok(Mended::Kept);
            }
        }
        let known = before.is_some_and(|sealed| sealed.parent == parent.name);
        if !known {
            self.file().consented(&parent.name)?;
        }
        let sealed = self.seal(&mut tpm, parent, set, key)?;
        self.file().place(&sealed, true)?;
        if !known {
            // For once: the next change of TPMs is another question.
            self.file().consent_used()?;
        }
        Ok(Mended::Anew)
    }

    /// Whether the TPM would open the root now.
    pub(crate) fn would_open(&self) -> Result<(), Trouble> {
        self.open().map(drop)
    }
}

/// What a TPM and the files beside it look like; for those who check a configuration. Nothing is changed.
#[derive(Debug)]
pub struct Survey {
    /// The approval of what the PCRs hold at present, or why a root would not open or be made.
    pub approved: Result<String, Trouble>,
    /// Whether the key in the file, if there is one, would come out of the TPM.
    pub opens: Option<Result<(), Trouble>>,
}

impl Survey {
    /// Looks. Blocks, for as long as the options allow each step.
    #[must_use]
    pub fn take(options: &Options, random: &Random) -> Self {
        let bench = Bench { options: options.clone(), random: random.clone() };
        let approved = bench.tpm().and_then(|mut tpm| bench.approval(&mut tpm)).map(|(name, _)| name);
        let opens = match (&approved, bench.file().read()) {
            (Ok(_), Ok(Some(_))) => Some(bench.would_open()),
            (_, Err(trouble)) => Some(Err(trouble)),
            (_, Ok(_)) => None,
        };
        Self { approved, opens }
    }
}

/// Refused although the PCRs fitted a moment ago: they were extended in between.
fn changed(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Refused(_, TpmRcBase::PolicyFail | TpmRcBase::Value | TpmRcBase::PcrChanged) => {
            Trouble::NotApproved("the PCRs changed while the key was being opened".to_owned())
        }
        other => other,
    }
}
