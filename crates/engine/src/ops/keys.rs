//! Making keys, showing them, altering their metadata.

use keyreeve_crypto::{FipsStatus, KeyAlgorithm, Material, Purpose};
use keyreeve_model::device::DeviceUse;
use keyreeve_model::key::{Activation, NewKey, NewVersion, Origin, Provenance, Scope};
use keyreeve_model::metadata::Label;
use keyreeve_model::{
    Change, Classification, Environment, KeyId, KeyMetadata, KeyRecord, Name, Protection, Revision, State, UnixMillis,
};
use keyreeve_policy::KeyAttrs;
use keyreeve_store::{KeyFilter, Page};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::forms::{KeyForm, written};
use super::patch::Differences;
use super::usable::{compute, key_row, not_allowed};
use super::{KeyReply, LabelPatch, Listing, PAGE_MAX, SetPatch};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, HeldKeyring, KeyRef, KeyringRef, attrs_of};
use crate::pipeline::{Also, Approved, Operation, Outcome, Permit, Target};
use crate::sealing::{Effect, Guard, Opened};

/// Rows looked at for one page of a filtered listing (count); the caller goes on from where the page ends.
const SCANNED_MAX: usize = 10_000;

impl KeyReply {
    pub(crate) fn of(key: &KeyRecord, keyring: &HeldKeyring, at: UnixMillis) -> Self {
        Self { key: key.clone(), keyring: keyring.record.name.to_string(), at }
    }
}

/// Generates a key.
#[derive(Debug)]
pub struct Create {
    /// Its keyring.
    pub keyring: KeyringRef,
    /// What it shall be.
    pub algorithm: KeyAlgorithm,
    /// The one thing it is for; must be one the algorithm offers.
    pub purpose: Purpose,
    /// Which half of that it may serve.
    pub scope: Scope,
    /// May its material leave wrapped?
    pub exportable: bool,
    /// Where its material is while it is used.
    pub protection: Protection,
    /// When it starts.
    pub activation: Activation,
    /// When it stops protecting.
    pub deactivates: Option<UnixMillis>,
    /// Why deterministic encryption, where that is wanted.
    pub deterministic_reason: Option<Label>,
    /// What people say about it; its environment becomes that of its keyring.
    pub metadata: KeyMetadata,
    /// The environment the caller expects the keyring to be of.
    pub environment: Option<Environment>,
    /// Why it is made.
    pub reason: Label,
    attrs: KeyAttrs,
}

/// What [`Create`] needs.
#[derive(Debug)]
pub struct CreateSpec {
    /// Its keyring.
    pub keyring: KeyringRef,
    /// What it shall be.
    pub algorithm: KeyAlgorithm,
    /// The one thing it is for; the algorithm's usual purpose unless said.
    pub purpose: Option<Purpose>,
    /// Which half of that it may serve.
    pub scope: Scope,
    /// May its material leave wrapped?
    pub exportable: bool,
    /// Where its material is while it is used.
    pub protection: Protection,
    /// When it starts.
    pub activation: Activation,
    /// When it stops protecting.
    pub deactivates: Option<UnixMillis>,
    /// Why deterministic encryption, where that is wanted.
    pub deterministic_reason: Option<Label>,
    /// What people say about it; its environment becomes that of its keyring.
    pub metadata: KeyMetadata,
    /// The environment the caller expects the keyring to be of.
    pub environment: Option<Environment>,
    /// Why it is made.
    pub reason: Label,
}

impl Create {
    /// Checks what can be checked without looking anything up.
    ///
    /// # Errors
    /// When the algorithm does not offer the purpose, or the metadata is out of bounds.
    pub fn new(spec: CreateSpec) -> Result<Self, Error> {
        let purposes = spec.algorithm.purposes();
        let purpose = match spec.purpose {
            Some(purpose) if spec.algorithm.offers(purpose) => purpose,
            Some(purpose) => {
                let text = format!("a key of algorithm `{}` cannot be made for `{purpose}`", spec.algorithm);
                return Err(Error::new(Code::WrongKeyUse, text));
            }
            None => *purposes.first().ok_or_else(|| Error::internal("an algorithm without purpose"))?,
        };
        if spec.exportable && !spec.protection.is_software() {
            return Err(Error::invalid("a key inside a device can never be exported: leave `exportable` away"));
        }
        spec.metadata.check()?;
        let attrs = attrs_of(spec.algorithm, purpose, State::PreActivation, &spec.metadata);
        let attrs = KeyAttrs { exportable: spec.exportable, ..attrs };
        Ok(Self {
            keyring: spec.keyring,
            algorithm: spec.algorithm,
            purpose,
            scope: spec.scope,
            exportable: spec.exportable,
            protection: spec.protection,
            activation: spec.activation,
            deactivates: spec.deactivates,
            deterministic_reason: spec.deterministic_reason,
            metadata: spec.metadata,
            environment: spec.environment,
            reason: spec.reason,
            attrs,
        })
    }

    /// What policies may know of it.
    pub(super) fn attrs(&self) -> &KeyAttrs {
        &self.attrs
    }

    /// What is asked for, closed.
    pub(super) fn key_form(&self) -> KeyForm {
        KeyForm {
            algorithm: self.algorithm,
            purpose: self.purpose,
            scope: self.scope,
            exportable: self.exportable,
            protection: self.protection,
            activation: self.activation,
            deactivates: self.deactivates,
            deterministic_reason: self.deterministic_reason.clone(),
            metadata: self.metadata.clone(),
            environment: self.environment,
            reason: self.reason.clone(),
        }
    }

    /// The key that it becomes.
    pub(super) fn new_key(&self, id: KeyId, keyring: &HeldKeyring, shard: u32) -> NewKey {
        let ring = &keyring.record;
        NewKey {
            id,
            keyring: ring.id,
            shard,
            algorithm: self.algorithm,
            purpose: self.purpose,
            scope: self.scope,
            exportable: self.exportable,
            protection: self.protection,
            activation: self.activation,
            deactivates: self.deactivates,
            deterministic_reason: self.deterministic_reason.clone(),
            metadata: KeyMetadata { environment: ring.environment, ..self.metadata.clone() },
        }
    }

    /// Refuses aliases that lead to other keys already.
    pub(super) async fn aliases_are_free(&self, core: &Core) -> Result<(), Error> {
        for alias in &self.metadata.aliases {
            if core.find_key(&KeyRef::Alias(alias.clone())).await?.is_some() {
                let text = format!("the alias `{alias}` exists already: choose another name");
                return Err(Error::new(Code::AlreadyExists, text));
            }
        }
        Ok(())
    }

    /// Refuses a key inside a device that no device of the keyring's roots of trust makes.
    fn check_device(&self, core: &Core, keyring: &HeldKeyring) -> Result<(), Error> {
        match self.protection {
            Protection::Software => Ok(()),
            Protection::Hsm => {
                core.ports.roots.device_for(&keyring.record.roots, self.algorithm, self.purpose).map(|_| ())
            }
        }
    }

    pub(super) fn check(&self, core: &Core, keyring: &HeldKeyring, now: UnixMillis) -> Result<(), Error> {
        if !core.settings.algorithms.may_create(self.algorithm, now.0) {
            return Err(not_allowed(self.algorithm));
        }
        let deterministic = self.algorithm == KeyAlgorithm::Aes256GcmSiv;
        if deterministic && !keyring.record.allow_deterministic {
            let text = "deterministic encryption is off in this keyring: allow it on a keyring of its own";
            return Err(Error::new(Code::AlgorithmNotAllowed, text));
        }
        if deterministic && self.deterministic_reason.as_ref().is_none_or(Label::is_empty) {
            return Err(Error::invalid(
                "deterministic encryption needs `deterministic_reason`: why must equal texts look equal?",
            ));
        }
        if self.environment.is_some_and(|expected| expected != keyring.record.environment) {
            let text = format!(
                "the keyring is for `{}`: keys of other environments are never kept with them",
                keyring.record.environment
            );
            return Err(Error::invalid(text));
        }
        if self.metadata.classification > keyring.record.classification {
            let text = format!(
                "the keyring protects data up to `{}`: make the key in a keyring of a higher class",
                keyring.record.classification
            );
            return Err(Error::invalid(text));
        }
        check_kept(core, keyring, self.metadata.classification)?;
        let started = match self.activation {
            Activation::Now | Activation::OnRequest => now,
            Activation::At(at) => at,
        };
        if self.deactivates.is_some_and(|at| at <= started) {
            return Err(Error::invalid("`deactivates` must lie after activation"));
        }
        Ok(())
    }
}

/// Fresh material with what the record says of it.
pub(super) struct Fresh {
    pub(super) version: NewVersion,
    secret: Secret,
}

/// Where fresh material is.
enum Secret {
    /// Here, to be wrapped.
    Here(Material),
    /// Inside a device. What takes its note away, and what keeps that device's root of trust from being retired.
    InDevice(Box<Change>, Guard),
}

/// What fresh material is for.
pub(super) struct Wanted<'a> {
    pub(super) keyring: &'a HeldKeyring,
    pub(super) key: KeyId,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) purpose: Purpose,
    pub(super) protection: Protection,
}

/// Generates material where the key's protection says, and what its record says of it.
pub(super) async fn generate(
    core: &Core,
    opened: &Opened,
    wanted: &Wanted<'_>,
    (by, reason): (&Name, &Label),
) -> Result<Fresh, Error> {
    match wanted.protection {
        Protection::Software => generate_here(core, wanted.algorithm, by, reason).await,
        Protection::Hsm => generate_in_device(core, opened, wanted, (by, reason)).await,
    }
}

async fn generate_in_device(
    core: &Core,
    opened: &Opened,
    wanted: &Wanted<'_>,
    (by, reason): (&Name, &Label),
) -> Result<Fresh, Error> {
    let joined = Arc::clone(&core.rooting).read_owned().await;
    let (under, kind) = (&wanted.keyring.record.roots, (wanted.algorithm, wanted.purpose));
    let made = core.make_in_device(opened, under, kind, DeviceUse::Key(wanted.key)).await?;
    let public_key = made.public.map(|public| hex::encode(public.spki()));
    let (by, reason) = (by.clone(), reason.clone());
    let provenance = Provenance { origin: Origin::Generated, module: made.module, by, reason };
    let (fingerprint, device) = (made.fingerprint, Some(made.place));
    let version = NewVersion { public_key, fingerprint, provenance, imported: None, device };
    Ok(Fresh { version, secret: Secret::InDevice(Box::new(made.settle), Guard::Shared(joined)) })
}

/// Puts fresh material into the outcome that stores its version.
pub(super) async fn keep<R>(
    core: &Core,
    opened: &Opened,
    (keyring, record, version): (&HeldKeyring, &KeyRecord, u32),
    fresh: Fresh,
    outcome: Outcome<R>,
) -> Result<Outcome<R>, Error> {
    Ok(match fresh.secret {
        Secret::Here(material) => {
            let (row, guard) = core.wrap_material(opened, keyring, record, version, &material).await?;
            let made = record.version(version)?;
            let (of, cause) = ((keyring, record, row.epoch), (&made.provenance().by, made.created()));
            let deposit = core.deposit_new(opened, of, (version, &material), cause).await?;
            let outcome = outcome.changing(Change::AddMaterial(row)).then(Effect::Hold(guard));
            match deposit {
                Some(change) => outcome.changing(change).detail("escrowed", true),
                None => outcome,
            }
        }
        Secret::InDevice(settle, guard) => outcome.changing(*settle).then(Effect::Hold(guard)),
    })
}

/// Generates material; RSA keys take up to a second, so on a thread of their own.
async fn generate_here(core: &Core, algorithm: KeyAlgorithm, by: &Name, reason: &Label) -> Result<Fresh, Error> {
    let random = Arc::clone(&core.ports.random);
    let heavy = super::usable::is_heavy(algorithm, 1, 0);
    let material = compute(heavy, move || Material::generate(algorithm, &random)).await??;
    let public_key = material.public_key()?.map(|public| hex::encode(public.spki()));
    let module = FipsStatus::current().to_string();
    let provenance = Provenance { origin: Origin::Generated, module, by: by.clone(), reason: reason.clone() };
    let fingerprint = material.fingerprint()?.to_string();
    let version = NewVersion { public_key, fingerprint, provenance, imported: None, device: None };
    Ok(Fresh { version, secret: Secret::Here(material) })
}

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_CREATE;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::NewKey(&self.keyring, &self.attrs)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&self.key_form())
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Without making the key.
    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        let keyring = approved.resource().keyring()?;
        self.check(core, keyring, approved.now())?;
        self.check_device(core, keyring)?;
        self.aliases_are_free(core).await?;
        Ok(true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (now, keyring) = (approved.now(), approved.resource().keyring()?);
        self.check(core, keyring, now)?;
        let opened = core.need_open()?;
        if !self.protection.is_software() {
            // Nothing is made in a device that could have been refused before.
            self.check_device(core, keyring)?;
            self.aliases_are_free(core).await?;
        }
        let key = KeyId::new(now, core.id_random()?);
        let (algorithm, purpose, protection) = (self.algorithm, self.purpose, self.protection);
        let wanted = Wanted { keyring, key, algorithm, purpose, protection };
        let fresh = generate(core, &opened, &wanted, (&approved.principal().name, &self.reason)).await?;
        let shard = core.next_shard(keyring.record.id).await?;
        let new = self.new_key(key, keyring, shard);
        let record = KeyRecord::create(new, fresh.version.clone(), opened.deployment.profile, now);
        let outcome = Outcome::reply(KeyReply::of(&record, keyring, now)).changing(Change::PutKey(key_row(
            &opened,
            &record,
            Revision::FIRST,
            now,
        )));
        let outcome = keep(core, &opened, (keyring, &record, 1), fresh, outcome).await?;
        let outcome = outcome.on(core.audit_key(&record, keyring)).version(1);
        Ok(describe_new(outcome, &record, &self.reason))
    }
}

pub(super) fn describe_new(outcome: Outcome<KeyReply>, record: &KeyRecord, reason: &Label) -> Outcome<KeyReply> {
    let origin = match record.versions().first().map(|version| version.provenance().origin) {
        Some(Origin::Imported) => "imported",
        Some(Origin::Generated) | None => "generated",
    };
    let outcome = if record.exportable() { outcome.detail("exportable", true) } else { outcome };
    let outcome = match record.devices().next() {
        Some(place) => outcome.detail("protection", record.protection()).detail("device", &place.root),
        None => outcome,
    };
    let fingerprint = record.versions().first().map(|version| version.fingerprint().to_owned()).unwrap_or_default();
    outcome
        .detail("algorithm", record.algorithm())
        .detail("purpose", record.purpose())
        .detail("fingerprint", fingerprint)
        .detail("origin", origin)
        .detail("reason", reason)
}

impl Core {
    pub(super) fn audit_key(&self, key: &KeyRecord, keyring: &HeldKeyring) -> keyreeve_audit::Resource {
        keyreeve_audit::Resource {
            kind: "key".to_owned(),
            id: key.id().to_string(),
            version: None,
            keyring: Some(keyring.record.name.to_string()),
        }
    }
}

/// Shows a key.
#[derive(Debug)]
pub struct Describe {
    /// The key.
    pub key: KeyRef,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DESCRIBE;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, _core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let key = approved.key()?;
        Ok(Outcome::reply(KeyReply::of(&key.record, &key.keyring, approved.now())))
    }
}

/// What a listing is narrowed by; everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// Only keys of this keyring.
    pub keyring: Option<KeyringRef>,
    /// Only keys in this state now.
    pub state: Option<State>,
    /// Only keys of this algorithm.
    pub algorithm: Option<KeyAlgorithm>,
    /// Only keys for this purpose.
    pub purpose: Option<Purpose>,
    /// Only keys whose material is there.
    pub protection: Option<Protection>,
    /// Only keys with these labels.
    pub labels: BTreeMap<Name, Label>,
    /// Only keys of this owner.
    pub owner: Option<Label>,
    /// Only keys that this system uses.
    pub consumer: Option<Label>,
    /// Only keys of this class.
    pub classification: Option<Classification>,
    /// Only keys in whose id, aliases, description, owner or labels this text stands, whatever its case.
    pub text: Option<String>,
}

/// Lists and searches keys, by id.
#[derive(Debug)]
pub struct List {
    /// What to list.
    pub query: KeyQuery,
    /// Only keys after this one.
    pub after: Option<KeyId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl KeyQuery {
    fn fits(&self, key: &KeyRecord, now: UnixMillis) -> bool {
        let metadata = &key.metadata;
        self.state.is_none_or(|state| key.state(now) == state)
            && self.algorithm.is_none_or(|algorithm| key.algorithm() == algorithm)
            && self.purpose.is_none_or(|purpose| key.purpose() == purpose)
            && self.protection.is_none_or(|protection| key.protection() == protection)
            && self.owner.as_ref().is_none_or(|owner| metadata.owner == *owner)
            && self.consumer.as_ref().is_none_or(|consumer| metadata.consumers.contains(consumer))
            && self.classification.is_none_or(|class| metadata.classification == class)
            && self.labels.iter().all(|(name, value)| metadata.labels.get(name) == Some(value))
            && self.text.as_deref().is_none_or(|text| mentions(key, &text.to_lowercase()))
    }
}

fn mentions(key: &KeyRecord, text: &str) -> bool {
    let metadata = &key.metadata;
    let plain = [key.id().to_string(), metadata.owner.to_string(), metadata.description.to_string()];
    let aliases = metadata.aliases.iter().map(ToString::to_string);
    let labels = metadata.labels.iter().map(|(name, value)| format!("{name}={value}"));
    plain.into_iter().chain(aliases).chain(labels).any(|hay| hay.to_lowercase().contains(text))
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_LIST;
    type Reply = Listing<KeyReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<KeyReply>>, Error> {
        let opened = core.need_open()?;
        let limit = self.limit.clamp(1, PAGE_MAX);
        let keyring = match &self.query.keyring {
            Some(wanted) => {
                Some(core.find_keyring(wanted).await?.ok_or_else(|| Error::not_found("keyring"))?.record.id)
            }
            None => None,
        };
        let filter = KeyFilter { keyring, state: None };
        let (mut items, mut scanned, mut after, mut left_out) = (Vec::new(), 0, self.after, 0);
        loop {
            let rows = core.ports.store.keys(&filter, Page { after, limit }).await?;
            let last = rows.len() < limit as usize;
            scanned += rows.len();
            for row in rows {
                after = Some(row.id);
                let Some(key) = core.hold_sound(&opened, &row).await? else {
                    left_out += 1;
                    continue;
                };
                if self.query.fits(&key.record, approved.now()) {
                    items.push(KeyReply::of(&key.record, &key.keyring, approved.now()));
                }
                if items.len() == limit as usize {
                    return Ok(page(items, after, left_out));
                }
            }
            if last || scanned >= SCANNED_MAX {
                return Ok(page(items, after.filter(|_| !last), left_out));
            }
        }
    }
}

fn page(items: Vec<KeyReply>, next: Option<KeyId>, left_out: usize) -> Outcome<Listing<KeyReply>> {
    let count = items.len();
    let reply = Listing { items, next: next.map(|id| id.to_string()) };
    Outcome::reply(reply).detail("listed", count).detail_if("left_out", left_out)
}

/// Alterations of a key's metadata; what is not given stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataPatch {
    /// Alters the aliases.
    pub aliases: SetPatch<Name>,
    /// Alters the labels.
    pub labels: LabelPatch,
    /// Replaces the owner.
    pub owner: Option<Label>,
    /// Alters the custodians.
    pub custodians: SetPatch<Label>,
    /// Alters the consumers.
    pub consumers: SetPatch<Label>,
    /// Alters the third-party holders.
    pub holders: SetPatch<Label>,
    /// Raises or lowers the class, within what the keyring protects.
    pub classification: Option<Classification>,
    /// Replaces the description.
    pub description: Option<Label>,
}

/// Alters a key's metadata.
#[derive(Debug)]
pub struct Update {
    /// The key.
    pub key: KeyRef,
    /// What changes.
    pub patch: MetadataPatch,
}

impl MetadataPatch {
    /// Whether some list or the labels become what is given, whatever they were.
    fn replaces(&self) -> bool {
        let lists = [&self.custodians, &self.consumers, &self.holders];
        lists.into_iter().any(|list| matches!(list, SetPatch::Replace(_)))
            || matches!(self.aliases, SetPatch::Replace(_))
            || matches!(self.labels, LabelPatch::Replace(_))
    }

    pub(crate) fn apply(&self, metadata: &mut KeyMetadata) -> Result<(), Error> {
        self.aliases.apply("aliases of the key", &mut metadata.aliases)?;
        self.labels.apply("labels of the key", &mut metadata.labels)?;
        self.custodians.apply("custodians of the key", &mut metadata.custodians)?;
        self.consumers.apply("consumers of the key", &mut metadata.consumers)?;
        self.holders.apply("holders of the key", &mut metadata.holders)?;
        if let Some(owner) = &self.owner {
            metadata.owner.clone_from(owner);
        }
        if let Some(description) = &self.description {
            metadata.description.clone_from(description);
        }
        metadata.classification = self.classification.unwrap_or(metadata.classification);
        Ok(())
    }
}

/// What became of what people say about a key, for the audit record.
fn differences(old: &KeyMetadata, new: &KeyMetadata) -> Result<Differences, Error> {
    Ok(Differences::default()
        .list("aliases", &old.aliases, &new.aliases)?
        .labels(&old.labels, &new.labels)?
        .list("custodians", &old.custodians, &new.custodians)?
        .list("consumers", &old.consumers, &new.consumers)?
        .list("holders", &old.holders, &new.holders)?
        .value("owner", &old.owner, &new.owner)
        .value("classification", &old.classification, &new.classification)
        .value("description", &old.description, &new.description))
}

impl Operation for Update {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_UPDATE;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn also(&self) -> Option<Also<'_>> {
        // Allowed for the key as it is and as it shall be: what nobody may make, nobody may turn a key into either.
        let target = Target::AlteredKey(&self.key, &self.patch);
        Some(Also { action: &catalogue::KEY_UPDATE, target, context: None })
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&self.patch)
    }

    /// Names, labels and custodians give access as well: callers find a key by its alias, policies look at labels, and
    /// custodians answer for the key; policies look at its class too. Only of consumers and aliases it can be seen that
    /// they become fewer.
    fn widens(&self, permit: &Permit<Self>, _core: &Core) -> Result<bool, Error> {
        let Some(key) = permit.resource().key() else { return Ok(true) };
        let known = &key.record.metadata;
        let mut next = known.clone();
        // What cannot be applied is refused when it is carried out.
        self.patch.apply(&mut next)?;
        Ok(!next.consumers.is_subset(&known.consumers)
            || !next.aliases.is_subset(&known.aliases)
            || next.labels != known.labels
            || next.custodians != known.custodians
            || next.classification != known.classification
            || next.owner != known.owner)
    }

    /// A list that takes the place of another builds on it: what was taken away meanwhile does not come back.
    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        if !self.patch.replaces() {
            return Ok(None);
        }
        Ok(core.find_key(&self.key).await?.map(|key| key.revision.0))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let key = approved.key()?;
        let mut record = key.record.clone();
        self.patch.apply(&mut record.metadata)?;
        record.metadata.check()?;
        if record.metadata.classification > key.keyring.record.classification {
            return Err(Error::invalid("the keyring does not protect data of this class"));
        }
        if record.metadata.classification > key.record.metadata.classification {
            check_kept(core, &key.keyring, record.metadata.classification)?;
        }
        let differences = differences(&key.record.metadata, &record.metadata)?;
        let changed = differences.names().into_iter().collect::<Vec<_>>().join(" ");
        let outcome = save(core, key, &record, approved.now())?.detail("changed", changed);
        Ok(differences.told_in(outcome))
    }
}

/// Refuses a class that demands more than the roots of trust of a keyring amount to. A keyring may be from before that
/// was asked for.
fn check_kept(core: &Core, keyring: &HeldKeyring, classification: Classification) -> Result<(), Error> {
    let kek = keyring.record.current_kek();
    kek.map_or(Ok(()), |kek| core.check_custody(classification, &kek.wrapped.under()))
}

/// The outcome of an operation that only alters a key's record.
pub(super) fn save(
    core: &Core,
    key: &HeldKey,
    record: &KeyRecord,
    now: UnixMillis,
) -> Result<Outcome<KeyReply>, Error> {
    let opened = core.need_open()?;
    let row = key_row(&opened, record, key.revision.next(), now);
    let reply = KeyReply::of(record, &key.keyring, now);
    let outcome = Outcome::reply(reply).changing(Change::PutKey(row)).on(core.audit_key(record, &key.keyring));
    // Aliases that went must be forgotten as well as those that came; the latter follow from the change itself.
    let gone: Vec<Name> = key.record.metadata.aliases.difference(&record.metadata.aliases).cloned().collect();
    Ok(if gone.is_empty() { outcome } else { outcome.then(Effect::ForgetAliases(gone)) })
}

/// Lists algorithms with strength, status and sunset.
#[derive(Debug)]
pub struct ListAlgorithms;

/// The registry as it is in force, at an instant.
#[derive(Debug)]
pub struct Algorithms {
    /// All algorithms.
    pub registry: keyreeve_crypto::Registry,
    /// The instant their status is of.
    pub at: UnixMillis,
}

impl crate::pipeline::Remember for Algorithms {}

impl Operation for ListAlgorithms {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ALGORITHM_LIST;
    type Reply = Algorithms;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Algorithms>, Error> {
        Ok(Outcome::reply(Algorithms { registry: core.settings.algorithms.clone(), at: approved.now() }))
    }
}
