//! A network by name: a preset, a configuration, a checkpoint, or the folder of a run.

use clapp_core::checkpoint::architecture;
use clapp_data::error::Error;
use clapp_engine::checkpoint::Header;
use clapp_engine::config::{Config, PRESETS, differences, preset};
use clapp_engine::run::CHECKPOINT;
use std::path::{Path, PathBuf};

/// Returns the configuration called `name`, and for a checkpoint the number of completed epochs. A device must be able
/// to learn by its rule.
pub fn network(name: &str) -> Result<(Config, u64), Error> {
    let (config, epoch) = configuration(name)?;
    match config.learning_rule().beyond_core() {
        None => Ok((config, epoch)),
        Some(reason) => {
            let rule = config.rule.name();
            let message = format!("{rule} {reason}, which clapp-core does not have: no device can learn by it");
            Err(Error::Config { origin: name.into(), message })
        }
    }
}

fn configuration(name: &str) -> Result<(Config, u64), Error> {
    if let Some(config) = preset(name) {
        return Ok((config, 0));
    }
    let path = checkpoint_of(Path::new(name));
    if !path.exists() {
        let presets = PRESETS.join(", ");
        let message = format!("neither a file, nor the folder of a run, nor a preset ({presets})");
        return Err(Error::Config { origin: format!("--network {name}"), message });
    }
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let header = Header::read(&path)?;
        return Ok((header.config, header.epoch));
    }
    Ok((Config::read(&path)?, 0))
}

/// Reads a checkpoint, or the one in the folder of a run.
pub fn checkpoint_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(CHECKPOINT) } else { path.into() }
}

/// Returns the file of a network, or `None` for the name of a preset.
pub fn file(name: Option<&str>) -> Option<PathBuf> {
    name.map(|name| checkpoint_of(Path::new(name))).filter(|path| path.is_file())
}

/// Returns the architecture of a configuration's network.
pub fn architecture_of(config: &Config) -> Result<u64, Error> {
    Ok(architecture(&config.network()?.view()))
}

/// Checks that a checkpoint has the network of the configuration called `origin`.
pub fn check_same(checkpoint: &Config, path: &Path, named: &Config, origin: &str) -> Result<(), Error> {
    if architecture_of(checkpoint)? == architecture_of(named)? {
        return Ok(());
    }
    const FIELDS: [&str; 7] = ["blocks", "contrast", "input", "pos-coeff", "projection", "rule", "width"];
    let of_network = |field: &str| {
        let first = field.split(['.', '[']).next().unwrap_or_default();
        FIELDS.contains(&first) && !field.contains("probe-pool")
    };
    let differences = differences(checkpoint, named)?;
    let differences = differences.iter().filter(|difference| of_network(&difference.field));
    let texts = differences.map(|difference| {
        format!("{}: checkpoint has {}, {origin} has {}", difference.field, difference.one, difference.other)
    });
    Err(Error::Differs { origin: origin.into(), path: path.into(), differences: texts.collect::<Vec<_>>().join("; ") })
}
