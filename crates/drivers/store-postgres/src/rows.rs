//! Rows as the model's types; the queries are in `lib.rs`. What does not fit a type is damage, never a default.

use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::{
    DestructionRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RecordId, Revision, SealedRecord, State, TokenId,
    UnixMillis,
};
use keyreeve_store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// Why a row cannot be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The driver could not decode a column.
    Sql(sqlx::Error),
    /// A value that cannot have been written by this driver.
    Bad(&'static str),
}

impl From<sqlx::Error> for Unread {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Sql(error) => Self::Damaged(error.to_string()),
            Unread::Bad(what) => Self::Damaged(format!("{what} cannot be read")),
        }
    }
}

pub(crate) type Read<T> = Result<T, Unread>;

/// Revision, record and mac, from column `at` on.
pub(crate) fn record(row: &PgRow, at: usize) -> Read<SealedRecord> {
    Ok(SealedRecord { revision: Revision(row.try_get(at)?), bytes: row.try_get(at + 1)?, mac: row.try_get(at + 2)? })
}

fn name(text: &str) -> Read<Name> {
    text.parse().map_err(|_| Unread::Bad("a name"))
}

fn name_at(row: &PgRow, at: usize) -> Read<Name> {
    name(row.try_get(at)?)
}

/// A number that was written from 32 bits.
fn number(row: &PgRow, at: usize) -> Read<u32> {
    u32::try_from(row.try_get::<i64, _>(at)?).map_err(|_| Unread::Bad("a version or shard"))
}

pub(crate) fn sealed(row: &PgRow) -> Read<SealedRecord> {
    record(row, 0)
}

pub(crate) fn keyring(row: &PgRow) -> Read<KeyringRow> {
    Ok(KeyringRow { id: KeyringId::from_bytes(row.try_get(0)?), name: name_at(row, 1)?, record: record(row, 2)? })
}

pub(crate) fn key(row: &PgRow) -> Read<KeyRow> {
    let aliases: Option<&str> = row.try_get(4)?;
    Ok(KeyRow {
        id: KeyId::from_bytes(row.try_get(0)?),
        keyring: KeyringId::from_bytes(row.try_get(1)?),
        state: State::from_name(row.try_get(2)?).ok_or(Unread::Bad("the state of a key"))?,
        destruction_due: row.try_get::<Option<i64>, _>(3)?.map(UnixMillis),
        aliases: aliases.iter().flat_map(|all| all.split(' ')).map(name).collect::<Read<_>>()?,
        record: record(row, 5)?,
    })
}

/// A key with its newest material, if it has some.
pub(crate) fn key_with_material(row: &PgRow) -> Read<(KeyRow, Option<MaterialRow>)> {
    let has_material = row.try_get::<Option<Vec<u8>>, _>(8)?.is_some();
    Ok((key(row)?, if has_material { Some(material_at(row, 8)?) } else { None }))
}

pub(crate) fn due(row: &PgRow) -> Read<(UnixMillis, KeyId)> {
    Ok((UnixMillis(row.try_get(0)?), KeyId::from_bytes(row.try_get(1)?)))
}

/// A material row from column `at` on.
fn material_at(row: &PgRow, at: usize) -> Read<MaterialRow> {
    Ok(MaterialRow {
        key: KeyId::from_bytes(row.try_get(at)?),
        version: number(row, at + 1)?,
        keyring: KeyringId::from_bytes(row.try_get(at + 2)?),
        shard: number(row, at + 3)?,
        epoch: row.try_get::<i64, _>(at + 4)?.cast_unsigned(),
        wrapped: row.try_get(at + 5)?,
    })
}

pub(crate) fn material(row: &PgRow) -> Read<MaterialRow> {
    material_at(row, 0)
}

pub(crate) fn count(row: &PgRow) -> Read<u32> {
    number(row, 0)
}

pub(crate) fn epoch_number(row: &PgRow) -> Read<u64> {
    Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
}

pub(crate) fn epoch(row: &PgRow) -> Read<(KeyringId, u32, u64)> {
    Ok((KeyringId::from_bytes(row.try_get(0)?), number(row, 1)?, row.try_get::<i64, _>(2)?.cast_unsigned()))
}

pub(crate) fn token(row: &PgRow) -> Read<TokenRow> {
    Ok(TokenRow {
        id: TokenId::from_bytes(row.try_get(0)?),
        principal: name_at(row, 1)?,
        expires: UnixMillis(row.try_get(2)?),
        record: record(row, 3)?,
    })
}

pub(crate) fn named(row: &PgRow) -> Read<NamedRow> {
    Ok(NamedRow { name: name_at(row, 0)?, record: record(row, 1)? })
}

pub(crate) fn answer(row: &PgRow) -> Read<IdempotencyRow> {
    let (key, request, reply) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(IdempotencyRow { key, request, reply, expires: UnixMillis(row.try_get(3)?) })
}

pub(crate) fn outbox(row: &PgRow) -> Read<Outbox> {
    Ok(Outbox { id: RecordId::from_bytes(row.try_get(0)?), bytes: row.try_get(1)? })
}

pub(crate) fn destruction_row(row: &PgRow) -> Read<DestructionRow> {
    Ok(DestructionRow {
        key: KeyId::from_bytes(row.try_get(0)?),
        keyring: KeyringId::from_bytes(row.try_get(1)?),
        shard: u32::try_from(row.try_get::<i64, _>(2)?).map_err(|_| Unread::Bad("a shard"))?,
        epoch: row.try_get::<i64, _>(3)?.cast_unsigned(),
        record: record(row, 4)?,
    })
}

/// A destruction record with its key.
pub(crate) fn destruction(row: &PgRow) -> Read<(KeyId, SealedRecord)> {
    Ok((KeyId::from_bytes(row.try_get(0)?), record(row, 1)?))
}
