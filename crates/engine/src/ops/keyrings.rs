//! Making and showing keyrings.

use keyreeve_model::change::KeyringRow;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Revision, Table, seal};
use keyreeve_model::{Change, Classification, Custody, Environment, KeyringId, KeyringRecord, Name, RootUse};
use keyreeve_store::Page;
use std::sync::Arc;

use super::forms::{KeyringForm, written};
use super::{KeyringReply, Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKeyring, KeyringRef, new_kek};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Effect, Guard, Opened, SystemKeys};

/// The row of a keyring, sealed.
pub(super) fn keyring_row(opened: &Opened, record: &KeyringRecord, revision: Revision) -> KeyringRow {
    sealed_row(&opened.keys, record, revision)
}

/// The same while the server is being initialised.
pub(super) fn sealed_row(keys: &SystemKeys, record: &KeyringRecord, revision: Revision) -> KeyringRow {
    KeyringRow {
        id: record.id,
        name: record.name.clone(),
        record: seal(keys, Table::Keyrings, record.id.as_bytes(), revision, record),
    }
}

/// Makes a keyring with its own KEK.
#[derive(Debug)]
pub struct Create {
    /// Its name, unique.
    pub name: Name,
    /// Who answers for it.
    pub owner: Label,
    /// What it is for.
    pub description: Label,
    /// The class its keys may protect at most.
    pub classification: Classification,
    /// The environment all its keys belong to.
    pub environment: Environment,
    /// May keys for deterministic encryption be made here?
    pub allow_deterministic: bool,
    /// The roots of trust that wrap its key-encryption key; those of the server's own secret unless said.
    pub roots: Option<RootUse>,
}

impl Create {
    /// The roots it will be under, if they are there and keep keys well enough for the class (requirement K18).
    async fn under(&self, core: &Core) -> Result<RootUse, Error> {
        let opened = core.need_open()?;
        let under = self.roots.clone().unwrap_or_else(|| opened.rooted().system_secret.under());
        core.check_roots(&under).await?;
        core.check_custody(self.classification, &under)?;
        Ok(under)
    }
}

impl Core {
    /// Goes through all keyrings, by their ids.
    pub(crate) async fn each_keyring(
        &self,
        mut each: impl FnMut(&KeyringRecord) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (opened, mut after) = (self.need_open()?, None);
        loop {
            let rows = self.ports.store.keyrings(Page { after, limit: PAGE_MAX }).await?;
            for row in &rows {
                each(&HeldKeyring::open(&opened.keys, row)?.record)?;
            }
            after = rows.last().filter(|_| rows.len() == PAGE_MAX as usize).map(|row| row.id);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Refuses roots that the configuration does not name or the deployment has not joined.
    pub(super) async fn check_roots(&self, under: &RootUse) -> Result<(), Error> {
        let opened = self.need_open()?;
        let joined = opened.rooted().roots();
        for name in under.roots() {
            self.ports.roots.named(name)?;
            if !joined.contains_key(name) {
                let text = format!(
                    "the root of trust `{name}` is configured and not joined yet: `keyreeve root join {name}` does it"
                );
                return Err(Error::new(Code::WrongState, text));
            }
            self.refuse_unproved(&opened, name).await?;
        }
        Ok(())
    }

    /// Refuses roots that keep their keys less well than the class demands. In development nothing is kept well.
    pub(super) fn check_custody(&self, classification: Classification, under: &RootUse) -> Result<(), Error> {
        let (least, has) = (Custody::least_for(classification), under.custody(|name| self.ports.roots.custody(name)));
        if has >= least || self.settings.development {
            return Ok(());
        }
        let text = format!(
            "keys for `{classification}` data are kept in custody `{least}` or better, and the root of trust {under} \
             amounts to `{has}`: name another root (`keyreeve root list`), or join one of a better kind"
        );
        Err(Error::new(Code::Custody, text))
    }
}

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEYRING_CREATE;
    type Reply = KeyringReply;

    fn target(&self) -> Target<'_> {
        Target::NewKeyring(&self.name)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&KeyringForm {
            owner: self.owner.clone(),
            description: self.description.clone(),
            classification: self.classification,
            environment: self.environment,
            allow_deterministic: self.allow_deterministic,
            roots: self.roots.clone(),
        })
    }

    /// Without making its key-encryption key.
    async fn rehearse(&self, _approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        if core.find_keyring(&KeyringRef::Name(self.name.clone())).await?.is_some() {
            let text = format!("the keyring `{}` exists already: choose another name", self.name);
            return Err(Error::new(Code::AlreadyExists, text));
        }
        self.under(core).await?;
        Ok(true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyringReply>, Error> {
        let (now, by) = (approved.now(), &approved.principal().name);
        let opened = core.need_open()?;
        let id = KeyringId::new(now, core.id_random()?);
        let joined = Arc::clone(&core.rooting).read_owned().await;
        let under = self.under(core).await?;
        let kek = new_kek(core, (id, 1), &under, by, now).await?;
        let keyring = KeyringRecord {
            id,
            name: self.name.clone(),
            owner: self.owner.clone(),
            description: self.description.clone(),
            classification: self.classification,
            environment: self.environment,
            allow_deterministic: self.allow_deterministic,
            created: now,
            roots: under,
            keks: vec![kek],
        };
        let (row, roots) = (keyring_row(&opened, &keyring, Revision::FIRST), keyring.roots.to_string());
        let resource =
            keyreeve_audit::Resource { kind: "keyring".to_owned(), id: id.to_string(), version: None, keyring: None };
        Ok(Outcome::reply(KeyringReply { keyring })
            .changing(Change::PutKeyring(row))
            .then(Effect::Hold(Guard::Shared(joined)))
            .on(resource)
            .detail("name", &self.name)
            .detail("classification", self.classification)
            .detail("environment", self.environment)
            .detail("roots", roots))
    }
}

/// Shows a keyring.
#[derive(Debug)]
pub struct Describe {
    /// The keyring.
    pub keyring: KeyringRef,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEYRING_DESCRIBE;
    type Reply = KeyringReply;

    fn target(&self) -> Target<'_> {
        Target::Keyring(&self.keyring)
    }

    async fn execute(&self, approved: &Approved<Self>, _core: &Core) -> Result<Outcome<KeyringReply>, Error> {
        let keyring = approved.resource().keyring()?.record.clone();
        Ok(Outcome::reply(KeyringReply { keyring }))
    }
}

/// Lists keyrings, by id.
#[derive(Debug)]
pub struct List {
    /// Only keyrings after this one.
    pub after: Option<KeyringId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEYRING_LIST;
    type Reply = Listing<KeyringReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<KeyringReply>>, Error> {
        let opened = core.need_open()?;
        let limit = self.limit.clamp(1, PAGE_MAX);
        let rows = core.ports.store.keyrings(Page { after: self.after, limit }).await?;
        let next = rows.last().filter(|_| rows.len() == limit as usize).map(|row| row.id.to_string());
        let (access, mut items) = (opened.access(), Vec::new());
        let source = core.source(&opened, access.quarantined());
        for row in &rows {
            let place = (Table::Keyrings, row.id.as_bytes().as_slice());
            let held = source.sound(place, HeldKeyring::open(&opened.keys, row))?;
            items.extend(held.map(|held| KeyringReply { keyring: held.record }));
        }
        let (count, left_out) = (items.len(), rows.len() - items.len());
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count).detail_if("left_out", left_out))
    }
}
