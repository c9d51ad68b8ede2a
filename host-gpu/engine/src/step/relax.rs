//! Predictive coding: activities that relax on an energy, and the gradients that its prediction errors give.
//!
//! Every layer has its own activities `z^l`, and its block predicts them from the layer below: `f_l(z^{l-1})`. The
//! prediction errors are `e^l = z^l - f_l(z^{l-1})`, and `z^0` are the frames (Rao and Ballard 1999; Whittington and
//! Bogacz 2017). The energy is
//!
//! ```text
//! F = 1/2 sum_l ||e^l||^2 + w sum_rows loss(z^L)
//! ```
//!
//! Inference descends on `F` from the forward pass, where all errors are 0, until it rests where
//!
//! ```text
//! 0 = e^L + w d(sum of losses)/dz^L         0 = e^l - J_{l+1}^T e^{l+1}
//! ```
//!
//! with `J_{l+1}` the derivative of block `l + 1` at `z^l` ([`Backend::input_gradient`]). There are two ways to it
//! ([`Inference`]):
//!
//! - *by the activities*: `dF/dz^l` is the right-hand side, so that a layer needs the errors of its own and of the next
//!   one only. In each iteration the layers take their steps from the top down, so that an error comes down in one
//!   iteration; the predictions follow afterwards. The curvature of `F` in the activities grows with the derivatives of
//!   the blocks, and its least one falls with their product: once weights have grown, steps must be small and errors
//!   reach the lower layers after very many iterations (Goemaere et al. 2025 call that exponential signal decay).
//! - *by the errors* (Goemaere et al. 2025): with `z^l = f_l(z^{l-1}) + e^l` the energy is a function of the errors, and
//!   `dF/de^l = e^l + d^l`, where `d^L = w d(sum of losses)/dz^L` and `d^l = J_{l+1}^T d^{l+1}` come down from the top at
//!   the relaxed activities. `F` is nearly round in the errors where `w` is small, and they are kept as numbers of their
//!   own rather than as differences of large ones, so a few iterations suffice; the price is that what comes down is not
//!   the error of the next layer but that of the loss.
//!
//! A step that would raise the energy is undone and repeated at half the rate. The rest of this inference keeps the
//! lower rate, so the energy never rises (beyond [`ROUNDING`]). In a trained network a step at the full rate can
//! overshoot; without a second try the errors would stay 0, and nothing would be learnt. Learning then descends on `F`
//! by the weights, `dF/dW^l = -(df_l/dW^l)^T e^l`, which is local. Divided by `w` and the number of rows, it is the
//! gradient of back-propagation for small `w` (Whittington and Bogacz 2017, Millidge et al. 2022).

use super::{Model, forward};
use crate::backend::{ActivityOf, Backend, BlockGradient};
use clapp_core::plan::Layer;
use serde::{Deserialize, Serialize};

/// Variables of the descent of inference. The energy and its minimum are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inference {
    /// The prediction errors (Goemaere et al. 2025): converges in a few iterations.
    #[default]
    Errors,
    /// The activities (Rao and Ballard 1999; Whittington and Bogacz 2017): a layer needs only its neighbours. In
    /// trained networks the lower layers need very many iterations to converge.
    Activities,
}

/// Relaxation of activities: `relaxation` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Relaxation {
    /// Variables of the descent.
    pub by: Inference,
    /// Steps of inference.
    pub iterations: usize,
    /// Length of a step, in gradients.
    pub rate: f32,
    /// Weight of a row's loss against half the squared prediction errors.
    pub weight: f32,
}

impl Relaxation {
    /// The default settings.
    pub const DEFAULT: Self = Self { by: Inference::Errors, iterations: 4, rate: 0.8, weight: 1.0 };
}

impl Default for Relaxation {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Largest relative rise of the energy that counts as rounding.
pub const ROUNDING: f64 = 1e-6;

/// Steps that are taken back in one inference at most: the rate has then fallen by a million.
const HALVINGS: usize = 20;

/// From the top layer's pooled activity to the mean loss over the rows, and its gradient by that activity.
pub type TopLoss<'a, B> = dyn FnMut(&<B as Backend>::Tensor) -> (f64, <B as Backend>::PooledGradient) + 'a;

/// Some layers that follow each other up to the top, with their activities.
pub struct Relaxed<'a, B: Backend> {
    backend: &'a B,
    layers: &'a [Layer],
    /// The maps below the first of the layers.
    x: &'a B::Tensor,
    rows: usize,
    /// `w`, of each row's loss.
    weight: f32,
    /// The activities `z^l`.
    values: Vec<B::Tensor>,
    /// Predictions of the blocks from the activities below.
    predictions: Vec<ActivityOf<B>>,
    /// The prediction errors `e^l`.
    errors: Vec<B::Tensor>,
}

/// Values replaced by a step. The predictions are those of the layers above the first.
struct Before<B: Backend> {
    values: Vec<B::Tensor>,
    predictions: Vec<ActivityOf<B>>,
    errors: Vec<B::Tensor>,
}

/// The energy over the iterations.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// After the forward pass, and after each iteration.
    pub energies: Vec<f64>,
    /// Steps that were taken back.
    pub taken_back: usize,
}

impl<'a, B: Backend> Relaxed<'a, B> {
    /// The forward pass: activities as they are predicted.
    pub fn forward(
        backend: &'a B,
        model: &Model<B::Tensor>,
        layers: &'a [Layer],
        x: &'a B::Tensor,
        rows: usize,
    ) -> Self {
        let mut state =
            Self { backend, layers, x, rows, weight: 1.0, values: vec![], predictions: vec![], errors: vec![] };
        for layer in layers {
            let prediction = forward(backend, model, layer, state.values.last().unwrap_or(x), rows);
            state.values.push(backend.scaled_sum(&[(1.0, &prediction.z)]));
            state.predictions.push(prediction);
        }
        state.errors = state.differences();
        state
    }

    /// The activities, from the input up.
    pub fn values(&self) -> &[B::Tensor] {
        &self.values
    }

    /// The pooled activity of the top.
    pub fn pooled(&mut self) -> B::Tensor {
        let (Some(layer), Some(value), Some(prediction)) =
            (self.layers.last(), self.values.last_mut(), self.predictions.last_mut())
        else {
            return self.backend.upload(&[]);
        };
        std::mem::swap(value, &mut prediction.z);
        let pooled = self.backend.pool(layer, prediction);
        std::mem::swap(value, &mut prediction.z);
        pooled
    }

    /// Inference.
    pub fn infer(&mut self, model: &Model<B::Tensor>, settings: Relaxation, top_loss: &mut TopLoss<'_, B>) -> Course {
        self.weight = settings.weight;
        let mut rate = settings.rate;
        let (mut energy, mut dp) = self.energy(top_loss);
        let mut course = Course { energies: vec![energy], taken_back: 0 };
        for _ in 0..settings.iterations {
            while course.taken_back <= HALVINGS {
                let before = match settings.by {
                    Inference::Activities => self.by_activities(model, &dp, rate),
                    Inference::Errors => self.by_errors(model, &dp, rate),
                };
                let (found, next) = self.energy(top_loss);
                if found <= energy + ROUNDING * energy.abs() {
                    (energy, dp) = (found, next);
                    break;
                }
                self.values = before.values;
                self.predictions.truncate(1);
                self.predictions.extend(before.predictions);
                self.errors = before.errors;
                course.taken_back += 1;
                rate /= 2.0;
            }
            course.energies.push(energy);
        }
        course
    }

    /// The energy, and the gradient of the mean loss by the top layer's pooled activity.
    fn energy(&mut self, top_loss: &mut TopLoss<'_, B>) -> (f64, B::PooledGradient) {
        let (loss, dp) = top_loss(&self.pooled());
        let squares: f64 = self.errors.iter().map(|error| self.backend.square_sum(error)).sum();
        (0.5 * squares + f64::from(self.weight) * self.rows as f64 * loss, dp)
    }

    /// Takes one step by the activities. Returns the previous values.
    fn by_activities(&mut self, model: &Model<B::Tensor>, dp: &B::PooledGradient, rate: f32) -> Before<B> {
        let values = self.step(model, dp, rate);
        let values = std::mem::replace(&mut self.values, values);
        let predictions = self.predict(model);
        let errors = self.differences();
        Before { values, predictions, errors: std::mem::replace(&mut self.errors, errors) }
    }

    /// Takes one step by the errors. Returns the previous values.
    fn by_errors(&mut self, model: &Model<B::Tensor>, dp: &B::PooledGradient, rate: f32) -> Before<B> {
        let backend = self.backend;
        let mut errors = Vec::with_capacity(self.layers.len());
        let mut above: Option<B::Tensor> = None;
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let slope = match (above.take(), self.layers.get(at + 1)) {
                (Some(slope), Some(next)) => {
                    let weight = &model.layers[next.index].weight.value;
                    backend.input_gradient(next, weight, &self.predictions[at + 1], &slope)
                }
                _ => {
                    let slope = backend.spread(layer, dp, self.rows);
                    backend.scaled_sum(&[(self.weight * self.rows as f32, &slope)])
                }
            };
            errors.push(backend.scaled_sum(&[(1.0 - rate, &self.errors[at]), (-rate, &slope)]));
            above = Some(slope);
        }
        errors.reverse();
        let errors = std::mem::replace(&mut self.errors, errors);
        let mut before = Before { values: Vec::new(), predictions: Vec::new(), errors };
        for (at, layer) in self.layers.iter().enumerate() {
            if at > 0 {
                let prediction = forward(backend, model, layer, &self.values[at - 1], self.rows);
                before.predictions.push(std::mem::replace(&mut self.predictions[at], prediction));
            }
            let value = backend.scaled_sum(&[(1.0, &self.predictions[at].z), (1.0, &self.errors[at])]);
            before.values.push(std::mem::replace(&mut self.values[at], value));
        }
        before
    }

    /// The activities one step on, from the top down: a layer's step sees the error of the layer above after its step.
    fn step(&self, model: &Model<B::Tensor>, dp: &B::PooledGradient, rate: f32) -> Vec<B::Tensor> {
        let backend = self.backend;
        let mut values = Vec::with_capacity(self.layers.len());
        let mut above: Option<(usize, B::Tensor)> = None;
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let (factor, slope) = match above {
                None => (self.weight * self.rows as f32, backend.spread(layer, dp, self.rows)),
                Some((next, error)) => {
                    let (layer, prediction) = (&self.layers[next], &self.predictions[next]);
                    let weight = &model.layers[layer.index].weight.value;
                    (-1.0, backend.input_gradient(layer, weight, prediction, &error))
                }
            };
            let (value, error) = (&self.values[at], &self.errors[at]);
            values.push(backend.scaled_sum(&[(1.0, value), (-rate, error), (-rate * factor, &slope)]));
            above = Some((at, backend.scaled_sum(&[(1.0 - rate, error), (-rate * factor, &slope)])));
        }
        values.reverse();
        values
    }

    /// Predicts again from the activities below. Returns the previous predictions. The first layer's prediction stays,
    /// because its input does not change.
    fn predict(&mut self, model: &Model<B::Tensor>) -> Vec<ActivityOf<B>> {
        let mut before = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter().enumerate().skip(1) {
            let prediction = forward(self.backend, model, layer, &self.values[at - 1], self.rows);
            before.push(std::mem::replace(&mut self.predictions[at], prediction));
        }
        before
    }

    fn differences(&self) -> Vec<B::Tensor> {
        let pairs = self.values.iter().zip(&self.predictions);
        pairs.map(|(value, prediction)| self.backend.scaled_sum(&[(1.0, value), (-1.0, &prediction.z)])).collect()
    }

    /// The gradients of back-propagation after a forward pass, from the gradient of the loss by the top layer's pooled
    /// activity: from the input up.
    pub fn back_propagated(&self, model: &Model<B::Tensor>, dp: &B::PooledGradient) -> Vec<BlockGradient<B::Tensor>> {
        let mut gradients = Vec::with_capacity(self.layers.len());
        let mut dz: Option<B::Tensor> = None;
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let error = dz.take().unwrap_or_else(|| self.backend.spread(layer, dp, self.rows));
            let (below, activity) = (if at == 0 { self.x } else { &self.values[at - 1] }, &self.predictions[at]);
            gradients.push(self.backend.block_gradient(layer, below, activity, &error));
            if at > 0 {
                let weight = &model.layers[layer.index].weight.value;
                dz = Some(self.backend.input_gradient(layer, weight, activity, &error));
            }
        }
        gradients.reverse();
        gradients
    }

    /// The energy's gradients by the weights and biases of the layers, divided by `w` and the rows: from the input up.
    pub fn gradients(&self) -> Vec<BlockGradient<B::Tensor>> {
        let scale = -1.0 / (self.weight * self.rows as f32);
        let gradient = |(at, layer): (usize, &Layer)| {
            let below = if at == 0 { self.x } else { &self.values[at - 1] };
            let dz = self.backend.scaled_sum(&[(scale, &self.errors[at])]);
            self.backend.block_gradient(layer, below, &self.predictions[at], &dz)
        };
        self.layers.iter().enumerate().map(gradient).collect()
    }
}
