//! Training on a device over epochs. The host waits for the device only to hear how it went, every few steps.

use super::Gpu;
use super::executor::Executor;
use super::memory::Tensor;
use super::together::check_images;
use super::training::{LayerMeans, REPORTS, StepMemory, StepProgram};
use super::views::DeviceViews;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::steps_per_epoch;
use clapp_data::loader::{self, Batch, Loader, RawBatch, Start};
use clapp_engine::backend::Backend;
use clapp_engine::config::Config;
use clapp_engine::draws::{Draws, mix};
use clapp_engine::metrics::STEPS_PER_ROW;
use clapp_engine::step::Model;
use clapp_engine::trainer::{State, StepMetrics, StepSource, Taken, epochs};
use std::hash::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A program, ready to run.
struct Ready<E: Executor> {
    program: StepProgram,
    graph: E::Graph,
}

/// All that the steps of a run need on the device.
pub struct Steps<E: Executor> {
    memory: StepMemory,
    /// Makes the views on the device; without it, the host makes them.
    views: Option<DeviceViews>,
    /// One for each size of batch: the last of an epoch may be smaller.
    programs: Vec<Ready<E>>,
    /// Memory of the programs; kept as long as they may run.
    _arena: Tensor,
}

/// Sizes of the batches of an epoch.
pub fn batch_sizes(images: usize, batch: usize) -> Vec<usize> {
    let used = images - usize::from(images % batch == 1);
    let mut sizes = Vec::new();
    if used >= batch {
        sizes.push(batch);
    }
    if !used.is_multiple_of(batch) {
        sizes.push(used % batch);
    }
    sizes
}

/// Values of a step's report.
fn report_len(config: &Config) -> Result<usize, Error> {
    let spec = config.network()?;
    let context = spec.rule().context;
    let losses = usize::from(context.has_same()) + usize::from(context.has_top());
    // At most: some layers report less.
    Ok(spec.layers().len() * (3 * losses.max(1) + 2))
}

/// Refuses rules that no GPU has kernels for.
///
/// # Errors
/// [`Error::Config`] with the rule; [`Error::Network`] where the configuration does not fit together.
pub fn check_rule(config: &Config) -> Result<(), Error> {
    match config.learning_rule().beyond_gpu() {
        None => Ok(()),
        Some(reason) => {
            let message = format!("rule is {}: {reason}", config.rule.name());
            Err(Error::Config { origin: config.name.clone(), message })
        }
    }
}

/// Memory and programs of a run, recorded but not compiled. Without `views` the host makes the batches.
///
/// # Errors
/// If the configuration does not fit together or the device has failed.
pub fn record_programs<E: Executor + 'static>(
    gpu: &Gpu<E>,
    config: &Config,
    model: &mut Model<Tensor>,
    sizes: &[usize],
    views: Option<&DeviceViews>,
) -> Result<(StepMemory, Vec<StepProgram>), Error> {
    check_rule(config)?;
    let frame = config.input_shape();
    let most = 2 * sizes.iter().copied().max().unwrap_or(0);
    let of_host = views.is_none().then_some(frame);
    let memory = gpu.step_memory(of_host, most, Draws::new(config, most, 1).pairing(), report_len(config)?);
    let record = |images: &usize| {
        let rows = 2 * images;
        let draws = Draws::new(config, rows, 1);
        let feed = |gpu: &Gpu<E>| match views {
            Some(views) => views.record(gpu, &memory, *images),
            None => gpu.frames_to_map(frame, &memory.frames.part(0, rows * frame.len()), rows),
        };
        gpu.record_step(model, &config.optimizer, draws.pairing(), rows, &memory, feed)
    };
    let programs = sizes.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok((memory, programs))
}

impl<E: Executor + 'static> Steps<E> {
    /// Records and compiles the steps on batches of these sizes, which the host makes.
    ///
    /// # Errors
    /// If the configuration does not fit together or the device fails.
    pub fn new(gpu: &Gpu<E>, config: &Config, model: &mut Model<Tensor>, sizes: &[usize]) -> Result<Self, Error> {
        Self::with_views(gpu, config, model, sizes, None)
    }

    fn with_views(
        gpu: &Gpu<E>,
        config: &Config,
        model: &mut Model<Tensor>,
        sizes: &[usize],
        views: Option<DeviceViews>,
    ) -> Result<Self, Error> {
        let (memory, programs) = record_programs(gpu, config, model, sizes, views.as_ref())?;
        let arena = gpu.arena(&programs.iter().collect::<Vec<_>>());
        let ready = |program: StepProgram| Ok::<_, Error>(Ready { graph: gpu.compile(&program, &arena)?, program });
        let programs = programs.into_iter().map(ready).collect::<Result<_, _>>()?;
        Ok(Self { memory, views, programs, _arena: arena })
    }

    /// Queues the step on a batch of so many images, as it lies on the device.
    fn launch(&self, gpu: &Gpu<E>, images: usize) -> Result<(), Error> {
        let Some(Ready { graph, .. }) = self.programs.iter().find(|ready| ready.program.rows == 2 * images) else {
            unreachable!("a batch of another size than those of an epoch")
        };
        Ok(gpu.executor().launch(graph)?)
    }

    /// Queues a step on a batch that the host has made.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn queue(&self, gpu: &Gpu<E>, config: &Config, batch: &Batch, step: u64) -> Result<(), Error> {
        let draws = Draws::new(config, 2 * batch.images.len(), gpu.part().draw(step));
        gpu.write_inputs(&self.memory, &batch.x, draws.pairing());
        self.launch(gpu, batch.images.len())
    }

    /// Queues the step on a full batch again, on whatever is there.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn again(&self, gpu: &Gpu<E>) -> Result<(), Error> {
        match self.programs.first() {
            Some(Ready { graph, .. }) => Ok(gpu.executor().launch(graph)?),
            None => Ok(()),
        }
    }

    /// Reports of `count` steps from `first` (counted from 1) on; waits for the device.
    pub fn reports(&self, gpu: &Gpu<E>, first: u64, count: usize) -> Vec<Vec<LayerMeans>> {
        let Some(Ready { program, .. }) = self.programs.first() else { return Vec::new() };
        let values = gpu.read_doubles(&self.memory.ring);
        let len = program.report.len();
        let slot = |step: u64| ((step - 1) % REPORTS as u64) as usize * len;
        (first..first + count as u64).map(|step| program.report.read(&values[slot(step)..slot(step) + len])).collect()
    }
}

/// Steps until the host looks at what the device has reported: to the end of the row of metrics, of the epoch, of the
/// interval between checkpoints.
fn chunk(step: u64, place: u64, steps_per_epoch: u64, interval: Option<u64>) -> u64 {
    let to_next = |at: u64, every: u64| every - at % every;
    let to_checkpoint = interval.map_or(u64::MAX, |every| to_next(step, every.max(1)));
    [to_next(place, STEPS_PER_ROW), steps_per_epoch - place, to_checkpoint, REPORTS as u64]
        .into_iter()
        .fold(u64::MAX, u64::min)
}

/// As [`clapp_engine::trainer::train`], on a device: the same images, views and negatives. `interval` is the number of steps
/// between checkpoints, where there is one. Where the GPU is one of several, each has batches of its own and all go
/// through the same states; what `after_step` hears of are this one's means.
///
/// # Errors
/// As there, and where the device fails.
pub fn train<E: Executor + 'static>(
    gpu: &Gpu<E>,
    config: &Config,
    images: &Arc<Split>,
    loader_threads: usize,
    interval: Option<u64>,
    state: &mut State<Tensor>,
    after_step: impl FnMut(&StepMetrics, &mut State<Tensor>, bool) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let part = gpu.part();
    check_images(images.len(), config, part)?;
    let text = config.to_toml()?;
    gpu.same(
        "the configuration, the number of images, the first step or the interval between checkpoints",
        |hasher| {
            (text, images.len(), state.step, interval).hash(hasher);
        },
    )?;
    let images = &Arc::new(images.measured());
    let views = DeviceViews::new(gpu, config, images)?;
    let sizes = batch_sizes(images.len(), config.batch);
    let steps = Steps::with_views(gpu, config, &mut state.model, &sizes, views)?;
    let steps_per_epoch = steps_per_epoch(images.len(), config.batch, part.ranks).max(1);
    let mut queued =
        Queued { gpu, config, images, loader_threads, interval, steps_per_epoch, steps: &steps, batches: None };
    epochs(&mut queued, config, steps_per_epoch, state, after_step)
}

/// Steps that are queued on the device, some at a time.
struct Queued<'a, E: Executor> {
    gpu: &'a Gpu<E>,
    config: &'a Config,
    images: &'a Arc<Split>,
    loader_threads: usize,
    interval: Option<u64>,
    steps_per_epoch: usize,
    steps: &'a Steps<E>,
    batches: Option<Batches>,
}

impl<E: Executor + 'static> StepSource for Queued<'_, E> {
    type Tensor = Tensor;

    fn begin(&mut self, state: &State<Tensor>, epoch: u64, place: usize, rate: f32) -> Result<(), Error> {
        let Self { gpu, config, images, loader_threads, steps, .. } = *self;
        gpu.set_place(state.step, place as u64, rate);
        let start = Start { epoch, batch: place, part: gpu.part() };
        self.batches = Some(Batches::begin(gpu, config, images, loader_threads, start, steps)?);
        Ok(())
    }

    fn take(&mut self, state: &mut State<Tensor>) -> Result<Vec<Taken>, Error> {
        let Self { gpu, config, steps, interval, .. } = *self;
        let Some(batches) = &mut self.batches else { return Ok(Vec::new()) };
        let steps_per_epoch = self.steps_per_epoch as u64;
        let count = chunk(state.step, state.step % steps_per_epoch, steps_per_epoch, interval);
        let mut sizes = Vec::with_capacity(count as usize);
        for step in 1..=count {
            let Some(images) = batches.queue(gpu, config, steps, state.step + step)? else { break };
            sizes.push(images);
        }
        let reports = steps.reports(gpu, state.step + 1, sizes.len());
        gpu.check()?;
        state.step += sizes.len() as u64;
        let lost = |layer: &LayerMeans| layer.loss.is_some_and(|loss| !loss.is_finite());
        let diverged = reports.iter().flatten().any(lost);
        if gpu.any([diverged])? != [diverged] {
            return Err(Error::Elsewhere);
        }
        let taken = |(images, report): (usize, Vec<LayerMeans>)| taken(images * gpu.part().ranks, &report);
        Ok(sizes.into_iter().zip(reports).map(taken).collect())
    }
}

/// The batches of an epoch.
enum Batches {
    /// Views that the host makes.
    Views(Loader<Batch>),
    /// Images as they are stored, of which the device makes views.
    Images(Loader<RawBatch>),
    /// All images are on the device: only how many each batch has.
    Resident(std::vec::IntoIter<usize>),
}

impl Batches {
    fn begin<E: Executor + 'static>(
        gpu: &Gpu<E>,
        config: &Config,
        images: &Arc<Split>,
        threads: usize,
        start: Start,
        steps: &Steps<E>,
    ) -> Result<Self, Error> {
        let Config { augment, batch, seed, .. } = config;
        let Some(views) = &steps.views else {
            return Ok(Self::Views(loader::pairs_from(images.clone(), augment, *batch, *seed, start, threads)?));
        };
        views.begin(gpu, start.epoch)?;
        if !views.resident {
            return Ok(Self::Images(loader::raw_from(images.clone(), augment, *batch, *seed, start, threads)?));
        }
        // As many for each process.
        let used = (images.len() - usize::from(images.len() % batch == 1)) / gpu.part().ranks;
        let sizes: Vec<usize> =
            (start.batch * batch..used).step_by(*batch).map(|first| (used - first).min(*batch)).collect();
        Ok(Self::Resident(sizes.into_iter()))
    }

    /// Queues the next batch's step; gives its number of images, `None` after the last.
    fn queue<E: Executor + 'static>(
        &mut self,
        gpu: &Gpu<E>,
        config: &Config,
        steps: &Steps<E>,
        step: u64,
    ) -> Result<Option<usize>, Error> {
        let images = match self {
            Self::Views(batches) => {
                let Some(batch) = batches.next() else { return Ok(None) };
                let mut batch = batch?;
                mix(config, config.input_shape(), gpu.part().draw(step), &mut batch.x);
                steps.queue(gpu, config, &batch, step)?;
                return Ok(Some(batch.images.len()));
            }
            Self::Images(batches) => {
                let (Some(batch), Some(views)) = (batches.next(), &steps.views) else { return Ok(None) };
                let batch = batch?;
                gpu.stage(&views.images.part(0, batch.pixels.len()), &batch.pixels);
                batch.images.len()
            }
            Self::Resident(sizes) => match sizes.next() {
                Some(images) => images,
                None => return Ok(None),
            },
        };
        steps.launch(gpu, images)?;
        Ok(Some(images))
    }
}

fn taken(images: usize, report: &[LayerMeans]) -> Taken {
    let of = |value: fn(&LayerMeans) -> Option<f64>| report.iter().map(value).collect();
    Taken {
        images,
        losses: of(|layer| layer.loss),
        u_pos: of(|layer| layer.u_pos),
        u_neg: of(|layer| layer.u_neg),
        mismatch: of(|layer| layer.mismatch),
    }
}
