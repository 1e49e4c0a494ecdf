//! A house to test in: an engine on real drivers in a directory, a clock turned by hand, and people with tokens.

mod ask;
mod authenticator;
mod clock;
mod council;
mod forge;
mod house;
mod logs;
mod outside;
mod post;
mod schema;
mod transport;
mod vault;

pub(crate) use ask::{Checked, context, create, key_of, keyring, label, name, payloads};
pub(crate) use authenticator::Authenticator;
pub(crate) use clock::{DAY, START};
pub(crate) use council::{Council, Member, waiting};
pub(crate) use forge::{forge_key, forge_session};
pub(crate) use house::{House, RootKind, Who};
pub(crate) use logs::captured_logs;
pub(crate) use outside::{CLIENT, ISSUER, Outside};
pub(crate) use schema::Schema;
pub(crate) use transport::{incoming, prepared, wrapped_for};
pub(crate) use vault::VaultFault;
