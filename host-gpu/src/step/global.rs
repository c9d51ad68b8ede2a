//! Steps that walk back through the network: the global baselines, and local learning whose feedback is matched to
//! back-propagation. Every layer's maps are kept until its gradients have been computed.

use super::backprop::{Backprop, Through, activities};
use super::lesson::{Lesson, Losses, learn, learn_block, outcome};
use super::{LayerOutcome, LayerOutcomeOf, LayerTensors, Mode, Model, OutcomeOf};
use crate::backend::{Backend, Matching, Pairing};
use crate::model::{Backward, Head, TensorRole};

/// The top layer's loss, back-propagated through all blocks: BP-CLAPP++, or BP-InfoNCE where the model has a head.
/// On a network that learns locally it gives the gradients to compare with.
pub fn global_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    back_propagate(backend, model, x, rows, pairing, Through::Weights, mode)
}

/// The same, but that errors come down through the mirrors instead of the weights, which no error sees.
pub fn mirrored_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    back_propagate(backend, model, x, rows, pairing, Through::Mirrors, mode)
}

fn back_propagate<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    through: Through,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut outcomes: OutcomeOf<B> = layers.iter().map(|_| LayerOutcome::default()).collect();
    let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
    let Some(top) = layers.last() else { return outcomes };
    let pass = Backprop { backend, layers: &layers, rows, pairing, through };
    let of_top = &mut kept[top.index];
    let mut at_top = |model: &mut Model<B::Tensor>, p: &B::Tensor| {
        let (outcome, dp) = learn_top(&pass, model, p, &mut mode, of_top);
        outcomes[top.index] = outcome;
        dp
    };
    let gradients = match model.spec.options().backward {
        Backward::Whole => pass.whole(model, &x, &mut at_top),
        Backward::Checkpointed => pass.checkpointed(model, &x, &mut at_top),
        Backward::Accumulated(parts) => pass.accumulated(model, &x, parts, &mut at_top),
    };
    for ((layer, gradient), kept) in layers.iter().zip(gradients).zip(&mut kept) {
        let parameters = &mut model.layers[layer.index];
        learn_block(backend, parameters, gradient, &mut mode, kept);
    }
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    outcomes
}

/// The loss on the top's pooled activity, and the update of its projections or its head.
fn learn_top<B: Backend>(
    pass: &Backprop<'_, B>,
    model: &mut Model<B::Tensor>,
    p: &B::Tensor,
    mode: &mut Mode<'_, B::Tensor>,
    kept: &mut LayerTensors<B::Tensor>,
) -> (LayerOutcomeOf<B>, B::PooledGradient) {
    let Backprop { backend, layers, rows, pairing, .. } = *pass;
    if let Some(head) = model.spec.options().head {
        return learn_head(backend, model, head, p, rows, mode, kept);
    }
    let layer = &layers[layers.len() - 1];
    let lesson = Lesson { backend, layer, rows, pairing, p, same: p, top: p };
    let losses = lesson.losses(model);
    let dp = lesson.pooled_gradient(&losses);
    lesson.learn_projections(model, &losses, None, mode, kept);
    (outcome::<B>(losses), dp)
}

/// InfoNCE on the top's pooled activity `p`, and the update of its head.
fn learn_head<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    head: Head,
    p: &B::Tensor,
    rows: usize,
    mode: &Mode<'_, B::Tensor>,
    kept: &mut LayerTensors<B::Tensor>,
) -> (LayerOutcomeOf<B>, B::PooledGradient) {
    let Some(parameter) = model.layers.last_mut().and_then(|layer| layer.head.as_mut()) else {
        unreachable!("a model whose description has a head is uploaded with one")
    };
    let result = backend.info_nce(p, &parameter.value, head.temperature, rows);
    learn(backend, &mut [(parameter, &result.head)], mode);
    if let Mode::Record(_) = mode {
        kept.push(TensorRole::Head, result.head);
    }
    (LayerOutcome { scores: vec![(TensorRole::Head, result.scores)], distance: None }, result.pooled)
}

/// Local learning in which the projections below the top learn to send the error that back-propagation of the top's
/// loss would bring (docs/paper.md 3). The encoder and the top's projections learn as in [`super::local_step`], all
/// from the same forward pass.
pub fn matched_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut activities = activities(backend, model, &layers, &x, rows);
    let mut outcomes: OutcomeOf<B> = layers.iter().map(|_| LayerOutcome::default()).collect();
    let (Some(last), Some(activity)) = (layers.last(), activities.last()) else { return outcomes };
    let top = backend.pool(last, activity);
    let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
    // What back-propagation brings to the output of the layer that is next.
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
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    outcomes
}

fn match_feedback<B: Backend>(
    lesson: &Lesson<'_, B>,
    model: &Model<B::Tensor>,
    losses: &Losses<B>,
    dp: &B::PooledGradient,
    ideal: &B::Tensor,
) -> Matching<B::Tensor, B::Distance> {
    let Lesson { backend, layer, rows, p, .. } = *lesson;
    backend.matching(&model.spec.rule(), layer, p, &lesson.paired(losses), dp, ideal, rows)
}
