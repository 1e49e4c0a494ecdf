//! Encrypt, decrypt, re-encrypt, rewrap.

use keyreeve_crypto::{CryptoError, HashAlgorithm, KeyAlgorithm, LoadedKey, Purpose, Random};
use keyreeve_model::ciphertext::{Header, Kind};
use keyreeve_model::{EncryptionContext, UnixMillis, Usage};
use keyreeve_secret::SecretBytes;
use std::collections::HashMap;
use std::sync::Arc;

use super::usable::{Usable, Want, compute, count_messages, usable, with_key};
use super::{Each, Payload, lone};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, KeyRef};
use crate::pipeline::{Also, Approved, Operation, Outcome, Remember, Target};

const ENCRYPT: Want = Want { purpose: Purpose::Encrypt, usage: Usage::Apply };
const DECRYPT: Want = Want { purpose: Purpose::Encrypt, usage: Usage::Process };

/// Bytes a commitment to the key takes in a data-key message.
pub(super) const COMMITMENT_LEN: usize = 32;

/// Encrypts each item under the key's primary version, all bound to the same context.
#[derive(Debug)]
pub struct Encrypt {
    /// The key.
    pub key: KeyRef,
    /// Bound to every ciphertext.
    pub context: EncryptionContext,
    /// What to encrypt: 1 item, or a batch.
    pub items: Arc<[Payload]>,
}

/// Ciphertexts in format `KR1`.
#[derive(Debug)]
pub struct Encrypted {
    /// The version that encrypted.
    pub version: u32,
    /// In the caller's order.
    pub items: Each<Vec<u8>>,
}

impl Remember for Encrypted {}

impl Operation for Encrypt {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_ENCRYPT;
    type Reply = Encrypted;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Encrypted>, Error> {
        core.check_batch(self.items.len())?;
        let key = approved.key()?;
        let opened = core.need_open()?;
        let Usable { version, loaded } = usable(core, key, ENCRYPT, None, approved.now()).await?;
        let reserved = count_messages(core, &opened, key, self.items.len() as u64, approved.now())?;
        let sealer = Sealer::new(core, key, version, Arc::clone(&loaded), Kind::Data, &self.context);
        let items = Arc::clone(&self.items);
        let size = (items.len(), items.iter().map(|item| item.expose().len()).sum());
        let seal = move || -> Each<Vec<u8>> { items.iter().map(|item| sealer.seal(item.expose())).collect() };
        let sealed = with_key(core, &loaded, size, seal).await?;
        let outcome = Outcome::reply(Encrypted { version, items: lone(sealed)? }).version(version);
        Ok(match reserved {
            Some((change, effect)) => outcome.changing(change).then(effect).detail("messages_reserved", "true"),
            None => outcome,
        }
        .failures(|reply| &reply.items))
    }
}

/// What a ciphertext looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `KR1`, as Keyreeve makes it.
    Keyreeve,
    /// RSAES-OAEP (RFC 8017 §7.1) as others make it with the public key: empty label.
    RawOaep {
        /// The version whose public key was used.
        version: u32,
        /// The hash, which is also that of MGF1.
        hash: HashAlgorithm,
    },
}

/// Decrypts each item; all must be of this key and bound to the same context.
#[derive(Debug)]
pub struct Decrypt {
    /// The key.
    pub key: KeyRef,
    /// What was bound to the ciphertexts.
    pub context: EncryptionContext,
    /// The form of the items.
    pub format: Format,
    /// What to decrypt.
    pub items: Arc<[Vec<u8>]>,
}

/// Plaintexts.
#[derive(Debug)]
pub struct Decrypted {
    /// In the caller's order, each with the version that had encrypted it.
    pub items: Each<(u32, SecretBytes)>,
}

impl Remember for Decrypted {}

impl Operation for Decrypt {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DECRYPT;
    type Reply = Decrypted;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Decrypted>, Error> {
        core.check_batch(self.items.len())?;
        let opener = Opener::new(core, approved.key()?, approved.now());
        let items = match self.format {
            Format::Keyreeve => opener.open_all(Kind::Data, &self.context, &self.items).await?,
            Format::RawOaep { version, hash } => opener.open_raw(version, hash, &self.items).await?,
        };
        let version = single_version(&items);
        let outcome = Outcome::reply(Decrypted { items: lone(items)? }).failures(|reply| &reply.items);
        Ok(match version {
            Some(version) => outcome.version(version),
            None => outcome,
        })
    }
}

/// Moves ciphertexts from one key to another; the plaintext stays inside.
#[derive(Debug)]
pub struct ReEncrypt {
    /// The key they are under.
    pub from: KeyRef,
    /// The key they shall be under.
    pub to: KeyRef,
    /// What was bound to them.
    pub from_context: EncryptionContext,
    /// What shall be bound to them.
    pub to_context: EncryptionContext,
    /// What to move.
    pub items: Arc<[Vec<u8>]>,
}

impl Operation for ReEncrypt {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_RE_ENCRYPT_FROM;
    type Reply = Encrypted;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.from)
    }

    fn also(&self) -> Option<Also<'_>> {
        let (target, context) = (Target::Key(&self.to), Some(&self.to_context));
        Some(Also { action: &catalogue::KEY_RE_ENCRYPT_TO, target, context })
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.from_context)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Encrypted>, Error> {
        core.check_batch(self.items.len())?;
        let now = approved.now();
        let (from, to) = (approved.key()?, approved.second_key()?);
        let opened = Opener::new(core, from, now).open_all(Kind::Data, &self.from_context, &self.items).await?;
        let outcome = reseal(core, to, Kind::Data, &self.to_context, opened, now).await?;
        let to_context = serde_json::to_string(self.to_context.pairs()).map_err(Error::internal)?;
        Ok(outcome.detail("to_key", to.record.id()).detail("to_context", to_context))
    }
}

/// Brings ciphertexts or data keys to the newest version of their key; the plaintext stays inside.
#[derive(Debug)]
pub struct Rewrap {
    /// The key.
    pub key: KeyRef,
    /// What is bound to them, before and after.
    pub context: EncryptionContext,
    /// What to rewrap: all data, or all data keys.
    pub items: Arc<[Vec<u8>]>,
}

impl Operation for Rewrap {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_REWRAP;
    type Reply = Encrypted;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn context(&self) -> Option<&EncryptionContext> {
        Some(&self.context)
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Encrypted>, Error> {
        core.check_batch(self.items.len())?;
        let (key, now) = (approved.key()?, approved.now());
        let opener = Opener::new(core, key, now);
        let kind = common_kind(&self.items)?;
        let opened = opener.open_all(kind, &self.context, &self.items).await?;
        reseal(core, key, kind, &self.context, opened, now).await
    }
}

/// All items of one request must be of one kind.
fn common_kind(items: &[Vec<u8>]) -> Result<Kind, Error> {
    let mut kinds = items.iter().map(|item| Header::decode(item).map(|(header, _)| header.kind));
    let first = kinds.next().ok_or_else(|| Error::invalid("nothing to do: give at least one ciphertext"))??;
    for kind in kinds {
        if kind? != first {
            return Err(Error::invalid(
                "ciphertexts and data keys cannot be mixed in one request: send one for each kind",
            ));
        }
    }
    Ok(first)
}

async fn reseal(
    core: &Core,
    to: &HeldKey,
    kind: Kind,
    context: &EncryptionContext,
    opened: Each<(u32, SecretBytes)>,
    now: UnixMillis,
) -> Result<Outcome<Encrypted>, Error> {
    let open = core.need_open()?;
    let Usable { version, loaded } = usable(core, to, ENCRYPT, None, now).await?;
    let reserved = count_messages(core, &open, to, opened.len() as u64, now)?;
    let sealer = Sealer::new(core, to, version, Arc::clone(&loaded), kind, context);
    let size = (opened.len(), 0);
    let seal_all = move || -> Each<Vec<u8>> {
        opened.into_iter().map(|item| item.and_then(|(_, plaintext)| sealer.seal(plaintext.expose()))).collect()
    };
    let items = with_key(core, &loaded, size, seal_all).await?;
    let outcome =
        Outcome::reply(Encrypted { version, items: lone(items)? }).version(version).detail("new_version", version);
    Ok(match reserved {
        Some((change, effect)) => outcome.changing(change).then(effect),
        None => outcome,
    }
    .failures(|reply| &reply.items))
}

/// Makes `KR1` messages of one kind under one key version and context.
pub(super) struct Sealer {
    random: Arc<Random>,
    loaded: Arc<LoadedKey>,
    header: Header,
    aad: Vec<u8>,
}

impl Sealer {
    pub(super) fn new(
        core: &Core,
        key: &HeldKey,
        version: u32,
        loaded: Arc<LoadedKey>,
        kind: Kind,
        context: &EncryptionContext,
    ) -> Self {
        let header = Header { kind, algorithm: key.record.algorithm(), key: key.record.id(), version };
        let aad = header.associated_data(context);
        Self { random: Arc::clone(&core.ports.random), loaded, header, aad }
    }

    pub(super) fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let header = self.header.encode();
        let overhead = self.loaded.seal_overhead().unwrap_or(512) + COMMITMENT_LEN;
        let mut out = Vec::with_capacity(header.len() + plaintext.len() + overhead);
        out.extend_from_slice(&header);
        if is_rsa(self.header.algorithm) {
            let hash = HashAlgorithm::Sha256;
            out.extend(self.loaded.oaep_encrypt(&self.random, hash, &self.aad, plaintext)?);
            return Ok(out);
        }
        self.loaded.seal_into(&self.random, &self.aad, plaintext, &mut out)?;
        if self.header.kind == Kind::DataKey {
            let commitment = self.loaded.commitment(&out)?;
            out.extend_from_slice(&commitment);
        }
        Ok(out)
    }
}

fn is_rsa(algorithm: KeyAlgorithm) -> bool {
    matches!(algorithm, KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096)
}

/// Opens one `KR1` message whose header was checked.
fn open_one(
    loaded: &LoadedKey,
    header: &Header,
    aad: &[u8],
    message: &[u8],
    body: &[u8],
) -> Result<SecretBytes, Error> {
    if is_rsa(header.algorithm) {
        return Ok(loaded.oaep_decrypt(HashAlgorithm::Sha256, aad, body)?);
    }
    if header.kind == Kind::Data {
        return Ok(loaded.open(aad, body)?);
    }
    let cut = message.len().checked_sub(COMMITMENT_LEN).filter(|_| body.len() > COMMITMENT_LEN);
    let (committed, commitment) = message.split_at(cut.ok_or(CryptoError::Open)?);
    // Checked before opening: a message that opens under two keys is refused whichever of them opens it.
    if !keyreeve_secret::ct_eq(&loaded.commitment(committed)?, commitment) {
        return Err(CryptoError::Open.into());
    }
    Ok(loaded.open(aad, &body[..body.len() - COMMITMENT_LEN])?)
}

/// Opens a `KR1` message without context, whatever key it is of, and keeps nothing of it: for a rehearsal, in an engine
/// that nobody asks anything.
pub(crate) async fn open_sample(core: &Core, message: &[u8]) -> Result<(), Error> {
    let (header, _) = Header::decode_kind(message, Kind::Data)?;
    let missing = || Error::new(Code::NotFound, format!("a sample is of the key {}, which is not there", header.key));
    let key = core.find_key(&KeyRef::Id(header.key)).await?.ok_or_else(missing)?;
    let opener = Opener::new(core, &key, core.now()?);
    let items = Arc::from([message.to_vec()]);
    lone(opener.open_all(Kind::Data, &EncryptionContext::default(), &items).await?).map(drop)
}

/// Opens messages of one key, of whatever versions.
pub(super) struct Opener<'a> {
    core: &'a Core,
    key: &'a HeldKey,
    now: UnixMillis,
}

impl<'a> Opener<'a> {
    pub(super) fn new(core: &'a Core, key: &'a HeldKey, now: UnixMillis) -> Self {
        Self { core, key, now }
    }

    /// Opens every item; what is wrong with one does not stop the others.
    pub(super) async fn open_all(
        &self,
        kind: Kind,
        context: &EncryptionContext,
        items: &Arc<[Vec<u8>]>,
    ) -> Result<Each<(u32, SecretBytes)>, Error> {
        let mut versions: HashMap<u32, Result<Arc<LoadedKey>, (Code, String)>> = HashMap::new();
        let mut plan = Vec::with_capacity(items.len());
        for item in items.iter() {
            let header = self.header(kind, item);
            if let Ok(header) = &header
                && !versions.contains_key(&header.version)
            {
                let loaded = usable(self.core, self.key, DECRYPT, Some(header.version), self.now).await;
                let loaded =
                    loaded.map(|usable| usable.loaded).map_err(|error| (error.code(), error.public().to_owned()));
                versions.insert(header.version, loaded);
            }
            plan.push(header);
        }
        let plan: Each<(Header, Arc<LoadedKey>)> = plan
            .into_iter()
            .map(|header| {
                let header = header?;
                match versions.get(&header.version) {
                    Some(Ok(loaded)) => Ok((header, Arc::clone(loaded))),
                    // The same refusal for each item.
                    Some(Err((code, text))) => Err(Error::new(*code, text.clone())),
                    None => Err(Error::internal("a version was not looked at")),
                }
            })
            .collect();
        let (items, context) = (Arc::clone(items), context.clone());
        let size = (items.len(), items.iter().map(Vec::len).sum());
        let asked = plan.iter().find_map(|planned| planned.as_ref().ok()).map(|(_, loaded)| Arc::clone(loaded));
        let open = move || {
            let opened = plan.into_iter().zip(items.iter()).map(|(planned, item)| {
                let (header, loaded) = planned?;
                let body = &item[keyreeve_model::ciphertext::HEADER_LEN..];
                let plaintext = open_one(&loaded, &header, &header.associated_data(&context), item, body)?;
                Ok((header.version, plaintext))
            });
            opened.collect()
        };
        match asked {
            Some(loaded) => with_key(self.core, &loaded, size, open).await,
            None => Ok(open()),
        }
    }

    async fn open_raw(
        &self,
        version: u32,
        hash: HashAlgorithm,
        items: &Arc<[Vec<u8>]>,
    ) -> Result<Each<(u32, SecretBytes)>, Error> {
        let loaded = usable(self.core, self.key, DECRYPT, Some(version), self.now).await?.loaded;
        let (items, remote) = (Arc::clone(items), loaded.is_remote());
        let open = move || {
            let opened = items.iter().map(|item| Ok((version, loaded.oaep_decrypt(hash, &[], item)?)));
            opened.collect()
        };
        if remote { self.core.ports.roots.ask(open).await } else { compute(true, open).await }
    }

    fn header(&self, kind: Kind, item: &[u8]) -> Result<Header, Error> {
        let (header, _) = Header::decode_kind(item, kind)?;
        let record = &self.key.record;
        if header.key != record.id() || header.algorithm != record.algorithm() {
            let text = format!("the ciphertext is of another key ({}): decrypt it with that one", header.key);
            return Err(Error::new(Code::InvalidCiphertext, text));
        }
        Ok(header)
    }
}

/// The version all items had, if it was one.
fn single_version(items: &Each<(u32, SecretBytes)>) -> Option<u32> {
    let mut versions = items.iter().filter_map(|item| item.as_ref().ok().map(|(version, _)| *version));
    let first = versions.next()?;
    versions.all(|version| version == first).then_some(first)
}
