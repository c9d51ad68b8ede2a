//! LPL, latent predictive learning (Halvagal and Zenke 2023, "The combination of Hebbian and predictive plasticity learns
//! invariant object representations in deep sensory networks"; docs/paper.md 1.4, 8).
//!
//! No negatives and no projection: on the `M` channel means `z` of each layer, over a batch of `B` images,
//!
//! ```text
//! predictive     P = 1 / (B M) sum_b |z_b - sg(z'_b)|^2                       z, z': the two views, in both directions
//! Hebbian        H = -1 / M sum_i log(var_i + eps)                            var: over the batch, by B - 1
//! decorrelation  D = 1 / (M^2 - M) sum_{i != k} cov_ik^2                      cov: likewise
//! L = predictive P + hebbian (H + H') / 2 + decorrelation (D + D') / 2
//! ```
//!
//! The coefficients are those of the released code (1, 1, 10; `eps` 1e-4), fields of `lpl` in the configuration. `P` is
//! the mean of its two directions in value and their sum in its gradient, as in that code, where both views are live. The
//! means over the batch are constants in the paper; that changes nothing, as deviations from a mean sum to 0.
//!
//! Left out: estimates of mean and variance that lag a batch behind (the paper's version for single samples), the layers'
//! projectors and the cosine schedule of its training; networks, views and batches are those of all rules here. Its
//! batches have 1,024 images.

mod terms;

use super::{Choices, Contrasts, ExtraMemory, LearningRule, NOT_ON_A_GPU, Settings, clapp_pp_pooled};
use crate::backend::Backend;
use crate::model::{NetworkSpec, TensorRole};
use crate::step::layer::learn_block;
use crate::step::{BatchOf, LayerOutcome, LayerTensors, ModeOf, ModelOf, OutcomeOf, forward, no_outcomes, passed_on};
use clapp_core::network::Projection;
use serde::{Deserialize, Serialize};

/// LPL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule(pub Lpl);

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "lpl",
        summary: "LPL: local, from distances between views, variances and covariances, without negatives",
        contrast: Contrasts::OtherLoss,
        projection: Projection::Identity,
        ..clapp_pp_pooled::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self(settings.lpl)
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mut mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let BatchOf::<B> { mut x, rows, pairing } = batch;
        let layers = model.spec.layers().to_vec();
        let mut outcomes = no_outcomes::<B>(&layers);
        for layer in &layers {
            let activity = forward(backend, model, layer, &x, rows);
            let p = backend.pool(layer, &activity);
            let loss = terms::Loss { lpl: self.0, pairing, rows };
            let Some(found) = backend.custom(&loss, &[&p]) else { return outcomes };
            if let Some(dp) = &found.pooled {
                let gradient = backend.local_gradient(layer, &x, &activity, dp);
                let mut kept = LayerTensors::default();
                learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, &mut kept);
                mode.keep_layer(kept);
            }
            let scores = found.scores.into_iter().map(|scores| (TensorRole::Weight, scores)).collect();
            outcomes[layer.index] = LayerOutcome { scores, distance: None };
            x = passed_on(backend, model, activity);
        }
        outcomes
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some("learns from variances and covariances over a batch")
    }

    fn beyond_gpu(&self) -> Option<&'static str> {
        Some(NOT_ON_A_GPU)
    }

    fn beyond_alignment(&self) -> Option<&'static str> {
        Some("has no contrastive loss at the top layer to back-propagate")
    }

    /// The covariances of all pairs of units, in double precision.
    fn extra_memory(&self, network: &NetworkSpec, _rows: usize, _threads: usize) -> ExtraMemory {
        let pairs = network.layers().iter().map(|layer| 2 * layer.pooled.len().pow(2)).max().unwrap_or(0);
        ExtraMemory { step: pairs, ..ExtraMemory::default() }
    }
}

/// The weights of its terms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Lpl {
    /// Weight of the squared distance between the two views.
    pub predictive: f32,
    /// Weight of the negative logarithm of the variance.
    pub hebbian: f32,
    /// Weight of the squared covariances.
    pub decorrelation: f32,
    /// Added to the variance.
    pub eps: f32,
}

impl Default for Lpl {
    fn default() -> Self {
        Self { predictive: 1.0, hebbian: 1.0, decorrelation: 10.0, eps: 1e-4 }
    }
}

impl Lpl {
    /// Checks the weights.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(&self) -> Result<(), String> {
        let Self { predictive, hebbian, decorrelation, eps } = *self;
        for (name, value) in [("predictive", predictive), ("hebbian", hebbian), ("decorrelation", decorrelation)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("lpl.{name} is {value}, expected a finite number of at least 0"));
            }
        }
        if !(eps.is_finite() && eps > 0.0) {
            return Err(format!("lpl.eps is {eps}, expected a finite number above 0"));
        }
        Ok(())
    }
}
