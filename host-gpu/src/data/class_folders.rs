//! Folders of images, one a class, as ImageNet is kept: `train/CLASS/*` and `val/CLASS/*`, JPEG or PNG of any size.
//!
//! Classes are numbered in the order of their folders' names, as torchvision does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::encoded::{Encoded, is_image};
use super::images::Images;
use super::store::Store;
use super::text::in_turn;
use super::{DataError, Dataset, Split};

/// Where a whole copy is: of images of the user's own nobody knows.
pub const WHERE: &str = "";
/// What the set is made of.
pub(super) const TOPS: [&str; 2] = ["train", "val"];

/// Mean and deviation of each channel as the paper's code has them for ImageNet (spec 5.2).
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`MEAN`].
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Opens the set in the folder `prefix` (empty or ending in `/`) of a store.
pub(super) fn read(store: Store, prefix: &str, place: &Path) -> Result<Dataset, DataError> {
    let train = groups(&store, prefix, "train")?;
    let mut val = groups(&store, prefix, "val")?;
    if let Some((_, part)) = [(&train, "train"), (&val, "val")].into_iter().find(|(part, _)| part.is_empty()) {
        return Err(DataError::Missing {
            place: place.into(),
            missing: format!(
                "{part}/CLASS/*.jpg|jpeg|png (images to learn from lie in train/CLASS/, images to test on in val/CLASS/)"
            ),
            hint: WHERE.into(),
        });
    }
    if let Some((class, files)) = val.iter().find(|(class, _)| !train.contains_key(*class)) {
        return Err(DataError::Malformed {
            file: store.shown(files[0] as usize),
            found: format!("class {class}"),
            expected: "a class of train".into(),
            hint: WHERE.into(),
        });
    }
    if train.len() > usize::from(u16::MAX) {
        return Err(DataError::Malformed {
            file: place.display().to_string(),
            found: format!("{} classes", train.len()),
            expected: format!("at most {}", u16::MAX),
            hint: WHERE.into(),
        });
    }
    let classes: Vec<String> = train.keys().cloned().collect();
    let of_val = classes.iter().map(|class| val.remove(class).unwrap_or_default()).collect();
    let (files, labels) = in_turn(train.into_values().collect());
    let (test_files, test_labels) = in_turn(of_val);
    let store = Arc::new(store);
    let train = Split::of(Images::Encoded(Encoded::new(store.clone(), files)), labels);
    let test = Split::of(Images::Encoded(Encoded::new(store, test_files)), test_labels);
    Ok(Dataset {
        name: "class-folders".into(),
        source: format!(
            "class folders of {}: {} training and {} validation images of {} classes",
            place.display(),
            train.len(),
            test.len(),
            classes.len()
        ),
        classes,
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
        pretrain: train.clone(),
        train,
        test,
        folds: Vec::new(),
    })
}

/// The images below each class folder of `part`, in the order of names.
fn groups(store: &Store, prefix: &str, part: &str) -> Result<BTreeMap<String, Vec<u32>>, DataError> {
    let below = format!("{prefix}{part}/");
    let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for file in 0..store.len() {
        let Some(rest) = store.name(file).strip_prefix(&below).filter(|rest| is_image(rest)) else { continue };
        let Some((class, _)) = rest.split_once('/') else {
            return Err(DataError::Malformed {
                file: store.shown(file),
                found: format!("an image directly in {part}"),
                expected: format!("{part}/CLASS/{rest}: each image in its class's folder"),
                hint: WHERE.into(),
            });
        };
        // Names are in order, so that a class comes once.
        match groups.get_mut(class) {
            Some(files) => files.push(file as u32),
            None => drop(groups.insert(class.into(), vec![file as u32])),
        }
    }
    Ok(groups)
}
