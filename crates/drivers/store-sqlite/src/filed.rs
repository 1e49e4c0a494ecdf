//! Filed records: kinds of records that share one table.

use keyreeve_model::record::Table;
use keyreeve_model::{FiledRow, Revision, RowId, SealedRecord, UnixMillis};
use keyreeve_store::Page;
use rusqlite::{Connection, Row, params};

use crate::apply::{self, Applied, put_sql};
use crate::read::{Read, Unread, all, first, record, rows_per_page};

pub(crate) fn file(db: &Connection, row: &FiledRow) -> Applied {
    let sql = put_sql(
        &row.record,
        "INSERT INTO filed (kind, id, parent, due, forget, revision, record, mac) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        "UPDATE filed SET parent = ?3, due = ?4, forget = ?5, revision = ?6, record = ?7, mac = ?8 \
         WHERE kind = ?1 AND id = ?2 AND revision = ?6 - 1",
    );
    let (kind, id, record) = (row.table.name(), row.id.as_bytes(), &row.record);
    let (due, forget) = (row.due.map(|at| at.0), row.forget.map(|at| at.0));
    let row = params![kind, id, row.parent, due, forget, record.revision.0, record.bytes, record.mac];
    apply::one(db, sql, row)
}

pub(crate) fn unfile(db: &Connection, table: Table, id: &RowId, revision: Revision) -> Applied {
    let sql = "DELETE FROM filed WHERE kind = ?1 AND id = ?2 AND revision = ?3";
    apply::one(db, sql, params![table.name(), id.as_bytes(), revision.0])
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, parent, due, forget, revision, record, mac FROM filed ", $rest)
    };
}

/// A row without its kind, which the caller knows.
type Found = (RowId, String, Option<UnixMillis>, Option<UnixMillis>, SealedRecord);

fn found(row: &Row<'_>) -> Read<Found> {
    let id = RowId::new(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
    let id = id.ok_or(Unread::Bad("the id of a filed record"))?;
    let at = |column| Ok::<_, Unread>(row.get::<_, Option<i64>>(column)?.map(UnixMillis));
    Ok((id, row.get(1)?, at(2)?, at(3)?, record(row, 4)?))
}

fn filed(table: Table, (id, parent, due, forget, record): Found) -> FiledRow {
    FiledRow { table, id, parent, due, forget, record }
}

/// A row of a kind that is known.
pub(crate) fn row(table: Table, row: &Row<'_>) -> Read<FiledRow> {
    Ok(filed(table, found(row)?))
}

fn filed_all(table: Table, rows: Vec<Found>) -> Vec<FiledRow> {
    rows.into_iter().map(|row| filed(table, row)).collect()
}

pub(crate) fn one(db: &Connection, table: Table, id: &RowId) -> Read<Option<FiledRow>> {
    let row = first(db, select!("WHERE kind = ?1 AND id = ?2"), params![table.name(), id.as_bytes()], found)?;
    Ok(row.map(|row| filed(table, row)))
}

pub(crate) fn page(db: &Connection, table: Table, parent: Option<&str>, page: &Page<RowId>) -> Read<Vec<FiledRow>> {
    // The empty string sorts before every id.
    let after = page.after.as_ref().map_or(&[][..], RowId::as_bytes);
    let (kind, limit) = (table.name(), rows_per_page(page));
    let rows = match parent {
        None => {
            let sql = select!("WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
            all(db, sql, params![kind, after, limit], found)?
        }
        Some(parent) => {
            let sql = select!("WHERE kind = ?1 AND parent = ?4 AND id > ?2 ORDER BY id LIMIT ?3");
            all(db, sql, params![kind, after, limit, parent], found)?
        }
    };
    Ok(filed_all(table, rows))
}

pub(crate) fn due(db: &Connection, table: Table, before: UnixMillis, limit: u32) -> Read<Vec<FiledRow>> {
    let sql = select!("WHERE kind = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3");
    let rows = all(db, sql, params![table.name(), before.0, limit.clamp(1, 1000)], found)?;
    Ok(filed_all(table, rows))
}

pub(crate) fn count(db: &Connection, table: Table, parent: &str) -> Read<u64> {
    let sql = "SELECT count(*) FROM filed WHERE kind = ?1 AND parent = ?2";
    let count = first(db, sql, params![table.name(), parent], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))?;
    Ok(count.unwrap_or(0))
}
