//! The roots of trust of a deployment, by name: wrapping by one of them or by several together, and how long what came
//! out of them may be used without hearing from them (requirements T1 to T5).

use futures::future::join_all;
use keyreeve_crypto::Random;
use keyreeve_crypto::shamir::Share;
use keyreeve_model::roots::{Need, Parts, RootRecord};
use keyreeve_model::{Custody, Name, RootUse, Wrapped};
use keyreeve_root::{Root, RootError, SealStatus};
use keyreeve_secret::{SecretBytes, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::keys::ASKING_AT_ONCE;
use crate::ops::system::RootState;

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

    /// Since it was asked: when it saw to its answer is not known.
    fn heard_from(&self, asked: Duration) {
        let until = self.root.bound().map_or(FOR_EVER, |bound| millis(asked.saturating_add(bound)));
        self.good_until.fetch_max(until, Ordering::AcqRel);
    }

    /// A root that is closed lets nobody use what it opened, however lately it was heard from.
    fn is_good(&self, now: i64) -> bool {
        self.root.status() == SealStatus::Open && now <= self.good_until.load(Ordering::Acquire)
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
    /// Whose turn it is to wait for a device.
    pub(crate) asking: Arc<tokio::sync::Semaphore>,
}

impl Roots {
    /// These roots. The first of them is `main`, which a new deployment is initialised with; without it, the first one
    /// by name.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] when there is none.
    pub fn new(roots: BTreeMap<Name, Arc<dyn Root>>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let main = keyreeve_model::roots::main();
        let first = if roots.contains_key(&main) { Some(&main) } else { roots.keys().next() };
        match first.cloned() {
            Some(first) => Ok(Self::hold(first, roots, clock)),
            None => Err(Error::invalid("there is no root of trust")),
        }
    }

    /// One root, called `main`.
    #[must_use]
    pub fn single(root: Arc<dyn Root>, clock: Arc<dyn Clock>) -> Self {
        let first = keyreeve_model::roots::main();
        Self::hold(first.clone(), BTreeMap::from([(first, root)]), clock)
    }

    fn hold(first: Name, roots: BTreeMap<Name, Arc<dyn Root>>, clock: Arc<dyn Clock>) -> Self {
        let held = roots.into_iter().map(|(name, root)| (name, Held::new(root))).collect();
        let asking = Arc::new(tokio::sync::Semaphore::new(ASKING_AT_ONCE));
        let roots = Self { held, first, clock, all_good_until: AtomicI64::new(i64::MIN), asking };
        roots.reckon();
        roots
    }

    /// The root that is meant where none is named.
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
            let section =
                if *name == keyreeve_model::roots::main() { "root".to_owned() } else { format!("roots.{name}") };
            let text = format!(
                "the configuration of this server has no root of trust called `{name}`: add `[{section}]` to it"
            );
            Error::new(Code::RootUnavailable, text)
        })
    }

    /// A root that a request names.
    pub(crate) fn named(&self, name: &Name) -> Result<&Arc<dyn Root>, Error> {
        self.need(name).map_err(|error| Error::invalid(error.public().to_owned()))
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
        let asked = self.clock.elapsed();
        root.configure(&record.public).await?;
        if root.status() == SealStatus::Open {
            self.note(name, asked);
        }
        Ok(())
    }

    /// Where each of them stands, by name.
    pub(crate) fn states(&self) -> Vec<RootState> {
        let state = |(name, root): (&Name, &Arc<dyn Root>)| {
            let (kind, custody, status) = (root.kind(), root.custody(), root.status());
            RootState { name: name.clone(), kind, custody, status }
        };
        self.iter().map(state).collect()
    }

    /// Gives a share to the root whose set it belongs to, and says which one that is. Each that waits for shares is
    /// asked, so nobody has to say which root a share is of, nor to keep an order.
    pub(crate) async fn give(&self, share: &SecretString) -> Result<(Name, SealStatus), Error> {
        let waits = |(_, root): &(&Name, &Arc<dyn Root>)| waits_for_shares(&root.status());
        let waiting: Vec<_> = self.iter().filter(waits).collect();
        let mut foreign: Option<RootError> = None;
        for (name, root) in &waiting {
            let asked = self.clock.elapsed();
            match root.unseal(share).await {
                Ok(status) => {
                    if status == SealStatus::Open {
                        self.note(name, asked);
                    }
                    return Ok(((*name).clone(), status));
                }
                // Which set it was of says more than that it is of another root.
                Err(error @ RootError::ReplacedShare { .. }) => foreign = Some(error),
                Err(error @ RootError::ForeignShare) => foreign = foreign.or(Some(error)),
                Err(error) => return Err(self.about(name, error)),
            }
        }
        if let Some(name) = self.open_with(share) {
            let text = format!("the root of trust `{name}` is open already: this share of it is not needed");
            return Err(Error::new(Code::WrongState, text));
        }
        match foreign {
            Some(RootError::ForeignShare) if self.held.len() > 1 => {
                let names: Vec<String> = waiting.iter().map(|(name, _)| format!("`{name}`")).collect();
                let names = names.join(", ");
                let text = format!("this share belongs to none of the roots of trust that wait for shares ({names})");
                Err(Error::new(Code::InvalidShare, text))
            }
            Some(error) => Err(error.into()),
            // None waits: the first one says why.
            None => Ok((self.first.clone(), self.need(&self.first)?.unseal(share).await?)),
        }
    }

    /// The open root whose set a share is of.
    fn open_with(&self, share: &SecretString) -> Option<&Name> {
        let share = Share::from_text(share.expose()).ok()?;
        let open = self.iter().filter(|(_, root)| root.status() == SealStatus::Open);
        let of = |root: &Arc<dyn Root>| root.share_set().is_some_and(|set| set.set == share.set_id());
        open.into_iter().find(|(_, root)| of(root)).map(|(name, _)| name)
    }

    /// What is wrong with a share of one root, which is named where there are several.
    fn about(&self, name: &Name, error: RootError) -> Error {
        let error = Error::from(error);
        if self.held.len() == 1 {
            return error;
        }
        Error::new(error.code(), format!("root of trust `{name}`: {}", error.public()))
    }

    /// Closes all of them.
    pub(crate) async fn seal(&self) {
        join_all(self.held.values().map(|held| held.root.seal())).await;
    }

    /// Wraps a secret under roots, bound to its context. Every root was seen to give back what it wrapped.
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
            let (asked, root, bound) = (self.clock.elapsed(), self.need(name)?, part_context(context, split, name));
            let wrapped = root.wrap(&bound, piece).await.map_err(|error| told(name, &**root, error))?;
            self.note(name, asked);
            // Each by itself: where any is enough, another one would answer for it until the day it is needed.
            let again = root.unwrap(&bound, &wrapped).await.map_err(|error| told(name, &**root, error))?;
            if !again.ct_eq(piece.expose()) {
                return Err(lies(name));
            }
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
        let root = self.need(name)?;
        // Nobody was heard from by this: a root may answer out of what it keeps.
        root.unwrap(context, &bytes).await.map_err(|error| told(name, &**root, error))
    }

    /// A root answered what it was asked at this time.
    pub(crate) fn note(&self, name: &Name, asked: Duration) {
        if let Some(held) = self.held.get(name) {
            held.heard_from(asked);
            self.reckon();
        }
    }

    fn reckon(&self) {
        let least = self.held.values().map(|held| held.good_until.load(Ordering::Acquire)).min();
        self.all_good_until.store(least.unwrap_or(FOR_EVER), Ordering::Release);
    }

    /// Whether every root was heard from within its bound, if it has one. One load where none has.
    pub(crate) fn all_good(&self) -> bool {
        let until = self.all_good_until.load(Ordering::Acquire);
        until == FOR_EVER || millis(self.clock.elapsed()) <= until
    }

    /// Refuses when what came out of these roots may not be used any longer, because they were not heard from within
    /// their bound. Costs one load while all are well.
    pub(crate) fn still_good(&self, wrapped: &Wrapped) -> Result<(), Error> {
        if self.all_good() {
            return Ok(());
        }
        let now = millis(self.clock.elapsed());
        let good = |name: &Name| self.held.get(name).is_some_and(|held| held.is_good(now));
        let under = wrapped.under();
        let enough = match under.need() {
            Need::Any => under.roots().iter().any(good),
            Need::All => under.roots().iter().all(good),
        };
        if enough {
            return Ok(());
        }
        let text = format!(
            "the root of trust ({under}) was not heard from within its bound: what is under it is refused until it \
             answers again"
        );
        Err(Error::new(Code::RootUnavailable, text))
    }

    /// Asks roots with a bound before it is over, and says whether one that was good has just become stale: what came
    /// out of it has to be wiped.
    pub(crate) async fn look_after(&self) -> bool {
        let bounded = self.held.iter().filter(|(_, held)| held.root.bound().is_some());
        let asked = bounded.filter(|(_, held)| held.root.status() == SealStatus::Open);
        join_all(asked.map(|(name, held)| async move {
            let asked = self.clock.elapsed();
            match held.root.check().await {
                Ok(()) => held.heard_from(asked),
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

/// What does not open again must not be what anything hangs on.
fn lies(root: &Name) -> Error {
    let text = format!(
        "the root of trust `{root}` does not give back what it wrapped: nothing was brought under it; have the device \
         or the service looked at before it is used again"
    );
    tracing::error!(%root, "a root of trust does not give back what it wrapped");
    Error::new(Code::RootUnavailable, text)
}

/// Why one root did not do what it was asked, with its name: there may be others, and each opens in its own way.
fn told(name: &Name, root: &dyn Root, error: RootError) -> Error {
    match error {
        RootError::Sealed => {
            let how = match root.status().needs_people() {
                true => "`keyreeve unseal` with its shares opens it",
                false => "it opens when the server is started again",
            };
            Error::new(Code::Sealed, format!("the root of trust `{name}` is sealed: {how}"))
        }
        // Something is under it, so it was initialised: this process has not heard from it yet.
        RootError::NotInitialised => {
            let text = format!("the root of trust `{name}` has not answered yet: it is asked again every minute");
            Error::new(Code::RootUnavailable, text)
        }
        RootError::Unavailable(_) => {
            Error::new(Code::RootUnavailable, format!("the root of trust `{name}` does not answer")).because(error)
        }
        error => error.into(),
    }
}

/// Whether shares open it, and some are missing.
pub(crate) const fn waits_for_shares(status: &SealStatus) -> bool {
    matches!(status, SealStatus::Sealed { threshold: 1.., .. })
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::UnixMillis;
    use keyreeve_root::faulty::FaultyRoot;
    use keyreeve_root_software::{SealedFileRoot, ShamirRoot};

    /// Seconds.
    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> UnixMillis {
            UnixMillis(millis(self.elapsed()))
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
        }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// One with a bound of 900 seconds, heard from at 0, and one that people open.
    async fn cloud_and_people(directory: &tempfile::TempDir) -> (Roots, Arc<HandClock>, Random) {
        let random = Random::from_module().unwrap();
        let file = SealedFileRoot::new(directory.path().join("root.key"), random.clone());
        let cloud = FaultyRoot::new(Arc::new(file)).posing_as(Custody::Kms, Some(Duration::from_secs(900)));
        let people = ShamirRoot::new(random.clone());
        cloud.initialise(0, 0).await.unwrap();
        people.initialise(1, 1).await.unwrap();
        let all = [(name("cloud"), Arc::new(cloud) as Arc<dyn Root>), (name("people"), Arc::new(people))];
        let clock = Arc::new(HandClock(AtomicI64::new(0)));
        let roots = Roots::new(all.into(), Arc::clone(&clock) as _).unwrap();
        roots.note(&name("cloud"), Duration::ZERO);
        (roots, clock, random)
    }

    #[tokio::test]
    async fn what_a_root_unwraps_does_not_prolong_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let (roots, clock, random) = cloud_and_people(&directory).await;
        let secret = SecretBytes::copy_from(&[7; 32]);
        let wrapped = roots.wrap(&RootUse::one(name("cloud")), b"here", &secret, &random).await.unwrap();
        clock.0.store(899, Ordering::SeqCst);
        assert!(roots.unwrap(&wrapped, b"here").await.unwrap().ct_eq(secret.expose()));
        roots.still_good(&wrapped).unwrap();
        clock.0.store(901, Ordering::SeqCst);
        assert_eq!(roots.still_good(&wrapped).unwrap_err().code(), Code::RootUnavailable);
        // An answer counts from when it was asked for, and an older one takes nothing away.
        roots.note(&name("cloud"), Duration::from_secs(500));
        roots.note(&name("cloud"), Duration::from_secs(400));
        clock.0.store(1400, Ordering::SeqCst);
        roots.still_good(&wrapped).unwrap();
        clock.0.store(1401, Ordering::SeqCst);
        assert_eq!(roots.still_good(&wrapped).unwrap_err().code(), Code::RootUnavailable);
    }

    #[tokio::test]
    async fn a_root_that_is_closed_is_no_alternative_to_a_stale_one() {
        let directory = tempfile::tempdir().unwrap();
        let (roots, clock, random) = cloud_and_people(&directory).await;
        let either = RootUse::new(Need::Any, [name("cloud"), name("people")].into()).unwrap();
        let wrapped = roots.wrap(&either, b"here", &SecretBytes::copy_from(&[7; 32]), &random).await.unwrap();
        clock.0.store(901, Ordering::SeqCst);
        roots.still_good(&wrapped).unwrap();
        roots.get(&name("people")).unwrap().seal().await;
        assert_eq!(roots.still_good(&wrapped).unwrap_err().code(), Code::RootUnavailable);
        roots.note(&name("cloud"), Duration::from_secs(901));
        roots.still_good(&wrapped).unwrap();
    }

    #[tokio::test]
    async fn nothing_comes_under_a_root_that_does_not_give_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let random = Random::from_module().unwrap();
        let secret = SecretBytes::copy_from(&[7; 32]);
        let open = async |file: &str| {
            let root = SealedFileRoot::new(directory.path().join(file), random.clone());
            root.initialise(0, 0).await.unwrap();
            Arc::new(FaultyRoot::new(Arc::new(root)))
        };
        let (well, ill) = (open("a.key").await, open("b.key").await);
        // The one that lies is asked last: what opens before it does not answer for it.
        let all = [(name("a"), Arc::clone(&well) as Arc<dyn Root>), (name("b"), Arc::clone(&ill) as _)];
        let clock = Arc::new(HandClock(AtomicI64::new(0)));
        let roots = Roots::new(all.into(), clock as _).unwrap();
        for need in [Need::Any, Need::All] {
            let both = RootUse::new(need, [name("a"), name("b")].into()).unwrap();
            ill.lie(true);
            let refused = roots.wrap(&both, b"here", &secret, &random).await.unwrap_err();
            assert_eq!(refused.code(), Code::RootUnavailable);
            assert!(refused.to_string().contains("`b`"), "{refused}");
            ill.lie(false);
            let wrapped = roots.wrap(&both, b"here", &secret, &random).await.unwrap();
            assert!(roots.unwrap(&wrapped, b"here").await.unwrap().ct_eq(secret.expose()));
        }
    }
}
