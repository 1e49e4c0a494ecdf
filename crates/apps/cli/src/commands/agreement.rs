//! Secrets made with a key: derivation, agreement, encapsulation.

use std::path::PathBuf;

use clap::Args;
use keyreeve_wire::Base64;
use keyreeve_wire::derivation::{AgreeRequest, DecapsulateRequest, DeriveRequest, Hkdf, Kbkdf, SecretReply};
use keyreeve_wire::names::Hash;

use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink, Source};
use crate::text::{Bytes, bytes, one_of};

/// The longest public key or encapsulation, in bytes.
const INPUT_MAX: usize = 64 * 1024;

/// Derive a key from a key-derivation key (HKDF, or SP 800-108 with --kbkdf)
///
/// Same parameters, same key. BYTES are a text as it is, `hex:...`, `base64:...` or `@FILE`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve derive master --info 'tenant 42' -o tenant-42.key\n  \
        $ keyreeve derive master --kbkdf --label disk --party hex:0042 --bytes 64 -o disk.key")]
pub(crate) struct Derive {
    /// The key's id or alias
    key: String,
    /// The hash function
    #[arg(long, value_parser = one_of!(Hash), default_value = "sha256")]
    hash: Hash,
    /// HKDF: salt, not secret
    #[arg(long, value_name = "BYTES", conflicts_with = "kbkdf")]
    salt: Option<Bytes>,
    /// HKDF: binds the key to its use
    #[arg(long, value_name = "BYTES", conflicts_with = "kbkdf")]
    info: Option<Bytes>,
    /// Derive with SP 800-108 in counter mode
    #[arg(long)]
    kbkdf: bool,
    /// SP 800-108: names the use
    #[arg(long, value_name = "BYTES", requires = "kbkdf")]
    label: Option<Bytes>,
    /// SP 800-108: binds the key to its parties
    #[arg(long, value_name = "BYTES", requires = "kbkdf")]
    party: Option<Bytes>,
    #[command(flatten)]
    secret: SecretArgs,
}

/// What a derived or agreed secret shall be.
#[derive(Args)]
struct SecretArgs {
    /// Length of the secret in bytes, 32 to 1024
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(32..=1024))]
    bytes: u32,
    /// The key version; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    #[command(flatten)]
    to: OutArgs,
}

fn show(app: &App, reply: &SecretReply, to: &OutArgs, record: Option<&String>) -> Outcome {
    emit::secret(app, reply.secret.expose(), to, reply, record)
}

impl Derive {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.secret.to)?;
        let hash = self.hash;
        let (hkdf, kbkdf) = if self.kbkdf {
            let (label, context) = (bytes(self.label.as_ref())?, bytes(self.party.as_ref())?);
            (None, Some(Kbkdf { hash, label, context }))
        } else {
            (Some(Hkdf { hash, salt: bytes(self.salt.as_ref())?, info: bytes(self.info.as_ref())? }), None)
        };
        let request = DeriveRequest { hkdf, kbkdf, bytes: Some(self.secret.bytes), version: self.secret.key_version };
        let answer = app.client()?.derive(&self.key, &request).await?;
        show(app, &answer.value, &self.secret.to, answer.audit_record.as_ref())
    }
}

/// Agree a secret with somebody's public key (ECDH, X25519), derived through HKDF
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve agree exchange --peer alice.pem --info 'file transfer' -o shared.key")]
pub(crate) struct Agree {
    /// The key's id or alias
    key: String,
    /// File with the peer's public key: PEM, or DER (SubjectPublicKeyInfo)
    #[arg(long, value_name = "FILE")]
    peer: PathBuf,
    /// The hash function of HKDF
    #[arg(long, value_parser = one_of!(Hash), default_value = "sha256")]
    hash: Hash,
    /// Salt of HKDF, not secret
    #[arg(long, value_name = "BYTES")]
    salt: Option<Bytes>,
    /// Binds the secret to its use
    #[arg(long, value_name = "BYTES")]
    info: Option<Bytes>,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Agree {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.secret.to)?;
        let request = AgreeRequest {
            peer: Base64(public_key(&files::read_all(&self.peer, INPUT_MAX)?)?),
            hash: self.hash,
            salt: bytes(self.salt.as_ref())?,
            info: bytes(self.info.as_ref())?,
            bytes: Some(self.secret.bytes),
            version: self.secret.key_version,
        };
        let answer = app.client()?.agree(&self.key, &request).await?;
        show(app, &answer.value, &self.secret.to, answer.audit_record.as_ref())
    }
}

/// DER as it is; PEM decoded.
fn public_key(given: &[u8]) -> Result<Vec<u8>, Failure> {
    if !given.starts_with(b"-----BEGIN") {
        return Ok(given.to_vec());
    }
    keyreeve_client::public_key_from_pem(given)
        .ok_or_else(|| Failure::usage("the peer's file holds no `PUBLIC KEY` in PEM form"))
}

/// Make a shared secret and encapsulate it to a key (ML-KEM)
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve encapsulate mailbox --ciphertext secret.kem -o shared.key")]
pub(crate) struct Encapsulate {
    /// The key's id or alias
    key: String,
    /// Write the encapsulation, for whoever may decapsulate, to this file
    #[arg(long, value_name = "FILE")]
    ciphertext: Option<PathBuf>,
    #[command(flatten)]
    to: OutArgs,
}

impl Encapsulate {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        if self.ciphertext.is_none() && !app.out.is_json() {
            return Err(
                Failure::usage("the encapsulation needs a place").next("`--ciphertext FILE` writes it to a file")
            );
        }
        let answer = app.client()?.encapsulate(&self.key).await?;
        if let Some(path) = &self.ciphertext {
            Sink::of(path, self.to.force).write(&answer.value.ciphertext.0, Readers::Anybody)?;
        }
        emit::secret(app, answer.value.secret.expose(), &self.to, &answer.value, answer.audit_record.as_ref())?;
        Ok(Exit::Done)
    }
}

/// Recover an encapsulated secret (ML-KEM)
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve decapsulate mailbox secret.kem -o shared.key")]
pub(crate) struct Decapsulate {
    /// The key's id or alias
    key: String,
    /// File with the encapsulation; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key version; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    #[command(flatten)]
    to: OutArgs,
}

impl Decapsulate {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        let sent = Source::of(self.file.as_deref()).read(INPUT_MAX)?;
        let ciphertext = Base64(sent.declassify("an encapsulation travels in the clear"));
        let request = DecapsulateRequest { ciphertext, version: self.key_version };
        let answer = app.client()?.decapsulate(&self.key, &request).await?;
        show(app, &answer.value, &self.to, answer.audit_record.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_in_both_forms() {
        let pem = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n\
            -----END PUBLIC KEY-----\n";
        let der = public_key(pem).unwrap();
        assert_eq!((der[0], der.len()), (0x30, 44));
        assert_eq!(public_key(&der).unwrap(), der);
        let wrong = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(public_key(wrong).unwrap_err().exit, Exit::Usage);
    }
}
