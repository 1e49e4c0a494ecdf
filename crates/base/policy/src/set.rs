//! Compiling policies: parse, check limits, type-check against the schema, index by action.

use crate::action::{ActionSpec, groups};
use crate::analysis::{Mentions, lint, roles};
use crate::complexity;
use crate::decide::Types;
use crate::explain::Effect;
use crate::name::PolicyName;
use crate::schema::{NAMESPACE, Schema, SchemaProblem};
use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, ValidationError, ValidationMode, Validator};
use miette::Diagnostic;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

/// Something wrong with a policy, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The document.
    pub policy: PolicyName,
    /// Line in the document, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where there is something to say.
    pub help: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy `{}`", self.policy)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for PolicyProblem {}

/// One `permit` or `forbid` of a document.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) policy: PolicyName,
    /// Its `@id`, or its number in the document.
    pub(crate) label: String,
    pub(crate) description: Option<String>,
    pub(crate) effect: Effect,
    /// Cedar's JSON form.
    pub(crate) json: serde_json::Value,
    line: usize,
    cedar: Policy,
}

/// What the policies say about one action.
#[derive(Debug)]
pub(crate) struct ActionEntry {
    pub(crate) spec: ActionSpec,
    /// Position in the catalogue: stands for the action in cache keys.
    pub(crate) index: usize,
    pub(crate) uid: EntityUid,
    /// The action's entity, with its groups as parents.
    pub(crate) entity: cedar_policy::Entity,
    /// Indexes of the statements whose action scope covers it.
    pub(crate) statements: Vec<usize>,
    pub(crate) cedar: Arc<cedar_policy::PolicySet>,
    pub(crate) mentions: Mentions,
}

/// A compiled, validated set of policies. Immutable; share it with an `Arc`.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) statements: Vec<Statement>,
    actions: HashMap<&'static str, ActionEntry>,
    pub(crate) types: Types,
    warnings: Vec<PolicyProblem>,
}

impl PolicySet {
    /// Parses and validates documents. A document may hold several statements; `@id("...")` names one and
    /// `@description("...")` says what it is for, both come back in explanations. Nothing applies unless all is right.
    ///
    /// Never panics and uses bounded stack, whatever the text.
    ///
    /// # Errors
    /// Every problem found, sorted by policy and line.
    pub fn compile<N, T>(
        schema: &Schema,
        documents: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, Vec<PolicyProblem>>
    where
        N: Into<PolicyName>,
        T: AsRef<str>,
    {
        let (mut statements, mut problems, mut texts) = (Vec::new(), Vec::new(), HashMap::new());
        for (name, text) in documents {
            let (name, text) = (name.into(), text.as_ref().to_owned());
            if texts.contains_key(&name) {
                problems.push(problem(&name, None, "there are two policies of this name"));
                continue;
            }
            match parse(&name, &text, statements.len()) {
                Ok(parsed) => statements.extend(parsed),
                Err(found) => problems.extend(found),
            }
            texts.insert(name, text);
        }
        problems.extend(
            statements
                .iter()
                .flat_map(|s| lint(&s.json).into_iter().map(|message| problem(&s.policy, Some(s.line), message))),
        );
        let warnings = validate(schema, &statements, &texts, &mut problems);
        if problems.is_empty() { Ok(Self::index(schema, statements, warnings)) } else { Err(problems) }
    }

    /// The policies Keyreeve ships with, see [`crate::shipped`].
    ///
    /// # Errors
    /// [`SchemaProblem`] when the catalogue makes no schema, or does not fit the shipped policies.
    pub fn shipped(actions: &[ActionSpec]) -> Result<Self, SchemaProblem> {
        let schema = Schema::generate(actions)?;
        Self::compile(&schema, crate::shipped::documents()).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            SchemaProblem::Invalid(lines.join("; "))
        })
    }

    /// What is allowed but probably not meant, such as a statement that can never apply.
    pub fn warnings(&self) -> &[PolicyProblem] {
        &self.warnings
    }

    /// The roles that policies name. A principal gains and loses nothing by any other.
    pub fn roles(&self) -> BTreeSet<String> {
        let (mut found, role) = (BTreeSet::new(), format!("{NAMESPACE}::Role"));
        self.statements.iter().for_each(|statement| roles(&statement.json, &role, &mut found));
        found
    }

    /// The actions about which the other set does not say the same, however it is spread over documents.
    pub(crate) fn actions_that_differ(&self, other: &Self) -> Vec<ActionSpec> {
        let said = |set: &Self, name: &str| {
            let statements = set.actions.get(name).map(|entry| entry.statements.as_slice()).unwrap_or_default();
            let mut said: Vec<String> = statements.iter().map(|&i| set.statements[i].json.to_string()).collect();
            said.sort_unstable();
            said
        };
        let differs = |entry: &&ActionEntry| said(self, entry.spec.name) != said(other, entry.spec.name);
        let mut differing: Vec<ActionSpec> = self.actions.values().filter(differs).map(|entry| entry.spec).collect();
        differing.sort_unstable_by_key(|spec| spec.name);
        differing
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there is no statement, so that everything is refused.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Actions of the catalogue that no `permit` covers: nobody can do them.
    pub fn actions_without_policy(&self) -> Vec<&'static str> {
        let covered = |e: &ActionEntry| e.statements.iter().any(|&i| self.statements[i].effect == Effect::Permit);
        let mut names: Vec<&'static str> = self.actions.values().filter(|e| !covered(e)).map(|e| e.spec.name).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn action(&self, name: &str) -> Option<&ActionEntry> {
        self.actions.get(name)
    }

    /// The same set, made to hand every attribute to Cedar: what tests compare the trimmed form with.
    #[doc(hidden)]
    #[must_use]
    pub fn untrimmed(mut self) -> Self {
        for entry in self.actions.values_mut() {
            entry.mentions = Mentions::everything();
        }
        self
    }

    fn index(schema: &Schema, statements: Vec<Statement>, warnings: Vec<PolicyProblem>) -> Self {
        let types = Types::new();
        let of_statement: Vec<Mentions> = statements.iter().map(|s| Mentions::of_policy(&s.json)).collect();
        // Most actions are covered by the same statements as the others of their group: those share one set.
        let mut sets: HashMap<Vec<usize>, Arc<cedar_policy::PolicySet>> = HashMap::new();
        let entry = |(index, spec): (usize, &ActionSpec)| {
            let uid = types.action(spec.name);
            let groups: Vec<EntityUid> = spec.groups.iter().map(|g| types.action(g)).collect();
            let covers = |s: &Statement| match s.cedar.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(one) => one == uid,
                ActionConstraint::In(many) => many.iter().any(|m| *m == uid || groups.contains(m)),
            };
            let chosen: Vec<usize> = (0..statements.len()).filter(|&i| covers(&statements[i])).collect();
            let mut mentions = Mentions::default();
            chosen.iter().for_each(|&i| mentions.merge(&of_statement[i]));
            let cedar = sets.entry(chosen.clone()).or_insert_with(|| Arc::new(together(&statements, &chosen))).clone();
            let entity = cedar_policy::Entity::new_no_attrs(uid.clone(), groups.into_iter().collect());
            (spec.name, ActionEntry { spec: *spec, index, uid, entity, statements: chosen, cedar, mentions })
        };
        let actions = schema.actions.iter().enumerate().map(entry).collect();
        Self { statements, actions, types, warnings }
    }
}

fn together(statements: &[Statement], chosen: &[usize]) -> cedar_policy::PolicySet {
    let mut set = cedar_policy::PolicySet::new();
    for &i in chosen {
        let added = set.add(statements[i].cedar.clone());
        // Ids are the statements' numbers, so none can be there already; a lost `forbid` would be a hole.
        assert!(added.is_ok(), "two statements have one number");
    }
    set
}

fn problem(policy: &PolicyName, line: Option<usize>, message: impl Into<String>) -> PolicyProblem {
    PolicyProblem { policy: policy.clone(), line, message: message.into(), help: None }
}

/// The number in a statement's id: `17` here, `policy17` as Cedar numbers them.
pub(crate) fn number_of(id: &PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().ok()
}

fn line_at(text: &str, offset: usize) -> usize {
    let upto = &text.as_bytes()[..offset.min(text.len())];
    upto.iter().filter(|&&b| b == b'\n').count() + 1
}

/// An error with its causes, in one line.
pub(crate) fn full_message(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Cedar speaks of "for policy `3`, "; the number means nothing outside and the document is named anyway.
fn without_number(message: &str) -> String {
    let rest = message.strip_prefix("for policy `").and_then(|m| m.split_once("`, "));
    rest.map_or(message, |(_number, rest)| rest).to_owned()
}

fn from_diagnostic<D>(policy: &PolicyName, text: &str, error: &D) -> PolicyProblem
where
    D: Diagnostic + std::error::Error + 'static,
{
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let message = without_number(&full_message(error).replace(&format!("{NAMESPACE}::"), ""));
    let help = error.help().map(|h| without_number(&h.to_string()));
    PolicyProblem { policy: policy.clone(), line: offset.map(|o| line_at(text, o)), message, help }
}

/// The statements of one document, numbered from `first` across all documents.
fn parse(name: &PolicyName, text: &str, first: usize) -> Result<Vec<Statement>, Vec<PolicyProblem>> {
    if let Err(e) = complexity::check(text) {
        return Err(vec![problem(name, Some(line_at(text, e.offset)), e.message)]);
    }
    let parsed = cedar_policy::PolicySet::from_str(text)
        .map_err(|errors| errors.iter().map(|e| from_diagnostic(name, text, e)).collect::<Vec<_>>())?;
    if parsed.num_of_templates() > 0 {
        let message = "templates (?principal, ?resource) are not supported: write the principal and resource out";
        return Err(vec![problem(name, None, message)]);
    }
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    // Cedar numbers the statements of a text: policy0, policy1, ...
    policies.sort_by_key(|p| number_of(p.id()));
    if policies.is_empty() {
        return Err(vec![problem(name, None, "there is no statement in it: write `permit (...);` or `forbid (...);`")]);
    }
    let mut searched = 0;
    let statements = policies.into_iter().enumerate().map(|(nth, policy)| {
        let source = policy.to_cedar().unwrap_or_default();
        let rest = text.get(searched..).unwrap_or_default();
        let at = rest.find(&source).map_or(searched, |found| searched + found);
        searched = (at + source.len()).min(text.len());
        statement(name, policy, first + nth, nth + 1, line_at(text, at))
    });
    statements.collect::<Result<_, _>>().map_err(|p| vec![p])
}

fn statement(
    name: &PolicyName,
    policy: &Policy,
    number: usize,
    nth: usize,
    line: usize,
) -> Result<Statement, PolicyProblem> {
    let json = policy.to_json().map_err(|e| problem(name, Some(line), full_message(&e)))?;
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    Ok(Statement {
        policy: name.clone(),
        label: policy.annotation("id").filter(|id| !id.is_empty()).map_or_else(|| nth.to_string(), str::to_owned),
        description: policy.annotation("description").map(str::to_owned),
        effect,
        json,
        line,
        cedar: policy.new_id(PolicyId::new(number.to_string())),
    })
}

/// The action or group spelt most like the one a message quotes; Cedar's own guess is often far off for short names.
fn nearest_action(schema: &Schema, message: &str) -> Option<String> {
    let meant = message.split('"').nth(1)?;
    let names = schema.actions.iter().map(|a| a.name).chain(groups::ALL);
    let near = names.map(|name| (distance(meant.as_bytes(), name.as_bytes()), name)).min()?;
    (near.0 <= meant.len() / 2).then(|| format!("{NAMESPACE}::Action::\"{}\"", near.1))
}

/// Levenshtein distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Type-checks everything; errors go to `problems`, warnings are returned.
fn validate(
    schema: &Schema,
    statements: &[Statement],
    texts: &HashMap<PolicyName, String>,
    problems: &mut Vec<PolicyProblem>,
) -> Vec<PolicyProblem> {
    let mut all = cedar_policy::PolicySet::new();
    for s in statements {
        if let Err(e) = all.add(s.cedar.clone()) {
            problems.push(problem(&s.policy, Some(s.line), full_message(&e)));
        }
    }
    let result = Validator::new(schema.cedar.clone()).validate(&all, ValidationMode::Strict);
    let of = |id: &PolicyId| number_of(id).and_then(|n| statements.get(n));
    let text = |s: &Statement| texts.get(&s.policy).map_or("", String::as_str);
    let located = |s: &Statement, mut p: PolicyProblem| {
        p.line = p.line.or(Some(s.line));
        p
    };
    for e in result.validation_errors() {
        let Some(s) = of(e.policy_id()) else { continue };
        let mut found = located(s, from_diagnostic(&s.policy, text(s), e));
        if let ValidationError::UnrecognizedActionId(_) = e {
            found.help = nearest_action(schema, &found.message).map(|name| format!("did you mean `{name}`?"));
        }
        problems.push(found);
    }
    let mut warnings: Vec<PolicyProblem> = result
        .validation_warnings()
        .filter_map(|w| of(w.policy_id()).map(|s| located(s, from_diagnostic(&s.policy, text(s), w))))
        .collect();
    let order = |p: &PolicyProblem| (p.policy.clone(), p.line, p.message.clone());
    warnings.sort_by_key(order);
    problems.sort_by_key(order);
    // Cedar tells a mistake once for each kind of principal, action and resource it was found with.
    warnings.dedup();
    problems.dedup();
    warnings
}
