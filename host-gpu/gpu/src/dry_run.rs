//! A device that is not there: it gives out addresses and runs nothing. A step that is recorded on it shows how much
//! memory it needs and in which order it works.

use super::executor::{Executor, GpuError};
use super::op::{Convolution, MapType, Op, Pass, Product};
use std::cell::Cell;

/// No device.
#[derive(Debug)]
pub struct DryRun {
    maps: MapType,
    next: Cell<u64>,
}

impl DryRun {
    /// With maps of this type.
    pub fn new(maps: MapType) -> Self {
        Self { maps, next: Cell::new(1 << 20) }
    }
}

impl Executor for DryRun {
    type Graph = Vec<Op<u64>>;

    fn map_type(&self) -> MapType {
        self.maps
    }

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        let address = self.next.get();
        self.next.set(address + bytes.next_multiple_of(super::plan::ALIGNMENT) as u64);
        Ok(address)
    }

    fn free(&self, _: u64, _: usize) {}

    fn write(&self, _: u64, _: &[u8]) -> Result<(), GpuError> {
        Ok(())
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), GpuError> {
        Ok(())
    }

    /// None: how much a library takes is known where there is one.
    fn convolution_scratch(&self, _: Pass, _: &Convolution) -> Result<usize, GpuError> {
        Ok(0)
    }

    fn product_scratch(&self, _: &Product) -> Result<usize, GpuError> {
        Ok(0)
    }

    fn run(&self, _: &Op<u64>) -> Result<(), GpuError> {
        Ok(())
    }

    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Vec<Op<u64>>, GpuError> {
        Ok(ops)
    }

    fn launch(&self, _: &Vec<Op<u64>>) -> Result<(), GpuError> {
        Ok(())
    }

    fn synchronise(&self) -> Result<(), GpuError> {
        Ok(())
    }
}
