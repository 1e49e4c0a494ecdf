//! Emergencies over time: what a participant does is written down and told at once, an end is kept even if nobody ends
//! it, and what is owed afterwards is looked for.

mod ways;

use futures::future::BoxFuture;
use keyreeve_model::emergency::{Emergency, EmergencyState, Item, MFA_MAX_SECONDS, Use};
use keyreeve_model::ids::EmergencyId;
use keyreeve_model::metadata::Label;
use keyreeve_model::{Change, KeyId, Name, NoticeKind, RecordId, State, UnixMillis, filed};
use std::collections::{BTreeMap, BTreeSet};

use crate::access::Stale;
use crate::catalogue::Descriptor;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, KeyRef};
use crate::ops::emergencies::{End, LookAfter, facts};
use crate::pipeline::{Operation, Principal};
use crate::sealing::{Effect, Opened};

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
        // Nor does one of before the principal was made: its participant was somebody else of that name.
        let made = access.principal(&who.name).map_or(now, |held| held.record.created);
        let since = self.opened_since().max(made);
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
        let people: BTreeSet<&Name> = owed.iter().filter_map(Item::whose).collect();
        let ways = self.ways_of(opened, &people).await?;
        let mut next = None;
        for item in &owed {
            let how = match item {
                Item::Key(key) => self.key_renewed(*key, since, now).await?,
                Item::Credentials(name) => ways.renewed(name, ended, now),
            };
            if let Some(how) = how {
                next = Some(next.as_ref().unwrap_or(emergency).settle(item, how, now)?);
            }
        }
        Ok(next)
    }

    /// What keeps the review of an emergency from being signed, in words: what was not renewed, and by what of before
    /// its end somebody comes in still, or again.
    pub(crate) async fn unrotated(
        &self,
        opened: &Opened,
        emergency: &Emergency,
        now: UnixMillis,
    ) -> Result<Vec<String>, Error> {
        let Some(ended) = emergency.ended() else { return Ok(Vec::new()) };
        let people: BTreeSet<&Name> = emergency.items().iter().filter_map(|owed| owed.item.whose()).collect();
        let ways = self.ways_of(opened, &people).await?;
        let mut as_before = BTreeSet::new();
        for key in emergency.items().iter().filter_map(|owed| owed.item.key()) {
            // Looked at anew: a destruction that was scheduled may have been taken back since.
            if self.key_renewed(key, ended.at, now).await?.is_none() {
                as_before.insert(key);
            }
        }
        let left = emergency.items().iter().filter_map(|owed| match &owed.item {
            Item::Key(key) => as_before.contains(key).then(|| format!("rotate {key}")),
            Item::Credentials(name) => match ways.old(name, ended, now) {
                Some(old) => Some(format!("end the {} {} of `{name}`", old.what.name(), old.id)),
                None => owed.done.is_none().then(|| format!("give `{name}` new credentials, or disable the principal")),
            },
        });
        Ok(left.collect())
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

impl Engine {
    /// Ends emergencies whose time is over or that were in force when the server was sealed, writes down what was
    /// renewed, and reminds of reviews.
    pub(crate) async fn look_after_emergencies(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (emergency, _) in core.filed_sound::<Emergency>(&opened, Some(EmergencyState::Active.name())).await? {
            let over = emergency.until() <= Some(now) || emergency.activated() < Some(core.opened_since());
            if over {
                let emergency = emergency.id();
                self.by_itself(format!("end-of-{emergency}"), End { emergency }).await?;
            }
        }
        let under_review = Some(EmergencyState::UnderReview.name());
        // What one of them is about may be in quarantine: the others are looked after all the same.
        let mut last = Ok(());
        for (emergency, _) in core.filed_sound::<Emergency>(&opened, under_review).await? {
            if let Err(error) = self.look_after(&opened, &emergency, now).await {
                last = Err(error);
            }
        }
        last
    }

    /// Does something as the server itself. Boxed, because it goes through the pipeline from inside of it.
    fn by_itself<O: Operation + 'static>(&self, request: String, operation: O) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let done = self.call_as_server(&request, operation).await;
            done.map(|_| ()).map_err(|refused| refused.error)
        })
    }

    /// Has what was renewed written down, and people reminded, where there is either.
    async fn look_after(&self, opened: &Opened, emergency: &Emergency, now: UnixMillis) -> Result<(), Error> {
        let settled = self.core.settled(opened, emergency, now).await?;
        if settled.is_none() && emergency.remind(now).is_none() {
            return Ok(());
        }
        let emergency = emergency.id();
        self.by_itself(format!("after-{emergency}"), LookAfter { emergency }).await
    }
}
