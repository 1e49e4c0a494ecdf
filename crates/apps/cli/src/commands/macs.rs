//! Message authentication codes.

use std::path::PathBuf;

use clap::Args;
use keyreeve_wire::signing::{MacRequest, VerifyMacRequest};
use keyreeve_wire::{Base64, SecretBase64};
use serde_json::json;

use super::signing::{proof, verdict};
use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::Source;

/// The longest message, in bytes.
const MESSAGE_MAX: usize = 1024 * 1024;

/// Compute a message authentication code (HMAC)
#[derive(Args)]
#[command(after_help = "Example:\n  $ printf %s \"$COOKIE\" | keyreeve mac sessions")]
pub(crate) struct Mac {
    /// The key's id or alias
    key: String,
    /// The message; `-` or nothing is standard input (at most 1 MiB)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    to: OutArgs,
}

impl Mac {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let message = Some(SecretBase64(Source::of(self.file.as_deref()).read(MESSAGE_MAX)?));
        let answer = app.client()?.mac(&self.key, &MacRequest { message, items: None }).await?;
        let missing = || Failure::new(Exit::Internal, "the answer holds no code");
        let mac = answer.value.mac.as_ref().ok_or_else(missing)?;
        let record = answer.audit_record.as_ref();
        let reply = json!({ "mac": mac, "version": answer.value.version, "audit_record": record });
        emit::public(app, &mac.0, &self.to, &reply, record)
    }
}

/// Verify a message authentication code; ends with 1 when it is not valid
#[derive(Args)]
#[command(after_help = "Example:\n  $ printf %s \"$COOKIE\" | keyreeve verify-mac sessions --mac-base64 \"$TAG\"")]
pub(crate) struct VerifyMac {
    /// The key's id or alias
    key: String,
    /// The message; `-` or nothing is standard input (at most 1 MiB)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    tag: TagArgs,
    /// The version; unless said, the newest ones are tried
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
}

/// A code, in a file or on the command line.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct TagArgs {
    /// File with the code, as bytes
    #[arg(long, value_name = "FILE")]
    mac: Option<PathBuf>,
    /// The code as base64
    #[arg(long, value_name = "TEXT")]
    mac_base64: Option<Base64>,
}

impl VerifyMac {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let request = VerifyMacRequest {
            message: Some(SecretBase64(Source::of(self.file.as_deref()).read(MESSAGE_MAX)?)),
            mac: Some(proof(self.tag.mac.as_ref(), self.tag.mac_base64)?),
            items: None,
            version: self.key_version,
        };
        let answer = app.client()?.verify_mac(&self.key, &request).await?;
        verdict(app, answer.value.valid == Some(true), answer.value.version, answer.audit_record.as_ref())
    }
}
