//! What a policy looks at, found in its JSON form.
//!
//! Two uses. First, only attributes that some policy mentions are handed to Cedar and enter the key under which a
//! decision is cached: a set of policies that never asks for the time is not asked again every second. This must err on
//! the side of "mentioned": whatever is not understood mentions everything. Second, constructs that the type checker
//! accepts but that can never work here are refused when the policy is compiled.

use crate::request::{CASE_KINDS, LOGIN_KINDS, Method, MfaKind, PrincipalKind};
use crate::thresholds::Thresholds;
use serde_json::Value;
use std::collections::BTreeSet;

/// A set of context attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContextMask(u16);

impl ContextMask {
    pub(crate) const SOURCE_IP: Self = Self(1);
    pub(crate) const IN_NETWORKS: Self = Self(2);
    pub(crate) const TIME: Self = Self(4);
    pub(crate) const METHOD: Self = Self(8);
    pub(crate) const MFA_AGE: Self = Self(16);
    pub(crate) const ENCRYPTION_CONTEXT: Self = Self(32);
    pub(crate) const ITEMS: Self = Self(64);
    pub(crate) const MFA_KIND: Self = Self(128);
    pub(crate) const LOGIN: Self = Self(256);
    pub(crate) const EMERGENCY: Self = Self(512);
    pub(crate) const ALL: Self = Self(1023);

    /// The attribute of this name; for a name the schema does not have, everything.
    fn named(attribute: &str) -> Self {
        match attribute {
            "source_ip" => Self::SOURCE_IP,
            "in_principal_networks" => Self::IN_NETWORKS,
            "time" => Self::TIME,
            "method" => Self::METHOD,
            "mfa_age_seconds" => Self::MFA_AGE,
            "encryption_context" => Self::ENCRYPTION_CONTEXT,
            "items" => Self::ITEMS,
            "mfa_kind" => Self::MFA_KIND,
            "login" => Self::LOGIN,
            "emergency" => Self::EMERGENCY,
            _ => Self::ALL,
        }
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The roles that a policy in JSON form names: entities of the type, wherever they stand.
pub(crate) fn roles(node: &Value, role_type: &str, found: &mut BTreeSet<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| roles(item, role_type, found)),
        Value::Object(map) => {
            let text = |name: &str| map.get(name).and_then(Value::as_str);
            if let (Some(kind), Some(id)) = (text("type"), text("id"))
                && kind == role_type
            {
                found.insert(id.to_owned());
            }
            map.values().for_each(|part| roles(part, role_type, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a group of policies looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// Context attributes.
    pub(crate) context: ContextMask,
    /// What the numbers among them are compared with.
    pub(crate) thresholds: Thresholds,
    /// Names of attributes of anything.
    attributes: BTreeSet<String>,
    /// Whether labels are read.
    pub(crate) tags: bool,
    /// Hand over everything, whether mentioned or not.
    everything: bool,
}

impl Mentions {
    /// As if every attribute were mentioned.
    pub(crate) fn everything() -> Self {
        Self {
            context: ContextMask::ALL,
            thresholds: Thresholds::EXACT,
            attributes: BTreeSet::new(),
            tags: true,
            everything: true,
        }
    }

    pub(crate) fn attribute(&self, name: &str) -> bool {
        self.everything || self.attributes.contains(name)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.context.add(other.context);
        self.thresholds.merge(&other.thresholds);
        self.attributes.extend(other.attributes.iter().cloned());
        self.tags |= other.tags;
        self.everything |= other.everything;
    }

    /// Reads a whole policy in JSON form.
    pub(crate) fn of_policy(policy: &Value) -> Self {
        let mut mentions = Self::default();
        match policy.get("conditions") {
            Some(conditions) => mentions.visit(conditions),
            None => return Self::everything(),
        }
        mentions
    }

    fn visit(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.visit(item)),
            Value::Object(map) => map.iter().for_each(|(operator, operand)| self.visit_operator(operator, operand)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn visit_operator(&mut self, operator: &str, operand: &Value) {
        if let Some(attribute) = self.thresholds.comparison(operator, operand) {
            self.context.add(ContextMask::named(attribute));
            self.attributes.insert(attribute.to_owned());
            return;
        }
        match operator {
            "." => self.visit_access(operand, true),
            // Whether there is a number does not tell which.
            "has" => self.visit_access(operand, false),
            "Var" if operand == "context" => {
                self.context.add(ContextMask::ALL);
                self.thresholds = Thresholds::EXACT;
            }
            "hasTag" | "getTag" => {
                self.tags = true;
                self.visit(operand);
            }
            _ => self.visit(operand),
        }
    }

    fn visit_access(&mut self, operand: &Value, value_is_used: bool) {
        let (Some(left), Some(attr)) = (operand.get("left"), operand.get("attr")) else {
            // Not a shape this code knows: assume the worst.
            *self = Self::everything();
            return;
        };
        let path = path(attr);
        if is_var(left, "context") {
            let attribute = path.first().copied().unwrap_or_default();
            self.context.add(ContextMask::named(attribute));
            if value_is_used || path.len() != 1 {
                self.thresholds.exactly(attribute);
            }
        } else {
            self.visit(left);
        }
        self.attributes.extend(path.into_iter().map(str::to_owned));
    }
}

/// `attr` is one name, or a list of them in `context has a.b`.
fn path(attr: &Value) -> Vec<&str> {
    match attr {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

pub(crate) fn is_var(node: &Value, name: &str) -> bool {
    node.get("Var").is_some_and(|v| v == name)
}

/// An entity written out, such as `Keyreeve::Principal::"alice"`.
fn entity_literal(node: &Value) -> Option<String> {
    let entity = node.get("Value")?.get("__entity")?;
    Some(format!("{}::\"{}\"", entity.get("type")?.as_str()?, entity.get("id")?.as_str()?))
}

/// What is wrong with a policy although its types are right; for people, one sentence each.
pub(crate) fn lint(policy: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(conditions) = policy.get("conditions") {
        lint_node(conditions, &mut found);
    }
    found
}

fn lint_node(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| lint_node(item, found)),
        Value::Object(map) => {
            for (operator, operand) in map {
                lint_operator(operator, operand, found);
                lint_node(operand, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A decision is made with the principal, action, resource and context at hand and nothing else, so looking into any
/// other entity would fail (or be silently false, for `in`) on every request.
fn lint_operator(operator: &str, operand: &Value, found: &mut Vec<String>) {
    let looked_into: Vec<&Value> = match operator {
        "." | "has" | "in" | "is" | "hasTag" | "getTag" => operand.get("left").into_iter().collect(),
        "if-then-else" => ["then", "else"].iter().filter_map(|branch| operand.get(branch)).collect(),
        "Record" => operand.as_object().into_iter().flat_map(serde_json::Map::values).collect(),
        "==" | "!=" => {
            found.extend(lint_words(operand));
            return;
        }
        _ => return,
    };
    found.extend(looked_into.into_iter().filter_map(entity_literal).map(|entity| {
        format!(
            "only principal, action, resource and context can be looked into; {entity} may only be compared with \
             (==, !=) or stand on the right of `in`"
        )
    }));
}

/// Words from a closed list are checked, because a misspelt one in a `forbid` would silently never apply.
fn lint_words(operand: &Value) -> Option<String> {
    let (left, right) = (operand.get("left")?, operand.get("right")?);
    let side = |access: &Value, word: &Value| -> Option<(bool, String, String)> {
        let access = access.get(".")?;
        let of_principal = is_var(access.get("left")?, "principal");
        Some((of_principal, access.get("attr")?.as_str()?.to_owned(), word.get("Value")?.as_str()?.to_owned()))
    };
    let (of_principal, attr, word) = side(left, right).or_else(|| side(right, left))?;
    let principals = PrincipalKind::ALL.map(PrincipalKind::name);
    let words: Vec<&str> = match attr.as_str() {
        "kind" if of_principal => principals.to_vec(),
        // What kind of resource it is does not always show here, so any of their words is let through.
        "kind" => [&principals[..], &LOGIN_KINDS, &CASE_KINDS].concat(),
        "method" => Method::ALL.map(Method::name).to_vec(),
        "mfa_kind" => MfaKind::ALL.map(MfaKind::name).to_vec(),
        _ => return None,
    };
    (!words.contains(&word.as_str()))
        .then(|| format!("`{attr}` is never \"{word}\"; it is one of {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(condition: &str) -> Value {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap()
    }

    fn mentions(condition: &str) -> Mentions {
        Mentions::of_policy(&json(condition))
    }

    #[test]
    fn context_attributes_are_found_one_by_one() {
        for (text, mask) in [
            ("true", ContextMask::default()),
            ("context.method == \"token\"", ContextMask::METHOD),
            ("context[\"method\"] == \"token\"", ContextMask::METHOD),
            ("context has source_ip && context.source_ip.isLoopback()", ContextMask::SOURCE_IP),
            ("context has mfa_age_seconds", ContextMask::MFA_AGE),
            ("if context.items > 2 then true else false", ContextMask::ITEMS),
            ("[context.time].isEmpty()", ContextMask::TIME),
            ("{a: context.in_principal_networks}.a", ContextMask::IN_NETWORKS),
            ("context.encryption_context.hasTag(\"a\")", ContextMask::ENCRYPTION_CONTEXT),
            ("principal.name == \"time\"", ContextMask::default()),
            ("context == context", ContextMask::ALL),
            ("{a: context}.a.items == 1", ContextMask::ALL),
            ("(if true then context else context).items == 1", ContextMask::ALL),
            ("context has source_ip.x", ContextMask::SOURCE_IP),
            ("3 > context.items", ContextMask::ITEMS),
            ("context.time.toTime() < duration(\"8h\")", ContextMask::TIME),
            ("context has mfa_kind", ContextMask::MFA_KIND),
            ("context has login && context.login == \"sso\"", ContextMask::LOGIN),
            ("context.emergency", ContextMask::EMERGENCY),
        ] {
            assert_eq!(mentions(text).context, mask, "{text}");
        }
    }

    #[test]
    fn attributes_and_tags_are_found() {
        let found = mentions("resource.owner == principal.name && resource.consumers.contains(principal.kind)");
        for name in ["owner", "name", "consumers", "kind"] {
            assert!(found.attribute(name), "{name}");
        }
        assert!(!found.attribute("state") && !found.tags);
        assert!(mentions("resource.hasTag(context.method)").tags);
        assert!(mentions("resource.getTag(\"a\") == \"b\"").tags);
    }

    #[test]
    fn an_unknown_shape_mentions_everything() {
        assert_eq!(Mentions::of_policy(&serde_json::json!({})), Mentions::everything());
        let odd = serde_json::json!({"conditions": [{"kind": "when", "body": {".": {"new": 1}}}]});
        assert_eq!(Mentions::of_policy(&odd), Mentions::everything());
    }

    #[test]
    fn other_entities_cannot_be_looked_into() {
        for text in [
            "User::\"a\".name == \"x\"",
            "User::\"a\" has name",
            "User::\"a\" in Role::\"b\"",
            "User::\"a\".hasTag(\"x\")",
            "(if context.items > 1 then principal else User::\"a\").name == \"x\"",
            "{u: User::\"a\"}.u.name == \"x\"",
        ] {
            assert_eq!(lint(&json(text)).len(), 1, "{text}");
        }
        for text in [
            "principal == User::\"a\"",
            "principal != User::\"a\"",
            "principal in [Role::\"a\", Role::\"b\"]",
            "principal is User in Role::\"a\"",
            "[User::\"a\", User::\"b\"].contains(principal)",
        ] {
            assert_eq!(lint(&json(text)), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn misspelt_words_are_found() {
        for text in [
            "principal.kind == \"persn\"",
            "\"Token\" == context.method",
            "principal.kind != \"\"",
            "principal.kind == \"incident\"",
            "resource.kind == \"accident\"",
            "context has mfa_kind && context.mfa_kind == \"sms\"",
        ] {
            assert_eq!(lint(&json(text)).len(), 1, "{text}");
        }
        for text in [
            "principal.kind == \"person\"",
            "context.method == \"mtls\"",
            "resource.owner == \"persn\"",
            "resource.kind == \"incident\"",
            "resource.kind != \"oidc\"",
            "resource.kind == \"service\"",
            "context has mfa_kind && context.mfa_kind == \"webauthn\"",
        ] {
            assert_eq!(lint(&json(text)).len(), 0, "{text}");
        }
    }
}
