//! Random bytes.

use clap::Args;

use crate::app::{App, Outcome};
use crate::emit::{self, OutArgs};
use crate::failure::Exit;

/// Get random bytes from the server's health-tested generator, as base64
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve random 32\n  $ keyreeve random 4096 -o seed.bin")]
pub(crate) struct Random {
    /// How many bytes
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    #[command(flatten)]
    to: OutArgs,
}

impl Random {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.random_bytes(self.bytes).await?;
        let random = &answer.value.random;
        if self.to.path.is_none() && !app.out.is_json() {
            app.out.bytes(emit::base64_line(random.expose()).expose())?;
            return Ok(Exit::Done);
        }
        emit::secret(app, random.expose(), &self.to, &answer.value, answer.audit_record.as_ref())
    }
}
