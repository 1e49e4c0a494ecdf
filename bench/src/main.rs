//! Benchmarks that print ratios: a bare server that only encrypts, Keyreeve with everything on, and raw library calls,
//! side by side on one machine in one run. `cargo xtask bench` builds and starts this.
//!
//! Absolute figures drift with the machine and the hour; server CPU per request is the steadiest of them. Every
//! comparison alternates between the two sides, so that both meet the same weather.
#![allow(clippy::print_stdout, reason = "a benchmark's product is what it prints")]

mod access;
mod bare;
mod http;
mod load;
mod process;
mod raw;
mod report;
mod scenario;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str =
    "usage: keyreeve-bench run PATH-OF-KEYREEVE [--long] [[--only] NAME]\n       keyreeve-bench bare DIRECTORY";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bare", directory] => bare::serve(&PathBuf::from(directory)),
        ["run", keyreeve, options @ ..] => options_of(options).and_then(|options| scenario::run(keyreeve, &options)),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn options_of(words: &[&str]) -> Result<scenario::Options, Failure> {
    let mut options = scenario::Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--long" => options.long = true,
            "--only" => options.only = Some(words.next().ok_or(USAGE)?.to_string()),
            name if !name.starts_with('-') && options.only.is_none() => options.only = Some(name.to_owned()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
