//! A GPU as one of the sides that [`clapp_engine::parity`] compares.

use super::Gpu;
use super::executor::Executor;
use super::memory::Tensor;
use super::train::{Steps, batch_sizes};
use clapp_data::error::Error;
use clapp_data::loader::Batch;
use clapp_engine::backend::Backend;
use clapp_engine::config::Config;
use clapp_engine::draws::Draws;
use clapp_engine::model::LayerValues;
use clapp_engine::parity::Side;
use clapp_engine::step::Model;
use clapp_engine::trainer::initial_values;

/// A GPU, by the programs with which it trains.
pub struct OnGpu<'a, E: Executor> {
    gpu: &'a Gpu<E>,
    config: &'a Config,
    model: Model<Tensor>,
    steps: Steps<E>,
}

impl<'a, E: Executor + 'static> OnGpu<'a, E> {
    /// With the configuration's first values, for epochs of so many images.
    ///
    /// # Errors
    /// Where the configuration does not fit together or the device fails.
    pub fn new(gpu: &'a Gpu<E>, config: &'a Config, images: usize) -> Result<Self, Error> {
        let mut model = Model::upload(gpu, config.network()?, &initial_values(config)?);
        let steps = Steps::new(gpu, config, &mut model, &batch_sizes(images, config.batch))?;
        gpu.set_place(0, 0, config.optimizer.learning_rate());
        Ok(Self { gpu, config, model, steps })
    }
}

impl<E: Executor + 'static> Side for OnGpu<'_, E> {
    fn step(&mut self, batch: &Batch, _: &Draws, step: u64) -> Result<Vec<f64>, Error> {
        self.steps.queue(self.gpu, self.config, batch, step)?;
        let report = self.steps.reports(self.gpu, step, 1);
        self.gpu.check()?;
        Ok(report.iter().flatten().map(|layer| layer.loss.unwrap_or(0.0)).collect())
    }

    fn values(&self) -> Vec<LayerValues> {
        self.model.download(self.gpu)
    }
}
