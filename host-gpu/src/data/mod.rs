//! Data sets: 8-bit images with labels, read from the official files or generated.
//!
//! A [`Split`] gives any of its images to any thread, from memory or from files of any size.
//!
//! [`open`] recognises what lies at a path; each format is one file of this module. A new format is a new
//! file and one line in [`open`].

use std::path::Path;

use clapp_core::shape::Shape;

pub mod cifar;
mod error;
mod files;
pub mod generated;
pub mod idx;
mod images;
mod split;

pub use error::DataError;
pub use split::Split;

/// An image set with its parts.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Short name of the set, such as `cifar10`, `idx` or `shapes`.
    pub name: String,
    /// What was read, from where, and how many images of each part, in one line for logs.
    pub source: String,
    /// Name of each class; labels index it.
    pub classes: Vec<String>,
    /// Mean of each channel over training pixels scaled to `[0, 1]`.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over training pixels scaled to `[0, 1]`; never 0.
    pub std: Vec<f32>,
    /// Images to pre-train on, with or without labels: those of `train` where the set has no others.
    pub pretrain: Split,
    /// Labelled images to train the probe on.
    pub train: Split,
    /// Labelled images to evaluate on.
    pub test: Split,
}

impl Dataset {
    /// Shape of every image; `None` where they differ or are not known before they are decoded.
    pub fn shape(&self) -> Option<Shape> {
        self.train.shape()
    }

    /// Channels of every image: 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.train.channels()
    }
}

/// Reads the data set at `path`, whatever its format.
///
/// Recognised are a folder with the CIFAR-10 binary batches (or its parent), the official
/// `cifar-10-binary.tar.gz` (or a folder that holds it), and a folder with the four IDX files of MNIST and its
/// kin, plain or gzipped (or the root of torchvision's copy, with the files in `MNIST/raw`).
///
/// # Errors
/// [`DataError`]; the message says what was found, what was expected, and where the official files are.
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    if !files::is_folder(path)? {
        return if files::is_gzip(path)? {
            cifar::read_archive(path)
        } else {
            Err(DataError::Unrecognised { path: path.into(), found: "a file that is not gzipped".into() })
        };
    }
    for folder in [path.to_path_buf(), path.join(cifar::FOLDER)] {
        if files::holds_any(&folder, &cifar::FILES)? {
            return cifar::read_folder(&folder);
        }
    }
    let archive = path.join(cifar::ARCHIVE);
    if files::exists(&archive)? {
        return cifar::read_archive(&archive);
    }
    for folder in [path.to_path_buf(), path.join("MNIST/raw"), path.join("FashionMNIST/raw")] {
        if idx::is_here(&folder)? {
            return idx::read_folder(&folder);
        }
    }
    Err(DataError::Unrecognised { path: path.into(), found: files::describe(path)? })
}
