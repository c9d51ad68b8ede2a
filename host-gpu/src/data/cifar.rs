//! CIFAR-10 in its official binary version (Krizhevsky 2009), from its folder or straight from the archive.
//!
//! Each of the six batch files holds records of 3073 bytes: one label, then the red, green and blue plane of
//! 32x32 values. Official files hold 10,000 records; any other whole number is accepted (a cut-down copy for a
//! quick try), and [`Dataset::source`] says how many were read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use clapp_core::shape::Shape;
use flate2::bufread::MultiGzDecoder;

use super::files::io_error;
use super::images::Images;
use super::{DataError, Dataset, Split};

/// Folder in the official archive.
pub const FOLDER: &str = "cifar-10-batches-bin";
/// Name of the official archive.
pub const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// The batch files: five to train on, then the test batch.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// Where the official archive is.
pub const WHERE: &str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";

/// Mean of each channel as the paper's code has it.
const MEAN: [f32; 3] = [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0];
/// Standard deviation of each channel as the paper's code has it.
const STD: [f32; 3] = [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0];
/// Class names where `batches.meta.txt` is not there.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const NAMES_FILE: &str = "batches.meta.txt";
const SHAPE: Shape = Shape::new(3, 32, 32);
const IMAGE: usize = SHAPE.len();
const RECORD: usize = 1 + IMAGE;
/// Most bytes of a batch file that are read: 10,000 official records ten times over. A larger file is refused, so
/// that a wrong or hostile archive cannot fill the memory.
const MOST: u64 = 10 * 10_000 * RECORD as u64;
/// Most bytes that may follow the last file in an archive (the official one ends within a few KiB).
const MOST_AFTER: u64 = 64 << 20;

/// Reads the batch files in `folder`.
///
/// # Errors
/// [`DataError`] where a file is missing, unreadable, empty, not a whole number of records, too large, or has a
/// label above 9.
pub fn read_folder(folder: &Path) -> Result<Dataset, DataError> {
    let mut parts: [Option<Records>; 6] = Default::default();
    let mut names = None;
    for (name, part) in FILES.iter().zip(&mut parts) {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(&path, error, WHERE)),
        };
        let bytes = read_at_most(file, MOST).map_err(|error| io_error(&path, error, WHERE))?;
        *part = Some(Records::parse(bytes, &path.display().to_string())?);
    }
    // The names are a courtesy: a set without them, or with strange ones, is read all the same.
    if let Ok(file) = File::open(folder.join(NAMES_FILE))
        && let Ok(bytes) = read_at_most(file, 4096)
    {
        names = class_names(&bytes);
    }
    assemble(folder, parts, names)
}

/// Reads the official archive as a stream, without unpacking it.
///
/// # Errors
/// [`DataError`] as for [`read_folder`], and where the gzip or tar stream is damaged or cut short.
pub fn read_archive(archive: &Path) -> Result<Dataset, DataError> {
    let failed = |error| io_error(archive, error, WHERE);
    let file = File::open(archive).map_err(failed)?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)));
    let mut parts: [Option<Records>; 6] = Default::default();
    let mut names = None;
    for entry in tar.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(failed)?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let shown = format!("{}: {}", archive.display(), path.display());
        if let Some(at) = FILES.iter().position(|known| *known == name) {
            let size = entry.size();
            let bytes = read_at_most(entry, MOST).map_err(failed)?;
            // A cut entry ends early without an error from the tar reader.
            if size <= MOST && bytes.len() as u64 != size {
                return Err(malformed(
                    &shown,
                    format!("{} bytes", bytes.len()),
                    format!("{size} bytes, as the archive's header says"),
                ));
            }
            if parts[at].replace(Records::parse(bytes, &shown)?).is_some() {
                return Err(malformed(&shown, "a second file of this name".into(), "each batch once".into()));
            }
        } else if name == NAMES_FILE {
            names = class_names(&read_at_most(entry, 4096).map_err(failed)?);
        }
    }
    // The checksum of the gzip stream is at its very end, and is checked only by reading up to there.
    let mut rest = tar.into_inner().take(MOST_AFTER + 1);
    if io::copy(&mut rest, &mut io::sink()).map_err(failed)? > MOST_AFTER {
        return Err(malformed(
            &archive.display().to_string(),
            format!("more than {MOST_AFTER} bytes after the last file"),
            "the end of the archive".into(),
        ));
    }
    assemble(archive, parts, names)
}

/// The records of one batch file.
struct Records {
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

impl Records {
    /// Takes the bytes of a batch file apart; `file` names it in errors.
    fn parse(bytes: Vec<u8>, file: &str) -> Result<Self, DataError> {
        if bytes.len() as u64 > MOST {
            return Err(malformed(file, format!("more than {MOST} bytes"), format!("{} bytes", 10_000 * RECORD)));
        }
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            return Err(malformed(
                file,
                format!("{} bytes", bytes.len()),
                format!(
                    "whole records of {RECORD} bytes, at least one (the official files have {} bytes)",
                    10_000 * RECORD
                ),
            ));
        }
        let count = bytes.len() / RECORD;
        let (mut pixels, mut labels) = (Vec::with_capacity(count * IMAGE), Vec::with_capacity(count));
        for (number, record) in bytes.chunks_exact(RECORD).enumerate() {
            if record[0] > 9 {
                return Err(malformed(
                    file,
                    format!("label {} in record {number}", record[0]),
                    "a label from 0 to 9".into(),
                ));
            }
            labels.push(u16::from(record[0]));
            pixels.extend_from_slice(&record[1..]);
        }
        Ok(Self { pixels, labels })
    }
}

/// Joins the six parts, or says which are missing.
fn assemble(place: &Path, parts: [Option<Records>; 6], names: Option<Vec<String>>) -> Result<Dataset, DataError> {
    let missing: Vec<&str> =
        FILES.iter().zip(&parts).filter(|(_, part)| part.is_none()).map(|(name, _)| *name).collect();
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    let [a, b, c, d, e, Some(test)] = parts else {
        return Err(lacks(place, &missing));
    };
    for part in [a, b, c, d, e] {
        let Some(part) = part else { return Err(lacks(place, &missing)) };
        pixels.extend_from_slice(&part.pixels);
        labels.extend_from_slice(&part.labels);
    }
    let train = Split::of(Images::Memory { shape: SHAPE, pixels }, labels);
    let test = Split::of(Images::Memory { shape: SHAPE, pixels: test.pixels }, test.labels);
    let official = train.len() == 50_000 && test.len() == 10_000;
    Ok(Dataset {
        name: "cifar10".into(),
        source: format!(
            "CIFAR-10 from {}: {} training and {} test images{}",
            place.display(),
            train.len(),
            test.len(),
            if official { "" } else { " (the official set has 50000 and 10000)" }
        ),
        classes: names.unwrap_or_else(|| CLASSES.map(String::from).to_vec()),
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
        pretrain: train.clone(),
        train,
        test,
    })
}

/// The ten names of `batches.meta.txt`, one a line; `None` where there are not ten.
fn class_names(bytes: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    (names.len() == CLASSES.len()).then_some(names)
}

/// Reads to the end, or one byte past `most`, so that the caller can tell that there was more.
fn read_at_most(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn lacks(place: &Path, missing: &[&str]) -> DataError {
    DataError::Missing { place: place.into(), missing: missing.join(", "), hint: WHERE.into() }
}

fn malformed(file: &str, found: String, expected: String) -> DataError {
    DataError::Malformed { file: file.into(), found, expected, hint: WHERE.into() }
}
