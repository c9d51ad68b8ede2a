//! Predictive coding (Rao and Ballard 1999; Whittington and Bogacz 2017; Millidge et al. 2022) on the loss of BP-CLAPP++.
//!
//! The energy is half the squared prediction errors of all blocks plus the loss of the top; activities relax on it, then
//! each layer's weights descend on it by its own error ([`crate::step::relax`]). The context of the loss is the forward
//! pass's, as it is detached elsewhere. `relaxation` in the configuration has by what it descends, the number of
//! iterations, the rate, and the weight of a row's loss; with a small weight the gradients are those of back-propagation.
//!
//! Source: the primary literature; the paper reports the rule as a baseline, but its code does not contain it
//! (docs/paper.md 3). It is not known whether the paper's form has free activities or fixed predictions, nor its number
//! of iterations and weights.

use super::bp_clapp_pp;
use super::{Choices, Cost, Descent, LearningRule, NOT_ON_A_GPU, Settings, Signal};
use crate::backend::Backend;
use crate::step::backprop::Backward;
use crate::step::layer::{Lesson, learn_block, outcome};
use crate::step::relax::{Relaxation, Relaxed};
use crate::step::{BatchOf, LayerTensors, ModeOf, ModelOf, OutcomeOf, no_outcomes};

/// Predictive coding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Relaxation of the activities.
    pub relaxation: Relaxation,
}

/// Reason why the core cannot learn by rules with relaxation.
pub(super) const RELAXES: &str = "relaxes activity on an energy";

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "predictive-coding",
        summary: "Predictive coding: activities relax on prediction errors and the top layer's loss, then each layer learns from its error",
        signal: Signal::Relaxed,
        ..bp_clapp_pp::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { relaxation: settings.relaxation }
    }

    /// The context is the top layer's pooled activity in the forward pass, and stays so: the energy is then a function of
    /// the activities. The top layer's projection descends on the energy, too: it learns from the loss of the relaxed
    /// activity.
    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mut mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let BatchOf::<B> { x, rows, pairing } = batch;
        let layers = model.spec.layers().to_vec();
        let mut outcomes = no_outcomes::<B>(&layers);
        let Some(top) = layers.last() else { return outcomes };
        let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
        let mut state = Relaxed::forward(backend, model, &layers, &x, rows);
        let context = state.pooled();
        let lesson = Lesson { backend, layer: top, rows, pairing, p: &context, same: &context, top: &context };
        let first = lesson.losses(model);
        state.infer(model, self.relaxation, &mut |p| lesson.loss_of(model, p));
        let p = state.pooled();
        let lesson = Lesson { p: &p, ..lesson };
        let losses = lesson.losses(model);
        lesson.learn_projections(model, &losses, None, &mut mode, &mut kept[top.index]);
        for ((layer, gradient), kept) in layers.iter().zip(state.gradients()).zip(&mut kept) {
            learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, kept);
        }
        mode.keep(kept);
        outcomes[top.index] = outcome::<B>(first);
        outcomes
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some(RELAXES)
    }

    fn beyond_gpu(&self) -> Option<&'static str> {
        Some(NOT_ON_A_GPU)
    }

    fn cost(&self) -> Cost {
        let descent = Descent { backward: Backward::Whole, all_gradients: true };
        Cost { descent: Some(descent), iterations: self.relaxation.iterations, ..Cost::default() }
    }
}
