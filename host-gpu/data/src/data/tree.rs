//! Walk through folders, on the disk or in an archive. It counts each file once.
//!
//! A link counts as its target. A link to a folder is followed after all real folders, and only if the same part of the
//! set (`train`, `val`, or files outside both) does not contain that folder yet. So a link to `.` adds nothing, and
//! circular links end.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use super::DataError;
use super::class_folders::part_of;
use super::left_out::{LeftOuts, SYSTEM};
use super::store::Entry;

/// Folders inside each other that are looked into.
const DEPTH: usize = 64;
/// Largest number of files of a set (ImageNet has 1.4 million).
const MOST_FILES: usize = 20_000_000;

/// Folders with files.
pub(super) trait Tree {
    /// Lists the folder `at`, a path without links, in the order of names.
    fn list(&self, at: &Path) -> Result<Vec<Item>, DataError>;
}

/// An entry of a folder.
#[derive(Debug)]
pub(super) struct Item {
    pub name: String,
    /// `true` if the name is a link.
    pub linked: bool,
    pub what: What,
}

/// Target of a name.
#[derive(Debug)]
pub(super) enum What {
    /// In an archive, the place and length of the file.
    File { at: u64, len: u64 },
    /// The folder's path without links.
    Folder(PathBuf),
    /// Not readable: the reason, and `true` if it may have been an image.
    Nothing { why: &'static str, lost: bool },
}

/// Result of a walk.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// All files.
    pub entries: Vec<Entry>,
    /// All folders, by name as files are.
    pub folders: Vec<String>,
    /// Files left out.
    pub left_out: LeftOuts,
}

/// A folder that waits for its turn.
struct Folder {
    /// Name in the set: empty or ending in `/`.
    name: String,
    path: PathBuf,
    /// The folders, without links, that contain the links to this folder.
    above: Vec<PathBuf>,
}

impl Folder {
    /// Returns `true` if the folder is, or contains, a folder that contains it in the set.
    fn holds_itself(&self) -> bool {
        self.above.iter().any(|above| above.starts_with(&self.path))
    }
}

/// All files below `root`; with `tops`, only what has one of these names in it.
///
/// # Errors
/// [`DataError`] if a folder cannot be read, a name is not Unicode, or there are too many files.
pub(super) fn walk(tree: &impl Tree, root: &Path, tops: Option<&[&str]>) -> Result<Found, DataError> {
    let mut found = Found::default();
    let mut known: HashSet<(String, PathBuf)> = HashSet::new();
    let mut waiting = vec![Folder { name: String::new(), path: root.into(), above: Vec::new() }];
    let mut links: VecDeque<Folder> = VecDeque::new();
    loop {
        let folder = match waiting.pop() {
            Some(folder) => folder,
            None => match links.pop_front() {
                Some(link) if link.holds_itself() => {
                    found.left_out.add("links to a folder that contains the link", false, link.name);
                    continue;
                }
                Some(link) => link,
                None => return Ok(found),
            },
        };
        if !known.insert((part_of(&folder.name).to_lowercase(), folder.path.clone())) {
            found.left_out.add("links to folders that are already read", false, folder.name);
            continue;
        }
        if folder.name.split('/').count() > DEPTH {
            found.left_out.add("folders nested too deep", true, folder.name);
            continue;
        }
        let mut inside = Vec::new();
        for Item { name, linked, what } in tree.list(&folder.path)? {
            if tops.is_some_and(|tops| folder.name.is_empty() && !tops.contains(&name.as_str())) {
                continue;
            }
            let system = is_system(&name);
            let name = format!("{}{name}", folder.name);
            match what {
                _ if system => found.left_out.add(SYSTEM, false, name),
                What::File { at, len } => {
                    if found.entries.len() == MOST_FILES {
                        return Err(DataError::Malformed {
                            file: root.display().to_string(),
                            found: format!("more than {MOST_FILES} files"),
                            expected: "a data set".into(),
                            hint: String::new(),
                        });
                    }
                    found.entries.push(Entry { name: name.into(), at, len });
                }
                What::Folder(path) => {
                    let mut inner = Folder { name: name + "/", path, above: folder.above.clone() };
                    if linked {
                        inner.above.push(folder.path.clone());
                        links.push_back(inner);
                    } else {
                        inside.push(inner);
                    }
                }
                What::Nothing { why, lost } => found.left_out.add(why, lost, name),
            }
        }
        // The last is taken first.
        waiting.extend(inside.into_iter().rev());
        if !folder.name.is_empty() {
            found.folders.push(folder.name);
        }
    }
}

/// Names that systems and programs add beside a set's own, and hidden ones.
pub(super) fn is_system(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "__MACOSX",
        "Thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
    ];
    name.starts_with('.') || name == "Icon\r" || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}
