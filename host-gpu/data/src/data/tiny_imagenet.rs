//! Tiny ImageNet (Stanford CS231n) as its official zip has it: 64x64 JPEGs, 200 classes.
//!
//! Training images are in `train/WNID/images/`, validation images in `val/images/` with their classes in
//! `val/val_annotations.txt`. The validation images are the test images, as usual, because the labels of `test/` were
//! never published. Copies with validation images sorted into `val/WNID/` or `val/WNID/images/` give the same set.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::class_folders::keep;
use super::encoded::Encoded;
use super::files::holds_any;
use super::format::{Format, folder_of};
use super::images::Images;
use super::kinds::by_name;
use super::left_out::OTHER_PARTS;
use super::store::Store;
use super::text::{in_turn, lines};
use super::{DataError, Dataset, Split};
use crate::words::counted;

/// Folder in the official archive.
pub const FOLDER: &str = "tiny-imagenet-200";
/// Name of the official archive.
pub const ARCHIVE: &str = "tiny-imagenet-200.zip";
/// Address of the official archive.
pub const WHERE: &str = "http://cs231n.stanford.edu/tiny-imagenet-200.zip";
/// Identifiers of the classes, one a line.
pub const CLASSES: &str = "wnids.txt";
/// Identifier, tab, names, for more classes than there are.
pub const WORDS: &str = "words.txt";
/// Class of each validation image.
pub const ANNOTATIONS: &str = "val/val_annotations.txt";
/// Files and folders of the set.
pub(super) const TOPS: [&str; 5] = [CLASSES, WORDS, "train", "val", "test"];

/// Mean and deviation of each channel in the paper's code (docs/paper.md 5.2).
pub const MEAN: [f32; 3] = [0.4802, 0.4481, 0.3975];
/// See [`MEAN`].
pub const STD: [f32; 3] = [0.2302, 0.2265, 0.2262];

/// Tiny ImageNet.
pub(super) const FORMAT: Format = Format {
    archive: Some(ARCHIVE),
    hint: WHERE,
    claims: |name| folder_of(name, |file| file == CLASSES).or_else(|| name.strip_suffix(ANNOTATIONS)),
    in_folder: |path, _| in_folder(path),
    in_store: |store, prefix, path, _| read(store, prefix, path),
    in_gzip: None,
};

fn in_folder(path: &Path) -> Result<Option<Dataset>, DataError> {
    for folder in [path.to_path_buf(), path.join(FOLDER)] {
        // Any of its lists tells it from a user's own images; the missing ones are then named.
        if holds_any(&folder, &[CLASSES, ANNOTATIONS])? {
            let store = Store::folder(&folder, Some(&TOPS), WHERE)?;
            return read(store, "", &folder).map(Some);
        }
    }
    Ok(None)
}

/// Opens the set in the folder `prefix` (empty or ending in `/`) of a store.
pub(super) fn read(mut store: Store, prefix: &str, place: &Path) -> Result<Dataset, DataError> {
    let missing = |name: &str| DataError::Missing { place: place.into(), missing: name.into(), hint: WHERE.into() };
    let find = |name: &str| store.find(&format!("{prefix}{name}")).ok_or_else(|| missing(name));
    let classes_file = find(CLASSES)?;
    let words = find(WORDS).ok().map(|file| lines(&store, file)).transpose()?.unwrap_or_default();
    let classes = lines(&store, classes_file)?;
    let number: HashMap<&str, u16> = classes.iter().map(String::as_str).zip(0..).collect();
    if number.len() != classes.len() || classes.is_empty() || classes.len() > usize::from(u16::MAX) {
        let found = format!("{} lines, {} of them different", classes.len(), number.len());
        return Err(malformed(store.shown(classes_file), found, "one class a line, each once".into()));
    }
    let (files, labels) = train_images(&mut store, prefix, &number, &classes)?;
    let (test_files, test_labels) = test_images(&mut store, prefix, &number, place)?;
    let names = names(&classes, &words);
    let official = files.len() == 100_000 && test_files.len() == 10_000 && classes.len() == 200;
    let unlabelled = format!("{prefix}test/");
    for file in 0..store.len() {
        if store.name(file).starts_with(&unlabelled) && by_name(store.name(file)).is_some() {
            let name = store.name(file).to_string();
            store.left_out.add(OTHER_PARTS, false, name);
        }
    }
    let left_out = store.left_out.clone();
    let store = Arc::new(store);
    let train = Split::of(Images::Encoded(Encoded::new(store.clone(), files)), labels);
    let test = Split::of(Images::Encoded(Encoded::new(store, test_files)), test_labels);
    Ok(Dataset {
        name: "tiny-imagenet".into(),
        source: format!(
            "Tiny ImageNet from {}: {} training and {} of {}{}",
            place.display(),
            train.len(),
            counted(test.len(), "validation image"),
            counted(names.len(), "class"),
            if official { "" } else { " (the official set has 100000, 10000 and 200)" }
        ),
        classes: names,
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
        pretrain: train.clone(),
        train,
        test,
        folds: Vec::new(),
        left_out,
        skipped: Vec::new(),
    })
}

/// Files and labels of the training images, classes in turn.
fn train_images(
    store: &mut Store,
    prefix: &str,
    number: &HashMap<&str, u16>,
    classes: &[String],
) -> Result<(Vec<u32>, Vec<u16>), DataError> {
    let mut groups = vec![Vec::new(); classes.len()];
    let part = format!("{prefix}train/");
    for file in 0..store.len() {
        let Some(rest) = store.name(file).strip_prefix(&part) else { continue };
        let Some((class, _)) = rest.split_once('/') else { continue };
        let label = number.get(class).copied();
        if !keep(store, file) {
            continue;
        }
        let Some(label) = label else {
            let class = store.name(file)[part.len()..].split('/').next().unwrap_or_default();
            let expected = format!("a class of {CLASSES}");
            return Err(malformed(store.shown(file), format!("class {class}"), expected));
        };
        groups[usize::from(label)].push(file as u32);
    }
    if let Some(empty) = groups.iter().position(Vec::is_empty) {
        let folder = store.path().join(prefix).join("train").join(&classes[empty]);
        return Err(malformed(folder.display().to_string(), "no image".into(), "images of every class".into()));
    }
    Ok(in_turn(groups))
}

/// Files and labels of the validation images: in the order of the annotations where there are any, and those of sorted
/// folders that have none after them, classes in turn.
fn test_images(
    store: &mut Store,
    prefix: &str,
    number: &HashMap<&str, u16>,
    place: &Path,
) -> Result<(Vec<u32>, Vec<u16>), DataError> {
    let part = format!("{prefix}val/");
    // The class of each image if a folder names it; `images` is no class.
    let mut images: BTreeMap<usize, Option<u16>> = BTreeMap::new();
    for file in 0..store.len() {
        let Some((folder, _)) = store.name(file).strip_prefix(&part).and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        let (label, flat) = (number.get(folder).copied(), folder == "images");
        if !keep(store, file) {
            continue;
        }
        if label.is_none() && !flat {
            let class = store.name(file)[part.len()..].split('/').next().unwrap_or_default();
            return Err(malformed(store.shown(file), format!("class {class}"), format!("a class of {CLASSES}")));
        }
        images.insert(file, label);
    }
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    let annotations = store.find(&format!("{prefix}{ANNOTATIONS}"));
    if let Some(annotations) = annotations {
        let by_name: HashMap<String, usize> =
            images.keys().map(|&file| (store.name(file).rsplit('/').next().unwrap_or_default().into(), file)).collect();
        for (line, text) in lines(store, annotations)?.iter().enumerate() {
            let wrong = |found: String, expected: &str| {
                malformed(store.shown(annotations), format!("{found} in line {}", line + 1), expected.into())
            };
            let mut words = text.split('\t');
            let (Some(name), Some(class)) = (words.next(), words.next()) else {
                return Err(wrong(format!("`{text}`"), "file name, tab, class"));
            };
            let exact = store.find(&format!("{part}images/{name}")).or_else(|| {
                let sorted = [format!("{part}{class}/{name}"), format!("{part}{class}/images/{name}")];
                sorted.iter().find_map(|name| store.find(name)).or_else(|| by_name.get(name).copied())
            });
            let Some((file, sorted)) = exact.and_then(|file| Some((file, images.remove(&file)?))) else {
                return Err(wrong(format!("image {name}"), "a file of val/images, each in one line"));
            };
            let Some(label) = number.get(class) else {
                return Err(wrong(format!("class {class}"), &format!("a class of {CLASSES}")));
            };
            if sorted.is_some_and(|sorted| sorted != *label) {
                return Err(wrong(format!("class {class} for {}", store.name(file)), "the class of its folder"));
            }
            files.push(file as u32);
            labels.push(*label);
        }
    }
    let mut groups = vec![Vec::new(); number.len()];
    let mut without = 0;
    for (file, label) in &images {
        match label {
            Some(label) => groups[usize::from(*label)].push(*file as u32),
            None => without += 1,
        }
    }
    let (more, more_labels) = in_turn(groups);
    files.extend(more);
    labels.extend(more_labels);
    match annotations {
        Some(annotations) if without > 0 || files.is_empty() => {
            let there = without + files.len();
            let expected = format!("one for each of the {there} images of val/images, at least one");
            Err(malformed(store.shown(annotations), format!("{} annotations", files.len()), expected))
        }
        None if without > 0 || files.is_empty() => {
            Err(DataError::Missing { place: place.into(), missing: ANNOTATIONS.into(), hint: WHERE.into() })
        }
        _ => Ok((files, labels)),
    }
}

/// The first name of each class; its identifier if there is none, and added where two classes share it.
fn names(classes: &[String], words: &[String]) -> Vec<String> {
    let words: HashMap<&str, &str> = words.iter().filter_map(|line| line.split_once('\t')).collect();
    let first = |class: &String| {
        let names = words.get(class.as_str()).copied().unwrap_or(class);
        names.split(',').next().unwrap_or(names).trim().to_string()
    };
    let firsts: Vec<String> = classes.iter().map(first).collect();
    let mut counts = HashMap::new();
    firsts.iter().for_each(|name| *counts.entry(name.clone()).or_insert(0) += 1);
    let unique = |(name, class): (String, &String)| if counts[&name] > 1 { format!("{name} ({class})") } else { name };
    firsts.into_iter().zip(classes).map(unique).collect()
}

fn malformed(file: String, found: String, expected: String) -> DataError {
    DataError::Malformed { file, found, expected, hint: WHERE.into() }
}
