//! Printing runbooks.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use keyreeve_ceremony::paper::pdf;
use keyreeve_server::Clock;
use serde_json::json;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink};
use crate::out::rows;
use crate::runbook::book::Book;
use crate::runbook::facts::Facts;
use crate::runbook::{RUNBOOKS, paper};

/// Forms of a runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Text with marks, for the terminal and for wikis.
    Markdown,
    /// A4, for the folder beside the server.
    Pdf,
}

/// Print what to do when a server, a root of trust, a share or a key is lost, or something is wrong
///
/// With what this installation really has: its roots of trust, who holds shares and how they are reached, where backups
/// are and how old the newest is, who may do what. Without a name the runbooks are listed. Print all of them on paper
/// (`--all`) and keep them where they are found when the server is down; what cannot be had then is said in its place.
/// `keyreeve drill` rehearses them.
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve runbook\n  $ keyreeve runbook share-holder\n  \
        $ keyreeve runbook --all --format pdf --out-dir folder --config /etc/keyreeve/keyreeve.toml")]
pub(crate) struct Runbook {
    /// Which; a list of them unless said
    name: Option<String>,
    /// All of them, a file each
    #[arg(long, conflicts_with = "name", requires = "out_dir")]
    all: bool,
    /// Where the files of `--all` go; made if it is not there
    #[arg(long, value_name = "DIRECTORY", requires = "all")]
    out_dir: Option<PathBuf>,
    /// The configuration of the server, for its paths: on its machine
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form
    #[arg(long, value_enum, default_value_t = Form::Markdown, value_name = "FORM")]
    format: Form,
    /// Where one runbook goes; standard output unless said
    #[arg(long, short, value_name = "FILE", requires = "name")]
    out: Option<PathBuf>,
}

impl Runbook {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let now = keyreeve_server::SystemClock::new().now();
        match (&self.name, &self.out_dir) {
            (Some(name), _) => {
                let book = find(name)?;
                let facts = Facts::gather(app, self.config.as_deref(), now).await;
                self.print(app, &book, &facts)
            }
            (None, Some(directory)) => {
                let facts = Facts::gather(app, self.config.as_deref(), now).await;
                self.print_all(app, directory, &facts)
            }
            (None, None) => list(app),
        }
    }

    fn rendered(&self, book: &Book, facts: &Facts) -> Result<Vec<u8>, Failure> {
        let text = format!("{}\n---\n{}\n", book.filled(|place| facts.fill(place)), facts.dated());
        match self.format {
            Form::Markdown => Ok(text.into_bytes()),
            Form::Pdf => {
                let failed = |error: pdf::PdfError| Failure::new(Exit::Internal, error.to_string());
                pdf::render(&paper::document(&text.replace("\n---\n", "\n\n"), &facts.dated())).map_err(failed)
            }
        }
    }

    fn print(&self, app: &App, book: &Book, facts: &Facts) -> Outcome {
        let bytes = self.rendered(book, facts)?;
        tell_missing(app, facts);
        match (&self.out, self.format) {
            (Some(path), _) => Sink::of(path, true).write(&bytes, Readers::Anybody)?,
            (None, Form::Pdf) => return Err(Failure::usage("a PDF goes into a file: name it with `-o`")),
            (None, Form::Markdown) if app.out.is_json() => {
                let text = String::from_utf8_lossy(&bytes);
                app.out.json(&json!({ "name": book.name, "title": book.title, "text": text }))?;
            }
            (None, Form::Markdown) => app.out.bytes(&bytes)?,
        }
        Ok(Exit::Done)
    }

    fn print_all(&self, app: &App, directory: &Path, facts: &Facts) -> Outcome {
        std::fs::create_dir_all(directory).map_err(|error| Failure::io(directory.display(), &error))?;
        let ending = match self.format {
            Form::Markdown => "md",
            Form::Pdf => "pdf",
        };
        let mut files = Vec::new();
        for shipped in RUNBOOKS {
            let book = Book::read(*shipped).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
            let path = directory.join(format!("{}.{ending}", book.name));
            Sink::of(&path, true).write(&self.rendered(&book, facts)?, Readers::Anybody)?;
            files.push(path.display().to_string());
        }
        tell_missing(app, facts);
        app.show(&json!({ "files": files }), |_| {
            format!("{} runbooks are in {}: print them\n", files.len(), directory.display())
        })
    }
}

fn tell_missing(app: &App, facts: &Facts) {
    for why in facts.missing() {
        app.out.warn(&format!("something is missing in it: {why}"));
    }
}

fn find(name: &str) -> Result<Book, Failure> {
    let known: Vec<&str> = RUNBOOKS.iter().map(|shipped| shipped.name).collect();
    let found = RUNBOOKS.iter().find(|shipped| shipped.name == name);
    let missing = || Failure::new(Exit::Absent, format!("there is no such runbook; they are: {}", known.join(", ")));
    Book::read(*found.ok_or_else(missing)?).map_err(|error| Failure::new(Exit::Internal, error.to_string()))
}

fn list(app: &App) -> Outcome {
    let book = |shipped: &crate::runbook::Shipped| {
        let book = Book::read(*shipped).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        Ok((book.name, book.title))
    };
    let books = RUNBOOKS.iter().map(book).collect::<Result<Vec<_>, Failure>>()?;
    let value: Vec<_> = books.iter().map(|(name, title)| json!({ "name": name, "title": title })).collect();
    app.show(&value, |_| {
        rows(["name", "what happened"], books.iter().map(|(name, title)| [(*name).to_owned(), (*title).to_owned()]))
    })
}
