//! Access tokens of Google: from a service account's key (RFC 7523), from another provider's token in a file (RFC 8693,
//! workload identity federation), or from the metadata server of the machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{KeyAlgorithm, Message, Purpose, SignatureScheme, pem};
use keyreeve_model::UnixMillis;
use keyreeve_secret::SecretString;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::Credentials;
use crate::http::{Answer, Form, Https, code, secret_header, send};
use crate::token::{Token, TokenSource};
use crate::{RemoteError, WallClock, read_secret};

/// What the token is good for: Cloud KMS only.
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";
/// What the exchange of tokens insists on, before a narrower one can be asked for with it.
const WIDE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The metadata server, by its address: a name may be anybody's, and there is no TLS.
const METADATA: &str = "http://169.254.169.254";
/// How long an assertion holds, and a token that is asked for by impersonation.
const LIFE: Duration = Duration::from_secs(3600);

/// Where the tokens come from.
pub(super) struct Access {
    credentials: Credentials,
    https: Https,
    clock: WallClock,
    random: Random,
    metadata: Url,
}

/// The file, in Google's form. Members that are of no use here are left alone.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount { client_email: String, private_key_id: String, private_key: String, token_uri: String },
    ExternalAccount(ExternalAccount),
}

#[derive(Deserialize)]
struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: CredentialSource,
}

#[derive(Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    #[serde(default)]
    format: Format,
}

/// Whether the file holds the token, or a JSON object with it.
#[derive(Deserialize, Default)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Format {
    #[default]
    Text,
    Json {
        subject_token_field_name: String,
    },
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: u64,
}

/// RFC 6749, section 5.2; the description is not repeated.
#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

/// `generateAccessToken` of the IAM credentials interface.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

impl Access {
    pub(super) fn new(
        credentials: Credentials,
        https: Https,
        clock: WallClock,
        random: Random,
    ) -> Result<Self, RemoteError> {
        let metadata = match &credentials {
            Credentials::Metadata(Some(address)) => https.address(address)?,
            Credentials::Metadata(None) | Credentials::File(_) => {
                METADATA.parse().map_err(|_| RemoteError::Malformed("the address of the metadata server".to_owned()))?
            }
        };
        Ok(Self { credentials, https, clock, random, metadata })
    }

    async fn of_file(&self, path: &Path) -> Result<Token, RemoteError> {
        let text = read_secret(path)?;
        match parse(path, &text)? {
            File::ServiceAccount { client_email, private_key_id, private_key, token_uri } => {
                let key = SecretString::from(private_key);
                let url = self.https.address(&token_uri)?;
                let claims = json!({
                    "iss": client_email, "scope": SCOPE, "aud": token_uri, "iat": self.seconds(),
                    "exp": self.seconds() + LIFE.as_secs(),
                });
                let head = json!({ "alg": "RS256", "typ": "JWT", "kid": private_key_id });
                let assertion = sign(&self.random, &key, &head.to_string(), &claims.to_string())?;
                let form = Form::default()
                    .pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                    .pair("assertion", assertion.expose());
                self.grant(url, form).await
            }
            File::ExternalAccount(account) => self.federated(account).await,
        }
    }

    async fn federated(&self, account: ExternalAccount) -> Result<Token, RemoteError> {
        let Some(file) = &account.credential_source.file else {
            let what = "the credential source is not a file; others are not supported";
            return Err(RemoteError::Refused(what.to_owned()));
        };
        let subject = subject(file, read_secret(file)?, &account.credential_source.format)?;
        let form = Form::default()
            .pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .pair("audience", &account.audience)
            .pair("scope", if account.service_account_impersonation_url.is_some() { WIDE } else { SCOPE })
            .pair("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
            .pair("subject_token", subject.expose())
            .pair("subject_token_type", &account.subject_token_type);
        let token = self.grant(self.https.address(&account.token_url)?, form).await?;
        match &account.service_account_impersonation_url {
            None => Ok(token),
            Some(url) => self.impersonate(self.https.address(url)?, &token.text).await,
        }
    }

    async fn grant(&self, url: Url, form: Form) -> Result<Token, RemoteError> {
        let request = self.https.client().post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        token(&send(request.body(form.body())).await?)
    }

    async fn impersonate(&self, url: Url, bearer: &SecretString) -> Result<Token, RemoteError> {
        let wanted = json!({ "scope": [SCOPE], "lifetime": format!("{}s", LIFE.as_secs()) });
        let request = self.https.client().post(url).header(CONTENT_TYPE, "application/json");
        let request = request.header(AUTHORIZATION, secret_header("Bearer ", bearer.expose())?);
        let answer = send(request.body(wanted.to_string())).await?;
        if answer.status != StatusCode::OK {
            return Err(super::answer::refusal(&answer, false));
        }
        let Impersonated { access_token, expire_time } = answer.json()?;
        let text = SecretString::from(access_token);
        let wrong = || RemoteError::Malformed("the token's end is no time of RFC 3339".to_owned());
        let end = UnixMillis::parse_rfc3339(&expire_time).ok_or_else(wrong)?.0 / 1000;
        let left = u64::try_from(end).unwrap_or_default().saturating_sub(self.seconds());
        Ok(Token { text, lifetime: Duration::from_secs(left) })
    }

    async fn of_machine(&self) -> Result<Token, RemoteError> {
        let mut url = self.metadata.clone();
        url.set_path("/computeMetadata/v1/instance/service-accounts/default/token");
        let request = self.https.client().get(url).header("Metadata-Flavor", "Google");
        token(&send(request).await?)
    }

    /// Since 1970.
    fn seconds(&self) -> u64 {
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

#[async_trait]
impl TokenSource for Access {
    async fn ask(&self) -> Result<Token, RemoteError> {
        match &self.credentials {
            Credentials::File(path) => self.of_file(path).await,
            Credentials::Metadata(_) => self.of_machine().await,
        }
    }
}

/// Checks a file of credentials without asking anybody.
///
/// # Errors
/// [`RemoteError::Refused`]: what is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), RemoteError> {
    match parse(path, &read_secret(path)?)? {
        File::ServiceAccount { private_key, .. } => load(&SecretString::from(private_key)).map(drop),
        File::ExternalAccount(account) => match account.credential_source.file {
            Some(_) => Ok(()),
            None => Err(RemoteError::Refused("the credential source is not a file".to_owned())),
        },
    }
}

fn parse(path: &Path, text: &SecretString) -> Result<File, RemoteError> {
    serde_json::from_str(text.expose()).map_err(|error| {
        let (path, line, column) = (path.display(), error.line(), error.column());
        RemoteError::Refused(format!(
            "{path} (line {line}, column {column}) is neither the key of a service account nor an external account in \
             Google's JSON form; the credentials of a person are not accepted"
        ))
    })
}

fn subject(path: &Path, text: SecretString, format: &Format) -> Result<SecretString, RemoteError> {
    let Format::Json { subject_token_field_name } = format else { return Ok(text) };
    let missing = || RemoteError::Refused(format!("{} has no text {subject_token_field_name:?}", path.display()));
    let mut found: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text.expose()).map_err(|_| missing())?;
    match found.remove(subject_token_field_name) {
        Some(serde_json::Value::String(token)) => Ok(SecretString::from(token)),
        _ => Err(missing()),
    }
}

fn token(answer: &Answer) -> Result<Token, RemoteError> {
    if answer.status != StatusCode::OK {
        let said = answer.json::<TokenRefusal>().ok().and_then(|refusal| code(&refusal.error));
        return Err(match answer.refusal(said) {
            RemoteError::Refused(what) => RemoteError::Refused(format!("no access token: {what}")),
            other => other,
        });
    }
    let TokenAnswer { access_token, expires_in } = answer.json()?;
    Ok(Token { text: SecretString::from(access_token), lifetime: Duration::from_secs(expires_in) })
}

/// A token in the compact form (RFC 7515), signed with RS256.
fn sign(random: &Random, key: &SecretString, head: &str, claims: &str) -> Result<SecretString, RemoteError> {
    let code = |text: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
    let signed = format!("{}.{}", code(head.as_bytes()), code(claims.as_bytes()));
    let signature = load(key)?.sign(random, SignatureScheme::RsaPkcs1Sha256, Message::Raw(signed.as_bytes()));
    let signature = signature.map_err(|error| RemoteError::Refused(format!("the assertion: {error}")))?;
    Ok(SecretString::from(format!("{signed}.{}", code(&signature))))
}

/// An RSA key in PKCS #8 and PEM (RFC 7468), of the sizes there are.
fn load(text: &SecretString) -> Result<LoadedKey, RemoteError> {
    let unfit = |why: &str| RemoteError::Refused(format!("the private key in the file {why}"));
    let blocks = pem::decode("PRIVATE KEY", text.expose()).map_err(|_| unfit("is not PKCS #8 in PEM form"))?;
    let [der] = blocks.as_slice() else { return Err(unfit("is not one key")) };
    let sizes = [KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096];
    let material = sizes.into_iter().find_map(|size| Material::import(size, der).ok());
    let material = material.ok_or_else(|| unfit("is no RSA key of 2048, 3072 or 4096 bits"))?;
    LoadedKey::load(&material, Purpose::Sign).map_err(|_| unfit("cannot be loaded"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(algorithm: KeyAlgorithm) -> SecretString {
        let der = Material::generate(algorithm, &Random::from_module().unwrap()).unwrap().serialize();
        pem::encode("PRIVATE KEY", der.expose()).into()
    }

    #[test]
    fn an_assertion_verifies_with_the_public_key() {
        let (random, key) = (Random::from_module().unwrap(), key(KeyAlgorithm::Rsa2048));
        let token = sign(&random, &key, r#"{"alg":"RS256"}"#, r#"{"iss":"a"}"#).unwrap();
        let (signed, signature) = token.expose().rsplit_once('.').unwrap();
        assert_eq!(signed, "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0");
        let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
        let key = load(&key).unwrap();
        let (scheme, signed) = (SignatureScheme::RsaPkcs1Sha256, Message::Raw(signed.as_bytes()));
        key.verify(scheme, signed, &signature).unwrap();
    }

    #[test]
    fn only_rsa_keys_in_pkcs8_are_keys() {
        assert!(load(&key(KeyAlgorithm::EcP256)).unwrap_err().to_string().contains("no RSA key"));
        assert!(load(&SecretString::copy_from("")).is_err());
        for text in ["MTIz", "-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----"] {
            assert!(load(&SecretString::copy_from(text)).unwrap_err().to_string().contains("PKCS #8"), "{text}");
        }
    }

    #[test]
    fn files_of_other_kinds_are_refused_and_not_quoted() {
        let path = Path::new("/etc/keyreeve/google.json");
        for text in [
            r#"{"type":"authorized_user","client_id":"x","client_secret":"canary","refresh_token":"canary"}"#,
            r#"{"type":"service_account","client_email":"a@b","private_key":"canary"}"#,
            "canary",
        ] {
            let refused = parse(path, &SecretString::copy_from(text)).err().unwrap().to_string();
            assert!(refused.contains("google.json") && !refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn a_subject_token_is_the_file_or_a_text_in_it() {
        let path = Path::new("/run/token");
        let file = || SecretString::copy_from(r#"{"access_token":"abc","n":1}"#);
        assert!(subject(path, file(), &Format::Text).unwrap().ct_eq(file().expose()));
        let of = |name: &str| Format::Json { subject_token_field_name: name.to_owned() };
        assert!(subject(path, file(), &of("access_token")).unwrap().ct_eq("abc"));
        for name in ["n", "other"] {
            assert!(subject(path, file(), &of(name)).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in ".*") {
            let text = SecretString::copy_from(&text);
            prop_assert!(parse(Path::new("x"), &text).is_err());
            prop_assert!(load(&text).is_err());
        }
    }
}
