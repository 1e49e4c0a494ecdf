//! Copying the whole store, and loading a copy into an empty one.
//!
//! A copy is read page by page in one transaction of the level `REPEATABLE READ`, so all pages are of one moment; a
//! load is one transaction. Both are long: they have a connection each, whose statements are bounded one by one.

use keyreeve_model::record::Table;
use keyreeve_model::{FiledRow, RowId, StoredRow, UnixMillis};
use keyreeve_store::{PIECE_ROWS, Piece, StoreError};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::apply::{self, Refused, bind, run};
use crate::error::store_error;
use crate::rows::{self, Read, Unread};

/// Whoever asked for a copy takes no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nobody takes the copy any more")]
struct NotTaken;

/// A declared query of one kind of rows, and how a row is read.
type Kind = (&'static str, fn(&PgRow) -> Read<StoredRow>);

const KINDS: [Kind; 11] = [
    ("SELECT revision, record, mac FROM deployment", |row| Ok(StoredRow::Deployment(rows::sealed(row)?))),
    ("SELECT id, name, revision, record, mac FROM keyrings ORDER BY id", |row| {
        Ok(StoredRow::Keyring(rows::keyring(row)?))
    }),
    ("SELECT key_id, keyring, shard, epoch, revision, record, mac FROM destructions ORDER BY key_id", |row| {
        Ok(StoredRow::Destruction(rows::destruction_row(row)?))
    }),
    (
        "SELECT id, keyring, state, destruction_due, (SELECT string_agg(alias, ' ' ORDER BY alias) FROM aliases \
         WHERE key_id = keys.id), revision, record, mac FROM keys ORDER BY id",
        |row| Ok(StoredRow::Key(rows::key(row)?)),
    ),
    (
        "SELECT key_id, version, keyring, shard, epoch, wrapped FROM material \
         ORDER BY keyring, shard, key_id, version",
        |row| Ok(StoredRow::Material(rows::material(row)?)),
    ),
    ("SELECT id, principal, expires, revision, record, mac FROM tokens ORDER BY id", |row| {
        Ok(StoredRow::Token(rows::token(row)?))
    }),
    ("SELECT name, revision, record, mac FROM principals ORDER BY name", |row| {
        Ok(StoredRow::Principal(rows::named(row)?))
    }),
    ("SELECT name, revision, record, mac FROM policies ORDER BY name", |row| Ok(StoredRow::Policy(rows::named(row)?))),
    ("SELECT id, parent, due, forget, revision, record, mac, kind FROM filed ORDER BY kind COLLATE \"C\", id", |row| {
        Ok(StoredRow::Filed(filed(row)?))
    }),
    ("SELECT request_key, request, reply, expires FROM idempotency ORDER BY request_key", |row| {
        Ok(StoredRow::Answer(rows::answer(row)?))
    }),
    ("SELECT id, bytes FROM outbox ORDER BY seq", |row| Ok(StoredRow::Outbox(rows::outbox(row)?))),
];

fn filed(row: &PgRow) -> Read<FiledRow> {
    let at = |column| Ok::<_, Unread>(row.try_get::<Option<i64>, _>(column)?.map(UnixMillis));
    Ok(FiledRow {
        table: Table::from_name(row.try_get(7)?).ok_or(Unread::Bad("the kind of a filed record"))?,
        id: RowId::new(row.try_get(0)?).ok_or(Unread::Bad("the id of a filed record"))?,
        parent: row.try_get(1)?,
        due: at(2)?,
        forget: at(3)?,
        record: rows::record(row, 4)?,
    })
}

/// Gives every row of one moment to `to`.
pub(crate) async fn snapshot(db: &mut PgConnection, to: &mpsc::Sender<Piece>) -> Result<(), StoreError> {
    let mut open = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(store_error)?;
    // Whoever takes the rows may take his time over a page; each statement stays bounded.
    run(&mut open, sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0")).await.map_err(store_error)?;
    for (n, (sql, map)) in KINDS.into_iter().enumerate() {
        // Not kept prepared: one text stands for other columns with every cursor.
        let declare = AssertSqlSafe(format!("DECLARE pages_{n} NO SCROLL CURSOR FOR {sql}"));
        run(&mut open, sqlx::query(declare).persistent(false)).await.map_err(store_error)?;
        loop {
            let fetch = sqlx::query(AssertSqlSafe(format!("FETCH {PIECE_ROWS} FROM pages_{n}"))).persistent(false);
            let found = fetch.fetch_all(&mut *open).await.map_err(store_error)?;
            if found.is_empty() {
                break;
            }
            give(to, Piece::Rows(found.iter().map(map).collect::<Read<_>>()?)).await?;
        }
    }
    open.commit().await.map_err(store_error)?;
    give(to, Piece::End).await
}

async fn give(to: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), StoreError> {
    to.send(piece).await.map_err(|_| StoreError::Unavailable(Box::new(NotTaken)))
}

/// Puts rows into an empty database, in one transaction; what is not committed is undone when it is dropped.
pub(crate) async fn load(db: &mut PgConnection, mut from: mpsc::Receiver<Piece>) -> Result<(), StoreError> {
    let mut open = db.begin().await.map_err(store_error)?;
    run(&mut open, sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0")).await.map_err(store_error)?;
    let loaded = load_into(&mut open, &mut from).await;
    match loaded {
        Ok(()) => open.commit().await.map_err(|error| StoreError::InDoubt(Box::new(error))),
        Err(error) => {
            // Undone in any case when the connection closes.
            let _ = open.rollback().await;
            Err(error)
        }
    }
}

async fn load_into(db: &mut PgConnection, from: &mut mpsc::Receiver<Piece>) -> Result<(), StoreError> {
    if !is_empty(db).await.map_err(store_error)? {
        return Err(StoreError::NotEmpty);
    }
    loop {
        let cut = || StoreError::Damaged("the rows to load end early".to_owned());
        match from.recv().await.ok_or_else(cut)? {
            Piece::Rows(rows) => {
                for row in &rows {
                    put(db, row).await.map_err(refused)?;
                }
            }
            Piece::End => return Ok(()),
        }
    }
}

fn refused(refused: Refused) -> StoreError {
    match refused {
        Refused::Conflict => StoreError::Damaged("a row to load comes twice or contradicts another".to_owned()),
        Refused::Taken { what, name } => StoreError::Damaged(format!("the {what} `{name}` to load comes twice")),
        Refused::LeaseLost => StoreError::LeaseLost,
        Refused::Sql(error) | Refused::NotBegun(error) => match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => {
                StoreError::Damaged(format!("rows to load: {cause}"))
            }
            _ => store_error(error),
        },
    }
}

async fn is_empty(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM deployment) OR EXISTS (SELECT 1 FROM keyrings) \
               OR EXISTS (SELECT 1 FROM keys) OR EXISTS (SELECT 1 FROM material) \
               OR EXISTS (SELECT 1 FROM destructions) OR EXISTS (SELECT 1 FROM tokens) \
               OR EXISTS (SELECT 1 FROM principals) OR EXISTS (SELECT 1 FROM policies) \
               OR EXISTS (SELECT 1 FROM filed) OR EXISTS (SELECT 1 FROM idempotency) \
               OR EXISTS (SELECT 1 FROM outbox)";
    sqlx::query(sql).fetch_one(db).await?.try_get::<bool, _>(0).map(|some| !some)
}

async fn put(db: &mut PgConnection, row: &StoredRow) -> Result<(), Refused> {
    let statement = match row {
        StoredRow::Deployment(record) => {
            bind(sqlx::query("INSERT INTO deployment (one, revision, record, mac) VALUES (1, $1, $2, $3)"), record)
        }
        StoredRow::Keyring(row) => {
            let sql = "INSERT INTO keyrings (id, name, revision, record, mac) VALUES ($1, $2, $3, $4, $5)";
            bind(sqlx::query(sql).bind(row.id.as_bytes()).bind(row.name.as_str()), &row.record)
        }
        StoredRow::Destruction(row) => {
            let sql = "INSERT INTO destructions (key_id, keyring, shard, epoch, revision, record, mac) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let place = sqlx::query(sql).bind(row.key.as_bytes()).bind(row.keyring.as_bytes());
            bind(place.bind(i64::from(row.shard)).bind(row.epoch.cast_signed()), &row.record)
        }
        StoredRow::Key(row) => {
            let sql = "INSERT INTO keys (id, keyring, state, destruction_due, revision, record, mac) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let place = sqlx::query(sql).bind(row.id.as_bytes()).bind(row.keyring.as_bytes());
            let place = place.bind(row.state.name()).bind(row.destruction_due.map(|due| due.0));
            run(db, bind(place, &row.record)).await?;
            return apply::aliases(db, row).await;
        }
        StoredRow::Material(row) => return apply::add_material(db, row).await,
        StoredRow::Token(row) => {
            let sql = "INSERT INTO tokens (id, principal, expires, revision, record, mac) \
                       VALUES ($1, $2, $3, $4, $5, $6)";
            let place = sqlx::query(sql).bind(row.id.as_bytes()).bind(row.principal.as_str()).bind(row.expires.0);
            bind(place, &row.record)
        }
        StoredRow::Principal(row) => {
            let sql = "INSERT INTO principals (name, revision, record, mac) VALUES ($1, $2, $3, $4)";
            bind(sqlx::query(sql).bind(row.name.as_str()), &row.record)
        }
        StoredRow::Policy(row) => {
            let sql = "INSERT INTO policies (name, revision, record, mac) VALUES ($1, $2, $3, $4)";
            bind(sqlx::query(sql).bind(row.name.as_str()), &row.record)
        }
        StoredRow::Filed(row) => {
            let sql = "INSERT INTO filed (kind, id, parent, due, forget, revision, record, mac) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let place = sqlx::query(sql).bind(row.table.name()).bind(row.id.as_bytes()).bind(&row.parent);
            bind(place.bind(row.due.map(|at| at.0)).bind(row.forget.map(|at| at.0)), &row.record)
        }
        StoredRow::Answer(row) => {
            let sql = "INSERT INTO idempotency (request_key, request, reply, expires) VALUES ($1, $2, $3, $4)";
            let place = sqlx::query(sql).bind(row.key.as_slice()).bind(row.request.as_slice());
            place.bind(&row.reply).bind(row.expires.0)
        }
        StoredRow::Outbox(row) => return apply::outbox(db, row).await,
    };
    run(db, statement).await?;
    Ok(())
}
