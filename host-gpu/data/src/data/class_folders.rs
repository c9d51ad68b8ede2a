//! Folders of images, one a class, as ImageNet is kept: `train/CLASS/*` and `val/CLASS/*`, or `CLASS/*` that
//! [`Holdout`] divides; images of the usual formats, of any size.
//!
//! Classes are the folders to learn from, numbered in the order of their names, as torchvision does; one without an
//! image stays a class, and [`Dataset::warnings`] names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::encoded::Encoded;
use super::holdout::divide;
use super::images::Images;
use super::kinds::{HEAD, Kind, READ, by_content, by_name};
pub(super) use super::layout::part_of;
use super::layout::{Layout, is_train};
use super::left_out::{FOREIGN, NO_IMAGE, OTHER_PARTS, OUTSIDE, UNREADABLE};
use super::store::Store;
use super::text::in_turn;
use super::{DataError, Dataset, Holdout, Split};
use crate::words::counted;

/// Address of a complete copy: unknown for a user's own images.
pub const WHERE: &str = "";
/// The files that a class holds, for messages.
const FILES: &str = "*.jpg|jpeg|png|webp|bmp|gif|tiff|ppm";

/// Mean and deviation of each channel in the paper's code for ImageNet (docs/paper.md 5.2).
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`MEAN`].
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Images of each class.
type Classes = BTreeMap<String, Vec<u32>>;

/// Opens the set in a store with the given layout.
pub(super) fn read(
    mut store: Store,
    layout: Layout,
    holdout: Option<Holdout>,
    place: &Path,
) -> Result<Dataset, DataError> {
    let shown = |prefix: &str| store.path().join(prefix).display().to_string();
    let missing = |missing: String| DataError::Missing { place: place.into(), missing, hint: WHERE.into() };
    let (train, val, used, how) = match layout {
        Layout::Several(prefixes) => {
            let names: Vec<String> = prefixes.iter().map(|prefix| shown(prefix)).collect();
            return Err(DataError::Malformed {
                file: place.display().to_string(),
                found: format!("{} sets: {}", names.len(), names.join(", ")),
                expected: "one; name its folder".into(),
                hint: WHERE.into(),
            });
        }
        Layout::TestOnly { prefix, test } => {
            let lacks = format!(
                "{prefix}train/CLASS/{FILES} (images to learn from lie in train/CLASS/, images to test on are in {test}/CLASS/)"
            );
            return Err(missing(lacks));
        }
        Layout::Flat { prefix } => {
            let Some(holdout) = holdout else {
                let parent = prefix.trim_end_matches('/');
                let last = parent.rsplit('/').next().unwrap_or_default();
                let own = place.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
                let is_part = is_train(last) || prefix.is_empty() && is_train(&own);
                let found = if is_part { "a part to learn from" } else { "class folders without train and val" };
                return Err(missing(format!(
                    "val/CLASS/{FILES}: found {found} in {}; sort the images into train/CLASS and val/CLASS, or set a fifth \
                     of each class aside for testing with --split 0.8",
                    shown(&prefix).trim_end_matches('/')
                )));
            };
            let (train, val) = divided(groups(&mut store, &prefix, false)?, &store, &prefix, holdout);
            (train, val, vec![prefix], format!("; {holdout}"))
        }
        Layout::Parts { prefix, train, test } => {
            if let Some(holdout) = holdout {
                return Err(holdout.refused(shown(&prefix), &format!("images to test on in {test}"), WHERE));
            }
            let used = [&train, &test].map(|part| format!("{prefix}{part}/"));
            let learnt = groups(&mut store, &used[0], true)?;
            let tested = groups(&mut store, &used[1], true)?;
            let (learnt, tested) = agree(learnt, tested, &mut store, &used[1], &train)?;
            (learnt, tested, used.into(), if test == "val" { String::new() } else { format!("; tested on {test}") })
        }
    };
    for (part, what) in [(&train, "to learn from"), (&val, "to test on")] {
        if part.values().all(Vec::is_empty) {
            return Err(missing(format!("images {what} in a format that is read ({READ}){how}")));
        }
    }
    outside(&mut store, &used);
    dataset(store, train, val, place, &how)
}

fn dataset(store: Store, train: Classes, mut val: Classes, place: &Path, how: &str) -> Result<Dataset, DataError> {
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
    let left_out = store.left_out.clone();
    let train = Split::of(Images::Encoded(Encoded::new(store.clone(), files)), labels);
    let test = Split::of(Images::Encoded(Encoded::new(store, test_files)), test_labels);
    Ok(Dataset {
        name: "class-folders".into(),
        source: format!(
            "class folders of {}: {} training and {} of {}{how}",
            place.display(),
            train.len(),
            counted(test.len(), "validation image"),
            counted(classes.len(), "class")
        ),
        classes,
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

/// Returns `true` if file `i` is a supported image. Records other files as left out.
pub(super) fn keep(store: &mut Store, i: usize) -> bool {
    let kind = by_name(store.name(i)).map_or_else(|| store.head(i, HEAD).map(|head| by_content(&head)), Ok);
    let (why, lost) = match kind {
        Ok(Kind::Image) => return true,
        Ok(Kind::Foreign) => (FOREIGN, true),
        Ok(Kind::Other) => (NO_IMAGE, false),
        Err(_) => (UNREADABLE, true),
    };
    let name = store.name(i).to_string();
    store.left_out.add(why, lost, name);
    false
}

/// The images below each class folder of `part` (a folder's name with `/`), in the order of names. An image beside the
/// class folders is refused in a part (`strict`), and otherwise left out.
fn groups(store: &mut Store, part: &str, strict: bool) -> Result<Classes, DataError> {
    let mut groups: Classes = BTreeMap::new();
    for folder in store.folders().iter().filter_map(|folder| folder.strip_prefix(part)) {
        if let Some(class) = folder.strip_suffix('/').filter(|class| !class.contains('/')) {
            groups.insert(class.into(), Vec::new());
        }
    }
    for file in 0..store.len() {
        if !store.name(file).starts_with(part) || !keep(store, file) {
            continue;
        }
        let rest = &store.name(file)[part.len()..];
        let Some((class, _)) = rest.split_once('/') else {
            if strict {
                let part = part.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                return Err(DataError::Malformed {
                    file: store.shown(file),
                    found: format!("an image directly in {part}"),
                    expected: format!("{part}/CLASS/{rest}: each image in its class's folder"),
                    hint: WHERE.into(),
                });
            }
            let name = store.name(file).to_string();
            store.left_out.add("images beside the class folders", true, name);
            continue;
        };
        // Names are in order, so that a class comes once; an archive need not have entries for its folders.
        match groups.get_mut(class) {
            Some(files) => files.push(file as u32),
            None => drop(groups.insert(class.into(), vec![file as u32])),
        }
    }
    Ok(groups)
}

/// Holds the classes of the part to test on, `part`, against those to learn from.
fn agree(
    learnt: Classes,
    mut tested: Classes,
    store: &mut Store,
    part: &str,
    train: &str,
) -> Result<(Classes, Classes), DataError> {
    for (class, files) in tested.iter().filter(|(class, _)| !learnt.contains_key(*class)) {
        match files.first() {
            Some(&file) => {
                return Err(DataError::Malformed {
                    file: store.shown(file as usize),
                    found: format!("class {class}"),
                    expected: format!("a class of {train}"),
                    hint: WHERE.into(),
                });
            }
            None => store.left_out.add("empty folders of no class", false, format!("{part}{class}/")),
        }
    }
    tested.retain(|class, _| learnt.contains_key(class));
    Ok((learnt, tested))
}

/// Splits each class by the file names below the folder of the classes. The position of that folder does not matter.
fn divided(classes: Classes, store: &Store, prefix: &str, holdout: Holdout) -> (Classes, Classes) {
    let (mut train, mut test) = (BTreeMap::new(), BTreeMap::new());
    for (class, files) in classes {
        let names: Vec<&str> = files.iter().map(|&file| &store.name(file as usize)[prefix.len()..]).collect();
        let (learnt, tested) = divide(&names, holdout.share, holdout.seed);
        let of = |places: Vec<usize>| places.into_iter().map(|at| files[at]).collect();
        train.insert(class.clone(), of(learnt));
        test.insert(class, of(tested));
    }
    (train, test)
}

/// Records the files outside the used folders as left out.
fn outside(store: &mut Store, used: &[String]) {
    for file in 0..store.len() {
        let name = store.name(file).to_string();
        if used.iter().any(|folder| name.starts_with(folder.as_str())) {
            continue;
        }
        let part = part_of(&name);
        // `test` beside `val` is ignored on purpose; `Train` beside `train` is not.
        let same = |folder: &String| {
            folder.trim_end_matches('/').rsplit('/').next().is_some_and(|own| own.eq_ignore_ascii_case(part))
        };
        let lost = part.is_empty() || is_train(part) || used.iter().any(same);
        match by_name(&name) {
            Some(_) if lost => store.left_out.add(OUTSIDE, true, name),
            Some(_) => store.left_out.add(OTHER_PARTS, false, name),
            None => store.left_out.add(NO_IMAGE, false, name),
        }
    }
}
