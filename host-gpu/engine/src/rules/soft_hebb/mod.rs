//! SoftHebb (Moraitis et al. 2022, "SoftHebb: Bayesian inference in unsupervised Hebbian soft winner-take-all networks";
//! Journé et al. 2023, "Hebbian deep learning without feedback"; docs/paper.md 8).
//!
//! No loss and no gradient: at each position of a map the channels compete, and what each has won moves its weights
//! `w_k` (with `x` the window, `u_k = w_k x`):
//!
//! ```text
//! y_k  = softmax_k(u / temperature), the sign turned for all but the winner (anti-Hebbian, Journé et al.)
//! d_k  = sum over positions of y_k (x - u_k w_k)
//! w_k += rate ||w_k| - 1|^power d_k / max |d|
//! ```
//!
//! The factor `||w_k| - 1|^power` is the adaptive rate of the paper: weights end on the unit sphere, and learning slows
//! near it. `rate` is the learning rate of the configuration (optimiser `sgd` without momentum or decay: the rule has
//! its own update, and no state).
//!
//! First weights are `start` long, outside the sphere: there one channel wins nearly all of a position, and the losers'
//! wrong sign does no harm. Inside it, what loses everywhere is pushed away from the sphere. Theirs are 25 long; 5 is for
//! trainings of hundreds of steps instead of thousands. So is one rate for all layers, that of their first.
//!
//! Of their network, three things are not taken, as the table's blocks are the same for all rules: the widening by four
//! from layer to layer, batch normalisation, and the activation `Triangle`. Of batch normalisation two simple parts are:
//! `x` is what the layer below has made over the root of its mean square in each row, minus the mean of each channel over
//! the batch. The bias of channel `k` carries that: it follows `-w_k mean(x)` with a running mean, so that the block's
//! output is the rectified `u`. All layers learn at once; theirs learn one after the other.

mod competition;

use super::{Choices, Contrasts, ExtraMemory, LearningRule, NOT_ON_A_GPU, Pooling, Settings, clapp_pp};
use crate::backend::Backend;
use crate::model::{LayerValues, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use crate::step::{
    BatchOf, LayerOutcome, LayerTensors, Mode, ModeOf, ModelOf, OutcomeOf, forward, no_outcomes, passed_on,
};
use clapp_core::network::Projection;
use serde::{Deserialize, Serialize};

/// SoftHebb.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule(pub SoftHebb);

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "soft-hebb",
        summary: "SoftHebb: local, competition between channels, without a loss",
        contrast: Contrasts::NoLoss,
        projection: Projection::Identity,
        normalise: true,
        pooling: Pooling::Map,
        rate: Some(0.08),
        ..clapp_pp::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self(settings.soft_hebb)
    }

    fn check(settings: &Settings) -> Result<(), String> {
        match settings.optimizer {
            Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, .. } => Ok(()),
            _ => Err("optimizer: the rule has its own update; expected kind sgd with lr only (rule soft-hebb)".into()),
        }
    }

    /// The rule has its own update, at its own learning rate.
    fn optimizer(optimizer: Optimizer) -> Optimizer {
        let lr = Self::CHOICES.rate.unwrap_or_else(|| optimizer.learning_rate());
        Optimizer::Sgd { lr, momentum: 0.0, weight_decay: 0.0 }
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mut mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let BatchOf::<B> { mut x, rows, .. } = batch;
        let layers = model.spec.layers().to_vec();
        let mut outcomes = no_outcomes::<B>(&layers);
        for layer in &layers {
            let activity = forward(backend, model, layer, &x, rows);
            let parameters = &mut model.layers[layer.index];
            let weight = &mut parameters.weight.value;
            let competition = competition::Compete { settings: &self.0, layer, rows };
            let Some(found) = backend.custom(&competition, &[weight, &x]) else { return outcomes };
            let mut averages = found.tensors.into_iter().map(|tensor| backend.over_processes(tensor));
            let (Some(gradient), Some(centre)) = (averages.next(), averages.next()) else { return outcomes };
            match &mut mode {
                Mode::Update { optimizer, .. } => {
                    let rate = optimizer.learning_rate();
                    let learn = competition::Learn { settings: &self.0, channels: layer.block.out_channels, rate };
                    let bias = &mut parameters.bias.value;
                    let Some(learnt) = backend.custom(&learn, &[&gradient, &centre, weight, bias]) else {
                        return outcomes;
                    };
                    for (parameter, value) in [weight, bias].into_iter().zip(learnt.tensors) {
                        *parameter = value;
                    }
                }
                Mode::Record(kept) => {
                    let mut tensors = LayerTensors::default();
                    tensors.push(TensorRole::Weight, gradient);
                    kept.push(tensors);
                }
            }
            let scores = found.scores.into_iter().map(|scores| (TensorRole::Weight, scores)).collect();
            outcomes[layer.index] = LayerOutcome { scores, distance: None };
            x = passed_on(backend, model, activity);
        }
        outcomes
    }

    /// Scaled to the length that it starts from, without biases.
    fn first_values(&self, _network: &NetworkSpec, _seed: u64, values: &mut [LayerValues]) {
        // The mean square of uniform values is 1 / (3 fan_in).
        let scale = self.0.start * 3.0_f32.sqrt();
        for layer in values {
            layer.weight.iter_mut().for_each(|weight| *weight *= scale);
            layer.bias.fill(0.0);
        }
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some("learns by a competition of channels, without a gradient")
    }

    fn beyond_gpu(&self) -> Option<&'static str> {
        Some(NOT_ON_A_GPU)
    }

    fn beyond_alignment(&self) -> Option<&'static str> {
        Some("has no contrastive loss at the top layer to back-propagate")
    }

    fn extra_memory(&self, network: &NetworkSpec, rows: usize, threads: usize) -> ExtraMemory {
        ExtraMemory { scratch: competition::competition_len(network, rows, threads), ..ExtraMemory::default() }
    }
}

/// Settings of the competition of channels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SoftHebb {
    /// Temperature of the softmax over channels.
    pub temperature: f32,
    /// Exponent of the distance from the unit sphere in the learning rate.
    pub power: f32,
    /// Length of a channel's first weights, about.
    pub start: f32,
}

impl Default for SoftHebb {
    fn default() -> Self {
        Self { temperature: 1.0, power: 0.5, start: 5.0 }
    }
}

impl SoftHebb {
    /// Checks the settings.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(format!("soft-hebb.temperature is {}, expected a finite number above 0", self.temperature));
        }
        if !(0.0..=4.0).contains(&self.power) {
            return Err(format!("soft-hebb.power is {}, expected 0 to 4", self.power));
        }
        if !(0.01..=1000.0).contains(&self.start) {
            return Err(format!("soft-hebb.start is {}, expected 0.01 to 1000", self.start));
        }
        Ok(())
    }
}
