//! The IDX format of MNIST (LeCun, Cortes and Burges 1998), Fashion-MNIST and their kin, plain or gzipped.
//!
//! A file starts with two zero bytes, the type (8: unsigned bytes) and the number of dimensions, then each size as
//! four bytes, most significant first, then the values.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use clapp_core::shape::Shape;
use flate2::bufread::MultiGzDecoder;

use super::files::names_in;
use super::format::{Format, folder_of};
use super::images::Images;
use super::left_out::LeftOuts;
use super::split::statistics;
use super::store::Store;
use super::{DataError, Dataset, Split};
use crate::words::counted;

/// Addresses of the official files and of a mirror.
pub const WHERE: &str = "http://yann.lecun.com/exdb/mnist/ or https://ossci-datasets.s3.amazonaws.com/mnist/";
/// The four files: training images and labels, test images and labels. Each may end in `.gz`. Many copies have a dot
/// instead of the dash before `idx`.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
/// Sets that look alike but for their labels.
const KNOWN: [Known; 2] = [
    Known {
        name: "mnist",
        title: "MNIST",
        start: [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
        classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    },
    Known {
        name: "fashion-mnist",
        title: "Fashion-MNIST",
        start: [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
        classes: &[
            "t-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ],
    },
];

/// A set by the labels of its first ten training images.
struct Known {
    name: &'static str,
    title: &'static str,
    start: [u16; 10],
    classes: &'static [&'static str],
}

/// Largest number of values of a file (MNIST has 47 million).
const MOST: u64 = 1 << 30;
/// Largest size of the header, in bytes.
const MOST_HEAD: u64 = 16;

/// Returns the index in [`FILES`] of a file of that name.
pub(super) fn file_of(name: &str) -> Option<usize> {
    let plain = name.strip_suffix(".gz").unwrap_or(name).replace(".idx", "-idx");
    FILES.iter().position(|known| plain == *known)
}

/// Returns the folder of a store that holds the most of the four files, the least deep of several; `None` if there is
/// none. Some archives have each file in a folder of the same name. Then it returns the folder that holds these
/// folders.
pub(super) fn prefix(store: &Store) -> Option<String> {
    let mut found: BTreeMap<&str, [bool; 4]> = BTreeMap::new();
    for file in 0..store.len() {
        if let Some((folder, which)) = folder_and_file(store.name(file)) {
            found.entry(folder).or_default()[which] = true;
        }
    }
    let count = |files: &[bool; 4]| files.iter().filter(|file| **file).count();
    let most = found.into_iter().max_by_key(|(folder, files)| (count(files), Reverse(folder.len())));
    most.map(|(folder, _)| folder.to_string())
}

/// The folder of a name (empty or ending in `/`), and which of the four files it is.
fn folder_and_file(name: &str) -> Option<(&str, usize)> {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(_, file)| (&name[..name.len() - file.len()], file));
    let which = file_of(file)?;
    let above = folder.strip_suffix('/').map_or("", |folder| folder.rsplit('/').next().unwrap_or_default());
    // A folder that is called like the file.
    let own = if file_of(above) == Some(which) { above.len() + 1 } else { 0 };
    Some((&folder[..folder.len() - own], which))
}

/// MNIST and its kin.
pub(super) const FORMAT: Format = Format {
    archive: None,
    hint: WHERE,
    claims: |name| folder_of(name, |file| file_of(file).is_some()),
    in_folder: |path, _| in_folder(path),
    in_store: |store, found, path, _| read(&store, prefix(&store).as_deref().unwrap_or(found), path),
    in_gzip: None,
};

fn in_folder(path: &Path) -> Result<Option<Dataset>, DataError> {
    for folder in [path.to_path_buf(), path.join("MNIST/raw"), path.join("FashionMNIST/raw")] {
        if let Some(names) = names_in(&folder, |name| file_of(name).is_some())? {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // A folder of that name, as in some archives, holds the file of that name.
            let store = Store::folder(&folder, Some(&names), WHERE)?;
            if let Some(prefix) = prefix(&store) {
                return read(&store, &prefix, &folder).map(Some);
            }
        }
    }
    Ok(None)
}

/// Reads the four files in the folder `prefix` (empty or ending in `/`) of a store. Images are `[1, H, W]`; there are as
/// many classes as the largest label plus 1.
///
/// # Errors
/// [`DataError`] if a file is missing, unreadable, not IDX of bytes with the right number of dimensions, not as
/// long as its header says, empty, or where two files do not match.
pub(super) fn read(store: &Store, prefix: &str, place: &Path) -> Result<Dataset, DataError> {
    let mut found = [None; 4];
    // Names are in order: of a file that is there plain and gzipped, the plain one comes first.
    for file in 0..store.len() {
        if let Some((_, which)) = folder_and_file(store.name(file)).filter(|(folder, _)| *folder == prefix) {
            found[which] = found[which].or(Some(file));
        }
    }
    let [Some(train_images), Some(train_labels), Some(test_images), Some(test_labels)] = found else {
        let missing: Vec<&str> =
            FILES.into_iter().zip(found).filter(|(_, at)| at.is_none()).map(|(name, _)| name).collect();
        return Err(DataError::Missing { place: place.into(), missing: missing.join(", "), hint: WHERE.into() });
    };
    let train = read_pair(store, train_images, train_labels)?;
    let test = read_pair(store, test_images, test_labels)?;
    if train.size != test.size {
        let why = format!("images of {:?} and {:?}", train.size, test.size);
        return Err(disagree(store, train_images, test_images, why));
    }
    let shape = Shape::new(1, train.size[0], train.size[1]);
    let (mean, std) = statistics(&train.pixels, shape);
    let train = Split::of(Images::Memory { shape, pixels: train.pixels }, train.labels);
    let test = Split::of(Images::Memory { shape, pixels: test.pixels }, test.labels);
    let classes = train.labels().iter().chain(test.labels()).max().map_or(0, |&label| usize::from(label) + 1);
    let (name, title, names) = match KNOWN.iter().find(|known| train.labels().starts_with(&known.start)) {
        Some(known) if classes <= known.classes.len() => (known.name, known.title, known.classes),
        _ => ("idx", "IDX files", &[][..]),
    };
    let class_name = |class: usize| names.get(class).map_or_else(|| class.to_string(), ToString::to_string);
    Ok(Dataset {
        name: name.into(),
        source: format!(
            "{title} from {}: {} training and {}",
            place.display(),
            train.len(),
            counted(test.len(), "test image")
        ),
        classes: (0..classes).map(class_name).collect(),
        mean,
        std,
        pretrain: train.clone(),
        train,
        test,
        folds: Vec::new(),
        left_out: LeftOuts::default(),
        skipped: Vec::new(),
    })
}

/// One part of the set.
struct Part {
    /// `[height, width]` of its images.
    size: [usize; 2],
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

/// Reads one part of the set.
fn read_pair(store: &Store, images: usize, labels: usize) -> Result<Part, DataError> {
    let ([count, height, width], pixels) = read_values::<3>(store, images)?;
    let ([label_count], values) = read_values::<1>(store, labels)?;
    if count != label_count {
        return Err(disagree(store, images, labels, format!("{count} images and {label_count} labels")));
    }
    Ok(Part { size: [height, width], pixels, labels: values.into_iter().map(u16::from).collect() })
}

/// Sizes and values of a file of `D` dimensions.
fn read_values<const D: usize>(store: &Store, file: usize) -> Result<([usize; D], Vec<u8>), DataError> {
    let shown = store.shown(file);
    let (reader, stored) = store.reader(file, MOST + MOST_HEAD)?;
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let start = reader.fill_buf().map_err(|error| failed(&shown, error))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        // A gzip stream does not tell its length. Its checksum is verified while it is read.
        parse(MultiGzDecoder::new(reader), &shown, None)
    } else {
        parse(reader, &shown, Some(stored))
    }
}

/// Reads the header, checks it against `stored` (the file's length, where known), then the values.
fn parse<const D: usize>(
    mut source: impl Read,
    file: &str,
    stored: Option<u64>,
) -> Result<([usize; D], Vec<u8>), DataError> {
    let mut header = Vec::new();
    let header_len = 4 + 4 * D as u64;
    source.by_ref().take(header_len).read_to_end(&mut header).map_err(|error| failed(file, error))?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte))).collect();
    let expected = 0x0800 + D as u32;
    if let Some(&magic) = words.first()
        && magic != expected
    {
        return Err(malformed(file, format!("the magic number {magic:#010x}"), format!("{expected:#010x}")));
    }
    if header.len() as u64 != header_len {
        return Err(malformed(file, format!("{} bytes", header.len()), format!("a header of {header_len} bytes")));
    }
    let mut sizes = [0; D];
    let mut total = 1_u64;
    for (size, &word) in sizes.iter_mut().zip(&words[1..]) {
        *size = word as usize;
        total = total.saturating_mul(u64::from(word));
    }
    if total == 0 || total > MOST {
        return Err(malformed(file, format!("sizes {sizes:?}"), format!("between 1 and {MOST} values")));
    }
    let longer = |found: String| malformed(file, found, format!("{total} values for sizes {sizes:?}"));
    if let Some(stored) = stored
        && stored != header_len + total
    {
        return Err(longer(format!("{} values", stored.saturating_sub(header_len))));
    }
    let mut values = Vec::new();
    // Read one byte more than expected: this detects a file that is too long, and makes the gzip reader verify its
    // checksum.
    source.take(total + 1).read_to_end(&mut values).map_err(|error| failed(file, error))?;
    match values.len() as u64 {
        found if found > total => Err(longer("more values".into())),
        found if found < total => Err(longer(format!("{found} values"))),
        _ => Ok((sizes, values)),
    }
}

fn failed(file: &str, source: std::io::Error) -> DataError {
    DataError::File { file: file.into(), source, hint: WHERE.into() }
}

fn malformed(file: &str, found: String, expected: String) -> DataError {
    DataError::Malformed { file: file.into(), found, expected, hint: WHERE.into() }
}

fn disagree(store: &Store, first: usize, second: usize, why: String) -> DataError {
    let [first, second] = [first, second].map(|file| store.shown(file).into());
    DataError::Disagreement { first, second, why, hint: WHERE.into() }
}
