//! `clapp eval`: the linear probe of a checkpoint.

use super::data::{CacheArguments, remarks};
use super::evaluable::{self, Work};
use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFile};
use super::stop::{INTERRUPTED, stop_by_signal};
use super::{check_channels, open_data};
use clap::Args;
use clapp_data::augment::TestTransform;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::words::counted;
use clapp_engine::checkpoint::{Checkpoint, Header};
use clapp_engine::memory::Needs;
use clapp_engine::probe::{
    Kind, Outcome, ProbeRecord, ProbeReport, ProbeTask, ProbeWeights, QUICK_EPOCHS, beside, beside_record, evenly,
    partial, quick_images,
};
use clapp_engine::progress::{Estimate, ShownProbe};
use clapp_engine::run::{CHECKPOINT, loader_threads};
use clapp_gpu::choice::BackendArguments;
use std::path::{Path, PathBuf};

/// Arguments of `clapp eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C keeps the last whole epoch, marked as stopped (exit code 130). A stopped probe does not replace a finished \
                  probe of the same encoder: it goes beside it, to probe.partial.json. A second Ctrl-C ends the program at once."
)]
pub struct EvalArguments {
    /// Checkpoint that `clapp train` wrote, or the folder of the run.
    pub checkpoint: PathBuf,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long)]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    backend: BackendArguments,
    /// Compute the features once, from images without augmentation. Fast, but not the paper's protocol.
    #[arg(long)]
    pub cached: bool,
    /// A first estimate in minutes: 30 epochs on cached features of up to 5,000 labelled and 2,000 test images (or 50
    /// and 20 per class), taken evenly from the whole set. The result records this protocol.
    #[arg(long, conflicts_with = "cached")]
    pub quick: bool,
    /// Epochs of the probe [default: as the configuration says].
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Use only the first NUMBER labelled images [default: as many as the encoder was trained on].
    #[arg(long)]
    pub images: Option<usize>,
    /// Use only the labelled images of this fold, counted from 0 (STL-10 has ten) [default: all of them].
    #[arg(long, value_name = "NUMBER")]
    pub fold: Option<usize>,
    /// Resize the shorter side of each test image to PIXELS, then crop the centre [default: as the configuration says;
    /// images whose size differs from the network's are resized and cropped].
    #[arg(long, value_name = "PIXELS")]
    pub resize: Option<usize>,
    /// File for the result as JSON; the weights of the probe go beside it [default: probe.json beside the checkpoint,
    /// probe-cached.json with --cached, probe-quick.json with --quick].
    #[arg(long, value_name = "FILE")]
    pub json: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
}

/// Runs `clapp eval`. Exit code 0: all epochs are done. 130: a signal stopped it.
///
/// # Errors
/// If the input is wrong or an output cannot be written.
pub fn run(arguments: &EvalArguments) -> Result<u8, Error> {
    for (option, zero) in [("--images", arguments.images == Some(0)), ("--epochs", arguments.epochs == Some(0))] {
        if zero {
            return Err(Error::Config { origin: option.into(), message: "is 0, expected at least 1".into() });
        }
    }
    let kind = match (arguments.cached, arguments.quick) {
        (_, true) => Kind::Quick,
        (true, _) => Kind::Cached,
        (false, false) => Kind::Augmented,
    };
    let file = checkpoint_file(&arguments.checkpoint)?;
    let checkpoint = Checkpoint::read(&file)?;
    // Check now, not after the whole evaluation.
    let own = beside(&file, kind);
    let guard = Guard::new(arguments.force).keep([file.as_path()]).keep_data(arguments.data.as_deref());
    let path = match &arguments.json {
        Some(path) => path.check_result("--json", Mark::PROBE, &guard, &own)?,
        None => guard.check_result("--json", &own, Mark::PROBE).map(|()| own.as_path())?,
    };
    let weights = beside_record(path);
    check_weights(&weights, path, &own, &guard)?;
    let pooled = checkpoint.config.probe_network()?;
    let dimensions: Vec<usize> = pooled.layers().iter().map(|layer| layer.pooled.len()).collect();
    let standing = standing(path, &dimensions, &checkpoint);
    let beside_it = partial(path);
    if standing.is_some() {
        check_own(&beside_it, &partial(&own), Mark::PROBE, &guard)?;
        check_own(&beside_record(&beside_it), &beside_record(&partial(&own)), Mark::WEIGHTS, &guard)?;
    }
    arguments.backend.check()?;
    let mut config = checkpoint.config;
    let origin = file.display().to_string();
    let mut data = open_data(arguments.data.as_deref(), &arguments.cache, &config)?;
    config.probe.test = transform(arguments, config.probe.test, config.input_shape().height)?;
    check_channels(&data, config.input_shape(), &origin)?;
    check_data(arguments, &file, &data)?;
    if let Some(fold) = arguments.fold {
        let Some(indices) = data.folds.get(fold) else {
            let folds = counted(data.folds.len(), "fold");
            let message = format!("is {fold}, but {} has {folds}, counted from 0", data.name);
            return Err(Error::Config { origin: "--fold".into(), message });
        };
        data.train = data.train.select(indices);
    }
    let paper = (config.probe.epochs, config.images.map_or(data.train.len(), |images| images.min(data.train.len())));
    if let Some(images) = arguments.images.or(config.images) {
        data.train = data.train.take(images);
    }
    let all = [data.train.len(), data.test.len()];
    if kind == Kind::Quick {
        config.probe.epochs = QUICK_EPOCHS;
        let [train, test] = quick_images(all[0], all[1], data.classes.len());
        data.train = data.train.select(&evenly(all[0], train));
        data.test = data.test.select(&evenly(all[1], test));
    }
    config.probe.epochs = arguments.epochs.unwrap_or(config.probe.epochs);
    if config.probe.epochs == 0 {
        let message = "probe.epochs is 0: the probe would not learn; set a number with --epochs".into();
        return Err(Error::Config { origin, message });
    }
    remarks(&data).iter().for_each(note);
    for text in evaluable::check(Work::Evaluation, &data, &data.train, &config, config.probe.test, &origin)? {
        note(format!("note: {text}"));
    }
    let images = [data.train.len(), data.test.len()];
    let lower = if kind.caches() { "leave out --cached, or lower --images" } else { "take an encoder of less --width" };
    Needs::of_probe(&config, images, data.classes.len(), kind.caches(), loader_threads())?.check("the probe", lower)?;
    if has_not_learnt(&file)? {
        note("note: the encoder has not learnt (0 epochs): these are the accuracies of its first weights");
    }
    if let Some(old) = &standing
        && !old.report.is_stopped()
        && (old.report.epochs > config.probe.epochs || old.report.train_images > images[0])
    {
        note(format!(
            "note: {} holds a finished probe of this encoder, {} on {}; this one, {} on {}, takes its place once it is \
             finished; --json FILE keeps both",
            path.display(),
            counted(old.report.epochs, "epoch"),
            counted(old.report.train_images as u64, "image"),
            counted(config.probe.epochs, "epoch"),
            counted(images[0] as u64, "image"),
        ));
    }
    let task = ProbeTask {
        pooled: &pooled,
        config: &config.probe,
        data: &data,
        seed: config.seed,
        kind,
        fold: arguments.fold,
        loader_threads: loader_threads(),
    };
    let stop = stop_by_signal()?;
    let estimate = Some(Estimate { paper, all });
    let (spec, layers) = (config.network()?, &checkpoint.layers);
    let outcome = arguments.backend.run(ShownProbe { spec, layers, task: &task, stop: &stop, estimate });
    if matches!(outcome, Err(Error::Stopped)) {
        note("note: stopped during the first epoch of the probe: no result is written");
    }
    let Outcome { report, heads } = outcome?;
    say(format!("{}, {}, on {}", config.rule.name(), counted(checkpoint.epoch, "epoch"), data.source))?;
    say(table(&report, &data.classes))?;
    let stopped = report.is_stopped();
    // A stopped probe does not replace a finished probe or one of more epochs.
    let stays = |old: &ProbeRecord| !old.report.is_stopped() || old.report.epochs > report.epochs;
    let (mut path, mut weights) = (path, weights);
    if stopped && let Some(old) = standing.as_ref().filter(|old| stays(old)) {
        let what = if old.report.is_stopped() { "a probe of more epochs" } else { "a finished probe" };
        say(format!(
            "stopped; {} holds {what} of this encoder and stays ({}); this one goes beside it",
            path.display(),
            counted(old.report.epochs, "epoch")
        ))?;
        (path, weights) = (&beside_it, beside_record(&beside_it));
    }
    let kept = report.protocol.clone().map(|protocol| ProbeWeights {
        encoder_epochs: checkpoint.epoch,
        encoder_checksum: checkpoint.checksum.clone(),
        data: data.name.clone(),
        class_names: data.classes.clone(),
        epochs: report.epochs,
        images,
        accuracy: report.all.last,
        protocol,
        heads,
    });
    if let Some(kept) = &kept {
        kept.write(&weights, &dimensions)?;
    }
    ProbeRecord::new(checkpoint.epoch, &data, report).write(path)?;
    say(format!("wrote {}", path.display()))?;
    say(format!("wrote {} (weights of the probe, for clapp predict)", weights.display()))?;
    Ok(if stopped { INTERRUPTED } else { 0 })
}

/// Returns the path of the weights, beside the result. Refuses to replace any file that does not hold weights.
fn check_weights(weights: &Path, record: &Path, own: &Path, guard: &Guard) -> Result<(), Error> {
    if weights == record {
        let message = format!(
            "the weights of the probe would go to {}, which is another file; name another file for the result",
            weights.display()
        );
        return Err(Error::Config { origin: "--json".into(), message });
    }
    check_own(weights, &beside_record(own), Mark::WEIGHTS, guard)
}

/// Checks a file beside the result. It may be the run's `own` file for that result.
fn check_own(path: &Path, own: &Path, mark: Mark, guard: &Guard) -> Result<(), Error> {
    if path == own { guard.check_result("--json", path, mark) } else { guard.check("--json", path, mark) }
}

/// Returns the preparation of the test images: as the configuration says, or resized as the user says.
fn transform(arguments: &EvalArguments, configured: TestTransform, crop: usize) -> Result<TestTransform, Error> {
    let Some(resize) = arguments.resize else { return Ok(configured) };
    let transform = TestTransform::ResizeCrop { resize, crop };
    let input = clapp_core::shape::Shape::new(1, crop, crop);
    transform.check(input).map_err(|error| Error::Config { origin: "--resize".into(), message: error.to_string() })?;
    Ok(transform)
}

/// Returns `true` if a checkpoint holds the untrained weights of a run.
fn has_not_learnt(file: &Path) -> Result<bool, Error> {
    let Header { epoch, place, device, .. } = Header::read(file)?;
    Ok(epoch == 0 && place.is_none_or(|place| place.step == 0) && device.is_none_or(|device| device.step == 0))
}

/// Returns the probe at `path` if it belongs to this encoder. The checksum in its weights tells, or the number of
/// epochs if the weights are lost.
fn standing(path: &Path, dimensions: &[usize], checkpoint: &Checkpoint) -> Option<ProbeRecord> {
    let of_encoder = |old: ProbeWeights| old.encoder_checksum == checkpoint.checksum;
    let old = ProbeRecord::read(path).ok().filter(|old| old.encoder_epochs == checkpoint.epoch)?;
    ProbeWeights::read(&beside_record(path), dimensions).map_or(true, of_encoder).then_some(old)
}

/// Refuses to write a result on another data set beside the checkpoint: it would be mistaken for the run's own result.
/// The user must name a file for it.
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

/// Returns the checkpoint of a path: the file itself, or the one in a run's folder.
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
    let how = report.protocol.as_ref().map(|protocol| {
        let words = protocol.words(report.epochs, report.train_images, report.test_images);
        format!("{words}; seed {}", protocol.seed)
    });
    lines.push(format!("linear probe, {}", how.unwrap_or_default()));
    lines.push(format!(
        "  all layers  {}   (best epoch {}, selected on the test images)",
        percent(report.all.last),
        percent(report.all.best)
    ));
    if let Some(balanced) = report.all.balanced {
        lines.push(format!("  balanced    {}   (mean over the classes that have test images)", percent(balanced)));
    }
    for (index, layer) in report.layers.iter().enumerate() {
        lines.push(format!("  layer {index}     {}", percent(layer.last)));
    }
    lines.push("of the test images of each class, all layers:".into());
    for (name, accuracy) in classes.iter().zip(&report.all.classes) {
        lines.push(format!("  {name:<12}{}", accuracy.map_or("no test images".into(), percent)));
    }
    lines.join("\n")
}
