//! Who is known and what is allowed: one snapshot in memory, replaced as a whole when a principal or policy changes.

use keyreeve_model::access::CertificateRule;
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, Table, open};
use keyreeve_model::{Name, PolicyRecord, PrincipalKind, PrincipalRecord, TokenRecord};
use keyreeve_policy::{
    DecisionCache, Network, PolicySet, PrincipalAttrs, PrincipalKind as AttrsKind, Revision as AttrsRevision,
};
use keyreeve_store::{Page, Store};
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::pipeline::PeerCertificate;

/// Decisions remembered (count); roughly 500 bytes each.
pub(crate) const DECISIONS_KEPT: usize = 16 * 1024;
/// Rows read at a time.
const PAGE: u32 = 1000;

/// A principal whose row was checked.
pub(crate) struct HeldPrincipal {
    pub(crate) record: PrincipalRecord,
    pub(crate) attrs: Arc<PrincipalAttrs>,
}

/// A token whose row was checked.
pub(crate) struct HeldToken {
    pub(crate) record: TokenRecord,
    pub(crate) revision: Revision,
    pub(crate) secret_sha256: [u8; 32],
}

impl HeldToken {
    pub(crate) fn open(sealer: &dyn RecordSealer, row: &keyreeve_model::change::TokenRow) -> Result<Self, BadRecord> {
        let bad = || BadRecord::Tampered { table: Table::Tokens.name() };
        let record: TokenRecord = open(sealer, Table::Tokens, row.id.as_bytes(), &row.record)?;
        if record.id != row.id || record.principal != row.principal {
            return Err(bad());
        }
        let mut secret_sha256 = [0; 32];
        hex::decode_to_slice(&record.secret_sha256, &mut secret_sha256).map_err(|_| bad())?;
        Ok(Self { record, revision: row.record.revision, secret_sha256 })
    }
}

/// A policy whose row was checked.
pub(crate) struct HeldPolicy {
    pub(crate) record: PolicyRecord,
}

/// All principals and policies at one moment.
pub(crate) struct AccessSnapshot {
    principals: HashMap<Name, Arc<HeldPrincipal>>,
    by_certificate: HashMap<CertificateRule, Name>,
    pub(crate) stored_policies: HashMap<Name, Arc<HeldPolicy>>,
    pub(crate) policies: DecisionCache,
}

impl AccessSnapshot {
    /// Reads and checks every principal and policy. A stored policy that does not compile refuses everything: better
    /// closed than open by accident.
    pub(crate) async fn load(store: &dyn Store, sealer: &dyn RecordSealer, compiler: &Compiler) -> Result<Self, Error> {
        let mut principals = HashMap::new();
        let mut by_certificate = HashMap::new();
        for row in all_named(|page| store.principals(page)).await? {
            let record: PrincipalRecord = open(sealer, Table::Principals, row.name.as_str().as_bytes(), &row.record)?;
            if record.name != row.name {
                return Err(BadRecord::Tampered { table: Table::Principals.name() }.into());
            }
            for rule in &record.certificates {
                by_certificate.insert(rule.clone(), record.name.clone());
            }
            let attrs = Arc::new(principal_attrs(&record, row.record.revision)?);
            let held = HeldPrincipal { attrs, record };
            principals.insert(row.name, Arc::new(held));
        }
        let mut stored_policies = HashMap::new();
        for row in all_named(|page| store.policies(page)).await? {
            let record: PolicyRecord = open(sealer, Table::Policies, row.name.as_str().as_bytes(), &row.record)?;
            if record.name != row.name {
                return Err(BadRecord::Tampered { table: Table::Policies.name() }.into());
            }
            stored_policies.insert(row.name, Arc::new(HeldPolicy { record }));
        }
        let texts = stored_policies.values().map(|held| (held.record.name.to_string(), held.record.text.clone()));
        let set = compiler.compile(texts)?;
        let policies = DecisionCache::new(Arc::new(set), DECISIONS_KEPT);
        Ok(Self { principals, by_certificate, stored_policies, policies })
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

/// Reads every page of a table that is addressed by name.
async fn all_named<'a, F, Fut>(read: F) -> Result<Vec<keyreeve_model::change::NamedRow>, Error>
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

/// A revision as policies know it; 0 where nothing is stored.
pub(crate) fn attrs_revision(revision: Revision) -> AttrsRevision {
    AttrsRevision::At(revision.0.unsigned_abs())
}

pub(crate) fn principal_attrs(record: &PrincipalRecord, revision: Revision) -> Result<PrincipalAttrs, Error> {
    let networks: Result<Vec<Network>, _> = record.networks.iter().map(|text| text.parse()).collect();
    Ok(PrincipalAttrs {
        id: record.name.to_string(),
        revision: attrs_revision(revision),
        name: record.name.to_string(),
        kind: match record.kind {
            PrincipalKind::Person => AttrsKind::Person,
            PrincipalKind::Service => AttrsKind::Service,
        },
        roles: record.roles.iter().map(ToString::to_string).collect(),
        networks: networks.map_err(Error::internal)?,
        labels: record.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    })
}

/// Turns policy texts into a policy set: the shipped ones, those of the server's mode, and the deployment's own.
pub(crate) struct Compiler {
    schema: keyreeve_policy::Schema,
    built_in: Vec<(String, String)>,
}

impl Compiler {
    /// `extra` are policies of the server's mode, for instance the one that lets the developer do everything in `dev`.
    pub(crate) fn new(extra: &[(String, String)]) -> Result<Self, Error> {
        let schema = keyreeve_policy::Schema::generate(&crate::catalogue::actions()).map_err(Error::internal)?;
        let shipped =
            keyreeve_policy::shipped::documents().into_iter().map(|(name, text)| (name.to_string(), text.to_owned()));
        Ok(Self { schema, built_in: shipped.chain(extra.iter().cloned()).collect() })
    }

    pub(crate) fn built_in(&self) -> &[(String, String)] {
        &self.built_in
    }

    /// True when a name belongs to a shipped policy, which cannot be replaced through the interface.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.iter().any(|(shipped, _)| shipped == name)
    }

    pub(crate) fn compile(&self, own: impl IntoIterator<Item = (String, String)>) -> Result<PolicySet, Error> {
        let named = |(name, text): (String, String)| {
            let name = keyreeve_policy::PolicyName::new(&name).map_err(|error| Error::invalid(error.to_string()))?;
            Ok::<_, Error>((name, text))
        };
        let texts = self.built_in.iter().cloned().chain(own).map(named).collect::<Result<Vec<_>, _>>()?;
        PolicySet::compile(&self.schema, texts).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::new(Code::InvalidPolicy, lines.join("\n"))
        })
    }
}
