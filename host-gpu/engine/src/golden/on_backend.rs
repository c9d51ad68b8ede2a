//! Golden cases on a backend of the host.

use super::case::{Case, Task, Trial};
use super::{Computed, GoldenError};
use crate::alignment::{cosines, top_gradients};
use crate::backend::{Backend, Pairing};
use crate::model::{LayerValues, LossLayers, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use crate::probe::{self, features};
use crate::rules::Head;
use crate::rules::clapp_pp_dfb::matched_step;
use crate::rules::{AnyRule, bp_info_nce, step};
use crate::step::backprop::Backward;
use crate::step::{LayerReport, Mode, Model, StepBatch, StepReport, download_gradients, forward, read, stream_step};

/// Computes a case.
///
/// # Errors
/// If the backend fails. The case itself was checked when it was read.
pub fn compute<B: Backend>(backend: &B, case: &Case) -> Result<Computed, GoldenError> {
    let mut computed = Computed::default();
    match &case.task {
        Task::Batch { negatives, keep_positive, trials } => {
            let pairing = Pairing::views(negatives, keep_positive.as_deref());
            batch(backend, case, pairing, trials, &mut computed);
        }
        Task::Stream { fixation, lr } => stream(backend, case, fixation, *lr, &mut computed),
        Task::InfoNce { head, temperature } => info_nce(backend, case, head, *temperature, &mut computed),
        Task::Probe { weight, bias, labels, lr, steps } => {
            probe(backend, case, weight, bias, labels, *lr, *steps, &mut computed);
        }
    }
    backend.check().map_err(|error| GoldenError::Device(error.to_string()))?;
    Ok(computed)
}

fn upload<B: Backend>(backend: &B, case: &Case) -> Model<B::Tensor> {
    Model::upload(backend, case.network.clone(), &case.values)
}

fn frames<B: Backend>(backend: &B, case: &Case) -> B::Tensor {
    backend.upload_frames(case.network.input(), &case.frames)
}

fn batch<B: Backend>(backend: &B, case: &Case, pairing: Pairing<'_>, trials: &[Trial], computed: &mut Computed) {
    let mut model = upload(backend, case);
    maps(backend, case, &model, computed);
    let mut gradients = Vec::new();
    let outcome = step(
        backend,
        &mut model,
        StepBatch { x: frames(backend, case), rows: case.rows, pairing },
        Mode::Record(&mut gradients),
    );
    let gradients = download_gradients(backend, &case.network, &gradients);
    scores(&read(backend, pairing, &outcome), computed);
    push_values(&case.network, "grad", &gradients, computed);
    if case.network.form().losses == LossLayers::EveryLayer {
        let top = top_gradients(backend, &mut model, &case.frames, case.rows, pairing);
        // Golden files have a 0 if there is no direction.
        let alignment = cosines(&gradients, &top).into_iter().map(|cosine| cosine.unwrap_or(0.0)).collect();
        computed.tensors.push(("alignment".into(), alignment));
        matching(backend, case, pairing, computed);
    }
    for trial in trials {
        let mut model = upload(backend, case);
        for count in 1..=trial.steps as u64 {
            let mode = Mode::Update { optimizer: &trial.optimizer, step: count };
            step(backend, &mut model, StepBatch { x: frames(backend, case), rows: case.rows, pairing }, mode);
        }
        push_values(&case.network, &format!("after.{}", trial.name), &model.download(backend), computed);
    }
}

/// Errors for the projections below the top layer under feedback matched to back-propagation.
fn matching<B: Backend>(backend: &B, case: &Case, pairing: Pairing<'_>, computed: &mut Computed) {
    let mut model = upload(backend, case);
    let mut gradients = Vec::new();
    let outcome = matched_step(
        backend,
        &mut model,
        StepBatch { x: frames(backend, case), rows: case.rows, pairing },
        Mode::Record(&mut gradients),
    );
    let report = read(backend, pairing, &outcome);
    let gradients = download_gradients(backend, &case.network, &gradients);
    for ((layer, report), gradients) in case.network.layers().iter().zip(&report).zip(&gradients) {
        let Some(mismatch) = report.mismatch else { continue };
        computed.tensors.push((format!("matching.layer{}.mismatch", layer.index), vec![mismatch.distance]));
        let learns = |role: &TensorRole| !gradients.get(*role).is_empty();
        for role in [TensorRole::Projection, TensorRole::Feedback].into_iter().filter(learns) {
            computed.push(format!("matching.{}", role.path(layer.index)), gradients.get(role));
        }
    }
}

/// InfoNCE through the given head; the pairing plays no part in it.
fn info_nce<B: Backend>(backend: &B, case: &Case, head: &[f32], temperature: f32, computed: &mut Computed) {
    let outputs = head.len() / case.network.view().top_len();
    let rule = bp_info_nce::Rule { head: Head { outputs, temperature }, backward: Backward::Whole };
    let network = AnyRule::from(rule).teach(case.network.clone());
    let mut values = case.values.clone();
    if let Some(top) = values.last_mut() {
        top.head = head.to_vec();
    }
    let mut model = Model::upload(backend, network.clone(), &values);
    maps(backend, case, &model, computed);
    let pairing = Pairing::views(&[], None);
    let mut gradients = Vec::new();
    let outcome = step(
        backend,
        &mut model,
        StepBatch { x: frames(backend, case), rows: case.rows, pairing },
        Mode::Record(&mut gradients),
    );
    let gradients = download_gradients(backend, &network, &gradients);
    scores(&read(backend, pairing, &outcome), computed);
    push_values(&network, "grad", &gradients, computed);
}

/// Outputs and pooled activity of every layer.
fn maps<B: Backend>(backend: &B, case: &Case, model: &Model<B::Tensor>, computed: &mut Computed) {
    let mut x = frames(backend, case);
    for layer in case.network.layers() {
        let activity = forward(backend, model, layer, &x, case.rows);
        let z = backend.download_frames(layer.output, &activity.z);
        computed.push(format!("layer{}.z", layer.index), &z);
        computed.push(format!("layer{}.pooled", layer.index), &backend.download(&backend.pool(layer, &activity)));
        x = activity.z;
    }
}

fn scores(report: &StepReport, computed: &mut Computed) {
    for (index, layer) in report.iter().enumerate() {
        for scores in &layer.scores {
            let name = format!("layer{index}.{}", scores.role.name());
            computed.push(format!("{name}.u_pos"), &scores.u_pos);
            computed.push(format!("{name}.u_neg"), &scores.u_neg);
            computed.tensors.push((format!("{name}.loss"), vec![scores.loss]));
        }
    }
    let loss = report.iter().map(LayerReport::loss).sum();
    computed.tensors.push(("loss".into(), vec![loss]));
}

fn push_values(network: &NetworkSpec, group: &str, values: &[LayerValues], computed: &mut Computed) {
    for (layer, values) in network.layers().iter().zip(values) {
        for (role, _) in network.tensors(layer) {
            computed.push(format!("{group}.{}", role.path(layer.index)), values.get(role));
        }
    }
}

fn stream<B: Backend>(backend: &B, case: &Case, fixation: &[bool], lr: f32, computed: &mut Computed) {
    let mut model = upload(backend, case);
    let optimizer = Optimizer::Sgd { lr, momentum: 0.0, weight_decay: 0.0 };
    let mut previous = Vec::new();
    let mut losses = Vec::new();
    let frames = case.frames.chunks_exact(case.network.input().len());
    for (count, (frame, fixation)) in (1..).zip(frames.zip(fixation)) {
        let x = backend.upload_frames(case.network.input(), frame);
        let mode = Mode::Update { optimizer: &optimizer, step: count };
        let outcome = stream_step(backend, &mut model, x, &mut previous, *fixation, mode);
        let pairing = Pairing::views(&[0], Some(std::slice::from_ref(fixation)));
        losses.extend(read(backend, pairing, &outcome).iter().map(LayerReport::loss));
    }
    computed.tensors.push(("losses".into(), losses));
    push_values(&case.network, "final", &model.download(backend), computed);
}

#[expect(clippy::too_many_arguments, reason = "the fields of the task")]
fn probe<B: Backend>(
    backend: &B,
    case: &Case,
    weight: &[f32],
    bias: &[f32],
    labels: &[usize],
    lr: f32,
    steps: usize,
    computed: &mut Computed,
) {
    let model = upload(backend, case);
    let features = features(backend, &model, &case.network, frames(backend, case), case.rows);
    let rows: Vec<usize> = (0..case.rows).collect();
    let layers: Vec<usize> = (0..case.network.layers().len()).collect();
    let by_layer = features.rows(&layers, &rows);
    let dimensions: Vec<usize> = case.network.layers().iter().map(|layer| layer.pooled.len()).collect();
    computed.push("features", &concatenate(&by_layer, &dimensions));
    let weights = split(weight, &dimensions, bias.len());
    let mut head = probe::Head::with_weights(layers.clone(), weights, bias.to_vec());
    let losses: Vec<f32> = (0..steps).map(|_| head.learn(&by_layer, labels, lr)).collect();
    computed.push("losses", &losses);
    let weights: Vec<Vec<f32>> = layers.iter().map(|layer| head.weight(*layer).to_vec()).collect();
    computed.push("probe.weight", &concatenate(&weights, &dimensions));
    computed.push("probe.bias", head.bias());
}

/// Matrices `[rows, D_l]` side by side.
fn concatenate(parts: &[Vec<f32>], dimensions: &[usize]) -> Vec<f32> {
    let rows = parts.iter().zip(dimensions).map(|(part, dimension)| part.len() / dimension).next().unwrap_or(0);
    let row = |row: usize| {
        parts.iter().zip(dimensions).flat_map(move |(part, dimension)| part[row * dimension..][..*dimension].to_vec())
    };
    (0..rows).flat_map(row).collect()
}

/// A matrix `[rows, sum of D_l]` cut into matrices `[rows, D_l]`.
fn split(matrix: &[f32], dimensions: &[usize], rows: usize) -> Vec<Vec<f32>> {
    let width = matrix.len() / rows;
    let mut first = 0;
    let mut parts = Vec::with_capacity(dimensions.len());
    for dimension in dimensions {
        parts.push(matrix.chunks_exact(width).flat_map(|row| row[first..first + dimension].to_vec()).collect());
        first += dimension;
    }
    parts
}
