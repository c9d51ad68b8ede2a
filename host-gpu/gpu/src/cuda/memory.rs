//! The device's memory: taken and given back in the order of the stream, and counted.

use super::super::executor::GpuError;
use super::errors::driver;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use std::cell::Cell;
use std::sync::Arc;

/// Addresses are multiples of this.
pub const ALIGNMENT: usize = 256;

/// Bytes of a graphics card's memory that this program has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Now.
    pub now: usize,
    /// At most, since it was counted anew.
    pub peak: usize,
}

impl Taken {
    fn take(self, bytes: usize) -> Self {
        let now = self.now + bytes;
        Self { now, peak: self.peak.max(now) }
    }

    fn give(self, bytes: usize) -> Self {
        Self { now: self.now.saturating_sub(bytes), ..self }
    }
}

/// Memory of a device, in the order of a stream.
#[derive(Debug)]
pub struct Memory {
    taken: Cell<Taken>,
    pool: Option<sys::CUmemoryPool>,
    stream: Arc<CudaStream>,
}

impl Memory {
    /// In the order of `stream`.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self, GpuError> {
        let context = stream.context();
        let pool = if context.has_async_alloc() {
            Some(keep_pool(context).map_err(driver("asking for the memory pool"))?)
        } else {
            None
        };
        Ok(Self { taken: Cell::default(), pool, stream: Arc::clone(stream) })
    }

    /// Takes `bytes`, which is above 0.
    ///
    /// # Errors
    /// [`GpuError::Memory`] where there is not so much left.
    pub fn take(&self, bytes: usize) -> Result<u64, GpuError> {
        let context = self.stream.context();
        context.bind_to_thread().map_err(driver("choosing the GPU"))?;
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        let address = match self.allocate(bytes) {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                self.trim();
                self.allocate(bytes)
            }
            other => other,
        };
        match address {
            Ok(address) => {
                self.taken.set(self.taken.get().take(bytes));
                Ok(address)
            }
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = context.mem_get_info().unwrap_or((0, 0));
                Err(GpuError::Memory { needed: bytes, free, total, remedy: "a smaller --batch or --width needs less" })
            }
            Err(error) => Err(driver("taking memory of the GPU")(error)),
        }
    }

    fn allocate(&self, bytes: usize) -> Result<u64, DriverError> {
        // SAFETY: the stream lives; what is in the memory is the caller's affair.
        unsafe {
            if self.pool.is_some() {
                result::malloc_async(self.stream.cu_stream(), bytes)
            } else {
                result::malloc_sync(bytes)
            }
        }
    }

    /// Gives memory back after all that is queued has run; `bytes` as it was asked for.
    ///
    /// # Errors
    /// If the device has failed.
    ///
    /// # Safety
    /// The address comes from [`Memory::take`], and nothing that is queued later uses it.
    pub unsafe fn give(&self, address: u64, bytes: usize) -> Result<(), DriverError> {
        self.stream.context().bind_to_thread()?;
        self.taken.set(self.taken.get().give(bytes.next_multiple_of(ALIGNMENT)));
        // SAFETY: the caller's promise. Without a pool, the driver waits until the device is done.
        unsafe {
            if self.pool.is_some() {
                result::free_async(address, self.stream.cu_stream())
            } else {
                result::free_sync(address)
            }
        }
    }

    /// Gives what the pool keeps back to the system, so that it can be cut anew.
    fn trim(&self) {
        if let Some(pool) = self.pool {
            let _ = self.stream.synchronize();
            // SAFETY: the pool is the device's own, which lives as long as its context. Where it fails there is as
            // little memory as before.
            let _ = unsafe { result::mem_pool::trim_to(pool, 0) };
        }
    }

    /// Bytes taken, now and at most.
    pub fn taken(&self) -> Taken {
        self.taken.get()
    }

    /// Counts the peak anew.
    pub fn reset_peak(&self) {
        let now = self.taken.get().now;
        self.taken.set(Taken { now, peak: now });
    }
}

/// The device's pool, told to keep what is given back to it: it would else go back to the system whenever the program
/// waits for the device.
fn keep_pool(context: &CudaContext) -> Result<sys::CUmemoryPool, DriverError> {
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device is the context's; the attribute is a 64-bit integer, which is read before the call returns.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())?;
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_the_most_at_a_time() {
        let taken = Taken::default().take(256).take(512).give(256).take(128);
        assert_eq!(taken, Taken { now: 640, peak: 768 });
        assert_eq!(taken.give(640).take(1), Taken { now: 1, peak: 768 });
    }
}
