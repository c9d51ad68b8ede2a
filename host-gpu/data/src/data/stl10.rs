//! STL-10 in its official binary version (Coates, Ng and Lee 2011): 96x96 colour images, 100,000 of them without
//! labels.
//!
//! `*_X.bin` hold 27,648 bytes an image: red, green and blue plane, each column after column. `*_y.bin` hold a label
//! from 1 to 10 for each. Only labels stay in memory. Images are read by position on demand, from the folder or from
//! the tar. `stl10_binary.tar.gz` is unpacked once for that.

use std::path::Path;

use clapp_core::shape::Shape;

use super::files::holds_any;
use super::format::{Format, folder_of};
use super::images::Images;
use super::left_out::LeftOuts;
use super::records::Records;
use super::store::Store;
use super::text::lines;
use super::{DataError, Dataset, Split};
use crate::words::counted;

/// Folder in the official archive.
pub const FOLDER: &str = "stl10_binary";
/// Name of the official archive.
pub const ARCHIVE: &str = "stl10_binary.tar.gz";
/// Images to pre-train on, to train the probe on, and to test on, and the labels of the last two.
pub const FILES: [&str; 5] = ["unlabeled_X.bin", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"];
/// Address of the official archive.
pub const WHERE: &str = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz";
/// Names of the classes, one a line.
pub const NAMES: &str = "class_names.txt";
/// Indices of the training images of each of ten folds, one fold a line.
pub const FOLDS: &str = "fold_indices.txt";

const CLASSES: [&str; 10] = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];
/// Shape of an image.
const SHAPE: Shape = Shape::new(3, 96, 96);
/// Images of the official set: unlabelled, to train on, to test on.
const OFFICIAL: [usize; 3] = [100_000, 5_000, 8_000];

/// Mean and deviation of each channel in the paper's code (docs/paper.md 5.2).
pub const MEAN: [f32; 3] = [0.4313, 0.4156, 0.3663];
/// See [`MEAN`].
pub const STD: [f32; 3] = [0.2683, 0.2610, 0.2687];

/// STL-10.
pub(super) const FORMAT: Format = Format {
    archive: Some(ARCHIVE),
    hint: WHERE,
    claims: |name| folder_of(name, |file| FILES.contains(&file)),
    in_folder: |path, _| in_folder(path),
    in_store: |store, prefix, path, _| read(&store, prefix, path),
    in_gzip: None,
};

fn in_folder(path: &Path) -> Result<Option<Dataset>, DataError> {
    for folder in [path.to_path_buf(), path.join(FOLDER)] {
        if holds_any(&folder, &FILES)? {
            let names = [&FILES[..], &[NAMES, FOLDS]].concat();
            return read(&Store::folder(&folder, Some(&names), WHERE)?, "", &folder).map(Some);
        }
    }
    Ok(None)
}

/// Opens the set in the folder `prefix` (empty or ending in `/`) of a store.
pub(super) fn read(store: &Store, prefix: &str, place: &Path) -> Result<Dataset, DataError> {
    let find = |name: &str| store.find(&format!("{prefix}{name}"));
    let [Some(unlabelled), Some(train), Some(train_labels), Some(test), Some(test_labels)] = FILES.map(find) else {
        let missing: Vec<&str> = FILES.into_iter().filter(|name| find(name).is_none()).collect();
        return Err(DataError::Missing { place: place.into(), missing: missing.join(", "), hint: WHERE.into() });
    };
    let pretrain = Split::of(Images::Records(records(store, unlabelled)?), Vec::new());
    let train = labelled(store, train, train_labels)?;
    let test = labelled(store, test, test_labels)?;
    let counts = [pretrain.len(), train.len(), test.len()];
    let folds = match find(FOLDS) {
        Some(file) => folds(store, file, train.len())?,
        None => Vec::new(),
    };
    let names = find(NAMES).map(|file| lines(store, file)).transpose()?;
    let names = names.filter(|names| names.len() == CLASSES.len());
    let mut notes = String::new();
    if names.is_none() {
        notes += &format!("; without {NAMES} of {} lines: its names of classes are the official ones", CLASSES.len());
    }
    if folds.is_empty() {
        notes += &format!("; without {FOLDS}: no folds");
    }
    let official = if counts == OFFICIAL { "" } else { " (the official set has 100000, 5000 and 8000)" };
    Ok(Dataset {
        name: "stl10".into(),
        source: format!(
            "STL-10 from {}: {} unlabelled, {} training and {}{official}{notes}",
            place.display(),
            counts[0],
            counts[1],
            counted(counts[2], "test image"),
        ),
        classes: names.unwrap_or_else(|| CLASSES.map(String::from).to_vec()),
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
        pretrain,
        train,
        test,
        folds,
        left_out: LeftOuts::default(),
        skipped: Vec::new(),
    })
}

/// The images of a file.
fn records(store: &Store, file: usize) -> Result<Records, DataError> {
    let Some((path, open, start, len)) = store.plain(file)? else {
        return Err(malformed(store, file, "a compressed file".into(), "the folder, or the official archive"));
    };
    let image = SHAPE.len() as u64;
    if len == 0 || !len.is_multiple_of(image) {
        let expected = format!("whole images of {image} bytes, at least one");
        return Err(malformed(store, file, format!("{len} bytes"), &expected));
    }
    let count = (len / image) as usize;
    Ok(Records { path, file: open, start, count, shape: SHAPE, by_columns: true, hint: WHERE })
}

/// The images of a file with the labels of another.
fn labelled(store: &Store, images: usize, labels: usize) -> Result<Split, DataError> {
    let records = records(store, images)?;
    let mut bytes = Vec::new();
    store.read(labels, &mut bytes)?;
    if bytes.len() != records.len() {
        let expected = format!("{}, one for each image of {}", records.len(), store.shown(images));
        return Err(malformed(store, labels, format!("{} labels", bytes.len()), &expected));
    }
    if let Some((image, label)) = bytes.iter().enumerate().find(|(_, label)| !(1..=10).contains(*label)) {
        return Err(malformed(store, labels, format!("label {label} of image {image}"), "a label from 1 to 10"));
    }
    Ok(Split::of(Images::Records(records), bytes.into_iter().map(|label| u16::from(label) - 1).collect()))
}

/// The indices of each fold.
fn folds(store: &Store, file: usize, train: usize) -> Result<Vec<Vec<usize>>, DataError> {
    let mut folds = Vec::new();
    for (number, line) in lines(store, file)?.into_iter().enumerate() {
        let mut fold = Vec::new();
        for word in line.split_whitespace() {
            match word.parse::<usize>() {
                Ok(index) if index < train => fold.push(index),
                _ => {
                    let expected = format!("an index below {train}");
                    return Err(malformed(store, file, format!("`{word}` in line {}", number + 1), &expected));
                }
            }
        }
        folds.push(fold);
    }
    Ok(folds)
}

fn malformed(store: &Store, file: usize, found: String, expected: &str) -> DataError {
    DataError::Malformed { file: store.shown(file), found, expected: expected.into(), hint: WHERE.into() }
}
