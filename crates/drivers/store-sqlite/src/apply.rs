//! Transactions as SQL. Every statement says by the number of rows it touched whether its compare-and-set held.

use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::{Change, KeyId, KeyringId, Name, Outbox, Revision, SealedRecord, Transaction, UnixMillis};
use rusqlite::{Connection, Params, params};

use crate::{filed, slots};

/// Why a transaction does not apply.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A compare-and-set failed.
    Conflict,
    /// A unique name belongs to another row.
    Taken { what: &'static str, name: String },
    /// Another server has the lease.
    LeaseLost,
    /// SQLite failed.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(crate) type Applied = Result<(), Refused>;

/// Applies all of a transaction, or stops at the first refusal; the caller rolls back.
pub(crate) fn transaction(db: &Connection, transaction: &Transaction) -> Applied {
    for step in &transaction.changes {
        change(db, step)?;
    }
    for row in &transaction.outbox {
        outbox(db, row)?;
    }
    for id in &transaction.settled {
        run(db, "DELETE FROM outbox WHERE id = ?1", [id.as_bytes()])?;
    }
    Ok(())
}

/// Refuses unless `holder` has the lease.
pub(crate) fn fence(db: &Connection, holder: &str) -> Applied {
    let held = db.prepare_cached("SELECT 1 FROM lease WHERE holder = ?1")?.exists([holder])?;
    if held { Ok(()) } else { Err(Refused::LeaseLost) }
}

/// Takes, renews or gives back the lease; false when it is somebody else's. One that is over is taken only to be used.
pub(crate) fn lease(db: &Connection, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, Refused> {
    let sql = "INSERT INTO lease (one, holder, ends) VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE \
               SET holder = excluded.holder, ends = excluded.ends \
               WHERE lease.holder = excluded.holder OR (lease.ends <= ?3 AND excluded.ends > ?3)";
    Ok(run(db, sql, params![holder, until.0, now.0])? == 1)
}

/// Writes a row that nobody reads, to see that writing works.
pub(crate) fn beat(db: &Connection) -> Applied {
    one(db, "UPDATE health SET beat = beat + 1 WHERE one = 1", [])
}

fn change(db: &Connection, change: &Change) -> Applied {
    match change {
        Change::PutDeployment(record) => deployment(db, record),
        Change::PutKeyring(row) => keyring(db, row),
        Change::PutKey(row) => key(db, row),
        Change::AddMaterial(row) => slots::add(db, row),
        Change::Rewrap { row, from_epoch } => slots::rewrap(db, row, *from_epoch),
        Change::EraseMaterial { key } => slots::erase(db, *key),
        Change::EraseVersion { key, version } => slots::erase_version(db, *key, *version),
        Change::AddDestruction { key, keyring, shard, epoch, record } => {
            destruction(db, (key, keyring, *shard, *epoch), record)
        }
        Change::PutToken(row) => token(db, row),
        Change::PutPrincipal(row) => named(db, &PRINCIPALS, row),
        Change::DeletePrincipal { name, revision } => delete(db, &PRINCIPALS, name, *revision),
        Change::PutPolicy(row) => named(db, &POLICIES, row),
        Change::DeletePolicy { name, revision } => delete(db, &POLICIES, name, *revision),
        Change::Remember { row, now } => remember(db, row, *now),
        Change::File(row) => filed::file(db, row),
        Change::Unfile { table, id, revision } => filed::unfile(db, *table, id, *revision),
        Change::Expire { before } => expire(db, *before),
    }
}

pub(crate) fn run(db: &Connection, sql: &'static str, params: impl Params) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

/// Runs a statement that must touch exactly one row.
pub(crate) fn one(db: &Connection, sql: &'static str, params: impl Params) -> Applied {
    if run(db, sql, params)? == 1 { Ok(()) } else { Err(Refused::Conflict) }
}

/// The insert for a first revision, the compare-and-set update for every other.
pub(crate) fn put_sql(record: &SealedRecord, insert: &'static str, update: &'static str) -> &'static str {
    if record.revision == Revision::FIRST { insert } else { update }
}

fn deployment(db: &Connection, record: &SealedRecord) -> Applied {
    let sql = put_sql(
        record,
        "INSERT INTO deployment (one, revision, record, mac) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING",
        "UPDATE deployment SET revision = ?1, record = ?2, mac = ?3 WHERE one = 1 AND revision = ?1 - 1",
    );
    one(db, sql, params![record.revision.0, record.bytes, record.mac])
}

fn keyring(db: &Connection, row: &KeyringRow) -> Applied {
    let sql = put_sql(
        &row.record,
        "INSERT INTO keyrings (id, name, revision, record, mac) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        "UPDATE keyrings SET name = ?2, revision = ?3, record = ?4, mac = ?5 WHERE id = ?1 AND revision = ?3 - 1 \
         AND NOT EXISTS (SELECT 1 FROM keyrings WHERE name = ?2 AND id <> ?1)",
    );
    let (id, name, record) = (row.id.as_bytes(), row.name.as_str(), &row.record);
    if run(db, sql, params![id, name, record.revision.0, record.bytes, record.mac])? == 1 {
        return Ok(());
    }
    let owner = "SELECT 1 FROM keyrings WHERE name = ?2 AND id <> ?1";
    let taken = db.prepare_cached(owner)?.exists(params![id, name])?;
    Err(if taken { Refused::Taken { what: "keyring", name: name.to_owned() } } else { Refused::Conflict })
}

fn key(db: &Connection, row: &KeyRow) -> Applied {
    let sql = put_sql(
        &row.record,
        "INSERT INTO keys (id, keyring, state, destruction_due, revision, record, mac) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        "UPDATE keys SET keyring = ?2, state = ?3, destruction_due = ?4, revision = ?5, record = ?6, mac = ?7 \
         WHERE id = ?1 AND revision = ?5 - 1",
    );
    let due = row.destruction_due.map(|due| due.0);
    let (id, record) = (row.id.as_bytes(), &row.record);
    let keyring = row.keyring.as_bytes();
    one(db, sql, params![id, keyring, row.state.name(), due, record.revision.0, record.bytes, record.mac])?;
    aliases(db, row)
}

pub(crate) fn aliases(db: &Connection, row: &KeyRow) -> Applied {
    let id = row.id.as_bytes();
    if row.record.revision != Revision::FIRST {
        run(db, "DELETE FROM aliases WHERE key_id = ?1", [id])?;
    }
    let sql = "INSERT INTO aliases (alias, key_id) VALUES (?1, ?2) ON CONFLICT (alias) DO UPDATE \
               SET key_id = excluded.key_id WHERE aliases.key_id = excluded.key_id";
    for alias in &row.aliases {
        if run(db, sql, params![alias.as_str(), id])? != 1 {
            return Err(Refused::Taken { what: "alias", name: alias.to_string() });
        }
    }
    Ok(())
}

fn destruction(db: &Connection, at: (&KeyId, &KeyringId, u32, u64), record: &SealedRecord) -> Applied {
    let sql = "INSERT INTO destructions (key_id, keyring, shard, epoch, revision, record, mac) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let (key, keyring, shard, epoch) = (at.0.as_bytes(), at.1.as_bytes(), at.2, at.3.cast_signed());
    one(db, sql, params![key, keyring, shard, epoch, record.revision.0, record.bytes, record.mac])
}

fn token(db: &Connection, row: &TokenRow) -> Applied {
    let sql = put_sql(
        &row.record,
        "INSERT INTO tokens (id, principal, expires, revision, record, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
        "UPDATE tokens SET principal = ?2, expires = ?3, revision = ?4, record = ?5, mac = ?6 \
         WHERE id = ?1 AND revision = ?4 - 1",
    );
    let (id, record) = (row.id.as_bytes(), &row.record);
    one(db, sql, params![id, row.principal.as_str(), row.expires.0, record.revision.0, record.bytes, record.mac])
}

/// The statements of a table whose rows are addressed by name.
struct NamedTable {
    insert: &'static str,
    update: &'static str,
    delete: &'static str,
}

const PRINCIPALS: NamedTable = NamedTable {
    insert: "INSERT INTO principals (name, revision, record, mac) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    update: "UPDATE principals SET revision = ?2, record = ?3, mac = ?4 WHERE name = ?1 AND revision = ?2 - 1",
    delete: "DELETE FROM principals WHERE name = ?1 AND revision = ?2",
};

const POLICIES: NamedTable = NamedTable {
    insert: "INSERT INTO policies (name, revision, record, mac) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    update: "UPDATE policies SET revision = ?2, record = ?3, mac = ?4 WHERE name = ?1 AND revision = ?2 - 1",
    delete: "DELETE FROM policies WHERE name = ?1 AND revision = ?2",
};

fn named(db: &Connection, table: &NamedTable, row: &NamedRow) -> Applied {
    let record = &row.record;
    let sql = put_sql(record, table.insert, table.update);
    one(db, sql, params![row.name.as_str(), record.revision.0, record.bytes, record.mac])
}

fn delete(db: &Connection, table: &NamedTable, name: &Name, revision: Revision) -> Applied {
    one(db, table.delete, params![name.as_str(), revision.0])
}

fn remember(db: &Connection, row: &IdempotencyRow, now: UnixMillis) -> Applied {
    let sql = "INSERT INTO idempotency (request_key, request, reply, expires) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (request_key) DO UPDATE SET request = excluded.request, reply = excluded.reply, \
               expires = excluded.expires WHERE idempotency.expires < ?5";
    one(db, sql, params![row.key, row.request, row.reply, row.expires.0, now.0])
}

fn expire(db: &Connection, before: UnixMillis) -> Applied {
    run(db, "DELETE FROM idempotency WHERE expires < ?1", [before.0])?;
    run(db, "DELETE FROM tokens WHERE expires < ?1", [before.0])?;
    run(db, "DELETE FROM filed WHERE forget < ?1", [before.0])?;
    Ok(())
}

pub(crate) fn outbox(db: &Connection, row: &Outbox) -> Applied {
    let sql = "INSERT INTO outbox (id, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    one(db, sql, params![row.id.as_bytes(), row.bytes])
}
