//! Results that are bytes: signatures, wrapped keys, secrets. Raw into a file or `-`, else as base64; secrets are never
//! shown on a terminal unless somebody asks for it.

use std::path::PathBuf;

use clap::Args;
use keyreeve_secret::SecretBuffer;
use keyreeve_wire::{Base64, SecretBase64};
use serde::Serialize;
use serde_json::json;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink};

/// Where the bytes of a result go.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutArgs {
    /// Write the bytes themselves to this file; `-` is standard output
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl OutArgs {
    pub(crate) fn sink(&self) -> Option<Sink> {
        self.path.as_ref().map(|path| Sink::of(path, self.force))
    }
}

/// Bytes that are no secret: into the file asked for, as JSON, or as base64.
pub(crate) fn public<T: Serialize>(
    app: &App,
    bytes: &[u8],
    to: &OutArgs,
    reply: &T,
    record: Option<&String>,
) -> Outcome {
    match to.sink() {
        Some(sink) => written(app, &sink, bytes, Readers::Anybody, record)?,
        None => app.out.show(reply, |_| Base64(bytes.to_vec()).to_string())?,
    }
    Ok(Exit::Done)
}

/// A secret: into the file asked for, readable by its owner only, or as JSON for a program that asked for that.
pub(crate) fn secret<T: Serialize>(
    app: &App,
    bytes: &[u8],
    to: &OutArgs,
    reply: &T,
    record: Option<&String>,
) -> Outcome {
    match to.sink() {
        Some(sink) => written(app, &sink, bytes, Readers::Owner, record)?,
        None if app.out.is_json() => app.out.json(reply)?,
        None => return Err(Failure::usage("the answer is a secret").next(PLACE)),
    }
    Ok(Exit::Done)
}

const PLACE: &str = "say where it shall go: `-o FILE` (readable by you only), or `-o -` into a pipe";

/// Refuses, before anything is asked of the server, to make a secret that has no place to go.
pub(crate) fn needs_place(app: &App, to: &OutArgs) -> Result<(), Failure> {
    if to.path.is_some() || app.out.is_json() {
        return Ok(());
    }
    Err(Failure::usage("the answer is a secret").next(PLACE))
}

fn written(app: &App, sink: &Sink, bytes: &[u8], readers: Readers, record: Option<&String>) -> Result<(), Failure> {
    sink.write(bytes, readers)?;
    if sink.is_file() {
        if app.out.is_json() {
            return app.out.json(&json!({ "out": sink.name(), "bytes": bytes.len(), "audit_record": record }));
        }
        app.note_record(&format!("{} bytes written to {}", bytes.len(), sink.name()), record);
    }
    Ok(())
}

/// A secret as a line of base64, for `random`, whose answer is no key yet.
pub(crate) fn base64_line(bytes: &[u8]) -> keyreeve_secret::SecretBytes {
    let mut line = SecretBuffer::with_capacity(bytes.len() * 2);
    SecretBase64::append(bytes, &mut line);
    line.push(b'\n');
    line.finish()
}
