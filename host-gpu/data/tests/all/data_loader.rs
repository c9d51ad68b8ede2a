//! The loader: what is in a batch, the same bits for any number of threads, and stopping early.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use clapp_core::shape::Shape;
use clapp_data::augment::ViewAugment;
use clapp_data::data::{Dataset, Split, generated};
use clapp_data::loader::Part;
use clapp_data::loader::{Batch, LabelledBatch, LoaderError, Start, pair_batches, pairs, pairs_from, singles};
use clapp_data::rng::{Purpose, stream};

fn set(images: usize) -> (Dataset, Arc<Split>, ViewAugment) {
    let set = generated::shapes(3, images, 0);
    let augment = ViewAugment::cifar10();
    let split = Arc::new(set.train.clone());
    (set, split, augment)
}

fn all_pairs(split: &Arc<Split>, augment: &ViewAugment, batch: usize, epoch: u64, threads: usize) -> Vec<Batch> {
    pairs(Arc::clone(split), augment, batch, 7, epoch, threads).unwrap().map(Result::unwrap).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (set, split, augment) = set(75);
    let expected = all_pairs(&split, &augment, 8, 1, 1);
    assert_eq!(expected.len(), 10);
    for threads in [0, 2, 5, 64] {
        assert!(expected == all_pairs(&split, &augment, 8, 1, threads), "{threads} threads");
    }
    let probe = ViewAugment::probe(32, &set.mean, &set.std);
    let singles = |threads| -> Vec<LabelledBatch> {
        singles(Arc::clone(&split), &probe, 8, 7, 1, threads).unwrap().map(Result::unwrap).collect()
    };
    let expected = singles(1);
    for threads in [2, 5] {
        assert!(expected == singles(threads), "{threads} threads");
    }
}

#[test]
fn a_loader_that_begins_inside_an_epoch_gives_the_rest_of_it() {
    for images in [75, 73, 64] {
        let (_, split, augment) = set(images);
        let whole = all_pairs(&split, &augment, 8, 1, 2);
        assert_eq!(pair_batches(images, 8), whole.len());
        for first in [0, 1, 4, whole.len() - 1, whole.len(), whole.len() + 3] {
            let start = Start { part: Part::WHOLE, epoch: 1, batch: first };
            let rest = pairs_from(Arc::clone(&split), &augment, 8, 7, start, 3).unwrap();
            assert_eq!(rest.batches(), whole.len());
            let rest: Vec<Batch> = rest.map(Result::unwrap).collect();
            assert!(rest == whole[first.min(whole.len())..], "{images} images from batch {first}");
        }
    }
}

#[test]
fn pairs_hold_two_views_of_each_image_once() {
    let (set, split, augment) = set(21);
    let batches = all_pairs(&split, &augment, 8, 2, 2);
    assert_eq!(batches.iter().map(|batch| batch.images.len()).collect::<Vec<_>>(), [8, 8, 5]);
    let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.images.clone()).collect();
    assert_ne!(seen, (0..21).collect::<Vec<_>>());
    seen.sort_unstable();
    assert_eq!(seen, (0..21).collect::<Vec<_>>());
    for batch in &batches {
        let rows: Vec<&[f32]> = batch.x.chunks_exact(3072).collect();
        assert_eq!(rows.len(), 2 * batch.images.len());
        for (row, &image) in batch.images.iter().enumerate() {
            for view in 0..2 {
                let mut expected = vec![0.0; 3072];
                let mut rng = stream(7, Purpose::View(view), 2, image as u64);
                augment.view(&split.image(image).unwrap(), set.shape().unwrap(), &mut rng, &mut expected).unwrap();
                assert!(rows[row + usize::from(view) * batch.images.len()] == expected);
            }
        }
    }
    // Another epoch has another order and other views.
    let other = all_pairs(&split, &augment, 8, 3, 2);
    assert_ne!(batches[0].images, other[0].images);
}

#[test]
fn left_over_image_is_dropped_from_pairs_and_kept_in_singles() {
    let (_, split, augment) = set(17);
    let loader = pairs(Arc::clone(&split), &augment, 8, 1, 0, 1).unwrap();
    assert_eq!(loader.batches(), 2);
    assert_eq!(loader.map(|batch| batch.unwrap().images.len()).collect::<Vec<_>>(), [8, 8]);

    let batches: Vec<LabelledBatch> =
        singles(Arc::clone(&split), &augment, 8, 1, 0, 1).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.images.len()).collect::<Vec<_>>(), [8, 8, 1]);
    for batch in batches {
        assert_eq!(batch.x.len(), batch.images.len() * 3072);
        let labels: Vec<u16> = batch.images.iter().map(|&image| split.labels()[image]).collect();
        assert_eq!(batch.labels, labels);
    }
}

#[test]
fn dropping_the_loader_stops_its_threads() {
    let (_, split, augment) = set(4000);
    for taken in [0, 1, 5] {
        let mut loader = pairs(Arc::clone(&split), &augment, 8, 1, 0, 3).unwrap();
        for _ in 0..taken {
            loader.next().unwrap().unwrap();
        }
        drop(loader);
        // `drop` has waited for the threads, so nobody else holds the images.
        assert_eq!(Arc::strong_count(&split), 1);
    }
    // Threads that wait for a slow consumer stop too.
    let mut loader = pairs(Arc::clone(&split), &augment, 8, 1, 0, 2).unwrap();
    loader.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(loader);
    assert_eq!(Arc::strong_count(&split), 1);
}

#[test]
fn requests_that_make_no_sense_are_errors() {
    let (_, split, augment) = set(10);
    let one = Arc::new(split.take(1));
    let grey = Arc::new(Split::new(Shape::new(1, 32, 32), vec![0; 4096], vec![0; 4]).unwrap());
    let mut wrong_augment = augment.clone();
    wrong_augment.size = 0;
    for (split, augment, batch) in [
        (&split, &augment, 0),
        (&split, &augment, 1),
        (&one, &augment, 8),
        (&grey, &augment, 8),
        (&split, &wrong_augment, 8),
    ] {
        assert!(pairs(Arc::clone(split), augment, batch, 1, 0, 2).is_err());
    }
    assert!(matches!(singles(Arc::clone(&split), &augment, 0, 1, 0, 2), Err(LoaderError::Request(_))));
    assert!(singles(grey, &augment, 4, 1, 0, 2).is_err());
    // An empty set has no batches.
    let empty = Arc::new(split.take(0));
    assert_eq!(singles(empty, &augment, 4, 1, 0, 2).unwrap().count(), 0);
}
