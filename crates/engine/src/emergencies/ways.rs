//! The ways in which participants of an emergency come in: all of them end with it, and whoever comes in afterwards
//! does so by a new one.

use keyreeve_model::access::CertificateRule;
use keyreeve_model::emergency::{Ended, Entrance, Revoked};
use keyreeve_model::filed::file;
use keyreeve_model::login::ServiceCredential;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, PrincipalRecord, UnixMillis};
use keyreeve_store::StoreError;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::{HeldPrincipal, HeldToken, Stale, attrs_revision};
use crate::catalogue;
use crate::core::Core;
use crate::error::Error;
use crate::ops::principals::principal_row;
use crate::ops::tokens::revoked_row;
use crate::sealing::{Effect, Opened};

/// In which ways some principals come in, ended ones too.
pub(crate) struct Ways {
    principals: Vec<Arc<HeldPrincipal>>,
    tokens: Vec<HeldToken>,
    credentials: Vec<(ServiceCredential, Revision)>,
}

/// What ends with an emergency.
#[derive(Default)]
pub(crate) struct Taken {
    /// In the transaction of its end.
    pub(crate) changes: Vec<Change>,
    /// What it is.
    pub(crate) revoked: Vec<Revoked>,
    /// Once that is durable.
    pub(crate) effects: Vec<Effect>,
}

impl Taken {
    /// How much of one kind.
    pub(crate) fn count(&self, what: Entrance) -> usize {
        self.revoked.iter().filter(|revoked| revoked.what == what).count()
    }
}

fn certificate(rule: &CertificateRule, of: &Name) -> Revoked {
    Revoked { what: Entrance::Certificate, id: rule.to_string(), of: of.clone() }
}

fn credential(record: &ServiceCredential) -> Revoked {
    Revoked { what: Entrance::Credential, id: record.id.to_string(), of: record.principal.clone() }
}

fn token(held: &HeldToken) -> Revoked {
    let login = held.record.session.as_ref().is_some_and(|session| !session.is_issued());
    let what = if login { Entrance::Session } else { Entrance::Token };
    Revoked { what, id: held.record.id.to_string(), of: held.record.principal.clone() }
}

impl Core {
    /// The ways in which these principals come in.
    pub(crate) async fn ways_of(&self, opened: &Opened, whose: &BTreeSet<&Name>) -> Result<Ways, Error> {
        let access = opened.access();
        let principals = whose.iter().filter_map(|name| access.principal(name)).collect();
        let mut credentials = Vec::new();
        for name in whose {
            credentials.extend(self.filed_all::<ServiceCredential>(opened, Some(name.as_str())).await?);
        }
        let tokens = if whose.is_empty() { Vec::new() } else { self.tokens_of(opened, whose).await? };
        Ok(Ways { principals, tokens, credentials })
    }

    /// Ends every way in which these principals come in: tokens, those of logins too, service credentials, and the
    /// certificates that their records name.
    pub(crate) async fn revoking(
        &self,
        opened: &Opened,
        whose: &BTreeSet<&Name>,
        now: UnixMillis,
    ) -> Result<Taken, Error> {
        let (ways, mut taken) = (self.ways_of(opened, whose).await?, Taken::default());
        for held in ways.tokens.iter().filter(|held| held.record.is_valid(now)) {
            taken.changes.push(Change::PutToken(revoked_row(&*opened.keys, held, now)));
            taken.revoked.push(token(held));
        }
        for (record, revision) in ways.credentials.iter().filter(|(record, _)| record.is_valid(now)) {
            let ended = ServiceCredential { revoked: Some(now), ..record.clone() };
            taken.changes.push(file(&*opened.keys, revision.next(), &ended));
            taken.revoked.push(credential(record));
        }
        for held in ways.principals.iter().filter(|held| !held.record.certificates.is_empty()) {
            self.take_certificates(opened, held, &mut taken).await?;
        }
        Ok(taken)
    }

    /// Takes all certificates out of a principal's record.
    async fn take_certificates(&self, opened: &Opened, held: &HeldPrincipal, taken: &mut Taken) -> Result<(), Error> {
        let name = &held.record.name;
        let stored = self.ports.store.principal(name).await?.map(|row| row.record.revision);
        let Some(revision) = stored.filter(|stored| attrs_revision(*stored) == held.attrs.revision) else {
            // Somebody altered it just now: seen anew, and tried again.
            self.access_is_old();
            return Err(StoreError::Conflict { transaction: catalogue::EMERGENCY_END.name }.into());
        };
        let record = PrincipalRecord { certificates: BTreeSet::new(), ..held.record.clone() };
        taken.changes.push(Change::PutPrincipal(principal_row(&*opened.keys, &record, revision.next())));
        taken.revoked.extend(held.record.certificates.iter().map(|rule| certificate(rule, name)));
        taken.effects.push(Effect::Reload(Stale::principal(name.clone())));
        Ok(())
    }
}

impl Ways {
    /// How somebody's credentials were renewed since an emergency ended, if they were: there is a new one, and none of
    /// before.
    pub(crate) fn renewed(&self, name: &Name, ended: &Ended, now: UnixMillis) -> Option<Label> {
        let how = match self.principals.iter().find(|held| held.record.name == *name) {
            None => "the principal is gone".to_owned(),
            Some(held) if held.record.disabled => "the principal is disabled".to_owned(),
            Some(_) if self.old(name, ended, now).is_some() => return None,
            Some(_) => {
                let mut fresh = self.tokens.iter().filter(|held| held.record.created > ended.at);
                let fresh = fresh.find(|held| held.record.principal == *name && held.record.is_valid(now))?;
                format!("token {}", fresh.record.id)
            }
        };
        how.parse().ok()
    }

    /// Something of before the end of an emergency by which somebody comes in still, or again.
    pub(crate) fn old(&self, name: &Name, ended: &Ended, now: UnixMillis) -> Option<Revoked> {
        let held = self.principals.iter().find(|held| held.record.name == *name && !held.record.disabled)?;
        let before = |created: UnixMillis| created <= ended.at;
        let tokens = self.tokens.iter().filter(|held| held.record.principal == *name && held.record.is_valid(now));
        let tokens = tokens.filter(|held| before(held.record.created)).map(token);
        let credentials = self.credentials.iter().map(|(record, _)| record);
        let credentials = credentials.filter(|record| record.principal == *name && record.is_valid(now));
        let credentials = credentials.filter(|record| before(record.created)).map(credential);
        // By name there may be a new certificate. One that is named by its digest is the same one.
        let pinned = held.record.certificates.iter().filter(|rule| matches!(rule, CertificateRule::Fingerprint(_)));
        let again = pinned.map(|rule| certificate(rule, name)).filter(|rule| ended.revoked.contains(rule));
        tokens.chain(credentials).chain(again).next()
    }
}
