//! Bringing ciphertexts to a newer version of their key, or to another key.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_client::{Client, FileHeader};
use keyreeve_model::ciphertext::Header;
use keyreeve_wire::cipher::{CiphertextReply, CiphertextRequest, ReEncryptRequest};
use keyreeve_wire::{Ciphertext, Pairs};
use serde_json::json;

use super::decrypt::{Content, check_context, recognise};
use super::encrypt::{ContextArgs, report};
use crate::app::{App, Outcome, blocking};
use crate::emit::OutArgs;
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink, Source};
use crate::progress::Progress;
use crate::text::{self, Pair};

/// Bring a ciphertext, a wrapped data key or a file to the newest version of its key
///
/// `kr1.` texts are rewrapped inside of the server. A file gets a fresh data key under the newest version, and its
/// content is encrypted again here, chunk by chunk; it is replaced when that is complete. Needs permission to decrypt
/// and to encrypt.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve rewrap report.pdf.krv          # replaces the file\n  \
        $ echo kr1.S1Ix... | keyreeve rewrap --context user=42")]
pub(crate) struct Rewrap {
    /// What to rewrap; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    to: OutArgs,
}

impl Rewrap {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let source = resolved(Source::of(self.file.as_deref()))?;
        let (reader, len) = source.open()?;
        let client = app.client()?;
        match recognise(reader, &source.name())? {
            Content::Text(ciphertext) => {
                let context = Pairs(self.context.map()?);
                let request =
                    CiphertextRequest { ciphertext: Some(ciphertext), context, ..CiphertextRequest::default() };
                let answer = client.rewrap(&request).await?;
                emit_text(app, answer.value, &self.to, answer.audit_record.as_ref())
            }
            Content::Envelope(header, rest) => {
                check_context(&self.context.map()?, header.header().context())?;
                self.envelope(app, &client, source, (*header, rest, len)).await
            }
        }
    }

    async fn envelope(
        &self,
        app: &App,
        client: &Client,
        source: Source,
        (header, rest, len): (FileHeader, Box<dyn Read + Send>, Option<u64>),
    ) -> Outcome {
        let (sink, readers) = match (self.to.sink(), source.path()) {
            (Some(sink), _) => (sink, Readers::Anybody),
            (None, Some(path)) => (Sink::of(path, true), Readers::As(mode_of(path)?)),
            (None, None) => (Sink::Stdout, Readers::Anybody),
        };
        let key = key_of(&header)?;
        let total = len.and_then(|len| header.plaintext_len(len).ok());
        let output = sink.create(readers)?;
        let new = client.envelope_for(&key, &header).await?;
        let old = client.open_envelope(header, None).await?;
        let progress = Progress::bytes(app.out, "rewrapping", total);
        let bar = progress.clone();
        let bytes = blocking(move || {
            let mut output = output;
            let bytes = old.value.renew(new.value, rest, &mut output, |done| bar.set(done))?;
            output.finish()?;
            Ok(bytes)
        })
        .await;
        progress.finish();
        report(app, &source, &sink, bytes?, new.audit_record.as_ref())
    }
}

/// The file itself where a link to it was named: replacing the link would leave the file as it was.
fn resolved(source: Source) -> Result<Source, Failure> {
    match source.path() {
        Some(path) if path.is_file() => {
            path.canonicalize().map(Source::File).map_err(|error| Failure::io(path.display(), &error))
        }
        _ => Ok(source),
    }
}

fn mode_of(path: &Path) -> Result<u32, Failure> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map(|metadata| metadata.mode()).map_err(|error| Failure::io(path.display(), &error))
}

/// The key that the data key of a file is wrapped by.
fn key_of(header: &FileHeader) -> Result<String, Failure> {
    let (wrapped, _) = Header::decode(header.header().wrapped_key())
        .map_err(|error| Failure::new(Exit::Integrity, format!("the wrapped data key: {error}")))?;
    Ok(wrapped.key.to_string())
}

fn emit_text(app: &App, reply: CiphertextReply, to: &OutArgs, record: Option<&String>) -> Outcome {
    let missing = || Failure::new(Exit::Internal, "the answer holds no ciphertext");
    let text = reply.ciphertext.ok_or_else(missing)?.to_string();
    match to.sink() {
        Some(sink) => sink.write(format!("{text}\n").as_bytes(), Readers::Anybody)?,
        None => {
            let reply = json!({ "ciphertext": text, "version": reply.version, "audit_record": record });
            app.out.show(&reply, |_| text.clone())?;
        }
    }
    Ok(Exit::Done)
}

/// Move a `kr1.` ciphertext to another key; the plaintext stays inside of the server
#[derive(Args)]
#[command(after_help = "Example:\n  $ echo kr1.S1Ix... | keyreeve reencrypt orders orders-2027 --context user=42")]
pub(crate) struct Reencrypt {
    /// The key it is under
    from: String,
    /// The key it shall be under
    to: String,
    /// File with the ciphertext; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// A fact to bind instead of the old ones; may be repeated
    #[arg(long = "to-context", value_name = "NAME=VALUE")]
    to_context: Vec<Pair>,
    #[command(flatten)]
    out: OutArgs,
}

impl Reencrypt {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let source = Source::of(self.file.as_deref());
        let to_context = if self.to_context.is_empty() { None } else { Some(Pairs(text::map(&self.to_context)?)) };
        let request = ReEncryptRequest {
            to: self.to,
            ciphertext: Some(ciphertext(&source)?),
            items: None,
            context: Pairs(self.context.map()?),
            to_context,
        };
        let answer = app.client()?.re_encrypt(&self.from, &request).await?;
        emit_text(app, answer.value, &self.out, answer.audit_record.as_ref())
    }
}

/// A `kr1.` text, and nothing else.
pub(super) fn ciphertext(source: &Source) -> Result<Ciphertext, Failure> {
    match recognise(source.open()?.0, &source.name())? {
        Content::Text(ciphertext) => Ok(ciphertext),
        Content::Envelope(..) => {
            Err(Failure::usage(format!("{} is a file of envelope form, not a `kr1.` text", source.name())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_file_that_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        Sink::of(&file, false).write(b"x", Readers::As(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let source = resolved(Source::of(Some(&link))).unwrap();
        assert_eq!(source, Source::File(file.canonicalize().unwrap()));
        assert_eq!(mode_of(&link).unwrap() & 0o777, 0o640);
        assert_eq!(resolved(Source::Stdin).unwrap(), Source::Stdin);
    }
}
