//! What CUDA and its libraries say where they refuse, as errors that name the operation.

use super::super::executor::GpuError;
use cudarc::cublaslt::result::CublasError;
use cudarc::cudnn::result::CudnnError;
use cudarc::driver::DriverError;
use std::ffi::{CStr, c_char};

/// What CUDA calls an error, and what it says of it.
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

/// For `map_err` on calls of cuDNN.
pub fn cudnn(what: &str) -> impl FnOnce(CudnnError) -> GpuError + '_ {
    move |error| {
        let mut last: [c_char; 512] = [0; 512];
        // SAFETY: cuDNN writes at most so many characters, ends them with a zero, and gives a text that lives as long
        // as the program.
        let said = unsafe {
            cudarc::cudnn::sys::cudnnGetLastErrorString(last.as_mut_ptr(), last.len());
            last[last.len() - 1] = 0;
            CStr::from_ptr(last.as_ptr()).to_string_lossy().into_owned()
        };
        let name = format!("{:?}", error.0);
        failed(what, if said.is_empty() { name } else { format!("{name}: {said}") })
    }
}

/// For `map_err` on calls of cuBLASLt.
pub fn cublas(what: &str) -> impl FnOnce(CublasError) -> GpuError + '_ {
    move |error| failed(what, format!("{:?}", error.0))
}

/// An operation that has failed.
pub fn failed(what: impl Into<String>, reason: impl Into<String>) -> GpuError {
    GpuError::Failed { what: what.into(), reason: reason.into() }
}
