//! The `keyreeve` binary: the server and its command line in one program.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod cli;
mod commands;
mod emit;
mod failure;
mod files;
mod out;
mod profile;
mod progress;
mod text;

fn main() {
    let exit = cli::run();
    std::process::exit(exit as i32);
}
