//! Conditions of approval rules: which rules hold for a request.
//!
//! A rule says in data which operations it is about and whose consent they need; only its condition is Cedar, an
//! expression over the same schema as policies. Each rule becomes one `permit` in a policy set of its own, and "holds"
//! is that this statement applies. So conditions have the syntax, the types, the limits and the evaluation of policies,
//! and one that cannot be evaluated is an error for whoever asks, never a rule that silently does not hold.

use crate::action::ResourceKind;
use crate::analysis::is_var;
use crate::complexity;
use crate::decide::{Decision, EvaluationFailure, View};
use crate::name::PolicyName;
use crate::request::{ContextAttrs, PrincipalAttrs, Request, ResourceAttrs};
use crate::schema::{NAMESPACE, Schema};
use crate::set::{PolicyProblem, PolicySet, full_message};
use cedar_policy::Expression;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr as _;

/// The rules that Keyreeve ships with, in the TOML of rule books: who must agree to what, as the template has it.
pub const SHIPPED: &str = include_str!("../rules/s4.toml");

/// What of a rule this crate looks at.
#[derive(Debug, Clone, Copy)]
pub struct RuleText<'a> {
    /// Its name: unique, and valid as the name of a policy.
    pub name: &'a str,
    /// Actions of the catalogue; groups are not taken, for what is approved is one operation.
    pub operations: &'a [&'a str],
    /// The condition: a Cedar expression, without `when` and braces. None holds always.
    pub when: Option<&'a str>,
}

/// Something wrong with a rule, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The rule.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where there is something to say.
    pub help: Option<String>,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`: {}", self.rule, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for RuleProblem {}

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Who asks.
    pub asker: bool,
    /// The circumstances of the request.
    pub circumstances: bool,
    /// Attributes of the resource, by name.
    pub attributes: BTreeSet<String>,
    /// Labels of anything.
    pub labels: bool,
}

impl Looked {
    fn read(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.read(item)),
            Value::Object(map) => {
                self.asker |= is_var(node, "principal");
                self.circumstances |= is_var(node, "context");
                self.labels |= map.contains_key("hasTag") || map.contains_key("getTag");
                if let Some(access) = map.get(".").or_else(|| map.get("has"))
                    && access.get("left").is_some_and(|left| is_var(left, "resource"))
                {
                    self.attributes.extend(access.get("attr").and_then(Value::as_str).map(str::to_owned));
                }
                map.values().for_each(|part| self.read(part));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The conditions of a rule book, compiled. Immutable; share it with an `Arc`.
#[derive(Debug)]
pub struct RuleSet {
    set: PolicySet,
    /// The actions that some rule is about, with their kind of resource; sorted by name.
    concerned: Vec<(&'static str, ResourceKind)>,
}

impl RuleSet {
    /// Compiles conditions. Nothing applies unless all is right. Never panics and uses bounded stack, whatever the
    /// text.
    ///
    /// # Errors
    /// Every problem found. A condition that can never hold is one: it would look like a rule and be none.
    pub fn compile<'a>(
        schema: &Schema,
        rules: impl IntoIterator<Item = RuleText<'a>>,
    ) -> Result<Self, Vec<RuleProblem>> {
        let (mut documents, mut problems) = (Vec::new(), Vec::new());
        for rule in rules {
            match document(schema, &rule) {
                Ok(document) => documents.push(document),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let count = documents.len();
        let told = |problems: Vec<PolicyProblem>| problems.into_iter().map(of_policy).collect::<Vec<_>>();
        let set = PolicySet::compile(schema, documents).map_err(told)?;
        if !set.warnings().is_empty() {
            return Err(set.warnings().iter().cloned().map(of_policy).collect());
        }
        // What is an expression stays inside of its braces; this only says so once more.
        assert_eq!(set.len(), count, "each rule is one statement");
        let concerned = schema.actions().iter().filter(|action| is_concerned(&set, action.name));
        let concerned = concerned.map(|action| (action.name, action.resource)).collect();
        Ok(Self { set, concerned })
    }

    /// Whether some rule is about an action. What callers ask first, so that other actions pay for nothing more.
    pub fn concerns(&self, action: &str) -> bool {
        self.concerned.binary_search_by_key(&action, |(name, _)| name).is_ok()
    }

    /// What the condition of a rule looks at; nothing where it has none.
    pub fn looks_at(&self, rule: &str) -> Looked {
        let mut looked = Looked::default();
        let of_rule = self.set.statements.iter().filter(|statement| statement.policy.as_str() == rule);
        of_rule.filter_map(|statement| statement.json.get("conditions")).for_each(|node| looked.read(node));
        looked
    }

    /// The actions that some rule is about, sorted.
    pub fn actions(&self) -> impl Iterator<Item = &'static str> {
        self.concerned.iter().map(|(name, _)| *name)
    }

    /// The rules that hold for a request, by name and sorted.
    ///
    /// # Errors
    /// When a condition could not be evaluated: whoever asks must refuse.
    pub fn matching(&self, request: &Request<'_>) -> Result<Vec<PolicyName>, EvaluationFailure> {
        let (first, others) = View::of(request);
        let mut found: BTreeSet<PolicyName> = self.matching_view(request, first)?.into_iter().collect();
        for view in others {
            found.extend(self.matching_view(request, *view)?);
        }
        Ok(found.into_iter().collect())
    }

    fn matching_view(&self, request: &Request<'_>, view: View) -> Result<Vec<PolicyName>, EvaluationFailure> {
        let mut decision = match self.set.entry(request) {
            Ok(entry) => self.set.decide_view(entry, request, view),
            Err(message) => Decision::refused(message),
        };
        match decision.errors.pop() {
            Some(failure) => Err(failure),
            None => Ok(decision.reasons),
        }
    }

    /// Whether some rule is about a kind of thing, whatever is done with it: then altering one may take it out of that
    /// rule's reach, or bring it there.
    pub fn concerns_kind(&self, kind: ResourceKind) -> bool {
        self.concerned.iter().any(|(_, resource)| *resource == kind)
    }

    /// The rules that hold for something as it is or for it as it becomes, and not for both, for whichever action of
    /// theirs: whoever takes away the label that a rule looks at needs the consent which that rule asks for, and so
    /// does whoever makes something that the rule should have been asked about, only later.
    ///
    /// # Errors
    /// As [`RuleSet::matching`].
    pub fn crossed(
        &self,
        principal: &PrincipalAttrs,
        before: &ResourceAttrs,
        after: &ResourceAttrs,
        context: &ContextAttrs<'_>,
    ) -> Result<Vec<PolicyName>, EvaluationFailure> {
        let (kind, view) = (before.details.kind(), View::to_compare(principal, before));
        let mut crossed = BTreeSet::new();
        for (action, _) in self.concerned.iter().filter(|(_, resource)| *resource == kind) {
            let matching = |resource| self.matching_view(&Request { principal, action, resource, context }, view);
            let (held, holds) = (matching(before)?, matching(after)?);
            crossed.extend(held.iter().filter(|rule| !holds.contains(rule)).cloned());
            crossed.extend(holds.iter().filter(|rule| !held.contains(rule)).cloned());
        }
        Ok(crossed.into_iter().collect())
    }
}

fn is_concerned(set: &PolicySet, action: &str) -> bool {
    set.action(action).is_some_and(|entry| !entry.statements.is_empty())
}

fn of_policy(problem: PolicyProblem) -> RuleProblem {
    RuleProblem { rule: problem.policy.to_string(), message: problem.message, help: problem.help }
}

/// A rule as a policy document of one statement.
fn document(schema: &Schema, rule: &RuleText<'_>) -> Result<(PolicyName, String), RuleProblem> {
    let problem = |message: String| RuleProblem { rule: rule.name.to_owned(), message, help: None };
    let name = PolicyName::new(rule.name).map_err(|e| problem(e.to_string()))?;
    let known = |action: &str| schema.actions().iter().any(|known| known.name == action);
    if let Some(unknown) = rule.operations.iter().find(|action| !known(action)) {
        return Err(problem(format!("there is no operation `{unknown}`")));
    }
    if rule.operations.is_empty() {
        return Err(problem("it names no operation".to_owned()));
    }
    let actions: Vec<String> = rule.operations.iter().map(|a| format!("{NAMESPACE}::Action::\"{a}\"")).collect();
    let scope = format!("permit (principal, action in [{}], resource)", actions.join(", "));
    let Some(when) = rule.when else { return Ok((name, format!("{scope};"))) };
    complexity::check(when).map_err(|e| problem(e.message))?;
    Expression::from_str(when).map_err(|e| problem(format!("`when` is no expression: {}", full_message(&e))))?;
    // The line break ends a comment.
    Ok((name, format!("{scope} when {{\n{when}\n}};")))
}
