//! CLAPP++DFB with a relaxed top: this project's own hybrid of direct feedback and predictive coding.
//!
//! Only the top layer's activity relaxes, on `1/2 ||z^L - f_L(z^{L-1})||^2 + w sum_rows loss(z^L)`. The layers below
//! and the context stay as in the forward pass. The relaxed activity is then the context of all layers below, as in
//! CLAPP++DFB. It is also the target of the top layer, which learns from its prediction error, as in predictive coding.
//! The feedback thus carries the desired activity of the top layer, not its present one. Only the top layer iterates,
//! and no error goes down through a block. With a small weight `w` the rule equals CLAPP++DFB.
//!
//! Source: nobody's; the simplest form that has both parts.

use super::clapp_pp_dfb;
use super::predictive_coding::RELAXES;
use super::{Choices, Cost, Feedback, FeedbackChoices, LearningRule, NOT_ON_A_GPU, Settings, Signal};
use crate::backend::Backend;
use crate::model::Form;
use crate::step::layer::{Lesson, Sees, learn_layer, outcome};
use crate::step::relax::{Relaxation, Relaxed};
use crate::step::{BatchOf, LayerTensors, ModeOf, ModelOf, OutcomeOf, forward, passed_on};

/// CLAPP++DFB with a relaxed top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Error that trains the projections below the top layer; never matched.
    pub feedback: Feedback,
    /// Relaxation of the top layer.
    pub relaxation: Relaxation,
}

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "clapp++dfb-pc",
        summary: "CLAPP++DFB whose top layer relaxes before learning, as in predictive coding",
        signal: Signal::TopRelaxed,
        feedback: FeedbackChoices::Frozen,
        ..clapp_pp_dfb::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { feedback: settings.feedback, relaxation: settings.relaxation }
    }

    fn form(&self) -> Form {
        clapp_pp_dfb::Rule { feedback: self.feedback }.form()
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mut mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let BatchOf::<B> { x, rows, pairing } = batch;
        let layers = model.spec.layers().to_vec();
        let Some((top, below)) = layers.split_last() else { return Vec::new() };
        let mut maps: Option<B::Tensor> = None;
        for layer in below {
            let activity = forward(backend, model, layer, maps.as_ref().unwrap_or(&x), rows);
            maps = Some(passed_on(backend, model, activity));
        }
        let mut state = Relaxed::forward(backend, model, std::slice::from_ref(top), maps.as_ref().unwrap_or(&x), rows);
        let context = state.pooled();
        let lesson = Lesson { backend, layer: top, rows, pairing, p: &context, same: &context, top: &context };
        let first = lesson.losses(model);
        state.infer(model, self.relaxation, &mut |p| lesson.loss_of(model, p));
        let target = state.pooled();
        let gradients = state.gradients();
        let mut outcomes = Vec::with_capacity(layers.len());
        let mut z: Option<B::Tensor> = None;
        for layer in below {
            let input = z.as_ref().unwrap_or(&x);
            let sees = Sees { x: input, rows, pairing, same: None, top: Some(&target) };
            let (outcome, _, output) = learn_layer(backend, model, layer, sees, &mut mode);
            outcomes.push(outcome);
            z = Some(output);
        }
        let lesson = Lesson { p: &target, ..lesson };
        let losses = lesson.losses(model);
        let mut kept = LayerTensors::default();
        lesson.learn_projections(model, &losses, None, &mut mode, &mut kept);
        for gradient in gradients {
            lesson.learn_encoder(model, gradient, &mut mode, &mut kept);
        }
        mode.keep_layer(kept);
        outcomes.push(outcome::<B>(first));
        outcomes
    }

    fn with_frozen_feedback(self) -> Self {
        Self { feedback: Feedback::Frozen, ..self }
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some(RELAXES)
    }

    fn beyond_gpu(&self) -> Option<&'static str> {
        Some(NOT_ON_A_GPU)
    }

    fn cost(&self) -> Cost {
        Cost { first_pass: true, top_relaxes: true, ..Cost::default() }
    }
}
