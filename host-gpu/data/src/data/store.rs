//! A folder, a zip or an uncompressed tar as one list of files, any of which any thread reads at any time.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::DataError;
use super::archive::{Archive, not_unicode};
use super::files::{io_error, read_at, read_exact_at};
use super::left_out::LeftOuts;
use super::tree::{Found, Item, Tree, What, walk};
use super::zipped::Zip;

/// Largest file that is read into memory, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Files by name.
#[derive(Debug)]
pub(super) struct Store {
    /// The folder or archive.
    path: PathBuf,
    kind: Kind,
    entries: Vec<Entry>,
    folders: Vec<String>,
    /// Files left out. A set adds the files that it does not use.
    pub left_out: LeftOuts,
    hint: &'static str,
}

#[derive(Debug)]
enum Kind {
    Folder,
    Zip(Zip),
    Tar(File),
}

/// One file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path below the root, with `/` between its parts.
    pub name: Box<str>,
    /// Zip: index of the entry. Tar: position of its first byte.
    pub at: u64,
    /// Bytes; 0 in a folder, where nobody has asked yet.
    pub len: u64,
}

impl Store {
    /// Lists the files of a folder named in `tops`, and all files below its folders named there; without `tops`, all
    /// files. Names that do not exist are ignored.
    ///
    /// # Errors
    /// [`DataError`] if a folder cannot be read or a name is not Unicode.
    pub(super) fn folder(path: &Path, tops: Option<&[&str]>, hint: &'static str) -> Result<Self, DataError> {
        let root = fs::canonicalize(path).map_err(|error| io_error(path, error, hint))?;
        let found = walk(&Disk { path, root: &root, hint }, &root, tops)?;
        Ok(Self::of(path, Kind::Folder, found, hint))
    }

    /// All files in a zip.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read, is not a whole zip, or has names that lead out of it.
    pub(super) fn zip(path: &Path, hint: &'static str) -> Result<Self, DataError> {
        let failed = |error| io_error(path, error, hint);
        let zip = File::open(path).and_then(Zip::new).map_err(failed)?;
        let archive = Archive::of_zip(path, &zip, hint)?;
        Self::archive(path, Kind::Zip(zip), archive, hint)
    }

    /// All files in an uncompressed tar.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read, is not a tar, a file in it is cut short, or has names that lead out of it.
    pub(super) fn tar(path: &Path, hint: &'static str) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|error| io_error(path, error, hint))?;
        let archive = Archive::of_tar(path, hint)?;
        Self::archive(path, Kind::Tar(file), archive, hint)
    }

    fn archive(path: &Path, kind: Kind, archive: Archive, hint: &'static str) -> Result<Self, DataError> {
        let mut found = walk(&archive, Path::new(""), None)?;
        found.left_out.join(archive.left_out);
        Ok(Self::of(path, kind, found, hint))
    }

    /// The order of names, which no file system or packer decides.
    fn of(path: &Path, kind: Kind, found: Found, hint: &'static str) -> Self {
        let Found { mut entries, mut folders, left_out } = found;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        folders.sort_unstable();
        Self { path: path.into(), kind, entries, folders, left_out, hint }
    }

    /// All folders: paths below the root that end in `/`, in the order of their names.
    pub(super) fn folders(&self) -> &[String] {
        &self.folders
    }

    /// The folder or archive.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns `true` if this is a zip.
    pub(super) fn is_zip(&self) -> bool {
        matches!(self.kind, Kind::Zip(_))
    }

    /// Number of files.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Name of file `i`: its path below the root, with `/` between its parts. Files are in the order of their names.
    pub(super) fn name(&self, i: usize) -> &str {
        &self.entries[i].name
    }

    /// Index of the file of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()
    }

    /// File `i` as a message names it.
    pub(super) fn shown(&self, i: usize) -> String {
        match self.kind {
            Kind::Folder => self.path.join(self.name(i)).display().to_string(),
            _ => format!("{}: {}", self.path.display(), self.name(i)),
        }
    }

    /// Returns the position of the uncompressed bytes of file `i`: the file, the first byte and the length. `None` if
    /// they are compressed.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be opened.
    pub(super) fn plain(&self, i: usize) -> Result<Option<(PathBuf, File, u64, u64)>, DataError> {
        let entry = &self.entries[i];
        match &self.kind {
            Kind::Folder => {
                let path = self.path.join(self.name(i));
                let failed = |error| io_error(&path, error, self.hint);
                let file = File::open(&path).map_err(failed)?;
                let len = file.metadata().map_err(failed)?.len();
                Ok(Some((path, file, 0, len)))
            }
            Kind::Tar(file) => {
                let file = file.try_clone().map_err(|error| io_error(&self.path, error, self.hint))?;
                Ok(Some((self.path.clone(), file, entry.at, entry.len)))
            }
            Kind::Zip(_) => Ok(None),
        }
    }

    /// Reads file `i` whole into `out`, in place of what that held.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read, is larger than 64 MiB, or not what the archive says of it.
    pub(super) fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
        self.read_at_most(i, MOST_BYTES, out)
    }

    /// Same as [`Store::read`], of files with up to `most` bytes.
    ///
    /// # Errors
    /// Same as [`Store::read`].
    pub(super) fn read_at_most(&self, i: usize, most: u64, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.clear();
        let entry = &self.entries[i];
        if entry.len > most {
            return Err(self.too_large(i, most));
        }
        let read = match &self.kind {
            Kind::Folder => File::open(self.path.join(&*entry.name))
                .and_then(|file| file.take(most + 1).read_to_end(out))
                .map(|_| ()),
            Kind::Tar(file) => {
                out.resize(entry.len as usize, 0);
                read_exact_at(file, out, entry.at)
            }
            Kind::Zip(zip) => {
                zip.reader(entry.at as usize).and_then(|file| file.take(most + 1).read_to_end(out)).map(drop)
            }
        };
        read.map_err(|error| DataError::File { file: self.shown(i), source: error, hint: self.hint.into() })?;
        if out.len() as u64 > most { Err(self.too_large(i, most)) } else { Ok(()) }
    }

    /// The first bytes of file `i`, up to `most`.
    ///
    /// # Errors
    /// Same as [`Store::read`].
    pub(super) fn head(&self, i: usize, most: u64) -> Result<Vec<u8>, DataError> {
        let entry = &self.entries[i];
        let mut out = Vec::new();
        let read = match &self.kind {
            Kind::Folder => File::open(self.path.join(&*entry.name))
                .and_then(|file| file.take(most).read_to_end(&mut out))
                .map(drop),
            Kind::Tar(file) => {
                out.resize(entry.len.min(most) as usize, 0);
                read_exact_at(file, &mut out, entry.at)
            }
            Kind::Zip(zip) => {
                zip.reader(entry.at as usize).and_then(|file| file.take(most).read_to_end(&mut out)).map(drop)
            }
        };
        read.map_err(|error| DataError::File { file: self.shown(i), source: error, hint: self.hint.into() })?;
        Ok(out)
    }

    /// File `i` from its start, and its length; a file in a zip, of up to `most` bytes, is read whole.
    ///
    /// # Errors
    /// Same as [`Store::read`].
    pub(super) fn reader(&self, i: usize, most: u64) -> Result<(Box<dyn Read>, u64), DataError> {
        match self.plain(i)? {
            Some((_, file, at, len)) => Ok((Box::new(Section { file, at }.take(len)), len)),
            None => {
                let mut bytes = Vec::new();
                self.read_at_most(i, most, &mut bytes)?;
                let len = bytes.len() as u64;
                Ok((Box::new(Cursor::new(bytes)), len))
            }
        }
    }

    fn too_large(&self, i: usize, most: u64) -> DataError {
        DataError::Malformed {
            file: self.shown(i),
            found: format!("more than {most} bytes"),
            expected: "a file of the set".into(),
            hint: self.hint.into(),
        }
    }
}

/// A file from a position on.
struct Section {
    file: File,
    at: u64,
}

impl Read for Section {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = read_at(&self.file, out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Folders on the disk.
struct Disk<'a> {
    /// The root as the user has named it, and as it is without links.
    path: &'a Path,
    root: &'a Path,
    hint: &'static str,
}

impl Tree for Disk<'_> {
    fn list(&self, at: &Path) -> Result<Vec<Item>, DataError> {
        let shown =
            |path: &Path| path.strip_prefix(self.root).map_or_else(|_| path.into(), |below| self.path.join(below));
        let failed = |error| io_error(&shown(at), error, self.hint);
        let mut items = Vec::new();
        for entry in fs::read_dir(at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(name) = name.into_string() else { return Err(not_unicode(self.path, &shown(&path), self.hint)) };
            let kind = entry.file_type().map_err(failed)?;
            let linked = kind.is_symlink();
            let what = if linked { fs::metadata(&path).map(|found| found.file_type()) } else { Ok(kind) };
            let what = match what {
                Ok(kind) if kind.is_file() => What::File { at: 0, len: 0 },
                Ok(kind) if kind.is_dir() && linked => match fs::canonicalize(&path) {
                    Ok(path) => What::Folder(path),
                    Err(_) => What::Nothing { why: "broken links", lost: true },
                },
                Ok(kind) if kind.is_dir() => What::Folder(path),
                Ok(_) => What::Nothing { why: "entries that are neither files nor folders", lost: false },
                Err(_) => What::Nothing { why: "broken links", lost: true },
            };
            items.push(Item { name, linked, what });
        }
        items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }
}
