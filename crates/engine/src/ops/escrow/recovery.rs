//! Keys that come back from escrow: others consent, agents give their shares, and the material goes back into the
//! server or to somebody, wrapped. What was destroyed does not come back.

use keyreeve_crypto::shamir::Share;
use keyreeve_crypto::{Material, TransportPublic, WrappingMethod, escrow};
use keyreeve_epochs::EpochId;
use keyreeve_model::escrow::{
    Deposit, EscrowKey, RECOVERY_HOURS, RecoverTo, Recovery, RecoveryRefusal, RecoveryState, Sealed,
};
use keyreeve_model::filed::file;
use keyreeve_model::holders::{Holder, ShareHolders, SharesRefusal};
use keyreeve_model::ids::RecoveryId;
use keyreeve_model::imports::{Departure, KnownMaterial, Outside, identity_row};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts, KeyId, NoticeKind, UnixMillis};
use keyreeve_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::consents;
use super::super::forms::written;
use super::super::usable::{compute, key_row, not_allowed};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::escrow::Gathered;
use crate::keys::{HeldKey, KeyRef};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// So many people besides whoever asks must have consented to a recovery, whatever the rules say (count).
pub const RECOVERY_CONSENTS: usize = 2;

impl From<RecoveryRefusal> for Error {
    fn from(refusal: RecoveryRefusal) -> Self {
        Self::new(Code::WrongState, refusal.to_string())
    }
}

/// What a recovery is asked for with.
#[derive(Clone, Debug)]
pub struct RecoverSpec {
    /// The key.
    pub key: KeyRef,
    /// The version: said, so that nobody consents to one and brings back another.
    pub version: u32,
    /// For whom it is wrapped; back into the server where nothing is said.
    pub recipient: Option<TransportPublic>,
    /// Why.
    pub reason: Label,
}

/// Begins a recovery. It waits for the shares of agents from then on.
#[derive(Debug)]
pub struct Recover(pub RecoverSpec);

/// The same in the form in which it waits for consent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoverForm {
    version: u32,
    method: Option<WrappingMethod>,
    /// First what people compare, then the whole of it.
    recipient: Option<String>,
    recipient_key: Option<String>,
    reason: Label,
}

/// What was asked for, of its form.
pub(crate) fn recover_form(key: KeyRef, form: RecoverForm) -> Result<Recover, Error> {
    let recipient = match (form.method, form.recipient_key) {
        (Some(method), Some(text)) => Some(TransportPublic::from_pem(method, &text)?),
        (None, None) => None,
        _ => return Err(Error::internal("a recipient without a method")),
    };
    Ok(Recover(RecoverSpec { key, version: form.version, recipient, reason: form.reason }))
}

/// A recovery and where it stands.
#[derive(Clone, Debug)]
pub struct RecoveryReply {
    /// The recovery.
    pub recovery: Recovery,
    /// The key's keyring.
    pub keyring: String,
    /// Shares given since the server started.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// The instant.
    pub at: UnixMillis,
}

impl Remember for RecoveryReply {}

fn lost() -> Error {
    let text = "what is in escrow of this version does not open under its epoch: it went with a key that was \
                destroyed, or was altered; `keyreeve escrow deposit` makes it anew where the material is there";
    Error::new(Code::WrongState, text)
}

impl Core {
    /// The deposit of a version, and its inner form, which opens with the private half of the escrow key.
    async fn deposited(&self, opened: &Opened, key: &HeldKey, version: u32) -> Result<(Deposit, SecretBytes), Error> {
        let record = &key.record;
        if !record.has_material(version) || self.ports.store.destruction(record.id()).await?.is_some() {
            let text = format!(
                "version {version} of {} was destroyed, or its material ended: what was destroyed does not come back",
                record.id()
            );
            return Err(Error::new(Code::WrongState, text));
        }
        let none = || Error::new(Code::NotFound, format!("version {version} of {} is in no escrow", record.id()));
        let found = self.filed::<Deposit>(opened, Deposit::row(record.id(), version)).await?;
        let (deposit, _) = found.ok_or_else(none)?;
        let epoch = EpochId { keyring: deposit.keyring, shard: deposit.shard, epoch: deposit.epoch };
        let (ring, context) = (&key.keyring.record, deposit.own_context());
        let inner = opened.hierarchy.open_beside(ring, epoch, &context, &deposit.sealed.0).await?;
        Ok((deposit, inner.ok_or_else(lost)?))
    }

    async fn recovered_key(&self, key: KeyId) -> Result<Arc<HeldKey>, Error> {
        self.find_key(&KeyRef::Id(key)).await?.ok_or_else(|| Error::not_found("key"))
    }

    async fn recovery(&self, opened: &Opened, id: RecoveryId) -> Result<(Recovery, Revision), Error> {
        self.filed::<Recovery>(opened, id).await?.ok_or_else(|| Error::not_found("recovery"))
    }
}

impl Recover {
    fn departure(&self, recipient: &TransportPublic, approved: &Approved<Self>) -> Departure {
        Departure {
            version: self.0.version,
            at: approved.now(),
            by: approved.principal().name.clone(),
            method: recipient.method(),
            recipient: recipient.fingerprint().to_string(),
            reason: self.0.reason.clone(),
        }
    }

    /// Refuses what would come to nothing, before anybody is asked and again when it begins.
    async fn check(&self, approved: &Approved<Self>, core: &Core, opened: &Opened) -> Result<Deposit, Error> {
        let (key, now) = (approved.key()?, approved.now());
        if self.0.reason.is_empty() {
            return Err(Error::invalid("`reason` is needed: who asks for the key, and by which right?"));
        }
        let (deposit, _) = core.deposited(opened, key, self.0.version).await?;
        let others = core.filed_all::<Recovery>(opened, Some(&key.record.id().to_string())).await?;
        let same = |recovery: &Recovery| recovery.version == self.0.version && recovery.need_open(now).is_ok();
        if let Some((other, _)) = others.iter().find(|(recovery, _)| same(recovery)) {
            let text = format!("this version is being recovered already: {}", other.id);
            return Err(Error::new(Code::WrongState, text));
        }
        match &self.0.recipient {
            Some(recipient) => {
                // What is out is out: escrow is no way around that a key was not made for it.
                key.record.clone().depart(self.departure(recipient, approved))?;
                let algorithm = recipient.algorithm();
                if !core.settings.algorithms.may_apply(algorithm, now.0) {
                    return Err(not_allowed(algorithm));
                }
            }
            None => match core.unwrap_material(key, self.0.version).await {
                Ok(_) => {
                    let text = "the material of this version is there and opens: there is nothing to recover";
                    return Err(Error::new(Code::WrongState, text));
                }
                // What was found damaged before is in quarantine: that is what escrow is there for.
                Err(error) if matches!(error.code(), Code::Tampered | Code::Quarantined) => {}
                Err(error) => return Err(error),
            },
        }
        Ok(deposit)
    }
}

impl Operation for Recover {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_RECOVER;
    type Reply = RecoveryReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.0.key)
    }

    fn form(&self) -> Option<serde_json::Value> {
        let recipient = self.0.recipient.as_ref();
        written(&RecoverForm {
            version: self.0.version,
            method: recipient.map(TransportPublic::method),
            recipient: recipient.map(|recipient| recipient.fingerprint().to_string()),
            recipient_key: recipient.map(TransportPublic::to_pem),
            reason: self.0.reason.clone(),
        })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.0.reason)
    }

    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        self.check(approved, core, &*core.need_open()?).await.map(|_| true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<RecoveryReply>, Error> {
        let (opened, key, now) = (core.need_open()?, approved.key()?, approved.now());
        let deposit = self.check(approved, core, &opened).await?;
        let what = "a key is taken out of escrow";
        consents::refuse_without(approved, RECOVERY_CONSENTS, what, "Recovering a key from escrow")?;
        let (shares, _) = core.escrow_shares(&opened, deposit.escrow).await?;
        let to = match &self.0.recipient {
            None => RecoverTo::Server,
            Some(recipient) => RecoverTo::Recipient {
                method: recipient.method(),
                fingerprint: recipient.fingerprint().to_string(),
                key: recipient.to_pem(),
            },
        };
        let recovery = Recovery {
            id: RecoveryId::new(now, core.id_random()?),
            key: key.record.id(),
            version: self.0.version,
            escrow: deposit.escrow,
            to,
            reason: self.0.reason.clone(),
            by: approved.principal().name.clone(),
            begun: now,
            expires: now.plus(Duration::from_secs(u64::from(RECOVERY_HOURS) * 3600)),
            state: RecoveryState::Open,
            agents: BTreeSet::new(),
            wrapped: None,
        };
        let (needed, keyring) = (shares.current.threshold, key.keyring.record.name.to_string());
        let facts = facts(&recovery).with("needed", needed);
        let (id, to) = (recovery.id, whither(&recovery.to));
        let reply = RecoveryReply { recovery: recovery.clone(), keyring, given: 0, needed, at: now };
        Ok(Outcome::reply(reply)
            .changing(file(&opened.keys, Revision::FIRST, &recovery))
            .telling(NoticeKind::EscrowRecovery, "a key is taken out of escrow: agents give their shares", facts)
            .version(self.0.version)
            .detail("recovery", id)
            .detail("escrow_key", deposit.escrow)
            .detail("recipient", to)
            .detail("expires", recovery.expires)
            .detail("reason", &self.0.reason))
    }
}

fn whither(to: &RecoverTo) -> String {
    match to {
        RecoverTo::Server => "this server".to_owned(),
        RecoverTo::Recipient { fingerprint, .. } => fingerprint.clone(),
    }
}

fn facts(recovery: &Recovery) -> Facts {
    Facts::default()
        .with("recovery", recovery.id)
        .with("key", recovery.key)
        .with("version", recovery.version)
        .with("recipient", whither(&recovery.to))
        .with("by", &recovery.by)
        .with("reason", &recovery.reason)
}

/// Gives an agent's share towards a recovery. The last one needed brings the key back.
#[derive(Debug)]
pub struct Give {
    /// The recovery.
    pub recovery: RecoveryId,
    /// The share.
    pub share: SecretString,
}

/// How far a recovery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveReply {
    /// Shares given.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// Whether the key is back.
    pub done: bool,
}

impl Remember for GiveReply {}

/// The agent whose share this is: one of the set, made by nobody else.
fn agent<'a>(set: &'a ShareHolders, share: &Share) -> Result<&'a Holder, Error> {
    if share.set_id() != set.set.0 {
        return Err(SharesRefusal::OtherSet.into());
    }
    let holder = set.holders.iter().find(|holder| holder.share == share.index());
    let holder = holder.ok_or(SharesRefusal::NoSuchShare { share: share.index() })?;
    let key = share.verification_key()?;
    if holder.key.is_none_or(|known| known.0 != key) {
        let text = "this is not the share that was handed out: it is damaged or made up";
        return Err(Error::new(Code::InvalidShare, text));
    }
    Ok(holder)
}

/// A recovery whose shares are all here.
struct Returning<'a> {
    core: &'a Core,
    opened: &'a Opened,
    recovery: &'a Recovery,
    key: &'a HeldKey,
    now: UnixMillis,
}

impl Returning<'_> {
    /// The material, opened with what the shares gave, and compared with what was deposited.
    async fn material(&self, secret: SecretBytes) -> Result<Material, Error> {
        let (deposit, inner) = self.core.deposited(self.opened, self.key, self.recovery.version).await?;
        let keys = self.core.filed::<EscrowKey>(self.opened, EscrowKey::row(deposit.escrow)).await?;
        let (escrow_key, _) = keys.ok_or_else(|| Error::internal("a deposit under no escrow key"))?;
        let (context, bound) = (deposit.own_context(), EscrowKey::context(escrow_key.version, &escrow_key.fingerprint));
        let algorithm = escrow_key.public()?.algorithm();
        let opened = compute(true, move || {
            let private = escrow::open(&secret, &bound, algorithm, &escrow_key.private.0)?;
            private.unwrap(&context, inner.expose())
        });
        let material = Material::parse(deposit.algorithm, opened.await??)?;
        if self.opened.keys.identity(&material)? != deposit.identity {
            return Err(Error::internal("what came out of escrow is another key than went in"));
        }
        Ok(material)
    }

    /// Puts the material where it was lost.
    async fn back_to_server(&self, material: &Material) -> Result<(Vec<Change>, Effect), Error> {
        let (core, key, version) = (self.core, self.key, self.recovery.version);
        let (row, guard) = core.wrap_material(self.opened, &key.keyring, &key.record, version, material).await?;
        let change = match core.ports.store.material(key.record.id(), version).await? {
            None => Change::AddMaterial(row),
            Some(damaged) => Change::Rewrap { row, from_epoch: damaged.epoch },
        };
        // With the record at the revision that was looked at: if the key was destroyed meanwhile, nothing comes back.
        let unchanged = key_row(self.opened, &key.record, key.revision.next(), self.now);
        Ok((vec![Change::PutKey(unchanged), change], Effect::Hold(guard)))
    }

    /// Wraps it for whoever gets it, and writes down that it left.
    async fn outside(
        &self,
        material: &Material,
        (method, fingerprint, text): (WrappingMethod, &str, &str),
    ) -> Result<(Vec<Change>, Sealed), Error> {
        let (core, key, version) = (self.core, self.key, self.recovery.version);
        let recipient = TransportPublic::from_pem(method, text)?;
        let mut record = key.record.clone();
        record.depart(Departure {
            version,
            at: self.now,
            by: self.recovery.by.clone(),
            method,
            recipient: fingerprint.to_owned(),
            reason: self.recovery.reason.clone(),
        })?;
        let (random, portable) = (Arc::clone(&core.ports.random), material.portable());
        let wrapped = compute(true, move || recipient.wrap(&random, b"", &portable)).await??;
        let row = key_row(self.opened, &record, key.revision.next(), self.now);
        let mut changes = vec![Change::PutKey(row)];
        let identity = self.opened.keys.identity(material)?;
        if core.filed::<KnownMaterial>(self.opened, identity_row(&identity)).await?.is_none() {
            let (key, environment) = (record.id(), record.metadata.environment);
            let (outside, since) = (Outside::Exported, self.now);
            let known = KnownMaterial { identity, key, version, environment, outside, since };
            changes.push(file(&self.opened.keys, Revision::FIRST, &known));
        }
        Ok((changes, Sealed(wrapped)))
    }

    /// What brings the key back, and the record of it.
    async fn done(&self, secret: SecretBytes) -> Result<(Vec<Change>, Vec<Effect>, Recovery), Error> {
        let material = self.material(secret).await?;
        let mut recovery = self.recovery.clone();
        recovery.state = RecoveryState::Done { at: self.now };
        let forget = Effect::ForgetRecovery(recovery.id);
        match &self.recovery.to {
            RecoverTo::Server => {
                let (changes, guard) = self.back_to_server(&material).await?;
                Ok((changes, vec![forget, guard], recovery))
            }
            RecoverTo::Recipient { method, fingerprint, key } => {
                let (changes, wrapped) = self.outside(&material, (*method, fingerprint, key)).await?;
                recovery.wrapped = Some(wrapped);
                Ok((changes, vec![forget], recovery))
            }
        }
    }
}

impl Operation for Give {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_GIVE_SHARE;
    type Reply = GiveReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GiveReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (recovery, revision) = core.recovery(&opened, self.recovery).await?;
        recovery.need_open(now)?;
        let (shares, _) = core.escrow_shares(&opened, recovery.escrow).await?;
        let set = &shares.current;
        let share =
            Share::from_text(self.share.expose()).map_err(|error| Error::new(Code::InvalidShare, error.to_string()))?;
        let (called, needed) = (agent(set, &share)?.called(), set.threshold);
        let told = |outcome: Outcome<GiveReply>, given: u8| {
            outcome
                .detail("recovery", recovery.id)
                .detail("holder", &called)
                .detail("given", given)
                .detail("needed", needed)
        };
        let (secret, numbers) = match core.escrow.give(recovery.id, share)? {
            Gathered::Some { given } => {
                return Ok(told(Outcome::reply(GiveReply { given, needed, done: false }), given));
            }
            Gathered::Enough { secret, shares } => (secret, shares),
        };
        let key = core.recovered_key(recovery.key).await?;
        let returning = Returning { core, opened: &opened, recovery: &recovery, key: &key, now };
        let (changes, effects, mut done) = returning.done(secret).await?;
        let gave = set.holders.iter().filter(|holder| numbers.contains(&holder.share));
        done.agents = gave.map(Holder::called).collect();
        let agents = done.agents.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut outcome = Outcome::reply(GiveReply { given: needed, needed, done: true });
        outcome.changes = changes;
        outcome.effects = effects;
        let facts = facts(&done).with("agents", &agents);
        let outcome = outcome
            .changing(file(&opened.keys, revision.next(), &done))
            .telling(NoticeKind::EscrowRecovery, "a key came out of escrow", facts)
            .on(core.audit_key(&key.record, &key.keyring))
            .version(recovery.version)
            .detail("agents", agents)
            .detail("recipient", whither(&recovery.to))
            .detail("requested_by", &recovery.by)
            .detail("reason", &recovery.reason);
        Ok(told(outcome, needed))
    }
}

/// Shows a recovery, and what came of it.
#[derive(Debug)]
pub struct ShowRecovery {
    /// The recovery.
    pub recovery: RecoveryId,
}

impl Operation for ShowRecovery {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_RECOVERY;
    type Reply = RecoveryReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<RecoveryReply>, Error> {
        let opened = core.need_open()?;
        let (recovery, _) = core.recovery(&opened, self.recovery).await?;
        let key = core.recovered_key(recovery.key).await?;
        let shares = core.escrow_shares(&opened, recovery.escrow).await;
        let needed = shares.map_or(0, |(shares, _)| shares.current.threshold);
        let (given, keyring) = (core.escrow.given(recovery.id), key.keyring.record.name.to_string());
        let id = recovery.id;
        let reply = RecoveryReply { recovery, keyring, given, needed, at: approved.now() };
        Ok(Outcome::reply(reply).detail("recovery", id))
    }
}

/// Gives a recovery up. Shares that were given are forgotten.
#[derive(Debug)]
pub struct AbandonRecovery {
    /// The recovery.
    pub recovery: RecoveryId,
    /// Why.
    pub reason: Label,
}

impl Operation for AbandonRecovery {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_ABANDON_RECOVERY;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let (recovery, revision) = core.recovery(&opened, self.recovery).await?;
        recovery.need_open(at)?;
        let by = approved.principal().name.clone();
        let abandoned = Recovery { state: RecoveryState::Abandoned { at, by }, ..recovery };
        Ok(Outcome::reply(())
            .changing(file(&opened.keys, revision.next(), &abandoned))
            .then(Effect::ForgetRecovery(abandoned.id))
            .detail("recovery", abandoned.id)
            .detail("key", abandoned.key)
            .detail("reason", &self.reason))
    }
}
