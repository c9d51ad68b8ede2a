//! Both read-outs of `clapp-core` side by side, over the same features and labels.

use super::Model;
use clapp_core::readout::{Linear, NearestMean, ReadoutError};

/// A kind of read-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The class whose mean features are nearest.
    Nearest,
    /// Softmax, learnt by the delta rule.
    Softmax,
}

/// The numbers of both read-outs.
#[derive(Debug, Clone, PartialEq)]
pub struct Heads {
    features: usize,
    /// Learning rate of softmax.
    rate: f32,
    /// Means of the classes `[classes, features]`.
    pub means: Vec<f32>,
    /// Examples of each class.
    pub counts: Vec<u32>,
    /// `[classes, features]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    logits: Vec<f32>,
}

impl Heads {
    /// Read-outs that have learnt nothing.
    pub fn new(model: &Model) -> Self {
        let (classes, features) = (model.classes, model.spec.view().feature_len());
        Self {
            features,
            rate: model.label_rate,
            means: vec![0.0; classes * features],
            counts: vec![0; classes],
            weight: vec![0.0; classes * features],
            bias: vec![0.0; classes],
            logits: vec![0.0; classes],
        }
    }

    /// Bytes that one read-out takes on a device: one vector and one number a class.
    pub fn bytes(model: &Model) -> usize {
        4 * model.classes * (model.spec.view().feature_len() + 1)
    }

    fn nearest(&mut self) -> Result<NearestMean<'_>, ReadoutError> {
        NearestMean::new(self.features, &mut self.means, &mut self.counts)
    }

    fn linear(&mut self) -> Result<Linear<'_>, ReadoutError> {
        Linear::new(self.features, &mut self.weight, &mut self.bias, &mut self.logits)
    }

    /// Teaches both an example.
    ///
    /// # Errors
    /// The error of a read-out, such as an unknown label.
    pub fn learn(&mut self, features: &[f32], label: usize) -> Result<(), ReadoutError> {
        self.nearest()?.learn(features, label)?;
        let rate = self.rate;
        self.linear()?.learn(features, label, rate)?;
        Ok(())
    }

    /// Forgets the class means, and no more.
    pub fn forget_means(&mut self) {
        self.means.fill(0.0);
        self.counts.fill(0);
    }

    /// Teaches the nearest mean alone an example.
    ///
    /// # Errors
    /// Same as [`Heads::learn`].
    pub fn learn_mean(&mut self, features: &[f32], label: usize) -> Result<(), ReadoutError> {
        self.nearest()?.learn(features, label)
    }

    /// Derivative of the softmax read-out's cross-entropy by the features, for an example of class `label`:
    /// `W^T (softmax - onehot)`.
    ///
    /// # Errors
    /// Same as [`Heads::learn`].
    pub fn feature_error(&mut self, features: &[f32], label: usize, error: &mut [f32]) -> Result<(), ReadoutError> {
        let classes = self.bias.len();
        if label >= classes {
            return Err(ReadoutError::Label { label, classes });
        }
        let logits = self.linear()?.logits(features)?.to_vec();
        let largest = logits.iter().fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
        let powers: Vec<f32> = logits.iter().map(|logit| clapp_core::math::exp(logit - largest)).collect();
        let sum: f32 = powers.iter().sum();
        error.fill(0.0);
        for (class, (power, row)) in powers.iter().zip(self.weight.chunks_exact(self.features.max(1))).enumerate() {
            let slope = power / sum - if class == label { 1.0 } else { 0.0 };
            for (error, weight) in error.iter_mut().zip(row) {
                *error += slope * weight;
            }
        }
        Ok(())
    }

    /// The prediction of each read-out, nearest mean first; `None` where it has learnt no class yet.
    ///
    /// # Errors
    /// If a feature is not finite.
    pub fn predict(&mut self, features: &[f32]) -> Result<[Option<usize>; 2], ReadoutError> {
        let nearest = match self.nearest()?.predict(features) {
            Err(ReadoutError::Untrained) => None,
            prediction => Some(prediction?),
        };
        let taught = nearest.is_some();
        let softmax = self.linear()?.predict(features)?;
        Ok([nearest, taught.then_some(softmax)])
    }

    /// The softmax read-out's weights, for tests of its gradient.
    #[cfg(test)]
    pub(super) fn softmax_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.weight, &mut self.bias)
    }
}
