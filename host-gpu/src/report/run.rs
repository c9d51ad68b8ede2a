//! A run's folder, read for the report.

use super::course::Course;
use crate::alignment::{self, ALIGNMENT};
use crate::checkpoint::Header;
use crate::config::Config;
use crate::error::Error;
use crate::probe::{ProbeRecord, beside};
use crate::run::{CHECKPOINT, CONFIG, METRICS};
use crate::run_info::{FAILURE, RUN, RunInfo};
use std::path::{Path, PathBuf};

/// What lies in a run's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The folder as it was named.
    pub folder: PathBuf,
    /// `run.json`.
    pub info: RunInfo,
    /// `config.toml`.
    pub config: Config,
    /// `metrics.csv`; `None` where there is none yet.
    pub course: Option<Course>,
    /// `alignment.csv`; `None` where alignment was not measured.
    pub alignment: Option<Vec<alignment::Row>>,
    /// Epochs in the checkpoint; `None` where there is none yet.
    pub epochs_done: Option<u64>,
    /// Why the run has stopped, where it has failed.
    pub failure: Option<String>,
    /// `probe.json`: the paper's protocol.
    pub probe: Option<ProbeRecord>,
    /// `probe-cached.json`: features computed once.
    pub cached_probe: Option<ProbeRecord>,
}

/// A folder that a page leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The folder as it was named.
    pub folder: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Whether training has come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All epochs are in the checkpoint.
    Finished,
    /// As many epochs are in the checkpoint; it may still be going.
    Unfinished(u64),
    /// It has stopped with an error.
    Failed(String),
}

impl Run {
    /// Reads a run's folder. What a run writes later than its beginning may be missing.
    ///
    /// # Errors
    /// Where it is not a run's folder, or a file in it is damaged; the error names the file.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let checkpoint = folder.join(CHECKPOINT);
        let failure = folder.join(FAILURE);
        Ok(Self {
            folder: folder.into(),
            info: RunInfo::read(folder)?,
            config: Config::read(&folder.join(CONFIG))?,
            course: there(&folder.join(METRICS), Course::read)?,
            alignment: there(&folder.join(ALIGNMENT), alignment::read_rows)?,
            epochs_done: there(&checkpoint, |path| Header::read(path).map(|header| header.epoch))?,
            failure: there(&failure, |path| std::fs::read_to_string(path).map_err(Error::file("read", path)))?,
            probe: there(&beside(&checkpoint, false), ProbeRecord::read)?,
            cached_probe: there(&beside(&checkpoint, true), ProbeRecord::read)?,
        })
    }

    /// The last part of the folder's name.
    pub fn name(&self) -> String {
        self.folder.file_name().map_or_else(|| self.info.name.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// Whether it has come to its end.
    pub fn state(&self) -> State {
        match (&self.failure, self.epochs_done) {
            (Some(reason), _) => State::Failed(reason.trim().into()),
            (None, Some(done)) if done >= self.config.epochs => State::Finished,
            (None, done) => State::Unfinished(done.unwrap_or(0)),
        }
    }

    /// Layers of the network.
    pub fn layers(&self) -> usize {
        self.config.blocks.len()
    }
}

/// Reads a file where it is there.
fn there<T>(path: &Path, read: impl FnOnce(&Path) -> Result<T, Error>) -> Result<Option<T>, Error> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

/// The folders of the runs in `paths`, in their order: each is a run's folder, or a folder of such folders (as
/// `clapp sweep` makes), which are then taken by name.
///
/// # Errors
/// [`Error::Run`] where a path is neither, [`Error::File`] where it cannot be read.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if path.join(RUN).is_file() {
            found.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        for entry in path.read_dir().map_err(Error::file("read", path))? {
            let entry = entry.map_err(Error::file("read", path))?.path();
            if entry.join(RUN).is_file() {
                below.push(entry);
            }
        }
        if below.is_empty() {
            let message =
                format!("no {RUN} in it, nor in a folder in it: expected the folder of a run of `clapp train`");
            return Err(Error::Run { path: path.clone(), message });
        }
        below.sort();
        found.extend(below);
    }
    Ok(found)
}
