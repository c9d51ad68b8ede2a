//! What the device draws at random, against what the CPU draws from the same streams.

use clapp_core::shape::Shape;
use clapp_data::augment::{CropRange, Draw, ViewAugment};
use clapp_data::loader::Part;
use clapp_data::loader::pair_order;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::config::{Negatives, RuleName};
use clapp_engine::draws::{Draws, mix};
use clapp_gpu::executor::Executor;
use clapp_gpu::feed::{Feed, MixPlaces};
use clapp_gpu::op::MapType;

use super::device::{MAPS, clock, config, device, get, ints, maps, put, read_view, rounded, run, view_places};

/// A jitter without any operation is none.
fn simple(draw: Draw) -> Draw {
    let acts = |j: &clapp_data::augment::Jitter| {
        j.brightness.is_some() || j.contrast.is_some() || j.saturation.is_some() || j.hue.is_some()
    };
    Draw { jitter: draw.jitter.filter(acts), ..draw }
}

#[test]
fn views_are_drawn_as_on_the_cpu() {
    let grey = [0.5];
    let narrow = CropRange { area: [0.9, 1.0], aspect: [0.95, 1.05] };
    let settings = [
        (ViewAugment::cifar10(), Shape::new(3, 32, 32)),
        (ViewAugment::stl10(), Shape::new(3, 96, 96)),
        (ViewAugment::imagenet(), Shape::new(3, 375, 500)),
        (ViewAugment::grey_images(28, &grey, &grey), Shape::new(1, 28, 28)),
        (ViewAugment::generated(32, &[0.5; 3], &[0.5; 3]), Shape::new(3, 32, 32)),
        (ViewAugment::probe(32, &[0.5; 3], &[0.5; 3]), Shape::new(3, 40, 57)),
        // Ten attempts fail often: the central crop, of images that are too tall, too wide, and neither.
        (ViewAugment { crop: narrow, ..ViewAugment::cifar10() }, Shape::new(3, 61, 20)),
        (ViewAugment { crop: narrow, ..ViewAugment::cifar10() }, Shape::new(3, 13, 50)),
        (ViewAugment { crop: CropRange { area: [1.2, 1.5], ..narrow }, ..ViewAugment::cifar10() }, Shape::new(3, 9, 9)),
        (ViewAugment { crop: CropRange { area: [4.0, 5.0], ..narrow }, ..ViewAugment::cifar10() }, Shape::new(3, 1, 1)),
    ];
    let (mut views, mut other_crops) = (0, 0);
    for (number, (augment, shape)) in settings.iter().enumerate() {
        let device = device(MapType::F32, number % 2 == 1);
        let (seed, epoch, batch, images) = (1 << (7 * number), number as u64 * 3, 400, 1500);
        let feed = Feed::new(&config(augment, batch, seed), *shape, images, Part::WHOLE, false).unwrap();
        let order = pair_order(images, batch, seed, epoch, Part::WHOLE).unwrap();
        for (place, chunk) in order.chunks(batch).enumerate() {
            let clock = clock(&device, &feed, epoch, 99, place as u64 + 1);
            let places = view_places(&device, &feed, clock, epoch, &[0]);
            let ops = feed.views(&places, places.images, chunk.len(), MapType::F32);
            run(&device, &ops[..1]);
            let drawn = get(&device, places.drawn, feed.drawn_bytes(chunk.len()));
            for (row, view) in drawn.chunks_exact(64).enumerate() {
                let purpose = Purpose::View(u8::from(row >= chunk.len()));
                let mut rng = stream(seed, purpose, epoch, chunk[row % chunk.len()] as u64);
                let (found, expected) = (read_view(view), simple(augment.draw(*shape, &mut rng)));
                views += 1;
                // The size of a crop goes through an exponential function, and what comes after it through its bounds.
                if found.crop == expected.crop {
                    assert_eq!(found, expected, "{augment:?} {shape:?} row {row}");
                } else {
                    other_crops += 1;
                }
            }
        }
    }
    assert_eq!(views, 2 * 1500 * settings.len());
    println!("{other_crops} of {views} crops differ");
    assert!(other_crops * 10_000 <= views, "{other_crops} of {views} crops differ");
}

#[test]
fn negatives_and_terms_are_drawn_as_on_the_cpu() {
    let augment = ViewAugment::cifar10();
    for (case, negatives) in
        [Negatives::Ring, Negatives::Uniform(1), Negatives::Uniform(3), Negatives::Uniform(16)].into_iter().enumerate()
    {
        for (rows, shared, either, rule) in [
            (2, true, false, RuleName::ClappPp),
            (64, false, true, RuleName::ClappPpBoth),
            (510, true, true, RuleName::ClappPp),
            (7, false, false, RuleName::ClappPpDfb),
            (30, true, false, RuleName::Scff),
            (34, true, false, RuleName::ForwardForward),
        ] {
            let mut config = config(&augment, 32, u64::MAX - case as u64);
            (config.negatives, config.negatives_shared, config.either) = (negatives, shared, either);
            config.rule = rule;
            for (rank, ranks, step) in [(0, 1, 1), (0, 1, 5_000_000_000), (2, 3, 17)] {
                let device = device(MapType::F32, rows % 4 == 2);
                let feed = Feed::new(&config, Shape::new(3, 32, 32), 1000, Part { rank, ranks }, true).unwrap();
                let clock = clock(&device, &feed, 8, step, 1);
                let lists = device.allocate(feed.negative_bytes(rows)).unwrap();
                let keep = device.allocate(rows).unwrap();
                run(&device, &feed.draws(&clock, lists, keep, rows));
                let number = (step - 1) * ranks as u64 + rank as u64 + 1;
                let draws = Draws::new(&config, rows, number);
                let pairing = draws.pairing();
                assert_eq!(feed.lists(), pairing.lists);
                let found = ints(&get(&device, lists, feed.negative_bytes(rows)));
                let expected: Vec<i32> = pairing.negatives.iter().map(|&row| row as i32).collect();
                assert_eq!(found, expected, "{negatives:?}, {rows} rows, {rule:?}, step {step}");
                assert_eq!(feed.keeps(), pairing.keep_positive.is_some());
                if let Some(expected) = pairing.keep_positive {
                    let found: Vec<bool> = get(&device, keep, rows).into_iter().map(|byte| byte == 1).collect();
                    assert_eq!(found, expected);
                }
            }
        }
    }
}

#[test]
fn images_are_mixed_as_on_the_cpu() {
    let sizes =
        [(Shape::new(3, 32, 32), 6), (Shape::new(1, 28, 28), 5), (Shape::new(3, 9, 9), 2), (Shape::new(1, 3, 3), 3)];
    for kind in MAPS {
        for rule in [RuleName::ForwardForward, RuleName::Scff] {
            for (negatives, (shape, count)) in
                [Negatives::Ring, Negatives::Uniform(1)].into_iter().flat_map(|n| sizes.map(|size| (n, size)))
            {
                let deviation = vec![0.25; shape.channels];
                let augment = ViewAugment::pretraining(shape.height, 0.5, &deviation, &deviation);
                let mut config = config(&augment, 32, 5 + count as u64);
                (config.negatives, config.rule) = (negatives, rule);
                let device = device(kind, count % 2 == 1);
                let feed = Feed::new(&config, shape, 100, Part::WHOLE, true).unwrap();
                let len = feed.batch_len(count);
                let mut rng = stream(1, Purpose::Other(1), 0, 0);
                // [2N, C, H, W], and the same as a map.
                let mut x: Vec<f32> = (0..len).map(|_| rounded(rng.uniform(-2.0, 2.0), kind)).collect();
                let (area, frame) = (shape.area(), shape.len());
                let at = |element: usize| {
                    let (row, rest) = (element / frame, element % frame);
                    row * frame + rest % shape.channels * area + rest / shape.channels
                };
                let map: Vec<u8> =
                    (0..len).flat_map(|element| x[at(element)].to_le_bytes()[4 - kind.bytes()..].to_vec()).collect();
                let places = MixPlaces {
                    views: put(&device, &map),
                    others: device.allocate(4 * count).unwrap(),
                    masks: device.allocate(count * area).unwrap(),
                    scratch: device.allocate(4 * count * area).unwrap(),
                    out: device.allocate(map.len()).unwrap(),
                };
                let clock = clock(&device, &feed, 0, 12, 1);
                run(&device, &feed.mixture(&clock, &places, count, kind));
                mix(&config, shape, 12, &mut x);
                let found = maps(&device, places.out, len);
                assert!(feed.mixes());
                for (element, found) in found.into_iter().enumerate() {
                    assert_eq!(found, rounded(x[at(element)], kind), "{rule:?} {negatives:?} {shape:?} {element}");
                }
            }
        }
    }
}
