//! Convolutions through cuDNN.
//!
//! Maps are NHWC and weights KRSC, which is what tensor cores read. cuDNN computes all three passes so for `bf16` and
//! for `f32` by its implicit products, any number of channels included (three of the first layer too); frameworks
//! rely on that for their "channels last". Its documentation gives no promise for `f32` on every card, so where it
//! offers nothing the operands are turned by cuDNN itself to NCHW, for which all passes have algorithms of the same
//! bits each time, and the result is turned back; that takes scratch of the operands' size. For `bf16` there is no such
//! way round: where cuDNN offers nothing, that is an error that names the convolution.

use super::super::executor::GpuError;
use super::super::op::{Convolution, MapType, Pass};
use super::super::precision::Precision;
use super::algorithms::{self, Algorithm, Trial};
use super::choice::{self, WORKSPACE};
use super::descriptors::{Descriptors, Layout, Sizes, Tensor, lengths};
use super::errors::{cudnn, failed};
use cudarc::cudnn::{result, sys};
use cudarc::driver::{CudaStream, result as cuda};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;

/// Parts of scratch begin at multiples of this.
const ALIGNMENT: usize = 256;

/// Statuses by which cuDNN says that it does not do what it is asked for: of its parameters, and of their combination.
const REFUSED: std::ops::Range<u32> = 2000..4000;

/// How one pass of one convolution is computed.
#[derive(Debug)]
struct Plan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
    turned: Option<Turned>,
}

/// Operands and result in the order of the pass, as they lie in memory and as the algorithm wants them.
#[derive(Debug)]
struct Turned {
    given: [Tensor; 3],
    wanted: [Tensor; 3],
    /// Bytes of each, rounded up.
    bytes: [usize; 3],
}

impl Plan {
    fn scratch(&self) -> usize {
        self.turned.as_ref().map_or(0, |turned| turned.bytes.iter().sum()) + self.workspace
    }
}

/// cuDNN on a stream, with what it has decided so far.
#[derive(Debug)]
pub struct Convolutions {
    plans: RefCell<HashMap<(Pass, Convolution), Rc<Plan>>>,
    handle: sys::cudnnHandle_t,
    precision: Precision,
    deterministic: bool,
    /// The handle's, which must live as long.
    _stream: Arc<CudaStream>,
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Convolutions {
    /// On `stream`, whose context is the thread's.
    ///
    /// # Errors
    /// Where cuDNN cannot start.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        let handle = result::create_handle().map_err(cudnn("starting cuDNN"))?;
        let plans = RefCell::default();
        let all = Self { plans, handle, precision, deterministic, _stream: Arc::clone(stream) };
        // SAFETY: the stream lives as long as the handle.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(cudnn("starting cuDNN"))?;
        Ok(all)
    }

    /// Bytes of scratch that [`Convolutions::run`] wants.
    ///
    /// # Errors
    /// Where cuDNN offers no way to compute it.
    pub fn scratch(&self, pass: Pass, shape: &Convolution) -> Result<usize, GpuError> {
        Ok(self.plan(pass, shape)?.scratch())
    }

    /// Queues a pass. The first time it chooses how, which must not be while the stream is captured.
    ///
    /// # Errors
    /// Where the scratch is too small, or cuDNN refuses.
    ///
    /// # Safety
    /// The addresses are the device's, with as many bytes as the shape says, and stay until all that is queued has run.
    pub unsafe fn run(
        &self,
        pass: Pass,
        shape: &Convolution,
        operands: [u64; 3],
        scratch: (u64, usize),
    ) -> Result<(), GpuError> {
        let plan = self.plan(pass, shape)?;
        let what = name(pass, shape, self.precision);
        if scratch.1 < plan.scratch() {
            return Err(failed(what, format!("{} bytes of scratch, {} are wanted", scratch.1, plan.scratch())));
        }
        // SAFETY: the plan's descriptors are those of the shape; the rest is the caller's promise.
        unsafe {
            let Some(turned) = &plan.turned else {
                return algorithms::run(
                    self.handle,
                    &plan.descriptors,
                    plan.algorithm,
                    operands,
                    (scratch.0, plan.workspace),
                )
                .map_err(cudnn(&what));
            };
            let [a, b, _] = turned.bytes;
            let own = [scratch.0, scratch.0 + a as u64, scratch.0 + (a + b) as u64];
            let workspace = scratch.0 + turned.bytes.iter().sum::<usize>() as u64;
            for index in [0, 1] {
                self.turn(&what, (&turned.given[index], operands[index]), (&turned.wanted[index], own[index]))?;
            }
            algorithms::run(self.handle, &plan.descriptors, plan.algorithm, own, (workspace, plan.workspace))
                .map_err(cudnn(&what))?;
            self.turn(&what, (&turned.wanted[2], own[2]), (&turned.given[2], operands[2]))
        }
    }

    /// Copies values to another order.
    ///
    /// # Safety
    /// As for [`Convolutions::run`].
    unsafe fn turn(&self, what: &str, from: (&Tensor, u64), to: (&Tensor, u64)) -> Result<(), GpuError> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        // SAFETY: the caller's promise; the two factors are read before the call returns.
        unsafe {
            let (source, out) = (from.1 as *const c_void, to.1 as *mut c_void);
            sys::cudnnTransformTensor(self.handle, one, from.0.0, source, zero, to.0.0, out)
        }
        .result()
        .map_err(cudnn(what))
    }

    fn plan(&self, pass: Pass, shape: &Convolution) -> Result<Rc<Plan>, GpuError> {
        if let Some(plan) = self.plans.borrow().get(&(pass, *shape)) {
            return Ok(Rc::clone(plan));
        }
        let what = name(pass, shape, self.precision);
        let sizes = Sizes::of(shape).ok_or_else(|| failed(&*what, "cuDNN counts in 32 bits"))?;
        let mut plan = self.choose(pass, shape, &sizes, Layout::Nhwc).map_err(cudnn(&what))?;
        if plan.is_none() && self.precision.maps() == MapType::F32 {
            plan = self.choose(pass, shape, &sizes, Layout::Nchw).map_err(cudnn(&what))?;
        }
        let steadily = if self.deterministic { " that gives the same bits each time" } else { "" };
        let plan = Rc::new(plan.ok_or_else(|| failed(what, format!("cuDNN has no algorithm for it{steadily}")))?);
        self.plans.borrow_mut().insert((pass, *shape), Rc::clone(&plan));
        Ok(plan)
    }

    /// The best algorithm for operands that lie so, if there is one.
    fn choose(
        &self,
        pass: Pass,
        shape: &Convolution,
        sizes: &Sizes,
        layout: Layout,
    ) -> Result<Option<Plan>, result::CudnnError> {
        let maps = self.precision.maps();
        let descriptors = Descriptors::new(shape, sizes, maps, layout)?;
        descriptors.geometry.set_math(choice::math(self.precision))?;
        // Where the same bits are wanted each time, so is the same algorithm: it may not depend on a clock.
        let trial = if self.deterministic { None } else { TrialMemory::new(pass, shape, maps) };
        // SAFETY: handle and descriptors live, and the trial's memory is that of the shape.
        let found = unsafe {
            let measured = trial.as_ref().map(|trial| trial.trial);
            match algorithms::candidates(self.handle, pass, &descriptors, measured) {
                Err(_) if measured.is_some() => algorithms::candidates(self.handle, pass, &descriptors, None),
                found => found,
            }
        };
        let found = match found {
            // That there is nothing for this order may be told as an error.
            Err(error) if REFUSED.contains(&(error.0 as u32)) => Vec::new(),
            found => found?,
        };
        let found = choice::rank(found, self.precision, self.deterministic);
        for candidate in found {
            if self.precision != Precision::F32 {
                descriptors.geometry.set_math(candidate.math)?;
            }
            // SAFETY: handle and descriptors live.
            if let Ok(workspace) = unsafe { algorithms::workspace(self.handle, &descriptors, candidate.algorithm) } {
                let turned = match layout {
                    Layout::Nhwc => None,
                    Layout::Nchw => Some(Turned::new(pass, shape, sizes, maps)?),
                };
                return Ok(Some(Plan { descriptors, algorithm: candidate.algorithm, workspace, turned }));
            }
        }
        Ok(None)
    }
}

impl Turned {
    fn new(pass: Pass, shape: &Convolution, sizes: &Sizes, maps: MapType) -> Result<Self, result::CudnnError> {
        let Sizes { x, w, y } = *sizes;
        let [a, b, out] = match pass {
            Pass::Forward => [x, w, y],
            Pass::WeightGradient => [x, y, w],
            Pass::InputGradient => [w, y, x],
        };
        let all = |layout| -> Result<[Tensor; 3], result::CudnnError> {
            Ok([Tensor::new(maps, layout, a)?, Tensor::new(maps, layout, b)?, Tensor::new(maps, layout, out)?])
        };
        let bytes = lengths(pass, shape).map(|len| (len * maps.bytes()).next_multiple_of(ALIGNMENT));
        Ok(Self { given: all(Layout::Nhwc)?, wanted: all(Layout::Nchw)?, bytes })
    }
}

/// Memory for trying algorithms, given back at once.
struct TrialMemory {
    trial: Trial,
    address: u64,
}

impl TrialMemory {
    /// `None` where the device has not so much left: then cuDNN guesses.
    fn new(pass: Pass, shape: &Convolution, maps: MapType) -> Option<Self> {
        let [a, b, out] = lengths(pass, shape).map(|len| (len * maps.bytes()).next_multiple_of(ALIGNMENT));
        let operands = a + b + out;
        // SAFETY: the memory is given back by `drop`; zeros are numbers in every type, and none of them is slow.
        let address = unsafe {
            let address = cuda::malloc_sync(operands + WORKSPACE).ok()?;
            if cuda::memset_d8_sync(address, 0, operands).is_err() {
                let _ = cuda::free_sync(address);
                return None;
            }
            address
        };
        let operands = [address, address + a as u64, address + (a + b) as u64];
        let scratch = (operands[2] + out as u64, WORKSPACE);
        Some(Self { trial: Trial { operands, scratch }, address })
    }
}

impl Drop for TrialMemory {
    fn drop(&mut self) {
        // SAFETY: it was taken above and is given back once; this waits until the device no longer uses it.
        let _ = unsafe { cuda::free_sync(self.address) };
    }
}

/// A convolution in words, for errors.
fn name(pass: Pass, shape: &Convolution, precision: Precision) -> String {
    let pass = match pass {
        Pass::Forward => "the convolution",
        Pass::WeightGradient => "the weights' gradient of the convolution",
        Pass::InputGradient => "the input's gradient of the convolution",
    };
    let Convolution { rows, input, channels, output, out_channels, kernel, stride, padding } = shape;
    format!(
        "{pass} of {rows} maps {}x{}x{channels} to {}x{}x{out_channels} (kernel {}x{}, stride {}x{}, padding {}x{}) in \
         {precision}",
        input[0], input[1], output[0], output[1], kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_convolution() {
        let shape = Convolution {
            rows: 64,
            input: [32, 30],
            channels: 3,
            output: [16, 15],
            out_channels: 128,
            kernel: [3, 5],
            stride: [2, 2],
            padding: [1, 2],
        };
        assert_eq!(
            name(Pass::WeightGradient, &shape, Precision::Bf16),
            "the weights' gradient of the convolution of 64 maps 32x30x3 to 16x15x128 (kernel 3x5, stride 2x2, padding \
             1x2) in bf16"
        );
        let sizes = Sizes::of(&shape).unwrap();
        assert_eq!([sizes.x, sizes.w, sizes.y], [[64, 3, 32, 30], [128, 3, 3, 5], [64, 128, 16, 15]]);
        assert_eq!(Sizes::of(&Convolution { rows: 1 << 31, ..shape }), None);
        let [x, w, y] = [shape.input_len(), shape.weight_len(), shape.output_len()];
        assert_eq!(lengths(Pass::WeightGradient, &shape), [x, y, w]);
        assert_eq!(lengths(Pass::InputGradient, &shape), [w, y, x]);
    }
}
