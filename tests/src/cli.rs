//! The command line as a person or a script uses it.

use serde_json::Value;
use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Binary;

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// The exit code; negative for a signal.
    pub code: i32,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it said besides.
    pub stderr: String,
    line: String,
}

impl Done {
    /// Runs a command to its end, with something on its standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn of(command: &mut Command, stdin: &[u8]) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A command that refuses early does not read its input.
            scope.spawn(move || pipe.write_all(stdin));
            child.wait_with_output().unwrap()
        });
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line: format!("keyreeve {}", words.join(" ")),
        })
    }

    /// Standard output as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "{self}");
        self
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(f, "$ {}\nexit code {}\n{stdout}\n{}", self.line, self.code, self.stderr)
    }
}

/// The command line in one directory.
#[derive(Clone, Debug)]
pub struct Cli {
    binary: Binary,
    home: PathBuf,
    profile: Option<PathBuf>,
}

impl Cli {
    /// In this directory, with the profile that is found there.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self { binary: Binary::find(), home: home.to_owned(), profile: None }
    }

    /// The same with another profile.
    #[must_use]
    pub fn with_profile(&self, profile: &Path) -> Self {
        Self { profile: Some(profile.to_owned()), ..self.clone() }
    }

    /// The directory it runs in.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A command that is not started yet.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.binary.command(&self.home);
        if let Some(profile) = &self.profile {
            command.env("KEYREEVE_PROFILE", profile);
        }
        command.args(arguments);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        self.run_with(arguments, b"")
    }

    /// The same with something on its standard input.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: &[u8]) -> Done {
        Done::of(&mut self.command(arguments), stdin).unwrap()
    }

    /// Runs a command that must succeed; its standard output as text.
    ///
    /// # Panics
    /// When it does not succeed.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        self.run(arguments).code(0).text()
    }

    /// Runs a command with `--output json` that must succeed.
    ///
    /// # Panics
    /// When it does not succeed, or does not print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--output", "json"]].concat()).code(0).json()
    }
}
