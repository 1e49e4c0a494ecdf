//! Policies of the deployment's own. Whatever alters them makes a new version of them, all in one transaction.

use keyreeve_model::approval::Shown;
use keyreeve_model::metadata::Label;
use keyreeve_model::{Name, PolicyRecord, UnixMillis};
use serde::{Deserialize, Serialize};

mod apply;
mod guard;
mod shadow;
mod simulate;
mod versions;

pub use crate::access::{ShadowCounts, ShadowGroup, Would};
pub use apply::{Applied, Apply, Rollback};
pub use shadow::{ShadowReport, ShadowStart, ShadowStarted, ShadowStop, Shadowed};
pub use simulate::{Simulate, Simulated};
pub use versions::{Compared, Diff, History, PolicyVersion, PolicyVersions};

use super::{Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
pub(crate) use versions::shown_difference;
use versions::{Author, Edit, Standing};

/// A policy.
#[derive(Clone, Debug)]
pub struct PolicyReply {
    /// Its name.
    pub name: String,
    /// Cedar.
    pub text: String,
    /// Shipped with Keyreeve: cannot be replaced or removed.
    pub built_in: bool,
    /// When and by whom it was written, for the deployment's own.
    pub updated: Option<(UnixMillis, Name)>,
}

impl Remember for PolicyReply {}

fn own(record: &PolicyRecord) -> PolicyReply {
    PolicyReply {
        name: record.name.to_string(),
        text: record.text.clone(),
        built_in: false,
        updated: Some((record.updated, record.updated_by.clone())),
    }
}

/// Makes or replaces a policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Its name.
    pub name: Name,
    /// Cedar.
    pub text: String,
}

impl Operation for Put {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_PUT;
    type Reply = PolicyReply;

    fn target(&self) -> Target<'_> {
        Target::Policy(&self.name)
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        Ok(Some(core.ports.store.policy(&self.name).await?.map_or(0, |row| row.record.revision.0)))
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let standing = Standing::read(core, &*core.need_open()?).await?.texts();
        let mut wanted = standing.clone();
        wanted.insert(self.name.clone(), self.text.clone());
        Ok(versions::shown_change(&standing, &wanted))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<PolicyReply>, Error> {
        versions::check_text(core, &self.name, &self.text)?;
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?;
        // Validated as part of the whole set it will be in: names must not clash, and a broken set would refuse
        // everything.
        let mut wanted = standing.texts();
        wanted.insert(self.name.clone(), self.text.clone());
        guard::admit(core, &opened, &wanted, approved.now()).await?;
        let edit = Edit::of(core, &opened, &standing, &wanted, &Author::of(approved, Label::default())).await?;
        let record = PolicyRecord {
            name: self.name.clone(),
            text: self.text.clone(),
            updated: approved.now(),
            updated_by: approved.principal().name.clone(),
        };
        let digest = hex::encode(keyreeve_crypto::digest::sha256(self.text.as_bytes()));
        let revision = edit.revision_of(&self.name).unwrap_or_else(|| standing.revision_of(&self.name));
        let outcome = edit.carried_out(Outcome::reply(own(&record)));
        Ok(outcome.detail("sha256", digest).detail("revision", revision.0))
    }
}

impl Core {
    /// The name under which an own policy is stored that is called like this, or shown like this.
    fn stored_name(&self, texts: &versions::Texts, name: &Name) -> Option<Name> {
        let taken = |shown: &str| texts.keys().any(|name| name.as_str() == shown);
        let is_it = |stored: &&Name| *stored == name || self.compiler.shown(stored.as_str(), taken) == name.as_str();
        texts.keys().find(is_it).cloned()
    }

    fn refuse_built_in(&self, name: &Name) -> Result<(), Error> {
        if self.compiler.is_built_in(name.as_str()) {
            let text =
                format!("`{name}` is shipped with Keyreeve and cannot be changed: write a policy of another name");
            return Err(Error::new(Code::AlreadyExists, text));
        }
        Ok(())
    }
}

/// Shows a policy.
#[derive(Debug)]
pub struct Describe {
    /// Its name.
    pub name: Name,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_DESCRIBE;
    type Reply = PolicyReply;

    fn target(&self) -> Target<'_> {
        Target::Policy(&self.name)
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<PolicyReply>, Error> {
        let all = core.all_policies()?;
        let found = all.into_iter().find(|policy| policy.name == self.name.as_str());
        Ok(Outcome::reply(found.ok_or_else(|| Error::not_found("policy"))?))
    }
}

impl Core {
    /// Shipped and own policies, by name.
    fn all_policies(&self) -> Result<Vec<PolicyReply>, Error> {
        let opened = self.need_open()?;
        let shipped = self.compiler.built_in().iter().map(|(name, text)| PolicyReply {
            name: name.clone(),
            text: text.clone(),
            built_in: true,
            updated: None,
        });
        let mut all: Vec<_> = shipped.collect();
        let access = opened.access();
        let stored = &access.policies().stored;
        let taken = |shown: &str| stored.keys().any(|name| name.as_str() == shown);
        all.extend(stored.values().map(|held| {
            let name = self.compiler.shown(held.record.name.as_str(), taken);
            PolicyReply { name, ..own(&held.record) }
        }));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

/// Lists policies, by name.
#[derive(Debug)]
pub struct List {
    /// Only policies after this one.
    pub after: Option<Name>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_LIST;
    type Reply = Listing<PolicyReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<PolicyReply>>, Error> {
        let limit = self.limit.clamp(1, PAGE_MAX) as usize;
        let after = self.after.as_ref().map(Name::as_str);
        let later =
            core.all_policies()?.into_iter().filter(|policy| after.is_none_or(|after| policy.name.as_str() > after));
        let mut items: Vec<_> = later.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.name.clone());
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

/// Removes a policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Its name.
    pub name: Name,
    /// The version of the policies that this builds on: refused when somebody made another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

impl Operation for Delete {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_DELETE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Policy(&self.name)
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        versions::building_on(core, self.base).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?;
        versions::refuse_other_base(self.base, standing.version())?;
        let mut wanted = standing.texts();
        let Some(stored) = core.stored_name(&wanted, &self.name) else {
            core.refuse_built_in(&self.name)?;
            return Err(Error::not_found("policy"));
        };
        wanted.remove(&stored);
        guard::admit(core, &opened, &wanted, approved.now()).await?;
        let edit = Edit::of(core, &opened, &standing, &wanted, &Author::of(approved, Label::default())).await?;
        Ok(edit.carried_out(Outcome::reply(())))
    }
}
