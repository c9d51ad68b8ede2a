//! The IDX reader on small sets that the tests write, whole, cut short, and wrong in every way we thought of.

#![allow(clippy::unwrap_used)]

use crate::sets;

use std::fs;
use std::io::Write;
use std::path::Path;

use clapp_core::shape::Shape;
use clapp_data::data::{self, idx};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

/// A file of `sizes`, with `values` after the header.
fn file(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// Five training and two test images of 3 x 4 pixels.
fn files() -> [Vec<u8>; 4] {
    let values = |count: u8| (0..count).collect::<Vec<u8>>();
    [file(&[5, 3, 4], &values(60)), file(&[5], &[0, 6, 2, 1, 0]), file(&[2, 3, 4], &values(24)), file(&[2], &[3, 1])]
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(folder: &Path, files: &[Vec<u8>; 4], suffix: &str) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in idx::FILES.iter().zip(files) {
        fs::write(folder.join(format!("{name}{suffix}")), bytes).unwrap();
    }
}

fn check(set: &data::Dataset) {
    assert_eq!((set.train.len(), set.test.len()), (5, 2));
    assert_eq!(set.shape(), Some(Shape::new(1, 3, 4)));
    assert_eq!(set.classes, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(set.train.image(4).unwrap(), (48..60).collect::<Vec<u8>>());
    assert_eq!((set.train.label(1), set.test.label(0)), (6, 3));
    // Values 0 to 59: mean 29.5, variance (60^2 - 1) / 12.
    assert!((set.mean[0] - 29.5 / 255.0).abs() < 1e-6);
    assert!((set.std[0] - (3599.0_f32 / 12.0).sqrt() / 255.0).abs() < 1e-6);
}

#[test]
fn plain_and_gzipped_files_are_read() {
    let files = files();
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("plain"), &files, "");
    check(&data::open(&place.path().join("plain")).unwrap());
    let packed = files.each_ref().map(|bytes| gz(bytes));
    write(&place.path().join("packed"), &packed, ".gz");
    check(&data::open(&place.path().join("packed")).unwrap());
    // A name does not decide: some tools unpack files and leave the suffix.
    write(&place.path().join("named"), &files, ".gz");
    check(&data::open(&place.path().join("named")).unwrap());
    write(&place.path().join("root/MNIST/raw"), &files, "");
    check(&data::open(&place.path().join("root")).unwrap());
}

#[test]
fn other_names_and_archives_give_the_same_set() {
    let place = tempfile::tempdir().unwrap();
    let names: [fn(&str) -> String; 7] = [
        |name| name.replace("-idx", ".idx"),
        |name| name.into(),
        |name| format!("some/where/{name}"),
        |name| format!("MNIST/raw/{}", name.replace("-idx", ".idx")),
        |name| format!("./{name}"),
        // As in an archive that many download: a folder of the name for each file.
        |name| format!("{name}/{name}"),
        |name| format!("archive/{}/{name}", name.replace("-idx", ".idx")),
    ];
    for (number, name) in names.into_iter().enumerate() {
        for suffix in ["", ".gz"] {
            let pack = |bytes: Vec<u8>| if suffix.is_empty() { bytes } else { gz(&bytes) };
            let named: sets::Files =
                idx::FILES.into_iter().map(|file| name(file) + suffix).zip(files().map(pack)).collect();
            let folder = place.path().join(format!("{number}{suffix}"));
            sets::write_files(&folder, &named);
            check(&data::open(&folder).unwrap_or_else(|error| panic!("{number}{suffix}: {error}")));
            for (ending, bytes) in
                [("zip", sets::zip(&named)), ("tar", sets::tar(&named)), ("tgz", gz(&sets::tar(&named)))]
            {
                let archive = place.path().join(format!("{number}{suffix}.{ending}"));
                fs::write(&archive, bytes).unwrap();
                check(&data::open(&archive).unwrap_or_else(|error| panic!("{number}{suffix}.{ending}: {error}")));
            }
        }
    }
    // Both forms of a file, and folders called like the files beside them.
    let both = place.path().join("both");
    write(&both, &files(), "");
    write(&both, &files().map(|bytes| gz(&bytes)), ".gz");
    fs::create_dir(both.join("train-images.idx3-ubyte")).unwrap();
    check(&data::open(&both).unwrap());
    let mut named: sets::Files = idx::FILES.into_iter().map(String::from).zip(files()).collect();
    named.retain(|(name, _)| !name.starts_with("t10k"));
    fs::write(place.path().join("half.zip"), sets::zip(&named)).unwrap();
    sets::refused(&place.path().join("half.zip"), &["half.zip lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"]);
}

#[test]
fn digits_without_training_or_test_images_are_named() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &files(), "");
    let warnings = data::open(place.path()).unwrap().warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].starts_with("2 classes without any image: 4, 5"), "{warnings:?}");
    assert!(warnings[1].contains("without training images") && warnings[1].ends_with(": 3"), "{warnings:?}");
    assert!(warnings[2].contains("without test images") && warnings[2].ends_with(": 0, 2, 6"), "{warnings:?}");
}

#[test]
fn mnist_and_fashion_mnist_are_told_apart_by_their_labels() {
    for (name, labels, class) in [
        ("mnist", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3], "9"),
        ("fashion-mnist", [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0], "ankle boot"),
        ("idx", [9, 0, 0, 3, 0, 2, 7, 2, 5, 6, 0], "9"),
        ("idx", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 10], "9"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let mut files = files();
        files[0] = file(&[11, 3, 4], &[7; 132]);
        files[1] = file(&[11], &labels);
        write(&place.path().join("FashionMNIST/raw"), &files, "");
        let set = data::open(place.path()).unwrap();
        assert_eq!((set.name.as_str(), set.classes[9].as_str()), (name, class));
    }
}

#[test]
fn malformed_files_are_named() {
    let long = |mut bytes: Vec<u8>| {
        bytes.push(0);
        bytes
    };
    let short = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    let [images, labels, ..] = files();
    let cases: Vec<(usize, Vec<u8>, &[&str])> = vec![
        (0, Vec::new(), &["train-images", "0 bytes", "header of 16"]),
        (1, Vec::new(), &["train-labels", "0 bytes", "header of 8"]),
        (0, images[..15].to_vec(), &["train-images", "15 bytes", "header of 16"]),
        (0, labels.clone(), &["train-images", "0x00000801", "0x00000803"]),
        (1, images.clone(), &["train-labels", "0x00000803", "0x00000801"]),
        (0, b"<html><body>not found".to_vec(), &["train-images", "0x3c68746d"]),
        (0, long(images.clone()), &["train-images", "60 values"]),
        (0, short(images.clone()), &["train-images", "59 values", "60 values"]),
        (3, short(files()[3].clone()), &["t10k-labels", "1 values", "2 values"]),
        (1, file(&[4], &[0; 4]), &["do not belong together", "5 images and 4 labels"]),
        (2, file(&[2, 4, 3], &[0; 24]), &["do not belong together", "[3, 4] and [4, 3]"]),
        (0, file(&[0, 3, 4], &[]), &["train-images", "[0, 3, 4]"]),
        (0, file(&[5, 0, 4], &[]), &["train-images", "[5, 0, 4]"]),
        (0, file(&[u32::MAX; 3], &[0; 60]), &["train-images", "4294967295"]),
        (0, file(&[1 << 20, 1 << 10, 1 << 2], &[0; 60]), &["train-images", "1048576"]),
        (0, file(&[1 << 10, 1 << 10, 1 << 9], &[0; 60]), &["train-images", "60 values", "536870912 values"]),
    ];
    for (which, bytes, parts) in cases {
        for packed in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let mut files = files();
            files[which] = bytes.clone();
            if packed {
                files = files.map(|bytes| gz(&bytes));
            }
            write(place.path(), &files, if packed { ".gz" } else { "" });
            let text = data::open(place.path()).unwrap_err().to_string();
            for part in parts.iter().chain(&[idx::WHERE]) {
                // A gzip reader only knows that there are too many.
                assert!(text.contains(part), "`{part}` is not in `{text}`");
            }
        }
    }
}

#[test]
fn missing_and_damaged_files_are_named() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &files(), "");
    fs::remove_file(place.path().join(idx::FILES[1])).unwrap();
    fs::remove_file(place.path().join(idx::FILES[2])).unwrap();
    let text = data::open(place.path()).unwrap_err().to_string();
    assert!(text.contains("lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte"), "{text}");

    let packed = files().map(|bytes| gz(&bytes));
    for (which, whole) in packed.iter().enumerate() {
        for len in [2, 5, 12, whole.len() - 8, whole.len() - 1] {
            let place = tempfile::tempdir().unwrap();
            let mut files = packed.clone();
            files[which].truncate(len);
            write(place.path(), &files, ".gz");
            let text = data::open(place.path()).unwrap_err().to_string();
            assert!(text.contains(idx::FILES[which]), "{text}");
        }
        let place = tempfile::tempdir().unwrap();
        let mut files = packed.clone();
        let checksum = whole.len() - 7;
        files[which][checksum] ^= 0x40;
        write(place.path(), &files, ".gz");
        let text = data::open(place.path()).unwrap_err().to_string();
        assert!(text.contains(idx::FILES[which]), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_files_never_panic(
        which in 0_usize..4,
        keep in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        packed in any::<bool>(),
    ) {
        let mut files = files();
        if packed {
            files = files.map(|bytes| gz(&bytes));
        }
        for (at, value) in flips {
            let at = at.index(files[which].len());
            files[which][at] = value;
        }
        let len = keep.index(files[which].len() * 2);
        files[which].truncate(len);
        let place = tempfile::tempdir().unwrap();
        write(place.path(), &files, ".gz");
        if let Ok(set) = data::open(place.path()) {
            prop_assert!(set.train.labels().iter().all(|&label| usize::from(label) < set.classes.len()));
            prop_assert_eq!(set.train.image(set.train.len() - 1).unwrap().len(), set.shape().unwrap().len());
        }
    }

    #[test]
    fn any_bytes_never_panic(which in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let place = tempfile::tempdir().unwrap();
        let mut files = files();
        files[which] = bytes;
        write(place.path(), &files, "");
        let _ = data::open(place.path());
    }
}
