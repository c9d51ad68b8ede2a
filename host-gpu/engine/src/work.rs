//! Smallest amount of work of a training step: the floor for measurements.

use crate::model::{NetworkSpec, TensorRole};
use crate::rules::{self, Cost};
use crate::step::backprop::Backward;

/// Arithmetic and memory traffic of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// Floating-point operations; a multiplication with an addition counts as two.
    pub flops: f64,
    /// Bytes that must be read or written even if every value that fits in a kernel stays there.
    pub bytes: f64,
}

/// Returns the work of a step on a batch of `images` images with AdamW, with maps of `map_bytes` bytes per value.
///
/// Convolutions: forward, gradient of the weights, and what back-propagation adds; a context from the top layer takes
/// another forward pass, and each iteration of predictive coding one both ways. Projections `[D, D_src]`: `2 rows D
/// D_src` operations for the predictions and as many for the gradient; parameters are read by the forward pass, then
/// read and written by the optimiser with their two moments. Maps are written once and read by the next layer, by their
/// own gradient and by the next layer's.
pub fn step_work(spec: &NetworkSpec, images: usize, map_bytes: usize) -> StepWork {
    let rows = 2.0 * images as f64;
    let value = size_of::<f32>() as f64;
    let map = map_bytes as f64;
    let (mut flops, mut bytes) = (0.0, 0.0);
    let Cost { first_pass, descent, iterations, .. } = rules::of(spec).cost();
    let (relaxes, iterations) = (iterations > 0, iterations as f64);
    let again = match descent.filter(|descent| descent.all_gradients).map(|descent| descent.backward) {
        _ if relaxes => iterations,
        None => f64::from(first_pass),
        Some(Backward::Whole) => 0.0,
        Some(Backward::Checkpointed | Backward::Accumulated(_)) => 1.0,
    };
    for layer in spec.layers() {
        let convolution = 2.0 * layer.macs() as f64 * rows;
        let backward = match descent.is_some() && layer.index > 0 {
            true if relaxes => iterations,
            true => 1.0,
            false => 0.0,
        };
        flops += convolution * (2.0 + again + backward);
        let (input, output) = (layer.input.len() as f64, layer.output.len() as f64);
        bytes += map * rows * ((input + output) * (1.0 + again) + (input + output) + backward * (input + output));
        for (role, shape) in spec.tensors(layer) {
            let len: f64 = shape.iter().map(|size| *size as f64).product();
            if !matches!(role, TensorRole::Weight | TensorRole::Bias) {
                flops += 4.0 * rows * len;
            }
            let stepped = if spec.learns(layer, role) { 6.0 } else { 0.0 };
            bytes += value * len * (1.0 + stepped);
        }
    }
    StepWork { flops, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RuleName, preset};

    #[test]
    fn work_of_vgg6_is_what_its_layers_add_up_to() {
        let of = |rule| {
            let config = preset("cifar10").expect("a preset").with_rule(rule);
            let spec = config.network().expect("a network");
            (step_work(&spec, 32, size_of::<f32>()), spec)
        };
        let (local, spec) = of(RuleName::ClappPp);
        let macs: f64 = spec.layers().iter().map(|layer| layer.macs() as f64).sum();
        let projections: f64 = spec.layers().iter().map(|layer| (layer.pooled.len() as f64).powi(2)).sum();
        assert_eq!(local.flops, 64.0 * (4.0 * macs + 4.0 * projections));
        // Another forward pass for the context from the top layer, which has projections of another size.
        let (feedback, spec) = of(RuleName::ClappPpDfb);
        let top = spec.view().top_len() as f64;
        let projections: f64 = spec.layers().iter().map(|layer| layer.pooled.len() as f64 * top).sum();
        assert_eq!(feedback.flops, 64.0 * (6.0 * macs + 4.0 * projections));
        assert!(local.bytes > 28.0 * 2e8, "200 million projection weights with two moments: {}", local.bytes);
    }
}
