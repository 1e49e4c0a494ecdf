//! What an operation is: one type in the catalogue.

use keyreeve_audit::Resource as AuditResource;
use keyreeve_model::approval::Shown;
use keyreeve_model::{Change, EncryptionContext, Facts, Label, NoticeKind};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::approve::Approved;
use super::authorize::Permit;
use super::resource::Target;
use crate::catalogue::Descriptor;
use crate::core::Core;
use crate::courier::Telling;
use crate::error::Error;
use crate::sealing::{Effect, SystemKeys};

/// One operation of the catalogue.
///
/// `execute` may run several times for one call (when it loses a race for a row), and the call may fail after it. So it
/// computes: what it wants changed it returns as [`Change`]s, what shall happen in memory afterwards as effects. What
/// it does besides must be safe to repeat and to leave half-way. That holds for what is done so today: epoch keys
/// made in the vault that nothing needs yet (creating, rotating and destroying keys), the neighbours of a key that goes
/// wrapped anew step by step, and the root of trust made or opened (`Outcome::opening_root` has it closed again).
pub trait Operation: Send + Sync + Sized + 'static {
    /// Its row.
    const DESCRIPTOR: &'static Descriptor;
    /// True where a credential that proves nothing does not end the operation: its caller is nobody then.
    const OF_STRANGERS: bool = false;
    /// True where its success proves who the caller is: a login.
    const PROVES: bool = false;
    /// What it answers.
    type Reply: Remember + Send;

    /// What it acts on.
    fn target(&self) -> Target<'_>;

    /// A second action on a second target that must be allowed as well.
    fn also(&self) -> Option<Also<'_>> {
        None
    }

    /// The encryption context, which policies may test and the audit log records.
    fn context(&self) -> Option<&EncryptionContext> {
        None
    }

    /// How many items it carries: 1, or the size of a batch.
    fn items(&self) -> usize {
        1
    }

    /// The request in the form in which it can wait for the approval of others: everything it asks for, closed, without
    /// any secret. None for what cannot wait.
    fn form(&self) -> Option<serde_json::Value> {
        None
    }

    /// True where it only tells what would be, and so waits for nobody.
    fn is_trial(&self) -> bool {
        false
    }

    /// Why it is asked for, for those who are to agree.
    fn reason(&self) -> Option<&Label> {
        None
    }

    /// Whether it gives anybody more than they had: some rules of approval ask for consent only then.
    fn widens(&self, _permit: &Permit<Self>, _core: &Core) -> Result<bool, Error> {
        Ok(true)
    }

    /// The revision of what it replaces as a whole: consent to the fifth version is none to replacing the sixth.
    fn replaces(&self, _core: &Core) -> impl Future<Output = Result<Option<i64>, Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// What those who are to agree are shown besides its form and what it acts on: names of what the form has by id,
    /// and how something as a whole would differ.
    fn shows(&self, _core: &Core) -> impl Future<Output = Result<Vec<Shown>, Error>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Whether it would change anything once others agreed, or why it would be refused then: nobody is asked about what
    /// would come to nothing. What is computed for it is thrown away, as `execute` allows; an operation that looks at
    /// who consented, or whose work is worth nothing before, answers in another way.
    fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> impl Future<Output = Result<bool, Error>> + Send {
        async { self.execute(approved, core).await.map(|outcome| outcome.alters()) }
    }

    /// Does it, or says why not.
    fn execute(
        &self,
        approved: &Approved<Self>,
        core: &Core,
    ) -> impl Future<Output = Result<Outcome<Self::Reply>, Error>> + Send;
}

/// A second action that must be allowed before an operation runs.
pub struct Also<'a> {
    /// The action.
    pub action: &'static Descriptor,
    /// On what.
    pub target: Target<'a>,
    /// With which encryption context.
    pub context: Option<&'a EncryptionContext>,
}

/// What an operation leads to.
pub struct Outcome<R> {
    /// The answer, released only after everything below is durable.
    pub(crate) reply: R,
    /// What is to be stored.
    pub(crate) changes: Vec<Change>,
    /// Facts for the audit record.
    pub(crate) details: BTreeMap<String, String>,
    /// What the audit record says it acted on, where the operation knows better than its target.
    pub(crate) resource: Option<AuditResource>,
    /// The key version that was used.
    pub(crate) version: Option<u32>,
    /// What people are told of, with the changes and because of them.
    pub(crate) notices: Vec<Telling>,
    /// What happens in memory once the changes are durable.
    pub(crate) effects: Vec<Effect>,
    /// The deployment's keys where the operation makes the deployment.
    pub(crate) sealer: Option<Arc<SystemKeys>>,
    /// The operation has opened the root of trust: when it fails after all, the root is closed again.
    pub(crate) opened_root: bool,
    /// The operation was to refuse: it is recorded with this stable code, although it was done.
    pub(crate) refused: Option<&'static str>,
}

impl<R> Outcome<R> {
    pub(crate) fn reply(reply: R) -> Self {
        Self {
            reply,
            changes: Vec::new(),
            details: BTreeMap::new(),
            resource: None,
            version: None,
            notices: Vec::new(),
            effects: Vec::new(),
            sealer: None,
            opened_root: false,
            refused: None,
        }
    }

    /// Whether anything is different afterwards.
    pub(crate) fn alters(&self) -> bool {
        !self.changes.is_empty() || !self.effects.is_empty()
    }

    pub(crate) fn changing(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    pub(crate) fn detail(mut self, name: &str, value: impl ToString) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }

    /// A count, where it is not zero.
    pub(crate) fn detail_if(self, name: &str, count: usize) -> Self {
        if count > 0 { self.detail(name, count) } else { self }
    }

    pub(crate) fn on(mut self, resource: AuditResource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// On a case that it made.
    pub(crate) fn on_case(self, id: impl ToString) -> Self {
        self.on(AuditResource { kind: "case".to_owned(), id: id.to_string(), version: None, keyring: None })
    }

    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// Notes how many items of a batch failed.
    pub(crate) fn failures<T>(mut self, items: impl FnOnce(&R) -> &crate::ops::Each<T>) -> Self {
        let failed: Vec<_> = items(&self.reply).iter().filter_map(|item| item.as_ref().err()).collect();
        if let Some(first) = failed.first() {
            let code = first.code().name().to_owned();
            self.details.insert("failed_items".to_owned(), failed.len().to_string());
            self.details.insert("first_failure".to_owned(), code);
        }
        self
    }

    pub(crate) fn opening_root(mut self) -> Self {
        self.opened_root = true;
        self
    }

    pub(crate) fn refusing(mut self, code: &'static str) -> Self {
        self.refused = Some(code);
        self
    }

    pub(crate) fn sealed_by(mut self, keys: Arc<SystemKeys>) -> Self {
        self.sealer = Some(keys);
        self
    }

    /// Tells people, in the transaction of the changes. An operation that changes nothing tells nobody.
    pub(crate) fn telling(mut self, kind: NoticeKind, subject: impl Into<String>, facts: Facts) -> Self {
        self.notices.push(Telling::new(kind, subject, facts));
        self
    }

    /// The same with another reply.
    pub(crate) fn with_reply<T>(self, reply: T) -> Outcome<T> {
        let Self { changes, details, resource, version, notices, effects, sealer, opened_root, refused, .. } = self;
        Outcome { reply, changes, details, resource, version, notices, effects, sealer, opened_root, refused }
    }

    pub(crate) fn then(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }
}

/// Replies that may be repeated when a request is retried under the same idempotency key. Replies that hold secrets are
/// never stored: their retry is refused with the code `already-done`.
pub trait Remember: Sized {
    /// The reply in storage form, or none when it must not be stored.
    fn remember(&self) -> Option<Vec<u8>> {
        None
    }

    /// The reply back from its storage form.
    fn recall(_stored: &[u8]) -> Option<Self> {
        None
    }
}

impl Remember for () {
    fn remember(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn recall(_stored: &[u8]) -> Option<Self> {
        Some(())
    }
}
