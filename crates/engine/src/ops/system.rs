//! The server itself: health, initialisation, opening and sealing.

use keyreeve_model::ids::DeploymentId;
use keyreeve_model::metadata::{InvalidMetadata, Label};
use keyreeve_model::record::{Revision, Table, seal};
use keyreeve_model::{
    Change, Classification, DeploymentRecord, Environment, KeyringId, KeyringRecord, Name, PrincipalKind,
    PrincipalRecord, UnixMillis,
};
use keyreeve_root::{Initialised, SealStatus};
use keyreeve_secret::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::keyrings::sealed_row;
use super::principals::principal_row;
use super::tokens::{NewToken, issue};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::Hierarchy;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::running::system_context;
use crate::sealing::{Effect, SystemKeys, new_system_secret};

/// How long the first administrator's token lasts (days): long enough to make better ones.
const FIRST_TOKEN_DAYS: u32 = 1;
/// The same in development mode (days).
const DEVELOPER_TOKEN_DAYS: u32 = 366;

/// Tells whether the server is alive. Anybody may ask.
#[derive(Debug)]
pub struct Health;

impl Operation for Health {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_HEALTH;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, _core: &Core) -> Result<Outcome<()>, Error> {
        Ok(Outcome::reply(()))
    }
}

/// Shows the server's counters, which the server itself keeps: this is the permission. Anybody may ask; a policy may
/// forbid it.
#[derive(Debug)]
pub struct Metrics;

impl Operation for Metrics {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_METRICS;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, _core: &Core) -> Result<Outcome<()>, Error> {
        Ok(Outcome::reply(()))
    }
}

/// Tells where the root of trust stands. Anybody may ask.
#[derive(Debug)]
pub struct Status;

/// Where the root of trust stands.
#[derive(Debug)]
pub struct StatusReply {
    /// Its kind.
    pub root_kind: &'static str,
    /// Where opening stands.
    pub root: SealStatus,
    /// Whether the server works.
    pub open: bool,
    /// The keys that verify the audit log, once the server is open.
    pub log_vkeys: Vec<String>,
}

impl Remember for StatusReply {}

impl Operation for Status {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_STATUS;
    type Reply = StatusReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<StatusReply>, Error> {
        let opened = core.opened();
        let log_vkeys = opened.as_ref().map(|opened| opened.deployment.log_vkeys.clone()).unwrap_or_default();
        let root = &core.ports.root;
        Ok(Outcome::reply(StatusReply {
            root_kind: root.kind(),
            root: root.status(),
            open: opened.is_some(),
            log_vkeys,
        }))
    }
}

/// Makes the root of trust, a first keyring and the first administrator; once.
#[derive(Debug)]
pub struct Init {
    /// How many shares to make; 0 for roots without shares.
    pub shares: u8,
    /// How many of them open the root.
    pub threshold: u8,
}

/// What is shown once and never again.
#[derive(Debug)]
pub struct InitReply {
    /// One for each holder.
    pub shares: Vec<SecretString>,
    /// The first administrator.
    pub principal: Name,
    /// Its token.
    pub token: SecretString,
    /// When that ends.
    pub expires: UnixMillis,
    /// The keys that verify the audit log.
    pub log_vkeys: Vec<String>,
}

impl Remember for InitReply {}

fn name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error: InvalidMetadata| Error::internal(error))
}

fn label(text: &str) -> Result<Label, Error> {
    text.parse().map_err(|error: InvalidMetadata| Error::internal(error))
}

impl Operation for Init {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_INIT;
    type Reply = InitReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<InitReply>, Error> {
        let _one = core.transition.lock().await;
        if core.ports.store.deployment().await?.is_some() {
            return Err(Error::new(Code::WrongState, "the server is initialised already"));
        }
        let initialised = core.ports.root.initialise(self.shares, self.threshold).await?;
        let built = self.build(core, approved.now(), initialised).await;
        if built.is_err() {
            core.ports.root.seal().await;
        }
        built
    }
}

impl Init {
    async fn build(&self, core: &Core, now: UnixMillis, root: Initialised) -> Result<Outcome<InitReply>, Error> {
        let id = DeploymentId::new(now, core.id_random()?);
        let secret = new_system_secret(&core.ports.random)?;
        let keys = Arc::new(SystemKeys::derive(&secret, &core.settings.log_origin)?);
        let deployment = DeploymentRecord {
            id,
            created: now,
            root_kind: core.ports.root.kind().to_owned(),
            root_public: root.public,
            profile: core.settings.profile,
            log_origin: core.settings.log_origin.clone(),
            log_vkeys: keys.log_vkeys(),
            system_secret: hex::encode(core.ports.root.wrap(&system_context(&id), &secret).await?),
        };
        let first = first_principal(core, now)?;
        let keyring = first_keyring(core, &first.name, now).await?;
        let days = if core.settings.development { DEVELOPER_TOKEN_DAYS } else { FIRST_TOKEN_DAYS };
        let life = (now, now.plus_days(days));
        let about = label("made by initialisation")?;
        let (principal, networks) = (&first.name, &BTreeSet::new());
        let new = NewToken { principal, description: &about, created_by: principal, life, networks, session: None };
        let (issued, token) = issue(core, &*keys, new)?;
        let sealed = seal(&*keys, Table::Deployment, id.as_bytes(), Revision::FIRST, &deployment);
        let reply = InitReply {
            shares: root.shares,
            principal: first.name.clone(),
            token: issued.token,
            expires: issued.record.expires,
            log_vkeys: deployment.log_vkeys.clone(),
        };
        Ok(Outcome::reply(reply)
            .changing(Change::PutDeployment(sealed))
            .changing(Change::PutPrincipal(principal_row(&keys, &first, Revision::FIRST)))
            .changing(Change::PutKeyring(sealed_row(&keys, &keyring, Revision::FIRST)))
            .changing(token)
            .then(Effect::Open)
            .opening_root()
            .sealed_by(Arc::clone(&keys))
            .detail("deployment", id)
            .detail("root_kind", &deployment.root_kind)
            .detail("shares", self.shares)
            .detail("threshold", self.threshold)
            .detail("grantee", &first.name))
    }
}

/// In production somebody who administers access and no keys; in development somebody who may do everything.
fn first_principal(core: &Core, now: UnixMillis) -> Result<PrincipalRecord, Error> {
    let (who, role) = match core.settings.development {
        true => ("developer", keyreeve_policy::shipped::DEVELOPER_ROLE),
        false => ("operator", "operator"),
    };
    Ok(PrincipalRecord {
        name: name(who)?,
        kind: PrincipalKind::Person,
        roles: BTreeSet::from([name(role)?]),
        labels: BTreeMap::new(),
        networks: BTreeSet::new(),
        certificates: BTreeSet::new(),
        disabled: false,
        created: now,
        person: None,
    })
}

async fn first_keyring(core: &Core, by: &Name, now: UnixMillis) -> Result<KeyringRecord, Error> {
    let ports = &core.ports;
    let hierarchy = Hierarchy::new(Arc::clone(&ports.root), Arc::clone(&ports.vault), Arc::clone(&ports.random));
    let id = KeyringId::new(now, core.id_random()?);
    let environment = if core.settings.development { Environment::Development } else { Environment::Production };
    Ok(KeyringRecord {
        id,
        name: name("default")?,
        owner: Label::default(),
        description: label("made by initialisation")?,
        classification: Classification::Confidential,
        environment,
        allow_deterministic: false,
        created: now,
        keks: vec![hierarchy.new_kek(id, 1, by, now).await?],
    })
}

/// Gives one share of the root of trust.
#[derive(Debug)]
pub struct Unseal {
    /// The share.
    pub share: SecretString,
}

/// Where opening stands after a share.
#[derive(Debug)]
pub struct Progress {
    /// Where it stands.
    pub root: SealStatus,
}

impl Remember for Progress {}

impl Operation for Unseal {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_UNSEAL;
    type Reply = Progress;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Progress>, Error> {
        let root = &core.ports.root;
        let status = root.unseal(&self.share).await?;
        let outcome = Outcome::reply(Progress { root: status.clone() });
        Ok(match status {
            SealStatus::Open => outcome.then(Effect::Open).opening_root().detail("opened", "true"),
            SealStatus::Sealed { given, threshold, .. } => outcome.detail("given", given).detail("needed", threshold),
            SealStatus::NotInitialised { .. } => outcome,
        })
    }
}

/// Closes the root of trust and wipes every key from memory.
#[derive(Debug)]
pub struct Seal;

impl Operation for Seal {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_SEAL;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, _core: &Core) -> Result<Outcome<()>, Error> {
        Ok(Outcome::reply(()).then(Effect::Seal))
    }
}
