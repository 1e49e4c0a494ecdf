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
mod runbook;
mod text;

/// Requests allocate on one thread and free on another, which costs the system's allocator a sixth of the server's
/// time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let exit = cli::run();
    std::process::exit(exit as i32);
}
