//! One training run in a folder: configuration, checkpoints, metrics; begun, stopped and gone on with.

use crate::backend::cpu::Cpu;
use crate::checkpoint::{self, DataIdentity, Header, Place};
use crate::config::{Config, differences};
use crate::data::Split;
use crate::error::Error;
use crate::events::{EVENTS, EventFile};
use crate::files::{lock_folder, make_folder, remove_files, remove_unfinished, write_atomically};
use crate::loader::{self, LoaderError};
use crate::metrics::Metrics;
use crate::probe::{PROBE, PROBE_CACHED};
use crate::run_info::{FAILURE, RUN, RunInfo};
use crate::step::Model;
use crate::trainer::{State, StepMetrics, train};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the checkpoint in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Name of the configuration in a run's folder.
pub const CONFIG: &str = "config.toml";

/// Name of the metrics in a run's folder.
pub const METRICS: &str = "metrics.csv";

/// What a run does with a folder that holds a run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Refuses.
    New,
    /// Throws it away and begins at the first step.
    Overwrite,
    /// Goes on from its checkpoint; without one, begins at the first step.
    Resume,
}

/// When checkpoints are written inside an epoch; one is written at the end of each in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// After so many steps, counted over all epochs.
    pub steps: Option<u64>,
    /// After so much time.
    pub time: Option<Duration>,
}

/// One run.
#[derive(Debug)]
pub struct Run<'a> {
    /// What is trained.
    pub config: &'a Config,
    /// The images that it is trained on.
    pub images: &'a Arc<Split>,
    /// What those images are.
    pub data: DataIdentity,
    /// Seed, commit, machine and so on, for `run.json`.
    pub info: &'a RunInfo,
    /// Where `config.toml`, `run.json`, `checkpoint.safetensors`, `metrics.csv` and events for TensorBoard are written.
    pub folder: &'a Path,
    /// What is done with a run that lies there already.
    pub begin: Begin,
    /// When checkpoints are written inside an epoch.
    pub interval: Interval,
    /// Set from outside to end the run after the step under way, with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// What a run has come to.
#[derive(Debug)]
pub struct Outcome {
    /// The parameters.
    pub model: Model<Vec<f32>>,
    /// The course, from the first step on.
    pub metrics: Metrics,
    /// Whether all epochs are done; otherwise the run was stopped.
    pub finished: bool,
    /// Steps done, over all epochs.
    pub step: u64,
}

impl Run<'_> {
    /// Trains on the CPU; `progress` hears of each step.
    ///
    /// # Errors
    /// Where an output cannot be written, batches cannot be made, training diverges, or the checkpoint to go on from is
    /// another run's. The checkpoint of the folder is then the last that was whole.
    pub fn train(&self, mut progress: impl FnMut(&StepMetrics)) -> Result<Outcome, Error> {
        // Before anything is written: what the loader would refuse later.
        if self.images.len() < 2 {
            let found = format!("pairs need at least 2 images, found {}", self.images.len());
            return Err(LoaderError::Request(found).into());
        }
        let path = self.folder.join(CHECKPOINT);
        if self.begin == Begin::New && path.exists() {
            return Err(Error::Exists { path });
        }
        make_folder(self.folder)?;
        let _lock = lock_folder(self.folder)?;
        remove_unfinished(self.folder)?;
        let (mut state, mut metrics) = self.begin(&path)?;
        let mut events = EventFile::create(self.folder, state.step)?;
        let mut saved = Instant::now();
        let trained = train(&Cpu, self.config, self.images, loader_threads(), &mut state, |step, state| {
            progress(step);
            if let Some(row) = metrics.step(step) {
                events.row(row)?;
            }
            let stopped = self.stop.load(Ordering::Relaxed);
            let due = self.interval.steps.is_some_and(|steps| step.step.is_multiple_of(steps.max(1)))
                || self.interval.time.is_some_and(|time| saved.elapsed() >= time);
            if step.ends_epoch() || due || stopped {
                if let Some(row) = metrics.end_row() {
                    events.row(row)?;
                }
                self.save(&path, step.epoch + u64::from(step.ends_epoch()), state, &metrics)?;
                saved = Instant::now();
            }
            Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if let Err(error @ (Error::Diverged { .. } | Error::NotFinite { .. })) = &trained {
            // How it came to that is in the metrics.
            metrics.end_row();
            metrics.write_csv(&self.folder.join(METRICS))?;
            write_atomically(&self.folder.join(FAILURE), format!("{error}\n").as_bytes())?;
        }
        trained?;
        let all = self.config.epochs * loader::pair_batches(self.images.len(), self.config.batch) as u64;
        Ok(Outcome { finished: state.step == all, step: state.step, model: state.model, metrics })
    }

    /// The state to begin with: that of the checkpoint, or the first values, which then are the first checkpoint.
    fn begin(&self, path: &Path) -> Result<(State<Vec<f32>>, Metrics), Error> {
        let write_config = || write_atomically(&self.folder.join(CONFIG), self.config.to_toml()?.as_bytes());
        if self.begin == Begin::Resume && path.exists() {
            let header = Header::read(path)?;
            check_config(&header, self.config, path, "the configuration given")?;
            check_data(&header, &self.data, path)?;
            let (_, state) = checkpoint::resume(path, &Cpu)?;
            let layers = state.model.layers.len();
            let metrics = Metrics::read_csv(&self.folder.join(METRICS), layers, state.step)?;
            write_config()?;
            remove_files(self.folder, |name| name == FAILURE)?;
            // A run keeps the beginning that it had.
            if !self.folder.join(RUN).exists() {
                self.info.write(self.folder)?;
            }
            return Ok((state, metrics));
        }
        let state = State::first(&Cpu, self.config)?;
        // In this order, a run that is killed in between never leaves a configuration, or results, beside another's
        // checkpoint.
        let files = [CONFIG, RUN, FAILURE, PROBE, PROBE_CACHED];
        remove_files(self.folder, |name| files.contains(&name) || name.starts_with(EVENTS))?;
        self.save(path, 0, &state, &Metrics::default())?;
        write_config()?;
        self.info.write(self.folder)?;
        Ok((state, Metrics::default()))
    }

    fn save(&self, path: &Path, epoch: u64, state: &State<Vec<f32>>, metrics: &Metrics) -> Result<(), Error> {
        // The metrics first: rows after the checkpoint are made again, rows before it would be lost.
        metrics.write_csv(&self.folder.join(METRICS))?;
        let place = Place { step: state.step, data: self.data.clone() };
        checkpoint::write(path, &Cpu, self.config, &place, epoch, &state.model)
    }
}

/// A run goes on only with the configuration of its checkpoint, which lies at `path`; `origin` names what `config` is
/// from. The number of epochs may grow: no step depends on it.
///
/// # Errors
/// [`Error::Differs`] with the fields that differ.
pub fn check_config(header: &Header, config: &Config, path: &Path, origin: &str) -> Result<(), Error> {
    let more_epochs = config.epochs > header.config.epochs;
    let differences = differences(&header.config, config)?;
    let differences: Vec<String> = differences
        .iter()
        .filter(|difference| !(difference.field == "epochs" && more_epochs))
        .map(|difference| {
            format!("{}: checkpoint has {}, {origin} has {}", difference.field, difference.one, difference.other)
        })
        .collect();
    refuse(differences, path, origin)
}

/// A run goes on only with the images of its checkpoint.
///
/// # Errors
/// [`Error::Differs`] with the fields that differ; [`Error::Checkpoint`] where the checkpoint does not know its images.
pub fn check_data(header: &Header, data: &DataIdentity, path: &Path) -> Result<(), Error> {
    let known = &header.place(path)?.data;
    let size =
        |data: &DataIdentity| data.size.map_or("several".into(), |[height, width]| format!("{height} x {width}"));
    let fields = [
        ("name", known.name.clone(), data.name.clone()),
        ("number of training images", known.images.to_string(), data.images.to_string()),
        ("channels", known.channels.to_string(), data.channels.to_string()),
        ("size of the images", size(known), size(data)),
    ];
    let differences = fields.into_iter().filter(|(_, known, found)| known != found);
    let text = |(field, known, found)| format!("{field}: checkpoint has {known}, the data set has {found}");
    refuse(differences.map(text).collect(), path, "the data set")
}

fn refuse(differences: Vec<String>, path: &Path, origin: &str) -> Result<(), Error> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Differs { origin: origin.into(), path: path.into(), differences: differences.join("; ") })
}

/// Threads that load and augment images beside the trainer.
pub fn loader_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
