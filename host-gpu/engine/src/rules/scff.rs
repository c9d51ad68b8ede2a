//! Self-Contrastive Forward-Forward (Chen et al. 2025, "Self-contrastive forward-forward algorithm";
//! docs/paper.md 1.4).
//!
//! The goodness of Forward-Forward, on cells. Both images of a pair go through the same weights and are added
//! ([`crate::draws::mix`]): an image with itself is a positive, with another image a negative. Every layer makes new
//! pairs from the output of the layer below ([`crate::backend::Backend::pair_anew`]), as in the released code with
//! `concat` on in all layers.
//!
//! That code standardises between layers (mean 0, deviation 1) where this divides by the length, takes the goodness at
//! each position, has two thresholds a layer and a penalty on the goodness's norm; those are left out.

use super::clapp_pp::local_step;
use super::forward_forward::{self, MIXTURES};
use super::{Choices, LearningRule, Pooling, Settings};
use crate::backend::Backend;
use crate::model::Inputs;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};

/// SCFF; its `theta` is a setting of the contrast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "scff",
        summary: "Self-Contrastive Forward-Forward: local, goodness of an image with itself against that with another one",
        inputs: Inputs::Sums,
        pooling: Pooling::Cells,
        ..forward_forward::Rule::CHOICES
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
