//! One training step over any backend: the layer-by-layer schedule of the local rules ([`local_step`],
//! docs/paper.md 3.1), back-propagation of the top loss for the global baselines ([`global_step`]), feedback matching,
//! which needs both ([`matched_step`], docs/paper.md 3), direct feedback alignment ([`broadcast_step`]), the weight
//! mirror ([`mirrored_step`]), predictive coding ([`relaxed_step`]) and its hybrid with direct feedback
//! ([`relaxed_top_step`]).

mod backprop;
mod broadcast;
mod global;
mod lesson;
mod local;
pub mod mirror;
mod model;
mod predictive;
pub mod relax;
mod uncontrasted;

pub use backprop::segment_len;
pub use broadcast::broadcast_step;
pub use global::{global_step, matched_step, mirrored_step};
pub use local::{local_step, stream_step};
pub use model::{LayerParameters, LayerTensors, Model, download_gradients};
pub use predictive::{relaxed_step, relaxed_top_step};

use crate::backend::{ActivityOf, Backend, Mismatch, Pairing, Scores};
use crate::model::{Feedback, Learning, TensorRole};
use crate::optimizer::Optimizer;
use clapp_core::plan::Layer;

/// What a step does with the gradients.
#[derive(Debug)]
pub enum Mode<'a, T> {
    /// Applies them; `step` counts from 1.
    Update {
        /// The optimiser of all tensors.
        optimizer: &'a Optimizer,
        /// The number of this step.
        step: u64,
    },
    /// Leaves the parameters alone and keeps the gradients, one entry a layer.
    Record(&'a mut Vec<LayerTensors<T>>),
}

/// What a step reports of one layer.
#[derive(Debug, Clone, Default)]
pub struct LayerReport {
    /// One entry a context; empty where the layer has no loss (below the top in global learning).
    pub scores: Vec<Scores>,
    /// Below the top, where the feedback is matched.
    pub mismatch: Option<Mismatch>,
}

impl LayerReport {
    /// The sum of the losses over the contexts.
    pub fn loss(&self) -> f64 {
        self.scores.iter().map(|scores| scores.loss).sum()
    }
}

/// What a step reports, from the input to the top.
pub type StepReport = Vec<LayerReport>;

/// What a step has found of one layer, on the device.
#[derive(Debug)]
pub struct LayerOutcome<S, D> {
    /// Scores, third factors and losses under each context.
    pub scores: Vec<(TensorRole, S)>,
    /// How far the layer's error is from the ideal one, where the feedback is matched.
    pub distance: Option<D>,
}

impl<S, D> Default for LayerOutcome<S, D> {
    fn default() -> Self {
        Self { scores: Vec::new(), distance: None }
    }
}

/// [`LayerOutcome`] on a backend.
pub type LayerOutcomeOf<B> = LayerOutcome<<B as Backend>::Scores, <B as Backend>::Distance>;

/// What a step has found, from the input to the top, on a backend.
pub type OutcomeOf<B> = Vec<LayerOutcomeOf<B>>;

/// What a step has found, brought to the host.
pub fn read<B: Backend>(backend: &B, pairing: Pairing<'_>, outcome: &OutcomeOf<B>) -> StepReport {
    let layer = |layer: &LayerOutcomeOf<B>| LayerReport {
        scores: layer.scores.iter().map(|(role, scores)| backend.read_scores(pairing, *role, scores)).collect(),
        mismatch: layer.distance.as_ref().map(|distance| backend.read_distance(distance)),
    };
    outcome.iter().map(layer).collect()
}

/// One step on the frames `x` (in the backend's layout, `rows` of them: first views, then second views).
pub fn step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mode: Mode<'_, B::Tensor>,
) -> OutcomeOf<B> {
    match (model.spec.learning(), model.spec.options().feedback) {
        (Learning::Global, _) => global_step(backend, model, x, rows, pairing, mode),
        (Learning::Broadcast, _) => broadcast_step(backend, model, x, rows, pairing, mode),
        (Learning::Mirrored, _) => mirrored_step(backend, model, x, rows, pairing, mode),
        (Learning::Relaxed, _) => relaxed_step(backend, model, x, rows, pairing, mode),
        (Learning::TopRelaxed, _) => relaxed_top_step(backend, model, x, rows, pairing, mode),
        (Learning::Local, Feedback::Matched) => matched_step(backend, model, x, rows, pairing, mode),
        (Learning::Local, Feedback::Trained | Feedback::Frozen) => local_step(backend, model, x, rows, pairing, mode),
    }
}

/// What the layer above sees of a layer's output.
pub fn passed_on<B: Backend>(backend: &B, model: &Model<B::Tensor>, activity: ActivityOf<B>) -> B::Tensor {
    if model.spec.options().normalise { backend.normalise(&activity.z, activity.rows) } else { activity.z }
}

/// Output of layer `index` for the maps below it.
pub fn forward<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layer: &Layer,
    x: &B::Tensor,
    rows: usize,
) -> ActivityOf<B> {
    let parameters = &model.layers[layer.index];
    backend.forward(layer, &parameters.weight.value, &parameters.bias.value, x, rows)
}
