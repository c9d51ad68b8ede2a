//! `clapp config`: all keys of a configuration.

use super::output::say;
use crate::config::keys::page;
use crate::error::Error;

/// Runs `clapp config`.
///
/// # Errors
/// Where the output cannot be written.
pub fn run() -> Result<u8, Error> {
    say(page().trim_end())?;
    Ok(0)
}
