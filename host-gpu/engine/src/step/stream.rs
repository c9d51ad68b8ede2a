//! Learning from a stream of frames.

use super::layer::{Sees, learn_layer};
use super::{LayerOutcome, Mode, Model, OutcomeOf, forward, passed_on};
use crate::backend::{Backend, Pairing};

/// Learns from one frame of a stream. The contexts are `previous`, the activity of all layers in the previous frame;
/// this frame's activity replaces it. A fixation pulls a layer towards its context, a saccade pushes it away. Without a
/// previous frame (`previous` empty) nothing is learnt.
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
            (Some(same), top) => {
                let sees = Sees { x: &x, rows: 1, pairing, same: Some(same), top };
                learn_layer(backend, model, layer, sees, &mut mode)
            }
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
