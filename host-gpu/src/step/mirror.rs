//! The weight mirror (Akrout et al. 2019): kernels for errors that learn the weights without reading them.
//!
//! In a phase of its own, each layer is shown white noise `x`, and answers it with `y = W x`, its convolution alone. The
//! kernels `R` that errors come down through see both ends of their synapses, and learn from the correlation, with decay:
//!
//! ```text
//! R <- (1 - decay) R + rate mean(y x^T)        mean(y x^T) -> amplitude^2 W
//! ```
//!
//! so that `R` tends to `rate amplitude^2 / decay` times `W`, and follows it while it learns. At the edges of a padded map
//! a kernel's outer elements see fewer pixels, and come out smaller by that share.

use super::Model;
use crate::backend::{Backend, Parameter};
use crate::model::{LayerValues, Mirror, NetworkSpec};
use crate::rng::{Purpose, stream};
use clapp_core::network::Activation;
use clapp_core::plan::Layer;

/// First values of the mirrors: as the weights' distribution has it, but drawn apart from them.
pub fn first_values(spec: &NetworkSpec, seed: u64, values: &mut [LayerValues]) {
    for (layer, values) in spec.layers().iter().zip(values).skip(1) {
        let bound = 1.0 / (layer.fan_in() as f32).sqrt();
        let mut rng = stream(seed, Purpose::Mirror, layer.index as u64, 0);
        values.mirror = (0..layer.weight_len()).map(|_| rng.uniform(-bound, bound)).collect();
    }
}

/// The mirrors' phases before the first step of learning.
pub fn reflect_ahead<B: Backend>(backend: &B, model: &mut Model<B::Tensor>, seed: u64) {
    for phase in 0..model.spec.options().mirror.ahead as u64 {
        // Noise that no step will have.
        reflect(backend, model, seed, u64::MAX - phase);
    }
}

/// The mirrors' phase of a step, counted from 1: it changes nothing but them.
pub fn reflect<B: Backend>(backend: &B, model: &mut Model<B::Tensor>, seed: u64, step: u64) {
    let Mirror { rows, amplitude, rate, decay, .. } = model.spec.options().mirror;
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

/// The layer's convolution alone.
fn convolution(layer: &Layer) -> Layer {
    let mut plain = *layer;
    plain.block.activation = Activation::Identity;
    plain.block.bias = false;
    plain.block.max_pool = None;
    plain.output = plain.conv;
    plain
}
