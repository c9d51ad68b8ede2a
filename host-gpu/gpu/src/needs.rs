//! The memory of a device that a run takes, from the same steps recorded for no device.

use super::Gpu;
use super::dry_run::DryRun;
use super::op::MapType;
use super::train::{batch_sizes, record_programs};
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_engine::config::Config;

/// Bytes of a device's memory by purpose, without what its driver and libraries take for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNeeds {
    /// Parameters and the state of their optimiser.
    pub parameters: usize,
    /// Maps, pooled activity, gradients: what a step works in.
    pub step: usize,
    /// Batches as they come from the host, reports of steps.
    pub exchange: usize,
}

impl DeviceNeeds {
    /// Of training by `config` with maps of this type.
    ///
    /// # Errors
    /// [`Error::Network`] where the configuration does not fit together.
    pub fn of_training(config: &Config, maps: MapType) -> Result<Self, Error> {
        Self::of_part(config, maps, Part::WHOLE)
    }

    /// The same, of one of several processes that train together.
    ///
    /// # Errors
    /// As there.
    pub fn of_part(config: &Config, maps: MapType, part: Part) -> Result<Self, Error> {
        let gpu = Gpu::new(DryRun::new(maps))?.among(part);
        let mut model = gpu.blank_model(config.network()?);
        // As many images as give batches of the size asked for, and none of another.
        let sizes = batch_sizes(config.batch, config.batch);
        let (memory, programs) = record_programs(&gpu, config, &mut model, &sizes, None)?;
        let step = programs.iter().map(|program| program.plan.bytes).max().unwrap_or(0);
        let exchange = memory.bytes();
        Ok(Self { parameters: gpu.memory_now() - exchange, step, exchange })
    }

    /// All bytes.
    pub fn total(&self) -> usize {
        self.parameters + self.step + self.exchange
    }
}
