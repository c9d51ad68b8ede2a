//! Views that the device makes, against the CPU's.

use std::sync::Arc;

use clapp_core::shape::Shape;
use clapp_data::augment::{BlurRange, Crop, Draw, Jitter, JitterOp, ViewAugment, normalise};
use clapp_data::data::Split;
use clapp_data::loader::Part;
use clapp_data::loader::{self, LoaderError, Start, pair_order};
use clapp_data::rng::{Purpose, stream};
use clapp_gpu::emulated::Emulated;
use clapp_gpu::executor::Executor;
use clapp_gpu::feed::{Feed, upload};
use clapp_gpu::op::MapType;

use super::device::{MAPS, all_pixels, clock, config, device, images, maps, rounded, run, view_bytes, view_places};

/// Rows of maps as planes.
fn planes(values: &[f32], shape: Shape) -> Vec<f32> {
    let row = |row: &[f32]| -> Vec<f32> {
        (0..shape.channels).flat_map(|channel| row.iter().skip(channel).step_by(shape.channels).copied()).collect()
    };
    values.chunks_exact(shape.len()).flat_map(row).collect()
}

/// The device's views of `split` with chosen parameters, the first half of them first views, as planes.
fn made(device: &Emulated, augment: &ViewAugment, split: &Split, draws: &[Draw]) -> Vec<f32> {
    let shape = split.shape().unwrap();
    let count = draws.len() / 2;
    let feed = Feed::new(&config(augment, count, 3), shape, split.len(), Part::WHOLE, false).unwrap();
    let clock = clock(device, &feed, 0, 1, 1);
    let pixels = all_pixels(&split.take(count));
    let places = view_places(device, &feed, clock, 0, &pixels);
    let drawn: Vec<u8> = draws.iter().flat_map(view_bytes).collect();
    device.write(places.drawn, &drawn).unwrap();
    let out = device.allocate(feed.batch_len(count) * device.map_type().bytes()).unwrap();
    run(device, &feed.views(&places, out, count, device.map_type())[1..]);
    planes(&maps(device, out, feed.batch_len(count)), augment.view_shape(shape))
}

/// How many bytes of blurred views may differ, one in so many; by one level.
const BLURRED: usize = 100_000;

/// Compares the device's views with the CPU's; without a blur there must be no difference. Counts bytes that differ and
/// bytes of blurred views.
fn compare(augment: &ViewAugment, split: &Split, draws: &[Draw], found: &[f32], kind: MapType) -> (usize, usize) {
    let shape = split.shape().unwrap();
    let len = augment.view_shape(shape).len();
    let (mut differ, mut blurred) = (0, 0);
    for ((row, draw), found) in draws.iter().enumerate().zip(found.chunks_exact(len)) {
        let image = split.image(row % (draws.len() / 2)).unwrap();
        let bytes = augment.apply(&image, shape, draw).unwrap();
        let mut expected = vec![0.0; len];
        normalise(&bytes, &augment.mean, &augment.std, &mut expected).unwrap();
        blurred += if draw.blur.is_some() { len } else { 0 };
        let area = len / shape.channels;
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            if *found == rounded(*expected, kind) {
                continue;
            }
            assert!(draw.blur.is_some(), "{draw:?} of {shape:?}: value {at} is {found}, expected {expected}");
            let level = (found - expected) * augment.std[at / area] * 255.0;
            let least = if kind == MapType::F32 { 1.001 } else { 3.0 };
            assert!(level.abs() <= least, "{draw:?} of {shape:?}: value {at} is {level} levels away");
            differ += 1;
        }
    }
    (differ, blurred)
}

const PLAIN: Draw =
    Draw { crop: Crop { top: 0, left: 0, height: 0, width: 0 }, flip: false, jitter: None, grey: false, blur: None };

fn jitter(order: [JitterOp; 4], factors: [Option<f32>; 4]) -> Option<Jitter> {
    let [brightness, contrast, saturation, hue] = factors;
    Some(Jitter { order, brightness, contrast, saturation, hue })
}

/// Every operation alone, on a crop of its own.
fn single_operations(shape: Shape) -> Vec<Draw> {
    use JitterOp::{Brightness, Contrast, Hue, Saturation};
    let order = [Brightness, Contrast, Saturation, Hue];
    let whole = Crop { top: 0, left: 0, height: shape.height, width: shape.width };
    let half = |len: usize| len.div_ceil(2);
    let inner = Crop { top: 1, left: 2, height: half(shape.height), width: half(shape.width) };
    let line = Crop { top: shape.height - 1, left: 0, height: 1, width: shape.width };
    let point = Crop { top: shape.height / 2, left: shape.width - 1, height: 1, width: 1 };
    let mut draws: Vec<Draw> = [whole, inner, line, point].map(|crop| Draw { crop, ..PLAIN }).to_vec();
    let plain = Draw { crop: whole, ..PLAIN };
    draws.push(Draw { flip: true, ..plain });
    draws.push(Draw { flip: true, crop: inner, ..plain });
    draws.push(Draw { grey: true, ..plain });
    for op in 0..4 {
        let factors: &[f32] = if op == 3 { &[-0.5, -0.004, 0.0, 0.2, 0.5] } else { &[0.0, 0.3, 1.0, 1.8, 300.0] };
        for &factor in factors {
            let mut factors = [None; 4];
            factors[op] = Some(factor);
            draws.push(Draw { jitter: jitter(order, factors), ..plain });
        }
    }
    // The order matters.
    let all = [Some(1.4), Some(0.5), Some(1.6), Some(-0.1)];
    for order in [order, [Hue, Saturation, Contrast, Brightness], [Contrast, Hue, Brightness, Saturation]] {
        draws.push(Draw { jitter: jitter(order, all), grey: true, flip: true, ..plain });
    }
    for sigma in [0.1, 0.7, 2.0] {
        draws.push(Draw { blur: Some(sigma), ..plain });
    }
    if draws.len() % 2 == 1 {
        draws.push(plain);
    }
    draws
}

fn channels(count: usize) -> [Vec<f32>; 2] {
    [vec![0.49, 0.48, 0.45], vec![0.25, 0.24, 0.26]].map(|values| values[..count].to_vec())
}

#[test]
fn every_operation_gives_the_bytes_of_the_cpu() {
    let (mut differ, mut blurred) = (0, 0);
    for (number, (source, size)) in [
        ([3, 32, 32], 32),
        ([1, 28, 28], 28),
        ([3, 64, 64], 64),
        ([3, 96, 96], 96),
        ([3, 48, 75], 32),
        ([1, 100, 37], 31),
        ([3, 17, 23], 41),
        ([3, 150, 120], 112),
        ([3, 5, 5], 3),
    ]
    .into_iter()
    .enumerate()
    {
        let shape = Shape::new(source[0], source[1], source[2]);
        let [mean, std] = channels(shape.channels);
        let augment = ViewAugment::pretraining(size, 0.2, &mean, &std);
        let draws = single_operations(shape);
        let split = images(shape, draws.len() / 2, number as u64);
        let kind = MAPS[number % 2];
        for kind in [MapType::F32, kind] {
            let found = made(&device(kind, number % 2 == 0), &augment, &split, &draws);
            let (more, of) = compare(&augment, &split, &draws, &found, kind);
            (differ, blurred) = (differ + more, blurred + of);
        }
    }
    println!("{differ} of {blurred} blurred bytes differ");
    assert!(differ * BLURRED <= blurred, "{differ} of {blurred} blurred bytes differ");
}

#[test]
fn wide_blurs_go_in_bands() {
    // 64: in bands of the blocks' own memory; 95: so wide that a row sees all others; 97: in scratch.
    for (size, kernel) in [(64, 9), (64, 31), (95, 41), (95, 189), (97, 9), (97, 193), (3, 5)] {
        let shape = Shape::new(3, size + 1, size);
        let [mean, std] = channels(3);
        let mut augment = ViewAugment::pretraining(size, 0.2, &mean, &std);
        augment.blur = BlurRange { probability: 1.0, kernel, sigma: [0.1, 9.0] };
        let split = images(shape, 2, kernel as u64);
        let whole = Crop { top: 0, left: 0, height: size + 1, width: size };
        let draws = [0.1, 1.0, 5.0, 9.0].map(|sigma| Draw { crop: whole, blur: Some(sigma), ..PLAIN });
        let found = made(&device(MapType::F32, kernel % 4 == 1), &augment, &split, &draws);
        let (differ, blurred) = compare(&augment, &split, &draws, &found, MapType::F32);
        assert!(differ * BLURRED <= blurred.max(BLURRED), "{differ} of {blurred} at {size}, {kernel}");
    }
}

#[test]
fn batches_are_those_of_the_loader() {
    for (number, (augment, source, total, batch)) in [
        (ViewAugment::cifar10(), [3, 32, 32], 75, 32),
        (ViewAugment::grey_images(28, &[0.13], &[0.31]), [1, 28, 28], 21, 10),
        (ViewAugment::stl10(), [3, 96, 96], 8, 4),
        (ViewAugment::pretraining(20, 0.08, &[0.5; 3], &[0.25; 3]), [3, 30, 43], 40, 9),
        (ViewAugment::probe(112, &[0.5; 3], &[0.25; 3]), [3, 120, 111], 6, 4),
    ]
    .into_iter()
    .enumerate()
    {
        let shape = Shape::new(source[0], source[1], source[2]);
        let split = Arc::new(images(shape, total, 50 + number as u64));
        let (seed, epoch) = (90 + number as u64, 2);
        let config = config(&augment, batch, seed);
        for (part, resident, kind) in [
            (Part::WHOLE, true, MapType::F32),
            (Part { rank: 1, ranks: 2 }, false, MapType::F32),
            (Part { rank: 0, ranks: 2 }, true, MapType::Bf16),
        ] {
            let device = device(kind, resident);
            let feed = Feed::new(&config, shape, total, part, resident).unwrap();
            let start = Start { epoch, batch: 0, part };
            let expected = loader::pairs_from(split.clone(), &augment, batch, seed, start, 1).unwrap();
            let raw = loader::raw_from(split.clone(), &augment, batch, seed, start, 2).unwrap();
            let clock = clock(&device, &feed, epoch, 1, 1);
            let places = view_places(&device, &feed, clock, epoch, &vec![0; feed.image_bytes()]);
            if resident {
                let write = |offset: usize, bytes: &[u8]| {
                    device.write(places.images + offset as u64, bytes).unwrap();
                    Ok::<(), LoaderError>(())
                };
                upload(&split, write, |_| {}).unwrap();
            }
            let (mut differ, mut values, mut batches) = (0, 0, 0);
            for (place, (expected, raw)) in expected.zip(raw).enumerate() {
                let (expected, raw) = (expected.unwrap(), raw.unwrap());
                assert_eq!(expected.images, raw.images);
                if !resident {
                    device.write(places.images, &raw.pixels).unwrap();
                }
                device.write(clock.control + 8, &(place as u64 + 1).to_le_bytes()).unwrap();
                let count = expected.images.len();
                let out = device.allocate(feed.batch_len(count) * kind.bytes()).unwrap();
                run(&device, &feed.views(&places, out, count, kind));
                let found = planes(&maps(&device, out, feed.batch_len(count)), augment.view_shape(shape));
                assert_eq!(found.len(), expected.x.len());
                let least = 1.001 / 255.0 / augment.std.iter().copied().fold(f32::MAX, f32::min);
                for (found, expected) in found.iter().zip(&expected.x) {
                    let expected = rounded(*expected, kind);
                    differ += usize::from(*found != expected);
                    assert!((found - expected).abs() <= least * if kind == MapType::F32 { 1.0 } else { 2.0 });
                }
                (values, batches) = (values + found.len(), batches + 1);
            }
            assert_eq!(batches, feed.order(epoch).unwrap().len().div_ceil(4 * batch));
            assert!(differ * BLURRED <= values, "{differ} of {values} values differ");
        }
    }
}

/// Views of seeds that have nothing in common: what is drawn must have the same distribution.
#[test]
fn whole_views_have_the_statistics_of_the_cpus() {
    let augment = ViewAugment::cifar10();
    let shape = Shape::new(3, 32, 32);
    let (total, seeds) = (250, [11, 12_345]);
    let split = images(shape, total, 8);
    let device = Emulated::new(MapType::F32, Default::default()).unwrap();
    let feed = Feed::new(&config(&augment, total, seeds[0]), shape, total, Part::WHOLE, true).unwrap();
    let places = view_places(&device, &feed, clock(&device, &feed, 0, 1, 1), 0, &all_pixels(&split));
    let out = device.allocate(4 * feed.batch_len(total)).unwrap();
    run(&device, &feed.views(&places, out, total, MapType::F32));
    let found = planes(&maps(&device, out, feed.batch_len(total)), shape);
    let order = pair_order(total, total, seeds[0], 0, Part::WHOLE).unwrap();
    let mut expected = vec![0.0; found.len()];
    for (row, out) in expected.chunks_exact_mut(shape.len()).enumerate() {
        let (image, view) = (order[row % total], u8::from(row >= total));
        let mut rng = stream(seeds[1], Purpose::View(view), 0, image as u64);
        augment.view(&split.image(image).unwrap(), shape, &mut rng, out).unwrap();
    }
    // Mean, deviation, difference of neighbours and of channels: over views, each with its own standard error.
    let statistics = |row: &[f32]| {
        let mean = row.iter().sum::<f32>() / row.len() as f32;
        let deviation = (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / row.len() as f32).sqrt();
        let steps = row.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f32>() / row.len() as f32;
        let (first, last) = (&row[..1024], &row[2048..]);
        let colour = first.iter().zip(last).map(|(a, b)| (a - b).abs()).sum::<f32>() / 1024.0;
        [mean, deviation, steps, colour].map(f64::from)
    };
    let moments = |values: &[f32]| {
        let rows: Vec<[f64; 4]> = values.chunks_exact(shape.len()).map(statistics).collect();
        [0, 1, 2, 3].map(|at| {
            let mean = rows.iter().map(|row| row[at]).sum::<f64>() / rows.len() as f64;
            let square = rows.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>() / rows.len() as f64;
            (mean, (square / rows.len() as f64).sqrt())
        })
    };
    for ((found, error), (expected, other)) in moments(&found).into_iter().zip(moments(&expected)) {
        // Both are of the same images, so that four standard errors of the difference are more than generous.
        assert!((found - expected).abs() <= 4.0 * (error * error + other * other).sqrt(), "{found} and {expected}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let shape = Shape::new(3, 32, 32);
    let new = |config, shape, images| Feed::new(&config, shape, images, Part::WHOLE, true).map(|_| ());
    let good = || config(&ViewAugment::cifar10(), 8, 1);
    new(good(), shape, 16).unwrap();
    assert!(matches!(new(good(), Shape::new(1, 32, 32), 16), Err(LoaderError::Augment(_))));
    assert!(matches!(new(good(), shape, 1), Err(LoaderError::Request(_))));
    assert!(matches!(new(good(), Shape::new(3, 40_000, 40_000), 16), Err(LoaderError::Request(_))));
    assert!(matches!(new(good(), shape, 1 << 31), Err(LoaderError::Request(_))));
    let mut config = good();
    config.batch = 1;
    assert!(new(config, shape, 16).is_err());
}

#[test]
fn a_set_is_uploaded_whole_and_in_order() {
    // More than one piece of it: 16 MB.
    let shape = Shape::new(3, 96, 96);
    let split = images(shape, 700, 4).in_grey();
    let (mut found, mut heard) = (Vec::new(), Vec::new());
    let write = |offset: usize, bytes: &[u8]| {
        assert_eq!(offset, found.len());
        found.extend_from_slice(bytes);
        Ok::<(), LoaderError>(())
    };
    upload(&split, write, |images| heard.push(images)).unwrap();
    assert!(found == all_pixels(&split));
    assert_eq!(heard.last(), Some(&700));
    let failing = |_: usize, _: &[u8]| Err(LoaderError::Request("full".into()));
    assert!(upload(&split, failing, |_| {}).is_err());
}
