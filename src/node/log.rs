//! Logging: structured events through `tracing`.
//!
//! At the default level, `info`, a line tells what the system does, never about whom: no identity,
//! no key, no SIP or Diameter octets. At `debug` every message is one line with its step label and
//! a summary that leaves user parts out.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::config::{Log, LogFormat};

/// Sends log lines to standard error as `log` says. Once a process; a second call does nothing.
///
/// # Errors
///
/// The reason why `log.level` is no filter.
pub fn init(log: &Log) -> Result<(), String> {
    let filter = log.level.parse::<EnvFilter>().map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that a subscriber is set already, by an embedder or a test: theirs goes on.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
