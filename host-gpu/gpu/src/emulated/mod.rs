//! A device on the host: the same kernels, compiled by the system's C++ compiler, and plain loops for what libraries
//! do on a GPU. It is slow, and strict: memory holds NaN until it is written, and what a kernel must not do is an error.

mod convolve;
mod library;
mod memory;

use super::executor::{Executor, GpuError};
use super::kernels::check_arguments;
use super::op::{Access, Arg, Collective, Convolution, MapType, Op, Pass, Product};
use library::Kernels;
use memory::{Memory, POISON};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory for a library that needs none: enough to see that nobody else uses it at the same time.
const SCRATCH: usize = 264;

/// Checks and order of work of an emulated device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Blocks, and threads between two barriers, run from the last to the first: what comes out must be the same, or
    /// the kernel lacks a barrier.
    pub descending: bool,
    /// After each operation, all memory is compared with what it was before: what the operation does not name as
    /// written must not have changed. Costs a copy of all memory an operation.
    pub strict: bool,
    /// Bytes of memory.
    pub memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { descending: false, strict: false, memory: 64 << 30 }
    }
}

/// The emulated device.
pub struct Emulated {
    maps: MapType,
    settings: Settings,
    kernels: Arc<Kernels>,
    memory: Mutex<Memory>,
    /// An error that could not be returned when it occurred.
    fault: Mutex<Option<GpuError>>,
}

impl Emulated {
    /// A device whose maps are of this type.
    ///
    /// # Errors
    /// [`GpuError::Missing`] without a C++ compiler.
    pub fn new(maps: MapType, settings: Settings) -> Result<Self, GpuError> {
        let memory = Mutex::new(Memory::new(settings.memory));
        Ok(Self { maps, settings, kernels: Kernels::load(maps)?, memory, fault: Mutex::default() })
    }

    /// Looks whether anything was written beyond a piece of memory, or freed that was not allocated.
    ///
    /// # Errors
    /// If something went wrong since the last look.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(fault) => Err(fault),
            None => self.memory().check(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_launch(
        &self,
        memory: &mut Memory,
        kernel: &str,
        grid: [u32; 3],
        block: u32,
        args: &[Arg<u64>],
    ) -> Result<(), GpuError> {
        check_arguments(kernel, args)?;
        let read: Vec<(u64, usize)> = args
            .iter()
            .filter_map(|arg| match *arg {
                Arg::In(address, bytes) | Arg::InOut(address, bytes) => Some((address, bytes)),
                _ => None,
            })
            .collect();
        let overlaps = |address: u64, bytes: usize| {
            read.iter().any(|&(at, len)| at < address + bytes as u64 && address < at + len as u64)
        };
        for (address, bytes) in &read {
            memory.bytes(*address, *bytes)?;
        }
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(match *arg {
                Arg::In(address, _) | Arg::InOut(address, _) => address,
                Arg::Out(address, bytes) => {
                    let out = memory.bytes_mut(address, bytes)?;
                    // It is to be written, all of it.
                    if !overlaps(address, bytes) {
                        out.fill(POISON);
                    }
                    address
                }
                Arg::Null => 0,
                Arg::I32(value) => u64::from(value.cast_unsigned()),
                Arg::F32(value) => u64::from(value.to_bits()),
                Arg::U64(value) => value,
            });
        }
        // SAFETY: every pointer is to allocated memory of as many bytes as the launch names, which nobody else uses
        // while the memory is locked. That kernels stay within it is what the red zones are there to check.
        unsafe { self.kernels.launch(kernel, grid, block, self.settings.descending, values) }
    }

    fn maps_at(&self, memory: &Memory, address: u64, len: usize) -> Result<Vec<f32>, GpuError> {
        let bytes = memory.bytes(address, len * self.maps.bytes())?;
        Ok(match self.maps {
            MapType::F32 => floats(bytes),
            MapType::Bf16 => bytes.as_chunks().0.iter().map(|&two| from_bf16(u16::from_ne_bytes(two))).collect(),
        })
    }

    fn write_maps(&self, memory: &mut Memory, address: u64, values: &[f32]) -> Result<(), GpuError> {
        let bytes = memory.bytes_mut(address, values.len() * self.maps.bytes())?;
        match self.maps {
            MapType::F32 => write_floats(bytes, values),
            MapType::Bf16 => {
                for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *to = to_bf16(*value).to_ne_bytes();
                }
            }
        }
        Ok(())
    }

    fn run_one(&self, memory: &mut Memory, op: &Op<u64>) -> Result<(), GpuError> {
        match op {
            Op::Launch { kernel, grid, block, args } => self.run_launch(memory, kernel, *grid, *block, args),
            Op::Convolve { pass, shape, a, b, out, scratch } => {
                let (input, output, weight) = (shape.input_len(), shape.output_len(), shape.weight_len());
                let [a_len, b_len] = match pass {
                    Pass::Forward => [input, weight],
                    Pass::WeightGradient => [input, output],
                    Pass::InputGradient => [weight, output],
                };
                memory.bytes_mut(scratch.0, scratch.1)?.fill(POISON);
                let (a, b) = (self.maps_at(memory, *a, a_len)?, self.maps_at(memory, *b, b_len)?);
                self.write_maps(memory, *out, &convolve::convolve(*pass, shape, &a, &b))
            }
            Op::Multiply { product, a, b, out, scratch } => {
                memory.bytes_mut(scratch.0, scratch.1)?.fill(POISON);
                let a = floats(memory.bytes(*a, 4 * product.m * product.k)?);
                let b = floats(memory.bytes(*b, 4 * product.k * product.n)?);
                let result = convolve::multiply(product, &a, &b);
                write_floats(memory.bytes_mut(*out, 4 * result.len())?, &result);
                Ok(())
            }
            Op::Copy { from, to, bytes } => {
                let copy = memory.bytes(*from, *bytes)?.to_vec();
                memory.bytes_mut(*to, *bytes)?.copy_from_slice(&copy);
                Ok(())
            }
            Op::Zero { at, bytes } => {
                memory.bytes_mut(*at, *bytes)?.fill(0);
                Ok(())
            }
            Op::Collect { what, input, out, len } => {
                // There is one rank only.
                if matches!(what, Collective::Gather { ranks } if *ranks > 1) {
                    return Err(GpuError::Failed {
                        what: "the collection over all ranks".into(),
                        reason: "an emulated device has no others".into(),
                    });
                }
                let values = memory.bytes(*input, 4 * len)?.to_vec();
                memory.bytes_mut(*out, 4 * len)?.copy_from_slice(&values);
                Ok(())
            }
        }
    }
}

impl Executor for Emulated {
    type Graph = Vec<Op<u64>>;

    fn map_type(&self) -> MapType {
        self.maps
    }

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        self.memory().allocate(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        if let Err(error) = self.memory().free(address, bytes) {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.memory().bytes_mut(address, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        bytes.copy_from_slice(self.memory().bytes(address, bytes.len())?);
        Ok(())
    }

    fn convolution_scratch(&self, _pass: Pass, _shape: &Convolution) -> Result<usize, GpuError> {
        Ok(SCRATCH)
    }

    fn product_scratch(&self, _product: &Product) -> Result<usize, GpuError> {
        Ok(SCRATCH)
    }

    fn run(&self, op: &Op<u64>) -> Result<(), GpuError> {
        let mut memory = self.memory();
        if !self.settings.strict {
            return self.run_one(&mut memory, op);
        }
        let before = memory.snapshot();
        self.run_one(&mut memory, op)?;
        let written = op.accesses(self.maps).into_iter().filter(|(.., access)| *access != Access::Read);
        let written: Vec<(u64, usize)> = written.map(|(address, bytes, _)| (address, bytes)).collect();
        memory.check_unchanged(before, &written)?;
        memory.check()
    }

    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Self::Graph, GpuError> {
        for op in &ops {
            if let Op::Launch { kernel, args, .. } = op {
                check_arguments(kernel, args)?;
            }
        }
        Ok(ops)
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), GpuError> {
        graph.iter().try_for_each(|op| self.run(op))
    }

    fn synchronise(&self) -> Result<(), GpuError> {
        self.check()
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&four| f32::from_ne_bytes(four)).collect()
}

fn write_floats(bytes: &mut [u8], values: &[f32]) {
    for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *to = value.to_ne_bytes();
    }
}

/// The number whose upper half this is.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16, the even one of two; NaN stays NaN.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}
