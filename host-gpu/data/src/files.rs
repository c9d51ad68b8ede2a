//! Output files that appear whole or not at all, and survive a power cut.

use crate::error::Error;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// First and last part of the names of unfinished files. A killed run leaves at most one such file.
const TEMPORARY: [&str; 2] = [".clapp-", ".tmp"];

/// Makes a folder and those above it.
///
/// # Errors
/// [`Error::File`] if it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::file("make folder", path))
}

/// Finds out whether [`write_atomically`] could write `path`, and leaves nothing behind.
///
/// # Errors
/// [`Error::File`] if it could not.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    let path = &target(path)?;
    let folder = parent(path);
    // A folder that is missing will be made below the nearest one that is there.
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(Error::file("write", path)(ErrorKind::NotADirectory.into()));
    }
    tempfile::tempfile_in(there).map(drop).map_err(Error::file("write", path))
}

/// Returns the file of a path: for a link, its target. Folders, devices and pipes are not replaced.
fn target(path: &Path) -> Result<PathBuf, Error> {
    let refused = |kind: ErrorKind| Err(Error::file("write", path)(kind.into()));
    match path.metadata() {
        Ok(found) if found.is_dir() => refused(ErrorKind::IsADirectory),
        Ok(found) if !found.is_file() => Err(Error::file("write", path)(std::io::Error::other("not a regular file"))),
        Ok(_) if path.is_symlink() => path.canonicalize().map_err(Error::file("write", path)),
        Ok(_) | Err(_) => Ok(path.into()),
    }
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file under a temporary name beside `path`, and renames it when it is complete.
///
/// # Errors
/// [`Error::File`] if it cannot be written; what was at `path` before is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::file("write", path)))
}

/// Same as [`write_atomically`], with bytes that `write` hands over piece by piece.
///
/// The bytes are on the disk before the name changes, and the name before this returns.
///
/// # Errors
/// [`Error::File`] if the file cannot be written, or what `write` gives; what was at `path` before is then still
/// there.
pub fn write_with(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), Error>) -> Result<(), Error> {
    let path = &target(path)?;
    let folder = parent(path);
    make_folder(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY[0]).suffix(TEMPORARY[1]);
    // Temporary files are private by default; outputs are as readable as any other file of the user's.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(Error::file("write", path))?;
    let mut buffer = BufWriter::new(file.as_file());
    write(&mut buffer)?;
    buffer.flush().map_err(Error::file("write", path))?;
    drop(buffer);
    file.as_file().sync_all().map_err(Error::file("write", path))?;
    file.persist(path).map_err(|error| Error::file("write", path)(error.error))?;
    sync_folder(folder)
}

/// Waits until the names in a folder are on the disk.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    // Other systems do not open folders as files; there the rename is as safe as the system makes it.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file("write", folder))?;
    }
    Ok(())
}

/// Removes what killed runs have left unfinished in a folder that nobody else writes to (see [`lock_folder`]).
///
/// # Errors
/// [`Error::File`] if the folder cannot be read or a file cannot be removed.
pub fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    remove_files(folder, |name| name.starts_with(TEMPORARY[0]) && name.ends_with(TEMPORARY[1]))
}

/// Removes the files of a folder whose names are `unwanted`.
///
/// # Errors
/// [`Error::File`] if the folder cannot be read or a file cannot be removed.
pub fn remove_files(folder: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        if path.file_name().and_then(OsStr::to_str).is_some_and(&unwanted) {
            std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

/// Locks a folder against other runs while the value lives. The system releases the lock when the program ends, in any
/// way. `None` if the file system has no locks.
///
/// # Errors
/// [`Error::Busy`] where another run holds the folder.
pub fn lock_folder(folder: &Path) -> Result<Option<File>, Error> {
    let Ok(file) = File::open(folder) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: folder.into() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
