//! The handlers, a file for each group of routes with its part of the table.

mod approvals;
mod audit;
mod backups;
mod ceremonies;
mod cipher;
mod credentials;
mod data_keys;
mod derivation;
mod drills;
mod emergencies;
mod escrow;
mod grants;
mod holds;
mod incidents;
mod integrity;
mod jobs;
mod keyrings;
mod keys;
mod lifecycle;
mod login;
mod mfa;
mod notices;
mod policies;
mod policy_shadow;
mod policy_versions;
mod principals;
mod reviews;
mod roots;
mod shares;
mod signing;
mod system;
mod tokens;
mod transport;

use crate::routes::Route;

/// The parts of the table of routes.
pub(crate) static TABLES: &[&[Route]] = &[
    system::ROUTES,
    shares::ROUTES,
    escrow::ROUTES,
    keyrings::ROUTES,
    keys::ROUTES,
    lifecycle::ROUTES,
    transport::ROUTES,
    cipher::ROUTES,
    data_keys::ROUTES,
    signing::ROUTES,
    derivation::ROUTES,
    login::ROUTES,
    tokens::ROUTES,
    credentials::ROUTES,
    principals::ROUTES,
    grants::ROUTES,
    reviews::ROUTES,
    roots::ROUTES,
    jobs::ROUTES,
    integrity::ROUTES,
    mfa::ROUTES,
    policies::ROUTES,
    notices::ROUTES,
    backups::ROUTES,
    drills::ROUTES,
    policy_versions::ROUTES,
    policy_shadow::ROUTES,
    approvals::ROUTES,
    audit::ROUTES,
    ceremonies::ROUTES,
    holds::ROUTES,
    incidents::ROUTES,
    emergencies::ROUTES,
];

/// A ciphertext of a key that does not exist, for examples.
macro_rules! example_ciphertext {
    () => {
        "kr1.S1IxAQEBmacByn18gIGCg4SFhoeIiYoAAAABAAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
    };
}

pub(crate) const DECRYPT_EXAMPLE: &str =
    concat!(r#"{"ciphertext":""#, example_ciphertext!(), r#"","context":{"tenant":"acme"}}"#);
pub(crate) const RE_ENCRYPT_EXAMPLE: &str =
    concat!(r#"{"to":"archive","ciphertext":""#, example_ciphertext!(), r#"","context":{"tenant":"acme"}}"#);
