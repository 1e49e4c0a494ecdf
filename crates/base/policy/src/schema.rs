//! The Cedar schema, generated from the operation catalogue: an action that is not in the catalogue cannot be named in
//! a policy, and an action that is cannot be forgotten.

use crate::action::{ActionSpec, groups};
use crate::request::{CASE_KINDS, LOGIN_KINDS, Method, MfaKind, PrincipalKind};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The namespace of every name in the schema.
pub(crate) const NAMESPACE: &str = "Keyreeve";

/// A catalogue that makes no schema: a programming mistake in the catalogue, found at start-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// Two actions, or an action and a group, share a name.
    #[error("the action name `{0}` is used twice")]
    Duplicate(&'static str),
    /// A name with other characters than `a-z 0-9 . -`.
    #[error("the action or group name `{0}` may only have the characters a-z, 0-9, '.' and '-'")]
    Name(&'static str),
    /// A group that is not in [`groups::ALL`].
    #[error("action `{action}` is in the unknown group `{group}`")]
    Group {
        /// The action.
        action: &'static str,
        /// The group it names.
        group: &'static str,
    },
    /// Cedar refused the text.
    #[error("the generated schema is not valid: {0}")]
    Invalid(String),
}

/// A schema: text for people and its compiled form.
#[derive(Debug)]
pub struct Schema {
    pub(crate) actions: Vec<ActionSpec>,
    text: String,
    pub(crate) cedar: cedar_policy::Schema,
}

impl Schema {
    /// Generates the schema of a catalogue. The text depends on nothing but the set of actions, not on their order.
    ///
    /// # Errors
    /// [`SchemaProblem`] when the catalogue contradicts itself.
    pub fn generate(actions: &[ActionSpec]) -> Result<Self, SchemaProblem> {
        let mut actions = actions.to_vec();
        actions.sort_by_key(|a| a.name);
        check(&actions)?;
        let text = write_text(&actions);
        let (cedar, _warnings) = cedar_policy::Schema::from_cedarschema_str(&text)
            .map_err(|e| SchemaProblem::Invalid(crate::set::full_message(&e)))?;
        Ok(Self { actions, text, cedar })
    }

    /// The schema in Cedar's human-readable syntax: the reference for people who write policies.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The catalogue, sorted by name.
    pub fn actions(&self) -> &[ActionSpec] {
        &self.actions
    }
}

fn check(sorted: &[ActionSpec]) -> Result<(), SchemaProblem> {
    let mut seen: BTreeSet<&str> = groups::ALL.into_iter().collect();
    for action in sorted {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-');
        if action.name.is_empty() || !action.name.bytes().all(plain) {
            return Err(SchemaProblem::Name(action.name));
        }
        if !seen.insert(action.name) {
            return Err(SchemaProblem::Duplicate(action.name));
        }
        if let Some(group) = action.groups.iter().find(|g| !groups::ALL.contains(g)) {
            return Err(SchemaProblem::Group { action: action.name, group });
        }
    }
    Ok(())
}

/// The part that does not depend on the catalogue.
const ENTITIES: &str = r#"  // A role; who has it is in `principal in Keyreeve::Role::"..."`.
  entity Role;

  // Whoever acts, and what is managed by principal.* actions. Tags are labels.
  entity Principal in [Role] = {
    "name": String,
    "kind": String, // KINDS
    "networks": Set<ipaddr>,
  } tags String;

  entity Keyring = {
    "name": String,
    "classification": Long, // 1 public, 2 internal, 3 confidential, 4 restricted
    "environment": String,
    "owner": String,
  } tags String;

  entity Key in [Keyring] = {
    "keyring": String,
    "aliases": Set<String>,
    "algorithm": String,
    "purpose": String,
    "state": String,
    "classification": Long, // 1 public, 2 internal, 3 confidential, 4 restricted
    "environment": String,
    "owner": String,
    "custodians": Set<String>,
    "consumers": Set<String>, // names of the principals that may use the key
    "hold": Bool, // a hold keeps it from being destroyed
    "incident": Bool, // it is part of an open incident
    "exportable": Bool, // its material may leave, wrapped
  } tags String;

  entity Token = {
    "principal": String, // the name of the principal it was issued to
  };

  entity Policy = {
    "name": String,
  };

  entity System;

  entity Audit;

  entity Grant = {
    "principal": String, // the name of the principal it is given to
    "key": String, // the id of the key or keyring it is about; empty where it gives a role
  };

  entity Approval = {
    "operation": String, // what was asked for, such as key.rotate
    "proposer": String, // the name of the principal that asked
  };

  entity Login = {
    "name": String,
    "kind": String, // LOGINS
  };

  entity Case = {
    "kind": String, // CASES
  };

  // The pairs of a request's encryption context are this entity's tags.
  entity EncryptionContext tags String;

  type RequestContext = {
    "source_ip"?: ipaddr,
    "in_principal_networks": Bool, // the address is known and in one of principal.networks
    "time": datetime, // whole seconds
    "method": String, // METHODS
    "mfa_age_seconds"?: Long, // absent: no second factor was shown
    "mfa_kind"?: String, // FACTORS
    "login"?: String, // the name of the login method; absent: the caller did not log in
    "emergency": Bool, // the caller takes part in a declared emergency that covers this action on this resource
    "encryption_context": EncryptionContext,
    "items": Long, // 1, or the size of a batch
  };
"#;

fn write_text(sorted: &[ActionSpec]) -> String {
    let words = |list: &[&str]| list.join(", ");
    let entities = ENTITIES
        .replace("KINDS", &words(&PrincipalKind::ALL.map(PrincipalKind::name)))
        .replace("METHODS", &words(&Method::ALL.map(Method::name)))
        .replace("FACTORS", &words(&MfaKind::ALL.map(MfaKind::name)))
        .replace("LOGINS", &words(&LOGIN_KINDS))
        .replace("CASES", &words(&CASE_KINDS));
    let mut text = format!("namespace {NAMESPACE} {{\n{entities}\n  // Groups of actions.\n");
    for group in groups::ALL {
        let _ = writeln!(text, "  action \"{group}\";");
    }
    text.push_str("\n  // Actions.\n");
    for action in sorted {
        let of: BTreeSet<&str> = action.groups.iter().copied().collect();
        let of: Vec<String> = of.into_iter().map(|g| format!("\"{g}\"")).collect();
        let parents = if of.is_empty() { String::new() } else { format!(" in [{}]", of.join(", ")) };
        let _ = writeln!(
            text,
            "  action \"{}\"{parents} appliesTo {{\n    principal: [Principal],\n    resource: [{}],\n    context: \
             RequestContext,\n  }};",
            action.name,
            action.resource.name(),
        );
    }
    text.push_str("}\n");
    text
}
