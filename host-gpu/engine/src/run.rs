//! One training run in a folder: configuration, checkpoints, metrics. A run can start, stop and continue.

use crate::alignment::{ALIGNMENT, Watch};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::checkpoint::{self, DataIdentity, Header, Place};
use crate::config::{Config, differences};
use crate::distributed::Ranks;
use crate::events::{EVENTS, EventFile};
use crate::metrics::{Metrics, Row};
use crate::model::TensorRole;
use crate::probe;
use crate::run_info::{FAILURE, RUN, RunInfo};
use crate::schedule::Schedule;
use crate::step::Model;
use crate::trainer::{State, StepMetrics, train};
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::files::{lock_folder, make_folder, remove_files, remove_unfinished, write_atomically};
use clapp_data::loader::{LoaderError, pair_batches};
use clapp_data::loader::{Part, steps_per_epoch};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// Treatment of a folder that already holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Begin {
    /// Refuses.
    New,
    /// Throws it away and begins at the first step.
    Overwrite,
    /// Goes on from its checkpoint; without one, begins at the first step.
    Resume,
}

/// When checkpoints are written; one is written at the end of the run in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Interval in epochs; `None`: only after the last epoch.
    pub epochs: Option<u64>,
    /// Interval in steps, counted over all epochs.
    pub steps: Option<u64>,
    /// After so much time.
    pub time: Option<Duration>,
}

/// One run.
#[derive(Debug)]
pub struct Run<'a> {
    /// Configuration of the run.
    pub config: &'a Config,
    /// The images that it is trained on.
    pub images: &'a Arc<Split>,
    /// Identity of the images.
    pub data: DataIdentity,
    /// Seed, commit, machine and so on, for `run.json`.
    pub info: &'a RunInfo,
    /// Folder for `config.toml`, `run.json`, `checkpoint.safetensors`, `metrics.csv` and events for TensorBoard.
    pub folder: &'a Path,
    /// Treatment of an existing run in the folder.
    pub begin: Begin,
    /// When checkpoints are written inside an epoch.
    pub interval: Interval,
    /// Alignment with back-propagation is measured before the first step and after each of these many, into
    /// `alignment.csv`; in a run of one process on the CPU.
    pub align_every: Option<u64>,
    /// Set from outside to end the run after the step under way, with a checkpoint.
    pub stop: &'a AtomicBool,
    /// The processes that train together over MPI. All see the same folder, and the first process writes. Processes of
    /// several GPUs are separate runs here, each with its own folder.
    pub ranks: &'a Ranks,
}

/// Result of a run.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The parameters.
    pub model: Model<T>,
    /// The course, from the first step on.
    pub metrics: Metrics,
    /// `true` if all epochs are done; otherwise the run was stopped.
    pub finished: bool,
    /// Steps done, over all epochs.
    pub step: u64,
}

/// The file of events, from its first row on; one of the ranks has it.
struct Events<'a> {
    run: &'a Run<'a>,
    begun: u64,
    file: Option<EventFile>,
}

impl Events<'_> {
    fn row(&mut self, row: &Row) -> Result<(), Error> {
        if !self.run.ranks.is_root() {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => EventFile::create(self.run.folder, self.begun)?,
        };
        self.file.insert(file).row(row)
    }
}

/// Tensor type of a trainer's parameters.
type TensorOf<T> = <<T as Trainer>::Backend as Backend>::Tensor;

/// A trainer: the device of a run.
pub trait Trainer {
    /// The backend.
    type Backend: Backend;

    /// The backend.
    fn backend(&self) -> &Self::Backend;

    /// Returns the backend and its precision, as named in checkpoints.
    fn name(&self) -> String;

    /// This process among those that train together.
    fn part(&self, run: &Run<'_>) -> Part;

    /// Refuses images that cannot be trained on, before anything is written.
    ///
    /// # Errors
    /// The reason for a refusal.
    fn check(&self, run: &Run<'_>) -> Result<(), Error>;

    /// Returns two flags: any process must stop, and a checkpoint is due by the time. All processes call it after the
    /// same steps.
    ///
    /// # Errors
    /// If the processes cannot reach each other any more.
    fn agree(&self, run: &Run<'_>, stop: bool, due: bool) -> Result<[bool; 2], Error>;

    /// Makes sure that all processes have the same of something, as [`Ranks::same`].
    ///
    /// # Errors
    /// If they have not.
    fn same(&self, run: &Run<'_>, what: &str, hash: &mut dyn FnMut(&mut DefaultHasher)) -> Result<(), Error>;

    /// Trains from `state` to the end of the run's epochs, as [`train`].
    ///
    /// # Errors
    /// Same as [`train`].
    fn train(
        &self,
        run: &Run<'_>,
        state: &mut State<<Self::Backend as Backend>::Tensor>,
        after_step: &mut AfterStep<'_, <Self::Backend as Backend>::Tensor>,
    ) -> Result<(), Error>;
}

/// Function called after each step, as in [`train`].
pub type AfterStep<'a, T> = dyn FnMut(&StepMetrics, &mut State<T>, bool) -> Result<ControlFlow<()>, Error> + 'a;

/// Trains on the CPU, together with the other processes, if any.
#[derive(Debug, Clone, Copy)]
pub struct OnCpu;

impl Trainer for OnCpu {
    type Backend = Cpu;

    fn backend(&self) -> &Cpu {
        &Cpu
    }

    fn name(&self) -> String {
        checkpoint::CPU.into()
    }

    fn part(&self, run: &Run<'_>) -> Part {
        run.ranks.part()
    }

    fn check(&self, _: &Run<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The checkpoint is that of rank 0.
    fn agree(&self, run: &Run<'_>, stop: bool, due: bool) -> Result<[bool; 2], Error> {
        Ok([run.ranks.any(stop), due])
    }

    fn same(&self, run: &Run<'_>, what: &str, hash: &mut dyn FnMut(&mut DefaultHasher)) -> Result<(), Error> {
        run.ranks.same(what, hash)
    }

    fn train(
        &self,
        run: &Run<'_>,
        state: &mut State<Vec<f32>>,
        after_step: &mut AfterStep<'_, Vec<f32>>,
    ) -> Result<(), Error> {
        train(run.ranks, run.config, run.images, loader_threads(), state, after_step)
    }
}

impl Run<'_> {
    /// Trains on the CPU. Calls `progress` after each step, on all ranks.
    ///
    /// # Errors
    /// Same as [`Run::train_on`].
    pub fn train(&self, progress: impl FnMut(&StepMetrics)) -> Result<Outcome<Vec<f32>>, Error> {
        self.train_on(&OnCpu, progress)
    }

    /// Trains. Calls `progress` after each step, on all ranks.
    ///
    /// # Errors
    /// If an output cannot be written, batches cannot be made, training diverges, or the checkpoint to continue from is
    /// another run's. The checkpoint of the folder is then the last that was whole.
    pub fn train_on<T: Trainer>(
        &self,
        trainer: &T,
        mut progress: impl FnMut(&StepMetrics),
    ) -> Result<Outcome<TensorOf<T>>, Error> {
        let path = self.folder.join(CHECKPOINT);
        let ranks = self.ranks;
        // All ranks check the folder before one of them writes there.
        ranks.agree(self.check(trainer, &path))?;
        let _lock = ranks.agree(if ranks.is_root() { self.take_folder() } else { Ok(None) })?;
        let mut resumed = self.begin == Begin::Resume && path.exists();
        let (mut state, mut metrics) = ranks.agree(self.begin(trainer, &path))?;
        self.compare_parameters(trainer, &state)?;
        let mut watch = self.watch(trainer, &mut state, !resumed)?;
        // A resumed run changes no file before it has something to save.
        let mut events = Events { run: self, begun: state.step, file: None };
        let mut saved = Instant::now();
        let trained =
            trainer.train(self, &mut state, &mut |step: &StepMetrics, state: &mut State<TensorOf<T>>, settled| {
                progress(step);
                if let Some(row) = metrics.step(step) {
                    events.row(row)?;
                }
                if !settled {
                    return Ok(ControlFlow::Continue(()));
                }
                if let Some(watch) = &mut watch {
                    watch.look(trainer.backend(), state)?;
                }
                let waited = self.interval.time.is_some_and(|time| saved.elapsed() >= time);
                let [stopped, waited] = trainer.agree(self, self.stop.load(Ordering::Relaxed), waited)?;
                if step.ends_epoch() {
                    self.compare_parameters(trainer, state)?;
                }
                let due = self.interval.steps.is_some_and(|steps| step.step.is_multiple_of(steps.max(1))) || waited;
                let done = step.epoch + u64::from(step.ends_epoch());
                let last = done == self.config.epochs;
                let of_epoch = last || self.interval.epochs.is_some_and(|epochs| done.is_multiple_of(epochs.max(1)));
                if (step.ends_epoch() && of_epoch) || due || stopped {
                    if let Some(row) = metrics.end_row() {
                        events.row(row)?;
                    }
                    if std::mem::take(&mut resumed) {
                        self.go_on()?;
                    }
                    if let Some(watch) = &watch {
                        watch.write()?;
                    }
                    self.save(trainer, &path, done, state, &metrics)?;
                    saved = Instant::now();
                }
                Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
        if let Err(error @ (Error::Diverged { .. } | Error::NotFinite { .. })) = &trained {
            // The metrics show the steps before the failure.
            metrics.end_row();
            metrics.write_csv(&self.folder.join(METRICS))?;
            if let Some(watch) = &watch {
                watch.write()?;
            }
            write_atomically(&self.folder.join(FAILURE), format!("{error}\n").as_bytes())?;
        }
        trained?;
        let all =
            self.config.epochs * steps_per_epoch(self.images.len(), self.config.batch, trainer.part(self).ranks) as u64;
        Ok(Outcome { finished: state.step == all, step: state.step, model: state.model, metrics })
    }

    /// Checks, before anything is written, everything that could be refused later.
    fn check<T: Trainer>(&self, trainer: &T, path: &Path) -> Result<(), Error> {
        if self.images.len() < 2 {
            let found = format!("pairs need at least 2 images, found {}", self.images.len());
            return Err(LoaderError::Request(found).into());
        }
        trainer.check(self)?;
        let (batches, ranks) = (pair_batches(self.images.len(), self.config.batch), self.ranks.size());
        if batches < ranks {
            return Err(Error::Mpi(format!(
                "{} images in batches of {} are {batches} batches, too few for {ranks} ranks",
                self.images.len(),
                self.config.batch
            )));
        }
        if self.begin == Begin::New && path.exists() {
            return Err(Error::Exists { path: path.into() });
        }
        Ok(())
    }

    /// The folder is this run's as long as the file is open.
    fn take_folder(&self) -> Result<Option<File>, Error> {
        make_folder(self.folder)?;
        let lock = lock_folder(self.folder)?;
        remove_unfinished(self.folder)?;
        Ok(lock)
    }

    /// The ranks compute the same steps, each for itself; processors of another kind, or faulty ones, would make them
    /// drift apart.
    fn compare_parameters<T: Trainer>(&self, trainer: &T, state: &State<TensorOf<T>>) -> Result<(), Error> {
        trainer.same(self, &format!("the network after step {}", state.step), &mut |hasher| {
            for layer in &state.model.layers {
                for parameter in TensorRole::ALL.iter().filter_map(|role| layer.get(*role)) {
                    let values = trainer.backend().download(&parameter.value);
                    values.iter().for_each(|value| hasher.write_u32(value.to_bits()));
                }
            }
        })
    }

    /// Returns the first state: that of the checkpoint, or the initial values, which then become the first checkpoint.
    /// Each rank makes it by itself.
    fn begin<T: Trainer>(&self, trainer: &T, path: &Path) -> Result<(State<TensorOf<T>>, Metrics), Error> {
        let backend = trainer.backend();
        if self.begin == Begin::Resume && path.exists() {
            let header = Header::read(path)?;
            check_config(&header, self.config, path, "the configuration given")?;
            check_data(&header, &self.data, path)?;
            check_ranks(&header, trainer.part(self).ranks, path)?;
            check_backend(&header, &trainer.name(), path)?;
            let (_, state) = checkpoint::resume(path, backend)?;
            let layers = state.model.layers.len();
            if !self.ranks.is_root() {
                return Ok((state, Metrics::default()));
            }
            let metrics = Metrics::read_csv(&self.folder.join(METRICS), layers, state.step)?;
            return Ok((state, metrics));
        }
        let state = State::first(backend, self.config)?;
        if !self.ranks.is_root() {
            return Ok((state, Metrics::default()));
        }
        // With this order, a run killed in between never leaves a configuration or results beside the checkpoint of
        // another run.
        let files = [CONFIG, RUN, FAILURE, ALIGNMENT];
        let is_old = |name: &str| {
            files.contains(&name) || probe::files().any(|of_probe| name == of_probe) || name.starts_with(EVENTS)
        };
        remove_files(self.folder, is_old)?;
        self.save(trainer, path, 0, &state, &Metrics::default())?;
        self.write_config()?;
        self.write_info()?;
        Ok((state, Metrics::default()))
    }

    /// Returns the watch of the alignment, after it has measured the first state. For a new run, its first row is
    /// written at once.
    fn watch<T: Trainer>(
        &self,
        trainer: &T,
        state: &mut State<TensorOf<T>>,
        is_new: bool,
    ) -> Result<Option<Watch<'_>>, Error> {
        let Some(every) = self.align_every else { return Ok(None) };
        let mut watch = Watch::new(self.config, self.images, every, loader_threads(), self.folder, state.step)?;
        watch.look(trainer.backend(), state)?;
        if is_new {
            watch.write()?;
        }
        Ok(Some(watch))
    }

    fn write_config(&self) -> Result<(), Error> {
        write_atomically(&self.folder.join(CONFIG), self.config.to_toml()?.as_bytes())
    }

    fn write_info(&self) -> Result<(), Error> {
        self.info.clone().aligned_every(self.align_every).write(self.folder)
    }

    /// Updates the other files of a resumed run, before the checkpoint. The configuration in the folder may ask for
    /// more epochs than the checkpoint, never for fewer.
    fn go_on(&self) -> Result<(), Error> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        self.write_config()?;
        remove_files(self.folder, |name| name == FAILURE)?;
        if !self.folder.join(RUN).exists() {
            return self.write_info();
        }
        // A run keeps the beginning that it had.
        let begun = RunInfo::read(self.folder)?;
        if begun.align_every == self.align_every {
            return Ok(());
        }
        begun.aligned_every(self.align_every).write(self.folder)
    }

    fn save<T: Trainer>(
        &self,
        trainer: &T,
        path: &Path,
        epoch: u64,
        state: &State<TensorOf<T>>,
        metrics: &Metrics,
    ) -> Result<(), Error> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        // The metrics first: rows after the checkpoint are made again, rows before it would be lost.
        metrics.write_csv(&self.folder.join(METRICS))?;
        let place = Place {
            step: state.step,
            data: self.data.clone(),
            ranks: trainer.part(self).ranks,
            backend: trainer.name(),
        };
        checkpoint::write(path, trainer.backend(), self.config, &place, epoch, &state.model)
    }
}

/// A run continues only with the configuration of its checkpoint at `path`; `origin` names the source of `config`. The
/// number of epochs may grow, because no step depends on it.
///
/// # Errors
/// [`Error::Differs`] with the fields that differ.
pub fn check_config(header: &Header, config: &Config, path: &Path, origin: &str) -> Result<(), Error> {
    // With a schedule that is not constant, the rate of every epoch depends on the number of epochs.
    let more_epochs = config.epochs > header.config.epochs && config.schedule == Schedule::Constant;
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

/// A run continues only with the images of its checkpoint.
///
/// # Errors
/// [`Error::Differs`] with the fields that differ; [`Error::Checkpoint`] if the checkpoint does not know its images.
pub fn check_data(header: &Header, data: &DataIdentity, path: &Path) -> Result<(), Error> {
    refuse(data_differences(&header.place(path)?.data, data), path, "the data set")
}

/// Returns the differences between the images of a checkpoint (`known`) and those of a set.
pub fn data_differences(known: &DataIdentity, data: &DataIdentity) -> Vec<String> {
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
    differences.map(text).collect()
}

/// A run continues only with as many ranks as it began with: they are part of what a step is.
///
/// # Errors
/// [`Error::Differs`] if the number is another; [`Error::Checkpoint`] if the checkpoint does not know it.
fn check_ranks(header: &Header, ranks: usize, path: &Path) -> Result<(), Error> {
    let known = header.place(path)?.ranks;
    let text = format!("ranks: checkpoint has {known}, this run has {ranks}");
    refuse(if known == ranks { Vec::new() } else { vec![text] }, path, "the number of processes")
}

/// A run continues only on the backend on which it began: another one computes other bits.
///
/// # Errors
/// [`Error::Differs`] if it is another; [`Error::Checkpoint`] if the checkpoint does not know it.
pub fn check_backend(header: &Header, backend: &str, path: &Path) -> Result<(), Error> {
    let known = &header.place(path)?.backend;
    let text = format!("backend: checkpoint has {known}, this run has {backend}");
    refuse(if known == backend { Vec::new() } else { vec![text] }, path, "the backend")
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
