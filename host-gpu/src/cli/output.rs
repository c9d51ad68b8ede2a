//! Standard output, whose reader may go away at any time.

use crate::error::Error;
use std::fmt::Display;
use std::io::Write;

/// Prints a line (or several).
///
/// # Errors
/// [`Error::Output`]: a full disk behind it, or a reader that has gone away.
pub(crate) fn say(text: impl Display) -> Result<(), Error> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(Error::Output)
}
