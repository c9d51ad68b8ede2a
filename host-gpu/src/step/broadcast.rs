//! Direct feedback alignment: the error of the top's loss, broadcast to every layer below.

use super::lesson::{Lesson, Losses, learn_block, outcome};
use super::local::top_activity;
use super::{LayerOutcome, LayerTensors, Mode, Model, OutcomeOf, forward, passed_on};
use crate::backend::{Backend, Pairing, Parameter};

/// The top learns from its own loss. Every layer below learns from the error of that loss by the top's pooled activity,
/// `e = dL/dp^L` (docs/paper.md 2.3), through its fixed matrix: `dp^l = F^l e`, spread over its cells
/// (docs/paper.md 2.4) and taken through its own block (docs/paper.md 2.5). No layer's weights are read by another, and
/// no maps are kept: as under direct feedback, a first forward pass gives the top's activity, and in a second one each
/// layer learns before the next is computed.
///
/// `e` is a sum of predictions (docs/paper.md 2.3), so `F e` is the same sum of projected predictions: that keeps its
/// cancellations in double precision.
pub fn broadcast_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut outcomes: OutcomeOf<B> = layers.iter().map(|_| LayerOutcome::default()).collect();
    let Some((top, below)) = layers.split_last() else { return outcomes };
    let p = top_activity(backend, model, &layers, &x, rows);
    let lesson = Lesson { backend, layer: top, rows, pairing, p: &p, same: &p, top: &p };
    let mut losses = lesson.losses(model);
    let mut x = x;
    for layer in below {
        let activity = forward(backend, model, layer, &x, rows);
        let dp = broadcast(&lesson, model.layers[layer.index].feedback.as_ref(), &mut losses);
        let gradient = backend.local_gradient(layer, &x, &activity, &dp);
        let mut kept = LayerTensors::default();
        learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, &mut kept);
        if let Mode::Record(gradients) = &mut mode {
            gradients.push(kept);
        }
        x = passed_on(backend, model, activity);
    }
    let activity = forward(backend, model, top, &x, rows);
    let dp = lesson.pooled_gradient(&losses);
    let gradient = backend.local_gradient(top, &x, &activity, &dp);
    let mut kept = LayerTensors::default();
    lesson.learn_projections(model, &losses, None, &mut mode, &mut kept);
    lesson.learn_encoder(model, gradient, &mut mode, &mut kept);
    if let Mode::Record(gradients) = &mut mode {
        gradients.push(kept);
    }
    outcomes[top.index] = outcome::<B>(losses);
    outcomes
}

/// `F e`, `[rows, D]`, of the errors `e` that the top's losses make.
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
