//! Training over epochs: the loop for any backend, and the steps on the CPU.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Scores};
use crate::config::Config;
use crate::distributed::{Ranks, Shared};
use crate::draws::{Draws, mix};
use crate::model::LayerValues;
use crate::optimizer::Optimizer;
use crate::rules::{self, step};
use crate::step::{LayerReport, Mode, Model, StepBatch, StepReport, read};
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::{self, Batch, Loader, Start, images_of_ranks, steps_per_epoch};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Report of a training run after each step.
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
    /// Loss of each layer; `None` if a layer has none (below the top in global learning).
    pub losses: Vec<Option<f64>>,
    /// Mean score of the positives of each layer, over its contexts; `None` if a layer has no loss.
    pub u_pos: Vec<Option<f64>>,
    /// Mean score of the negatives of each layer, likewise.
    pub u_neg: Vec<Option<f64>>,
    /// Distance of each layer's error from the back-propagated one, `F / ||G_ideal||^2` (docs/paper.md 3). Only layers
    /// below the top layer have it, and only with matched feedback.
    pub mismatch: Vec<Option<f64>>,
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Time since the step before it, loading included.
    pub elapsed: Duration,
}

impl StepMetrics {
    /// Returns `true` if this step is the last of its epoch.
    pub fn ends_epoch(&self) -> bool {
        self.step.is_multiple_of(self.steps_per_epoch as u64)
    }
}

/// Initial values of all parameters: uniform, `1 / sqrt(fan_in)` (docs/paper.md 4), then changed by the rule if it has
/// its own.
///
/// # Errors
/// [`Error::Network`] if the configuration does not fit together.
pub fn initial_values(config: &Config) -> Result<Vec<LayerValues>, Error> {
    let spec = config.network()?;
    let mut flat = vec![0.0; spec.view().parameter_len()];
    clapp_core::init::uniform(&spec.view(), config.seed, &mut flat)
        .map_err(|error| Error::Config { origin: "init".into(), message: error.to_string() })?;
    let mut values = spec.values_from_flat(&flat);
    rules::of(&spec).first_values(&spec, config.seed, &mut values);
    Ok(values)
}

/// A run between two steps. The order of the images, their views and the negatives are functions of the seed and the
/// step number, so the state needs nothing else.
#[derive(Debug)]
pub struct State<T> {
    /// The parameters, with the state of their optimiser.
    pub model: Model<T>,
    /// Steps done, over all epochs.
    pub step: u64,
}

impl<T> State<T> {
    /// The configuration's first values, before the first step.
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn first<B: Backend<Tensor = T>>(backend: &B, config: &Config) -> Result<Self, Error> {
        Ok(Self { model: Model::upload(backend, config.network()?, &initial_values(config)?), step: 0 })
    }
}

/// Outcome of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// As of [`StepMetrics`], of which these are a part.
    pub images: usize,
    /// Loss of each layer.
    pub losses: Vec<Option<f64>>,
    /// Mean score of the positives of each layer.
    pub u_pos: Vec<Option<f64>>,
    /// Mean score of the negatives of each layer.
    pub u_neg: Vec<Option<f64>>,
    /// Distance of each layer's error from the back-propagated one.
    pub mismatch: Vec<Option<f64>>,
}

/// The steps of a run in their order, wherever they are computed.
pub trait StepSource {
    /// A tensor of the parameters.
    type Tensor;

    /// Makes ready for an epoch, from its step `place` (from 0) on, at a learning rate.
    ///
    /// # Errors
    /// If batches cannot be made or the device fails.
    fn begin(&mut self, state: &State<Self::Tensor>, epoch: u64, place: usize, rate: f32) -> Result<(), Error>;

    /// Takes one step, or several at once, and counts them in `state`; none after the last of the epoch.
    ///
    /// # Errors
    /// If a batch cannot be made or the device fails.
    fn take(&mut self, state: &mut State<Self::Tensor>) -> Result<Vec<Taken>, Error>;

    /// An error that all processes have at the same place, as all of them have to see it.
    fn shared_error(&self, error: Error) -> Error {
        error
    }
}

/// Trains from `state` to the end of the configuration's epochs, or until `after_step` breaks. `after_step` gets the
/// report of each step and a state, which it must not change. Its last argument is `true` if the state is the one after
/// this step (a device can be some steps ahead).
///
/// # Errors
/// If the source fails, a loss is not finite, or `after_step` fails.
pub fn epochs<S: StepSource>(
    source: &mut S,
    config: &Config,
    steps_per_epoch: usize,
    state: &mut State<S::Tensor>,
    mut after_step: impl FnMut(&StepMetrics, &mut State<S::Tensor>, bool) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let steps_per_epoch = steps_per_epoch.max(1);
    let length = steps_per_epoch as u64;
    for epoch in state.step / length..config.epochs {
        let learning_rate = config.schedule.rate(config.optimizer.learning_rate(), epoch, config.epochs);
        source.begin(state, epoch, (state.step % length) as usize, learning_rate)?;
        let mut before = Instant::now();
        while state.step < (epoch + 1) * length {
            let first = state.step + 1;
            let all = source.take(state)?;
            if all.is_empty() {
                break;
            }
            let elapsed = before.elapsed() / u32::try_from(all.len()).unwrap_or(u32::MAX);
            before = Instant::now();
            for (step, Taken { images, losses, u_pos, u_neg, mismatch }) in (first..).zip(all) {
                check_losses(&losses, epoch, step).map_err(|error| source.shared_error(error))?;
                let metrics = StepMetrics {
                    epoch,
                    step,
                    steps_per_epoch,
                    images,
                    losses,
                    u_pos,
                    u_neg,
                    mismatch,
                    learning_rate,
                    elapsed,
                };
                let settled = step == state.step;
                if after_step(&metrics, state, settled)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Same as [`epochs`], step by step on the CPU. With several ranks, each has its own batches and all have the same
/// states. `after_step` gets means over the ranks, and must break on all ranks or on none.
///
/// # Errors
/// Same as [`epochs`].
pub fn train(
    ranks: &Ranks,
    config: &Config,
    images: &Arc<Split>,
    loader_threads: usize,
    state: &mut State<Vec<f32>>,
    after_step: impl FnMut(&StepMetrics, &mut State<Vec<f32>>, bool) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let steps_per_epoch = steps_per_epoch(images.len(), config.batch, ranks.size()).max(1);
    let optimizer = config.optimizer;
    let mut steps = OneByOne { ranks, config, images, loader_threads, steps_per_epoch, optimizer, batches: None };
    epochs(&mut steps, config, steps_per_epoch, state, after_step)
}

/// Steps on batches that the host makes, each awaited.
struct OneByOne<'a> {
    ranks: &'a Ranks,
    config: &'a Config,
    images: &'a Arc<Split>,
    loader_threads: usize,
    steps_per_epoch: usize,
    /// With the learning rate of the epoch.
    optimizer: Optimizer,
    batches: Option<Loader<Batch>>,
}

impl StepSource for OneByOne<'_> {
    type Tensor = Vec<f32>;

    fn begin(&mut self, _: &State<Vec<f32>>, epoch: u64, place: usize, rate: f32) -> Result<(), Error> {
        let Config { augment, batch, seed, .. } = self.config;
        let start = Start { epoch, batch: place, part: self.ranks.part() };
        self.optimizer = self.config.optimizer.with_learning_rate(rate);
        let batches = loader::pairs_from(self.images.clone(), augment, *batch, *seed, start, self.loader_threads)?;
        self.batches = Some(batches);
        Ok(())
    }

    fn take(&mut self, state: &mut State<Vec<f32>>) -> Result<Vec<Taken>, Error> {
        let Self { ranks, config, .. } = *self;
        let Some(batch) = self.batches.as_mut().and_then(Iterator::next) else { return Ok(Vec::new()) };
        let (mut batch, input, count) = (batch?, state.model.spec.input(), state.step + 1);
        let rows = 2 * batch.images.len();
        let draw = ranks.part().draw(count);
        mix(config, input, draw, &mut batch.x);
        let draws = Draws::new(config, rows, draw);
        let x = Cpu.upload_frames(input, &batch.x);
        let mode = Mode::Update { optimizer: &self.optimizer, step: count };
        let place = (state.step % self.steps_per_epoch as u64) as usize;
        let counts = images_of_ranks(self.images.len(), config.batch, place, ranks.size());
        let rule = rules::of(&state.model.spec);
        if count == 1 {
            rule.before_first_step(&Cpu, &mut state.model, config.seed);
        }
        let shared = Shared { ranks, counts: &counts };
        let outcome = step(&shared, &mut state.model, StepBatch { x, rows, pairing: draws.pairing() }, mode);
        let report = read(&shared, draws.pairing(), &outcome);
        rule.after_step(&Cpu, &mut state.model, config.seed, count);
        state.step = count;
        let own = [
            losses(&report),
            means(&report, |scores| &scores.u_pos),
            means(&report, |scores| &scores.u_neg),
            report.iter().map(|layer| layer.mismatch.map(|mismatch| mismatch.relative())).collect(),
        ];
        let means = ranks.mean(&own.concat(), &counts);
        let [losses, u_pos, u_neg, mismatch] =
            [0, 1, 2, 3].map(|part| means[part * report.len()..][..report.len()].to_vec());
        Ok(vec![Taken { images: counts.iter().sum(), losses, u_pos, u_neg, mismatch }])
    }

    fn shared_error(&self, error: Error) -> Error {
        match self.ranks.agree::<()>(Err(error)) {
            Err(error) => error,
            Ok(()) => Error::Elsewhere,
        }
    }
}

/// The loss of each layer that has one.
fn losses(report: &StepReport) -> Vec<Option<f64>> {
    report.iter().map(|report| (!report.scores.is_empty()).then(|| report.loss())).collect()
}

/// Refuses losses that are not finite.
///
/// # Errors
/// [`Error::Diverged`] with the first such layer.
pub fn check_losses(losses: &[Option<f64>], epoch: u64, step: u64) -> Result<(), Error> {
    match losses
        .iter()
        .enumerate()
        .find_map(|(layer, loss)| loss.filter(|loss| !loss.is_finite()).map(|loss| (layer, loss)))
    {
        Some((layer, loss)) => Err(Error::Diverged { layer, loss, step, epoch }),
        None => Ok(()),
    }
}

/// The mean of some scores of each layer, over all its contexts.
fn means(report: &StepReport, scores: impl Fn(&Scores) -> &Vec<f32>) -> Vec<Option<f64>> {
    let mean = |layer: &LayerReport| {
        let count: usize = layer.scores.iter().map(|context| scores(context).len()).sum();
        let sum: f64 = layer.scores.iter().flat_map(&scores).map(|score| f64::from(*score)).sum();
        (count > 0).then(|| sum / count as f64)
    };
    report.iter().map(mean).collect()
}
