//! Anchors: places apart from a server's disks that remember how far it had come, so that it notices when it is started
//! over an old copy of its store or its audit log (requirement T8).
//!
//! An anchor counts, and never backwards. Some can do no more, such as a counter in a TPM; others hold a whole
//! [`Statement`] besides. What the server expects of each is a record of its own store, an [`AnchorRecord`], which is
//! written before the anchor moves on: so the anchor has the count that the store expects, or the one before it when
//! the server died in between. A store that expects less is an old one.

use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{DeploymentId, KeyId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// The longest statement, in bytes.
pub const STATEMENT_MAX: usize = 32 * 1024;
/// What a file of an anchor begins with.
const FILE: &str = "keyreeve-anchor 1 ";
/// What stands before a statement's MAC.
const MAC: &str = "mac ";

/// How far a server had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The form: 1.
    pub v: u32,
    /// Whose statement it is.
    pub deployment: DeploymentId,
    /// For which anchor it was made: none is good at another one.
    pub anchor: Name,
    /// The anchor's count that goes with it.
    pub count: u64,
    /// When it was made.
    pub at: UnixMillis,
    /// Entries of the audit log (count).
    pub log_size: u64,
    /// The root of the log at that size, in base64.
    pub log_root: String,
    /// The log's signed checkpoint of that size: proof for outsiders, who do not have the key of the MAC.
    pub checkpoint: String,
}

/// A statement that is none, or nobody's of whom it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadStatement {
    /// It cannot be read.
    #[error("it is no statement that this version understands")]
    Unreadable,
    /// Its MAC does not fit: another deployment made it, or somebody altered it.
    #[error("its MAC does not fit: another deployment made it, or somebody altered it")]
    Forged,
}

impl Statement {
    /// Its text: a line of JSON, and a line with the MAC over that.
    ///
    /// # Errors
    /// [`BadStatement::Unreadable`] when it is too long for an anchor.
    pub fn write(&self, mac: impl FnOnce(&[u8]) -> [u8; 32]) -> Result<Vec<u8>, BadStatement> {
        let json = serde_json::to_string(self).map_err(|_| BadStatement::Unreadable)?;
        let tag = hex::encode(mac(json.as_bytes()));
        let text = format!("{json}\n{MAC}{tag}\n");
        if text.len() > STATEMENT_MAX { Err(BadStatement::Unreadable) } else { Ok(text.into_bytes()) }
    }

    /// Reads a statement whose MAC is right by `check`, which gets the bytes and the MAC.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn read(bytes: &[u8], check: impl FnOnce(&[u8], &[u8; 32]) -> bool) -> Result<Self, BadStatement> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadStatement::Unreadable)?;
        if text.len() > STATEMENT_MAX {
            return Err(BadStatement::Unreadable);
        }
        let (json, tag) = text.split_once('\n').ok_or(BadStatement::Unreadable)?;
        let tag = tag.strip_prefix(MAC).and_then(|tag| tag.strip_suffix('\n')).ok_or(BadStatement::Unreadable)?;
        let mut mac = [0; 32];
        hex::decode_to_slice(tag, &mut mac).map_err(|_| BadStatement::Unreadable)?;
        if !check(json.as_bytes(), &mac) {
            return Err(BadStatement::Forged);
        }
        let statement: Self = serde_json::from_str(json).map_err(|_| BadStatement::Unreadable)?;
        if statement.v == 1 { Ok(statement) } else { Err(BadStatement::Unreadable) }
    }
}

/// What lies in a file that is an anchor: the count, and the statement that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The count, from 1.
    pub count: u64,
    /// The statement as it was given.
    pub statement: Vec<u8>,
}

impl Placed {
    /// The bytes of the file.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = format!("{FILE}{}\n", self.count).into_bytes();
        bytes.extend_from_slice(&self.statement);
        bytes
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`BadStatement::Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, BadStatement> {
        let rest = bytes.strip_prefix(FILE.as_bytes()).ok_or(BadStatement::Unreadable)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(BadStatement::Unreadable)?;
        let digits = std::str::from_utf8(&rest[..end]).map_err(|_| BadStatement::Unreadable)?;
        let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let count = digits.parse().ok().filter(|_| canonical).ok_or(BadStatement::Unreadable)?;
        Ok(Self { count, statement: rest[end + 1..].to_vec() })
    }
}

/// Why a server takes an anchor as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// It is new to this server.
    New,
    /// The server came out of a backup, which is older than the anchor by its nature.
    Restored,
    /// People agreed that the server is older than the anchor.
    Accepted,
}

/// What the server expects of an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorRecord {
    /// Its name in the configuration.
    pub name: Name,
    /// The count that the anchor has once it followed; none until it was asked the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<u64>,
    /// Why the anchor is taken as it stands, until the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Which device it is, where it can tell: another one does not take its place unnoticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When the server moved it on.
    pub at: UnixMillis,
    /// Entries of the audit log at that time (count).
    pub log_size: u64,
    /// The root of the log at that size, in base64; empty before there was one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_root: String,
    /// When people were told that it is configured no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<UnixMillis>,
}

impl AnchorRecord {
    /// Of an anchor that is taken as it will be found.
    #[must_use]
    pub fn taking(name: Name, why: Taken, at: UnixMillis) -> Self {
        let (expects, taken, device, log_root) = (None, Some(why), None, String::new());
        Self { name, expects, taken, device, at, log_size: 0, log_root, gone: None }
    }
}

impl FiledRecord for AnchorRecord {
    const TABLE: Table = Table::Anchors;

    fn row_id(&self) -> RowId {
        (&self.name).into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// What an anchor was found to hold.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// Its count; none where it never counted.
    pub count: Option<u64>,
    /// Its statement, read and checked, where it holds one.
    pub statement: Option<&'a Result<Statement, BadStatement>>,
    /// Which device it is, where it can tell.
    pub device: Option<&'a str>,
}

/// What is wrong between a server and an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discord {
    /// The store is older than what the anchor remembers.
    Older {
        /// The count that the store expects.
        expects: u64,
        /// The count that the anchor has.
        holds: u64,
    },
    /// The store knows nothing of an anchor that has counted: it is from before that.
    Unknown {
        /// The count that the anchor has.
        holds: u64,
    },
    /// The anchor has less than the store says that it had.
    Behind {
        /// The count that the store expects.
        expects: u64,
        /// The count that the anchor has, if any.
        holds: Option<u64>,
    },
    /// It is another device than before.
    OtherDevice,
    /// What it holds is of another deployment, or was altered.
    Foreign,
    /// The audit log has fewer entries than the anchor remembers.
    LogShort {
        /// Entries that the log has.
        has: u64,
        /// Entries that it had.
        had: u64,
    },
    /// The audit log is another one than the anchor remembers: its first entries differ.
    LogOther {
        /// How many entries were compared.
        size: u64,
    },
}

impl Discord {
    /// Whether people can agree that the server works on all the same. Not over an anchor of somebody else.
    #[must_use]
    pub const fn can_be_accepted(&self) -> bool {
        !matches!(self, Self::Foreign)
    }
}

/// For people: what it is, and by how much.
impl fmt::Display for Discord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older { expects, holds } => {
                let steps = holds - expects;
                write!(f, "the store is older than it: the store was at its step {expects}, it is at {holds} ")?;
                write!(f, "({steps} later)")
            }
            Self::Unknown { holds } => write!(
                f,
                "the store knows nothing of it, and it is at step {holds}: the store is from before it was used, or \
                 it was used by another installation"
            ),
            Self::Behind { expects, holds: Some(holds) } => {
                write!(f, "it went back: it is at step {holds}, the store knows it to have been at {expects}")
            }
            Self::Behind { expects, holds: None } => {
                write!(f, "it is empty, and the store knows it to have been at step {expects}")
            }
            Self::OtherDevice => f.write_str("it is another device than before"),
            Self::Foreign => f.write_str("what it holds is of another deployment, or was altered"),
            Self::LogShort { has, had } => {
                let lost = had - has;
                write!(f, "the audit log is older than it remembers: {has} entries, it had {had} ({lost} are missing)")
            }
            Self::LogOther { size } => {
                write!(f, "the audit log is another one than it remembers: its first {size} entries differ")
            }
        }
    }
}

/// What the audit log must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMark {
    /// So many entries at least.
    pub size: u64,
    /// The root of those, in base64.
    pub root: String,
    /// When that was so.
    pub at: UnixMillis,
}

/// Compares what the store expects of an anchor with what that holds. What the log must agree with is returned where
/// the two fit.
///
/// # Errors
/// [`Discord`].
pub fn compare(
    deployment: &DeploymentId,
    name: &Name,
    record: Option<&AnchorRecord>,
    holding: Holding<'_>,
) -> Result<Option<LogMark>, Discord> {
    let statement = match holding.statement {
        None => None,
        Some(Ok(statement)) if of(statement, deployment, name, holding.count) => Some(statement),
        Some(_) => return Err(Discord::Foreign),
    };
    let Some(record) = record else {
        return holding.count.map_or(Ok(None), |holds| Err(Discord::Unknown { holds }));
    };
    if let (Some(known), Some(found)) = (&record.device, holding.device)
        && known != found
        && record.taken.is_none()
    {
        return Err(Discord::OtherDevice);
    }
    let of_store = || {
        let (size, root, at) = (record.log_size, record.log_root.clone(), record.at);
        (!root.is_empty()).then_some(LogMark { size, root, at })
    };
    match (record.expects, record.taken, statement) {
        // New to the server, and yet it knows the server.
        (None, Some(Taken::New), Some(statement)) if statement.count > 1 => {
            Err(Discord::Unknown { holds: statement.count })
        }
        (None, ..) => Ok(None),
        (Some(expects), _, statement) => match holding.count {
            Some(holds) if holds > expects => Err(Discord::Older { expects, holds }),
            Some(holds) if holds == expects => Ok(statement.map(mark).or_else(of_store)),
            // The server died before the anchor followed; the first step of all is from nothing.
            Some(holds) if holds + 1 == expects => Ok(statement.map(mark).or_else(of_store)),
            None if expects == 1 => Ok(of_store()),
            holds => Err(Discord::Behind { expects, holds }),
        },
    }
}

fn of(statement: &Statement, deployment: &DeploymentId, name: &Name, count: Option<u64>) -> bool {
    statement.deployment == *deployment && statement.anchor == *name && Some(statement.count) == count
}

fn mark(statement: &Statement) -> LogMark {
    LogMark { size: statement.log_size, root: statement.log_root.clone(), at: statement.at }
}

/// That people agreed to go on although the server was older than its anchors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedRollback {
    /// When.
    pub at: UnixMillis,
    /// Who asked for it.
    pub by: Name,
    /// Why.
    pub reason: Label,
    /// What was found: of each anchor, what is wrong.
    pub found: Vec<String>,
    /// The last key whose counters have jumped ahead; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jumped: Option<KeyId>,
    /// Whether the counters of all keys have.
    #[serde(default)]
    pub done: bool,
}

impl FiledRecord for AcceptedRollback {
    const TABLE: Table = Table::Rollbacks;

    fn row_id(&self) -> RowId {
        self.at.0.to_be_bytes().into()
    }

    fn parent(&self) -> String {
        String::new()
    }

    /// Due until it is done, so that a start finds what is not.
    fn due(&self) -> Option<UnixMillis> {
        (!self.done).then_some(self.at)
    }
}

/// What ran when the server was last opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRecord {
    /// When.
    pub at: UnixMillis,
    /// The version of the program.
    pub version: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub binary: String,
    /// The SHA-256 of its configuration, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The cryptographic module, and whether it is a validated one.
    pub module: String,
}

impl StartRecord {
    /// What differs from another start: names and both values.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<(&'static str, String)> {
        let none = || "none".to_owned();
        let each = [
            ("version", before.version.clone(), self.version.clone()),
            ("binary_sha256", before.binary.clone(), self.binary.clone()),
            (
                "configuration_sha256",
                before.configuration.clone().unwrap_or_else(none),
                self.configuration.clone().unwrap_or_else(none),
            ),
            ("module", before.module.clone(), self.module.clone()),
        ];
        let differs = each.into_iter().filter(|(_, old, new)| old != new);
        differs.map(|(what, old, _)| (what, old)).collect()
    }
}

impl FiledRecord for StartRecord {
    const TABLE: Table = Table::Starts;

    fn row_id(&self) -> RowId {
        (*b"last").into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn deployment(byte: u8) -> DeploymentId {
        DeploymentId::from_bytes([byte; 16])
    }

    fn statement(count: u64) -> Statement {
        Statement {
            v: 1,
            deployment: deployment(1),
            anchor: name("usb"),
            count,
            at: UnixMillis(1_795_000_000_000),
            log_size: 10 * count,
            log_root: format!("root-{count}"),
            checkpoint: "log.example/audit\n10\nAAAA\n\n— log.example/audit x\n".to_owned(),
        }
    }

    fn expecting(expects: u64) -> AnchorRecord {
        let at = UnixMillis(1_795_000_000_000);
        let new = AnchorRecord::taking(name("usb"), Taken::New, at);
        AnchorRecord { expects: Some(expects), taken: None, log_size: 10 * expects, log_root: "stored".into(), ..new }
    }

    fn tag(bytes: &[u8]) -> [u8; 32] {
        let mut tag = [0; 32];
        bytes.iter().enumerate().for_each(|(at, byte)| tag[at % 32] ^= byte.rotate_left(at as u32 % 8));
        tag
    }

    fn found(record: Option<&AnchorRecord>, count: Option<u64>) -> Result<Option<LogMark>, Discord> {
        compare(&deployment(1), &name("usb"), record, Holding { count, statement: None, device: None })
    }

    fn told(record: Option<&AnchorRecord>, statement: Statement) -> Result<Option<LogMark>, Discord> {
        let (count, read) = (Some(statement.count), Ok(statement));
        compare(&deployment(1), &name("usb"), record, Holding { count, statement: Some(&read), device: None })
    }

    #[test]
    fn a_statement_is_read_back_as_it_was_written_and_no_other() {
        let written = statement(7).write(tag).unwrap();
        let check = |bytes: &[u8], mac: &[u8; 32]| tag(bytes) == *mac;
        assert_eq!(Statement::read(&written, check), Ok(statement(7)));
        for at in 0..written.len() {
            let mut altered = written.clone();
            altered[at] ^= 1;
            assert!(Statement::read(&altered, check).is_err(), "byte {at}");
        }
        for cut in 0..written.len() {
            assert!(Statement::read(&written[..cut], check).is_err(), "cut at {cut}");
        }
        let long = Statement { checkpoint: "x".repeat(STATEMENT_MAX), ..statement(1) };
        assert!(long.write(tag).is_err());
        let newer = Statement { v: 2, ..statement(1) }.write(tag).unwrap();
        assert_eq!(Statement::read(&newer, check), Err(BadStatement::Unreadable));
    }

    #[test]
    fn the_store_that_the_anchor_knows_is_let_in_and_no_older_one() {
        assert_eq!(found(Some(&expecting(5)), Some(5)).unwrap().unwrap().root, "stored");
        assert_eq!(told(Some(&expecting(5)), statement(5)).unwrap().unwrap().root, "root-5");
        // Died between the store and the anchor: what the anchor says of the log holds.
        assert_eq!(told(Some(&expecting(5)), statement(4)).unwrap().unwrap().size, 40);
        assert_eq!(found(Some(&expecting(1)), None).unwrap().unwrap().size, 10);
        assert_eq!(found(Some(&expecting(5)), Some(6)), Err(Discord::Older { expects: 5, holds: 6 }));
        assert_eq!(found(Some(&expecting(5)), Some(3)), Err(Discord::Behind { expects: 5, holds: Some(3) }));
        assert_eq!(found(Some(&expecting(5)), None), Err(Discord::Behind { expects: 5, holds: None }));
        assert_eq!(found(None, Some(9)), Err(Discord::Unknown { holds: 9 }));
        assert_eq!(found(None, None), Ok(None));
    }

    #[test]
    fn an_anchor_is_taken_as_it_stands_where_there_is_a_reason() {
        let taking = |why| AnchorRecord::taking(name("usb"), why, UnixMillis(0));
        for why in [Taken::New, Taken::Restored, Taken::Accepted] {
            assert_eq!(found(Some(&taking(why)), Some(900)), Ok(None), "a bare counter says not whose it is");
        }
        assert_eq!(told(Some(&taking(Taken::Restored)), statement(900)), Ok(None));
        assert_eq!(told(Some(&taking(Taken::New)), statement(900)), Err(Discord::Unknown { holds: 900 }));
    }

    #[test]
    fn what_others_said_is_not_taken_for_ones_own() {
        let other = Statement { deployment: deployment(2), ..statement(5) };
        let elsewhere = Statement { anchor: name("nfs"), ..statement(5) };
        for foreign in [other, elsewhere] {
            assert_eq!(told(Some(&expecting(5)), foreign.clone()), Err(Discord::Foreign));
            assert_eq!(told(None, foreign), Err(Discord::Foreign));
        }
        let (forged, at) = (Err(BadStatement::Forged), (deployment(1), name("usb")));
        let holding = Holding { count: Some(5), statement: Some(&forged), device: None };
        assert_eq!(compare(&at.0, &at.1, Some(&expecting(5)), holding), Err(Discord::Foreign));
        // The count beside the statement was altered.
        let five = Ok(statement(5));
        let holding = Holding { count: Some(6), statement: Some(&five), device: None };
        assert_eq!(compare(&at.0, &at.1, Some(&expecting(6)), holding), Err(Discord::Foreign));
        let known = AnchorRecord { device: Some("aa".to_owned()), ..expecting(5) };
        let holding = Holding { count: Some(5), statement: None, device: Some("bb") };
        assert_eq!(compare(&at.0, &at.1, Some(&known), holding), Err(Discord::OtherDevice));
    }

    #[test]
    fn only_what_differs_between_two_starts_is_told() {
        let first = StartRecord {
            at: UnixMillis(1),
            version: "0.4.0".to_owned(),
            binary: "aa".to_owned(),
            configuration: None,
            module: "m".to_owned(),
        };
        assert!(first.differences(&StartRecord { at: UnixMillis(2), ..first.clone() }).is_empty());
        let second = StartRecord { binary: "bb".to_owned(), configuration: Some("cc".to_owned()), ..first.clone() };
        let named: Vec<_> = second.differences(&first).into_iter().map(|(what, _)| what).collect();
        assert_eq!(named, ["binary_sha256", "configuration_sha256"]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_makes_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Statement::read(&bytes, |_, _| true);
            if let Ok(placed) = Placed::read(&bytes) {
                prop_assert_eq!(placed.write(), bytes);
            }
        }

        #[test]
        fn a_file_is_read_back(count in 1u64.., statement in proptest::collection::vec(any::<u8>(), 0..100)) {
            let placed = Placed { count, statement };
            prop_assert_eq!(Placed::read(&placed.write()), Ok(placed));
        }

        /// Whatever the counts are: in with the expected one or the one before it, and never with a later one.
        #[test]
        fn no_later_count_is_ever_let_in(expects in 1u64..1000, holds in 0u64..2000) {
            let fits = found(Some(&expecting(expects)), Some(holds)).is_ok();
            prop_assert_eq!(fits, holds == expects || holds + 1 == expects);
        }
    }
}
