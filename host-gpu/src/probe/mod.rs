//! The linear probe (spec 5.3): how well the classes can be read from the frozen encoder by one linear layer.
//!
//! Features are the block-pooled outputs of all layers. One head reads all of them; one more head a layer
//! shows what that layer alone offers. The paper's protocol computes the features of every epoch anew from
//! augmented images; the cached one computes them once from the images as they are, which is much faster and
//! another protocol, so a [`ProbeReport`] says which it was.

mod features;
mod head;
mod record;

pub use features::{Features, features};
pub use head::Head;
pub use record::{PROBE, PROBE_CACHED, ProbeRecord, beside};

use crate::augment::normalise;
use crate::backend::Backend;
use crate::config::ProbeConfig;
use crate::data::{Dataset, Split};
use crate::error::Error;
use crate::loader;
use crate::model::NetworkSpec;
use crate::rng::{Purpose, stream};
use crate::step::Model;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Images whose features are computed at a time.
const ROWS: usize = 64;

/// What one head reached on the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of test images classified rightly after the last epoch, 0 to 1.
    pub last: f64,
    /// The largest share after any epoch. It is selected on the test images themselves.
    pub best: f64,
    /// As `last`, for each class; 0 where the class has no test image.
    pub classes: Vec<f64>,
    /// As `last`, after each epoch.
    pub epochs: Vec<f64>,
}

/// The outcome of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// `true`: features computed once, without augmentation; `false`: the paper's protocol.
    pub cached: bool,
    /// Epochs of probe training.
    pub epochs: u64,
    /// Labelled training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// What every `best` was selected on: the test images themselves, so that it is not an estimate for new images.
    #[serde(default = "test_images")]
    pub best_selected_on: String,
    /// The head that reads all layers.
    pub all: Accuracy,
    /// The heads that read one layer each.
    pub layers: Vec<Accuracy>,
}

fn test_images() -> String {
    "test images".into()
}

/// What a probe is made on.
#[derive(Debug, Clone, Copy)]
pub struct ProbeTask<'a> {
    /// The encoder's description with the probe's pooling.
    pub pooled: &'a NetworkSpec,
    /// Epochs, batch, learning rate and augmentation.
    pub config: &'a ProbeConfig,
    /// Labelled images to learn from and to be tested on.
    pub data: &'a Dataset,
    /// Seed of first weights, order and augmentation.
    pub seed: u64,
    /// Whether the features are computed once, from the images as they are tested.
    pub cached: bool,
    /// Threads that load images; no bit depends on their number.
    pub loader_threads: usize,
}

/// What the heads learn from.
enum Training {
    /// Features of all images, computed once.
    Cached(Features),
    /// Images, to be augmented anew each epoch.
    Augmented(Arc<Split>),
}

/// Trains the heads and scores them on the test images after every epoch; `progress` hears of each epoch done,
/// with the accuracy of the head that reads all layers.
///
/// # Errors
/// Where batches cannot be made.
pub fn probe<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    task: &ProbeTask<'_>,
    mut progress: impl FnMut(u64, f64),
) -> Result<ProbeReport, Error> {
    let ProbeTask { pooled, config, data, seed, cached, loader_threads } = *task;
    let dimensions: Vec<usize> = pooled.layers().iter().map(|layer| layer.pooled.len()).collect();
    let classes = data.classes.len();
    let mut heads: Vec<Head> = std::iter::once((0..dimensions.len()).collect())
        .chain((0..dimensions.len()).map(|layer| vec![layer]))
        .enumerate()
        .map(|(index, layers)| Head::new(&dimensions, layers, classes, seed, index as u64))
        .collect();
    let mut scores = vec![Vec::new(); heads.len()];
    let test = plain_features(backend, model, pooled, &data.test, config)?;
    let training = if cached {
        Training::Cached(plain_features(backend, model, pooled, &data.train, config)?)
    } else {
        Training::Augmented(Arc::new(data.train.clone()))
    };
    for epoch in 0..config.epochs {
        match &training {
            Training::Cached(train) => {
                let mut order: Vec<usize> = (0..data.train.len()).collect();
                stream(seed, Purpose::ProbeShuffle, epoch, 0).shuffle(&mut order);
                heads.par_iter_mut().for_each(|head| {
                    for batch in order.chunks(config.batch) {
                        let labels: Vec<usize> = batch.iter().map(|image| data.train.label(*image)).collect();
                        head.learn(&train.rows(head.layers(), batch), &labels, config.lr);
                    }
                });
            }
            Training::Augmented(images) => {
                let batches =
                    loader::singles(images.clone(), &config.augment, config.batch, seed, epoch, loader_threads)?;
                for batch in batches {
                    let batch = batch?;
                    let labels: Vec<usize> = batch.labels.iter().map(|label| usize::from(*label)).collect();
                    let x = backend.upload_frames(pooled.input(), &batch.x);
                    let features = features(backend, model, pooled, x, labels.len());
                    let rows: Vec<usize> = (0..labels.len()).collect();
                    heads.par_iter_mut().for_each(|head| {
                        head.learn(&features.rows(head.layers(), &rows), &labels, config.lr);
                    });
                }
            }
        }
        let counts: Vec<Vec<usize>> =
            heads.par_iter().map(|head| right_by_class(head, &test, &data.test, classes)).collect();
        for (scores, counts) in scores.iter_mut().zip(counts) {
            scores.push(counts);
        }
        let all = scores.first().and_then(|epochs| epochs.last()).map_or(0.0, |last| share(last, &data.test));
        progress(epoch + 1, all);
    }
    let mut accuracies = scores.into_iter().map(|epochs| summary(&data.test, epochs, classes));
    let none = || Accuracy { last: 0.0, best: 0.0, classes: vec![0.0; classes], epochs: Vec::new() };
    Ok(ProbeReport {
        cached,
        epochs: config.epochs,
        train_images: data.train.len(),
        test_images: data.test.len(),
        best_selected_on: test_images(),
        all: accuracies.next().unwrap_or_else(none),
        layers: accuracies.collect(),
    })
}

/// Features of all images of a split as they are tested.
pub(crate) fn plain_features<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    pooled: &NetworkSpec,
    split: &Split,
    config: &ProbeConfig,
) -> Result<Features, Error> {
    let (input, len) = (pooled.input(), pooled.input().len());
    let mut all = Features::empty(pooled);
    for first in (0..split.len()).step_by(ROWS) {
        let rows = ROWS.min(split.len() - first);
        let mut x = vec![0.0; rows * len];
        x.par_chunks_exact_mut(len).enumerate().try_for_each_init(Vec::new, |pixels, (row, x)| {
            let image = first + row;
            let shape = split.read(image, pixels)?;
            let shape = config.test.apply(pixels, shape)?;
            if shape != input {
                return Err(Error::Probe { image, found: shape, expected: input });
            }
            Ok(normalise(pixels, &config.augment.mean, &config.augment.std, x)?)
        })?;
        all.append(features(backend, model, pooled, backend.upload_frames(pooled.input(), &x), rows));
    }
    Ok(all)
}

/// Images of each class that are classified rightly.
fn right_by_class(head: &Head, features: &Features, split: &Split, classes: usize) -> Vec<usize> {
    let mut right = vec![0; classes];
    let images: Vec<usize> = (0..split.len()).collect();
    for batch in images.chunks(ROWS) {
        let predictions = head.predict(&features.rows(head.layers(), batch), batch.len());
        for (image, prediction) in batch.iter().zip(predictions) {
            let label = split.label(*image);
            right[label] += usize::from(prediction == label);
        }
    }
    right
}

/// Share of all images that are classified rightly.
fn share(right: &[usize], split: &Split) -> f64 {
    right.iter().sum::<usize>() as f64 / split.len().max(1) as f64
}

fn summary(split: &Split, epochs: Vec<Vec<usize>>, classes: usize) -> Accuracy {
    let course: Vec<f64> = epochs.iter().map(|right| share(right, split)).collect();
    let best = course.iter().copied().fold(0.0, f64::max);
    let last = epochs.into_iter().next_back().unwrap_or_else(|| vec![0; classes]);
    let mut seen = vec![0_usize; classes];
    for label in split.labels() {
        seen[usize::from(*label)] += 1;
    }
    let of_class = |(right, seen): (&usize, &usize)| *right as f64 / (*seen).max(1) as f64;
    let classes = last.iter().zip(&seen).map(of_class).collect();
    Accuracy { last: share(&last, split), best, classes, epochs: course }
}
