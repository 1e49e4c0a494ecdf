//! Keys: making, showing, altering, moving through their states; algorithms.

use keyreeve_wire::Page;
use keyreeve_wire::keys::{
    AlgorithmInfo, CompromiseKey, CreateKey, Destruction, Key, KeySummary, PublicKey, Reason, ScheduleDestruction,
    SuspendKey, UpdateKey,
};
use keyreeve_wire::names::{Algorithm, Classification, Protection, Purpose, State};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

/// What a listing of keys is narrowed by; everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Only keys of this keyring.
    pub keyring: Option<String>,
    /// Only keys in this state now.
    pub state: Option<State>,
    /// Only keys of this algorithm.
    pub algorithm: Option<Algorithm>,
    /// Only keys for this purpose.
    pub purpose: Option<Purpose>,
    /// Only keys whose material is there.
    pub protection: Option<Protection>,
    /// Only keys with these labels, each `name=value`.
    pub labels: Vec<String>,
    /// Only keys of this owner.
    pub owner: Option<String>,
    /// Only keys that this system uses.
    pub consumer: Option<String>,
    /// Only keys of this class.
    pub classification: Option<Classification>,
    /// Only keys in whose id, aliases, description, owner or labels this text stands.
    pub text: Option<String>,
}

impl KeyFilter {
    fn query(&self) -> Vec<(&'static str, Option<String>)> {
        let name = |name: &'static str| Some(name.to_owned());
        let mut pairs = vec![
            ("keyring", self.keyring.clone()),
            ("state", self.state.and_then(|state| name(state.name()))),
            ("algorithm", self.algorithm.and_then(|algorithm| name(algorithm.name()))),
            ("purpose", self.purpose.and_then(|purpose| name(purpose.name()))),
            ("protection", self.protection.and_then(|protection| name(protection.name()))),
            ("owner", self.owner.clone()),
            ("consumer", self.consumer.clone()),
            ("classification", self.classification.and_then(|class| name(class.name()))),
            ("text", self.text.clone()),
        ];
        pairs.extend(self.labels.iter().map(|label| ("label", Some(label.clone()))));
        pairs
    }
}

impl Client {
    /// Generates a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_key(&self, new: &CreateKey) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys"], new).await
    }

    /// Shows a key, by id or alias.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn key(&self, key: &str) -> Result<Answer<Key>, ClientError> {
        self.get(&["keys", key], &[]).await
    }

    /// A page of the keys that fit.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(
        &self,
        filter: &KeyFilter,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<KeySummary>>, ClientError> {
        let mut query = filter.query();
        query.extend(page(after, limit));
        self.get(&["keys"], &query).await
    }

    /// Alters a key's metadata.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_key(&self, key: &str, update: &UpdateKey) -> Result<Answer<Key>, ClientError> {
        self.change(Method::PATCH, &["keys", key], update).await
    }

    /// Activates a key or lifts its suspension.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn activate_key(&self, key: &str, reason: &str) -> Result<Answer<Key>, ClientError> {
        self.with_reason(key, "activate", reason).await
    }

    /// Halts all use of a key for a time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn suspend_key(&self, key: &str, suspend: &SuspendKey) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, "suspend"], suspend).await
    }

    /// Ends protection with a key; it still processes what it protected.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deactivate_key(&self, key: &str, reason: &str) -> Result<Answer<Key>, ClientError> {
        self.with_reason(key, "deactivate", reason).await
    }

    /// Records that a key, or one version of it, may be known to others.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn compromise_key(&self, key: &str, compromise: &CompromiseKey) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, "compromise"], compromise).await
    }

    /// Makes a new version of a key; older versions go on processing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_key(&self, key: &str, reason: &str) -> Result<Answer<Key>, ClientError> {
        self.with_reason(key, "rotate", reason).await
    }

    /// Starts the waiting period after which a key may be destroyed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn schedule_destruction(
        &self,
        key: &str,
        schedule: &ScheduleDestruction,
    ) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, "schedule-destruction"], schedule).await
    }

    /// Ends the waiting period; the key is as before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_destruction(&self, key: &str, reason: &str) -> Result<Answer<Key>, ClientError> {
        self.with_reason(key, "cancel-destruction", reason).await
    }

    /// Erases all material of a key whose waiting period is over; [`Client::destruction`] then proves it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn destroy_key(&self, key: &str) -> Result<Answer<Key>, ClientError> {
        self.send(self.call(Method::POST, &["keys", key, "destroy"])?).await
    }

    /// The destruction record of a key, by its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn destruction(&self, key: &str) -> Result<Answer<Destruction>, ClientError> {
        self.get(&["keys", key, "destruction"], &[]).await
    }

    /// The public half of a key version; of the primary one unless said.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn public_key(&self, key: &str, version: Option<u32>) -> Result<Answer<PublicKey>, ClientError> {
        let version = version.map(|version| version.to_string());
        self.get(&["keys", key, "public-key"], &[("version", version)]).await
    }

    /// All algorithms, with strength, status and dates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn algorithms(&self) -> Result<Answer<Page<AlgorithmInfo>>, ClientError> {
        self.get(&["algorithms"], &[]).await
    }

    async fn with_reason(&self, key: &str, verb: &str, reason: &str) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, verb], &Reason { reason: reason.to_owned() }).await
    }
}
