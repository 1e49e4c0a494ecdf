//! A tour against the running server: every step does something, shows it, and names the command for it.

mod steps;
mod tour;

use std::path::PathBuf;

use clap::Args;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use tour::Tour;

/// Take a tour: see keys made, used, rotated, suspended, and everything proved
///
/// Works against the running server with keys of its own, and shows the command for each step. Every result is checked:
/// if something that must be refused were not, the tour fails.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve demo\n  \
        $ keyreeve demo --dir tour    # keeps the files, to try the commands on them")]
pub(crate) struct Demo {
    /// Keep the files of the tour in this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let scratch = tempfile::tempdir().map_err(|error| Failure::io("a temporary directory", &error))?;
        if let Some(dir) = &self.dir {
            std::fs::create_dir_all(dir).map_err(|error| Failure::io(dir.display(), &error))?;
        }
        let mut tour = Tour::begin(app, scratch.path(), self.dir).await?;
        steps::all(&mut tour).await?;
        tour.end()?;
        Ok(Exit::Done)
    }
}
