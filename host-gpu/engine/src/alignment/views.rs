//! Batches for measuring alignment: the first images of a set, in their order, augmented (docs/paper.md 7).

use crate::config::Config;
use crate::draws::Draws;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::{self, Batch};
use std::sync::Arc;

/// A batch on which a rule and back-propagation are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// Frames `[rows, C, H, W]`: first views, then second views.
    pub x: Vec<f32>,
    /// Number of frames.
    pub rows: usize,
    /// Negatives, and the terms that count, for both gradients.
    pub draws: Draws,
}

/// The first `batches` batches of `batch` images, not shuffled; fewer if the images end. Views and negatives come from
/// separate random streams that no training step uses, so they are the same at any time in a run.
///
/// # Errors
/// If there are fewer than 2 images, or they cannot be read or augmented; then, from the iterator, likewise.
pub fn first_views(
    config: &Config,
    images: &Arc<Split>,
    batches: usize,
    batch: usize,
    threads: usize,
) -> Result<impl Iterator<Item = Result<Views, Error>> + use<>, Error> {
    let loaded = loader::first_pairs(images.clone(), &config.augment, batch, config.seed, batches, threads)?;
    let config = config.clone();
    let views = move |(number, batch): (u64, Result<Batch, loader::LoaderError>)| {
        let Batch { x, images } = batch?;
        let rows = 2 * images.len();
        // Training counts its steps from 1 up.
        Ok(Views { x, rows, draws: Draws::new(&config, rows, u64::MAX - number) })
    };
    Ok((0..).zip(loaded).map(views))
}
