//! Emergencies over time: what a participant does is written down and told at once, an end is kept even if nobody ends
//! it, and what is owed afterwards is looked for.

use futures::future::BoxFuture;
use keyreeve_model::emergency::{Emergency, EmergencyState, Item, MFA_MAX_SECONDS, Use};
use keyreeve_model::ids::EmergencyId;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, KeyId, Name, NoticeKind, RecordId, State, UnixMillis, filed};
use keyreeve_store::Page;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::{HeldToken, Stale};
use crate::catalogue::Descriptor;
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, KeyRef};
use crate::ops::emergencies::{End, facts};
use crate::ops::tokens::revoked_row;
use crate::pipeline::Principal;
use crate::sealing::{Effect, Opened};

/// Tokens read at a time.
const PAGE: u32 = 1000;

/// What the use of an emergency adds to the operation that it allows.
#[derive(Default)]
pub(crate) struct Used {
    /// In the same transaction.
    pub(crate) changes: Vec<Change>,
    /// For the same audit record.
    pub(crate) details: BTreeMap<String, String>,
    /// Once both are durable.
    pub(crate) effects: Vec<Effect>,
}

impl Core {
    /// The emergency that covers what somebody wants to do with a key.
    ///
    /// # Errors
    /// [`Code::MfaNeeded`] when one does and the second factor was not shown in the last 15 minutes.
    pub(crate) fn covering(
        &self,
        opened: &Opened,
        who: &Principal,
        action: &Descriptor,
        key: &HeldKey,
        now: UnixMillis,
    ) -> Result<Option<EmergencyId>, Error> {
        let (id, keyring) = (key.record.id(), key.keyring.record.id);
        let access = opened.access();
        let since = self.opened_since();
        let Some(found) = access.cases().covering((&who.name, action.name), (id, keyring), (since, now)) else {
            return Ok(None);
        };
        let fresh = who.mfa().and_then(|mfa| mfa.age_seconds(now)).is_some_and(|age| age <= MFA_MAX_SECONDS);
        if !fresh {
            let text = "acting in an emergency takes a second factor shown in the last 15 minutes: `keyreeve mfa \
                        verify`, then try again";
            return Err(Error::new(Code::MfaNeeded, text));
        }
        Ok(Some(found))
    }

    /// Writes down that a participant does something, the first time of each kind, and tells everybody.
    pub(crate) async fn used_in_emergency(
        &self,
        opened: &Opened,
        emergency: EmergencyId,
        (who, action, key): (&Name, &Descriptor, &HeldKey),
        (record, now): (RecordId, UnixMillis),
    ) -> Result<Used, Error> {
        let details = BTreeMap::from([("emergency".to_owned(), emergency.to_string())]);
        let (known, revision) = self.emergency(opened, emergency).await?;
        let use_ = Use { key: key.record.id(), operation: action.name.to_owned(), by: who.clone(), at: now, record };
        let told = facts(&known).with("user", who).with("operation", action.name).with("key", key.record.id());
        let Some(next) = known.used(use_, key.keyring.record.id)? else {
            return Ok(Used { details, ..Used::default() });
        };
        let mut changes = vec![filed::file(&opened.keys, revision.next(), &next)];
        let subject = format!("{who} did {} in an emergency", action.name);
        let telling = Telling::new(NoticeKind::EmergencyUsed, subject, told);
        changes.extend(self.notice(opened, &telling, Some(record), now)?);
        Ok(Used { changes, details, effects: vec![Effect::Reload(Stale::cases()), Effect::DeliverNow] })
    }

    /// Revokes every token of these principals.
    pub(crate) async fn revoking(
        &self,
        opened: &Opened,
        whose: &BTreeSet<&Name>,
        now: UnixMillis,
    ) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for held in self.tokens_of(opened, whose).await? {
            if held.record.is_valid(now) {
                changes.push(Change::PutToken(revoked_row(&opened.keys, &held, now)));
            }
        }
        Ok(changes)
    }

    async fn tokens_of(&self, opened: &Opened, whose: &BTreeSet<&Name>) -> Result<Vec<HeldToken>, Error> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = self.ports.store.tokens(Page { after, limit: PAGE }).await?;
            for row in rows.iter().filter(|row| whose.contains(&row.principal)) {
                found.push(HeldToken::open(&opened.keys, row)?);
            }
            after = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.id);
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// The emergency with what was renewed since it ended; none where nothing was.
    pub(crate) async fn settled(
        &self,
        opened: &Opened,
        emergency: &Emergency,
        now: UnixMillis,
    ) -> Result<Option<Emergency>, Error> {
        let (EmergencyState::UnderReview, Some(ended)) = (emergency.state(), emergency.ended()) else {
            return Ok(None);
        };
        let since = ended.at;
        let owed: Vec<Item> = emergency.owed().cloned().collect();
        let people = owed.iter().filter_map(|item| match item {
            Item::Credentials(name) => Some(name),
            Item::Key(_) => None,
        });
        let people: BTreeSet<&Name> = people.collect();
        let tokens = if people.is_empty() { Vec::new() } else { self.tokens_of(opened, &people).await? };
        let mut next = None;
        for item in &owed {
            let how = match item {
                Item::Key(key) => self.key_renewed(*key, since, now).await?,
                Item::Credentials(name) => credentials_renewed(opened, name, &tokens, since),
            };
            if let Some(how) = how {
                next = Some(next.as_ref().unwrap_or(emergency).settle(item, how, now)?);
            }
        }
        Ok(next)
    }

    /// How a key was renewed since, if it was.
    async fn key_renewed(&self, key: KeyId, since: UnixMillis, now: UnixMillis) -> Result<Option<Label>, Error> {
        let Some(held) = self.find_key(&KeyRef::Id(key)).await? else { return Ok(None) };
        let record = &held.record;
        let fresh = record.versions().iter().rev().find(|version| since < version.created());
        let how = match (fresh, record.state(now)) {
            (Some(version), _) => format!("version {}", version.version()),
            (None, State::Compromised | State::Destroyed | State::DestroyedCompromised) => {
                record.state(now).to_string()
            }
            (None, _) if record.destruction().is_some() => "its destruction is scheduled".to_owned(),
            (None, _) => return Ok(None),
        };
        Ok(how.parse().ok())
    }
}

/// How somebody's credentials were renewed since, if they were. The old tokens were revoked when it ended.
fn credentials_renewed(opened: &Opened, name: &Name, tokens: &[HeldToken], since: UnixMillis) -> Option<Label> {
    let fresh = |held: &&HeldToken| held.record.principal == *name && since < held.record.created;
    let how = match opened.access().principal(name) {
        None => "the principal is gone".to_owned(),
        Some(held) if held.record.disabled => "the principal is disabled".to_owned(),
        Some(_) => format!("token {}", tokens.iter().find(fresh)?.record.id),
    };
    how.parse().ok()
}

impl Engine {
    /// Ends emergencies whose time is over or that were in force when the server was sealed, writes down what was
    /// renewed, and reminds of reviews.
    pub(crate) async fn look_after_emergencies(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (emergency, _) in core.filed_all::<Emergency>(&opened, Some(EmergencyState::Active.name())).await? {
            let over = emergency.until() <= Some(now) || emergency.activated() < Some(core.opened_since());
            if over {
                self.end_emergency(emergency.id()).await?;
            }
        }
        let under_review = Some(EmergencyState::UnderReview.name());
        for (emergency, revision) in core.filed_all::<Emergency>(&opened, under_review).await? {
            self.look_after(&opened, (emergency, revision), now).await?;
        }
        Ok(())
    }

    /// Ends one, as the server itself. Boxed, because it goes through the pipeline from inside of it.
    fn end_emergency(&self, emergency: EmergencyId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let ended = self.call_as_server(&format!("end-of-{emergency}"), End { emergency }).await;
            ended.map(|_| ()).map_err(|refused| refused.error)
        })
    }

    async fn look_after(
        &self,
        opened: &Arc<Opened>,
        (emergency, revision): (Emergency, Revision),
        now: UnixMillis,
    ) -> Result<(), Error> {
        let core = &*self.core;
        let settled = core.settled(opened, &emergency, now).await?;
        let reminded = settled.as_ref().unwrap_or(&emergency).remind(now);
        let mut changes = Vec::new();
        if reminded.is_some() {
            let owed = settled.as_ref().unwrap_or(&emergency).owed().count();
            let told = facts(&emergency).with("owed", owed);
            let subject = "the review of an emergency is overdue";
            let telling = Telling::new(NoticeKind::EmergencyReviewOverdue, subject, told);
            changes.extend(core.notice(opened, &telling, None, now)?);
        }
        let Some(next) = reminded.or(settled) else { return Ok(()) };
        changes.push(filed::file(&opened.keys, revision.next(), &next));
        let sealer = Some(Arc::clone(&opened.keys));
        core.commit(Durable { name: "emergency-looked-after", changes, entry: None, sealer }).await?;
        self.reload_access(Stale::cases()).await
    }
}
