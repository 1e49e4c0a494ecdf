//! Data keys, for programs that encrypt by themselves.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use keyreeve_wire::Pairs;
use keyreeve_wire::cipher::{CiphertextRequest, DataKeyReply, GenerateDataKeyRequest};
use serde_json::json;

use super::encrypt::ContextArgs;
use super::rewrap::ciphertext;
use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Source};

/// Make a data key, for encrypting with another program
///
/// The key itself goes to the file given with -o, readable by you only; the wrapped key is printed: keep it beside the
/// data. `keyreeve unwrap-data-key` gets the key back. To encrypt files, `keyreeve encrypt` does all of this by itself.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve data-key backups -o data.key > data.key.wrapped\n  \
        $ keyreeve data-key backups --wrapped-only > later.wrapped    # nobody sees the key yet")]
pub(crate) struct DataKey {
    /// The key that wraps, by id or alias
    key: String,
    /// Length of the data key in bytes
    #[arg(
        long,
        default_value = "32",
        value_parser = PossibleValuesParser::new(["32", "64"]).try_map(|s| s.parse::<u32>())
    )]
    bytes: u32,
    /// Make the wrapped key only: another, weaker permission suffices
    #[arg(long, conflicts_with = "path")]
    wrapped_only: bool,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    to: OutArgs,
}

impl DataKey {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        if !self.wrapped_only {
            emit::needs_place(app, &self.to)?;
        }
        let request = GenerateDataKeyRequest {
            bytes: Some(self.bytes),
            plaintext: Some(!self.wrapped_only),
            count: None,
            context: Pairs(self.context.map()?),
        };
        let answer = app.client()?.generate_data_key(&self.key, &request).await?;
        self.show(app, &answer.value, answer.audit_record.as_ref())
    }

    fn show(&self, app: &App, reply: &DataKeyReply, record: Option<&String>) -> Outcome {
        let wrapped = reply.ciphertext.as_ref().ok_or_else(incomplete)?.to_string();
        match (self.to.sink(), &reply.plaintext) {
            (Some(sink), Some(plaintext)) => {
                sink.write(plaintext.expose(), Readers::Owner)?;
                let shown = json!({
                    "ciphertext": wrapped,
                    "version": reply.version,
                    "out": sink.name(),
                    "audit_record": record,
                });
                app.out.show(&shown, |_| wrapped.clone())?;
            }
            (_, None) if !self.wrapped_only => return Err(incomplete()),
            _ => app.out.show(reply, |_| wrapped.clone())?,
        }
        Ok(Exit::Done)
    }
}

fn incomplete() -> Failure {
    Failure::new(Exit::Internal, "the answer holds no data key")
}

/// Get a data key back from its wrapped form
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve unwrap-data-key data.key.wrapped -o data.key")]
pub(crate) struct UnwrapDataKey {
    /// File with the wrapped key; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    to: OutArgs,
}

impl UnwrapDataKey {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        emit::needs_place(app, &self.to)?;
        let ciphertext = Some(ciphertext(&Source::of(self.file.as_deref()))?);
        let context = Pairs(self.context.map()?);
        let request = CiphertextRequest { ciphertext, context, ..CiphertextRequest::default() };
        let answer = app.client()?.unwrap_data_key(&request).await?;
        let key = answer.value.plaintext.as_ref().ok_or_else(incomplete)?;
        emit::secret(app, key.expose(), &self.to, &answer.value, answer.audit_record.as_ref())
    }
}
