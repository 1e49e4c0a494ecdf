//! A root of trust that fails on demand, for testing what callers do then.

use async_trait::async_trait;
use keyreeve_model::{Custody, UnixMillis};
use keyreeve_secret::{SecretBytes, SecretString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::soft_device::SoftDevice;
use crate::{Exchanging, Gathering, Initialised, KeyDevice, Root, RootError, SealStatus, ShareSet};

/// Wraps a root; while it is [lost](Self::lose), whatever needs the root's key fails as a device does that was pulled
/// out.
pub struct FaultyRoot {
    inner: Arc<dyn Root>,
    lost: AtomicBool,
    lies: AtomicBool,
    heard: Mutex<Vec<SecretString>>,
    custody: Custody,
    bound: Option<Duration>,
    device: Option<Arc<SoftDevice>>,
}

impl FaultyRoot {
    /// Without faults so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Root>) -> Self {
        let (custody, bound) = (inner.custody(), inner.bound());
        Self {
            inner,
            lost: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            heard: Mutex::default(),
            custody,
            bound,
            device: None,
        }
    }

    /// As if it kept its key elsewhere, and answered for so long only.
    #[must_use]
    pub fn posing_as(mut self, custody: Custody, bound: Option<Duration>) -> Self {
        (self.custody, self.bound) = (custody, bound);
        self
    }

    /// With a device behind it.
    #[must_use]
    pub fn with_device(mut self, device: Arc<SoftDevice>) -> Self {
        self.device = Some(device);
        self
    }

    /// From now on it does not answer, or answers again.
    pub fn lose(&self, lost: bool) {
        self.lost.store(lost, Ordering::SeqCst);
    }

    /// From now on it wraps something else than it is given, without a word, as a device with a fault does; or does its
    /// work again.
    pub fn lie(&self, lies: bool) {
        self.lies.store(lies, Ordering::SeqCst);
    }

    /// The shares of the last set that was made: what its holders decrypt, for tests that are about something else.
    pub fn heard(&self) -> Vec<SecretString> {
        self.heard.lock().unwrap().iter().map(SecretString::duplicate).collect()
    }

    fn answers(&self) -> Result<(), RootError> {
        let lost = self.lost.load(Ordering::SeqCst);
        if lost { Err(RootError::Unavailable("injected".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Root for FaultyRoot {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn custody(&self) -> Custody {
        self.custody
    }

    fn bound(&self) -> Option<Duration> {
        self.bound
    }

    async fn configure(&self, public: &serde_json::Value) -> Result<(), RootError> {
        self.answers()?;
        self.inner.configure(public).await
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        self.answers()?;
        let made = self.inner.initialise(shares, threshold).await?;
        *self.heard.lock().unwrap() = made.shares.iter().map(SecretString::duplicate).collect();
        Ok(made)
    }

    fn status(&self) -> SealStatus {
        self.inner.status()
    }

    async fn unseal(&self, share: &SecretString) -> Result<SealStatus, RootError> {
        self.answers()?;
        self.inner.unseal(share).await
    }

    async fn seal(&self) {
        self.inner.seal().await;
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        self.answers()?;
        if self.lies.load(Ordering::SeqCst) {
            let other: Vec<u8> = secret.expose().iter().map(|byte| !byte).collect();
            return self.inner.wrap(context, &SecretBytes::copy_from(&other)).await;
        }
        self.inner.wrap(context, secret).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        self.answers()?;
        self.inner.unwrap(context, wrapped).await
    }

    async fn check(&self) -> Result<(), RootError> {
        self.answers()?;
        self.inner.check().await
    }

    fn device(&self) -> Option<Arc<dyn KeyDevice>> {
        match &self.device {
            Some(device) => Some(Arc::clone(device) as Arc<dyn KeyDevice>),
            None => self.inner.device(),
        }
    }

    fn share_set(&self) -> Option<ShareSet> {
        self.inner.share_set()
    }

    async fn disown(&self) {
        self.inner.disown().await;
    }

    fn pin_refused(&self) -> bool {
        self.inner.pin_refused()
    }

    async fn exchange_share(&self, exchange: Exchanging, share: &SecretString) -> Result<Gathering, RootError> {
        self.answers()?;
        let gathered = self.inner.exchange_share(exchange, share).await?;
        if let Gathering::Made(new) = &gathered {
            *self.heard.lock().unwrap() = new.shares.iter().map(SecretString::duplicate).collect();
        }
        Ok(gathered)
    }

    fn exchange_given(&self) -> u8 {
        self.inner.exchange_given()
    }

    async fn forget_shares(&self) {
        self.inner.forget_shares().await;
    }

    fn replacement(&self, public: &serde_json::Value, at: UnixMillis) -> Result<serde_json::Value, RootError> {
        self.answers()?;
        self.inner.replacement(public, at)
    }

    async fn adopt_shares(&self, public: &serde_json::Value) -> Result<(), RootError> {
        self.inner.adopt_shares(public).await
    }
}
