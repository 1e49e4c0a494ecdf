//! Material that comes from elsewhere (requirement K10): a wrapping key for one import, then the material under it.
//!
//! The wrapping key's private half stands under the epoch that the material will stand under. It is used once: the row
//! that holds it goes in the transaction of the import, or with its time. Whatever is wrong with what was handed in,
//! the answer is the same, and after a few tries there is nothing left to try.

use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::transport::LONGEST_WRAPPED;
use keyreeve_crypto::{FipsStatus, KeyAlgorithm, Material, Purpose, TransportPrivate, WrappingMethod};
use keyreeve_epochs::EpochId;
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::ImportId;
use keyreeve_model::imports::{
    IMPORT_HOURS_MAX, IMPORT_TRIES, ImportFor, ImportRecord, Imported, KnownMaterial, MaterialEnd, Outside, UnderEpoch,
    identity_row,
};
use keyreeve_model::key::{NewVersion, Origin, Provenance};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, KeyId, KeyMetadata, KeyRecord, State, UnixMillis};
use keyreeve_policy::KeyAttrs;
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::KeyReply;
use super::forms::{KeyForm, written};
use super::keys::{Create, describe_new, save};
use super::replies::remember_as_json;
use super::usable::{compute, key_row, not_allowed};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Aftermath, Code, Error};
use crate::keys::{HeldKey, HeldKeyring, KeyRef, KeyringRef, attrs_of};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Effect, Opened};

/// Imports that one principal may have waiting (count).
const WAITING_MAX: u32 = 32;

/// What material is to come for.
#[derive(Debug)]
pub enum Destination {
    /// A key that is not there yet.
    NewKey {
        /// Its keyring.
        keyring: KeyringRef,
        /// What it shall be.
        algorithm: KeyAlgorithm,
        /// The one thing it is for; the algorithm's usual purpose unless said.
        purpose: Option<Purpose>,
    },
    /// A key that is there: another version of it, or one whose material has ended.
    Key(KeyRef),
}

/// What is to come, checked.
#[derive(Debug)]
enum Wanted {
    NewKey { keyring: KeyringRef, algorithm: KeyAlgorithm, purpose: Purpose, attrs: Box<KeyAttrs> },
    Key(KeyRef),
}

/// Makes a key under which material is wrapped for one import.
#[derive(Debug)]
pub struct Parameters {
    of: Wanted,
    method: WrappingMethod,
    rsa: Option<KeyAlgorithm>,
    hours: u32,
}

/// A wrapping key, and what it is good for. Its private half stays here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParametersReply {
    /// Names it when the material comes.
    pub import: ImportId,
    /// The key that the material is for.
    pub key: KeyId,
    /// The keyring's name.
    pub keyring: String,
    /// What the material must be.
    pub algorithm: KeyAlgorithm,
    /// What the key is for.
    pub purpose: Purpose,
    /// How the material is to be wrapped.
    pub method: WrappingMethod,
    /// The public half in PEM: one key, or two.
    pub public_key: String,
    /// SHA-256 of the public half, in hexadecimal.
    pub fingerprint: String,
    /// When it ends.
    pub expires: UnixMillis,
}

remember_as_json!(ParametersReply);

impl Parameters {
    /// Checks what can be checked without looking anything up. `rsa` is the size of an RSA wrapping key.
    ///
    /// # Errors
    /// When the algorithm does not offer the purpose, when the time is out of bounds, or when material of that kind
    /// does not fit the method.
    pub fn new(of: Destination, method: WrappingMethod, rsa: Option<KeyAlgorithm>, hours: u32) -> Result<Self, Error> {
        if !(1..=IMPORT_HOURS_MAX).contains(&hours) {
            return Err(Error::invalid(format!("a wrapping key waits for 1 to {IMPORT_HOURS_MAX} hours")));
        }
        let of = match of {
            Destination::Key(key) => Wanted::Key(key),
            Destination::NewKey { keyring, algorithm, purpose } => {
                let usual = algorithm.purposes().first().copied();
                let Some(purpose) = purpose.or(usual).filter(|purpose| algorithm.offers(*purpose)) else {
                    let text = format!("a key of algorithm `{algorithm}` cannot be made for this purpose");
                    return Err(Error::new(Code::WrongKeyUse, text));
                };
                must_fit(algorithm, method)?;
                let attrs = attrs_of(algorithm, purpose, State::PreActivation, &KeyMetadata::default());
                Wanted::NewKey { keyring, algorithm, purpose, attrs: Box::new(attrs) }
            }
        };
        Ok(Self { of, method, rsa, hours })
    }
}

/// Refuses methods that material of an algorithm does not fit, before anybody tries.
fn must_fit(algorithm: KeyAlgorithm, method: WrappingMethod) -> Result<(), Error> {
    if method != WrappingMethod::RsaOaepSha256 || !algorithm.is_asymmetric() {
        return Ok(());
    }
    let text = "`rsa-oaep-sha256` wraps symmetric keys only, a private key is too long for it: use `rsa-aes-kwp` or a \
                hybrid";
    Err(Error::invalid(text))
}

fn born_inside() -> Error {
    let text = "what comes from elsewhere is never inside a device: such keys are made there, and `keyreeve key \
                rotate` makes another version";
    Error::new(Code::WrongKeyUse, text)
}

fn refuse_in_device(key: &KeyRecord) -> Result<(), Error> {
    if key.protection().is_software() { Ok(()) } else { Err(born_inside()) }
}

/// What is known of the key that material is to come for.
struct Place {
    of: ImportFor,
    key: KeyId,
    keyring: Arc<HeldKeyring>,
    shard: u32,
    algorithm: KeyAlgorithm,
    purpose: Purpose,
}

impl Parameters {
    async fn place(&self, approved: &Approved<Self>, core: &Core) -> Result<Place, Error> {
        let place = match &self.of {
            Wanted::NewKey { algorithm, purpose, .. } => {
                let keyring = Arc::clone(approved.resource().keyring()?);
                let shard = core.next_shard(keyring.record.id).await?;
                let key = KeyId::new(approved.now(), core.id_random()?);
                Place { of: ImportFor::NewKey, key, keyring, shard, algorithm: *algorithm, purpose: *purpose }
            }
            Wanted::Key(_) => {
                let (held, of) = (approved.key()?, ImportFor::Key);
                refuse_in_device(&held.record)?;
                let (record, keyring) = (&held.record, Arc::clone(&held.keyring));
                let (key, shard) = (record.id(), record.shard());
                Place { of, key, keyring, shard, algorithm: record.algorithm(), purpose: record.purpose() }
            }
        };
        must_fit(place.algorithm, self.method)?;
        if core.settings.algorithms.may_create(place.algorithm, approved.now().0) {
            Ok(place)
        } else {
            Err(not_allowed(place.algorithm))
        }
    }
}

impl Operation for Parameters {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_IMPORT_PARAMETERS;
    type Reply = ParametersReply;

    fn target(&self) -> Target<'_> {
        match &self.of {
            Wanted::NewKey { keyring, attrs, .. } => Target::NewKey(keyring, attrs),
            Wanted::Key(key) => Target::Key(key),
        }
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ParametersReply>, Error> {
        let (now, opened, by) = (approved.now(), core.need_open()?, &approved.principal().name);
        refuse_too_many(core, &opened, by, now).await?;
        let place = self.place(approved, core).await?;
        let (method, rsa, random) = (self.method, self.rsa, Arc::clone(&core.ports.random));
        let private = compute(true, move || TransportPrivate::generate(method, rsa, &random)).await??;
        let public = private.public()?;
        // What brings a key is no weaker than what a key may be today.
        if !core.settings.algorithms.may_create(public.algorithm(), now.0) {
            return Err(not_allowed(public.algorithm()));
        }
        let (epoch, guard) = core.current_epoch(&opened, &place.keyring, place.shard).await?;
        let mut record = ImportRecord {
            id: ImportId::new(now, core.id_random()?),
            of: place.of,
            key: place.key,
            keyring: place.keyring.record.id,
            shard: place.shard,
            algorithm: place.algorithm,
            purpose: place.purpose,
            by: by.clone(),
            method,
            wrapping_algorithm: public.algorithm(),
            fingerprint: public.fingerprint().to_string(),
            private: UnderEpoch { epoch: epoch.epoch, wrapped: String::new() },
            created: now,
            expires: now.plus(Duration::from_secs(u64::from(self.hours) * 3600)),
            failures: 0,
        };
        let (ring, context) = (&place.keyring.record, record.associated_data());
        let wrapped = opened.hierarchy.seal_beside(ring, epoch, &context, &private.serialize()).await?;
        record.private.wrapped = hex::encode(wrapped);
        let reply = ParametersReply {
            import: record.id,
            key: record.key,
            keyring: ring.name.to_string(),
            algorithm: record.algorithm,
            purpose: record.purpose,
            method,
            public_key: public.to_pem(),
            fingerprint: record.fingerprint.clone(),
            expires: record.expires,
        };
        Ok(Outcome::reply(reply)
            .changing(file(&opened.keys, Revision::FIRST, &record))
            .then(Effect::Hold(guard))
            .detail("import", record.id)
            .detail("key", record.key)
            .detail("algorithm", record.algorithm)
            .detail("purpose", record.purpose)
            .detail("method", method)
            .detail("wrapping_key", &record.fingerprint)
            .detail("expires", record.expires))
    }
}

async fn refuse_too_many(
    core: &Core,
    opened: &Opened,
    by: &keyreeve_model::Name,
    now: UnixMillis,
) -> Result<(), Error> {
    let page = Page { after: None, limit: 2 * WAITING_MAX };
    let (waiting, _) = core.filed_page::<ImportRecord>(opened, Some(by.as_str()), page).await?;
    if waiting.iter().filter(|(record, _)| record.expires > now).count() < WAITING_MAX as usize {
        return Ok(());
    }
    let text =
        format!("{WAITING_MAX} imports of yours wait for their material already: bring it, or wait until they end");
    Err(Error::new(Code::WrongState, text))
}

/// Material that comes wrapped, and what is said of it.
#[derive(Debug)]
pub struct Incoming {
    /// For which wrapping key.
    pub import: ImportId,
    /// Wrapped as that says.
    pub wrapped: Vec<u8>,
    /// When it ends, if it does: it is erased then, and the key stays.
    pub expires: Option<UnixMillis>,
    /// Where it is from, in words.
    pub statement: Label,
}

/// The same in the form in which it waits: without the material, wrapped as it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IncomingForm<T> {
    import: ImportId,
    wrapped_sha256: String,
    expires: Option<UnixMillis>,
    statement: Label,
    of: T,
}

impl Incoming {
    fn form<T>(&self, of: T) -> IncomingForm<T> {
        let (expires, statement) = (self.expires, self.statement.clone());
        IncomingForm { import: self.import, wrapped_sha256: hex::encode(sha256(&self.wrapped)), expires, statement, of }
    }

    fn check(&self, now: UnixMillis) -> Result<(), Error> {
        if self.wrapped.len() > LONGEST_WRAPPED {
            let text = format!("wrapped material has at most {LONGEST_WRAPPED} bytes");
            return Err(Error::new(Code::TooLarge, text));
        }
        match self.expires {
            Some(at) if at <= now => Err(Error::invalid("`expires` lies in the past")),
            _ => Ok(()),
        }
    }

    fn imported(&self, record: &ImportRecord) -> Imported {
        Imported { method: record.method, statement: self.statement.clone(), expires: self.expires, erased: None }
    }
}

/// Material that was unwrapped.
struct Opening {
    record: ImportRecord,
    revision: Revision,
    material: Material,
    identity: String,
}

/// What an import must have been asked for.
struct Expected {
    of: ImportFor,
    key: Option<KeyId>,
    algorithm: KeyAlgorithm,
    purpose: Purpose,
}

impl Expected {
    fn key(key: &HeldKey) -> Self {
        let record = &key.record;
        let (algorithm, purpose) = (record.algorithm(), record.purpose());
        Self { of: ImportFor::Key, key: Some(record.id()), algorithm, purpose }
    }
}

impl Core {
    /// The wrapping key that waits, for whom it waits and for what it waits.
    async fn waiting_import<O: Operation>(
        &self,
        opened: &Opened,
        approved: &Approved<O>,
        (keyring, expected): (&HeldKeyring, Expected),
        import: ImportId,
    ) -> Result<(ImportRecord, Revision), Error> {
        // One answer for what never was, was used, is over, or is somebody else's.
        let absent = || {
            let text =
                "no such import waits for you: it was used, or is over; `keyreeve key import-parameters` makes one";
            Error::new(Code::NotFound, text)
        };
        let (record, revision) = self.filed::<ImportRecord>(opened, import).await?.ok_or_else(absent)?;
        if record.by != approved.principal().name || record.expires <= approved.now() {
            return Err(absent());
        }
        let same_key = expected.key.is_none_or(|key| key == record.key) && expected.of == record.of;
        if !same_key || record.keyring != keyring.record.id {
            return Err(Error::invalid("this import waits for the material of another key"));
        }
        if (record.algorithm, record.purpose) != (expected.algorithm, expected.purpose) {
            let text = format!(
                "this import waits for a key of algorithm `{}` for `{}`: say the same here",
                record.algorithm, record.purpose
            );
            return Err(Error::invalid(text));
        }
        Ok((record, revision))
    }

    /// Unwraps what came, and checks it.
    async fn open_incoming<O: Operation>(
        &self,
        opened: &Opened,
        approved: &Approved<O>,
        (keyring, expected): (&HeldKeyring, Expected),
        incoming: &Incoming,
    ) -> Result<Opening, Error> {
        incoming.check(approved.now())?;
        let (record, revision) = self.waiting_import(opened, approved, (keyring, expected), incoming.import).await?;
        let epoch = EpochId { keyring: record.keyring, shard: record.shard, epoch: record.private.epoch };
        let sealed = hex::decode(&record.private.wrapped).map_err(Error::internal)?;
        let context = record.associated_data();
        let private = opened.hierarchy.open_beside(&keyring.record, epoch, &context, &sealed).await?;
        let gone = || {
            let text = "the wrapping key went with a key that was destroyed meanwhile: ask for new parameters";
            Error::new(Code::WrongState, text)
        };
        let private = private.ok_or_else(gone)?;
        let private = TransportPrivate::parse(record.method, record.wrapping_algorithm, &private)?;
        let (wrapped, algorithm) = (incoming.wrapped.clone(), record.algorithm);
        let unwrapped = compute(true, move || {
            let bytes = private.unwrap(b"", &wrapped)?;
            Material::import(algorithm, &bytes)
        });
        match unwrapped.await? {
            Ok(material) => {
                let identity = opened.keys.identity(&material)?;
                Ok(Opening { record, revision, material, identity })
            }
            Err(error) => Err(failed(opened, record, revision, BTreeMap::new(), error.into())),
        }
    }

    /// Refuses material that another key has, or another version of this one (K4).
    async fn refuse_known(
        &self,
        opened: &Opened,
        opening: &Opening,
        except: Option<(KeyId, u32)>,
    ) -> Result<Option<KnownMaterial>, Error> {
        let found = self.filed::<KnownMaterial>(opened, identity_row(&opening.identity)).await?;
        let Some((known, _)) = found else { return Ok(None) };
        if except == Some((known.key, known.version)) {
            return Ok(Some(known));
        }
        let text = "this material is that of another key or version already, or of one that was destroyed: keys are \
                    never shared between keys and environments, make a fresh one";
        let details = BTreeMap::from([
            ("same_as".to_owned(), format!("{} version {}", known.key, known.version)),
            ("same_in".to_owned(), known.environment.to_string()),
        ]);
        // Material that is known here may have been guessed: a try as any other.
        Err(opening.failed(opened, details, Error::new(Code::AlreadyExists, text)))
    }
}

/// The refusal of what could not be opened. It is counted, and the last one ends the import.
fn failed(
    opened: &Opened,
    record: ImportRecord,
    revision: Revision,
    mut details: BTreeMap<String, String>,
    error: Error,
) -> Error {
    let failures = record.failures + 1;
    let last = failures >= IMPORT_TRIES;
    details.insert("failures".to_owned(), failures.to_string());
    let change = if last {
        unfile(revision, &record)
    } else {
        file(&opened.keys, revision.next(), &ImportRecord { failures, ..record })
    };
    let error = match error.code() {
        Code::DecryptionFailed => Error::new(
            Code::DecryptionFailed,
            if last {
                "the material does not open, and it was the last try: ask for new parameters"
            } else {
                "the material does not open: it was wrapped in another way or for another key, or was altered"
            },
        ),
        _ => error,
    };
    error.leading_to(Aftermath { details, changes: vec![change] })
}

impl Opening {
    /// The refusal of what opened and is not what it should be. It is counted like what does not open: nobody finds out
    /// by trying what a key is.
    fn failed(&self, opened: &Opened, details: BTreeMap<String, String>, error: Error) -> Error {
        failed(opened, self.record.clone(), self.revision, details, error)
    }

    /// How the record tells the material from others: by its public half, or by a digest that only this server makes.
    fn fingerprint(&self) -> Result<(Option<String>, String), Error> {
        Ok(match self.material.public_key()? {
            Some(public) => (Some(hex::encode(public.spki())), public.fingerprint().to_string()),
            None => (None, self.identity.clone()),
        })
    }

    fn version<O: Operation>(
        &self,
        approved: &Approved<O>,
        incoming: &Incoming,
        reason: &Label,
    ) -> Result<NewVersion, Error> {
        let (public_key, fingerprint) = self.fingerprint()?;
        let (module, by) = (FipsStatus::current().to_string(), approved.principal().name.clone());
        let provenance = Provenance { origin: Origin::Imported, module, by, reason: reason.clone() };
        let imported = Some(incoming.imported(&self.record));
        Ok(NewVersion { public_key, fingerprint, provenance, imported, device: None })
    }

    /// What is stored besides the key: that the import is used, that the material exists outside, and when it ends.
    fn changes(&self, opened: &Opened, key: &KeyRecord, version: u32, now: UnixMillis) -> Vec<Change> {
        let known = KnownMaterial {
            identity: self.identity.clone(),
            key: key.id(),
            version,
            environment: key.metadata.environment,
            outside: Outside::Imported,
            since: now,
        };
        let expires = key.version(version).ok().and_then(|version| version.imported()).and_then(|own| own.expires);
        let end = expires.map(|at| file(&opened.keys, Revision::FIRST, &new_end(key, version).ending(Some(at), now)));
        let used = [unfile(self.revision, &self.record), file(&opened.keys, Revision::FIRST, &known)];
        used.into_iter().chain(end).collect()
    }

    fn described<R>(&self, outcome: Outcome<R>, incoming: &Incoming) -> Outcome<R> {
        let outcome = outcome.detail("import", self.record.id).detail("method", self.record.method);
        let outcome = match incoming.expires {
            Some(expires) => outcome.detail("expires", expires),
            None => outcome,
        };
        if incoming.statement.is_empty() { outcome } else { outcome.detail("statement", &incoming.statement) }
    }
}

/// The end of a version's material, before it has one.
fn new_end(key: &KeyRecord, version: u32) -> MaterialEnd {
    MaterialEnd {
        key: key.id(),
        version,
        keyring: key.keyring(),
        shard: key.shard(),
        expires: None,
        told: 0,
        again: None,
        erased: None,
        erased_epoch: 0,
    }
}

/// Makes a key of material that comes wrapped.
#[derive(Debug)]
pub struct Import {
    /// What it shall be, as for one that is generated here.
    pub create: Create,
    /// The material.
    pub incoming: Incoming,
}

impl Operation for Import {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_IMPORT;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::NewKey(&self.create.keyring, self.create.attrs())
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&self.incoming.form::<KeyForm>(self.create.key_form()))
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.create.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (now, keyring, create) = (approved.now(), approved.resource().keyring()?, &self.create);
        if !create.protection.is_software() {
            return Err(born_inside());
        }
        create.check(core, keyring, now)?;
        create.aliases_are_free(core).await?;
        let opened = core.need_open()?;
        let (algorithm, purpose) = (create.algorithm, create.purpose);
        let expected = Expected { of: ImportFor::NewKey, key: None, algorithm, purpose };
        let opening = core.open_incoming(&opened, approved, (keyring, expected), &self.incoming).await?;
        core.refuse_known(&opened, &opening, None).await?;
        let new = create.new_key(opening.record.key, keyring, opening.record.shard);
        let version = opening.version(approved, &self.incoming, &create.reason)?;
        let record = KeyRecord::create(new, version, opened.deployment.profile, now);
        let (row, guard) = core.wrap_material(&opened, keyring, &record, 1, &opening.material).await?;
        let mut outcome = Outcome::reply(KeyReply::of(&record, keyring, now))
            .changing(Change::PutKey(key_row(&opened, &record, Revision::FIRST, now)))
            .changing(Change::AddMaterial(row))
            .then(Effect::Hold(guard))
            .on(core.audit_key(&record, keyring))
            .version(1);
        outcome.changes.extend(opening.changes(&opened, &record, 1, now));
        Ok(opening.described(describe_new(outcome, &record, &create.reason), &self.incoming))
    }
}

/// Makes a new version of a key of material that comes wrapped.
#[derive(Debug)]
pub struct ImportVersion {
    /// The key.
    pub key: KeyRef,
    /// The material.
    pub incoming: Incoming,
    /// Why.
    pub reason: Label,
}

impl Operation for ImportVersion {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_IMPORT_VERSION;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&self.incoming.form(self.reason.clone()))
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        refuse_in_device(&key.record)?;
        key.record.can_rotate(now)?;
        if !core.settings.algorithms.may_create(key.record.algorithm(), now.0) {
            return Err(not_allowed(key.record.algorithm()));
        }
        let (opened, cause) = (core.need_open()?, approved.cause(&self.reason));
        let expected = Expected::key(key);
        let opening = core.open_incoming(&opened, approved, (&key.keyring, expected), &self.incoming).await?;
        core.refuse_known(&opened, &opening, None).await?;
        let mut record = key.record.clone();
        let version = opening.version(approved, &self.incoming, &self.reason)?;
        let (old, new) = (record.primary(), record.rotate(version, &cause)?);
        let (row, guard) = core.wrap_material(&opened, &key.keyring, &record, new, &opening.material).await?;
        let fingerprint = record.version(new)?.fingerprint().to_owned();
        let mut outcome = save(core, key, &record, now)?
            .changing(Change::AddMaterial(row))
            .then(Effect::Hold(guard))
            .version(new)
            .detail("old_version", old)
            .detail("new_version", new)
            .detail("fingerprint", fingerprint)
            .detail("origin", "imported")
            .detail("reason", &self.reason);
        outcome.changes.extend(opening.changes(&opened, &record, new, now));
        Ok(opening.described(outcome, &self.incoming))
    }
}

/// Puts imported material back that was erased when its time was over, or gives what is there another end.
#[derive(Debug)]
pub struct Reimport {
    /// The key.
    pub key: KeyRef,
    /// The version; the primary one unless said.
    pub version: Option<u32>,
    /// The same material as before.
    pub incoming: Incoming,
    /// Why.
    pub reason: Label,
}

#[derive(Serialize)]
struct AgainForm<'a> {
    version: Option<u32>,
    reason: &'a Label,
}

impl Operation for Reimport {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_REIMPORT;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&self.incoming.form(AgainForm { version: self.version, reason: &self.reason }))
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        let version = self.version.unwrap_or(key.record.primary());
        let mut record = key.record.clone();
        let absent = record.put_back(version, self.incoming.expires, now)?;
        let opened = core.need_open()?;
        let expected = Expected::key(key);
        let opening = core.open_incoming(&opened, approved, (&key.keyring, expected), &self.incoming).await?;
        let fingerprint = opening.fingerprint()?.1;
        if fingerprint != record.version(version)?.fingerprint() {
            let text = "this is not the material that the version had: `keyreeve key rotate --import` makes a new \
                        version of other material";
            return Err(opening.failed(&opened, BTreeMap::new(), Error::new(Code::InvalidRequest, text)));
        }
        core.refuse_known(&opened, &opening, Some((record.id(), version))).await?;
        let mut outcome = save(core, key, &record, now)?.changing(unfile(opening.revision, &opening.record));
        if absent {
            let (row, guard) = core.wrap_material(&opened, &key.keyring, &record, version, &opening.material).await?;
            outcome = outcome.changing(Change::AddMaterial(row)).then(Effect::Hold(guard));
        }
        let end = core.filed::<MaterialEnd>(&opened, MaterialEnd::row(record.id(), version)).await?;
        let (end, revision) = match end {
            Some((end, revision)) => (end, revision.next()),
            None => (new_end(&record, version), Revision::FIRST),
        };
        let end = end.ending(self.incoming.expires, now);
        let outcome = outcome.changing(file(&opened.keys, revision, &end)).version(version);
        let outcome = outcome.detail("put_back", absent).detail("fingerprint", fingerprint);
        Ok(opening.described(outcome.detail("reason", &self.reason), &self.incoming))
    }
}
