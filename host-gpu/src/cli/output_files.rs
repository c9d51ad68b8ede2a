//! Output files and folders of the command line. Each is checked before any work: no output replaces an input, a file
//! of a run, or a file that `clapp` did not write.
//!
//! An option of type [`OutputFile`] or [`OutputFolder`] returns its path only after the check.

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

/// Names of the files in a run's folder, without those of its probes. Names of event files begin with [`EVENTS`].
pub const OF_RUN: [&str; 6] = [CHECKPOINT, CONFIG, METRICS, RUN, FAILURE, ALIGNMENT];

/// The option to replace a file that clapp did not write.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Force {
    /// Replace an output file that clapp did not write. An input, or a file of a run, is never replaced.
    #[arg(long)]
    pub force: bool,
}

/// A mark of files that `clapp` wrote: their first bytes, and a text within the first [`HEAD`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Name of such a file in messages: `a report`.
    pub what: &'static str,
    /// The first bytes.
    pub start: &'static [u8],
    /// A text after the first bytes. Safetensors files begin with a length; their text is at byte 8.
    pub within: &'static [u8],
}

/// Number of bytes of a file that are searched for its mark.
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
    /// Features of images as an array. The files beside it must exist too.
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
    /// Files without a mark: nothing shows who wrote them.
    pub const NONE: Self = Self { what: "known to be of clapp", start: b"", within: b"" };

    /// JSON with a `format` that begins with this text.
    pub const fn json(what: &'static str, format: &'static [u8]) -> Self {
        Self { what, start: b"{", within: format }
    }

    /// Returns `true` if the file has the mark, or is empty: an empty file can be replaced without loss.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn is_on(self, path: &Path) -> Result<bool, Error> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map_err(Error::file("read", path))?;
        let within = match (self.start, self.within) {
            (_, b"") => true,
            // At another position, the text may belong to a file packed into this one.
            (b"", within) => head.get(8..).is_some_and(|rest| rest.starts_with(within)),
            (_, within) => head.windows(within.len()).any(|part| part == within),
        };
        Ok(head.is_empty() || (self != Self::NONE && head.starts_with(self.start) && within))
    }
}

/// The first line of a configuration that a command other than `train` wrote.
pub const WRITTEN: &str = "# Written by `clapp";

/// The inputs of a command, which it must not replace, and its permission to replace other files.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    kept: Vec<PathBuf>,
    data: Vec<PathBuf>,
    force: bool,
}

impl Guard {
    /// Makes a guard without inputs.
    pub fn new(force: Force) -> Self {
        Self { force: force.force, ..Self::default() }
    }

    /// Adds inputs: files or folders.
    pub fn keep<'a>(mut self, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        self.kept.extend(paths.into_iter().map(Path::to_path_buf));
        self
    }

    /// Adds data sets. A command writes nothing into the folder of a data set, because the next command would read the
    /// output as a part of the set.
    pub fn keep_data<'a>(mut self, sets: impl IntoIterator<Item = &'a Path>) -> Self {
        self.data.extend(sets.into_iter().map(Path::to_path_buf));
        let sets = self.data.clone();
        self.keep(sets.iter().map(PathBuf::as_path))
    }

    /// Adds other outputs of the command. Two outputs are never the same file.
    pub fn keep_outputs<'a>(self, outputs: impl IntoIterator<Item = &'a OutputFile>) -> Self {
        let paths: Vec<&Path> = outputs.into_iter().map(|output| output.0.as_path()).collect();
        self.keep(paths)
    }

    /// Refuses to write `path`, as `option` asks, over an input, a file of a run, or a file without the mark.
    ///
    /// # Errors
    /// [`Error::Config`] with the option and what to do; [`Error::File`] if the file cannot be written.
    pub fn check(&self, option: &str, path: &Path, mark: Mark) -> Result<(), Error> {
        self.check_all(option, path, mark, false)
    }

    /// Like [`Guard::check`], but `path` may be the run's own file for this result.
    ///
    /// # Errors
    /// Same as [`Guard::check`].
    pub fn check_result(&self, option: &str, path: &Path, mark: Mark) -> Result<(), Error> {
        self.check_all(option, path, mark, true)
    }

    fn check_all(&self, option: &str, path: &Path, mark: Mark, may_be_of_run: bool) -> Result<(), Error> {
        // Check before opening: the file may be a pipe.
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

    /// Like [`Guard::check`], for a file that is replaced only with `--overwrite`.
    ///
    /// # Errors
    /// Same as [`Guard::check`], and if a file is there that is not to be replaced.
    pub fn check_new(&self, option: &str, path: &Path, mark: Mark, overwrite: bool) -> Result<(), Error> {
        self.check(option, path, mark)?;
        if path.exists() && !overwrite && !self.force {
            return refused(option, path, "exists already; name another file, or replace it with --overwrite");
        }
        Ok(())
    }

    /// Refuses an output folder that is a file or an input.
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
                    "lies in the folder of the data set ({}), and the next command could read it as a part of the set; \
                     name a place outside of it",
                    set.display()
                ),
            ),
        }
    }

    /// Returns `true` if a path is one of the inputs.
    pub fn keeps(&self, path: &Path) -> bool {
        self.kept.iter().any(|kept| same(kept, path))
    }
}

/// An output file of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile(PathBuf);

impl OutputFile {
    /// Returns the file of the same name with another extension.
    pub fn with_extension(&self, extension: &str) -> Self {
        Self(self.0.with_extension(extension))
    }

    /// Returns `true` if the file exists.
    pub fn is_there(&self) -> bool {
        self.0.is_file()
    }

    /// Returns the extension of its name.
    pub fn extension(&self) -> &str {
        self.0.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// Checks the file with [`Guard::check`] and returns its path.
    ///
    /// # Errors
    /// The errors of that check.
    pub fn check(&self, option: &str, mark: Mark, guard: &Guard) -> Result<&Path, Error> {
        guard.check(option, &self.0, mark).map(|()| self.0.as_path())
    }

    /// Checks the file with [`Guard::check_new`] and returns its path.
    ///
    /// # Errors
    /// The errors of that check.
    pub fn check_new(&self, option: &str, mark: Mark, guard: &Guard, overwrite: bool) -> Result<&Path, Error> {
        guard.check_new(option, &self.0, mark, overwrite).map(|()| self.0.as_path())
    }

    /// Checks the file and returns its path: with [`Guard::check_result`] if it is `own`, the run's own file for this
    /// result, else with [`Guard::check`].
    ///
    /// # Errors
    /// The errors of that check.
    pub fn check_result(&self, option: &str, mark: Mark, guard: &Guard, own: &Path) -> Result<&Path, Error> {
        if same(&self.0, own) {
            guard.check_result(option, &self.0, mark).map(|()| self.0.as_path())
        } else {
            self.check(option, mark, guard)
        }
    }
}

/// An output folder of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFolder(PathBuf);

impl OutputFile {
    /// Returns the path of a file that the command changes in place. The command itself checks the contents.
    ///
    /// # Errors
    /// [`Error::Config`] if it is an input, another output, or a file of a run.
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
    /// Returns `true` if the folder holds a run.
    pub fn is_run(&self) -> bool {
        self.0.join(CHECKPOINT).is_file()
    }

    /// Returns the path as given, for a command with its own checks.
    pub fn to_os_string(&self) -> OsString {
        self.0.clone().into_os_string()
    }

    /// Checks the folder with [`Guard::check_folder`] and returns its path.
    ///
    /// # Errors
    /// The errors of that check.
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

/// Returns the files of the run in a folder, for [`Guard::keep`]. Links can give them other names.
pub fn files_of_run(folder: &Path) -> Vec<PathBuf> {
    OF_RUN
        .map(String::from)
        .into_iter()
        .chain(probe::files())
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// Returns the error for an output.
fn refused<T>(option: &str, path: &Path, message: &str) -> Result<T, Error> {
    Err(Error::Config { origin: option.into(), message: format!("{} {message}", path.display()) })
}

/// Returns `true` if a path, or the target of its link, is a file of an existing run.
pub fn is_of_run(path: &Path) -> bool {
    let path = resolved(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new("."));
    let has_name =
        OF_RUN.contains(&name.as_str()) || probe::files().any(|of_probe| name == of_probe) || name.starts_with(EVENTS);
    has_name && [CHECKPOINT, RUN].iter().any(|name| folder.join(name).is_file())
}

/// Returns `true` if two paths are the same file or folder, directly or through links, or would be once created.
fn same(one: &Path, other: &Path) -> bool {
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => resolved(one) == resolved(other),
        _ => false,
    }
}

/// Returns the device and inode number of a path.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Returns the canonical path of a file or folder.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Resolves links in the part of the path that exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    // A broken link is replaced itself.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let known = |folder: &Path| folder.canonicalize().ok().map(|known| (folder.to_path_buf(), known));
    let Some((folder, known)) = path.ancestors().skip(1).find_map(known) else { return path };
    // A missing path has no links.
    let mut found = known;
    for part in path.strip_prefix(&folder).unwrap_or(&path).components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
    }
    found
}

/// Returns `true` if a file lies in a folder, or below it, directly or through links.
fn is_below(folder: &Path, file: &Path) -> bool {
    let Ok(root) = folder.canonicalize() else { return false };
    if resolved(file).starts_with(&root) {
        return true;
    }
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        // A folder that cannot be read is no input.
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
