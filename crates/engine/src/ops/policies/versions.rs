//! Versions of the policies: what stands, how it is changed, and what it was.

use keyreeve_model::approval::Shown;
use keyreeve_model::change::NamedRow;
use keyreeve_model::filed::file;
use keyreeve_model::ids::ApprovalId;
use keyreeve_model::login::Digest;
use keyreeve_model::metadata::Label;
use keyreeve_model::policy_version::{ManifestChanges, POLICIES_MAX, PolicyManifest, PolicyText};
use keyreeve_model::record::{Revision, Table, open, seal};
use keyreeve_model::{Change, Name, PolicyRecord, UnixMillis, limits};
use keyreeve_policy::diff::{self, DocumentDiff, Meaning};
use keyreeve_store::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::usable::compute;
use crate::access::{Stale, all_named};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// Versions told at a time at most.
const VERSIONS_MAX: u32 = 200;
/// Names told in an audit record at most; how many there are is told besides.
const NAMES_TOLD: usize = 50;

/// The deployment's own policies by name.
pub(super) type Texts = BTreeMap<Name, String>;

/// Refuses a text that no policy can have.
pub(super) fn check_text(core: &Core, name: &Name, text: &str) -> Result<(), Error> {
    if text.len() > limits::POLICY_MAX {
        return Err(Error::new(Code::TooLarge, format!("a policy has at most 64 KiB, `{name}` has more: split it")));
    }
    if let Some(found) = keyreeve_policy::misleading(text) {
        return Err(Error::invalid(format!("policy `{name}`: {found}")));
    }
    core.refuse_built_in(name)
}

fn altered_outside() -> Error {
    let text = "the stored policies are not those of their newest version: they were altered outside Keyreeve; \
                `keyreeve policy rollback` to a version puts all of them back as it has them";
    Error::new(Code::Tampered, text)
}

/// The policies as they are stored, and the newest version of them.
pub(super) struct Standing {
    rows: BTreeMap<Name, (PolicyRecord, Revision)>,
    newest: Option<PolicyManifest>,
}

impl Standing {
    /// Reads and checks them. Rows and versions are read one after another: where a version was made meanwhile, they
    /// would look as if somebody had altered them, and are read anew.
    pub(super) async fn read(core: &Core, opened: &Opened) -> Result<Self, Error> {
        let store = &core.ports.store;
        let before = newest(core, opened).await?.map(|manifest| manifest.n);
        let mut rows = BTreeMap::new();
        for row in all_named(|page| store.policies(page)).await? {
            let record: PolicyRecord = open(&opened.keys, Table::Policies, row.name.as_str().as_bytes(), &row.record)?;
            rows.insert(row.name, (record, row.record.revision));
        }
        let newest = newest(core, opened).await?;
        if newest.as_ref().map(|manifest| manifest.n) != before {
            return Err(StoreError::Conflict { transaction: "policies" }.into());
        }
        Ok(Self { rows, newest })
    }

    pub(super) fn texts(&self) -> Texts {
        self.rows.iter().map(|(name, (record, _))| (name.clone(), record.text.clone())).collect()
    }

    /// The number of the newest version; 0 before the first.
    pub(super) fn version(&self) -> u64 {
        self.newest.as_ref().map_or(0, |manifest| manifest.n)
    }

    pub(super) fn revision_of(&self, name: &Name) -> Revision {
        self.rows.get(name).map_or(Revision(0), |(_, revision)| *revision)
    }

    pub(super) fn entries(&self) -> BTreeMap<Name, Digest> {
        entries_of(&self.texts())
    }

    /// Whether the rows are those of the newest version.
    fn is_whole(&self) -> bool {
        self.newest.as_ref().is_none_or(|manifest| manifest.entries == self.entries())
    }
}

fn entries_of(texts: &Texts) -> BTreeMap<Name, Digest> {
    texts.iter().map(|(name, text)| (name.clone(), PolicyText::digest_of(text))).collect()
}

/// The newest version.
pub(super) async fn newest(core: &Core, opened: &Opened) -> Result<Option<PolicyManifest>, Error> {
    let count = core.ports.store.filed_count(Table::PolicyManifests, "").await?;
    if count == 0 {
        return Ok(None);
    }
    version(core, opened, count).await.map(Some)
}

/// The version that applies now, which others consent to build on.
///
/// # Errors
/// [`Code::Conflict`] where the caller looked at another one.
pub(super) async fn building_on(core: &Core, base: Option<u64>) -> Result<Option<i64>, Error> {
    let present = newest(core, &*core.need_open()?).await?.map_or(0, |manifest| manifest.n);
    refuse_other_base(base, present)?;
    i64::try_from(present).map(Some).map_err(Error::internal)
}

/// Refuses what builds on another version than the one that applies.
pub(super) fn refuse_other_base(base: Option<u64>, present: u64) -> Result<(), Error> {
    let Some(base) = base.filter(|base| *base != present) else { return Ok(()) };
    let text = format!(
        "this builds on version {base} of the policies, and version {present} applies now: \
         `keyreeve policy diff {base} {present}` tells what others changed, `keyreeve policy pull` brings it"
    );
    Err(Error::new(Code::Conflict, text))
}

/// A version; versions have no gaps.
pub(super) async fn version(core: &Core, opened: &Opened, n: u64) -> Result<PolicyManifest, Error> {
    let found = core.filed::<PolicyManifest>(opened, PolicyManifest::row_of(n)).await?;
    let (manifest, _) = found.ok_or_else(|| Error::not_found("version of the policies"))?;
    Ok(manifest)
}

/// The texts that a version names.
pub(super) async fn texts_of(core: &Core, opened: &Opened, entries: &BTreeMap<Name, Digest>) -> Result<Texts, Error> {
    let mut texts = Texts::new();
    for (name, digest) in entries {
        let found = core.filed::<PolicyText>(opened, digest.0).await?;
        let (text, _) = found.ok_or_else(altered_outside)?;
        texts.insert(name.clone(), text.text);
    }
    Ok(texts)
}

/// Who makes a version, when, and what is said about it.
pub(super) struct Author {
    by: Name,
    at: UnixMillis,
    comment: Label,
    approval: Option<ApprovalId>,
    restores: Option<u64>,
}

impl Author {
    pub(super) fn of<O: Operation>(approved: &Approved<O>, comment: Label) -> Self {
        let by = approved.principal().name.clone();
        Self { by, at: approved.now(), comment, approval: approved.approval(), restores: None }
    }

    /// It puts a former version back.
    pub(super) fn restoring(self, version: u64) -> Self {
        Self { restores: Some(version), ..self }
    }
}

/// What makes the stored policies be others.
pub(super) struct Edit {
    changes: Vec<Change>,
    pub(super) from: u64,
    /// The version that is made; none where all is as wanted already.
    pub(super) to: Option<u64>,
    pub(super) what: ManifestChanges,
}

impl Edit {
    /// Computes the changes that leave exactly the wanted policies.
    pub(super) async fn of(
        core: &Core,
        opened: &Opened,
        standing: &Standing,
        wanted: &Texts,
        author: &Author,
    ) -> Result<Self, Error> {
        if wanted.len() > POLICIES_MAX {
            return Err(Error::new(Code::TooLarge, format!("there are at most {POLICIES_MAX} policies: join some")));
        }
        // Putting a version back is how this is mended; nothing else may build on what nobody approved.
        if !standing.is_whole() && author.restores.is_none() {
            return Err(altered_outside());
        }
        let (before, after) = (standing.entries(), entries_of(wanted));
        let what = ManifestChanges::between(&before, &after);
        let from = standing.version();
        if what.is_empty() {
            return Ok(Self { changes: Vec::new(), from, to: None, what });
        }
        let mut changes = row_changes(opened, standing, wanted, &what, author);
        let mut first = None;
        if standing.newest.is_none() && !before.is_empty() {
            first = Some(PolicyManifest {
                n: 1,
                entries: before.clone(),
                at: author.at,
                by: None,
                approval: None,
                restores: None,
                comment: Label::default(),
            });
        }
        let n = if first.is_some() { 2 } else { from + 1 };
        let manifest = PolicyManifest {
            n,
            entries: after,
            at: author.at,
            by: Some(author.by.clone()),
            approval: author.approval,
            restores: author.restores,
            comment: author.comment.clone(),
        };
        // Before the first version nothing is filed, the present texts neither.
        let (known, kept) = if first.is_some() { (BTreeMap::new(), standing.texts()) } else { (before, Texts::new()) };
        let texts = kept.values().chain(wanted.values());
        changes.extend(text_changes(core, opened, texts, &known).await?);
        changes.extend(first.iter().chain([&manifest]).map(|made| file(&opened.keys, Revision::FIRST, made)));
        Ok(Self { changes, from, to: Some(n), what })
    }

    /// The revision that a policy's row gets.
    pub(super) fn revision_of(&self, name: &Name) -> Option<Revision> {
        self.changes.iter().find_map(|change| match change {
            Change::PutPolicy(row) if row.name == *name => Some(row.record.revision),
            _ => None,
        })
    }

    /// The outcome with what it changes.
    pub(super) fn carried_out<R>(self, outcome: Outcome<R>) -> Outcome<R> {
        let Some(to) = self.to else { return outcome };
        let outcome = self.changes.into_iter().fold(outcome, Outcome::changing);
        let outcome = outcome.detail("version", to).detail("former_version", self.from);
        let outcome = told(told(outcome, "added", &self.what.added), "altered", &self.what.altered);
        told(outcome, "removed", &self.what.removed).then(Effect::Reload(Stale::policies()))
    }
}

/// Names for the audit record, as many as fit.
pub(super) fn told<R>(outcome: Outcome<R>, list: &str, names: &[Name]) -> Outcome<R> {
    if names.is_empty() {
        return outcome;
    }
    let few: Vec<&str> = names.iter().take(NAMES_TOLD).map(Name::as_str).collect();
    let more = names.len() - few.len();
    let text = few.join(" ");
    outcome.detail(list, if more == 0 { text } else { format!("{text} and {more} more") })
}

fn row_changes(
    opened: &Opened,
    standing: &Standing,
    wanted: &Texts,
    what: &ManifestChanges,
    author: &Author,
) -> Vec<Change> {
    let put = |name: &Name| {
        let record = PolicyRecord {
            name: name.clone(),
            text: wanted.get(name).cloned().unwrap_or_default(),
            updated: author.at,
            updated_by: author.by.clone(),
        };
        let sealed =
            seal(&opened.keys, Table::Policies, name.as_str().as_bytes(), standing.revision_of(name).next(), &record);
        Change::PutPolicy(NamedRow { name: name.clone(), record: sealed })
    };
    let delete = |name: &Name| Change::DeletePolicy { name: name.clone(), revision: standing.revision_of(name) };
    let (written, gone) = (what.added.iter().chain(&what.altered), what.removed.iter());
    written.map(put).chain(gone.map(delete)).collect()
}

/// Files the texts that are not stored yet; those of the version before are.
pub(super) async fn text_changes(
    core: &Core,
    opened: &Opened,
    texts: impl Iterator<Item = &String>,
    known: &BTreeMap<Name, Digest>,
) -> Result<Vec<Change>, Error> {
    let mut seen: BTreeSet<[u8; 32]> = known.values().map(|digest| digest.0).collect();
    let mut changes = Vec::new();
    for text in texts {
        let digest = PolicyText::digest_of(text).0;
        if seen.insert(digest) && core.filed::<PolicyText>(opened, digest).await?.is_none() {
            changes.push(file(&opened.keys, Revision::FIRST, &PolicyText { text: text.clone() }));
        }
    }
    Ok(changes)
}

/// A version and what it changed.
#[derive(Debug)]
pub struct PolicyVersion {
    /// The version.
    pub manifest: PolicyManifest,
    /// Against the one before.
    pub changes: ManifestChanges,
}

/// Lists the versions of the policies, newest first.
#[derive(Debug)]
pub struct History {
    /// Only versions below this one.
    pub before: Option<u64>,
    /// 1 to 200.
    pub limit: u32,
}

/// A page of the history.
#[derive(Debug)]
pub struct PolicyVersions {
    /// Newest first.
    pub items: Vec<PolicyVersion>,
    /// Where the next page begins.
    pub next: Option<u64>,
}

impl Remember for PolicyVersions {}

impl Operation for History {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_HISTORY;
    type Reply = PolicyVersions;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<PolicyVersions>, Error> {
        let opened = core.need_open()?;
        let count = core.ports.store.filed_count(Table::PolicyManifests, "").await?;
        let top = self.before.map_or(count, |before| count.min(before.saturating_sub(1)));
        let lowest = top.saturating_sub(u64::from(self.limit.clamp(1, VERSIONS_MAX))) + 1;
        let mut items = Vec::new();
        // One more than is told: what the lowest one changed shows against it.
        let mut later: Option<PolicyManifest> = None;
        for n in (lowest.saturating_sub(1)..=top).rev() {
            let manifest = if n == 0 { None } else { Some(version(core, &opened, n).await?) };
            let entries = manifest.as_ref().map(|manifest| manifest.entries.clone()).unwrap_or_default();
            if let Some(later) = std::mem::replace(&mut later, manifest) {
                let changes = ManifestChanges::between(&entries, &later.entries);
                items.push(PolicyVersion { manifest: later, changes });
            }
        }
        let next = (lowest > 1).then_some(lowest);
        let listed = items.len();
        Ok(Outcome::reply(PolicyVersions { items, next }).detail("listed", listed))
    }
}

/// Compares two versions of the policies: text and meaning.
#[derive(Debug)]
pub struct Diff {
    /// The earlier version, 0 for none at all; the one before `to` unless said.
    pub from: Option<u64>,
    /// The later version; the newest unless said.
    pub to: Option<u64>,
}

/// What differs between two sets of policies.
#[derive(Debug, Default)]
pub struct Compared {
    /// The versions, where they are some.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// The documents that differ, by name.
    pub documents: Vec<DocumentDiff>,
    /// What it means for people; none where one of the sets does not compile any more.
    pub meaning: Option<Meaning>,
    /// Why it does not.
    pub problem: Option<String>,
}

impl Remember for Compared {}

impl Operation for Diff {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_DIFF;
    type Reply = Compared;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Compared>, Error> {
        let opened = core.need_open()?;
        let count = core.ports.store.filed_count(Table::PolicyManifests, "").await?;
        let to = self.to.unwrap_or(count);
        let from = self.from.unwrap_or(to.saturating_sub(1));
        let mut sides = Vec::new();
        for n in [from, to] {
            let manifest = if n == 0 { None } else { Some(version(core, &opened, n).await?) };
            let entries = manifest.map(|manifest| manifest.entries).unwrap_or_default();
            sides.push(texts_of(core, &opened, &entries).await?);
        }
        let after = sides.pop().unwrap_or_default();
        let before = sides.pop().unwrap_or_default();
        let compared = compared(core, before, after, approved.now()).await?;
        let differing = compared.documents.len();
        let reply = Compared { from, to, ..compared };
        Ok(Outcome::reply(reply).detail("from", from).detail("to", to).detail("differing", differing))
    }
}

/// The longest difference that is shown to those who are to agree (bytes).
const SHOWN_MAX: usize = 32 * 1024;

/// How texts would differ, for those who are to agree: as `diff -u` says it.
pub(crate) fn shown_difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Shown> {
    let documents = diff::documents(before, after);
    let mut value: String = documents.iter().map(|document| format!("{}\n", document.unified.trim_end())).collect();
    if value.len() > SHOWN_MAX {
        value.truncate(value.floor_char_boundary(SHOWN_MAX));
        value.push_str("\n(the rest is left out)");
    }
    vec![Shown { name: "difference".to_owned(), value }]
}

/// The same of policies.
pub(super) fn shown_change(before: &Texts, after: &Texts) -> Vec<Shown> {
    let plain = |texts: &Texts| texts.iter().map(|(name, text)| (name.to_string(), text.clone())).collect();
    shown_difference(&plain(before), &plain(after))
}

/// Compares two sets of texts. It may take a second or two, so it does not hold up other requests.
pub(super) async fn compared(core: &Core, before: Texts, after: Texts, now: UnixMillis) -> Result<Compared, Error> {
    let compiler = Arc::clone(&core.compiler);
    let work = move || {
        let plain = |texts: &Texts| -> BTreeMap<String, String> {
            texts.iter().map(|(name, text)| (name.to_string(), text.clone())).collect()
        };
        let (before, after) = (plain(&before), plain(&after));
        let documents = diff::documents(&before, &after);
        let sets = (compiler.compile(before), compiler.compile(after));
        let (meaning, problem) = match sets {
            (Ok(before), Ok(after)) => (Some(diff::meaning(&before, &after, now.0)), None),
            (Err(error), _) | (_, Err(error)) => (None, Some(error.public().to_owned())),
        };
        Compared { documents, meaning, problem, ..Compared::default() }
    };
    compute(true, work).await
}
