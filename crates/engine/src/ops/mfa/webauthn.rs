//! Authenticators: a challenge to register one, and what it answers.

use keyreeve_crypto::digest::sha256;
use keyreeve_identity::webauthn::{self as authenticators, Relying, WebAuthnAlgorithm};
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::{ChallengePurpose, Factor, MfaChallenge, MfaCredential};
use keyreeve_model::record::Revision;
use keyreeve_model::{Label, UnixMillis};
use keyreeve_secret::SecretString;
use std::collections::BTreeSet;

use super::verify::{new_challenge, step_up};
use super::{FactorView, born, end_enrolments, factors, made, may_enrol, need_room, person};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// The transports of WebAuthn level 3, section 5.8.4; others are not kept.
const TRANSPORTS: [&str; 6] = ["usb", "nfc", "ble", "smart-card", "hybrid", "internal"];

/// The relying party of this server.
pub(super) struct Party {
    pub(super) id: String,
    origins: Vec<String>,
}

impl Party {
    pub(super) fn view(&self) -> Relying<'_> {
        Relying { id: &self.id, origins: &self.origins }
    }
}

pub(super) fn relying(core: &Core) -> Result<Party, Error> {
    let origins = core.origins.load();
    match &core.settings.relying {
        Some(id) if !origins.is_empty() => Ok(Party { id: id.clone(), origins: origins.to_vec() }),
        _ => Err(Error::new(Code::WrongState, "authenticators are not set up: configure `webauthn.id`")),
    }
}

/// The name under which a credential is kept follows from its own, so that none is kept twice.
pub(super) fn credential_of(credential_id: &[u8]) -> MfaId {
    let digest = sha256(&[b"keyreeve/webauthn/1".as_slice(), credential_id].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    MfaId::from_bytes(id)
}

/// Begins to register an authenticator of the caller.
#[derive(Debug)]
pub struct WebAuthnStart {
    /// The invitation, for a first factor.
    pub invitation: Option<SecretString>,
}

/// What `navigator.credentials.create` needs.
#[derive(Debug)]
pub struct WebAuthnStarted {
    /// The challenge's name, for the answer.
    pub id: MfaId,
    /// The challenge.
    pub challenge: [u8; 32],
    /// The relying party.
    pub relying: String,
    /// The person, for the authenticator: a hash of the name.
    pub user_id: [u8; 32],
    /// The name, for the person to see.
    pub user: String,
    /// Credentials that the person has already.
    pub exclude: Vec<Vec<u8>>,
    /// COSE numbers of what may be signed with, the preferred first.
    pub algorithms: Vec<i64>,
    /// Until when.
    pub expires: UnixMillis,
}

impl Remember for WebAuthnStarted {}

impl Operation for WebAuthnStart {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_WEBAUTHN_START;
    type Reply = WebAuthnStarted;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<WebAuthnStarted>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        may_enrol(core, &opened, approved, self.invitation.as_ref()).await?;
        let (party, asker) = (relying(core)?, approved.principal());
        let owner = &asker.name;
        let known = factors(core, &opened, owner).await?;
        let exclude = known.iter().filter_map(|(factor, _)| match &factor.factor {
            Factor::Webauthn { credential_id, .. } => hex::decode(credential_id).ok(),
            Factor::Totp { .. } | Factor::Recovery { .. } => None,
        });
        need_room(core, &opened, owner, now).await?;
        let (given, challenge, change) = new_challenge(core, &opened, asker, ChallengePurpose::Enrol, now)?;
        let user_id = sha256(&[opened.deployment.id.as_bytes().as_slice(), owner.as_str().as_bytes()].concat());
        let started = WebAuthnStarted {
            id: given.id,
            challenge,
            relying: party.id,
            user_id,
            user: owner.to_string(),
            exclude: exclude.collect(),
            algorithms: WebAuthnAlgorithm::ALL.map(WebAuthnAlgorithm::number).to_vec(),
            expires: given.expires,
        };
        Ok(Outcome::reply(started).changing(change).detail("challenge", given.id))
    }
}

/// Registers it.
#[derive(Debug)]
pub struct WebAuthnFinish {
    /// The challenge that is answered.
    pub challenge: MfaId,
    /// What to call the factor.
    pub label: Label,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub attestation: Vec<u8>,
    /// How the browser reaches it.
    pub transports: BTreeSet<String>,
}

impl Remember for FactorView {}

impl Operation for WebAuthnFinish {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_WEBAUTHN_FINISH;
    type Reply = FactorView;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<FactorView>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let gone = || Error::new(Code::MfaRefused, "the challenge is not good any more: begin again");
        let (given, given_at) = core.filed::<MfaChallenge>(&opened, self.challenge).await?.ok_or_else(gone)?;
        if given.principal != owner.name || given.purpose != ChallengePurpose::Enrol || !given.stands(now) {
            return Err(gone());
        }
        // Whoever has another token of the person does not finish what its bearer began.
        if made(&opened, &owner.name).is_none_or(|at| born(given.id) < at) || given.begun_with != owner.token {
            return Err(gone());
        }
        let mut challenge = [0; 32];
        hex::decode_to_slice(&given.challenge, &mut challenge).map_err(Error::internal)?;
        let answer = authenticators::Registration { client_data: &self.client_data, attestation: &self.attestation };
        let made = authenticators::register(&relying(core)?.view(), &challenge, &answer)
            .map_err(|error| Error::new(Code::MfaRefused, error.to_string()))?;
        let id = credential_of(&made.credential_id);
        if core.filed::<MfaCredential>(&opened, id).await?.is_some() {
            return Err(Error::new(Code::AlreadyExists, "this authenticator is registered already"));
        }
        let transports = self.transports.iter().filter(|name| TRANSPORTS.contains(&name.as_str()));
        let factor = Factor::Webauthn {
            credential_id: hex::encode(&made.credential_id),
            cose_key: hex::encode(&made.cose_key),
            sign_count: made.sign_count,
            backup_eligible: made.backup_eligible,
            backed_up: made.backed_up,
            aaguid: hex::encode(made.aaguid),
            transports: transports.cloned().collect(),
        };
        let new = MfaCredential::new(id, owner.name.clone(), self.label.clone(), factor.clone(), now);
        let new = new.after_right(factor, now);
        let mut outcome = Outcome::reply(FactorView::from(&new))
            .changing(unfile(given_at, &given))
            .changing(file(&opened.keys, Revision::FIRST, &new))
            .detail("credential", id)
            .detail("kind", MfaKind::Webauthn.name());
        for change in end_enrolments(core, &opened, &owner.name, Some(given.id)).await? {
            outcome = outcome.changing(change);
        }
        let proof = MfaProof { at: now, kind: MfaKind::Webauthn, credential: Some(id) };
        Ok(match step_up(core, &opened, owner, proof).await? {
            Some(change) => outcome.changing(change),
            None => outcome,
        })
    }
}
