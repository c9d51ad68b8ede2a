//! Local learning: one layer after the other, each from its own loss, with nothing kept of the layers below.

use super::lesson::{Lesson, outcome};
use super::{LayerOutcome, LayerOutcomeOf, LayerTensors, Mode, Model, OutcomeOf, forward, passed_on, uncontrasted};
use crate::backend::{Backend, Pairing};
use crate::model::Inputs;
use clapp_core::plan::Layer;

/// Every layer from its own loss; the contexts are the other views' activity in the same batch. A context from
/// the top needs a forward pass of its own first.
pub fn local_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let top = model.spec.rule().context.has_top().then(|| top_activity(backend, model, &layers, &x, rows));
    let mut outcomes = Vec::with_capacity(layers.len());
    let mut x = x;
    for layer in &layers {
        let (outcome, _, z) = learn_layer(backend, model, layer, &x, rows, pairing, None, top.as_ref(), &mut mode);
        outcomes.push(outcome);
        x = z;
    }
    outcomes
}

/// One frame of a stream: the contexts are `previous`, the activity of all layers in the frame before, which is
/// replaced by this frame's. A fixation pulls a layer towards its context, a saccade pushes it away. Without a
/// frame before (`previous` empty) nothing is learnt.
pub fn stream_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    previous: &mut Vec<B::Tensor>,
    fixation: bool,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut outcomes = Vec::with_capacity(layers.len());
    let mut pooled = Vec::with_capacity(layers.len());
    let mut x = x;
    // With one row, that row is its own partner: its positive and its negative, of which one counts.
    let pairing = Pairing::views(&[0], Some(std::slice::from_ref(&fixation)));
    for layer in &layers {
        let (outcome, p, z) = match (previous.get(layer.index), previous.last()) {
            (Some(same), top) => learn_layer(backend, model, layer, &x, 1, pairing, Some(same), top, &mut mode),
            (None, _) => {
                let activity = forward(backend, model, layer, &x, 1);
                let p = backend.pool(layer, &activity);
                (LayerOutcome::default(), p, passed_on(backend, model, activity))
            }
        };
        outcomes.push(outcome);
        pooled.push(p);
        x = z;
    }
    *previous = pooled;
    outcomes
}

/// Forward pass, loss and update of one layer; gives its outcome, pooled activity and output. The maps below are
/// not needed any more after it. Without `same` and `top` the context is the layer's own activity.
#[expect(clippy::too_many_arguments, reason = "the factors of one layer's update")]
pub(super) fn learn_layer<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    layer: &Layer,
    x: &B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    same: Option<&B::Tensor>,
    top: Option<&B::Tensor>,
    mode: &mut Mode<'_, B::Tensor>,
) -> (LayerOutcomeOf<B>, B::Tensor, B::Tensor) {
    let activity = forward(backend, model, layer, x, rows);
    let p = backend.pool(layer, &activity);
    let mut kept = LayerTensors::default();
    let outcome = match model.spec.options().uncontrasted {
        Some(rule) => {
            uncontrasted::learn_layer(backend, model, rule, layer, x, &activity, &p, pairing, mode, &mut kept)
        }
        None => {
            let (same, top) = (same.unwrap_or(&p), top.unwrap_or(&p));
            let lesson = Lesson { backend, layer, rows, pairing, p: &p, same, top };
            let losses = lesson.losses(model);
            let dp = lesson.pooled_gradient(&losses);
            let gradient = backend.local_gradient(layer, x, &activity, &dp);
            lesson.learn_projections(model, &losses, None, mode, &mut kept);
            lesson.learn_encoder(model, gradient, mode, &mut kept);
            outcome::<B>(losses)
        }
    };
    if let Mode::Record(gradients) = mode {
        gradients.push(kept);
    }
    let z = passed_on(backend, model, activity);
    let z = if model.spec.options().inputs == Inputs::Sums { backend.pair_anew(&z, rows) } else { z };
    (outcome, p, z)
}

/// Pooled activity of the top layer, by a forward pass that keeps nothing else.
pub(super) fn top_activity<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layers: &[Layer],
    x: &B::Tensor,
    rows: usize,
) -> B::Tensor {
    let mut below: Option<B::Tensor> = None;
    let mut p = None;
    for layer in layers {
        let activity = forward(backend, model, layer, below.as_ref().unwrap_or(x), rows);
        if layer.index + 1 == layers.len() {
            p = Some(backend.pool(layer, &activity));
        }
        below = Some(passed_on(backend, model, activity));
    }
    p.unwrap_or_else(|| backend.upload(&[]))
}
