//! Training over epochs, on any backend.

use crate::backend::{Backend, Pairing};
use crate::config::{Config, Negatives};
use crate::data::Split;
use crate::error::Error;
use crate::loader;
use crate::model::LayerValues;
use crate::rng::{Purpose, stream};
use crate::step::{Mode, Model, StepReport, step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a training run reports after each step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepMetrics {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Step, counted from 1 over all epochs.
    pub step: u64,
    /// Steps in an epoch.
    pub steps_per_epoch: usize,
    /// Images in this step's batch.
    pub images: usize,
    /// Loss of each layer; `None` where a layer has none (below the top in global learning).
    pub losses: Vec<Option<f64>>,
    /// Time since the step before it, loading included.
    pub elapsed: Duration,
}

/// The indices of the negatives of a batch of `rows` rows (spec 1.3), `[K][rows]` flattened.
pub fn draw_negatives(negatives: Negatives, rows: usize, seed: u64, step: u64) -> Vec<usize> {
    match negatives {
        Negatives::Ring => (0..rows).map(|row| (row + 1) % rows).collect(),
        Negatives::Uniform(count) => {
            let mut rng = stream(seed, Purpose::Negatives, 0, step);
            (0..count * rows).map(|_| rng.below(rows)).collect()
        }
    }
}

/// First values of all parameters: uniform, `1 / sqrt(fan_in)` (spec 4).
///
/// # Errors
/// [`Error::Network`] where the configuration does not fit together.
pub fn initial_values(config: &Config) -> Result<Vec<LayerValues>, Error> {
    let spec = config.network()?;
    let mut flat = vec![0.0; spec.view().parameter_len()];
    clapp_core::init::uniform(&spec.view(), config.seed, &mut flat)
        .map_err(|error| Error::Config { origin: "init".into(), message: error.to_string() })?;
    Ok(spec.values_from_flat(&flat))
}

/// Trains from the configuration's first values over all its epochs; `observe` hears of each step,
/// `epoch_done` of each epoch with the number of epochs done.
///
/// # Errors
/// Where batches cannot be made, a loss is not finite, or `epoch_done` fails.
pub fn train<B: Backend>(
    backend: &B,
    config: &Config,
    images: &Arc<Split>,
    loader_threads: usize,
    mut observe: impl FnMut(&StepMetrics),
    epoch_done: impl Fn(u64, &Model<B::Tensor>) -> Result<(), Error>,
) -> Result<Model<B::Tensor>, Error> {
    let spec = config.network()?;
    let input = spec.input();
    let mut model = Model::upload(backend, spec, &initial_values(config)?);
    let mut count = 0;
    for epoch in 0..config.epochs {
        let batches = loader::pairs(images.clone(), &config.augment, config.batch, config.seed, epoch, loader_threads)?;
        let steps_per_epoch = batches.batches();
        let mut before = Instant::now();
        for batch in batches {
            let batch = batch?;
            count += 1;
            let rows = 2 * batch.images.len();
            let negatives = draw_negatives(config.negatives, rows, config.seed, count);
            let pairing = Pairing { negatives: &negatives, keep_positive: None };
            let x = backend.upload_frames(input, &batch.x);
            let mode = Mode::Update { optimizer: &config.optimizer, step: count };
            let report = step(backend, &mut model, x, rows, pairing, mode);
            let losses = losses(&report, epoch, count)?;
            let elapsed = before.elapsed();
            before = Instant::now();
            let images = batch.images.len();
            observe(&StepMetrics { epoch, step: count, steps_per_epoch, images, losses, elapsed });
        }
        epoch_done(epoch + 1, &model)?;
    }
    Ok(model)
}

fn losses(report: &StepReport, epoch: u64, step: u64) -> Result<Vec<Option<f64>>, Error> {
    report
        .iter()
        .enumerate()
        .map(|(layer, report)| {
            let loss = report.loss();
            if loss.is_finite() {
                Ok((!report.scores.is_empty()).then_some(loss))
            } else {
                Err(Error::Diverged { layer, loss, step, epoch })
            }
        })
        .collect()
}
