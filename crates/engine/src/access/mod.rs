//! Who is known and what is allowed: a snapshot in memory. It has parts; a change has the part that it is about read
//! anew, so that one more principal does not compile every policy again.

use keyreeve_model::record::RecordSealer;
use keyreeve_model::{Name, UnixMillis};
use keyreeve_store::{Page, Store};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::integrity::{Noted, Quarantined, Source};

mod cases;
mod directory;
mod grants;
mod logins;
mod policies;
mod rulebook;
mod shadow;
mod tokens;

pub(crate) use cases::{Cases, Marks};
pub(crate) use directory::{Directory, HeldPrincipal, attrs_revision, principal_attrs, wanted_attrs};
pub(crate) use grants::{Asked, GrantBook, Granting};
pub(crate) use logins::{CREDENTIAL, HeldMethod, LoginMethods, NO_METHODS};
pub(crate) use policies::{Compiler, Policies};
pub(crate) use rulebook::{HeldRules, shipped_rules};
pub(crate) use shadow::{Compared, HeldDraft};
pub use shadow::{ShadowCounts, ShadowGroup, Would};
pub(crate) use tokens::HeldToken;

/// Rows read at a time.
const PAGE: u32 = 1000;

/// All that decisions about access are made from, at one moment.
#[derive(Clone)]
pub(crate) struct AccessSnapshot {
    directory: Arc<Directory>,
    policies: Policies,
    /// A draft of them on trial.
    draft: Option<Arc<HeldDraft>>,
    logins: Arc<LoginMethods>,
    cases: Arc<Cases>,
    rules: Arc<HeldRules>,
    grants: Arc<GrantBook>,
    quarantined: Arc<Quarantined>,
}

/// From where it is read.
pub(crate) type Origin<'a> = (&'a dyn Store, &'a dyn RecordSealer, &'a Noted);

impl AccessSnapshot {
    /// Reads and checks all of it. What is damaged is left out, each sort in the way that gives nobody more than they
    /// had.
    pub(crate) async fn load(
        (store, sealer, noted): Origin<'_>,
        compiler: &Compiler,
        now: UnixMillis,
    ) -> Result<Self, Error> {
        let quarantined = Arc::new(Quarantined::load(store, sealer).await?);
        let source = Source { store, sealer, quarantined: &quarantined, noted };
        let directory = Arc::new(Directory::load(source).await?);
        let logins = Arc::new(LoginMethods::load(source).await?);
        let cases = Arc::new(Cases::load(source).await?);
        let rules = HeldRules::load(source, compiler).await?;
        let grants = Arc::new(GrantBook::load(source, now).await?);
        let policies = Policies::load(source, compiler).await?;
        let draft = HeldDraft::load(store, sealer, compiler, now).await?;
        Ok(Self { directory, logins, policies, draft, cases, rules, grants, quarantined })
    }

    /// The same with what is stale read anew.
    pub(crate) async fn refreshed(
        &self,
        stale: &Stale,
        (store, sealer, noted): Origin<'_>,
        compiler: &Compiler,
        now: UnixMillis,
    ) -> Result<Self, Error> {
        if stale.everything {
            let mut next = Self::load((store, sealer, noted), compiler, now).await?;
            next.draft = next.draft.map(|draft| draft.continuing(self.draft.as_ref()));
            return Ok(next);
        }
        let mut next = self.clone();
        let source = Source { store, sealer, quarantined: &self.quarantined, noted };
        if stale.policies {
            next.policies = Policies::load(source, compiler).await?;
        }
        if stale.draft {
            next.draft = HeldDraft::load(store, sealer, compiler, now).await?;
        }
        if stale.rules {
            next.rules = HeldRules::load(source, compiler).await?;
        }
        if stale.cases {
            next.cases = Arc::new(Cases::load(source).await?);
        }
        if stale.logins {
            next.logins = Arc::new(LoginMethods::load(source).await?);
        }
        if !stale.principals.is_empty() {
            let (directory, stands) = self.directory.reading(&stale.principals, source).await?;
            next.directory = Arc::new(directory);
            if !stands {
                next.policies = next.policies.forgetting();
                next.draft = next.draft.map(|draft| draft.forgetting(compiler.decisions_kept));
            }
        }
        if !stale.grants.is_empty() {
            next.grants = Arc::new(self.grants.reading(&stale.grants, source, now).await?);
        }
        Ok(next)
    }

    /// What is damaged, and kept from use.
    pub(crate) fn quarantined(&self) -> &Quarantined {
        &self.quarantined
    }

    /// What is out of the ordinary.
    pub(crate) fn cases(&self) -> &Cases {
        &self.cases
    }

    /// Rights for a time.
    pub(crate) fn grants(&self) -> &GrantBook {
        &self.grants
    }

    /// Who must agree to what.
    pub(crate) fn rules(&self) -> Arc<HeldRules> {
        Arc::clone(&self.rules)
    }

    /// How one can log in.
    pub(crate) fn logins(&self) -> &LoginMethods {
        &self.logins
    }

    /// What is allowed.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// A draft of the policies on trial.
    pub(crate) fn draft(&self) -> Option<&Arc<HeldDraft>> {
        self.draft.as_ref()
    }
}

/// Who is known is asked for so often that the snapshot answers for its directory.
impl Deref for AccessSnapshot {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

/// What of the snapshot has to be read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    everything: bool,
    policies: bool,
    draft: bool,
    logins: bool,
    rules: bool,
    cases: bool,
    principals: BTreeSet<Name>,
    grants: BTreeSet<Name>,
}

impl Stale {
    /// All of it: it is not known what changed.
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// The policies.
    pub(crate) fn policies() -> Self {
        Self { policies: true, ..Self::default() }
    }

    /// The draft of the policies on trial.
    pub(crate) fn draft() -> Self {
        Self { draft: true, ..Self::default() }
    }

    /// The rules of approval.
    pub(crate) fn rules() -> Self {
        Self { rules: true, ..Self::default() }
    }

    /// Holds, incidents, emergencies.
    pub(crate) fn cases() -> Self {
        Self { cases: true, ..Self::default() }
    }

    /// The login methods.
    pub(crate) fn logins() -> Self {
        Self { logins: true, ..Self::default() }
    }

    /// One principal.
    pub(crate) fn principal(name: Name) -> Self {
        Self { principals: BTreeSet::from([name]), ..Self::default() }
    }

    /// One principal's grants.
    pub(crate) fn grants(principal: Name) -> Self {
        Self { grants: BTreeSet::from([principal]), ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.everything |= other.everything;
        self.policies |= other.policies;
        self.draft |= other.draft;
        self.logins |= other.logins;
        self.rules |= other.rules;
        self.cases |= other.cases;
        self.principals.extend(other.principals);
        self.grants.extend(other.grants);
    }
}

/// How often something changed that decisions are made from, and as of which change it was read: nothing is decided
/// while the latter is behind.
#[derive(Default)]
pub(crate) struct Freshness {
    changes: AtomicU64,
    read: AtomicU64,
    stale: Mutex<Stale>,
}

/// What is to be read, and as of which change it will then be known.
pub(crate) struct Reading {
    pub(crate) stale: Stale,
    changes: u64,
}

impl Freshness {
    /// Something changed.
    pub(crate) fn changed(&self, what: Stale) {
        let mut stale = self.stale.lock();
        stale.add(what);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether something changed that was not read since.
    pub(crate) fn is_behind(&self) -> bool {
        self.read.load(Ordering::Acquire) < self.changes.load(Ordering::Acquire)
    }

    /// What is to be read. Whoever gives up half-way leaves all as it is.
    pub(crate) fn begin(&self) -> Reading {
        let stale = self.stale.lock();
        Reading { stale: stale.clone(), changes: self.changes.load(Ordering::Acquire) }
    }

    /// It was read. What changed meanwhile is read by the next round, with what this one read.
    pub(crate) fn done(&self, reading: &Reading) {
        let mut stale = self.stale.lock();
        if self.changes.load(Ordering::Acquire) == reading.changes {
            *stale = Stale::default();
        }
        self.read.fetch_max(reading.changes, Ordering::AcqRel);
    }
}

/// Reads every page of a table that is addressed by name.
pub(crate) async fn all_named<'a, F, Fut>(read: F) -> Result<Vec<keyreeve_model::change::NamedRow>, Error>
where
    F: Fn(Page<Name>) -> Fut,
    Fut: Future<Output = Result<Vec<keyreeve_model::change::NamedRow>, keyreeve_store::StoreError>> + 'a,
{
    let mut all: Vec<keyreeve_model::change::NamedRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.name.clone());
        let rows = read(Page { after, limit: PAGE }).await?;
        let last = rows.len() < PAGE as usize;
        all.extend(rows);
        if last {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_changes_while_something_is_read_is_read_by_the_next_round() {
        let freshness = Freshness::default();
        assert!(!freshness.is_behind());
        freshness.changed(Stale::principal(name("alice")));
        let first = freshness.begin();
        freshness.changed(Stale::policies());
        freshness.done(&first);
        assert!(freshness.is_behind());
        let second = freshness.begin();
        assert!(second.stale.policies);
        freshness.done(&second);
        assert!(!freshness.is_behind());
        assert_eq!(freshness.begin().stale, Stale::default());
    }

    #[test]
    fn a_reading_that_was_given_up_leaves_all_to_be_read() {
        let freshness = Freshness::default();
        freshness.changed(Stale::principal(name("alice")));
        drop(freshness.begin());
        assert!(freshness.is_behind());
        assert_eq!(freshness.begin().stale, Stale::principal(name("alice")));
    }
}
