//! The cases on `clapp-core`, in single precision, through its public interface.

use super::case::{Case, Task, Trial};
use super::{Computed, GoldenError};
use crate::core_memory::CoreMemory;
use crate::model::{LossLayers, TensorRole};
use clapp_core::contrast::Phase;
use clapp_core::learner::{Batch, infer};
use clapp_core::observer::{Activity, LayerReport, Observer, Scores, Source};
use clapp_core::optimizer::Optimizer;
use clapp_core::plan::Layer;
use clapp_core::readout::{cross_entropy_gradient, descend};

/// Reason why the core does not compute some cases.
const NO_BACKPROPAGATION: &str = "needs back-propagation through the network; clapp-core has none, by design";

/// Computes all of a case that local learning is.
///
/// # Errors
/// The core's refusal of a call.
pub fn compute(case: &Case) -> Result<Computed, GoldenError> {
    let refused = |error: clapp_core::learner::Error| GoldenError::backend(case, error);
    match &case.task {
        Task::Batch { negatives, keep_positive, trials } => {
            let negatives: Vec<u32> = negatives.iter().map(|&negative| negative as u32).collect();
            let batch = Batch { frames: &case.frames, negatives: &negatives, keep_positive: keep_positive.as_deref() };
            run_batch(case, &batch, trials).map_err(refused)
        }
        Task::Stream { fixation, lr } => run_stream(case, fixation, *lr).map_err(refused),
        Task::Probe { weight, bias, labels, lr, steps } => {
            let features = features(case).map_err(refused)?;
            let probe = Probe { weight: weight.clone(), bias: bias.clone() };
            probe.run(&features, labels, *lr, *steps).map_err(|error| GoldenError::backend(case, error))
        }
        Task::InfoNce { .. } => Ok(Computed {
            not_mine: ["loss", "grad"].map(|group| (group.into(), NO_BACKPROPAGATION)).to_vec(),
            ..Computed::default()
        }),
    }
}

/// Adds `values`, laid out as the parameters are, tensor by tensor as `{group}.layer{l}.{tensor}`.
fn push_tensors(computed: &mut Computed, group: &str, case: &Case, values: &[f32]) {
    let view = case.network.view();
    let lacks = |role: TensorRole, layer: &Layer| match role {
        TensorRole::Weight => false,
        TensorRole::Bias => layer.bias_len() == 0,
        TensorRole::Projection => view.same_len(layer) == 0,
        TensorRole::Feedback => view.feedback_len(layer) == 0,
        TensorRole::Head | TensorRole::Mirror => true,
    };
    for (layer, values) in case.network.layers().iter().zip(case.network.values_from_flat(values)) {
        for role in TensorRole::ALL {
            if !lacks(role, layer) {
                computed.push(format!("{group}.layer{}.{}", layer.index, role.name()), values.get(role));
            }
        }
    }
}

/// Records the results of a batch that a file can expect: outputs, pooled activity, scores and losses.
struct Recorder {
    computed: Computed,
    /// The layers below this one have no loss.
    first_loss: usize,
    loss: f32,
}

impl Observer for Recorder {
    fn activity(&mut self, activity: &Activity<'_>) {
        self.computed.push(format!("layer{}.z", activity.layer), activity.output);
        self.computed.push(format!("layer{}.pooled", activity.layer), activity.pooled);
    }

    fn scores(&mut self, scores: &Scores<'_>) {
        if scores.layer < self.first_loss {
            return;
        }
        let context = match scores.source {
            Source::Same => "projection",
            Source::Top => "feedback",
        };
        let name = |what: &str| format!("layer{}.{context}.{what}", scores.layer);
        let rows = scores.positive.len();
        let per_row = scores.negative.len() / rows.max(1);
        // Files hold negatives as [K, rows], the core as [rows, K].
        let negative = |at: usize| scores.negative[(at % rows) * per_row + at / rows];
        let negatives: Vec<f32> = (0..scores.negative.len()).map(negative).collect();
        self.computed.push(name("u_pos"), scores.positive);
        self.computed.push(name("u_neg"), &negatives);
        self.computed.push(name("loss"), &[scores.loss]);
        self.loss += scores.loss;
    }
}

fn run_batch(case: &Case, batch: &Batch<'_>, trials: &[Trial]) -> Result<Computed, clapp_core::learner::Error> {
    let view = case.network.view();
    let negatives = batch.negatives.len() / case.rows;
    let is_global = case.network.form().losses == LossLayers::Top;
    let top = view.layer_count() - 1;
    let mut recorder =
        Recorder { computed: Computed::default(), first_loss: if is_global { top } else { 0 }, loss: 0.0 };
    let mut memory = CoreMemory::new(&case.network, &case.values, &Optimizer::Record, case.rows / 2, negatives);
    memory.learner(&case.network, Optimizer::Record)?.step(batch, 1.0, &mut recorder)?;
    let Recorder { mut computed, loss, .. } = recorder;
    computed.push("loss", &[loss]);
    push_tensors(&mut computed, "grad", case, &memory.state);
    computed.not_mine = vec![("alignment".into(), NO_BACKPROPAGATION), ("matching".into(), NO_BACKPROPAGATION)];
    if is_global {
        // At the top, the global gradient is the local one.
        let below = |name: &str| (0..top).any(|layer| name.starts_with(&format!("grad.layer{layer}.")));
        computed.tensors.retain(|(name, _)| !below(name));
        computed.not_mine.extend((0..top).map(|layer| (format!("grad.layer{layer}"), NO_BACKPROPAGATION)));
        computed.not_mine.push(("after".into(), NO_BACKPROPAGATION));
        return Ok(computed);
    }
    for trial in trials {
        let optimizer = Optimizer::from(&trial.optimizer);
        let mut memory = CoreMemory::new(&case.network, &case.values, &optimizer, case.rows / 2, negatives);
        let mut learner = memory.learner(&case.network, optimizer)?;
        for _ in 0..trial.steps {
            learner.step(batch, 1.0, &mut ())?;
        }
        push_tensors(&mut computed, &format!("after.{}", trial.name), case, &memory.parameters);
    }
    Ok(computed)
}

/// Loss of each frame and layer.
struct Losses(Vec<f32>);

impl Observer for Losses {
    fn report(&mut self, report: &LayerReport) {
        self.0.push(report.loss);
    }
}

fn run_stream(case: &Case, fixation: &[bool], lr: f32) -> Result<Computed, clapp_core::learner::Error> {
    let optimizer = Optimizer::sgd(lr);
    let mut memory = CoreMemory::new(&case.network, &case.values, &optimizer, 0, 0);
    let mut learner = memory.learner(&case.network, optimizer)?;
    let mut losses = Losses(Vec::new());
    for (frame, &fixation) in case.frames.chunks_exact(case.network.input().len()).zip(fixation) {
        let phase = if fixation { Phase::Fixation } else { Phase::Saccade };
        learner.observe(frame, phase, 1.0, &mut losses)?;
    }
    let mut computed = Computed::default();
    computed.push("losses", &losses.0);
    push_tensors(&mut computed, "final", case, &memory.parameters);
    Ok(computed)
}

/// Pooled activity of all layers, `[rows, features]`.
fn features(case: &Case) -> Result<Vec<f32>, clapp_core::learner::Error> {
    let view = case.network.view();
    let parameters = case.network.flat_from_values(&case.values);
    let mut workspace = vec![0.0; view.inference_len()];
    let mut features = vec![0.0; case.rows * view.feature_len()];
    let frames = case.frames.chunks_exact(view.input().len());
    for (frame, features) in frames.zip(features.chunks_exact_mut(view.feature_len())) {
        infer(&view, &parameters[..view.encoder_len()], frame, &mut workspace, features)?;
    }
    Ok(features)
}

/// A linear probe.
struct Probe {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Probe {
    fn run(
        mut self,
        features: &[f32],
        labels: &[usize],
        lr: f32,
        steps: usize,
    ) -> Result<Computed, clapp_core::readout::ReadoutError> {
        let adam = Optimizer::adam_w(lr);
        let mut logits = vec![0.0; self.bias.len()];
        let mut gradients = [vec![0.0; self.weight.len()], vec![0.0; self.bias.len()]];
        let mut states = [vec![0.0; 2 * self.weight.len()], vec![0.0; 2 * self.bias.len()]];
        let mut losses = Vec::new();
        for step in 0..steps as u32 {
            let [weight_gradient, bias_gradient] = &mut gradients;
            losses.push(cross_entropy_gradient(
                features,
                labels,
                [&self.weight, &self.bias],
                [weight_gradient, bias_gradient],
                &mut logits,
            )?);
            descend(&adam, step, &gradients[0], &mut self.weight, &mut states[0])?;
            descend(&adam, step, &gradients[1], &mut self.bias, &mut states[1])?;
        }
        let mut computed = Computed::default();
        computed.push("features", features);
        computed.push("losses", &losses);
        computed.push("probe.weight", &self.weight);
        computed.push("probe.bias", &self.bias);
        Ok(computed)
    }
}
