//! Access tokens: kept, renewed before their end, asked for once however many callers need one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyreeve_secret::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::RemoteError;

/// A token is renewed this long before its end, or at half of its life if that is less.
const BEFORE_END: Duration = Duration::from_secs(300);

/// Where tokens come from.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Asks for one.
    async fn ask(&self) -> Result<Token, RemoteError>;
}

/// A token and how long it holds.
#[derive(Debug)]
pub struct Token {
    /// The token.
    pub text: SecretString,
    /// From now.
    pub lifetime: Duration,
}

/// The token of one service.
pub struct Tokens<S> {
    source: S,
    held: Mutex<Option<Held>>,
}

struct Held {
    text: Arc<SecretString>,
    renew: Instant,
    end: Instant,
}

impl<S: TokenSource> Tokens<S> {
    /// Nothing is asked for before it is needed.
    pub fn new(source: S) -> Self {
        Self { source, held: Mutex::new(None) }
    }

    /// A token that holds now. When a new one cannot be had for now, the old one serves to its end.
    ///
    /// # Errors
    /// Those of [`TokenSource::ask`].
    pub async fn get(&self) -> Result<Arc<SecretString>, RemoteError> {
        // Held while asking: whoever comes meanwhile waits for the same answer.
        let mut held = self.held.lock().await;
        let now = Instant::now();
        if let Some(held) = held.as_ref().filter(|held| now < held.renew) {
            return Ok(held.text.clone());
        }
        match self.source.ask().await {
            Ok(token) => Ok(held.insert(Held::from(token)).text.clone()),
            Err(error) => match held.as_ref().filter(|held| now < held.end && error.is_passing()) {
                Some(held) => Ok(held.text.clone()),
                None => Err(error),
            },
        }
    }

    /// Forgets a token that the service did not accept, unless it was replaced already.
    pub async fn forget(&self, refused: &Arc<SecretString>) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.text, refused)) {
            *held = None;
        }
    }
}

impl From<Token> for Held {
    fn from(token: Token) -> Self {
        let now = Instant::now();
        // Longer than any service gives; keeps the sum within what the clock can say.
        let lifetime = token.lifetime.min(Duration::from_secs(7 * 24 * 3600));
        let renew = now + lifetime.saturating_sub(BEFORE_END).max(lifetime / 2);
        Self { text: Arc::new(token.text), renew, end: now + lifetime }
    }
}
