//! One training run in a folder: configuration, checkpoint after each epoch, metrics.

use crate::backend::cpu::Cpu;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::Split;
use crate::error::Error;
use crate::files::{make_folder, write_atomically};
use crate::loader::LoaderError;
use crate::metrics::Metrics;
use crate::step::Model;
use crate::trainer::{StepMetrics, train};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

/// Name of the checkpoint in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Trains on the CPU and writes `config.toml`, `checkpoint.safetensors` and `metrics.csv` into `folder`;
/// `progress` hears of each step.
///
/// # Errors
/// Where an output cannot be written, batches cannot be made, or training diverges.
pub fn train_in_folder(
    config: &Config,
    images: &Arc<Split>,
    folder: &Path,
    mut progress: impl FnMut(&StepMetrics),
) -> Result<(Model<Vec<f32>>, Metrics), Error> {
    // Before anything is written: what the loader would refuse later.
    if images.len() < 2 {
        return Err(LoaderError::Request(format!("pairs need at least 2 images, found {}", images.len())).into());
    }
    make_folder(folder)?;
    let metrics = RefCell::new(Metrics::default());
    let save = |epoch: u64, model: &Model<Vec<f32>>| {
        let layers = model.download(&Cpu);
        Checkpoint { config: config.clone(), epoch, layers }.write(&folder.join(CHECKPOINT))?;
        write_atomically(&folder.join("config.toml"), config.to_toml()?.as_bytes())?;
        metrics.borrow().write_csv(&folder.join("metrics.csv"))
    };
    let observe = |step: &StepMetrics| {
        progress(step);
        metrics.borrow_mut().step(step);
    };
    let trained = train(&Cpu, config, images, loader_threads(), observe, save);
    if let Err(Error::Diverged { .. }) = trained {
        // How it came to that is in the metrics.
        metrics.borrow().write_csv(&folder.join("metrics.csv"))?;
    }
    let model = trained?;
    if config.epochs == 0 {
        save(0, &model)?;
    }
    Ok((model, metrics.into_inner()))
}

/// Threads that load and augment images beside the trainer.
pub fn loader_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
