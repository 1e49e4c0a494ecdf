//! What the end-to-end tests share: servers as child processes, callers over HTTPS, the command line, certificates,
//! databases.
//!
//! The tests in `tests/` look at Keyreeve from outside, as its users do: through the binary, its files and its sockets.
//! Nothing here waits for a fixed time; everything waits for an event and gives up after a bounded time with the
//! server's log.
//!
//! - [`Binary`], [`Server`]: the program and a running process of it; [`Dev`], [`Production`]: the two ways to run one
//! - [`Api`]: one caller over HTTPS; [`Cli`]: the command line; [`Wire`]: raw bytes over TLS
//! - [`Factor`]: the second factor that somebody carries
//! - [`Idp`], [`Slapd`]: an OpenID provider and a directory of other people's
//! - [`Vault`], [`GoogleCloud`]: other key management services; [`Middle`]: what may happen on the way to a service
//! - [`Softhsm`]: a hardware security module in software
//! - [`Browser`]: Chromium with an authenticator
//! - [`Canaries`]: secrets that must not be found
//! - [`Pki`], [`Database`], [`Chance`], [`log`]: certificates, PostgreSQL, repeatable randomness, the audit log's files
#![allow(clippy::unwrap_used)]

mod api;
mod browser;
mod canary;
mod chance;
mod cli;
mod database;
mod dev;
mod factor;
mod google;
mod idp;
pub mod log;
mod middle;
mod moto;
mod pki;
mod production;
mod server;
mod slapd;
mod softhsm;
mod swtpm;
mod vault;
mod wire;

pub use api::{Answer, Api, Endpoint, NoAnswer};
pub use browser::{Browser, Screen};
pub use canary::Canaries;
pub use chance::Chance;
pub use cli::{Cli, Done};
pub use database::Database;
pub use dev::Dev;
pub use factor::Factor;
pub use google::GoogleCloud;
pub use http::Method;
pub use idp::{Callback, Idp};
pub use middle::{Fate, Middle, Passing};
pub use moto::Moto;
pub use pki::Pki;
pub use production::{Layout, People, Production, Up};
pub use server::{Binary, Server, wait_until};
pub use slapd::Slapd;
pub use softhsm::Softhsm;
pub use swtpm::Swtpm;
pub use vault::Vault;
pub use wire::Wire;

/// True when nothing may be left out silently (`KEYREEVE_TEST_ALL=1`, which `cargo xtask test` sets).
#[must_use]
pub fn everything_must_run() -> bool {
    std::env::var("KEYREEVE_TEST_ALL").as_deref() == Ok("1")
}

/// True in the long mode of `cargo xtask test --long`.
#[must_use]
pub fn long() -> bool {
    std::env::var("KEYREEVE_TEST_LONG").as_deref() == Ok("1")
}

/// Says that something could not be tested here.
///
/// # Panics
/// When everything must run.
pub fn not_run(why: &str) {
    assert!(!everything_must_run(), "cannot run: {why}");
    let mut stderr = std::io::stderr().lock();
    let _ = std::io::Write::write_all(&mut stderr, format!("not run: {why}\n").as_bytes());
}

/// The library that moves a program's clock (`faketime`), as that program loads it: `LD_PRELOAD`, with `FAKETIME`. The
/// command itself would stand between us and the server. None where it is not installed.
#[must_use]
pub fn clock_mover() -> Option<String> {
    let shown = std::process::Command::new("faketime").args(["-f", "+1d", "env"]).output().ok()?;
    let shown = String::from_utf8(shown.stdout).ok()?;
    shown.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).map(str::to_owned)
}

/// Standard base64 with padding.
#[must_use]
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::STANDARD.encode_to_string(bytes.as_ref())
}

/// What standard base64 with padding says.
///
/// # Panics
/// When the text is not base64.
#[must_use]
pub fn unbase64(text: &str) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(text).unwrap_or_else(|_| panic!("not base64: {text}"))
}

/// Unpadded base64url of these bytes.
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

/// Unpadded base64url.
///
/// # Panics
/// When the text is not base64url.
#[must_use]
pub fn unbase64url(text: &str) -> Vec<u8> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap_or_else(|_| panic!("not base64url: {text}"))
}

/// The environment of child processes: nothing of the caller's but where programs are, and a home of their own.
pub(crate) fn tidy_environment(command: &mut std::process::Command, home: &std::path::Path) {
    command.env_clear().env("HOME", home).env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}
