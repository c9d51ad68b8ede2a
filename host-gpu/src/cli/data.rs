//! `clapp data check`: checks that a data set is complete, and draws samples of it.

use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile, OutputFolder};
use clap::{Args, Subcommand};
use clapp_data::augment::ViewAugment;
use clapp_data::data::cifar::Want;
use clapp_data::data::{Checked, Dataset, Holdout, Opening, contact_sheet, open_as, published, some_of};
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_data::words::counted;
use clapp_engine::config::{Config, check_division};
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Seed of the views on a contact sheet: the presets' seed.
const SEED: u64 = 2;

/// Arguments of `clapp data`.
#[derive(Debug, Args)]
pub struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Recognise a data set, count its images, verify sizes and checksums, and decode every image.
    #[command(
        after_help = "Exit codes: 0 the set is complete (the last line begins with `ok`); 1 the set can be used, but images are left \
                            out, or a class cannot be learnt or tested (the last line begins with `usable`); 2 the set cannot be used."
    )]
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Data set as downloaded: folder or archive.
    path: PathBuf,
    /// Write a picture (PNG) with images of each class and pairs of augmented views.
    #[arg(long, value_name = "FILE")]
    contact_sheet: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    cache: CacheArguments,
}

/// Options for opening a data set.
#[derive(Debug, Clone, Default, Args)]
pub struct CacheArguments {
    /// Folder for the unpacked copy of an archive that does not allow random access (STL-10's tar.gz) [default: beside
    /// the archive, or the user's cache folder if that place is read-only; `data check` then removes the copy again].
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<OutputFolder>,
    /// Accept a part of CIFAR-10: the test batch and at least one of the five training batches. The name of the set
    /// then lists the batches (in run.json and in all outputs).
    #[arg(long)]
    pub partial: bool,
    /// Skip images that cannot be used: damaged files and unsupported formats. The program first decodes all images and
    /// lists the bad ones. A run records their names in run.json, and its evaluation skips them too.
    #[arg(long)]
    pub skip_bad: bool,
    /// For class folders without train and val: train on this share of each class (0.8: four fifths) and test on the
    /// rest. The file names decide, so the split is the same on every machine. A run keeps it for its evaluation.
    #[arg(long, value_name = "SHARE")]
    pub split: Option<f64>,
    /// Seed of --split [default: the run's seed; in a sweep, the configuration's seed for all runs; 2 for data check,
    /// device and paper].
    #[arg(long, value_name = "SEED")]
    pub split_seed: Option<u64>,
    /// `true` if the split comes from a run's configuration, not from the command line.
    #[arg(skip)]
    split_of_run: bool,
}

impl CacheArguments {
    /// Returns the folder for unpacked copies, if one is named.
    ///
    /// # Errors
    /// [`Error::Config`] if it is a file.
    pub fn folder(&self) -> Result<Option<&Path>, Error> {
        self.cache.as_ref().map(|folder| folder.check("--cache", &Guard::default())).transpose()
    }

    /// Returns the options that the configuration does not keep, as a user would type them.
    pub fn options(&self) -> String {
        let cache = self.cache.as_ref().map(|path| format!(" --cache {path}")).unwrap_or_default();
        cache + if self.partial { " --partial" } else { "" }
    }

    /// Returns [`CacheArguments::options`] as separate words.
    pub fn list(&self) -> Vec<OsString> {
        let cache = self.cache.iter().flat_map(|path| ["--cache".into(), path.to_os_string()]);
        cache.chain(self.partial.then(|| "--partial".into())).collect()
    }

    /// Writes the given options into a run's configuration. The run and its evaluation read them there.
    pub fn configure(&self, config: &mut Config) {
        config.split = self.split.or(config.split);
        config.split_seed = self.split_seed.or(config.split_seed);
        config.skip_bad |= self.skip_bad;
    }

    /// Returns the origin for errors about the split: the option if it is given, else the configuration.
    pub fn origin<'a>(&self, configuration: &'a str) -> &'a str {
        if self.split.is_some() || self.split_seed.is_some() { "--split" } else { configuration }
    }

    /// Returns the arguments for the images of a run of `config`, with the run's own split.
    ///
    /// # Errors
    /// [`Error::Config`] where another one is asked for, or the division makes no sense.
    pub fn of_run(&self, config: &Config) -> Result<Self, Error> {
        let mut own = config.clone();
        self.configure(&mut own);
        check_division(own.split, own.split_seed, self.origin(&config.name))?;
        let seed = own.split_seed.unwrap_or(config.seed);
        if let Some(split) = config.split {
            let known = (split, config.split_seed.unwrap_or(config.seed));
            if (own.split.unwrap_or(split), seed) != known {
                let message = format!(
                    "the run was trained on a split of {} with seed {}; another one would test it on images that it has \
                     learnt from. Leave --split and --split-seed out",
                    known.0, known.1
                );
                return Err(Error::Config { origin: "--split".into(), message });
            }
        }
        Ok(Self {
            cache: self.cache.clone(),
            partial: self.partial,
            skip_bad: own.skip_bad,
            split: own.split,
            split_seed: own.split.map(|_| seed),
            split_of_run: self.split.is_none() && own.split.is_some(),
        })
    }

    fn opening(&self, once: bool) -> Result<Opening<'_>, Error> {
        check_division(self.split, self.split_seed, "--split")?;
        let holdout =
            self.split.map(|share| Holdout { share, seed: self.split_seed.unwrap_or(SEED), of_run: self.split_of_run });
        let want = if self.partial { Want::Part } else { Want::Whole };
        Ok(Opening { cache: self.folder()?, once, want, holdout })
    }

    /// Opens the set at `path`. Decodes all encoded images first if bad images are skipped, or if the set has at most
    /// 20,000 images. A bad image then cannot end the work half-way.
    ///
    /// # Errors
    /// If the set cannot be read, or has bad images that are not skipped.
    pub fn open(&self, path: &Path) -> Result<Dataset, Error> {
        let data = open_as(path, self.opening(false)?)?;
        if !data.train.is_encoded() || !(self.skip_bad || data.train.len() + data.test.len() <= CHECKED) {
            return Ok(data);
        }
        self.settle(data).map(|(data, _)| data)
    }

    /// Decodes every image. Removes the bad images if they are skipped.
    fn settle(&self, data: Dataset) -> Result<(Dataset, Checked), Error> {
        let bar = ProgressBar::new((data.train.len() + data.test.len()) as u64);
        if let Ok(style) = ProgressStyle::with_template("decoding {bar:24} {pos}/{len} images ({eta} left)") {
            bar.set_style(style);
        }
        let mut checked = data.check_images(|| bar.inc(1));
        bar.finish_and_clear();
        if checked.bad.is_empty() {
            return Ok((data, checked));
        }
        if !self.skip_bad {
            return Err(checked.refusal(true).into());
        }
        let summary =
            Checked { all: checked.all, formats: checked.formats.clone(), sizes: checked.sizes, bad: Vec::new() };
        checked.formats.clear();
        Ok((data.without(checked)?, summary))
    }
}

/// Largest set, in images, that is decoded as a whole before work on it begins.
const CHECKED: usize = 20_000;

/// Returns the warnings and notes about a set, one line each: files left out, images skipped, classes that cannot be
/// learnt or tested. Empty if there are none.
pub(crate) fn remarks(data: &Dataset) -> Vec<String> {
    let mut lines: Vec<String> =
        data.left_out.iter().map(|entry| format!("{}left out: {}", mark(entry.lost), entry.line())).collect();
    if !data.skipped.is_empty() {
        lines.push(format!(
            "skipped bad images ({}): {}",
            data.skipped.len(),
            some_of(&data.skipped, data.skipped.len())
        ));
    }
    lines.extend(data.warnings().iter().map(|warning| format!("{}{warning}", mark(true))));
    lines
}

fn mark(warning: bool) -> &'static str {
    if warning { "warning: " } else { "" }
}

/// Runs `clapp data`. Exit code 0: the set is complete. 1: the set can be used, but images are missing or a class
/// cannot be learnt or tested.
///
/// # Errors
/// If the set cannot be used or the contact sheet cannot be written.
pub fn run(arguments: &DataArguments) -> Result<u8, Error> {
    let DataCommand::Check(check) = &arguments.command;
    let guard = Guard::new(check.force).keep_data([check.path.as_path()]);
    let sheet = check.contact_sheet.as_ref();
    let sheet = sheet.map(|sheet| sheet.check("--contact-sheet", Mark::SHEET, &guard)).transpose()?;
    let data = open_as(&check.path, check.cache.opening(check.cache.cache.is_none())?)?;
    say(&data.source)?;
    for (file, known) in published::files(&check.path, data.set()) {
        say(checksum(&file, known)?)?;
    }
    let left_out = remarks(&data);
    let decoded = if data.train.is_encoded() {
        match check.cache.settle(data.clone()) {
            Ok((data, checked)) => Some((data, checked)),
            Err(error) => {
                // Print the other warnings too.
                left_out.iter().try_for_each(say)?;
                return Err(error);
            }
        }
    } else {
        None
    };
    let (data, checked) = match decoded {
        Some((data, checked)) => (data, Some(checked)),
        None => (data, None),
    };
    say(table(&data, checked.as_ref()))?;
    remarks(&data).iter().try_for_each(say)?;
    if let Some(path) = sheet {
        write_atomically(path, &contact_sheet(&data, &views(&data), SEED)?)?;
        say(format!("wrote {}", path.display()))?;
    }
    let warnings = data.left_out.warnings() + data.warnings().len();
    if warnings == 0 {
        say(match data.skipped.len() {
            0 => "ok".into(),
            skipped => format!("ok without the {}", counted(skipped, "bad image")),
        })?;
        return Ok(0);
    }
    say(format!("usable, with {}", counted(warnings, "warning")))?;
    Ok(1)
}

/// Returns the paper's augmentation for this set, or for the most similar one.
fn views(data: &Dataset) -> ViewAugment {
    match (data.set(), data.shape()) {
        ("cifar10", _) => ViewAugment::cifar10(),
        ("cifar100", _) => ViewAugment::cifar100(),
        ("stl10", _) => ViewAugment::stl10(),
        ("tiny-imagenet", _) => ViewAugment::tiny_imagenet(),
        (_, Some(shape)) if shape.channels == 1 => ViewAugment::grey_images(shape.height, &data.mean, &data.std),
        _ => ViewAugment::imagenet(),
    }
}

/// Largest number of classes that a table lists one by one.
const MOST_ROWS: usize = 20;

/// Returns the lines about classes, with their images, sizes and formats.
fn table(data: &Dataset, checked: Option<&Checked>) -> String {
    let [train, test] = data.counts();
    let range = |counts: &[usize]| match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "0".into(),
    };
    let folds = if data.folds.is_empty() { String::new() } else { format!("; {}", counted(data.folds.len(), "fold")) };
    let mut lines = vec![format!(
        "{}, {}with {} training and {}{folds}",
        counted(data.classes.len(), "class"),
        if data.classes.len() == 1 { "" } else { "each " },
        range(&train),
        counted(range(&test), "test image")
    )];
    let shown = data.classes.len().min(MOST_ROWS);
    let width = data.classes[..shown].iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(5, 40);
    lines.push(format!("  {:<width$}  {:>8}  {:>8}", "class", "training", "test"));
    for (name, counts) in data.classes.iter().zip(train.iter().zip(&test)).take(shown) {
        lines.push(format!("  {name:<width$}  {:>8}  {:>8}", counts.0, counts.1));
    }
    if data.classes.len() > shown {
        lines.push(format!("  and {}", counted(data.classes.len() - shown, "more class")));
    }
    lines.push(format!("  {:<width$}  {:>8}  {:>8}", "all", data.train.len(), data.test.len()));
    match checked {
        Some(checked) => {
            let formats: Vec<String> = checked.formats.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let good = data.train.len() + data.test.len();
            lines.push(format!("decoded all {}: {}", counted(checked.all, "image"), checked.size()));
            lines.push(format!("formats of {}: {}", counted(good, "image"), formats.join(", ")));
        }
        None => lines.extend(data.shape().map(|shape| {
            let kind = if shape.channels == 1 { "grey" } else { "colour" };
            format!("size of every image: {} x {}, {kind}, raw bytes", shape.height, shape.width)
        })),
    }
    lines.join("\n")
}

/// Returns a line about the checksum of a file. A different checksum is not an error: a set can be packed again without
/// loss.
fn checksum(path: &Path, published: Option<&str>) -> Result<String, Error> {
    let len = std::fs::metadata(path).map_err(Error::file("read", path))?.len();
    let bar = ProgressBar::new(len);
    let found = published::md5(path, |read| bar.inc(read)).map_err(Error::file("read", path))?;
    bar.finish_and_clear();
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(match published {
        Some(known) if known == found => format!("{name}: {len} bytes, md5 as published"),
        Some(known) => format!("{name}: {len} bytes; note: not the published file: md5 {found}, published {known}"),
        None => format!("{name}: {len} bytes, md5 {found}; none is published"),
    })
}
