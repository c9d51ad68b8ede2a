//! Predictive coding, and the hybrid of it with direct feedback.

use super::lesson::{Lesson, learn_block, outcome};
use super::local::learn_layer;
use super::relax::Relaxed;
use super::{LayerOutcome, LayerTensors, Mode, Model, OutcomeOf, forward, passed_on};
use crate::backend::{Backend, Pairing};

/// Predictive coding on the loss of the top ([`super::relax`]). The context is the top's pooled activity in the forward
/// pass, and stays so: the energy is then a function of the activities. The top's projection descends on the energy, too:
/// it learns from the loss of the relaxed activity.
pub fn relaxed_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut outcomes: OutcomeOf<B> = layers.iter().map(|_| LayerOutcome::default()).collect();
    let Some(top) = layers.last() else { return outcomes };
    let settings = model.spec.options().relaxation;
    let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
    let mut state = Relaxed::forward(backend, model, &layers, &x, rows);
    let context = state.pooled();
    let lesson = Lesson { backend, layer: top, rows, pairing, p: &context, same: &context, top: &context };
    let first = lesson.losses(model);
    state.infer(model, settings, &mut |p| lesson.loss_of(model, p));
    let p = state.pooled();
    let lesson = Lesson { p: &p, ..lesson };
    let losses = lesson.losses(model);
    lesson.learn_projections(model, &losses, None, &mut mode, &mut kept[top.index]);
    for ((layer, gradient), kept) in layers.iter().zip(state.gradients()).zip(&mut kept) {
        learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, kept);
    }
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    outcomes[top.index] = outcome::<B>(first);
    outcomes
}

/// Direct feedback whose top relaxes first: the activity of the top layer alone descends on the energy of predictive
/// coding, with the layers below as the forward pass has them. Its pooled activity is then the context of all layers
/// below, which learn as under direct feedback; the top learns from its prediction error, the relaxed activity being its
/// target.
pub fn relaxed_top_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let Some((top, below)) = layers.split_last() else { return Vec::new() };
    let settings = model.spec.options().relaxation;
    let mut maps: Option<B::Tensor> = None;
    for layer in below {
        let activity = forward(backend, model, layer, maps.as_ref().unwrap_or(&x), rows);
        maps = Some(passed_on(backend, model, activity));
    }
    let mut state = Relaxed::forward(backend, model, std::slice::from_ref(top), maps.as_ref().unwrap_or(&x), rows);
    let context = state.pooled();
    let lesson = Lesson { backend, layer: top, rows, pairing, p: &context, same: &context, top: &context };
    let first = lesson.losses(model);
    state.infer(model, settings, &mut |p| lesson.loss_of(model, p));
    let target = state.pooled();
    let gradients = state.gradients();
    let mut outcomes = Vec::with_capacity(layers.len());
    let mut z: Option<B::Tensor> = None;
    for layer in below {
        let input = z.as_ref().unwrap_or(&x);
        let (outcome, _, output) =
            learn_layer(backend, model, layer, input, rows, pairing, None, Some(&target), &mut mode);
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
    if let Mode::Record(gradients) = &mut mode {
        gradients.push(kept);
    }
    outcomes.push(outcome::<B>(first));
    outcomes
}
