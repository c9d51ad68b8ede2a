//! cuDNN's algorithms for the three passes, under one name: which there are, how much memory they want, running one.

use super::super::op::Pass;
use super::calls::Status;
use super::cudnn::{Cudnn, Descriptor, Find, Guess, Handle, Performance, Run, Workspace};
use super::descriptors::Descriptors;
use std::ffi::{c_int, c_void};

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

/// The functions of a pass.
struct Functions {
    guess: Guess,
    find: Find,
    workspace: Workspace,
    run: Run,
}

fn functions(cudnn: &Cudnn, pass: Pass) -> Functions {
    match pass {
        Pass::Forward => Functions {
            guess: cudnn.cudnnGetConvolutionForwardAlgorithm_v7,
            find: cudnn.cudnnFindConvolutionForwardAlgorithmEx,
            workspace: cudnn.cudnnGetConvolutionForwardWorkspaceSize,
            run: cudnn.cudnnConvolutionForward,
        },
        Pass::WeightGradient => Functions {
            guess: cudnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7,
            find: cudnn.cudnnFindConvolutionBackwardFilterAlgorithmEx,
            workspace: cudnn.cudnnGetConvolutionBackwardFilterWorkspaceSize,
            run: cudnn.cudnnConvolutionBackwardFilter,
        },
        Pass::InputGradient => Functions {
            guess: cudnn.cudnnGetConvolutionBackwardDataAlgorithm_v7,
            find: cudnn.cudnnFindConvolutionBackwardDataAlgorithmEx,
            workspace: cudnn.cudnnGetConvolutionBackwardDataWorkspaceSize,
            run: cudnn.cudnnConvolutionBackwardData,
        },
    }
}

/// The descriptors of the operands and of the result, as the pass names them.
fn in_order(pass: Pass, of: &Descriptors) -> [Descriptor; 3] {
    let (x, w, y) = (of.x.raw(), of.w.raw(), of.y.raw());
    match pass {
        Pass::Forward => [x, w, y],
        Pass::WeightGradient => [x, y, w],
        Pass::InputGradient => [w, y, x],
    }
}

/// The algorithms for a pass, fastest first: as measured on `trial`, or as cuDNN guesses.
///
/// # Errors
/// cuDNN's status.
///
/// # Safety
/// The handle and the descriptors live; the memory of `trial` is as long as the descriptors say.
pub unsafe fn candidates(
    cudnn: &Cudnn,
    handle: Handle,
    pass: Pass,
    of: &Descriptors,
    trial: Option<Trial>,
) -> Result<Vec<Performance>, Status> {
    let ([a, b, out], geometry) = (in_order(pass, of), of.geometry.raw());
    let functions = functions(cudnn, pass);
    let (mut list, mut count) = ([Performance::default(); MOST], 0);
    let (most, count_at, list_at) = (MOST as c_int, &raw mut count, list.as_mut_ptr());
    // SAFETY: cuDNN writes at most so many results as it is told; the rest is the caller's promise.
    let status = unsafe {
        match trial {
            None => (functions.guess)(handle, a, b, geometry, out, most, count_at, list_at),
            Some(Trial { operands, scratch }) => {
                let [first, second, result] = operands.map(pointer);
                let at = pointer(scratch.0);
                (functions.find)(
                    handle, a, first, b, second, geometry, out, result, most, count_at, list_at, at, scratch.1,
                )
            }
        }
    };
    if status == 0 { Ok(list[..usize::try_from(count).unwrap_or(0).min(MOST)].to_vec()) } else { Err(status) }
}

/// Bytes of scratch that an algorithm wants.
///
/// # Errors
/// cuDNN's status, where it cannot compute this after all.
///
/// # Safety
/// The handle and the descriptors live.
pub unsafe fn workspace(
    cudnn: &Cudnn,
    handle: Handle,
    pass: Pass,
    of: &Descriptors,
    algorithm: c_int,
) -> Result<usize, Status> {
    let ([a, b, out], mut bytes) = (in_order(pass, of), 0);
    // SAFETY: the caller's promise.
    let status =
        unsafe { (functions(cudnn, pass).workspace)(handle, a, b, of.geometry.raw(), out, algorithm, &raw mut bytes) };
    if status == 0 { Ok(bytes) } else { Err(status) }
}

/// Queues an algorithm on the handle's stream; gives cuDNN's status.
///
/// # Safety
/// The handle and the descriptors live; operands, result and scratch are the device's, as long as the descriptors and
/// [`workspace`] say, and stay until all that is queued has run.
pub unsafe fn run(
    cudnn: &Cudnn,
    handle: Handle,
    pass: Pass,
    of: &Descriptors,
    algorithm: c_int,
    operands: [u64; 3],
    scratch: (u64, usize),
) -> Status {
    let [a, b, out] = in_order(pass, of);
    let (one, zero) = (1.0_f32, 0.0_f32);
    let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
    let [first, second, result] = operands.map(pointer);
    let at = pointer(scratch.0);
    // SAFETY: the caller's promise; the two factors are read before the call returns.
    unsafe {
        (functions(cudnn, pass).run)(
            handle,
            one,
            a,
            first,
            b,
            second,
            of.geometry.raw(),
            algorithm,
            at,
            scratch.1,
            zero,
            out,
            result,
        )
    }
}
