//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::error::ServerError;

/// Starts logging for this process. Only Keyreeve's own parts follow the configured level: those of others may print
/// what passes through them, so they never say more than warnings.
pub(crate) fn start(log: &Log) -> Result<(), ServerError> {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("warn,keyreeve={level}")))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| ServerError::part("log", error))
}
