//! A folder, a zip or an uncompressed tar as one list of files, any of which any thread reads at any time.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use super::DataError;
use super::files::{io_error, read_at, read_exact_at};

/// Folders below the root that are looked into.
const DEPTH: usize = 5;
/// Most files of a set (ImageNet has 1.4 million).
const MOST_FILES: usize = 20_000_000;
/// Most bytes of a file that is read whole.
const MOST_BYTES: u64 = 64 << 20;

/// Files by name.
#[derive(Debug)]
pub(super) struct Store {
    /// The folder or archive.
    path: PathBuf,
    kind: Kind,
    entries: Vec<Entry>,
    hint: &'static str,
}

#[derive(Debug)]
enum Kind {
    Folder,
    Zip(ZipArchive<Positioned>),
    Tar(File),
}

/// One file.
#[derive(Debug)]
struct Entry {
    /// Path below the root, with `/` between its parts.
    name: Box<str>,
    /// Zip: index of the entry. Tar: position of its first byte.
    at: u64,
    /// Bytes; 0 in a folder, where nobody has asked yet.
    len: u64,
}

impl Store {
    /// The files of a folder named in `tops`, and all files below its folders named there, hidden ones aside. What is
    /// named and not there is left out.
    ///
    /// # Errors
    /// [`DataError`] where a folder cannot be read or a name is not Unicode.
    pub(super) fn folder(path: &Path, tops: &[&str], hint: &'static str) -> Result<Self, DataError> {
        let mut entries = Vec::new();
        for name in tops {
            match fs::metadata(path.join(name)) {
                Ok(found) if found.is_dir() => walk(path, &format!("{name}/"), DEPTH, hint, &mut entries)?,
                Ok(_) => entries.push(Entry { name: (*name).into(), at: 0, len: 0 }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&path.join(name), error, hint)),
            }
        }
        Ok(Self::sorted(path, Kind::Folder, entries, hint))
    }

    /// All files in a zip.
    ///
    /// # Errors
    /// [`DataError::Io`] where it cannot be read or is not a whole zip.
    pub(super) fn zip(path: &Path, hint: &'static str) -> Result<Self, DataError> {
        let failed = |error| io_error(path, error, hint);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let reader = Positioned { file: Arc::new(file), at: 0, len };
        let mut archive = ZipArchive::new(reader).map_err(|error| failed(error.into()))?;
        let mut entries = Vec::with_capacity(archive.len().min(MOST_FILES));
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(|error| failed(error.into()))?;
            if entry.is_file() {
                let name = entry.name().map_err(|error| failed(error.into()))?;
                push(path, &mut entries, Entry { name: name.into(), at: index as u64, len: entry.size() }, hint)?;
            }
        }
        Ok(Self::sorted(path, Kind::Zip(archive), entries, hint))
    }

    /// All files in an uncompressed tar.
    ///
    /// # Errors
    /// [`DataError`] where it cannot be read, is not a tar, or a file in it is cut short.
    pub(super) fn tar(path: &Path, hint: &'static str) -> Result<Self, DataError> {
        let failed = |error| io_error(path, error, hint);
        let file = File::open(path).map_err(failed)?;
        let whole = file.metadata().map_err(failed)?.len();
        let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(failed)?));
        let mut entries = Vec::new();
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let inside = entry.path().map_err(failed)?;
            let Some(name) = inside.to_str() else { return Err(not_unicode(path, &inside, hint)) };
            let (at, len) = (entry.raw_file_position(), entry.size());
            if at.checked_add(len).is_none_or(|end| end > whole) {
                return Err(DataError::Malformed {
                    file: format!("{}: {name}", path.display()),
                    found: format!("{} bytes", whole.saturating_sub(at)),
                    expected: format!("{len} bytes, as the archive's header says"),
                    hint: hint.into(),
                });
            }
            let entry = Entry { name: name.into(), at, len };
            push(path, &mut entries, entry, hint)?;
        }
        Ok(Self::sorted(path, Kind::Tar(file), entries, hint))
    }

    /// The order of names, which no file system or packer decides.
    fn sorted(path: &Path, kind: Kind, mut entries: Vec<Entry>, hint: &'static str) -> Self {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self { path: path.into(), kind, entries, hint }
    }

    /// The folder or archive.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is a zip.
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

    /// Where the bytes of file `i` lie as they are: the file, the position of the first, and how many. `None` where
    /// they are compressed.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be opened.
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
    /// [`DataError`] where it cannot be read, is larger than 64 MiB, or not what the archive says of it.
    pub(super) fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
        self.read_at_most(i, MOST_BYTES, out)
    }

    /// As [`Store::read`], of files with up to `most` bytes.
    ///
    /// # Errors
    /// As [`Store::read`].
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
            // The copy shares the list of files and the open file, and has a position of its own.
            Kind::Zip(archive) => archive
                .clone()
                .by_index(entry.at as usize)
                .map_err(io::Error::from)
                .and_then(|file| file.take(most + 1).read_to_end(out))
                .map(|_| ()),
        };
        read.map_err(|error| DataError::File { file: self.shown(i), source: error, hint: self.hint.into() })?;
        if out.len() as u64 > most { Err(self.too_large(i, most)) } else { Ok(()) }
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

fn push(path: &Path, entries: &mut Vec<Entry>, entry: Entry, hint: &'static str) -> Result<(), DataError> {
    if entries.len() == MOST_FILES {
        return Err(DataError::Malformed {
            file: path.display().to_string(),
            found: format!("more than {MOST_FILES} files"),
            expected: "a data set".into(),
            hint: hint.into(),
        });
    }
    // Side files that some systems add.
    if !entry.name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX") {
        entries.push(entry);
    }
    Ok(())
}

/// Adds the files below `folder` of which the root-relative path is `below` (empty or ending in `/`).
fn walk(root: &Path, below: &str, depth: usize, hint: &'static str, entries: &mut Vec<Entry>) -> Result<(), DataError> {
    let folder = root.join(below);
    let failed = |error| io_error(&folder, error, hint);
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { return Err(not_unicode(root, &path, hint)) };
        let mut kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            // Links to files and folders are as good as these.
            kind = fs::metadata(&path).map_err(|error| io_error(&path, error, hint))?.file_type();
        }
        let name = format!("{below}{name}");
        if kind.is_file() {
            push(root, entries, Entry { name: name.into(), at: 0, len: 0 }, hint)?;
        } else if kind.is_dir() && depth > 0 && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            walk(root, &format!("{name}/"), depth - 1, hint, entries)?;
        }
    }
    Ok(())
}

fn not_unicode(root: &Path, path: &Path, hint: &'static str) -> DataError {
    DataError::Malformed {
        file: root.display().to_string(),
        found: format!("the name {}", path.display()),
        expected: "names in Unicode".into(),
        hint: hint.into(),
    }
}

/// A file that many read at once, each from a position of its own.
#[derive(Debug, Clone)]
struct Positioned {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl Read for Positioned {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = read_at(&self.file, out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the start of the file"))?;
        Ok(self.at)
    }
}
