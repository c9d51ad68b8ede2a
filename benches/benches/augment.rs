//! Views for training, one thread: the paper's complete augmentation for CIFAR-10, compared with its crop, flip and
//! normalisation only.

use clapp_data::augment::ViewAugment;
use clapp_data::data::generated;
use clapp_data::rng::{Purpose, stream};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Images in turn, so that the random draws of one image do not decide.
const IMAGES: usize = 64;

fn views(c: &mut Criterion) {
    let data = generated::shapes(1, IMAGES, 1);
    let whole = ViewAugment::cifar10();
    let crop = ViewAugment { crop: whole.crop, ..ViewAugment::probe(32, &whole.mean, &whole.std) };
    let shape = data.shape().expect("images of one shape");
    let images: Vec<Vec<u8>> = (0..IMAGES).map(|image| data.train.image(image).expect("an image")).collect();
    let mut out = vec![0.0; shape.len()];
    let mut group = c.benchmark_group("64 views of 3x32x32");
    group.throughput(Throughput::Elements(IMAGES as u64));
    for (name, augment) in [("ours", &whole), ("crop and flip only", &crop)] {
        group.bench_function(name, |b| {
            let mut epoch = 0;
            b.iter(|| {
                epoch += 1;
                for (image, pixels) in images.iter().enumerate() {
                    let mut rng = stream(1, Purpose::View(0), epoch, image as u64);
                    augment.view(pixels, shape, &mut rng, &mut out).expect("a view");
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = augment;
    config = clapp_benches::short(Criterion::default());
    targets = views
}
criterion_main!(augment);
