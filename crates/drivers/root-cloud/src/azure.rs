//! Azure Key Vault and Managed HSM: an RSA key there, used through `wrapkey` and `unwrapkey` (RSA-OAEP-256).
//!
//! The REST interface is spoken directly (version 7.4). A key has versions: the one of the day of initialisation is
//! recorded and used from then on, whatever newer ones there are. RSA-OAEP binds nothing besides; that what was wrapped
//! for one place does not open in another is held by the message around it (see the crate).

mod access;
mod answer;

use std::path::PathBuf;

use async_trait::async_trait;
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes, SecretString};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, StatusCode, Url};

use crate::http::{Answer, Https, secret_header, send};
use crate::token::Tokens;
use crate::{Bound, RemoteError, RemoteWrap};
use access::Access;
use answer::{Key, Operation, refusal, wrapped_value};

/// The kind of root.
pub const KIND: &str = "azure-key-vault";

/// The version of the interface.
const API: &str = "7.4";

/// The algorithm, on the wire.
const ALGORITHM: &str = "RSA-OAEP-256";

/// The clouds whose vaults are known, by the ends of their names; tokens are asked for exactly these.
const CLOUDS: [&str; 6] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.azure.net",
    "managedhsm.azure.cn",
    "managedhsm.usgovcloudapi.net",
];

/// Which key, and how it is reached.
#[derive(Clone, Debug)]
pub struct AzureSettings {
    /// The key: `https://VAULT.vault.azure.net/keys/NAME`, with `/VERSION` or without.
    pub key: String,
    /// How the server shows who it is.
    pub login: AzureLogin,
    /// Where tokens come from; `https://login.microsoftonline.com` unless said. Not asked by a managed identity.
    pub authority: Option<String>,
    /// Whom tokens are for, where the vault is not in one of Microsoft's clouds.
    pub resource: Option<String>,
    /// The service of managed identities, where it is not at its usual address: one of this machine.
    pub identity_endpoint: Option<String>,
    /// Authorities (PEM) to trust instead of the system's.
    pub authorities_pem: Option<Vec<u8>>,
}

/// How the server shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureLogin {
    /// An application with a secret.
    Secret {
        /// The tenant, by id or domain.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file with the secret.
        file: PathBuf,
    },
    /// An application that trusts another issuer's tokens (workload identity federation).
    Federated {
        /// The tenant, by id or domain.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file with the token, as others renew it (`AZURE_FEDERATED_TOKEN_FILE`).
        file: PathBuf,
    },
    /// The identity of the machine this runs on.
    Managed {
        /// The client id of a user-assigned identity; the system's unless said.
        client: Option<String>,
    },
}

/// Azure Key Vault.
pub struct AzureKeyVault {
    https: Https,
    named: Named,
    tokens: Tokens<Access>,
}

/// A key's address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// Without path.
    vault: Url,
    name: String,
    version: Option<String>,
}

impl Named {
    fn parse(https: &Https, text: &str) -> Result<Self, RemoteError> {
        let wrong = || {
            let like = "https://VAULT.vault.azure.net/keys/NAME/VERSION";
            RemoteError::Malformed(format!("the key is named as {like}, the version if it is to be a certain one"))
        };
        let url = https.address(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        let mut vault = url.clone();
        vault.set_path("");
        let parts: Vec<&str> = url.path().trim_start_matches('/').split('/').collect();
        let (name, version) = match parts.as_slice() {
            ["keys", name] => (*name, None),
            ["keys", name, version] => (*name, Some(*version)),
            _ => return Err(wrong()),
        };
        // Names have letters, digits and dashes; versions are hexadecimal digits.
        let is_name = |text: &str| {
            (1..=127).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_name(name) || !version.is_none_or(is_name) {
            return Err(wrong());
        }
        Ok(Self { vault, name: name.to_owned(), version: version.map(str::to_owned) })
    }

    fn host(&self) -> String {
        self.vault.host_str().unwrap_or_default().to_ascii_lowercase()
    }

    /// Whom a token for this vault is for: the cloud, which is what follows the vault's own name.
    fn resource(&self) -> Option<String> {
        let host = self.host();
        let (_, cloud) = host.split_once('.')?;
        CLOUDS.contains(&cloud).then(|| format!("https://{cloud}"))
    }

    /// Whether `other` is this key, in any version if none is named.
    fn covers(&self, other: &Self) -> bool {
        let same_place = self.vault == other.vault && self.name.eq_ignore_ascii_case(&other.name);
        same_place && (self.version.is_none() || self.version == other.version)
    }

    fn address(&self, operation: &str) -> Url {
        let mut url = self.vault.clone();
        let version = self.version.as_deref().map(|version| format!("/{version}")).unwrap_or_default();
        url.set_path(&format!("/keys/{}{version}{operation}", self.name));
        url.set_query(Some(&format!("api-version={API}")));
        url
    }

    fn text(&self) -> String {
        let mut url = self.address("");
        url.set_query(None);
        url.into()
    }
}

impl AzureKeyVault {
    /// Reads the settings. Nothing is asked before the first request.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: what is wrong with them.
    pub fn new(settings: AzureSettings) -> Result<Self, RemoteError> {
        let https = Https::new(settings.authorities_pem.as_deref())?.with_plain_loopback();
        let named = Named::parse(&https, &settings.key)?;
        let unknown = || {
            let known = CLOUDS.join(", ");
            RemoteError::Malformed(format!("the vault is in none of {known}: say in `resource` whom tokens are for"))
        };
        let resource = settings.resource.or_else(|| named.resource()).ok_or_else(unknown)?;
        let access =
            Access::new(https.clone(), settings.login, resource, settings.authority, settings.identity_endpoint)?;
        Ok(Self { https, named, tokens: Tokens::new(access) })
    }

    fn recorded(&self, recorded: &str) -> Result<Named, RemoteError> {
        let named = Named::parse(&self.https, recorded)?;
        // Checked when the root was configured; a token goes to no other server than the configuration names.
        if named.version.is_some() && self.named.covers(&named) {
            Ok(named)
        } else {
            Err(RemoteError::Malformed("the recorded key is another one".to_owned()))
        }
    }

    /// Asks with a token, and once more with a new one if that is not accepted.
    async fn ask(&self, request: impl Fn() -> RequestBuilder + Send + Sync) -> Result<Answer, RemoteError> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get().await?;
            let asked = request().header(ACCEPT, "application/json");
            let answer = send(asked.header(AUTHORIZATION, secret_header("Bearer ", token.expose())?)).await?;
            if answer.status != StatusCode::UNAUTHORIZED || renewed {
                return Ok(answer);
            }
            self.tokens.forget(&token).await;
            renewed = true;
        }
    }

    /// `wrapkey` or `unwrapkey`; both take and give one value.
    async fn operate(&self, recorded: &str, which: Operation, value: &[u8]) -> Result<SecretBytes, RemoteError> {
        let url = self.recorded(recorded)?.address(which.path());
        let request = || {
            let asked = self.https.client().post(url.clone()).header(CONTENT_TYPE, "application/json");
            asked.body(body(value).declassify("the body of a request over TLS"))
        };
        let answer = self.ask(request).await?;
        match answer.status {
            StatusCode::OK => wrapped_value(answer.body.expose(), recorded),
            _ => Err(refusal(&answer, which)),
        }
    }
}

#[async_trait]
impl RemoteWrap for AzureKeyVault {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn resolve(&self) -> Result<String, RemoteError> {
        let url = self.named.address("");
        let answer = self.ask(|| self.https.client().get(url.clone())).await?;
        if answer.status != StatusCode::OK {
            return Err(refusal(&answer, Operation::Read));
        }
        let key = Key::read(answer.body.expose())?;
        key.check()?;
        let found = Named::parse(&self.https, key.id())?;
        if found.version.is_some() && self.named.covers(&found) {
            Ok(found.text())
        } else {
            Err(RemoteError::Malformed("it answered about another key".to_owned()))
        }
    }

    async fn means(&self, recorded: &str) -> Result<bool, RemoteError> {
        let recorded = Named::parse(&self.https, recorded)?;
        Ok(recorded.version.is_some() && self.named.covers(&recorded))
    }

    async fn wrap(&self, recorded: &str, _: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError> {
        let wrapped = self.operate(recorded, Operation::Wrap, key.expose()).await?;
        Ok(wrapped.declassify("a wrapped key"))
    }

    async fn unwrap(&self, recorded: &str, _: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError> {
        let plain = self.operate(recorded, Operation::Unwrap, wrapped).await?;
        plain.to_array().map_err(|_| RemoteError::Unwrap)
    }
}

fn body(value: &[u8]) -> SecretBytes {
    let mut out = SecretBuffer::with_capacity(1024);
    let text = SecretString::from(base64_simd::URL_SAFE_NO_PAD.encode_to_string(value));
    for part in [r#"{"alg":""#, ALGORITHM, r#"","value":""#, text.expose(), r#""}"#] {
        out.extend_from_slice(part.as_bytes());
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<Named, RemoteError> {
        Named::parse(&Https::new(None).unwrap(), text)
    }

    const VERSION: &str = "78deebed173b48e48f55abf87ed4cf71";

    #[test]
    fn keys_are_named_by_their_address() {
        let any = named("https://keyreeve.vault.azure.net/keys/root").unwrap();
        let one = named(&format!("https://keyreeve.vault.azure.net/keys/root/{VERSION}")).unwrap();
        assert_eq!((any.version.as_deref(), one.version.as_deref()), (None, Some(VERSION)));
        assert_eq!(one.text(), format!("https://keyreeve.vault.azure.net/keys/root/{VERSION}"));
        assert_eq!(
            one.address("/wrapkey").as_str(),
            format!("https://keyreeve.vault.azure.net/keys/root/{VERSION}/wrapkey?api-version=7.4")
        );
        assert!(any.covers(&one) && one.covers(&one) && !one.covers(&any));
        for not in [
            "http://keyreeve.vault.azure.net/keys/root",
            "https://keyreeve.vault.azure.net/secrets/root",
            "https://keyreeve.vault.azure.net/keys/",
            "https://keyreeve.vault.azure.net/keys/root/",
            "https://keyreeve.vault.azure.net/keys/root/x/y",
            "https://keyreeve.vault.azure.net/keys/ro%2fot",
            "https://keyreeve.vault.azure.net/keys/root?api-version=1",
            "https://someone:secret@keyreeve.vault.azure.net/keys/root",
            "root",
        ] {
            assert!(named(not).is_err(), "{not}");
        }
    }

    #[test]
    fn tokens_are_for_the_cloud_of_the_vault_only() {
        let resource = |host: &str| named(&format!("https://{host}/keys/root")).unwrap().resource();
        assert_eq!(resource("keyreeve.vault.azure.net").as_deref(), Some("https://vault.azure.net"));
        assert_eq!(resource("keyreeve.managedhsm.azure.net").as_deref(), Some("https://managedhsm.azure.net"));
        for not in ["vault.azure.net", "a.b.vault.azure.net", "vault.azure.net.example.com", "xvault.azure.net"] {
            assert_eq!(resource(not), None, "{not}");
        }
    }

    #[test]
    fn a_request_is_of_the_documented_form() {
        let body: serde_json::Value = serde_json::from_slice(body(&[0xfb, 0xff, 1]).expose()).unwrap();
        assert_eq!(body, serde_json::json!({ "alg": "RSA-OAEP-256", "value": "-_8B" }));
    }
}
