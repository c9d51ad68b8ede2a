//! Output files that appear whole or not at all.

use crate::error::Error;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Makes a folder and those above it.
///
/// # Errors
/// [`Error::File`] where it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::file("make folder", path))
}

/// Finds out whether [`write_atomically`] could write `path`, and leaves nothing behind.
///
/// # Errors
/// [`Error::File`] where it could not.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::file("write", path)(ErrorKind::IsADirectory.into()));
    }
    let folder = parent(path);
    // A folder that is missing will be made below the nearest one that is there.
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(there).map(drop).map_err(Error::file("write", path))
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file under a temporary name beside `path` and renames it once it is whole.
///
/// # Errors
/// [`Error::File`] where it cannot be written; what was at `path` before is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = parent(path);
    make_folder(folder)?;
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; outputs are as readable as any other file of the user's.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::file("write", path))?;
    file.write_all(bytes).map_err(Error::file("write", path))?;
    file.as_file().sync_all().map_err(Error::file("write", path))?;
    file.persist(path).map_err(|error| Error::File { action: "write", path: path.into(), source: error.error })?;
    Ok(())
}
