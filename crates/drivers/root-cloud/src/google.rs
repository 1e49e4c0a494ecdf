//! Google Cloud KMS as root of trust, over its REST interface (`projects.locations.keyRings.cryptoKeys`, version 1).
//!
//! Only `encrypt` and `decrypt` are called, so the service account needs
//! `cloudkms.cryptoKeyVersions.useToEncrypt` and `useToDecrypt` on the one key and nothing else. What a root binds goes
//! along as additional authenticated data. Both directions carry CRC-32C checksums, which are verified on answers and
//! asked to be verified by the service, as Google's guide "Data integrity guidelines" wants it: what was damaged on the
//! way is neither stored nor used.

mod access;
mod answer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{StatusCode, Url};

use crate::http::{Answer, Https, secret_header, send};
use crate::token::Tokens;
use crate::{Bound, RemoteError, RemoteWrap, WallClock};

use access::Access;
use answer::{Decrypted, Encrypted};

/// Where Cloud KMS is when the configuration does not name a regional or private endpoint.
pub const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// What is asked for with [`RemoteWrap::resolve`]: a value of no importance under this name.
const PROBE: &[u8] = b"keyreeve asks which key this is";

/// How a server proves to Google who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A file in Google's JSON form: a service account's key, or workload identity federation (`external_account`) with
    /// a token in a file. Read anew at each use.
    File(PathBuf),
    /// The metadata server of the machine or pod it runs on; at another address than Google's for tests only.
    Metadata(Option<String>),
}

/// Which key, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleOptions {
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub key: String,
    /// Who asks.
    pub credentials: Credentials,
    /// Instead of [`ENDPOINT`].
    pub endpoint: Option<String>,
}

/// One key of Cloud KMS.
pub struct GoogleKms {
    https: Https,
    endpoint: Url,
    key: String,
    tokens: Tokens<Access>,
}

impl GoogleKms {
    /// Nothing is asked before it is needed.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: the key's name or the address is none.
    pub fn new(options: GoogleOptions, https: Https, clock: WallClock, random: Random) -> Result<Self, RemoteError> {
        let endpoint = https.address(options.endpoint.as_deref().unwrap_or(ENDPOINT))?;
        check_key(&options.key)?;
        let access = Access::new(options.credentials, https.clone(), clock, random)?;
        Ok(Self { https, endpoint, key: options.key, tokens: Tokens::new(access) })
    }

    /// One operation on the key; once more with a fresh token if the one at hand is not accepted any longer.
    async fn ask(&self, key: &str, verb: &str, body: &SecretBytes) -> Result<Answer, RemoteError> {
        let token = self.tokens.get().await?;
        let answer = self.once(key, verb, body, token.expose()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.tokens.forget(&token).await;
        let token = self.tokens.get().await?;
        self.once(key, verb, body, token.expose()).await
    }

    async fn once(&self, key: &str, verb: &str, body: &SecretBytes, token: &str) -> Result<Answer, RemoteError> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v1/{key}:{verb}"));
        let request = self.https.client().post(url);
        let request = request.header(AUTHORIZATION, secret_header("Bearer ", token)?);
        let body = body.duplicate().declassify("the body of a request over TLS");
        send(request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    async fn encrypt(&self, key: &str, plain: &[u8], bound: &[u8]) -> Result<Encrypted, RemoteError> {
        let body = body("plaintext", plain, bound);
        let answer = self.ask(key, "encrypt", &body).await?;
        if answer.status != StatusCode::OK {
            return Err(answer::refusal(&answer, false));
        }
        let encrypted = Encrypted::read(&answer)?;
        let names_version =
            |rest: &str| rest.strip_prefix("/cryptoKeyVersions/").is_some_and(|version| !version.is_empty());
        if !encrypted.version.strip_prefix(&encrypted.key).is_some_and(names_version) {
            return Err(RemoteError::Malformed("its answer does not name the version of the key".to_owned()));
        }
        Ok(encrypted)
    }
}

#[async_trait]
impl RemoteWrap for GoogleKms {
    fn kind(&self) -> &'static str {
        "google-kms"
    }

    /// The name of the key as the service says it, without the version: asking for it needs no right but those that
    /// are needed anyhow.
    async fn resolve(&self) -> Result<String, RemoteError> {
        Ok(self.encrypt(&self.key, PROBE, PROBE).await?.key)
    }

    async fn wrap(&self, recorded: &str, bound: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError> {
        let encrypted = self.encrypt(recorded, key.expose(), bound).await?;
        if encrypted.key != recorded {
            return Err(RemoteError::Malformed("it used another key than it was asked to".to_owned()));
        }
        Ok(encrypted.ciphertext)
    }

    async fn unwrap(&self, recorded: &str, bound: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError> {
        let answer = self.ask(recorded, "decrypt", &body("ciphertext", wrapped, bound)).await?;
        if answer.status != StatusCode::OK {
            return Err(answer::refusal(&answer, true));
        }
        let plain = Decrypted::read(&answer)?.plaintext;
        SecretArray::copy_from(plain.expose()).map_err(|_| RemoteError::Unwrap)
    }
}

/// The body of both operations: what is worked on, what is bound to it, and the checksums of both. Checksums are 64-bit
/// numbers in Google's JSON, and those are texts.
fn body(name: &str, content: &[u8], bound: &[u8]) -> SecretBytes {
    let mut body = SecretBuffer::with_capacity(512 + content.len() * 2);
    let mut member = |name: &str, sum: &str, bytes: &[u8]| {
        let text = SecretBytes::from_vec(base64_simd::STANDARD.encode_to_string(bytes).into_bytes());
        let crc = crc32c::crc32c(bytes).to_string();
        let parts: [&[u8]; 9] = [
            b"\"",
            name.as_bytes(),
            b"\":\"",
            text.expose(),
            b"\",\"",
            sum.as_bytes(),
            b"\":\"",
            crc.as_bytes(),
            b"\"",
        ];
        body.push(if body.is_empty() { b'{' } else { b',' });
        parts.iter().for_each(|part| body.extend_from_slice(part));
    };
    member(name, &format!("{name}Crc32c"), content);
    member("additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c", bound);
    body.push(b'}');
    body.finish()
}

/// Whether a text is the full name of a key, which [`GoogleKms::new`] checks.
///
/// # Errors
/// [`RemoteError::Malformed`].
pub fn check_key(name: &str) -> Result<(), RemoteError> {
    if is_key_name(name) {
        return Ok(());
    }
    let form = "projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version";
    Err(RemoteError::Malformed(format!("the key's name is not of the form {form}")))
}

/// Looks at a file of credentials without asking anybody.
///
/// # Errors
/// [`RemoteError::Refused`]: what is wrong with it.
pub fn check_credentials(path: &Path) -> Result<(), RemoteError> {
    access::check(path)
}

/// Whether a text is the full name of a key. Projects of a domain have a colon in their name.
fn is_key_name(text: &str) -> bool {
    let fits = |part: &str, more: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || more.contains(&byte);
        (1..=63).contains(&part.len()) && part.bytes().all(fits)
    };
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] => {
            fits(project, b".:") && [location, ring, key].into_iter().all(|part| fits(part, b""))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_keys_are_names() {
        let good = "projects/example.com:prod-1/locations/europe-west3/keyRings/keyreeve/cryptoKeys/root_1";
        assert!(is_key_name(good));
        for bad in [
            "",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "/projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/../cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k:encrypt?x",
            "projects/p/locations/l/keyrings/r/cryptoKeys/k",
        ] {
            assert!(!is_key_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_request_is_of_the_documented_form() {
        // CRC-32C of "123456789" is the check value of the polynomial (RFC 3720, appendix B.4 has its kin).
        let text: serde_json::Value = serde_json::from_slice(body("plaintext", b"123456789", b"").expose()).unwrap();
        let wanted = serde_json::json!({
            "plaintext": "MTIzNDU2Nzg5",
            "plaintextCrc32c": 0xe306_9283_u32.to_string(),
            "additionalAuthenticatedData": "",
            "additionalAuthenticatedDataCrc32c": "0",
        });
        assert_eq!(text, wanted);
    }
}
