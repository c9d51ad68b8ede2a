//! Work that any backend can do.

use super::Backend;
use clapp_data::error::Error;

/// Work that any backend can do: whoever opens the backend that was asked for hands it to the work.
pub trait Job {
    /// Result of the work.
    type Output;

    /// Does the work.
    ///
    /// # Errors
    /// The errors of the work.
    fn run<B: Backend + 'static>(self, backend: B) -> Result<Self::Output, Error>;
}
