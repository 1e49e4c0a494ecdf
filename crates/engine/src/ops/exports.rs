//! Material that goes elsewhere (requirement K10, decision 8): only of keys that were made for it, only wrapped, and
//! never on the word of fewer than three people.

use keyreeve_crypto::{Material, TransportPublic};
use keyreeve_model::filed::file;
use keyreeve_model::imports::{Departure, KnownMaterial, Outside, identity_row};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use serde::Serialize;
use std::sync::Arc;

use super::consents;
use super::forms::written;
use super::keys::save;
use super::usable::{compute, not_allowed};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::{HeldKey, KeyRef};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// So many people besides whoever asks must have consented to an export, whatever the rules say (count).
pub const EXPORT_CONSENTS: usize = 2;

/// Hands out the material of a key version, wrapped.
#[derive(Debug)]
pub struct Export {
    /// The key.
    pub key: KeyRef,
    /// The version: said, so that nobody consents to one and hands out another.
    pub version: u32,
    /// For whom it is wrapped, and how.
    pub recipient: TransportPublic,
    /// Why.
    pub reason: Label,
}

/// Wrapped material.
#[derive(Debug)]
pub struct Exported {
    /// The key.
    pub key: keyreeve_model::KeyId,
    /// The version.
    pub version: u32,
    /// What the material is.
    pub algorithm: keyreeve_crypto::KeyAlgorithm,
    /// How it is wrapped.
    pub method: keyreeve_crypto::WrappingMethod,
    /// The fingerprint of the key that it is wrapped for, in hexadecimal.
    pub recipient: String,
    /// The material, wrapped.
    pub wrapped: Vec<u8>,
}

/// Not kept: whoever asks has the answer, and nobody later.
impl Remember for Exported {}

#[derive(Serialize)]
struct ExportForm<'a> {
    version: u32,
    method: keyreeve_crypto::WrappingMethod,
    /// First what people compare, then the whole of it.
    recipient: String,
    recipient_key: String,
    reason: &'a Label,
}

impl Export {
    fn departure(&self, approved: &Approved<Self>) -> Departure {
        Departure {
            version: self.version,
            at: approved.now(),
            by: approved.principal().name.clone(),
            method: self.recipient.method(),
            recipient: self.recipient.fingerprint().to_string(),
            reason: self.reason.clone(),
        }
    }

    /// Refuses a key to wrap for whose algorithm is not good for that any more: what leaves is as safe as its wrapping.
    fn refuse_outdated(&self, approved: &Approved<Self>, core: &Core) -> Result<(), Error> {
        let algorithm = self.recipient.algorithm();
        if core.settings.algorithms.may_apply(algorithm, approved.now().0) {
            Ok(())
        } else {
            Err(not_allowed(algorithm))
        }
    }

    /// The material, wrapped for the recipient, and what tells it from others.
    async fn wrapped(&self, key: &HeldKey, core: &Core) -> Result<(Vec<u8>, String), Error> {
        let (opened, random) = (core.need_open()?, Arc::clone(&core.ports.random));
        let material = Material::parse(key.record.algorithm(), core.unwrap_material(key, self.version).await?)?;
        let identity = opened.keys.identity(&material)?;
        let recipient = self.recipient.clone();
        let wrapped = compute(true, move || recipient.wrap(&random, b"", &material.portable())).await??;
        Ok((wrapped, identity))
    }
}

impl Operation for Export {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_EXPORT;
    type Reply = Exported;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&ExportForm {
            version: self.version,
            method: self.recipient.method(),
            recipient: self.recipient.fingerprint().to_string(),
            recipient_key: self.recipient.to_pem(),
            reason: &self.reason,
        })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Without the material: it is not touched before people consented.
    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        self.refuse_outdated(approved, core)?;
        approved.key()?.record.clone().depart(self.departure(approved))?;
        Ok(true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Exported>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        let (mut record, departure) = (key.record.clone(), self.departure(approved));
        self.refuse_outdated(approved, core)?;
        let recipient = departure.recipient.clone();
        record.depart(departure)?;
        consents::refuse_without(approved, EXPORT_CONSENTS, "a key is exported", "Exporting keys")?;
        let opened = core.need_open()?;
        let (wrapped, identity) = self.wrapped(key, core).await?;
        let known = core.filed::<KnownMaterial>(&opened, identity_row(&identity)).await?;
        let mut outcome = save(core, key, &record, now)?.version(self.version);
        if known.is_none() {
            let (key, version, environment) = (record.id(), self.version, record.metadata.environment);
            let known = KnownMaterial { identity, key, version, environment, outside: Outside::Exported, since: now };
            outcome = outcome.changing(file(&opened.keys, Revision::FIRST, &known));
        }
        let (algorithm, method) = (record.algorithm(), self.recipient.method());
        let outcome = outcome
            .detail("recipient", &recipient)
            .detail("method", method)
            .detail("fingerprint", record.version(self.version)?.fingerprint())
            .detail("reason", &self.reason);
        let (key, version) = (record.id(), self.version);
        Ok(outcome.with_reply(Exported { key, version, algorithm, method, recipient, wrapped }))
    }
}
