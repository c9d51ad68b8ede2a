//! Back-propagation of the softmax read-out's error to a part of the encoder, as devices do it that learn from labels: to
//! the last block, or to the biases of all blocks (TinyTL: Cai, Gan, Zhu and Han 2020). The read-out alone is what TinyOL
//! trains (Ren, Anicic and Runkler 2021); that is a frozen encoder's softmax.
//!
//! The read-out sees the pooled activity of all blocks. One example, one step of plain gradient descent.

use super::heads::Heads;
use clapp_core::conv::{self, FilterSink, PooledGradient};
use clapp_core::network::{Activation, NetworkView};
use clapp_core::plan::Layer;
use clapp_core::pool;
use clapp_core::readout::ReadoutError;

/// What is trained beside the read-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Weights and biases of the last block.
    LastBlock,
    /// The biases of all blocks.
    Biases,
}

/// Buffers of the backward pass.
#[derive(Debug, Clone)]
pub struct Backprop {
    part: Part,
    rate: f32,
    /// Output of each block `[C, H, W]`, and where in its windows the maxima are.
    outputs: Vec<Vec<f32>>,
    argmax: Vec<Vec<u8>>,
    scratch: Vec<f32>,
    feature_error: Vec<f32>,
    /// Of the part that is trained: weights `[out, in, kh, kw]` and biases of the last block, or all biases.
    gradient: Vec<f32>,
}

fn layers<'n>(network: &NetworkView<'n>) -> impl Iterator<Item = Layer> + use<'n> {
    let network = *network;
    (0..network.layer_count()).filter_map(move |index| network.layer(index))
}

/// Where a layer's weights and biases are among the parameters.
fn tensors(layer: &Layer) -> [std::ops::Range<usize>; 2] {
    let middle = layer.encoder_offset + layer.weight_len();
    [layer.encoder_offset..middle, middle..middle + layer.bias_len()]
}

/// The elements of the parameters that a part consists of, in order.
fn trained(network: &NetworkView<'_>, part: Part) -> Vec<std::ops::Range<usize>> {
    match part {
        Part::LastBlock => network.top().iter().flat_map(tensors).collect(),
        Part::Biases => layers(network).map(|layer| tensors(&layer)[1].clone()).collect(),
    }
}

impl Backprop {
    /// Buffers for a network whose part learns at `rate`.
    pub fn new(network: &NetworkView<'_>, part: Part, rate: f32) -> Self {
        let positions = |layer: Layer| vec![0; if layer.block.max_pool.is_some() { layer.output.len() } else { 0 }];
        Self {
            part,
            rate,
            outputs: layers(network).map(|layer| vec![0.0; layer.output.len()]).collect(),
            argmax: layers(network).map(positions).collect(),
            scratch: vec![0.0; network.gradient_scratch_len()],
            feature_error: vec![0.0; network.feature_len()],
            gradient: vec![0.0; trained(network, part).iter().map(ExactSizeIterator::len).sum()],
        }
    }

    /// Bytes that it takes on a device beside inference: what is trained and its gradient, the error of the features, and
    /// of the activity what the backward pass asks for. For the last block, whose input inference leaves in its buffers, the
    /// positions of its maxima and the scratch of a weight gradient; for biases one byte for every block's outputs, which
    /// says where the maximum was or that the unit is silent (errors go where the activity was).
    pub fn bytes(network: &NetworkView<'_>, part: Part) -> usize {
        let trained: usize = trained(network, part).iter().map(ExactSizeIterator::len).sum();
        let kept = match part {
            Part::LastBlock => {
                let scratch = network.gradient_scratch_len() - network.inference_scratch_len();
                network.top().map_or(0, |top| top.output.len()) + 4 * scratch
            }
            Part::Biases => layers(network).map(|layer| layer.output.len()).sum(),
        };
        4 * (2 * trained + network.feature_len()) + kept
    }

    /// Learns from a frame and its label: the part of the encoder by a step down the gradient, and both read-outs from the
    /// features before that step, which are left in `features`.
    ///
    /// # Errors
    /// Where a number is not finite or there is no such class.
    pub fn learn(
        &mut self,
        network: &NetworkView<'_>,
        parameters: &mut [f32],
        frame: &[f32],
        label: usize,
        heads: &mut Heads,
        features: &mut [f32],
    ) -> Result<(), ReadoutError> {
        self.forward(network, parameters, frame, features);
        heads.feature_error(features, label, &mut self.feature_error)?;
        self.backward(network, parameters, frame);
        heads.learn(features, label)?;
        let values = trained(network, self.part);
        for (at, gradient) in values.into_iter().flatten().zip(&self.gradient) {
            parameters[at] -= self.rate * gradient;
        }
        Ok(())
    }

    /// All outputs, and the pooled activity of all blocks.
    fn forward(&mut self, network: &NetworkView<'_>, parameters: &[f32], frame: &[f32], features: &mut [f32]) {
        for layer in layers(network) {
            let (below, rest) = self.outputs.split_at_mut(layer.index);
            let input = below.last().map_or(frame, Vec::as_slice);
            let output = &mut rest[0];
            let [weights, bias] = tensors(&layer).map(|range| &parameters[range]);
            conv::forward(&layer, weights, bias, input, output, &mut self.argmax[layer.index], &mut self.scratch);
            let pooled = &mut features[layer.feature_offset..layer.feature_offset + layer.pooled.len()];
            pool::loss_pool(output, layer.output, layer.block.loss_pool, layer.pooled, pooled);
        }
    }

    /// The gradient, from `feature_error` and the activity of the forward pass.
    fn backward(&mut self, network: &NetworkView<'_>, parameters: &[f32], frame: &[f32]) {
        match self.part {
            Part::LastBlock => self.last_block(network, frame),
            Part::Biases => self.biases(network, parameters),
        }
    }

    /// The last block's gradient is its own: the core's kernel has it from the error of the pooled activity.
    fn last_block(&mut self, network: &NetworkView<'_>, frame: &[f32]) {
        let Some(top) = network.top() else { return };
        let below = top.index.checked_sub(1).map_or(frame, |below| &self.outputs[below]);
        let value = &self.feature_error[top.feature_offset..top.feature_offset + top.pooled.len()];
        let error = PooledGradient { value, remainder: &[] };
        let (weights, biases) = self.gradient.split_at_mut(top.weight_len());
        let mut sink = Sink { weights, biases, fan_in: top.fan_in() };
        let (output, argmax) = (&self.outputs[top.index], &self.argmax[top.index]);
        conv::weight_gradient(&top, below, output, argmax, error, &mut self.scratch, &mut sink);
    }

    /// Errors go down through all blocks.
    fn biases(&mut self, network: &NetworkView<'_>, parameters: &[f32]) {
        let mut end = self.gradient.len();
        let mut from_above: Vec<f32> = Vec::new();
        for index in (0..network.layer_count()).rev() {
            let Some(layer) = network.layer(index) else { continue };
            let mut error = self.output_error(&layer);
            for (error, above) in error.iter_mut().zip(&from_above) {
                *error += above;
            }
            if layer.block.activation == Activation::Relu {
                for (error, output) in error.iter_mut().zip(&self.outputs[index]) {
                    *error = if *output > 0.0 { *error } else { 0.0 };
                }
            }
            let gradient = &mut self.gradient[end - layer.bias_len()..end];
            for (gradient, error) in gradient.iter_mut().zip(error.chunks_exact(layer.output.area().max(1))) {
                *gradient = error.iter().sum();
            }
            end -= layer.bias_len();
            from_above = match index {
                0 => Vec::new(),
                _ => input_error(&layer, &parameters[tensors(&layer)[0].clone()], &self.argmax[index], &error),
            };
        }
    }

    /// The error of a block's output that its own pooled activity brings.
    fn output_error(&self, layer: &Layer) -> Vec<f32> {
        let mut error = vec![0.0; layer.output.len()];
        let pooled = &self.feature_error[layer.feature_offset..layer.feature_offset + layer.pooled.len()];
        let planes = error.chunks_exact_mut(layer.output.area().max(1));
        for (plane, pooled) in planes.zip(pooled.chunks_exact(layer.pooled.area().max(1))) {
            pool::spread(pooled, layer.pooled, layer.block.loss_pool, layer.output, plane);
        }
        error
    }
}

/// The error of a block's input, from that of its output where the units are not silent.
fn input_error(layer: &Layer, weights: &[f32], argmax: &[u8], error: &[f32]) -> Vec<f32> {
    let ([stride_y, stride_x], [pad_y, pad_x], [high, wide]) =
        (layer.block.stride, layer.block.padding, layer.block.kernel);
    let [window_y, window_x] = layer.block.max_pool.unwrap_or([1, 1]);
    let mut below = vec![0.0; layer.input.len()];
    let area = layer.output.area().max(1);
    for (place, error) in error.iter().enumerate().filter(|(_, error)| **error != 0.0) {
        let within = argmax.get(place).map_or(0, |position| usize::from(*position));
        let (channel, at) = (place / area, place % area);
        // Where the maximum was in the map before the max-pool.
        let y = at / layer.output.width * window_y + within / window_x;
        let x = at % layer.output.width * window_x + within % window_x;
        let filter = &weights[channel * layer.fan_in()..(channel + 1) * layer.fan_in()];
        for (tap, weight) in filter.iter().enumerate() {
            let (input, ky, kx) = (tap / (high * wide), tap / wide % high, tap % wide);
            let (y, x) = ((y * stride_y + ky).wrapping_sub(pad_y), (x * stride_x + kx).wrapping_sub(pad_x));
            // What lies in the padding is beyond the map, before it or behind it.
            if y < layer.input.height && x < layer.input.width {
                below[(input * layer.input.height + y) * layer.input.width + x] += weight * error;
            }
        }
    }
    below
}

/// Takes the gradient of a block.
struct Sink<'a> {
    weights: &'a mut [f32],
    biases: &'a mut [f32],
    fan_in: usize,
}

impl FilterSink for Sink<'_> {
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32) {
        self.weights[index * self.fan_in..(index + 1) * self.fan_in].copy_from_slice(gradient);
        if let Some(place) = self.biases.get_mut(index) {
            *place = bias;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Model;
    use super::*;
    use clapp_core::guard::Guard;
    use clapp_core::network::{Block, LossPool, Rule};
    use clapp_core::optimizer::Optimizer;
    use clapp_core::shape::Shape;
    use clapp_data::rng::{Purpose, Rng, stream};
    use clapp_engine::rules::local_network;

    /// Blocks with and without max-pool, of odd sizes, with a stride and a border that is dropped.
    fn model() -> Model {
        let blocks = vec![
            Block::conv(3, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
            Block::conv(4, [3, 2]).stride([1, 2]).padding([1, 0]).loss_pool(LossPool::Adaptive([2, 2])),
            Block::conv(3, [2, 2]).max_pool([2, 1]).loss_pool(LossPool::Global),
        ];
        let spec = local_network(Shape::new(2, 11, 13), blocks, Rule::clapp_pp_dfb()).unwrap();
        let guard = Guard::default();
        Model { spec, optimizer: Optimizer::sgd(0.01), label_rate: 0.01, guard, classes: 4, scale: 1.0, offset: 0.0 }
    }

    fn draw(rng: &mut Rng, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| rng.uniform(-scale, scale)).collect()
    }

    /// Cross-entropy in double precision, from the definitions of every operation.
    fn loss(model: &Model, parameters: &[f64], frame: &[f32], label: usize, head: [&[f64]; 2]) -> f64 {
        let mut map: Vec<f64> = frame.iter().map(|&x| f64::from(x)).collect();
        let mut features = Vec::new();
        for layer in model.spec.layers() {
            let Layer { input, output, block, .. } = *layer;
            let [weights, bias] = tensors(layer).map(|range| &parameters[range]);
            let [kernel_y, kernel_x] = block.kernel;
            let before = |c: usize, y: usize, x: usize| {
                let mut sum = bias[c];
                for (i, ky, kx) in (0..input.channels)
                    .flat_map(|i| (0..kernel_y).flat_map(move |ky| (0..kernel_x).map(move |kx| (i, ky, kx))))
                {
                    let y = (y * block.stride[0] + ky) as isize - block.padding[0] as isize;
                    let x = (x * block.stride[1] + kx) as isize - block.padding[1] as isize;
                    if (0..input.height as isize).contains(&y) && (0..input.width as isize).contains(&x) {
                        let value = map[(i * input.height + y as usize) * input.width + x as usize];
                        sum += weights[((c * input.channels + i) * kernel_y + ky) * kernel_x + kx] * value;
                    }
                }
                sum.max(0.0)
            };
            let [window_y, window_x] = block.max_pool.unwrap_or([1, 1]);
            let mut out = Vec::new();
            for place in 0..output.len() {
                let (c, at) = (place / output.area(), place % output.area());
                let (top, left) = (at / output.width * window_y, at % output.width * window_x);
                let window = (0..window_y * window_x).map(|w| before(c, top + w / window_x, left + w % window_x));
                out.push(window.fold(0.0, f64::max));
            }
            map = out;
            features.extend(mean_pool(&map, layer));
        }
        let [weight, bias] = head;
        let logits: Vec<f64> = weight
            .chunks_exact(features.len())
            .zip(bias)
            .map(|(row, bias)| row.iter().zip(&features).map(|(w, x)| w * x).sum::<f64>() + bias)
            .collect();
        logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label]
    }

    /// Means over the cells of the loss pooling (docs/paper.md 2.4).
    fn mean_pool(map: &[f64], layer: &Layer) -> Vec<f64> {
        let Layer { output, pooled, block, .. } = *layer;
        let cell = |at: usize, count: usize, size: usize, axis: usize| match block.loss_pool {
            LossPool::Block(cell) => at * cell[axis]..(at + 1) * cell[axis],
            LossPool::Adaptive(_) => at * size / count..((at + 1) * size).div_ceil(count),
            LossPool::Global => 0..size,
        };
        let mut means = Vec::new();
        for place in 0..pooled.len() {
            let (c, at) = (place / pooled.area(), place % pooled.area());
            let rows = cell(at / pooled.width, pooled.height, output.height, 0);
            let columns = cell(at % pooled.width, pooled.width, output.width, 1);
            let count = (rows.len() * columns.len()) as f64;
            let sum: f64 = rows
                .flat_map(|y| columns.clone().map(move |x| (c * output.height + y) * output.width + x))
                .map(|at| map[at])
                .sum();
            means.push(sum / count);
        }
        means
    }

    #[test]
    fn gradients_are_slopes_of_the_cross_entropy() {
        let model = model();
        let view = model.spec.view();
        let mut compared = 0;
        for seed in 0..3 {
            let mut rng = stream(seed, Purpose::Other(11), 0, 0);
            let parameters = draw(&mut rng, view.parameter_len(), 0.5);
            let frame = draw(&mut rng, view.input().len(), 1.0);
            let mut heads = Heads::new(&model);
            let (weight, bias) = heads.softmax_mut();
            let (weight_len, bias_len) = (weight.len(), bias.len());
            weight.copy_from_slice(&draw(&mut rng, weight_len, 1.0));
            bias.copy_from_slice(&draw(&mut rng, bias_len, 1.0));
            let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let head = [wide(weight), wide(bias)];
            let label = seed as usize;
            for part in [Part::LastBlock, Part::Biases] {
                let mut backprop = Backprop::new(&view, part, 0.01);
                let mut features = vec![0.0; view.feature_len()];
                backprop.forward(&view, &parameters, &frame, &mut features);
                heads.feature_error(&features, label, &mut backprop.feature_error).unwrap();
                backprop.backward(&view, &parameters, &frame);
                let places = trained(&view, part).into_iter().flatten();
                assert_eq!(places.clone().count(), backprop.gradient.len());
                for (at, gradient) in places.zip(&backprop.gradient) {
                    let step = 1e-6;
                    let moved = |by: f64| {
                        let mut parameters = wide(&parameters);
                        parameters[at] += by;
                        loss(&model, &parameters, &frame, label, [&head[0], &head[1]])
                    };
                    let slope = (moved(step) - moved(-step)) / (2.0 * step);
                    let near = (f64::from(*gradient) - slope).abs() < 1e-5;
                    assert!(near, "seed {seed}, {part:?}, parameter {at}: {gradient} against {slope}");
                    compared += usize::from(slope.abs() > 1e-3);
                }
            }
        }
        assert!(compared > 60, "{compared} gradients are more than nothing");
    }

    #[test]
    fn a_step_changes_its_part_and_lowers_the_loss() {
        let model = model();
        let view = model.spec.view();
        for part in [Part::LastBlock, Part::Biases] {
            let mut rng = stream(5, Purpose::Other(11), 0, 0);
            let before = draw(&mut rng, view.parameter_len(), 0.5);
            let frame = draw(&mut rng, view.input().len(), 1.0);
            let mut heads = Heads::new(&model);
            heads.softmax_mut().0.fill(0.1);
            heads.softmax_mut().0[..view.feature_len()].fill(-0.1);
            let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let head = heads.clone().softmax_mut().0.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let of = |parameters: &[f32]| loss(&model, &wide(parameters), &frame, 0, [&head, &[0.0; 4]]);
            let mut after = before.clone();
            let mut features = vec![0.0; view.feature_len()];
            let mut backprop = Backprop::new(&view, part, 0.01);
            backprop.learn(&view, &mut after, &frame, 0, &mut heads, &mut features).unwrap();
            assert!(of(&after) < of(&before), "{part:?}");
            let may: Vec<usize> = trained(&view, part).into_iter().flatten().collect();
            let changed = |at: &usize| before[*at].to_bits() != after[*at].to_bits();
            assert!((0..before.len()).filter(changed).all(|at| may.contains(&at)));
            assert!(may.iter().any(changed));
            assert_eq!(heads.counts, [1, 0, 0, 0]);
        }
    }

    #[test]
    fn features_are_those_of_inference() {
        let model = model();
        let view = model.spec.view();
        let mut rng = stream(6, Purpose::Other(11), 0, 0);
        let (parameters, frame) = (draw(&mut rng, view.parameter_len(), 0.5), draw(&mut rng, view.input().len(), 1.0));
        let [mut one, mut two] = [(); 2].map(|()| vec![0.0; view.feature_len()]);
        Backprop::new(&view, Part::Biases, 0.01).forward(&view, &parameters, &frame, &mut one);
        let mut workspace = vec![0.0; view.inference_len()];
        clapp_core::learner::infer(&view, &parameters, &frame, &mut workspace, &mut two).unwrap();
        assert_eq!(one, two);
    }
}
