//! Wrapping other people's keys.

use std::path::PathBuf;

use clap::Args;
use keyreeve_wire::derivation::{UnwrapRequest, WrapRequest};
use keyreeve_wire::names::WrapMode;
use keyreeve_wire::{Base64, SecretBase64};
use serde_json::json;

use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::Source;
use crate::text::one_of;

/// The longest key, in bytes.
const KEY_MAX: usize = 64 * 1024;

/// Wrap a key of yours under a wrapping key (AES-KWP or AES-KW, SP 800-38F)
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve wrap transport disk.key -o disk.key.wrapped")]
pub(crate) struct Wrap {
    /// The wrapping key's id or alias
    key: String,
    /// File with the key to wrap, as bytes; `-` or nothing is standard input (at most 64 KiB)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// With padding (kwp) or without (kw)
    #[arg(long, value_parser = one_of!(WrapMode), default_value = "kwp")]
    mode: WrapMode,
    #[command(flatten)]
    to: OutArgs,
}

impl Wrap {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let key = Some(SecretBase64(Source::of(self.file.as_deref()).read(KEY_MAX)?));
        let request = WrapRequest { key, items: None, mode: Some(self.mode) };
        let answer = app.client()?.wrap(&self.key, &request).await?;
        let missing = || Failure::new(Exit::Internal, "the answer holds no wrapped key");
        let wrapped = answer.value.wrapped.as_ref().ok_or_else(missing)?;
        let (version, record) = (answer.value.version, answer.audit_record.as_ref());
        app.out.note(&format!(
            "wrapped by key version {version}: unwrapping after a rotation needs `--key-version {version}`"
        ));
        let reply = json!({ "wrapped": wrapped, "version": version, "audit_record": record });
        emit::public(app, &wrapped.0, &self.to, &reply, record)
    }
}

/// Unwrap a key
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve unwrap transport disk.key.wrapped -o disk.key")]
pub(crate) struct Unwrap {
    /// The wrapping key's id or alias
    key: String,
    /// File with the wrapped key, as bytes; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// As when wrapping
    #[arg(long, value_parser = one_of!(WrapMode), default_value = "kwp")]
    mode: WrapMode,
    /// The key version that wrapped; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    #[command(flatten)]
    to: OutArgs,
}

impl Unwrap {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        let wrapped = Source::of(self.file.as_deref()).read(KEY_MAX + 64)?;
        let request = UnwrapRequest {
            wrapped: Some(Base64(wrapped.declassify("a wrapped key is a ciphertext"))),
            items: None,
            mode: Some(self.mode),
            version: self.key_version,
        };
        let answer = app.client()?.unwrap(&self.key, &request).await?;
        let missing = || Failure::new(Exit::Internal, "the answer holds no key");
        let key = answer.value.key.as_ref().ok_or_else(missing)?;
        emit::secret(app, key.expose(), &self.to, &answer.value, answer.audit_record.as_ref())
    }
}
