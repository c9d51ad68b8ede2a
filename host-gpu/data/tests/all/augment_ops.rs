//! Every augmentation against what torchvision and Pillow make of the same images (`fixtures/augment.json`).

#![allow(clippy::unwrap_used)]

use clapp_core::shape::Shape;
use clapp_data::augment::{
    Crop, brightness, contrast, gaussian_blur, grey_scale, horizontal_flip, hue, resized_crop, saturation,
};
use serde::Deserialize;

use crate::image;
use image::{from_hex, image};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    digests: Vec<Digest>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    shape: [usize; 3],
    seed: u32,
    parameters: Vec<f64>,
    expected: String,
}

#[derive(Deserialize)]
struct Digest {
    op: String,
    parameters: Vec<f64>,
    crc32: u32,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/augment.json")).unwrap()
}

/// Applies the operation that the fixture calls `op`.
fn apply(op: &str, mut image: Vec<u8>, shape: Shape, parameters: &[f64]) -> Vec<u8> {
    let factor = parameters.first().map_or(0.0, |&factor| factor as f32);
    match op {
        "resized_crop" => {
            let p: Vec<usize> = parameters.iter().map(|&value| value as usize).collect();
            let crop = Crop { top: p[0], left: p[1], height: p[2], width: p[3] };
            return resized_crop(&image, shape, crop, p[4], p[5]).unwrap();
        }
        "flip" => horizontal_flip(&mut image, shape.width),
        "brightness" => brightness(&mut image, factor),
        "contrast" => contrast(&mut image, shape.channels, factor),
        "saturation" => saturation(&mut image, shape.channels, factor),
        "hue" => hue(&mut image, shape.channels, factor),
        "grey" => grey_scale(&mut image, shape.channels),
        "blur" => gaussian_blur(&mut image, shape, parameters[0] as usize, parameters[1] as f32).unwrap(),
        other => panic!("unknown operation {other}"),
    }
    image
}

#[test]
fn operations_give_the_bytes_of_torchvision() {
    for case in fixture().cases {
        let [channels, height, width] = case.shape;
        let found = apply(
            &case.op,
            image(channels, height, width, case.seed),
            Shape { channels, height, width },
            &case.parameters,
        );
        let expected = from_hex(&case.expected);
        assert_eq!(found.len(), expected.len(), "{} {:?}", case.op, case.parameters);
        let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{} {:?} of {:?}", case.op, case.parameters, case.shape);
    }
}

#[test]
fn colour_operations_agree_on_every_colour() {
    let colours: Vec<u8> =
        [16, 8, 0].iter().flat_map(|shift| (0..1_u32 << 24).map(move |i| (i >> shift) as u8)).collect();
    for digest in fixture().digests {
        let shape = Shape { channels: 3, height: 4096, width: 4096 };
        let found = apply(&digest.op, colours.clone(), shape, &digest.parameters);
        let mut crc = flate2::Crc::new();
        crc.update(&found);
        assert_eq!(crc.sum(), digest.crc32, "{} {:?}", digest.op, digest.parameters);
    }
}

#[test]
fn wrong_lengths_and_parameters_are_errors() {
    let shape = Shape { channels: 1, height: 4, width: 5 };
    let image = image(1, 4, 5, 1);
    let crop = |top, left, height, width| Crop { top, left, height, width };
    for (crop, height, width) in [
        (crop(0, 0, 5, 5), 4, 4),
        (crop(0, 0, 4, 6), 4, 4),
        (crop(1, 0, 4, 5), 4, 4),
        (crop(usize::MAX, 0, 1, 1), 4, 4),
        (crop(0, usize::MAX, 1, usize::MAX), 4, 4),
        (crop(0, 0, 0, 5), 4, 4),
        (crop(0, 0, 4, 5), 0, 4),
        (crop(0, 0, 4, 5), 4, 0),
    ] {
        assert!(resized_crop(&image, shape, crop, height, width).is_err(), "{crop:?}");
    }
    assert!(resized_crop(&image[1..], shape, crop(0, 0, 2, 2), 4, 4).is_err());
    for (taps, sigma) in [(2, 1.0), (0, 1.0), (9, 1.0), (3, 0.0), (3, -1.0), (3, f32::NAN), (3, f32::INFINITY)] {
        assert!(gaussian_blur(&mut image.clone(), shape, taps, sigma).is_err(), "{taps} {sigma}");
    }
    assert!(gaussian_blur(&mut image.clone()[1..], shape, 3, 1.0).is_err());
}
