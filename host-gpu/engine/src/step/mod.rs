//! The parts that training steps are made of, over any backend. The steps themselves are the rules' ([`crate::rules`]).
//!
//! - [`Model`]: a network's parameters on a backend.
//! - [`layer`]: one layer's losses and its update.
//! - [`stream_step`]: one frame of a stream, whose context is the frame before.
//! - [`backprop`]: back-propagation of the top layer's error through all blocks.
//! - [`relax`]: activities that descend on the energy of predictive coding.

pub mod backprop;
pub mod layer;
mod model;
pub mod relax;
mod stream;

pub use model::{LayerParameters, LayerTensors, Model, download_gradients};
pub use stream::stream_step;

use crate::backend::{ActivityOf, Backend, Mismatch, Pairing, Scores};
use crate::model::TensorRole;
use crate::optimizer::Optimizer;
use clapp_core::plan::Layer;

/// Batch of a step.
#[derive(Debug)]
pub struct StepBatch<'a, T> {
    /// Frames in the backend's layout: first views, then second views.
    pub x: T,
    /// Number of frames.
    pub rows: usize,
    /// Pairs of rows that are compared.
    pub pairing: Pairing<'a>,
}

/// [`StepBatch`] on a backend.
pub type BatchOf<'a, B> = StepBatch<'a, <B as Backend>::Tensor>;

/// [`Mode`] on a backend.
pub type ModeOf<'a, B> = Mode<'a, <B as Backend>::Tensor>;

/// [`Model`] on a backend.
pub type ModelOf<B> = Model<<B as Backend>::Tensor>;

/// Use of the gradients in a step.
#[derive(Debug)]
pub enum Mode<'a, T> {
    /// Applies them; `step` counts from 1.
    Update {
        /// The optimiser of all tensors.
        optimizer: &'a Optimizer,
        /// The number of this step.
        step: u64,
    },
    /// Does not change the parameters, and keeps the gradients, one entry per layer.
    Record(&'a mut Vec<LayerTensors<T>>),
}

impl<T> Mode<'_, T> {
    /// Keeps the gradients of all layers, if the mode asks for them.
    pub fn keep(self, gradients: Vec<LayerTensors<T>>) {
        if let Self::Record(kept) = self {
            *kept = gradients;
        }
    }

    /// Keeps the gradients of the next layer, if the mode asks for them.
    pub fn keep_layer(&mut self, gradients: LayerTensors<T>) {
        if let Self::Record(kept) = self {
            kept.push(gradients);
        }
    }
}

/// Report of a step on one layer.
#[derive(Debug, Clone, Default)]
pub struct LayerReport {
    /// One entry a context; empty if the layer has no loss (below the top in global learning).
    pub scores: Vec<Scores>,
    /// For layers below the top, with matched feedback.
    pub mismatch: Option<Mismatch>,
}

impl LayerReport {
    /// The sum of the losses over the contexts.
    pub fn loss(&self) -> f64 {
        self.scores.iter().map(|scores| scores.loss).sum()
    }
}

/// Report of a step, from the input to the top.
pub type StepReport = Vec<LayerReport>;

/// Outcome of a step for one layer, on the device.
#[derive(Debug)]
pub struct LayerOutcome<S, D> {
    /// Scores, third factors and losses under each context.
    pub scores: Vec<(TensorRole, S)>,
    /// Distance of the layer's error from the ideal one, for matched feedback.
    pub distance: Option<D>,
}

/// An outcome for each layer in which nothing was found yet.
pub fn no_outcomes<B: Backend>(layers: &[Layer]) -> OutcomeOf<B> {
    layers.iter().map(|_| LayerOutcome::default()).collect()
}

impl<S, D> Default for LayerOutcome<S, D> {
    fn default() -> Self {
        Self { scores: Vec::new(), distance: None }
    }
}

/// [`LayerOutcome`] on a backend.
pub type LayerOutcomeOf<B> = LayerOutcome<<B as Backend>::Scores, <B as Backend>::Distance>;

/// Outcome of a step, from the input to the top, on a backend.
pub type OutcomeOf<B> = Vec<LayerOutcomeOf<B>>;

/// Downloads the outcome of a step to the host.
pub fn read<B: Backend>(backend: &B, pairing: Pairing<'_>, outcome: &OutcomeOf<B>) -> StepReport {
    let layer = |layer: &LayerOutcomeOf<B>| LayerReport {
        scores: layer.scores.iter().map(|(role, scores)| backend.read_scores(pairing, *role, scores)).collect(),
        mismatch: layer.distance.as_ref().map(|distance| backend.read_distance(distance)),
    };
    outcome.iter().map(layer).collect()
}

/// Returns the input of the layer above.
pub fn passed_on<B: Backend>(backend: &B, model: &Model<B::Tensor>, activity: ActivityOf<B>) -> B::Tensor {
    if model.spec.form().normalise { backend.normalise(&activity.z, activity.rows) } else { activity.z }
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
