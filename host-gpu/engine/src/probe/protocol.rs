//! The protocol of a probe. Two accuracies are comparable if their protocols are equal.

use crate::config::ProbeConfig;
use clapp_data::augment::{Sizes, TestTransform, ViewAugment};
use clapp_data::words::counted;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kind of protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The paper's protocol: new features in every epoch, from augmented images.
    Augmented,
    /// Features computed once, from the images as they are tested.
    Cached,
    /// As `Cached`, in a few epochs on a part of the images: for a first look.
    Quick,
}

impl Kind {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Augmented, Self::Cached, Self::Quick];

    /// Returns `true` if features are computed once.
    pub fn caches(self) -> bool {
        self != Self::Augmented
    }

    /// Beginning of the names of a probe's files in a run's folder.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Augmented => "probe",
            Self::Cached => "probe-cached",
            Self::Quick => "probe-quick",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Augmented => "probe",
            Self::Cached => "cached probe",
            Self::Quick => "quick probe",
        })
    }
}

/// A protocol with all its settings, as `probe.json` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Kind of protocol.
    pub kind: Kind,
    /// Epochs that were asked for; [`super::ProbeReport::epochs`] are done.
    pub planned_epochs: u64,
    /// `true` if a signal has ended the probe before all epochs were done.
    pub stopped: bool,
    /// Seed of first weights, order and augmentation.
    pub seed: u64,
    /// Images in a batch.
    pub batch: usize,
    /// Learning rate of Adam.
    pub lr: f32,
    /// Resizing and centre crop of the test images; none if they are used as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Sizes>,
    /// Augmentation of the training images; none if features are computed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<ViewAugment>,
    /// The fold of labelled images that was used, counted from 0; none for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
}

impl Protocol {
    /// The protocol of a probe by `config`, with the preparation `test` of the test images.
    pub fn new(kind: Kind, config: &ProbeConfig, test: TestTransform, seed: u64, fold: Option<usize>) -> Self {
        Self {
            kind,
            planned_epochs: config.epochs,
            stopped: false,
            seed,
            batch: config.batch,
            lr: config.lr,
            test: test.sizes(),
            augment: (!kind.caches()).then(|| config.augment.clone()),
            fold,
        }
    }

    /// The same for comparison: a seed tells repetitions apart, not protocols.
    pub fn without_seed(&self) -> Self {
        Self { seed: 0, ..self.clone() }
    }

    /// Returns the preparation of the test images.
    pub fn transform(&self) -> TestTransform {
        self.test.map_or(TestTransform::AsIs, TestTransform::from)
    }

    /// Describes the protocol in words, with the epochs done and the numbers of labelled and test images, without the
    /// seed.
    pub fn words(&self, epochs: u64, train_images: usize, test_images: usize) -> String {
        let count = counted(epochs, "epoch");
        let count = if self.stopped { format!("stopped after {count} of {}", self.planned_epochs) } else { count };
        let how = match self.kind {
            Kind::Augmented => "new augmentation each epoch",
            Kind::Cached => "cached features without augmentation",
            Kind::Quick => "quick: cached features without augmentation",
        };
        let fold = self.fold.map_or(String::new(), |fold| format!(" of fold {fold}"));
        let test = match self.test {
            None => "as they are".into(),
            Some(Sizes { resize, crop }) => format!("resized to {resize}, centre crop {crop}"),
        };
        format!(
            "{count} on {}{fold}, {how}, batch {}, learning rate {}; {} {test}",
            counted(train_images, "image"),
            self.batch,
            self.lr,
            counted(test_images, "test image"),
        )
    }
}

/// Epochs of [`Kind::Quick`].
pub const QUICK_EPOCHS: u64 = 30;

/// Returns the numbers of labelled and test images of [`Kind::Quick`]: 5,000 and 2,000, or with many classes 50 and 20
/// per class, but at most `train` and `test`.
pub fn quick_images(train: usize, test: usize, classes: usize) -> [usize; 2] {
    [train.min(5000.max(50 * classes)), test.min(2000.max(20 * classes))]
}

/// `count` of `all` indices at even distances, from the first on.
pub fn evenly(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    (0..count).map(|index| (index as u128 * all as u128 / count as u128) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_probe_takes_images_of_the_whole_set() {
        assert_eq!(evenly(10, 4), [0, 2, 5, 7]);
        assert_eq!(evenly(3, 9), [0, 1, 2]);
        assert!(evenly(0, 9).is_empty());
        assert_eq!(quick_images(50_000, 10_000, 10), [5000, 2000]);
        assert_eq!(quick_images(100_000, 10_000, 200), [10_000, 4000]);
        assert_eq!(quick_images(20, 10, 2), [20, 10]);
    }
}
