//! CIFAR-10 and CIFAR-100 in their official binary versions (Krizhevsky 2009), from the folder or straight from the
//! archive.
//!
//! A record is its labels, a byte each (CIFAR-10: the class; CIFAR-100: superclass, then class), then the red, green
//! and blue plane of 32x32 values. Official files hold 10,000 records (CIFAR-100's training file 50,000); any other
//! whole number is accepted (a cut-down copy for a quick try), and [`Dataset::source`] says how many were read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use clapp_core::shape::Shape;
use flate2::bufread::MultiGzDecoder;

use super::archive::check_name;
use super::files::{holds_any, io_error, is_gzip};
use super::format::{Format, Opening, folder_of};
use super::images::Images;
use super::left_out::LeftOuts;
use super::store::Store;
use super::{DataError, Dataset, Split};
use crate::words::counted;

/// Differences between the two sets.
#[derive(Debug)]
pub struct Layout {
    /// Short name of the set.
    pub name: &'static str,
    /// Its name in messages.
    title: &'static str,
    /// Folder in the official archive.
    pub folder: &'static str,
    /// Name of the official archive.
    pub archive: &'static str,
    /// The files: those to train on, and last the one to test on.
    pub files: &'static [&'static str],
    /// Number of labels for each label byte of a record; the last byte is the class.
    labels: &'static [u8],
    /// File with the names of the classes.
    names: &'static str,
    /// Names of the classes if the file is missing; numbers if there are too many classes.
    classes: &'static [&'static str],
    /// Records of the official training files together.
    official: usize,
    /// Address of the official archive.
    pub hint: &'static str,
    /// Mean of each channel, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of values in `[0, 1]`.
    pub std: [f32; 3],
}

/// Folder in the official archive of CIFAR-10.
pub const FOLDER: &str = CIFAR10.folder;
/// Name of the official archive of CIFAR-10.
pub const ARCHIVE: &str = CIFAR10.archive;
/// The batch files of CIFAR-10: five to train on, then the test batch.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// Address of the official archive of CIFAR-10.
pub const WHERE: &str = CIFAR10.hint;

/// CIFAR-10, with the mean and deviation of the paper's code (docs/paper.md 5.2).
pub const CIFAR10: Layout = Layout {
    name: "cifar10",
    title: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    files: &FILES,
    labels: &[10],
    names: "batches.meta.txt",
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    official: 50_000,
    hint: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
    std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
};

/// CIFAR-100 with its 100 classes, and the mean and deviation of its training images. The paper does not use it.
pub const CIFAR100: Layout = Layout {
    name: "cifar100",
    title: "CIFAR-100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    files: &["train.bin", "test.bin"],
    labels: &[20, 100],
    names: "fine_label_names.txt",
    classes: &[],
    official: 50_000,
    hint: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
};

const SHAPE: Shape = Shape::new(3, 32, 32);
const IMAGE: usize = SHAPE.len();
/// Largest number of records of a file, as a multiple of the official 10,000 or 50,000. A larger file is refused, so
/// that a wrong or hostile archive cannot fill the memory.
const TIMES: usize = 10;
/// Largest number of bytes after the last file in an archive (the official one ends within a few KiB).
const MOST_AFTER: u64 = 64 << 20;
/// Largest size of the file with the names, in bytes.
const MOST_NAMES: u64 = 4096;

impl Layout {
    /// Classes of the set.
    fn class_count(&self) -> usize {
        self.labels.last().map_or(0, |&count| usize::from(count))
    }

    /// Bytes of a record.
    fn record(&self) -> usize {
        self.labels.len() + IMAGE
    }

    /// Records of an official training file.
    fn official_records(&self) -> usize {
        self.official / (self.files.len() - 1)
    }

    /// Returns the largest accepted size of a file, in bytes.
    fn most(&self) -> u64 {
        (TIMES * self.official_records() * self.record()) as u64
    }
}

/// CIFAR-10.
pub(super) const FORMAT_10: Format = Format {
    archive: Some(CIFAR10.archive),
    hint: CIFAR10.hint,
    claims: |name| folder_of(name, |file| CIFAR10.files.contains(&file)),
    in_folder: |path, opening| in_folder(&CIFAR10, path, opening),
    in_store: |store, prefix, path, opening| in_store(&CIFAR10, &store, prefix, path, opening),
    in_gzip: Some(|path, opening| read_archive(&CIFAR10, path, opening.want)),
};

/// CIFAR-100.
pub(super) const FORMAT_100: Format = Format {
    archive: Some(CIFAR100.archive),
    hint: CIFAR100.hint,
    claims: |name| folder_of(name, |file| CIFAR100.files.contains(&file)),
    in_folder: |path, opening| in_folder(&CIFAR100, path, opening),
    in_store: |store, prefix, path, opening| in_store(&CIFAR100, &store, prefix, path, opening),
    in_gzip: Some(|path, opening| read_archive(&CIFAR100, path, opening.want)),
};

fn in_folder(layout: &Layout, path: &Path, opening: Opening<'_>) -> Result<Option<Dataset>, DataError> {
    for folder in [path.to_path_buf(), path.join(layout.folder)] {
        if holds_any(&folder, layout.files)? {
            return read_folder(layout, &folder, opening.want).map(Some);
        }
    }
    Ok(None)
}

fn in_store(
    layout: &Layout,
    store: &Store,
    prefix: &str,
    path: &Path,
    opening: Opening<'_>,
) -> Result<Dataset, DataError> {
    if store.is_zip() {
        read_store(layout, store, prefix, path, opening.want)
    } else {
        read_archive(layout, store.path(), opening.want)
    }
}

/// Reads the files of the set in `folder`.
///
/// # Errors
/// [`DataError`] if a file is missing, unreadable, empty, not a whole number of records, too large, or has a
/// label that is none.
pub fn read_folder(layout: &Layout, folder: &Path, want: Want) -> Result<Dataset, DataError> {
    let mut parts = Parts::new(layout, want);
    for (at, name) in layout.files.iter().enumerate() {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(&path, error, layout.hint)),
        };
        let bytes = read_at_most(file, layout.most()).map_err(|error| io_error(&path, error, layout.hint))?;
        parts.add(at, bytes, &path.display().to_string())?;
    }
    // The names are a courtesy: a set without them, or with strange ones, is read all the same.
    if let Ok(file) = File::open(folder.join(layout.names))
        && let Ok(bytes) = read_at_most(file, MOST_NAMES)
    {
        parts.names(&bytes);
    }
    parts.assemble(folder)
}

/// Reads the files in the folder `prefix` (empty or ending in `/`) of a store, such as a zip.
///
/// # Errors
/// As for [`read_folder`].
pub(super) fn read_store(
    layout: &Layout,
    store: &Store,
    prefix: &str,
    place: &Path,
    want: Want,
) -> Result<Dataset, DataError> {
    let mut parts = Parts::new(layout, want);
    let mut bytes = Vec::new();
    for (at, name) in layout.files.iter().enumerate() {
        if let Some(file) = store.find(&format!("{prefix}{name}")) {
            store.read_at_most(file, layout.most(), &mut bytes)?;
            parts.add(at, std::mem::take(&mut bytes), &store.shown(file))?;
        }
    }
    if let Some(file) = store.find(&format!("{prefix}{}", layout.names))
        && store.read_at_most(file, MOST_NAMES, &mut bytes).is_ok()
    {
        parts.names(&bytes);
    }
    parts.assemble(place)
}

/// Reads the official archive (or the same tar without gzip) as a stream, without unpacking it.
///
/// # Errors
/// [`DataError`] as for [`read_folder`], and if the gzip or tar stream is damaged or cut short.
pub fn read_archive(layout: &Layout, archive: &Path, want: Want) -> Result<Dataset, DataError> {
    let failed = |error| io_error(archive, error, layout.hint);
    let file = BufReader::with_capacity(1 << 16, File::open(archive).map_err(failed)?);
    let source: Box<dyn Read> = if is_gzip(archive)? { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut tar = tar::Archive::new(source);
    let mut parts = Parts::new(layout, want);
    for entry in tar.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(failed)?.into_owned();
        check_name(archive, &path.to_string_lossy(), layout.hint)?;
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let shown = format!("{}: {}", archive.display(), path.display());
        if let Some(at) = layout.files.iter().position(|known| *known == name) {
            let size = entry.size();
            let cut = |source| DataError::File { file: shown.clone(), source, hint: layout.hint.into() };
            let bytes = read_at_most(entry, layout.most()).map_err(cut)?;
            // A cut entry ends early without an error from the tar reader.
            if size <= layout.most() && bytes.len() as u64 != size {
                return Err(layout.malformed(
                    &shown,
                    format!("{} bytes", bytes.len()),
                    format!("{size} bytes, as the archive's header says"),
                ));
            }
            if parts.files[at].is_some() {
                return Err(layout.malformed(&shown, "a second file of this name".into(), "each file once".into()));
            }
            parts.add(at, bytes, &shown)?;
        } else if name == layout.names {
            parts.names(&read_at_most(entry, MOST_NAMES).map_err(failed)?);
        }
    }
    // The checksum of the gzip stream is at its very end, and is checked only by reading up to there.
    let mut rest = tar.into_inner().take(MOST_AFTER + 1);
    if io::copy(&mut rest, &mut io::sink()).map_err(failed)? > MOST_AFTER {
        return Err(layout.malformed(
            &archive.display().to_string(),
            format!("more than {MOST_AFTER} bytes after the last file"),
            "the end of the archive".into(),
        ));
    }
    parts.assemble(archive)
}

/// Required parts of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Want {
    /// Every file.
    #[default]
    Whole,
    /// The test batch and at least one training batch. All training batches must be equally long, so that one that was
    /// copied in part is noticed. The name of the set then lists the batches, such as `cifar10 batches 1,3`.
    Part,
}

/// The records of one file.
#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

/// The parts read so far.
struct Parts<'a> {
    layout: &'a Layout,
    want: Want,
    files: Vec<Option<Records>>,
    names: Option<Vec<String>>,
}

impl<'a> Parts<'a> {
    fn new(layout: &'a Layout, want: Want) -> Self {
        Self { layout, want, files: layout.files.iter().map(|_| None).collect(), names: None }
    }

    /// Takes the bytes of file `at` apart; `file` names it in errors.
    fn add(&mut self, at: usize, bytes: Vec<u8>, file: &str) -> Result<(), DataError> {
        let layout = self.layout;
        let (record, most) = (layout.record(), layout.most());
        let official = layout.official_records() * record;
        if bytes.len() as u64 > most {
            return Err(layout.malformed(file, format!("more than {most} bytes"), format!("{official} bytes")));
        }
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(layout.malformed(
                file,
                format!("{} bytes", bytes.len()),
                format!("whole records of {record} bytes, at least one (the official files have {official} bytes)"),
            ));
        }
        let mut records = Records::default();
        let no_room = |source| DataError::File { file: file.into(), source, hint: String::new() };
        make_room(&mut records.pixels, bytes.len() / record * IMAGE).map_err(no_room)?;
        for (number, record) in bytes.chunks_exact(record).enumerate() {
            let (labels, pixels) = record.split_at(layout.labels.len());
            if let Some((label, count)) = labels.iter().zip(layout.labels).find(|(label, count)| label >= count) {
                return Err(layout.malformed(
                    file,
                    format!("label {label} in record {number}"),
                    format!("a label from 0 to {}", count - 1),
                ));
            }
            records.labels.extend(labels.last().map(|&label| u16::from(label)));
            records.pixels.extend_from_slice(pixels);
        }
        self.files[at] = Some(records);
        Ok(())
    }

    /// The names of the classes, one a line; nothing if there are more or fewer than classes.
    fn names(&mut self, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
        self.names = (names.len() == self.layout.class_count()).then_some(names);
    }

    /// Names of the files that were not found.
    fn missing(&self) -> Vec<&'static str> {
        let files = self.layout.files.iter().zip(&self.files);
        files.filter(|(_, part)| part.is_none()).map(|(name, _)| *name).collect()
    }

    /// The numbers of the training batches that are there, counted from 1, where that is enough of the set.
    fn batches(&self, place: &Path) -> Result<Vec<usize>, DataError> {
        let layout = self.layout;
        let (test, train) = (layout.files.len() - 1, &self.files[..layout.files.len() - 1]);
        let there: Vec<(usize, usize)> =
            (1..).zip(train).filter_map(|(number, part)| Some((number, part.as_ref()?.labels.len()))).collect();
        let missing = match self.want {
            Want::Whole => self.missing(),
            Want::Part if self.files[test].is_none() => vec![layout.files[test]],
            Want::Part if there.is_empty() => layout.files[..test].to_vec(),
            Want::Part => Vec::new(),
        };
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(DataError::Missing { place: place.into(), missing, hint: layout.hint.into() });
        }
        let most = there.iter().map(|(_, records)| *records).max().unwrap_or(0);
        match there.iter().find(|(_, records)| *records != most) {
            Some((number, records)) if self.want == Want::Part => Err(layout.malformed(
                &place.join(layout.files[number - 1]).display().to_string(),
                counted(*records, "record"),
                format!("{most}, as in the longest batch that is there"),
            )),
            _ => Ok(there.into_iter().map(|(number, _)| number).collect()),
        }
    }

    /// Joins the files, or says which are missing.
    fn assemble(mut self, place: &Path) -> Result<Dataset, DataError> {
        let layout = self.layout;
        let batches = self.batches(place)?;
        let part = match self.missing().is_empty() {
            true => String::new(),
            false => {
                let numbers: Vec<String> = batches.iter().map(ToString::to_string).collect();
                format!(" batches {}", numbers.join(","))
            }
        };
        let test = self.files.pop().flatten().unwrap_or_default();
        let more = self.files.iter().flatten().skip(1).map(|part| part.pixels.len()).sum();
        let mut parts = self.files.into_iter().flatten();
        let mut train = parts.next().unwrap_or_default();
        let no_room = |source| DataError::Io { path: place.into(), source, hint: String::new() };
        make_room(&mut train.pixels, more).map_err(no_room)?;
        for part in parts {
            train.pixels.extend_from_slice(&part.pixels);
            train.labels.extend_from_slice(&part.labels);
        }
        let train = Split::of(Images::Memory { shape: SHAPE, pixels: train.pixels }, train.labels);
        let test = Split::of(Images::Memory { shape: SHAPE, pixels: test.pixels }, test.labels);
        let official = train.len() == layout.official && test.len() == 10_000;
        let given = || match layout.classes {
            [] => (0..layout.class_count()).map(|class| class.to_string()).collect(),
            classes => classes.iter().map(ToString::to_string).collect(),
        };
        Ok(Dataset {
            name: format!("{}{part}", layout.name),
            source: format!(
                "{}{part} from {}: {} training and {}{}",
                layout.title,
                place.display(),
                train.len(),
                counted(test.len(), "test image"),
                if official { "" } else { " (the official set has 50000 and 10000)" }
            ),
            classes: self.names.unwrap_or_else(given),
            mean: layout.mean.to_vec(),
            std: layout.std.to_vec(),
            pretrain: train.clone(),
            train,
            test,
            folds: Vec::new(),
            left_out: LeftOuts::default(),
            skipped: Vec::new(),
        })
    }
}

impl Layout {
    fn malformed(&self, file: &str, found: String, expected: String) -> DataError {
        DataError::Malformed { file: file.into(), found, expected, hint: self.hint.into() }
    }
}

/// Reserves memory for `more` bytes, or returns an error: the data set is the largest part of the memory of a run with
/// a small network.
fn make_room(bytes: &mut Vec<u8>, more: usize) -> io::Result<()> {
    bytes.try_reserve_exact(more).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// Reads to the end, or one byte past `most`, so that the caller can tell that there was more.
fn read_at_most(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
