//! Filed records: kinds of records that share one table.

use keyreeve_model::record::Table;
use keyreeve_model::{FiledRow, Revision, RowId, SealedRecord, UnixMillis};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::apply::{Applied, Statement, bind, one, put};
use crate::rows::{Read, Unread, record};

pub(crate) async fn file(db: &mut PgConnection, row: &FiledRow) -> Applied {
    let statement = put(
        &row.record,
        "INSERT INTO filed (kind, id, parent, due, forget, revision, record, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        "UPDATE filed SET parent = $3, due = $4, forget = $5, revision = $6, record = $7, mac = $8 \
         WHERE kind = $1 AND id = $2 AND revision = $6 - 1",
    );
    let statement = statement.bind(row.table.name()).bind(row.id.as_bytes()).bind(row.parent.as_str());
    let statement = statement.bind(row.due.map(|at| at.0)).bind(row.forget.map(|at| at.0));
    one(db, bind(statement, &row.record)).await
}

pub(crate) async fn unfile(db: &mut PgConnection, table: Table, id: &RowId, revision: Revision) -> Applied {
    let statement = sqlx::query("DELETE FROM filed WHERE kind = $1 AND id = $2 AND revision = $3");
    one(db, statement.bind(table.name()).bind(id.as_bytes()).bind(revision.0)).await
}

macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!("SELECT id, parent, due, forget, revision, record, mac FROM filed ", $rest))
    };
}

pub(crate) fn select_one(table: Table, id: &RowId) -> Statement<'_> {
    select!("WHERE kind = $1 AND id = $2").bind(table.name()).bind(id.as_bytes())
}

pub(crate) fn select_page<'a>(
    table: Table,
    parent: Option<&'a str>,
    after: Option<&'a RowId>,
    limit: i64,
) -> Statement<'a> {
    // The empty string sorts before every id.
    let after = after.map_or(&[][..], RowId::as_bytes);
    match parent {
        None => {
            let query = select!("WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3");
            query.bind(table.name()).bind(after).bind(limit)
        }
        Some(parent) => {
            let query = select!("WHERE kind = $1 AND parent = $4 AND id > $2 ORDER BY id LIMIT $3");
            query.bind(table.name()).bind(after).bind(limit).bind(parent)
        }
    }
}

pub(crate) fn select_due(table: Table, before: UnixMillis, limit: u32) -> Statement<'static> {
    let query = select!("WHERE kind = $1 AND due <= $2 ORDER BY due, id LIMIT $3");
    query.bind(table.name()).bind(before.0).bind(i64::from(limit.clamp(1, 1000)))
}

/// A row without its kind, which the caller knows.
pub(crate) struct Found {
    id: RowId,
    parent: String,
    due: Option<UnixMillis>,
    forget: Option<UnixMillis>,
    record: SealedRecord,
}

impl Found {
    pub(crate) fn of(self, table: Table) -> FiledRow {
        let Self { id, parent, due, forget, record } = self;
        FiledRow { table, id, parent, due, forget, record }
    }
}

pub(crate) fn row(row: &PgRow) -> Read<Found> {
    Ok(Found {
        id: RowId::new(row.try_get(0)?).ok_or(Unread::Bad("the id of a filed record"))?,
        parent: row.try_get(1)?,
        due: row.try_get::<Option<i64>, _>(2)?.map(UnixMillis),
        forget: row.try_get::<Option<i64>, _>(3)?.map(UnixMillis),
        record: record(row, 4)?,
    })
}
