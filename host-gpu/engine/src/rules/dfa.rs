//! Direct feedback alignment (Lillicrap et al. 2016, Nøkland 2016) on the loss of BP-CLAPP++.
//!
//! The top learns from its own loss, as under BP-CLAPP++: pooled over the whole map, context detached. The gradient `e`
//! of that loss by the top layer's pooled activity is broadcast to every layer below, where `dp^l = F^l e` replaces the
//! gradient of its pooled activity, with `F^l` a random matrix `D_l x D_top` that never learns; from there it goes
//! through the layer's own pooling, max-pool and ReLU to its weights.
//!
//! Source: the primary literature; the paper names the rule, but the released code does not contain it (docs/paper.md
//! 3). In Nøkland's paper every unit of a map has its own row in `F`; here the units of a cell share a row. `F` has the
//! distribution of the other projections.

use super::clapp_pp;
use super::{Choices, Cost, LearningRule, Pooling, Settings, Signal};
use crate::backend::{Backend, Parameter};
use crate::model::Form;
use crate::step::layer::{Lesson, Losses, learn_block, outcome, top_activity};
use crate::step::{BatchOf, LayerTensors, ModeOf, ModelOf, OutcomeOf, forward, no_outcomes, passed_on};
use clapp_core::network::Context;

/// Direct feedback alignment; it has no settings of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "dfa",
        summary: "Direct feedback alignment: the top layer's error reaches every layer through a fixed random matrix",
        // The matrices are those of direct feedback; at the top it is the projection of the loss.
        context: Context::Top,
        signal: Signal::Broadcast,
        pooling: Pooling::CellsBelowMap,
        // Of 1e-3, 3e-4 and 1e-4 the one whose features were best after a short training.
        rate: Some(3e-4),
        ..clapp_pp::Rule::CHOICES
    };

    fn with(_: &Settings) -> Self {
        Self
    }

    fn form(&self) -> Form {
        Form { error_matrices: true, frozen_below_top: true, ..Self::CHOICES.form() }
    }

    /// The top learns from its own loss. Every layer below learns from the error of that loss by the top layer's pooled
    /// activity, `e = dL/dp^L` (docs/paper.md 2.3), through its fixed matrix: `dp^l = F^l e`, spread over its cells
    /// (docs/paper.md 2.4) and taken through its own block (docs/paper.md 2.5). No layer's weights are read by another,
    /// and no maps are kept: as under direct feedback, a first forward pass gives the top layer's activity, and in a
    /// second one each layer learns before the next is computed.
    ///
    /// `e` is a sum of predictions (docs/paper.md 2.3), so `F e` is the same sum of projected predictions: that keeps
    /// its cancellations in double precision.
    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mut mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let BatchOf::<B> { mut x, rows, pairing } = batch;
        let layers = model.spec.layers().to_vec();
        let mut outcomes = no_outcomes::<B>(&layers);
        let Some((top, below)) = layers.split_last() else { return outcomes };
        let p = top_activity(backend, model, &layers, &x, rows);
        let lesson = Lesson { backend, layer: top, rows, pairing, p: &p, same: &p, top: &p };
        let mut losses = lesson.losses(model);
        for layer in below {
            let activity = forward(backend, model, layer, &x, rows);
            let dp = broadcast(&lesson, model.layers[layer.index].feedback.as_ref(), &mut losses);
            let gradient = backend.local_gradient(layer, &x, &activity, &dp);
            let mut kept = LayerTensors::default();
            learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, &mut kept);
            mode.keep_layer(kept);
            x = passed_on(backend, model, activity);
        }
        let activity = forward(backend, model, top, &x, rows);
        let dp = lesson.pooled_gradient(&losses);
        let gradient = backend.local_gradient(top, &x, &activity, &dp);
        let mut kept = LayerTensors::default();
        lesson.learn_projections(model, &losses, None, &mut mode, &mut kept);
        lesson.learn_encoder(model, gradient, &mut mode, &mut kept);
        mode.keep_layer(kept);
        outcomes[top.index] = outcome::<B>(losses);
        outcomes
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some("sends the top layer's error to all layers")
    }

    fn cost(&self) -> Cost {
        Cost { first_pass: true, ..Cost::default() }
    }
}

/// `F e`, `[rows, D]`, of the errors `e` that the top layer's losses make.
fn broadcast<B: Backend>(
    top: &Lesson<'_, B>,
    feedback: Option<&Parameter<B::Tensor>>,
    losses: &mut Losses<B>,
) -> B::PooledGradient {
    let Some(feedback) = feedback else {
        unreachable!("a model whose error is broadcast is uploaded with feedback in every layer")
    };
    let predictions: Vec<B::Tensor> = losses
        .iter_mut()
        .map(|(_, factors)| {
            let sent = top.backend.project(&feedback.value, &factors.prediction, top.rows);
            std::mem::replace(&mut factors.prediction, sent)
        })
        .collect();
    let dp = top.pooled_gradient(losses);
    for ((_, factors), prediction) in losses.iter_mut().zip(predictions) {
        factors.prediction = prediction;
    }
    dp
}
