//! `clapp data check`: whether a data set is whole, and what it looks like.

use super::output::say;
use crate::augment::ViewAugment;
use crate::data::{DataError, Dataset, Split, contact_sheet, open_once, open_part, open_with, published};
use crate::error::Error;
use crate::files::{check_writable, write_atomically};
use clap::{Args, Subcommand};
use clapp_core::shape::Shape;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Seed of the views on a contact sheet: that of the presets.
const SEED: u64 = 2;

/// Arguments of `clapp data`.
#[derive(Debug, Args)]
pub struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Recognise a data set, count its images, verify sizes and checksums, decode every image.
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Data set as downloaded: folder or archive.
    path: PathBuf,
    /// Write a picture (PNG) with images of each class and pairs of augmented views.
    #[arg(long, value_name = "FILE")]
    contact_sheet: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
}

/// Where unpacked copies of archives go.
#[derive(Debug, Clone, Default, Args)]
pub struct CacheArguments {
    /// Folder for the unpacked copy of an archive that cannot be read by position (STL-10's tar.gz) [default: beside
    /// the archive, or the user's cache folder where that is read-only; `data check` then removes it again].
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Be content with a part of CIFAR-10: the test batch and at least one of the five training batches. The set's name,
    /// in run.json and everywhere else, then lists the batches.
    #[arg(long)]
    pub partial: bool,
}

impl CacheArguments {
    /// Opens the set at `path` as these options say.
    ///
    /// # Errors
    /// As [`open_with`].
    pub fn open(&self, path: &Path) -> Result<Dataset, DataError> {
        let open = if self.partial { open_part } else { open_with };
        open(path, self.cache.as_deref())
    }

    /// The options that choose the same again.
    pub fn options(&self) -> String {
        let cache = self.cache.as_ref().map(|path| format!(" --cache {}", path.display())).unwrap_or_default();
        cache + if self.partial { " --partial" } else { "" }
    }
}

/// Runs `clapp data`.
///
/// # Errors
/// Where the set is not whole or the contact sheet cannot be written.
pub fn run(arguments: &DataArguments) -> Result<u8, Error> {
    let DataCommand::Check(check) = &arguments.command;
    if let Some(path) = &check.contact_sheet {
        check_writable(path)?;
    }
    let data = match &check.cache {
        CacheArguments { cache: None, partial: false } => open_once(&check.path)?,
        given => given.open(&check.path)?,
    };
    say(&data.source)?;
    say(classes(&data))?;
    for (file, known) in published::files(&check.path, data.set()) {
        say(checksum(&file, known)?)?;
    }
    if data.shape().is_none() {
        say(decode_all(&data)?)?;
    }
    if let Some(path) = &check.contact_sheet {
        write_atomically(path, &contact_sheet(&data, &views(&data), SEED)?)?;
        say(format!("wrote {}", path.display()))?;
    }
    say("ok")?;
    Ok(0)
}

/// The views that the paper draws of this set, or of the one that is most like it.
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

/// How many classes there are, and images of each.
fn classes(data: &Dataset) -> String {
    let range = |split: &Split| {
        let mut counts = vec![0_usize; data.classes.len()];
        split.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
        match (counts.iter().min(), counts.iter().max()) {
            (Some(least), Some(most)) if least == most => least.to_string(),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            _ => "0".into(),
        }
    };
    let folds = if data.folds.is_empty() { String::new() } else { format!("; {} folds", data.folds.len()) };
    format!(
        "{} classes, each with {} training and {} test images{folds}",
        data.classes.len(),
        range(&data.train),
        range(&data.test)
    )
}

/// What the checksum of a file says. One that differs is no failure: a set may be packed anew without loss.
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

/// Decodes every image; says how many there are and of which sizes.
fn decode_all(data: &Dataset) -> Result<String, Error> {
    let parts = [&data.train, &data.test];
    let all: usize = parts.iter().map(|split| split.len()).sum();
    let bar = ProgressBar::new(all as u64);
    if let Ok(style) = ProgressStyle::with_template("decoding {bar:24} {pos}/{len} images ({eta} left)") {
        bar.set_style(style);
    }
    let mut sizes: Option<[Shape; 2]> = None;
    let mut bad = Vec::new();
    for split in parts {
        let read = |pixels: &mut Vec<u8>, image: usize| {
            bar.inc(1);
            split.read(image, pixels)
        };
        // In the order of the images, on any number of threads.
        let found: Vec<Result<Shape, DataError>> = (0..split.len()).into_par_iter().map_init(Vec::new, read).collect();
        for shape in found {
            match shape {
                Ok(shape) => {
                    sizes = Some(sizes.map_or([shape; 2], |[least, most]| [smaller(least, shape), larger(most, shape)]))
                }
                Err(error) => bad.push(error),
            }
        }
    }
    bar.finish_and_clear();
    let count = bad.len();
    if let Some(first) = bad.into_iter().next() {
        return Err(DataError::Images { bad: count, all, first: Box::new(first) }.into());
    }
    let [least, most] = sizes.unwrap_or([Shape::new(3, 0, 0); 2]);
    let size = if least == most {
        format!("{} x {}", least.height, least.width)
    } else {
        format!("{} to {} high and {} to {} wide", least.height, most.height, least.width, most.width)
    };
    Ok(format!("decoded all {all} images: {size}"))
}

fn smaller(a: Shape, b: Shape) -> Shape {
    Shape::new(a.channels, a.height.min(b.height), a.width.min(b.width))
}

fn larger(a: Shape, b: Shape) -> Shape {
    Shape::new(a.channels, a.height.max(b.height), a.width.max(b.width))
}
