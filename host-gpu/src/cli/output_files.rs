//! Output files and folders that the command line names. Each is checked before any work, so that no output takes the
//! place of an input, of a file of a run, or of a file that `clapp` did not write.
//!
//! An option of type [`OutputFile`] or [`OutputFolder`] gives its path only after the check.

use clapp_data::error::Error;
use clapp_data::files::check_writable;
use clapp_engine::alignment::ALIGNMENT;
use clapp_engine::events::EVENTS;
use clapp_engine::probe;
use clapp_engine::run::{CHECKPOINT, CONFIG, METRICS};
use clapp_engine::run_info::{FAILURE, RUN};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Names of the files that a run keeps in its folder, beside those of its probes; names of event files begin with
/// [`EVENTS`].
pub const OF_RUN: [&str; 6] = [CHECKPOINT, CONFIG, METRICS, RUN, FAILURE, ALIGNMENT];

/// The option to replace a file of somebody else.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Force {
    /// Replace an output file that clapp did not write. An input, or a file of a run, is never replaced.
    #[arg(long)]
    pub force: bool,
}

/// How to recognise a file that `clapp` wrote: the first bytes of it, and a text within its first [`HEAD`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What such a file is, for messages: `a report`.
    pub what: &'static str,
    /// The first bytes.
    pub start: &'static [u8],
    /// A text behind them; of safetensors files, which begin with a length, the text at byte 8.
    pub within: &'static [u8],
}

/// How much of a file is looked at for its mark, in bytes.
pub const HEAD: u64 = 1 << 16;

impl Mark {
    /// A result of `clapp eval` (JSON).
    pub const PROBE: Self = Self::json("a result of `clapp eval`", b"\"clapp-probe/");
    /// A result of `clapp align` (JSON).
    pub const ALIGNMENT: Self = Self::json("a result of `clapp align`", b"\"clapp-alignment/");
    /// A page of `clapp report` (HTML).
    pub const REPORT: Self =
        Self { what: "a page of `clapp report`", start: b"<!DOCTYPE html>", within: b" \xc2\xb7 clapp report</title>" };
    /// A checkpoint (safetensors whose metadata have the entry `clapp`).
    pub const CHECKPOINT: Self = Self { what: "a checkpoint", start: b"", within: b"{\"__metadata__\":{\"clapp\":" };
    /// The weights of a probe (safetensors).
    pub const WEIGHTS: Self =
        Self { what: "the weights of a probe", start: b"", within: b"{\"__metadata__\":{\"clapp-probe\":" };
    /// Features of images (safetensors).
    pub const FEATURES: Self =
        Self { what: "a file of `clapp features`", start: b"", within: b"{\"__metadata__\":{\"clapp-features\":" };
    /// Features of images as an array, where the files beside it are there, too.
    pub const ARRAY: Self = Self { what: "an array of `clapp features`", start: b"\x93NUMPY", within: b"" };
    /// Names of images, beside such an array.
    pub const NAMES: Self = Self { what: "a list of `clapp features`", start: b"[", within: b"" };
    /// A picture of `clapp data check` (PNG with the text chunk `Software`).
    pub const SHEET: Self = Self { what: "a contact sheet", start: b"\x89PNG", within: b"Software\0clapp" };
    /// A script of `clapp sweep --slurm`.
    pub const SCRIPT: Self = Self {
        what: "a script of `clapp sweep`",
        start: b"#!/usr/bin/env bash\n",
        within: b"# Written by `clapp sweep`",
    };
    /// The page of `clapp paper all` (Markdown).
    pub const PAGE: Self =
        Self { what: "a page of experiments", start: clapp_lab::paper::page::TITLE.as_bytes(), within: b"" };
    /// The page of one experiment, beside it (Markdown).
    pub const EXPERIMENT: Self =
        Self { what: "a page of an experiment", start: b"# ", within: clapp_lab::paper::page::WRITTEN.as_bytes() };
    /// A finding of `clapp paper` (JSON).
    pub const FINDING: Self = Self::json("a finding of `clapp paper`", b"\"clapp-finding/");
    /// The description of a run (JSON).
    pub const RUN: Self = Self::json("the description of a run", b"\"clapp-run/");
    /// A configuration (TOML with [`WRITTEN`] as its first line).
    pub const CONFIG: Self = Self { what: "a configuration by clapp", start: WRITTEN.as_bytes(), within: b"" };
    /// An image of a device's flash.
    pub const FLASH: Self =
        Self { what: "an image of a device's flash", start: &clapp_core::checkpoint::MAGIC, within: b"" };
    /// Nothing tells who wrote such a file.
    pub const NONE: Self = Self { what: "known to be of clapp", start: b"", within: b"" };

    /// JSON whose `format` begins so.
    pub const fn json(what: &'static str, format: &'static [u8]) -> Self {
        Self { what, start: b"{", within: format }
    }

    /// Whether the file has it. An empty file holds nothing that could be lost.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read.
    pub fn is_on(self, path: &Path) -> Result<bool, Error> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map_err(Error::file("read", path))?;
        let within = match (self.start, self.within) {
            (_, b"") => true,
            // Anywhere else it may be of a file that is packed into this one.
            (b"", within) => head.get(8..).is_some_and(|rest| rest.starts_with(within)),
            (_, within) => head.windows(within.len()).any(|part| part == within),
        };
        Ok(head.is_empty() || (self != Self::NONE && head.starts_with(self.start) && within))
    }
}

/// The first line of a configuration that a command other than `train` wrote.
pub const WRITTEN: &str = "# Written by `clapp";

/// What a command reads and may not replace, and how far it may go.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    kept: Vec<PathBuf>,
    data: Vec<PathBuf>,
    force: bool,
}

impl Guard {
    /// With nothing to read yet.
    pub fn new(force: Force) -> Self {
        Self { force: force.force, ..Self::default() }
    }

    /// The same with more inputs, files or folders.
    pub fn keep<'a>(mut self, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        self.kept.extend(paths.into_iter().map(Path::to_path_buf));
        self
    }

    /// The same with more data sets: nothing is written into the folder of one, where it would be taken for a part of the
    /// set the next time.
    pub fn keep_data<'a>(mut self, sets: impl IntoIterator<Item = &'a Path>) -> Self {
        self.data.extend(sets.into_iter().map(Path::to_path_buf));
        let sets = self.data.clone();
        self.keep(sets.iter().map(PathBuf::as_path))
    }

    /// The same with other outputs of the command: two outputs are never one file.
    pub fn keep_outputs<'a>(self, outputs: impl IntoIterator<Item = &'a OutputFile>) -> Self {
        let paths: Vec<&Path> = outputs.into_iter().map(|output| output.0.as_path()).collect();
        self.keep(paths)
    }

    /// Refuses to write `path`, as `option` asks, over an input, a file of a run, or a file without the mark.
    ///
    /// # Errors
    /// [`Error::Config`] with the option and what to do; [`Error::File`] where the file cannot be written.
    pub fn check(&self, option: &str, path: &Path, mark: Mark) -> Result<(), Error> {
        self.check_all(option, path, mark, false)
    }

    /// As [`Guard::check`], where `path` may be the run's own file for just this result.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub fn check_result(&self, option: &str, path: &Path, mark: Mark) -> Result<(), Error> {
        self.check_all(option, path, mark, true)
    }

    fn check_all(&self, option: &str, path: &Path, mark: Mark, may_be_of_run: bool) -> Result<(), Error> {
        // Before it is opened: it may be a pipe.
        check_writable(path)?;
        let is_there = path.exists();
        let is_ours = is_there && mark.is_on(path)?;
        let is_input = self.kept.iter().any(|kept| same(kept, path));
        if is_input || (is_there && !is_ours && self.kept.iter().any(|kept| kept.is_dir() && is_below(kept, path))) {
            return refused(
                option,
                path,
                "is an input or another output of this command; name another file for the result",
            );
        }
        if !may_be_of_run {
            if is_of_run(path) {
                return refused(option, path, "is a file of a run; name another file");
            }
            self.check_outside(option, path)?;
        }
        if is_there && !is_ours && !self.force {
            let message =
                format!("is there already and is not {}; name another file, or replace it with --force", mark.what);
            return refused(option, path, &message);
        }
        Ok(())
    }

    /// As [`Guard::check`], for a file that is replaced only with `--overwrite`.
    ///
    /// # Errors
    /// As [`Guard::check`], and where a file is there that is not to be replaced.
    pub fn check_new(&self, option: &str, path: &Path, mark: Mark, overwrite: bool) -> Result<(), Error> {
        self.check(option, path, mark)?;
        if path.exists() && !overwrite && !self.force {
            return refused(option, path, "exists already; name another file, or replace it with --overwrite");
        }
        Ok(())
    }

    /// Refuses a folder for files that is a file, or an input by itself.
    ///
    /// # Errors
    /// [`Error::Config`] with the option.
    pub fn check_folder(&self, option: &str, folder: &Path) -> Result<(), Error> {
        if folder.exists() && !folder.is_dir() {
            return refused(option, folder, "is not a folder; name a folder, which may be a new one");
        }
        if self.kept.iter().any(|kept| same(kept, folder)) {
            return refused(option, folder, "is an input; name another folder");
        }
        self.check_outside(option, folder)
    }

    /// Refuses a place in the folder of a data set, or below it.
    fn check_outside(&self, option: &str, path: &Path) -> Result<(), Error> {
        let place = resolved(path);
        let around = |set: &&PathBuf| set.is_dir() && set.canonicalize().is_ok_and(|set| place.starts_with(set));
        match self.data.iter().find(around) {
            None => Ok(()),
            Some(set) => refused(
                option,
                path,
                &format!(
                    "lies in the folder of the data set ({}), where it could be taken for a part of the set the next time; \
                     name a place outside of it",
                    set.display()
                ),
            ),
        }
    }

    /// Whether a path is one of the inputs.
    pub fn keeps(&self, path: &Path) -> bool {
        self.kept.iter().any(|kept| same(kept, path))
    }
}

/// A file that a command is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile(PathBuf);

impl OutputFile {
    /// The file of the same name with another ending.
    pub fn with_extension(&self, extension: &str) -> Self {
        Self(self.0.with_extension(extension))
    }

    /// Whether it is there already.
    pub fn is_there(&self) -> bool {
        self.0.is_file()
    }

    /// The ending of its name.
    pub fn extension(&self) -> &str {
        self.0.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// Its path, after [`Guard::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, option: &str, mark: Mark, guard: &Guard) -> Result<&Path, Error> {
        guard.check(option, &self.0, mark).map(|()| self.0.as_path())
    }

    /// Its path, after [`Guard::check_new`].
    ///
    /// # Errors
    /// As there.
    pub fn check_new(&self, option: &str, mark: Mark, guard: &Guard, overwrite: bool) -> Result<&Path, Error> {
        guard.check_new(option, &self.0, mark, overwrite).map(|()| self.0.as_path())
    }

    /// Its path, after [`Guard::check_result`] where it is `own`, the run's own file for this result, and else after
    /// [`Guard::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check_result(&self, option: &str, mark: Mark, guard: &Guard, own: &Path) -> Result<&Path, Error> {
        if same(&self.0, own) {
            guard.check_result(option, &self.0, mark).map(|()| self.0.as_path())
        } else {
            self.check(option, mark, guard)
        }
    }
}

/// A folder that a command is to write files into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFolder(PathBuf);

impl OutputFile {
    /// Its path, where the file is written into without being replaced, by whoever recognises its contents.
    ///
    /// # Errors
    /// [`Error::Config`] where it is an input, another output, or a file of a run.
    pub fn check_held(&self, option: &str, guard: &Guard) -> Result<&Path, Error> {
        let Self(path) = self;
        if guard.keeps(path) || is_of_run(path) {
            return refused(
                option,
                path,
                "is an input, another output of this command, or a file of a run; name another file",
            );
        }
        guard.check_outside(option, path)?;
        Ok(path)
    }
}

impl OutputFolder {
    /// Whether a run is in it already.
    pub fn is_run(&self) -> bool {
        self.0.join(CHECKPOINT).is_file()
    }

    /// As it was given, for a command that checks it itself.
    pub fn to_os_string(&self) -> OsString {
        self.0.clone().into_os_string()
    }

    /// Its path, after [`Guard::check_folder`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, option: &str, guard: &Guard) -> Result<&Path, Error> {
        guard.check_folder(option, &self.0).map(|()| self.0.as_path())
    }
}

impl From<OsString> for OutputFile {
    fn from(path: OsString) -> Self {
        Self(path.into())
    }
}

impl From<OsString> for OutputFolder {
    fn from(path: OsString) -> Self {
        Self(path.into())
    }
}

impl fmt::Display for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl fmt::Display for OutputFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The files of a run that is in a folder, for [`Guard::keep`]: they may have other names.
pub fn files_of_run(folder: &Path) -> Vec<PathBuf> {
    OF_RUN
        .map(String::from)
        .into_iter()
        .chain(probe::files())
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// The error of an output.
fn refused<T>(option: &str, path: &Path, message: &str) -> Result<T, Error> {
    Err(Error::Config { origin: option.into(), message: format!("{} {message}", path.display()) })
}

/// Whether a path, or what it links to, is one of the files of a run that is there.
pub fn is_of_run(path: &Path) -> bool {
    let path = resolved(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new("."));
    let has_name =
        OF_RUN.contains(&name.as_str()) || probe::files().any(|of_probe| name == of_probe) || name.starts_with(EVENTS);
    has_name && [CHECKPOINT, RUN].iter().any(|name| folder.join(name).is_file())
}

/// Whether two paths are one file or folder, through links of either kind, or would be once they are there.
fn same(one: &Path, other: &Path) -> bool {
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => resolved(one) == resolved(other),
        _ => false,
    }
}

/// Device and number of what lies at a path.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// What lies at a path, by its only name.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// The path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    // A link to nowhere is replaced itself.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let known = |folder: &Path| folder.canonicalize().ok().map(|known| (folder.to_path_buf(), known));
    let Some((folder, known)) = path.ancestors().skip(1).find_map(known) else { return path };
    // What is not there yet has no links.
    let mut found = known;
    for part in path.strip_prefix(&folder).unwrap_or(&path).components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
    }
    found
}

/// Whether a file lies in a folder, or below it, by its own name or another one.
fn is_below(folder: &Path, file: &Path) -> bool {
    let Ok(root) = folder.canonicalize() else { return false };
    if resolved(file).starts_with(&root) {
        return true;
    }
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        // A folder that cannot be read gives no input either.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) if same(&entry.path(), file) => return true,
                _ => {}
            }
        }
    }
    false
}
