//! A device that runs operations: CUDA, or its emulation on the host.

use super::op::{Convolution, MapType, Op, Pass, Product};
use clapp_data::error::Error;
use clapp_data::words::readable;

/// The reason why a device cannot be used, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// Something that the device needs is not on this machine.
    #[error("{what} was not found ({reason}); {remedy}")]
    Missing {
        /// Driver, library or program.
        what: String,
        /// The system's words.
        reason: String,
        /// Advice on how to install it.
        remedy: &'static str,
    },
    /// The device has too little memory.
    #[error(
        "the device has no {} of memory left ({} of {} are free); {remedy}",
        readable(*needed), readable(*free), readable(*total)
    )]
    Memory {
        /// Bytes asked for.
        needed: usize,
        /// Bytes that were free.
        free: usize,
        /// Bytes in all.
        total: usize,
        /// Advice on how to need less.
        remedy: &'static str,
    },
    /// The device or one of its libraries has refused, or failed at, an operation.
    #[error("{what} failed: {reason}")]
    Failed {
        /// The operation.
        what: String,
        /// The library's words.
        reason: String,
    },
}

impl From<GpuError> for Error {
    fn from(error: GpuError) -> Self {
        match error {
            GpuError::Missing { .. } => Self::input(error),
            GpuError::Memory { .. } | GpuError::Failed { .. } => Self::failure(error),
        }
    }
}

/// A device that runs operations in order, one after the other, on memory of its own.
///
/// Addresses are the device's; 0 is no memory. Operations are queued: an error may be reported by a later call.
pub trait Executor {
    /// A list of operations that is ready to be run again and again.
    type Graph;

    /// Element type of the maps.
    fn map_type(&self) -> MapType;

    /// Takes `bytes` (above 0) of memory, aligned to 256.
    ///
    /// # Errors
    /// [`GpuError::Memory`] where there is not so much left.
    fn allocate(&self, bytes: usize) -> Result<u64, GpuError>;

    /// Gives memory back after all that is queued has run; `bytes` as it was asked for.
    fn free(&self, address: u64, bytes: usize);

    /// Copies bytes to the device, after all that is queued.
    ///
    /// # Errors
    /// If the device has failed.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError>;

    /// Copies bytes from the device, after all that is queued.
    ///
    /// # Errors
    /// If the device has failed.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// As [`Executor::write`], without waiting for the device where it can.
    ///
    /// # Errors
    /// If the device has failed.
    fn stage(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.write(address, bytes)
    }

    /// Bytes of memory that are free; `None` where there is no telling.
    ///
    /// # Errors
    /// If the device has failed.
    fn free_memory(&self) -> Result<Option<usize>, GpuError> {
        Ok(None)
    }

    /// Bytes that the library wants beside the operands of a convolution.
    ///
    /// # Errors
    /// If the library knows no way to compute it.
    fn convolution_scratch(&self, pass: Pass, shape: &Convolution) -> Result<usize, GpuError>;

    /// Bytes that the library wants beside the operands of a product.
    ///
    /// # Errors
    /// If the library knows no way to compute it.
    fn product_scratch(&self, product: &Product) -> Result<usize, GpuError>;

    /// Queues one operation.
    ///
    /// # Errors
    /// If the device or a library refuses.
    fn run(&self, op: &Op<u64>) -> Result<(), GpuError>;

    /// Makes operations ready to be run again and again.
    ///
    /// # Errors
    /// If the device or a library refuses.
    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Self::Graph, GpuError>;

    /// Queues all operations of a graph.
    ///
    /// # Errors
    /// If the device has failed.
    fn launch(&self, graph: &Self::Graph) -> Result<(), GpuError>;

    /// Waits until all that is queued has run.
    ///
    /// # Errors
    /// If the device has failed.
    fn synchronise(&self) -> Result<(), GpuError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_the_input_s_fault_and_a_failing_one_is_not() {
        let missing = GpuError::Missing { what: "a".into(), reason: "b".into(), remedy: "c" };
        let memory = GpuError::Memory { needed: 3 << 20, free: 1 << 20, total: 2 << 20, remedy: "d" };
        let failed = GpuError::Failed { what: "e".into(), reason: "f".into() };
        for (error, exit_code) in [(missing, 2), (memory, 1), (failed, 1)] {
            let text = error.to_string();
            let error = Error::from(error);
            assert_eq!((error.to_string(), error.exit_code()), (text, exit_code));
        }
    }
}
