//! Transactions as SQL. Every statement says by the number of rows it touched whether its compare-and-set held.
//!
//! At the isolation level `READ COMMITTED` that makes commits serialisable: each write is conditional on the row it
//! writes, locks that row until the end, and sees its newest committed form. The one phantom, material added while all
//! material of its key is erased, is shut out by touching the key's row first. Above that level the database reports
//! what it cannot serialise, and the caller of this module tries again.

use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::{
    Change, KeyId, KeyringId, MaterialRow, Name, Outbox, RecordId, Revision, SealedRecord, Transaction, UnixMillis,
};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};

use crate::filed;

/// Why a transaction does not apply.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A compare-and-set failed.
    Conflict,
    /// A unique name belongs to another row.
    Taken { what: &'static str, name: String },
    /// Another server has the lease.
    LeaseLost,
    /// The database did not even begin, for example on a connection that died unnoticed: nothing is applied.
    NotBegun(sqlx::Error),
    /// The database failed.
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

pub(crate) type Applied = Result<(), Refused>;
pub(crate) type Statement<'a> = Query<'a, Postgres, PgArguments>;

/// Applies all of a transaction, or stops at the first refusal; the caller rolls back.
pub(crate) async fn transaction(db: &mut PgConnection, transaction: &Transaction) -> Applied {
    for (at, step) in transaction.changes.iter().enumerate() {
        if let Some(key) = phantom(step, &transaction.changes[..at]) {
            run(db, sqlx::query("UPDATE keys SET revision = revision WHERE id = $1").bind(key.as_bytes())).await?;
        }
        change(db, step).await?;
    }
    for row in &transaction.outbox {
        outbox(db, row).await?;
    }
    if !transaction.settled.is_empty() {
        let ids: Vec<&[u8]> = transaction.settled.iter().map(|id| id.as_bytes().as_slice()).collect();
        run(db, sqlx::query("DELETE FROM outbox WHERE id = ANY($1)").bind(ids)).await?;
    }
    Ok(())
}

/// Refuses unless `holder` has the lease, and keeps others from taking it until the end of the transaction.
pub(crate) async fn fence(db: &mut PgConnection, holder: &str) -> Applied {
    let held = sqlx::query("SELECT 1 FROM lease WHERE one = 1 AND holder = $1 FOR SHARE").bind(holder);
    if held.fetch_optional(db).await?.is_some() { Ok(()) } else { Err(Refused::LeaseLost) }
}

/// True when an audit record is in the outbox. Waits for a transaction under way that adds it, and leaves nothing
/// behind: the caller rolls back.
pub(crate) async fn is_in_outbox(db: &mut PgConnection, id: &RecordId) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO outbox (id, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(run(db, sqlx::query(sql).bind(id.as_bytes()).bind(b"".as_slice())).await? == 0)
}

/// The lease's statement; it touches one row when the lease was had. One that is over is taken only to be used.
pub(crate) fn lease(holder: &str, now: UnixMillis, until: UnixMillis) -> Statement<'_> {
    let sql = "INSERT INTO lease (one, holder, ends) VALUES (1, $1, $2) ON CONFLICT (one) DO UPDATE \
               SET holder = excluded.holder, ends = excluded.ends \
               WHERE lease.holder = excluded.holder OR (lease.ends <= $3 AND excluded.ends > $3)";
    sqlx::query(sql).bind(holder).bind(until.0).bind(now.0)
}

/// Writes a row that nobody reads, to see that writing works.
pub(crate) fn beat() -> Statement<'static> {
    sqlx::query("UPDATE health SET beat = beat + 1 WHERE one = 1")
}

/// The key whose row must be locked before this step, unless an earlier one wrote and so locked it.
fn phantom<'a>(step: &'a Change, earlier: &[Change]) -> Option<&'a KeyId> {
    let key = match step {
        Change::AddMaterial(row) => &row.key,
        Change::EraseMaterial { key } | Change::EraseVersion { key, .. } => key,
        Change::PutDeployment(_)
        | Change::PutKeyring(_)
        | Change::PutKey(_)
        | Change::Rewrap { .. }
        | Change::AddDestruction { .. }
        | Change::PutToken(_)
        | Change::PutPrincipal(_)
        | Change::DeletePrincipal { .. }
        | Change::PutPolicy(_)
        | Change::DeletePolicy { .. }
        | Change::Remember { .. }
        | Change::File(_)
        | Change::Unfile { .. }
        | Change::Expire { .. } => return None,
    };
    let locked = earlier.iter().any(|step| matches!(step, Change::PutKey(row) if row.id == *key));
    if locked { None } else { Some(key) }
}

async fn change(db: &mut PgConnection, change: &Change) -> Applied {
    match change {
        Change::PutDeployment(record) => deployment(db, record).await,
        Change::PutKeyring(row) => keyring(db, row).await,
        Change::PutKey(row) => key(db, row).await,
        Change::AddMaterial(row) => add_material(db, row).await,
        Change::Rewrap { row, from_epoch } => rewrap(db, row, *from_epoch).await,
        Change::EraseMaterial { key } => {
            run(db, sqlx::query("DELETE FROM material WHERE key_id = $1").bind(key.as_bytes())).await?;
            Ok(())
        }
        Change::EraseVersion { key, version } => {
            let sql = "DELETE FROM material WHERE key_id = $1 AND version = $2";
            run(db, sqlx::query(sql).bind(key.as_bytes()).bind(i64::from(*version))).await?;
            Ok(())
        }
        Change::AddDestruction { key, keyring, shard, epoch, record } => {
            destruction(db, (key, keyring, *shard, *epoch), record).await
        }
        Change::PutToken(row) => token(db, row).await,
        Change::PutPrincipal(row) => named(db, &PRINCIPALS, row).await,
        Change::DeletePrincipal { name, revision } => delete(db, &PRINCIPALS, name, *revision).await,
        Change::PutPolicy(row) => named(db, &POLICIES, row).await,
        Change::DeletePolicy { name, revision } => delete(db, &POLICIES, name, *revision).await,
        Change::Remember { row, now } => remember(db, row, *now).await,
        Change::File(row) => filed::file(db, row).await,
        Change::Unfile { table, id, revision } => filed::unfile(db, *table, id, *revision).await,
        Change::Expire { before } => expire(db, *before).await,
    }
}

pub(crate) async fn run(db: &mut PgConnection, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
    Ok(statement.execute(db).await?.rows_affected())
}

/// Runs a statement that must touch exactly one row.
pub(crate) async fn one(db: &mut PgConnection, statement: Statement<'_>) -> Applied {
    if run(db, statement).await? == 1 { Ok(()) } else { Err(Refused::Conflict) }
}

/// The insert for a first revision, the compare-and-set update for every other.
pub(crate) fn put(record: &SealedRecord, insert: &'static str, update: &'static str) -> Statement<'static> {
    sqlx::query(if record.revision == Revision::FIRST { insert } else { update })
}

/// Binds what every record has: revision, bytes and mac.
pub(crate) fn bind<'a>(statement: Statement<'a>, record: &'a SealedRecord) -> Statement<'a> {
    statement.bind(record.revision.0).bind(record.bytes.as_slice()).bind(record.mac.as_slice())
}

async fn deployment(db: &mut PgConnection, record: &SealedRecord) -> Applied {
    let statement = put(
        record,
        "INSERT INTO deployment (one, revision, record, mac) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING",
        "UPDATE deployment SET revision = $1, record = $2, mac = $3 WHERE one = 1 AND revision = $1 - 1",
    );
    one(db, bind(statement, record)).await
}

async fn keyring(db: &mut PgConnection, row: &KeyringRow) -> Applied {
    let statement = put(
        &row.record,
        "INSERT INTO keyrings (id, name, revision, record, mac) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        "UPDATE keyrings SET name = $2, revision = $3, record = $4, mac = $5 WHERE id = $1 AND revision = $3 - 1 \
         AND NOT EXISTS (SELECT 1 FROM keyrings WHERE name = $2 AND id <> $1)",
    );
    let (id, name) = (row.id.as_bytes(), row.name.as_str());
    if run(db, bind(statement.bind(id).bind(name), &row.record)).await? == 1 {
        return Ok(());
    }
    let owner = sqlx::query("SELECT 1 FROM keyrings WHERE name = $2 AND id <> $1").bind(id).bind(name);
    let taken = owner.fetch_optional(db).await?.is_some();
    Err(if taken { Refused::Taken { what: "keyring", name: name.to_owned() } } else { Refused::Conflict })
}

async fn key(db: &mut PgConnection, row: &KeyRow) -> Applied {
    let statement = put(
        &row.record,
        "INSERT INTO keys (id, keyring, state, destruction_due, revision, record, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        "UPDATE keys SET keyring = $2, state = $3, destruction_due = $4, revision = $5, record = $6, mac = $7 \
         WHERE id = $1 AND revision = $5 - 1",
    );
    let statement = statement.bind(row.id.as_bytes()).bind(row.keyring.as_bytes()).bind(row.state.name());
    one(db, bind(statement.bind(row.destruction_due.map(|due| due.0)), &row.record)).await?;
    aliases(db, row).await
}

pub(crate) async fn aliases(db: &mut PgConnection, row: &KeyRow) -> Applied {
    let id = row.id.as_bytes();
    let mut aliases: Vec<&str> = row.aliases.iter().map(Name::as_str).collect();
    // In one order for everybody, so that two callers who take the same names wait for each other and do not deadlock.
    aliases.sort_unstable();
    aliases.dedup();
    if row.record.revision != Revision::FIRST {
        let gone = "DELETE FROM aliases WHERE key_id = $1 AND alias <> ALL($2)";
        run(db, sqlx::query(gone).bind(id).bind(&aliases)).await?;
    }
    if aliases.is_empty() {
        return Ok(());
    }
    let take = "INSERT INTO aliases (alias, key_id) SELECT alias, $1 FROM unnest($2::TEXT[]) AS wanted (alias) \
                ON CONFLICT (alias) DO UPDATE SET key_id = excluded.key_id WHERE aliases.key_id = excluded.key_id";
    let taken = run(db, sqlx::query(take).bind(id).bind(&aliases)).await?;
    if usize::try_from(taken) == Ok(aliases.len()) {
        return Ok(());
    }
    let owner = "SELECT alias FROM aliases WHERE alias = ANY($2) AND key_id <> $1 ORDER BY alias LIMIT 1";
    match sqlx::query(owner).bind(id).bind(&aliases).fetch_optional(db).await? {
        Some(found) => Err(Refused::Taken { what: "alias", name: found.try_get(0)? }),
        // Its owner let go of it meanwhile.
        None => Err(Refused::Conflict),
    }
}

/// Binds a material row in the order of its columns.
fn bind_material<'a>(statement: Statement<'a>, row: &'a MaterialRow) -> Statement<'a> {
    let statement = statement.bind(row.key.as_bytes()).bind(i64::from(row.version)).bind(row.keyring.as_bytes());
    statement.bind(i64::from(row.shard)).bind(row.epoch.cast_signed()).bind(row.wrapped.as_slice())
}

/// Refuses material under an epoch that a destruction record calls erased: nobody could ever open it again.
async fn refuse_erased(db: &mut PgConnection, row: &MaterialRow) -> Applied {
    let sql = "SELECT 1 FROM destructions WHERE keyring = $1 AND shard = $2 AND epoch >= $3 LIMIT 1";
    let query = sqlx::query(sql).bind(row.keyring.as_bytes()).bind(i64::from(row.shard)).bind(row.epoch.cast_signed());
    match query.fetch_optional(db).await? {
        Some(_) => Err(Refused::Conflict),
        None => Ok(()),
    }
}

pub(crate) async fn add_material(db: &mut PgConnection, row: &MaterialRow) -> Applied {
    refuse_erased(db, row).await?;
    let sql = "INSERT INTO material (key_id, version, keyring, shard, epoch, wrapped) VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT DO NOTHING";
    one(db, bind_material(sqlx::query(sql), row)).await
}

async fn rewrap(db: &mut PgConnection, row: &MaterialRow, from_epoch: u64) -> Applied {
    refuse_erased(db, row).await?;
    let sql = "UPDATE material SET keyring = $3, shard = $4, epoch = $5, wrapped = $6 \
               WHERE key_id = $1 AND version = $2 AND epoch = $7";
    one(db, bind_material(sqlx::query(sql), row).bind(from_epoch.cast_signed())).await
}

async fn destruction(
    db: &mut PgConnection,
    (key, keyring, shard, epoch): (&KeyId, &KeyringId, u32, u64),
    record: &SealedRecord,
) -> Applied {
    let sql = "INSERT INTO destructions (key_id, keyring, shard, epoch, revision, record, mac) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let statement = sqlx::query(sql).bind(key.as_bytes()).bind(keyring.as_bytes());
    one(db, bind(statement.bind(i64::from(shard)).bind(epoch.cast_signed()), record)).await
}

async fn token(db: &mut PgConnection, row: &TokenRow) -> Applied {
    let statement = put(
        &row.record,
        "INSERT INTO tokens (id, principal, expires, revision, record, mac) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT DO NOTHING",
        "UPDATE tokens SET principal = $2, expires = $3, revision = $4, record = $5, mac = $6 \
         WHERE id = $1 AND revision = $4 - 1",
    );
    let statement = statement.bind(row.id.as_bytes()).bind(row.principal.as_str()).bind(row.expires.0);
    one(db, bind(statement, &row.record)).await
}

/// The statements of a table whose rows are addressed by name.
struct NamedTable {
    insert: &'static str,
    update: &'static str,
    delete: &'static str,
}

const PRINCIPALS: NamedTable = NamedTable {
    insert: "INSERT INTO principals (name, revision, record, mac) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    update: "UPDATE principals SET revision = $2, record = $3, mac = $4 WHERE name = $1 AND revision = $2 - 1",
    delete: "DELETE FROM principals WHERE name = $1 AND revision = $2",
};

const POLICIES: NamedTable = NamedTable {
    insert: "INSERT INTO policies (name, revision, record, mac) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    update: "UPDATE policies SET revision = $2, record = $3, mac = $4 WHERE name = $1 AND revision = $2 - 1",
    delete: "DELETE FROM policies WHERE name = $1 AND revision = $2",
};

async fn named(db: &mut PgConnection, table: &NamedTable, row: &NamedRow) -> Applied {
    let statement = put(&row.record, table.insert, table.update).bind(row.name.as_str());
    one(db, bind(statement, &row.record)).await
}

async fn delete(db: &mut PgConnection, table: &NamedTable, name: &Name, revision: Revision) -> Applied {
    one(db, sqlx::query(table.delete).bind(name.as_str()).bind(revision.0)).await
}

async fn remember(db: &mut PgConnection, row: &IdempotencyRow, now: UnixMillis) -> Applied {
    let sql = "INSERT INTO idempotency (request_key, request, reply, expires) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (request_key) DO UPDATE SET request = excluded.request, reply = excluded.reply, \
               expires = excluded.expires WHERE idempotency.expires < $5";
    let statement = sqlx::query(sql).bind(row.key.as_slice()).bind(row.request.as_slice()).bind(row.reply.as_slice());
    one(db, statement.bind(row.expires.0).bind(now.0)).await
}

async fn expire(db: &mut PgConnection, before: UnixMillis) -> Applied {
    run(db, sqlx::query("DELETE FROM idempotency WHERE expires < $1").bind(before.0)).await?;
    run(db, sqlx::query("DELETE FROM tokens WHERE expires < $1").bind(before.0)).await?;
    run(db, sqlx::query("DELETE FROM filed WHERE forget < $1").bind(before.0)).await?;
    Ok(())
}

pub(crate) async fn outbox(db: &mut PgConnection, row: &Outbox) -> Applied {
    let sql = "INSERT INTO outbox (id, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    one(db, sqlx::query(sql).bind(row.id.as_bytes()).bind(row.bytes.as_slice())).await
}
