//! Alignment during a run, always on the same batches. The measurement does not change the run.

use super::{ALIGNMENT, Course, first_views, of_batch, over_batches};
use crate::backend::Backend;
use crate::config::Config;
use crate::trainer::State;
use clapp_data::data::Split;
use clapp_data::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Default number of batches for measuring alignment (docs/paper.md 7).
pub const BATCHES: usize = 10;

/// Measures a run every few steps, and keeps the rows.
#[derive(Debug)]
pub struct Watch<'a> {
    config: &'a Config,
    images: &'a Arc<Split>,
    every: u64,
    threads: usize,
    path: PathBuf,
    course: Course,
}

impl<'a> Watch<'a> {
    /// Makes a watch for the run of `config` on `images` in `folder`: it measures before the first step and then every
    /// `every` steps. Keeps the existing rows of the run up to `step`.
    ///
    /// # Errors
    /// Same as [`Course::read_csv`].
    pub fn new(
        config: &'a Config,
        images: &'a Arc<Split>,
        every: u64,
        threads: usize,
        folder: &Path,
        step: u64,
    ) -> Result<Self, Error> {
        let path = folder.join(ALIGNMENT);
        let course = Course::read_csv(&path, config.blocks.len(), step)?;
        Ok(Self { config, images, every: every.max(1), threads, path, course })
    }

    /// Measures a state if a measurement is due. Does not change the state.
    ///
    /// # Errors
    /// Same as [`of_batch`] and [`first_views`].
    pub fn look<B: Backend>(&mut self, backend: &B, state: &mut State<B::Tensor>) -> Result<(), Error> {
        let known = self.course.rows().last().is_some_and(|row| row.step >= state.step);
        if known || !state.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let views = first_views(self.config, self.images, BATCHES, self.config.batch, self.threads)?;
        let found = views.map(|views| of_batch(backend, &mut state.model, &views?)).collect::<Result<Vec<_>, _>>()?;
        self.course.push(state.step, &over_batches(&found));
        Ok(())
    }

    /// Writes the rows; before a checkpoint, so that those after it are made again and none before it is lost.
    ///
    /// # Errors
    /// Same as [`Course::write_csv`].
    pub fn write(&self) -> Result<(), Error> {
        self.course.write_csv(&self.path)
    }
}
