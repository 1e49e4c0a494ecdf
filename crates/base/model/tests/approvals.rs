//! Approvals under every order of events, against oracles that try everything (requirement A6).
//!
//! The world has at most six principals, of whom some are the same person. The oracle keeps its own account of what
//! happened and finds, by trying every assignment, whether distinct people who may consent and are not the proposer
//! could have filled the seats.
#![allow(clippy::unwrap_used)]

use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::approval::feasible::{Electorate, unsatisfiable};
use keyreeve_model::approval::{
    Decision, Event, NewProposal, Owners, Party, Proposal, ProposalState, Request, TargetRef, VoteProof, fill,
};
use keyreeve_model::ids::{ApprovalId, RecordId};
use keyreeve_model::rules::{Requirement, Rule, Rules, Seat, SeatKind, Way};
use keyreeve_model::{Label, Name, UnixMillis};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const ROLES: [&str; 4] = ["security-lead", "ciso", "legal", "system-owner"];
const EXPIRES: u64 = 1000;
const VALID: u64 = 600;
const MFA: u64 = 300;
const DIGEST: &str = "the digest";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn roles_of(bits: u8) -> BTreeSet<Name> {
    ROLES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, role)| name(role)).collect()
}

/// Principal `n`: at most three people are behind several.
#[derive(Clone, Copy, Debug)]
struct Who {
    person: u8,
    roles: u8,
    counts: bool,
}

impl Who {
    fn party(self, n: usize) -> Party {
        Party {
            name: name(&format!("p{n}")),
            person: format!("person-{}", self.person).parse().unwrap(),
            roles: roles_of(self.roles),
            counts: self.counts,
        }
    }
}

fn people(max: usize) -> impl Strategy<Value = Vec<Who>> {
    let one = (0..4_u8, 0..16_u8, prop::bool::weighted(0.9));
    prop::collection::vec(one, 2..=max).prop_map(|all| {
        let who = |(n, (person, roles, counts)): (usize, (u8, u8, bool))| {
            // Persons 0 to 2 may be behind several principals; a 3 stands for somebody with one only.
            let person = if person == 3 { 10 + u8::try_from(n).unwrap() } else { person };
            Who { person, roles, counts }
        };
        all.into_iter().enumerate().map(who).collect()
    })
}

fn seat() -> impl Strategy<Value = Seat> {
    let kind = prop_oneof![
        6 => (1..16_u8).prop_map(|bits| SeatKind::Role(roles_of(bits))),
        1 => Just(SeatKind::Owner),
        1 => Just(SeatKind::Peer),
    ];
    kind.prop_map(|kind| Seat { kind, only_if: None })
}

fn requirement(seats: Vec<Seat>) -> Requirement {
    Requirement {
        rules: BTreeSet::new(),
        seats,
        expires: Duration::from_secs(EXPIRES),
        valid: Duration::from_secs(VALID),
        mfa: Duration::from_secs(MFA),
        opens_incident: false,
        confirm: Vec::new(),
    }
}

/// Who may sit where, written down once more.
fn suits(seat: &Seat, voter: Who, proposer: Who) -> bool {
    let roles = roles_of(voter.roles);
    let fits = match &seat.kind {
        SeatKind::Role(any_of) => any_of.iter().any(|role| roles.contains(role)),
        SeatKind::Owner => roles.contains("system-owner"),
        SeatKind::Peer => voter.roles & proposer.roles != 0,
    };
    fits && voter.counts && voter.person != proposer.person
}

/// Whether some assignment of distinct people fills every seat: tries them all.
fn assignable(seats: &[Seat], voters: &[Who], proposer: Who, used: &mut Vec<u8>) -> bool {
    let Some((first, rest)) = seats.split_first() else { return true };
    voters.iter().any(|voter| {
        if used.contains(&voter.person) || !suits(first, *voter, proposer) {
            return false;
        }
        used.push(voter.person);
        let found = assignable(rest, voters, proposer, used);
        used.pop();
        found
    })
}

/// The most seats that can be filled: the largest subset with a full assignment.
fn most(seats: &[Seat], voters: &[Who], proposer: Who) -> usize {
    let subsets = 0..1_usize << seats.len();
    let chosen = |bits: usize| -> Vec<Seat> {
        seats.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, seat)| seat.clone()).collect()
    };
    let full = subsets.map(chosen).filter(|subset| assignable(subset, voters, proposer, &mut Vec::new()));
    full.map(|subset| subset.len()).max().unwrap_or(0)
}

/// Of several principals of one person, the last.
fn last_of_each(voters: &[(usize, Who)]) -> Vec<Who> {
    let later = |n: usize, who: Who| voters[n + 1..].iter().any(|(_, other)| other.person == who.person);
    voters.iter().enumerate().filter(|(n, (_, who))| !later(*n, *who)).map(|(_, (_, who))| *who).collect()
}

/// People of whom everybody may ask for everything, and consent.
struct Everybody(Vec<Party>);

impl Electorate for Everybody {
    fn everybody(&self) -> Vec<Party> {
        self.0.clone()
    }

    fn asks(&mut self, who: &Party, _operation: &Name, _of_others: bool) -> Option<BTreeSet<Name>> {
        Some(who.roles.clone())
    }

    fn voters(&mut self, _operation: &Name) -> Vec<Party> {
        self.0.clone()
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Vote { by: usize, approve: bool, factor_age: u64, right: bool, recovery: bool },
    Withdraw { by: usize },
    Wait { seconds: u64 },
    ReRole { who: usize, roles: u8 },
    Switch { who: usize, on: bool },
    Rename { who: usize, person: u8 },
    Require { seats: Vec<Seat> },
    Execute { by: usize, right: bool },
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..6_usize;
    let age = prop_oneof![5 => 0..=MFA, 1 => MFA..MFA + 9];
    prop_oneof![
        12 => (who(), prop::bool::weighted(0.95), age, prop::bool::weighted(0.95), prop::bool::weighted(0.03)).prop_map(
            |(by, approve, factor_age, right, recovery)| Deed::Vote { by, approve, factor_age, right, recovery },
        ),
        1 => who().prop_map(|by| Deed::Withdraw { by }),
        2 => prop_oneof![0..400_u64, Just(VALID), Just(EXPIRES)].prop_map(|seconds| Deed::Wait { seconds }),
        3 => (who(), 0..16_u8).prop_map(|(who, roles)| Deed::ReRole { who, roles }),
        2 => (who(), any::<bool>()).prop_map(|(who, on)| Deed::Switch { who, on }),
        1 => (who(), 0..3_u8).prop_map(|(who, person)| Deed::Rename { who, person }),
        1 => prop::collection::vec(seat(), 1..4).prop_map(|seats| Deed::Require { seats }),
        8 => (prop_oneof![4 => Just(0_usize), 1 => who()], prop::bool::weighted(0.95))
            .prop_map(|(by, right)| Deed::Execute { by, right }),
    ]
}

/// A vote as the oracle remembers it.
#[derive(Clone, Debug)]
struct Given {
    by: usize,
    then: Who,
}

/// The oracle's own account. The proposer is principal 0.
struct Oracle {
    people: Vec<Who>,
    proposer_then: Who,
    asked: Vec<Seat>,
    needed: Vec<Seat>,
    consents: Vec<Given>,
    now: u64,
    approved_at: Option<u64>,
    over: bool,
}

impl Oracle {
    fn alive(&self) -> bool {
        let until = self.approved_at.map_or(EXPIRES, |at| at + VALID);
        !self.over && self.now < until
    }

    fn vote(&mut self, by: usize, approve: bool, fresh: bool, right: bool) -> bool {
        let who = self.people[by];
        let suited = self.asked.iter().any(|seat| suits(seat, who, self.proposer_then));
        if !self.alive() || !right || !fresh || by == 0 || !suited {
            return false;
        }
        self.consents.retain(|given| given.by != by && given.then.person != who.person);
        if !approve {
            self.over = true;
            return true;
        }
        self.consents.push(Given { by, then: who });
        let voters: Vec<Who> = self.consents.iter().map(|given| given.then).collect();
        if self.approved_at.is_none() && assignable(&self.asked, &voters, self.proposer_then, &mut Vec::new()) {
            self.approved_at = Some(self.now);
        }
        true
    }

    fn execute(&mut self, by: usize, right: bool) -> bool {
        let present: Vec<(usize, Who)> = self
            .consents
            .iter()
            .map(|given| (given.by, self.people[given.by]))
            .filter(|(_, who)| who.person != self.proposer_then.person)
            .collect();
        let proposer = self.people[0];
        let filled = assignable(&self.needed, &last_of_each(&present), proposer, &mut Vec::new());
        // Nobody agreed as what they were not asked as.
        let count = |seats: &[Seat], seat: &Seat| seats.iter().filter(|other| *other == seat).count();
        let shown = self.needed.iter().all(|seat| count(&self.needed, seat) <= count(&self.asked, seat));
        let done = self.alive() && by == 0 && right && filled && shown;
        self.over |= done;
        done
    }
}

fn begin(people: &[Who], seats: &[Seat]) -> Proposal {
    let request = Request {
        operation: name("key.rotate"),
        target: TargetRef { kind: "key".into(), id: "key_1".into() },
        second: None,
        base_revision: None,
        form: serde_json::json!({}),
    };
    let new = NewProposal {
        id: ApprovalId::from_bytes([1; 16]),
        proposer: people[0].party(0),
        request,
        digest: DIGEST.to_owned(),
        reason: Label::default(),
        requirement: requirement(seats.to_vec()),
        owners: Owners::new(),
        shown: Vec::new(),
    };
    Proposal::new(new, UnixMillis(0))
}

fn instant(seconds: u64) -> UnixMillis {
    UnixMillis(0).plus(Duration::from_secs(seconds))
}

/// One deed to both; what they say must be the same.
fn both(deed: &Deed, proposal: &mut Proposal, oracle: &mut Oracle) -> Result<(), TestCaseError> {
    let (count, now, record) = (oracle.people.len(), instant(oracle.now), RecordId::from_bytes([2; 16]));
    let digest = |right: bool| if right { DIGEST } else { "another" };
    let (event, expected) = match deed {
        Deed::Wait { seconds } => {
            oracle.now += seconds;
            return Ok(());
        }
        Deed::ReRole { who, roles } => {
            oracle.people[who % count].roles = *roles;
            return Ok(());
        }
        Deed::Switch { who, on } => {
            oracle.people[who % count].counts = *on;
            return Ok(());
        }
        Deed::Rename { who, person } => {
            oracle.people[who % count].person = *person;
            return Ok(());
        }
        Deed::Require { seats } => {
            oracle.needed.clone_from(seats);
            return Ok(());
        }
        Deed::Vote { by, approve, factor_age, right, recovery } => {
            let by = by % count;
            let at = UnixMillis(now.0 - i64::try_from(*factor_age).unwrap() * 1000);
            let kind = if *recovery { MfaKind::Recovery } else { MfaKind::Webauthn };
            let proof = VoteProof { mfa: MfaProof { at, kind, credential: None }, evidence: String::new() };
            let decision = if *approve { Decision::Approve } else { Decision::Reject };
            let (voter, reason) = (oracle.people[by].party(by), Label::default());
            let event = Event::Vote { by: &voter, decision, reason: &reason, digest: digest(*right), proof, record };
            let stepped = proposal.step(&event, now);
            let fresh = *factor_age <= MFA && !recovery;
            (stepped, oracle.vote(by, *approve, fresh, *right))
        }
        Deed::Withdraw { by } => {
            let by = by % count;
            let expected = oracle.alive() && by == 0;
            oracle.over |= expected;
            (proposal.step(&Event::Withdraw { by: &name(&format!("p{by}")) }, now), expected)
        }
        Deed::Execute { by, right } => {
            let by = by % count;
            let parties: Vec<Party> = oracle.people.iter().enumerate().map(|(n, who)| who.party(n)).collect();
            let (requirement, owners) = (requirement(oracle.needed.clone()), Owners::new());
            let (by_party, digest) = (&parties[by], digest(*right));
            let event = Event::Execute {
                by: by_party,
                digest,
                parties: &parties,
                requirement: &requirement,
                owners: &owners,
                record,
            };
            (proposal.step(&event, now), oracle.execute(by, *right))
        }
    };
    prop_assert_eq!(event.is_ok(), expected, "{:?}: {:?}", deed, event.err());
    if let Ok(next) = event {
        *proposal = next;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_lets_one_person_through(
        people in people(6),
        seats in prop::collection::vec(seat(), 1..4),
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut proposal = begin(&people, &seats);
        let mut oracle = Oracle {
            proposer_then: people[0],
            people,
            asked: seats.clone(),
            needed: seats,
            consents: Vec::new(),
            now: 0,
            approved_at: None,
            over: false,
        };
        let mut executed = 0;
        for deed in &deeds {
            let before = proposal.clone();
            both(deed, &mut proposal, &mut oracle)?;
            let now = instant(oracle.now);
            let over = |of: &Proposal| !matches!(of.state(now), ProposalState::Waiting | ProposalState::Approved);
            prop_assert!(!over(&before) || proposal == before, "what is over does not change");
            let done = |of: &Proposal| of.state(now) == ProposalState::Executed;
            executed += usize::from(done(&proposal) && !done(&before));
            prop_assert_eq!(over(&proposal), !oracle.alive());
        }
        prop_assert!(executed <= 1);
    }

    #[test]
    fn filling_fills_as_many_seats_as_can_be(
        people in people(6),
        seats in prop::collection::vec(seat(), 0..5),
    ) {
        let voters: Vec<Party> = people.iter().enumerate().map(|(n, who)| who.party(n)).collect();
        let filling = fill(&seats, &voters[0], &voters, &Owners::new());
        let indexed: Vec<(usize, Who)> = people.iter().copied().enumerate().collect();
        let filled = filling.seats.iter().flatten().count();
        prop_assert_eq!(filled, most(&seats, &last_of_each(&indexed), people[0]));
        let named = |name: &Name| voters.iter().find(|voter| voter.name == *name).unwrap();
        let whose: Vec<&Party> = filling.seats.iter().flatten().map(named).collect();
        let persons: BTreeSet<&str> = whose.iter().map(|party| party.person.as_str()).collect();
        prop_assert_eq!(persons.len(), whose.len(), "distinct people");
        prop_assert!(whose.iter().all(|party| party.person != voters[0].person), "not the proposer");
        prop_assert_eq!(filling.is_complete(), filled == seats.len());
    }

    #[test]
    fn a_rule_is_satisfiable_when_some_proposer_and_some_group_could(
        people in people(5),
        ways in prop::collection::vec((0..16_u8, prop::collection::vec(seat(), 0..4)), 1..3),
    ) {
        let guard = "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n";
        let mut rule: Rule = Rules::parse(guard).unwrap().iter().next().unwrap().clone();
        rule.ways = ways
            .iter()
            .map(|(proposers, seats)| Way { proposers: roles_of(*proposers), seats: seats.clone() })
            .collect();
        let parties: Vec<Party> = people.iter().enumerate().map(|(n, who)| who.party(n)).collect();
        let possible = people.iter().any(|proposer| {
            let way = ways.iter().find(|(roles, _)| *roles == 0 || roles & proposer.roles != 0);
            // Every person may vote through whichever of their principals suits.
            way.is_some_and(|(_, seats)| assignable(seats, &people, *proposer, &mut Vec::new()))
        });
        let found = unsatisfiable([&rule], &mut Everybody(parties));
        prop_assert_eq!(found.is_empty(), possible, "{:?}", found);
    }
}
