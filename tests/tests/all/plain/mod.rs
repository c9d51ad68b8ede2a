//! Forward pass, loss pooling and loss (docs/paper.md 1.2, 2.4, 2.5) once more, in double precision and in the plainest
//! loops. Tests take gradients of it by finite differences; only the errors that feedback matching compares
//! (docs/paper.md 2.3 and 3) are written out.
#![allow(dead_code, reason = "every test file uses its own part")]

use clapp_core::network::{Activation, Contrast, LossPool, Rule};
use clapp_core::plan::Layer;
use clapp_engine::model::{LayerValues, TensorRole};

/// One vector a row.
pub type Rows = Vec<Vec<f64>>;

/// A layer's tensors, in the order of [`TensorRole::ALL`].
#[derive(Clone)]
pub struct Values([Vec<f64>; 6]);

fn place(role: TensorRole) -> usize {
    TensorRole::ALL.iter().position(|known| *known == role).expect("one of all roles")
}

impl Values {
    pub fn get(&self, role: TensorRole) -> &[f64] {
        &self.0[place(role)]
    }

    pub fn get_mut(&mut self, role: TensorRole) -> &mut [f64] {
        &mut self.0[place(role)]
    }
}

pub fn wide(values: &LayerValues) -> Values {
    Values(TensorRole::ALL.map(|role| values.get(role).iter().map(|value| f64::from(*value)).collect()))
}

pub fn rows(values: &[f32], len: usize) -> Rows {
    values.chunks(len).map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect()
}

/// The output maps `[out, height, width]` of each row.
pub fn forward(layer: &Layer, values: &Values, input: &Rows) -> Rows {
    input.iter().map(|input| forward_row(layer, values, input)).collect()
}

fn forward_row(layer: &Layer, values: &Values, input: &[f64]) -> Vec<f64> {
    let (block, conv) = (layer.block, layer.conv);
    let mut maps = vec![0.0; conv.len()];
    for o in 0..conv.channels {
        for y in 0..conv.height {
            for x in 0..conv.width {
                let mut sum = values.get(TensorRole::Bias).get(o).copied().unwrap_or(0.0);
                for c in 0..layer.input.channels {
                    for ky in 0..block.kernel[0] {
                        for kx in 0..block.kernel[1] {
                            let weight = values.get(TensorRole::Weight)
                                [((o * layer.input.channels + c) * block.kernel[0] + ky) * block.kernel[1] + kx];
                            sum += weight * pixel(layer, input, c, y * block.stride[0] + ky, x * block.stride[1] + kx);
                        }
                    }
                }
                let silent = block.activation == Activation::Relu && sum < 0.0;
                maps[(o * conv.height + y) * conv.width + x] = if silent { 0.0 } else { sum };
            }
        }
    }
    max_pool(layer, maps)
}

/// Element `(c, y, x)` of the input with its padding.
fn pixel(layer: &Layer, input: &[f64], c: usize, y: usize, x: usize) -> f64 {
    let [above, left] = layer.block.padding;
    let inside = y >= above && x >= left && y - above < layer.input.height && x - left < layer.input.width;
    if inside { input[(c * layer.input.height + y - above) * layer.input.width + x - left] } else { 0.0 }
}

fn max_pool(layer: &Layer, maps: Vec<f64>) -> Vec<f64> {
    let Some([height, width]) = layer.block.max_pool else { return maps };
    let mut out = Vec::new();
    for o in 0..layer.output.channels {
        for y in 0..layer.output.height {
            for x in 0..layer.output.width {
                let mut most = f64::NEG_INFINITY;
                for wy in 0..height {
                    for wx in 0..width {
                        let at = (o * layer.conv.height + y * height + wy) * layer.conv.width + x * width + wx;
                        most = most.max(maps[at]);
                    }
                }
                out.push(most);
            }
        }
    }
    out
}

/// First place and number of places of a cell along one axis.
fn cell(pool: LossPool, axis: usize, index: usize, size: usize, pooled: usize) -> (usize, usize) {
    match pool {
        LossPool::Global => (0, size),
        LossPool::Block(cell) => (index * cell[axis], cell[axis]),
        LossPool::Adaptive(_) => {
            let (start, end) = (index * size / pooled, ((index + 1) * size).div_ceil(pooled));
            (start, end - start)
        }
    }
}

/// The pooled activity of each row, channel after channel.
pub fn pool(layer: &Layer, output: &Rows) -> Rows {
    let (shape, pooled, kind) = (layer.output, layer.pooled, layer.block.loss_pool);
    let pool_row = |map: &Vec<f64>| {
        let mut out = Vec::new();
        for o in 0..pooled.channels {
            for py in 0..pooled.height {
                for px in 0..pooled.width {
                    let (top, height) = cell(kind, 0, py, shape.height, pooled.height);
                    let (left, width) = cell(kind, 1, px, shape.width, pooled.width);
                    let mut sum = 0.0;
                    for y in top..top + height {
                        for x in left..left + width {
                            sum += map[(o * shape.height + y) * shape.width + x];
                        }
                    }
                    out.push(sum / (height * width) as f64);
                }
            }
        }
        out
    };
    output.iter().map(pool_row).collect()
}

/// The loss of pooled activity `p` under the contexts that the rule has, mean over rows, summed over contexts.
pub fn loss(
    rule: &Rule,
    values: &Values,
    p: &Rows,
    same: &Rows,
    top: &Rows,
    negatives: &[usize],
    keep: Option<&[bool]>,
) -> f64 {
    let mut sum = 0.0;
    if rule.context.has_same() {
        sum += loss_under(rule, values.get(TensorRole::Projection), p, same, negatives, keep);
    }
    if rule.context.has_top() {
        sum += loss_under(rule, values.get(TensorRole::Feedback), p, top, negatives, keep);
    }
    sum
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn loss_under(
    rule: &Rule,
    projection: &[f64],
    p: &Rows,
    context: &Rows,
    negatives: &[usize],
    keep: Option<&[bool]>,
) -> f64 {
    let count = p.len();
    let other_view = |row: usize| (row + count / 2) % count;
    let mut sum = 0.0;
    for (row, context) in context.iter().enumerate() {
        let prediction: Vec<f64> = projection.chunks(context.len()).map(|row| dot(row, context)).collect();
        let score = |z: &[f64]| dot(z, &prediction);
        let positive = score(&p[other_view(row)]);
        let against: Vec<f64> =
            negatives.iter().skip(row).step_by(count).map(|row| score(&p[other_view(*row)])).collect();
        sum += cost(rule, positive, &against, keep.map(|keep| keep[row]));
    }
    sum / count as f64
}

/// The table of docs/paper.md 1.2.
fn cost(rule: &Rule, positive: f64, negatives: &[f64], keep: Option<bool>) -> f64 {
    let mean = |f: &dyn Fn(f64) -> f64| negatives.iter().map(|u| f(*u)).sum::<f64>() / negatives.len() as f64;
    let softplus = |x: f64| x.exp().ln_1p();
    let (attract, repel) = match rule.contrast {
        Contrast::Hinge => ((1.0 - positive).max(0.0), mean(&|u| (1.0 + u).max(0.0))),
        Contrast::SoftHinge => (softplus(1.0 - positive), mean(&|u| softplus(1.0 + u))),
        Contrast::Goodness { theta } => {
            let theta = f64::from(theta);
            (softplus(theta - positive), mean(&|u| softplus(u - theta)))
        }
        Contrast::Linear => return mean(&|u| u) - positive,
        Contrast::Phyll { theta } => return softplus(f64::from(theta) * (mean(&|u| u) - positive)),
    };
    let attract = f64::from(rule.pos_coeff) * attract;
    match keep {
        None => attract + repel,
        Some(true) => attract,
        Some(false) => repel,
    }
}

/// Pairs of rows, and the contrast function.
pub struct Task<'a> {
    pub rule: Rule,
    pub negatives: &'a [usize],
    pub keep: Option<&'a [bool]>,
}

impl Task<'_> {
    /// [`loss`].
    pub fn loss(&self, values: &Values, p: &Rows, same: &Rows, top: &Rows) -> f64 {
        loss(&self.rule, values, p, same, top, self.negatives, self.keep)
    }

    /// The gradient of [`loss`] by `p` (docs/paper.md 2.3).
    pub fn error(&self, values: &Values, p: &Rows, same: &Rows, top: &Rows) -> Rows {
        let mut sum = zeros(p);
        let context = self.rule.context;
        if context.has_same() {
            self.add_error(values.get(TensorRole::Projection), p, same, &mut sum);
        }
        if context.has_top() {
            self.add_error(values.get(TensorRole::Feedback), p, top, &mut sum);
        }
        sum
    }

    fn add_error(&self, projection: &[f64], p: &Rows, context: &Rows, sum: &mut Rows) {
        let count = p.len();
        let other_view = |row: usize| (row + count / 2) % count;
        for (row, context) in context.iter().enumerate() {
            let prediction: Vec<f64> = projection.chunks(context.len()).map(|row| dot(row, context)).collect();
            let positive = other_view(row);
            let against: Vec<usize> =
                self.negatives.iter().skip(row).step_by(count).map(|row| other_view(*row)).collect();
            let scores: Vec<f64> = against.iter().map(|row| dot(&p[*row], &prediction)).collect();
            let keep = self.keep.map(|keep| keep[row]);
            let (attract, repel) = slopes(&self.rule, dot(&p[positive], &prediction), &scores, keep);
            for (scored, slope) in std::iter::once((positive, attract)).chain(against.into_iter().zip(repel)) {
                for (sum, prediction) in sum[scored].iter_mut().zip(&prediction) {
                    *sum += slope * prediction / count as f64;
                }
            }
        }
    }
}

/// The table of docs/paper.md 2.1.
fn slopes(rule: &Rule, positive: f64, negatives: &[f64], keep: Option<bool>) -> (f64, Vec<f64>) {
    let count = negatives.len() as f64;
    let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
    let step = |below: bool| f64::from(u8::from(below));
    let weight = f64::from(rule.pos_coeff);
    let (attract, repel): (f64, Vec<f64>) = match rule.contrast {
        Contrast::Hinge => (-weight * step(positive < 1.0), negatives.iter().map(|u| step(*u > -1.0)).collect()),
        Contrast::SoftHinge => (-weight * sigma(1.0 - positive), negatives.iter().map(|u| sigma(1.0 + u)).collect()),
        Contrast::Goodness { theta } => {
            let theta = f64::from(theta);
            (-weight * sigma(theta - positive), negatives.iter().map(|u| sigma(u - theta)).collect())
        }
        Contrast::Linear => (-1.0, vec![1.0; negatives.len()]),
        Contrast::Phyll { theta } => {
            let theta = f64::from(theta);
            let gate = theta * sigma(theta * (negatives.iter().sum::<f64>() / count - positive));
            (-gate, vec![gate; negatives.len()])
        }
    };
    let attract = if keep == Some(false) { 0.0 } else { attract };
    let repel = repel.into_iter().map(|slope| if keep == Some(true) { 0.0 } else { slope / count });
    (attract, repel.collect())
}

/// Rows of the same lengths that are 0.
pub fn zeros(rows: &Rows) -> Rows {
    rows.iter().map(|row| vec![0.0; row.len()]).collect()
}

/// The error of the output maps whose pooled error is `error`: the transpose of [`pool`].
pub fn unpool(layer: &Layer, error: &Rows) -> Rows {
    let (shape, pooled, kind) = (layer.output, layer.pooled, layer.block.loss_pool);
    let unpool_row = |error: &Vec<f64>| {
        let mut map = vec![0.0; shape.len()];
        for (at, error) in error.iter().enumerate() {
            let (o, py, px) = (at / pooled.area(), at % pooled.area() / pooled.width, at % pooled.width);
            let (top, height) = cell(kind, 0, py, shape.height, pooled.height);
            let (left, width) = cell(kind, 1, px, shape.width, pooled.width);
            for y in top..top + height {
                for x in left..left + width {
                    map[(o * shape.height + y) * shape.width + x] += error / (height * width) as f64;
                }
            }
        }
        map
    };
    error.iter().map(unpool_row).collect()
}

/// The squared distance of all elements.
pub fn distance(a: &Rows, b: &Rows) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// InfoNCE of first views (the first half of `p`) with second views through a head (docs/paper.md 2.8).
pub fn info_nce(head: &[f64], p: &Rows, temperature: f64) -> f64 {
    let embed = |p: &Vec<f64>| -> Vec<f64> { head.chunks(p.len()).map(|row| dot(row, p)).collect() };
    let embedded: Vec<Vec<f64>> = p.iter().map(embed).collect();
    let (first, second) = embedded.split_at(p.len() / 2);
    let norm = |z: &[f64]| dot(z, z).sqrt().max(1e-9);
    let logit = |a: &[f64], b: &[f64]| dot(a, b) / (norm(a) * norm(b)) / temperature;
    let loss = |(image, a): (usize, &Vec<f64>)| {
        let sum: f64 = second.iter().map(|b| logit(a, b).exp()).sum();
        sum.ln() - logit(a, &second[image])
    };
    first.iter().enumerate().map(loss).sum::<f64>() / first.len() as f64
}
