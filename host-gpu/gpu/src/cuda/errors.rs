//! The driver's errors, with the name of the operation.

use super::super::executor::GpuError;
use cudarc::driver::DriverError;

/// CUDA's name and text of an error.
pub fn text(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let said = error.error_string().map(|said| said.to_string_lossy().into_owned());
    match (name, said) {
        (Ok(name), Ok(said)) => format!("{name}: {said}"),
        _ => format!("{:?}", error.0),
    }
}

/// For `map_err` on calls of the driver.
pub fn driver(what: &str) -> impl FnOnce(DriverError) -> GpuError + '_ {
    move |error| failed(what, text(error))
}

/// An operation that has failed.
pub fn failed(what: impl Into<String>, reason: impl Into<String>) -> GpuError {
    GpuError::Failed { what: what.into(), reason: reason.into() }
}
