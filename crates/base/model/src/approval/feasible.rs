//! Whether there are people who could satisfy rules: somebody who may ask, and besides them distinct people for the
//! seats.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Owners, Party, seated};
use crate::metadata::Name;
use crate::rules::{Asking, Requirement, Rule, Seat, SeatKind, Way};

/// Of those who may ask, and have the same roles, so many are tried (count). They differ only in who of the voters is
/// the same person.
const ALIKE_TRIED: usize = 32;

/// The people there are, for asking whether rules could be satisfied.
pub trait Electorate {
    /// Everybody who is let in.
    fn everybody(&self) -> Vec<Party>;

    /// The roles by which somebody may ask for an operation; none where they may not. Whether others are to consent
    /// makes a difference: of a program for whose requests nobody answers it is not accepted then.
    fn asks(&mut self, who: &Party, operation: &Name, of_others: bool) -> Option<BTreeSet<Name>>;

    /// Those whose consent to an operation would count.
    fn voters(&mut self, operation: &Name) -> Vec<Party>;
}

/// A rule that no group of the people there are could satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsatisfiable {
    /// The rule, or several of them together.
    pub rules: BTreeSet<Name>,
    /// The operation, where the rule names others that could be asked for.
    pub operation: Option<Name>,
    /// What is missing.
    pub lack: Lack,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nobody may ask.
    Proposer,
    /// Seats that stay empty however one goes about it, for the proposer and way that come nearest.
    Voters(Vec<Seat>),
}

impl fmt::Display for Unsatisfiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.rules.iter().map(|rule| format!("`{rule}`")).collect();
        write!(f, "rule {}: ", names.join(", "))?;
        match &self.lack {
            Lack::Proposer => f.write_str("nobody may ask")?,
            Lack::Voters(seats) => {
                let seats: Vec<String> = seats.iter().map(ToString::to_string).collect();
                write!(f, "nobody for {}", seats.join(", "))?;
            }
        }
        self.operation.as_ref().map_or(Ok(()), |operation| write!(f, " (for `{operation}`)"))
    }
}

/// The rules that can never be satisfied by these people, whoever of them asks. Conditional seats count as if their
/// condition were true; owners are not known here, so any system owner will do for their seat. An operation that nobody
/// may ask for is no fault of a rule that names others besides.
#[must_use]
pub fn unsatisfiable<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    electorate: &mut dyn Electorate,
) -> Vec<Unsatisfiable> {
    let everybody = electorate.everybody();
    rules.into_iter().filter_map(|rule| shortfall(rule, &everybody, electorate)).collect()
}

fn shortfall(rule: &Rule, everybody: &[Party], electorate: &mut dyn Electorate) -> Option<Unsatisfiable> {
    let mut lacks: Vec<(&Name, Lack)> = Vec::new();
    for operation in &rule.operations {
        let way = |proposer: &Party| {
            // The first way that admits the proposer is the one that would be taken.
            rule.ways.iter().find(|way| way.admits(proposer)).map(Way::seats_of)
        };
        lacks.extend(lack(operation, &way, everybody, electorate).map(|lack| (operation, lack)));
    }
    let of_voters = || lacks.iter().filter(|(_, lack)| *lack != Lack::Proposer);
    let (operation, lack) = match of_voters().next() {
        Some(found) => found,
        None => lacks.first().filter(|_| lacks.len() == rule.operations.len())?,
    };
    let some = *lack != Lack::Proposer && of_voters().count() < rule.operations.len();
    Some(Unsatisfiable {
        rules: BTreeSet::from([rule.name.clone()]),
        operation: some.then(|| (*operation).clone()),
        lack: lack.clone(),
    })
}

/// Whether these people could ask for an operation, and consent to it, under all the rules that may hold for it
/// together. Nothing where they could.
#[must_use]
pub fn locked(rules: &[&Rule], operation: &Name, electorate: &mut dyn Electorate) -> Option<Unsatisfiable> {
    let everybody = electorate.everybody();
    let concerned: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.operations.contains(operation)).collect();
    let way = |proposer: &Party| {
        let asking = Asking { proposer, hold: true, incident: true, widens: true };
        let requirement = Requirement::of(concerned.iter().copied(), &asking).ok()?;
        Some(requirement.map(|requirement| requirement.seats).unwrap_or_default())
    };
    let lack = lack(operation, &way, &everybody, electorate)?;
    let rules = concerned.iter().map(|rule| rule.name.clone()).collect();
    Some(Unsatisfiable { rules, operation: None, lack })
}

impl Way {
    fn seats_of(&self) -> Vec<Seat> {
        self.seats.clone()
    }
}

/// What is missing for an operation; `way` tells which seats a proposer would have to fill, if any way is open to them.
fn lack(
    operation: &Name,
    way: &dyn Fn(&Party) -> Option<Vec<Seat>>,
    everybody: &[Party],
    electorate: &mut dyn Electorate,
) -> Option<Lack> {
    let mut voters: Option<Vec<Vec<Party>>> = None;
    let mut nearest: Option<Vec<Seat>> = None;
    let mut tried: BTreeMap<&BTreeSet<Name>, usize> = BTreeMap::new();
    for proposer in everybody {
        let Some(seats) = way(proposer) else { continue };
        if nearest.is_some() && tried.get(&proposer.roles).is_some_and(|count| *count >= ALIKE_TRIED) {
            continue;
        }
        let Some(roles) = electorate.asks(proposer, operation, !seats.is_empty()) else { continue };
        *tried.entry(&proposer.roles).or_default() += 1;
        let peers = seats.iter().any(|seat| seat.kind == SeatKind::Peer);
        // A peer has one of the roles by which the proposer may ask.
        let asking = if peers { Party { roles, ..proposer.clone() } } else { proposer.clone() };
        let voters = voters.get_or_insert_with(|| by_person(electorate.voters(operation)));
        let missing = empty(&seats, &asking, &Owners::new(), voters);
        if missing.is_empty() {
            return None;
        }
        if nearest.as_ref().is_none_or(|known| missing.len() < known.len()) {
            nearest = Some(missing);
        }
    }
    Some(nearest.map_or(Lack::Proposer, Lack::Voters))
}

/// The seats of a request that stay empty however these voters are seated. Owners are those of what it is about.
#[must_use]
pub fn unfilled(seats: &[Seat], proposer: &Party, owners: &Owners, voters: Vec<Party>) -> Vec<Seat> {
    empty(seats, proposer, owners, &by_person(voters))
}

/// The seats that cannot be filled. Of somebody's principals any may vote, and only one.
fn empty(seats: &[Seat], proposer: &Party, owners: &Owners, people: &[Vec<Party>]) -> Vec<Seat> {
    let suits = |seat: &Seat, person: &[Party]| person.iter().any(|party| party.fits(seat, proposer, owners));
    let fits: Vec<Vec<bool>> =
        seats.iter().map(|seat| people.iter().map(|person| suits(seat, person)).collect()).collect();
    let mut seat_of: Vec<Option<usize>> = vec![None; people.len()];
    let mut missing = Vec::new();
    for (nth, seat) in seats.iter().enumerate() {
        if !seated(nth, &fits, &mut seat_of, &mut vec![false; people.len()]) {
            missing.push(seat.clone());
        }
    }
    missing
}

/// The principals of each person together: those that name one another, directly or through others.
#[must_use]
pub fn by_person(parties: Vec<Party>) -> Vec<Vec<Party>> {
    let mut people: Vec<Vec<Party>> = Vec::new();
    let mut of_name: BTreeMap<String, usize> = BTreeMap::new();
    for party in parties {
        let names = [party.name.to_string(), party.person.to_string()];
        let known: BTreeSet<usize> = names.iter().filter_map(|name| of_name.get(name)).copied().collect();
        let at = known.first().copied().unwrap_or(people.len());
        if known.is_empty() {
            people.push(Vec::new());
        }
        for other in known.into_iter().skip(1) {
            let moved = std::mem::take(&mut people[other]);
            people[at].extend(moved);
            of_name.values_mut().filter(|nth| **nth == other).for_each(|nth| *nth = at);
        }
        of_name.extend(names.map(|name| (name, at)));
        people[at].push(party);
    }
    people
}
