//! Rights for a time: the grants, in memory.
//!
//! They are asked where policy is silent. Whether one is in force is worked out for each request from its record and
//! the instant, so none outlives its end by a single request.

use keyreeve_model::grant::{GrantRecord, Granted};
use keyreeve_model::ids::GrantId;
use keyreeve_model::record::BadRecord;
use keyreeve_model::{FiledRecord, Name, PrincipalKind, UnixMillis};
use keyreeve_policy::{ContextAttrs, Network, ResourceAttrs, ResourceDetails};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::error::Error;
use crate::integrity::Source;

/// A grant whose row was checked.
pub(crate) struct HeldGrant {
    pub(crate) record: GrantRecord,
    networks: Vec<Network>,
    /// The id of the key or keyring; empty of a role.
    on: String,
}

/// A request that policy neither allows nor forbids.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Who asks.
    pub(crate) principal: &'a Name,
    /// Person or program.
    pub(crate) kind: PrincipalKind,
    /// Since when there is a principal by that name: a grant of an earlier one gives it nothing.
    pub(crate) since: UnixMillis,
    /// What is asked for.
    pub(crate) action: &'a str,
    /// On what.
    pub(crate) resource: &'a ResourceAttrs,
    /// Under which circumstances.
    pub(crate) context: &'a ContextAttrs<'a>,
}

/// What grants say to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granting {
    /// Nothing.
    No,
    /// One would allow it to somebody whose second factor is fresh.
    NeedsMfa,
    /// This one allows it.
    Yes(GrantId),
}

/// All grants that are in force or will be, by whose they are.
#[derive(Clone, Default)]
pub(crate) struct GrantBook {
    by_principal: HashMap<Name, Vec<Arc<HeldGrant>>>,
}

impl HeldGrant {
    fn new(record: GrantRecord) -> Result<Self, BadRecord> {
        let networks: Result<Vec<Network>, _> = record.constraints.networks.iter().map(|text| text.parse()).collect();
        let on = record.what.on().unwrap_or_default();
        let unreadable = |_| BadRecord::Unreadable { table: GrantRecord::TABLE.name() };
        Ok(Self { networks: networks.map_err(unreadable)?, on, record })
    }

    fn is_good_from(&self, source: Option<IpAddr>) -> bool {
        self.networks.is_empty() || source.is_some_and(|ip| self.networks.iter().any(|network| network.contains(ip)))
    }

    fn gives(&self, action: &str, resource: &ResourceAttrs) -> bool {
        let ResourceDetails::Key(key) = &resource.details else { return false };
        let covered = match &self.record.what {
            Granted::Key { .. } => self.on == resource.id,
            Granted::Keyring { .. } => self.on == key.keyring_id,
            Granted::Role { .. } => false,
        };
        covered && self.record.what.operations().is_some_and(|all| all.contains(action))
    }
}

impl GrantBook {
    /// Reads and checks every grant, and keeps those that are not over. One that is damaged gives nothing.
    pub(super) async fn load(source: Source<'_>, now: UnixMillis) -> Result<Self, Error> {
        let mut book = Self::default();
        for held in read(source, None, now).await? {
            book.by_principal.entry(held.record.principal.clone()).or_default().push(held);
        }
        Ok(book)
    }

    /// Reads these principals' grants anew.
    pub(super) async fn reading(
        &self,
        names: &BTreeSet<Name>,
        source: Source<'_>,
        now: UnixMillis,
    ) -> Result<Self, Error> {
        let mut book = self.clone();
        for name in names {
            let grants = read(source, Some(name), now).await?;
            if grants.is_empty() {
                book.by_principal.remove(name);
            } else {
                book.by_principal.insert(name.clone(), grants);
            }
        }
        Ok(book)
    }

    /// A principal's grants; some may be over by now.
    pub(crate) fn of(&self, principal: &Name) -> &[Arc<HeldGrant>] {
        self.by_principal.get(principal).map_or(&[], Vec::as_slice)
    }

    /// What the grants say to a request.
    pub(crate) fn ask(&self, asked: &Asked<'_>, now: UnixMillis) -> Granting {
        let context = asked.context;
        let mut granting = Granting::No;
        for held in self.of(asked.principal) {
            let record = &held.record;
            let fits = record.is_in_force(now)
                && record.created >= asked.since
                && held.gives(asked.action, asked.resource)
                && held.is_good_from(context.source_ip)
                && record.constraints.fits_context(context.encryption_context);
            if !fits {
                continue;
            }
            if record.constraints.fits_mfa(asked.kind, context.mfa_age_seconds) {
                return Granting::Yes(record.id);
            }
            granting = Granting::NeedsMfa;
        }
        granting
    }

    /// The grants that give something, whatever circumstances they ask for.
    pub(crate) fn covering<'a>(
        &'a self,
        principal: &Name,
        since: UnixMillis,
        (action, resource): (&'a str, &'a ResourceAttrs),
        now: UnixMillis,
    ) -> impl Iterator<Item = GrantId> + use<'a> {
        self.of(principal).iter().filter_map(move |held| {
            let record = &held.record;
            let fits = record.is_in_force(now) && record.created >= since && held.gives(action, resource);
            fits.then_some(record.id)
        })
    }

    /// The grants of roles that are in force for a principal as it comes in now.
    pub(crate) fn elevations<'a>(
        &'a self,
        principal: &Name,
        (kind, since): (PrincipalKind, UnixMillis),
        (source, mfa_age, now): (Option<IpAddr>, Option<u64>, UnixMillis),
    ) -> impl Iterator<Item = (GrantId, &'a Name)> {
        self.of(principal).iter().filter_map(move |held| {
            let record = &held.record;
            let role = record.what.role()?;
            let fits = record.is_in_force(now)
                && record.created >= since
                && held.is_good_from(source)
                && record.constraints.fits_mfa(kind, mfa_age);
            fits.then_some((record.id, role))
        })
    }
}

/// Reads grants that are not over: all, or those of one principal.
async fn read(source: Source<'_>, principal: Option<&Name>, now: UnixMillis) -> Result<Vec<Arc<HeldGrant>>, Error> {
    let mut grants = Vec::new();
    let keep = |record: GrantRecord| {
        let held = HeldGrant::new(record)?;
        if !held.record.is_over(now) {
            grants.push(Arc::new(held));
        }
        Ok(())
    };
    source.each_filed(principal.map(Name::as_str), keep).await?;
    Ok(grants)
}
