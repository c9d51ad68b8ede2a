//! Data sets: 8-bit images with labels, read from the official files or generated.
//!
//! A [`Split`] gives any of its images to any thread, from memory or from files of any size.
//!
//! [`open()`] recognises the data set at a path. Each format is one file of this module. A new format is a new file and
//! one line in `format.rs`.

use clapp_core::shape::Shape;

mod archive;
mod cache;
mod checked;
pub mod cifar;
pub mod class_folders;
mod encoded;
mod error;
mod files;
mod format;
pub mod generated;
mod holdout;
pub mod idx;
mod images;
mod kinds;
mod layout;
mod left_out;
mod open;
mod picture;
pub mod published;
mod records;
mod sheet;
mod split;
pub mod stl10;
mod store;
mod text;
pub mod tiny_imagenet;
mod tree;
mod views;
mod warnings;
mod zipped;

pub use checked::{Bad, Checked};
pub use encoded::Seen;
pub use error::DataError;
pub use format::Opening;
pub use left_out::{LeftOut, LeftOuts, some_of};
pub use open::{open, open_as, open_with};
pub use picture::read_image;
pub use sheet::contact_sheet;
pub use split::Split;

/// An image set with its parts.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Short name of the set, such as `cifar10`, `idx` or `shapes`; of a part, with the part, such as
    /// `cifar10 batches 1,3`.
    pub name: String,
    /// Name and path of the set, and the number of images of each part, in one line for logs.
    pub source: String,
    /// Name of each class; labels index it.
    pub classes: Vec<String>,
    /// Mean of each channel over training pixels scaled to `[0, 1]`, of the images as they are stored.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over training pixels scaled to `[0, 1]`; never 0.
    pub std: Vec<f32>,
    /// Images to pre-train on, with or without labels: those of `train` if the set has no others.
    pub pretrain: Split,
    /// Labelled images to train the probe on.
    pub train: Split,
    /// Labelled images to evaluate on.
    pub test: Split,
    /// Indices of `train` that belong together, if the set has such a division (STL-10: ten folds of 1000).
    pub folds: Vec<Vec<usize>>,
    /// Files of the set's folder or archive that are not read.
    pub left_out: LeftOuts,
    /// File names of the skipped images that cannot be used, below the root of the set.
    pub skipped: Vec<String>,
}

/// Split of class folders without a test part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holdout {
    /// Share of each class to learn from, above 0 and below 1.
    pub share: f64,
    /// Seed of the split, which also depends on the file names.
    pub seed: u64,
    /// `true` if a run's configuration asks for it, and not the command line.
    pub of_run: bool,
}

impl Holdout {
    /// The error of a set that has a part to test on.
    fn refused(self, file: String, found: &str, hint: &str) -> DataError {
        let (given, what) = match self.of_run {
            true => (format!("a split of {} in the run's configuration", self.share), "such a split"),
            false => ("--split".to_owned(), "--split"),
        };
        DataError::Malformed {
            file,
            found: format!("{found}, and {given}"),
            expected: format!("{what} for class folders without train and val only"),
            hint: hint.into(),
        }
    }
}

impl std::fmt::Display for Holdout {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "split {} by names with seed {}", self.share, self.seed)
    }
}

impl Dataset {
    /// The name without the part of the set that was read.
    pub fn set(&self) -> &str {
        self.name.split(' ').next().unwrap_or(&self.name)
    }

    /// Shape of every image; `None` if they differ or are not known before they are decoded.
    pub fn shape(&self) -> Option<Shape> {
        self.train.shape()
    }

    /// Channels of every image: 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.train.channels()
    }

    /// The same set with every colour image as its grey, for a network of one channel.
    pub fn in_grey(self) -> Self {
        let source = format!("{}, in grey", self.source);
        let [pretrain, train, test] = [&self.pretrain, &self.train, &self.test].map(Split::in_grey);
        Self { source, pretrain, train, test, ..self }
    }
}
