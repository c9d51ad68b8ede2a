//! Functions of libraries that were found by [`super::libraries`], by name. They are called from the library that was
//! found, whatever other one the system would find by the same name.

use super::errors::failed;
use crate::executor::GpuError;
use std::ffi::{CStr, c_char, c_int, c_void};

/// A status: an integer, since a newer library may have more of them than are known here. 0 is success.
pub type Status = c_int;

/// The status as a result.
pub fn done(status: Status) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(status) }
}

/// An error that names the operation, where the status is one; `words` says what the status means.
///
/// # Errors
/// [`GpuError::Failed`].
pub fn check(what: &str, status: Status, words: impl FnOnce(Status) -> String) -> Result<(), GpuError> {
    done(status).map_err(|status| failed(what, words(status)))
}

/// A library's function that gives the text of a status.
type Text = unsafe extern "C" fn(Status) -> *const c_char;

/// A library's text for a status, or the number if it has none.
pub fn words(text: Option<Text>, status: Status) -> String {
    // SAFETY: it gives a text that lives as long as the program, or nothing.
    let said = text.map(|text| unsafe { text(status) }).filter(|said| !said.is_null());
    // SAFETY: as above.
    let said = said.map(|said| unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned());
    said.unwrap_or_else(|| format!("status {status}"))
}

/// A description that a library has made, given back when it is no longer needed.
#[derive(Debug)]
pub struct Owned {
    /// For the library's functions.
    pub raw: *mut c_void,
    destroy: unsafe extern "C" fn(*mut c_void) -> Status,
}

impl Owned {
    /// Keeps the pointer that `create` writes; `destroy` gives it back.
    ///
    /// # Errors
    /// The status of `create` where it fails.
    pub fn new(
        create: impl FnOnce(*mut *mut c_void) -> Status,
        destroy: unsafe extern "C" fn(*mut c_void) -> Status,
    ) -> Result<Self, Status> {
        let mut raw = std::ptr::null_mut();
        done(create(&raw mut raw))?;
        Ok(Self { raw, destroy })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it was made above and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

/// A table of the functions of one of [`super::libraries::Library`], with their types. Those behind `optional` may be
/// missing.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident of $library:ident {
            $($name:ident: fn($($argument:ty),* $(,)?) -> $result:ty;)*
        } optional {
            $($more:ident: fn($($with:ty),* $(,)?) -> $gives:ty;)*
        }
    ) => {
        $(#[$doc])*
        #[allow(non_snake_case, missing_docs)]
        #[derive(Debug)]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)*
            $(pub $more: Option<unsafe extern "C" fn($($with),*) -> $gives>,)*
        }

        impl $table {
            /// Those of the library as it was found.
            ///
            /// # Errors
            /// [`GpuError::Missing`](crate::executor::GpuError::Missing) without it.
            pub fn get() -> Result<&'static Self, crate::executor::GpuError> {
                static TABLE: std::sync::OnceLock<Result<$table, String>> = std::sync::OnceLock::new();
                let open = super::libraries::Library::$library.require()?;
                let table = TABLE.get_or_init(|| Self::of(&open.functions)).as_ref();
                table.map_err(|reason| super::errors::failed(open.name.clone(), reason.clone()))
            }

            /// Those of an open library, which must stay open; the error names the first that it lacks.
            pub fn of(library: &libloading::Library) -> Result<Self, String> {
                // SAFETY: the types are those of NVIDIA's headers.
                unsafe {
                    Ok(Self {
                        $($name: *library
                            .get(stringify!($name))
                            .map_err(|_| concat!("it lacks the function ", stringify!($name)).to_string())?,)*
                        $($more: library.get(stringify!($more)).ok().map(|function| *function),)*
                    })
                }
            }
        }
    };
}

pub(super) use table;
