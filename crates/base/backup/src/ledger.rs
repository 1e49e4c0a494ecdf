//! The ledger of a shard: which keys' material in archives can be opened, and which never again.
//!
//! Unlike everything else in a backup it is replaced, at each destination, as keys come and go. Whoever keeps an old
//! copy of it, an old archive and can open the root of trust has the keys of that day: no format can prevent that.
//!
//! # Layout
//!
//! The head that every object has (see `archive.rs`), then what XAES-256-GCM under the ledger key made of the body,
//! with SHA-256 of the head as associated data. Body, numbers big-endian: a random id (16 bytes), revision (8), time of
//! the last change (8), number of entries (4), each a key id (16) and its cut key (32), number of tombstones (4), each
//! a key id (16), the time of the destruction (8), and behind their lengths (4 each) the rows of the key and of the
//! destruction. Behind that, where there are any: number of versions with a cut key of their own (4), each a key id
//! (16), the version (4) and the cut key (32), and number of versions whose material ended (4), each a key id (16), the
//! version (4) and the last epoch that it was under (8).

use keyreeve_crypto::Random;
use keyreeve_crypto::digest::sha256;
use keyreeve_model::change::KeyRow;
use keyreeve_model::{DestructionRow, KeyId, MaterialRow, StoredRow, UnixMillis};
use keyreeve_secret::{SecretBuffer, SecretBytes};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::archive::{Head, Kind, split_head};
use crate::keys::{BackupKey, CutKey, KEY_LEN};
use crate::row::{In, decode_row, encode_row};
use crate::{BackupError, HEAD_MAX};

/// Longest ledger (bytes): 256 keys and as many tombstones stay far below.
pub const LEDGER_MAX: usize = 32 * 1024 * 1024;

/// A key that was destroyed: what a restore puts in the place of what an older archive says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// When.
    pub destroyed: UnixMillis,
    /// The key as it was stored after its destruction.
    pub key: KeyRow,
    /// The destruction record.
    pub destruction: DestructionRow,
}

/// The cut keys of one shard.
pub struct Ledger {
    id: [u8; 16],
    revision: u64,
    updated: UnixMillis,
    entries: BTreeMap<KeyId, CutKey>,
    tombstones: BTreeMap<KeyId, Tombstone>,
    /// Versions whose material has an end: each has a cut key of its own.
    lent: BTreeMap<(KeyId, u32), CutKey>,
    /// Versions whose material ended, with the last epoch that it was under: what is put back is under a later one.
    ended: BTreeMap<(KeyId, u32), u64>,
}

/// A ledger as it lies at a destination, with its head read.
pub struct SealedLedger {
    head: Head,
    bound: [u8; 32],
    body: Vec<u8>,
}

impl SealedLedger {
    /// Reads the head of a ledger.
    ///
    /// # Errors
    /// [`BackupError::Altered`], [`BackupError::Newer`], [`BackupError::TooLarge`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        if bytes.len() > LEDGER_MAX + HEAD_MAX {
            return Err(BackupError::TooLarge("a ledger"));
        }
        let (head, len) = split_head(bytes)?.ok_or(BackupError::Cut)?;
        if head.kind != Kind::Ledger {
            return Err(BackupError::Altered("ledger"));
        }
        Ok(Self { head, bound: sha256(&bytes[..len]), body: bytes[len..].to_vec() })
    }

    /// Its head: a claim until it was opened.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`BackupError::Altered`].
    pub fn open(&self, key: &BackupKey) -> Result<Ledger, BackupError> {
        let body = key.ledgers()?.open(&self.bound, &self.body).map_err(|_| BackupError::Altered("ledger"))?;
        Ledger::read(&body)
    }
}

impl Ledger {
    /// A new one, with an id of its own: one that was begun anew is never taken for the one that was lost.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn create(random: &Random) -> Result<Self, BackupError> {
        let id = random.nonce_array().map_err(keyreeve_crypto::CryptoError::from)?;
        Ok(Self::with_id(id))
    }

    const fn with_id(id: [u8; 16]) -> Self {
        Self {
            id,
            revision: 0,
            updated: UnixMillis(0),
            entries: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            lent: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Whether it is the same ledger, of whatever revision.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Counts up with every change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// When it was changed last.
    #[must_use]
    pub const fn updated(&self) -> UnixMillis {
        self.updated
    }

    /// The cut key of a key that is not destroyed.
    #[must_use]
    pub fn cut_key(&self, key: &KeyId) -> Option<&CutKey> {
        self.entries.get(key)
    }

    /// Opens material from an archive. Nothing for that of a destroyed key, of a version that ended, and of a key that
    /// the ledger knows nothing of.
    ///
    /// # Errors
    /// [`BackupError::Altered`].
    pub fn open(&self, row: &MaterialRow) -> Result<Option<SecretBytes>, BackupError> {
        // A version may have got an end, or have lost it, since the archive was made.
        let cuts = [self.lent.get(&(row.key, row.version)), self.entries.get(&row.key)];
        let cuts: Vec<&CutKey> = cuts.into_iter().flatten().collect();
        if cuts.is_empty() || self.is_ended(row) {
            return Ok(None);
        }
        let opened = cuts.iter().find_map(|cut| cut.open(row).ok());
        opened.map(Some).ok_or(BackupError::Altered("material row"))
    }

    /// Whether a row is of material that ended.
    #[must_use]
    pub fn is_ended(&self, row: &MaterialRow) -> bool {
        self.ended.get(&(row.key, row.version)).is_some_and(|epoch| row.epoch <= *epoch)
    }

    /// The last epoch that material was under which ended; 0 where none did.
    #[must_use]
    pub fn last_ended(&self) -> u64 {
        self.ended.values().copied().max().unwrap_or(0)
    }

    /// The cut key of a version whose material has an end; made now if it has none.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn ensure_lent(
        &mut self,
        (key, version): (KeyId, u32),
        random: &Random,
        now: UnixMillis,
    ) -> Result<Option<&CutKey>, BackupError> {
        if self.tombstones.contains_key(&key) {
            return Ok(None);
        }
        let made = match self.lent.entry((key, version)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(empty) => {
                empty.insert(CutKey::generate(random)?);
                true
            }
        };
        if made {
            self.changed(now);
        }
        Ok(self.lent.get(&(key, version)))
    }

    /// Takes the cut key of a version away whose material ended, up to an epoch. True when that changed anything.
    pub fn end(&mut self, (key, version): (KeyId, u32), epoch: u64, now: UnixMillis) -> bool {
        let known = self.ended.get(&(key, version)).copied();
        if self.tombstones.contains_key(&key) || known.is_some_and(|known| known >= epoch) {
            return false;
        }
        self.lent.remove(&(key, version));
        self.ended.insert((key, version), epoch);
        self.changed(now);
        true
    }

    /// What is left of a destroyed key.
    #[must_use]
    pub fn tombstone(&self, key: &KeyId) -> Option<&Tombstone> {
        self.tombstones.get(key)
    }

    /// Every tombstone.
    pub fn tombstones(&self) -> impl Iterator<Item = (&KeyId, &Tombstone)> {
        self.tombstones.iter()
    }

    /// How many keys have an entry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no key has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The cut key of a key; made now if it has none. Nothing for a key that is destroyed: it gets none again.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn ensure(&mut self, key: KeyId, random: &Random, now: UnixMillis) -> Result<Option<&CutKey>, BackupError> {
        if self.tombstones.contains_key(&key) {
            return Ok(None);
        }
        let made = match self.entries.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(empty) => {
                empty.insert(CutKey::generate(random)?);
                true
            }
        };
        if made {
            self.changed(now);
        }
        Ok(self.entries.get(&key))
    }

    /// Takes the cut key of a destroyed key away, for ever. True when that changed anything.
    pub fn cut(&mut self, key: KeyId, tombstone: Tombstone, now: UnixMillis) -> bool {
        let lent = self.lent.len();
        self.lent.retain(|(of, _), _| *of != key);
        self.ended.retain(|(of, _), _| *of != key);
        let had = self.entries.remove(&key).is_some() || self.lent.len() < lent;
        let new = !self.tombstones.contains_key(&key);
        if had || new {
            self.tombstones.entry(key).or_insert(tombstone);
            self.changed(now);
        }
        had || new
    }

    fn changed(&mut self, now: UnixMillis) {
        self.revision += 1;
        self.updated = now.max(self.updated);
    }

    /// The bytes for a destination.
    ///
    /// # Errors
    /// [`BackupError::Crypto`], [`BackupError::TooLarge`].
    pub fn seal(&self, head: &Head, key: &BackupKey, random: &Random) -> Result<Vec<u8>, BackupError> {
        let mut out = head.encode()?;
        let body = self.write();
        if body.len() > LEDGER_MAX - 1024 {
            return Err(BackupError::TooLarge("a ledger"));
        }
        let bound = sha256(&out);
        out.extend(key.ledgers()?.seal(random, &bound, body.expose())?);
        Ok(out)
    }

    fn write(&self) -> SecretBytes {
        let mut out = SecretBuffer::with_capacity(40 + self.entries.len() * (16 + KEY_LEN));
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&self.updated.0.to_be_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for (key, cut) in &self.entries {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(cut.0.expose());
        }
        out.extend_from_slice(&(self.tombstones.len() as u32).to_be_bytes());
        for (key, tombstone) in &self.tombstones {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&tombstone.destroyed.0.to_be_bytes());
            let rows = [StoredRow::Key(tombstone.key.clone()), StoredRow::Destruction(tombstone.destruction.clone())];
            for row in &rows {
                let bytes = encode_row(row);
                out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                out.extend_from_slice(&bytes);
            }
        }
        if !self.lent.is_empty() || !self.ended.is_empty() {
            self.write_versions(&mut out);
        }
        out.finish()
    }

    fn write_versions(&self, out: &mut SecretBuffer) {
        out.extend_from_slice(&(self.lent.len() as u32).to_be_bytes());
        for ((key, version), cut) in &self.lent {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&version.to_be_bytes());
            out.extend_from_slice(cut.0.expose());
        }
        out.extend_from_slice(&(self.ended.len() as u32).to_be_bytes());
        for ((key, version), epoch) in &self.ended {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&version.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
        }
    }

    fn read_versions(&mut self, from: &mut In<'_>) -> Result<(), BackupError> {
        for _ in 0..from.u32()? {
            let of = (from.key()?, from.u32()?);
            self.lent.insert(of, cut_key(from)?);
        }
        for _ in 0..from.u32()? {
            let of = (from.key()?, from.u32()?);
            self.ended.insert(of, from.u64()?);
        }
        Ok(())
    }

    fn read(body: &SecretBytes) -> Result<Self, BackupError> {
        let bad = BackupError::Altered("ledger");
        let mut from = In(body.expose());
        let mut ledger = Self::with_id(from.array()?);
        (ledger.revision, ledger.updated) = (from.u64()?, from.time()?);
        for _ in 0..from.u32()? {
            let key = from.key()?;
            ledger.entries.insert(key, cut_key(&mut from)?);
        }
        for _ in 0..from.u32()? {
            let (key, destroyed) = (from.key()?, from.time()?);
            let (StoredRow::Key(row), StoredRow::Destruction(destruction)) =
                (decode_row(from.bytes()?)?, decode_row(from.bytes()?)?)
            else {
                return Err(bad);
            };
            if row.id != key || destruction.key != key {
                return Err(bad);
            }
            ledger.tombstones.insert(key, Tombstone { destroyed, key: row, destruction });
        }
        // Ledgers of before end here.
        if !from.0.is_empty() {
            ledger.read_versions(&mut from)?;
        }
        if from.0.is_empty() { Ok(ledger) } else { Err(bad) }
    }
}

fn cut_key(from: &mut In<'_>) -> Result<CutKey, BackupError> {
    let bad = || BackupError::Altered("ledger");
    let (cut, rest) = from.0.split_at_checked(KEY_LEN).ok_or_else(bad)?;
    from.0 = rest;
    CutKey::from_bytes(cut).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::head;
    use crate::row::tests::samples;

    fn tombstone() -> Tombstone {
        let (mut key, mut destruction) = (None, None);
        for row in samples() {
            match row {
                StoredRow::Key(row) => key = Some(row),
                StoredRow::Destruction(row) => destruction = Some(row),
                _ => {}
            }
        }
        Tombstone { destroyed: UnixMillis(77), key: key.unwrap(), destruction: destruction.unwrap() }
    }

    fn filled(random: &Random) -> Ledger {
        let mut ledger = Ledger::create(random).unwrap();
        for n in 1..4 {
            assert!(ledger.ensure(KeyId::from_bytes([n; 16]), random, UnixMillis(5)).unwrap().is_some());
        }
        ledger
    }

    #[test]
    fn a_cut_key_that_was_taken_away_stays_away_and_its_neighbours_stay() {
        let random = Random::from_module().unwrap();
        let mut ledger = filled(&random);
        let gone = KeyId::from_bytes([1; 16]);
        let neighbour = *ledger.cut_key(&KeyId::from_bytes([2; 16])).unwrap().0.expose();
        assert!(ledger.cut(gone, tombstone(), UnixMillis(9)));
        assert!(!ledger.cut(gone, tombstone(), UnixMillis(10)), "a second time changes nothing");
        assert!(ledger.ensure(gone, &random, UnixMillis(11)).unwrap().is_none(), "it gets no new one");
        assert!(ledger.cut_key(&gone).is_none());

        let key = BackupKey::generate(1, &random).unwrap();
        let head = head(Kind::Ledger);
        let bytes = ledger.seal(&head, &key, &random).unwrap();
        let read = SealedLedger::parse(&bytes).unwrap();
        assert_eq!(read.head(), &head);
        let read = read.open(&key).unwrap();
        assert_eq!((read.revision(), read.updated(), read.len()), (4, UnixMillis(9), 2));
        assert_eq!(read.tombstone(&gone), Some(&tombstone()));
        assert_eq!(read.cut_key(&KeyId::from_bytes([2; 16])).unwrap().0.expose(), &neighbour);
        assert!(read.cut_key(&gone).is_none());
    }

    #[test]
    fn material_that_ended_has_no_cut_key_and_what_is_put_back_has_another() {
        let random = Random::from_module().unwrap();
        let mut ledger = filled(&random);
        let (key, keyring) = (KeyId::from_bytes([1; 16]), keyreeve_model::KeyringId::from_bytes([9; 16]));
        let row = |version, epoch| MaterialRow { key, version, keyring, shard: 0, epoch, wrapped: Vec::new() };
        let sealed = |cut: &CutKey, version, epoch| {
            cut.seal(&random, &row(version, epoch), &SecretBytes::copy_from(b"material")).unwrap()
        };
        let opens = |ledger: &Ledger, row: &MaterialRow| ledger.open(row).unwrap().is_some();
        let whole = sealed(ledger.cut_key(&key).unwrap(), 1, 4);
        // Before it had an end, and since.
        let early = sealed(ledger.cut_key(&key).unwrap(), 2, 4);
        let lent = sealed(ledger.ensure_lent((key, 2), &random, UnixMillis(6)).unwrap().unwrap(), 2, 5);
        assert!(opens(&ledger, &early) && opens(&ledger, &lent) && opens(&ledger, &whole));
        assert!(ledger.end((key, 2), 5, UnixMillis(7)));
        assert!(!ledger.end((key, 2), 5, UnixMillis(8)), "a second time changes nothing");
        assert!(!opens(&ledger, &lent) && !opens(&ledger, &early) && ledger.is_ended(&lent));
        assert!(opens(&ledger, &whole), "other versions live on");
        let again = sealed(ledger.ensure_lent((key, 2), &random, UnixMillis(9)).unwrap().unwrap(), 2, 6);
        assert!(opens(&ledger, &again));
        let moved = MaterialRow { epoch: 6, ..lent.clone() };
        assert!(ledger.open(&moved).is_err(), "what it was sealed with is gone");

        let read = Ledger::read(&ledger.write()).unwrap();
        assert_eq!(read.revision(), ledger.revision());
        assert!(opens(&read, &again) && !opens(&read, &lent));
        assert!(ledger.cut(key, tombstone(), UnixMillis(10)));
        assert!(!opens(&ledger, &again) && !opens(&ledger, &whole));
        assert!(ledger.ensure_lent((key, 2), &random, UnixMillis(11)).unwrap().is_none());
    }

    #[test]
    fn a_ledger_that_was_altered_anywhere_does_not_open() {
        let random = Random::from_module().unwrap();
        let (key, other) = (BackupKey::generate(1, &random).unwrap(), BackupKey::generate(1, &random).unwrap());
        let bytes = filled(&random).seal(&head(Kind::Ledger), &key, &random).unwrap();
        let open = |bytes: &[u8], key: &BackupKey| SealedLedger::parse(bytes).and_then(|sealed| sealed.open(key));
        assert!(open(&bytes, &key).is_ok());
        assert!(open(&bytes, &other).is_err());
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(open(&altered, &key).is_err(), "byte {at}");
            assert!(open(&bytes[..at], &key).is_err(), "cut at {at}");
        }
    }
}
