//! Reading, searching and proving the audit log.

use keyreeve_audit::record::Record;
use keyreeve_audit::tile::LogPath;
use keyreeve_journal::{Filter, Scan};
use keyreeve_model::{KeyId, Name, RecordId, TokenId, UnixMillis};
use std::sync::Arc;

use super::PAGE_MAX;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{KeyRef, KeyringRef};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// What a search is narrowed by; everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Records of this principal.
    pub principal: Option<String>,
    /// Records of this operation; a trailing `*` stands for any ending.
    pub operation: Option<String>,
    /// Records about this resource: its id or name, an alias of the key, or the name or id of its keyring.
    pub resource: Option<String>,
    /// `ok`, `refused` or `failed`.
    pub outcome: Option<String>,
    /// Records with this error code.
    pub code: Option<String>,
    /// Records of this request.
    pub request: Option<String>,
}

impl AuditQuery {
    fn is_empty(&self) -> bool {
        let given = [&self.principal, &self.operation, &self.resource, &self.outcome, &self.code, &self.request];
        given.into_iter().all(Option::is_none)
    }

    /// Whether a record fits; `names` are all that records may call the wanted resource by.
    fn fits(&self, record: &Record, names: &[String]) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let about = |found: &keyreeve_audit::Resource| {
            names.contains(&found.id)
                || found.keyring.as_ref().is_some_and(|keyring| names.contains(keyring))
                || gave_or_took(record, names)
        };
        same(&self.principal, &record.actor.principal)
            && self.operation.as_deref().is_none_or(|wanted| operation_fits(wanted, &record.operation))
            && (names.is_empty() || record.resource.as_ref().is_some_and(about))
            && same(&self.outcome, outcome_name(&record.outcome))
            && self.code.as_deref().is_none_or(|wanted| record.outcome.code() == Some(wanted))
            && same(&self.request, &record.request)
    }
}

/// Whether a key got or lost one of these names as an alias: so an alias leads to the keys that had it before.
fn gave_or_took(record: &Record, names: &[String]) -> bool {
    let lists = ["added_aliases", "removed_aliases"].into_iter().filter_map(|name| record.details.get(name));
    let aliases = lists.filter_map(|list| serde_json::from_str::<Vec<String>>(list).ok());
    record.operation == catalogue::KEY_UPDATE.name && aliases.flatten().any(|alias| names.contains(&alias))
}

fn outcome_name(outcome: &keyreeve_audit::Outcome) -> &'static str {
    match outcome {
        keyreeve_audit::Outcome::Ok => "ok",
        keyreeve_audit::Outcome::Refused { .. } => "refused",
        keyreeve_audit::Outcome::Failed { .. } => "failed",
    }
}

fn operation_fits(wanted: &str, found: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => wanted == found,
    }
}

/// Searches the audit log, newest first.
#[derive(Debug)]
pub struct Search {
    /// What to look for.
    pub query: AuditQuery,
    /// Records of this instant and later.
    pub from: Option<UnixMillis>,
    /// Records before this instant.
    pub until: Option<UnixMillis>,
    /// Entries below this index: where the former page ended.
    pub before: Option<u64>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// Records that were found.
#[derive(Debug)]
pub struct Found {
    /// Index in the log, and the record.
    pub records: Vec<(u64, Record)>,
    /// Where the next page starts; none when nothing older is left. A page may be short, even empty, with more to come.
    pub next: Option<u64>,
    /// What the wanted resource is called besides, and was searched by as well: the id of the key that has the alias
    /// now, id and name of the keyring.
    pub also_called: Vec<String>,
}

impl Remember for Found {}

impl Operation for Search {
    const DESCRIPTOR: &'static Descriptor = &catalogue::AUDIT_SEARCH;
    type Reply = Found;

    fn target(&self) -> Target<'_> {
        Target::Audit
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Found>, Error> {
        let query = self.query.clone();
        let names = match &query.resource {
            Some(wanted) => names_of(core, wanted).await?,
            None => Named { names: Vec::new(), known: true },
        };
        let Named { names, known } = names;
        let wanted = self.query.resource.as_deref();
        let also_called = names.iter().filter(|name| wanted != Some(name.as_str())).cloned().collect();
        let filter: Option<Filter> = (!query.is_empty()).then(|| {
            let filter = move |bytes: &[u8]| Record::decode(bytes).is_ok_and(|record| query.fits(&record, &names));
            Arc::new(filter) as Filter
        });
        let scan = Scan {
            from: self.from.unwrap_or(UnixMillis(i64::MIN)),
            until: self.until.unwrap_or(UnixMillis(i64::MAX)),
            before: self.before,
            limit: self.limit.clamp(1, PAGE_MAX) as usize,
            filter,
        };
        let page = core.ports.journal.scan(scan).await?;
        if let (false, true, None, None) = (known, page.entries.is_empty(), page.next, self.before) {
            let wanted = self.query.resource.as_deref().unwrap_or_default();
            let text = format!(
                "nothing is called `{wanted}` now, and no record that was searched names it: `keyreeve key list --text \
                 {wanted}` finds keys, and a key's id all of its records"
            );
            return Err(Error::new(Code::NotFound, text));
        }
        let decode = |(index, bytes): (u64, Vec<u8>)| Record::decode(&bytes).map(|record| (index, record));
        let records: Vec<_> =
            page.entries.into_iter().map(decode).collect::<Result<_, _>>().map_err(Error::internal)?;
        let count = records.len();
        Ok(Outcome::reply(Found { records, next: page.next, also_called }).detail("found", count))
    }
}

/// All that records may call a resource by.
struct Named {
    names: Vec<String>,
    /// Whether there is such a thing now, as far as one can tell from its name.
    known: bool,
}

/// What records call a resource, from what a person calls it: records name keys by their ids, and a key's keyring by
/// its name.
async fn names_of(core: &Core, wanted: &str) -> Result<Named, Error> {
    let mut named = Named { names: vec![wanted.to_owned()], known: false };
    if let Ok(reference @ KeyRef::Alias(_)) = wanted.parse::<KeyRef>()
        && let Some(key) = core.find_key(&reference).await?
    {
        named.names.push(key.record.id().to_string());
        named.known = true;
    }
    if let Ok(reference) = wanted.parse::<KeyringRef>()
        && let Some(keyring) = core.find_keyring(&reference).await?
    {
        named.names.extend([keyring.record.id.to_string(), keyring.record.name.to_string()]);
        named.known = true;
    }
    // Ids stand for themselves, and so do things of which there is one only.
    let is_id = wanted.parse::<KeyId>().is_ok() || wanted.parse::<TokenId>().is_ok();
    let opened = core.need_open()?;
    let access = opened.access();
    let is_name = wanted.parse::<Name>().is_ok_and(|name| {
        access.principal(&name).is_some()
            || access.policies().stored.contains_key(&name)
            || core.compiler.is_built_in(wanted)
    });
    named.known |= is_id || is_name || ["server", "log", "new"].contains(&wanted);
    Ok(named)
}

/// Proves that an operation is in the log.
#[derive(Debug)]
pub struct Prove {
    /// The audit record of the operation.
    pub record: RecordId,
}

/// A self-contained proof.
#[derive(Debug)]
pub struct Proof {
    /// The record's index.
    pub index: u64,
    /// The record itself, as it stands in the log: the leaf that is proved.
    pub record: Vec<u8>,
    /// `c2sp.org/tlog-proof@v1`
    pub proof: String,
    /// The keys that verify it.
    pub vkeys: Vec<String>,
}

impl Remember for Proof {}

impl Operation for Prove {
    const DESCRIPTOR: &'static Descriptor = &catalogue::AUDIT_PROVE;
    type Reply = Proof;

    fn target(&self) -> Target<'_> {
        Target::Audit
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Proof>, Error> {
        let (opened, journal) = (core.need_open()?, &core.ports.journal);
        let absent = || Error::new(Code::NotFound, "no record of this id is in the audit log");
        let index = journal.find(&self.record).await?.ok_or_else(absent)?;
        let (_, record) = journal.read(index..index + 1).await?.into_iter().next().ok_or_else(absent)?;
        self.refuse_strangers(approved, core, &record)?;
        let proof = journal.prove(index).await?;
        let vkeys = opened.deployment.log_vkeys.clone();
        Ok(Outcome::reply(Proof { index, record, proof, vkeys }).detail("proved", self.record))
    }
}

impl Prove {
    /// Whoever may not read the log gets proofs of its own operations only.
    fn refuse_strangers(&self, approved: &Approved<Self>, core: &Core, record: &[u8]) -> Result<(), Error> {
        let record = Record::decode(record).map_err(Error::internal)?;
        let own = record.actor.principal == approved.principal().name.as_str();
        if own || core.may(approved, &catalogue::AUDIT_SEARCH)? {
            return Ok(());
        }
        Err(Error::new(
            Code::Denied,
            "this record is of another principal: only those who may search the log get its proof",
        ))
    }
}

/// What of the log is handed out.
#[derive(Debug)]
pub enum LogFile {
    /// A fresh signed checkpoint that covers everything done so far.
    Checkpoint,
    /// A file of the tlog-tiles layout.
    Path(LogPath),
}

/// Hands out the log's checkpoint and tiles, for other people's verifiers and witnesses.
#[derive(Debug)]
pub struct Read {
    /// What.
    pub file: LogFile,
}

/// A file of the log.
#[derive(Debug)]
pub struct LogBytes(pub Vec<u8>);

impl Remember for LogBytes {}

impl Operation for Read {
    const DESCRIPTOR: &'static Descriptor = &catalogue::AUDIT_READ;
    type Reply = LogBytes;

    fn target(&self) -> Target<'_> {
        Target::Audit
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<LogBytes>, Error> {
        let journal = &core.ports.journal;
        let bytes = match self.file {
            LogFile::Checkpoint => journal.checkpoint().await?.into_bytes(),
            LogFile::Path(path) => {
                let absent = || Error::new(Code::NotFound, "the log has no such tile (yet)");
                journal.tile(path).await?.ok_or_else(absent)?
            }
        };
        Ok(Outcome::reply(LogBytes(bytes)))
    }
}
