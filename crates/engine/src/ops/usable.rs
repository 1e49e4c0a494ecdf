//! The question every cryptographic operation asks first: may this key, in this version, do this now?

use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Purpose};
use keyreeve_model::change::KeyRow;
use keyreeve_model::record::{Revision, Table, seal};
use keyreeve_model::{Change, KeyRecord, UnixMillis, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::HeldKey;
use crate::sealing::{Effect, Opened};

/// Messages reserved at a time for algorithms with a limit (count).
const RESERVED_AT_ONCE: u64 = 1 << 20;
/// Work above this many bytes leaves the threads that serve requests.
const LARGE: usize = 4 * 1024 * 1024;

/// What a caller wants of a key.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) purpose: Purpose,
    pub(super) usage: Usage,
}

/// A key version that may do what is wanted.
pub(super) struct Usable {
    pub(super) version: u32,
    pub(super) loaded: Arc<LoadedKey>,
}

/// Checks purpose, scope, state and algorithm, in this order, and loads the version (the primary one unless said).
pub(super) async fn usable(
    core: &Core,
    key: &HeldKey,
    want: Want,
    version: Option<u32>,
    now: UnixMillis,
) -> Result<Usable, Error> {
    let version = version.unwrap_or(key.record.primary());
    check(core, key, want, version, now)?;
    if let Some(kek) = key.keyring.record.current_kek() {
        core.ports.roots.still_good(&kek.wrapped)?;
    }
    let loaded = core.load(key, version).await?;
    Ok(Usable { version, loaded })
}

/// The checks of [`usable`] alone.
pub(super) fn check(core: &Core, key: &HeldKey, want: Want, version: u32, now: UnixMillis) -> Result<(), Error> {
    let record = &key.record;
    if record.purpose() != want.purpose {
        let text =
            format!("the key was made for `{}`, the operation needs a key for `{}`", record.purpose(), want.purpose);
        return Err(Error::new(Code::WrongKeyUse, text));
    }
    if !record.scope().covers(want.usage) {
        let text = match want.usage {
            Usage::Apply => "the key was made only to process (decrypt, verify): it may not protect new data",
            Usage::Process => "the key was made only to protect (encrypt, sign): it may not process data",
        };
        return Err(Error::new(Code::WrongKeyUse, text));
    }
    record.permit(version, want.usage, now)?;
    let algorithms = &core.settings.algorithms;
    let allowed = match want.usage {
        Usage::Apply => algorithms.may_apply(record.algorithm(), now.0),
        Usage::Process => algorithms.may_process(record.algorithm(), now.0),
    };
    if allowed { Ok(()) } else { Err(not_allowed(record.algorithm())) }
}

pub(super) fn not_allowed(algorithm: KeyAlgorithm) -> Error {
    let text =
        format!("the algorithm `{algorithm}` may not be used for this any more: `keyreeve algorithms` shows the dates");
    Error::new(Code::AlgorithmNotAllowed, text)
}

/// Counts messages that a key with a limit is about to protect. Numbers are reserved in blocks ahead of use, so that a
/// crash may over-count and never under-count. Returns what must become durable first, when a new block is needed.
pub(super) fn count_messages(
    core: &Core,
    opened: &Opened,
    key: &HeldKey,
    messages: u64,
    now: UnixMillis,
) -> Result<Option<(Change, Effect)>, Error> {
    let Some(limit) = key.record.algorithm().message_limit() else { return Ok(None) };
    let version = key.record.primary();
    let allowance = core.allowance(key.record.id(), version);
    let take = |left: u64| left.checked_sub(messages);
    if allowance.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
        return Ok(None);
    }
    let mut record = key.record.clone();
    let block = messages.max(RESERVED_AT_ONCE.min(limit.saturating_sub(record.version(version)?.reserved_messages())));
    if record.reserve_messages(version, block)? > limit {
        let text = format!(
            "version {version} has protected as many messages as `{}` safely can ({limit}): rotate the key",
            record.algorithm()
        );
        return Err(Error::new(Code::WrongState, text));
    }
    let change = Change::PutKey(key_row(opened, &record, key.revision.next(), now));
    Ok(Some((change, Effect::Allow(allowance, block - messages))))
}

/// The row of a key, sealed.
pub(crate) fn key_row(opened: &Opened, record: &KeyRecord, revision: Revision, now: UnixMillis) -> KeyRow {
    KeyRow {
        id: record.id(),
        keyring: record.keyring(),
        state: record.state(now),
        destruction_due: record.destruction_due(),
        aliases: record.metadata.aliases.iter().cloned().collect(),
        record: seal(&opened.keys, Table::Keys, record.id().as_bytes(), revision, record),
    }
}

/// True for work that would hold up other requests if it ran on the threads that serve them: more than a millisecond or
/// so. The costs of one item are rough upper bounds for its dearest operation, in microseconds.
pub(super) fn is_heavy(algorithm: KeyAlgorithm, items: usize, bytes: usize) -> bool {
    let each = match algorithm {
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => return true,
        KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => 250,
        KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => 500,
        KeyAlgorithm::EcP256 | KeyAlgorithm::Ed25519 | KeyAlgorithm::X25519 => 70,
        KeyAlgorithm::MlKem768 | KeyAlgorithm::MlKem1024 => 70,
        KeyAlgorithm::Xaes256Gcm
        | KeyAlgorithm::Aes256Gcm
        | KeyAlgorithm::Aes256GcmSiv
        | KeyAlgorithm::ChaCha20Poly1305
        | KeyAlgorithm::HmacSha256
        | KeyAlgorithm::HmacSha384
        | KeyAlgorithm::HmacSha512
        | KeyAlgorithm::Aes256Kw
        | KeyAlgorithm::Kdk256 => 1,
    };
    items.saturating_mul(each) > 1000 || bytes > LARGE
}

/// Runs work with a key: in place, on a thread for blocking work when it is heavy, or, where the key is inside a
/// device, on one of those that may wait for devices.
pub(super) async fn with_key<T, F>(
    core: &Core,
    key: &LoadedKey,
    (items, bytes): (usize, usize),
    work: F,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if key.is_remote() {
        return core.ports.roots.ask(work).await;
    }
    compute(is_heavy(key.algorithm(), items, bytes), work).await
}

/// Runs work in place, or on a thread for blocking work when it is heavy.
pub(super) async fn compute<T, F>(heavy: bool, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if heavy { tokio::task::spawn_blocking(work).await.map_err(Error::internal) } else { Ok(work()) }
}

impl Core {
    /// How many messages a key version may still protect before more must be reserved.
    pub(crate) fn allowance(&self, key: keyreeve_model::KeyId, version: u32) -> Arc<AtomicU64> {
        Arc::clone(self.allowances.lock().entry((key, version)).or_default())
    }
}
