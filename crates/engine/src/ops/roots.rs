//! Roots of trust of the deployment: which there are and what is under each, joining another one, retiring one that
//! nothing is under any more (requirement T5).

use keyreeve_model::device::DeviceWork;
use keyreeve_model::filed::unfile;
use keyreeve_model::holders::{SharePurpose, SharesRecord, row_id};
use keyreeve_model::job::{Job, JobWork};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Revision, Table, open, seal};
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{Change, Custody, DeploymentRecord, Name, UnixMillis};
use keyreeve_root::{Root, SealStatus};
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::shares::{self, HandedText, HolderSpec};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Guard, Opened};

/// Lists the roots of trust that the deployment has joined or the configuration names.
#[derive(Debug)]
pub struct List;

/// One root of trust, and what is under it.
#[derive(Clone, Debug)]
pub struct RootReply {
    /// Its name.
    pub name: Name,
    /// Its kind, as the configuration or else the deployment says.
    pub kind: String,
    /// How well it keeps its key; none while it is not configured.
    pub custody: Option<Custody>,
    /// Where opening it stands; none while it is not configured.
    pub status: Option<SealStatus>,
    /// When it was joined; none where the configuration alone names it.
    pub joined: Option<UnixMillis>,
    /// How many keyrings have a KEK under it.
    pub keyrings: u64,
    /// Whether the server's own secret is under it.
    pub own_secret: bool,
}

/// The roots of trust, by name.
#[derive(Clone, Debug)]
pub struct RootsReply(pub Vec<RootReply>);

impl Remember for RootsReply {}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_LIST;
    type Reply = RootsReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<RootsReply>, Error> {
        let deployment = core.need_open()?.rooted();
        let joined = deployment.roots();
        let mut under: BTreeMap<Name, u64> = BTreeMap::new();
        core.each_keyring(|keyring| {
            for name in keyring.keks.iter().flat_map(|kek| kek.wrapped.under().roots().clone()) {
                *under.entry(name).or_default() += 1;
            }
            Ok(())
        })
        .await?;
        let mut names: Vec<&Name> = core.ports.roots.iter().map(|(name, _)| name).chain(joined.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let reply = |name: &Name| {
            let (root, record) = (core.ports.roots.get(name), joined.get(name));
            let kind = root.map(|root| root.kind().to_owned()).or(record.map(|record| record.kind.clone()));
            RootReply {
                name: name.clone(),
                kind: kind.unwrap_or_default(),
                custody: root.map(|root| root.custody()),
                status: root.map(|root| root.status()),
                joined: record.map(|record| record.joined),
                keyrings: under.get(name).copied().unwrap_or(0),
                own_secret: deployment.system_secret.names(name),
            }
        };
        Ok(Outcome::reply(RootsReply(names.into_iter().map(reply).collect())))
    }
}

/// Makes a root of trust that the configuration names one of the deployment's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Its name.
    pub name: Name,
    /// How many shares to make; 0 for roots without shares.
    pub shares: u8,
    /// How many of them open it.
    pub threshold: u8,
    /// Who gets the shares, in the order of their numbers, each encrypted. Where nobody is named the shares are shown,
    /// in development mode only: one person would have the whole root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<HolderSpec>,
    /// Why.
    pub reason: Label,
}

/// What is shown once and never again.
#[derive(Debug)]
pub struct JoinReply {
    /// Its kind.
    pub kind: &'static str,
    /// One for each holder; none for roots without shares, and where they are encrypted.
    pub shares: Vec<SecretString>,
    /// For each holder that was named, the share encrypted to that holder.
    pub handed: Vec<HandedText>,
    /// What these holders answer to show that they have theirs.
    pub challenge: Option<String>,
}

impl Remember for JoinReply {}

impl Join {
    /// The root, if it can be joined.
    fn root<'a>(&self, core: &'a Core, deployment: &DeploymentRecord) -> Result<&'a Arc<dyn Root>, Error> {
        let root = core.ports.roots.named(&self.name)?;
        if deployment.roots().contains_key(&self.name) {
            let text = format!("the root of trust `{}` was joined before", self.name);
            return Err(Error::new(Code::AlreadyExists, text));
        }
        let alone = !core.settings.development || core.need_open()?.access().rules().are_in_force();
        if self.shares > 0 && self.holders.is_empty() && alone {
            let text = "whoever joins this root of trust would see all of its shares: say who will hold them, each \
                        with a public key (`keyreeve root join --holder NAME=KEY`), and nobody sees any but his own";
            return Err(Error::invalid(text));
        }
        Ok(root)
    }
}

impl Operation for Join {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_JOIN;
    type Reply = JoinReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        super::forms::written(self)
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Without making its key.
    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        shares::planned(&self.holders, (self.shares, self.threshold), approved.now())?;
        self.root(core, &core.need_open()?.rooted()).map(|_| true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JoinReply>, Error> {
        let _one = core.transition.lock().await;
        // What it makes is lost when somebody else changes the deployment meanwhile.
        let alone = Arc::clone(&core.rooting).write_owned().await;
        let (opened, now, asked) = (core.need_open()?, approved.now(), core.ports.clock.elapsed());
        let (mut deployment, revision) = core.deployment(&opened).await?;
        let root = self.root(core, &deployment)?;
        let planned = shares::planned(&self.holders, (self.shares, self.threshold), now)?;
        // It is none of the deployment's: what a join that was not stored has left, or a root that was retired.
        root.disown().await;
        let made = root.initialise(self.shares, self.threshold).await?;
        core.ports.roots.note(&self.name, asked);
        let given = shares::Given::new(core, &self.name, made.shares, &planned, now)?;
        let filed = given.filed(&opened.keys);
        let (kind, by) = (root.kind(), Some(approved.principal().name.clone()));
        let mut roots = deployment.roots();
        roots.insert(self.name.clone(), RootRecord { kind: kind.to_owned(), public: made.public, joined: now, by });
        deployment.set_roots(roots);
        let names: Vec<&str> = planned.iter().map(|planned| planned.person.name.as_str()).collect();
        let reply = JoinReply { kind, shares: given.shown, handed: given.handed, challenge: given.challenge };
        let mut outcome = rerooted(&opened, deployment, revision, reply);
        outcome.changes.extend(filed);
        if !names.is_empty() {
            outcome = outcome.detail("holders", names.join(", "));
        }
        Ok(outcome
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .detail("root", &self.name)
            .detail("root_kind", kind)
            .detail("shares", self.shares)
            .detail("threshold", self.threshold)
            .detail("reason", &self.reason))
    }
}

/// Takes a root of trust that nothing is under out of the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Its name.
    pub name: Name,
    /// Why.
    pub reason: Label,
}

impl Operation for Retire {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RETIRE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        super::forms::written(self)
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let alone = Arc::clone(&core.rooting).write_owned().await;
        let opened = core.need_open()?;
        let (mut deployment, revision) = core.deployment(&opened).await?;
        let record = deployment.roots().remove(&self.name).ok_or_else(|| Error::not_found("root of trust"))?;
        core.refuse_roots_in_use(&deployment, &self.name).await?;
        core.refuse_roots_in_jobs(&opened, &self.name).await?;
        deployment.retire(&self.name, approved.now(), &approved.principal().name);
        let mut outcome = rerooted(&opened, deployment, revision, ());
        // Joined again, it has other shares.
        let shares = core.filed::<SharesRecord>(&opened, row_id(SharePurpose::Root, &self.name)).await?;
        outcome.changes.extend(shares.map(|(shares, revision)| unfile(revision, &shares)));
        // Nobody asks its device any more: what is still to be erased there stays, and the record says so.
        let left = core.filed_all::<DeviceWork>(&opened, None).await?;
        let left: Vec<_> = left.into_iter().filter(|(work, _)| work.place.root == self.name).collect();
        outcome.changes.extend(left.iter().map(|(work, revision)| unfile(*revision, work)));
        if !left.is_empty() {
            outcome = outcome.detail("left_in_device", left.len());
        }
        Ok(outcome
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .detail("root", &self.name)
            .detail("root_kind", record.kind)
            .detail("reason", &self.reason))
    }
}

fn rerooted<R>(opened: &Opened, deployment: DeploymentRecord, revision: Revision, reply: R) -> Outcome<R> {
    let id = deployment.id;
    let sealed = seal(&opened.keys, Table::Deployment, id.as_bytes(), revision.next(), &deployment);
    Outcome::reply(reply).changing(Change::PutDeployment(sealed)).then(Effect::Rooted(Box::new(deployment)))
}

impl Core {
    /// The deployment as it is stored, and its revision.
    pub(super) async fn deployment(&self, opened: &Opened) -> Result<(DeploymentRecord, Revision), Error> {
        let row = self.ports.store.deployment().await?.ok_or_else(|| Error::internal("no deployment"))?;
        let id = opened.deployment.id;
        Ok((open(&opened.keys, Table::Deployment, id.as_bytes(), &row)?, row.revision))
    }

    /// What a job that is under way will bring under a root.
    async fn refuse_roots_in_jobs(&self, opened: &Opened, root: &Name) -> Result<(), Error> {
        for (job, _) in self.filed_all::<Job>(opened, None).await? {
            let JobWork::Rekey(rekey) = job.work() else { continue };
            if job.ended().is_none() && rekey.to.as_ref().is_some_and(|to| to.names(root)) {
                let text = format!(
                    "the job {} brings keys under the root of trust `{root}`: wait for its end, or `keyreeve job \
                     cancel` it",
                    job.id()
                );
                return Err(Error::new(Code::WrongState, text));
            }
        }
        Ok(())
    }

    /// Keys inside a root's device end with it: nothing moves them.
    async fn refuse_keys_in_device(&self, root: &Name) -> Result<(), Error> {
        let inside = self.keys_in_device(root).await?;
        let Some(first) = inside.first() else { return Ok(()) };
        let more = if inside.len() > 1 { format!(" and {} more", inside.len() - 1) } else { String::new() };
        let text = format!(
            "{first}{more} have versions inside the device of the root of trust `{root}`, and nothing takes them out: \
             rotate them into another device, encrypt anew what they protect, then `keyreeve key destroy`"
        );
        Err(Error::new(Code::WrongState, text))
    }

    async fn refuse_roots_in_use(&self, deployment: &DeploymentRecord, root: &Name) -> Result<(), Error> {
        let mut under = Vec::new();
        if deployment.system_secret.names(root) {
            under.push("the server's own secret".to_owned());
        }
        if self.backup_keys_under(&*self.need_open()?, root).await? > 0 {
            under.push("the key of the backups".to_owned());
        }
        self.each_keyring(|keyring| {
            if keyring.roots.names(root) || keyring.keks.iter().any(|kek| kek.wrapped.names(root)) {
                under.push(format!("the keyring `{}`", keyring.name));
            }
            Ok(())
        })
        .await?;
        let Some(first) = under.first() else { return self.refuse_keys_in_device(root).await };
        let what = match under.len() {
            1 => format!("{first} is"),
            count => format!("{first} and {} more are", count - 1),
        };
        let text = format!(
            "{what} under the root of trust `{root}`: `keyreeve root migrate --from {root} --to OTHER --reason WHY` \
             moves all of it"
        );
        Err(Error::new(Code::WrongState, text))
    }
}
