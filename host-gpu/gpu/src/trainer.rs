//! A run on a GPU.

use super::Gpu;
use super::executor::Executor;
use super::memory::Tensor;
use super::together::check_images;
use super::train::train;
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_engine::run::{AfterStep, Run, Trainer, loader_threads};
use clapp_engine::trainer::State;
use std::hash::{DefaultHasher, Hash};

/// On a GPU.
pub struct OnGpu<E: Executor> {
    /// The device.
    pub gpu: Gpu<E>,
    /// What it is and how exactly it computes, as checkpoints name it.
    pub name: String,
}

impl<E: Executor + 'static> Trainer for OnGpu<E> {
    type Backend = Gpu<E>;

    fn backend(&self) -> &Gpu<E> {
        &self.gpu
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn part(&self, _: &Run<'_>) -> Part {
        self.gpu.part()
    }

    fn check(&self, run: &Run<'_>) -> Result<(), Error> {
        check_images(run.images.len(), run.config, self.gpu.part())
    }

    fn agree(&self, _: &Run<'_>, stop: bool, due: bool) -> Result<[bool; 2], Error> {
        self.gpu.any([stop, due])
    }

    fn same(&self, _: &Run<'_>, what: &str, hash: &mut dyn FnMut(&mut DefaultHasher)) -> Result<(), Error> {
        self.gpu.same(what, hash)
    }

    fn train(
        &self,
        run: &Run<'_>,
        state: &mut State<Tensor>,
        after_step: &mut AfterStep<'_, Tensor>,
    ) -> Result<(), Error> {
        self.gpu.same("the data set", |hasher| run.data.hash(hasher))?;
        train(&self.gpu, run.config, run.images, loader_threads(), run.interval.steps, state, after_step)
    }
}
