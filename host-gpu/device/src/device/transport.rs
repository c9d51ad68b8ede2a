//! A line that carries bytes both ways, and may lose or change some.

use std::io::Result;
use std::time::Duration;

/// One end of a line.
pub trait Transport: std::fmt::Debug {
    /// The name of the line in errors.
    fn place(&self) -> String;

    /// Advice for the user if there is no reply.
    fn advice(&self) -> String;

    /// Sends all bytes.
    ///
    /// # Errors
    /// If the line is cut.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;

    /// Puts bytes that have come at the start of `bytes`, and gives their number: 0 if none came while `wait` passed.
    ///
    /// # Errors
    /// If the line is cut.
    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> Result<usize>;
}
