//! Chores of the workspace, started as `cargo xtask COMMAND`.
//!
//! A new command is one line in [`COMMANDS`] and one module with a `run(&[String]) -> Result<ExitCode>`.

// This program talks to the person who started it: printing is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod cargo;
mod fuzz;
mod source;
mod test;
mod tidy;
mod workspace;

use std::error::Error;
use std::process::ExitCode;

/// What every fallible step of a chore returns: the message is shown as it is to the person who started it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Command {
    name: &'static str,
    usage: &'static str,
    run: fn(&[String]) -> Result<ExitCode>,
}

const COMMANDS: &[Command] = &[
    Command { name: "test", usage: test::USAGE, run: test::run },
    Command { name: "tidy", usage: tidy::USAGE, run: tidy::run },
    Command { name: "bench", usage: bench::USAGE, run: bench::run },
    Command { name: "fuzz", usage: fuzz::USAGE, run: fuzz::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return Ok(ExitCode::from(2));
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("cargo xtask: there is no command `{name}`\n\n{}", help());
        return Ok(ExitCode::from(2));
    };
    if rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", command.usage);
        return Ok(ExitCode::SUCCESS);
    }
    (command.run)(rest)
}

fn help() -> String {
    let mut text = String::from("Chores of the workspace. `cargo xtask COMMAND --help` says more.\n\n");
    for command in COMMANDS {
        let summary = command.usage.lines().next().unwrap_or_default();
        text.push_str(&format!("  {summary}\n"));
    }
    text
}
