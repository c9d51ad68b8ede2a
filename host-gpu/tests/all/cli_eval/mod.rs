//! `clapp eval`, `predict` and `features` from end to end, on small sets that the tests write.

#![allow(clippy::unwrap_used)]

use crate::cli_common;
use crate::sets;

mod classes;
mod exported;
mod predicted;
mod sizes;
mod stopped;

use clapp_engine::probe::ProbeRecord;
use cli_common::{CONFIG, clapp, succeeds, write_cifar};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a configuration, CIFAR-10's layout and an encoder of one epoch in `run`.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("tiny.toml"), CONFIG).unwrap();
    write_cifar(&place.path().join("data"));
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--epochs", "1", "--out", "run"];
    succeeds(place.path(), &train);
    place
}

/// Makes class folders with the given numbers of training and test images per class, 40 x 48 pixels (width x height 48
/// x 40).
fn photos(folder: &Path, classes: &[(&str, usize, usize)]) {
    for (class, (name, train, test)) in classes.iter().enumerate() {
        for (part, count) in [("train", *train), ("val", *test)] {
            let place = folder.join(part).join(name);
            fs::create_dir_all(&place).unwrap();
            for number in 0..count {
                let picture = sets::picture(class, number, 48, 40);
                fs::write(place.join(format!("{number:02}.png")), sets::png(&picture.into())).unwrap();
            }
        }
    }
}

/// Runs the program, which must succeed. Returns what it says on standard output and on standard error.
fn both(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = clapp(folder, arguments);
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    (said, errors)
}

fn record(folder: &Path, file: &str) -> ProbeRecord {
    ProbeRecord::read(&folder.join(file)).unwrap()
}

/// The test images of [`photos`], class by class.
fn test_images(folder: &Path, classes: &[&str]) -> Vec<PathBuf> {
    let of = |class: &&str| {
        let mut list: Vec<PathBuf> =
            fs::read_dir(folder.join("val").join(class)).unwrap().map(|entry| entry.unwrap().path()).collect();
        list.sort();
        list
    };
    classes.iter().flat_map(of).collect()
}
