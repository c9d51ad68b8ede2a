//! The operations as a textbook writes them: one loop an index, a running sum for each result, no blocking, no
//! vectors by hand, no use of zeros, one thread.
//!
//! Maps are `[C, H, W]`, weights `[out, in, kh, kw]`, blocks have a bias, a ReLU and stride 1.

use clapp_core::network::LossPool;
use clapp_core::plan::Layer;

/// Input row or column under a kernel element, `None` in the padding.
fn inside(at: usize, kernel: usize, padding: usize, size: usize) -> Option<usize> {
    (at + kernel).checked_sub(padding).filter(|place| *place < size)
}

/// The map before the activation: one running sum an output.
fn convolve(layer: &Layer, weight: &[f32], bias: &[f32], input: &[f32]) -> Vec<f32> {
    let (shape, conv, [kernel_h, kernel_w]) = (layer.input, layer.conv, layer.block.kernel);
    let [above, left] = layer.block.padding;
    let mut maps = Vec::with_capacity(conv.len());
    for (filter, bias) in weight.chunks(layer.fan_in()).zip(bias) {
        for y in 0..conv.height {
            for x in 0..conv.width {
                let mut sum = *bias;
                for c in 0..shape.channels {
                    for ky in 0..kernel_h {
                        let Some(row) = inside(y, ky, above, shape.height) else { continue };
                        for kx in 0..kernel_w {
                            let Some(column) = inside(x, kx, left, shape.width) else { continue };
                            sum += filter[(c * kernel_h + ky) * kernel_w + kx]
                                * input[(c * shape.height + row) * shape.width + column];
                        }
                    }
                }
                maps.push(sum);
            }
        }
    }
    maps
}

/// Adds the gradient of the weights from that of the map before the activation: one running sum a weight.
fn add_weight_gradient(layer: &Layer, input: &[f32], error: &[f32], weight: &mut [f32]) {
    let (shape, conv, [kernel_h, kernel_w]) = (layer.input, layer.conv, layer.block.kernel);
    let [above, left] = layer.block.padding;
    for (error, filter) in error.chunks(conv.area()).zip(weight.chunks_mut(layer.fan_in())) {
        for c in 0..shape.channels {
            for ky in 0..kernel_h {
                for kx in 0..kernel_w {
                    let mut sum = 0.0;
                    for y in 0..conv.height {
                        let Some(row) = inside(y, ky, above, shape.height) else { continue };
                        for x in 0..conv.width {
                            let Some(column) = inside(x, kx, left, shape.width) else { continue };
                            sum += error[y * conv.width + x] * input[(c * shape.height + row) * shape.width + column];
                        }
                    }
                    filter[(c * kernel_h + ky) * kernel_w + kx] += sum;
                }
            }
        }
    }
}

/// Convolution, bias, ReLU and max-pool of one frame; `argmax` receives the place of each maximum in the map before
/// the pool.
pub fn forward(layer: &Layer, weight: &[f32], bias: &[f32], input: &[f32], argmax: &mut Vec<usize>) -> Vec<f32> {
    let (conv, output) = (layer.conv, layer.output);
    let mut maps = convolve(layer, weight, bias, input);
    maps.iter_mut().for_each(|a| *a = a.max(0.0));
    let [height, width] = layer.block.max_pool.unwrap_or([1, 1]);
    argmax.clear();
    for o in 0..output.channels {
        for y in 0..output.height {
            for x in 0..output.width {
                let mut best = (o * conv.height + y * height) * conv.width + x * width;
                for wy in 0..height {
                    for wx in 0..width {
                        let at = (o * conv.height + y * height + wy) * conv.width + x * width + wx;
                        best = if maps[at] > maps[best] { at } else { best };
                    }
                }
                argmax.push(best);
            }
        }
    }
    argmax.iter().map(|at| maps[*at]).collect()
}

/// Side lengths of a loss-pooling cell.
///
/// # Panics
/// For adaptive pooling, which no benchmark has.
fn cell(layer: &Layer) -> [usize; 2] {
    match layer.block.loss_pool {
        LossPool::Block(cell) => cell,
        LossPool::Global => [layer.output.height, layer.output.width],
        LossPool::Adaptive(_) => panic!("the references have no adaptive pooling"),
    }
}

/// Calls `f` with (pooled, output) offsets of every element of every cell.
fn each_in_cells(layer: &Layer, mut f: impl FnMut(usize, usize)) {
    let (output, pooled, [height, width]) = (layer.output, layer.pooled, cell(layer));
    for o in 0..pooled.channels {
        for y in 0..pooled.height * height {
            for x in 0..pooled.width * width {
                f(
                    (o * pooled.height + y / height) * pooled.width + x / width,
                    (o * output.height + y) * output.width + x,
                );
            }
        }
    }
}

/// Mean of each loss-pooling cell.
pub fn pool(layer: &Layer, output: &[f32]) -> Vec<f32> {
    let [height, width] = cell(layer);
    let mut pooled = vec![0.0; layer.pooled.len()];
    each_in_cells(layer, |p, z| pooled[p] += output[z] / (height * width) as f32);
    pooled
}

/// Adds one frame's gradient of weights and biases, from the gradient of its pooled activity.
pub fn add_gradient(
    layer: &Layer,
    input: &[f32],
    output: &[f32],
    argmax: &[usize],
    pooled_error: &[f32],
    weight: &mut [f32],
    bias: &mut [f32],
) {
    let [height, width] = cell(layer);
    let mut error = vec![0.0; layer.conv.len()];
    each_in_cells(layer, |p, z| {
        if output[z] > 0.0 {
            error[argmax[z]] = pooled_error[p] / (height * width) as f32;
        }
    });
    add_weight_gradient(layer, input, &error, weight);
    for (o, error) in error.iter().enumerate() {
        bias[o / layer.conv.area()] += error;
    }
}

/// `matrix x`, row by row.
pub fn matrix_vector(matrix: &[f32], x: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    for row in matrix.chunks(x.len()) {
        let mut sum = 0.0;
        for (a, x) in row.iter().zip(x) {
            sum += a * x;
        }
        out.push(sum);
    }
    out
}

/// `matrix -= lr sum_rows q c^T`, a row of the batch after the other.
pub fn outer_step(matrix: &mut [f32], lr: f32, q: &[f32], q_len: usize, c: &[f32], c_len: usize) {
    for (q, c) in q.chunks(q_len).zip(c.chunks(c_len)) {
        for (i, q) in q.iter().enumerate() {
            for (j, c) in c.iter().enumerate() {
                matrix[i * c_len + j] -= lr * q * c;
            }
        }
    }
}

/// One layer's parameters.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// `[out, in, kh, kw]`.
    pub weight: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
    /// `[D, D]`.
    pub projection: Vec<f32>,
}

/// One step of CLAPP++ (hinge, same layer's context, ring of negatives, plain SGD) on `[rows, C, H, W]` frames. Returns
/// the loss of each layer.
pub fn local_step(layers: &[Layer], parameters: &mut [Parameters], frames: &[f32], rows: usize, lr: f32) -> Vec<f32> {
    let mut x: Vec<Vec<f32>> = frames.chunks(frames.len() / rows).map(<[f32]>::to_vec).collect();
    let partner = |row: usize| (row + rows / 2) % rows;
    let mut losses = Vec::new();
    for (layer, parameters) in layers.iter().zip(parameters) {
        let mut places = vec![Vec::new(); rows];
        let z: Vec<Vec<f32>> = x
            .iter()
            .zip(&mut places)
            .map(|(x, places)| forward(layer, &parameters.weight, &parameters.bias, x, places))
            .collect();
        let p: Vec<Vec<f32>> = z.iter().map(|z| pool(layer, z)).collect();
        let len = layer.pooled.len();
        let (mut error, mut q, mut loss) = (vec![vec![0.0; len]; rows], vec![vec![0.0; len]; rows], 0.0);
        for row in 0..rows {
            let s = matrix_vector(&parameters.projection, &p[row]);
            // The sign of the score's gradient: the positive is pulled, the negative pushed.
            for (other, sign) in [(partner(row), -1.0), (partner((row + 1) % rows), 1.0)] {
                let u: f32 = p[other].iter().zip(&s).map(|(p, s)| p * s).sum();
                let cost = 1.0 + sign * u;
                if cost <= 0.0 {
                    continue;
                }
                loss += cost / rows as f32;
                for i in 0..len {
                    error[other][i] += sign * s[i] / rows as f32;
                    q[row][i] += sign * p[other][i] / rows as f32;
                }
            }
        }
        let mut weight = vec![0.0; parameters.weight.len()];
        let mut bias = vec![0.0; parameters.bias.len()];
        for row in 0..rows {
            add_gradient(layer, &x[row], &z[row], &places[row], &error[row], &mut weight, &mut bias);
        }
        outer_step(&mut parameters.projection, lr, &q.concat(), len, &p.concat(), len);
        parameters.weight.iter_mut().zip(&weight).for_each(|(p, g)| *p -= lr * g);
        parameters.bias.iter_mut().zip(&bias).for_each(|(p, g)| *p -= lr * g);
        losses.push(loss);
        x = z;
    }
    losses
}
