//! Who is known: the principals.

use keyreeve_model::access::CertificateRule;
use keyreeve_model::change::NamedRow;
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, Table, open};
use keyreeve_model::{Name, PrincipalKind, PrincipalRecord};
use keyreeve_policy::{Network, PrincipalAttrs, PrincipalKind as AttrsKind, Revision as AttrsRevision};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::all_named;
use crate::error::Error;
use crate::integrity::Source;
use crate::pipeline::PeerCertificate;

/// A principal whose row was checked.
pub(crate) struct HeldPrincipal {
    pub(crate) record: PrincipalRecord,
    pub(crate) attrs: Arc<PrincipalAttrs>,
}

impl HeldPrincipal {
    fn open(sealer: &dyn RecordSealer, row: &NamedRow) -> Result<Self, BadRecord> {
        let record: PrincipalRecord = open(sealer, Table::Principals, row.name.as_str().as_bytes(), &row.record)?;
        if record.name != row.name {
            return Err(BadRecord::Tampered { table: Table::Principals.name() });
        }
        let unreadable = |_| BadRecord::Unreadable { table: Table::Principals.name() };
        let attrs = principal_attrs(&record, row.record.revision).map_err(unreadable)?;
        Ok(Self { attrs: Arc::new(attrs), record })
    }

    /// Whether decisions remembered about `self` can be taken for decisions about `next`: a name that was given anew
    /// counts its revisions from the start.
    fn precedes(&self, next: &Self) -> bool {
        match (self.attrs.revision, next.attrs.revision) {
            (AttrsRevision::At(old), AttrsRevision::At(new)) => old < new || self.record == next.record,
            _ => false,
        }
    }
}

/// All principals at one moment.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    principals: HashMap<Name, Arc<HeldPrincipal>>,
    by_certificate: HashMap<CertificateRule, Name>,
}

impl Directory {
    /// Reads and checks every principal. One that is damaged is nobody: it comes in by nothing, has no role, and its
    /// consent does not count. Its row is still there, so nobody else can be called so.
    pub(super) async fn load(source: Source<'_>) -> Result<Self, Error> {
        let mut directory = Self::default();
        for row in all_named(|page| source.store.principals(page)).await? {
            if let Some(held) = sound(source, &row)? {
                directory.insert(held);
            }
        }
        Ok(directory)
    }

    /// Reads these principals anew, and whether decisions that were remembered still stand under their keys.
    pub(super) async fn reading(&self, names: &BTreeSet<Name>, source: Source<'_>) -> Result<(Self, bool), Error> {
        let (mut directory, mut stands) = (self.clone(), true);
        for name in names {
            let row = source.store.principal(name).await?;
            if row.as_ref().is_some_and(|row| row.name != *name) {
                return Err(BadRecord::Tampered { table: Table::Principals.name() }.into());
            }
            let next = row.map(|row| sound(source, &row)).transpose()?.flatten();
            let known = directory.remove(name);
            stands &= match (&known, &next) {
                (None, _) => true,
                (Some(known), Some(next)) => known.precedes(next),
                (Some(_), None) => false,
            };
            if let Some(next) = next {
                directory.insert(next);
            }
        }
        Ok((directory, stands))
    }

    fn insert(&mut self, held: HeldPrincipal) {
        for rule in &held.record.certificates {
            self.by_certificate.insert(rule.clone(), held.record.name.clone());
        }
        self.principals.insert(held.record.name.clone(), Arc::new(held));
    }

    fn remove(&mut self, name: &Name) -> Option<Arc<HeldPrincipal>> {
        let held = self.principals.remove(name)?;
        for rule in &held.record.certificates {
            if self.by_certificate.get(rule) == Some(name) {
                self.by_certificate.remove(rule);
            }
        }
        Some(held)
    }

    pub(crate) fn principal(&self, name: &Name) -> Option<Arc<HeldPrincipal>> {
        self.principals.get(name).cloned()
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &Arc<HeldPrincipal>> {
        self.principals.values()
    }

    /// The principal a verified client certificate stands for: by fingerprint first, then by URI, then by DNS name.
    pub(crate) fn certified(&self, peer: &PeerCertificate) -> Option<Arc<HeldPrincipal>> {
        let fingerprint = std::iter::once(CertificateRule::Fingerprint(hex::encode(peer.fingerprint)));
        let uris = peer.uris.iter().cloned().map(CertificateRule::Uri);
        let names = peer.dns_names.iter().cloned().map(CertificateRule::DnsName);
        let name = fingerprint.chain(uris).chain(names).find_map(|rule| self.by_certificate.get(&rule))?;
        self.principal(name)
    }

    /// The principal that already claims a certificate rule.
    pub(crate) fn claimant(&self, rule: &CertificateRule) -> Option<&Name> {
        self.by_certificate.get(rule)
    }
}

fn sound(source: Source<'_>, row: &NamedRow) -> Result<Option<HeldPrincipal>, BadRecord> {
    let place = (Table::Principals, row.name.as_str().as_bytes());
    source.sound(place, HeldPrincipal::open(source.sealer, row))
}

/// A revision as policies know it; 0 where nothing is stored.
pub(crate) fn attrs_revision(revision: Revision) -> AttrsRevision {
    AttrsRevision::At(revision.0.unsigned_abs())
}

pub(crate) fn principal_attrs(record: &PrincipalRecord, revision: Revision) -> Result<PrincipalAttrs, Error> {
    let networks: Result<Vec<Network>, _> = record.networks.iter().map(|text| text.parse()).collect();
    Ok(attrs_with(record, attrs_revision(revision), networks.map_err(Error::internal)?))
}

/// The same of one that is to be: not stored, and perhaps with networks that its operation will refuse.
pub(crate) fn wanted_attrs(record: &PrincipalRecord) -> PrincipalAttrs {
    let networks = record.networks.iter().filter_map(|text| text.parse().ok()).collect();
    attrs_with(record, PrincipalAttrs::anonymous().revision, networks)
}

fn attrs_with(record: &PrincipalRecord, revision: AttrsRevision, networks: Vec<Network>) -> PrincipalAttrs {
    PrincipalAttrs {
        id: record.name.to_string(),
        revision,
        name: record.name.to_string(),
        kind: match record.kind {
            PrincipalKind::Person => AttrsKind::Person,
            PrincipalKind::Service => AttrsKind::Service,
        },
        roles: record.roles.iter().map(ToString::to_string).collect(),
        networks,
        labels: record.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}
