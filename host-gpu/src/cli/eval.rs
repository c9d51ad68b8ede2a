//! `clapp eval`: the linear probe of a checkpoint.

use super::computes::{BackendArguments, Computes};
use super::data::{CacheArguments, remarks};
use super::output::say;
use super::{check_test_shape, open_data};
use crate::backend::{Backend, cpu::Cpu};
use crate::checkpoint::{Checkpoint, Header};
use crate::data::Dataset;
use crate::error::Error;
use crate::files::check_result;
use crate::memory::Needs;
use crate::model::{LayerValues, NetworkSpec};
use crate::probe::{ProbeRecord, ProbeReport, ProbeTask, beside, probe};
use crate::run::{CHECKPOINT, loader_threads};
use crate::step::Model;
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Arguments of `clapp eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    /// Checkpoint that `clapp train` wrote, or the folder of the run.
    pub checkpoint: PathBuf,
    /// Data set as downloaded (folder or archive); not needed where the configuration generates its images.
    #[arg(long)]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    backend: BackendArguments,
    /// Compute the features once, from the images without augmentation: fast, but not the paper's protocol.
    #[arg(long)]
    pub cached: bool,
    /// Passes over the labelled images.
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Use only the first so many labelled images [default: as many as the encoder was trained on].
    #[arg(long)]
    pub images: Option<usize>,
    /// Use only the labelled images of this fold, counted from 0 (STL-10 has ten) [default: all of them].
    #[arg(long, value_name = "NUMBER")]
    pub fold: Option<usize>,
    /// File for the result as JSON [default: probe.json beside the checkpoint, probe-cached.json with --cached].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs `clapp eval`.
///
/// # Errors
/// Where the input is wrong or an output cannot be written.
pub fn run(arguments: &EvalArguments) -> Result<u8, Error> {
    for (option, zero) in [("--images", arguments.images == Some(0)), ("--epochs", arguments.epochs == Some(0))] {
        if zero {
            return Err(Error::Config { origin: option.into(), message: "is 0, expected at least 1".into() });
        }
    }
    let file = checkpoint_file(&arguments.checkpoint)?;
    let path = arguments.json.clone().unwrap_or_else(|| beside(&file, arguments.cached));
    let checkpoint = Checkpoint::read(&file)?;
    // Found out now rather than after the whole evaluation.
    check_result(&path, "--json")?;
    let mut config = checkpoint.config;
    let mut data = open_data(arguments.data.as_deref(), &arguments.cache, &config)?;
    check_test_shape(&data, &config, &file.display().to_string())?;
    check_data(arguments, &file, &data)?;
    remarks(&data).iter().for_each(|line| eprintln!("{line}"));
    config.probe.epochs = arguments.epochs.unwrap_or(config.probe.epochs);
    if let Some(fold) = arguments.fold {
        let Some(indices) = data.folds.get(fold) else {
            let message = format!("is {fold}, but {} has {} folds, counted from 0", data.name, data.folds.len());
            return Err(Error::Config { origin: "--fold".into(), message });
        };
        data.train = data.train.select(indices);
    }
    if let Some(images) = arguments.images.or(config.images) {
        data.train = data.train.take(images);
    }
    let images = [data.train.len(), data.test.len()];
    let lower =
        if arguments.cached { "leave out --cached, or lower --images" } else { "take an encoder of less --width" };
    Needs::of_probe(&config, images, data.classes.len(), arguments.cached, loader_threads())?
        .check("the probe", lower)?;
    let pooled = config.probe_network()?;
    let task = ProbeTask {
        pooled: &pooled,
        config: &config.probe,
        data: &data,
        seed: config.seed,
        cached: arguments.cached,
        loader_threads: loader_threads(),
    };
    let (spec, layers) = (config.network()?, &checkpoint.layers);
    arguments.backend.check()?;
    let report = probe_by(arguments.backend, spec, layers, &task)?;
    say(format!("{}, {} epochs, on {}", config.rule.name(), checkpoint.epoch, data.source))?;
    say(table(&report, &data.classes))?;
    ProbeRecord::new(checkpoint.epoch, &data, report).write(&path)?;
    say(format!("wrote {}", path.display()))?;
    Ok(0)
}

/// The probe of an encoder whose features the backend chosen computes.
///
/// # Errors
/// As [`probe`], and where there is no such device.
pub(crate) fn probe_by(
    arguments: BackendArguments,
    spec: NetworkSpec,
    layers: &[LayerValues],
    task: &ProbeTask<'_>,
) -> Result<ProbeReport, Error> {
    let BackendArguments { backend, gpu } = arguments;
    match backend {
        Computes::Cpu => probe_on(&Cpu, spec, layers, task),
        Computes::Cuda => probe_on(&gpu.cuda()?, spec, layers, task),
        Computes::Emulated => probe_on(&gpu.emulated()?, spec, layers, task),
    }
}

fn probe_on<B: Backend>(
    backend: &B,
    spec: NetworkSpec,
    layers: &[LayerValues],
    task: &ProbeTask<'_>,
) -> Result<ProbeReport, Error> {
    let model = Model::upload(backend, spec, layers);
    let bar = ProgressBar::new(task.config.epochs);
    let report = probe(backend, &model, task, |epoch, accuracy| {
        bar.set_position(epoch);
        bar.set_message(format!("{:.2} %", 100.0 * accuracy));
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// A result on another set than the encoder's own is kept only where the user says: beside the checkpoint it would be
/// taken for the run's.
fn check_data(arguments: &EvalArguments, file: &Path, data: &Dataset) -> Result<(), Error> {
    let Some(place) = Header::read(file)?.place else { return Ok(()) };
    if place.data.name == data.name || arguments.json.is_some() {
        return Ok(());
    }
    let message = format!(
        "the encoder was trained on {}, but the images are {}; name its own set with --data, or a file for the result \
         with --json",
        place.data.name, data.name
    );
    Err(Error::Config { origin: file.display().to_string(), message })
}

/// The checkpoint that a path means: the file itself, or that of a run's folder.
pub(super) fn checkpoint_file(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    let file = path.join(CHECKPOINT);
    if file.is_file() {
        return Ok(file);
    }
    let message = format!("a folder without {CHECKPOINT}, expected a checkpoint or the folder of a run");
    Err(Error::Checkpoint { path: path.into(), message })
}

fn table(report: &ProbeReport, classes: &[String]) -> String {
    let mut lines = Vec::new();
    let percent = |share: f64| format!("{:6.2} %", 100.0 * share);
    lines.push(format!(
        "linear probe, {} epochs on {} images, {}",
        report.epochs,
        report.train_images,
        if report.cached { "cached features without augmentation" } else { "augmented anew each epoch" }
    ));
    lines.push(format!(
        "  all layers  {}   (best epoch {}, selected on the test images)",
        percent(report.all.last),
        percent(report.all.best)
    ));
    for (index, layer) in report.layers.iter().enumerate() {
        lines.push(format!("  layer {index}     {}", percent(layer.last)));
    }
    lines.push("of the test images of each class, all layers:".into());
    for (name, accuracy) in classes.iter().zip(&report.all.classes) {
        lines.push(format!("  {name:<12}{}", percent(*accuracy)));
    }
    lines.join("\n")
}
