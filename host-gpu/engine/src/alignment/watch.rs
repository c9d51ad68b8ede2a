//! Alignment while a run goes on, on the same batches every time; no bit of the run depends on it.

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

/// What measures a run every few steps, and keeps the rows.
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
    /// Of the run of `config` on `images` in `folder`, before the first step and after each `every` steps. Rows that the
    /// run has already are taken over, up to `step`.
    ///
    /// # Errors
    /// As [`Course::read_csv`].
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

    /// Measures a state where its turn has come; the state stays as it is.
    ///
    /// # Errors
    /// As [`of_batch`] and [`first_views`].
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
    /// As [`Course::write_csv`].
    pub fn write(&self) -> Result<(), Error> {
        self.course.write_csv(&self.path)
    }
}
