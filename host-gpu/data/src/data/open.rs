//! Recognises the data set at a path.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::archive::check_name;
use super::cache::{Copy, Keep};
use super::files::{Packing, describe, exists, io_error, is_folder, names_in, packing};
use super::format::{FORMATS, Format, Opening};
use super::layout::{Layout, is_test, is_train};
use super::store::Store;
use super::tree::is_system;
use super::{DataError, Dataset, cache, class_folders, kinds, layout};

/// Names that are looked at before an archive counts as unknown.
const MOST_NAMES: usize = 4096;
/// Folders that hold nothing but one folder, inside each other.
const WRAPPINGS: usize = 8;

/// Opens the data set at `path`, as [`open_with`] without a folder for unpacked copies.
///
/// # Errors
/// Same as [`open_with`].
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    open_with(path, None)
}

/// Opens the data set at `path`, whatever its format.
///
/// It recognises CIFAR-10, CIFAR-100, STL-10, Tiny ImageNet, MNIST and sets of the same format (four IDX files, plain
/// or gzipped), and images in `train/CLASS` and `val/CLASS`: as a folder, as a zip, tar or tar.gz, or as a folder that
/// holds one of these. An archive without random access is unpacked once, into `cache` if given; [`Dataset::source`]
/// names the place. [`Dataset::left_out`] lists the files that are not read.
///
/// # Errors
/// [`DataError`]; the message names the value found, the value expected, and the address of the official files.
pub fn open_with(path: &Path, cache: Option<&Path>) -> Result<Dataset, DataError> {
    open_as(path, Opening { cache, ..Opening::default() })
}

/// Same as [`open_with`], as `opening` says. A set that has a part to test on, and a [`super::Holdout`] for it, are refused
/// together.
///
/// # Errors
/// Same as [`open_with`].
pub fn open_as(path: &Path, opening: Opening<'_>) -> Result<Dataset, DataError> {
    let set = open_any(path, opening)?;
    match opening.holdout.filter(|_| set.set() != "class-folders") {
        None => Ok(set),
        Some(holdout) => {
            let found = format!("{}, which has images to test on", set.name);
            Err(holdout.refused(path.display().to_string(), &found, ""))
        }
    }
}

fn open_any(path: &Path, opening: Opening<'_>) -> Result<Dataset, DataError> {
    if !is_folder(path)? {
        return open_archive(path, opening);
    }
    let mut inner = path.to_path_buf();
    for _ in 0..WRAPPINGS {
        if let Some(set) = open_folder(&inner, opening)? {
            return Ok(set);
        }
        match only_folder(&inner)? {
            Some(folder) => inner = folder,
            None => break,
        }
    }
    // Images in folders, at any depth.
    let store = Store::folder(path, None, class_folders::WHERE)?;
    match layout::find(&store) {
        Some(found) => class_folders::read(store, found, opening.holdout, path),
        None => Err(DataError::Unrecognised { path: path.into(), found: describe(path)? }),
    }
}

/// Returns the only folder in `path`, if all other entries are files that are not images.
fn only_folder(path: &Path) -> Result<Option<PathBuf>, DataError> {
    let failed = |error| io_error(path, error, "");
    let mut only = None;
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if is_system(&name) {
            continue;
        }
        let is_folder = fs::metadata(entry.path()).is_ok_and(|found| found.is_dir());
        if is_folder && only.is_some() || !is_folder && kinds::by_name(&name).is_some() {
            return Ok(None);
        }
        if is_folder {
            only = Some(entry.path());
        }
    }
    Ok(only)
}

/// Opens the set directly in a folder; class folders only with parts.
fn open_folder(path: &Path, opening: Opening<'_>) -> Result<Option<Dataset>, DataError> {
    for format in FORMATS {
        if let Some(set) = (format.in_folder)(path, opening)? {
            return Ok(Some(set));
        }
    }
    let is_part = |name: &str| (is_train(name) || is_test(name)) && path.join(name).is_dir();
    if names_in(path, is_part)?.is_some() {
        let store = Store::folder(path, None, class_folders::WHERE)?;
        if let Some(found @ (Layout::Parts { .. } | Layout::Several(_))) = layout::find(&store) {
            return class_folders::read(store, found, opening.holdout, path).map(Some);
        }
    }
    for name in FORMATS.iter().filter_map(|format| format.archive) {
        if exists(&path.join(name))? {
            return open_archive(&path.join(name), opening).map(Some);
        }
    }
    Ok(None)
}

/// The format that the names tell, and the folder with the most of its files.
fn recognise<'a>(names: impl Iterator<Item = &'a str>) -> Option<(&'static Format, &'a str)> {
    let mut found: BTreeMap<&str, (usize, &'static Format)> = BTreeMap::new();
    for (format, prefix) in names.filter_map(Format::of) {
        found.entry(prefix).or_insert((0, format)).0 += 1;
    }
    let most = found.into_iter().max_by_key(|(prefix, (count, _))| (*count, std::cmp::Reverse(prefix.len())));
    most.map(|(prefix, (_, format))| (format, prefix))
}

fn open_archive(path: &Path, opening: Opening<'_>) -> Result<Dataset, DataError> {
    let hint = "";
    let unrecognised = |found: String| Err(DataError::Unrecognised { path: path.into(), found });
    match packing(path)? {
        Packing::Gzip => {
            let names = first_names(path)?;
            let format = recognise(names.iter().map(String::as_str)).map(|(format, _)| format);
            if let Some(read) = format.and_then(|format| format.in_gzip) {
                return read(path, opening);
            }
            // Files without an ending may be images; others are not unpacked for nothing.
            let may_hold = |name: &String| {
                kinds::by_name(name).is_some() || !name.rsplit('/').next().unwrap_or_default().contains('.')
            };
            if format.is_none() && !names.iter().filter(|name| !name.ends_with('/')).any(may_hold) {
                return unrecognised(format!("an archive with {}", few(&names)));
            }
            let hint = format.map_or(class_folders::WHERE, |format| format.hint);
            let keep = if opening.once { Keep::Nothing } else { Keep::In(opening.cache) };
            // A folder that the user has named is used in any case.
            let keep = opening.cache.map_or(keep, |folder| Keep::In(Some(folder)));
            let copy = cache::unpacked(path, keep, hint)?;
            let mut data = open_store(Store::tar(copy.path(), hint)?, path, opening)?;
            // Remove a temporary copy now: the store has it open.
            if let Copy::Kept(copy) = copy {
                data.source += &format!("; unpacked to {} (remove the copy when no run needs it)", copy.display());
            }
            Ok(data)
        }
        Packing::Zip => open_store(Store::zip(path, hint)?, path, opening),
        Packing::Tar => open_store(Store::tar(path, hint)?, path, opening),
        Packing::None => unrecognised("a file that is not gzipped, nor a zip or tar".into()),
    }
}

fn open_store(store: Store, path: &Path, opening: Opening<'_>) -> Result<Dataset, DataError> {
    let found = recognise((0..store.len()).map(|file| store.name(file)));
    match found.map(|(format, prefix)| (format, prefix.to_string())) {
        Some((format, prefix)) => (format.in_store)(store, &prefix, path, opening),
        None => match layout::find(&store) {
            Some(found) => class_folders::read(store, found, opening.holdout, path),
            None => {
                let names: Vec<String> = (0..store.len().min(5)).map(|file| store.name(file).to_string()).collect();
                Err(DataError::Unrecognised { path: path.into(), found: format!("an archive with {}", few(&names)) })
            }
        },
    }
}

/// Names of the first files in a gzipped tar, up to the first that tells the set.
fn first_names(path: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    // The name of a truncated or damaged archive tells the set. Only published archives have an official copy.
    let copy = published_as(path).map_or_else(String::new, |place| format!(". A whole copy: {place}"));
    let hint = format!("The archive is cut short or damaged{copy}");
    let damaged = |source| DataError::Io { path: path.into(), source, hint: hint.clone() };
    let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(|error| io_error(path, error, ""))?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    for entry in tar.entries().map_err(damaged)?.take(MOST_NAMES) {
        let entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        check_name(path, &name, "")?;
        let told = Format::of(&name).is_some();
        names.push(name);
        if told {
            break;
        }
    }
    Ok(names)
}

/// Returns the address of the official archive with the name of a file.
fn published_as(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    FORMATS.iter().find(|format| format.archive == Some(name)).map(|format| format.hint)
}

/// A few names, for a message.
fn few(names: &[String]) -> String {
    match names.len() {
        0 => "no file".into(),
        1..=4 => names.join(", "),
        _ => format!("{}, ...", names[..4].join(", ")),
    }
}
