//! Encoders that experiments train and probe: each is a run in a folder of its own, kept and gone on with, so that a
//! stopped experiment goes on where it was, and experiments that need the same encoder share it.

use super::setting::Setting;
use clapp_data::console::note;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_engine::checkpoint::{Checkpoint, DataIdentity, Header};
use clapp_engine::config::{Config, RuleName, preset};
use clapp_engine::distributed::Ranks;
use clapp_engine::metrics::Row;
use clapp_engine::model::LayerValues;
use clapp_engine::probe::{Kind, ProbeRecord, ProbeReport, ProbeTask, Protocol, beside};
use clapp_engine::progress::{Progress, ShownProbe};
use clapp_engine::run::{Begin, CHECKPOINT, Interval, Run, loader_threads};
use clapp_engine::run_info::{DataInfo, ProgramInfo, RunInfo};
use clapp_gpu::choice::Ended;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A trained encoder.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Configuration of the training.
    pub config: Config,
    /// Its parameters.
    pub layers: Vec<LayerValues>,
    /// The course of the losses.
    pub rows: Vec<Row>,
    /// Folder of the run.
    pub folder: PathBuf,
}

/// Trains an encoder on `config.images` of a set's images, or takes up the run of an earlier call with the same
/// configuration, images, backend and program. One whose files are damaged is trained anew. `name` is for the progress bar.
///
/// # Errors
/// Same as a run; [`Error::Stopped`] if the user has stopped it (its folder keeps what is done).
pub fn train(setting: &Setting, name: &str, config: &Config, data: &Dataset) -> Result<Trained, Error> {
    let images = match config.images {
        Some(count) => data.pretrain.take(count),
        None => data.pretrain.clone(),
    };
    train_on(setting, name, config, &data.name, images, data.test.len())
}

/// The same on images of the caller's choice, which `data` names.
///
/// # Errors
/// Same as [`train`].
pub fn train_on(
    setting: &Setting,
    name: &str,
    config: &Config,
    data: &str,
    images: Split,
    test_images: usize,
) -> Result<Trained, Error> {
    setting.check_stop()?;
    let images = Arc::new(images);
    let identity = DataIdentity::of(data, &images);
    let folder = folder(setting, config, &identity)?;
    let known = DataInfo { name: data.to_owned(), train_images: images.len(), test_images, ..DataInfo::default() };
    let info = RunInfo::collect(config, known).on(&setting.backend.name());
    let alone = Ranks::alone();
    let run = |begin| Run {
        ranks: &alone,
        config,
        images: &images,
        data: identity.clone(),
        info: &info,
        folder: &folder,
        begin,
        interval: Interval { epochs: Some(1), steps: None, time: Some(Duration::from_secs(60)) },
        align_every: None,
        stop: &setting.stop,
    };
    let (finished, rows, layers) = match go(setting, name, &run(Begin::Resume)) {
        Err(error) if is_damage(&error, &folder) => {
            note(format!("note: {error}; the encoder is trained anew"));
            go(setting, name, &run(Begin::Overwrite))?
        }
        ended => ended?,
    };
    if !finished {
        return Err(Error::Stopped);
    }
    Ok(Trained { config: config.clone(), layers, rows, folder })
}

/// `true` if damaged files of the folder caused the error. The folder's name covers everything that the run depends on, so
/// a checkpoint that does not agree is damaged.
fn is_damage(error: &Error, folder: &Path) -> bool {
    let checkpoint = folder.join(CHECKPOINT);
    match error {
        Error::Checkpoint { path, .. } | Error::Run { path, .. } | Error::Differs { path, .. } => {
            path.starts_with(folder) && checkpoint.exists()
        }
        Error::Config { .. } => checkpoint.exists() && Header::read(&checkpoint).is_err(),
        _ => false,
    }
}

/// Goes on with a run; whether it is done, with its course and what it wrote.
fn go(setting: &Setting, name: &str, run: &Run<'_>) -> Result<(bool, Vec<Row>, Vec<LayerValues>), Error> {
    let config = run.config;
    let mut progress = Progress::new(name, config.epochs);
    let heard = |step: &_| progress.step(step, config.epochs);
    let device = setting.backend.open(None)?;
    device.check_training(config)?;
    let ended = device.train(run, heard);
    progress.finish();
    let Ended { finished, metrics, .. } = ended?;
    Ok((finished, metrics.rows().to_vec(), Checkpoint::read(&run.folder.join(CHECKPOINT))?.layers))
}

/// The linear probe of an encoder on a set's labelled images (`config.images` of them), or that of an earlier call.
///
/// # Errors
/// Same as the probe.
pub fn probe(setting: &Setting, encoder: &Trained, data: &Dataset, cached: bool) -> Result<ProbeReport, Error> {
    setting.check_stop()?;
    let kind = if cached { Kind::Cached } else { Kind::Augmented };
    let path = beside(&encoder.folder.join(CHECKPOINT), kind);
    let config = &encoder.config;
    let mut data = data.clone();
    if let Some(images) = config.images {
        data.train = data.train.take(images);
    }
    let pooled = config.probe_network()?;
    // Another probe that somebody has made of the encoder since is not this experiment's.
    let test = config.probe.test.fitted(data.test.shape(), pooled.input());
    let expected = Protocol::new(kind, &config.probe, test, config.seed, None);
    let is_this = |report: &ProbeReport| {
        report.protocol.as_ref().is_none_or(|protocol| *protocol == expected)
            && report.epochs == config.probe.epochs
            && [report.train_images, report.test_images] == [data.train.len(), data.test.len()]
    };
    if let Some(report) = ProbeRecord::read(&path).ok().map(|record| record.report).filter(is_this) {
        return Ok(report);
    }
    let task = ProbeTask {
        pooled: &pooled,
        config: &config.probe,
        data: &data,
        seed: config.seed,
        kind,
        fold: None,
        loader_threads: loader_threads(),
    };
    let (spec, layers) = (config.network()?, &encoder.layers);
    let job = ShownProbe { spec, layers, task: &task, stop: &setting.stop, estimate: None };
    let report = setting.backend.run(job)?.report;
    if report.is_stopped() {
        return Err(Error::Stopped);
    }
    ProbeRecord::new(config.epochs, &data, report.clone()).write(&path)?;
    Ok(report)
}

/// Named by all that the encoder depends on.
fn folder(setting: &Setting, config: &Config, data: &DataIdentity) -> Result<PathBuf, Error> {
    let mut hasher = DefaultHasher::new();
    (config.to_toml()?, data, setting.backend.name(), ProgramInfo::build()).hash(&mut hasher);
    let name = format!("{}-{:016x}", config.rule.name(), hasher.finish());
    Ok(setting.folder.join("encoders").join(name))
}

/// The paper's CIFAR-10 network and protocol for a rule at the experiments' common size, so that they share encoders:
/// VGG-6 at an eighth of its width, 3,000 images, five epochs, six of the probe; with `--full` as the paper has it. The
/// learning rate is 1e-3 where the rule has none of its own.
///
/// # Errors
/// If there is no such preset.
pub fn config(setting: &Setting, rule: RuleName) -> Result<Config, Error> {
    let Some(base) = preset("cifar10") else {
        return Err(Error::Config { origin: "preset cifar10".into(), message: "is missing".into() });
    };
    let mut config = Config { seed: setting.seed, ..base.with_rule(rule) };
    if !setting.full {
        config = Config { width: 0.125, images: Some(3000), epochs: 5, ..config };
        // A rule that does not learn at the common rate has its own.
        let rate = rule.choices().rate.unwrap_or(1e-3);
        config.optimizer = config.optimizer.with_learning_rate(rate);
        config.probe.epochs = 6;
    }
    Ok(config)
}

/// Standard error of an accuracy that was measured on so many images.
pub fn standard_error(accuracy: f64, images: usize) -> f64 {
    (accuracy * (1.0 - accuracy) / images.max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::data::generated;
    use clapp_engine::run::METRICS;
    use std::fs;

    #[test]
    fn a_damaged_encoder_is_trained_anew() {
        let place = tempfile::tempdir().unwrap();
        let setting = Setting {
            sets: Vec::new(),
            full: false,
            seed: 1,
            backend: Default::default(),
            folder: place.path().into(),
            stop: Default::default(),
        };
        let data = generated::shapes(1, 24, 8);
        let config = Config { epochs: 1, batch: 8, images: Some(16), width: 0.25, ..preset("demo").unwrap() };
        let first = train(&setting, "one", &config, &data).unwrap();
        let path = first.folder.join(CHECKPOINT);
        let whole = fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        // In a tensor, and in what is said of the run.
        let name = whole.windows(4).position(|bytes| bytes == b"seed").unwrap();
        for damaged in [flipped(whole.len() - 4), flipped(name), whole[..whole.len() / 2].to_vec()] {
            fs::write(&path, damaged).unwrap();
            let again = train(&setting, "one", &config, &data).unwrap();
            assert_eq!((again.layers, again.folder), (first.layers.clone(), first.folder.clone()));
            assert!(fs::read(&path).unwrap() == whole);
        }
        fs::write(first.folder.join(METRICS), "epoch").unwrap();
        assert_eq!(train(&setting, "one", &config, &data).unwrap().layers, first.layers);
        // One that is whole is taken up.
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        train(&setting, "one", &config, &data).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
    }
}
