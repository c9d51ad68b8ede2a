//! Input of every experiment: images, size, seed, backend, folder for its files.

use super::keep::Inputs;
use clapp_data::console::note;
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_engine::checkpoint::DataIdentity;
use clapp_engine::run_info::ProgramInfo;
use clapp_gpu::choice::BackendArguments;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images of the generated set in experiments.
const GENERATED: (usize, usize) = (4000, 1000);

/// Input of an experiment.
#[derive(Debug)]
pub struct Setting {
    /// The data sets given on the command line.
    pub sets: Vec<Dataset>,
    /// `true`: the paper's size. `false`: a size that takes minutes on two cores.
    pub full: bool,
    /// Seed of every random stream.
    pub seed: u64,
    /// Backend and precision.
    pub backend: BackendArguments,
    /// Folder in which all experiments keep their findings and runs.
    pub folder: PathBuf,
    /// Set from outside to end the work with [`Error::Stopped`] at the next chance.
    pub stop: Arc<AtomicBool>,
}

impl Setting {
    /// Inputs that the numbers depend on, besides the machine.
    pub fn inputs(&self) -> Inputs {
        Inputs {
            data: self.sets.iter().map(|set| DataIdentity::of(&set.name, &set.pretrain)).collect(),
            full: self.full,
            seed: self.seed,
            backend: self.backend.name(),
            program: ProgramInfo::this(),
            build: ProgramInfo::build(),
        }
    }

    /// The folder of the experiment's own files.
    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A set that was given, by its name (`cifar10`, `stl10`, …).
    pub fn set(&self, name: &str) -> Option<&Dataset> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// Colour images of 32x32: the first set given that has them, else generated ones.
    pub fn colour(&self) -> Dataset {
        let fits = |set: &&Dataset| set.shape().is_some_and(|shape| (shape.channels, shape.height) == (3, 32));
        self.sets.iter().find(fits).cloned().unwrap_or_else(|| self.generated())
    }

    /// The generated set: ten classes, 32x32 in colour.
    pub fn generated(&self) -> Dataset {
        generated::shapes(self.seed, GENERATED.0, GENERATED.1)
    }

    /// Ends the work where the user has asked for it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if so.
    pub fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// A bar for so many pieces of work; without a terminal, a line that says what begins.
    pub fn bar(&self, what: &str, pieces: u64) -> ProgressBar {
        let bar = ProgressBar::new(pieces);
        let template = "{prefix} {bar:24} {pos}/{len}, {elapsed} ({eta} left)  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        if bar.is_hidden() {
            note(what);
        }
        bar
    }
}
