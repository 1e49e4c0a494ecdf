//! A draft of the policies on trial beside those that apply: it is asked after them about every call, and decides
//! nothing.

use keyreeve_model::Change;
use keyreeve_model::UnixMillis;
use keyreeve_model::filed::file;
use keyreeve_model::metadata::Label;
use keyreeve_model::policy_version::{ManifestChanges, POLICIES_MAX, PolicyDraft, PolicyText};
use keyreeve_model::record::{Revision, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::guard;
use super::versions::{Standing, Texts, check_text, text_changes, told};
use crate::access::{HeldDraft, ShadowCounts, Stale};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

fn no_trial() -> Error {
    Error::new(
        Code::NotFound,
        "no draft of the policies is on trial: `keyreeve policy shadow start DIR` puts one there",
    )
}

/// What is in memory of a draft is asked about by the report; what is stored, by those who change it.
fn held(opened: &Opened) -> Option<Arc<HeldDraft>> {
    opened.access().draft().cloned()
}

/// The revision of the draft that is stored, whatever became of it.
async fn stored(core: &Core) -> Result<Option<Revision>, Error> {
    let row = core.ports.store.filed(Table::Drafts, &PolicyDraft::row()).await?;
    Ok(row.map(|row| row.record.revision))
}

/// Puts a draft on trial, instead of one that is.
#[derive(Debug)]
pub struct ShadowStart {
    /// The draft: Cedar, by name.
    pub policies: Texts,
    /// Whether the draft has no other policies than these; otherwise they join or replace those that are there now.
    pub delete_others: bool,
    /// Why.
    pub comment: Label,
}

/// A draft whose trial began.
#[derive(Debug)]
pub struct ShadowStarted {
    /// The draft.
    pub draft: PolicyDraft,
    /// In what it differs from the policies that apply.
    pub changes: ManifestChanges,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

impl Remember for ShadowStarted {}

impl Operation for ShadowStart {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_SHADOW;
    type Reply = ShadowStarted;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ShadowStarted>, Error> {
        for (name, text) in &self.policies {
            check_text(core, name, text)?;
        }
        let opened = core.need_open()?;
        let standing = Standing::read(core, &opened).await?;
        let mut wanted = if self.delete_others { Texts::new() } else { standing.texts() };
        wanted.extend(self.policies.iter().map(|(name, text)| (name.clone(), text.clone())));
        if wanted.len() > POLICIES_MAX {
            return Err(Error::new(Code::TooLarge, format!("there are at most {POLICIES_MAX} policies: join some")));
        }
        // What could not be applied is not tried either.
        let set = guard::admit(core, &opened, &wanted, approved.now()).await?;
        let draft = PolicyDraft {
            entries: wanted.iter().map(|(name, text)| (name.clone(), PolicyText::digest_of(text))).collect(),
            base: standing.version(),
            at: approved.now(),
            by: approved.principal().name.clone(),
            comment: self.comment.clone(),
        };
        let revision = stored(core).await?.map_or(Revision::FIRST, Revision::next);
        let mut filed = text_changes(core, &opened, wanted.values(), &BTreeMap::new()).await?;
        filed.push(file(&opened.keys, revision, &draft));
        let changes = ManifestChanges::between(&standing.entries(), &draft.entries);
        let (digest, base, policies) = (draft.digest(), draft.base, draft.entries.len());
        let warnings = set.warnings().iter().map(ToString::to_string).collect();
        let lists = [("added", changes.added.clone()), ("altered", changes.altered.clone())];
        let removed = changes.removed.clone();
        let outcome = Outcome::reply(ShadowStarted { draft, changes, warnings });
        let outcome = filed.into_iter().fold(outcome, Outcome::changing).detail("trial", "started");
        let outcome = outcome.detail("draft", hex::encode(digest.0)).detail("base", base).detail("policies", policies);
        let outcome = lists.iter().fold(outcome, |outcome, (list, names)| told(outcome, list, names));
        Ok(told(outcome, "removed", &removed).then(Effect::Reload(Stale::draft())))
    }
}

/// Ends the trial.
#[derive(Debug)]
pub struct ShadowStop;

impl Operation for ShadowStop {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_SHADOW;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let revision = stored(core).await?.ok_or_else(no_trial)?;
        let gone = Change::Unfile { table: Table::Drafts, id: PolicyDraft::row(), revision };
        let mut outcome = Outcome::reply(()).changing(gone).detail("trial", "stopped");
        if let Some(draft) = held(&opened) {
            let counts = draft.tally().counts();
            outcome = outcome.detail("draft", hex::encode(draft.record().digest().0));
            outcome = outcome.detail("since", draft.tally().since());
            outcome = outcome.detail("asked", counts.asked).detail("differing", counts.differing);
        }
        Ok(outcome.then(Effect::Reload(Stale::draft())))
    }
}

/// Tells what the draft on trial would have decided otherwise.
#[derive(Debug)]
pub struct ShadowReport;

/// A draft on trial, and what was counted of it.
#[derive(Debug)]
pub struct Shadowed {
    /// The draft.
    pub draft: PolicyDraft,
    /// The version of the policies that apply now.
    pub version: u64,
    /// Since when it is counted: the later of the trial's beginning and the server's last opening.
    pub since: UnixMillis,
    /// What was counted.
    pub counts: ShadowCounts,
    /// Why it is not asked, where it cannot be.
    pub problem: Option<String>,
}

impl Remember for Shadowed {}

impl Operation for ShadowReport {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_SHADOW_REPORT;
    type Reply = Shadowed;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Shadowed>, Error> {
        let opened = core.need_open()?;
        let Some(draft) = held(&opened) else {
            // One that is stored and not held was altered outside: reading it says so.
            core.filed::<PolicyDraft>(&opened, PolicyDraft::row()).await?;
            return Err(no_trial());
        };
        let version = core.ports.store.filed_count(Table::PolicyManifests, "").await?;
        let counts = draft.tally().counts();
        let (asked, differing) = (counts.asked, counts.differing);
        let reply = Shadowed {
            draft: draft.record().clone(),
            version,
            since: draft.tally().since(),
            counts,
            problem: draft.problem().map(str::to_owned),
        };
        Ok(Outcome::reply(reply).detail("asked", asked).detail("differing", differing))
    }
}
