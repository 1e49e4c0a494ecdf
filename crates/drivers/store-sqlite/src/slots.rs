//! Wrapped material lies in slots that are overwritten in place and never deleted.
//!
//! `secure_delete` zeroes a row where it lies when it is deleted. But when a deletion leaves a page so empty that
//! SQLite merges it with its neighbour, the rows that stay are copied and their old copies remain in the unused part of
//! the page (`rebuildPage` in SQLite's btree.c), out of reach for every later deletion. Rows that are only appended or
//! replaced by others of exactly their size never move: then there is one copy, and overwriting it erases it. Tests in
//! `tests/erasure.rs` search for more.

use keyreeve_model::{KeyId, MaterialRow};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::{Applied, Refused, one, run};

/// Adds material, unless the version has some.
pub(crate) fn add(db: &Connection, row: &MaterialRow) -> Applied {
    let there = "SELECT 1 FROM material WHERE key_id = ?1 AND version = ?2";
    if db.prepare_cached(there)?.exists(params![row.key.as_bytes(), row.version])? {
        return Err(Refused::Conflict);
    }
    refuse_erased(db, row)?;
    let slot = fill(db, &row.wrapped)?;
    let sql = "INSERT INTO material (key_id, version, keyring, shard, epoch, slot) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (key, keyring) = (row.key.as_bytes(), row.keyring.as_bytes());
    one(db, sql, params![key, row.version, keyring, row.shard, row.epoch.cast_signed(), slot])
}

/// Refuses material under an epoch that a destruction record calls erased: nobody could ever open it again.
fn refuse_erased(db: &Connection, row: &MaterialRow) -> Applied {
    let sql = "SELECT 1 FROM destructions WHERE keyring = ?1 AND shard = ?2 AND epoch >= ?3";
    let place = params![row.keyring.as_bytes(), row.shard, row.epoch.cast_signed()];
    if db.prepare_cached(sql)?.exists(place)? { Err(Refused::Conflict) } else { Ok(()) }
}

/// Replaces material that stands under `from_epoch`; the old bytes are overwritten.
pub(crate) fn rewrap(db: &Connection, row: &MaterialRow, from_epoch: u64) -> Applied {
    let find = "SELECT slot FROM material WHERE key_id = ?1 AND version = ?2 AND epoch = ?3";
    let (key, keyring) = (row.key.as_bytes(), row.keyring.as_bytes());
    let place = params![key, row.version, from_epoch.cast_signed()];
    let found: Option<i64> = db.prepare_cached(find)?.query_row(place, |found| found.get(0)).optional()?;
    let mut slot = found.ok_or(Refused::Conflict)?;
    refuse_erased(db, row)?;
    let replace = "UPDATE slots SET wrapped = ?2 WHERE slot = ?1 AND size = length(?2)";
    if run(db, replace, params![slot, row.wrapped])? == 0 {
        // Of another size: such a row would have to move.
        run(db, "UPDATE slots SET wrapped = zeroblob(size), free = 1 WHERE slot = ?1", [slot])?;
        slot = fill(db, &row.wrapped)?;
    }
    let sql = "UPDATE material SET keyring = ?3, shard = ?4, epoch = ?5, slot = ?6 WHERE key_id = ?1 AND version = ?2";
    one(db, sql, params![key, row.version, keyring, row.shard, row.epoch.cast_signed(), slot])
}

/// Overwrites and frees all material of a key.
pub(crate) fn erase(db: &Connection, key: KeyId) -> Applied {
    let zero = "UPDATE slots SET wrapped = zeroblob(size), free = 1 \
                WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)";
    run(db, zero, [key.as_bytes()])?;
    run(db, "DELETE FROM material WHERE key_id = ?1", [key.as_bytes()])?;
    Ok(())
}

/// Overwrites and frees the material of one version.
pub(crate) fn erase_version(db: &Connection, key: KeyId, version: u32) -> Applied {
    let zero = "UPDATE slots SET wrapped = zeroblob(size), free = 1 \
                WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1 AND version = ?2)";
    run(db, zero, params![key.as_bytes(), version])?;
    run(db, "DELETE FROM material WHERE key_id = ?1 AND version = ?2", params![key.as_bytes(), version])?;
    Ok(())
}

/// Puts bytes into a free slot of their size, or into a new one behind all others.
fn fill(db: &Connection, wrapped: &[u8]) -> rusqlite::Result<i64> {
    let reuse = "UPDATE slots SET wrapped = ?1, free = 0 \
                 WHERE slot = (SELECT slot FROM slots WHERE free = 1 AND size = length(?1) LIMIT 1) RETURNING slot";
    let reused = db.prepare_cached(reuse)?.query_row([wrapped], |row| row.get(0)).optional()?;
    if let Some(slot) = reused {
        return Ok(slot);
    }
    let new = "INSERT INTO slots (size, free, wrapped) VALUES (length(?1), 0, ?1) RETURNING slot";
    db.prepare_cached(new)?.query_row([wrapped], |row| row.get(0))
}
