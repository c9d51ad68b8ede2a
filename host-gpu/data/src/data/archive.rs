//! The names in a tar or zip as a tree of folders, files and links. This code touches no file on the disk.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::DataError;
use super::files::io_error;
use super::left_out::LeftOuts;
use super::tree::{Item, Tree, What};
use super::zipped::Zip;

/// Links that are followed from one to the next.
const HOPS: usize = 40;
/// Largest length of a link's path in a zip, in bytes.
const MOST_LINK: u64 = 4096;

/// An entry of an archive.
#[derive(Debug, Clone)]
enum Node {
    /// Its place (in a zip its number) and its length.
    File {
        at: u64,
        len: u64,
    },
    Folder,
    /// A symbolic link, with the path that it holds.
    Link(String),
    /// A hard link, with the name of a file of the archive.
    SameAs(String),
    /// Any other entry: the reason why it is not read, and `true` if it may have been an image.
    Odd(&'static str, bool),
}

/// The names of an archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    hint: &'static str,
    /// Entries of each folder. The name of the root is empty; other names do not end in `/`.
    folders: HashMap<String, BTreeMap<String, Node>>,
    /// Duplicate names.
    pub left_out: LeftOuts,
}

const TWICE: &str = "duplicate names in the archive (the last entry of each name is read)";
const OUTSIDE: Node = Node::Odd("links that lead out of the archive", true);
const BROKEN: Node = Node::Odd("broken links", true);
const ENDLESS: Node = Node::Odd("links that lead to each other", true);

impl Archive {
    fn new(path: &Path, hint: &'static str) -> Self {
        let folders = HashMap::from([(String::new(), BTreeMap::new())]);
        Self { path: path.into(), hint, folders, left_out: LeftOuts::default() }
    }

    /// The names of an uncompressed tar.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read, is not a tar, a file in it is cut short, or a name leads out of it.
    pub(super) fn of_tar(path: &Path, hint: &'static str) -> Result<Self, DataError> {
        let failed = |error| io_error(path, error, hint);
        let file = File::open(path).map_err(failed)?;
        let whole = file.metadata().map_err(failed)?.len();
        let mut tar = tar::Archive::new(BufReader::new(file));
        let mut all = Vec::new();
        for entry in tar.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let inside = entry.path().map_err(failed)?;
            let Some(name) = inside.to_str().map(String::from) else {
                return Err(not_unicode(path, &inside, hint));
            };
            let target = || -> Result<String, DataError> {
                let target = entry.link_name().map_err(failed)?.unwrap_or_default();
                target.to_str().map(String::from).ok_or_else(|| not_unicode(path, &target, hint))
            };
            let node = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous if name.ends_with('/') => Node::Folder,
                EntryType::Regular | EntryType::Continuous => {
                    let (at, len) = (entry.raw_file_position(), entry.size());
                    if at.checked_add(len).is_none_or(|end| end > whole) {
                        return Err(DataError::Malformed {
                            file: format!("{}: {name}", path.display()),
                            found: format!("{} bytes", whole.saturating_sub(at)),
                            expected: format!("{len} bytes, as the archive's header says"),
                            hint: hint.into(),
                        });
                    }
                    Node::File { at, len }
                }
                EntryType::Directory => Node::Folder,
                EntryType::Symlink => Node::Link(target()?),
                EntryType::Link => Node::SameAs(target()?),
                EntryType::XGlobalHeader | EntryType::XHeader => continue,
                EntryType::GNUSparse => Node::Odd("sparse files in the archive", true),
                _ => Node::Odd("entries that are neither files nor folders nor links", false),
            };
            all.push((name, node));
        }
        let mut archive = Self::new(path, hint);
        // Some packers on Windows write its own separator.
        let backslashes = !all.iter().any(|(name, _)| name.contains('/'));
        for (name, node) in all {
            archive.add(&if backslashes { name.replace('\\', "/") } else { name }, node)?;
        }
        Ok(archive)
    }

    /// The names of a zip.
    ///
    /// # Errors
    /// Same as [`Archive::of_tar`].
    pub(super) fn of_zip(path: &Path, zip: &Zip, hint: &'static str) -> Result<Self, DataError> {
        let mut archive = Self::new(path, hint);
        for (index, member) in zip.members.iter().enumerate() {
            // Some packers on Windows write its own separator.
            let name = member.name.replace('\\', "/");
            let node = match () {
                () if name.ends_with('/') => Node::Folder,
                () if member.encrypted => Node::Odd("encrypted files in the archive", true),
                () if member.link => {
                    let mut target = String::new();
                    let read = zip.reader(index).and_then(|file| file.take(MOST_LINK).read_to_string(&mut target));
                    read.map_err(|error| io_error(path, error, hint))?;
                    Node::Link(target.replace('\\', "/"))
                }
                () => Node::File { at: index as u64, len: member.len },
            };
            archive.add(&name, node)?;
        }
        for name in &zip.repeated {
            archive.left_out.add(TWICE, false, name.clone());
        }
        Ok(archive)
    }

    /// Adds a name and its entry.
    fn add(&mut self, name: &str, node: Node) -> Result<(), DataError> {
        let parts = parts_of(name).ok_or_else(|| unsafe_name(&self.path, name, self.hint))?;
        let Some((last, folders)) = parts.split_last() else { return Ok(()) };
        let mut folder = String::new();
        for part in folders {
            self.put(&folder, part, Node::Folder);
            folder = join(&folder, part);
        }
        self.put(&folder, last, node);
        Ok(())
    }

    /// Puts `node` into a folder, and replaces an entry of the same name.
    fn put(&mut self, folder: &str, name: &str, node: Node) {
        let path = join(folder, name);
        let is_folder = matches!(node, Node::Folder);
        let before = self.folders.entry(folder.into()).or_default().insert(name.into(), node);
        match before {
            Some(Node::Folder) if is_folder => {}
            Some(before) => {
                if matches!(before, Node::Folder) {
                    self.folders.remove(&path);
                }
                self.left_out.add(TWICE, false, path.clone());
            }
            None => {}
        }
        if is_folder {
            self.folders.entry(path).or_default();
        }
    }

    /// Resolves the path `target`, relative to `folder`. Returns the entry, and for a folder its path.
    fn follow(&self, folder: &str, target: &str, hops: usize) -> Result<(Node, String), Node> {
        let Some(hops) = hops.checked_sub(1) else { return Err(ENDLESS) };
        if target.starts_with('/') {
            return Err(OUTSIDE);
        }
        let mut at = folder.to_string();
        let mut parts = target.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
        while let Some(part) = parts.next() {
            if part == ".." {
                if at.is_empty() {
                    return Err(OUTSIDE);
                }
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let node = self.folders.get(&at).and_then(|names| names.get(part)).ok_or(BROKEN)?;
            let (node, inner) = match node {
                Node::Folder => (Node::Folder, join(&at, part)),
                Node::Link(target) => self.follow(&at, target, hops)?,
                Node::SameAs(target) => self.follow("", target, hops)?,
                other => (other.clone(), String::new()),
            };
            match (node, parts.peek()) {
                (Node::Folder, _) => at = inner,
                (other, None) => return Ok((other, String::new())),
                (_, Some(_)) => return Err(BROKEN),
            }
        }
        Ok((Node::Folder, at))
    }
}

impl Tree for Archive {
    fn list(&self, at: &Path) -> Result<Vec<Item>, DataError> {
        let folder = at.to_str().unwrap_or_default();
        let Some(names) = self.folders.get(folder) else { return Ok(Vec::new()) };
        let item = |(name, node): (&String, &Node)| {
            let (linked, led) = match node {
                Node::Link(target) => (true, self.follow(folder, target, HOPS)),
                Node::SameAs(target) => (true, self.follow("", target, HOPS)),
                Node::Folder => (false, Ok((Node::Folder, join(folder, name)))),
                other => (false, Ok((other.clone(), String::new()))),
            };
            let what = match led.unwrap_or_else(|odd| (odd, String::new())) {
                (Node::File { at, len }, _) => What::File { at, len },
                (Node::Folder, path) => What::Folder(path.into()),
                (Node::Odd(why, lost), _) => What::Nothing { why, lost },
                (Node::Link(_) | Node::SameAs(_), _) => What::Nothing { why: "broken links", lost: true },
            };
            Item { name: name.clone(), linked, what }
        };
        Ok(names.iter().map(item).collect())
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}

/// The parts of a name without those that mean nothing; `None` if it leads out of the archive.
fn parts_of(name: &str) -> Option<Vec<&str>> {
    let drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if name.starts_with('/') || drive || name.contains('\0') || name.split('/').any(|part| part == "..") {
        return None;
    }
    Some(name.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

/// Refuses a name that leads out of the archive.
///
/// # Errors
/// [`DataError::Malformed`] with the name.
pub(super) fn check_name(path: &Path, name: &str, hint: &'static str) -> Result<(), DataError> {
    parts_of(name).map(drop).ok_or_else(|| unsafe_name(path, name, hint))
}

fn unsafe_name(path: &Path, name: &str, hint: &'static str) -> DataError {
    DataError::Malformed {
        file: path.display().to_string(),
        found: format!("the unsafe name `{}`", name.escape_debug()),
        expected: "names inside the archive: not absolute, and without `..`".into(),
        hint: hint.into(),
    }
}

pub(super) fn not_unicode(root: &Path, path: &Path, hint: &'static str) -> DataError {
    DataError::Malformed {
        file: root.display().to_string(),
        found: format!("the name {}", path.display()),
        expected: "names in Unicode".into(),
        hint: hint.into(),
    }
}
