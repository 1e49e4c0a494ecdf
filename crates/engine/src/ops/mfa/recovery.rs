//! Codes on paper.

use keyreeve_identity::recovery;
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::{Factor, MfaCredential};
use keyreeve_model::record::Revision;
use keyreeve_secret::SecretString;

use super::{factors, has_factor, need_fresh, person};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// Makes the caller's recovery codes; those made before are void.
#[derive(Debug)]
pub struct RecoveryCodes;

/// The codes, shown this once.
#[derive(Debug)]
pub struct RecoveryReply {
    /// The set's name.
    pub credential: MfaId,
    /// The codes.
    pub codes: Vec<SecretString>,
}

impl Remember for RecoveryReply {}

impl Operation for RecoveryCodes {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_RECOVERY_CODES;
    type Reply = RecoveryReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<RecoveryReply>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let known = factors(core, &opened, &owner.name).await?;
        if !has_factor(&known) {
            let text = "recovery codes are for the day when a factor is lost: enrol one first";
            return Err(Error::new(Code::WrongState, text));
        }
        need_fresh(owner, now)?;
        let codes = recovery::generate(&core.ports.random)?;
        let id = MfaId::new(now, core.id_random()?);
        let print = |code: &SecretString| {
            recovery::fingerprint(opened.keys.recovery_mac(), &id.to_string(), code.expose()).map(hex::encode)
        };
        let prints = codes.iter().map(print).collect::<Option<Vec<_>>>();
        let factor = Factor::Recovery { codes: prints.ok_or_else(|| Error::internal("a code has no fingerprint"))? };
        let label = "recovery codes".parse()?;
        let set = MfaCredential::new(id, owner.name.clone(), label, factor.clone(), now).after_right(factor, now);
        let set = MfaCredential { last_used: None, ..set };
        let mut outcome = Outcome::reply(RecoveryReply { credential: id, codes })
            .changing(file(&opened.keys, Revision::FIRST, &set))
            .detail("credential", id);
        for (old, revision) in known.iter().filter(|(factor, _)| !factor.is_carried()) {
            outcome = outcome.changing(unfile(*revision, old));
        }
        Ok(outcome)
    }
}
