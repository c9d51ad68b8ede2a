//! Launches of own kernels.

use super::super::executor::GpuError;
use super::super::op::Arg;
use super::errors::{driver, failed};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, result};
use cudarc::nvrtc::Ptx;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

/// The own kernels on a device.
#[derive(Debug)]
pub struct Kernels {
    functions: RefCell<HashMap<&'static str, CudaFunction>>,
    module: Arc<CudaModule>,
}

impl Kernels {
    /// From what the compiler gave.
    ///
    /// # Errors
    /// If the driver does not take it.
    pub fn load(context: &Arc<CudaContext>, image: Vec<u8>) -> Result<Self, GpuError> {
        let module = context.load_module(Ptx::from_binary(image)).map_err(driver("loading the kernels"))?;
        Ok(Self { functions: RefCell::default(), module })
    }

    /// Queues a kernel.
    ///
    /// # Errors
    /// If there is no such kernel, or the driver refuses.
    ///
    /// # Safety
    /// The arguments are those of the kernel; the addresses are the device's, as long as the kernel reads and writes,
    /// and stay until all that is queued has run.
    pub unsafe fn run(
        &self,
        stream: &CudaStream,
        name: &'static str,
        grid: [u32; 3],
        block: u32,
        args: &[Arg<u64>],
    ) -> Result<(), GpuError> {
        let what = format!("the kernel {name}");
        let function = self.function(name)?;
        let mut values = values(args);
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| (&raw mut *value).cast()).collect();
        let [x, y, z] = grid;
        // SAFETY: the function lives as long as its module; the driver copies the arguments before the call returns;
        // the rest is the caller's promise.
        unsafe { result::launch_kernel(function, (x, y, z), (block, 1, 1), 0, stream.cu_stream(), &mut pointers) }
            .map_err(driver(&what))
    }

    /// Asks for a kernel before it is needed.
    ///
    /// # Errors
    /// If there is no such kernel.
    pub fn prepare(&self, name: &'static str) -> Result<(), GpuError> {
        self.function(name).map(drop)
    }

    fn function(&self, name: &'static str) -> Result<cudarc::driver::sys::CUfunction, GpuError> {
        if let Some(function) = self.functions.borrow().get(name) {
            return Ok(function.cu_function());
        }
        let function = self.module.load_function(name).map_err(|error| {
            failed(
                format!("the kernel {name}"),
                format!("it is not among the kernels ({})", super::errors::text(error)),
            )
        })?;
        let raw = function.cu_function();
        self.functions.borrow_mut().insert(name, function);
        Ok(raw)
    }
}

/// Arguments as the driver reads them: each at the beginning of 8 bytes, of which it takes as many as the kernel says.
fn values(args: &[Arg<u64>]) -> Vec<u64> {
    let short = |bytes: [u8; 4]| u64::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3], 0, 0, 0, 0]);
    args.iter()
        .map(|arg| match *arg {
            Arg::In(address, _) | Arg::Out(address, _) | Arg::InOut(address, _) => address,
            Arg::Null => 0,
            Arg::I32(value) => short(value.to_ne_bytes()),
            Arg::F32(value) => short(value.to_ne_bytes()),
            Arg::U64(value) => value,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_is_read_as_it_was_given() {
        let args = [
            Arg::In(0x7f00_0000_1234, 8),
            Arg::Out(1, 4),
            Arg::InOut(2, 4),
            Arg::Null,
            Arg::I32(-7),
            Arg::F32(-0.1),
            Arg::U64(u64::MAX - 1),
        ];
        let values = values(&args);
        assert_eq!(values[..4], [0x7f00_0000_1234, 1, 2, 0]);
        let at = |index: usize| (&raw const values[index]).cast::<u8>();
        // SAFETY: as the driver does, from the beginning of each value.
        unsafe {
            assert_eq!(at(4).cast::<i32>().read(), -7);
            assert_eq!(at(5).cast::<f32>().read().to_bits(), (-0.1_f32).to_bits());
            assert_eq!(at(6).cast::<u64>().read(), u64::MAX - 1);
        }
    }
}
