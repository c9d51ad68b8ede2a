//! A run's folder, read for the report.

use super::course::Course;
use clapp_data::error::Error;
use clapp_engine::alignment::{self, ALIGNMENT};
use clapp_engine::checkpoint::Header;
use clapp_engine::config::Config;
use clapp_engine::probe::{Kind, ProbeRecord, beside};
use clapp_engine::run::{CHECKPOINT, CONFIG, METRICS};
use clapp_engine::run_info::{FAILURE, RUN, RunInfo};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The files of a run's folder.
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
    /// `probe-quick.json`: the same on part of the images.
    pub quick_probe: Option<ProbeRecord>,
    /// The name that tells it from others of the page, where the last part of its folder does not.
    shown: Option<String>,
}

/// A folder that a page leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The folder as it was named.
    pub folder: PathBuf,
    /// The reason.
    pub reason: String,
}

/// Progress of training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All epochs are in the checkpoint.
    Finished,
    /// Epochs in the checkpoint. The run may still be at work.
    Unfinished(u64),
    /// It has stopped with an error.
    Failed(String),
}

impl Run {
    /// Reads a run's folder. What a run writes later than its beginning may be missing.
    ///
    /// # Errors
    /// If it is not a run's folder, or a file in it is damaged; the error names the file.
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
            probe: there(&beside(&checkpoint, Kind::Augmented), ProbeRecord::read)?,
            cached_probe: there(&beside(&checkpoint, Kind::Cached), ProbeRecord::read)?,
            quick_probe: there(&beside(&checkpoint, Kind::Quick), ProbeRecord::read)?,
            shown: None,
        })
    }

    /// The last part of the folder's name, or more of it where [`tell_apart`] has found that to be needed.
    pub fn name(&self) -> String {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        self.folder.file_name().map_or_else(|| self.info.name.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// Progress of training.
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

/// Folders that are looked into below the one that is named.
const DEPTH: usize = 16;

/// The folders of runs, and those that could not be looked into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Folders of runs.
    pub runs: Vec<PathBuf>,
    /// Folders that could not be read.
    pub skipped: Vec<Skipped>,
}

/// The folders of the runs in `paths`, in their order and each once: each path is a run's folder, or a folder with runs
/// at any depth below it (such as `clapp sweep` makes), which are then taken by name. Hidden folders and links to folders
/// without a run are not looked into.
///
/// # Errors
/// [`Error::Run`] if there is no run in a path, [`Error::File`] if it cannot be read.
pub fn find(paths: &[PathBuf]) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    for path in paths {
        let mut below = Found::default();
        if path.join(RUN).is_file() {
            below.runs.push(path.clone());
        } else {
            look_into(path, DEPTH, &mut below).map_err(Error::file("read", path))?;
        }
        if below.runs.is_empty() {
            let message = format!("no {RUN} in it, nor in a folder below it: expected a run of `clapp train`");
            return Err(Error::Run { path: path.clone(), message });
        }
        below.runs.sort();
        below.runs.retain(|run| seen.insert(run.canonicalize().unwrap_or_else(|_| run.clone())));
        found.runs.extend(below.runs);
        found.skipped.extend(below.skipped);
    }
    Ok(found)
}

fn look_into(folder: &Path, depth: usize, found: &mut Found) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if path.join(RUN).is_file() {
            found.runs.push(path);
            continue;
        }
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if depth > 0
            && !hidden
            && entry.file_type()?.is_dir()
            && let Err(error) = look_into(&path, depth - 1, found)
        {
            found.skipped.push(Skipped { folder: path, reason: format!("cannot be read: {error}") });
        }
    }
    Ok(())
}

/// Gives runs whose folders end in the same name as much more of their paths as tells them apart.
pub fn tell_apart(runs: &mut [Run]) {
    let tail = |run: &Run, parts: usize| {
        let all: Vec<String> =
            run.folder.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let most = runs.iter().map(|run| run.folder.components().count()).max().unwrap_or(0);
    let names = |runs: &[Run], parts| runs.iter().map(|run| tail(run, parts)).collect::<Vec<String>>();
    let last = names(runs, 1);
    let twice = |name: &String| last.iter().filter(|other| *other == name).count() > 1;
    let chosen: Vec<Option<String>> = (0..runs.len())
        .map(|index| {
            let differs = |parts: &usize| {
                let all = names(runs, *parts);
                all.iter().filter(|other| **other == all[index]).count() == 1
            };
            let parts = (2..=most).find(differs).filter(|_| twice(&last[index]))?;
            Some(tail(&runs[index], parts))
        })
        .collect();
    runs.iter_mut().zip(chosen).for_each(|(run, shown)| run.shown = shown);
}
