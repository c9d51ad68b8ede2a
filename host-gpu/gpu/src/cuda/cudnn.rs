//! cuDNN's functions that are used, with the numbers of its headers.

use super::calls::{self, Status, table};
use std::ffi::{CStr, c_char, c_int, c_void};

/// A handle, and the descriptors of a tensor, a filter, a convolution.
pub type Handle = *mut c_void;
/// As above.
pub type Descriptor = *mut c_void;

/// Orders of values in memory: channels first, channels last.
pub const NCHW: c_int = 0;
/// As above.
pub const NHWC: c_int = 1;

/// Types of values.
pub const FLOAT: c_int = 0;
/// As above.
pub const BFLOAT16: c_int = 9;

/// A convolution as networks mean it.
pub const CROSS_CORRELATION: c_int = 1;

/// An algorithm with what cuDNN says of it: `cudnnConvolution*AlgoPerf_t`, the same for all passes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Performance {
    pub algorithm: c_int,
    pub status: Status,
    pub time: f32,
    pub memory: usize,
    pub determinism: c_int,
    pub math: c_int,
    pub reserved: [c_int; 3],
}

type D = Descriptor;
type In = *const c_void;
type Out = *mut c_void;

/// Asks for algorithms: handle, three descriptors and the geometry in the order of the pass, how many, and where to.
pub type Guess = unsafe extern "C" fn(Handle, D, D, D, D, c_int, *mut c_int, *mut Performance) -> Status;
/// Bytes of scratch.
pub type Workspace = unsafe extern "C" fn(Handle, D, D, D, D, c_int, *mut usize) -> Status;
/// Measures algorithms.
pub type Find =
    unsafe extern "C" fn(Handle, D, In, D, In, D, D, Out, c_int, *mut c_int, *mut Performance, Out, usize) -> Status;
/// Runs an algorithm.
pub type Run = unsafe extern "C" fn(Handle, In, D, In, D, In, D, c_int, Out, usize, In, D, Out) -> Status;

table! {
    /// The functions.
    Cudnn of Cudnn {
        cudnnCreate: fn(*mut Handle) -> Status;
        cudnnDestroy: fn(Handle) -> Status;
        cudnnSetStream: fn(Handle, Out) -> Status;
        cudnnCreateTensorDescriptor: fn(*mut D) -> Status;
        cudnnSetTensor4dDescriptor: fn(D, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnDestroyTensorDescriptor: fn(D) -> Status;
        cudnnCreateFilterDescriptor: fn(*mut D) -> Status;
        cudnnSetFilter4dDescriptor: fn(D, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnDestroyFilterDescriptor: fn(D) -> Status;
        cudnnCreateConvolutionDescriptor: fn(*mut D) -> Status;
        cudnnSetConvolution2dDescriptor: fn(D, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnSetConvolutionMathType: fn(D, c_int) -> Status;
        cudnnDestroyConvolutionDescriptor: fn(D) -> Status;
        cudnnGetConvolutionForwardAlgorithm_v7: fn(
            Handle, D, D, D, D, c_int, *mut c_int, *mut Performance,
        ) -> Status;
        cudnnGetConvolutionBackwardFilterAlgorithm_v7: fn(
            Handle, D, D, D, D, c_int, *mut c_int, *mut Performance,
        ) -> Status;
        cudnnGetConvolutionBackwardDataAlgorithm_v7: fn(
            Handle, D, D, D, D, c_int, *mut c_int, *mut Performance,
        ) -> Status;
        cudnnFindConvolutionForwardAlgorithmEx: fn(
            Handle, D, In, D, In, D, D, Out, c_int, *mut c_int, *mut Performance, Out, usize,
        ) -> Status;
        cudnnFindConvolutionBackwardFilterAlgorithmEx: fn(
            Handle, D, In, D, In, D, D, Out, c_int, *mut c_int, *mut Performance, Out, usize,
        ) -> Status;
        cudnnFindConvolutionBackwardDataAlgorithmEx: fn(
            Handle, D, In, D, In, D, D, Out, c_int, *mut c_int, *mut Performance, Out, usize,
        ) -> Status;
        cudnnGetConvolutionForwardWorkspaceSize: fn(Handle, D, D, D, D, c_int, *mut usize) -> Status;
        cudnnGetConvolutionBackwardFilterWorkspaceSize: fn(Handle, D, D, D, D, c_int, *mut usize) -> Status;
        cudnnGetConvolutionBackwardDataWorkspaceSize: fn(Handle, D, D, D, D, c_int, *mut usize) -> Status;
        cudnnConvolutionForward: fn(Handle, In, D, In, D, In, D, c_int, Out, usize, In, D, Out) -> Status;
        cudnnConvolutionBackwardFilter: fn(Handle, In, D, In, D, In, D, c_int, Out, usize, In, D, Out) -> Status;
        cudnnConvolutionBackwardData: fn(Handle, In, D, In, D, In, D, c_int, Out, usize, In, D, Out) -> Status;
        cudnnTransformTensor: fn(Handle, In, D, In, In, D, Out) -> Status;
    } optional {
        cudnnGetErrorString: fn(Status) -> *const c_char;
        cudnnGetLastErrorString: fn(*mut c_char, usize) -> ();
    }
}

impl Cudnn {
    /// Makes descriptors, to see that it can be done; needs no GPU.
    ///
    /// # Errors
    /// In words.
    pub fn trial(&self) -> Result<(), String> {
        let mut tensor: Descriptor = std::ptr::null_mut();
        // SAFETY: it writes one pointer, which is given back to it.
        let statuses = unsafe {
            let made = (self.cudnnCreateTensorDescriptor)(&raw mut tensor);
            if made != 0 {
                return Err(format!("it makes no descriptor: status {made}"));
            }
            let set = (self.cudnnSetTensor4dDescriptor)(tensor, NHWC, FLOAT, 1, 2, 3, 4);
            [set, (self.cudnnDestroyTensorDescriptor)(tensor)]
        };
        if statuses == [0, 0] { Ok(()) } else { Err(format!("its descriptors do not work: status {statuses:?}")) }
    }

    /// The text of a status.
    pub fn words(&self, status: Status) -> String {
        let mut last: [c_char; 512] = [0; 512];
        let name = calls::words(self.cudnnGetErrorString, status);
        // SAFETY: it writes at most so many characters, and the last one is set to the end of a text.
        unsafe {
            if let Some(said) = self.cudnnGetLastErrorString {
                said(last.as_mut_ptr(), last.len());
            }
            last[last.len() - 1] = 0;
            let said = CStr::from_ptr(last.as_ptr()).to_string_lossy();
            if said.is_empty() { name } else { format!("{name}: {said}") }
        }
    }
}
