//! cuDNN's algorithms for the three passes, under one name: which there are, how much memory they want, running one.

use super::super::op::Pass;
use super::choice::Candidate;
use super::descriptors::Descriptors;
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use std::ffi::{c_int, c_void};

/// An algorithm of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// For [`Pass::Forward`].
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    /// For [`Pass::WeightGradient`].
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
    /// For [`Pass::InputGradient`].
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
}

/// Memory of the device on which algorithms are tried; its content is overwritten.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// The two operands and the result of the pass.
    pub operands: [u64; 3],
    /// Scratch, and how many bytes.
    pub scratch: (u64, usize),
}

/// More than cuDNN has for any pass, with the same algorithm in several kinds of arithmetic.
const MOST: usize = 16;

fn pointer(address: u64) -> *mut c_void {
    address as *mut c_void
}

/// The algorithms for a pass, fastest first: as measured on `trial`, or as cuDNN guesses.
///
/// # Safety
/// The handle and the descriptors live; the memory of `trial` is as long as the descriptors say.
pub unsafe fn candidates(
    handle: sys::cudnnHandle_t,
    pass: Pass,
    of: &Descriptors,
    trial: Option<Trial>,
) -> Result<Vec<Candidate<Algorithm>>, CudnnError> {
    let (x, w, y, geometry) = (of.x.0, of.w.0, of.y.0, of.geometry.0);
    let most = MOST as c_int;
    let mut count: c_int = 0;
    let n = &raw mut count;
    let given = |count: c_int| usize::try_from(count).unwrap_or(0).min(MOST);
    match pass {
        Pass::Forward => {
            // SAFETY: plain numbers, for all of which 0 is a value.
            let mut list: [sys::cudnnConvolutionFwdAlgoPerf_t; MOST] = unsafe { std::mem::zeroed() };
            // SAFETY: cuDNN writes at most so many results as it is told; the rest is the caller's promise.
            unsafe {
                match trial {
                    None => {
                        result::get_convolution_forward_algorithm(handle, x, w, geometry, y, most, n, list.as_mut_ptr())
                    }
                    Some(Trial { operands: [a, b, out], scratch: (at, bytes) }) => {
                        sys::cudnnFindConvolutionForwardAlgorithmEx(
                            handle,
                            x,
                            pointer(a),
                            w,
                            pointer(b),
                            geometry,
                            y,
                            pointer(out),
                            most,
                            n,
                            list.as_mut_ptr(),
                            pointer(at),
                            bytes,
                        )
                        .result()
                    }
                }
            }?;
            let candidate = |one: &sys::cudnnConvolutionFwdAlgoPerf_t| Candidate {
                algorithm: Algorithm::Forward(one.algo),
                status: one.status,
                memory: one.memory,
                determinism: one.determinism,
                math: one.mathType,
            };
            Ok(list[..given(count)].iter().map(candidate).collect())
        }
        Pass::WeightGradient => {
            // SAFETY: as above.
            let mut list: [sys::cudnnConvolutionBwdFilterAlgoPerf_t; MOST] = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            unsafe {
                match trial {
                    None => result::get_convolution_backward_filter_algorithm(
                        handle,
                        x,
                        y,
                        geometry,
                        w,
                        most,
                        n,
                        list.as_mut_ptr(),
                    ),
                    Some(Trial { operands: [a, b, out], scratch: (at, bytes) }) => {
                        sys::cudnnFindConvolutionBackwardFilterAlgorithmEx(
                            handle,
                            x,
                            pointer(a),
                            y,
                            pointer(b),
                            geometry,
                            w,
                            pointer(out),
                            most,
                            n,
                            list.as_mut_ptr(),
                            pointer(at),
                            bytes,
                        )
                        .result()
                    }
                }
            }?;
            let candidate = |one: &sys::cudnnConvolutionBwdFilterAlgoPerf_t| Candidate {
                algorithm: Algorithm::Weights(one.algo),
                status: one.status,
                memory: one.memory,
                determinism: one.determinism,
                math: one.mathType,
            };
            Ok(list[..given(count)].iter().map(candidate).collect())
        }
        Pass::InputGradient => {
            // SAFETY: as above.
            let mut list: [sys::cudnnConvolutionBwdDataAlgoPerf_t; MOST] = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            unsafe {
                match trial {
                    None => result::get_convolution_backward_data_algorithm(
                        handle,
                        w,
                        y,
                        geometry,
                        x,
                        most,
                        n,
                        list.as_mut_ptr(),
                    ),
                    Some(Trial { operands: [a, b, out], scratch: (at, bytes) }) => {
                        sys::cudnnFindConvolutionBackwardDataAlgorithmEx(
                            handle,
                            w,
                            pointer(a),
                            y,
                            pointer(b),
                            geometry,
                            x,
                            pointer(out),
                            most,
                            n,
                            list.as_mut_ptr(),
                            pointer(at),
                            bytes,
                        )
                        .result()
                    }
                }
            }?;
            let candidate = |one: &sys::cudnnConvolutionBwdDataAlgoPerf_t| Candidate {
                algorithm: Algorithm::Input(one.algo),
                status: one.status,
                memory: one.memory,
                determinism: one.determinism,
                math: one.mathType,
            };
            Ok(list[..given(count)].iter().map(candidate).collect())
        }
    }
}

/// Bytes of scratch that an algorithm wants; an error where it cannot compute this after all.
///
/// # Safety
/// The handle and the descriptors live.
pub unsafe fn workspace(
    handle: sys::cudnnHandle_t,
    of: &Descriptors,
    algorithm: Algorithm,
) -> Result<usize, CudnnError> {
    let (x, w, y, geometry) = (of.x.0, of.w.0, of.y.0, of.geometry.0);
    // SAFETY: the caller's promise.
    unsafe {
        match algorithm {
            Algorithm::Forward(algorithm) => {
                result::get_convolution_forward_workspace_size(handle, x, w, geometry, y, algorithm)
            }
            Algorithm::Weights(algorithm) => {
                result::get_convolution_backward_filter_workspace_size(handle, x, y, geometry, w, algorithm)
            }
            Algorithm::Input(algorithm) => {
                result::get_convolution_backward_data_workspace_size(handle, w, y, geometry, x, algorithm)
            }
        }
    }
}

/// Queues an algorithm on the handle's stream.
///
/// # Safety
/// The handle and the descriptors live; operands, result and scratch are the device's, as long as the descriptors and
/// [`workspace`] say, and stay until all that is queued has run.
pub unsafe fn run(
    handle: sys::cudnnHandle_t,
    of: &Descriptors,
    algorithm: Algorithm,
    [a, b, out]: [u64; 3],
    scratch: (u64, usize),
) -> Result<(), CudnnError> {
    let (x, w, y, geometry) = (of.x.0, of.w.0, of.y.0, of.geometry.0);
    let (one, zero) = (1.0_f32, 0.0_f32);
    let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
    let [a, b, out, at] = [a, b, out, scratch.0].map(pointer);
    let bytes = scratch.1;
    // SAFETY: the caller's promise; the two factors are read before the call returns.
    unsafe {
        match algorithm {
            Algorithm::Forward(algorithm) => {
                result::convolution_forward(handle, one, x, a, w, b, geometry, algorithm, at, bytes, zero, y, out)
            }
            Algorithm::Weights(algorithm) => result::convolution_backward_filter(
                handle, one, x, a, y, b, geometry, algorithm, at, bytes, zero, w, out,
            ),
            Algorithm::Input(algorithm) => {
                result::convolution_backward_data(handle, one, w, a, y, b, geometry, algorithm, at, bytes, zero, x, out)
            }
        }
    }
}
