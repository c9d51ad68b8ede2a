//! Weight mirror (Akrout et al. 2019) on the loss of BP-CLAPP++.
//!
//! Errors come down as in back-propagation, but through separate kernels `R^l`: `dz^{l-1} = R^l * (dz^l relu')` instead
//! of `W^l`. The kernels start at random. After each step they learn in a separate phase, with decay, from noise at
//! each layer's input and the layer's response to it, so they turn towards the weights and follow them. Some such
//! phases (`ahead`) run before the first step, because random errors do harm. No error passes through a forward weight.
//! `mirror` in the configuration sets the rows and the amplitude of the noise, the rate, the decay and the number of
//! phases ahead. With the defaults, the fixed point of the kernels is the weights.
//!
//! Source: the primary literature; the released code has unused legacy code only (docs/paper.md 3). Akrout et al. use
//! Gaussian noise, here it is even; they centre activities that their biases keep off the ReLU's kink, here the phase
//! leaves ReLU and bias out, to the same end. Their whole phases of mirroring between epochs are one small phase a step
//! here.
//!
//! In this phase, each layer gets white noise `x` and responds with `y = W x`, its convolution only. The feedback
//! kernels `R` see both ends of their synapses, and learn from the correlation, with decay:
//!
//! ```text
//! R <- (1 - decay) R + rate mean(y x^T)        mean(y x^T) -> amplitude^2 W
//! ```
//!
//! so that `R` tends to `rate amplitude^2 / decay` times `W`, and follows it while it learns. At the edges of a padded map
//! a kernel's outer elements see fewer pixels, and come out smaller by that share.

use super::bp_clapp_pp::{self, NEEDS_BACK_PROPAGATION};
use super::check::{MOST, above_zero};
use super::{Choices, Cost, Descent, ExtraMemory, LearningRule, NOT_ON_A_GPU, Settings, Signal};
use crate::backend::{Backend, Parameter};
use crate::model::{Form, LayerValues, NetworkSpec};
use crate::step::backprop::{Backward, Through, back_propagate_contrast};
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::Activation;
use clapp_core::plan::Layer;
use clapp_data::rng::{Purpose, stream};
use serde::{Deserialize, Serialize};

/// Learning of the feedback kernels that mirror the weights: `mirror` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Mirror {
    /// Frames of noise that a layer sees in a step.
    pub rows: usize,
    /// Standard deviation of the noise.
    pub amplitude: f32,
    /// Learning rate of the kernels.
    pub rate: f32,
    /// Decay of the kernels in a step.
    pub decay: f32,
    /// Phases before the first step of learning: errors that come down through kernels which mirror nothing yet do harm
    /// that the weights do not recover from in a short training.
    pub ahead: usize,
}

impl Default for Mirror {
    fn default() -> Self {
        Self { rows: 64, amplitude: 1.0, rate: 0.2, decay: 0.2, ahead: 30 }
    }
}

impl Mirror {
    /// Checks the settings.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(&self) -> Result<(), String> {
        let Self { rows, amplitude, rate, decay, ahead } = *self;
        if !(1..=MOST).contains(&rows) {
            return Err(format!("mirror.rows is {rows}, expected 1 to {MOST}"));
        }
        if ahead > MOST {
            return Err(format!("mirror.ahead is {ahead}, expected 0 to {MOST}"));
        }
        above_zero("mirror.amplitude", amplitude)?;
        above_zero("mirror.rate", rate)?;
        if !(0.0..=1.0).contains(&decay) {
            return Err(format!("mirror.decay is {decay}, expected 0 to 1"));
        }
        Ok(())
    }
}

/// Weight mirror.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Learning of the mirror kernels.
    pub mirror: Mirror,
    /// Memory strategy of back-propagation.
    pub backward: Backward,
}

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "weight-mirror",
        summary: "Weight mirror: back-propagation through kernels that learn to mirror the weights",
        signal: Signal::Mirrored,
        ..bp_clapp_pp::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { mirror: settings.mirror, backward: settings.backward }
    }

    fn form(&self) -> Form {
        Form { mirrors: true, ..Self::CHOICES.form() }
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        back_propagate_contrast(backend, model, batch, self.backward, Through::Mirrors, mode)
    }

    /// First values of the mirrors: the distribution of the weights, in draws of their own.
    fn first_values(&self, network: &NetworkSpec, seed: u64, values: &mut [LayerValues]) {
        for (layer, values) in network.layers().iter().zip(values).skip(1) {
            let bound = 1.0 / (layer.fan_in() as f32).sqrt();
            let mut rng = stream(seed, Purpose::Mirror, layer.index as u64, 0);
            values.mirror = (0..layer.weight_len()).map(|_| rng.uniform(-bound, bound)).collect();
        }
    }

    fn before_first_step<B: Backend>(&self, backend: &B, model: &mut ModelOf<B>, seed: u64) {
        for phase in 0..self.mirror.ahead as u64 {
            // Noise that no step will have.
            reflect(&self.mirror, backend, model, seed, u64::MAX - phase);
        }
    }

    /// The same noise on all ranks, and so the same mirrors.
    fn after_step<B: Backend>(&self, backend: &B, model: &mut ModelOf<B>, seed: u64, step: u64) {
        reflect(&self.mirror, backend, model, seed, step);
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some(NEEDS_BACK_PROPAGATION)
    }

    fn beyond_gpu(&self) -> Option<&'static str> {
        Some(NOT_ON_A_GPU)
    }

    fn cost(&self) -> Cost {
        let descent = Descent { backward: self.backward, all_gradients: true };
        Cost { descent: Some(descent), ..Cost::default() }
    }

    /// The phase in which the mirrors learn: the noise as drawn and on the backend, the layer's answer, and two of the
    /// kernels.
    fn extra_memory(&self, network: &NetworkSpec, _rows: usize, _threads: usize) -> ExtraMemory {
        let rows = self.mirror.rows;
        let of_layer = |layer: &Layer| rows * (2 * layer.input.len() + layer.conv.len()) + 2 * layer.weight_len();
        let after_step = network.layers().iter().skip(1).map(of_layer).max().unwrap_or(0);
        ExtraMemory { after_step, ..ExtraMemory::default() }
    }
}

/// The mirrors' phase of a step, counted from 1: it changes nothing but them.
fn reflect<B: Backend>(mirror: &Mirror, backend: &B, model: &mut ModelOf<B>, seed: u64, step: u64) {
    let Mirror { rows, amplitude, rate, decay, .. } = *mirror;
    // Even numbers between these have the wanted deviation.
    let bound = amplitude * 3.0_f32.sqrt();
    for layer in model.spec.layers() {
        let parameters = &mut model.layers[layer.index];
        let Some(Parameter { value: mirror, .. }) = &mut parameters.mirror else { continue };
        let mut rng = stream(seed, Purpose::Mirror, layer.index as u64, step);
        let noise: Vec<f32> = (0..rows * layer.input.len()).map(|_| rng.uniform(-bound, bound)).collect();
        let x = backend.upload_frames(layer.input, &noise);
        let plain = convolution(layer);
        let y = backend.forward(&plain, &parameters.weight.value, &backend.upload(&[]), &x, rows);
        let sum = backend.block_gradient(&plain, &x, &y, &y.z).weight;
        let positions = (rows * plain.conv.area()) as f32;
        *mirror = backend.scaled_sum(&[(1.0 - decay, mirror), (rate / positions, &sum)]);
    }
}

/// The layer's convolution only.
fn convolution(layer: &Layer) -> Layer {
    let mut plain = *layer;
    plain.block.activation = Activation::Identity;
    plain.block.bias = false;
    plain.block.max_pool = None;
    plain.output = plain.conv;
    plain
}
