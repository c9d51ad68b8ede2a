//! The linear probe (docs/paper.md 5.3): accuracy of one linear layer on the frozen encoder's features.
//!
//! Features are the block-pooled outputs of all layers. One head reads all of them, and one head per layer reads that
//! layer only. The paper's protocol computes the features in every epoch from newly augmented images. The cached
//! protocol computes them once from the images as they are, which is much faster. A [`ProbeReport`] records the
//! protocol.

mod device;
mod features;
mod head;
mod inputs;
mod measure;
mod protocol;
mod record;
mod weights;

pub use device::OnDevice;
use features::features_there;
pub use features::{Features, features};
pub use head::Head;
pub use inputs::Inputs;
pub use measure::{Speed, measure};
pub use protocol::{Kind, Protocol, QUICK_EPOCHS, evenly, quick_images};
pub use record::{ProbeRecord, beside, files, partial};
pub use weights::{ProbeWeights, beside_record};

use crate::backend::Backend;
use crate::config::ProbeConfig;
use crate::model::NetworkSpec;
use crate::step::Model;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::loader;
use clapp_data::rng::{Purpose, stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Number of images whose features are computed at a time.
pub const ROWS: usize = 64;

/// Batches of cached features between two checks of the stop signal.
const PIECE: usize = 64;

/// Accuracy of one head on the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of test images classified rightly after the last epoch, 0 to 1.
    pub last: f64,
    /// The largest share after any epoch. It is selected on the test images themselves.
    pub best: f64,
    /// Same as `last`, for each class; none if the class has no test image.
    pub classes: Vec<Option<f64>>,
    /// Same as `last`, after each epoch.
    pub epochs: Vec<f64>,
    /// Mean of `classes` over those that have test images; none if no class has.
    #[serde(default)]
    pub balanced: Option<f64>,
}

/// The outcome of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// `true`: features computed once, without augmentation; `false`: the paper's protocol.
    pub cached: bool,
    /// Epochs of probe training that are done.
    pub epochs: u64,
    /// Labelled training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// The images that selected every `best`: the test images themselves, so it is not an estimate for new images.
    #[serde(default = "test_images")]
    pub best_selected_on: String,
    /// The head that reads all layers.
    pub all: Accuracy,
    /// The heads that read one layer each.
    pub layers: Vec<Accuracy>,
    /// All settings; none in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Test images by their class (row) and the class that the head on all layers gave them (column), after the last
    /// epoch; empty in files of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
}

impl ProbeReport {
    /// Returns `true` if a signal has ended it early.
    pub fn is_stopped(&self) -> bool {
        self.protocol.as_ref().is_some_and(|protocol| protocol.stopped)
    }
}

/// Result of a probe.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The accuracies.
    pub report: ProbeReport,
    /// The heads after the last epoch that is done: the one that reads all layers, then one a layer.
    pub heads: Vec<Head>,
}

/// Progress of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// Features of the test images are computed.
    Test {
        /// Images done.
        done: usize,
        /// Total number.
        of: usize,
    },
    /// Features of the labelled images are computed, once for all epochs.
    Train {
        /// Images done.
        done: usize,
        /// Total number.
        of: usize,
    },
    /// The heads learn.
    Batch {
        /// Batches done, over all epochs.
        done: u64,
        /// Total number.
        of: u64,
    },
    /// An epoch is done.
    Epoch {
        /// Epochs done.
        done: u64,
        /// Share of test images that the head on all layers classifies rightly.
        accuracy: f64,
    },
}

fn test_images() -> String {
    "test images".into()
}

/// Inputs of a probe.
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
    /// Protocol of the probe.
    pub kind: Kind,
    /// Fold of labelled images in `data.train`, if it is one.
    pub fold: Option<usize>,
    /// Threads that load images; no bit depends on their number.
    pub loader_threads: usize,
}

/// Training features of the heads.
enum Training {
    /// Features of all images, computed once.
    Cached(Features),
    /// Images, augmented again in each epoch.
    Augmented(Arc<Split>),
}

/// Trains the heads and tests them after every epoch. `listen` gets the progress and can end the probe. The outcome is
/// then the state after the last complete epoch.
///
/// # Errors
/// If batches cannot be made; [`Error::Stopped`] if `listen` has ended it before an epoch was done.
pub fn probe<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    task: &ProbeTask<'_>,
    listen: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome, Error> {
    let ProbeTask { pooled, config, data, seed, kind, fold, loader_threads } = *task;
    let inputs = Inputs::new(config, data.test.shape(), pooled.input());
    let (classes, batch) = (data.classes.len(), config.batch.max(1));
    let mut heads = task.heads();
    let mut told = |progress| listen(progress).is_break();
    let test = plain_features(backend, model, pooled, &data.test, &inputs, &mut |done, of| {
        if told(Progress::Test { done, of }) { Err(Error::Stopped) } else { Ok(()) }
    })?;
    let training = if kind.caches() {
        let inputs = Inputs::new(config, data.train.shape(), pooled.input());
        Training::Cached(plain_features(backend, model, pooled, &data.train, &inputs, &mut |done, of| {
            if told(Progress::Train { done, of }) { Err(Error::Stopped) } else { Ok(()) }
        })?)
    } else {
        Training::Augmented(Arc::new(data.train.clone()))
    };
    let learnt = match &training {
        Training::Cached(train) => Some((train, data.train.len())),
        Training::Augmented(_) => None,
    };
    let mut device = OnDevice::new(backend, &heads, (&test, data.test.len()), learnt);
    let batches = data.train.len().div_ceil(batch) as u64;
    let of = batches.saturating_mul(config.epochs);
    let mut counts: Vec<Vec<Vec<usize>>> = vec![Vec::new(); heads.len()];
    let mut confusion = Vec::new();
    let mut kept = vec![Vec::new(); heads.len()];
    let mut stopped = false;
    'epochs: for epoch in 0..config.epochs {
        let mut done = epoch * batches;
        match &training {
            Training::Cached(train) => {
                let mut order: Vec<usize> = (0..data.train.len()).collect();
                stream(seed, Purpose::ProbeShuffle, epoch, 0).shuffle(&mut order);
                // A piece of an epoch at a time, between which it can be ended.
                let labels_of = |images: &[usize]| images.iter().map(|image| data.train.label(*image)).collect();
                for piece in order.chunks(batch * PIECE) {
                    match &mut device {
                        Some(device) => {
                            for batch in piece.chunks(batch) {
                                let labels: Vec<usize> = labels_of(batch);
                                device.learn(backend, batch, &labels, config.lr);
                            }
                            backend.check()?;
                        }
                        None => heads.par_iter_mut().for_each(|head| {
                            for batch in piece.chunks(batch) {
                                let labels: Vec<usize> = labels_of(batch);
                                head.learn(&train.rows(head.layers(), batch), &labels, config.lr);
                            }
                        }),
                    }
                    done += piece.len().div_ceil(batch) as u64;
                    if told(Progress::Batch { done, of }) {
                        stopped = true;
                        break 'epochs;
                    }
                }
            }
            Training::Augmented(images) => {
                for batch in loader::singles(images.clone(), &config.augment, batch, seed, epoch, loader_threads)? {
                    task.learn(backend, model, &mut heads, device.as_mut(), batch?);
                    done += 1;
                    if told(Progress::Batch { done, of }) {
                        stopped = true;
                        break 'epochs;
                    }
                }
            }
        }
        let predictions: Vec<Vec<usize>> = match &device {
            Some(device) => device.predictions(backend, &mut heads),
            None => heads.par_iter().map(|head| predictions(head, &test, data.test.len())).collect(),
        };
        backend.check()?;
        for (counts, predictions) in counts.iter_mut().zip(&predictions) {
            counts.push(right_by_class(predictions, &data.test, classes));
        }
        confusion = predictions.first().map_or_else(Vec::new, |all| confusions(all, &data.test, classes));
        heads.iter().zip(&mut kept).for_each(|(head, kept)| head.store(kept));
        let all = counts.first().and_then(|epochs| epochs.last()).map_or(0.0, |last| share(last, &data.test));
        if told(Progress::Epoch { done: epoch + 1, accuracy: all }) && epoch + 1 < config.epochs {
            stopped = true;
            break;
        }
    }
    let epochs = counts.first().map_or(0, Vec::len) as u64;
    if stopped {
        if epochs == 0 {
            return Err(Error::Stopped);
        }
        heads.iter_mut().zip(&kept).for_each(|(head, kept)| head.restore(kept));
    }
    let mut accuracies = counts.into_iter().map(|epochs| summary(&data.test, epochs, classes));
    let none = || Accuracy { last: 0.0, best: 0.0, classes: vec![None; classes], epochs: Vec::new(), balanced: None };
    let report = ProbeReport {
        cached: kind.caches(),
        epochs,
        train_images: data.train.len(),
        test_images: data.test.len(),
        best_selected_on: test_images(),
        all: accuracies.next().unwrap_or_else(none),
        layers: accuracies.collect(),
        protocol: Some(Protocol { stopped, ..Protocol::new(kind, config, inputs.test, seed, fold) }),
        confusion,
    };
    Ok(Outcome { report, heads })
}

impl ProbeTask<'_> {
    /// The heads with their first weights: the one that reads all layers, then one a layer.
    fn heads(&self) -> Vec<Head> {
        let dimensions: Vec<usize> = self.pooled.layers().iter().map(|layer| layer.pooled.len()).collect();
        std::iter::once((0..dimensions.len()).collect())
            .chain((0..dimensions.len()).map(|layer| vec![layer]))
            .enumerate()
            .map(|(index, layers)| Head::new(&dimensions, layers, self.data.classes.len(), self.seed, index as u64))
            .collect()
    }

    /// A step of all heads on a batch of augmented images; on the device, where they learn there.
    fn learn<B: Backend>(
        &self,
        backend: &B,
        model: &Model<B::Tensor>,
        heads: &mut [Head],
        device: Option<&mut OnDevice<B::Tensor>>,
        batch: loader::LabelledBatch,
    ) {
        let labels: Vec<usize> = batch.labels.iter().map(|label| usize::from(*label)).collect();
        let x = backend.upload_frames(self.pooled.input(), &batch.x);
        if let Some(device) = device {
            let features = features_there(backend, model, self.pooled, x, labels.len());
            return device.learn_from(backend, &features, &labels, self.config.lr);
        }
        let features = features(backend, model, self.pooled, x, labels.len());
        let rows: Vec<usize> = (0..labels.len()).collect();
        heads.par_iter_mut().for_each(|head| {
            head.learn(&features.rows(head.layers(), &rows), &labels, self.config.lr);
        });
    }
}

/// Features of all images of a split as they are tested; `listen` hears how many are done, of how many, and ends the
/// work by an error.
pub fn plain_features<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    pooled: &NetworkSpec,
    split: &Split,
    inputs: &Inputs,
    listen: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<Features, Error> {
    let mut all = Features::empty(pooled);
    for first in (0..split.len()).step_by(ROWS) {
        let images: Vec<usize> = (first..split.len().min(first + ROWS)).collect();
        all.append(features_of(backend, model, pooled, split, inputs, &images)?);
        listen(first + images.len(), split.len())?;
    }
    Ok(all)
}

/// Features of the images with these indices as they are tested.
pub(crate) fn features_of<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    pooled: &NetworkSpec,
    split: &Split,
    inputs: &Inputs,
    images: &[usize],
) -> Result<Features, Error> {
    let x = frames_of(split, inputs, images)?;
    Ok(features(backend, model, pooled, backend.upload_frames(inputs.shape, &x), images.len()))
}

/// The images with these indices as they are tested: frames `[images, C, H, W]`.
pub fn frames_of(split: &Split, inputs: &Inputs, images: &[usize]) -> Result<Vec<f32>, Error> {
    let len = inputs.shape.len();
    let mut x = vec![0.0; images.len() * len];
    x.par_chunks_exact_mut(len).zip(images).try_for_each_init(Vec::new, |pixels, (x, image)| {
        let shape = split.read(*image, pixels)?;
        inputs.prepare(pixels, shape, x)
    })?;
    Ok(x)
}

/// Returns the class that a head predicts for each image.
fn predictions(head: &Head, features: &Features, images: usize) -> Vec<usize> {
    let images: Vec<usize> = (0..images).collect();
    let of = |batch: &[usize]| head.predict(&features.rows(head.layers(), batch), batch.len());
    images.chunks(ROWS).flat_map(of).collect()
}

/// Images of each class that are classified rightly.
fn right_by_class(predictions: &[usize], split: &Split, classes: usize) -> Vec<usize> {
    let mut right = vec![0; classes];
    for (image, prediction) in predictions.iter().enumerate() {
        let label = split.label(image);
        right[label] += usize::from(*prediction == label);
    }
    right
}

/// Images by their class and the class that they are given.
fn confusions(predictions: &[usize], split: &Split, classes: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (image, prediction) in predictions.iter().enumerate() {
        counts[split.label(image)][*prediction] += 1;
    }
    counts
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
    split.labels().iter().for_each(|label| seen[usize::from(*label)] += 1);
    let of_class = |(right, seen): (&usize, &usize)| (*seen > 0).then(|| *right as f64 / *seen as f64);
    let by_class: Vec<Option<f64>> = last.iter().zip(&seen).map(of_class).collect();
    let known: Vec<f64> = by_class.iter().flatten().copied().collect();
    let balanced = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    Accuracy { last: share(&last, split), best, classes: by_class, epochs: course, balanced }
}
