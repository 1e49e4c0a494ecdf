//! A draft of the policies on trial: asked after every decision, without a say in it. What it would have decided
//! otherwise is counted here, in memory, and noted in the audit record of the call.

use keyreeve_model::filed::{RowId, open_filed};
use keyreeve_model::policy_version::{PolicyDraft, PolicyText};
use keyreeve_model::record::{RecordSealer, Table};
use keyreeve_model::{RecordId, UnixMillis};
use keyreeve_policy::DecisionCache;
use keyreeve_store::Store;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::policies::Compiler;
use crate::error::Error;

/// Differences told one by one (count); what is beyond is counted only. Roughly 200 bytes each.
const GROUPS_MAX: usize = 1000;

/// What a draft would have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Would {
    /// Allow.
    Allow,
    /// Refuse.
    Deny,
    /// It could not be evaluated, and would have refused.
    Error,
}

impl Would {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Error];

    /// The word in audit records and on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        }
    }

    /// Whether this is another answer than the one that was given. Not to be able to answer always is.
    pub(crate) fn differs_from(self, allowed: bool) -> bool {
        match self {
            Self::Allow => !allowed,
            Self::Deny => allowed,
            Self::Error => true,
        }
    }
}

/// Calls that are alike and that a draft would have decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowGroup {
    /// Who asked.
    pub principal: String,
    /// For what.
    pub action: &'static str,
    /// What the policies that apply said.
    pub allowed: bool,
    /// What the draft says.
    pub would: Would,
    /// How many such calls there were.
    pub count: u64,
    /// When the last one was.
    pub last: UnixMillis,
    /// The audit record of the last one that has one.
    pub record: Option<RecordId>,
}

/// What was counted of a draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Calls that were put to the draft.
    pub asked: u64,
    /// Calls that it would have decided otherwise.
    pub differing: u64,
    /// These, in groups.
    pub groups: Vec<ShadowGroup>,
    /// Those of them that are in no group: there would be too many.
    pub ungrouped: u64,
}

/// A call that was put to a draft.
pub(crate) struct Compared<'a> {
    pub(crate) principal: &'a str,
    pub(crate) action: &'static str,
    pub(crate) allowed: bool,
    pub(crate) would: Would,
    pub(crate) at: UnixMillis,
    pub(crate) record: Option<RecordId>,
}

/// What makes calls alike.
type Alike = (String, &'static str, bool, Would);
/// How many, when the last was, and its audit record.
type Told = (u64, UnixMillis, Option<RecordId>);

#[derive(Default)]
struct Counts {
    asked: u64,
    differing: u64,
    ungrouped: u64,
    groups: BTreeMap<Alike, Told>,
}

/// The counts of one draft since it came into memory.
pub(crate) struct Tally {
    since: UnixMillis,
    counts: Mutex<Counts>,
}

impl Tally {
    fn new(since: UnixMillis) -> Arc<Self> {
        Arc::new(Self { since, counts: Mutex::default() })
    }

    /// Since when it counts.
    pub(crate) fn since(&self) -> UnixMillis {
        self.since
    }

    fn add(&self, call: &Compared<'_>) {
        let mut counts = self.counts.lock();
        counts.asked += 1;
        if !call.would.differs_from(call.allowed) {
            return;
        }
        counts.differing += 1;
        let full = counts.groups.len() >= GROUPS_MAX;
        match counts.groups.entry((call.principal.to_owned(), call.action, call.allowed, call.would)) {
            Entry::Occupied(mut known) => {
                let (count, last, record) = known.get_mut();
                *count += 1;
                *last = (*last).max(call.at);
                *record = call.record.or(*record);
            }
            Entry::Vacant(vacant) if !full => {
                vacant.insert((1, call.at, call.record));
            }
            Entry::Vacant(_) => counts.ungrouped += 1,
        }
    }

    /// What was counted, most frequent first.
    pub(crate) fn counts(&self) -> ShadowCounts {
        let counts = self.counts.lock();
        let group = |(alike, told): (&Alike, &Told)| {
            let ((principal, action, allowed, would), (count, last, record)) = (alike.clone(), *told);
            ShadowGroup { principal, action, allowed, would, count, last, record }
        };
        let mut groups: Vec<ShadowGroup> = counts.groups.iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        ShadowCounts { asked: counts.asked, differing: counts.differing, groups, ungrouped: counts.ungrouped }
    }
}

/// The draft on trial, compiled, with the decisions made by it.
pub(crate) struct HeldDraft {
    record: PolicyDraft,
    trial: Result<Arc<DecisionCache>, String>,
    tally: Arc<Tally>,
}

impl HeldDraft {
    /// Reads and compiles the draft, if there is one. Whatever is wrong with it, the server goes on without asking it.
    pub(super) async fn load(
        store: &dyn Store,
        sealer: &dyn RecordSealer,
        compiler: &Compiler,
        now: UnixMillis,
    ) -> Result<Option<Arc<Self>>, Error> {
        let Some(row) = store.filed(Table::Drafts, &PolicyDraft::row()).await? else { return Ok(None) };
        let record = match open_filed::<PolicyDraft>(sealer, &row) {
            Ok((record, _)) => record,
            Err(error) => {
                tracing::error!(%error, "the draft of the policies was altered outside Keyreeve: it is not asked");
                return Ok(None);
            }
        };
        let trial = match texts(store, sealer, &record).await? {
            Ok(texts) => match compiler.compile(texts) {
                Ok(set) => Ok(Arc::new(DecisionCache::new(Arc::new(set), compiler.decisions_kept))),
                Err(error) => Err(error.public().to_owned()),
            },
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &trial {
            tracing::error!(problem, "the draft of the policies cannot be asked");
        }
        Ok(Some(Arc::new(Self { record, trial, tally: Tally::new(now) })))
    }

    /// The same draft with no decision remembered.
    pub(super) fn forgetting(&self, kept: usize) -> Arc<Self> {
        let anew = |cache: &Arc<DecisionCache>| Arc::new(DecisionCache::new(cache.shared_policies(), kept));
        let trial = self.trial.as_ref().map(anew).map_err(Clone::clone);
        Arc::new(Self { record: self.record.clone(), trial, tally: Arc::clone(&self.tally) })
    }

    /// The same, counting on where it was held before.
    pub(super) fn continuing(self: Arc<Self>, before: Option<&Arc<Self>>) -> Arc<Self> {
        match before.filter(|before| before.record == self.record) {
            Some(before) => {
                let (record, trial) = (self.record.clone(), self.trial.clone());
                Arc::new(Self { record, trial, tally: Arc::clone(&before.tally) })
            }
            None => self,
        }
    }

    pub(crate) fn record(&self) -> &PolicyDraft {
        &self.record
    }

    /// What is asked; nothing where the draft does not compile any more.
    pub(crate) fn trial(&self) -> Option<&DecisionCache> {
        self.trial.as_ref().ok().map(|cache| &**cache)
    }

    /// Why it cannot be asked.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.trial.as_ref().err().map(String::as_str)
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts a call.
    pub(crate) fn count(&self, call: &Compared<'_>) {
        self.tally.add(call);
    }
}

/// The texts of a draft, or why they are not to be had.
async fn texts(
    store: &dyn Store,
    sealer: &dyn RecordSealer,
    draft: &PolicyDraft,
) -> Result<Result<Vec<(String, String)>, String>, Error> {
    let mut texts = Vec::with_capacity(draft.entries.len());
    for (name, digest) in &draft.entries {
        let row = store.filed(Table::PolicyTexts, &RowId::from(digest.0)).await?;
        match row.map(|row| open_filed::<PolicyText>(sealer, &row)) {
            Some(Ok((text, _))) => texts.push((name.to_string(), text.text)),
            Some(Err(_)) | None => {
                let problem = format!("the stored text of `{name}` was altered outside Keyreeve: start the trial anew");
                return Ok(Err(problem));
            }
        }
    }
    Ok(Ok(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(principal: &str, allowed: bool, would: Would) -> Compared<'_> {
        Compared { principal, action: "key.sign", allowed, would, at: UnixMillis(1), record: None }
    }

    #[test]
    fn what_cannot_be_evaluated_always_differs() {
        let differing: Vec<_> = Would::ALL
            .into_iter()
            .flat_map(|would| [true, false].map(|allowed| (would, allowed)))
            .filter(|(would, allowed)| would.differs_from(*allowed))
            .collect();
        let expected = [(Would::Allow, false), (Would::Deny, true), (Would::Error, true), (Would::Error, false)];
        assert_eq!(differing, expected);
    }

    #[test]
    fn alike_calls_are_one_group_and_the_last_is_told() {
        let tally = Tally::new(UnixMillis(0));
        let records = [1, 2].map(|n| RecordId::from_bytes([n; 16]));
        tally.add(&Compared { record: Some(records[0]), ..call("pat", true, Would::Deny) });
        tally.add(&Compared { record: Some(records[1]), at: UnixMillis(9), ..call("pat", true, Would::Deny) });
        tally.add(&Compared { record: None, ..call("pat", true, Would::Deny) });
        tally.add(&call("pat", true, Would::Allow));
        tally.add(&call("kim", false, Would::Allow));
        let counts = tally.counts();
        assert_eq!((counts.asked, counts.differing, counts.ungrouped), (5, 4, 0));
        let [most, other] = &counts.groups[..] else { panic!("{counts:?}") };
        assert_eq!(
            (most.principal.as_str(), most.count, most.last, most.record),
            ("pat", 3, UnixMillis(9), Some(records[1]))
        );
        assert_eq!((other.principal.as_str(), other.allowed, other.would), ("kim", false, Would::Allow));
    }

    #[test]
    fn groups_are_bounded_and_nothing_goes_uncounted() {
        let tally = Tally::new(UnixMillis(0));
        let names: Vec<String> = (0..GROUPS_MAX + 7).map(|n| format!("p{n}")).collect();
        for name in names.iter().chain(&names) {
            tally.add(&call(name, true, Would::Error));
        }
        let counts = tally.counts();
        assert_eq!((counts.groups.len(), counts.ungrouped), (GROUPS_MAX, 14));
        let grouped: u64 = counts.groups.iter().map(|group| group.count).sum();
        assert_eq!(grouped + counts.ungrouped, counts.differing);
    }
}
