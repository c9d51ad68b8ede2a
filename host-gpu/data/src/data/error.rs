//! Errors of data sets.

use crate::error::Error;
use std::io;
use std::path::PathBuf;

/// Reason why a data set could not be read. The message names the file, the value found and the value expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file or folder could not be opened or read: missing, no permission, truncated gzip or tar stream.
    #[error("cannot read {path}: {source}{}", sentence(hint))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system or of the decoder.
        source: io::Error,
        /// Address of a complete copy; empty for a user's own data.
        hint: String,
    },
    /// A file of the set, perhaps in an archive, could not be read.
    #[error("cannot read {file}: {source}{}", copy(hint))]
    File {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// Error of the system or of the decoder.
        source: io::Error,
        /// Address of a complete copy; empty for a user's own data.
        hint: String,
    },
    /// The unpacked copy of an archive could not be written.
    #[error("cannot write an unpacked copy to {path}: {source}. --cache FOLDER chooses another place for it")]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// An image could not be decoded.
    #[error("{file} is not a usable image: {why}")]
    Image {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// Error of the decoder.
        why: String,
    },
    /// Images could not be used.
    #[error("{bad} of {all} images cannot be used{}:{}", skip(*skippable), lines(first, *bad))]
    Images {
        /// Number.
        bad: usize,
        /// Total number.
        all: usize,
        /// Reasons for the first ten; each message names its file.
        first: Vec<String>,
        /// `true` if the others make a set.
        skippable: bool,
    },
    /// Nothing at the path looks like a known data set.
    #[error(
        "{path} is not a known data set: found {found}; expected, as downloaded, CIFAR-10 or CIFAR-100 (binary \
         version), STL-10, Tiny ImageNet, MNIST or Fashion-MNIST, or images in train/CLASS and val/CLASS (or in CLASS, \
         with --split 0.8)"
    )]
    Unrecognised {
        /// The file or folder.
        path: PathBuf,
        /// Content of the path.
        found: String,
    },
    /// A file of the set is not there.
    #[error("{place} lacks {missing}{}", copy(hint))]
    Missing {
        /// The folder or archive.
        place: PathBuf,
        /// Names of the missing files.
        missing: String,
        /// Address of a complete copy; empty for a user's own data.
        hint: String,
    },
    /// A file does not have the layout of its format.
    #[error("{file}: found {found}, expected {expected}{}", copy(hint))]
    Malformed {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// Value found in the file.
        found: String,
        /// Value expected by the format.
        expected: String,
        /// Address of a complete copy; empty for a user's own data.
        hint: String,
    },
    /// Two files of the set contradict each other.
    #[error("{first} and {second} do not belong together: {why}{}", copy(hint))]
    Disagreement {
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
        /// The contradiction.
        why: String,
        /// Address of a complete copy; empty for a user's own data.
        hint: String,
    },
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::input(error)
    }
}

/// Returns advice about images that cannot be used.
fn skip(skippable: bool) -> &'static str {
    if skippable { "; --skip-bad skips them" } else { ", and too few others are left" }
}

/// One line for each of the `first` of `all`.
fn lines(first: &[String], all: usize) -> String {
    let mut text: String = first.iter().map(|line| format!("\n  {line}")).collect();
    if all > first.len() {
        text += &format!("\n  and {} more", all - first.len());
    }
    text
}

/// Returns the address of a complete copy, for the end of a message.
fn copy(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; a whole copy: {hint}") }
}

/// Returns a separate sentence, for the end of a message.
fn sentence(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(". {hint}") }
}
