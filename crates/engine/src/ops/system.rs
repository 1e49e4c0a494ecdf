//! The server itself: health, initialisation, opening and sealing.

use keyreeve_model::anchor::Taken;
use keyreeve_model::deployment::NewDeployment;
use keyreeve_model::filed::file;
use keyreeve_model::holders::Planned;
use keyreeve_model::ids::DeploymentId;
use keyreeve_model::metadata::{InvalidMetadata, Label};
use keyreeve_model::record::{Revision, Table, seal};
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{
    Change, Classification, Custody, DeploymentRecord, Environment, KeyringId, KeyringRecord, Name, PrincipalKind,
    PrincipalRecord, RootUse, UnixMillis,
};
use keyreeve_root::{Initialised, SealStatus};
use keyreeve_secret::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::keyrings::sealed_row;
use super::principals::principal_row;
use super::shares::{self, HandedText, HolderSpec};
use super::tokens::{NewToken, issue};
use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::keys::new_kek;
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
    /// The kind of the one that stands for them: which keeps the server from opening, or the first.
    pub root_kind: &'static str,
    /// Where opening stands.
    pub root: SealStatus,
    /// Each root of trust that the configuration names.
    pub roots: Vec<RootState>,
    /// Whether the server works.
    pub open: bool,
    /// The keys that verify the audit log, once the server is open.
    pub log_vkeys: Vec<String>,
}

/// Where one root of trust stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootState {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: &'static str,
    /// How well it keeps its key.
    pub custody: Custody,
    /// Where opening it stands.
    pub status: SealStatus,
}

impl RootState {
    /// Whether it is closed: what is under it alone cannot be used. One that was never joined has nothing under it.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        matches!(self.status, SealStatus::Sealed { .. })
    }
}

impl Engine {
    /// Where each root of trust that the configuration names stands, by name. Costs nothing.
    #[must_use]
    pub fn root_states(&self) -> Vec<RootState> {
        self.core.ports.roots.states()
    }
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
        let roots = core.ports.roots.states();
        let root = core.root_status();
        let stands = roots.iter().find(|one| one.status == root && one.name == *core.ports.roots.first());
        let stands = stands.or_else(|| roots.iter().find(|one| one.status == root)).or(roots.first());
        let root_kind = stands.map_or("none", |one| one.kind);
        // Older than an anchor remembers, it does not work.
        let open = opened.is_some() && core.held().is_none();
        Ok(Outcome::reply(StatusReply { root_kind, root, roots, open, log_vkeys }))
    }
}

/// Makes the root of trust, a first keyring and the first administrator; once.
#[derive(Debug)]
pub struct Init {
    /// How many shares to make; 0 for roots without shares.
    pub shares: u8,
    /// How many of them open the root.
    pub threshold: u8,
    /// Who gets the shares, in the order of their numbers, each encrypted; when empty the shares are shown.
    pub holders: Vec<HolderSpec>,
}

/// What is shown once and never again.
#[derive(Debug)]
pub struct InitReply {
    /// One for each holder; none where they are encrypted.
    pub shares: Vec<SecretString>,
    /// For each holder that was named, the share encrypted to that holder.
    pub handed: Vec<HandedText>,
    /// What these holders answer to show that they have theirs.
    pub challenge: Option<String>,
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
        let planned = shares::planned(&self.holders, (self.shares, self.threshold), approved.now())?;
        core.refuse_used_anchors().await?;
        let first = core.ports.roots.first();
        if *first != keyreeve_model::roots::main() {
            let text = "the configuration of this server has no `[root]`, which a new deployment is initialised with";
            return Err(Error::invalid(text));
        }
        let asked = core.ports.clock.elapsed();
        let initialised = core.ports.roots.need(first)?.initialise(self.shares, self.threshold).await?;
        core.ports.roots.note(first, asked);
        let built = self.build(core, approved.now(), initialised, &planned).await;
        if built.is_err() {
            core.ports.roots.seal().await;
        }
        built
    }
}

impl Init {
    async fn build(
        &self,
        core: &Core,
        now: UnixMillis,
        root: Initialised,
        planned: &[Planned],
    ) -> Result<Outcome<InitReply>, Error> {
        let id = DeploymentId::new(now, core.id_random()?);
        let secret = new_system_secret(&core.ports.random)?;
        let keys = Arc::new(SystemKeys::derive(&secret, &core.settings.log_origin)?);
        let (roots, name) = (&core.ports.roots, core.ports.roots.first());
        let kind = roots.need(name)?.kind();
        let record = RootRecord { kind: kind.to_owned(), public: root.public, joined: now, by: None };
        let under = RootUse::one(name.clone());
        let deployment = DeploymentRecord::new(NewDeployment {
            id,
            created: now,
            root: (name.clone(), record),
            profile: core.settings.profile,
            log_origin: core.settings.log_origin.clone(),
            log_vkeys: keys.log_vkeys(),
            system_secret: roots.wrap(&under, &system_context(&id), &secret, &core.ports.random).await?,
        });
        let first = first_principal(core, now)?;
        let keyring = first_keyring(core, &first.name, now).await?;
        let days = if core.settings.development { DEVELOPER_TOKEN_DAYS } else { FIRST_TOKEN_DAYS };
        let life = (now, now.plus_days(days));
        let about = label("made by initialisation")?;
        let (principal, networks) = (&first.name, &BTreeSet::new());
        let new = NewToken { principal, description: &about, created_by: principal, life, networks, session: None };
        let (issued, token) = issue(core, &*keys, new)?;
        let sealed = seal(&*keys, Table::Deployment, id.as_bytes(), Revision::FIRST, &deployment);
        let given = shares::Given::new(core, name, root.shares, planned, now)?;
        let filed = given.filed(&keys);
        let reply = InitReply {
            shares: given.shown,
            handed: given.handed,
            challenge: given.challenge,
            principal: first.name.clone(),
            token: issued.token,
            expires: issued.record.expires,
            log_vkeys: deployment.log_vkeys.clone(),
        };
        let mut outcome = Outcome::reply(reply)
            .changing(Change::PutDeployment(sealed))
            .changing(Change::PutPrincipal(principal_row(&keys, &first, Revision::FIRST)))
            .changing(Change::PutKeyring(sealed_row(&keys, &keyring, Revision::FIRST)))
            .changing(token)
            .then(Effect::Open)
            .opening_root()
            .sealed_by(Arc::clone(&keys))
            .detail("deployment", id)
            .detail("root", name)
            .detail("root_kind", kind)
            .detail("shares", self.shares)
            .detail("threshold", self.threshold)
            .detail("grantee", &first.name);
        outcome.changes.extend(filed);
        let taken = core.taking_anchors(Taken::New, now);
        outcome.changes.extend(taken.iter().map(|record| file(&*keys, Revision::FIRST, record)));
        if !planned.is_empty() {
            let names: Vec<&str> = planned.iter().map(|planned| planned.person.name.as_str()).collect();
            outcome = outcome.detail("holders", names.join(", "));
        }
        Ok(outcome)
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
    let under = RootUse::one(core.ports.roots.first().clone());
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
        keks: vec![new_kek(core, (id, 1), &under, by, now).await?],
        roots: under,
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
    /// The root of trust that the share is of.
    pub name: Name,
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
        let (name, status) = core.ports.roots.give(&self.share).await?;
        let outcome = Outcome::reply(Progress { name: name.clone(), root: status.clone() }).detail("root", &name);
        Ok(match status {
            // Of several roots that are all needed this may be one; `Open` finds out.
            SealStatus::Open if core.opened().is_none() && core.root_status() == SealStatus::Open => {
                outcome.then(Effect::Open).opening_root().detail("opened", "true")
            }
            SealStatus::Open => outcome.detail("opened", "root"),
            SealStatus::Sealed { given, threshold, .. } => outcome.detail("given", given).detail("needed", threshold),
            SealStatus::NotInitialised { .. } => outcome,
        })
    }
}

/// Closes the roots of trust and wipes every key from memory.
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
