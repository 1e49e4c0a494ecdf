//! Archives and log segments: a readable head, then an encrypted stream of frames that ends with a signed manifest.
//!
//! # Layout
//!
//! Magic `8b 4b 52 42 31 0a` ("\x8bKRB1\n"), length of the head (4 bytes, big-endian), the head (JSON), then an
//! envelope file (`keyreeve-envelope`, format 1) under the stream key of the backup key named in the head. The
//! envelope's context has SHA-256 of everything before it, so that a head belongs to one stream.
//!
//! The stream is frames: kind (1 byte), length (4 bytes, big-endian), content. Kinds: 1 a row of the store, 2 an entry
//! of the audit log, 3 the configuration file, 4 the log's checkpoint (a signed note), 255 the manifest, which is last:
//! a signed note whose text is
//!
//! ```text
//! keyreeve-backup/1 ORIGIN
//! name NAME
//! head SHA-256 of the head with its magic and length
//! rows COUNT SHA-256
//! entries COUNT SHA-256
//! configuration COUNT SHA-256
//! checkpoint COUNT SHA-256
//! ```
//!
//! with the SHA-256 over the frames of a kind, each with its kind and length.

use keyreeve_audit::{NoteSigner, SignedNote, VerifierKey, sign_note};
use keyreeve_crypto::Random;
use keyreeve_crypto::digest::{Sha256, sha256};
use keyreeve_envelope::{FileHeader, Header, Opener, PREFIX_LEN, Sealer, TAG_LEN};
use keyreeve_model::ids::DeploymentId;
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{Name, StoredRow, UnixMillis, Wrapped};
use keyreeve_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::BackupError;
use crate::keys::BackupKey;
use crate::names::{Object, ObjectName, Segment};
use crate::row::{decode_row, encode_row};

const MAGIC: &[u8; 6] = b"\x8bKRB1\n";
const FRONT: usize = MAGIC.len() + 4;
/// Longest head (bytes).
pub const HEAD_MAX: usize = 256 * 1024;
/// Longest content of a frame (bytes): several times the longest row.
pub const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Longest configuration file that is taken along (bytes).
pub const CONFIGURATION_MAX: usize = 4 * 1024 * 1024;
const FRAME_HEAD: usize = 5;

const ROW: u8 = 1;
const ENTRY: u8 = 2;
const CONFIGURATION: u8 = 3;
const CHECKPOINT: u8 = 4;
const MANIFEST: u8 = 255;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A copy of store and configuration.
    Archive,
    /// A piece of the audit log.
    Log,
    /// Cut keys.
    Ledger,
}

/// Which entries of the audit log a segment has.
pub type SegmentRange = Segment;

/// What everybody may read of an object, and what is needed to open it besides the root of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of the format: 1.
    pub v: u32,
    /// What it is.
    pub kind: Kind,
    /// The name it was stored under.
    pub name: String,
    /// The deployment.
    pub deployment: DeploymentId,
    /// Which program wrote it.
    pub program: String,
    /// When it was begun; of a ledger, when it was sealed.
    pub created: UnixMillis,
    /// The number of the backup, of a segment that of the backup it was made for; of a ledger its revision.
    pub sequence: u64,
    /// The origin of the audit log.
    pub origin: String,
    /// The version of the backup key.
    pub key: u32,
    /// The backup key, wrapped by the roots of trust.
    pub wrapped: Wrapped,
    /// What those need to open again; no secret.
    pub roots: BTreeMap<Name, RootRecord>,
    /// In archives, the former versions of the backup key as the roots of trust wrap them now: what is at a destination
    /// and never changes, pieces of the log, says how they were wrapped once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub older: BTreeMap<u32, Wrapped>,
}

impl Head {
    /// With magic and length.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, BackupError> {
        let json = serde_json::to_vec(self).map_err(|_| BackupError::TooLarge("a head"))?;
        if json.len() > HEAD_MAX - FRONT {
            return Err(BackupError::TooLarge("a head"));
        }
        Ok([MAGIC.as_slice(), &(json.len() as u32).to_be_bytes(), &json].concat())
    }

    /// The object that it says it is.
    #[must_use]
    pub fn object(&self) -> Option<Object> {
        self.name.parse::<ObjectName>().ok()?.object()
    }
}

/// Reads the head at the front of an object, with its length; nothing while more bytes are needed.
///
/// # Errors
/// [`BackupError::Altered`], [`BackupError::Newer`].
pub fn split_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, BackupError> {
    let bad = || BackupError::Altered("backup object");
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(bad());
    }
    let Some(len) = bytes.get(MAGIC.len()..FRONT) else { return Ok(None) };
    let len = u32::from_be_bytes(len.try_into().map_err(|_| bad())?) as usize;
    if len > HEAD_MAX - FRONT {
        return Err(bad());
    }
    let Some(json) = bytes.get(FRONT..FRONT + len) else { return Ok(None) };
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let version: Version = serde_json::from_slice(json).map_err(|_| bad())?;
    if version.v > 1 {
        return Err(BackupError::Newer("backup object"));
    }
    let head: Head = serde_json::from_slice(json).map_err(|_| bad())?;
    if head.v != 1 || head.object().is_none() {
        return Err(bad());
    }
    Ok(Some((head, FRONT + len)))
}

/// How many frames of each kind, and what they hash to.
#[derive(Clone, Default)]
struct Tally {
    kinds: [(u64, Sha256); 4],
}

impl Tally {
    fn count(&mut self, kind: u8, frame_head: &[u8], content: &[u8]) -> Option<()> {
        let (count, hash) = self.kinds.get_mut(usize::from(kind).checked_sub(1)?)?;
        *count += 1;
        hash.update(frame_head);
        hash.update(content);
        Some(())
    }

    fn counts(&self) -> Counts {
        let [rows, entries, configuration, checkpoint] = self.kinds.each_ref().map(|(count, _)| *count);
        Counts { rows, entries, configuration, checkpoint }
    }

    fn text(self, head: &Head, bound: &str) -> String {
        let [rows, entries, configuration, checkpoint] =
            self.kinds.map(|(count, hash)| format!("{count} {}", hex::encode(hash.finish())));
        format!(
            "keyreeve-backup/1 {}\nname {}\nhead {bound}\nrows {rows}\nentries {entries}\n\
             configuration {configuration}\ncheckpoint {checkpoint}\n",
            head.origin, head.name
        )
    }
}

/// How many frames of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the store.
    pub rows: u64,
    /// Entries of the audit log.
    pub entries: u64,
    /// Configuration files: 1, or 0 where the server has none.
    pub configuration: u64,
    /// Checkpoints: 1 in an archive.
    pub checkpoint: u64,
}

fn context(bound: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("keyreeve-backup-head".to_owned(), bound.to_owned())])
}

/// Writes an object, piece by piece into a buffer of the caller's.
pub struct Writer {
    head: Head,
    bound: String,
    sealer: Sealer,
    chunk: usize,
    pending: Vec<u8>,
    tally: Tally,
}

impl Writer {
    /// Begins an object: its first bytes are appended to `out`.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`], [`BackupError::Crypto`].
    pub fn begin(head: Head, key: &BackupKey, random: &Random, out: &mut Vec<u8>) -> Result<Self, BackupError> {
        let front = head.encode()?;
        let bound = hex::encode(sha256(&front));
        let header = Header::new(random, key.version().to_be_bytes().to_vec(), context(&bound))?;
        let chunk = header.chunk_size();
        let (begun, sealer) = Sealer::new(&key.streams()?, header)?;
        out.extend_from_slice(&front);
        out.extend_from_slice(&begun);
        Ok(Self { head, bound, sealer, chunk, pending: Vec::with_capacity(2 * chunk), tally: Tally::default() })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`], [`BackupError::Crypto`].
    pub fn row(&mut self, row: &StoredRow, out: &mut Vec<u8>) -> Result<(), BackupError> {
        self.frame(ROW, &encode_row(row), out)
    }

    /// Appends an entry of the audit log.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`], [`BackupError::Crypto`].
    pub fn entry(&mut self, entry: &[u8], out: &mut Vec<u8>) -> Result<(), BackupError> {
        self.frame(ENTRY, entry, out)
    }

    /// Appends the configuration file.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`], [`BackupError::Crypto`].
    pub fn configuration(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), BackupError> {
        if text.len() > CONFIGURATION_MAX {
            return Err(BackupError::TooLarge("the configuration file"));
        }
        self.frame(CONFIGURATION, text, out)
    }

    /// Appends the log's checkpoint.
    ///
    /// # Errors
    /// [`BackupError::TooLarge`], [`BackupError::Crypto`].
    pub fn checkpoint(&mut self, note: &str, out: &mut Vec<u8>) -> Result<(), BackupError> {
        self.frame(CHECKPOINT, note.as_bytes(), out)
    }

    fn frame(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), BackupError> {
        if content.len() > FRAME_MAX {
            return Err(BackupError::TooLarge("a frame"));
        }
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&(content.len() as u32).to_be_bytes());
        self.tally.count(kind, &head, content);
        self.pending.extend_from_slice(&head);
        self.pending.extend_from_slice(content);
        // A full chunk waits until something follows it: the last one must be sealed as the last.
        let mut done = 0;
        while self.pending.len() - done > self.chunk {
            self.sealer.seal_chunk(&self.pending[done..done + self.chunk], false, out)?;
            done += self.chunk;
        }
        self.pending.drain(..done);
        Ok(())
    }

    /// Ends the object with its manifest, signed by the signers that sign plain notes. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`BackupError::Signing`], [`BackupError::Crypto`].
    pub fn finish(
        mut self,
        signer: &Arc<dyn NoteSigner>,
        now: UnixMillis,
        out: &mut Vec<u8>,
    ) -> Result<Manifest, BackupError> {
        let counts = self.tally.counts();
        let text = self.tally.clone().text(&self.head, &self.bound);
        let seconds = now.0.max(0).cast_unsigned() / 1000;
        let note = sign_note(&text, seconds, std::slice::from_ref(signer))?.to_string();
        self.frame(MANIFEST, note.as_bytes(), out)?;
        self.sealer.seal_chunk(&self.pending, true, out)?;
        Ok(Manifest { counts, note })
    }
}

/// What an object says of all that is in it, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How many frames of each kind.
    pub counts: Counts,
    note: String,
}

impl Manifest {
    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Checks the signature; the key's name must be the log's origin.
    ///
    /// # Errors
    /// [`BackupError::Unsigned`].
    pub fn verify(&self, origin: &str, vkeys: &[VerifierKey]) -> Result<(), BackupError> {
        let note = SignedNote::parse(self.note.as_bytes()).map_err(|_| BackupError::Unsigned)?;
        let signers = note.verify(vkeys).map_err(|_| BackupError::Unsigned)?;
        let claims = note.text.strip_prefix("keyreeve-backup/1 ").and_then(|text| text.split('\n').next());
        if claims == Some(origin) && signers.iter().any(|key| key.name() == origin) {
            Ok(())
        } else {
            Err(BackupError::Unsigned)
        }
    }
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// A row of the store. Boxed, for most are long.
    Row(Box<StoredRow>),
    /// An entry of the audit log.
    Entry(Vec<u8>),
    /// The configuration file.
    Configuration(Vec<u8>),
    /// The log's checkpoint, a signed note.
    Checkpoint(String),
}

/// Reads what follows the head of an object, in pieces of any size. What it gives is genuine; that it is complete is
/// known only when [`Reader::finish`] returned.
pub struct Reader {
    head: Head,
    bound: String,
    key: SecretBytes,
    opener: Option<Opener>,
    chunk: usize,
    sealed: Vec<u8>,
    plain: Vec<u8>,
    tally: Tally,
    manifest: Option<Vec<u8>>,
}

impl Reader {
    /// Begins after the head; `front` is the head with its magic and length, as it was read.
    ///
    /// # Errors
    /// [`BackupError::Crypto`].
    pub fn begin(head: Head, front: &[u8], key: &BackupKey) -> Result<Self, BackupError> {
        Ok(Self {
            head,
            bound: hex::encode(sha256(front)),
            key: key.streams()?,
            opener: None,
            chunk: 0,
            sealed: Vec::new(),
            plain: Vec::new(),
            tally: Tally::default(),
            manifest: None,
        })
    }

    /// Takes the next bytes and appends what they complete to `items`.
    ///
    /// # Errors
    /// [`BackupError`]; nothing more can be read then.
    pub fn feed(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), BackupError> {
        self.sealed.extend_from_slice(bytes);
        if self.opener.is_none() && !self.begin_stream()? {
            return Ok(());
        }
        let whole = self.chunk + TAG_LEN;
        let mut done = 0;
        // One byte more than a chunk shows that it is not the last.
        while self.sealed.len() - done > whole {
            self.open(done, whole, false)?;
            done += whole;
            self.frames(items)?;
        }
        self.sealed.drain(..done);
        Ok(())
    }

    fn begin_stream(&mut self) -> Result<bool, BackupError> {
        let Some(prefix) = self.sealed.get(..PREFIX_LEN) else { return Ok(false) };
        let prefix = prefix.try_into().map_err(|_| BackupError::Altered("backup object"))?;
        let len = FileHeader::announced_len(prefix)?;
        let Some(header) = self.sealed.get(..len) else { return Ok(false) };
        let (header, _) = FileHeader::decode(header)?;
        if header.header().context() != &context(&self.bound)
            || header.header().wrapped_key() != self.head.key.to_be_bytes()
        {
            return Err(BackupError::Altered("backup object"));
        }
        self.chunk = header.header().chunk_size();
        self.opener = Some(Opener::new(&self.key, &header)?);
        self.sealed.drain(..len);
        Ok(true)
    }

    fn open(&mut self, at: usize, len: usize, last: bool) -> Result<(), BackupError> {
        let opener = self.opener.as_mut().ok_or(BackupError::Cut)?;
        let start = self.plain.len();
        self.plain.resize(start + len.saturating_sub(TAG_LEN), 0);
        opener.open_chunk(&self.sealed[at..at + len], last, &mut self.plain[start..])?;
        Ok(())
    }

    fn frames(&mut self, items: &mut Vec<Item>) -> Result<(), BackupError> {
        let bad = || BackupError::Altered("backup object");
        let mut done = 0;
        while let Some(head) = self.plain.get(done..done + FRAME_HEAD) {
            if self.manifest.is_some() {
                return Err(bad());
            }
            let (kind, len) = (head[0], u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize);
            if len > FRAME_MAX {
                return Err(bad());
            }
            let Some(content) = self.plain.get(done + FRAME_HEAD..done + FRAME_HEAD + len) else { break };
            match kind {
                MANIFEST => self.manifest = Some(content.to_vec()),
                _ => {
                    self.tally.count(kind, head, content).ok_or_else(bad)?;
                    items.push(item(kind, content)?);
                }
            }
            done += FRAME_HEAD + len;
        }
        self.plain.drain(..done);
        Ok(())
    }

    /// Ends with the last byte: appends what is left to `items`, and returns the manifest, which fits all that was
    /// read. Whose it is, [`Manifest::verify`] tells.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn finish(mut self, items: &mut Vec<Item>) -> Result<Manifest, BackupError> {
        if self.opener.is_none() {
            return Err(BackupError::Cut);
        }
        let len = self.sealed.len();
        self.open(0, len, true)?;
        self.frames(items)?;
        let note = self.manifest.ok_or(BackupError::Cut)?;
        let note = String::from_utf8(note).map_err(|_| BackupError::Altered("manifest"))?;
        let counts = self.tally.counts();
        let text = SignedNote::parse(note.as_bytes()).map_err(|_| BackupError::Altered("manifest"))?.text;
        if !self.plain.is_empty() || text != self.tally.text(&self.head, &self.bound) {
            return Err(BackupError::Altered("backup object"));
        }
        Ok(Manifest { counts, note })
    }
}

fn item(kind: u8, content: &[u8]) -> Result<Item, BackupError> {
    match kind {
        ROW => Ok(Item::Row(Box::new(decode_row(content)?))),
        ENTRY => Ok(Item::Entry(content.to_vec())),
        CONFIGURATION => Ok(Item::Configuration(content.to_vec())),
        CHECKPOINT => {
            String::from_utf8(content.to_vec()).map(Item::Checkpoint).map_err(|_| BackupError::Altered("checkpoint"))
        }
        _ => Err(BackupError::Altered("backup object")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::row::tests::samples;
    use keyreeve_audit::Ed25519Signer;
    use keyreeve_model::KeyringId;

    const ORIGIN: &str = "log.example/audit";

    pub(crate) fn head(kind: Kind) -> Head {
        let object = match kind {
            Kind::Archive => Object::Archive(3),
            Kind::Log => Object::Log(Segment { from: 0, to: 2 }),
            Kind::Ledger => Object::Ledger { keyring: KeyringId::from_bytes([2; 16]), shard: 1 },
        };
        Head {
            v: 1,
            kind,
            name: object.name().to_string(),
            deployment: DeploymentId::from_bytes([4; 16]),
            program: "keyreeve test".to_owned(),
            created: UnixMillis(1_000),
            sequence: 3,
            origin: ORIGIN.to_owned(),
            key: 1,
            wrapped: Wrapped::Main("00".to_owned()),
            roots: BTreeMap::new(),
            older: BTreeMap::new(),
        }
    }

    fn signer(seed: u8) -> Arc<dyn NoteSigner> {
        Arc::new(Ed25519Signer::from_seed(ORIGIN, &[seed; 32]).unwrap())
    }

    fn key() -> BackupKey {
        BackupKey::from_secret(1, SecretBytes::copy_from(&[5; 32])).unwrap()
    }

    /// An archive of several chunks.
    fn written() -> (Vec<u8>, Vec<Item>, Manifest) {
        let random = Random::from_module().unwrap();
        let (mut out, mut items) = (Vec::new(), Vec::new());
        let mut writer = Writer::begin(head(Kind::Archive), &key(), &random, &mut out).unwrap();
        writer.configuration(b"data_dir = \"x\"", &mut out).unwrap();
        items.push(Item::Configuration(b"data_dir = \"x\"".to_vec()));
        for row in samples() {
            writer.row(&row, &mut out).unwrap();
            items.push(Item::Row(Box::new(row)));
        }
        for n in 0..4u8 {
            let entry = vec![n; 60_000];
            writer.entry(&entry, &mut out).unwrap();
            items.push(Item::Entry(entry));
        }
        writer.checkpoint("a note\n", &mut out).unwrap();
        items.push(Item::Checkpoint("a note\n".to_owned()));
        let manifest = writer.finish(&signer(1), UnixMillis(9), &mut out).unwrap();
        (out, items, manifest)
    }

    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<Item>, Manifest), BackupError> {
        let (head, len) = split_head(bytes)?.ok_or(BackupError::Cut)?;
        let mut reader = Reader::begin(head, &bytes[..len], &key())?;
        let mut items = Vec::new();
        for piece in bytes[len..].chunks(piece) {
            reader.feed(piece, &mut items)?;
        }
        let manifest = reader.finish(&mut items)?;
        Ok((items, manifest))
    }

    #[test]
    fn an_archive_comes_back_whatever_the_pieces() {
        let (bytes, items, manifest) = written();
        for piece in [13, 4096, 65_537, usize::MAX] {
            let (found, of) = read(&bytes, piece).unwrap();
            assert!(found == items, "pieces of {piece}");
            assert_eq!(of, manifest);
        }
        assert_eq!(manifest.counts, Counts { rows: 11, entries: 4, configuration: 1, checkpoint: 1 });
    }

    #[test]
    fn the_manifest_is_signed_by_the_logs_own_key() {
        let (bytes, _, _) = written();
        let (_, manifest) = read(&bytes, 4096).unwrap();
        manifest.verify(ORIGIN, &[signer(1).verifier().clone()]).unwrap();
        assert!(matches!(manifest.verify(ORIGIN, &[signer(2).verifier().clone()]), Err(BackupError::Unsigned)));
        let other = "log.example/other";
        assert!(matches!(manifest.verify(other, &[signer(1).verifier().clone()]), Err(BackupError::Unsigned)));
    }

    #[test]
    fn an_alteration_or_a_cut_anywhere_is_noticed() {
        let (bytes, _, _) = written();
        // Every byte of the head and of the stream's header, then samples of every chunk.
        let places = (0..900).chain((900..bytes.len()).step_by(997)).chain(bytes.len() - 200..bytes.len());
        for at in places {
            let mut altered = bytes.clone();
            altered[at] ^= 4;
            assert!(read(&altered, 65_536).is_err(), "byte {at} of {}", bytes.len());
            assert!(read(&bytes[..at], 65_536).is_err(), "cut at {at}");
        }
        assert!(read(&[bytes, vec![0]].concat(), 65_536).is_err(), "a byte too many");
    }

    #[test]
    fn the_head_of_one_object_does_not_fit_the_stream_of_another() {
        let (bytes, _, _) = written();
        let (head, len) = split_head(&bytes).unwrap().unwrap();
        let mut swapped = Head { sequence: 4, ..head }.encode().unwrap();
        swapped.extend_from_slice(&bytes[len..]);
        assert!(matches!(read(&swapped, 4096), Err(BackupError::Altered(_))));
    }

    #[test]
    fn a_newer_format_is_told_from_an_alteration() {
        let json = br#"{"v":2,"more":true}"#;
        let bytes = [MAGIC.as_slice(), &(json.len() as u32).to_be_bytes(), json].concat();
        assert!(matches!(split_head(&bytes), Err(BackupError::Newer(_))));
        assert!(matches!(split_head(b"\x8bKRB"), Ok(None)));
        assert!(matches!(split_head(b"\x8bKRX"), Err(BackupError::Altered(_))));
    }
}
