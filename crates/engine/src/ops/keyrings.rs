//! Making and showing keyrings.

use keyreeve_model::change::KeyringRow;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Revision, Table, seal};
use keyreeve_model::{Change, Classification, Environment, KeyringId, KeyringRecord, Name};
use keyreeve_store::Page;

use super::forms::{KeyringForm, written};
use super::{KeyringReply, Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKeyring, KeyringRef};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Opened, SystemKeys};

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
        })
    }

    /// Without making its key-encryption key.
    async fn rehearse(&self, _approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        if core.find_keyring(&KeyringRef::Name(self.name.clone())).await?.is_some() {
            let text = format!("the keyring `{}` exists already: choose another name", self.name);
            return Err(Error::new(Code::AlreadyExists, text));
        }
        Ok(true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyringReply>, Error> {
        let (now, by) = (approved.now(), &approved.principal().name);
        let opened = core.need_open()?;
        let id = KeyringId::new(now, core.id_random()?);
        let kek = opened.hierarchy.new_kek(id, 1, by, now).await?;
        let keyring = KeyringRecord {
            id,
            name: self.name.clone(),
            owner: self.owner.clone(),
            description: self.description.clone(),
            classification: self.classification,
            environment: self.environment,
            allow_deterministic: self.allow_deterministic,
            created: now,
            keks: vec![kek],
        };
        let row = keyring_row(&opened, &keyring, Revision::FIRST);
        let resource =
            keyreeve_audit::Resource { kind: "keyring".to_owned(), id: id.to_string(), version: None, keyring: None };
        Ok(Outcome::reply(KeyringReply { keyring })
            .changing(Change::PutKeyring(row))
            .on(resource)
            .detail("name", &self.name)
            .detail("classification", self.classification)
            .detail("environment", self.environment))
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
        let open =
            |row: &KeyringRow| HeldKeyring::open(&opened.keys, row).map(|held| KeyringReply { keyring: held.record });
        let items: Vec<_> = rows.iter().map(open).collect::<Result<_, _>>()?;
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}
