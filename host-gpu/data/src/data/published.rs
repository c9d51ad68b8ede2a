//! Checksums that the sets' pages, or torchvision, publish.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{cifar, stl10};

/// A published file.
#[derive(Debug, Clone, Copy)]
struct Published {
    /// Name of the set, as [`super::Dataset::name`].
    set: &'static str,
    name: &'static str,
    md5: &'static str,
}

const fn of(set: &'static str, name: &'static str, md5: &'static str) -> Published {
    Published { set, name, md5 }
}

const FILES: [Published; 17] = [
    of("cifar10", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    of("cifar100", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    of("stl10", "stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0821fb"),
    of("stl10", "train_X.bin", "918c2871b30a85fa023e0c44e0bee87f"),
    of("stl10", "train_y.bin", "5a34089d4802c674881badbb80307741"),
    of("stl10", "unlabeled_X.bin", "5242ba1fed5e4be9e1e742405eb56ca4"),
    of("stl10", "test_X.bin", "7f263ba9f9e0b06b93213547f721ac82"),
    of("stl10", "test_y.bin", "36f9794fa4beb8a2c72628de14fa638e"),
    of("tiny-imagenet", "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
    of("mnist", "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    of("mnist", "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    of("mnist", "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    of("mnist", "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    of("fashion-mnist", "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    of("fashion-mnist", "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    of("fashion-mnist", "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    of("fashion-mnist", "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
];

/// Subfolders that may hold a set's files.
const FOLDERS: [&str; 6] =
    ["", cifar::CIFAR10.folder, cifar::CIFAR100.folder, stl10::FOLDER, "MNIST/raw", "FashionMNIST/raw"];

/// Files of the set `set` at `path` (an archive, or a folder) that have a published checksum, and an archive in any
/// case: each with the checksum of the file of that name, if any.
pub fn files(path: &Path, set: &str) -> Vec<(PathBuf, Option<&'static str>)> {
    let of_set = FILES.iter().filter(|file| file.set == set);
    if path.is_file() {
        let name = path.file_name().and_then(|name| name.to_str());
        let same = of_set.clone().find(|file| Some(file.name) == name).or_else(|| of_set.clone().next());
        return vec![(path.into(), same.map(|file| file.md5))];
    }
    let places =
        FOLDERS.iter().flat_map(|folder| of_set.clone().map(move |file| (path.join(folder).join(file.name), file)));
    places.filter(|(place, _)| place.is_file()).map(|(place, file)| (place, Some(file.md5))).collect()
}

/// Returns the MD5 of a file in hexadecimal digits. Calls `progress` with the number of bytes read.
///
/// # Errors
/// If the file cannot be read.
pub fn md5(path: &Path, mut progress: impl FnMut(u64)) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = md5::Context::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                digest.consume(&buffer[..read]);
                progress(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(format!("{:x}", digest.finalize()))
}
