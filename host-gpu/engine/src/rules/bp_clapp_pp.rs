//! BP-CLAPP++ (docs/paper.md 1.4, 5.1): the loss of CLAPP++ only on the top layer's channel means, back-propagated
//! through the network. This is the global baseline.
//!
//! The context stays detached, as in the released code: the gradient comes down on the side of the activity only.
//!
//! Source: the paper and its released code (there `ete_training`). Nothing is left out.

use super::clapp_pp_pooled;
use super::{Choices, Cost, Descent, LearningRule, Settings, Signal};
use crate::backend::Backend;
use crate::step::backprop::{Backward, Through, back_propagate_contrast};
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};

/// BP-CLAPP++.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rule {
    /// Memory strategy of back-propagation.
    pub backward: Backward,
}

/// Reason why the core cannot learn by rules that back-propagate.
pub(super) const NEEDS_BACK_PROPAGATION: &str = "needs back-propagation through the network";

/// Reason why the gradients of back-propagation are not compared with themselves.
pub(super) const IS_BACK_PROPAGATION: &str =
    "back-propagates the top layer's loss itself: the cosine is 1 by definition in every layer";

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "bp-clapp++",
        summary: "BP-CLAPP++: the top layer's loss on channel means, back-propagated through the network",
        signal: Signal::BackPropagated,
        ..clapp_pp_pooled::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { backward: settings.backward }
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        back_propagate_contrast(backend, model, batch, self.backward, Through::Weights, mode)
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some(NEEDS_BACK_PROPAGATION)
    }

    fn beyond_alignment(&self) -> Option<&'static str> {
        Some(IS_BACK_PROPAGATION)
    }

    fn cost(&self) -> Cost {
        let descent = Descent { backward: self.backward, all_gradients: true };
        Cost { descent: Some(descent), ..Cost::default() }
    }
}
