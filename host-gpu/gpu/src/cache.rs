//! Compiled kernels are kept on disk. The name of a file depends on everything that its content was made from.

use clapp_data::files::write_atomically;
use std::path::{Path, PathBuf};

/// The beginning of a file; the checksum of the content comes next, and a line break.
const MARK: &[u8] = b"clapp kernels 1\n";

/// Length of a checksum as text.
const SUM: usize = 32;

/// A folder of compiled kernels. What is damaged in it is made anew; where it cannot be written, nothing is kept.
#[derive(Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// In `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// The user's: `$CLAPP_CACHE`, or `clapp` in `$XDG_CACHE_HOME` or in `~/.cache`.
    pub fn of_user() -> Self {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = named("CLAPP_CACHE");
        let shared = || named("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        let home = || Some(std::env::home_dir()?.join(".cache"));
        Self { folder: own.or_else(|| shared().or_else(home).map(|folder| folder.join("clapp"))) }
    }

    /// The content made from `parts` before, or that of `make` now. Content that `check` refuses is returned, but
    /// neither kept nor taken from the folder.
    ///
    /// # Errors
    /// The error of `make`.
    pub fn get<E>(
        &self,
        parts: &[&str],
        check: impl Fn(&[u8]) -> Result<(), String>,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let path = self.folder.as_ref().map(|folder| folder.join(format!("{}.kernels", name(parts))));
        let kept = path.as_ref().and_then(|path| std::fs::read(path).ok());
        if let Some(content) = kept.as_deref().and_then(whole).filter(|content| check(content).is_ok()) {
            return Ok(content.to_vec());
        }
        let content = make()?;
        if let Some(path) = path.filter(|_| check(&content).is_ok()) {
            let file = [MARK, sum(&content).as_bytes(), b"\n", &content].concat();
            // The kernels are there, kept or not: a folder that cannot be written is no reason to stop.
            let _ = write_atomically(&path, &file);
        }
        Ok(content)
    }
}

/// The content of a file, where its checksum is right.
fn whole(file: &[u8]) -> Option<&[u8]> {
    let (found, content) = file.strip_prefix(MARK)?.split_at_checked(SUM)?;
    let content = content.strip_prefix(b"\n")?;
    (sum(content).as_bytes() == found).then_some(content)
}

/// A name that other parts do not have: each part counts with its length.
fn name(parts: &[&str]) -> String {
    let all: Vec<String> = parts.iter().map(|part| format!("{} {part}", part.len())).collect();
    sum(all.concat().as_bytes())
}

fn sum(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::convert::Infallible;

    fn fine(content: &[u8]) -> Result<(), String> {
        if content.is_empty() { Err("empty".into()) } else { Ok(()) }
    }

    /// Asks the cache; says what it gave, and whether that was made now.
    fn ask(cache: &Cache, parts: &[&str], content: &[u8]) -> (Vec<u8>, bool) {
        let made = Cell::new(false);
        let make = || {
            made.set(true);
            Ok::<_, Infallible>(content.to_vec())
        };
        let Ok(given) = cache.get(parts, fine, make);
        (given, made.get())
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_made_once_is_not_made_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("new");
        assert_eq!(ask(&Cache::at(&folder), &["source", "-O3"], b"first"), (b"first".to_vec(), true));
        assert_eq!(ask(&Cache::at(&folder), &["source", "-O3"], b"second"), (b"first".to_vec(), false));
        // Other options, and the same text cut elsewhere, are something else.
        assert_eq!(ask(&Cache::at(&folder), &["source", "-O2"], b"third"), (b"third".to_vec(), true));
        assert_eq!(ask(&Cache::at(&folder), &["source-", "O3"], b"fourth"), (b"fourth".to_vec(), true));
        assert_eq!(files(&folder).len(), 3);
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path());
        ask(&cache, &["x"], b"content");
        let path = files(place.path()).remove(0);
        let good = std::fs::read(&path).unwrap();
        let damages: [(&str, Vec<u8>); 4] = [
            ("empty", Vec::new()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("turned", [&good[..good.len() - 1], b"!"].concat()),
            ("of another kind", [b"other kernels 1\n", &good[MARK.len()..]].concat()),
        ];
        for (what, bytes) in damages {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(ask(&cache, &["x"], b"content"), (b"content".to_vec(), true), "{what}");
            assert_eq!(std::fs::read(&path).unwrap(), good, "{what}");
        }
        assert_eq!(files(place.path()).len(), 1);
    }

    #[test]
    fn what_is_refused_is_neither_kept_nor_taken() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path());
        assert_eq!(ask(&cache, &["x"], b""), (Vec::new(), true));
        assert!(files(place.path()).is_empty());
        // One that an older program has kept, with a right checksum, is replaced.
        ask(&cache, &["x"], b"content");
        let path = files(place.path()).remove(0);
        std::fs::write(&path, [MARK, sum(b"").as_bytes(), b"\n"].concat()).unwrap();
        assert_eq!(ask(&cache, &["x"], b"content"), (b"content".to_vec(), true));
        assert_eq!(ask(&cache, &["x"], b"other"), (b"content".to_vec(), false));
    }

    #[test]
    fn nothing_is_kept_of_a_failure_or_where_nothing_can_be_written() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Cache::at(place.path()).get(&["x"], fine, || Err("no")), Err("no"));
        assert!(files(place.path()).is_empty());
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(ask(&Cache::at(&file), &["x"], b"content"), (b"content".to_vec(), true));
        assert_eq!(ask(&Cache::none(), &["x"], b"content"), (b"content".to_vec(), true));
    }
}
