//! AWS KMS: a symmetric key there, used through `Encrypt` and `Decrypt` with an encryption context.
//!
//! Requests are made and signed, and credentials found, by Amazon's SDK: environment, profile, web identity (IRSA),
//! container and instance (IMDSv2) in its order, or only what one credentials file says. The way to the network is ours
//! (`connector.rs`): one TLS library, bounded answers, no proxies. The SDK's own retries are off; see the crate.

mod connector;
mod trouble;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_kms::Client;
use aws_sdk_kms::types::{EncryptionAlgorithmSpec, KeySpec, KeyState, KeyUsageType};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_types::Blob;
use keyreeve_secret::{SecretArray, SecretBytes};
use tokio::sync::Mutex;

use crate::http::Https;
use crate::{Bound, RemoteError, RemoteWrap, WallClock};
use connector::{Clock, Connector};
use trouble::{Sorted, sort};

/// The name of what is bound, in the encryption context. It stands in CloudTrail with a hash as its value.
const CONTEXT: &str = "keyreeve";

/// The kind of root.
pub const KIND: &str = "aws-kms";

/// Which key, and how it is reached.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// The key: its ARN, an alias' ARN, or `alias/NAME` in the region.
    pub key: String,
    /// The region; that of the ARN, or the SDK's (environment, profile), unless said.
    pub region: Option<String>,
    /// Another endpoint than the region's: a VPC endpoint of its own name.
    pub endpoint: Option<String>,
    /// Credentials come from this file only, in the form of `~/.aws/credentials`, profile `default`.
    pub credentials_file: Option<PathBuf>,
    /// Authorities (PEM) to trust instead of the system's.
    pub authorities_pem: Option<Vec<u8>>,
}

/// AWS KMS.
pub struct AwsKms {
    settings: AwsSettings,
    clock: WallClock,
    /// Kept as long as its credentials are accepted: what replaces them is read by a new one.
    client: Mutex<Option<Arc<Client>>>,
}

/// The parts of an ARN that say where a key is and which (`arn:PARTITION:kms:REGION:ACCOUNT:key/ID`).
struct Arn<'a> {
    region: &'a str,
    is_key: bool,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (prefix, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = prefix == "arn" && service == "kms" && !region.is_empty();
        let named = |kind: &str| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty());
        let is_key = named("key/");
        (fits && (is_key || named("alias/"))).then_some(Self { region, is_key })
    }
}

impl AwsSettings {
    /// Whether the key is named in one of the forms that last.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        let alias = self.key.strip_prefix("alias/").is_some_and(|name| !name.is_empty());
        match (Arn::parse(&self.key), &self.region) {
            (Some(arn), Some(region)) if arn.region != region => Err("the key is in another region than `region` says"),
            (Some(_), _) => Ok(()),
            (None, _) if alias => Ok(()),
            (None, _) => Err("a key is named by its ARN, by an alias' ARN, or by `alias/NAME`"),
        }
    }
}

impl AwsKms {
    /// Nothing is asked or read before the first request.
    #[must_use]
    pub fn new(settings: AwsSettings, clock: WallClock) -> Self {
        Self { settings, clock, client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Arc<Client>, RemoteError> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let client = Arc::new(self.connect().await?);
        *held = Some(client.clone());
        Ok(client)
    }

    async fn connect(&self) -> Result<Client, RemoteError> {
        self.settings.check().map_err(|what| RemoteError::Malformed(what.to_owned()))?;
        let https = Https::new(self.settings.authorities_pem.as_deref())?.with_plain_loopback();
        if let Some(endpoint) = &self.settings.endpoint {
            https.address(endpoint)?;
        }
        let (connector, clock) = (Connector::new(https), Clock(self.clock.clone()));
        let in_key = Arn::parse(&self.settings.key).map(|arn| arn.region.to_owned());
        let region = self.settings.region.clone().or(in_key).map(Region::new);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(connector.clone())
            .time_source(clock.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = region.clone() {
            loader = loader.region(region);
        }
        if let Some(endpoint) = &self.settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(file) = &self.settings.credentials_file {
            let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file).build();
            let config = ProviderConfig::empty()
                .with_behavior_version(Some(BehaviorVersion::latest()))
                .with_http_client(connector)
                .with_time_source(clock)
                .with_sleep_impl(TokioSleep::new())
                .with_region(region);
            let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_files(files);
            loader = loader.credentials_provider(provider.profile_name("default").build());
        }
        let config = loader.load().await;
        if config.region().is_none() {
            let what = "no region: name it in `region`, or give the key as an ARN";
            return Err(RemoteError::Malformed(what.to_owned()));
        }
        Ok(Client::new(&config))
    }

    /// What a failed request means. Credentials that were not accepted are not used again: the next request finds new
    /// ones, if there are any.
    async fn heed(&self, client: &Arc<Client>, sorted: Sorted) -> RemoteError {
        if sorted.credentials {
            let mut held = self.client.lock().await;
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, client)) {
                *held = None;
            }
        }
        sorted.error
    }

    /// Asks with the credentials at hand, and once more with newly read ones if those are not accepted (any more).
    async fn with_credentials<T, F>(&self, ask: impl Fn(&Client) -> F + Send + Sync) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, Sorted>> + Send,
    {
        let client = self.client().await?;
        let sorted = match ask(&client).await {
            Ok(answer) => return Ok(answer),
            Err(sorted) => sorted,
        };
        let again = sorted.credentials;
        let error = self.heed(&client, sorted).await;
        if !again {
            return Err(error);
        }
        let client = self.client().await?;
        match ask(&client).await {
            Ok(answer) => Ok(answer),
            Err(sorted) => Err(self.heed(&client, sorted).await),
        }
    }
}

#[async_trait]
impl RemoteWrap for AwsKms {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn resolve(&self) -> Result<String, RemoteError> {
        let named = &self.settings.key;
        let ask = |client: &Client| {
            let request = client.describe_key().key_id(named);
            async move { request.send().await.map_err(|error| sort(&error)) }
        };
        let described = self.with_credentials(ask).await?.key_metadata;
        let described = described.ok_or_else(|| RemoteError::Malformed("it does not describe the key".to_owned()))?;
        let refused = |what: &str| Err(RemoteError::Refused(what.to_owned()));
        if described.key_usage != Some(KeyUsageType::EncryptDecrypt) {
            return refused("the key is not for encrypting: make one with the usage ENCRYPT_DECRYPT");
        }
        if described.key_spec != Some(KeySpec::SymmetricDefault) {
            return refused("the key is not symmetric: make one with the spec SYMMETRIC_DEFAULT");
        }
        if described.key_state != Some(KeyState::Enabled) {
            return refused("the key is not enabled");
        }
        match described.arn {
            Some(arn) if Arn::parse(&arn).is_some_and(|arn| arn.is_key) => Ok(arn),
            _ => Err(RemoteError::Malformed("it does not name the key's ARN".to_owned())),
        }
    }

    async fn means(&self, recorded: &str) -> Result<bool, RemoteError> {
        // A key's ARN says it all; whether the key works is seen when it unwraps.
        match Arn::parse(&self.settings.key) {
            Some(arn) if arn.is_key => Ok(self.settings.key == recorded),
            _ => Ok(self.resolve().await? == recorded),
        }
    }

    async fn wrap(&self, recorded: &str, bound: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError> {
        let context = context(bound);
        let ask = |client: &Client| {
            // What the SDK copies of it cannot be wiped from outside.
            let request = client.encrypt().key_id(recorded).plaintext(Blob::new(key.expose().as_slice()));
            let request = request.encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault);
            let request = request.set_encryption_context(Some(context.clone()));
            async move { request.send().await.map_err(|error| sort(&error)) }
        };
        let answer = self.with_credentials(ask).await?;
        is_by(answer.key_id.as_deref(), recorded)?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner).filter(|wrapped| !wrapped.is_empty());
        wrapped.ok_or_else(|| RemoteError::Malformed("its answer has no ciphertext".to_owned()))
    }

    async fn unwrap(&self, recorded: &str, bound: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError> {
        let context = context(bound);
        let ask = |client: &Client| {
            // The key is named, though the ciphertext names it too: KMS refuses what another key encrypted.
            let request = client.decrypt().key_id(recorded).ciphertext_blob(Blob::new(wrapped));
            let request = request.encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault);
            let request = request.set_encryption_context(Some(context.clone()));
            async move { request.send().await.map_err(|error| sort(&error)) }
        };
        let answer = self.with_credentials(ask).await?;
        is_by(answer.key_id.as_deref(), recorded)?;
        let plain = answer.plaintext.map(|plain| SecretBytes::from_vec(plain.into_inner()));
        plain.and_then(|plain| plain.to_array().ok()).ok_or(RemoteError::Unwrap)
    }
}

fn context(bound: &Bound) -> HashMap<String, String> {
    HashMap::from([(CONTEXT.to_owned(), hex::encode(bound))])
}

fn is_by(answered: Option<&str>, recorded: &str) -> Result<(), RemoteError> {
    let same = answered == Some(recorded);
    if same { Ok(()) } else { Err(RemoteError::Malformed("it used another key than it was asked to".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(key: &str, region: Option<&str>) -> Result<(), &'static str> {
        let (key, region) = (key.to_owned(), region.map(str::to_owned));
        AwsSettings { key, region, endpoint: None, credentials_file: None, authorities_pem: None }.check()
    }

    #[test]
    fn keys_are_named_by_what_lasts() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        for fits in [arn, "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/keyreeve", "alias/keyreeve"] {
            assert_eq!(checked(fits, None), Ok(()), "{fits}");
        }
        let not = [
            "",
            "keyreeve",
            "alias/",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-central-1:111122223333:key/",
            "arn:aws:kms::111122223333:key/1234",
            "arn:aws:s3:eu-central-1:111122223333:key/1234",
        ];
        for not in not {
            assert!(checked(not, None).is_err(), "{not}");
        }
        assert_eq!(checked(arn, Some("eu-central-1")), Ok(()));
        assert!(checked(arn, Some("us-east-1")).is_err());
    }
}
