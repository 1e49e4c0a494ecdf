//! Access decisions: (principal, action, resource, context) -> allowed or refused, with reasons.
//!
//! The language is [Cedar](https://docs.cedarpolicy.com); no Cedar type appears in this crate's interface, so what is
//! below could be replaced without touching a caller. The crate is pure: time, addresses and revisions are arguments.
//!
//! # The rules that never bend
//! - Deny by default: what no policy permits is refused.
//! - `forbid` always wins over `permit`.
//! - A policy that cannot be evaluated refuses every request that reaches it. Cedar itself skips such a policy, which
//!   would let a broken `forbid` permit; [`PolicySet::decide`] turns any evaluation error into a refusal.
//! - Policies are validated strictly against the schema generated from the operation catalogue before they apply.
//!
//! # Action groups
//! Policies name groups rather than single actions, so that they stay right as the catalogue grows. Every group below
//! exists in every generated schema, even when no action is in it yet.
//!
//! | group | what is in it |
//! |---|---|
//! | `read` | list and describe keys and keyrings, destruction records: metadata only |
//! | `encrypt-side` | encrypt, generate-data-key (both forms), rewrap, re-encrypt *to*, wrap, encapsulate |
//! | `decrypt-side` | decrypt, unwrap-data-key, unwrap, decapsulate, re-encrypt *from* |
//! | `sign-side` | sign, mac |
//! | `verify-side` | verify, verify-mac |
//! | `derive-side` | derive, agree |
//! | `lifecycle` | create, update, rotate, activate ... schedule-destruction, destroy; making keyrings |
//! | `export` | handing out key material, wrapped: export; no shipped role has it |
//! | `access` | tokens, principals, policies, explanations: what a security administrator does |
//! | `audit` | reading, searching and proving the audit log; looking at policies and explanations |
//! | `system` | seal, status, and what else keeps the server running |
//! | `bootstrap` | open to anybody: initialise and unseal (by shares), status, metrics, putting refusals on record |
//! | `self` | what every authenticated principal may do: who it is, random bytes, algorithms, own proofs |
//! | `scheduled` | what the server does by itself when it falls due: destruction and its verification |
//! | `login` | proving who one is, in exchange for a token |
//! | `approve` | agreeing to what others asked for, or refusing it |
//! | `govern` | the rules about who must agree to what |
//! | `grant` | rights for a time |
//! | `emergency` | incidents, and what several people may do together in one |
//! | `review` | going through who has which right |
//! | `hold` | keeping keys from being destroyed, for legal reasons |
//! | `revoke` | taking a key out of use at once, on one person's authority: compromise, suspend |
//! | `replace` | making the replacement of a key that an incident is about: rotate |
//! | `escrow` | which keys are deposited with agents, the agents' shares, taking a key back |
//!
//! # Shipped roles
//! The requirements were drawn from a key management policy template, which is not part of this repository. Its access
//! control table has the rows below; what policies quote is from there.
//!
//! | policy | row of the template | permits | forbids |
//! |---|---|---|---|
//! | `key-admin` | Create, rotate, schedule deletion | `lifecycle`, `read`, `grant` | use, `export`, `escrow` |
//! | `escrow-administrator` | (escrow) | `escrow`, `read` | `lifecycle`, `revoke`, `replace`, `grant`, use, `export` |
//! | `key-user-encrypt` | Encrypt only | `encrypt-side` | |
//! | `key-user-decrypt` | Decrypt only | `decrypt-side` | |
//! | `key-auditor` | List, describe, view audit logs, no cryptography | `read`, `audit` | use, `lifecycle`, `export` |
//! | `pipeline` | Encrypt only, specific keys | `encrypt-side` on keys whose consumers name the service | |
//! | `application` | Specific keys and operations, network | use and `read` of its keys, from its networks | |
//! | `operator` | (security administrator) | `system`, `access`, `govern`, `grant` | |
//! | `governance` | Security Lead, CISO, Legal, ... (separation of duties) | see below | use, `export` |
//! | `bootstrap`, `self`, `system-jobs` | (no role) | the groups of the same names | |
//!
//! `governance` is about seven roles, the people who agree to what others ask for: `security-lead`, `ciso`, `legal`,
//! `system-owner`, `incident-commander`, `engineering-lead`, `dpo`. All have `approve` and `read`. Besides,
//! `security-lead` has `govern`; `security-lead` and `incident-commander` have `revoke`, and `replace` for keys of an
//! open incident; these two and `ciso` have `emergency`; `legal` has `hold`; `ciso` and `dpo` have `review`. What they
//! may agree to is in the rules of approval, not here.
//!
//! # What policies can look at
//! The generated schema ([`Schema::text`]) is the reference. In short: `principal` has `name`, `kind`, `networks` and
//! tags (its labels) and is in `Role`s; a `Key` is in its `Keyring` and has `alias`es, `algorithm`, `purpose`, `state`,
//! `classification` (1 to 4), `environment`, `owner`, `custodians`, `consumers`, `keyring`, `hold`, `incident`,
//! `exportable` and tags; `context` has `source_ip?`, `in_principal_networks`, `time` (whole seconds), `method`,
//! `mfa_age_seconds?`, `mfa_kind?`, `login?` (the name of a login method), `emergency`, `items` and
//! `encryption_context`, an entity whose tags are the pairs, so that
//! `context.encryption_context.getTag("tenant") == principal.getTag("tenant")` can be written and is type-checked.
//!
//! Cedar cannot loop over a set, so "the address is in one of the principal's networks" is worked out here and offered
//! as `context.in_principal_networks`: false when the address is unknown or the principal has no network.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod action;
mod analysis;
mod cache;
mod complexity;
mod decide;
pub mod diff;
mod explain;
mod name;
mod network;
mod plain;
mod possible;
mod request;
pub mod rules;
mod schema;
mod set;
pub mod shipped;
pub mod simulate;
mod thresholds;

pub use action::{ActionSpec, ResourceKind, groups};
pub use cache::DecisionCache;
pub use complexity::{MAX_NESTING, MAX_OPERATORS, MAX_POLICY_BYTES};
pub use decide::{Decision, EvaluationFailure};
pub use explain::{Effect, Explanation, Outcome, StatementTrace};
pub use name::{InvalidName, PolicyName};
pub use network::{InvalidNetwork, Network};
pub use plain::{Misleading, misleading};
pub use possible::{Known, Possible};
pub use request::{
    CASE_KINDS, ContextAttrs, KeyAttrs, KeyringAttrs, LOGIN_KINDS, Method, MfaKind, PrincipalAttrs, PrincipalKind,
    Request, ResourceAttrs, ResourceDetails, Revision, Subject,
};
pub use schema::{Schema, SchemaProblem};
pub use set::{PolicyProblem, PolicySet};
