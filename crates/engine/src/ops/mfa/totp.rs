//! Codes by time: the seed is shown once, and a code of it confirms the factor.

use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::filed::file;
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::{CONFIRM_WITHIN, Factor, MfaCredential, TotpAlgorithm};
use keyreeve_model::record::{Revision, Table};
use keyreeve_model::{Label, UnixMillis};
use keyreeve_secret::{SecretBytes, SecretString};

use super::verify::step_up;
use super::{Answered, FactorView, end_enrolments, made, may_enrol, person};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// The field of the record that the seed stands in.
const SEED: &str = "seed";

pub(super) const fn hash(algorithm: TotpAlgorithm) -> TotpHash {
    match algorithm {
        TotpAlgorithm::Sha1 => TotpHash::Sha1,
        TotpAlgorithm::Sha256 => TotpHash::Sha256,
    }
}

/// The seed of a factor, if it is one of codes by time.
pub(super) fn seed_of(
    opened: &Opened,
    credential: &MfaCredential,
) -> Result<Option<(SecretBytes, TotpAlgorithm, Option<u64>)>, Error> {
    match &credential.factor {
        Factor::Totp { seed, algorithm, last_step } => {
            let seed = opened.keys.open_field((Table::Mfa, credential.id.as_bytes(), SEED), seed)?;
            Ok(Some((seed, *algorithm, *last_step)))
        }
        Factor::Webauthn { .. } | Factor::Recovery { .. } => Ok(None),
    }
}

/// The same factor with its last step.
pub(super) fn used(credential: &MfaCredential, step: u64) -> Factor {
    match credential.factor.clone() {
        Factor::Totp { seed, algorithm, .. } => Factor::Totp { seed, algorithm, last_step: Some(step) },
        other @ (Factor::Webauthn { .. } | Factor::Recovery { .. }) => other,
    }
}

/// Makes a seed for the caller.
#[derive(Debug)]
pub struct TotpStart {
    /// What to call the factor.
    pub label: Label,
    /// The hash function.
    pub algorithm: TotpAlgorithm,
    /// The invitation, for a first factor.
    pub invitation: Option<SecretString>,
}

/// A seed, shown this once.
#[derive(Debug)]
pub struct TotpStarted {
    /// The factor, not confirmed yet.
    pub credential: MfaId,
    /// The seed in base32.
    pub seed: SecretString,
    /// The same as an address for applications.
    pub address: SecretString,
    /// Until when it can be confirmed.
    pub expires: UnixMillis,
}

impl Remember for TotpStarted {}

impl Operation for TotpStart {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_TOTP_START;
    type Reply = TotpStarted;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<TotpStarted>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        may_enrol(core, &opened, approved, self.invitation.as_ref()).await?;
        let (owner, token) = (approved.principal().name.clone(), approved.principal().token);
        let hash = hash(self.algorithm);
        let seed = core.ports.random.secret_bytes(hash.seed_len())?;
        let id = MfaId::new(now, core.id_random()?);
        let place = (Table::Mfa, id.as_bytes().as_slice(), SEED);
        let sealed = opened.keys.seal_field(&core.ports.random, place, seed.expose())?;
        // The name of the program first: an application shows the beginning only.
        let issuer = &format!("Keyreeve {}", opened.deployment.log_origin);
        let started = TotpStarted {
            credential: id,
            seed: totp::seed_text(seed.expose()),
            address: totp::address(seed.expose(), hash, issuer, owner.as_str()),
            expires: now.plus(CONFIRM_WITHIN),
        };
        let factor = Factor::Totp { seed: sealed, algorithm: self.algorithm, last_step: None };
        let credential = MfaCredential::new(id, owner, self.label.clone(), factor, now).begun_with(token);
        Ok(Outcome::reply(started)
            .changing(file(&opened.keys, Revision::FIRST, &credential))
            .detail("credential", id)
            .detail("kind", MfaKind::Totp.name()))
    }
}

/// Confirms it with a code, which is the first proof too.
#[derive(Debug)]
pub struct TotpFinish {
    /// The factor.
    pub credential: MfaId,
    /// A code of it.
    pub code: SecretString,
}

impl Operation for TotpFinish {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_TOTP_FINISH;
    type Reply = Answered<FactorView>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Answered<FactorView>>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let missing = || Error::not_found("second factor");
        let (credential, revision) =
            core.filed::<MfaCredential>(&opened, self.credential).await?.ok_or_else(missing)?;
        if credential.principal != owner.name || made(&opened, &owner.name).is_none_or(|at| credential.created < at) {
            return Err(missing());
        }
        // Whoever has another token of the person does not finish what its bearer began.
        if credential.confirmed.is_none() && credential.begun_with != owner.token {
            return Err(missing());
        }
        let (seed, algorithm, last) = seed_of(&opened, &credential)?.ok_or_else(missing)?;
        credential.confirmable(now)?;
        credential.admit(now)?;
        let outcome =
            |reply| Outcome::reply(reply).detail("credential", self.credential).detail("kind", MfaKind::Totp.name());
        let Some(step) = totp::check(seed.expose(), hash(algorithm), self.code.expose(), last, now) else {
            let wrong = file(&opened.keys, revision.next(), &credential.after_wrong(now));
            return Ok(outcome(Answered::Wrong(wrong_code())).changing(wrong).refusing(Code::MfaRefused.name()));
        };
        let confirmed = credential.after_right(used(&credential, step), now);
        let view = FactorView::from(&confirmed);
        let mut outcome = outcome(Answered::Right(view)).changing(file(&opened.keys, revision.next(), &confirmed));
        for change in end_enrolments(core, &opened, &owner.name, Some(confirmed.id)).await? {
            outcome = outcome.changing(change);
        }
        let proof = MfaProof { at: now, kind: MfaKind::Totp, credential: Some(confirmed.id) };
        Ok(match step_up(core, &opened, owner, proof).await? {
            Some(change) => outcome.changing(change),
            None => outcome,
        })
    }
}

/// One text for every wrong code: nobody learns whether it was used, old or never right.
pub(super) fn wrong_code() -> Error {
    Error::new(Code::MfaRefused, "the code is not right, or was used before: take the next one")
}
