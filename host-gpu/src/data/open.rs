//! Which data set lies at a path.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::cache::{Copy, Keep};
use super::cifar::Want;
use super::encoded::is_image;
use super::files::{Packing, describe, exists, holds_any, is_folder, packing};
use super::store::Store;
use super::{DataError, Dataset, cache, cifar, class_folders, idx, stl10, tiny_imagenet};

/// Names that are looked at before an archive counts as unknown.
const MOST_NAMES: usize = 4096;

/// Opens the data set at `path`, as [`open_with`] without a folder for unpacked copies.
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    open_with(path, None)
}

/// Opens the data set at `path`, whatever its format.
///
/// Recognised are CIFAR-10, CIFAR-100, STL-10 and Tiny ImageNet, MNIST and its kin (four IDX files, plain or gzipped),
/// and images in `train/CLASS` and `val/CLASS`: as a folder, as the official archive, or as a folder that holds one of
/// these. An archive that cannot be read by position is unpacked once, into `cache` where that is given; the set's
/// [`Dataset::source`] says where.
///
/// # Errors
/// [`DataError`]; the message says what was found, what was expected, and where the official files are.
pub fn open_with(path: &Path, cache: Option<&Path>) -> Result<Dataset, DataError> {
    open_keeping(path, Keep::In(cache), Want::Whole)
}

/// As [`open_with`], but of CIFAR-10 the test batch and the training batches that are there are enough. The set's name
/// then lists them. Other sets must be whole, as ever.
///
/// # Errors
/// As [`open_with`].
pub fn open_part(path: &Path, cache: Option<&Path>) -> Result<Dataset, DataError> {
    open_keeping(path, Keep::In(cache), Want::Part)
}

/// As [`open_with`], but where an archive has to be unpacked, and no copy is there yet, none is left behind.
///
/// # Errors
/// As [`open_with`].
pub fn open_once(path: &Path) -> Result<Dataset, DataError> {
    open_keeping(path, Keep::Nothing, Want::Whole)
}

fn open_keeping(path: &Path, cache: Keep<'_>, want: Want) -> Result<Dataset, DataError> {
    if !is_folder(path)? {
        return open_archive(path, cache, want);
    }
    for layout in [&cifar::CIFAR10, &cifar::CIFAR100] {
        for folder in [path.to_path_buf(), path.join(layout.folder)] {
            if holds_any(&folder, layout.files)? {
                return cifar::read_folder(layout, &folder, want);
            }
        }
    }
    for folder in [path.to_path_buf(), path.join(stl10::FOLDER)] {
        if holds_any(&folder, &stl10::FILES)? {
            let names = [&stl10::FILES[..], &[stl10::NAMES, stl10::FOLDS]].concat();
            return stl10::read(&Store::folder(&folder, &names, stl10::WHERE)?, "", &folder);
        }
    }
    for folder in [path.to_path_buf(), path.join("MNIST/raw"), path.join("FashionMNIST/raw")] {
        if idx::is_here(&folder)? {
            return idx::read_folder(&folder);
        }
    }
    for folder in [path.to_path_buf(), path.join(tiny_imagenet::FOLDER)] {
        // Any of its lists tells it from a user's own images; which are missing is then said.
        if holds_any(&folder, &[tiny_imagenet::CLASSES, tiny_imagenet::ANNOTATIONS])? {
            let store = Store::folder(&folder, &tiny_imagenet::TOPS, tiny_imagenet::WHERE)?;
            return tiny_imagenet::read(store, "", &folder);
        }
    }
    for part in class_folders::TOPS {
        if path.join(part).is_dir() {
            return class_folders::read(Store::folder(path, &class_folders::TOPS, class_folders::WHERE)?, "", path);
        }
    }
    for name in [cifar::ARCHIVE, cifar::CIFAR100.archive, stl10::ARCHIVE, tiny_imagenet::ARCHIVE] {
        if exists(&path.join(name))? {
            return open_archive(&path.join(name), cache, want);
        }
    }
    Err(DataError::Unrecognised { path: path.into(), found: describe(path)? })
}

/// A set that an archive's names tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Cifar(&'static str),
    Stl10,
    TinyImageNet,
    ClassFolders,
}

/// The set that a file of that name belongs to, and the part of the name before the set's own.
fn set_of(name: &str) -> Option<(Set, &str)> {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(_, file)| (&name[..name.len() - file.len()], file));
    if cifar::FILES.contains(&file) {
        Some((Set::Cifar(cifar::CIFAR10.name), folder))
    } else if cifar::CIFAR100.files.contains(&file) {
        Some((Set::Cifar(cifar::CIFAR100.name), folder))
    } else if stl10::FILES.contains(&file) {
        Some((Set::Stl10, folder))
    } else if file == tiny_imagenet::CLASSES {
        Some((Set::TinyImageNet, folder))
    } else if let Some(prefix) = name.strip_suffix(tiny_imagenet::ANNOTATIONS) {
        Some((Set::TinyImageNet, prefix))
    } else if is_image(file) {
        let parts = class_folders::TOPS.iter().filter_map(|part| {
            let at = if folder.starts_with(&format!("{part}/")) { Some(0) } else { folder.find(&format!("/{part}/")) };
            at.map(|at| if at == 0 { "" } else { &folder[..=at] })
        });
        parts.min_by_key(|prefix| prefix.len()).map(|prefix| (Set::ClassFolders, prefix))
    } else {
        None
    }
}

/// The set that the names tell. A list of classes says more than the images it is about.
fn recognise<'a>(names: impl Iterator<Item = &'a str>) -> Option<(Set, &'a str)> {
    let mut found = None;
    for known in names.filter_map(set_of) {
        match known.0 {
            Set::ClassFolders => found = found.or(Some(known)),
            _ => return Some(known),
        }
    }
    found
}

fn open_archive(path: &Path, cache: Keep<'_>, want: Want) -> Result<Dataset, DataError> {
    let hint = "";
    let unrecognised = |found: String| Err(DataError::Unrecognised { path: path.into(), found });
    match packing(path)? {
        Packing::Gzip => {
            let names = first_names(path)?;
            match recognise(names.iter().map(String::as_str)) {
                // Small enough for the memory.
                Some((Set::Cifar(name), _)) => cifar::read_archive(cifar_layout(name), path, want),
                Some((set, _)) => {
                    let copy = cache::unpacked(path, cache, hint_of(set))?;
                    let mut data = open_store(Store::tar(copy.path(), hint_of(set))?, path, want)?;
                    // What is not kept goes now: the store has it open.
                    if let Copy::Kept(copy) = copy {
                        data.source +=
                            &format!("; unpacked to {}, which may be removed when no run needs it", copy.display());
                    }
                    Ok(data)
                }
                None => unrecognised(format!("an archive with {}", few(&names))),
            }
        }
        Packing::Zip => open_store(Store::zip(path, hint)?, path, want),
        Packing::Tar => open_store(Store::tar(path, hint)?, path, want),
        Packing::None => unrecognised("a file that is not gzipped, nor a zip or tar".into()),
    }
}

fn open_store(store: Store, path: &Path, want: Want) -> Result<Dataset, DataError> {
    let found = recognise((0..store.len()).map(|file| store.name(file)));
    match found.map(|(set, prefix)| (set, prefix.to_string())) {
        Some((Set::Cifar(name), prefix)) if store.is_zip() => {
            cifar::read_store(cifar_layout(name), &store, &prefix, path, want)
        }
        Some((Set::Cifar(name), _)) => cifar::read_archive(cifar_layout(name), store.path(), want),
        Some((Set::Stl10, prefix)) => stl10::read(&store, &prefix, path),
        Some((Set::TinyImageNet, prefix)) => tiny_imagenet::read(store, &prefix, path),
        Some((Set::ClassFolders, prefix)) => class_folders::read(store, &prefix, path),
        None => {
            let names: Vec<String> = (0..store.len().min(5)).map(|file| store.name(file).to_string()).collect();
            Err(DataError::Unrecognised { path: path.into(), found: format!("an archive with {}", few(&names)) })
        }
    }
}

fn cifar_layout(name: &str) -> &'static cifar::Layout {
    if name == cifar::CIFAR10.name { &cifar::CIFAR10 } else { &cifar::CIFAR100 }
}

fn hint_of(set: Set) -> &'static str {
    match set {
        Set::Cifar(name) => cifar_layout(name).hint,
        Set::Stl10 => stl10::WHERE,
        Set::TinyImageNet => tiny_imagenet::WHERE,
        Set::ClassFolders => class_folders::WHERE,
    }
}

/// Names of the first files in a gzipped tar, up to the first that tells the set.
fn first_names(path: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    // An archive cut short or damaged is named with the places of all sets: which one it was, nobody can tell.
    let damaged = |source| DataError::Io {
        path: path.into(),
        source,
        hint: format!(
            "A whole copy: {}, {}, {}, {}",
            cifar::WHERE,
            cifar::CIFAR100.hint,
            stl10::WHERE,
            tiny_imagenet::WHERE
        ),
    };
    let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(damaged)?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    for entry in tar.entries().map_err(damaged)?.take(MOST_NAMES) {
        let entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let told = set_of(&name).is_some_and(|(set, _)| set != Set::ClassFolders);
        names.push(name);
        if told {
            break;
        }
    }
    Ok(names)
}

/// A few names, for a message.
fn few(names: &[String]) -> String {
    match names.len() {
        0 => "no file".into(),
        1..=4 => names.join(", "),
        _ => format!("{}, ...", names[..4].join(", ")),
    }
}
