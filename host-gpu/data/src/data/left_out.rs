//! Files of a set that are not read: counts, and the first names of each kind.

use std::fmt::Write;

/// Names of a kind that are kept; the others are counted.
pub const NAMED: usize = 10;

/// Files and folders that are not read for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Kind of the files, which is the reason why they are not read.
    pub why: &'static str,
    /// `true` if images may be lost with them: a set that loses some is not whole.
    pub lost: bool,
    /// Number.
    pub count: usize,
    /// Its first ten names.
    pub names: Vec<String>,
}

/// All files that are not read, one entry per reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOuts(Vec<LeftOut>);

/// Side files of systems and programs, and hidden files. Nobody misses them.
pub(super) const SYSTEM: &str = "hidden files and system files";
/// Text, tables and all other files that are not images.
pub(super) const NO_IMAGE: &str = "files that are not images";
/// Pictures in formats that are not read.
pub(super) const FOREIGN: &str = "images in unsupported formats";
/// Files that cannot be opened.
pub(super) const UNREADABLE: &str = "files that cannot be read";
/// Images in a part that is neither learnt from nor tested on, such as `test` beside `val`.
pub(super) const OTHER_PARTS: &str = "images in parts that are not used";
/// Images in folders that belong to no part of the set.
pub(super) const OUTSIDE: &str = "images outside of the set's folders";

impl LeftOuts {
    /// Adds a file or folder; `lost` says whether images may be lost with it.
    pub(super) fn add(&mut self, why: &'static str, lost: bool, name: impl Into<String>) {
        let at = self.0.iter().position(|entry| entry.why == why).unwrap_or_else(|| {
            self.0.push(LeftOut { why, lost, count: 0, names: Vec::new() });
            self.0.len() - 1
        });
        let entry = &mut self.0[at];
        entry.count += 1;
        if entry.names.len() < NAMED {
            entry.names.push(name.into());
        }
    }

    /// Adds all of `others`.
    pub(super) fn join(&mut self, others: Self) {
        for other in others.0 {
            match self.0.iter_mut().find(|entry| entry.why == other.why) {
                Some(entry) => {
                    entry.count += other.count;
                    entry.names.extend(other.names);
                    entry.names.truncate(NAMED);
                }
                None => self.0.push(other),
            }
        }
    }

    /// One entry a reason.
    pub fn iter(&self) -> impl Iterator<Item = &LeftOut> {
        self.0.iter()
    }

    /// Returns `true` if everything is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reasons for which images may be lost.
    pub fn warnings(&self) -> usize {
        self.0.iter().filter(|entry| entry.lost).count()
    }
}

impl LeftOut {
    /// Reason, count and names in one line.
    pub fn line(&self) -> String {
        format!("{} ({}): {}", self.why, self.count, some_of(&self.names, self.count))
    }
}

/// Up to ten names of `count`, and how many more there are.
pub fn some_of(names: &[String], count: usize) -> String {
    let shown = &names[..names.len().min(NAMED)];
    let mut text = shown.join(", ");
    if count > shown.len() {
        let _ = write!(text, ", and {} more", count - shown.len());
    }
    text
}
