//! Whole views: the chain of operations, what is drawn for them, and settings that make no sense.

#![allow(clippy::unwrap_used)]

use clapp_core::shape::Shape;
use clapp_data::augment::{Crop, CropRange, Draw, Jitter, JitterOp, ViewAugment, normalise};
use clapp_data::rng::{Purpose, stream};
use serde::Deserialize;

use crate::image;
use image::{from_hex, image};

const CIFAR: Shape = Shape { channels: 3, height: 32, width: 32 };

#[derive(Deserialize)]
struct Fixture {
    views: Vec<View>,
    draws: Vec<Draws>,
}

#[derive(Deserialize)]
struct View {
    seed: u32,
    crop: [usize; 4],
    size: usize,
    order: String,
    factors: Factors,
    flip: bool,
    grey: bool,
    sigma: Option<f32>,
    pixels: String,
    sums: Vec<f64>,
    first: Vec<f32>,
}

#[derive(Deserialize)]
struct Factors {
    b: f32,
    c: f32,
    s: f32,
    h: f32,
}

/// Statistics of drawn crops: top, left, height, width, area, logarithm of the aspect.
#[derive(Deserialize)]
struct Draws {
    height: usize,
    width: usize,
    area: [f32; 2],
    draws: usize,
    mean: [f64; 6],
    std: [f64; 6],
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/augment.json")).unwrap()
}

#[test]
fn chain_gives_the_view_of_torchvision() {
    for view in fixture().views {
        let augment = ViewAugment { size: view.size, ..ViewAugment::cifar10() };
        let order: Vec<JitterOp> = view
            .order
            .chars()
            .map(|op| match op {
                'b' => JitterOp::Brightness,
                'c' => JitterOp::Contrast,
                's' => JitterOp::Saturation,
                _ => JitterOp::Hue,
            })
            .collect();
        let [top, left, height, width] = view.crop;
        let draw = Draw {
            crop: Crop { top, left, height, width },
            flip: view.flip,
            jitter: Some(Jitter {
                order: order.try_into().unwrap(),
                brightness: Some(view.factors.b),
                contrast: Some(view.factors.c),
                saturation: Some(view.factors.s),
                hue: Some(view.factors.h),
            }),
            grey: view.grey,
            blur: view.sigma,
        };
        let pixels = augment.apply(&image(3, 32, 32, view.seed), CIFAR, &draw).unwrap();
        let expected = from_hex(&view.pixels);
        assert_eq!(pixels.len(), expected.len());
        let differing: Vec<_> = pixels.iter().zip(&expected).filter(|(a, b)| a != b).collect();
        // A blurred value halfway between two bytes goes either way, with the order of the additions.
        assert!(differing.iter().all(|(a, b)| a.abs_diff(**b) == 1), "view {}: {differing:?}", view.seed);
        assert!(differing.len() * 200 <= pixels.len(), "view {}: {} differ", view.seed, differing.len());

        let mut values = vec![0.0; pixels.len()];
        normalise(&pixels, &augment.mean, &augment.std, &mut values).unwrap();
        for (found, expected) in values.iter().zip(&view.first) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (plane, sum) in values.chunks_exact(view.size * view.size).zip(&view.sums) {
            let found: f64 = plane.iter().map(|&value| f64::from(value)).sum();
            assert!((found - sum).abs() < 1e-3 + differing.len() as f64 * 0.02, "{found} {sum}");
        }
    }
}

#[test]
fn crops_are_distributed_as_those_of_torchvision() {
    for expected in fixture().draws {
        let range = CropRange { area: expected.area, ..CropRange::default() };
        let mut rng = stream(5, Purpose::Other(1), 0, 0);
        let mut sums = [[0.0_f64; 2]; 6];
        for _ in 0..expected.draws {
            let crop = range.draw(expected.height, expected.width, &mut rng);
            assert!(crop.height > 0 && crop.top + crop.height <= expected.height);
            assert!(crop.width > 0 && crop.left + crop.width <= expected.width);
            let [top, left, height, width] = [crop.top, crop.left, crop.height, crop.width].map(|v| v as f64);
            for (sum, value) in sums.iter_mut().zip([top, left, height, width, height * width, (width / height).ln()]) {
                sum[0] += value;
                sum[1] += value * value;
            }
        }
        let count = expected.draws as f64;
        for (column, [sum, squares]) in sums.into_iter().enumerate() {
            let mean = sum / count;
            let std = (squares / count - mean * mean).sqrt();
            let (mean_there, std_there) = (expected.mean[column], expected.std[column]);
            // Both sides are estimates from as many draws: the error of a mean is std * sqrt(2 / n).
            let error = std_there * (2.0 / count).sqrt();
            assert!((mean - mean_there).abs() < 4.0 * error, "column {column}: mean {mean}, there {mean_there}");
            assert!((std / std_there - 1.0).abs() < 0.02, "column {column}: deviation {std}, there {std_there}");
        }
    }
}

#[test]
fn crop_falls_back_to_the_centre() {
    let never = CropRange { area: [4.0, 4.0], ..CropRange::default() };
    let mut rng = stream(1, Purpose::Other(2), 0, 0);
    // Too wide, too tall, and within the range of aspects; by torchvision's formula.
    assert_eq!(never.draw(30, 90, &mut rng), Crop { top: 0, left: 25, height: 30, width: 40 });
    assert_eq!(never.draw(90, 30, &mut rng), Crop { top: 25, left: 0, height: 40, width: 30 });
    assert_eq!(never.draw(30, 31, &mut rng), Crop { top: 0, left: 0, height: 30, width: 31 });
    assert_eq!(never.draw(1, 1, &mut rng), Crop { top: 0, left: 0, height: 1, width: 1 });
}

#[test]
fn parameters_have_their_probabilities_and_ranges() {
    let augment = ViewAugment::cifar10();
    let mut rng = stream(3, Purpose::Other(3), 0, 0);
    let count = 40_000;
    let (mut flips, mut greys) = (0, 0);
    let (mut jitters, mut sigmas) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let draw = augment.draw(CIFAR, &mut rng);
        flips += usize::from(draw.flip);
        greys += usize::from(draw.grey);
        jitters.extend(draw.jitter);
        sigmas.extend(draw.blur);
    }
    for (name, found, p) in
        [("flip", flips, 0.5), ("grey", greys, 0.2), ("jitter", jitters.len(), 0.8), ("blur", sigmas.len(), 0.5_f64)]
    {
        let error = (p * (1.0 - p) / f64::from(count)).sqrt();
        assert!((found as f64 / f64::from(count) - p).abs() < 4.0 * error, "{name}: {found} of {count}");
    }
    let collect = |pick: fn(&Jitter) -> Option<f32>| jitters.iter().filter_map(pick).collect::<Vec<_>>();
    for (name, values, low, high) in [
        ("brightness", collect(|jitter| jitter.brightness), 0.2, 1.8),
        ("contrast", collect(|jitter| jitter.contrast), 0.2, 1.8),
        ("saturation", collect(|jitter| jitter.saturation), 0.2, 1.8),
        ("hue", collect(|jitter| jitter.hue), -0.2, 0.2),
        ("sigma", sigmas, 0.1, 2.0_f64),
    ] {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let width = high - low;
        assert!(values.iter().all(|&v| (low - 1e-6..=high + 1e-6).contains(&f64::from(v))), "{name}");
        assert!((mean - (low + high) / 2.0).abs() < 4.0 * width / (12.0 * n).sqrt(), "{name}: mean {mean}");
        assert!((variance / (width * width / 12.0) - 1.0).abs() < 0.03, "{name}: variance {variance}");
    }
    // Each of the four operations stands in each place equally often.
    for place in 0..4 {
        for op in [JitterOp::Brightness, JitterOp::Contrast, JitterOp::Saturation, JitterOp::Hue] {
            let share = jitters.iter().filter(|jitter| jitter.order[place] == op).count() as f64 / jitters.len() as f64;
            assert!((share - 0.25).abs() < 0.01, "{op:?} in place {place}: {share}");
        }
    }
}

#[test]
fn presets_are_those_of_the_paper() {
    let cifar = ViewAugment::cifar10();
    assert_eq!((cifar.size, cifar.crop.area, cifar.blur.kernel), (32, [0.25, 1.0], 3));
    let kernels = [28, 32, 64, 96, 224].map(|size| ViewAugment::pretraining(size, 0.08, &[0.0], &[1.0]).blur.kernel);
    assert_eq!(kernels, [3, 3, 7, 9, 23]);

    let probe = ViewAugment::probe(32, &cifar.mean, &cifar.std);
    let mut rng = stream(1, Purpose::Other(4), 0, 0);
    for _ in 0..1000 {
        let draw = probe.draw(CIFAR, &mut rng);
        assert!(draw.jitter.is_none() && !draw.grey && draw.blur.is_none());
    }
    assert_eq!(probe.crop, CropRange { area: [0.08, 1.0], aspect: [0.75, 4.0 / 3.0] });

    let shape = Shape { channels: 1, height: 28, width: 28 };
    let grey = ViewAugment::grey_images(28, &[0.13], &[0.31]);
    for _ in 0..1000 {
        let draw = grey.draw(shape, &mut rng);
        assert!(!draw.flip && !draw.grey);
        assert!(draw.jitter.is_none_or(|jitter| jitter.saturation.is_none() && jitter.hue.is_none()));
    }
    for (augment, shape) in [(cifar, CIFAR), (probe, CIFAR), (grey, shape)] {
        augment.check(shape).unwrap();
        // Settings survive a configuration file.
        let text = toml::to_string(&augment).unwrap();
        assert_eq!(toml::from_str::<ViewAugment>(&text).unwrap(), augment);
    }
}

#[test]
fn a_view_depends_on_its_stream_alone() {
    let augment = ViewAugment::cifar10();
    let image = image(3, 32, 32, 4);
    let view = |seed, epoch, index, which| {
        let mut out = vec![0.0; 3072];
        augment.view(&image, CIFAR, &mut stream(seed, Purpose::View(which), epoch, index), &mut out).unwrap();
        out
    };
    let first = view(1, 2, 3, 0);
    assert!(first == view(1, 2, 3, 0));
    assert!(first.iter().all(|value| value.is_finite()));
    for other in [view(2, 2, 3, 0), view(1, 3, 3, 0), view(1, 2, 4, 0), view(1, 2, 3, 1)] {
        assert!(first != other);
    }
}

/// Spoils one setting.
type Change = fn(&mut ViewAugment);

#[test]
fn settings_that_make_no_sense_are_errors() {
    let good = ViewAugment::cifar10();
    let changes: [(&str, Change); 18] = [
        ("empty", |a| a.size = 0),
        ("probability of flip", |a| a.flip = 1.5),
        ("probability of grey", |a| a.grey = -0.1),
        ("probability of jitter", |a| a.jitter.probability = f32::NAN),
        ("probability of blur", |a| a.blur.probability = 2.0),
        ("crop area", |a| a.crop.area = [0.5, 0.2]),
        ("crop area", |a| a.crop.area = [0.0, 1.0]),
        ("crop aspect", |a| a.crop.aspect = [0.5, f32::INFINITY]),
        ("jitter of hue", |a| a.jitter.hue = 0.6),
        ("jitter of brightness", |a| a.jitter.brightness = -1.0),
        ("jitter of contrast", |a| a.jitter.contrast = f32::NAN),
        ("blur kernel", |a| a.blur.kernel = 4),
        ("blur kernel", |a| a.blur.kernel = 65),
        ("blur sigma", |a| a.blur.sigma = [0.0, 1.0]),
        ("2 means", |a| a.mean.truncate(2)),
        ("2 deviations", |a| a.std.truncate(2)),
        ("deviation 0", |a| a.std[1] = 0.0),
        ("mean NaN", |a| a.mean[1] = f32::NAN),
    ];
    let pixels = vec![0; 3072];
    let mut out = vec![0.0; 3072];
    for (part, change) in changes {
        let mut augment = good.clone();
        change(&mut augment);
        let error = augment.view(&pixels, CIFAR, &mut stream(1, Purpose::View(0), 0, 0), &mut out).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    for shape in [(2, 32, 48), (4, 32, 24), (3, 0, 32), (3, 32, 0), (3, 16, 32)] {
        let shape = Shape { channels: shape.0, height: shape.1, width: shape.2 };
        assert!(good.view(&pixels, shape, &mut stream(1, Purpose::View(0), 0, 0), &mut out).is_err(), "{shape:?}");
    }
    assert!(good.view(&pixels, CIFAR, &mut stream(1, Purpose::View(0), 0, 0), &mut out[1..]).is_err());
}
