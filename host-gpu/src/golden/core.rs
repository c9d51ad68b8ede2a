//! The cases on `clapp-core`, in single precision, through its public interface.

use super::case::{Case, Task, Trial};
use super::{Computed, GoldenError};
use crate::model::Learning;
use crate::optimizer::Optimizer as HostOptimizer;
use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::learner::{Batch, Buffers, LayerState, Learner, infer};
use clapp_core::network::NetworkView;
use clapp_core::observer::{Activity, LayerReport, Observer, Scores, Source};
use clapp_core::optimizer::Optimizer;
use clapp_core::readout::{cross_entropy_gradient, descend};
use std::ops::Range;

/// Why some cases are not for the core.
const NO_BACKPROPAGATION: &str = "needs back-propagation through the network, which the core does not have by design";

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

/// A learner's buffers.
struct Memory {
    parameters: Vec<f32>,
    state: Vec<f32>,
    contexts: Vec<f32>,
    layers: Vec<LayerState>,
    workspace: Vec<f32>,
    argmax: Vec<u8>,
}

impl Memory {
    /// Memory for batches of `rows` rows with `negatives` negatives each, or, without rows, for a stream.
    fn new(case: &Case, optimizer: &Optimizer, rows: usize, negatives: usize) -> Self {
        let view = case.network.view();
        let pairs = rows / 2;
        let (workspace, argmax) = match pairs {
            0 => (view.stream_len(), view.argmax_len()),
            pairs => (view.batch_len(pairs, negatives).max(view.stream_len()), view.batch_argmax_len(pairs)),
        };
        let mut parameters = vec![0.0; view.parameter_len()];
        for (values, layer) in case.values.iter().zip(case.network.layers()) {
            let [weight, bias, projection, feedback] = tensors(&view, layer.index);
            // Under global learning the layers below the top have no projections; zeros stand for them.
            for (range, values) in [
                (weight.1, &values.weight),
                (bias.1, &values.bias),
                (projection.1, &values.projection),
                (feedback.1, &values.feedback),
            ] {
                if range.len() == values.len() {
                    parameters[range].copy_from_slice(values);
                }
            }
        }
        Self {
            parameters,
            state: vec![0.0; optimizer.state_len(&view)],
            contexts: vec![0.0; view.context_len()],
            layers: vec![LayerState::NEW; view.layer_count()],
            workspace: vec![0.0; workspace],
            argmax: vec![0; argmax],
        }
    }

    fn learner<'a>(
        &'a mut self,
        network: NetworkView<'a>,
        optimizer: Optimizer,
    ) -> Result<Learner<'a>, clapp_core::learner::Error> {
        let buffers = Buffers {
            parameters: &mut self.parameters,
            state: &mut self.state,
            contexts: &mut self.contexts,
            layers: &mut self.layers,
            workspace: &mut self.workspace,
            argmax: &mut self.argmax,
        };
        Learner::new(network, optimizer, Guard::default(), buffers)
    }
}

/// Names of a layer's tensors, and where they lie in the parameters; absent ones are empty.
fn tensors(view: &NetworkView<'_>, layer: usize) -> [(&'static str, Range<usize>); 4] {
    let names = ["weight", "bias", "projection", "feedback"];
    let Some(layer) = view.layer(layer) else { return names.map(|name| (name, 0..0)) };
    let lengths = [layer.weight_len(), layer.bias_len(), view.same_len(&layer), view.feedback_len(&layer)];
    let (weight, projection) = (layer.encoder_offset, view.projection_offset(&layer));
    let starts = [weight, weight + lengths[0], projection, projection + lengths[2]];
    [0, 1, 2, 3].map(|at| (names[at], starts[at]..starts[at] + lengths[at]))
}

/// Adds `values`, laid out as the parameters are, tensor by tensor as `{group}.layer{l}.{tensor}`.
fn push_tensors(computed: &mut Computed, group: &str, case: &Case, values: &[f32]) {
    let view = case.network.view();
    for layer in 0..view.layer_count() {
        for (name, range) in tensors(&view, layer) {
            if !range.is_empty() {
                computed.push(format!("{group}.layer{layer}.{name}"), &values[range]);
            }
        }
    }
}

/// Keeps what a file expects of a batch: outputs, pooled activity, scores and losses.
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
    let is_global = case.network.learning() == Learning::Global;
    let top = view.layer_count() - 1;
    let mut recorder =
        Recorder { computed: Computed::default(), first_loss: if is_global { top } else { 0 }, loss: 0.0 };
    let mut memory = Memory::new(case, &Optimizer::Record, case.rows, negatives);
    memory.learner(view, Optimizer::Record)?.step(batch, 1.0, &mut recorder)?;
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
        let optimizer = core_optimizer(&trial.optimizer);
        let mut memory = Memory::new(case, &optimizer, case.rows, negatives);
        let mut learner = memory.learner(view, optimizer)?;
        for _ in 0..trial.steps {
            learner.step(batch, 1.0, &mut ())?;
        }
        push_tensors(&mut computed, &format!("after.{}", trial.name), case, &memory.parameters);
    }
    Ok(computed)
}

fn core_optimizer(optimizer: &HostOptimizer) -> Optimizer {
    match *optimizer {
        HostOptimizer::Sgd { lr, momentum, weight_decay } => Optimizer::Sgd { lr, momentum, weight_decay },
        HostOptimizer::AdamW { lr, beta1, beta2, eps, weight_decay } => {
            Optimizer::AdamW { lr, betas: [beta1, beta2], eps, weight_decay }
        }
        HostOptimizer::Lars { lr, momentum, weight_decay, trust } => {
            Optimizer::Lars { lr, momentum, weight_decay, trust }
        }
    }
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
    let mut memory = Memory::new(case, &optimizer, 0, 0);
    let mut learner = memory.learner(case.network.view(), optimizer)?;
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
    let memory = Memory::new(case, &Optimizer::sgd(0.0), 0, 0);
    let mut workspace = vec![0.0; view.inference_len()];
    let mut features = vec![0.0; case.rows * view.feature_len()];
    let frames = case.frames.chunks_exact(view.input().len());
    for (frame, features) in frames.zip(features.chunks_exact_mut(view.feature_len())) {
        infer(&view, &memory.parameters[..view.encoder_len()], frame, &mut workspace, features)?;
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
