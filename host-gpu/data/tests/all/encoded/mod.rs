//! What data sets of a user's own look like: formats, folders, archives, links, and what is left out of them.

mod formats;
mod inputs;
mod layouts;
mod left_out;

use clapp_data::data::{Dataset, Split};

use super::sets::contents;

/// Images and labels of both parts.
type Contents = [(Vec<(clapp_core::shape::Shape, Vec<u8>)>, Vec<u16>); 2];

fn all(set: &Dataset) -> Contents {
    [&set.train, &set.test].map(contents)
}

/// Names of the files of a part, in order.
fn names(split: &Split) -> Vec<String> {
    let mut names: Vec<String> = (0..split.len()).filter_map(|i| split.file_name(i).map(String::from)).collect();
    names.sort();
    names
}

/// Count and names of what was left out for a reason that has `why` in it; 0 if nothing was.
fn left_out(set: &Dataset, why: &str) -> (usize, Vec<String>) {
    let found = set.left_out.iter().find(|entry| entry.why.contains(why));
    found.map_or((0, Vec::new()), |entry| (entry.count, entry.names.clone()))
}
