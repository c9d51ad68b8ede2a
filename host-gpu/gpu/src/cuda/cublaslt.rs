//! cuBLASLt's functions that are used, with the numbers of its headers.

use super::calls::{self, Status, table};
use std::ffi::{c_char, c_int, c_void};

/// A handle, and the descriptions of a matrix, a product, wishes.
pub type Handle = *mut c_void;

/// The type of all values: 32 bits.
pub const FLOAT: c_int = 0;

/// Kinds of computation: products of `f32`, or with factors rounded to bf16.
pub const COMPUTE_F32: c_int = 68;
/// As above.
pub const COMPUTE_BF16: c_int = 75;

/// Attributes of a product: whether each operand is transposed.
pub const TRANSPOSED: [c_int; 2] = [3, 4];

/// Attributes of wishes: most bytes of scratch, which ways of adding parts of sums may be taken, and how the four operands
/// are aligned.
pub const MOST_WORKSPACE: c_int = 1;
/// As above.
pub const REDUCTIONS: c_int = 3;
/// As above.
pub const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// A way to compute a product.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Algorithm {
    data: [u64; 8],
}

/// A way, with what it takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    pub algorithm: Algorithm,
    pub workspace: usize,
    pub state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

type In = *const c_void;
type Out = *mut c_void;

table! {
    /// The functions.
    CublasLt of CublasLt {
        cublasLtCreate: fn(*mut Handle) -> Status;
        cublasLtDestroy: fn(Handle) -> Status;
        cublasLtMatrixLayoutCreate: fn(*mut Handle, c_int, u64, u64, i64) -> Status;
        cublasLtMatrixLayoutDestroy: fn(Handle) -> Status;
        cublasLtMatmulDescCreate: fn(*mut Handle, c_int, c_int) -> Status;
        cublasLtMatmulDescDestroy: fn(Handle) -> Status;
        cublasLtMatmulDescSetAttribute: fn(Handle, c_int, In, usize) -> Status;
        cublasLtMatmulPreferenceCreate: fn(*mut Handle) -> Status;
        cublasLtMatmulPreferenceDestroy: fn(Handle) -> Status;
        cublasLtMatmulPreferenceSetAttribute: fn(Handle, c_int, In, usize) -> Status;
        cublasLtMatmulAlgoGetHeuristic: fn(
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Found, *mut c_int,
        ) -> Status;
        cublasLtMatmul: fn(
            Handle, Handle, In, In, Handle, In, Handle, In, In, Handle, Out, Handle, *const Algorithm, Out, usize, Out,
        ) -> Status;
    } optional {
        cublasLtGetStatusString: fn(Status) -> *const c_char;
    }
}

impl CublasLt {
    /// Makes a description, to see that it can be done; needs no GPU.
    ///
    /// # Errors
    /// In words.
    pub fn trial(&self) -> Result<(), String> {
        let mut matrix: Handle = std::ptr::null_mut();
        // SAFETY: it writes one pointer, which is given back to it.
        let status = unsafe {
            match (self.cublasLtMatrixLayoutCreate)(&raw mut matrix, FLOAT, 4, 4, 4) {
                0 => (self.cublasLtMatrixLayoutDestroy)(matrix),
                status => status,
            }
        };
        if status == 0 { Ok(()) } else { Err(format!("it makes no description of a matrix: status {status}")) }
    }

    /// The text of a status.
    pub fn words(&self, status: Status) -> String {
        calls::words(self.cublasLtGetStatusString, status)
    }
}
