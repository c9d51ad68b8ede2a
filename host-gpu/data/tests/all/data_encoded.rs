//! Tiny ImageNet and class folders: images from folders, zips and tars, whole and wrong.

#![allow(clippy::unwrap_used)]

use crate::sets;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clapp_core::shape::Shape;
use clapp_data::augment::ViewAugment;
use clapp_data::data::{self, class_folders, tiny_imagenet};
use clapp_data::loader::Part;
use clapp_data::loader::{LoaderError, Start, pairs, raw_from};
use image::{DynamicImage, Luma, Rgba, RgbaImage};
use sets::{Files, contents, file, folder_files, gz, jpeg, picture, png, refused, tar, tiny_files, write_files, zip};

fn check_tiny(set: &data::Dataset) {
    assert_eq!(set.name, "tiny-imagenet");
    assert_eq!((set.train.len(), set.test.len(), set.pretrain.len()), (15, 6, 15));
    assert_eq!(set.classes, ["goldfish", "salamander (n01629819)", "salamander (n01641577)"]);
    assert_eq!(set.train.labels(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert_eq!(set.test.labels(), [0, 1, 2, 0, 1, 2]);
    let (images, _) = contents(&set.train);
    assert!(images.iter().all(|(shape, _)| *shape == Shape::new(3, 64, 64)));
    // Class 0 is bright on the left, class 1 above; JPEG changes values a little.
    let at = |image: usize, y: usize, x: usize| images[image].1[y * 64 + x];
    assert!(at(0, 50, 5) > 140 && at(0, 5, 60) < 90);
    assert!(at(1, 5, 60) > 140 && at(1, 50, 5) < 90);
    // The grey ones have three equal channels.
    let grey = &images[9].1;
    assert!(grey[..4096] == grey[4096..8192] && grey[..4096] == grey[8192..]);
    assert!(grey[0] < 10 && grey[63] > 240);
}

#[test]
fn tiny_imagenet_is_read_from_folder_and_archives_alike() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &tiny_files());
    let set = data::open(&place.path().join(tiny_imagenet::FOLDER)).unwrap();
    check_tiny(&set);
    check_tiny(&data::open(place.path()).unwrap());
    let packed = tempfile::tempdir().unwrap();
    let mut reversed = tiny_files();
    reversed.reverse();
    for (name, bytes) in [
        (tiny_imagenet::ARCHIVE, zip(&reversed)),
        ("tiny.tar", tar(&reversed)),
        ("tiny.tar.gz", gz(&tar(&tiny_files()))),
    ] {
        let archive = packed.path().join(name);
        fs::write(&archive, bytes).unwrap();
        let other = data::open(&archive).unwrap();
        check_tiny(&other);
        assert!(contents(&other.train) == contents(&set.train) && contents(&other.test) == contents(&set.test));
    }
    check_tiny(&data::open(packed.path()).unwrap());
}

#[test]
fn images_of_one_size_are_found_to_be_so() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &tiny_files());
    let train = data::open(place.path()).unwrap().train;
    assert_eq!(train.shape(), None);
    let measured = train.measured();
    assert_eq!(measured.shape(), Some(Shape::new(3, 64, 64)));
    assert_eq!(measured.in_grey().shape(), Some(Shape::new(1, 64, 64)));
    assert_eq!(measured.select(&[3, 1]).image(1).unwrap(), train.image(1).unwrap());
    assert!(contents(&measured) == contents(&train));
    // A file that is replaced while the set is in use.
    let replaced = place.path().join("tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG");
    let image = (0..train.len()).find(|&image| {
        let before = fs::read(&replaced).unwrap();
        fs::write(&replaced, b"").unwrap();
        let failed = train.image(image).is_err();
        fs::write(&replaced, before).unwrap();
        failed
    });
    let image = image.unwrap();
    fs::write(&replaced, jpeg(&picture(0, 0, 64, 63))).unwrap();
    let text = measured.image(image).unwrap_err().to_string();
    assert!(text.contains("n01443537_0.JPEG") && text.contains("64x63 now, but was 64x64"), "{text}");
    // One of another size, one without a header: then nothing is known.
    assert_eq!(train.measured().shape(), None);
    fs::write(&replaced, b"no image").unwrap();
    assert_eq!(train.measured().shape(), None);
    assert!(measured.image(image).unwrap_err().to_string().contains("none of the formats JPEG, PNG"));

    write_files(&place.path().join("photos"), &folder_files());
    let photos = Arc::new(data::open(&place.path().join("photos")).unwrap().train.measured());
    assert_eq!(photos.shape(), None);
    let start = Start { epoch: 0, batch: 0, part: Part::WHOLE };
    let refused = raw_from(photos.clone(), &ViewAugment::imagenet(), 2, 1, start, 1).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("must have one shape"), "{refused}");
}

#[test]
fn what_is_wrong_with_tiny_imagenet_is_named() {
    let cases: [(&str, &[u8], &[&str]); 6] = [
        ("wnids.txt", b"n01443537\nn01629819\n", &["train/n01641577", "class n01641577", "wnids.txt"]),
        ("wnids.txt", b"n01443537\nn01629819\nn01641577\nn09\n", &["train/n09", "no image"]),
        ("wnids.txt", b"n01443537\nn01443537\n", &["wnids.txt", "2 lines, 1 of them different"]),
        ("val_annotations.txt", b"val_0.JPEG\n", &["val_annotations.txt", "`val_0.JPEG` in line 1"]),
        ("val_annotations.txt", b"val_0.JPEG\tn7\t1\n", &["val_annotations.txt", "class n7 in line 1"]),
        ("val_annotations.txt", b"val_0.JPEG\tn01443537\n", &["val_annotations.txt", "1 annotations", "6 images"]),
    ];
    let place = tempfile::tempdir().unwrap();
    for (number, (name, bytes, parts)) in cases.into_iter().enumerate() {
        let mut files = tiny_files();
        *file(&mut files, name) = bytes.to_vec();
        let folder = place.path().join(number.to_string());
        write_files(&folder, &files);
        refused(&folder, &[parts, &[tiny_imagenet::WHERE]].concat());
        let archive = place.path().join(format!("{number}.zip"));
        fs::write(&archive, zip(&files)).unwrap();
        refused(&archive, parts);
    }
    let mut files = tiny_files();
    files.retain(|(name, _)| !name.ends_with("val_annotations.txt"));
    write_files(&place.path().join("without"), &files);
    refused(&place.path().join("without"), &["lacks val/val_annotations.txt"]);
    files = tiny_files();
    files.retain(|(name, _)| !name.ends_with("val_3.JPEG"));
    write_files(&place.path().join("image"), &files);
    refused(&place.path().join("image"), &["val_annotations.txt", "image val_3.JPEG in line 4"]);
    let whole = zip(&tiny_files());
    for len in [4, 100, whole.len() / 2, whole.len() - 1] {
        let archive = place.path().join("cut.zip");
        fs::write(&archive, &whole[..len]).unwrap();
        refused(&archive, &["cut.zip"]);
    }
}

/// What an image that is no image says when it is read.
fn decoded(bytes: Vec<u8>) -> Result<(Shape, Vec<u8>), String> {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    *file(&mut files, "train/cat/0.jpg") = bytes;
    write_files(place.path(), &files);
    let set = data::open(place.path()).unwrap();
    let mut pixels = Vec::new();
    match set.train.read(0, &mut pixels) {
        Ok(shape) => Ok((shape, pixels)),
        Err(error) => {
            let text = error.to_string();
            assert!(Path::new(&text).starts_with(place.path()) && text.contains("train/cat/0.jpg is not"), "{text}");
            Err(text)
        }
    }
}

#[test]
fn images_of_other_kinds_become_colour_or_are_refused() {
    let rgba = RgbaImage::from_fn(6, 4, |x, y| Rgba([x as u8 * 40, y as u8 * 60, 9, 0]));
    let (shape, pixels) = decoded(png(&rgba.clone().into())).unwrap();
    assert_eq!(shape, Shape::new(3, 4, 6));
    assert_eq!(pixels[..6], [0, 40, 80, 120, 160, 200]);
    assert!(pixels[48..].iter().all(|&blue| blue == 9));
    let deep = image::ImageBuffer::from_fn(5, 2, |x, _| Luma([x as u16 * 0x1111]));
    let (_, pixels) = decoded(png(&DynamicImage::ImageLuma16(deep))).unwrap();
    assert_eq!(pixels[..5], [0, 0x11, 0x22, 0x33, 0x44]);
    assert_eq!(pixels[..10], pixels[20..]);

    let whole = jpeg(&picture(1, 1, 90, 70));
    for len in [3, 20, 200, whole.len() / 2, whole.len() - 2] {
        assert!(decoded(whole[..len].to_vec()).is_err(), "{len} of {} bytes", whole.len());
    }
    assert!(decoded(Vec::new()).unwrap_err().contains("empty"));
    assert!(decoded(b"GIF89a and more".to_vec()).is_err());
    assert!(decoded(vec![7; 5000]).unwrap_err().contains("none of the formats JPEG, PNG"));
    let mut cut = png(&rgba.into());
    cut.truncate(cut.len() - 20);
    assert!(decoded(cut).is_err());
    // A header that promises 16,000 x 16,000 pixels.
    let mut bomb = png(&picture(0, 0, 10, 10).into());
    bomb[16..24].copy_from_slice(&[0, 0, 0x3e, 0x80, 0, 0, 0x3e, 0x80]);
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    assert!(decoded(bomb).unwrap_err().contains("16000x16000 pixels"));
}

#[test]
fn class_folders_are_read_from_folder_and_archives_alike() {
    let place = tempfile::tempdir().unwrap();
    write_files(&place.path().join("set"), &folder_files());
    let set = data::open(&place.path().join("set")).unwrap();
    assert_eq!((set.name.as_str(), set.shape(), set.channels()), ("class-folders", None, 3));
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!((set.train.len(), set.test.len()), (10, 4));
    assert_eq!(set.train.labels(), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let (images, _) = contents(&set.train);
    let shapes: Vec<[usize; 2]> = images.iter().step_by(2).map(|(shape, _)| [shape.height, shape.width]).collect();
    assert_eq!(shapes, [[50, 40], [47, 47], [44, 54], [41, 61], [21, 33]]);
    let inside: Files = folder_files().into_iter().map(|(name, bytes)| (format!("photos/{name}"), bytes)).collect();
    for (name, bytes) in [("a.zip", zip(&inside)), ("a.tar", tar(&inside)), ("a.tgz", gz(&tar(&inside)))] {
        fs::write(place.path().join(name), bytes).unwrap();
        let other = data::open(&place.path().join(name)).unwrap();
        assert!(contents(&other.train) == contents(&set.train) && contents(&other.test) == contents(&set.test));
    }
}

#[test]
fn class_folders_that_are_incomplete_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let case = |name: &str, keep: &dyn Fn(&str) -> Option<String>, parts: &[&str]| {
        let files = folder_files().into_iter().filter_map(|(name, bytes)| Some((keep(&name)?, bytes))).collect();
        write_files(&place.path().join(name), &files);
        refused(&place.path().join(name), &[parts, &[class_folders::WHERE]].concat());
    };
    let whole = |name: &str| Some(name.to_string());
    case("val", &|name| whole(name).filter(|name| name.starts_with("train")), &["lacks val/CLASS"]);
    case("train", &|name| whole(name).filter(|name| name.starts_with("val")), &["lacks train/CLASS"]);
    case("flat", &|name| whole(name).map(|name| name.replace("val/cat/", "val/")), &["val/a.jpeg", "directly in val"]);
    case("other", &|name| whole(name).map(|name| name.replace("val/cat", "val/cow")), &["val/cow", "class cow"]);
    // Without train and val nobody knows what to test on.
    for (name, bytes) in folder_files() {
        let path = place.path().join("plain").join(name.trim_start_matches("train/").trim_start_matches("val/"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    refused(&place.path().join("plain"), &["class folders without train and val", "train/CLASS and val/CLASS"]);
}

#[test]
fn names_that_lead_out_of_a_zip_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    files.push(("../../train/cat/out.jpg".into(), jpeg(&picture(0, 0, 8, 8))));
    fs::write(place.path().join("a.zip"), zip(&files)).unwrap();
    refused(&place.path().join("a.zip"), &["a.zip", "the unsafe name `../../train/cat/out.jpg`"]);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_bad_image_ends_the_epoch_with_its_name() {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    let bytes = file(&mut files, "train/dog/2.jpg");
    bytes.truncate(bytes.len() / 2);
    write_files(place.path(), &files);
    let set = data::open(place.path()).unwrap();
    let augment = ViewAugment::pretraining(32, 0.08, &set.mean, &set.std);
    for threads in [1, 3] {
        let batches: Vec<_> = pairs(Arc::new(set.train.clone()), &augment, 2, 1, 0, threads).unwrap().collect();
        let Some(Err(LoaderError::Data(error))) = batches.last() else { panic!("no error") };
        assert!(error.to_string().contains("train/dog/2.jpg is not a usable image: the JPEG is cut short"), "{error}");
    }
}

#[test]
fn views_of_images_of_any_size_are_the_same_on_any_number_of_threads() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &folder_files());
    let set = data::open(place.path()).unwrap();
    let augment = ViewAugment::pretraining(24, 0.08, &set.mean, &set.std);
    let all = |threads| -> Vec<_> {
        pairs(Arc::new(set.train.clone()), &augment, 4, 3, 1, threads).unwrap().map(Result::unwrap).collect()
    };
    let expected = all(1);
    assert_eq!(expected.iter().map(|batch| batch.x.len()).sum::<usize>(), 2 * 10 * 3 * 24 * 24);
    for threads in [2, 5] {
        assert!(expected == all(threads));
    }
}
