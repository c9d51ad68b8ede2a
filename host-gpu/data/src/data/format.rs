//! The formats of published sets, which the names of their files tell. A format is one file with a [`Format`], and one line
//! in [`FORMATS`].

use super::cifar::Want;
use super::store::Store;
use super::{DataError, Dataset, Holdout, cifar, idx, stl10, tiny_imagenet};
use std::path::Path;

/// All formats. A name that two of them claim is of the first.
pub(super) const FORMATS: &[&Format] =
    &[&cifar::FORMAT_10, &cifar::FORMAT_100, &stl10::FORMAT, &idx::FORMAT, &tiny_imagenet::FORMAT];

/// Reads the set in a folder or an archive.
type Read<T> = fn(&Path, Opening<'_>) -> Result<T, DataError>;

/// A format of a published set.
pub(super) struct Format {
    /// Name of the official archive, if any.
    pub archive: Option<&'static str>,
    /// Address of the official files.
    pub hint: &'static str,
    /// The part of a file's name before the set's own, if the name is one of this set's.
    pub claims: fn(&str) -> Option<&str>,
    /// Reads the set that lies directly in a folder; `None` if there is none.
    pub in_folder: Read<Option<Dataset>>,
    /// Reads the set from an opened archive, where its files' names begin so; the path is for messages.
    pub in_store: fn(Store, &str, &Path, Opening<'_>) -> Result<Dataset, DataError>,
    /// Reads a gzipped archive without unpacking it, for sets that are small enough for the memory.
    pub in_gzip: Option<Read<Dataset>>,
}

impl Format {
    /// The format that claims a file's name, and the part of the name before the set's own.
    pub fn of(name: &str) -> Option<(&'static Self, &str)> {
        FORMATS.iter().find_map(|format| (format.claims)(name).map(|prefix| (*format, prefix)))
    }
}

/// The folder part of a file's name, with its slash, if its last part is one that is asked for.
pub(super) fn folder_of(name: &str, is: impl Fn(&str) -> bool) -> Option<&str> {
    let (folder, file) = name.rfind('/').map_or(("", name), |slash| name.split_at(slash + 1));
    is(file).then_some(folder)
}

/// Options for opening a data set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Folder for the unpacked copy of an archive without random access. Without one, the copy goes beside the archive
    /// if that folder is writable, else into the user's cache folder.
    pub cache: Option<&'a Path>,
    /// Remove the unpacked copy again, unless it existed before.
    pub once: bool,
    /// Required parts of CIFAR-10.
    pub want: Want,
    /// Split of class folders without a test part. Without it, such folders are refused.
    pub holdout: Option<Holdout>,
}
