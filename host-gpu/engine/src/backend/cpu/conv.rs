//! Convolution as a product with the windows of the input (im2col), its fused activation and max-pool,
//! and its gradients (docs/paper.md 2.5).

use super::pool::{Spreader, mask};
use super::winograd::{self, Tiling};
use crate::backend::{Activity, BlockGradient};
use crate::matmul::{Matrix, matmul, vectorised};
use clapp_core::network::Activation;
use clapp_core::plan::Layer;
use rayon::prelude::*;

/// Output positions that one product works on, about: its operands should stay in the second-level cache.
const POSITIONS: usize = 512;

/// Number of parts of a batch with separate sums of the weight gradient; small gradients can have more parts.
const PARTIAL_SUMS: [usize; 2] = [8, 2];
const SMALL_GRADIENT: usize = 1 << 20;

/// Rows of a batch that one task convolves at a time.
pub fn rows_at_a_time(layer: &Layer, rows: usize) -> usize {
    (POSITIONS / layer.conv.area()).clamp(1, rows.div_ceil(4))
}

/// Number of scratch values of a step on `rows` frames with `threads` threads, without inputs and outputs: windows or
/// tiles, and parts of the weight gradient.
pub fn scratch_len(layer: &Layer, rows: usize, threads: usize) -> usize {
    if let Some(tiling) = Tiling::of(layer) {
        return tiling.scratch_len(rows, threads);
    }
    let positions = rows_at_a_time(layer, rows) * layer.conv.area();
    let weights = layer.weight_len();
    let parts = PARTIAL_SUMS[usize::from(weights > SMALL_GRADIENT)].min(rows);
    threads * positions * (layer.fan_in() + 2 * layer.block.out_channels) + parts * weights
}

/// Position of one row of a window in a frame, in elements. The elements of the window before and after it are padding.
struct Piece {
    /// Elements of the window's row before the part inside the frame.
    skip: usize,
    /// Elements inside the frame; 0 if the row is all padding.
    len: usize,
    /// First element in the frame.
    start: usize,
}

/// Calls `visit` for every row of every window of one frame, in the order `[y, x][ky]`.
#[inline(always)]
fn each_piece(layer: &Layer, mut visit: impl FnMut(Piece)) {
    let channels = layer.input.channels;
    let ([kernel_h, kernel_w], stride, padding) = (layer.block.kernel, layer.block.stride, layer.block.padding);
    let (height, width) = (layer.input.height, layer.input.width);
    for y in 0..layer.conv.height {
        for column in 0..layer.conv.width {
            let left = (column * stride[1]) as isize - padding[1] as isize;
            let skip = (-left).clamp(0, kernel_w as isize) as usize;
            let end = (width as isize - left).clamp(skip as isize, kernel_w as isize) as usize;
            for ky in 0..kernel_h {
                let line = (y * stride[0] + ky).wrapping_sub(padding[0]);
                if line >= height || end == skip {
                    visit(Piece { skip: 0, len: 0, start: 0 });
                } else {
                    let start = (line * width + (left + skip as isize) as usize) * channels;
                    visit(Piece { skip: skip * channels, len: (end - skip) * channels, start });
                }
            }
        }
    }
}

/// The windows of some frames: `[row, y, x][ky, kx, channel]`.
pub fn im2col(layer: &Layer, x: &[f32], windows: &mut Vec<f32>) {
    let rows = x.len() / layer.input.len();
    windows.resize(rows * layer.conv.area() * layer.fan_in(), 0.0);
    let mut out = windows.chunks_exact_mut(layer.block.kernel[1] * layer.input.channels);
    for x in x.chunks_exact(layer.input.len()) {
        each_piece(layer, |Piece { skip, len, start }| {
            let Some(out) = out.next() else { return };
            out[..skip].fill(0.0);
            out[skip..skip + len].copy_from_slice(&x[start..start + len]);
            out[skip + len..].fill(0.0);
        });
    }
}

/// Adds the gradients of windows to the frames that they were taken from; the transpose of [`im2col`].
fn col2im(layer: &Layer, windows: &[f32], dx: &mut [f32]) {
    let mut windows = windows.chunks_exact(layer.block.kernel[1] * layer.input.channels);
    for dx in dx.chunks_exact_mut(layer.input.len()) {
        dx.fill(0.0);
        each_piece(layer, |Piece { skip, len, start }| {
            let Some(window) = windows.next() else { return };
            for (dx, window) in dx[start..start + len].iter_mut().zip(&window[skip..]) {
                *dx += window;
            }
        });
    }
}

/// `max(a, 0)` that lets a NaN through, so that a diverged network cannot look like a silent one.
#[inline(always)]
pub fn rectified(a: f32) -> f32 {
    if a < 0.0 { 0.0 } else { a }
}

/// Adds the bias and applies the activation, in place on `[position, channel]`.
struct Activate<'a> {
    layer: &'a Layer,
    bias: &'a [f32],
    maps: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, bias, maps } = self;
        let relu = layer.block.activation == Activation::Relu;
        for pixel in maps.chunks_exact_mut(layer.block.out_channels) {
            if bias.is_empty() {
                pixel.iter_mut().for_each(|a| *a = if relu { rectified(*a) } else { *a });
            } else if relu {
                pixel.iter_mut().zip(bias).for_each(|(a, b)| *a = rectified(*a + b));
            } else {
                pixel.iter_mut().zip(bias).for_each(|(a, b)| *a += b);
            }
        }
    }
}

/// The largest value of each window, and its first position in row-major order.
struct MaxPool<'a> {
    layer: &'a Layer,
    window: [usize; 2],
    maps: &'a [f32],
    z: &'a mut [f32],
    argmax: &'a mut [u8],
}

impl pulp::NullaryFnOnce for MaxPool<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, window: [pool_h, pool_w], maps, z, argmax } = self;
        let channels = layer.block.out_channels;
        let width = layer.conv.width;
        let maps = maps.chunks_exact(layer.conv.len());
        let rows = z.chunks_exact_mut(layer.output.len()).zip(argmax.chunks_exact_mut(layer.output.len()));
        // As wide as the values while they are compared.
        let mut wide = vec![0_u32; channels];
        for (map, (z, argmax)) in maps.zip(rows) {
            let pixels = z.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels));
            for (position, (z, argmax)) in pixels.enumerate() {
                let (y, x) = (position / layer.output.width * pool_h, position % layer.output.width * pool_w);
                let first = (y * width + x) * channels;
                z.copy_from_slice(&map[first..first + channels]);
                wide.fill(0);
                for within in 1..pool_h * pool_w {
                    let at = ((y + within / pool_w) * width + x + within % pool_w) * channels;
                    for ((z, wide), a) in z.iter_mut().zip(&mut wide).zip(&map[at..at + channels]) {
                        let larger = *a > *z;
                        *wide = if larger { within as u32 } else { *wide };
                        *z = if larger { *a } else { *z };
                    }
                }
                for (argmax, wide) in argmax.iter_mut().zip(&wide) {
                    *argmax = *wide as u8;
                }
            }
        }
    }
}

/// Output of a block for `rows` frames.
pub fn forward(layer: &Layer, weight: &[f32], bias: &[f32], x: &[f32], rows: usize) -> Activity<Vec<f32>, Vec<u8>> {
    let mut z = vec![0.0; rows * layer.output.len()];
    let mut argmax = vec![0_u8; if layer.block.max_pool.is_some() { z.len() } else { 0 }];
    if let Some(tiling) = Tiling::of(layer) {
        winograd::convolve(
            tiling,
            &winograd::Weights::new(weight),
            x,
            winograd::finish_of(layer, bias),
            &mut z,
            &mut argmax,
        );
        return Activity { rows, z, argmax };
    }
    let group = rows_at_a_time(layer, rows);
    let weight = Matrix::new(weight, layer.fan_in(), layer.block.out_channels);
    let inputs = x.par_chunks(group * layer.input.len());
    let outputs = z.par_chunks_mut(group * layer.output.len());
    match layer.block.max_pool {
        None => inputs.zip(outputs).for_each_init(Vec::new, |windows, (x, z)| {
            im2col(layer, x, windows);
            matmul(z, Matrix::new(windows, z.len() / layer.block.out_channels, layer.fan_in()), weight, false);
            vectorised(Activate { layer, bias, maps: z });
        }),
        Some(window) => {
            let argmax = argmax.par_chunks_mut(group * layer.output.len());
            (inputs, outputs, argmax).into_par_iter().for_each_init(
                || (Vec::new(), Vec::new()),
                |(windows, maps), (x, z, argmax)| {
                    im2col(layer, x, windows);
                    let positions = windows.len() / layer.fan_in();
                    maps.resize(positions * layer.block.out_channels, 0.0);
                    matmul(maps, Matrix::new(windows, positions, layer.fan_in()), weight, false);
                    vectorised(Activate { layer, bias, maps });
                    vectorised(MaxPool { layer, window, maps, z, argmax });
                },
            );
        }
    }
    Activity { rows, z, argmax }
}

/// The gradient of a block's output, as it is at hand.
#[derive(Clone, Copy)]
pub enum Error<'a> {
    /// By its pooled activity, `[rows, D]`: local learning.
    Pooled { spreader: &'a Spreader, pooled: &'a [f64] },
    /// By its output maps: back-propagation.
    Maps(&'a [f32]),
}

/// Gradient before the activation, `[row, position, channel]`, of the rows from `first`.
fn pre_activation_gradient(
    layer: &Layer,
    activity: &Activity<Vec<f32>, Vec<u8>>,
    error: Error<'_>,
    first: usize,
    rows: usize,
    masked: &mut Vec<f32>,
    da: &mut Vec<f32>,
) {
    let len = layer.output.len();
    let range = first * len..(first + rows) * len;
    let z = &activity.z[range.clone()];
    let active = (layer.block.activation == Activation::Relu).then_some(z);
    // Without max-pool the outputs are the maps themselves.
    let out = if layer.block.max_pool.is_some() { &mut *masked } else { &mut *da };
    out.resize(rows * len, 0.0);
    match error {
        Error::Maps(dz) => vectorised(Mask { dz: &dz[range.clone()], z: active, out }),
        Error::Pooled { spreader, pooled } => {
            let dimension = layer.pooled.len();
            let pooled = pooled[first * dimension..(first + rows) * dimension].chunks_exact(dimension);
            for ((dp, z), dz) in pooled.zip(z.chunks_exact(len)).zip(out.chunks_exact_mut(len)) {
                spreader.spread(dp, active.map(|_| z), dz);
            }
        }
    }
    if let Some(window) = layer.block.max_pool {
        da.resize(rows * layer.conv.len(), 0.0);
        vectorised(Unpool { layer, window, dz: masked, argmax: &activity.argmax[range], da });
    }
}

/// Passes the gradient only at elements where the activation was above zero.
struct Mask<'a> {
    dz: &'a [f32],
    z: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { dz, z, out } = self;
        match z {
            Some(z) => mask(dz, z, out),
            None => out.copy_from_slice(dz),
        }
    }
}

/// Sends each gradient to the position of the maximum, and zero to the rest of the window.
struct Unpool<'a> {
    layer: &'a Layer,
    window: [usize; 2],
    dz: &'a [f32],
    argmax: &'a [u8],
    da: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Unpool<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, window: [pool_h, pool_w], dz, argmax, da } = self;
        let channels = layer.output.channels;
        if layer.output.height * pool_h != layer.conv.height || layer.output.width * pool_w != layer.conv.width {
            da.fill(0.0);
        }
        // Widened once a pixel, so that the comparison below has lanes as wide as the values'.
        let mut wide = vec![0_u32; channels];
        let len = layer.output.len();
        let rows = dz.chunks_exact(len).zip(argmax.chunks_exact(len));
        for (da, (dz, argmax)) in da.chunks_exact_mut(layer.conv.len()).zip(rows) {
            let pixels = dz.chunks_exact(channels).zip(argmax.chunks_exact(channels));
            for (position, (dz, argmax)) in pixels.enumerate() {
                let (y, x) = (position / layer.output.width * pool_h, position % layer.output.width * pool_w);
                for (wide, argmax) in wide.iter_mut().zip(argmax) {
                    *wide = u32::from(*argmax);
                }
                for within in 0..pool_h * pool_w {
                    let pixel = ((y + within / pool_w) * layer.conv.width + x + within % pool_w) * channels;
                    let da = &mut da[pixel..pixel + channels];
                    for ((da, dz), wide) in da.iter_mut().zip(dz).zip(&wide) {
                        *da = if *wide == within as u32 { *dz } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Gradients of weights and biases.
pub fn gradient(
    layer: &Layer,
    x: &[f32],
    activity: &Activity<Vec<f32>, Vec<u8>>,
    error: Error<'_>,
) -> BlockGradient<Vec<f32>> {
    let weight = match Tiling::of(layer) {
        Some(tiling) => winograd::weight_gradient(tiling, x, |first, count, da| {
            pre_activation_gradient(layer, activity, error, first, count, &mut Vec::new(), da);
        }),
        None => weight_gradient(layer, x, activity, error),
    };
    BlockGradient { weight, bias: bias_gradient(layer, activity, error) }
}

/// Sum of equally long vectors, in their order.
pub fn sum_in_order<T: Copy + Send + Sync + std::ops::AddAssign>(mut parts: Vec<Vec<T>>) -> Vec<T> {
    let more = parts.split_off(parts.len().min(1));
    let mut sum = parts.pop().unwrap_or_default();
    for more in &more {
        sum.par_iter_mut().with_min_len(1 << 14).zip(more).for_each(|(sum, more)| *sum += *more);
    }
    sum
}

/// Gradient of the weights as a product with the windows.
fn weight_gradient(layer: &Layer, x: &[f32], activity: &Activity<Vec<f32>, Vec<u8>>, error: Error<'_>) -> Vec<f32> {
    let rows = activity.rows;
    let (fan_in, channels) = (layer.fan_in(), layer.block.out_channels);
    let len = layer.weight_len();
    let [many, few] = PARTIAL_SUMS;
    let rows_each = rows.div_ceil(if len <= SMALL_GRADIENT { many } else { few });
    let group = rows_at_a_time(layer, rows).min(rows_each);
    let partial = (0..rows.div_ceil(rows_each)).into_par_iter().map(|part| {
        let mut weight = vec![0.0; len];
        let (mut windows, mut spread, mut da) = (Vec::new(), Vec::new(), Vec::new());
        let end = rows.min((part + 1) * rows_each);
        for first in (part * rows_each..end).step_by(group) {
            let count = group.min(end - first);
            im2col(layer, &x[first * layer.input.len()..(first + count) * layer.input.len()], &mut windows);
            pre_activation_gradient(layer, activity, error, first, count, &mut spread, &mut da);
            let positions = count * layer.conv.area();
            let windows = Matrix::new(&windows, positions, fan_in).transposed();
            matmul(&mut weight, windows, Matrix::new(&da, positions, channels), first > part * rows_each);
        }
        weight
    });
    sum_in_order(partial.collect())
}

/// Gradient of the biases, in double precision: the terms of a channel nearly cancel over the batch if all rows are
/// equally active, and this gradient is the small remainder.
fn bias_gradient(layer: &Layer, activity: &Activity<Vec<f32>, Vec<u8>>, error: Error<'_>) -> Vec<f32> {
    if !layer.block.bias {
        return Vec::new();
    }
    let relu = layer.block.activation == Activation::Relu;
    let rows_each = activity.rows.div_ceil(PARTIAL_SUMS[0]);
    let of_rows = |first: usize| {
        let mut bias = vec![0.0_f64; layer.block.out_channels];
        let (mut spread, mut da, mut active) = (Vec::new(), Vec::new(), Vec::new());
        for row in first..activity.rows.min(first + rows_each) {
            match error {
                Error::Maps(_) => {
                    pre_activation_gradient(layer, activity, error, row, 1, &mut spread, &mut da);
                    for da in da.chunks_exact(bias.len()) {
                        bias.iter_mut().zip(da).for_each(|(bias, da)| *bias += f64::from(*da));
                    }
                }
                Error::Pooled { spreader, pooled } => {
                    let dp = &pooled[row * layer.pooled.len()..(row + 1) * layer.pooled.len()];
                    let z = &activity.z[row * layer.output.len()..(row + 1) * layer.output.len()];
                    spreader.bias_gradient(dp, z, relu, &mut active, &mut bias);
                }
            }
        }
        bias
    };
    let firsts: Vec<usize> = (0..activity.rows).step_by(rows_each).collect();
    let sum = sum_in_order(firsts.into_par_iter().map(of_rows).collect());
    sum.into_iter().map(|sum: f64| sum as f32).collect()
}

/// Gradient of a block's input from the gradient of its output maps: needed by back-propagation only.
pub fn input_gradient(layer: &Layer, weight: &[f32], activity: &Activity<Vec<f32>, Vec<u8>>, dz: &[f32]) -> Vec<f32> {
    let rows = activity.rows;
    if let Some(tiling) = Tiling::of(layer).and_then(Tiling::transposed) {
        return input_gradient_by_tiles(layer, tiling, weight, activity, dz);
    }
    let (fan_in, channels) = (layer.fan_in(), layer.block.out_channels);
    let group = rows_at_a_time(layer, rows);
    let weight = Matrix::new(weight, fan_in, channels).transposed();
    let mut dx = vec![0.0; rows * layer.input.len()];
    dx.par_chunks_mut(group * layer.input.len()).enumerate().for_each_init(
        || (Vec::new(), Vec::new(), Vec::new()),
        |(windows, spread, da), (index, dx)| {
            let count = dx.len() / layer.input.len();
            pre_activation_gradient(layer, activity, Error::Maps(dz), index * group, count, spread, da);
            let positions = count * layer.conv.area();
            windows.resize(positions * fan_in, 0.0);
            matmul(windows, Matrix::new(da, positions, channels), weight, false);
            col2im(layer, windows, dx);
        },
    );
    dx
}

/// [`input_gradient`] as the convolution with the kernels turned round.
fn input_gradient_by_tiles(
    layer: &Layer,
    tiling: Tiling,
    weight: &[f32],
    activity: &Activity<Vec<f32>, Vec<u8>>,
    dz: &[f32],
) -> Vec<f32> {
    let rows = activity.rows;
    let mut da = vec![0.0; rows * layer.conv.len()];
    da.par_chunks_mut(layer.conv.len()).enumerate().for_each_init(Vec::new, |row_da, (row, da)| {
        pre_activation_gradient(layer, activity, Error::Maps(dz), row, 1, &mut Vec::new(), row_da);
        da.copy_from_slice(row_da);
    });
    let weights = winograd::Weights::new(&winograd::turned(weight, layer.input.channels, layer.block.out_channels));
    let mut dx = vec![0.0; rows * layer.input.len()];
    let plain = winograd::Finish { bias: &[], relu: false, max_pool: false };
    winograd::convolve(tiling, &weights, &da, plain, &mut dx, &mut []);
    dx
}
