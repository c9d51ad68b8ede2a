//! Unpacked copies of archives that cannot be read by position.
//!
//! A `tar.gz` must be read from its start. It is decompressed once into a plain tar, and files are read at their
//! position in that tar. No name in the archive becomes a file on the disk. The copy appears complete or not at all: it
//! is written under a temporary name, checked with the checksums of the gzip stream, and renamed. Its name holds the
//! length and the modification time of the archive, so a changed archive is unpacked again.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};

use super::DataError;
use super::files::io_error;

/// Lifetime of an unpacked copy.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep<'a> {
    /// It stays in the folder; without one, beside the archive where that folder may be written to, and else in the
    /// user's folder for such files.
    In(Option<&'a Path>),
    /// The copy is removed again, unless it existed before.
    Nothing,
}

/// An unpacked copy.
#[derive(Debug)]
pub(super) enum Copy {
    /// A copy that stays.
    Kept(PathBuf),
    /// A copy that is removed with this value. Open files stay readable.
    Fleeting(tempfile::TempPath),
}

impl Copy {
    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Fleeting(path) => path,
        }
    }
}

/// The plain tar of the archive `path` (`tar.gz`), found or newly made where `keep` says.
///
/// # Errors
/// [`DataError::Io`] if the archive is damaged, [`DataError::Cache`] if the copy cannot be written.
pub(super) fn unpacked(path: &Path, keep: Keep<'_>, hint: &'static str) -> Result<Copy, DataError> {
    let failed = |error| io_error(path, error, hint);
    let found = fs::metadata(path).map_err(failed)?;
    let changed =
        found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |t| t.as_secs());
    let stem = path.file_name().map_or_else(|| "archive".into(), |name| name.to_string_lossy());
    let name = format!("{stem}.{}.{changed}.tar", found.len());
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folders: Vec<PathBuf> = match keep {
        Keep::In(Some(folder)) => vec![folder.into()],
        Keep::In(None) | Keep::Nothing => [Some(beside.into()), of_user()].into_iter().flatten().collect(),
    };
    if let Some(copy) = folders.iter().map(|folder| folder.join(&name)).find(|copy| File::open(copy).is_ok()) {
        return Ok(Copy::Kept(copy));
    }
    let mut refused = None;
    for folder in folders {
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; the copy is for all who may read the archive.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let begun = fs::create_dir_all(&folder).and_then(|()| builder.tempfile_in(&folder));
        match begun {
            Ok(temporary) => {
                let copy = matches!(keep, Keep::In(_)).then(|| folder.join(name));
                return unpack(path, temporary, copy, found.len(), hint);
            }
            Err(source) => refused = Some(DataError::Cache { path: folder, source }),
        }
    }
    Err(refused.unwrap_or(DataError::Cache { path: beside.into(), source: io::ErrorKind::PermissionDenied.into() }))
}

/// The user's folder for files that can be made again.
fn of_user() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    folder.or_else(|| Some(std::env::home_dir()?.join(".cache"))).map(|folder| folder.join("clapp"))
}

fn unpack(
    path: &Path,
    temporary: tempfile::NamedTempFile,
    copy: Option<PathBuf>,
    len: u64,
    hint: &'static str,
) -> Result<Copy, DataError> {
    let shown = copy.clone().unwrap_or_else(|| temporary.path().into());
    let cannot_write = |source| DataError::Cache { path: shown.clone(), source };
    let file = File::open(path).map_err(|error| io_error(path, error, hint))?;
    let bar = ProgressBar::new(len);
    if let Ok(style) = ProgressStyle::with_template("unpacking {prefix} {bar:24} {bytes}/{total_bytes} ({eta} left)") {
        bar.set_style(style);
    }
    bar.set_prefix(path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
    let mut packed = MultiGzDecoder::new(BufReader::with_capacity(1 << 20, bar.wrap_read(file)));
    let mut out = BufWriter::with_capacity(1 << 20, temporary);
    copy_all(&mut packed, &mut out).map_err(|error| match error {
        Side::Read(error) => io_error(path, error, hint),
        Side::Write(error) => cannot_write(error),
    })?;
    bar.finish_and_clear();
    let temporary = out.into_inner().map_err(|error| cannot_write(error.into_error()))?;
    let Some(copy) = copy else { return Ok(Copy::Fleeting(temporary.into_temp_path())) };
    temporary.as_file().sync_all().map_err(cannot_write)?;
    temporary.persist(&copy).map_err(|error| cannot_write(error.error))?;
    Ok(Copy::Kept(copy))
}

/// Side of a copy that failed.
enum Side {
    Read(io::Error),
    Write(io::Error),
}

/// Same as [`io::copy`], which does not say which side failed.
fn copy_all(from: &mut impl io::Read, to: &mut impl Write) -> Result<(), Side> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush().map_err(Side::Write),
            Ok(read) => to.write_all(&buffer[..read]).map_err(Side::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Side::Read(error)),
        }
    }
}
