//! What development mode shows once it is up: one screen of at most 24 lines and 100 columns.

use std::fmt::Write;
use std::path::Path;

use super::{DATA_DIR, DevReady};

impl DevReady {
    /// The screen. `program` is how a person calls this program.
    #[must_use]
    pub fn screen(&self, program: &str) -> String {
        let mut screen = String::new();
        let mut line = |text: &str| {
            let _ = writeln!(screen, "{text}");
        };
        line("!! DEVELOPMENT MODE: the keys are NOT protected. The root key lies in a plain file in this");
        line("!! directory, and one token may do everything. Use `keyreeve serve` for anything that matters.");
        line("");
        line(&format!("  address    {}", self.url));
        line(&format!("  console    {}/", self.url));
        line(&format!("  CA file    {}", shown(&self.ca_file)));
        line(&format!(
            "  token      {}{}",
            shown(&self.token_file),
            if self.first { "  (new, good for a year)" } else { "" }
        ));
        line(&format!("  profile    {}", shown(&self.profile)));
        line("");
        line("In another terminal, in this directory:");
        line("");
        if program != "keyreeve" {
            line(&format!("  alias keyreeve={program}"));
        }
        let usual = self.profile.parent().is_some_and(|parent| parent == here().join(DATA_DIR));
        if !usual {
            line(&format!("  export KEYREEVE_PROFILE={}", shown(&self.profile)));
        }
        for command in COMMANDS {
            line(&format!("  {command}"));
        }
        line("");
        line("Ctrl-C ends the server; everything is kept for the next start.");
        screen
    }
}

/// A tour, to copy and paste.
const COMMANDS: &[&str] = &[
    "keyreeve demo                            # a tour that explains itself",
    "keyreeve key create --alias docs",
    "keyreeve encrypt docs README.md          # writes README.md.krv",
    "keyreeve decrypt README.md.krv -o -",
    "keyreeve key rotate docs                 # what was encrypted before still opens",
    "keyreeve key create --alias signer --algorithm ed25519 && keyreeve sign signer README.md",
    "keyreeve audit search                    # all of it is on record",
];

fn here() -> std::path::PathBuf {
    std::env::current_dir().and_then(|dir| dir.canonicalize()).unwrap_or_default()
}

/// A path as a person would type it here.
fn shown(path: &Path) -> String {
    path.strip_prefix(here()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_on_one_screen() {
        let directory = Path::new("/home/somebody/projects/keyreeve/.keyreeve-dev");
        let ready = DevReady {
            url: "https://localhost:7433".into(),
            ca_file: directory.join("ca.pem"),
            token_file: directory.join("token"),
            profile: directory.join("client.toml"),
            data_dir: directory.to_owned(),
            first: true,
        };
        let screen = ready.screen("target/release/keyreeve");
        assert!(screen.lines().count() <= 24, "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 100), "{screen}");
        assert!(screen.contains("NOT protected") && screen.contains("https://localhost:7433/"));
    }
}
