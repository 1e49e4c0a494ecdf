//! With a directory that is not ours.

mod ldap;
