//! Shared code of the command-line tests: the program, a tiny configuration, tiny data sets.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod parts;

use clapp_data::data::{cifar, idx};
use std::path::Path;
use std::process::{Command, Output};

/// A network of two layers and two epochs on images of 32 x 32 in colour. Tests spoil it by replacing text.
pub const CONFIG: &str = r#"
name = "tiny"
rule = "clapp++"
seed = 3
epochs = 2
batch = 4
width = 1.0
negatives = "ring"
contrast = "hinge"
input = [3, 32, 32]

[optimizer]
kind = "adamw"
lr = 0.001

[augment]
size = 32
flip = 0.5
grey = 0.2
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
crop = { area = [0.25, 1.0], aspect = [0.75, 1.25] }
jitter = { probability = 0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }
blur = { probability = 0.5, kernel = 3, sigma = [0.1, 2.0] }

[probe]
epochs = 2
batch = 4
lr = 0.01

[probe.augment]
size = 32
flip = 0.5
grey = 0.0
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
crop = { area = [0.08, 1.0], aspect = [0.75, 1.25] }
jitter = { probability = 0.0, brightness = 0.0, contrast = 0.0, saturation = 0.0, hue = 0.0 }
blur = { probability = 0.0, kernel = 3, sigma = [0.1, 2.0] }

[[blocks]]
channels = 4
kernel = [3, 3]
stride = [2, 2]
padding = [1, 1]
max-pool = [2, 2]
loss-pool = { block = [4, 4] }
probe-pool = { block = [2, 2] }

[[blocks]]
channels = 6
kernel = [3, 3]
padding = [1, 1]
loss-pool = "global"
probe-pool = { adaptive = [2, 2] }
"#;

/// [`CONFIG`] with the first `from` replaced.
pub fn spoilt(from: &str, to: &str) -> String {
    assert!(CONFIG.contains(from), "{from}");
    CONFIG.replacen(from, to, 1)
}

/// Runs the program in `folder`.
pub fn clapp(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clapp")).args(arguments).current_dir(folder).output().expect("the program")
}

/// Runs the program, which must succeed. Returns what it says.
pub fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = clapp(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs the program, which must refuse its input with exit code 2 and name all of `parts`. It must write nothing:
/// `folder` must be unchanged afterwards.
pub fn refuses(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = contents(folder);
    let output = clapp(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    for part in parts {
        assert!(errors.contains(part), "{arguments:?}: no `{part}` in: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(contents(folder), before, "{arguments:?} has written something");
}

/// All files below a folder, with their lengths.
fn contents(folder: &Path) -> Vec<(String, u64)> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("metadata");
        list.push((entry.path().display().to_string(), if meta.is_dir() { 0 } else { meta.len() }));
        if meta.is_dir() {
            list.extend(contents(&entry.path()));
        }
    }
    list.sort();
    list
}

/// One file of a small set in CIFAR-10's layout: bright upper halves for even labels, bright lower halves for odd.
pub fn cifar_file(start: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in start..start + count {
        bytes.push((record % 10) as u8);
        bytes.extend((0..3072).map(|place| {
            let lower = place % 1024 / 512;
            let light = if lower == record % 2 { 180 } else { 60 };
            light + ((record * 31 + place * 7) % 61) as u8
        }));
    }
    bytes
}

/// A folder with 20 training and 10 test images.
pub fn write_cifar(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (number, name) in cifar::FILES.iter().enumerate() {
        let count = if number == 5 { 10 } else { 4 };
        std::fs::write(folder.join(name), cifar_file(4 * number, count)).expect("a file");
    }
}

/// An IDX file.
pub fn idx_file(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A folder with `train` and 4 grey images of 32 x 32 in MNIST's layout.
pub fn write_idx(folder: &Path, train: u32) {
    std::fs::create_dir_all(folder).expect("a folder");
    let pixels = |count: u32| (0..count * 1024).map(|place| (place * 13 % 251) as u8).collect::<Vec<u8>>();
    let labels = |count: u32| (0..count).map(|label| (label % 2) as u8).collect::<Vec<u8>>();
    let files = [
        idx_file(&[train, 32, 32], &pixels(train)),
        idx_file(&[train], &labels(train)),
        idx_file(&[4, 32, 32], &pixels(4)),
        idx_file(&[4], &labels(4)),
    ];
    for (name, bytes) in idx::FILES.iter().zip(files) {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
}

/// [`CONFIG`] for grey images.
pub fn grey_config() -> String {
    CONFIG
        .replace("input = [3, 32, 32]", "input = [1, 32, 32]")
        .replace("[0.5, 0.5, 0.5]", "[0.5]")
        .replace("[0.25, 0.25, 0.25]", "[0.25]")
}
