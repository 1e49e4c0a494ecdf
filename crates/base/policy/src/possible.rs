//! Whether somebody could be allowed something at all: on some resource, under some circumstances.
//!
//! Asked before there is a request, about people who would have to make one. What a statement demands of the principal
//! is looked at; what it demands of the circumstances, or of what is not known of the resource, is taken to be as it
//! would have to be. So this errs towards "yes": a "no" means that no request of theirs can be allowed.

use crate::analysis::is_var;
use crate::decide::{Question, View};
use crate::diff::sample;
use crate::explain::{Effect, conjuncts, holds};
use crate::request::{
    ContextAttrs, Method, PrincipalAttrs, PrincipalKind, Request, ResourceAttrs, ResourceDetails, Revision,
};
use crate::set::{PolicySet, Statement};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// What is known of the resource that somebody would ask about.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing but its kind.
    Kind,
    /// This, but for these attributes and which one it is.
    But(ResourceDetails, &'static [&'static str]),
}

/// What principals have in common who are treated alike.
type Class = (PrincipalKind, Vec<String>, BTreeMap<String, String>);

/// Who could be allowed one action. Remembers what it found about principals that policies cannot tell apart.
#[derive(Debug)]
pub struct Possible<'a> {
    set: &'a PolicySet,
    action: String,
    /// A statement about the action speaks of single principals.
    singles_out: bool,
    resource: Option<ResourceAttrs>,
    /// Attributes of the resource that are not known; none where all of them are not.
    unknown: Option<&'static [&'static str]>,
    found: HashMap<Class, bool>,
}

impl PolicySet {
    /// Who could be allowed an action.
    pub fn possible(&self, action: &str, known: Known) -> Possible<'_> {
        let entry = self.action(action);
        let mut statements = entry.into_iter().flat_map(|entry| &entry.statements).map(|&at| &self.statements[at]);
        let singles_out = statements.any(|statement| singles_out(&statement.json));
        let (details, unknown) = match known {
            Known::Kind => (entry.map(|entry| sample(entry.spec.resource, "somebody")), None),
            Known::But(details, unknown) => (Some(details), Some(unknown)),
        };
        let resource = details.map(|details| {
            let id = match &details {
                ResourceDetails::Principal(other) => other.id.clone(),
                _ => "any".to_owned(),
            };
            ResourceAttrs { id, revision: Revision::Unstored, details }
        });
        Possible { set: self, action: action.to_owned(), singles_out, resource, unknown, found: HashMap::new() }
    }
}

impl Possible<'_> {
    /// Whether a principal could be allowed the action.
    pub fn is(&mut self, principal: &PrincipalAttrs) -> bool {
        if self.singles_out {
            return self.decide(principal);
        }
        let class = class(principal);
        if let Some(found) = self.found.get(&class) {
            return *found;
        }
        let found = self.decide(principal);
        self.found.insert(class, found);
        found
    }

    fn decide(&self, principal: &PrincipalAttrs) -> bool {
        let Some(resource) = &self.resource else { return false };
        // Whatever depends on the circumstances is not looked at: any will do.
        let context = ContextAttrs {
            source_ip: None,
            time_ms: 0,
            method: Method::Token,
            mfa_age_seconds: None,
            mfa_kind: None,
            login: None,
            emergency: false,
            encryption_context: None,
            items: 1,
        };
        let request = Request { principal, action: &self.action, resource, context: &context };
        let asked =
            self.set.entry(&request).and_then(|entry| Ok((entry, self.set.question(entry, &request, View::Usual)?)));
        let Ok((entry, question)) = asked else { return false };
        let of = |effect: Effect| {
            let all = entry.statements.iter().map(|&at| &self.set.statements[at]);
            all.filter(move |statement| statement.effect == effect)
        };
        let forbidden = of(Effect::Forbid).any(|statement| self.reach(statement, &question) == Reach::Applies);
        !forbidden && of(Effect::Permit).any(|statement| self.reach(statement, &question) != Reach::Not)
    }

    fn reach(&self, statement: &Statement, question: &Question) -> Reach {
        let (all, none) = (json!({"op": "All"}), json!([]));
        let scope = |part: &str| statement.json.get(part).cloned().unwrap_or_else(|| all.clone());
        let (principal, resource) = (scope("principal"), scope("resource"));
        let mut reach = Reach::of(holds(question, &principal, &all, &none));
        if reach == Reach::Not {
            return reach;
        }
        // Every resource of an action is of one kind: this says either "all" or "none".
        let by_kind = matches!(resource.get("op").and_then(Value::as_str), Some("All" | "is"));
        reach = reach.and(match by_kind && resource.get("in").is_none() {
            true => Reach::of(holds(question, &all, &resource, &none)),
            false => Reach::Perhaps,
        });
        for clause in conjuncts(&statement.json) {
            if reach == Reach::Not {
                break;
            }
            let open = is_open(&clause, self.unknown);
            let clauses = Value::Array(vec![clause]);
            reach = reach.and(if open { Reach::Perhaps } else { Reach::of(holds(question, &all, &all, &clauses)) });
        }
        reach
    }
}

/// How far a statement reaches, whatever the circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It applies.
    Applies,
    /// It may apply.
    Perhaps,
    /// It does not.
    Not,
}

impl Reach {
    fn of(holds: Result<bool, String>) -> Self {
        match holds {
            Ok(true) => Self::Applies,
            Ok(false) => Self::Not,
            // What cannot be evaluated here may be with another resource.
            Err(_) => Self::Perhaps,
        }
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Not, _) | (_, Self::Not) => Self::Not,
            (Self::Applies, Self::Applies) => Self::Applies,
            _ => Self::Perhaps,
        }
    }
}

fn class(principal: &PrincipalAttrs) -> Class {
    let mut roles = principal.roles.clone();
    roles.sort_unstable();
    (principal.kind, roles, principal.labels.clone())
}

/// Whether a condition depends on what is not known: the circumstances, or an attribute of the resource.
fn is_open(node: &Value, unknown: Option<&[&str]>) -> bool {
    match node {
        Value::Array(items) => items.iter().any(|item| is_open(item, unknown)),
        Value::Object(map) => {
            if is_var(node, "context") || is_var(node, "resource") {
                return true;
            }
            if let Some(access) = map.get(".").or_else(|| map.get("has"))
                && access.get("left").is_some_and(|left| is_var(left, "resource"))
            {
                let (Some(unknown), Some(attr)) = (unknown, access.get("attr")) else { return true };
                return unknown.iter().any(|name| attr == name);
            }
            map.values().any(|part| is_open(part, unknown))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether a statement speaks of single principals: by their entity, or by an attribute that tells them apart.
fn singles_out(statement: &Value) -> bool {
    let by_scope = statement.get("principal").is_some_and(|scope| {
        let operator = scope.get("op").and_then(Value::as_str);
        operator == Some("==")
    });
    let conditions = conjuncts(statement);
    by_scope || conditions.iter().filter(|clause| !is_open(clause, None)).any(tells_apart)
}

fn tells_apart(node: &Value) -> bool {
    match node {
        Value::Array(items) => items.iter().any(tells_apart),
        Value::Object(map) => {
            if let Some(access) = map.get(".").or_else(|| map.get("has"))
                && access.get("left").is_some_and(|left| is_var(left, "principal"))
            {
                return access.get("attr").is_none_or(|attr| attr != "kind");
            }
            let entity = map.get("__entity").and_then(|entity| entity.get("type")).and_then(Value::as_str);
            entity.is_some_and(|kind| kind.ends_with("::Principal")) || map.values().any(tells_apart)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionSpec, ResourceKind};
    use crate::name::PolicyName;
    use crate::schema::Schema;

    const VOTE: ActionSpec = ActionSpec { name: "approval.vote", resource: ResourceKind::Approval, groups: &[] };

    fn compiled(text: &str) -> PolicySet {
        let schema = Schema::generate(&[VOTE]).unwrap();
        PolicySet::compile(&schema, [(PolicyName::new("p").unwrap(), text.to_owned())]).unwrap()
    }

    fn somebody(name: &str, roles: &[&str]) -> PrincipalAttrs {
        PrincipalAttrs {
            id: name.to_owned(),
            revision: Revision::Unstored,
            name: name.to_owned(),
            kind: PrincipalKind::Person,
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            networks: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn but_the_proposer() -> Known {
        let details = ResourceDetails::Approval { operation: "key.rotate".to_owned(), proposer: "x".to_owned() };
        Known::But(details, &["proposer"])
    }

    fn could(text: &str, principal: &PrincipalAttrs) -> bool {
        compiled(text).possible(VOTE.name, but_the_proposer()).is(principal)
    }

    #[test]
    fn what_is_not_known_is_taken_to_be_as_it_would_have_to_be() {
        let carl = somebody("carl", &["ciso"]);
        for text in [
            "permit (principal, action, resource);",
            "permit (principal in Keyreeve::Role::\"ciso\", action, resource) when { context.items > 7 };",
            "permit (principal, action, resource) when { resource.proposer == \"nobody\" };",
            "permit (principal, action, resource); forbid (principal, action, resource) when { context.emergency };",
            "permit (principal, action, resource is Keyreeve::Approval) when { resource.operation == \"key.rotate\" };",
            "permit (principal, action, resource == Keyreeve::Approval::\"apr_1\");",
        ] {
            assert!(could(text, &carl), "{text}");
        }
    }

    #[test]
    fn what_is_known_is_looked_at() {
        let carl = somebody("carl", &["ciso"]);
        for text in [
            "permit (principal in Keyreeve::Role::\"legal\", action, resource);",
            "permit (principal, action, resource) when { principal in Keyreeve::Role::\"x\" && context.items > 7 };",
            "permit (principal, action, resource) when { resource.operation == \"key.create\" };",
            "permit (principal, action, resource);
             forbid (principal in Keyreeve::Role::\"ciso\", action, resource);",
            "permit (principal, action, resource);
             forbid (principal, action, resource) when { resource.operation == \"key.rotate\" };",
            "permit (principal, action, resource);
             forbid (principal, action, resource) unless { principal.name == \"sue\" };",
        ] {
            assert!(!could(text, &carl), "{text}");
        }
        let by_operation = "permit (principal, action, resource) when { resource.operation == \"key.create\" };";
        assert!(compiled(by_operation).possible(VOTE.name, Known::Kind).is(&carl), "of another request it may be true");
    }

    #[test]
    fn every_kind_of_resource_can_be_asked_about() {
        for kind in ResourceKind::ALL {
            let spec = ActionSpec { name: "some.thing", resource: kind, groups: &[] };
            let schema = Schema::generate(&[spec]).unwrap();
            let text = "permit (principal, action, resource);".to_owned();
            let set = PolicySet::compile(&schema, [(PolicyName::new("p").unwrap(), text)]).unwrap();
            assert!(set.possible(spec.name, Known::Kind).is(&somebody("carl", &[])), "{kind:?}");
            assert!(!set.possible("other.thing", Known::Kind).is(&somebody("carl", &[])));
        }
    }

    #[test]
    fn people_whom_policies_tell_apart_are_asked_about_one_by_one() {
        let (sue, carl) = (somebody("sue", &["ciso"]), somebody("carl", &["ciso"]));
        for text in [
            "permit (principal == Keyreeve::Principal::\"sue\", action, resource);",
            "permit (principal, action, resource) when { principal.name == \"sue\" };",
            "permit (principal, action, resource) when { [Keyreeve::Principal::\"sue\"].contains(principal) };",
        ] {
            let set = compiled(text);
            let mut possible = set.possible(VOTE.name, but_the_proposer());
            assert!(possible.is(&sue), "{text}");
            assert!(!possible.is(&carl), "{text}");
        }
        let set = compiled("permit (principal in Keyreeve::Role::\"ciso\", action, resource);");
        let mut possible = set.possible(VOTE.name, but_the_proposer());
        assert!(possible.is(&sue) && possible.is(&carl) && possible.found.len() == 1);
        assert!(!possible.is(&somebody("lea", &["legal"])));
    }
}
