//! CLAPP++both (docs/paper.md 1.4, 3): the sum of the losses of CLAPP++ and CLAPP++DFB, with a projection each and the
//! same negatives.
//!
//! `feedback` in the configuration is as in CLAPP++DFB.
//!
//! Source: the paper and its released code (there `extra_lateral_loss`). Nothing is left out.

use super::clapp_pp_dfb;
use super::{Choices, Cost, LearningRule, Settings};
use crate::backend::Backend;
use crate::model::Form;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::Context;

/// CLAPP++both: CLAPP++DFB with a second loss, whose context is the same layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule(pub clapp_pp_dfb::Rule);

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "clapp++both",
        summary: "CLAPP++both: the sum of CLAPP++ and CLAPP++DFB",
        context: Context::Both,
        ..clapp_pp_dfb::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self(clapp_pp_dfb::Rule::with(settings))
    }

    fn form(&self) -> Form {
        self.0.form()
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        self.0.step(backend, model, batch, mode)
    }

    fn with_frozen_feedback(self) -> Self {
        Self(self.0.with_frozen_feedback())
    }

    fn beyond_core(&self) -> Option<&'static str> {
        self.0.beyond_core()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }
}
