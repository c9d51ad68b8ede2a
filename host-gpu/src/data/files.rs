//! Questions to the file system, with errors that name the path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::DataError;

/// Error of an operation on `path`.
pub fn io_error(path: &Path, source: io::Error, hint: &str) -> DataError {
    DataError::Io { path: path.into(), source, hint: format!("A whole copy: {hint}") }
}

/// Whether `path` is a folder; an error where there is nothing, or it may not be looked at.
pub fn is_folder(path: &Path) -> Result<bool, DataError> {
    fs::metadata(path).map(|found| found.is_dir()).map_err(|source| DataError::Io {
        path: path.into(),
        source,
        hint: "Give the folder or the archive of a data set".into(),
    })
}

/// Whether something lies at `path`; an error only where that cannot be told.
pub fn exists(path: &Path) -> Result<bool, DataError> {
    path.try_exists().map_err(|source| DataError::Io {
        path: path.into(),
        source,
        hint: "The folder must be readable".into(),
    })
}

/// Whether `folder` holds at least one of `names`.
pub fn holds_any(folder: &Path, names: &[&str]) -> Result<bool, DataError> {
    for name in names {
        if exists(&folder.join(name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the file at `path` starts as gzip does.
pub fn is_gzip(path: &Path) -> Result<bool, DataError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(2).read_to_end(&mut start))
        .map_err(|source| io_error(path, source, "see the set's official page"))?;
    Ok(start == [0x1f, 0x8b])
}

/// Names a few entries of `folder`, for a message.
pub fn describe(folder: &Path) -> Result<String, DataError> {
    let unreadable = |source| DataError::Io { path: folder.into(), source, hint: "The folder must be readable".into() };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if names.iter().any(|name| name == "cifar-10-batches-py" || name == "data_batch_1") {
        return Ok("the Python version of CIFAR-10".into());
    }
    Ok(match names.len() {
        0 => "an empty folder".into(),
        1..=4 => format!("a folder with {}", names.join(", ")),
        n => format!("a folder with {n} entries ({}, ...)", names[..4].join(", ")),
    })
}
