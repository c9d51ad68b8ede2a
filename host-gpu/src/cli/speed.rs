//! `clapp speed`: measures the time and memory of training steps.

use super::output::say;
use super::train::ConfigArguments;
use clap::Args;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::Batch;
use clapp_data::rng::{Purpose, stream};
use clapp_data::words::readable;
use clapp_engine::backend::{Backend, cpu::Cpu};
use clapp_engine::config::Config;
use clapp_engine::draws::Draws;
use clapp_engine::memory::Needs;
use clapp_engine::rules::step;
use clapp_engine::run::loader_threads;
use clapp_engine::step::{Mode, Model, StepBatch};
use clapp_engine::trainer::{State, StepMetrics, initial_values};
use clapp_engine::work::{StepWork, step_work};
use clapp_engine::{distributed::Ranks, trainer};
use clapp_gpu::Gpu;
use clapp_gpu::choice::{BackendArguments, Opened, check_memory};
use clapp_gpu::executor::Executor;
use clapp_gpu::needs::DeviceNeeds;
use clapp_gpu::train::{Steps, train};
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Arguments of `clapp speed`.
#[derive(Debug, Args)]
pub struct SpeedArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    #[command(flatten)]
    backend: BackendArguments,
    /// Number of timed steps.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    steps: u64,
    /// Number of untimed steps before.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    warm_up: u64,
    /// Print one line of JSON, not text.
    #[arg(long)]
    json: bool,
}

/// Results of the measurement.
#[derive(Debug, Serialize)]
struct Measured {
    backend: &'static str,
    precision: String,
    rule: &'static str,
    width: f32,
    input: [usize; 3],
    batch: usize,
    seconds_per_step: f64,
    images_per_second: f64,
    end_to_end_seconds_per_step: f64,
    peak_bytes: u64,
    predicted_bytes: u64,
    flops: f64,
    bytes_moved: f64,
}

/// Median seconds of a step on a ready batch, median seconds with views made from images, and peak memory in bytes.
struct Times {
    step: f64,
    end_to_end: f64,
    peak: usize,
}

/// Batches per epoch in the end-to-end measurement.
const BATCHES: usize = 8;

/// Runs `clapp speed`.
///
/// # Errors
/// If the configuration is wrong or the backend is not to be had.
pub fn run(arguments: &SpeedArguments) -> Result<u8, Error> {
    let config = arguments.configuration.clone().or_demo().configuration()?;
    arguments.backend.check()?;
    let backend = arguments.backend.backend;
    let precision = arguments.backend.precision();
    let (times, predicted) = match arguments.backend.open(None)? {
        Opened::Cpu => {
            let needs = Needs::of_training(&config, rayon::current_num_threads())?;
            needs.check("training", "lower --batch or --width")?;
            (on_cpu(&config, arguments)?, needs.total())
        }
        Opened::Cuda(trainer) => (on_gpu(&trainer.gpu, &config, arguments)?, predicted(&config, arguments)?),
        Opened::Emulated(trainer) => (on_gpu(&trainer.gpu, &config, arguments)?, predicted(&config, arguments)?),
    };
    let StepWork { flops, bytes } = step_work(&config.network()?, config.batch, precision.maps().bytes());
    let measured = Measured {
        backend: backend.name(),
        precision: precision.to_string(),
        rule: config.rule.name(),
        width: config.width,
        input: config.input,
        batch: config.batch,
        seconds_per_step: times.step,
        images_per_second: config.batch as f64 / times.step,
        end_to_end_seconds_per_step: times.end_to_end,
        peak_bytes: times.peak as u64,
        predicted_bytes: predicted as u64,
        flops,
        bytes_moved: bytes,
    };
    let text = if arguments.json {
        serde_json::to_string(&measured).map_err(|error| Error::Output(error.into()))?
    } else {
        measured.text()
    };
    say(text)?;
    Ok(0)
}

fn predicted(config: &Config, arguments: &SpeedArguments) -> Result<usize, Error> {
    Ok(DeviceNeeds::of_training(config, arguments.backend.precision().maps())?.total())
}

impl Measured {
    fn text(&self) -> String {
        let [channels, height, width] = self.input;
        format!(
            "{} at width {} on {channels}x{height}x{width}, batches of {}, {} in {}\n\
             a step             {:>10.3} ms, {:.1} images/s\n\
             from end to end    {:>10.3} ms\n\
             peak of memory     {:>10}, predicted {}\n\
             at least           {:>10.2} GFLOP and {:.1} MB moved in a step",
            self.rule,
            self.width,
            self.batch,
            self.backend,
            self.precision,
            1e3 * self.seconds_per_step,
            self.images_per_second,
            1e3 * self.end_to_end_seconds_per_step,
            readable(self.peak_bytes as usize),
            readable(self.predicted_bytes as usize),
            self.flops / 1e9,
            self.bytes_moved / 1e6
        )
    }
}

/// A batch of noise.
fn batch(config: &Config) -> Batch {
    let mut rng = stream(config.seed, Purpose::Other(1), 0, 0);
    let len = 2 * config.batch * config.input_shape().len();
    Batch { x: (0..len).map(|_| rng.uniform(-1.0, 1.0)).collect(), images: (0..config.batch).collect() }
}

/// Images of noise, of the size of a view.
fn images(config: &Config) -> Result<Arc<Split>, Error> {
    let (shape, count) = (config.input_shape(), BATCHES * config.batch);
    let mut rng = stream(config.seed, Purpose::Other(2), 0, 0);
    let pixels = (0..count * shape.len()).map(|_| rng.bits() as u8).collect();
    match Split::new(shape, pixels, vec![0; count]) {
        Some(split) => Ok(Arc::new(split)),
        None => unreachable!("as many pixels as the images have"),
    }
}

/// Returns the median without the first `warm_up` values.
fn median(mut seconds: Vec<f64>, warm_up: u64) -> f64 {
    let mut timed = seconds.split_off((warm_up as usize).min(seconds.len().saturating_sub(1)));
    timed.sort_by(f64::total_cmp);
    timed.get(timed.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the configuration with enough epochs for the steps.
fn long_enough(config: &Config, arguments: &SpeedArguments) -> Config {
    Config { epochs: (arguments.steps + arguments.warm_up).div_ceil(BATCHES as u64), ..config.clone() }
}

/// Records the time of each step. Ends after the number of steps asked for.
fn timing<T>(
    seconds: &mut Vec<f64>,
    arguments: &SpeedArguments,
) -> impl FnMut(&StepMetrics, &mut State<T>, bool) -> Result<ControlFlow<()>, Error> {
    let most = (arguments.steps + arguments.warm_up) as usize;
    move |step: &StepMetrics, _: &mut State<T>, _: bool| {
        seconds.push(step.elapsed.as_secs_f64());
        Ok(if seconds.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }
}

fn on_gpu<E: Executor + 'static>(gpu: &Gpu<E>, config: &Config, arguments: &SpeedArguments) -> Result<Times, Error> {
    check_memory(gpu, config)?;
    let mut model = Model::upload(gpu, config.network()?, &initial_values(config)?);
    let steps = Steps::new(gpu, config, &mut model, &[config.batch])?;
    gpu.set_place(0, 0, config.optimizer.learning_rate());
    // Only the first step queues the batch. All others reuse it.
    steps.queue(gpu, config, &batch(config), 1)?;
    gpu.check()?;
    let mut seconds = Vec::new();
    for _ in 0..arguments.steps + arguments.warm_up {
        let before = Instant::now();
        steps.again(gpu)?;
        gpu.check()?;
        seconds.push(before.elapsed().as_secs_f64());
    }
    let (step, peak) = (median(seconds, arguments.warm_up), gpu.most_memory());
    drop((steps, model));
    let mut state = State::first(gpu, config)?;
    let mut seconds = Vec::new();
    let config = long_enough(config, arguments);
    let heard = timing(&mut seconds, arguments);
    train(gpu, &config, &images(&config)?, loader_threads(), None, &mut state, heard)?;
    Ok(Times { step, end_to_end: median(seconds, arguments.warm_up), peak })
}

fn on_cpu(config: &Config, arguments: &SpeedArguments) -> Result<Times, Error> {
    let mut state = State::first(&Cpu, config)?;
    let (batch, draws) = (batch(config), Draws::new(config, 2 * config.batch, 1));
    let mut seconds = Vec::new();
    for count in 1..=arguments.steps + arguments.warm_up {
        let before = Instant::now();
        let x = Cpu.upload_frames(config.input_shape(), &batch.x);
        let mode = Mode::Update { optimizer: &config.optimizer, step: count };
        step(&Cpu, &mut state.model, StepBatch { x, rows: 2 * config.batch, pairing: draws.pairing() }, mode);
        seconds.push(before.elapsed().as_secs_f64());
    }
    let step = median(seconds, arguments.warm_up);
    let peak = peak_of_process();
    let mut seconds = Vec::new();
    let config = long_enough(config, arguments);
    let heard = timing(&mut seconds, arguments);
    let images = images(&config)?;
    trainer::train(&Ranks::alone(), &config, &images, loader_threads(), &mut state, heard)?;
    Ok(Times { step, end_to_end: median(seconds, arguments.warm_up), peak })
}

/// Returns the peak memory of this process in bytes, as the kernel counts it; 0 if the kernel does not.
fn peak_of_process() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<usize>().ok());
    kib.map_or(0, |kib| 1024 * kib)
}
