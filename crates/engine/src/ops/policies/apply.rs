//! A whole directory of policies at once, and former versions put back.

use keyreeve_model::Name;
use keyreeve_model::approval::Shown;
use keyreeve_model::metadata::Label;
use keyreeve_model::policy_version::ManifestChanges;
use keyreeve_policy::{Request, ResourceAttrs, ResourceDetails, Revision};
use serde::{Deserialize, Serialize};

use super::guard;
use super::versions::{
    Author, Compared, Edit, Standing, Texts, building_on, check_text, compared, refuse_other_base, shown_change,
    texts_of, version,
};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Circumstances, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// Makes the deployment's own policies be these, in one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Cedar, by name.
    pub policies: Texts,
    /// Whether policies that are not among these go; otherwise they stay as they are.
    pub delete_others: bool,
    /// The version this builds on: refused when somebody made another one since.
    pub base: Option<u64>,
    /// Only tell what would change.
    pub dry_run: bool,
    /// Why, for the history.
    pub comment: Label,
}

/// What became, or would become, of the policies.
#[derive(Debug)]
pub struct Applied {
    /// The version before.
    pub from: u64,
    /// The version that was made; none for a dry run, and where nothing differs.
    pub to: Option<u64>,
    /// What differs.
    pub changes: ManifestChanges,
    /// In text and meaning.
    pub compared: Compared,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

impl Remember for Applied {}

impl Operation for Apply {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_APPLY;
    type Reply = Applied;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    fn is_trial(&self) -> bool {
        self.dry_run
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        building_on(core, self.base).await
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let standing = Standing::read(core, &*core.need_open()?).await?.texts();
        let mut wanted = if self.delete_others { Texts::new() } else { standing.clone() };
        wanted.extend(self.policies.iter().map(|(name, text)| (name.clone(), text.clone())));
        Ok(shown_change(&standing, &wanted))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Applied>, Error> {
        for (name, text) in &self.policies {
            check_text(core, name, text)?;
        }
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?;
        let mut wanted = if self.delete_others { Texts::new() } else { standing.texts() };
        wanted.extend(self.policies.iter().map(|(name, text)| (name.clone(), text.clone())));
        let author = Author::of(approved, self.comment.clone());
        let how = How { base: self.base, dry_run: self.dry_run };
        becoming(approved, core, &opened, standing, wanted, author, how).await
    }
}

/// Puts back the texts of a former version. They are checked against the schema as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The version whose texts are put back.
    pub version: u64,
    /// The version this builds on: refused when somebody made another one since.
    pub base: Option<u64>,
    /// Why, for the history.
    pub comment: Label,
}

impl Operation for Rollback {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_ROLLBACK;
    type Reply = Applied;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        building_on(core, self.base).await
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?.texts();
        let former = version(core, &opened, self.version).await?;
        Ok(shown_change(&standing, &renamed(core, texts_of(core, &opened, &former.entries).await?)?))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Applied>, Error> {
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?;
        let former = version(core, &opened, self.version).await?;
        let wanted = renamed(core, texts_of(core, &opened, &former.entries).await?)?;
        let author = Author::of(approved, self.comment.clone()).restoring(self.version);
        let how = How { base: self.base, dry_run: false };
        let outcome = becoming(approved, core, &opened, standing, wanted, author, how).await?;
        Ok(outcome.detail("restores", self.version))
    }
}

/// The texts of a former version. One whose name came to be shipped since is put back under another.
fn renamed(core: &Core, texts: Texts) -> Result<Texts, Error> {
    let taken = |shown: &str| texts.keys().any(|name| name.as_str() == shown);
    let shown = |name: &Name| core.compiler.shown(name.as_str(), taken).parse().map_err(Error::internal);
    texts.iter().map(|(name, text)| Ok((shown(name)?, text.clone()))).collect()
}

struct How {
    base: Option<u64>,
    dry_run: bool,
}

/// Makes the policies be the wanted ones.
async fn becoming<O: Operation>(
    approved: &Approved<O>,
    core: &Core,
    opened: &Opened,
    standing: Standing,
    wanted: Texts,
    author: Author,
    how: How,
) -> Result<Outcome<Applied>, Error> {
    let present = standing.version();
    refuse_other_base(how.base, present)?;
    let draft = guard::admit(core, opened, &wanted, approved.now()).await?;
    let edit = Edit::of(core, opened, &standing, &wanted, &author).await?;
    allowed_one_by_one(approved, opened, &edit.what)?;
    let compared = compared(core, standing.texts(), wanted, approved.now()).await?;
    let to = edit.to.filter(|_| !how.dry_run);
    let applied = Applied {
        from: present,
        to,
        changes: edit.what.clone(),
        compared: Compared { from: present, to: to.unwrap_or(present), ..compared },
        warnings: draft.warnings().iter().map(ToString::to_string).collect(),
    };
    let outcome = Outcome::reply(applied);
    if how.dry_run {
        return Ok(outcome.detail("dry_run", true));
    }
    Ok(edit.carried_out(outcome))
}

/// A set does to each policy what putting or removing it alone would do, and needs no smaller right.
fn allowed_one_by_one<O: Operation>(
    approved: &Approved<O>,
    opened: &Opened,
    changes: &ManifestChanges,
) -> Result<(), Error> {
    let principal = approved.principal();
    let context = Circumstances::of(principal, approved.source(), approved.now()).context(None, 1);
    let may = |action: &'static Descriptor, name: &Name| {
        let details = ResourceDetails::Policy;
        let resource = ResourceAttrs { id: name.to_string(), revision: Revision::Unstored, details };
        let request =
            Request { principal: &principal.attrs, action: action.name, resource: &resource, context: &context };
        if opened.access().policies().cache.decide(&request).allowed {
            return Ok(());
        }
        let text = format!("policy does not allow `{}` to do `{}` to `{name}`", principal.name, action.name);
        Err(Error::new(Code::Denied, text))
    };
    let mut written = changes.added.iter().chain(&changes.altered);
    written.try_for_each(|name| may(&catalogue::POLICY_PUT, name))?;
    changes.removed.iter().try_for_each(|name| may(&catalogue::POLICY_DELETE, name))
}
