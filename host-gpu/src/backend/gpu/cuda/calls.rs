//! Functions of libraries that were found by [`super::libraries`], by name. They are called from the library that was
//! found, whatever other one the system would find by the same name.

use std::ffi::c_int;

/// A status: an integer, since a newer library may have more of them than are known here. 0 is success.
pub type Status = c_int;

/// A table of functions with their types. Those behind `optional` may be missing.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident {
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
