//! Forward-Forward (Hinton 2022, "The forward-forward algorithm: some preliminary investigations"; docs/paper.md 1.4).
//!
//! The goodness of a row is the mean of its squared activities, `u = <p, c>` with `c = p` and `B = 1 / D`. Positives cost
//! `-log sigma(u - theta)`, negatives `-log sigma(theta - u)`; `theta` is 2 by default. The mean makes one threshold serve
//! layers of any size; Hinton sums the squares, and his threshold grows with the layer. Context and activity are the same
//! vector and both live: the gradient is that of the goodness, twice what the unified form with its detached context would
//! give.
//!
//! Negatives are his unsupervised ones, hybrids of two images ([`crate::draws::mix`]). Each row is divided by the root of
//! its mean square before the next layer sees it, so that goodness does not tell the next layer what it was.

use super::clapp_pp::{self, local_step};
use super::{Choices, Contrasts, LearningRule, Pooling, Settings};
use crate::backend::Backend;
use crate::model::Inputs;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::{Contrast, Projection};

/// Reason why the core cannot learn by rules whose negatives are mixtures of images.
pub(super) const MIXTURES: &str = "uses mixtures of images as negatives, and normalises activity between layers";

/// Forward-Forward; its `theta` is a setting of the contrast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "forward-forward",
        summary: "Forward-Forward: local, goodness of images against that of hybrid images",
        contrast: Contrasts::Own(Contrast::Goodness { theta: 2.0 }),
        projection: Projection::Identity,
        inputs: Inputs::Hybrids,
        normalise: true,
        pooling: Pooling::Pixels,
        ..clapp_pp::Rule::CHOICES
    };

    fn with(_: &Settings) -> Self {
        Self
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        local_step(backend, model, batch, mode)
    }
    fn beyond_core(&self) -> Option<&'static str> {
        Some(MIXTURES)
    }
}
