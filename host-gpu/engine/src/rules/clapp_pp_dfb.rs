//! CLAPP++DFB (docs/paper.md 1.4, 3): CLAPP++ whose context is the top layer, broadcast to all layers (direct
//! feedback).
//!
//! `L = f(<p_pos, B c>) + f(-<p_neg, B c>)` with a trainable `B` of `D x D_top` and the top layer's activity in the
//! other view as context. `feedback` in the configuration says what the projections below the top layer learn from:
//! `trained`, `frozen` (random feedback) or `matched` (to back-propagation).
//!
//! Source: the paper and its released code. Nothing is left out.

use super::bp_clapp_pp::NEEDS_BACK_PROPAGATION;
use super::clapp_pp::{self, local_step};
use super::{Choices, Cost, Descent, Feedback, FeedbackChoices, LearningRule, Settings};
use crate::backend::{Backend, Matching};
use crate::model::Form;
use crate::step::backprop::{Backward, activities};
use crate::step::layer::{Lesson, Losses, outcome};
use crate::step::{BatchOf, LayerOutcome, LayerTensors, ModeOf, ModelOf, OutcomeOf, no_outcomes};
use clapp_core::network::Context;

/// CLAPP++DFB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Error that trains the projections below the top layer.
    pub feedback: Feedback,
}

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "clapp++dfb",
        summary: "CLAPP++DFB: local, spatial dependence, context from the top layer",
        context: Context::Top,
        feedback: FeedbackChoices::All,
        ..clapp_pp::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { feedback: settings.feedback }
    }

    fn form(&self) -> Form {
        Form { frozen_below_top: self.feedback == Feedback::Frozen, ..Self::CHOICES.form() }
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        match self.feedback {
            Feedback::Trained | Feedback::Frozen => local_step(backend, model, batch, mode),
            Feedback::Matched => matched_step(backend, model, batch, mode),
        }
    }

    fn with_frozen_feedback(self) -> Self {
        Self { feedback: Feedback::Frozen }
    }

    fn beyond_core(&self) -> Option<&'static str> {
        match self.feedback {
            Feedback::Trained => None,
            Feedback::Frozen => Some("trains only the top layer's projections"),
            Feedback::Matched => Some(NEEDS_BACK_PROPAGATION),
        }
    }

    fn cost(&self) -> Cost {
        let descent = Descent { backward: Backward::Whole, all_gradients: false };
        Cost { first_pass: true, descent: (self.feedback == Feedback::Matched).then_some(descent), ..Cost::default() }
    }
}

/// Local learning in which the projections below the top layer learn to send the error that back-propagation of the top
/// layer's loss would bring (docs/paper.md 3). The encoder and the top layer's projections learn as in [`local_step`],
/// all from the same forward pass.
pub fn matched_step<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    batch: BatchOf<'_, B>,
    mut mode: ModeOf<'_, B>,
) -> OutcomeOf<B> {
    let BatchOf::<B> { x, rows, pairing } = batch;
    let layers = model.spec.layers().to_vec();
    let mut activities = activities(backend, model, &layers, &x, rows);
    let mut outcomes = no_outcomes::<B>(&layers);
    let (Some(last), Some(activity)) = (layers.last(), activities.last()) else { return outcomes };
    let top = backend.pool(last, activity);
    let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
    // The back-propagated error of the next layer's output.
    let mut ideal: Option<B::Tensor> = None;
    for layer in layers.iter().rev() {
        let Some(activity) = activities.pop() else { break };
        let x = activities.last().map_or(&x, |activity| &activity.z);
        let own = backend.pool(layer, &activity);
        let lesson = Lesson { backend, layer, rows, pairing, p: &own, same: &own, top: &top };
        let losses = lesson.losses(model);
        let dp = lesson.pooled_gradient(&losses);
        let matching = ideal.as_ref().map(|ideal| match_feedback(&lesson, model, &losses, &dp, ideal));
        let dz = ideal.take().unwrap_or_else(|| backend.spread(layer, &dp, rows));
        if layer.index > 0 {
            ideal = Some(backend.input_gradient(layer, &model.layers[layer.index].weight.value, &activity, &dz));
        }
        let gradient = backend.local_gradient(layer, x, &activity, &dp);
        let kept = &mut kept[layer.index];
        let errors = matching.as_ref().map(|matching| matching.errors.as_slice());
        lesson.learn_projections(model, &losses, errors, &mut mode, kept);
        lesson.learn_encoder(model, gradient, &mut mode, kept);
        let distance = matching.map(|matching| matching.distance);
        outcomes[layer.index] = LayerOutcome { distance, ..outcome::<B>(losses) };
    }
    mode.keep(kept);
    outcomes
}

fn match_feedback<B: Backend>(
    lesson: &Lesson<'_, B>,
    model: &ModelOf<B>,
    losses: &Losses<B>,
    dp: &B::PooledGradient,
    ideal: &B::Tensor,
) -> Matching<B::Tensor, B::Distance> {
    let Lesson { backend, layer, rows, p, .. } = *lesson;
    backend.matching(&model.spec.rule(), layer, p, &lesson.paired(losses), dp, ideal, rows)
}
