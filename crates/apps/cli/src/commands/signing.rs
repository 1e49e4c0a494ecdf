//! Signatures. Large files are hashed here, and only their digest travels.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use keyreeve_client::Client;
use keyreeve_crypto::digest::Digester;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, SignatureScheme};
use keyreeve_secret::{SecretBuffer, SecretBytes};
use keyreeve_wire::names::{Algorithm, Scheme};
use keyreeve_wire::signing::{SignRequest, VerifyRequest};
use keyreeve_wire::{Base64, SecretBase64};
use serde_json::json;

use crate::app::{App, Outcome, blocking};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::{self, Source};
use crate::out::Style;
use crate::progress::Progress;
use crate::text::one_of;

/// Longer messages are hashed here where the scheme allows it, in bytes.
const DIRECT_MAX: usize = 128 * 1024;
/// The longest message that is sent as it is, in bytes.
const MESSAGE_MAX: usize = 1024 * 1024;
/// The longest signature, in bytes: ML-DSA-87 has 4,627.
const SIGNATURE_MAX: usize = 16 * 1024;

/// Sign a file
///
/// Prints the signature as base64, or writes its bytes with -o. ECDSA signatures are ASN.1 DER, as OpenSSL reads them.
/// Files larger than 128 KiB are hashed here and only the digest is sent; Ed25519 and ML-DSA sign the message itself,
/// up to 1 MiB.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve sign releases app.tar.gz -o app.sig\n  \
        $ keyreeve key public releases -o releases.pem\n  \
        $ openssl dgst -sha256 -verify releases.pem -signature app.sig app.tar.gz")]
pub(crate) struct Sign {
    /// The key's id or alias
    key: String,
    /// What to sign; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    to: OutArgs,
}

/// How a signature is made.
#[derive(Args)]
struct How {
    /// The signature scheme [default: the usual one of the key's algorithm]
    #[arg(long, value_parser = one_of!(Scheme))]
    scheme: Option<Scheme>,
    /// The input is the digest already, in binary form
    #[arg(long)]
    prehashed: bool,
}

/// What goes to the server.
struct Message {
    bytes: SecretBytes,
    prehashed: bool,
    scheme: Option<Scheme>,
}

impl How {
    /// Reads the message, or its digest where it is long.
    async fn message(&self, app: &App, client: &Client, key: &str, source: &Source) -> Result<Message, Failure> {
        let (mut reader, len) = source.open()?;
        let name = source.name();
        let first = files::read_limited((&mut reader).take(DIRECT_MAX as u64 + 1), &name, DIRECT_MAX + 1)?;
        if first.len() <= DIRECT_MAX || self.prehashed {
            return Ok(Message { bytes: first, prehashed: self.prehashed, scheme: self.scheme });
        }
        let scheme = match self.scheme {
            Some(scheme) => scheme,
            None => usual_scheme(client, key).await?,
        };
        let Some(hash) = hash_of(scheme) else {
            let mut whole = SecretBuffer::with_capacity(MESSAGE_MAX);
            whole.extend_from_slice(first.expose());
            let rest = files::read_limited(reader, &name, MESSAGE_MAX - first.len()).map_err(|failure| {
                failure
                    .next(format!("{scheme} signs the message itself: sign a digest file, or use an ECDSA or RSA key"))
            })?;
            whole.extend_from_slice(rest.expose());
            return Ok(Message { bytes: whole.finish(), prehashed: false, scheme: Some(scheme) });
        };
        let progress = Progress::bytes(app.out, "hashing", len);
        let counted = progress.reading(reader);
        let digest = blocking(move || digest(hash, &first, counted, &name)).await;
        progress.finish();
        Ok(Message { bytes: SecretBytes::from_vec(digest?), prehashed: true, scheme: Some(scheme) })
    }
}

async fn usual_scheme(client: &Client, key: &str) -> Result<Scheme, Failure> {
    let shown = client.key(key).await.map_err(|error| {
        Failure::from(error).next("a large file is hashed here: `--scheme NAME` says how, without looking the key up")
    })?;
    scheme_for(shown.value.summary.algorithm)
        .ok_or_else(|| Failure::usage(format!("a key of {} does not sign", shown.value.summary.algorithm)))
}

fn scheme_for(algorithm: Algorithm) -> Option<Scheme> {
    let algorithm = algorithm.name().parse::<KeyAlgorithm>().ok()?;
    SignatureScheme::default_for(algorithm)?.name().parse().ok()
}

fn hash_of(scheme: Scheme) -> Option<HashAlgorithm> {
    scheme.name().parse::<SignatureScheme>().ok()?.hash()
}

fn digest(hash: HashAlgorithm, first: &SecretBytes, mut rest: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut digester = Digester::new(hash);
    digester.update(first.expose());
    let mut piece = SecretBytes::init_with(256 * 1024, |_| ());
    loop {
        match rest.read(piece.expose_mut()) {
            Ok(0) => return Ok(digester.finish()),
            Ok(len) => digester.update(&piece.expose()[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(name, &error)),
        }
    }
}

impl Sign {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let message = self.how.message(app, &client, &self.key, &Source::of(self.file.as_deref())).await?;
        let request = SignRequest {
            message: Some(SecretBase64(message.bytes)),
            items: None,
            prehashed: message.prehashed,
            scheme: message.scheme,
        };
        let answer = client.sign(&self.key, &request).await?;
        let missing = || Failure::new(Exit::Internal, "the answer holds no signature");
        let signature = answer.value.signature.as_ref().ok_or_else(missing)?;
        let record = answer.audit_record.as_ref();
        let reply = json!({
            "signature": signature,
            "scheme": answer.value.scheme,
            "version": answer.value.version,
            "audit_record": record,
        });
        emit::public(app, &signature.0, &self.to, &reply, record)
    }
}

/// Verify a signature; ends with 1 when it is not valid
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve verify releases app.tar.gz --signature app.sig\n  \
        $ keyreeve verify releases app.tar.gz --signature-base64 \"$SIGNATURE\"")]
pub(crate) struct Verify {
    /// The key's id or alias
    key: String,
    /// What was signed; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    proof: ProofArgs,
    #[command(flatten)]
    how: How,
    /// The version; unless said, the newest ones are tried
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
}

/// A signature, in a file or on the command line.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ProofArgs {
    /// File with the signature, as bytes
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The signature as base64
    #[arg(long, value_name = "TEXT")]
    signature_base64: Option<Base64>,
}

impl Verify {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let signature = proof(self.proof.signature.as_ref(), self.proof.signature_base64)?;
        let client = app.client()?;
        let message = self.how.message(app, &client, &self.key, &Source::of(self.file.as_deref())).await?;
        let request = VerifyRequest {
            message: Some(SecretBase64(message.bytes)),
            signature: Some(signature),
            items: None,
            prehashed: message.prehashed,
            scheme: message.scheme,
            version: self.key_version,
        };
        let answer = client.verify(&self.key, &request).await?;
        verdict(app, answer.value.valid == Some(true), answer.value.version, answer.audit_record.as_ref())
    }
}

/// The bytes of a signature or tag.
pub(super) fn proof(file: Option<&PathBuf>, given: Option<Base64>) -> Result<Base64, Failure> {
    match (given, file) {
        (Some(given), _) => Ok(given),
        (None, Some(path)) => Ok(Base64(files::read_all(path, SIGNATURE_MAX)?)),
        (None, None) => Err(Failure::usage("there is nothing to verify")),
    }
}

/// Says whether a signature or tag is right, in words and in the exit code.
pub(super) fn verdict(app: &App, valid: bool, version: Option<u32>, record: Option<&String>) -> Outcome {
    app.out.show(&json!({ "valid": valid, "version": version, "audit_record": record }), |_| {
        match (valid, version) {
            (true, Some(version)) => app.out.styled(Style::Good, &format!("valid (key version {version})"), false),
            (true, None) => app.out.styled(Style::Good, "valid", false),
            (false, _) => app.out.styled(Style::Bad, "NOT valid", false),
        }
    })?;
    Ok(if valid { Exit::Done } else { Exit::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_and_cryptographic_names_agree() {
        for scheme in Scheme::ALL {
            assert!(scheme.name().parse::<SignatureScheme>().is_ok(), "{scheme}");
        }
        for algorithm in Algorithm::ALL {
            assert!(algorithm.name().parse::<KeyAlgorithm>().is_ok(), "{algorithm}");
        }
        assert_eq!(scheme_for(Algorithm::EcP256), Some(Scheme::EcdsaSha256));
        assert_eq!(scheme_for(Algorithm::Xaes256Gcm), None);
        assert_eq!(hash_of(Scheme::Ed25519), None);
    }

    #[test]
    fn the_digest_is_of_the_whole_stream() {
        let first = SecretBytes::copy_from(b"ab");
        let whole = keyreeve_crypto::digest::sha256(b"abc");
        assert_eq!(digest(HashAlgorithm::Sha256, &first, &b"c"[..], "it").unwrap(), whole);
    }
}
