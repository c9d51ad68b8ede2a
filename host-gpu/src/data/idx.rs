//! The IDX format of MNIST (LeCun, Cortes and Burges 1998), Fashion-MNIST and their kin, plain or gzipped.
//!
//! A file starts with two zero bytes, the type (8: unsigned bytes) and the number of dimensions, then each size as
//! four bytes, most significant first, then the values.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clapp_core::shape::Shape;
use flate2::bufread::MultiGzDecoder;

use super::files::{exists, io_error, is_gzip};
use super::images::Images;
use super::split::statistics;
use super::{DataError, Dataset, Split};

/// Where the official files are, and a mirror.
pub const WHERE: &str = "http://yann.lecun.com/exdb/mnist/ or https://ossci-datasets.s3.amazonaws.com/mnist/";
/// The four files: training images and labels, test images and labels. Each may end in `.gz`.
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

/// Most values of a file that are read (MNIST has 47 million).
const MOST: u64 = 1 << 30;

/// Whether `folder` holds at least one of the four files.
///
/// # Errors
/// [`DataError::Io`] where the folder may not be looked at.
pub fn is_here(folder: &Path) -> Result<bool, DataError> {
    for name in FILES {
        if find(folder, name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the four files in `folder`. Images are `[1, H, W]`; there are as many classes as the largest label plus 1.
///
/// # Errors
/// [`DataError`] where a file is missing, unreadable, not IDX of bytes with the right number of dimensions, not as
/// long as its header says, empty, or where two files do not match.
pub fn read_folder(folder: &Path) -> Result<Dataset, DataError> {
    let mut paths = Vec::new();
    let mut missing = Vec::new();
    for name in FILES {
        match find(folder, name)? {
            Some(path) => paths.push(path),
            None => missing.push(name),
        }
    }
    let [train_images, train_labels, test_images, test_labels] = paths.as_slice() else {
        return Err(DataError::Missing { place: folder.into(), missing: missing.join(", "), hint: WHERE.into() });
    };
    let train = read_pair(train_images, train_labels)?;
    let test = read_pair(test_images, test_labels)?;
    if train.size != test.size {
        return Err(disagree(train_images, test_images, format!("images of {:?} and {:?}", train.size, test.size)));
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
        source: format!("{title} from {}: {} training and {} test images", folder.display(), train.len(), test.len()),
        classes: (0..classes).map(class_name).collect(),
        mean,
        std,
        pretrain: train.clone(),
        train,
        test,
        folds: Vec::new(),
    })
}

/// The path of `name` in `folder`, plain or gzipped.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>, DataError> {
    for path in [folder.join(name), folder.join(format!("{name}.gz"))] {
        if exists(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// One part of the set.
struct Part {
    /// `[height, width]` of its images.
    size: [usize; 2],
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

/// Reads one part of the set.
fn read_pair(images: &Path, labels: &Path) -> Result<Part, DataError> {
    let ([count, height, width], pixels) = read_values::<3>(images)?;
    let ([label_count], values) = read_values::<1>(labels)?;
    if count != label_count {
        return Err(disagree(images, labels, format!("{count} images and {label_count} labels")));
    }
    Ok(Part { size: [height, width], pixels, labels: values.into_iter().map(u16::from).collect() })
}

/// Sizes and values of a file of `D` dimensions.
fn read_values<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), DataError> {
    let failed = |error| io_error(path, error, WHERE);
    let file = File::open(path).map_err(failed)?;
    let stored = file.metadata().map_err(failed)?.len();
    let reader = BufReader::with_capacity(1 << 16, file);
    if is_gzip(path)? {
        // A gzip stream does not say how long it is; what it says of itself is checked while it is read.
        parse(MultiGzDecoder::new(reader), path, None)
    } else {
        parse(reader, path, Some(stored))
    }
}

/// Reads the header, checks it against `stored` (the file's length, where known), then the values.
fn parse<const D: usize>(
    mut source: impl Read,
    path: &Path,
    stored: Option<u64>,
) -> Result<([usize; D], Vec<u8>), DataError> {
    let mut header = Vec::new();
    let header_len = 4 + 4 * D as u64;
    source.by_ref().take(header_len).read_to_end(&mut header).map_err(|error| io_error(path, error, WHERE))?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte))).collect();
    let expected = 0x0800 + D as u32;
    if let Some(&magic) = words.first()
        && magic != expected
    {
        return Err(malformed(path, format!("the magic number {magic:#010x}"), format!("{expected:#010x}")));
    }
    if header.len() as u64 != header_len {
        return Err(malformed(path, format!("{} bytes", header.len()), format!("a header of {header_len} bytes")));
    }
    let mut sizes = [0; D];
    let mut total = 1_u64;
    for (size, &word) in sizes.iter_mut().zip(&words[1..]) {
        *size = word as usize;
        total = total.saturating_mul(u64::from(word));
    }
    if total == 0 || total > MOST {
        return Err(malformed(path, format!("sizes {sizes:?}"), format!("between 1 and {MOST} values")));
    }
    let longer = |found: String| malformed(path, found, format!("{total} values for sizes {sizes:?}"));
    if let Some(stored) = stored
        && stored != header_len + total
    {
        return Err(longer(format!("{} values", stored.saturating_sub(header_len))));
    }
    let mut values = Vec::new();
    // One more than expected: shows a file that goes on, and makes the gzip reader check its checksum.
    source.take(total + 1).read_to_end(&mut values).map_err(|error| io_error(path, error, WHERE))?;
    match values.len() as u64 {
        found if found > total => Err(longer("more values".into())),
        found if found < total => Err(longer(format!("{found} values"))),
        _ => Ok((sizes, values)),
    }
}

fn malformed(path: &Path, found: String, expected: String) -> DataError {
    DataError::Malformed { file: path.display().to_string(), found, expected, hint: WHERE.into() }
}

fn disagree(first: &Path, second: &Path, why: String) -> DataError {
    DataError::Disagreement { first: first.into(), second: second.into(), why, hint: WHERE.into() }
}
