//! Completion of the command line in shells.

use clap::{Args, CommandFactory, ValueEnum};

use crate::app::{App, Outcome};
use crate::cli::Cli;
use crate::failure::Exit;

/// Print completion for a shell
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve completions bash > ~/.local/share/bash-completion/completions/keyreeve\n  \
        $ keyreeve completions zsh > ~/.zfunc/_keyreeve\n  \
        $ keyreeve completions fish > ~/.config/fish/completions/keyreeve.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "keyreeve", &mut script);
        app.out.bytes(&script)?;
        Ok(Exit::Done)
    }
}
