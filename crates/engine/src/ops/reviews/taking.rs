//! What a review takes away, and what it leaves to those who agree to it.

use keyreeve_model::filed::file;
use keyreeve_model::grant::GrantRecord;
use keyreeve_model::ids::GrantId;
use keyreeve_model::record::{SealedRecord, Table, open};
use keyreeve_model::review::{ReviewItem, Source};
use keyreeve_model::{Change, KeyId, Label, Name, PrincipalKind, PrincipalRecord, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::Decide;
use crate::access::{HeldPrincipal, Stale};
use crate::catalogue;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::KeyRef;
use crate::ops::SetPatch;
use crate::ops::keys::MetadataPatch;
use crate::ops::login_roles::methods_giving;
use crate::ops::principals::{PrincipalPatch, principal_row};
use crate::ops::usable::key_row;
use crate::pipeline::{Approved, Target};
use crate::sealing::{Effect, Opened};

/// The role without which nobody lets anybody in any more.
const OPERATOR: &str = "operator";

/// What becomes of a right that is to go.
pub(super) enum Taken {
    /// It was gone already.
    Gone,
    /// It goes with the answer.
    Now {
        /// By these.
        changes: Vec<Change>,
        /// Once they are durable.
        effects: Vec<Effect>,
        /// How the same right may still be had.
        remark: Option<String>,
    },
    /// It stays for now: why, and what takes it away.
    Left(String),
}

/// Who takes a right away, why and when.
pub(super) struct Taking<'a> {
    pub(super) core: &'a Core,
    pub(super) opened: &'a Opened,
    pub(super) approved: &'a Approved<Decide>,
    /// By whom, why and when.
    pub(super) about: (&'a Name, &'a Label, UnixMillis),
    /// When the campaign was opened: who came later is somebody else, of whatever name.
    pub(super) since: UnixMillis,
}

/// What is said where a review leaves it to others to take something away.
fn left_to(command: &str) -> Taken {
    Taken::Left(format!(
        "the verdict is written down and nothing is taken away yet: the rules of approval want the consent of others \
         to that, which `{command}` asks them for"
    ))
}

impl Taking<'_> {
    /// What takes the right of an item away.
    pub(super) async fn take(&self, item: &ReviewItem) -> Result<Taken, Error> {
        match &item.source {
            Source::Role { role } => self.role(&item.who, role).await,
            Source::Grant { grant, .. } => self.grant(*grant).await,
            Source::Consumer { key, .. } => self.consumer(*key, &item.who).await,
        }
    }

    async fn role(&self, who: &Label, role: &Name) -> Result<Taken, Error> {
        let name: Name = who.as_str().parse().map_err(Error::internal)?;
        let Some(row) = self.core.ports.store.principal(&name).await? else { return Ok(Taken::Gone) };
        let mut record = self.opened_record(&name, &row.record)?;
        if record.created > self.since || !record.roles.remove(role) {
            return Ok(Taken::Gone);
        }
        let roles = SetPatch::Alter { add: BTreeSet::new(), remove: [role.clone()].into() };
        let patch = PrincipalPatch { roles, ..PrincipalPatch::default() };
        let (was, shall_be) = (Target::Principal(&name), Target::AlteredPrincipal(&name, &patch));
        if self.core.others_agree_to(self.approved, &catalogue::PRINCIPAL_PUT, (was, Some(shall_be))).await? {
            return Ok(left_to(&format!("keyreeve principal update {name} --remove-role {role}")));
        }
        let lost = self.core.rules_without(self.opened, &name, Some(&record)).await?.warnings();
        if !lost.is_empty() {
            let why = "the verdict is written down and nothing is taken away yet: give somebody else the role first";
            return Ok(Taken::Left(format!("{why} ({})", lost.join("; "))));
        }
        let mut changes =
            vec![Change::PutPrincipal(principal_row(&self.opened.keys, &record, row.record.revision.next()))];
        let mut effects = vec![Effect::Reload(Stale::principal(name.clone()))];
        if role.as_str() == OPERATOR && !record.disabled {
            let (change, other) = self.remaining_operator(&name).await?;
            changes.push(change);
            effects.push(Effect::Reload(Stale::principal(other)));
        }
        let methods = methods_giving(&self.opened.access(), &name, role);
        let remark = (!methods.is_empty()).then(|| {
            let methods = methods.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            format!(
                "`{name}` may still get `{role}` by a login: the methods {methods} give it (`keyreeve login-method`)"
            )
        });
        Ok(Taken::Now { changes, effects, remark })
    }

    fn opened_record(&self, name: &Name, row: &SealedRecord) -> Result<PrincipalRecord, Error> {
        Ok(open(&self.opened.keys, Table::Principals, name.as_str().as_bytes(), row)?)
    }

    /// The last operator who is let in stays one: nobody could make another. The row of one who remains is written as
    /// it is: two reviews that take the role from two people at the same time do not both find the other one.
    async fn remaining_operator(&self, name: &Name) -> Result<(Change, Name), Error> {
        let access = self.opened.access();
        let operates = |record: &PrincipalRecord| {
            record.kind == PrincipalKind::Person
                && !record.disabled
                && record.roles.iter().any(|role| role.as_str() == OPERATOR)
        };
        let other = |held: &&Arc<HeldPrincipal>| held.record.name != *name && operates(&held.record);
        let mut others: Vec<Name> = access.principals().filter(other).map(|held| held.record.name.clone()).collect();
        others.sort_unstable();
        for other in others {
            // As it is stored: what is held may be older.
            let Some(row) = self.core.ports.store.principal(&other).await? else { continue };
            let record = self.opened_record(&other, &row.record)?;
            if operates(&record) {
                let row = principal_row(&self.opened.keys, &record, row.record.revision.next());
                return Ok((Change::PutPrincipal(row), other));
            }
        }
        let text = format!("`{name}` is the last operator: make another one before this role is revoked");
        Err(Error::new(Code::WrongState, text))
    }

    async fn grant(&self, id: GrantId) -> Result<Taken, Error> {
        let found = self.core.filed::<GrantRecord>(self.opened, id).await?;
        let (by, reason, now) = self.about;
        let revoked = found.and_then(|(record, revision)| Some((record.revoke(by, reason, now)?, revision)));
        let Some((revoked, revision)) = revoked else { return Ok(Taken::Gone) };
        if self.core.others_agree_to(self.approved, &catalogue::GRANT_REVOKE, (Target::Grant(id), None)).await? {
            return Ok(left_to(&format!("keyreeve grant revoke {id}")));
        }
        let effects = vec![Effect::Reload(Stale::grants(revoked.principal.clone()))];
        Ok(Taken::Now { changes: vec![file(&self.opened.keys, revision.next(), &revoked)], effects, remark: None })
    }

    async fn consumer(&self, id: KeyId, consumer: &Label) -> Result<Taken, Error> {
        let (key, (.., now)) = (KeyRef::Id(id), self.about);
        let Some(held) = self.core.find_key(&key).await? else { return Ok(Taken::Gone) };
        let mut record = held.record.clone();
        if record.state(now).is_destroyed() || !record.metadata.consumers.remove(consumer) {
            return Ok(Taken::Gone);
        }
        let consumers = SetPatch::Alter { add: BTreeSet::new(), remove: [consumer.clone()].into() };
        let patch = MetadataPatch { consumers, ..MetadataPatch::default() };
        let (was, shall_be) = (Target::Key(&key), Target::AlteredKey(&key, &patch));
        if self.core.others_agree_to(self.approved, &catalogue::KEY_UPDATE, (was, Some(shall_be))).await? {
            return Ok(left_to(&format!("keyreeve key update {id} --remove-consumer {consumer}")));
        }
        let row = key_row(self.opened, &record, held.revision.next(), now);
        Ok(Taken::Now { changes: vec![Change::PutKey(row)], effects: Vec::new(), remark: None })
    }
}
