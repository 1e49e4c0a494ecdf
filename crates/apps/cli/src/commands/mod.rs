//! The commands, a file for each group.

pub(crate) mod access;
pub(crate) mod agreement;
pub(crate) mod algorithms;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod credentials;
pub(crate) mod data_keys;
pub(crate) mod decrypt;
pub(crate) mod demo;
pub(crate) mod emergencies;
pub(crate) mod encrypt;
pub(crate) mod grants;
pub(crate) mod holds;
pub(crate) mod incidents;
pub(crate) mod keyrings;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod login_methods;
pub(crate) mod macs;
pub(crate) mod mfa;
pub(crate) mod notices;
pub(crate) mod policies;
pub(crate) mod policy_sets;
pub(crate) mod policy_trials;
pub(crate) mod principals;
pub(crate) mod random;
pub(crate) mod rewrap;
pub(crate) mod rules;
pub(crate) mod server;
pub(crate) mod signing;
pub(crate) mod system;
pub(crate) mod tokens;
pub(crate) mod version;
pub(crate) mod wrapping;

mod lifecycle;
