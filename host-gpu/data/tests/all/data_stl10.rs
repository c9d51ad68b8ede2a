//! The STL-10 reader on small sets that the tests write, plain and packed, whole and wrong.

#![allow(clippy::unwrap_used)]

use crate::sets;

use std::fs;

use clapp_core::shape::Shape;
use clapp_data::data::{self, stl10};
use sets::{file, gz, refused, stl_files, stl_images, stl_pixel, tar, write_files, zip};

fn check(set: &data::Dataset) {
    assert_eq!((set.name.as_str(), set.shape()), ("stl10", Some(Shape::new(3, 96, 96))));
    assert_eq!((set.pretrain.len(), set.train.len(), set.test.len()), (7, 6, 4));
    assert_eq!(set.train.labels(), [0, 1, 2, 3, 4, 5]);
    assert!(set.pretrain.labels().is_empty() && !set.pretrain.is_labelled());
    assert_eq!(set.classes[0], "plane");
    assert_eq!(set.folds, [[0, 2, 4], [5, 1, 3]]);
    for (split, first) in [(&set.pretrain, 0), (&set.train, 100), (&set.test, 200)] {
        for image in 0..split.len() {
            let pixels = split.image(image).unwrap();
            for (channel, y, x) in [(0, 0, 0), (1, 3, 90), (2, 90, 3), (0, 95, 95), (2, 47, 48)] {
                let found = pixels[(channel * 96 + y) * 96 + x];
                assert_eq!(found, stl_pixel(first + image, channel, y, x), "image {image}");
            }
        }
    }
}

#[test]
fn folder_parent_and_archives_give_the_same_set() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &stl_files());
    let set = data::open(&place.path().join("stl10_binary")).unwrap();
    check(&set);
    assert!(set.source.contains("7 unlabelled, 6 training and 4 test images (the official set has 100000"));
    check(&data::open(place.path()).unwrap());
    let plain = tempfile::tempdir().unwrap();
    fs::write(plain.path().join("copy.tar"), tar(&stl_files())).unwrap();
    check(&data::open(&plain.path().join("copy.tar")).unwrap());
}

#[test]
fn the_packed_archive_is_unpacked_once_where_the_user_wants_it() {
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("deep/cache");
    let archive = place.path().join(stl10::ARCHIVE);
    fs::write(&archive, gz(&tar(&stl_files()))).unwrap();
    let listing = || fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let set = data::open_with(place.path(), Some(&cache)).unwrap();
    check(&set);
    let copies = listing();
    assert_eq!(copies.len(), 1);
    assert!(set.source.contains(&copies[0].display().to_string()), "{}", set.source);
    // Nothing is written a second time.
    let before = fs::metadata(&copies[0]).unwrap().modified().unwrap();
    check(&data::open_with(&archive, Some(&cache)).unwrap());
    assert_eq!((listing(), fs::metadata(&copies[0]).unwrap().modified().unwrap()), (copies.clone(), before));
    // Another archive is unpacked anew.
    let mut other = stl_files();
    *file(&mut other, "unlabeled_X.bin") = stl_images(0, 3);
    fs::write(&archive, gz(&tar(&other))).unwrap();
    assert_eq!(data::open_with(&archive, Some(&cache)).unwrap().pretrain.len(), 3);
    assert_eq!(listing().len(), 2);
    // Without a folder: beside the archive.
    check(&{
        fs::write(&archive, gz(&tar(&stl_files()))).unwrap();
        data::open(&archive).unwrap()
    });
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
}

#[test]
fn a_damaged_archive_leaves_nothing_behind() {
    let whole = gz(&tar(&stl_files()));
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let archive = place.path().join(stl10::ARCHIVE);
    let mut wrong_sum = whole.clone();
    let at = whole.len() - 6;
    wrong_sum[at] ^= 1;
    for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 9], &wrong_sum] {
        fs::write(&archive, bytes).unwrap();
        let text = data::open_with(&archive, Some(&cache)).unwrap_err().to_string();
        assert!(text.contains(stl10::ARCHIVE) && text.contains(stl10::WHERE), "{text}");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    }
    fs::write(&archive, &whole).unwrap();
    let text = data::open_with(&archive, Some(&archive)).unwrap_err().to_string();
    assert!(text.contains("--cache"), "{text}");
}

#[test]
fn parts_and_folds_are_views() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &stl_files());
    let set = data::open(place.path()).unwrap();
    let fold = set.train.select(&set.folds[1]);
    assert_eq!(fold.labels(), [5, 1, 3]);
    assert_eq!(fold.image(0).unwrap(), set.train.image(5).unwrap());
    let first = fold.take(2);
    assert_eq!((first.labels(), first.len()), (&[5, 1][..], 2));
    assert_eq!(first.select(&[1]).image(0).unwrap(), set.train.image(1).unwrap());
    assert_eq!(set.pretrain.take(2).image(1).unwrap(), set.pretrain.image(1).unwrap());
}

#[test]
fn what_is_wrong_is_named() {
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("train_X.bin", stl_images(0, 2)[1..].to_vec(), &["train_X.bin", "55295 bytes", "27648"]),
        ("unlabeled_X.bin", Vec::new(), &["unlabeled_X.bin", "0 bytes"]),
        ("test_X.bin", stl_images(0, 3), &["test_y.bin", "4 labels", "3, one for each image", "test_X.bin"]),
        ("train_y.bin", vec![1; 5], &["train_y.bin", "5 labels", "6, one for each image"]),
        ("train_y.bin", vec![1, 2, 0, 4, 5, 6], &["train_y.bin", "label 0 of image 2", "1 to 10"]),
        ("test_y.bin", vec![1, 2, 3, 11], &["test_y.bin", "label 11 of image 3"]),
        ("fold_indices.txt", b"0 1\n2 six\n".to_vec(), &["fold_indices.txt", "`six` in line 2", "below 6"]),
        ("fold_indices.txt", b"0 6\n".to_vec(), &["fold_indices.txt", "`6` in line 1"]),
    ];
    for (name, bytes, parts) in cases {
        let mut files = stl_files();
        *file(&mut files, name) = bytes;
        let place = tempfile::tempdir().unwrap();
        write_files(place.path(), &files);
        refused(place.path(), &[parts, &[stl10::WHERE]].concat());
        let packed = tempfile::tempdir().unwrap();
        let archive = packed.path().join("a.tar");
        fs::write(&archive, tar(&files)).unwrap();
        refused(&archive, parts);
    }
    let mut files = stl_files();
    files.retain(|(name, _)| !name.ends_with("unlabeled_X.bin") && !name.ends_with("test_y.bin"));
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &files);
    refused(place.path(), &["lacks unlabeled_X.bin, test_y.bin", stl10::WHERE]);
    let packed = place.path().join("stl.zip");
    fs::write(&packed, zip(&stl_files())).unwrap();
    refused(&packed, &["stl.zip", "a compressed file", "official archive"]);
    let whole = tar(&stl_files());
    fs::write(place.path().join("cut.tar"), &whole[..whole.len() - 40_000]).unwrap();
    refused(&place.path().join("cut.tar"), &["cut.tar"]);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &stl_files());
    let set = data::open(place.path()).unwrap();
    let path = place.path().join("stl10_binary/unlabeled_X.bin");
    fs::File::options().write(true).open(&path).unwrap().set_len(3 * 27_648 + 5).unwrap();
    assert!(set.pretrain.image(2).is_ok());
    let text = set.pretrain.image(3).unwrap_err().to_string();
    assert!(text.contains("unlabeled_X.bin") && text.contains("ends too early"), "{text}");
}
