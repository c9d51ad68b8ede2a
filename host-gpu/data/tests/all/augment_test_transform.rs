//! What is done to test images: to the bit as torchvision's `Resize` and `CenterCrop`, and settings that make no sense.

#![allow(clippy::unwrap_used)]

use clapp_core::shape::Shape;
use clapp_data::augment::TestTransform;
use serde::Deserialize;

use crate::image;
use image::image;

#[derive(Deserialize)]
struct Fixture {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shape: [usize; 3],
    seed: u32,
    resize: usize,
    crop: usize,
    crc32: u32,
}

#[test]
fn images_are_torchvisions_to_the_bit() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/augment.json")).unwrap();
    assert!(fixture.tests.len() > 8);
    for Case { shape: [channels, height, width], seed, resize, crop, crc32 } in fixture.tests {
        let mut pixels = image(channels, height, width, seed);
        let transform = TestTransform::ResizeCrop { resize, crop };
        let shape = transform.apply(&mut pixels, Shape::new(channels, height, width)).unwrap();
        assert_eq!((shape, pixels.len()), (Shape::new(channels, crop, crop), shape.len()));
        let mut crc = flate2::Crc::new();
        crc.update(&pixels);
        assert_eq!(crc.sum(), crc32, "{height}x{width} by {transform:?}");
    }
}

#[test]
fn as_is_changes_nothing() {
    let shape = Shape::new(3, 5, 7);
    let mut pixels = image(3, 5, 7, 1);
    assert_eq!(TestTransform::AsIs.apply(&mut pixels, shape).unwrap(), shape);
    assert_eq!(pixels, image(3, 5, 7, 1));
}

#[test]
fn sizes_that_make_no_sense_are_errors() {
    let input = Shape::new(3, 96, 96);
    assert!(TestTransform::AsIs.check(input).is_ok());
    for (resize, crop, right) in
        [(105, 96, true), (96, 96, true), (95, 96, false), (105, 64, false), (usize::MAX, 96, false)]
    {
        assert_eq!(TestTransform::ResizeCrop { resize, crop }.check(input).is_ok(), right, "{resize} {crop}");
    }
    let transform = TestTransform::ResizeCrop { resize: 8000, crop: 96 };
    let mut thin = vec![0; 9000];
    assert!(transform.apply(&mut thin, Shape::new(1, 1, 9000)).unwrap_err().to_string().contains("too thin"));
    assert!(transform.apply(&mut vec![0; 10], Shape::new(1, 3, 4)).is_err());
    assert!(transform.apply(&mut Vec::new(), Shape::new(3, 0, 4)).is_err());
}

#[test]
fn both_ways_of_writing_it_are_read_back() {
    #[derive(Debug, PartialEq, Deserialize, serde::Serialize)]
    struct File {
        test: TestTransform,
    }
    for (text, test) in [
        ("test = \"as-is\"", TestTransform::AsIs),
        ("test = { resize = 105, crop = 96 }", TestTransform::ResizeCrop { resize: 105, crop: 96 }),
    ] {
        let file: File = toml::from_str(text).unwrap();
        assert_eq!(file.test, test);
        assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
    }
    for text in ["test = \"as is\"", "test = 3", "test = { resize = 105 }", "test = { resize = 1, crop = 1, more = 1 }"]
    {
        let error = toml::from_str::<File>(text).unwrap_err().to_string();
        assert!(error.contains("test") && error.contains("resize = PIXELS"), "{error}");
    }
}
