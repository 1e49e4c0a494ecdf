//! Others, whom the server asks who somebody is: an issuer of tokens, an OpenID provider, a directory. They say what a
//! test tells them to, can be down, and count how often they are asked. End-to-end tests ask real ones.

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme};
use keyreeve_identity::ldap::LdapEntry;
use keyreeve_identity_port::{Bind, Directory, DirectoryPlace, Exchange, OidcProvider, OutsideError, Trust};
use keyreeve_secret::{SecretBytes, SecretString};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The issuer.
pub(crate) const ISSUER: &str = "https://id.example";
/// The client that the server is at the provider.
pub(crate) const CLIENT: &str = "keyreeve";

struct Signer {
    kid: String,
    key: LoadedKey,
}

/// What a person who logged in at the provider comes back with.
struct Granted {
    challenge: String,
    redirect_uri: String,
    claims: Value,
}

pub(crate) struct Outside {
    random: Random,
    signer: Mutex<Signer>,
    codes: Mutex<HashMap<String, Granted>>,
    people: Mutex<HashMap<String, (String, Bind)>>,
    pub(crate) down: AtomicBool,
    /// How often keys were fetched.
    pub(crate) fetched: AtomicU32,
    /// How often a password was tried.
    pub(crate) tried: AtomicU32,
    /// The secret that the client or the search account showed last.
    pub(crate) shown: Mutex<Option<String>>,
}

fn signer(random: &Random, kid: &str) -> Signer {
    let material = Material::generate(KeyAlgorithm::Ed25519, random).unwrap();
    Signer { kid: kid.to_owned(), key: LoadedKey::load(&material, Purpose::Sign).unwrap() }
}

impl Outside {
    pub(crate) fn new() -> Self {
        let random = Random::from_module().unwrap();
        Self {
            signer: Mutex::new(signer(&random, "first")),
            random,
            codes: Mutex::default(),
            people: Mutex::default(),
            down: AtomicBool::new(false),
            fetched: AtomicU32::new(0),
            tried: AtomicU32::new(0),
            shown: Mutex::new(None),
        }
    }

    /// The public keys, as the issuer publishes them.
    pub(crate) fn jwks(&self) -> String {
        let signer = self.signer.lock().unwrap();
        let raw = signer.key.public_key().unwrap().raw().unwrap().to_vec();
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": signer.kid, "x": BASE64URL_NOPAD.encode(&raw)});
        json!({"keys": [key]}).to_string()
    }

    /// From now on signs with another key.
    pub(crate) fn rotate(&self, kid: &str) {
        *self.signer.lock().unwrap() = signer(&self.random, kid);
    }

    /// A signed token.
    pub(crate) fn sign(&self, claims: &Value) -> SecretString {
        let signer = self.signer.lock().unwrap();
        let header = json!({"alg": "EdDSA", "kid": signer.kid});
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let message = Message::Raw(signed.as_bytes());
        let signature = signer.key.sign(&self.random, SignatureScheme::Ed25519, message).unwrap();
        SecretString::from(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    /// A person opens the address and logs in; what the browser brings back: state and code.
    pub(crate) fn visit(&self, url: &str, claims: Value) -> (SecretString, SecretString) {
        let (_, query) = url.split_once('?').unwrap();
        let pairs: HashMap<&str, String> =
            query.split('&').map(|pair| pair.split_once('=').unwrap()).map(decoded).collect();
        assert_eq!((pairs["client_id"].as_str(), pairs["response_type"].as_str()), (CLIENT, "code"));
        let mut claims = claims;
        if claims.get("nonce").is_none() {
            claims["nonce"] = pairs["nonce"].clone().into();
        }
        let mut codes = self.codes.lock().unwrap();
        let code = format!("code-{}-{}", codes.len(), pairs["state"]);
        let (challenge, redirect_uri) = (pairs["code_challenge"].clone(), pairs["redirect_uri"].clone());
        codes.insert(code.clone(), Granted { challenge, redirect_uri, claims });
        (SecretString::copy_from(&pairs["state"]), SecretString::from(code))
    }

    /// Lets somebody into the directory.
    pub(crate) fn person(&self, user: &str, password: &str, groups: &[&str]) {
        self.entry(user, password, groups, user);
    }

    /// The same with what the directory calls the entry for good.
    pub(crate) fn entry(&self, user: &str, password: &str, groups: &[&str], unique: &str) {
        let unique = Some(("entryUUID", unique.to_owned()));
        let entry = LdapEntry {
            dn: format!("uid={user},dc=example"),
            user: user.to_owned(),
            attributes: BTreeMap::new(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            unique,
        };
        self.people.lock().unwrap().insert(user.to_owned(), (password.to_owned(), Bind::Person(entry)));
    }

    /// Somebody whose entry cannot be used.
    pub(crate) fn unfit(&self, user: &str, password: &str) {
        let bind = Bind::Unfit("entry-without-name");
        self.people.lock().unwrap().insert(user.to_owned(), (password.to_owned(), bind));
    }

    fn answers(&self) -> Result<(), OutsideError> {
        if self.down.load(Ordering::SeqCst) { Err(OutsideError::Unreachable("down".into())) } else { Ok(()) }
    }
}

fn decoded<'a>((name, value): (&'a str, &'a str)) -> (&'a str, String) {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            bytes.extend(hex::decode(&after[..2]).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    (name, String::from_utf8(bytes).unwrap())
}

#[async_trait]
impl OidcProvider for Outside {
    async fn discover(&self, issuer: &str, _trust: &Trust) -> Result<Vec<u8>, OutsideError> {
        self.answers()?;
        let at = |path: &str| format!("{issuer}{path}");
        let document = json!({
            "issuer": issuer, "jwks_uri": at("/keys"), "token_endpoint": at("/token"),
            "authorization_endpoint": at("/auth"),
        });
        Ok(document.to_string().into_bytes())
    }

    async fn keys(&self, _url: &str, _trust: &Trust, _bearer: Option<&SecretString>) -> Result<Vec<u8>, OutsideError> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        self.answers()?;
        Ok(self.jwks().into_bytes())
    }

    async fn exchange(&self, exchange: &Exchange<'_>, _trust: &Trust) -> Result<SecretBytes, OutsideError> {
        self.answers()?;
        *self.shown.lock().unwrap() = match exchange.proof {
            keyreeve_identity_port::ClientProof::Public => None,
            keyreeve_identity_port::ClientProof::Basic(secret) | keyreeve_identity_port::ClientProof::Post(secret) => {
                Some(secret.expose().to_owned())
            }
        };
        let granted = self.codes.lock().unwrap().remove(exchange.code.expose());
        let granted = granted.ok_or_else(|| OutsideError::Refused("invalid_grant".into()))?;
        let challenge = BASE64URL_NOPAD.encode(&sha256(exchange.verifier.expose().as_bytes()));
        assert_eq!(challenge, granted.challenge, "the code belongs to whoever knows the verifier");
        assert_eq!(exchange.redirect_uri, granted.redirect_uri);
        let body =
            json!({"id_token": self.sign(&granted.claims).expose(), "token_type": "Bearer", "access_token": "at"});
        Ok(SecretBytes::copy_from(body.to_string().as_bytes()))
    }
}

#[async_trait]
impl Directory for Outside {
    async fn bind(
        &self,
        _place: &DirectoryPlace,
        service: Option<&SecretString>,
        user: &str,
        password: &SecretString,
    ) -> Result<Bind, OutsideError> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        self.answers()?;
        *self.shown.lock().unwrap() = service.map(|secret| secret.expose().to_owned());
        let people = self.people.lock().unwrap();
        let found = people.get(user).filter(|(known, _)| password.ct_eq(known));
        Ok(found.map_or(Bind::Nobody, |(_, bind)| bind.clone()))
    }
}
