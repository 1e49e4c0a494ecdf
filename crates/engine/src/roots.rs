//! The roots of trust of a deployment, by name: wrapping by one of them or by several together, and how long what came
//! out of them may be used without hearing from them (requirements T1 to T5).

use futures::future::join_all;
use keyreeve_crypto::Random;
use keyreeve_model::roots::{Need, Parts, RootRecord};
use keyreeve_model::{Custody, Name, RootUse, Wrapped};
use keyreeve_root::{Root, RootError, SealStatus};
use keyreeve_secret::SecretBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Code, Error};

/// Never: what a root without a bound was last heard from counts for ever.
const FOR_EVER: i64 = i64::MAX;

/// One root of trust.
struct Held {
    root: Arc<dyn Root>,
    /// Until when what it unwrapped may be used (milliseconds of the clock that never goes back); [`FOR_EVER`] for
    /// roots without a bound.
    good_until: AtomicI64,
}

impl Held {
    fn new(root: Arc<dyn Root>) -> Self {
        let good_until = root.bound().map_or(FOR_EVER, |_| i64::MIN).into();
        Self { root, good_until }
    }

    fn heard_from(&self, now: Duration) {
        let until = self.root.bound().map_or(FOR_EVER, |bound| millis(now.saturating_add(bound)));
        self.good_until.store(until, Ordering::Release);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(FOR_EVER)
}

/// The roots that the configuration names.
pub struct Roots {
    held: BTreeMap<Name, Held>,
    first: Name,
    clock: Arc<dyn Clock>,
    /// The least of all `good_until`: while it lies ahead nobody has to be looked at.
    all_good_until: AtomicI64,
}

impl Roots {
    /// These roots; a new deployment is initialised with `first`.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] when `first` is not among them.
    pub fn new(first: Name, roots: BTreeMap<Name, Arc<dyn Root>>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        if !roots.contains_key(&first) {
            return Err(Error::invalid(format!("no root of trust is called `{first}`")));
        }
        Ok(Self::hold(first, roots, clock))
    }

    /// One root, called `main`.
    #[must_use]
    pub fn single(root: Arc<dyn Root>, clock: Arc<dyn Clock>) -> Self {
        let first = keyreeve_model::roots::main();
        Self::hold(first.clone(), BTreeMap::from([(first, root)]), clock)
    }

    fn hold(first: Name, roots: BTreeMap<Name, Arc<dyn Root>>, clock: Arc<dyn Clock>) -> Self {
        let held = roots.into_iter().map(|(name, root)| (name, Held::new(root))).collect();
        let roots = Self { held, first, clock, all_good_until: AtomicI64::new(i64::MIN) };
        roots.reckon();
        roots
    }

    /// The root a new deployment is initialised with.
    pub(crate) fn first(&self) -> &Name {
        &self.first
    }

    /// A root by its name.
    pub(crate) fn get(&self, name: &Name) -> Option<&Arc<dyn Root>> {
        self.held.get(name).map(|held| &held.root)
    }

    /// A root that something names, or the refusal that says it is not configured.
    pub(crate) fn need(&self, name: &Name) -> Result<&Arc<dyn Root>, Error> {
        self.get(name).ok_or_else(|| {
            let text = format!(
                "the configuration of this server has no root of trust called `{name}`: add `[roots.{name}]` to it"
            );
            Error::new(Code::RootUnavailable, text)
        })
    }

    /// A root that a request names.
    pub(crate) fn named(&self, name: &Name) -> Result<&Arc<dyn Root>, Error> {
        self.need(name).map_err(|error| Error::invalid(error.to_string()))
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<dyn Root>)> {
        self.held.iter().map(|(name, held)| (name, &held.root))
    }

    /// How well one of them keeps its key; one that is not configured counts for nothing.
    pub(crate) fn custody(&self, name: &Name) -> Custody {
        self.get(name).map_or(Custody::Software, |root| root.custody())
    }

    /// Tells a root what the deployment record says about it.
    pub(crate) async fn configure(&self, name: &Name, record: &RootRecord) -> Result<(), Error> {
        let root = self.need(name)?;
        if record.kind != root.kind() {
            let text = format!(
                "the root of trust `{name}` was joined as one of kind `{}`, the configuration says `{}`",
                record.kind,
                root.kind()
            );
            return Err(Error::invalid(text));
        }
        root.configure(&record.public).await?;
        if root.status() == SealStatus::Open {
            self.note(name);
        }
        Ok(())
    }

    /// Closes all of them.
    pub(crate) async fn seal(&self) {
        join_all(self.held.values().map(|held| held.root.seal())).await;
    }

    /// Wraps a secret under roots, bound to its context.
    pub(crate) async fn wrap(
        &self,
        under: &RootUse,
        context: &[u8],
        secret: &SecretBytes,
        random: &Random,
    ) -> Result<Wrapped, Error> {
        let count = under.roots().len();
        let (pieces, split) = match under.need() {
            Need::Any => ((0..count).map(|_| SecretBytes::copy_from(secret.expose())).collect(), None),
            Need::All => (split_up(random, secret, count)?, Some(random.nonce_array::<16>()?)),
        };
        let mut parts = BTreeMap::new();
        for (name, piece) in under.roots().iter().zip(&pieces) {
            let wrapped = self.need(name)?.wrap(&part_context(context, split, name), piece).await?;
            self.note(name);
            parts.insert(name.clone(), hex::encode(wrapped));
        }
        Ok(Wrapped::Under(Parts { need: under.need(), split: split.map(hex::encode), parts }))
    }

    /// Unwraps what [`Self::wrap`] returned for the same context. Where any root is enough, each is asked until one
    /// answers; one that says the bytes were altered is believed only when no other opens its part.
    pub(crate) async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretBytes, Error> {
        match wrapped {
            Wrapped::Main(part) => self.part(&keyreeve_model::roots::main(), context, part).await,
            Wrapped::Under(parts) => match (parts.need, &parts.split) {
                (Need::Any, None) => self.any(parts, context).await,
                (Need::All, Some(split)) => self.all(parts, context, split).await,
                _ => Err(unreadable()),
            },
        }
    }

    async fn any(&self, parts: &Parts, context: &[u8]) -> Result<SecretBytes, Error> {
        let mut refused: Option<Error> = None;
        for (name, part) in &parts.parts {
            match self.part(name, &part_context(context, None, name), part).await {
                Ok(secret) => return Ok(secret),
                // What was altered is worse news than what is away or closed.
                Err(error) if refused.as_ref().is_none_or(|before| before.code() != Code::Tampered) => {
                    refused = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(unreadable))
    }

    async fn all(&self, parts: &Parts, context: &[u8], split: &str) -> Result<SecretBytes, Error> {
        let mut id = [0; 16];
        hex::decode_to_slice(split, &mut id).map_err(|_| unreadable())?;
        let mut whole: Option<SecretBytes> = None;
        for (name, part) in &parts.parts {
            let piece = self.part(name, &part_context(context, Some(id), name), part).await?;
            whole = Some(match whole {
                None => piece,
                Some(before) => joined(&before, &piece)?,
            });
        }
        whole.ok_or_else(unreadable)
    }

    async fn part(&self, name: &Name, context: &[u8], part: &str) -> Result<SecretBytes, Error> {
        let bytes = hex::decode(part).map_err(|_| unreadable())?;
        let secret = self.need(name)?.unwrap(context, &bytes).await?;
        self.note(name);
        Ok(secret)
    }

    /// A root was heard from just now.
    pub(crate) fn note(&self, name: &Name) {
        if let Some(held) = self.held.get(name) {
            held.heard_from(self.clock.elapsed());
            self.reckon();
        }
    }

    fn reckon(&self) {
        let least = self.held.values().map(|held| held.good_until.load(Ordering::Acquire)).min();
        self.all_good_until.store(least.unwrap_or(FOR_EVER), Ordering::Release);
    }

    /// Refuses when what came out of these roots may not be used any longer, because they were not heard from within
    /// their bound. Costs one load while all are well.
    pub(crate) fn still_good(&self, wrapped: &Wrapped) -> Result<(), Error> {
        let all_good_until = self.all_good_until.load(Ordering::Acquire);
        if all_good_until == FOR_EVER {
            return Ok(());
        }
        let now = millis(self.clock.elapsed());
        if now <= all_good_until {
            return Ok(());
        }
        let good = |name: &Name| self.held.get(name).is_some_and(|held| now <= held.good_until.load(Ordering::Acquire));
        let under = wrapped.under();
        let enough = match under.need() {
            Need::Any => under.roots().iter().any(good),
            Need::All => under.roots().iter().all(good),
        };
        if enough {
            return Ok(());
        }
        let text = format!(
            "the root of trust of this keyring ({under}) was not heard from within its bound: its keys are refused \
             until it answers again"
        );
        Err(Error::new(Code::RootUnavailable, text))
    }

    /// Asks roots with a bound before it is over, and says whether one that was good has just become stale: what came
    /// out of it has to be wiped.
    pub(crate) async fn look_after(&self) -> bool {
        let bounded = self.held.iter().filter(|(_, held)| held.root.bound().is_some());
        let asked = bounded.filter(|(_, held)| held.root.status() == SealStatus::Open);
        join_all(asked.map(|(name, held)| async move {
            match held.root.check().await {
                Ok(()) => held.heard_from(self.clock.elapsed()),
                Err(error) => tracing::warn!(root = %name, %error, "a root of trust does not answer"),
            }
        }))
        .await;
        self.reckon();
        let now = millis(self.clock.elapsed());
        let stale = |held: &Held| held.root.bound().is_some() && held.good_until.load(Ordering::Acquire) < now;
        self.held.values().any(stale)
    }

    /// What is wrong with roots that are open, each by its name.
    pub(crate) async fn ills(&self) -> Vec<String> {
        let open = self.held.iter().filter(|(_, held)| held.root.status() == SealStatus::Open);
        let looked =
            open.map(|(name, held)| async move { held.root.check().await.err().map(|error| self.ill(name, &error)) });
        join_all(looked).await.into_iter().flatten().collect()
    }

    fn ill(&self, name: &Name, error: &RootError) -> String {
        if self.held.len() == 1 { error.to_string() } else { format!("{name}: {error}") }
    }
}

fn unreadable() -> Error {
    Error::new(Code::Tampered, "what the roots of trust wrapped was altered or moved outside Keyreeve")
}

/// What a part is bound to. Of a secret that any root opens the context alone, which is what a single root has always
/// bound; of a split one also the splitting and the root, so that parts never change places.
fn part_context(context: &[u8], split: Option<[u8; 16]>, root: &Name) -> Vec<u8> {
    match split {
        None => context.to_vec(),
        Some(id) => [b"keyreeve/split/1".as_slice(), &id, root.as_str().as_bytes(), &[0], context].concat(),
    }
}

/// As many pieces as wanted whose exclusive or is the secret: all but one are random.
fn split_up(random: &Random, secret: &SecretBytes, count: usize) -> Result<Vec<SecretBytes>, Error> {
    let mut pieces = Vec::with_capacity(count);
    let mut last = SecretBytes::copy_from(secret.expose());
    for _ in 1..count {
        let piece = random.secret_bytes(secret.len())?;
        last = joined(&last, &piece)?;
        pieces.push(piece);
    }
    pieces.push(last);
    Ok(pieces)
}

fn joined(one: &SecretBytes, other: &SecretBytes) -> Result<SecretBytes, Error> {
    if one.len() != other.len() {
        return Err(unreadable());
    }
    Ok(SecretBytes::init_with(one.len(), |bytes| {
        for (byte, (a, b)) in bytes.iter_mut().zip(one.expose().iter().zip(other.expose())) {
            *byte = a ^ b;
        }
    }))
}
