//! Principals: people and programs that may be allowed to do things.

use keyreeve_model::access::CertificateRule;
use keyreeve_model::change::NamedRow;
use keyreeve_model::limits;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{RecordSealer, Revision, Table, seal};
use keyreeve_model::{Change, Name, PrincipalKind, PrincipalRecord};
use keyreeve_policy::{Network, PrincipalAttrs};
use std::collections::{BTreeMap, BTreeSet};

use super::{Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Also, Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Effect;

/// Names that mean something else than a stored principal.
const RESERVED: [&str; 3] = ["anonymous", "system", "unknown"];

/// A principal's record.
#[derive(Clone, Debug)]
pub struct PrincipalReply(pub PrincipalRecord);

impl Remember for PrincipalReply {
    fn remember(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&self.0).ok()
    }

    fn recall(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok().map(Self)
    }
}

pub(super) fn principal_row(keys: &dyn RecordSealer, record: &PrincipalRecord, revision: Revision) -> NamedRow {
    let row = record.name.as_str().as_bytes();
    NamedRow { name: record.name.clone(), record: seal(keys, Table::Principals, row, revision, record) }
}

/// Makes a principal, or replaces what is known of it.
#[derive(Debug)]
pub struct Put {
    /// Its name.
    pub name: Name,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to.
    pub roles: BTreeSet<Name>,
    /// Labels for policies.
    pub labels: BTreeMap<Name, Label>,
    /// Networks it may come from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// Certificates that prove it.
    pub certificates: BTreeSet<CertificateRule>,
    /// True when it may do nothing for now.
    pub disabled: bool,
    attrs: PrincipalAttrs,
}

/// What [`Put`] needs.
#[derive(Debug)]
pub struct PutSpec {
    /// Its name.
    pub name: Name,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to.
    pub roles: BTreeSet<Name>,
    /// Labels for policies.
    pub labels: BTreeMap<Name, Label>,
    /// Networks it may come from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// Certificates that prove it.
    pub certificates: BTreeSet<CertificateRule>,
    /// True when it may do nothing for now.
    pub disabled: bool,
}

impl Put {
    /// The last administrator who takes away the right to administer leaves a server that nobody can ever administer.
    fn refuse_to_lock_oneself_out(&self, known: &PrincipalRecord) -> Result<(), Error> {
        let narrower = self.networks != known.networks && !self.networks.is_empty();
        if self.disabled || narrower || !known.roles.is_subset(&self.roles) {
            let text = "nobody takes away their own roles or access: ask another administrator";
            return Err(Error::new(Code::WrongState, text));
        }
        Ok(())
    }

    /// The operation, with what policies may know of the principal as it shall be.
    #[must_use]
    pub fn new(spec: PutSpec) -> Self {
        let attrs = PrincipalAttrs {
            id: spec.name.to_string(),
            name: spec.name.to_string(),
            kind: match spec.kind {
                PrincipalKind::Person => keyreeve_policy::PrincipalKind::Person,
                PrincipalKind::Service => keyreeve_policy::PrincipalKind::Service,
            },
            roles: spec.roles.iter().map(ToString::to_string).collect(),
            labels: spec.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ..PrincipalAttrs::anonymous()
        };
        Self {
            name: spec.name,
            kind: spec.kind,
            roles: spec.roles,
            labels: spec.labels,
            networks: spec.networks,
            certificates: spec.certificates,
            disabled: spec.disabled,
            attrs,
        }
    }

    fn check(&self) -> Result<(), Error> {
        if RESERVED.contains(&self.name.as_str()) {
            return Err(Error::invalid(format!("`{}` is not a name for a principal: choose another", self.name)));
        }
        let counts = [
            ("roles", self.roles.len()),
            ("labels", self.labels.len()),
            ("networks", self.networks.len()),
            ("certificates", self.certificates.len()),
        ];
        if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count > limits::LIST_MAX) {
            return Err(Error::invalid(format!("too many {what}: at most {}", limits::LIST_MAX)));
        }
        if let Some(bad) = self.networks.iter().find(|network| network.parse::<Network>().is_err()) {
            return Err(Error::invalid(format!("`{bad}` is not a network: write it like 10.0.0.0/8 or 2001:db8::/32")));
        }
        match self.certificates.iter().find(|rule| !is_well_formed(rule)) {
            Some(_) => Err(Error::invalid(
                "a certificate is named by the SHA-256 of its DER in 64 hexadecimal digits, a DNS name or a URI",
            )),
            None => Ok(()),
        }
    }
}

fn is_well_formed(rule: &CertificateRule) -> bool {
    let text = |text: &str| (1..=limits::TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    match rule {
        CertificateRule::Fingerprint(hex) => {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        CertificateRule::DnsName(name) => text(name),
        CertificateRule::Uri(uri) => text(uri) && uri.contains(':'),
    }
}

impl Operation for Put {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_PUT;
    type Reply = PrincipalReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    fn also(&self) -> Option<Also<'_>> {
        // Allowed for the principal as it is and as it shall be: who may not touch operators may not make one either.
        Some(Also { action: &catalogue::PRINCIPAL_PUT, target: Target::NewPrincipal(&self.attrs), context: None })
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<PrincipalReply>, Error> {
        self.check()?;
        let opened = core.need_open()?;
        let access = opened.access();
        let taken = |rule: &&CertificateRule| access.claimant(rule).is_some_and(|owner| *owner != self.name);
        if self.certificates.iter().any(|rule| taken(&rule)) {
            return Err(Error::new(Code::AlreadyExists, "a certificate proves another principal already"));
        }
        let stored = core.ports.store.principal(&self.name).await?;
        let held = access.principal(&self.name);
        if let (Some(held), true) = (&held, approved.principal().name == self.name) {
            self.refuse_to_lock_oneself_out(&held.record)?;
        }
        let record = PrincipalRecord {
            name: self.name.clone(),
            kind: self.kind,
            roles: self.roles.clone(),
            labels: self.labels.clone(),
            networks: self.networks.clone(),
            certificates: self.certificates.clone(),
            disabled: self.disabled,
            created: held.map_or(approved.now(), |held| held.record.created),
        };
        let revision = stored.map_or(Revision::FIRST, |row| row.record.revision.next());
        let row = principal_row(&opened.keys, &record, revision);
        let roles: Vec<_> = self.roles.iter().map(Name::as_str).collect();
        Ok(Outcome::reply(PrincipalReply(record))
            .changing(Change::PutPrincipal(row))
            .then(Effect::ReloadAccess)
            .detail("grantee", &self.name)
            .detail("permissions", roles.join(" "))
            .detail("disabled", self.disabled))
    }
}

/// Shows a principal.
#[derive(Debug)]
pub struct Describe {
    /// Its name.
    pub name: Name,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_DESCRIBE;
    type Reply = PrincipalReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<PrincipalReply>, Error> {
        let opened = core.need_open()?;
        let held = opened.access().principal(&self.name).ok_or_else(|| Error::not_found("principal"))?;
        Ok(Outcome::reply(PrincipalReply(held.record.clone())))
    }
}

/// Removes a principal; its tokens prove nothing from then on.
#[derive(Debug)]
pub struct Delete {
    /// Its name.
    pub name: Name,
}

impl Operation for Delete {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_DELETE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        if approved.principal().name == self.name {
            return Err(Error::new(Code::WrongState, "nobody removes themselves: ask another administrator"));
        }
        let row = core.ports.store.principal(&self.name).await?.ok_or_else(|| Error::not_found("principal"))?;
        Ok(Outcome::reply(())
            .changing(Change::DeletePrincipal { name: self.name.clone(), revision: row.record.revision })
            .then(Effect::ReloadAccess)
            .detail("grantee", &self.name))
    }
}

/// Lists principals, by name.
#[derive(Debug)]
pub struct List {
    /// Only principals after this one.
    pub after: Option<Name>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_LIST;
    type Reply = Listing<PrincipalReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(
        &self,
        _approved: &Approved<Self>,
        core: &Core,
    ) -> Result<Outcome<Listing<PrincipalReply>>, Error> {
        let opened = core.need_open()?;
        let access = opened.access();
        let limit = self.limit.clamp(1, PAGE_MAX) as usize;
        let mut records: Vec<_> = access.principals().map(|held| &held.record).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        let later = records.into_iter().filter(|record| self.after.as_ref().is_none_or(|after| record.name > *after));
        let mut items: Vec<_> = later.take(limit + 1).cloned().map(PrincipalReply).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.0.name.to_string());
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}
