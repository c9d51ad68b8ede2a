//! `clapp train`: an encoder from images, with checkpoints and metrics.

use super::output::say;
use super::progress::Progress;
use super::{check_channels, open_data};
use crate::config::{Config, PRESETS, RuleName, preset};
use crate::error::Error;
use crate::run::{CHECKPOINT, train_in_folder};
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments that name a configuration and change it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub config: Option<PathBuf>,
    /// Named configuration.
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS))]
    pub preset: Option<String>,
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

/// Arguments of `clapp train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Data set as downloaded (folder or archive); not needed where the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for checkpoint, configuration and metrics [default: out/NAME].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl ConfigArguments {
    /// As given, with the demonstration's preset where neither a file nor a preset is named.
    pub fn or_demo(self) -> Self {
        let preset = if self.config.is_none() && self.preset.is_none() { Some("demo".into()) } else { self.preset };
        Self { preset, ..self }
    }

    /// What names the configuration in errors: its file, or its preset.
    pub fn origin(&self) -> String {
        match (&self.config, &self.preset) {
            (Some(path), _) => path.display().to_string(),
            (None, preset) => format!("preset {}", preset.as_deref().unwrap_or_default()),
        }
    }

    /// The configuration that the arguments ask for.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] where there is none, or it makes no sense.
    pub fn configuration(&self) -> Result<Config, Error> {
        let mut config = match (&self.config, &self.preset) {
            (Some(path), _) => Config::read(path)?,
            (None, None) => {
                let message = format!("name a configuration: --config FILE or --preset {}", PRESETS.join("|"));
                return Err(Error::Config { origin: "arguments".into(), message });
            }
            (None, Some(name)) => {
                let unknown = || Error::Config {
                    origin: format!("preset `{name}`"),
                    message: format!("unknown, expected one of {}", PRESETS.join(", ")),
                };
                preset(name).ok_or_else(unknown)?
            }
        };
        config.width = self.width.unwrap_or(config.width);
        config.rule = self.rule.unwrap_or(config.rule);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.images = self.images.or(config.images);
        config.batch = self.batch.unwrap_or(config.batch);
        config.seed = self.seed.unwrap_or(config.seed);
        config.check(&self.origin())?;
        Ok(config)
    }
}

/// Runs `clapp train`.
///
/// # Errors
/// Where the input is wrong, an output cannot be written, or training diverges.
pub fn run(arguments: &TrainArguments) -> Result<u8, Error> {
    let config = arguments.configuration.configuration()?;
    let data = open_data(arguments.data.as_deref(), &config)?;
    check_channels(&data, config.input_shape(), &arguments.configuration.origin())?;
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("out").join(&config.name));
    say(format!("{}: {} on {}", config.name, config.rule.name(), data.source))?;
    let images = Arc::new(config.images.map_or_else(|| data.pretrain.clone(), |count| data.pretrain.take(count)));
    let mut progress = Progress::new(config.rule.name(), config.epochs);
    train_in_folder(&config, &images, &out, |step| progress.step(step, config.epochs))?;
    progress.finish();
    say(format!("wrote {}", out.join(CHECKPOINT).display()))?;
    Ok(0)
}
