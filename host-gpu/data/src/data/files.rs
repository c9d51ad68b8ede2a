//! Questions to the file system, with errors that name the path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::kinds::is_image;
use super::{DataError, cifar};

/// Reads bytes of `file` from `position` on. It does not use the file's own position, so threads do not disturb each
/// other.
pub fn read_at(file: &File, out: &mut [u8], position: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, out, position);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, out, position);
}

/// Same as [`read_at`], until `out` is full.
pub fn read_exact_at(file: &File, out: &mut [u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        match read_at(file, &mut out[done..], position + done as u64) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends too early")),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Error of an operation on `path`.
pub fn io_error(path: &Path, source: io::Error, hint: &str) -> DataError {
    let hint = if hint.is_empty() { String::new() } else { format!("A whole copy: {hint}") };
    DataError::Io { path: path.into(), source, hint }
}

/// Returns `true` if `path` is a folder; an error where there is nothing, or it may not be looked at.
pub fn is_folder(path: &Path) -> Result<bool, DataError> {
    fs::metadata(path).map(|found| found.is_dir()).map_err(|source| DataError::Io {
        path: path.into(),
        source,
        hint: "Name the folder or the archive of a data set".into(),
    })
}

/// Returns `true` if `path` exists; an error only if the system cannot tell.
pub fn exists(path: &Path) -> Result<bool, DataError> {
    path.try_exists().map_err(|source| DataError::Io {
        path: path.into(),
        source,
        hint: "The folder must be readable".into(),
    })
}

/// Returns `true` if `folder` holds at least one of `names`.
pub fn holds_any(folder: &Path, names: &[&str]) -> Result<bool, DataError> {
    for name in names {
        if exists(&folder.join(name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names in a folder that are wanted; `None` if there are none, or no folder.
pub fn names_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Option<Vec<String>>, DataError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let failed = |error| io_error(folder, error, "");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().filter(|name| wanted(name)).map(String::from));
    }
    Ok((!names.is_empty()).then_some(names))
}

/// Packing of a file, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// zip.
    Zip,
    /// tar, not compressed.
    Tar,
    /// None of these.
    None,
}

/// Returns the packing of the file at `path`.
pub fn packing(path: &Path) -> Result<Packing, DataError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut start))
        .map_err(|source| io_error(path, source, ""))?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Packing::Gzip
    } else if start.starts_with(b"PK") {
        Packing::Zip
    } else if is_tar(&start) {
        Packing::Tar
    } else {
        Packing::None
    })
}

/// Returns `true` if a file that starts so is a tar: the oldest have no mark, but a sum of the header's bytes.
fn is_tar(start: &[u8]) -> bool {
    let (Some(header), Some(mark)) = (start.get(..512), start.get(257..262)) else { return false };
    let text = String::from_utf8_lossy(&header[148..156]).into_owned();
    let stored = u32::from_str_radix(text.trim_matches([' ', '\0']), 8);
    let sum = |place: usize| if (148..156).contains(&place) { u32::from(b' ') } else { u32::from(header[place]) };
    mark == b"ustar" || stored == Ok((0..512).map(sum).sum())
}

/// Returns `true` if the file at `path` starts as gzip does.
pub fn is_gzip(path: &Path) -> Result<bool, DataError> {
    Ok(packing(path)? == Packing::Gzip)
}

/// Returns `true` if an image is among the first entries of `folder`, as far as that can be told.
fn holds_image(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().take(64).any(|entry| entry.file_name().to_str().is_some_and(is_image))
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
        return Ok(format!("the Python version of CIFAR-10 (the binary version: {})", cifar::WHERE));
    }
    if names.iter().take(8).any(|name| holds_image(&folder.join(name))) {
        return Ok("class folders without train and val".into());
    }
    Ok(match names.len() {
        0 => "an empty folder".into(),
        1..=4 => format!("a folder with {}", names.join(", ")),
        n => format!("a folder with {n} entries ({}, ...)", names[..4].join(", ")),
    })
}
