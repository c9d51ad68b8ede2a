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
use super::algorithms::{self, Trial};
use super::calls::{Status, check};
use super::choice::{self, WORKSPACE};
use super::cudnn::{Cudnn, Handle};
use super::descriptors::{Descriptors, Layout, Sizes, Tensor, lengths};
use super::errors::failed;
use super::trial::{self, Tried};
use cudarc::driver::CudaStream;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

/// Parts of scratch begin at multiples of this.
const ALIGNMENT: usize = 256;

/// Statuses by which cuDNN says that it does not do what it is asked for: of its parameters, and of their combination.
const REFUSED: std::ops::Range<Status> = 2000..4000;

/// The algorithm and descriptors of one pass of one convolution.
#[derive(Debug)]
struct Plan {
    pass: Pass,
    descriptors: Descriptors,
    algorithm: c_int,
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
    /// Algorithms that cuDNN has offered and that have failed when they were tried.
    dropped: RefCell<Vec<String>>,
    cudnn: &'static Cudnn,
    handle: Handle,
    precision: Precision,
    deterministic: bool,
    /// The handle's, which must live as long.
    stream: Arc<CudaStream>,
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { (self.cudnn.cudnnDestroy)(self.handle) };
    }
}

impl Convolutions {
    /// On `stream`, whose context is the thread's.
    ///
    /// # Errors
    /// If cuDNN is missing or cannot start.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        let cudnn = Cudnn::get()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: it writes one pointer.
        check("starting cuDNN", unsafe { (cudnn.cudnnCreate)(&raw mut handle) }, |status| cudnn.words(status))?;
        let (plans, dropped, stream) = (RefCell::default(), RefCell::default(), Arc::clone(stream));
        let all = Self { plans, dropped, cudnn, handle, precision, deterministic, stream };
        // SAFETY: the stream lives as long as the handle.
        let set = unsafe { (cudnn.cudnnSetStream)(handle, all.stream.cu_stream().cast()) };
        check("starting cuDNN", set, |status| cudnn.words(status))?;
        Ok(all)
    }

    /// Algorithms that were offered and have failed when they were tried, each with the convolution and the reason.
    pub fn dropped(&self) -> Vec<String> {
        self.dropped.borrow().clone()
    }

    /// Bytes of scratch that [`Convolutions::run`] wants.
    ///
    /// # Errors
    /// If cuDNN offers no way to compute it.
    pub fn scratch(&self, pass: Pass, shape: &Convolution) -> Result<usize, GpuError> {
        Ok(self.plan(pass, shape)?.scratch())
    }

    /// Queues a pass. The first time it chooses how, which must not be while the stream is captured.
    ///
    /// # Errors
    /// If the scratch is too small, or cuDNN refuses.
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
        let what = || name(pass, shape, self.precision);
        if scratch.1 < plan.scratch() {
            return Err(failed(what(), format!("{} bytes of scratch, {} are wanted", scratch.1, plan.scratch())));
        }
        // SAFETY: the plan's descriptors are those of the shape; the rest is the caller's promise.
        unsafe { self.execute(&plan, operands, scratch.0) }.map_err(|reason| failed(what(), reason))
    }

    /// Queues a plan; the error is cuDNN's.
    ///
    /// # Safety
    /// As for [`Convolutions::run`], with as much scratch as the plan wants.
    unsafe fn execute(&self, plan: &Plan, operands: [u64; 3], scratch: u64) -> Result<(), String> {
        // SAFETY: the caller's promise.
        let run = |operands, at| unsafe {
            let (pass, of, scratch) = (plan.pass, &plan.descriptors, (at, plan.workspace));
            self.said(algorithms::run(self.cudnn, self.handle, pass, of, plan.algorithm, operands, scratch))
        };
        let Some(turned) = &plan.turned else { return run(operands, scratch) };
        let [a, b, _] = turned.bytes;
        let own = [scratch, scratch + a as u64, scratch + (a + b) as u64];
        let workspace = scratch + turned.bytes.iter().sum::<usize>() as u64;
        // SAFETY: as above.
        unsafe {
            for index in [0, 1] {
                self.turn((&turned.given[index], operands[index]), (&turned.wanted[index], own[index]))?;
            }
            run(own, workspace)?;
            self.turn((&turned.wanted[2], own[2]), (&turned.given[2], operands[2]))
        }
    }

    /// Copies values to another order.
    ///
    /// # Safety
    /// As for [`Convolutions::run`].
    unsafe fn turn(&self, from: (&Tensor, u64), to: (&Tensor, u64)) -> Result<(), String> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let (source, out) = (from.1 as *const c_void, to.1 as *mut c_void);
        // SAFETY: the caller's promise; the two factors are read before the call returns.
        self.said(unsafe {
            (self.cudnn.cudnnTransformTensor)(self.handle, one, from.0.raw(), source, zero, to.0.raw(), out)
        })
    }

    fn said(&self, status: Status) -> Result<(), String> {
        if status == 0 { Ok(()) } else { Err(self.cudnn.words(status)) }
    }

    fn plan(&self, pass: Pass, shape: &Convolution) -> Result<Rc<Plan>, GpuError> {
        if let Some(plan) = self.plans.borrow().get(&(pass, *shape)) {
            return Ok(Rc::clone(plan));
        }
        let what = name(pass, shape, self.precision);
        let sizes = Sizes::of(shape).ok_or_else(|| failed(&*what, "cuDNN counts in 32 bits"))?;
        let before = self.dropped.borrow().len();
        let mut plan = self.choose(pass, shape, &sizes, Layout::Nhwc)?;
        if plan.is_none() && self.precision.maps() == MapType::F32 {
            plan = self.choose(pass, shape, &sizes, Layout::Nchw)?;
        }
        let plan = Rc::new(plan.ok_or_else(|| {
            let steadily = if self.deterministic { " that gives the same bits each time" } else { "" };
            let tried = self.dropped.borrow()[before..].join("; ");
            let tried = if tried.is_empty() { tried } else { format!("; those that it has offered fail: {tried}") };
            failed(what, format!("cuDNN has no algorithm for it{steadily}{tried}"))
        })?);
        self.plans.borrow_mut().insert((pass, *shape), Rc::clone(&plan));
        Ok(plan)
    }

    /// The best algorithm for operands that lie so, if there is one that works: each is run once before it is taken.
    fn choose(&self, pass: Pass, shape: &Convolution, sizes: &Sizes, layout: Layout) -> Result<Option<Plan>, GpuError> {
        let what = name(pass, shape, self.precision);
        let told = |status: Status| failed(&*what, self.cudnn.words(status));
        let maps = self.precision.maps();
        let described = |math: c_int| -> Result<Descriptors, Status> {
            let descriptors = Descriptors::new(self.cudnn, shape, sizes, maps, layout)?;
            descriptors.geometry.set_math(self.cudnn, math)?;
            Ok(descriptors)
        };
        let bytes = lengths(pass, shape).map(|len| len * maps.bytes());
        let math = choice::math(self.precision);
        let found = match self.candidates(pass, &described(math).map_err(told)?, bytes) {
            // That there is nothing for this order may be told as an error.
            Err(status) if REFUSED.contains(&status) => Vec::new(),
            found => found.map_err(told)?,
        };
        for candidate in choice::rank(found, pass, self.precision, self.deterministic) {
            let exact = self.precision == Precision::F32;
            let descriptors = described(if exact { math } else { candidate.math }).map_err(told)?;
            let algorithm = candidate.algorithm;
            // SAFETY: handle and descriptors live.
            let workspace = unsafe { algorithms::workspace(self.cudnn, self.handle, pass, &descriptors, algorithm) };
            let Ok(workspace) = workspace else { continue };
            let turned = match layout {
                Layout::Nhwc => None,
                Layout::Nchw => Some(Turned::new(self.cudnn, pass, shape, sizes, maps).map_err(told)?),
            };
            let plan = Plan { pass, descriptors, algorithm, workspace, turned };
            let trying = format!("algorithm {algorithm} of {what}");
            let tried = trial::once(&self.stream, &trying, bytes, plan.scratch(), maps, |memory| {
                // SAFETY: the memory is of the plan's sizes, and stays until it has run.
                unsafe { self.execute(&plan, memory.operands, memory.scratch.0) }
            })?;
            match tried {
                Tried::Works | Tried::NoRoom => return Ok(Some(plan)),
                Tried::Fails(reason) => self.dropped.borrow_mut().push(format!("{trying}: {reason}")),
            }
        }
        Ok(None)
    }

    /// The algorithms that cuDNN offers, fastest first.
    fn candidates(
        &self,
        pass: Pass,
        descriptors: &Descriptors,
        bytes: [usize; 3],
    ) -> Result<Vec<super::cudnn::Performance>, Status> {
        // SAFETY: handle and descriptors live, and the trial's memory is that of the shape.
        let ask = |trial| unsafe { algorithms::candidates(self.cudnn, self.handle, pass, descriptors, trial) };
        // Where the same bits are wanted each time, so is the same algorithm: it may not depend on a clock.
        let memory = if self.deterministic { None } else { trial::Memory::new(bytes, WORKSPACE) };
        let measured = memory.as_ref().map(|memory| Trial { operands: memory.operands, scratch: memory.scratch });
        match ask(measured) {
            Err(_) if measured.is_some() => ask(None),
            found => found,
        }
    }
}

impl Turned {
    fn new(cudnn: &Cudnn, pass: Pass, shape: &Convolution, sizes: &Sizes, maps: MapType) -> Result<Self, Status> {
        let Sizes { x, w, y } = *sizes;
        let [a, b, out] = match pass {
            Pass::Forward => [x, w, y],
            Pass::WeightGradient => [x, y, w],
            Pass::InputGradient => [w, y, x],
        };
        let one = |layout, sizes| Tensor::new(cudnn, maps, layout, sizes);
        let all = |layout| -> Result<[Tensor; 3], Status> { Ok([one(layout, a)?, one(layout, b)?, one(layout, out)?]) };
        let bytes = lengths(pass, shape).map(|len| (len * maps.bytes()).next_multiple_of(ALIGNMENT));
        Ok(Self { given: all(Layout::Nhwc)?, wanted: all(Layout::Nchw)?, bytes })
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
