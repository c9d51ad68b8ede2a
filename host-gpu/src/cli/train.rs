//! `clapp train`: an encoder from images, with checkpoints and metrics.

use super::progress::Progress;
use super::{check_shape, default_out, loader_threads, open_data};
use crate::backend::cpu::Cpu;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, PRESETS, RuleName, preset};
use crate::error::Error;
use crate::files::{make_folder, write_atomically};
use crate::trainer::{StepMetrics, train};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Steps whose mean is one row of the metrics.
const STEPS_PER_ROW: u64 = 50;

/// Arguments of `clapp train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    /// Configuration file (TOML).
    #[arg(long, conflicts_with = "preset")]
    pub config: Option<PathBuf>,
    /// Named configuration: cifar10 or demo.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PRESETS), required_unless_present = "config")]
    pub preset: Option<String>,
    /// Data set as downloaded (folder or archive); without it, the generated set.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder for checkpoint, configuration and metrics.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Factor on the channels of every block.
    #[arg(long)]
    pub width: Option<f32>,
    /// Learning rule.
    #[arg(long)]
    pub rule: Option<RuleName>,
    /// Passes over the training images; 0 writes the untrained encoder.
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Use only the first so many training images.
    #[arg(long)]
    pub images: Option<usize>,
    /// Images in a batch.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Seed of every random stream.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// The configuration that the arguments ask for.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] where there is none.
pub fn configuration(arguments: &TrainArguments) -> Result<Config, Error> {
    let (mut config, origin) = match (&arguments.config, &arguments.preset) {
        (Some(path), _) => (Config::read(path)?, path.display().to_string()),
        (None, Some(name)) => match preset(name) {
            Some(config) => (config, format!("preset {name}")),
            None => return Err(unknown_preset(name)),
        },
        (None, None) => return Err(unknown_preset("")),
    };
    config.width = arguments.width.unwrap_or(config.width);
    config.rule = arguments.rule.unwrap_or(config.rule);
    config.epochs = arguments.epochs.unwrap_or(config.epochs);
    config.images = arguments.images.or(config.images);
    config.batch = arguments.batch.unwrap_or(config.batch);
    config.seed = arguments.seed.unwrap_or(config.seed);
    config.check(&origin)?;
    Ok(config)
}

fn unknown_preset(name: &str) -> Error {
    Error::Config { origin: format!("preset {name:?}"), message: format!("expected one of {}", PRESETS.join(", ")) }
}

/// Mean losses over a few steps, as rows of a CSV file.
struct Metrics {
    writer: csv::Writer<Vec<u8>>,
    sums: Vec<Option<f64>>,
    steps: u64,
    images: usize,
    seconds: f64,
}

impl Metrics {
    fn new(layers: usize) -> Result<Self, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fixed = ["epoch", "step", "images_per_second"].map(String::from);
        writer.write_record(fixed.into_iter().chain((0..layers).map(|layer| format!("loss_layer{layer}"))))?;
        Ok(Self { writer, sums: vec![None; layers], steps: 0, images: 0, seconds: 0.0 })
    }

    fn step(&mut self, metrics: &StepMetrics) -> Result<(), csv::Error> {
        for (sum, loss) in self.sums.iter_mut().zip(&metrics.losses) {
            if let Some(loss) = loss {
                *sum = Some(sum.unwrap_or(0.0) + loss);
            }
        }
        self.steps += 1;
        self.images += metrics.images;
        self.seconds += metrics.elapsed.as_secs_f64();
        let last = metrics.step.is_multiple_of(metrics.steps_per_epoch as u64);
        if self.steps < STEPS_PER_ROW && !last {
            return Ok(());
        }
        let speed = self.images as f64 / self.seconds;
        let fixed = [metrics.epoch.to_string(), metrics.step.to_string(), format!("{speed:.1}")];
        let mean = |sum: &Option<f64>| sum.map_or(String::new(), |sum| format!("{:.6}", sum / self.steps as f64));
        self.writer.write_record(fixed.into_iter().chain(self.sums.iter().map(mean)))?;
        *self = Self {
            writer: std::mem::replace(&mut self.writer, csv::Writer::from_writer(Vec::new())),
            sums: vec![None; self.sums.len()],
            steps: 0,
            images: 0,
            seconds: 0.0,
        };
        Ok(())
    }

    fn bytes(&mut self) -> Result<&[u8], csv::Error> {
        self.writer.flush()?;
        Ok(self.writer.get_ref())
    }
}

/// Runs `clapp train`.
///
/// # Errors
/// Where the input is wrong, an output cannot be written, or training diverges.
pub fn run(arguments: &TrainArguments) -> Result<u8, Error> {
    let config = configuration(arguments)?;
    let data = open_data(arguments.data.as_deref(), config.seed)?;
    check_shape(&data, config.input_shape(), &config.name)?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config.name));
    make_folder(&out)?;
    println!("{}: {} on {}", config.name, config.rule.name(), data.source);
    let images = Arc::new(config.images.map_or_else(|| data.train.clone(), |count| data.train.take(count)));
    let checkpoint_path = out.join("checkpoint.safetensors");
    let metrics_path = out.join("metrics.csv");
    let csv_error = |error: csv::Error| Error::File {
        action: "write",
        path: metrics_path.clone(),
        source: std::io::Error::other(error),
    };
    let text = toml::to_string(&config)
        .map_err(|error| Error::Config { origin: config.name.clone(), message: error.to_string() })?;
    write_atomically(&out.join("config.toml"), text.as_bytes())?;
    let metrics = std::cell::RefCell::new(Metrics::new(config.blocks.len()).map_err(csv_error)?);
    let mut progress = Progress::new(config.rule.name(), config.epochs);
    let save = |epoch: u64, layers| Checkpoint { config: config.clone(), epoch, layers }.write(&checkpoint_path);
    let model = train(
        &Cpu,
        &config,
        &images,
        loader_threads(),
        |step| {
            progress.step(step, config.epochs);
            metrics.borrow_mut().step(step).map_err(csv_error)
        },
        |epoch, model| {
            save(epoch, model.download(&Cpu))?;
            write_atomically(&metrics_path, metrics.borrow_mut().bytes().map_err(csv_error)?)
        },
    )?;
    progress.finish();
    if config.epochs == 0 {
        save(0, model.download(&Cpu))?;
    }
    println!("wrote {}", checkpoint_path.display());
    Ok(0)
}
