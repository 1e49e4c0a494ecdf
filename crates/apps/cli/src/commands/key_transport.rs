//! Keys that come from elsewhere or go there: the commands that ask the server, and those that do the other half here.

use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_crypto::{KeyAlgorithm, Material, Random, TransportPrivate, TransportPublic};
use keyreeve_secret::{SecretBytes, SecretString};
use keyreeve_wire::names::{Algorithm, Purpose, WrappingMethod};
use keyreeve_wire::transport::{ExportKey, ImportKey, ImportMaterial, ImportParameters, ImportParametersRequest};
use keyreeve_wire::{Base64, SecretBase64, Timestamp};
use serde_json::json;

use super::keys::{Create, details};
use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink, Source, read_all, read_secret_text};
use crate::out::facts;
use crate::text::{self, one_of};

/// The longest file with a key in any form (bytes).
const KEY_MAX: usize = 16 * 1024;
/// The longest file with keys in PEM, or with parameters (bytes).
const TEXT_MAX: usize = 32 * 1024;

/// A name of the wire as the type of the library; the lists are the same, as a test compares.
fn same<T: std::str::FromStr>(name: &str) -> Result<T, Failure> {
    name.parse().map_err(|_| Failure::new(Exit::Internal, format!("this program does not know `{name}`")))
}

fn random() -> Result<Random, Failure> {
    Random::from_module().map_err(|error| Failure::new(Exit::Internal, error.to_string()))
}

fn size(bits: Option<u32>) -> Result<Option<KeyAlgorithm>, Failure> {
    match bits {
        None => Ok(None),
        Some(2048) => Ok(Some(KeyAlgorithm::Rsa2048)),
        Some(3072) => Ok(Some(KeyAlgorithm::Rsa3072)),
        Some(4096) => Ok(Some(KeyAlgorithm::Rsa4096)),
        Some(_) => Err(Failure::usage("`--rsa-bits` is 2048, 3072 or 4096")),
    }
}

/// Ask for a key under which a key of yours is wrapped, for one import
///
/// The server makes a wrapping key whose private half never leaves it. It is good once, for you, for a key of this
/// kind, and for 24 hours unless you say otherwise. Next: `keyreeve key wrap-for-import` wraps your key with it, here
/// or on the machine that has the key, and `keyreeve key import` brings it. Any other tool that knows the method will
/// do as well: docs/formats.md has the forms, with commands for OpenSSL.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key import-parameters --algorithm ec-p256 --purpose sign -o import.json\n  \
        $ keyreeve key import-parameters --method p384-ml-kem-1024 --keyring payments -o import.json\n  \
        $ keyreeve key import-parameters --key cards -o import.json   # another version, or the same again\n  \
        $ keyreeve key import-parameters --method rsa-oaep-sha256 --public wrapping.pem -o import.json")]
pub(crate) struct Parameters {
    /// A key that is there, by id or alias: for another version of it, or to put back material that has ended
    #[arg(long, conflicts_with_all = ["keyring", "algorithm", "purpose"])]
    key: Option<String>,
    /// The keyring of the new key [default: default]
    #[arg(long)]
    keyring: Option<String>,
    /// What your key is [default: xaes-256-gcm]
    #[arg(long, value_parser = one_of!(Algorithm), hide_possible_values = true)]
    algorithm: Option<Algorithm>,
    /// The one thing it is for [default: the algorithm's usual purpose]
    #[arg(long, value_parser = one_of!(Purpose))]
    purpose: Option<Purpose>,
    /// How it will be wrapped
    #[arg(long, value_parser = one_of!(WrappingMethod), default_value = "rsa-aes-kwp")]
    method: WrappingMethod,
    /// The size of an RSA wrapping key: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, value_name = "BITS")]
    rsa_bits: Option<u32>,
    /// How long the wrapping key waits [default: 24]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: Option<u32>,
    /// Write the wrapping key alone to this file, as PEM
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
    /// Write everything to this file, as JSON: what the next commands read
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    path: Option<PathBuf>,
    /// Replace the files if they exist
    #[arg(long)]
    force: bool,
}

impl Parameters {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let request = ImportParametersRequest {
            key: self.key,
            keyring: self.keyring,
            algorithm: self.algorithm,
            purpose: self.purpose,
            method: self.method,
            rsa_bits: self.rsa_bits,
            hours: self.hours,
        };
        let answer = app.client()?.import_parameters(&request).await?;
        let parameters = &answer.value;
        if let Some(path) = &self.public {
            Sink::of(path, self.force).write(parameters.public_key.as_bytes(), Readers::Anybody)?;
        }
        app.note_record("wrapping key made", answer.audit_record.as_ref());
        match &self.path {
            Some(path) => {
                let text = serde_json::to_vec_pretty(parameters)
                    .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
                Sink::of(path, self.force).write(&text, Readers::Anybody)?;
                let file = path.display();
                app.out.note(&format!(
                    "it waits until {}; next: `keyreeve key wrap-for-import {file} YOUR-KEY -o wrapped.bin`, then \
                     `keyreeve key import {file} --wrapped wrapped.bin`",
                    parameters.expires
                ));
                Ok(Exit::Done)
            }
            None => app.show(parameters, shown),
        }
    }
}

fn shown(parameters: &ImportParameters) -> String {
    let facts = facts(&[
        ("import", parameters.import.clone()),
        ("key", parameters.key.clone()),
        ("keyring", parameters.keyring.clone()),
        ("algorithm", parameters.algorithm.to_string()),
        ("purpose", parameters.purpose.to_string()),
        ("method", parameters.method.to_string()),
        ("fingerprint", parameters.fingerprint.clone()),
        ("expires", parameters.expires.to_string()),
    ]);
    format!("{facts}\n{}", parameters.public_key)
}

fn read_parameters(path: &Path) -> Result<ImportParameters, Failure> {
    let wrong = |error: serde_json::Error| {
        Failure::usage(format!("{} is not what `key import-parameters -o` wrote: {error}", path.display()))
    };
    serde_json::from_slice(&read_all(path, TEXT_MAX)?).map_err(wrong)
}

/// Wrap a key of yours for an import; done here, without asking the server
///
/// The key is read as bytes (32 for a symmetric key), or as a private key in PKCS #8, DER or PEM, which `openssl pkcs8
/// -topk8 -nocrypt` makes of most other forms. It is checked before it is wrapped: length, kind, and whether its halves
/// belong together. Nothing but the wrapped form is written.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key wrap-for-import import.json key.bin -o wrapped.bin\n  \
        $ openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem\n  \
        $ keyreeve key wrap-for-import import.json key.pem -o wrapped.bin")]
pub(crate) struct WrapForImport {
    /// What `key import-parameters -o` wrote
    parameters: PathBuf,
    /// File with your key; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    to: OutArgs,
}

impl WrapForImport {
    pub(super) fn run(self, app: &App) -> Outcome {
        let parameters = read_parameters(&self.parameters)?;
        let algorithm: KeyAlgorithm = same(parameters.algorithm.name())?;
        let public = TransportPublic::from_pem(same(parameters.method.name())?, &parameters.public_key)
            .map_err(|error| Failure::usage(format!("the wrapping key: {error}")))?;
        if public.fingerprint().to_string() != parameters.fingerprint {
            return Err(Failure::usage("the wrapping key is not the one that its fingerprint names: ask for it again"));
        }
        let bytes = without_armour(Source::of(self.file.as_deref()).read(KEY_MAX)?)?;
        let material = Material::import(algorithm, &bytes).map_err(|error| {
            Failure::usage(format!("this is no `{algorithm}` key: {error}")).next(
                "the parameters say what the key is: `keyreeve key import-parameters --algorithm NAME -o FILE` asks \
                 for others; a private key is given in PKCS #8, PEM or DER",
            )
        })?;
        let wrapped = public
            .wrap(&random()?, b"", &material.portable())
            .map_err(|error| Failure::usage(format!("it cannot be wrapped with `{}`: {error}", public.method())))?;
        let reply = json!({ "wrapped": Base64(wrapped.clone()), "import": parameters.import });
        emit::public(app, &wrapped, &self.to, &reply, None)
    }
}

/// A private key in PEM as DER; everything else as it is.
fn without_armour(bytes: SecretBytes) -> Result<SecretBytes, Failure> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if !bytes.expose().starts_with(BEGIN) {
        return Ok(bytes);
    }
    let wrong = || {
        Failure::usage("the file is PEM, but not one `PRIVATE KEY` (PKCS #8)")
            .next("`openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.pk8` makes one of most others")
    };
    let text = SecretString::from_utf8(bytes).map_err(|_| wrong())?;
    let blocks = keyreeve_crypto::pem::decode("PRIVATE KEY", text.expose()).map_err(|_| wrong())?;
    let mut blocks = blocks.into_iter();
    blocks.next().filter(|_| blocks.len() == 0).ok_or_else(wrong)
}

/// The material, and what is said of it.
#[derive(Args)]
pub(crate) struct Incoming {
    /// File with the wrapped key
    // Without it there is nothing here: what needs it says so, and a rotation does not.
    #[arg(long, value_name = "FILE", required = false)]
    wrapped: PathBuf,
    /// The material ends then: it is erased, and the key stays; date or RFC 3339 instant
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    expires: Option<String>,
    /// Where the key is from, in words: kept with it
    #[arg(long, default_value = "", hide_default_value = true)]
    statement: String,
}

impl Incoming {
    fn material(
        self,
        parameters: &ImportParameters,
        version: Option<u32>,
        reason: String,
    ) -> Result<ImportMaterial, Failure> {
        Ok(ImportMaterial {
            import: parameters.import.clone(),
            version,
            wrapped: Base64(read_all(&self.wrapped, KEY_MAX)?),
            expires: self.expires.map(Timestamp),
            statement: self.statement,
            reason,
        })
    }
}

/// Make a key of material that was wrapped for an import
///
/// It becomes a key like any other; that it was brought, by whom, how, and what you say of where it is from stay with
/// it for ever. With `--expires` its material is erased at that time and the key stays: `keyreeve key reimport` puts
/// the same material back. Material that another key has already is refused.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key import import.json --wrapped wrapped.bin --alias cards --statement 'HSM in Bern'\n  \
        $ keyreeve key import import.json --wrapped wrapped.bin --alias cards --expires 2028-01-01")]
pub(crate) struct Import {
    /// What `key import-parameters -o` wrote
    parameters: PathBuf,
    #[command(flatten)]
    incoming: Incoming,
    #[command(flatten)]
    create: Create,
}

impl Import {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let parameters = read_parameters(&self.parameters)?;
        let mut key = self.create.request()?;
        key.keyring.get_or_insert_with(|| parameters.keyring.clone());
        key.algorithm.get_or_insert(parameters.algorithm);
        key.purpose.get_or_insert(parameters.purpose);
        let new = ImportKey {
            key,
            wrapped: Base64(read_all(&self.incoming.wrapped, KEY_MAX)?),
            expires: self.incoming.expires.map(Timestamp),
            statement: self.incoming.statement,
        };
        let answer = app.client()?.import_key(&parameters.import, &new).await?;
        app.note_record("key imported", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.summary.id, details)
    }
}

/// Rotates a key to material that was wrapped for an import.
pub(super) async fn rotate(app: &App, key: &str, (parameters, incoming): (&Path, Incoming), reason: String) -> Outcome {
    let material = incoming.material(&read_parameters(parameters)?, None, reason)?;
    let answer = app.client()?.import_version(key, &material).await?;
    let version = answer.value.summary.primary_version;
    app.note_record(&format!("rotated: version {version} protects now"), answer.audit_record.as_ref());
    app.show(&answer.value, details)
}

/// Put imported material back that has ended, or give it another end
///
/// Only the very same material is taken: data that it protects can be read again. For other material there is `keyreeve
/// key rotate --import`. Without `--expires` it has no end any more.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve key import-parameters --key cards -o import.json\n  \
        $ keyreeve key wrap-for-import import.json key.bin -o wrapped.bin\n  \
        $ keyreeve key reimport cards import.json --wrapped wrapped.bin --expires 2029-01-01 --reason 'one more year'")]
pub(crate) struct Reimport {
    /// The key's id or alias
    key: String,
    /// What `key import-parameters -o` wrote
    parameters: PathBuf,
    /// The version; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    #[command(flatten)]
    incoming: Incoming,
    /// Why: kept in the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Reimport {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let material = self.incoming.material(&read_parameters(&self.parameters)?, self.key_version, self.reason)?;
        let answer = app.client()?.reimport(&self.key, &material).await?;
        app.note_record("material is back", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

/// Take a key out, wrapped for somebody; others have to agree
///
/// Only a key that was made with `--exportable` can be taken out, and only with the consent of two people besides you,
/// who are shown the fingerprint of the public key that it is wrapped for: compare it with whoever has the private key.
/// The first call asks them; the same call once they agreed writes the wrapped key. No shipped role may do this: a
/// policy of your own says who may.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve key export cards --to bank.pem --method rsa-aes-kwp --reason 'the bank runs it' -o cards.wrapped")]
pub(crate) struct Export {
    /// The key's id or alias
    key: String,
    /// File with the public key that it is wrapped for, as PEM; for a hybrid both, the one for ECDH first
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// How it is wrapped
    #[arg(long, value_parser = one_of!(WrappingMethod), default_value = "rsa-aes-kwp")]
    method: WrappingMethod,
    /// The version; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    /// Why: others are shown it, and it is kept with the key
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    out: OutArgs,
}

impl Export {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let text = String::from_utf8(read_all(&self.to, TEXT_MAX)?)
            .map_err(|_| Failure::usage(format!("{} is not text", self.to.display())))?;
        let recipient = TransportPublic::from_pem(same(self.method.name())?, &text).map_err(|error| {
            let method = self.method;
            Failure::usage(format!("{}: {error}", self.to.display())).next(format!(
                "it must be a public key for `--method {method}`; name the method that it is for, or let whoever \
                 receives the key make one: `keyreeve key new-recipient --method {method} --public FILE -o FILE`"
            ))
        })?;
        let client = app.client()?;
        let version = match self.key_version {
            Some(version) => version,
            None => client.key(&self.key).await?.value.summary.primary_version,
        };
        app.out.note(&format!("version {version} for the key {}", recipient.fingerprint()));
        let (method, reason) = (self.method, self.reason);
        let export = ExportKey { version, method, recipient: recipient.to_pem(), reason };
        let answer = client.export_key(&self.key, &export).await?;
        let exported = &answer.value;
        emit::public(app, &exported.wrapped.0, &self.out, exported, answer.audit_record.as_ref())
    }
}

/// Make a key pair that keys can be wrapped for; done here, without asking the server
///
/// Whoever is to receive an exported key makes it, keeps the private half and gives away the public one. The files are
/// PEM as OpenSSL reads and writes it.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve key new-recipient --method p384-ml-kem-1024 --public mine.pem -o mine.key")]
pub(crate) struct NewRecipient {
    /// How keys will be wrapped for it
    #[arg(long, value_parser = one_of!(WrappingMethod), default_value = "rsa-aes-kwp")]
    method: WrappingMethod,
    /// The size of an RSA key: 2048, 3072 or 4096 [default: 3072]
    #[arg(long, value_name = "BITS")]
    rsa_bits: Option<u32>,
    /// Write the public half to this file
    #[arg(long, value_name = "FILE")]
    public: PathBuf,
    #[command(flatten)]
    to: OutArgs,
}

impl NewRecipient {
    pub(super) fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        let wrong = |error: keyreeve_crypto::CryptoError| Failure::usage(error.to_string());
        let made = TransportPrivate::generate(same(self.method.name())?, size(self.rsa_bits)?, &random()?);
        let private = made.map_err(wrong)?;
        let public = private.public().map_err(wrong)?;
        Sink::of(&self.public, self.to.force).write(public.to_pem().as_bytes(), Readers::Anybody)?;
        app.out.note(&format!("fingerprint of the public half: {}", public.fingerprint()));
        let pem = private.to_pem().into_bytes();
        let reply =
            json!({ "fingerprint": public.fingerprint().to_string(), "private": SecretBase64(pem.duplicate()) });
        emit::secret(app, pem.expose(), &self.to, &reply, None)
    }
}

/// Unwrap a key that was exported for you; done here, without asking the server
///
/// What comes out is the key itself: bytes for a symmetric key, PKCS #8 in DER for a private key.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve key unwrap-export cards.wrapped --with mine.key --method rsa-aes-kwp -o cards.key")]
pub(crate) struct UnwrapExport {
    /// File with the wrapped key; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// File with your private key, as PEM; for a hybrid both, the one for ECDH first
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// How it was wrapped
    #[arg(long, value_parser = one_of!(WrappingMethod), default_value = "rsa-aes-kwp")]
    method: WrappingMethod,
    #[command(flatten)]
    to: OutArgs,
}

impl UnwrapExport {
    pub(super) fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        let text = read_secret_text(&self.with, TEXT_MAX)?;
        let private = TransportPrivate::from_pem(same(self.method.name())?, &text)
            .map_err(|error| Failure::usage(format!("{}: {error}", self.with.display())))?;
        let wrapped = Source::of(self.file.as_deref()).read(KEY_MAX)?;
        let key = private.unwrap(b"", wrapped.expose()).map_err(|_| {
            Failure::usage("it does not open: it was wrapped in another way or for another key, or was altered")
        })?;
        let reply = json!({ "key": SecretBase64(key.duplicate()) });
        emit::secret(app, key.expose(), &self.to, &reply, None)
    }
}
