//! A set larger than memory is read in little memory: STL-10's 100,000 unlabelled images as a file with a hole.

#![allow(clippy::unwrap_used)]

#[path = "all/sets/mod.rs"]
mod sets;

use std::fs;
use std::sync::Arc;

use clapp_data::augment::ViewAugment;
use clapp_data::data;
use clapp_data::loader::pairs;
use peak_alloc::PeakAlloc;
use sets::{STL_IMAGE, stl_files, stl_images, write_files};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn a_hundred_thousand_images_take_little_memory() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &stl_files());
    let path = place.path().join("stl10_binary/unlabeled_X.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(100_000 * STL_IMAGE as u64).unwrap();
    // The last image is no hole, so that the last position is known to be read.
    std::os::unix::fs::FileExt::write_all_at(&file, &stl_images(0, 1), 99_999 * STL_IMAGE as u64).unwrap();

    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let set = data::open(place.path()).unwrap();
    assert_eq!(set.pretrain.len(), 100_000);
    assert_eq!(set.pretrain.image(99_999).unwrap()[0], sets::stl_pixel(0, 0, 0, 0));
    assert_eq!(set.pretrain.image(50_000).unwrap(), vec![0; STL_IMAGE]);
    let part = set.pretrain.take(90_000);
    let mut views = ViewAugment::stl10();
    // What is kept does not depend on how much is done to a view.
    (views.jitter.probability, views.blur.probability) = (0.0, 0.0);
    let mut images = 0;
    for batch in pairs(Arc::new(part), &views, 32, 1, 0, 2).unwrap().take(40) {
        images += batch.unwrap().images.len();
    }
    assert_eq!(images, 1280);
    let peak = MEMORY.peak_usage() - before;
    // Two threads with a batch in the making and two that wait, 7 MB each, and 800 kB for the order of the images.
    assert!(peak < 96 << 20, "{peak} bytes above what was there before");
}
