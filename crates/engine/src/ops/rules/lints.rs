//! What of a rule book is probably not meant: ways around it that nobody has to break anything for. docs/access.md has
//! the list.

use keyreeve_model::Name;
use keyreeve_model::approval::feasible::{Electorate, by_person};
use keyreeve_model::approval::{Owners, Party};
use keyreeve_model::rules::{Rule, Rules, Way};
use keyreeve_policy::rules::RuleSet;
use std::collections::{BTreeMap, BTreeSet};

use super::people::{People, Voters};
use crate::catalogue;

/// A remark about a rule book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// Its name: stable.
    pub name: &'static str,
    /// The rules that it is about; none where it is about what no rule names.
    pub rules: BTreeSet<Name>,
    /// What is the matter, and what to do.
    pub text: String,
}

/// Operations that do the same kind of thing: consent to one of them that another gets around is none.
const FAMILIES: [(&str, &[&str]); 4] = [
    (
        "remove something for good",
        &["key.schedule-destruction", "principal.delete", "policy.delete", "login-method.delete"],
    ),
    ("change policies", &["policy.put", "policy.delete", "policy.apply", "policy.rollback"]),
    ("give rights", &["principal.put", "grant.create", "grant.request"]),
    ("say who is believed", &["login-method.put", "login-method.delete"]),
];

/// Operations by which one person makes the people who consent, or speaks for them.
/// Whoever invites enrols the factor that votes are made with.
const MAKING_PEOPLE: [&str; 7] =
    ["principal.put", "mfa.reset", "mfa.invite", "credential.issue", "token.create", "login-method.put", "policy.put"];

/// Operations for which the rules of another one hold as well.
const ASKED_WITH: [(&str, &str); 1] = [("token.create", "credential.issue")];

/// What changes the state of a key. Metadata are not here: an alteration that takes a key out of the reach of a rule
/// needs the consent that the rule asks for.
const MOVING: [&str; 4] = ["key.activate", "key.suspend", "key.deactivate", "key.compromise"];

/// All remarks, in the order of the list.
pub(super) fn lints(rules: &Rules, set: &RuleSet, people: &People) -> Vec<Lint> {
    let mut found = Vec::new();
    for rule in rules.iter() {
        found.extend(conditions(rule, rules, set));
    }
    let some_of_many = families(rules);
    found.extend(unguarded(rules, &some_of_many));
    found.extend(some_of_many.into_iter().map(|(_, lint)| lint));
    found.extend(roles(rules, people));
    found.extend(persons(rules, people));
    found.extend(unread(people));
    found
}

fn lint(name: &'static str, rules: &[&Name], text: String) -> Lint {
    Lint { name, rules: rules.iter().map(|name| (*name).clone()).collect(), text }
}

/// Whether a rule always asks somebody.
fn asks(rule: &Rule) -> bool {
    rule.ways.iter().all(|way| !way.seats.is_empty())
}

/// Whether some rule asks for consent to an operation.
fn is_asked(rules: &Rules, operation: &str) -> bool {
    rules.iter().any(|rule| asks(rule) && rule.operations.iter().any(|named| named.as_str() == operation))
}

fn fewest(rule: &Rule) -> usize {
    rule.ways.iter().map(|way| way.seats.len()).min().unwrap_or(0)
}

/// What a rule's condition makes of it.
fn conditions(rule: &Rule, rules: &Rules, set: &RuleSet) -> Vec<Lint> {
    let (looked, name, mut found) = (set.looks_at(rule.name.as_str()), &rule.name, Vec::new());
    if asks(rule) && looked.circumstances {
        let text = format!(
            "rule `{name}` holds by circumstances (`context`) that whoever asks chooses, such as the time or the \
             network: leave them out, or write a policy that forbids under them"
        );
        found.push(lint("chosen-circumstances", &[name], text));
    }
    if asks(rule) && looked.asker && rule.overrides.is_empty() {
        let text = format!(
            "rule `{name}` holds for some askers only (`principal`): whoever else may ask waits for nobody, somebody's \
             second account among them; write it for everybody, with `ways` where they differ"
        );
        found.push(lint("some-askers", &[name], text));
    }
    let free: Vec<&str> = MOVING.into_iter().filter(|mover| !is_asked(rules, mover)).collect();
    if asks(rule) && looked.attributes.contains("state") && !free.is_empty() {
        let text = format!(
            "rule `{name}` holds by `resource.state`, which `{}` can change without consent: write it without that, or \
             name these operations in a rule as well",
            free.join("`, `")
        );
        found.push(lint("moving-state", &[name], text));
    }
    let open = !looked.asker && rule.ways.iter().all(|way| way.proposers.is_empty());
    for weaker in rule.overrides.iter().filter_map(|other| rules.find(other.as_str())) {
        if rule.when.is_some() && open && fewest(rule) < fewest(weaker) {
            let text = format!(
                "rule `{name}` takes the place of `{}`, which asks more people, by a condition that one person can \
                 bring about (a label, a state, an incident): let it hold for some askers only (`proposers`, or \
                 `principal in`), or give it as many seats",
                weaker.name
            );
            found.push(lint("weaker-override", &[name, &weaker.name], text));
        }
    }
    found
}

/// Kinds of operations of which the book asks for consent to some, with those it does not ask for.
fn families(rules: &Rules) -> Vec<(Vec<&'static str>, Lint)> {
    let told = |(what, operations): (&str, &[&'static str])| {
        let (asked, free): (Vec<_>, Vec<_>) = operations.iter().copied().partition(|name| is_asked(rules, name));
        if asked.is_empty() || free.is_empty() {
            return None;
        }
        let text = format!(
            "of what can {what} the rules ask for consent to `{}`, and not to `{}`: name these as well, or there is a \
             way around",
            asked.join("`, `"),
            free.join("`, `")
        );
        let names = rules.iter().filter(|rule| asks(rule) && asked.iter().any(|name| names(rule, name)));
        let names: Vec<&Name> = names.map(|rule| &rule.name).collect();
        Some((free, lint("some-of-many", &names, text)))
    };
    FAMILIES.into_iter().filter_map(told).collect()
}

fn names(rule: &Rule, operation: &str) -> bool {
    rule.operations.iter().any(|named| named.as_str() == operation)
}

/// Ways to come by the people who consent.
fn unguarded(rules: &Rules, told: &[(Vec<&'static str>, Lint)]) -> Vec<Lint> {
    let is_told = |operation: &&str| told.iter().any(|(free, _)| free.contains(operation));
    let with = |name: &str| ASKED_WITH.iter().find(|(with, _)| *with == name).map(|(_, other)| *other);
    let guarded = |name: &str| is_asked(rules, name) || with(name).is_some_and(|other| is_asked(rules, other));
    let free = MAKING_PEOPLE.into_iter().filter(|name| !guarded(name) && !is_told(name));
    free.map(|operation| {
        let text = format!(
            "no rule asks for consent to `{operation}`: whoever may do that alone can make, or speak for, the people \
             whose consent all rules ask for; name it in a rule with seats"
        );
        lint("made-alone", &[], text)
    })
    .collect()
}

/// Roles that rules name and nobody has.
fn roles(rules: &Rules, people: &People) -> Vec<Lint> {
    let held: BTreeSet<&Name> = people.all().flat_map(|somebody| &somebody.party.roles).collect();
    let missing = rules.roles().into_iter().filter(|role| !held.contains(role));
    let of = |role: &Name| -> Vec<&Name> {
        rules.iter().filter(|rule| rule.roles().contains(role)).map(|rule| &rule.name).collect()
    };
    missing
        .map(|role| {
            let rules = of(&role);
            let named: Vec<String> = rules.iter().map(|rule| format!("`{rule}`")).collect();
            let text = format!(
                "nobody has the role `{role}` that {} {}: give it to somebody, or take it out of the rules",
                named.join(", "),
                if named.len() == 1 { "names" } else { "name" }
            );
            lint("role-of-nobody", &rules, text)
        })
        .collect()
}

/// Nobody could look at what was done; once rules are in force, giving somebody that right takes consent.
pub(super) fn unread(people: &People) -> Option<Lint> {
    let search: Name = catalogue::AUDIT_SEARCH.name.parse().ok()?;
    let mut assembly = people.assembly(Voters::All);
    if people.all().any(|somebody| assembly.asks(&somebody.party, &search, false).is_some()) {
        return None;
    }
    let text = "nobody may search the audit log: give somebody the role `key-auditor`";
    Some(lint("unread-log", &[], text.to_owned()))
}

/// People who count as two: principals that are one person only through a third one.
fn persons(rules: &Rules, people: &People) -> Vec<Lint> {
    let parties: Vec<Party> = people.all().map(|somebody| somebody.party.clone()).collect();
    let mut assembly = people.assembly(Voters::All);
    let mut found: BTreeMap<(Name, Name), BTreeSet<Name>> = BTreeMap::new();
    for person in by_person(parties).iter().filter(|person| person.len() > 2) {
        for (asker, voter) in person.iter().flat_map(|one| person.iter().map(move |other| (one, other))) {
            if asker.name == voter.name || asker.is_same_person(voter) {
                continue;
            }
            for rule in rules.iter() {
                let way = rule.ways.iter().find(|way| way.admits(asker));
                let suits = |way: &Way| way.seats.iter().any(|seat| voter.fits(seat, asker, &Owners::new()));
                let fits = way.is_some_and(suits);
                if fits && rule.operations.iter().any(|name| assembly.asks(asker, name, true).is_some()) {
                    let pair = (asker.name.clone(), voter.name.clone());
                    found.entry(pair).or_default().insert(rule.name.clone());
                }
            }
        }
    }
    let told = |((asker, voter), rules): ((Name, Name), BTreeSet<Name>)| {
        let text = format!(
            "`{voter}` could consent to what `{asker}` asks for, and both are one person through another principal: \
             give all of them the same `--person`"
        );
        Lint { name: "one-person-twice", rules, text }
    };
    found.into_iter().map(told).collect()
}
