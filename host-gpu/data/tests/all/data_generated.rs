//! The generated set: the same for ever, balanced, fast, and without a class in its colours.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use clapp_data::data::Split;
use clapp_data::data::generated::{Nuisance, shapes, shapes_with};

/// All pixels and labels.
fn contents(split: &Split) -> (Vec<u8>, Vec<u16>) {
    ((0..split.len()).flat_map(|image| split.image(image).unwrap()).collect(), split.labels().to_vec())
}

#[test]
fn same_seed_gives_the_same_images() {
    let set = shapes(5, 60, 20);
    let same = shapes(5, 60, 20);
    assert!(contents(&set.train) == contents(&same.train) && contents(&set.test) == contents(&same.test));
    // Images do not depend on how many there are.
    let more = shapes(5, 100, 30);
    assert!(contents(&more.train.take(60)) == contents(&set.train));
    assert!(contents(&more.test.take(20)) == contents(&set.test));
    let other = shapes(6, 60, 20);
    assert!(contents(&other.train) != contents(&set.train));
    assert!(set.train.image(0).unwrap() != set.test.image(0).unwrap());
    assert_eq!(set.train.labels()[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    assert_eq!(set.classes.len(), 10);
}

#[test]
fn channel_means_do_not_tell_the_class() {
    let set = shapes(1, 20_000, 0);
    // Mean of each channel over the 2000 images of each class. An image's own mean spreads by 0.2, so that of a class
    // by 0.005, and the range of ten of them is about three times that.
    for channel in 0..3 {
        let means: Vec<f64> = (0..10)
            .map(|class| {
                let images: Vec<Vec<u8>> = (0..set.train.len())
                    .filter(|&i| set.train.label(i) == class)
                    .map(|i| set.train.image(i).unwrap())
                    .collect();
                let sum: u64 =
                    images.iter().flat_map(|image| &image[channel * 1024..][..1024]).map(|&v| u64::from(v)).sum();
                sum as f64 / (255.0 * 1024.0 * images.len() as f64)
            })
            .collect();
        let (low, high) = means.iter().fold((1.0_f64, 0.0_f64), |(low, high), &mean| (low.min(mean), high.max(mean)));
        assert!(high - low < 0.03, "channel {channel}: {means:?}");
    }
}

#[test]
fn four_thousand_images_take_little_time() {
    let start = Instant::now();
    shapes(2, 4000, 0);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    println!("4000 images in {:?}", start.elapsed());
}

#[test]
fn empty_sets_and_wild_nuisance_do_not_panic() {
    let empty = shapes(1, 0, 0);
    assert!(empty.train.is_empty() && empty.test.is_empty());
    assert!(empty.std.iter().all(|&std| std > 0.0));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0, 0.0, 1e30, -1e30] {
        let wild = Nuisance {
            shift: value,
            radius: [value, value],
            stretch: value,
            rotation: value,
            contrast: value,
            background: value,
            clutter: usize::MAX,
            occlusion: value,
            light: value,
            noise: value,
        };
        assert_eq!(shapes_with(1, 20, 0, &wild).train.len(), 20);
    }
}
