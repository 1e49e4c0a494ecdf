//! Copying the whole store, and loading a copy into an empty one. Both on a connection of their own: a copy reads one
//! moment of the write-ahead log while commits go on, a load is one transaction.

use keyreeve_model::record::Table;
use keyreeve_model::{FiledRow, Revision, SealedRecord, StoredRow};
use keyreeve_store::{PIECE_ROWS, Piece, StoreError};
use rusqlite::{Connection, Row, params};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

use crate::apply::{self, Refused, run};
use crate::error::{Gone, Phase, store_error};
use crate::read::{self, Read, Unread};
use crate::{filed, open, slots};

/// Why a copy ended early.
enum Ended {
    Unread(Unread),
    NotTaken,
}

impl<E: Into<Unread>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Unread(error.into())
    }
}

impl From<Ended> for StoreError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Unread(unread) => unread.into(),
            Ended::NotTaken => Gone::NotTaken.into(),
        }
    }
}

fn sql_error(phase: Phase) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| store_error(&Arc::new(error), phase)
}

/// A query of one kind of rows, and how a row is read.
type Kind = (&'static str, fn(&Row<'_>) -> Read<StoredRow>);

const KINDS: [Kind; 11] = [
    ("SELECT revision, record, mac FROM deployment", |row| Ok(StoredRow::Deployment(read::record(row, 0)?))),
    ("SELECT id, name, revision, record, mac FROM keyrings ORDER BY id", |row| {
        Ok(StoredRow::Keyring(read::keyring_row(row)?))
    }),
    ("SELECT key_id, keyring, shard, epoch, revision, record, mac FROM destructions ORDER BY key_id", |row| {
        Ok(StoredRow::Destruction(read::destruction_row(row)?))
    }),
    (
        "SELECT id, keyring, state, destruction_due, (SELECT group_concat(alias, ' ' ORDER BY alias) FROM aliases \
         WHERE key_id = keys.id), revision, record, mac FROM keys ORDER BY id",
        |row| Ok(StoredRow::Key(read::key_row(row)?)),
    ),
    (
        "SELECT key_id, version, keyring, shard, epoch, wrapped FROM material JOIN slots USING (slot) \
         ORDER BY keyring, shard, key_id, version",
        |row| Ok(StoredRow::Material(read::material_row(row)?)),
    ),
    ("SELECT id, principal, expires, revision, record, mac FROM tokens ORDER BY id", |row| {
        Ok(StoredRow::Token(read::token_row(row)?))
    }),
    ("SELECT name, revision, record, mac FROM principals ORDER BY name", |row| {
        Ok(StoredRow::Principal(read::named_row(row)?))
    }),
    ("SELECT name, revision, record, mac FROM policies ORDER BY name", |row| {
        Ok(StoredRow::Policy(read::named_row(row)?))
    }),
    ("SELECT id, parent, due, forget, revision, record, mac, kind FROM filed ORDER BY kind, id", |row| {
        Ok(StoredRow::Filed(filed_row(row)?))
    }),
    ("SELECT request_key, request, reply, expires FROM idempotency ORDER BY request_key", |row| {
        Ok(StoredRow::Answer(read::answer_row(row)?))
    }),
    ("SELECT id, bytes FROM outbox ORDER BY seq", |row| Ok(StoredRow::Outbox(read::outbox_row(row)?))),
];

fn filed_row(row: &Row<'_>) -> Read<FiledRow> {
    let kind = row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?;
    let table = Table::from_name(kind).ok_or(Unread::Bad("the kind of a filed record"))?;
    filed::row(table, row)
}

/// Gives every row of one moment to `to`.
pub(crate) fn snapshot(path: &Path, to: &mpsc::Sender<Piece>) -> Result<(), StoreError> {
    let db = open::reader(path).map_err(sql_error(Phase::Read))?;
    // What the first statement sees, all others see.
    db.execute_batch("BEGIN").map_err(sql_error(Phase::Read))?;
    for (sql, map) in KINDS {
        rows(&db, sql, map, to)?;
    }
    give(to, Piece::End)?;
    Ok(())
}

fn rows(
    db: &Connection,
    sql: &str,
    map: fn(&Row<'_>) -> Read<StoredRow>,
    to: &mpsc::Sender<Piece>,
) -> Result<(), Ended> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut piece = Vec::new();
    while let Some(row) = rows.next()? {
        piece.push(map(row)?);
        if piece.len() == PIECE_ROWS {
            give(to, Piece::Rows(std::mem::take(&mut piece)))?;
        }
    }
    if piece.is_empty() { Ok(()) } else { give(to, Piece::Rows(piece)) }
}

fn give(to: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Ended> {
    to.blocking_send(piece).map_err(|_| Ended::NotTaken)
}

/// Puts rows into an empty database, in one transaction.
pub(crate) fn load(path: &Path, mut from: mpsc::Receiver<Piece>) -> Result<(), StoreError> {
    let db = open::writer(path).map_err(sql_error(Phase::Write))?;
    db.execute_batch("BEGIN IMMEDIATE").map_err(sql_error(Phase::Write))?;
    // Whatever is not committed is undone when the connection closes.
    if !is_empty(&db).map_err(sql_error(Phase::Read))? {
        return Err(StoreError::NotEmpty);
    }
    let cut = || StoreError::Damaged("the rows to load end early".to_owned());
    while let Piece::Rows(rows) = from.blocking_recv().ok_or_else(cut)? {
        rows.iter().try_for_each(|row| put(&db, row)).map_err(refused)?;
    }
    db.execute_batch("COMMIT").map_err(sql_error(Phase::Commit))
}

fn refused(refused: Refused) -> StoreError {
    match refused {
        Refused::Sql(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::Damaged(format!("rows to load: {error}")),
            _ => store_error(&Arc::new(error), Phase::Write),
        },
        Refused::Conflict => StoreError::Damaged("a row to load comes twice or contradicts another".to_owned()),
        Refused::Taken { what, name } => StoreError::Damaged(format!("the {what} `{name}` to load comes twice")),
        Refused::LeaseLost => StoreError::LeaseLost,
    }
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM deployment) OR EXISTS (SELECT 1 FROM keyrings) \
               OR EXISTS (SELECT 1 FROM keys) OR EXISTS (SELECT 1 FROM material) \
               OR EXISTS (SELECT 1 FROM destructions) OR EXISTS (SELECT 1 FROM tokens) \
               OR EXISTS (SELECT 1 FROM principals) OR EXISTS (SELECT 1 FROM policies) \
               OR EXISTS (SELECT 1 FROM filed) OR EXISTS (SELECT 1 FROM idempotency) \
               OR EXISTS (SELECT 1 FROM outbox)";
    db.query_row(sql, [], |row| row.get::<_, bool>(0)).map(|some| !some)
}

/// A row as the inserts of `apply.rs` know them: they look at the revision to tell an insert from an update.
fn put(db: &Connection, row: &StoredRow) -> Result<(), Refused> {
    match row {
        StoredRow::Deployment(record) => insert(db, "deployment (one, revision, record, mac)", params![1], record),
        StoredRow::Keyring(row) => {
            let place = params![row.id.as_bytes(), row.name.as_str()];
            insert(db, "keyrings (id, name, revision, record, mac)", place, &row.record)
        }
        StoredRow::Destruction(row) => {
            let place = params![row.key.as_bytes(), row.keyring.as_bytes(), row.shard, row.epoch.cast_signed()];
            insert(db, "destructions (key_id, keyring, shard, epoch, revision, record, mac)", place, &row.record)
        }
        StoredRow::Key(row) => {
            let due = row.destruction_due.map(|due| due.0);
            let place = params![row.id.as_bytes(), row.keyring.as_bytes(), row.state.name(), due];
            insert(db, "keys (id, keyring, state, destruction_due, revision, record, mac)", place, &row.record)?;
            apply::aliases(db, row)
        }
        StoredRow::Material(row) => slots::add(db, row),
        StoredRow::Token(row) => {
            let place = params![row.id.as_bytes(), row.principal.as_str(), row.expires.0];
            insert(db, "tokens (id, principal, expires, revision, record, mac)", place, &row.record)
        }
        StoredRow::Principal(row) => {
            insert(db, "principals (name, revision, record, mac)", params![row.name.as_str()], &row.record)
        }
        StoredRow::Policy(row) => {
            insert(db, "policies (name, revision, record, mac)", params![row.name.as_str()], &row.record)
        }
        StoredRow::Filed(row) => {
            let (due, forget) = (row.due.map(|at| at.0), row.forget.map(|at| at.0));
            let place = params![row.table.name(), row.id.as_bytes(), row.parent, due, forget];
            insert(db, "filed (kind, id, parent, due, forget, revision, record, mac)", place, &row.record)
        }
        StoredRow::Answer(row) => {
            let sql = "INSERT INTO idempotency (request_key, request, reply, expires) VALUES (?1, ?2, ?3, ?4)";
            Ok(run(db, sql, params![row.key, row.request, row.reply, row.expires.0]).map(drop)?)
        }
        StoredRow::Outbox(row) => apply::outbox(db, row),
    }
}

/// Inserts a row of a table whose last three columns are the sealed record.
fn insert(
    db: &Connection,
    table: &'static str,
    place: &[&dyn rusqlite::ToSql],
    record: &SealedRecord,
) -> Result<(), Refused> {
    let Revision(revision) = record.revision;
    let marks: Vec<String> = (1..=place.len() + 3).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT INTO {table} VALUES ({})", marks.join(", "));
    let sealed: [&dyn rusqlite::ToSql; 3] = [&revision, &record.bytes, &record.mac];
    let all: Vec<&dyn rusqlite::ToSql> = place.iter().copied().chain(sealed).collect();
    db.prepare_cached(&sql)?.execute(all.as_slice())?;
    Ok(())
}
