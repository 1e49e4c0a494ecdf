//! Decrypting files and small values; which of them it is, their first bytes say.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_client::{Client, Context, FileHeader};
use keyreeve_secret::SecretString;
use keyreeve_wire::Ciphertext;
use keyreeve_wire::bytes::CIPHERTEXT_PREFIX;

use super::encrypt::{ContextArgs, SUFFIX, report};
use crate::app::{App, Outcome, blocking};
use crate::emit::OutArgs;
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink, Source};
use crate::progress::Progress;

/// The longest `kr1.` text, in bytes: of 1 MiB of plaintext and its header.
const TEXT_MAX: usize = 2 * 1024 * 1024;

/// Decrypt what `keyreeve encrypt` made, files and small values alike
///
/// One request to the server, whatever the size. Only what has proved genuine is written; if the file was altered or
/// cut short, nothing is left behind and the exit code is 7. Into a pipe, what was written before is genuine but not
/// complete.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve decrypt report.pdf.krv                       # writes report.pdf\n  \
        $ keyreeve decrypt data.tar.krv -o - | tar x            # into a pipe\n  \
        $ echo kr1.S1Ix... | keyreeve decrypt --context user=42\n\n\
        The context of a file stands in the file; --context then only checks that it is the expected one.")]
pub(crate) struct Decrypt {
    /// What to decrypt; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    to: OutArgs,
}

/// What a stream holds, by its first bytes.
pub(super) enum Content {
    /// A `kr1.` text.
    Text(Ciphertext),
    /// An envelope file: its header, and the stream behind it.
    Envelope(Box<FileHeader>, Box<dyn Read + Send>),
}

/// Looks at the first bytes, without losing them.
pub(super) fn recognise(mut reader: Box<dyn Read + Send>, name: &str) -> Result<Content, Failure> {
    let mut first = Vec::new();
    let mut start = (&mut reader).take(CIPHERTEXT_PREFIX.len() as u64);
    start.read_to_end(&mut first).map_err(|error| Failure::io(name, &error))?;
    let is_text = first == CIPHERTEXT_PREFIX.as_bytes();
    let mut whole = Cursor::new(first).chain(reader);
    if is_text {
        let text = SecretString::from_utf8(files::read_limited(whole, name, TEXT_MAX)?);
        let text = text.map_err(|_| Failure::usage(format!("{name} is not text after `{CIPHERTEXT_PREFIX}`")))?;
        let ciphertext = text.expose().trim().parse();
        return ciphertext.map(Content::Text).map_err(|error| Failure::usage(format!("{name}: {error}")));
    }
    let header = keyreeve_client::read_header(&mut whole).map_err(|error| {
        let failure = Failure::from(error);
        let next = "`keyreeve decrypt` reads what `keyreeve encrypt` made: `.krv` files and `kr1.` texts";
        if failure.exit == Exit::Usage { failure.next(next) } else { failure }
    })?;
    Ok(Content::Envelope(Box::new(header), Box::new(whole)))
}

/// The context of a file stands in the file; one that is given must be the same.
pub(super) fn check_context(given: &Context, written: &Context) -> Result<(), Failure> {
    if given.is_empty() || given == written {
        return Ok(());
    }
    Err(Failure::new(Exit::Integrity, "the file was encrypted with another context"))
}

impl Decrypt {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let source = Source::of(self.file.as_deref());
        let (reader, len) = source.open()?;
        let given = self.context.map()?;
        let client = app.client()?;
        match recognise(reader, &source.name())? {
            Content::Text(ciphertext) => self.text(&client, ciphertext, &given).await,
            Content::Envelope(header, rest) => {
                check_context(&given, header.header().context())?;
                let total = len.and_then(|len| header.plaintext_len(len).ok());
                self.envelope(app, &client, source, (*header, rest, total)).await
            }
        }
    }

    async fn text(&self, client: &Client, ciphertext: Ciphertext, context: &Context) -> Outcome {
        let answer = client.decrypt(ciphertext, context).await?;
        let sink = self.to.sink().unwrap_or(Sink::Stdout);
        sink.write(answer.value.expose(), Readers::Owner)?;
        Ok(Exit::Done)
    }

    async fn envelope(
        &self,
        app: &App,
        client: &Client,
        source: Source,
        (header, rest, total): (FileHeader, Box<dyn Read + Send>, Option<u64>),
    ) -> Outcome {
        let sink = self.sink(&source)?;
        let output = sink.create(Readers::Owner)?;
        let answer = client.open_envelope(header, None).await?;
        let progress = Progress::bytes(app.out, "decrypting", total);
        let bar = progress.clone();
        let bytes = blocking(move || {
            let mut output = output;
            let bytes = answer.value.decrypt(rest, &mut output, |done| bar.set(done))?;
            output.finish()?;
            Ok(bytes)
        })
        .await;
        progress.finish();
        let bytes = bytes.map_err(|failure| what_was_written(failure, &sink))?;
        report(app, &source, &sink, bytes, answer.audit_record.as_ref())
    }

    fn sink(&self, source: &Source) -> Result<Sink, Failure> {
        if let Some(sink) = self.to.sink() {
            return Ok(sink);
        }
        match source.path() {
            None => Ok(Sink::Stdout),
            Some(path) => match without_suffix(path) {
                Some(path) => Ok(Sink::of(&path, self.to.force)),
                None => Err(Failure::usage(format!("{} does not end in .{SUFFIX}", path.display()))
                    .next("`-o FILE` says where the plaintext shall go")),
            },
        }
    }
}

fn without_suffix(path: &Path) -> Option<PathBuf> {
    path.extension().filter(|extension| *extension == SUFFIX)?;
    Some(path.with_extension(""))
}

/// What the person has after a failure in the middle.
fn what_was_written(failure: Failure, sink: &Sink) -> Failure {
    if failure.exit != Exit::Integrity {
        return failure;
    }
    match sink {
        Sink::File { .. } => failure.next("nothing was written; get the file again from where it came from"),
        Sink::Stdout => failure.next("what was written is genuine but NOT complete: do not use it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(bytes: &[u8]) -> Result<Content, Failure> {
        recognise(Box::new(Cursor::new(bytes.to_vec())), "it")
    }

    #[test]
    fn texts_and_files_are_told_apart_by_content() {
        assert!(matches!(recognised(b"kr1.S1Ix\n"), Ok(Content::Text(text)) if text.0 == b"KR1"));
        for (bytes, exit) in [
            (&b""[..], Exit::Usage),
            (b"plain text", Exit::Usage),
            (b"kr1.S1I*", Exit::Usage),
            (b"kr", Exit::Usage),
            (b"\x8bKREENV\n\x00\x01", Exit::Integrity),
        ] {
            assert_eq!(recognised(bytes).err().unwrap().exit, exit, "{bytes:?}");
        }
    }

    #[test]
    fn a_given_context_must_be_the_one_in_the_file() {
        let context = |value: &str| Context::from([("user".to_owned(), value.to_owned())]);
        assert!(check_context(&Context::new(), &context("42")).is_ok());
        assert!(check_context(&context("42"), &context("42")).is_ok());
        for written in [context("43"), Context::new()] {
            assert_eq!(check_context(&context("42"), &written).unwrap_err().exit, Exit::Integrity);
        }
    }

    #[test]
    fn the_suffix_is_taken_off() {
        assert_eq!(without_suffix(Path::new("a/report.pdf.krv")), Some("a/report.pdf".into()));
        assert_eq!(without_suffix(Path::new("report.pdf")), None);
    }

    #[test]
    fn after_tampering_the_person_is_told_what_there_is() {
        let failure = || Failure::new(Exit::Integrity, "altered");
        assert!(what_was_written(failure(), &Sink::Stdout).next.unwrap().contains("NOT complete"));
        let file = Sink::of(Path::new("x"), false);
        assert!(what_was_written(failure(), &file).next.unwrap().contains("nothing was written"));
    }
}
