//! Which runs may be compared: accuracies on different test images say nothing about each other.

use super::run::Run;

/// The runs on one data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// Its short name, with the number of its test images where runs are on another part of the same set.
    pub name: String,
    /// Indices of the runs, in their order.
    pub runs: Vec<usize>,
}

/// The data sets of some runs, in the order of the first run on each. A set is a name and its number of test images.
pub fn data_sets(runs: &[Run]) -> Vec<DataSet> {
    let mut sets: Vec<(&str, usize, Vec<usize>)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let data = &run.info.data;
        match sets.iter_mut().find(|(name, tests, _)| (*name, *tests) == (&data.name, data.test_images)) {
            Some((.., indices)) => indices.push(index),
            None => sets.push((&data.name, data.test_images, vec![index])),
        }
    }
    let shown = |(name, tests, runs): &(&str, usize, Vec<usize>)| DataSet {
        name: if sets.iter().filter(|(other, ..)| other == name).count() > 1 {
            format!("{name} ({tests} test images)")
        } else {
            name.to_string()
        },
        runs: runs.clone(),
    };
    sets.iter().map(shown).collect()
}

/// What a run learns from, in words.
pub fn images(run: &Run) -> String {
    let data = &run.info.data;
    format!("{}: {} training, {} test images", data.name, data.train_images, data.test_images)
}
