//! Why a request is allowed or refused, and what would have to change.

use crate::decide::{Decision, Question, View};
use crate::name::PolicyName;
use crate::request::Request;
use crate::schema::NAMESPACE;
use crate::set::{ActionEntry, PolicySet, Statement, full_message};
use cedar_policy::{Authorizer, Policy};
use serde_json::{Value, json};

/// What a statement does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Permits.
    Permit,
    /// Forbids, and wins over every permit.
    Forbid,
}

/// How far a statement went for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It applies: everything it asks for holds.
    Applies,
    /// It is about other principals.
    OtherPrincipal {
        /// Which, in Cedar's words without the namespace.
        wanted: String,
    },
    /// It is about other resources.
    OtherResource {
        /// Which, in Cedar's words without the namespace.
        wanted: String,
    },
    /// Principal, action and resource fit; this condition, the first of them, does not hold.
    ConditionFalse {
        /// The condition in Cedar's words without the namespace.
        condition: String,
    },
    /// It could not be evaluated, so everything it might be about is refused.
    Failed {
        /// What happened.
        message: String,
    },
}

/// What one statement says about a request. Only statements that cover the action are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementTrace {
    /// The document.
    pub policy: PolicyName,
    /// The statement's `@id`, or its number in the document.
    pub statement: String,
    /// Its `@description`.
    pub description: Option<String>,
    /// Permit or forbid.
    pub effect: Effect,
    /// How far it went.
    pub outcome: Outcome,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision, the same as [`PolicySet::decide`] gives.
    pub decision: Decision,
    /// One sentence for a person.
    pub answer: String,
    /// Where refused: what would have to be there, nearest first. Each entry alone would do, unless something forbids.
    pub missing: Vec<String>,
    /// Every statement that covers the action: those that apply first, then by how near they came.
    pub statements: Vec<StatementTrace>,
}

impl Outcome {
    /// Smaller is nearer to applying.
    const fn distance(&self) -> u8 {
        match self {
            Self::Applies => 0,
            Self::Failed { .. } => 1,
            Self::ConditionFalse { .. } => 2,
            Self::OtherResource { .. } => 3,
            Self::OtherPrincipal { .. } => 4,
        }
    }
}

impl PolicySet {
    /// Explains. Much slower than [`PolicySet::decide`]; for people who ask, not for every request.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let decision = self.decide(request);
        let mut statements = match self.entry(request).and_then(|e| Ok((e, self.telling(e, request)?))) {
            Ok((entry, question)) => self.traces(entry, &question),
            Err(_) => Vec::new(),
        };
        statements.sort_by_key(|t| (t.outcome.distance(), t.effect == Effect::Permit));
        let answer = answer(request, &decision, &statements);
        let missing = if decision.allowed { Vec::new() } else { missing(&statements) };
        Explanation { decision, answer, missing, statements }
    }

    /// The question that is refused, where it is put in two ways.
    fn telling(&self, entry: &ActionEntry, request: &Request<'_>) -> Result<Question, String> {
        let (first, others) = View::of(request);
        let refused = |view: &&View| !self.decide_view(entry, request, **view).allowed;
        let view = std::iter::once(&first).chain(others).find(refused).unwrap_or(&first);
        self.question(entry, request, *view)
    }

    fn traces(&self, entry: &ActionEntry, question: &Question) -> Vec<StatementTrace> {
        let trace = |s: &Statement| StatementTrace {
            policy: s.policy.clone(),
            statement: s.label.clone(),
            description: s.description.clone(),
            effect: s.effect,
            outcome: outcome(&s.json, question),
        };
        entry.statements.iter().map(|&i| trace(&self.statements[i])).collect()
    }
}

/// Evaluates a statement's parts one after the other, the way Cedar would, and stops at the first that does not hold.
fn outcome(statement: &Value, question: &Question) -> Outcome {
    let (all, none) = (json!({"op": "All"}), json!([]));
    let scope = |part: &str| statement.get(part).cloned().unwrap_or_else(|| all.clone());
    let (principal, resource) = (scope("principal"), scope("resource"));
    match holds(question, &principal, &all, &none) {
        Err(message) => return Outcome::Failed { message },
        Ok(false) => return Outcome::OtherPrincipal { wanted: wanted("principal", &principal) },
        Ok(true) => {}
    }
    match holds(question, &all, &resource, &none) {
        Err(message) => return Outcome::Failed { message },
        Ok(false) => return Outcome::OtherResource { wanted: wanted("resource", &resource) },
        Ok(true) => {}
    }
    for clause in conjuncts(statement) {
        let clauses = Value::Array(vec![clause]);
        match holds(question, &all, &all, &clauses) {
            Err(message) => return Outcome::Failed { message },
            Ok(false) => return Outcome::ConditionFalse { condition: condition_text(clauses) },
            Ok(true) => {}
        }
    }
    Outcome::Applies
}

/// The conditions as separate clauses: `when { a && b }` is `a` and `b`; `unless { a || b }` is unless `a`, unless `b`.
pub(crate) fn conjuncts(statement: &Value) -> Vec<Value> {
    let mut clauses = Vec::new();
    for condition in statement.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let (Some(kind), Some(body)) = (condition.get("kind"), condition.get("body")) else {
            clauses.push(condition.clone());
            continue;
        };
        let operator = if kind == "unless" { "||" } else { "&&" };
        let mut parts = Vec::new();
        split(body, operator, &mut parts);
        clauses.extend(parts.into_iter().map(|part| json!({"kind": kind, "body": part})));
    }
    clauses
}

fn split<'a>(body: &'a Value, operator: &str, parts: &mut Vec<&'a Value>) {
    let operands = body.get(operator).and_then(|o| Some((o.get("left")?, o.get("right")?)));
    match operands {
        Some((left, right)) => {
            split(left, operator, parts);
            split(right, operator, parts);
        }
        None => parts.push(body),
    }
}

fn permit(principal: &Value, resource: &Value, conditions: &Value) -> Value {
    json!({
        "effect": "permit",
        "principal": principal,
        "action": {"op": "All"},
        "resource": resource,
        "conditions": conditions,
    })
}

pub(crate) fn holds(
    question: &Question,
    principal: &Value,
    resource: &Value,
    conditions: &Value,
) -> Result<bool, String> {
    let policy = Policy::from_json(None, permit(principal, resource, conditions)).map_err(|e| full_message(&e))?;
    let set = cedar_policy::PolicySet::from_policies([policy]).map_err(|e| full_message(&e))?;
    let response = Authorizer::new().is_authorized(&question.request, &set, &question.entities);
    if let Some(cedar_policy::AuthorizationError::PolicyEvaluationError(e)) = response.diagnostics().errors().next() {
        return Err(full_message(e.inner()));
    }
    Ok(response.decision() == cedar_policy::Decision::Allow)
}

/// A scope constraint in words: `principal in Role::"key-admin"`.
fn wanted(variable: &str, constraint: &Value) -> String {
    let entity = |e: &Value| {
        let part = |name: &str| e.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        short(&format!("{}::\"{}\"", part("type"), part("id")))
    };
    let operator = constraint.get("op").and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{variable} {operator}");
    if let Some(kind) = constraint.get("entity_type").and_then(Value::as_str) {
        text = format!("{text} {}", short(kind));
    }
    if let Some(e) = constraint.get("entity") {
        text = format!("{text} {}", entity(e));
    }
    if let Some(e) = constraint.get("in").and_then(|i| i.get("entity")) {
        text = format!("{text} in {}", entity(e));
    }
    text
}

/// Conditions as they would be written, without the policy around them.
fn condition_text(clauses: Value) -> String {
    let all = json!({"op": "All"});
    let text = Policy::from_json(None, permit(&all, &all, &clauses)).ok().and_then(|p| p.to_cedar());
    let text = text.unwrap_or_default();
    let start = [" when ", " unless ", "\nwhen ", "\nunless "].iter().filter_map(|w| text.find(w)).min();
    let text = start.map_or(text.as_str(), |at| &text[at..]).trim().trim_end_matches(';');
    let words: Vec<&str> = text.split_whitespace().collect();
    short(&words.join(" "))
}

fn short(text: &str) -> String {
    text.replace(&format!("{NAMESPACE}::"), "")
}

fn names(policies: &[PolicyName]) -> String {
    let quoted: Vec<String> = policies.iter().map(|p| format!("`{p}`")).collect();
    quoted.join(", ")
}

fn answer(request: &Request<'_>, decision: &Decision, statements: &[StatementTrace]) -> String {
    let kind = request.resource.details.kind();
    let thing = match kind.word() {
        word if word.starts_with("the ") => word.to_owned(),
        word => format!("{word} \"{}\"", request.resource.id),
    };
    let deed = format!("{} on {thing} to {}", request.action, request.principal.name);
    let permits = || statements.iter().filter(|t| t.effect == Effect::Permit);
    if decision.allowed {
        format!("Allowed: {} permits {deed}.", names(&decision.reasons))
    } else if let Some(failure) = decision.errors.first() {
        format!("Refused: {failure}; what cannot be evaluated is refused.")
    } else if !decision.denied_by.is_empty() {
        format!("Refused: {} forbids {deed}, and that wins over any permit.", names(&decision.denied_by))
    } else if let Some(nearest) = permits().next() {
        let why = match &nearest.outcome {
            Outcome::ConditionFalse { condition } => format!("its condition does not hold: {condition}"),
            Outcome::OtherPrincipal { wanted } | Outcome::OtherResource { wanted } => format!("it asks for {wanted}"),
            Outcome::Applies | Outcome::Failed { .. } => "it cannot be evaluated".to_owned(),
        };
        format!("Refused: no policy permits {deed}; `{}` comes nearest, but {why}.", nearest.policy)
    } else {
        format!("Refused: no policy permits {} to anybody.", request.action)
    }
}

fn missing(statements: &[StatementTrace]) -> Vec<String> {
    let forbidding = statements.iter().filter(|t| t.effect == Effect::Forbid && t.outcome == Outcome::Applies);
    let mut found: Vec<String> =
        forbidding.map(|t| format!("`{}` ({}) would have to stop forbidding it", t.policy, t.statement)).collect();
    for t in statements {
        let (name, statement) = (&t.policy, &t.statement);
        match &t.outcome {
            Outcome::Failed { message } => {
                found.push(format!("`{name}` ({statement}) would have to be repaired: {message}"));
            }
            Outcome::ConditionFalse { condition } if t.effect == Effect::Permit => {
                found.push(format!("for `{name}` ({statement}): {condition}"));
            }
            Outcome::OtherPrincipal { wanted } | Outcome::OtherResource { wanted } if t.effect == Effect::Permit => {
                found.push(format!("for `{name}` ({statement}): {wanted}"));
            }
            Outcome::Applies
            | Outcome::ConditionFalse { .. }
            | Outcome::OtherPrincipal { .. }
            | Outcome::OtherResource { .. } => {}
        }
    }
    if found.is_empty() {
        found.push("a policy that permits this action".to_owned());
    }
    found
}
