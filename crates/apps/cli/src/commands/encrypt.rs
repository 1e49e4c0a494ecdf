//! Encrypting files and small values.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_client::Context;
use serde_json::json;

use crate::app::{App, Outcome, blocking};
use crate::emit::OutArgs;
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink, Source};
use crate::progress::Progress;
use crate::text::{self, Pair};

/// What an encrypted file's name ends with.
pub(super) const SUFFIX: &str = "krv";
/// The longest value that is encrypted on the server, in bytes.
const SMALL_MAX: usize = 1024 * 1024;

/// The encryption context: the same for encrypting and decrypting.
#[derive(Args)]
pub(crate) struct ContextArgs {
    /// A fact to bind to the ciphertext, needed again to decrypt; not secret, it is in the audit log; may be repeated
    #[arg(long = "context", value_name = "NAME=VALUE")]
    pairs: Vec<Pair>,
}

impl ContextArgs {
    pub(super) fn map(&self) -> Result<Context, Failure> {
        text::map(&self.pairs)
    }
}

/// Encrypt a file of any size, or a small value
///
/// A file is encrypted here, under a fresh data key from the server: one request, constant memory, and tampering or
/// truncation is noticed when decrypting. With --small the server itself encrypts up to 1 MiB, and the result is a
/// short text that starts with `kr1.`, for database columns and configuration files.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve encrypt docs report.pdf                          # writes report.pdf.krv\n  \
        $ tar c data | keyreeve encrypt backups - -o data.tar.krv   # from a pipe\n  \
        $ printf %s \"$PIN\" | keyreeve encrypt docs --small --context user=42")]
pub(crate) struct Encrypt {
    /// The key's id or alias
    key: String,
    /// What to encrypt; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// Encrypt on the server, into a short text (at most 1 MiB)
    #[arg(long)]
    small: bool,
    #[command(flatten)]
    to: OutArgs,
}

impl Encrypt {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let source = Source::of(self.file.as_deref());
        if self.small { self.small(app, &source).await } else { self.envelope(app, source).await }
    }

    async fn small(&self, app: &App, source: &Source) -> Outcome {
        let plaintext = source.read(SMALL_MAX)?;
        let answer = app.client()?.encrypt(&self.key, plaintext, &self.context.map()?).await?;
        let text = answer.value.to_string();
        match self.to.sink() {
            Some(sink) => sink.write(format!("{text}\n").as_bytes(), Readers::Anybody)?,
            None => {
                app.out.show(&json!({ "ciphertext": text, "audit_record": answer.audit_record }), |_| text.clone())?
            }
        }
        Ok(Exit::Done)
    }

    async fn envelope(&self, app: &App, source: Source) -> Outcome {
        let sink = self.sink(&source)?;
        let context = self.context.map()?;
        let (reader, len) = source.open()?;
        let output = sink.create(Readers::Anybody)?;
        let answer = app.client()?.new_envelope(&self.key, &context).await?;
        let progress = Progress::bytes(app.out, "encrypting", len);
        let bar = progress.clone();
        let bytes = blocking(move || {
            let mut output = output;
            let bytes = answer.value.encrypt(reader, &mut output, |done| bar.set(done))?;
            output.finish()?;
            Ok(bytes)
        })
        .await;
        progress.finish();
        let record = answer.audit_record;
        report(app, &source, &sink, bytes?, record.as_ref())
    }

    /// Beside the file, unless said.
    fn sink(&self, source: &Source) -> Result<Sink, Failure> {
        if let Some(sink) = self.to.sink() {
            return Ok(sink);
        }
        match source.path() {
            Some(path) => Ok(Sink::of(&with_suffix(path), self.to.force)),
            None if std::io::stdout().is_terminal() => {
                Err(Failure::usage("encrypted data would go to the terminal").next("`-o FILE` writes it to a file"))
            }
            None => Ok(Sink::Stdout),
        }
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SUFFIX);
    name.into()
}

/// Says what became of a file.
pub(super) fn report(app: &App, from: &Source, to: &Sink, bytes: u64, record: Option<&String>) -> Outcome {
    if to.is_file() {
        if app.out.is_json() {
            app.out.json(&json!({ "in": from.name(), "out": to.name(), "bytes": bytes, "audit_record": record }))?;
        } else {
            app.note_record(&format!("{} -> {}, {bytes} bytes", from.name(), to.name()), record);
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_is_added_to_the_whole_name() {
        assert_eq!(with_suffix(Path::new("a/report.pdf")), Path::new("a/report.pdf.krv"));
    }
}
