//! The catalogue of operations: the one list of everything Keyreeve can be asked to do.
//!
//! From it come the policy schema, the audit event list, the permission table of every protocol and the tests that fail
//! when an operation lacks an authorization or an audit case. Adding an operation starts here;
//! docs/adding-an-operation.md has the steps.

use keyreeve_audit::Class;
use keyreeve_policy::{ActionSpec, ResourceKind};

mod access;
mod approvals;
mod backups;
mod cases;
mod escrow;
mod grants;
mod integrity;
mod jobs;
mod keys;
mod login;
mod mfa;
mod notices;
mod policy;
mod reviews;
mod roots;
mod shares;
mod system;

pub use access::*;
pub use approvals::*;
pub use backups::*;
pub use cases::*;
pub use escrow::*;
pub use grants::*;
pub use integrity::*;
pub use jobs::*;
pub use keys::*;
pub use login::*;
pub use mfa::*;
pub use notices::*;
pub use policy::*;
pub use reviews::*;
pub use roots::*;
pub use shares::*;
pub use system::*;

/// How an operation leaves its mark in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditClass {
    /// One record for each call, of this class, also when refused or failed.
    Recorded(Class),
    /// No record: the answer reveals nothing but whether the server is well. Only counted. The list of such operations
    /// is fixed by a test and reviewed by hand.
    Counted,
}

/// What must be so before an operation can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The root of trust is open.
    Open,
    /// Nothing: it runs also while the server is sealed.
    Nothing,
}

/// One row of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The operation's name, which is also its action in policies.
    pub name: &'static str,
    /// What kind of thing it acts on.
    pub resource: ResourceKind,
    /// The groups of actions it belongs to, for policies. The first one says how a key is used: the last use of a right
    /// is kept under it, and the access report looks for it there.
    pub groups: &'static [&'static str],
    /// Its mark in the audit log.
    pub audit: AuditClass,
    /// What must be so before it runs.
    pub needs: Needs,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The action that must be allowed as well, on a second thing that it acts on.
    pub also: Option<&'static str>,
}

impl Descriptor {
    /// The row as the policy floor wants it.
    #[must_use]
    pub const fn action(&self) -> ActionSpec {
        ActionSpec { name: self.name, resource: self.resource, groups: self.groups }
    }
}

macro_rules! second {
    () => {
        None
    };
    ($also:literal) => {
        Some($also)
    };
}

/// The rows of one file, and the list of them.
macro_rules! rows {
    ($(
        $constant:ident = $name:literal, $resource:ident, [$($group:ident),*], $audit:expr, $needs:ident,
        $summary:literal $(, also $also:literal)?;
    )+) => {
        $(
            #[doc = $summary]
            pub static $constant: $crate::catalogue::Descriptor = $crate::catalogue::Descriptor {
                name: $name,
                resource: keyreeve_policy::ResourceKind::$resource,
                groups: &[$(keyreeve_policy::groups::$group),*],
                audit: $audit,
                needs: $crate::catalogue::Needs::$needs,
                summary: $summary,
                also: $crate::catalogue::second!($($also)?),
            };
        )+

        /// Every row of this file.
        pub(super) const ROWS: &[&$crate::catalogue::Descriptor] = &[$(&$constant,)+];
    };
}

use {rows, second};

const READ: AuditClass = AuditClass::Recorded(Class::Read);
const USE: AuditClass = AuditClass::Recorded(Class::Use);
const CHANGE: AuditClass = AuditClass::Recorded(Class::Change);
const ACCESS: AuditClass = AuditClass::Recorded(Class::Access);
const SYSTEM: AuditClass = AuditClass::Recorded(Class::System);

/// The files of the catalogue, a group of operations each. A new file comes here and to the modules above.
#[allow(unused_qualifications, reason = "each file has its `ROWS`")]
const FILES: &[&[&Descriptor]] = &[
    system::ROWS,
    keys::ROWS,
    access::ROWS,
    login::ROWS,
    grants::ROWS,
    reviews::ROWS,
    shares::ROWS,
    policy::ROWS,
    approvals::ROWS,
    mfa::ROWS,
    cases::ROWS,
    notices::ROWS,
    roots::ROWS,
    jobs::ROWS,
    backups::ROWS,
    integrity::ROWS,
    escrow::ROWS,
];

const fn count() -> usize {
    let (mut file, mut count) = (0, 0);
    while file < FILES.len() {
        count += FILES[file].len();
        file += 1;
    }
    count
}

const fn joined() -> [&'static Descriptor; count()] {
    let mut all = [FILES[0][0]; count()];
    let (mut file, mut row, mut at) = (0, 0, 0);
    while at < all.len() {
        if row == FILES[file].len() {
            (file, row) = (file + 1, 0);
        } else {
            all[at] = FILES[file][row];
            (row, at) = (row + 1, at + 1);
        }
    }
    all
}

/// Every operation.
pub static ALL: &[&Descriptor] = &joined();

/// The row of this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static Descriptor> {
    ALL.iter().copied().find(|row| row.name == name)
}

/// All rows as the policy floor wants them.
#[must_use]
pub fn actions() -> Vec<ActionSpec> {
    ALL.iter().map(|row| row.action()).collect()
}
