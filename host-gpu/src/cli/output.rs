//! Standard output, whose reader may go away at any time.

use crate::error::Error;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a line (or several). Where the reader has gone away, nobody hears it, and the work goes on.
///
/// # Errors
/// [`Error::Output`]: a full disk behind it.
pub(crate) fn say(text: impl Display) -> Result<(), Error> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Error::Output),
    }
}
