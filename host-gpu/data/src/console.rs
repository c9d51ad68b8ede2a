//! Standard output and standard error. Their reader can go away at any time. Only this module prints: a lint refuses
//! `println!` and `eprintln!`, which panic without a reader.

use crate::error::Error;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints one or more lines on standard output. If the reader has gone away, the line is lost and the work continues.
///
/// # Errors
/// [`Error::Output`]: a full disk behind it.
pub fn say(text: impl Display) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    printed(writeln!(out, "{text}"))
}

/// Same as [`say`], of what has been written to standard output already.
///
/// # Errors
/// Same as [`say`].
pub fn printed(written: std::io::Result<()>) -> Result<(), Error> {
    match written.and_then(|()| std::io::stdout().lock().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe || is_lost_terminal(&error) => Ok(()),
        printed => printed.map_err(Error::Output),
    }
}

/// Prints one or more lines on standard error: notes, warnings, errors. A line that cannot be written is lost.
pub fn note(text: impl Display) {
    // Write in one piece, because other processes may write to the same place.
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Returns `true` if an error of standard output means that its terminal is gone.
#[cfg(unix)]
fn is_lost_terminal(error: &std::io::Error) -> bool {
    // A disk gives the same error for damage, but is no character device.
    let is_device = rustix::fs::fstat(std::io::stdout())
        .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_char_device());
    is_device && error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Returns `true` if an error of standard output means that its terminal is gone.
#[cfg(not(unix))]
fn is_lost_terminal(_: &std::io::Error) -> bool {
    false
}
