//! The queries, and rows as the model's types. What does not fit a type is damage, never a default.

use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::{
    DestructionRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RecordId, Revision, SealedRecord, State, TokenId,
    UnixMillis,
};
use keyreeve_store::{KeyFilter, MaterialPlace, Page, StoreError};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row, params};
use std::sync::Arc;

use crate::error::{Phase, store_error};

/// Why a read failed.
#[derive(Debug)]
pub(crate) enum Unread {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// A value that cannot have been written by this driver.
    Bad(&'static str),
}

impl From<rusqlite::Error> for Unread {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Sql(error) => store_error(&Arc::new(error), Phase::Read),
            Unread::Bad(what) => Self::Damaged(format!("{what} cannot be read")),
        }
    }
}

pub(crate) type Read<T> = Result<T, Unread>;

pub(crate) fn all<T>(
    db: &Connection,
    sql: &'static str,
    params: impl Params,
    map: fn(&Row<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(map(row)?);
    }
    Ok(found)
}

pub(crate) fn first<T>(
    db: &Connection,
    sql: &'static str,
    params: impl Params,
    map: fn(&Row<'_>) -> Read<T>,
) -> Read<Option<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(map).transpose()
}

/// The bytes after which a page of ids begins; the empty string sorts before every id.
fn after_id(after: Option<&[u8; 16]>) -> &[u8] {
    after.map_or(&[], |id| id.as_slice())
}

fn after_name(after: Option<&Name>) -> &str {
    after.map_or("", Name::as_str)
}

pub(crate) fn rows_per_page<C>(page: &Page<C>) -> u32 {
    page.limit.clamp(1, 1000)
}

/// Revision, record and mac, from column `at` on.
pub(crate) fn record(row: &Row<'_>, at: usize) -> Read<SealedRecord> {
    Ok(SealedRecord { revision: Revision(row.get(at)?), bytes: row.get(at + 1)?, mac: row.get(at + 2)? })
}

fn sealed_row(row: &Row<'_>) -> Read<SealedRecord> {
    record(row, 0)
}

fn name(text: &str) -> Read<Name> {
    text.parse().map_err(|_| Unread::Bad("a name"))
}

fn name_at(row: &Row<'_>, at: usize) -> Read<Name> {
    name(row.get_ref(at)?.as_str().map_err(rusqlite::Error::from)?)
}

pub(crate) fn deployment(db: &Connection) -> Read<Option<SealedRecord>> {
    first(db, "SELECT revision, record, mac FROM deployment WHERE one = 1", [], sealed_row)
}

pub(crate) fn keyring_row(row: &Row<'_>) -> Read<KeyringRow> {
    Ok(KeyringRow { id: KeyringId::from_bytes(row.get(0)?), name: name_at(row, 1)?, record: record(row, 2)? })
}

pub(crate) fn keyring(db: &Connection, id: KeyringId) -> Read<Option<KeyringRow>> {
    first(db, "SELECT id, name, revision, record, mac FROM keyrings WHERE id = ?1", [id.as_bytes()], keyring_row)
}

pub(crate) fn keyring_named(db: &Connection, name: &Name) -> Read<Option<KeyringRow>> {
    first(db, "SELECT id, name, revision, record, mac FROM keyrings WHERE name = ?1", [name.as_str()], keyring_row)
}

pub(crate) fn keyrings(db: &Connection, page: Page<KeyringId>) -> Read<Vec<KeyringRow>> {
    let sql = "SELECT id, name, revision, record, mac FROM keyrings WHERE id > ?1 ORDER BY id LIMIT ?2";
    let after = page.after.as_ref().map(KeyringId::as_bytes);
    all(db, sql, params![after_id(after), rows_per_page(&page)], keyring_row)
}

/// One statement, so that a key and its aliases are of the same moment. No name contains a space.
macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT id, keyring, state, destruction_due, (SELECT group_concat(alias, ' ' ORDER BY alias) FROM aliases \
             WHERE key_id = keys.id), revision, record, mac FROM keys ",
            $rest
        )
    };
}

pub(crate) fn key_row(row: &Row<'_>) -> Read<KeyRow> {
    let state = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
    let aliases: Option<String> = row.get(4)?;
    Ok(KeyRow {
        id: KeyId::from_bytes(row.get(0)?),
        keyring: KeyringId::from_bytes(row.get(1)?),
        state: State::from_name(state).ok_or(Unread::Bad("the state of a key"))?,
        destruction_due: row.get::<_, Option<i64>>(3)?.map(UnixMillis),
        aliases: aliases.iter().flat_map(|all| all.split(' ')).map(name).collect::<Read<_>>()?,
        record: record(row, 5)?,
    })
}

pub(crate) fn key(db: &Connection, id: KeyId) -> Read<Option<KeyRow>> {
    first(db, select_keys!("WHERE id = ?1"), [id.as_bytes()], key_row)
}

pub(crate) fn key_aliased(db: &Connection, alias: &Name) -> Read<Option<KeyRow>> {
    let sql = select_keys!("WHERE id = (SELECT key_id FROM aliases WHERE alias = ?1)");
    first(db, sql, [alias.as_str()], key_row)
}

pub(crate) fn keys(db: &Connection, filter: &KeyFilter, page: Page<KeyId>) -> Read<Vec<KeyRow>> {
    let after = after_id(page.after.as_ref().map(KeyId::as_bytes));
    let limit = rows_per_page(&page);
    match (&filter.keyring, filter.state) {
        (None, None) => all(db, select_keys!("WHERE id > ?1 ORDER BY id LIMIT ?2"), params![after, limit], key_row),
        (Some(keyring), None) => {
            let sql = select_keys!("WHERE keyring = ?3 AND id > ?1 ORDER BY id LIMIT ?2");
            all(db, sql, params![after, limit, keyring.as_bytes()], key_row)
        }
        (None, Some(state)) => {
            let sql = select_keys!("WHERE state = ?3 AND id > ?1 ORDER BY id LIMIT ?2");
            all(db, sql, params![after, limit, state.name()], key_row)
        }
        (Some(keyring), Some(state)) => {
            let sql = select_keys!("WHERE keyring = ?3 AND state = ?4 AND id > ?1 ORDER BY id LIMIT ?2");
            all(db, sql, params![after, limit, keyring.as_bytes(), state.name()], key_row)
        }
    }
}

/// A key and its newest material in one statement, so that both are of one moment.
pub(crate) fn key_with_material(db: &Connection, id: KeyId) -> Read<Option<(KeyRow, Option<MaterialRow>)>> {
    let sql = "SELECT keys.id, keys.keyring, state, destruction_due, (SELECT group_concat(alias, ' ' ORDER BY alias) \
               FROM aliases WHERE key_id = keys.id), revision, record, mac, \
               key_id, version, material.keyring, shard, epoch, wrapped \
               FROM keys LEFT JOIN material ON key_id = keys.id LEFT JOIN slots USING (slot) \
               WHERE keys.id = ?1 ORDER BY version DESC LIMIT 1";
    first(db, sql, [id.as_bytes()], |row| {
        let has_material = row.get_ref(8)? != ValueRef::Null;
        Ok((key_row(row)?, if has_material { Some(material_at(row, 8)?) } else { None }))
    })
}

pub(crate) fn destructions_due(
    db: &Connection,
    now: UnixMillis,
    page: Page<(UnixMillis, KeyId)>,
) -> Read<Vec<(UnixMillis, KeyId)>> {
    let sql = "SELECT destruction_due, id FROM keys WHERE destruction_due <= ?1 AND (destruction_due, id) > (?2, ?3) \
               ORDER BY destruction_due, id LIMIT ?4";
    let due = page.after.as_ref().map_or(i64::MIN, |(due, _)| due.0);
    let id = after_id(page.after.as_ref().map(|(_, id)| id.as_bytes()));
    all(db, sql, params![now.0, due, id, rows_per_page(&page)], |row| {
        Ok((UnixMillis(row.get(0)?), KeyId::from_bytes(row.get(1)?)))
    })
}

/// A material row from column `at` on.
fn material_at(row: &Row<'_>, at: usize) -> Read<MaterialRow> {
    Ok(MaterialRow {
        key: KeyId::from_bytes(row.get(at)?),
        version: row.get(at + 1)?,
        keyring: KeyringId::from_bytes(row.get(at + 2)?),
        shard: row.get(at + 3)?,
        epoch: row.get::<_, i64>(at + 4)?.cast_unsigned(),
        wrapped: row.get(at + 5)?,
    })
}

pub(crate) fn material_row(row: &Row<'_>) -> Read<MaterialRow> {
    material_at(row, 0)
}

macro_rules! select_material {
    ($rest:literal) => {
        concat!("SELECT key_id, version, keyring, shard, epoch, wrapped FROM material JOIN slots USING (slot) ", $rest)
    };
}

pub(crate) fn material(db: &Connection, key: KeyId, version: u32) -> Read<Option<MaterialRow>> {
    let sql = select_material!("WHERE key_id = ?1 AND version = ?2");
    first(db, sql, params![key.as_bytes(), version], material_row)
}

pub(crate) fn key_material(db: &Connection, key: KeyId) -> Read<Vec<MaterialRow>> {
    all(db, select_material!("WHERE key_id = ?1 ORDER BY version"), [key.as_bytes()], material_row)
}

pub(crate) fn shard_material(
    db: &Connection,
    keyring: KeyringId,
    shard: u32,
    page: Page<MaterialPlace>,
) -> Read<Vec<MaterialRow>> {
    let sql = select_material!(
        "WHERE keyring = ?1 AND shard = ?2 AND (epoch, key_id, version) > (?3, ?4, ?5) \
         ORDER BY epoch, key_id, version LIMIT ?6"
    );
    let (epoch, version) = page.after.as_ref().map_or((i64::MIN, 0), |(epoch, _, v)| (epoch.cast_signed(), *v));
    let key = after_id(page.after.as_ref().map(|(_, key, _)| key.as_bytes()));
    let place = params![keyring.as_bytes(), shard, epoch, key, version, rows_per_page(&page)];
    all(db, sql, place, material_row)
}

pub(crate) fn shard_keys(db: &Connection, keyring: KeyringId, shard: u32) -> Read<u32> {
    let sql = "SELECT COUNT(DISTINCT key_id) FROM material WHERE keyring = ?1 AND shard = ?2";
    let count = first(db, sql, params![keyring.as_bytes(), shard], |row| Ok(row.get(0)?))?;
    Ok(count.unwrap_or(0))
}

pub(crate) fn shard_epochs(db: &Connection, keyring: KeyringId, shard: u32) -> Read<Vec<u64>> {
    let sql = "SELECT DISTINCT epoch FROM material WHERE keyring = ?1 AND shard = ?2 ORDER BY epoch";
    all(db, sql, params![keyring.as_bytes(), shard], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))
}

pub(crate) fn epochs_in_use(db: &Connection) -> Read<Vec<(KeyringId, u32, u64)>> {
    let sql = "SELECT DISTINCT keyring, shard, epoch FROM material ORDER BY keyring, shard, epoch";
    all(db, sql, [], |row| Ok((KeyringId::from_bytes(row.get(0)?), row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned())))
}

pub(crate) fn destruction(db: &Connection, key: KeyId) -> Read<Option<SealedRecord>> {
    first(db, "SELECT revision, record, mac FROM destructions WHERE key_id = ?1", [key.as_bytes()], sealed_row)
}

pub(crate) fn destruction_row(row: &Row<'_>) -> Read<DestructionRow> {
    Ok(DestructionRow {
        key: KeyId::from_bytes(row.get(0)?),
        keyring: KeyringId::from_bytes(row.get(1)?),
        shard: row.get(2)?,
        epoch: row.get::<_, i64>(3)?.cast_unsigned(),
        record: record(row, 4)?,
    })
}

pub(crate) fn destructions(db: &Connection, page: Page<KeyId>) -> Read<Vec<DestructionRow>> {
    let sql = "SELECT key_id, keyring, shard, epoch, revision, record, mac FROM destructions \
               WHERE key_id > ?1 ORDER BY key_id LIMIT ?2";
    let after = after_id(page.after.as_ref().map(KeyId::as_bytes));
    all(db, sql, params![after, rows_per_page(&page)], destruction_row)
}

pub(crate) fn destruction_of_epoch(
    db: &Connection,
    keyring: KeyringId,
    shard: u32,
    epoch: u64,
) -> Read<Option<(KeyId, SealedRecord)>> {
    let sql = "SELECT key_id, revision, record, mac FROM destructions \
               WHERE keyring = ?1 AND shard = ?2 AND epoch >= ?3 ORDER BY epoch LIMIT 1";
    let place = params![keyring.as_bytes(), shard, epoch.cast_signed()];
    first(db, sql, place, |row| Ok((KeyId::from_bytes(row.get(0)?), record(row, 1)?)))
}

pub(crate) fn token_row(row: &Row<'_>) -> Read<TokenRow> {
    Ok(TokenRow {
        id: TokenId::from_bytes(row.get(0)?),
        principal: name_at(row, 1)?,
        expires: UnixMillis(row.get(2)?),
        record: record(row, 3)?,
    })
}

pub(crate) fn token(db: &Connection, id: TokenId) -> Read<Option<TokenRow>> {
    let sql = "SELECT id, principal, expires, revision, record, mac FROM tokens WHERE id = ?1";
    first(db, sql, [id.as_bytes()], token_row)
}

pub(crate) fn tokens(db: &Connection, page: Page<TokenId>) -> Read<Vec<TokenRow>> {
    let sql = "SELECT id, principal, expires, revision, record, mac FROM tokens WHERE id > ?1 ORDER BY id LIMIT ?2";
    let after = page.after.as_ref().map(TokenId::as_bytes);
    all(db, sql, params![after_id(after), rows_per_page(&page)], token_row)
}

pub(crate) fn named_row(row: &Row<'_>) -> Read<NamedRow> {
    Ok(NamedRow { name: name_at(row, 0)?, record: record(row, 1)? })
}

pub(crate) fn principal(db: &Connection, name: &Name) -> Read<Option<NamedRow>> {
    first(db, "SELECT name, revision, record, mac FROM principals WHERE name = ?1", [name.as_str()], named_row)
}

pub(crate) fn principals(db: &Connection, page: Page<Name>) -> Read<Vec<NamedRow>> {
    let sql = "SELECT name, revision, record, mac FROM principals WHERE name > ?1 ORDER BY name LIMIT ?2";
    all(db, sql, params![after_name(page.after.as_ref()), rows_per_page(&page)], named_row)
}

pub(crate) fn policy(db: &Connection, name: &Name) -> Read<Option<NamedRow>> {
    first(db, "SELECT name, revision, record, mac FROM policies WHERE name = ?1", [name.as_str()], named_row)
}

pub(crate) fn policies(db: &Connection, page: Page<Name>) -> Read<Vec<NamedRow>> {
    let sql = "SELECT name, revision, record, mac FROM policies WHERE name > ?1 ORDER BY name LIMIT ?2";
    all(db, sql, params![after_name(page.after.as_ref()), rows_per_page(&page)], named_row)
}

pub(crate) fn remembered(db: &Connection, key: &[u8; 32], now: UnixMillis) -> Read<Option<IdempotencyRow>> {
    let sql = "SELECT request_key, request, reply, expires FROM idempotency WHERE request_key = ?1 AND expires >= ?2";
    first(db, sql, params![key, now.0], answer_row)
}

pub(crate) fn answer_row(row: &Row<'_>) -> Read<IdempotencyRow> {
    let (key, request, reply) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(IdempotencyRow { key, request, reply, expires: UnixMillis(row.get(3)?) })
}

pub(crate) fn outbox(db: &Connection, limit: u32) -> Read<Vec<Outbox>> {
    all(db, "SELECT id, bytes FROM outbox ORDER BY seq LIMIT ?1", [limit], outbox_row)
}

pub(crate) fn outbox_row(row: &Row<'_>) -> Read<Outbox> {
    Ok(Outbox { id: RecordId::from_bytes(row.get(0)?), bytes: row.get(1)? })
}
