//! The CIFAR-10 reader on small sets that the tests write, whole, cut short, and wrong in every way we thought of.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clapp_core::shape::Shape;
use clapp_data::data::{self, DataError, Dataset, Opening, cifar};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

const RECORD: usize = 3073;

/// A batch file of `count` records: label `(start + r) % 10`, pixels that depend on record and place.
fn batch(start: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in start..start + count {
        bytes.push((record % 10) as u8);
        bytes.extend((0..RECORD - 1).map(|place| (record * 7 + place / 3) as u8));
    }
    bytes
}

/// The six files of a set: 3 records in each training batch, 4 in the test batch.
fn files() -> Vec<(String, Vec<u8>)> {
    cifar::FILES
        .iter()
        .enumerate()
        .map(|(number, name)| (name.to_string(), batch(number * 3, if number == 5 { 4 } else { 3 })))
        .collect()
}

fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn tar_gz(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("{}/{name}", cifar::FOLDER), bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn write_archive(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join(cifar::ARCHIVE);
    fs::write(&path, bytes).unwrap();
    path
}

/// The message of the error that `path` gives.
fn error(path: &Path) -> String {
    data::open(path).unwrap_err().to_string()
}

fn assert_all_in(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

fn check(set: &Dataset) {
    assert_eq!((set.train.len(), set.test.len()), (15, 4));
    assert_eq!(set.shape(), Some(Shape::new(3, 32, 32)));
    assert_eq!(set.classes.len(), 10);
    assert_eq!(set.train.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]);
    assert_eq!(set.test.labels(), [5, 6, 7, 8]);
    assert_eq!(set.train.image(14).unwrap(), &batch(14, 1)[1..]);
    assert_eq!(set.test.image(3).unwrap(), &batch(18, 1)[1..]);
    assert_eq!(set.train.label(9), 9);
    assert_all_in(&set.source, &["15 training", "4 test", "the official set has 50000"]);
    let first = set.train.take(2);
    assert_eq!((first.len(), first.image(1).unwrap()), (2, set.train.image(1).unwrap()));
    assert_eq!(set.train.take(99).len(), set.train.len());
}

#[test]
fn folder_parent_and_archive_give_the_same_set() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(cifar::FOLDER);
    write_folder(&folder, &files());
    let set = data::open(&folder).unwrap();
    check(&set);
    assert_eq!(set.classes[9], "truck");
    check(&data::open(place.path()).unwrap());

    let other = tempfile::tempdir().unwrap();
    let names = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n\n";
    let mut with_names = files();
    with_names.reverse();
    with_names.push(("batches.meta.txt".into(), names.into()));
    with_names.push(("readme.html".into(), b"more".to_vec()));
    let archive = write_archive(other.path(), &tar_gz(&with_names));
    let set = data::open(&archive).unwrap();
    check(&set);
    assert_eq!(set.classes[9], "ten");
    check(&data::open(other.path()).unwrap());
}

#[test]
fn strange_class_names_do_not_matter() {
    let place = tempfile::tempdir().unwrap();
    write_folder(place.path(), &files());
    for names in [&b"one\ntwo"[..], b"", b"\xff\xfe", &[b'x'; 9000]] {
        fs::write(place.path().join("batches.meta.txt"), names).unwrap();
        assert_eq!(data::open(place.path()).unwrap().classes[0], "airplane");
    }
}

#[test]
fn malformed_batches_are_named() {
    let mut wrong_label = batch(0, 3);
    wrong_label[2 * RECORD] = 10;
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("data_batch_3.bin", Vec::new(), &["data_batch_3.bin", "0 bytes", "3073", cifar::WHERE]),
        ("data_batch_1.bin", batch(0, 2)[1..].to_vec(), &["data_batch_1.bin", "6145 bytes", "3073", cifar::WHERE]),
        ("test_batch.bin", batch(0, 2)[..RECORD + 1].to_vec(), &["test_batch.bin", "3074 bytes", cifar::WHERE]),
        ("test_batch.bin", vec![0], &["test_batch.bin", "1 bytes", cifar::WHERE]),
        ("data_batch_5.bin", wrong_label, &["data_batch_5.bin", "label 10", "record 2", "0 to 9", cifar::WHERE]),
    ];
    for (name, bytes, parts) in cases {
        let place = tempfile::tempdir().unwrap();
        let mut files = files();
        files.iter_mut().find(|(known, _)| known == name).unwrap().1 = bytes;
        write_folder(place.path(), &files);
        assert_all_in(&error(place.path()), parts);
        let other = tempfile::tempdir().unwrap();
        assert_all_in(&error(&write_archive(other.path(), &tar_gz(&files))), parts);
    }
}

#[test]
fn missing_batches_are_named() {
    let place = tempfile::tempdir().unwrap();
    let mut files = files();
    files.retain(|(name, _)| name != "data_batch_2.bin" && name != "test_batch.bin");
    write_folder(place.path(), &files);
    assert_all_in(&error(place.path()), &["lacks data_batch_2.bin, test_batch.bin", cifar::WHERE]);
    let other = tempfile::tempdir().unwrap();
    assert_all_in(&error(&write_archive(other.path(), &tar_gz(&files))), &["lacks data_batch_2.bin, test_batch.bin"]);
}

/// The set's files without some of them.
fn without(names: &[&str]) -> Vec<(String, Vec<u8>)> {
    files().into_iter().filter(|(name, _)| !names.contains(&name.as_str())).collect()
}

/// Opens what is there of a set.
fn open_part(path: &Path) -> Result<Dataset, DataError> {
    data::open_as(path, Opening { want: cifar::Want::Part, ..Opening::default() })
}

#[test]
fn a_part_of_the_set_is_read_where_that_is_asked_for() {
    let gone = ["data_batch_2.bin", "data_batch_4.bin", "data_batch_5.bin"];
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(cifar::FOLDER);
    write_folder(&folder, &without(&gone));
    let other = tempfile::tempdir().unwrap();
    let archive = write_archive(other.path(), &tar_gz(&without(&gone)));
    let zip = place.path().join("set.zip");
    let mut writer = zip::ZipWriter::new(fs::File::create(&zip).unwrap());
    for (name, bytes) in without(&gone) {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap();
    for path in [&folder, &archive, &zip] {
        let set = open_part(path).unwrap();
        assert_eq!((set.name.as_str(), set.set()), ("cifar10 batches 1,3", "cifar10"));
        assert_eq!(set.train.labels(), [0, 1, 2, 6, 7, 8]);
        assert_eq!(set.train.image(5).unwrap(), &batch(8, 1)[1..]);
        assert_eq!(set.test.labels(), [5, 6, 7, 8]);
        assert_all_in(&set.source, &["CIFAR-10 batches 1,3", "6 training", "the official set has 50000"]);
        // As ever where nobody asks for a part.
        assert_all_in(&error(path), &["lacks data_batch_2.bin, data_batch_4.bin, data_batch_5.bin"]);
    }
    // A whole set is no part.
    write_folder(&folder, &files());
    check(&open_part(&folder).unwrap());
    assert_eq!(open_part(&folder).unwrap().name, "cifar10");
}

#[test]
fn a_part_needs_the_test_batch_a_training_batch_and_batches_of_one_length() {
    let said = |files: &[(String, Vec<u8>)]| {
        let place = tempfile::tempdir().unwrap();
        write_folder(place.path(), files);
        open_part(place.path()).unwrap_err().to_string()
    };
    assert_all_in(&said(&without(&["test_batch.bin"])), &["lacks test_batch.bin", cifar::WHERE]);
    let only_test: Vec<_> = files().into_iter().filter(|(name, _)| name == "test_batch.bin").collect();
    assert_all_in(&said(&only_test), &["lacks data_batch_1.bin, data_batch_2.bin", "data_batch_5.bin"]);
    let mut cut = without(&["data_batch_1.bin"]);
    cut[1].1.truncate(2 * RECORD);
    assert_all_in(&said(&cut), &["data_batch_3.bin", "2 records", "3, as in the longest batch"]);
    cut[1].1.truncate(RECORD + 7);
    assert_all_in(&said(&cut), &["data_batch_3.bin", "3080 bytes", "whole records of 3073 bytes"]);
}

#[test]
fn batch_that_is_a_folder_or_too_large_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    write_folder(place.path(), &files());
    let path = place.path().join("data_batch_4.bin");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_all_in(&error(place.path()), &["data_batch_4.bin"]);
    fs::remove_dir(&path).unwrap();
    // A file with a hole: takes no room on the disk.
    fs::File::create(&path).unwrap().set_len(10_001 * 10 * RECORD as u64).unwrap();
    assert_all_in(&error(place.path()), &["data_batch_4.bin", "more than 307300000 bytes"]);
}

#[test]
fn damaged_archives_are_errors() {
    let whole = tar_gz(&files());
    let place = tempfile::tempdir().unwrap();
    for len in [2, 9, 10, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let text = error(&write_archive(place.path(), &whole[..len]));
        assert_all_in(&text, &[cifar::ARCHIVE, cifar::WHERE]);
    }
    // The checksum at the end: the content is whole, yet not what was packed.
    let mut wrong_sum = whole.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert!(matches!(data::open(&write_archive(place.path(), &wrong_sum)).unwrap_err(), DataError::Io { .. }));

    let mut twice = files();
    twice.push(twice[0].clone());
    assert_all_in(&error(&write_archive(place.path(), &tar_gz(&twice))), &["second file", "data_batch_1.bin"]);

    // A stream without end after the archive.
    let mut endless = GzEncoder::new(Vec::new(), Compression::fast());
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&whole[..]), &mut plain).unwrap();
    endless.write_all(&plain).unwrap();
    for _ in 0..65 {
        endless.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let text = error(&write_archive(place.path(), &endless.finish().unwrap()));
    assert_all_in(&text, &["after the last file"]);
}

#[test]
fn archive_header_with_an_absurd_size_is_an_error() {
    let mut header = tar::Header::new_gnu();
    header.set_path("cifar-10-batches-bin/data_batch_1.bin").unwrap();
    for size in [u64::MAX / 2, 1 << 40, RECORD as u64 * 2] {
        header.set_size(size);
        header.set_cksum();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(header.as_bytes()).unwrap();
        gz.write_all(&batch(0, 1)).unwrap();
        let place = tempfile::tempdir().unwrap();
        assert_all_in(&error(&write_archive(place.path(), &gz.finish().unwrap())), &[cifar::ARCHIVE, cifar::WHERE]);
    }
}

#[test]
fn other_things_are_not_recognised() {
    let place = tempfile::tempdir().unwrap();
    assert_all_in(&error(place.path()), &["an empty folder", "CIFAR-10", "STL-10", "MNIST"]);
    fs::create_dir(place.path().join("cifar-10-batches-py")).unwrap();
    assert_all_in(&error(place.path()), &["the Python version of CIFAR-10", "binary version", cifar::WHERE]);
    let file = place.path().join("notes.txt");
    fs::write(&file, "notes").unwrap();
    assert_all_in(&error(&file), &["notes.txt", "not gzipped, nor a zip or tar"]);
    fs::write(&file, "").unwrap();
    assert_all_in(&error(&file), &["notes.txt", "not gzipped, nor a zip or tar"]);
    assert_all_in(&error(&place.path().join("nowhere")), &["nowhere", "cannot read"]);
    let other = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(other.path().join(name), "").unwrap();
    }
    assert_all_in(&error(other.path()), &["5 entries (a, b, c, d, ...)"]);
}

/// CIFAR-100's files: superclass, class, pixels.
fn files_100() -> Vec<(String, Vec<u8>)> {
    let records = |start: usize, count: usize| {
        let record = |record: usize| [&[(record % 20) as u8, (record % 100) as u8], &batch(record, 1)[1..]].concat();
        (start..start + count).flat_map(record).collect::<Vec<u8>>()
    };
    vec![("train.bin".into(), records(90, 20)), ("test.bin".into(), records(0, 3))]
}

#[test]
fn cifar_100_is_read_by_its_classes() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(cifar::CIFAR100.folder);
    let names: String = (0..100).map(|class| format!("name{class}\n")).collect();
    let mut files = files_100();
    files.push(("fine_label_names.txt".into(), names.into()));
    write_folder(&folder, &files);
    let other = tempfile::tempdir().unwrap();
    let archive = other.path().join(cifar::CIFAR100.archive);
    fs::write(&archive, tar_gz(&files)).unwrap();
    let unpacked = other.path().join("cifar-100.tar");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&tar_gz(&files)[..]), &mut plain).unwrap();
    fs::write(&unpacked, plain).unwrap();
    for path in [folder.as_path(), place.path(), &archive, other.path(), &unpacked] {
        let set = data::open(path).unwrap();
        assert_eq!((set.name.as_str(), set.train.len(), set.test.len()), ("cifar100", 20, 3));
        assert_eq!((set.classes.len(), set.classes[99].as_str()), (100, "name99"));
        assert_eq!(set.train.labels()[8..12], [98, 99, 0, 1]);
        assert_eq!(set.test.image(2).unwrap(), &batch(2, 1)[1..]);
        assert_all_in(&set.source, &["CIFAR-100", "20 training", "the official set has 50000 and 10000"]);
    }
}

#[test]
fn what_is_wrong_with_cifar_100_is_named() {
    let whole = files_100();
    let with = |at: usize, value: u8| {
        let mut bytes = whole[0].1.clone();
        bytes[3 * 3074 + at] = value;
        bytes
    };
    let cases: [(Vec<u8>, &[&str]); 3] = [
        (with(0, 20), &["train.bin", "label 20 in record 3", "0 to 19"]),
        (with(1, 100), &["train.bin", "label 100 in record 3", "0 to 99"]),
        (whole[0].1[1..].to_vec(), &["train.bin", "61479 bytes", "3074", "153700000 bytes"]),
    ];
    for (bytes, parts) in cases {
        let place = tempfile::tempdir().unwrap();
        write_folder(place.path(), &[("train.bin".into(), bytes), whole[1].clone()]);
        assert_all_in(&error(place.path()), &[parts, &[cifar::CIFAR100.hint]].concat());
    }
    let place = tempfile::tempdir().unwrap();
    write_folder(place.path(), &whole[1..]);
    assert_all_in(&error(place.path()), &["lacks train.bin"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_archive_never_panics(cut in 0_usize..4000, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut bytes = tar_gz(&files());
        bytes.truncate(bytes.len().saturating_sub(cut / 4));
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let place = tempfile::tempdir().unwrap();
        if let Ok(set) = data::open(&write_archive(place.path(), &bytes)) {
            prop_assert!(set.train.labels().iter().chain(set.test.labels()).all(|&label| label < 10));
        }
    }

    #[test]
    fn any_bytes_as_a_batch_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2 * RECORD), which in 0_usize..6) {
        let place = tempfile::tempdir().unwrap();
        let mut files = files();
        files[which].1 = bytes;
        write_folder(place.path(), &files);
        let _ = data::open(place.path());
    }
}
