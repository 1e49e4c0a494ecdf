//! Keys and their versions: the record, and every way in which it may change.
//!
//! A key is a name for a row of versions; each version is one piece of material with its own SP 800-57 state. A
//! suspension covers the whole key. Fields that decide what a key may do are private: only the methods here, which ask
//! [`lifecycle`], alter them.

use keyreeve_crypto::{KeyAlgorithm, Purpose};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::destruction::{ScheduledDestruction, check_waiting_period};
use crate::device::{InDevice, Protection};
use crate::ids::{HoldId, KeyId, KeyringId};
use crate::imports::{Departure, Imported};
use crate::lifecycle::{self, Event, Profile, Refusal, State, Usage};
use crate::limits;
use crate::metadata::{KeyMetadata, Label, Name};
use crate::time::UnixMillis;

/// Which half of its purpose a key may serve (requirement K3: encrypt-only, decrypt-only, sign-only).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Protect and process.
    #[default]
    Both,
    /// Only protect: encrypt, sign, compute MACs.
    ApplyOnly,
    /// Only process: decrypt, verify.
    ProcessOnly,
}

impl Scope {
    /// True when the scope covers the use.
    #[must_use]
    pub const fn covers(self, usage: Usage) -> bool {
        matches!((self, usage), (Self::Both, _) | (Self::ApplyOnly, Usage::Apply) | (Self::ProcessOnly, Usage::Process))
    }
}

/// Where material came from; kept for ever (requirement K1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Generated here or brought.
    pub origin: Origin,
    /// The module that drew it, with its validation status.
    pub module: String,
    /// The principal who asked.
    pub by: Name,
    /// Why, in words.
    pub reason: Label,
}

/// Generated or imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// By the cryptographic module's generator.
    Generated,
    /// Brought by a caller.
    Imported,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    version: u32,
    state: State,
    created: UnixMillis,
    /// When a pre-activation version becomes active by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activates: Option<UnixMillis>,
    /// When an active version stops protecting by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deactivates: Option<UnixMillis>,
    /// SubjectPublicKeyInfo in hexadecimal, where there is a public half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// Identifies the material without revealing it.
    fingerprint: String,
    /// Messages this version may have protected: reserved in blocks ahead of use, so it never under-counts.
    #[serde(default)]
    reserved_messages: u64,
    provenance: Provenance,
    /// Whether a person accepted the risk of processing what this version protected, as was said when it was last
    /// named as compromised. None before that, and in records from before it was kept for each version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compromise_risk_accepted: Option<bool>,
    /// Of imported material: how it came, and how long it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Imported>,
    /// Of material inside a device: where. There is no row of material then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<InDevice>,
}

impl VersionRecord {
    /// From 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> UnixMillis {
        self.created
    }

    /// The public half as SubjectPublicKeyInfo, in hexadecimal.
    #[must_use]
    pub fn public_key(&self) -> Option<&str> {
        self.public_key.as_deref()
    }

    /// Identifies the material without revealing it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Messages reserved so far; an upper bound of those protected.
    #[must_use]
    pub fn reserved_messages(&self) -> u64 {
        self.reserved_messages
    }

    /// Where the material came from.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Of imported material: how it came, and how long it lasts.
    #[must_use]
    pub fn imported(&self) -> Option<&Imported> {
        self.imported.as_ref()
    }

    /// Of material inside a device: where it is, or was before the version was destroyed.
    #[must_use]
    pub fn device(&self) -> Option<&InDevice> {
        self.device.as_ref()
    }

    /// When imported material that is over ended.
    fn material_ended(&self, now: UnixMillis) -> Option<UnixMillis> {
        let imported = self.imported.as_ref()?;
        imported.erased.or(imported.expires.filter(|at| *at <= now))
    }

    /// The state that dates alone lead to; a read never writes. Revision 6 knows no deactivated state: there the end of
    /// the period ends protection and nothing else, see [`VersionRecord::is_over`].
    fn dated_state(&self, profile: Profile, now: UnixMillis) -> State {
        let started = match self.state {
            State::PreActivation if self.activates.is_some_and(|at| at <= now) => State::Active,
            other => other,
        };
        match (started, profile) {
            (State::Active, Profile::Rev5) if self.is_over(now) => State::Deactivated,
            _ => started,
        }
    }

    /// True once the period in which the version protects new data has ended.
    fn is_over(&self, now: UnixMillis) -> bool {
        self.deactivates.is_some_and(|at| at <= now)
    }

    fn advance(&mut self, profile: Profile, event: Event, now: UnixMillis) -> Result<(), Refusal> {
        self.state = lifecycle::next(profile, self.dated_state(profile, now), event)?;
        Ok(())
    }
}

/// What a new version is made of, apart from its secret material.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// SubjectPublicKeyInfo in hexadecimal, where there is a public half.
    pub public_key: Option<String>,
    /// Identifies the material without revealing it.
    pub fingerprint: String,
    /// Where it came from.
    pub provenance: Provenance,
    /// Of imported material: how it came, and how long it lasts.
    pub imported: Option<Imported>,
    /// Of material inside a device: where.
    pub device: Option<InDevice>,
}

/// One transition, kept with the key (SP 800-57 part 1: each is recorded with who, when and why).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// The version, or none when it was the whole key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub by: Name,
    /// Why.
    pub reason: Label,
}

/// Who does something to a key, when and why.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The principal.
    pub by: Name,
    /// In words.
    pub reason: Label,
    /// The instant.
    pub now: UnixMillis,
}

/// A halt of the whole key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspension {
    at: UnixMillis,
    by: Name,
    reason: Label,
    /// A person accepted the risk of processing what was protected before.
    risk_accepted: bool,
}

/// True for the states that a suspension of the key turns into suspended. SP 800-57 suspends active keys; here the halt
/// of a key covers the versions that only process as well.
const fn can_halt(state: State) -> bool {
    matches!(state, State::Active | State::Deactivated)
}

/// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What a caller says of a key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id, drawn before the material so that the material can be bound to it.
    pub id: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring that holds its material.
    pub shard: u32,
    /// What it is.
    pub algorithm: KeyAlgorithm,
    /// The one thing it is for.
    pub purpose: Purpose,
    /// Which half of that it may serve.
    pub scope: Scope,
    /// May its material leave wrapped?
    pub exportable: bool,
    /// Where its material is while it is used.
    pub protection: Protection,
    /// Active from the start, or awaiting activation (until the instant, if one is given).
    pub activation: Activation,
    /// Stops protecting at this instant.
    pub deactivates: Option<UnixMillis>,
    /// Why deterministic encryption was chosen, where it was (requirement K9).
    pub deterministic_reason: Option<Label>,
    /// What people say about it.
    pub metadata: KeyMetadata,
}

/// When a new key starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// At once.
    #[default]
    Now,
    /// At an instant.
    At(UnixMillis),
    /// When somebody activates it.
    OnRequest,
}

/// A key: everything about it but its secret material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    id: KeyId,
    keyring: KeyringId,
    shard: u32,
    algorithm: KeyAlgorithm,
    purpose: Purpose,
    scope: Scope,
    exportable: bool,
    #[serde(default, skip_serializing_if = "Protection::is_software")]
    protection: Protection,
    created: UnixMillis,
    profile: Profile,
    primary: u32,
    versions: Vec<VersionRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspension: Option<Suspension>,
    /// In records from before the risk was accepted for each version: that it was for all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    compromised_risk_accepted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destruction: Option<ScheduledDestruction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deterministic_reason: Option<Label>,
    history: Vec<Transition>,
    /// When it left, wrapped for somebody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    departures: Vec<Departure>,
    /// What people say about it; may be edited freely.
    pub metadata: KeyMetadata,
}

impl KeyRecord {
    /// A key with its first version.
    #[must_use]
    pub fn create(new: NewKey, first: NewVersion, profile: Profile, now: UnixMillis) -> Self {
        let (state, activates) = match new.activation {
            Activation::Now => (State::Active, None),
            Activation::At(at) => (State::PreActivation, Some(at)),
            Activation::OnRequest => (State::PreActivation, None),
        };
        let cause = Cause { by: first.provenance.by.clone(), reason: first.provenance.reason.clone(), now };
        let version = VersionRecord {
            version: 1,
            state,
            created: now,
            activates,
            deactivates: new.deactivates,
            public_key: first.public_key,
            fingerprint: first.fingerprint,
            reserved_messages: 0,
            provenance: first.provenance,
            compromise_risk_accepted: None,
            imported: first.imported,
            device: first.device,
        };
        let mut key = Self {
            id: new.id,
            keyring: new.keyring,
            shard: new.shard,
            algorithm: new.algorithm,
            purpose: new.purpose,
            scope: new.scope,
            exportable: new.exportable,
            protection: new.protection,
            created: now,
            profile,
            primary: 1,
            versions: vec![version],
            suspension: None,
            compromised_risk_accepted: false,
            destruction: None,
            deterministic_reason: new.deterministic_reason,
            history: Vec::new(),
            departures: Vec::new(),
            metadata: new.metadata,
        };
        if state == State::Active {
            key.note(Some(1), State::PreActivation, State::Active, &cause);
        }
        key
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Its keyring.
    #[must_use]
    pub fn keyring(&self) -> KeyringId {
        self.keyring
    }

    /// The shard of the keyring that holds its material.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// What it is.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The one thing it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Which half of its purpose it may serve.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// May its material leave wrapped?
    #[must_use]
    pub fn exportable(&self) -> bool {
        self.exportable
    }

    /// Where its material is while it is used: that of all versions, for ever.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The places of all its versions in devices, also of those that were destroyed.
    pub fn devices(&self) -> impl Iterator<Item = &InDevice> {
        self.versions.iter().filter_map(VersionRecord::device)
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> UnixMillis {
        self.created
    }

    /// The version that protects new data.
    #[must_use]
    pub fn primary(&self) -> u32 {
        self.primary
    }

    /// All versions, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[VersionRecord] {
        &self.versions
    }

    /// One version.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`].
    pub fn version(&self, version: u32) -> Result<&VersionRecord, Refusal> {
        // Versions are numbered from 1 without gaps, so the number is the place.
        let place = (version as usize).checked_sub(1);
        place.and_then(|place| self.versions.get(place)).ok_or(Refusal::NoVersion { version })
    }

    /// Every transition so far.
    #[must_use]
    pub fn history(&self) -> &[Transition] {
        &self.history
    }

    /// When its material left, wrapped for somebody.
    #[must_use]
    pub fn departures(&self) -> &[Departure] {
        &self.departures
    }

    /// Whether the store must have the material of a version: it was not destroyed, nor erased when its time was over,
    /// and is not inside a device.
    #[must_use]
    pub fn has_material(&self, version: u32) -> bool {
        let erased = |record: &VersionRecord| record.imported.as_ref().is_some_and(|import| import.erased.is_some());
        let here = |record: &VersionRecord| !erased(record) && record.device.is_none();
        self.version(version).is_ok_and(|record| !record.state.is_destroyed() && here(record))
    }

    /// The pending destruction, if there is one.
    #[must_use]
    pub fn destruction(&self) -> Option<&ScheduledDestruction> {
        self.destruction.as_ref()
    }

    /// The instant from which the key is to be destroyed; what stores search by. None while nothing may destroy it.
    #[must_use]
    pub fn destruction_due(&self) -> Option<UnixMillis> {
        self.destruction.as_ref().map(|pending| pending.due)
    }

    /// True once the key is to be destroyed: the one rule for erasing it, and for taking its damage as no loss.
    #[must_use]
    pub fn is_due(&self, now: UnixMillis) -> bool {
        self.destruction_due().is_some_and(|due| due <= now)
    }

    /// Why deterministic encryption was chosen, where it was.
    #[must_use]
    pub fn deterministic_reason(&self) -> Option<&Label> {
        self.deterministic_reason.as_ref()
    }

    /// The state of a version at an instant: a pure function of the record and the time.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`].
    pub fn version_state(&self, version: u32, now: UnixMillis) -> Result<State, Refusal> {
        let dated = self.version(version)?.dated_state(self.profile, now);
        Ok(if self.suspension.is_some() && can_halt(dated) { State::Suspended } else { dated })
    }

    /// The state of the key as a whole: that of its primary version.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> State {
        self.version_state(self.primary, now).unwrap_or(State::Destroyed)
    }

    /// Whether a version may be used for something now: the one question every cryptographic operation asks.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`], [`Refusal::PendingDestruction`], [`Refusal::Use`], or [`Refusal::Retired`] where the
    /// state would allow protection but the version was superseded or its period is over (revision 6 only).
    pub fn permit(&self, version: u32, usage: Usage, now: UnixMillis) -> Result<&VersionRecord, Refusal> {
        let state = self.version_state(version, now)?;
        if let (Some(pending), false) = (&self.destruction, state.is_destroyed()) {
            return Err(Refusal::PendingDestruction { due: pending.due });
        }
        let record = self.version(version)?;
        if let (Some(at), false) = (record.material_ended(now), state.is_destroyed()) {
            return Err(Refusal::MaterialEnded { version, at });
        }
        let risk_accepted = match state {
            State::Suspended => self.suspension.as_ref().is_some_and(|halt| halt.risk_accepted),
            State::Compromised => record.compromise_risk_accepted.unwrap_or(self.compromised_risk_accepted),
            _ => false,
        };
        if !state.permits(usage, risk_accepted) {
            return Err(Refusal::Use { state, usage });
        }
        let retired = version != self.primary || record.is_over(now);
        if usage == Usage::Apply && retired { Err(Refusal::Retired { version }) } else { Ok(record) }
    }

    /// Counts messages ahead of their protection.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`].
    pub fn reserve_messages(&mut self, version: u32, count: u64) -> Result<u64, Refusal> {
        let record = self.version_mut(version)?;
        record.reserved_messages = record.reserved_messages.saturating_add(count);
        Ok(record.reserved_messages)
    }

    /// Counts messages that may have been protected and are not known of, for every version of an algorithm whose
    /// messages are counted: after a restore from a backup. True when that changed anything.
    pub fn jump_counters(&mut self, by: u64) -> bool {
        let Some(limit) = self.algorithm.message_limit() else { return false };
        for version in &mut self.versions {
            version.reserved_messages = version.reserved_messages.saturating_add(by).min(limit);
        }
        true
    }

    /// Activates a pre-activation key or lifts a suspension.
    ///
    /// # Errors
    /// [`Refusal::Transition`] when the key is neither.
    pub fn activate(&mut self, cause: &Cause) -> Result<(), Refusal> {
        self.refuse_while_pending()?;
        if self.suspension.take().is_none() {
            return self.advance_version(self.primary, Event::Activate, cause);
        }
        // What was halted goes on from where its dates have led it; a version compromised meanwhile was not halted.
        let mut states = self.versions.iter().rev().map(|record| record.dated_state(self.profile, cause.now));
        let to = states.find(|state| can_halt(*state)).unwrap_or(State::Active);
        self.note(None, State::Suspended, to, cause);
        Ok(())
    }

    /// Halts the whole key; `risk_accepted` lets it go on processing what it protected before.
    ///
    /// # Errors
    /// [`Refusal::Transition`] unless the key is active, [`Refusal::RecordFull`].
    pub fn suspend(&mut self, risk_accepted: bool, cause: &Cause) -> Result<(), Refusal> {
        self.refuse_while_pending()?;
        let from = self.state(cause.now);
        let to = lifecycle::next(self.profile, from, Event::Suspend)?;
        // Whoever fills a record, by rotating above all, must not thereby keep the key from being halted.
        self.has_room(2 * limits::KEY_RECORD_MAX)?;
        let (at, by, reason) = (cause.now, cause.by.clone(), cause.reason.clone());
        self.suspension = Some(Suspension { at, by, reason, risk_accepted });
        self.note(None, from, to, cause);
        Ok(())
    }

    /// Ends protection; all versions go on processing.
    ///
    /// # Errors
    /// [`Refusal::Transition`] unless the key is active or suspended.
    pub fn deactivate(&mut self, cause: &Cause) -> Result<(), Refusal> {
        self.refuse_while_pending()?;
        lifecycle::next(self.profile, self.state(cause.now), Event::Deactivate)?;
        self.advance_all(Event::Deactivate, cause)?;
        self.suspension = None;
        Ok(())
    }

    /// Records that one version, or all, may be known to others. `risk_accepted` lets data still be processed that was
    /// protected by the version named, or by all of them, also where another call said otherwise before: of what is
    /// compromised already the risk can be accepted later, and no longer (SP 800-57 part 1 rev. 5 §7.5). What was said
    /// of versions that are not named stands.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`], or [`Refusal::Transition`] when there is nothing left to compromise and the risk is
    /// accepted, or not, as before.
    pub fn compromise(&mut self, version: Option<u32>, risk_accepted: bool, cause: &Cause) -> Result<(), Refusal> {
        if !self.reconsider(version, risk_accepted, cause)? {
            match version {
                Some(version) => self.advance_version(version, Event::Compromise, cause)?,
                None => {
                    let from = self.state(cause.now);
                    if self.advance_all(Event::Compromise, cause)? == 0 {
                        return Err(Refusal::Transition { from, event: Event::Compromise });
                    }
                }
            }
        }
        for record in self.versions.iter_mut().filter(|record| version.is_none_or(|named| named == record.version)) {
            record.compromise_risk_accepted = Some(risk_accepted);
        }
        let (profile, now) = (self.profile, cause.now);
        if !self.versions.iter().any(|record| can_halt(record.dated_state(profile, now))) {
            // Nothing is left that the suspension halts, and a compromise cannot be lifted as one.
            self.suspension = None;
        }
        Ok(())
    }

    /// Notes that the risk of versions that are compromised, all of them, is seen in another way. Whether there is
    /// anything to reconsider.
    fn reconsider(&mut self, version: Option<u32>, risk_accepted: bool, cause: &Cause) -> Result<bool, Refusal> {
        let named: Vec<&VersionRecord> = match version {
            Some(version) => vec![self.version(version)?],
            None => self.versions.iter().filter(|record| !record.state.is_destroyed()).collect(),
        };
        let compromised = |record: &&VersionRecord| record.state == State::Compromised;
        let accepted =
            |record: &VersionRecord| record.compromise_risk_accepted.unwrap_or(self.compromised_risk_accepted);
        if !named.iter().all(compromised) || named.iter().all(|record| accepted(record) == risk_accepted) {
            return Ok(false);
        }
        if risk_accepted {
            // It could go to and fro for ever; that it is accepted no longer always has room.
            self.has_room(2 * limits::KEY_RECORD_MAX)?;
        }
        self.note(version, State::Compromised, State::Compromised, cause);
        Ok(true)
    }

    /// Notes that imported material whose time is over is erased; the caller erases it in the same transaction. Which
    /// versions that are.
    pub fn end_material(&mut self, now: UnixMillis) -> Vec<u32> {
        let mut ended = Vec::new();
        for record in self.versions.iter_mut().filter(|record| !record.state.is_destroyed()) {
            if let Some(import) = record.imported.as_mut()
                && import.erased.is_none()
                && import.expires.is_some_and(|at| at <= now)
            {
                import.erased = Some(now);
                ended.push(record.version);
            }
        }
        ended
    }

    /// Puts imported material back, or gives what is there another end; the caller has seen that it is the same.
    /// Whether the store has to take it.
    ///
    /// # Errors
    /// [`Refusal::NoVersion`], [`Refusal::NotImported`], [`Refusal::PendingDestruction`], or [`Refusal::Use`] of what
    /// is destroyed.
    pub fn put_back(&mut self, version: u32, expires: Option<UnixMillis>, now: UnixMillis) -> Result<bool, Refusal> {
        self.refuse_while_pending()?;
        let state = self.version_state(version, now)?;
        if state.is_destroyed() {
            return Err(Refusal::Use { state, usage: Usage::Process });
        }
        let record = self.version_mut(version)?;
        let import = record.imported.as_mut().ok_or(Refusal::NotImported { version })?;
        import.expires = expires;
        Ok(import.erased.take().is_some())
    }

    /// Notes that a version leaves, wrapped for somebody.
    ///
    /// # Errors
    /// [`Refusal::NotExportable`], [`Refusal::InDevice`]; [`Refusal::RecordFull`]; and as [`permit`](Self::permit) for
    /// processing: what may not be used may not leave.
    pub fn depart(&mut self, departure: Departure) -> Result<(), Refusal> {
        if !self.protection.is_software() {
            return Err(Refusal::InDevice);
        }
        if !self.exportable {
            return Err(Refusal::NotExportable);
        }
        self.permit(departure.version, Usage::Process, departure.at)?;
        self.has_room(limits::KEY_RECORD_MAX)?;
        self.departures.push(departure);
        Ok(())
    }

    /// Adds a version and makes it primary; the former primary stops protecting and goes on processing (requirement
    /// R2).
    ///
    /// # Errors
    /// [`Refusal::Rotation`] unless the key is active or compromised and not suspended, [`Refusal::TooManyVersions`],
    /// [`Refusal::RecordFull`].
    pub fn rotate(&mut self, new: NewVersion, cause: &Cause) -> Result<u32, Refusal> {
        self.can_rotate(cause.now)?;
        let (old, version) = (self.primary, self.versions.len() as u32 + 1);
        if self.version_state(old, cause.now)? == State::Active && self.profile == Profile::Rev5 {
            self.advance_version(old, Event::Deactivate, cause)?;
        }
        self.versions.push(VersionRecord {
            version,
            state: State::Active,
            created: cause.now,
            activates: None,
            deactivates: None,
            public_key: new.public_key,
            fingerprint: new.fingerprint,
            reserved_messages: 0,
            provenance: new.provenance,
            compromise_risk_accepted: None,
            imported: new.imported,
            device: new.device,
        });
        self.primary = version;
        self.note(Some(version), State::PreActivation, State::Active, cause);
        Ok(version)
    }

    /// Whether [`KeyRecord::rotate`] would be allowed, asked before new material is generated.
    ///
    /// # Errors
    /// As [`KeyRecord::rotate`].
    pub fn can_rotate(&self, now: UnixMillis) -> Result<u32, Refusal> {
        self.refuse_while_pending()?;
        match self.state(now) {
            // A new version under a suspension would be halted before it began.
            State::Compromised if self.suspension.is_some() => {
                return Err(Refusal::Rotation { from: State::Suspended });
            }
            State::Active | State::Compromised => {}
            from => return Err(Refusal::Rotation { from }),
        }
        let version = self.versions.len() as u32 + 1;
        if version > limits::VERSIONS_MAX {
            return Err(Refusal::TooManyVersions);
        }
        self.has_room(limits::KEY_RECORD_MAX).map(|()| version)
    }

    /// Refuses what could go on for ever in a record that is as long as it may be: new versions, and the one cycle that
    /// the states have, suspending and lifting it. (Scheduling a destruction and cancelling it leaves nothing behind.)
    /// A change that can be repeated without end and adds to the record asks here first.
    fn has_room(&self, max: usize) -> Result<(), Refusal> {
        if self.bytes_at_most() < max { Ok(()) } else { Err(Refusal::RecordFull) }
    }

    /// No less than the bytes of the stored record, without writing it: field names, numbers and states of each part
    /// at their longest, and what varies as it is in JSON, where quotes and backslashes count twice.
    ///
    /// `WHOLE` and twice the limit of the metadata are for all that a record has once: its own fields, the suspension,
    /// the destruction that waits, the reason for deterministic encryption, and the metadata with what JSON puts around
    /// each member. Only metadata of 32 KiB of quotes beside long reasons is more, by a few KiB. A new field that can
    /// be long is counted here.
    fn bytes_at_most(&self) -> usize {
        const VERSION: usize = 320;
        const STEP: usize = 128;
        const IMPORT: usize = 160;
        const DEPARTURE: usize = 256;
        const DEVICE: usize = 64;
        const WHOLE: usize = 4096;
        let text = |text: &str| text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        let version = |record: &VersionRecord| {
            let Provenance { module, by, reason, .. } = &record.provenance;
            let key = record.public_key.as_deref().unwrap_or_default();
            let import = record.imported.as_ref().map_or(0, |import| IMPORT + text(import.statement.as_str()));
            let words = text(module) + by.as_str().len() + text(reason.as_str());
            let device = record.device.as_ref().map_or(0, |place| DEVICE + place.len());
            VERSION + key.len() + record.fingerprint.len() + words + import + device
        };
        let step = |step: &Transition| STEP + step.by.as_str().len() + text(step.reason.as_str());
        let versions: usize = self.versions.iter().map(version).sum();
        let history: usize = self.history.iter().map(step).sum();
        let departure = |left: &Departure| DEPARTURE + left.by.as_str().len() + text(left.reason.as_str());
        let departures: usize = self.departures.iter().map(departure).sum();
        WHOLE + 2 * limits::METADATA_MAX + versions + history + departures
    }

    /// Starts the waiting period after which the key is destroyed.
    ///
    /// # Errors
    /// [`Refusal::WaitingPeriod`], [`Refusal::PendingDestruction`] when one runs already, [`Refusal::Transition`] when
    /// the key is destroyed.
    pub fn schedule_destruction(&mut self, days: u32, cause: &Cause) -> Result<UnixMillis, Refusal> {
        self.refuse_while_pending()?;
        check_waiting_period(days)?;
        let from = self.state(cause.now);
        if from.is_destroyed() {
            return Err(Refusal::Transition { from, event: Event::Destroy });
        }
        let due = cause.now.plus_days(days);
        let (requested_by, reason) = (cause.by.clone(), cause.reason.clone());
        let holds = BTreeSet::new();
        self.destruction = Some(ScheduledDestruction { requested: cause.now, due, requested_by, reason, holds });
        Ok(due)
    }

    /// Notes which holds Legal knew of when it consented to the destruction that waits.
    ///
    /// # Errors
    /// [`Refusal::NotScheduled`].
    pub fn consent_despite(&mut self, holds: BTreeSet<HoldId>) -> Result<(), Refusal> {
        self.destruction.as_mut().ok_or(Refusal::NotScheduled)?.holds = holds;
        Ok(())
    }

    /// Ends the waiting period; the key is as before.
    ///
    /// # Errors
    /// [`Refusal::NotScheduled`].
    pub fn cancel_destruction(&mut self) -> Result<ScheduledDestruction, Refusal> {
        self.destruction.take().ok_or(Refusal::NotScheduled)
    }

    /// Marks every version destroyed; the caller erases the material in the same transaction.
    ///
    /// # Errors
    /// [`Refusal::NotScheduled`], [`Refusal::TooEarly`].
    pub fn destroy(&mut self, cause: &Cause) -> Result<ScheduledDestruction, Refusal> {
        let due = self.destruction_due().ok_or(Refusal::NotScheduled)?;
        if !self.is_due(cause.now) {
            return Err(Refusal::TooEarly { due });
        }
        self.advance_all(Event::Destroy, cause)?;
        self.suspension = None;
        self.destruction.take().ok_or(Refusal::NotScheduled)
    }

    fn refuse_while_pending(&self) -> Result<(), Refusal> {
        match &self.destruction {
            Some(pending) => Err(Refusal::PendingDestruction { due: pending.due }),
            None => Ok(()),
        }
    }

    fn version_mut(&mut self, version: u32) -> Result<&mut VersionRecord, Refusal> {
        let place = (version as usize).checked_sub(1);
        place.and_then(|place| self.versions.get_mut(place)).ok_or(Refusal::NoVersion { version })
    }

    fn advance_version(&mut self, version: u32, event: Event, cause: &Cause) -> Result<(), Refusal> {
        let profile = self.profile;
        let from = self.version_state(version, cause.now)?;
        let record = self.version_mut(version)?;
        record.advance(profile, event, cause.now)?;
        let to = record.state;
        self.note(Some(version), from, to, cause);
        Ok(())
    }

    /// Moves every version the table lets move, and says how many that were.
    fn advance_all(&mut self, event: Event, cause: &Cause) -> Result<usize, Refusal> {
        let (profile, now) = (self.profile, cause.now);
        let movable =
            |record: &VersionRecord| lifecycle::next(profile, record.dated_state(profile, now), event).is_ok();
        let versions: Vec<u32> =
            self.versions.iter().filter(|record| movable(record)).map(|record| record.version).collect();
        for version in &versions {
            self.advance_version(*version, event, cause)?;
        }
        Ok(versions.len())
    }

    fn note(&mut self, version: Option<u32>, from: State, to: State, cause: &Cause) {
        let (at, by, reason) = (cause.now, cause.by.clone(), cause.reason.clone());
        self.history.push(Transition { version, from, to, at, by, reason });
    }
}
