//! What can be wrong with a data set.

use std::io;
use std::path::PathBuf;

use super::{cifar, idx, stl10, tiny_imagenet};

/// Why a data set could not be read. The message names the file, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file or folder could not be opened or read: missing, no permission, truncated gzip or tar stream.
    #[error("cannot read {path}: {source}. {hint}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system or the decoder said.
        source: io::Error,
        /// Where to get a whole copy.
        hint: String,
    },
    /// A file of the set, perhaps in an archive, could not be read.
    #[error("cannot read {file}: {source}. A whole copy: {hint}")]
    File {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// What the system or the decoder said.
        source: io::Error,
        /// Where to get a whole copy.
        hint: String,
    },
    /// The unpacked copy of an archive could not be written.
    #[error("cannot write an unpacked copy to {path}: {source}. --cache FOLDER chooses another place for it")]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image could not be decoded.
    #[error("{file} is not a usable image: {why}")]
    Image {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// What the decoder said.
        why: String,
    },
    /// Images could not be used.
    #[error("{bad} of {all} images cannot be used; the first: {first}")]
    Images {
        /// How many.
        bad: usize,
        /// Of how many.
        all: usize,
        /// Why the first of them could not be used.
        first: Box<DataError>,
    },
    /// Nothing at the path looks like a known data set.
    #[error(
        "{path} is not a data set that I know: found {found}; expected, as downloaded or unpacked, CIFAR-10 or CIFAR-100 \
         in its binary version ({cifar10}, {cifar100}), STL-10 ({stl10}), Tiny ImageNet ({tiny}), the four files of MNIST \
         or Fashion-MNIST ({idx}), or images in train/CLASS and val/CLASS",
        cifar10 = cifar::WHERE,
        cifar100 = cifar::CIFAR100.hint,
        stl10 = stl10::WHERE,
        tiny = tiny_imagenet::WHERE,
        idx = idx::WHERE
    )]
    Unrecognised {
        /// The file or folder.
        path: PathBuf,
        /// What lies there.
        found: String,
    },
    /// A file of the set is not there.
    #[error("{place} lacks {missing}; a complete copy: {hint}")]
    Missing {
        /// The folder or archive.
        place: PathBuf,
        /// Names of the missing files.
        missing: String,
        /// Where to get a whole copy.
        hint: String,
    },
    /// A file does not have the layout of its format.
    #[error("{file}: found {found}, expected {expected}; a whole copy: {hint}")]
    Malformed {
        /// The file; a file in an archive is named `archive: name`.
        file: String,
        /// What the file says or has.
        found: String,
        /// What the format asks for.
        expected: String,
        /// Where to get a whole copy.
        hint: String,
    },
    /// Two files of the set contradict each other.
    #[error("{first} and {second} do not belong together: {why}; a whole copy: {hint}")]
    Disagreement {
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
        /// The contradiction.
        why: String,
        /// Where to get a whole copy.
        hint: String,
    },
}
