//! PhyLL (Momeni et al. 2023, "Backpropagation-free training of deep physical neural networks"; docs/paper.md 1.4).
//!
//! `L = log(1 + exp(theta (u_neg - u_pos)))` of the scores `u = <p, c>`: the context is the row's own activity, the
//! projection the identity (`projection = "trainable"` is allowed). `theta` is 1 by default, as in the CLAPP++ code,
//! whose `f` this is.
//!
//! Momeni et al. compare by the cosine with a fixed random vector, on inputs that carry right and wrong labels, and take
//! `theta` 4. Without labels, the positive is the other view and the negative another image.

use super::clapp_pp::{self, local_step};
use super::{Choices, Contrasts, LearningRule, Settings};
use crate::backend::Backend;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::{Contrast, Projection};

/// PhyLL; its `theta` is a setting of the contrast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "phyll",
        summary: "PhyLL: local, a function of the difference of positive and negative, without a projection",
        contrast: Contrasts::Own(Contrast::Phyll { theta: 1.0 }),
        projection: Projection::Identity,
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
}
