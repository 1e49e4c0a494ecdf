//! Who there is to satisfy rules: who is let in, may ask for what, and could consent.

use keyreeve_model::approval::Party;
use keyreeve_model::approval::feasible::{Electorate, Unsatisfiable, locked, unsatisfiable};
use keyreeve_model::login::PrincipalRule;
use keyreeve_model::mfa::{Factor, MfaCredential};
use keyreeve_model::record::Revision;
use keyreeve_model::rules::{GUARDED, Rule, Rules};
use keyreeve_model::{Name, PrincipalKind, PrincipalRecord};
use keyreeve_policy::{Known, PolicySet, Possible, PrincipalAttrs, ResourceDetails};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::access::{AccessSnapshot, LoginMethods, principal_attrs};
use crate::catalogue;
use crate::core::Core;
use crate::error::Error;
use crate::pipeline::party_of;
use crate::sealing::Opened;

/// Somebody who is let in.
pub(super) struct Somebody {
    pub(super) record: PrincipalRecord,
    pub(super) party: Party,
    attrs: Arc<PrincipalAttrs>,
    /// Roles that some way of logging in may add.
    by_login: BTreeSet<Name>,
}

/// Whose consent is counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voters {
    /// That of people who have a second factor: they could vote today.
    WithFactor,
    /// That of everybody who could enrol one.
    All,
}

/// The people there are, and what policies say of them.
pub(crate) struct People {
    all: BTreeMap<Name, Arc<Somebody>>,
    /// Those who have a second factor that a vote can be given with.
    proved: BTreeSet<Name>,
    policies: Arc<PolicySet>,
}

impl People {
    /// Those there are now.
    pub(crate) async fn now(core: &Core, opened: &Opened) -> Result<Self, Error> {
        let access = Arc::clone(&opened.access());
        let mut proved = BTreeSet::new();
        for (factor, _) in core.filed_sound::<MfaCredential>(opened, None).await? {
            // What somebody had who was called the same before is nobody's.
            let theirs = access.principal(&factor.principal).is_some_and(|held| held.record.created <= factor.created);
            if theirs && factor.confirmed.is_some() && !matches!(factor.factor, Factor::Recovery { .. }) {
                proved.insert(factor.principal);
            }
        }
        Ok(Self { all: let_in(&access), proved, policies: access.policies().cache.shared_policies() })
    }

    /// The same once a principal is as this record says, or is gone.
    pub(crate) fn with(&self, name: &Name, record: Option<&PrincipalRecord>) -> Result<Self, Error> {
        let mut all = self.all.clone();
        let by_login = all.remove(name).map(|known| known.by_login.clone()).unwrap_or_default();
        if let Some(record) = record.filter(|record| !record.disabled) {
            let attrs = Arc::new(principal_attrs(record, Revision::FIRST)?);
            let (party, record) = (party_of(record), record.clone());
            all.insert(name.clone(), Arc::new(Somebody { record, party, attrs, by_login }));
        }
        Ok(Self { all, proved: self.proved.clone(), policies: Arc::clone(&self.policies) })
    }

    /// The same people under other policies.
    pub(crate) fn under(&self, policies: Arc<PolicySet>) -> Self {
        Self { all: self.all.clone(), proved: self.proved.clone(), policies }
    }

    /// Everybody who is let in.
    pub(super) fn all(&self) -> impl Iterator<Item = &Somebody> {
        self.all.values().map(Arc::as_ref)
    }

    /// The rules that these people could not satisfy.
    pub(crate) fn unsatisfiable(&self, rules: &Rules, voters: Voters) -> Vec<Unsatisfiable> {
        unsatisfiable(rules.iter(), &mut Assembly::of(self, voters))
    }

    /// What stands in the way of these people changing the rules: all rules about it that may hold together.
    pub(crate) fn locked(&self, rules: &Rules, voters: Voters) -> Option<Unsatisfiable> {
        let all: Vec<&Rule> = rules.iter().collect();
        let mut assembly = Assembly::of(self, voters);
        GUARDED.iter().filter_map(|name| name.parse().ok()).find_map(|name: Name| locked(&all, &name, &mut assembly))
    }

    /// Those whose consent to an operation would count.
    pub(crate) fn voters(&self, operation: &Name, voters: Voters) -> Vec<Party> {
        Assembly::of(self, voters).voters(operation)
    }

    /// Who may ask for what.
    pub(super) fn assembly(&self, voters: Voters) -> Assembly<'_> {
        Assembly::of(self, voters)
    }
}

fn let_in(access: &AccessSnapshot) -> BTreeMap<Name, Arc<Somebody>> {
    let methods = access.logins();
    let held = access.principals().filter(|held| !held.record.disabled);
    held.map(|held| {
        let somebody = Somebody {
            record: held.record.clone(),
            party: party_of(&held.record),
            attrs: Arc::clone(&held.attrs),
            by_login: roles_by_login(methods, &held.record.name),
        };
        (held.record.name.clone(), Arc::new(somebody))
    })
    .collect()
}

/// The roles that sessions of somebody may have besides those of the record.
pub(crate) fn roles_by_login(methods: &LoginMethods, name: &Name) -> BTreeSet<Name> {
    let all = methods.all();
    let bindings = all.iter().filter(|method| !method.record.disabled).flat_map(|method| &method.record.bindings);
    let fits = bindings.filter(|binding| match &binding.principal {
        PrincipalRule::Fixed(fixed) => fixed == name,
        PrincipalRule::FromClaim { .. } => true,
    });
    fits.flat_map(|binding| binding.roles.iter().chain(binding.role_from_group.values())).cloned().collect()
}

/// The people, asked about rules.
pub(super) struct Assembly<'a> {
    people: &'a People,
    voters: Voters,
    asking: HashMap<Name, Possible<'a>>,
}

impl<'a> Assembly<'a> {
    fn of(people: &'a People, voters: Voters) -> Self {
        Self { people, voters, asking: HashMap::new() }
    }

    /// Whether policies could allow somebody to ask, as a session of theirs may be.
    fn may_ask(&mut self, who: &Somebody, operation: &Name) -> bool {
        let policies = &self.people.policies;
        let possible =
            self.asking.entry(operation.clone()).or_insert_with(|| policies.possible(operation.as_str(), Known::Kind));
        possible.is(&who.attrs) || who.by_login.iter().any(|role| possible.is(&with_role(&who.attrs, role)))
    }
}

/// Somebody with one more role.
pub(crate) fn with_role(attrs: &PrincipalAttrs, role: &Name) -> PrincipalAttrs {
    let mut attrs = attrs.clone();
    attrs.roles.push(role.to_string());
    attrs
}

impl Electorate for Assembly<'_> {
    fn everybody(&self) -> Vec<Party> {
        let mut parties: Vec<Party> = self.people.all.values().map(|somebody| somebody.party.clone()).collect();
        // Those with roles first: among them is whoever may ask.
        parties.sort_by_key(|party| std::cmp::Reverse(party.roles.len()));
        parties
    }

    fn asks(&mut self, who: &Party, operation: &Name, of_others: bool) -> Option<BTreeSet<Name>> {
        let people = self.people;
        let somebody = people.all.get(&who.name)?;
        // Behind a program stands somebody as well, who must be known.
        let record = &somebody.record;
        if (of_others && record.kind == PrincipalKind::Service && record.person.is_none())
            || !self.may_ask(somebody, operation)
        {
            return None;
        }
        let possible = self.asking.get_mut(operation)?;
        let mut gives = |role: &&Name| {
            let roles = vec![role.to_string()];
            possible.is(&PrincipalAttrs { roles, ..(*somebody.attrs).clone() })
        };
        Some(who.roles.iter().filter(|role| gives(role)).cloned().collect())
    }

    fn voters(&mut self, operation: &Name) -> Vec<Party> {
        let details = ResourceDetails::Approval { operation: operation.to_string(), proposer: String::new() };
        let known = Known::But(details, &["proposer"]);
        let mut possible = self.people.policies.possible(catalogue::APPROVAL_VOTE.name, known);
        let counts = |somebody: &&Arc<Somebody>| {
            somebody.party.counts && (self.voters == Voters::All || self.people.proved.contains(&somebody.record.name))
        };
        let voters = self.people.all.values().filter(counts);
        voters.filter(|somebody| possible.is(&somebody.attrs)).map(|somebody| somebody.party.clone()).collect()
    }
}
