//! With a directory that is not ours.

pub(crate) mod ldap;
