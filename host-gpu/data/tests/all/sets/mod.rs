//! Small data sets in the official layouts, for the tests.
#![allow(dead_code, clippy::unwrap_used, reason = "every test file uses its own part")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use clapp_core::shape::Shape;
use clapp_data::data::Split;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Files by their path in the set.
pub type Files = Vec<(String, Vec<u8>)>;

/// Bytes of an STL-10 image.
pub const STL_IMAGE: usize = 3 * 96 * 96;

/// Pixel of the STL-10 image `image`: bright on one side, which one the number tells.
pub fn stl_pixel(image: usize, channel: usize, y: usize, x: usize) -> u8 {
    let light = if [x < 48, y < 48][image % 2] { 150 } else { 40 };
    light + ((image * 31 + channel * 17 + y * 5 + x * 3) % 64) as u8
}

/// `count` images from number `first` on, column after column.
pub fn stl_images(first: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * STL_IMAGE);
    for image in first..first + count {
        for channel in 0..3 {
            for x in 0..96 {
                bytes.extend((0..96).map(|y| stl_pixel(image, channel, y, x)));
            }
        }
    }
    bytes
}

/// A set of 7 unlabelled, 6 training and 4 test images, with two folds.
pub fn stl_files() -> Files {
    let labels = |count: u8| (0..count).map(|image| image % 10 + 1).collect::<Vec<u8>>();
    [
        ("test_X.bin", stl_images(200, 4)),
        ("test_y.bin", labels(4)),
        ("train_X.bin", stl_images(100, 6)),
        ("train_y.bin", labels(6)),
        ("unlabeled_X.bin", stl_images(0, 7)),
        ("class_names.txt", b"plane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n".to_vec()),
        ("fold_indices.txt", b"0 2 4 \n5 1 3 \n".to_vec()),
    ]
    .map(|(name, bytes)| (format!("stl10_binary/{name}"), bytes))
    .into()
}

/// Writes files below `folder`.
pub fn write_files(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The file of that name (its last part), to change it.
pub fn file<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|(known, _)| known.ends_with(name)).unwrap().1
}

pub fn tar(files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Every other file deflated, the others stored.
pub fn zip(files: &Files) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (name, bytes)) in files.iter().enumerate() {
        let method = [CompressionMethod::Deflated, CompressionMethod::Stored][number % 2];
        zip.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A picture: `class` tells which half is bright, `number` the shade.
pub fn picture(class: usize, number: usize, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let bright = [x < width / 2, y < height / 2, x >= width / 2, y >= height / 2][class % 4];
        let light = if bright { 170 } else { 60 } + (number % 5 * 8) as u8;
        image::Rgb([light, light / 2 + (class * 40 % 100) as u8, 255 - light])
    })
}

pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    bytes
}

pub fn grey_jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let grey: Vec<u8> = (0..width * height).map(|place| (place % width * 255 / width) as u8).collect();
    JpegEncoder::new_with_quality(&mut bytes, 95).write_image(&grey, width, height, ExtendedColorType::L8).unwrap();
    bytes
}

pub fn png(picture: &image::DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Identifiers of the classes of [`tiny_files`].
pub const WNIDS: [&str; 3] = ["n01443537", "n01629819", "n01641577"];

/// Three classes with 5 training images each (some grey), 6 validation images.
pub fn tiny_files() -> Files {
    let mut files: Files = Vec::new();
    let mut annotations = String::new();
    for (class, wnid) in WNIDS.iter().enumerate() {
        for number in 0..5 {
            let bytes = if number == 3 { grey_jpeg(64, 64) } else { jpeg(&picture(class, number, 64, 64)) };
            files.push((format!("train/{wnid}/images/{wnid}_{number}.JPEG"), bytes));
        }
        files.push((format!("train/{wnid}/{wnid}_boxes.txt"), b"n01443537_0.JPEG\t0\t10\t63\t58\n".to_vec()));
    }
    for number in 0..6 {
        let name = format!("val_{number}.JPEG");
        annotations += &format!("{name}\t{}\t0\t32\t44\t62\n", WNIDS[number % 3]);
        files.push((format!("val/images/{name}"), jpeg(&picture(number % 3, number, 64, 64))));
    }
    files.push(("val/val_annotations.txt".into(), annotations.into()));
    files.push(("wnids.txt".into(), (WNIDS.join("\n") + "\n").into()));
    let words = "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn01629819\tsalamander\nn01641577\tsalamander, frog\n";
    files.push(("words.txt".into(), words.into()));
    files.push(("test/images/test_0.JPEG".into(), b"never read".to_vec()));
    files.into_iter().map(|(name, bytes)| (format!("tiny-imagenet-200/{name}"), bytes)).collect()
}

/// Two classes of images of any size, JPEG and PNG, and a list that is no image.
pub fn folder_files() -> Files {
    let mut files: Files = Vec::new();
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        for number in 0..4 {
            let picture = picture(class, number, 40 + 7 * number as u32, 50 - 3 * number as u32);
            files.push((format!("train/{name}/{number}.jpg"), jpeg(&picture)));
        }
        files.push((format!("train/{name}/4.PNG"), png(&picture(class, 4, 33, 21).into())));
        files.push((format!("val/{name}/a.jpeg"), jpeg(&picture(class, 9, 60, 45))));
        files.push((format!("val/{name}/b.png"), png(&picture(class, 8, 20, 90).into())));
    }
    files.push(("train/cat/notes.txt".into(), b"not an image".to_vec()));
    files
}

/// All images with their shapes, and the labels.
pub fn contents(split: &Split) -> (Vec<(Shape, Vec<u8>)>, Vec<u16>) {
    let read = |image| {
        let mut pixels = Vec::new();
        (split.read(image, &mut pixels).unwrap(), pixels)
    };
    ((0..split.len()).map(read).collect(), split.labels().to_vec())
}

/// The message of the error that opening `path` gives; all `parts` must be in it.
pub fn refused(path: &Path, parts: &[&str]) -> String {
    let text = clapp_data::data::open(path).unwrap_err().to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in `{text}`"));
    assert!(!text.contains('\n'), "{text}");
    text
}
