//! The door: runs an operation through the stages and releases its reply.

use keyreeve_audit::{Class, Outcome as AuditOutcome};
use keyreeve_model::{RecordId, UnixMillis};
use keyreeve_policy::Method;
use keyreeve_store::StoreError;

use std::sync::Arc;

use super::approve::{Approved, Consent, Consequences, approve};
use super::arrival::{Arrival, Done, Evidence, Proof, Refused, Waiting};
use super::authenticate::{Principal, authenticate};
use super::authorize::authorize;
use super::operation::{Operation, Outcome, Remember};
use super::record::{Draft, outcome_of};
use super::resource::resolve;
use crate::catalogue::{self, AuditClass, Needs};
use crate::commit::{Durable, Replay, Ticket};
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::{Aftermath, Code, Error};
use crate::sealing::{Effect, Opened};

/// How often an operation that lost a race for a row is computed again.
const ATTEMPTS: usize = 16;

/// How an attempt ended that did not fail.
enum Attempted<R> {
    /// Done.
    Done(Done<R>),
    /// It waits for others, and that is recorded.
    Waiting(Refused),
}

/// Who calls: somebody outside, or the server itself.
enum Caller {
    Outside,
    Server,
}

impl Core {
    /// Refuses when the server's own secret is under a root of trust that was not heard from within its bound: who
    /// takes that away ends everything here, not only the keys under it. Sealing goes further still.
    fn own_secret_is_good<O: Operation>(&self, opened: &Opened) -> Result<(), Error> {
        let roots = &self.ports.roots;
        if roots.all_good() || *O::DESCRIPTOR == catalogue::SYSTEM_SEAL {
            return Ok(());
        }
        roots.still_good(&opened.rooted().system_secret)
    }
}

impl Engine {
    /// Runs an operation: the only way in for every protocol.
    ///
    /// # Errors
    /// [`Refused`] with the reason. Nothing was changed, except where the code says that a part did not answer.
    pub async fn call<O: Operation>(&self, arrival: Arrival, operation: O) -> Result<Done<O::Reply>, Refused> {
        self.run(Caller::Outside, arrival, operation).await
    }

    /// Runs an operation as the server itself, for scheduled work.
    pub(crate) async fn call_as_server<O: Operation>(
        &self,
        request: &str,
        operation: O,
    ) -> Result<Done<O::Reply>, Refused> {
        let arrival = Arrival {
            evidence: Evidence::None,
            source: None,
            request: request.to_owned(),
            idempotency: None,
            proof: Proof::default(),
        };
        self.run(Caller::Server, arrival, operation).await
    }

    async fn run<O: Operation>(
        &self,
        caller: Caller,
        arrival: Arrival,
        operation: O,
    ) -> Result<Done<O::Reply>, Refused> {
        let started = self.core.ports.clock.elapsed();
        let result = self.stages(&caller, &arrival, &operation).await;
        let took = self.core.ports.clock.elapsed().saturating_sub(started);
        let code = result.as_ref().err().map(|refused| refused.error.code());
        self.core.ports.observer.observed(O::DESCRIPTOR, code, operation.items(), took);
        if let Err(Refused { error, .. }) = &result
            && let Some(cause) = error.cause()
        {
            tracing::warn!(operation = O::DESCRIPTOR.name, request = arrival.request, %error, cause, "not done");
        }
        result
    }

    async fn stages<O: Operation>(
        &self,
        caller: &Caller,
        arrival: &Arrival,
        operation: &O,
    ) -> Result<Done<O::Reply>, Refused> {
        let unrecorded = |error| Refused { error, record: None, waiting: None };
        let now = self.core.now().map_err(unrecorded)?;
        let random = self.core.id_random().map_err(unrecorded)?;
        let mut draft = Draft::new(RecordId::new(now, random), operation, arrival, now);
        let result = self.attempts(caller, arrival, operation, now, &mut draft).await;
        if let Some(shadow) = draft.take_shadow() {
            let record = result.as_ref().map_or_else(|refused| refused.record, |done| done.record);
            shadow.count(O::DESCRIPTOR, &draft.record.actor.principal, now, record);
        }
        result
    }

    /// Attempts until one ends without having lost a race for a row, or too many have.
    async fn attempts<O: Operation>(
        &self,
        caller: &Caller,
        arrival: &Arrival,
        operation: &O,
        now: UnixMillis,
        draft: &mut Draft,
    ) -> Result<Done<O::Reply>, Refused> {
        let unrecorded = |error| Refused { error, record: None, waiting: None };
        for attempt in 1.. {
            let error = match self.attempt(caller, arrival, operation, now, draft).await {
                Ok(Attempted::Done(done)) => {
                    if O::PROVES {
                        arrival.proof.accept();
                    }
                    return Ok(done);
                }
                Ok(Attempted::Waiting(refused)) => return Err(refused),
                Err(error) => error,
            };
            if !error.is_retryable() || attempt == ATTEMPTS {
                match self.refuse::<O>(now, draft, error).await {
                    Ok(refused) => return Err(refused),
                    // What the refusal leads to lost the race for a row.
                    Err(conflict) if attempt == ATTEMPTS => return Err(unrecorded(conflict)),
                    Err(_) => {}
                }
            }
        }
        Err(unrecorded(Error::internal("the attempts ran out")))
    }

    /// All stages, once.
    async fn attempt<O: Operation>(
        &self,
        caller: &Caller,
        arrival: &Arrival,
        operation: &O,
        now: UnixMillis,
        draft: &mut Draft,
    ) -> Result<Attempted<O::Reply>, Error> {
        let core = &*self.core;
        if O::DESCRIPTOR.needs == Needs::Open {
            // Before anything is decided, who is asking included.
            self.ensure_fresh_access().await?;
        }
        // One view of what is open for all stages: sealing in their midst must not make them decide by less.
        let opened = core.opened();
        let principal = match caller {
            Caller::Outside => {
                let details = &mut draft.record.details;
                match authenticate(core, opened.as_deref(), arrival, now, details).await {
                    Err(error) if O::OF_STRANGERS && error.code() == Code::Unauthenticated => Principal::anonymous(),
                    known => known?,
                }
            }
            Caller::Server => Principal::system(),
        };
        draft.record.actor = principal.actor();
        match principal.method {
            Method::Token | Method::MutualTls | Method::System => arrival.proof.accept(),
            Method::Anonymous => {}
        }
        if O::DESCRIPTOR.needs == Needs::Open {
            match opened.as_deref() {
                Some(opened) => {
                    core.own_secret_is_good::<O>(opened)?;
                    core.refuse_while_held(O::DESCRIPTOR)?;
                }
                None => drop(core.need_open()?),
            }
        }
        let resource = resolve(core, operation.target(), now).await?;
        draft.record.resource = Some(resource.audit().clone());
        let second = match operation.also() {
            Some(also) => Some(resolve(core, also.target, now).await?),
            None => None,
        };
        draft.circumstances(&principal, now);
        // All strangers have one name: the key of one must not answer, or refuse, another.
        let ticket = (!O::OF_STRANGERS).then(|| Ticket::of(arrival, &principal, O::DESCRIPTOR)).flatten();
        let who = (principal, arrival.source, now);
        let permit = authorize(core, opened.as_deref(), operation, who, (resource, second), draft)?;
        draft.granted(&permit.grants);
        // Before others are asked: what was done needs no approval to be answered again.
        if let Some(replay) = core.remembered(ticket.as_ref(), now).await? {
            return self.repeat::<O>(&replay, draft).await.map(Attempted::Done);
        }
        match approve(core, opened.as_deref(), permit, operation, draft.record.id).await? {
            Consent::Approved(approved) => self.perform(ticket, operation, approved, draft).await.map(Attempted::Done),
            Consent::Waiting(waiting, consequences) => {
                self.park::<O>(waiting, consequences, draft).await.map(Attempted::Waiting)
            }
        }
    }

    /// Answers as before to a request that was done before.
    async fn repeat<O: Operation>(&self, replay: &Replay, draft: &mut Draft) -> Result<Done<O::Reply>, Error> {
        draft.record.details.insert("repeated".to_owned(), "true".to_owned());
        let reply = replayed::<O>(replay)?;
        // The first answer may have been lost on the way to the log.
        self.core.mend_if_dirty().await?;
        self.release::<O>(draft, Outcome::reply(reply)).await
    }

    /// Makes durable that a request waits.
    async fn park<O: Operation>(
        &self,
        waiting: Box<Waiting>,
        consequences: Consequences,
        draft: &mut Draft,
    ) -> Result<Refused, Error> {
        let Consequences { changes, mut details, effects, .. } = consequences;
        draft.record.details.append(&mut details);
        draft.record.details.insert("approval".to_owned(), waiting.approval.to_string());
        draft.record.details.insert("digest".to_owned(), hex::encode(waiting.digest));
        let id = waiting.approval;
        let overtaken = waiting.replaces.map_or_else(String::new, |old| {
            let seats = waiting.missing.join(", ");
            format!(
                "what {old} was about has changed since people were asked, and it was withdrawn: it takes {seats} now; "
            )
        });
        let text = format!(
            "{overtaken}others have to agree first: this waits as {id} until {}; `keyreeve approval show {id}` tells \
             for whom",
            waiting.expires
        );
        let error = Error::new(Code::ApprovalNeeded, text);
        let entry = draft.finish(outcome_of(&error));
        let id = entry.as_ref().map(|entry| *entry.id());
        let sealer = self.core.opened().map(|opened| Arc::clone(&opened.keys));
        self.settle_for_good(Durable { name: O::DESCRIPTOR.name, changes, entry, sealer }, effects).await?;
        Ok(Refused { error, record: id, waiting: Some(waiting) })
    }

    /// Executes, makes durable, releases.
    async fn perform<O: Operation>(
        &self,
        ticket: Option<Ticket>,
        operation: &O,
        mut approved: Approved<O>,
        draft: &mut Draft,
    ) -> Result<Done<O::Reply>, Error> {
        let core = &*self.core;
        let now = approved.now();
        let consent = std::mem::take(&mut approved.consent);
        let mut outcome = operation.execute(&approved, core).await?;
        if approved.is_idle() && outcome.alters() {
            // It would have changed nothing a moment ago, and nobody consented to what it would change now.
            return Err(StoreError::Conflict { transaction: O::DESCRIPTOR.name }.into());
        }
        outcome.changes.extend(consent.changes);
        outcome.details.extend(consent.details);
        outcome.effects.extend(consent.effects);
        if O::DESCRIPTOR.needs == Needs::Open {
            // Sealed meanwhile: what was computed is not released.
            core.need_open()?;
        }
        if let (Some(ticket), Some(opened), false) = (ticket, core.opened(), outcome.changes.is_empty()) {
            outcome.changes.push(ticket.remember(&opened.keys, outcome.reply.remember(), now));
        }
        let opened_root = outcome.opened_root;
        let released = self.release::<O>(draft, outcome).await;
        if released.is_err() && opened_root && core.opened().is_none() {
            // Not recorded or not completed: the root must not stay open behind a server that says it is sealed.
            core.ports.roots.seal().await;
        }
        released
    }

    async fn release<O: Operation>(
        &self,
        draft: &mut Draft,
        mut outcome: Outcome<O::Reply>,
    ) -> Result<Done<O::Reply>, Error> {
        let record = &mut draft.record;
        record.details.append(&mut outcome.details);
        let refused = outcome.refused.map(|code| AuditOutcome::Refused { code: code.to_owned() });
        let how = refused.unwrap_or(AuditOutcome::Ok);
        if let Some(resource) = outcome.resource.take() {
            record.resource = Some(resource);
        }
        if let (Some(version), Some(resource)) = (outcome.version, record.resource.as_mut()) {
            resource.version = Some(version);
        }
        let (now, cause) = (draft.record.time, draft.record.id);
        if let (Some(opened), false) = (self.core.opened(), outcome.changes.is_empty()) {
            let told = Telling::of(&draft.record);
            let of_kind = |kind| told.as_ref().is_some_and(|told| told.kind == kind);
            let twice = outcome.notices.iter().any(|notice| of_kind(notice.kind));
            debug_assert!(!twice, "{} would be told twice", O::DESCRIPTOR.name);
            for telling in outcome.notices.iter().chain(&told) {
                outcome.changes.extend(self.core.notice(&opened, telling, Some(cause), now)?);
            }
        }
        let entry = draft.finish(how);
        let id = entry.as_ref().map(|entry| *entry.id());
        let sealer = outcome.sealer.or_else(|| self.core.opened().map(|opened| Arc::clone(&opened.keys)));
        let durable = Durable { name: O::DESCRIPTOR.name, changes: outcome.changes, entry, sealer };
        self.settle_for_good(durable, outcome.effects).await?;
        self.note_use::<O>(draft);
        Ok(Done { reply: outcome.reply, record: id })
    }

    /// Notes which rights a call that was done has used.
    fn note_use<O: Operation>(&self, draft: &Draft) {
        let (record, uses) = (&draft.record, &self.core.uses);
        if record.outcome != AuditOutcome::Ok {
            return;
        }
        if let (AuditClass::Recorded(Class::Use), Some(resource)) = (O::DESCRIPTOR.audit, &record.resource)
            && resource.kind == "key"
        {
            uses.key(O::DESCRIPTOR, &record.actor.principal, &resource.id, record.time);
        }
        for grant in draft.grants() {
            uses.grant(&record.actor.principal, grant, record.time);
        }
    }

    /// Makes changes and record durable and carries out what follows. A caller that goes away does not stop this
    /// half-way: what changes something runs to its end on a task of its own.
    async fn settle_for_good(&self, durable: Durable, effects: Vec<Effect>) -> Result<(), Error> {
        if durable.changes.is_empty() && effects.is_empty() {
            return self.core.commit(durable).await;
        }
        let engine = self.clone();
        let settled = tokio::spawn(async move {
            engine.core.commit(durable).await?;
            engine.apply(effects).await
        });
        settled.await.map_err(Error::internal)?
    }

    /// Records a refusal. When even that fails, the caller hears that the audit log is unavailable, whatever else was
    /// wrong.
    ///
    /// # Errors
    /// What the refusal leads to conflicts with what was stored meanwhile: all is computed again.
    async fn refuse<O: Operation>(
        &self,
        now: UnixMillis,
        draft: &mut Draft,
        mut error: Error,
    ) -> Result<Refused, Error> {
        // A failed commit may have been applied with the record of its success: this record needs an id of its own.
        if let Ok(random) = self.core.id_random() {
            draft.record.id = RecordId::new(now, random);
        }
        let id = draft.record.id;
        let Aftermath { mut details, changes } = error.take_aftermath();
        draft.record.details.append(&mut details);
        let Some(entry) = draft.finish(outcome_of(&error)) else {
            return Ok(Refused { error, record: None, waiting: None });
        };
        let changing = !changes.is_empty();
        let sealer = self.core.opened().map(|opened| Arc::clone(&opened.keys));
        let durable = Durable { name: O::DESCRIPTOR.name, changes, entry: Some(entry), sealer };
        match self.settle_for_good(durable, Vec::new()).await {
            Ok(()) => Ok(Refused { error, record: Some(id), waiting: None }),
            Err(conflict) if changing && conflict.is_retryable() => Err(conflict),
            Err(unrecorded) => Ok(Refused { error: unrecorded, record: None, waiting: None }),
        }
    }
}

fn replayed<O: Operation>(replay: &Replay) -> Result<O::Reply, Error> {
    let text =
        "this request was done before under the same idempotency key; its answer held a secret and is not repeated";
    let refusal = || Error::new(Code::AlreadyDone, text);
    replay.reply.as_deref().and_then(O::Reply::recall).ok_or_else(refusal)
}
