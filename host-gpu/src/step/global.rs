//! Steps that walk back through the network: the global baselines, and local learning whose feedback is matched to
//! back-propagation. Every layer's maps are kept until its gradients have been computed.

use super::lesson::{Lesson, Losses, learn, report};
use super::{LayerReport, Mismatch, Mode, Model, Scores, StepReport, forward};
use crate::backend::{Activity, Backend, Matching, Pairing};
use crate::model::{Head, LayerValues, TensorRole};
use clapp_core::plan::Layer;

/// Outputs of all layers.
fn activities<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layers: &[Layer],
    x: &B::Tensor,
    rows: usize,
) -> Vec<Activity<B::Tensor>> {
    let mut all: Vec<Activity<B::Tensor>> = Vec::with_capacity(layers.len());
    for layer in layers {
        let below = all.last().map_or(x, |activity| &activity.z);
        all.push(forward(backend, model, layer, below, rows));
    }
    all
}

/// The top layer's loss, back-propagated through all blocks: BP-CLAPP++, or BP-InfoNCE where the model has a head.
/// On a network that learns locally it gives the gradients to compare with.
pub fn global_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_>,
) -> StepReport {
    let layers = model.spec.layers().to_vec();
    let mut activities = activities(backend, model, &layers, &x, rows);
    let mut reports: StepReport = layers.iter().map(|_| LayerReport::default()).collect();
    let (Some(top), Some(activity)) = (layers.last(), activities.last()) else { return reports };
    let p = backend.pool(top, activity);
    let mut kept: Vec<LayerValues> = layers.iter().map(|_| LayerValues::default()).collect();
    let of_top = &mut kept[top.index];
    let (report, dp) = match model.spec.options().head {
        Some(head) => learn_head(backend, model, head, &p, rows, &mode, of_top),
        None => {
            let lesson = Lesson { backend, layer: top, rows, pairing, p: &p, same: &p, top: &p };
            let losses = lesson.losses(model);
            let dp = lesson.pooled_gradient(&losses);
            lesson.learn_projections(model, &losses, None, &mut mode, of_top);
            (report(pairing, losses), dp)
        }
    };
    reports[top.index] = report;
    let mut dz = backend.spread(top, &dp, rows);
    for layer in layers.iter().rev() {
        let Some(activity) = activities.pop() else { break };
        let below = activities.last().map_or(&x, |activity| &activity.z);
        let gradient = if layer.index == top.index {
            backend.local_gradient(layer, below, &activity, &dp)
        } else {
            backend.block_gradient(layer, below, &activity, &dz)
        };
        if layer.index > 0 {
            dz = backend.input_gradient(layer, &model.layers[layer.index].weight.value, &activity, &dz);
        }
        let lesson = Lesson { backend, layer, rows, pairing, p: &p, same: &p, top: &p };
        lesson.learn_encoder(model, &gradient, &mut mode, &mut kept[layer.index]);
    }
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    reports
}

/// InfoNCE on the top's pooled activity `p`, and the update of its head.
fn learn_head<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    head: Head,
    p: &B::Tensor,
    rows: usize,
    mode: &Mode<'_>,
    kept: &mut LayerValues,
) -> (LayerReport, B::PooledGradient) {
    let Some(parameter) = model.layers.last_mut().and_then(|layer| layer.head.as_mut()) else {
        unreachable!("a model whose description has a head is uploaded with one")
    };
    let result = backend.info_nce(p, &parameter.value, head.temperature, rows);
    learn(backend, parameter, &result.head, mode);
    if let Mode::Record(_) = mode {
        kept.head = backend.download(&result.head);
    }
    let scores = Scores { role: TensorRole::Head, u_pos: result.pairs, u_neg: result.others, loss: result.loss };
    (LayerReport { scores: vec![scores], mismatch: None }, result.pooled)
}

/// Local learning in which the projections below the top learn to send the error that back-propagation of the top's
/// loss would bring (spec 3). The encoder and the top's projections learn as in [`super::local_step`], all from the
/// same forward pass.
pub fn matched_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_>,
) -> StepReport {
    let layers = model.spec.layers().to_vec();
    let mut activities = activities(backend, model, &layers, &x, rows);
    let mut reports: StepReport = layers.iter().map(|_| LayerReport::default()).collect();
    let (Some(last), Some(activity)) = (layers.last(), activities.last()) else { return reports };
    let top = backend.pool(last, activity);
    let mut kept: Vec<LayerValues> = layers.iter().map(|_| LayerValues::default()).collect();
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
        lesson.learn_encoder(model, &gradient, &mut mode, kept);
        let mismatch = matching.map(|Matching { distance, ideal, .. }| Mismatch { distance, ideal });
        reports[layer.index] = LayerReport { mismatch, ..report(pairing, losses) };
    }
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    reports
}

fn match_feedback<B: Backend>(
    lesson: &Lesson<'_, B>,
    model: &Model<B::Tensor>,
    losses: &Losses<B::Tensor>,
    dp: &B::PooledGradient,
    ideal: &B::Tensor,
) -> Matching<B::Tensor> {
    let Lesson { backend, layer, rows, p, .. } = *lesson;
    backend.matching(&model.spec.rule(), layer, p, &lesson.paired(losses), dp, ideal, rows)
}
