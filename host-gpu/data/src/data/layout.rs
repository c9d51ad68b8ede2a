//! Position of the class folders in a folder or archive: `train/CLASS` and `val/CLASS`, or `CLASS` alone, below any
//! number of folders that hold nothing else.

use std::collections::BTreeSet;

use super::kinds::{Kind, by_content, by_name};
use super::store::Store;

/// Names of the part to learn from, and of that to test on, in the order in which they are looked for, in any case.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 6] = ["val", "valid", "validation", "test", "testing", "eval"];
/// Largest number of files whose first bytes are read if no name is that of an image.
const MOST_HEADS: usize = 4096;

/// Position of the class folders. Prefixes are empty or end in `/`; parts are names of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// `PREFIX TRAIN/CLASS` and `PREFIX TEST/CLASS`.
    Parts { prefix: String, train: String, test: String },
    /// `PREFIX CLASS`, with nothing to test on.
    Flat { prefix: String },
    /// `PREFIX TEST/CLASS`, with nothing to learn from.
    TestOnly { prefix: String, test: String },
    /// More than one set, by their prefixes.
    Several(Vec<String>),
}

fn place(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| name.eq_ignore_ascii_case(known))
}

/// Returns `true` if a folder of that name is one to learn from.
pub(super) fn is_train(name: &str) -> bool {
    place(&TRAIN, name).is_some()
}

/// Returns `true` if a folder of that name is one to test on.
pub(super) fn is_test(name: &str) -> bool {
    place(&TEST, name).is_some()
}

/// The first folder of a name that is that of a part; empty if there is none.
pub(super) fn part_of(name: &str) -> &str {
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').find(|part| is_train(part) || is_test(part)).unwrap_or("")
}

/// Folders that hold images, at any depth and directly.
struct Pictured {
    below: BTreeSet<String>,
    directly: BTreeSet<String>,
}

impl Pictured {
    fn of(store: &Store) -> Self {
        let mut files: Vec<usize> = (0..store.len()).filter(|&file| by_name(store.name(file)).is_some()).collect();
        if files.is_empty() {
            let told =
                |file: &usize| store.head(*file, super::kinds::HEAD).is_ok_and(|head| by_content(&head) != Kind::Other);
            files = (0..store.len().min(MOST_HEADS)).filter(told).collect();
        }
        let mut found = Self { below: BTreeSet::new(), directly: BTreeSet::new() };
        for file in files {
            let mut folder = folder_of(store.name(file));
            if !found.directly.insert(folder.into()) {
                continue;
            }
            while found.below.insert(folder.into()) && !folder.is_empty() {
                folder = folder_of(&folder[..folder.len() - 1]);
            }
        }
        found
    }

    /// The names of the folders directly in `folder` that hold images.
    fn inside<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        self.below.range(folder.to_string()..).take_while(move |name| name.starts_with(folder)).filter_map(
            move |name| {
                let rest = &name[folder.len()..];
                rest.strip_suffix('/').filter(|rest| !rest.contains('/'))
            },
        )
    }

    /// Returns `true` if images lie in folders of `folder`, as those of classes do.
    fn has_classes(&self, folder: &str) -> bool {
        self.inside(folder).next().is_some()
    }
}

/// The folder of a name, empty or ending in `/`.
fn folder_of(name: &str) -> &str {
    name.rfind('/').map_or("", |at| &name[..=at])
}

/// Finds the class folders of a store; `None` if there are no images in folders.
pub(super) fn find(store: &Store) -> Option<Layout> {
    let pictured = Pictured::of(store);
    // The least deep sets with both parts.
    let mut whole: Vec<(usize, String)> = Vec::new();
    for prefix in pictured.below.iter() {
        let (train, test) = parts(&pictured, prefix);
        // Their own classes may be called so.
        let inside = whole.iter().any(|(_, known)| prefix.starts_with(known.as_str()));
        if !train.is_empty() && !test.is_empty() && !inside {
            whole.push((prefix.matches('/').count(), prefix.clone()));
        }
    }
    let least = whole.iter().map(|(depth, _)| *depth).min();
    whole.retain(|(depth, _)| Some(*depth) == least);
    if whole.len() > 1 {
        return Some(Layout::Several(whole.into_iter().map(|(_, prefix)| prefix).collect()));
    }
    if let Some((_, prefix)) = whole.pop() {
        let (train, test) = parts(&pictured, &prefix);
        return Some(Layout::Parts { train: train[0].into(), test: test[0].into(), prefix });
    }
    // Folders that hold nothing but one folder.
    let mut root = String::new();
    loop {
        let mut inside = pictured.inside(&root);
        let first = inside.next().map(String::from)?;
        let more = inside.next().is_some();
        drop(inside);
        let inner = format!("{root}{first}/");
        if more || pictured.directly.contains(&root) || !pictured.has_classes(&inner) {
            break;
        }
        if is_test(&first) {
            return Some(Layout::TestOnly { prefix: root, test: first });
        }
        root = inner;
    }
    let at = root.clone();
    let (train, test) = parts(&pictured, &at);
    Some(match (train.first(), test.first()) {
        (None, Some(test)) if pictured.inside(&root).all(is_test) => {
            Layout::TestOnly { prefix: root.clone(), test: (*test).into() }
        }
        // A class may be called so, too: then others are like it.
        (Some(train), _)
            if pictured
                .inside(&root)
                .all(|name| name == *train || is_test(name) || !pictured.has_classes(&format!("{root}{name}/"))) =>
        {
            Layout::Flat { prefix: format!("{root}{train}/") }
        }
        _ => Layout::Flat { prefix: root },
    })
}

/// The folders in `prefix` that are those of parts, and have classes, the best name first.
fn parts<'a>(pictured: &'a Pictured, prefix: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let of = |known: &[&str]| {
        let mut found: Vec<(usize, &str)> = pictured
            .inside(prefix)
            .filter_map(|name| Some((place(known, name)?, name)))
            .filter(|(_, name)| pictured.has_classes(&format!("{prefix}{name}/")))
            .collect();
        // Of `train` and `Train` the first.
        found.sort_by_key(|(place, name)| (*place, std::cmp::Reverse(*name)));
        found.into_iter().map(|(_, name)| name).collect()
    };
    (of(&TRAIN), of(&TEST))
}
