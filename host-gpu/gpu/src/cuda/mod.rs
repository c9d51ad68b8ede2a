//! CUDA through `cudarc`: own kernels, cuDNN, cuBLASLt and NCCL, all loaded while the program runs.

mod algorithms;
mod calls;
mod choice;
pub mod compile;
mod convolve;
mod cublaslt;
mod cudnn;
mod descriptors;
mod errors;
mod folders;
pub mod found;
pub mod group;
mod launch;
pub mod libraries;
mod memory;
mod multiply;
mod nccl;
pub mod nvrtc;
pub mod ready;
mod staging;
mod trial;

use super::cache::Cache;
use super::executor::{Executor, GpuError};
use super::kernels::check_arguments;
use super::op::{Collective, Convolution, MapType, Op, Pass, Product};
use super::precision::Precision;
use compile::Build;
use convolve::Convolutions;
use cudarc::driver::{CudaContext, CudaGraph, CudaStream, result, sys};
use errors::{driver, failed};
use group::Group;
use launch::Kernels;
use libraries::Library;
use memory::Memory;
use multiply::Products;
use nccl::Communicator;
use staging::Staging;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

pub use memory::Taken;

/// Bytes that are copied to the device without a buffer between: so few fit into the driver's own.
const SMALL: usize = 64 << 10;

/// A GPU that runs operations, one after the other, on a stream of its own.
///
/// Operations are queued by one thread. What has been given to it by address is the caller's promise: see
/// [`Executor`].
#[derive(Debug)]
pub struct Cuda {
    // In the order in which they are given back: the stream's users before the stream.
    communicator: Option<Communicator>,
    staging: RefCell<Staging>,
    convolutions: Result<Convolutions, GpuError>,
    products: Result<Products, GpuError>,
    // Compiled when the first is asked for.
    kernels: OnceCell<Result<Kernels, GpuError>>,
    build: Build,
    memory: Memory,
    precision: Precision,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

/// Operations that the device runs as one.
pub struct Graph {
    graph: Option<CudaGraph>,
}

impl Cuda {
    /// The GPU of number `device`. `deterministic`: the same bits each time, without contracted products.
    ///
    /// # Errors
    /// [`GpuError::Missing`] for the first of driver, GPU and libraries that is missing or does not go with the others;
    /// [`GpuError::Failed`] where one of them refuses.
    pub fn new(device: usize, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        // The compiler only where the kernels are not compiled yet: they ask for it.
        for library in found::NEEDED.into_iter().filter(|library| *library != Library::Nvrtc) {
            library.require()?;
            found::goes_with_driver(library)?;
        }
        let whole = Self::partial(device, precision, deterministic)?;
        whole.kernels()?;
        whole.convolutions()?;
        whole.products()?;
        Ok(whole)
    }

    /// As [`Cuda::new`], with whatever is there: kernels, convolutions and products that cannot be had are an error only
    /// where they are asked for.
    ///
    /// # Errors
    /// As [`Cuda::new`], of driver and GPU.
    pub fn partial(device: usize, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        if device >= found::count()? {
            return Err(found::no_such(device));
        }
        let what = format!("starting GPU {device}");
        let context = CudaContext::new(device).map_err(driver(&what))?;
        let (major, minor) = context.compute_capability().map_err(driver(&what))?;
        let build = Build { capability: [major, minor], maps: precision.maps(), deterministic };
        let stream = context.new_stream().map_err(driver(&what))?;
        Ok(Self {
            communicator: None,
            staging: RefCell::new(Staging::new(&stream)?),
            convolutions: Convolutions::new(&stream, precision, deterministic),
            products: Products::new(&stream, precision, deterministic),
            kernels: OnceCell::new(),
            build,
            memory: Memory::new(&stream)?,
            precision,
            stream,
            context,
        })
    }

    /// Ways of computing that cuDNN and cuBLASLt have offered and that have failed when they were tried once.
    pub fn dropped(&self) -> Vec<String> {
        let convolutions = self.convolutions.as_ref().map(Convolutions::dropped).unwrap_or_default();
        let products = self.products.as_ref().map(Products::dropped).unwrap_or_default();
        [convolutions, products].concat()
    }

    fn kernels(&self) -> Result<&Kernels, GpuError> {
        let load = || {
            let image = compile::kernels(&self.build, &Cache::of_user())?;
            Kernels::load(&self.context, image)
        };
        self.kernels.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    fn convolutions(&self) -> Result<&Convolutions, GpuError> {
        self.convolutions.as_ref().map_err(Clone::clone)
    }

    fn products(&self) -> Result<&Products, GpuError> {
        self.products.as_ref().map_err(Clone::clone)
    }

    /// Joins the processes of other GPUs, so that collectives are over all of them. Waits until all have come.
    ///
    /// # Errors
    /// [`GpuError::Missing`] without NCCL; [`GpuError::Failed`] where the others do not come.
    pub fn join(&mut self, group: &Group) -> Result<(), GpuError> {
        self.bind()?;
        self.communicator = Some(Communicator::join(group)?);
        Ok(())
    }

    /// The GPU's name.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn name(&self) -> Result<String, GpuError> {
        self.context.name().map_err(driver("asking the GPU for its name"))
    }

    /// The precision of convolutions and products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of the device's memory: free, and in all. What other programs have taken counts too.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn memory(&self) -> Result<(usize, usize), GpuError> {
        self.context.mem_get_info().map_err(driver("asking the GPU for its memory"))
    }

    /// Bytes that this executor has taken by [`Executor::allocate`], now and at most.
    pub fn taken(&self) -> Taken {
        self.memory.taken()
    }

    /// Counts the most that was taken anew.
    pub fn reset_peak(&self) {
        self.memory.reset_peak();
    }

    /// Copies bytes to the device beside the work that is queued; waits only where two such copies are under way.
    ///
    /// The bytes are at `address` for what is queued between this call and the next one; after that the memory may be
    /// written again. Where consecutive calls go to two places in turn, each copy runs beside the step before.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn stage(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.bind()?;
        // SAFETY: the memory is the caller's promise, as for every address.
        unsafe { self.staging.borrow_mut().stage(address, bytes) }
    }

    /// The driver's calls are about the context that the thread has.
    fn bind(&self) -> Result<(), GpuError> {
        self.context.bind_to_thread().map_err(driver("choosing the GPU"))
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), GpuError> {
        if bytes == 0 || from == to {
            return Ok(());
        }
        // SAFETY: the addresses are the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .map_err(driver("copying on the GPU"))
    }

    fn collect(&self, what: Collective, input: u64, out: u64, len: usize) -> Result<(), GpuError> {
        match &self.communicator {
            // SAFETY: the addresses are the caller's promise.
            Some(communicator) => unsafe { communicator.run(what, input, out, len, &self.stream) },
            None if matches!(what, Collective::Gather { ranks } if ranks > 1) => {
                Err(failed("the collection over all ranks", "this process has joined no others"))
            }
            // Of one process, sum and collection are its own values.
            None => self.copy(input, out, 4 * len),
        }
    }
}

impl Executor for Cuda {
    type Graph = Graph;

    fn map_type(&self) -> MapType {
        self.precision.maps()
    }

    fn stage(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        Self::stage(self, address, bytes)
    }

    fn free_memory(&self) -> Result<Option<usize>, GpuError> {
        Ok(Some(self.memory()?.0))
    }

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        self.memory.take(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        // SAFETY: the address is the caller's promise. Where the device has failed, the next operation says so.
        let given = unsafe { self.memory.give(address, bytes) };
        self.context.record_err(given);
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.bind()?;
        if bytes.len() > SMALL {
            // SAFETY: the memory is the caller's promise.
            return unsafe { self.staging.borrow_mut().write(address, bytes) };
        }
        // SAFETY: as above; of memory that is not pinned the driver takes a copy before the call returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) }
            .map_err(driver("copying to the GPU"))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        if bytes.is_empty() {
            return self.synchronise();
        }
        self.bind()?;
        // SAFETY: the memory is the caller's promise; the bytes are borrowed until the device has written them.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }
            .map_err(driver("copying from the GPU"))?;
        self.synchronise()
    }

    fn convolution_scratch(&self, pass: Pass, shape: &Convolution) -> Result<usize, GpuError> {
        self.bind()?;
        self.convolutions()?.scratch(pass, shape)
    }

    fn product_scratch(&self, product: &Product) -> Result<usize, GpuError> {
        self.bind()?;
        self.products()?.scratch(product)
    }

    fn run(&self, op: &Op<u64>) -> Result<(), GpuError> {
        self.bind()?;
        // SAFETY, of each below: that the memory is the device's, is as long as the operation says and stays until it
        // has run is the caller's promise.
        match op {
            Op::Launch { kernel, grid, block, args } => {
                check_arguments(kernel, args)?;
                // SAFETY: as above; the arguments are of the number and the kinds that the kernel's source says.
                unsafe { self.kernels()?.run(&self.stream, kernel, *grid, *block, args) }
            }
            // SAFETY: as above.
            Op::Convolve { pass, shape, a, b, out, scratch } => unsafe {
                self.convolutions()?.run(*pass, shape, [*a, *b, *out], *scratch)
            },
            // SAFETY: as above.
            Op::Multiply { product, a, b, out, scratch } => unsafe {
                self.products()?.run(product, [*a, *b, *out], *scratch)
            },
            Op::Copy { from, to, bytes } => self.copy(*from, *to, *bytes),
            Op::Zero { bytes: 0, .. } => Ok(()),
            // SAFETY: as above.
            Op::Zero { at, bytes } => unsafe { result::memset_d8_async(*at, 0, *bytes, self.stream.cu_stream()) }
                .map_err(driver("filling memory of the GPU with zeros")),
            Op::Collect { what, input, out, len } => self.collect(*what, *input, *out, *len),
        }
    }

    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Self::Graph, GpuError> {
        let what = "recording a graph";
        self.bind()?;
        // What the libraries have to decide is decided before, and each way is run once: nothing may be taken or asked while
        // the stream records.
        for op in &ops {
            match op {
                Op::Convolve { pass, shape, .. } => drop(self.convolutions()?.scratch(*pass, shape)?),
                Op::Multiply { product, .. } => drop(self.products()?.scratch(product)?),
                Op::Launch { kernel, .. } => self.kernels()?.prepare(kernel)?,
                Op::Copy { .. } | Op::Zero { .. } | Op::Collect { .. } => {}
            }
        }
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(driver(what))?;
        let recorded = ops.iter().try_for_each(|op| self.run(op));
        // The stream must leave the recording, whatever has happened in it.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0)).map_err(driver(what));
        recorded?;
        let graph = graph?;
        if graph.is_none() && !ops.is_empty() {
            return Err(failed(what, "the driver has recorded nothing"));
        }
        if let Some(graph) = &graph {
            graph.upload().map_err(driver(what))?;
        }
        Ok(Graph { graph })
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), GpuError> {
        match &graph.graph {
            Some(graph) => graph.launch().map_err(driver("starting a graph")),
            None => Ok(()),
        }
    }

    fn synchronise(&self) -> Result<(), GpuError> {
        self.context.check_err().map_err(driver("giving memory back to the GPU"))?;
        self.stream.synchronize().map_err(driver("waiting for the GPU"))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Nothing may be given back while the device still uses it.
        let _ = self.stream.synchronize();
    }
}
