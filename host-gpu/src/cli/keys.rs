//! `clapp config`: all keys of a configuration.

use super::output::say;
use clapp_data::error::Error;
use clapp_engine::config::keys::page;

/// Runs `clapp config`.
///
/// # Errors
/// If the output cannot be written.
pub fn run() -> Result<u8, Error> {
    say(page().trim_end())?;
    Ok(0)
}
