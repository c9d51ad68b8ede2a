//! The rule once more, in double precision and in the plainest loops, after the paper's formulas alone:
//! what the library's kernels are compared with.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod run;

use clapp_core::contrast::Phase;
use clapp_core::network::{Activation, Context, Contrast, LossPool, NetworkView, Projection, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use proptest::prelude::*;

/// A repeatable source of numbers in -1..1.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
    }

    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 32) as u32
    }

    pub fn next(&mut self) -> f32 {
        self.bits() as f32 / (1_u64 << 31) as f32 - 1.0
    }

    pub fn vec(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() * scale).collect()
    }
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Largest difference relative to the largest wanted value, or to a tenth of the numbers that go in (about 1)
/// where all wanted values are smaller, since these may be what is left of terms that cancel.
pub fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let most = want.iter().fold(0.1_f64, |most, value| most.max(value.abs()));
    got.iter().zip(want).fold(0.0_f64, |worst, (got, want)| {
        assert!(got.is_finite());
        worst.max((f64::from(*got) - want).abs())
    }) / most
}

/// Parameters of one layer.
#[derive(Clone)]
pub struct Weights {
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub same: Vec<f64>,
    pub feedback: Vec<f64>,
}

impl Weights {
    pub fn of(network: &NetworkView<'_>, layer: &Layer, parameters: &[f64]) -> Self {
        let cut = |at: usize, len: usize| parameters[at..at + len].to_vec();
        let projection = network.projection_offset(layer);
        Self {
            weight: cut(layer.encoder_offset, layer.weight_len()),
            bias: cut(layer.encoder_offset + layer.weight_len(), layer.bias_len()),
            same: cut(projection, network.same_len(layer)),
            feedback: cut(projection + network.same_len(layer), network.feedback_len(layer)),
        }
    }

    pub fn put(&self, network: &NetworkView<'_>, layer: &Layer, parameters: &mut [f64]) {
        let projection = network.projection_offset(layer);
        for (at, values) in [
            (layer.encoder_offset, &self.weight),
            (layer.encoder_offset + layer.weight_len(), &self.bias),
            (projection, &self.same),
            (projection + self.same.len(), &self.feedback),
        ] {
            parameters[at..at + values.len()].copy_from_slice(values);
        }
    }
}

/// One frame's way through a layer.
pub struct Forward {
    pub before: Vec<f64>,
    /// For each output, the offset in `before` that it was taken from.
    pub taken: Vec<usize>,
    pub output: Vec<f64>,
    pub pooled: Vec<f64>,
    /// How close the frame came to a kink: of ReLU, or between the two largest of a window.
    pub margin: f64,
}

fn cells(pool: LossPool, pooled: usize, size: usize, dimension: usize) -> Vec<std::ops::Range<usize>> {
    (0..pooled)
        .map(|index| match pool {
            LossPool::Global => 0..size,
            LossPool::Block(cell) => index * cell[dimension]..(index + 1) * cell[dimension],
            LossPool::Adaptive(_) => index * size / pooled..((index + 1) * size).div_ceil(pooled),
        })
        .collect()
}

/// Calls `f` with (pooled offset, output offset, 1 / cell size) for every element of every cell.
fn for_cells(layer: &Layer, mut f: impl FnMut(usize, usize, f64)) {
    let (output, pooled) = (layer.output, layer.pooled);
    let rows = cells(layer.block.loss_pool, pooled.height, output.height, 0);
    let columns = cells(layer.block.loss_pool, pooled.width, output.width, 1);
    for channel in 0..output.channels {
        for (py, rows) in rows.iter().enumerate() {
            for (px, columns) in columns.iter().enumerate() {
                let share = 1.0 / (rows.len() * columns.len()) as f64;
                for y in rows.clone() {
                    for x in columns.clone() {
                        f(
                            (channel * pooled.height + py) * pooled.width + px,
                            (channel * output.height + y) * output.width + x,
                            share,
                        );
                    }
                }
            }
        }
    }
}

/// Calls `f` with (weight offset, input offset, conv offset, channel) for every product of a convolution.
fn for_products(layer: &Layer, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (block, input, conv) = (layer.block, layer.input, layer.conv);
    for o in 0..conv.channels {
        for y in 0..conv.height {
            for x in 0..conv.width {
                for c in 0..input.channels {
                    for ky in 0..block.kernel[0] {
                        for kx in 0..block.kernel[1] {
                            let iy = (y * block.stride[0] + ky) as isize - block.padding[0] as isize;
                            let ix = (x * block.stride[1] + kx) as isize - block.padding[1] as isize;
                            if iy >= 0 && ix >= 0 && iy < input.height as isize && ix < input.width as isize {
                                f(
                                    ((o * input.channels + c) * block.kernel[0] + ky) * block.kernel[1] + kx,
                                    (c * input.height + iy as usize) * input.width + ix as usize,
                                    (o * conv.height + y) * conv.width + x,
                                    o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn forward(layer: &Layer, weights: &Weights, input: &[f64]) -> Forward {
    let (conv, output) = (layer.conv, layer.output);
    let mut before: Vec<f64> =
        (0..conv.len()).map(|at| weights.bias.get(at / conv.area()).copied().unwrap_or(0.0)).collect();
    for_products(layer, |w, i, a, _| before[a] += weights.weight[w] * input[i]);
    let relu = layer.block.activation == Activation::Relu;
    let mut margin = f64::INFINITY;
    if relu {
        margin = before.iter().fold(margin, |margin, a| margin.min(a.abs()));
    }
    let active = |a: f64| if relu { a.max(0.0) } else { a };
    let window = layer.block.max_pool.unwrap_or([1, 1]);
    let mut taken = Vec::new();
    for o in 0..output.channels {
        for y in 0..output.height {
            for x in 0..output.width {
                let mut best: Option<usize> = None;
                let mut values = Vec::new();
                for wy in 0..window[0] {
                    for wx in 0..window[1] {
                        let at = (o * conv.height + y * window[0] + wy) * conv.width + x * window[1] + wx;
                        values.push(active(before[at]));
                        if best.is_none_or(|best| active(before[at]) > active(before[best])) {
                            best = Some(at);
                        }
                    }
                }
                values.sort_by(|a, b| b.total_cmp(a));
                if let [first, second, ..] = values[..]
                    && first != 0.0
                {
                    margin = margin.min(first - second);
                }
                taken.push(best.unwrap());
            }
        }
    }
    let output: Vec<f64> = taken.iter().map(|&at| active(before[at])).collect();
    let mut pooled = vec![0.0; layer.pooled.len()];
    for_cells(layer, |p, z, share| pooled[p] += output[z] * share);
    Forward { before, taken, output, pooled, margin }
}

/// Who is compared with whom.
#[derive(Clone)]
pub enum Task {
    Stream(Phase),
    Batch { negatives: Vec<u32>, keep: Option<Vec<bool>> },
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn cost(contrast: Contrast, u: f64) -> (f64, f64) {
    let theta = if let Contrast::Phyll { theta } = contrast { f64::from(theta) } else { 1.0 };
    match contrast {
        Contrast::Hinge => ((1.0 - u).max(0.0), if u < 1.0 { -1.0 } else { 0.0 }),
        Contrast::SoftHinge => (softplus(1.0 - u), -1.0 / (1.0 + (u - 1.0).exp())),
        Contrast::Phyll { .. } => (softplus(-theta * u), -theta / (1.0 + (theta * u).exp())),
        Contrast::Linear => (-u, -1.0),
        Contrast::Goodness { theta } => {
            let theta = f64::from(theta);
            (softplus(theta - u), -1.0 / (1.0 + (u - theta).exp()))
        }
    }
}

/// Cost of a negative score and its derivative.
fn cost_of_negative(contrast: Contrast, u: f64) -> (f64, f64) {
    if let Contrast::Goodness { theta } = contrast {
        let theta = f64::from(theta);
        return (softplus(u - theta), 1.0 / (1.0 + (theta - u).exp()));
    }
    let (value, slope) = cost(contrast, -u);
    (value, -slope)
}

/// Loss of a row with its derivatives.
fn contrast(rule: &Rule, u: f64, negatives: &[f64], keep: Option<bool>) -> (f64, f64, Vec<f64>) {
    let count = negatives.len() as f64;
    if clapp_core::contrast::has_separate_terms(rule.contrast) {
        let (on_positive, on_negative) = (f64::from(keep != Some(false)), f64::from(keep != Some(true)));
        let on_positive = on_positive * f64::from(rule.pos_coeff);
        let (value, slope) = cost(rule.contrast, u);
        let repelled: Vec<(f64, f64)> = negatives.iter().map(|u| cost_of_negative(rule.contrast, *u)).collect();
        let sum: f64 = repelled.iter().map(|(value, _)| value).sum();
        let slopes = repelled.iter().map(|(_, slope)| slope / count * on_negative).collect();
        (value * on_positive + sum / count * on_negative, slope * on_positive, slopes)
    } else {
        // Both are a function of the mean difference.
        let (value, slope) = cost(rule.contrast, u - negatives.iter().sum::<f64>() / count);
        (value, slope, negatives.iter().map(|_| -slope / count).collect())
    }
}

/// What a layer's rule makes of its rows.
pub struct Lesson {
    pub loss: f64,
    /// Of each loss (same, top): `u+` of each row, and `u-` of each row and negative.
    pub scores: Vec<(Vec<f64>, Vec<f64>)>,
    pub gradient: Weights,
    pub margin: f64,
    pub rows: Vec<Forward>,
}

/// Contexts of the rows: the layer's own (`None`: each row's own activity), the top layer's.
#[derive(Clone)]
pub struct Contexts {
    pub same: Option<Vec<Vec<f64>>>,
    pub top: Vec<Vec<f64>>,
}

pub fn learn(
    network: &NetworkView<'_>,
    layer: &Layer,
    weights: &Weights,
    inputs: &[Vec<f64>],
    contexts: &Contexts,
    task: &Task,
) -> Lesson {
    let rule = network.rule();
    let rows: Vec<Forward> = inputs.iter().map(|input| forward(layer, weights, input)).collect();
    let count = rows.len();
    let len = layer.pooled.len();
    let mut margin = rows.iter().fold(f64::INFINITY, |margin, row| margin.min(row.margin));
    let mut error = vec![vec![0.0; len]; count];
    let mut gradient = Weights {
        weight: vec![0.0; weights.weight.len()],
        bias: vec![0.0; weights.bias.len()],
        same: vec![0.0; weights.same.len()],
        feedback: vec![0.0; weights.feedback.len()],
    };
    let mut total = 0.0;
    let mut scores = Vec::new();
    for top in [false, true] {
        let used = match rule.context {
            Context::Same => !top,
            Context::Top => top,
            Context::Both => true,
        };
        if !used {
            continue;
        }
        let own: Vec<Vec<f64>> = rows.iter().map(|row| row.pooled.clone()).collect();
        let context = if top { &contexts.top } else { contexts.same.as_ref().unwrap_or(&own) };
        let matrix = if top { &weights.feedback } else { &weights.same };
        let slopes = if top { &mut gradient.feedback } else { &mut gradient.same };
        let predict = |c: &[f64]| -> Vec<f64> {
            if rule.projection == Projection::Identity {
                c.to_vec()
            } else {
                (0..len).map(|i| (0..c.len()).map(|j| matrix[i * c.len() + j] * c[j]).sum()).collect()
            }
        };
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (mut positives, mut negatives_scored) = (Vec::new(), Vec::new());
        // (row whose activity is scored, row of the context, derivative)
        let mut terms: Vec<(usize, usize, f64)> = Vec::new();
        match task {
            Task::Stream(phase) => {
                let u = dot(&rows[0].pooled, &predict(&context[0]));
                let weight = match rule.contrast {
                    Contrast::Hinge | Contrast::SoftHinge | Contrast::Goodness { .. } => f64::from(rule.pos_coeff),
                    Contrast::Phyll { .. } | Contrast::Linear => 1.0,
                };
                if *phase == Phase::Fixation {
                    let (value, slope) = cost(rule.contrast, u);
                    total += weight * value;
                    terms.push((0, 0, weight * slope));
                    positives.push(u);
                } else {
                    let (value, slope) = cost_of_negative(rule.contrast, u);
                    total += value;
                    terms.push((0, 0, slope));
                    negatives_scored.push(u);
                }
            }
            Task::Batch { negatives, keep } => {
                let partner = |i: usize| (i + count / 2) % count;
                let per_row = negatives.len() / count;
                for j in 0..count {
                    let s = predict(&context[j]);
                    let others: Vec<usize> = (0..per_row).map(|k| partner(negatives[k * count + j] as usize)).collect();
                    let u = dot(&rows[partner(j)].pooled, &s);
                    let v: Vec<f64> = others.iter().map(|&other| dot(&rows[other].pooled, &s)).collect();
                    let (value, slope, repelled) = contrast(&rule, u, &v, keep.as_ref().map(|keep| keep[j]));
                    total += value / count as f64;
                    terms.push((partner(j), j, slope / count as f64));
                    terms.extend(others.iter().zip(&repelled).map(|(&other, slope)| (other, j, slope / count as f64)));
                    positives.push(u);
                    negatives_scored.extend(v);
                }
            }
        }
        if rule.contrast == Contrast::Hinge {
            margin = positives.iter().fold(margin, |margin, u| margin.min((1.0 - u).abs()));
            margin = negatives_scored.iter().fold(margin, |margin, u| margin.min((1.0 + u).abs()));
        }
        for (scored, from, slope) in terms {
            let s = predict(&context[from]);
            for i in 0..len {
                error[scored][i] += slope * s[i];
                if rule.projection == Projection::Trainable {
                    let columns = context[from].len();
                    for j in 0..columns {
                        slopes[i * columns + j] += slope * rows[scored].pooled[i] * context[from][j];
                    }
                }
            }
        }
        scores.push((positives, negatives_scored));
    }
    for ((row, input), error) in rows.iter().zip(inputs).zip(&error) {
        let mut before = vec![0.0; layer.conv.len()];
        for_cells(layer, |p, z, share| {
            let at = row.taken[z];
            if layer.block.activation == Activation::Identity || row.before[at] > 0.0 {
                before[at] += error[p] * share;
            }
        });
        for_products(layer, |w, i, a, _| gradient.weight[w] += before[a] * input[i]);
        for (at, error) in before.iter().enumerate() {
            if let Some(bias) = gradient.bias.get_mut(at / layer.conv.area()) {
                *bias += error;
            }
        }
    }
    Lesson { loss: total, scores, gradient, margin, rows }
}

/// A random network that fits together, with a seed for its numbers.
#[derive(Debug, Clone)]
pub struct Case {
    pub input: Shape,
    pub blocks: Vec<clapp_core::network::Block>,
    pub rule: Rule,
    pub seed: u64,
}

impl Case {
    pub fn network(&self) -> NetworkView<'_> {
        NetworkView::try_new(self.input, &self.blocks, self.rule).unwrap()
    }

    /// Parameters of a size that keeps scores about 1.
    pub fn parameters(&self, numbers: &mut Numbers) -> Vec<f32> {
        let network = self.network();
        let mut parameters = numbers.vec(network.parameter_len(), 1.0);
        let mut index = 0;
        while let Some(layer) = network.layer(index) {
            let scale = 1.5 / (layer.fan_in() as f32).sqrt();
            parameters[layer.encoder_offset..][..layer.encoder_len()].iter_mut().for_each(|p| *p *= scale);
            index += 1;
        }
        parameters
    }
}

type Draw = ([usize; 2], [usize; 2], [usize; 2], [usize; 2], [usize; 2], (u8, usize, bool, bool, bool));

fn draw() -> impl Strategy<Value = Draw> {
    let two = |range: std::ops::RangeInclusive<usize>| [range.clone(), range];
    // The kernels with paths of their own come up often.
    let kernel = prop_oneof![Just([3, 3]), Just([1, 3]), Just([1, 5]), Just([2, 5]), two(1..=4)];
    let stride = prop_oneof![3 => Just([1, 1]), 1 => two(1..=3)];
    let padding = prop_oneof![2 => Just([1, 1]), 1 => Just([0, 0]), 1 => Just([0, 2]), 1 => two(0..=2)];
    let pool = prop_oneof![Just([1, 1]), Just([2, 2]), Just([1, 2]), two(1..=3)];
    (kernel, stride, padding, pool, two(1..=4), (0..3_u8, 1..=4_usize, any::<bool>(), any::<bool>(), any::<bool>()))
}

fn fit(mut shape: Shape, draws: Vec<Draw>) -> Vec<clapp_core::network::Block> {
    use clapp_core::network::Block;
    let mut blocks = Vec::new();
    for (kernel, stride, padding, pool, loss, (kind, channels, bias, linear, pools)) in draws {
        let kernel = [kernel[0].min(shape.height + 2 * padding[0]), kernel[1].min(shape.width + 2 * padding[1])];
        let height = (shape.height + 2 * padding[0] - kernel[0]) / stride[0] + 1;
        let width = (shape.width + 2 * padding[1] - kernel[1]) / stride[1] + 1;
        let mut block = Block::conv(channels, kernel).stride(stride).padding(padding);
        shape = Shape::new(channels, height, width);
        if !bias {
            block = block.without_bias();
        }
        if linear && kind == 0 {
            block = block.activation(Activation::Identity);
        }
        if pools {
            let pool = [pool[0].min(height), pool[1].min(width)];
            block = block.max_pool(pool);
            shape = Shape::new(channels, height / pool[0], width / pool[1]);
        }
        blocks.push(block.loss_pool(match kind {
            0 => LossPool::Global,
            1 => LossPool::Block([loss[0].min(shape.height), loss[1].min(shape.width)]),
            _ => LossPool::Adaptive(loss),
        }));
    }
    blocks
}

pub fn case() -> impl Strategy<Value = Case> {
    let contrast = prop_oneof![
        2 => Just(Contrast::Hinge),
        1 => Just(Contrast::SoftHinge),
        1 => Just(Contrast::Phyll { theta: 2.0 }),
        1 => Just(Contrast::Linear),
        1 => Just(Contrast::Goodness { theta: 0.5 }),
    ];
    let context = prop_oneof![Just(Context::Same), Just(Context::Top), Just(Context::Both)];
    let projection = prop_oneof![
        3 => Just(Projection::Trainable),
        1 => Just(Projection::Frozen),
        1 => Just(Projection::Identity)
    ];
    let pos_coeff = prop_oneof![Just(1.0_f32), Just(0.5), Just(0.0)];
    let input = (1..=3_usize, prop_oneof![1 => Just(1_usize), 3 => 1..=9_usize], 1..=19_usize);
    let rule = (contrast, context, projection, pos_coeff);
    (input, proptest::collection::vec(draw(), 1..=3), rule, any::<u64>()).prop_map(|(input, draws, rule, seed)| {
        let input = Shape::new(input.0, input.1, input.2);
        let blocks = fit(input, draws);
        let (contrast, context, mut projection, pos_coeff) = rule;
        let rule = |projection| Rule { contrast, context, projection, pos_coeff };
        if NetworkView::try_new(input, &blocks, rule(projection)).is_err() {
            projection = Projection::Trainable;
        }
        Case { input, blocks, rule: rule(projection), seed }
    })
}
