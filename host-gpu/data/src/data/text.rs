//! Lists of names in a set's text files.

use super::DataError;
use super::store::Store;

/// The lines of a file that are not empty, without white space around them.
pub(super) fn lines(store: &Store, file: usize) -> Result<Vec<String>, DataError> {
    let mut bytes = Vec::new();
    store.read(file, &mut bytes)?;
    // Names are for people: a letter in another encoding is no reason to refuse a set.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect())
}

/// `items`, each with its group's number, so that groups take turns: the first of each, then the second of each, and
/// so on. Then any first part holds about as many of each group.
pub(super) fn in_turn(groups: Vec<Vec<u32>>) -> (Vec<u32>, Vec<u16>) {
    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    let mut pairs = Vec::new();
    for place in 0..longest {
        pairs.extend(groups.iter().enumerate().filter_map(|(group, items)| Some((*items.get(place)?, group as u16))));
    }
    pairs.into_iter().unzip()
}
