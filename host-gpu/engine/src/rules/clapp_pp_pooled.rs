//! CLAPP++ without spatial dependence (docs/paper.md 1.4, 5.1): the loss of every layer sees channel means only, so
//! that the error is the same all over a map.
//!
//! Source: the paper and its released code. Nothing is left out.

use super::clapp_pp::{self, local_step};
use super::{Choices, LearningRule, Pooling, Settings};
use crate::backend::Backend;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};

/// CLAPP++ on channel means; it has no settings of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "clapp++pooled",
        summary: "CLAPP++ without spatial dependence: every layer's loss sees channel means",
        pooling: Pooling::Map,
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
