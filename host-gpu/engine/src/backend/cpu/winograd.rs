//! 3x3 convolutions of stride 1 by Winograd's minimal filtering, F(2x2, 3x3) (Lavin and Gray 2016): sixteen products
//! a tile of 2x2 outputs instead of thirty-six, for the forward pass and, as its exact adjoint, for the gradient of
//! the weights.
//!
//! With `d` the 4x4 inputs of a tile and `w` a kernel, the outputs are `A^T [(G w G^T) * (B^T d B)] A`, where `*` is
//! elementwise; summed over the input channels it is a matrix product for each of the sixteen elements. These products
//! take most of the time. The transforms use only sums and halves, so results differ from the direct sum only by
//! rounding. A tile of 2x2 is also a window of the usual max-pool, which is applied before the outputs are written.

use super::conv::{rectified, sum_in_order};
use crate::matmul::{Matrix, matmul, vectorised};
use clapp_core::network::Activation;
use clapp_core::plan::Layer;
use rayon::prelude::*;
use std::cell::Cell;

/// Elements of a transformed tile: 4x4.
const ELEMENTS: usize = 16;

/// Channels that are transformed at once.
const LANES: usize = 16;
type Lane = [f32; LANES];
const ZERO: Lane = [0.0; LANES];

/// Fewest channels for which the products outweigh the transforms.
const CHANNELS: usize = 16;

/// Approximate number of tiles that are transformed and multiplied at a time: few enough to keep the operands in the
/// cache, and enough (the larger number) to make reading the transformed weights worthwhile.
const TILES: [usize; 2] = [256, 512];

/// Number of weight elements above which a product is a separate task.
const LARGE_WEIGHTS: usize = 1 << 15;

/// Number of parts of a batch with separate sums of the weight gradient, for layers of few weights.
const PARTIAL_SUMS: usize = 8;

/// A convolution in terms of tiles.
#[derive(Clone, Copy)]
pub struct Tiling {
    input: [usize; 2],
    output: [usize; 2],
    padding: [usize; 2],
    tiles: [usize; 2],
    channels_in: usize,
    channels_out: usize,
}

/// Operations on the outputs of a tile before they are written.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// Biases; empty without bias.
    pub bias: &'a [f32],
    /// `true` if negative outputs become zero.
    pub relu: bool,
    /// `true` if each tile is reduced to its largest output.
    pub max_pool: bool,
}

impl Tiling {
    /// The tiling of a layer that is worth computing so.
    pub fn of(layer: &Layer) -> Option<Self> {
        let block = &layer.block;
        let suits = block.kernel == [3, 3]
            && block.stride == [1, 1]
            && matches!(block.max_pool, None | Some([2, 2]))
            && layer.input.channels >= CHANNELS
            && block.out_channels >= CHANNELS
            && layer.conv.height >= 2
            && layer.conv.width >= 2;
        suits.then(|| Self {
            input: [layer.input.height, layer.input.width],
            output: [layer.conv.height, layer.conv.width],
            padding: block.padding,
            tiles: [layer.conv.height.div_ceil(2), layer.conv.width.div_ceil(2)],
            channels_in: layer.input.channels,
            channels_out: block.out_channels,
        })
    }

    /// The tiling of the convolution that gives the gradient of the input, if its padding is not negative.
    pub fn transposed(self) -> Option<Self> {
        let padding = [2_usize.checked_sub(self.padding[0])?, 2_usize.checked_sub(self.padding[1])?];
        Some(Self {
            input: self.output,
            output: self.input,
            padding,
            tiles: self.input.map(|size| size.div_ceil(2)),
            channels_in: self.channels_out,
            channels_out: self.channels_in,
        })
    }

    fn tiles_a_frame(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.channels_in
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels_out
    }

    fn is_large(&self) -> bool {
        self.channels_in * self.channels_out >= LARGE_WEIGHTS
    }

    /// Frames that are worked on at a time.
    fn group(&self, rows: usize) -> usize {
        let tiles = TILES[usize::from(self.is_large())];
        (tiles / self.tiles_a_frame()).clamp(1, rows)
    }

    /// Number of scratch values of `threads` threads, of the transformed weights, and of the parts of their gradient.
    pub fn scratch_len(&self, rows: usize, threads: usize) -> usize {
        let frames = self.group(rows);
        let tiles = frames * self.tiles_a_frame();
        let of_group =
            parts_len(tiles * self.channels_in) + parts_len(tiles * self.channels_out) + 2 * frames * self.output_len();
        let kernels = self.channels_in * self.channels_out;
        let (groups, parts) = if self.is_large() { (1, 1) } else { (threads, PARTIAL_SUMS.min(rows)) };
        groups * of_group + parts * parts_len(kernels) + 9 * kernels
    }
}

#[inline(always)]
fn load(values: &[f32], at: usize, count: usize) -> Lane {
    if count == LANES {
        let mut lane = [0.0; LANES];
        lane.copy_from_slice(&values[at..at + LANES]);
        return lane;
    }
    let mut lane = [0.0; LANES];
    lane[..count].copy_from_slice(&values[at..at + count]);
    lane
}

#[inline(always)]
fn store(values: &mut [f32], at: usize, count: usize, lane: &Lane) {
    if count == LANES {
        values[at..at + LANES].copy_from_slice(lane);
    } else {
        values[at..at + count].copy_from_slice(&lane[..count]);
    }
}

#[inline(always)]
fn add(a: Lane, b: Lane) -> Lane {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = a[i] + b[i];
    }
    out
}

#[inline(always)]
fn sub(a: Lane, b: Lane) -> Lane {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = a[i] - b[i];
    }
    out
}

#[inline(always)]
fn scaled(factor: f32, a: Lane) -> Lane {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = factor * a[i];
    }
    out
}

/// `B^T d`, of one column.
#[inline(always)]
fn input_column(d: [Lane; 4]) -> [Lane; 4] {
    [sub(d[0], d[2]), add(d[1], d[2]), sub(d[2], d[1]), sub(d[1], d[3])]
}

/// `A^T m`, of one column.
#[inline(always)]
fn output_column(m: [Lane; 4]) -> [Lane; 2] {
    [add(add(m[0], m[1]), m[2]), sub(sub(m[1], m[2]), m[3])]
}

/// `A y`, of one column.
#[inline(always)]
fn gradient_column(y: [Lane; 2]) -> [Lane; 4] {
    [y[0], add(y[0], y[1]), sub(y[0], y[1]), scaled(-1.0, y[1])]
}

/// `G w`, of one column.
#[inline(always)]
fn weight_column(w: [Lane; 3]) -> [Lane; 4] {
    let outer = scaled(0.5, add(w[0], w[2]));
    let middle = scaled(0.5, w[1]);
    [w[0], add(outer, middle), sub(outer, middle), w[2]]
}

/// `G^T u`, of one column.
#[inline(always)]
fn weight_gradient_column(u: [Lane; 4]) -> [Lane; 3] {
    let (sum, difference) = (scaled(0.5, add(u[1], u[2])), scaled(0.5, sub(u[1], u[2])));
    [add(u[0], sum), difference, add(sum, u[3])]
}

/// `[B^T d B]` of the tiles of some frames: `[element][tile][channel]`.
struct InputTransform<'a> {
    tiling: Tiling,
    x: &'a [f32],
    out: [&'a mut [f32]; ELEMENTS],
}

impl pulp::NullaryFnOnce for InputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { tiling, x, out } = self;
        let channels = tiling.channels_in;
        let [height, width] = tiling.input;
        let mut tile = 0;
        for frame in x.chunks_exact(tiling.input_len()) {
            for ty in 0..tiling.tiles[0] {
                for tx in 0..tiling.tiles[1] {
                    let mut pixels = [[None; 4]; 4];
                    for (i, row) in pixels.iter_mut().enumerate() {
                        let y = (2 * ty + i).wrapping_sub(tiling.padding[0]);
                        for (j, pixel) in row.iter_mut().enumerate() {
                            let x = (2 * tx + j).wrapping_sub(tiling.padding[1]);
                            if y < height && x < width {
                                *pixel = Some((y * width + x) * channels);
                            }
                        }
                    }
                    for first in (0..channels).step_by(LANES) {
                        let count = LANES.min(channels - first);
                        let mut columns = [[ZERO; 4]; 4];
                        for (j, column) in columns.iter_mut().enumerate() {
                            let mut d = [ZERO; 4];
                            for (d, row) in d.iter_mut().zip(&pixels) {
                                if let Some(pixel) = row[j] {
                                    *d = load(frame, pixel + first, count);
                                }
                            }
                            *column = input_column(d);
                        }
                        for i in 0..4 {
                            let row = input_column([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                            for (j, lane) in row.iter().enumerate() {
                                store(out[4 * i + j], tile * channels + first, count, lane);
                            }
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}

/// `A y A^T` of the tiles of some frames' output gradients: `[element][tile][channel]`.
struct GradientTransform<'a> {
    tiling: Tiling,
    da: &'a [f32],
    out: [&'a mut [f32]; ELEMENTS],
}

impl pulp::NullaryFnOnce for GradientTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { tiling, da, out } = self;
        let channels = tiling.channels_out;
        let [height, width] = tiling.output;
        let mut tile = 0;
        for frame in da.chunks_exact(tiling.output_len()) {
            for ty in 0..tiling.tiles[0] {
                for tx in 0..tiling.tiles[1] {
                    for first in (0..channels).step_by(LANES) {
                        let count = LANES.min(channels - first);
                        let mut columns = [[ZERO; 4]; 2];
                        for (j, column) in columns.iter_mut().enumerate() {
                            let mut lanes = [ZERO; 2];
                            for (i, lane) in lanes.iter_mut().enumerate() {
                                let (y, x) = (2 * ty + i, 2 * tx + j);
                                if y < height && x < width {
                                    *lane = load(frame, (y * width + x) * channels + first, count);
                                }
                            }
                            *column = gradient_column(lanes);
                        }
                        for i in 0..4 {
                            let row = gradient_column([columns[0][i], columns[1][i]]);
                            for (j, lane) in row.iter().enumerate() {
                                store(out[4 * i + j], tile * channels + first, count, lane);
                            }
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}

/// `A^T m A` of the tiles of some frames, finished and written as maps.
struct OutputTransform<'a> {
    tiling: Tiling,
    finish: Finish<'a>,
    m: [&'a [f32]; ELEMENTS],
    z: &'a mut [f32],
    argmax: &'a mut [u8],
}

impl pulp::NullaryFnOnce for OutputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { tiling, finish, m, z, argmax } = self;
        let channels = tiling.channels_out;
        let [height, width] = tiling.output;
        let pooled = [height / 2, width / 2];
        let len = if finish.max_pool { pooled[0] * pooled[1] * channels } else { tiling.output_len() };
        let mut tile = 0;
        for (row, z) in z.chunks_exact_mut(len).enumerate() {
            for ty in 0..tiling.tiles[0] {
                for tx in 0..tiling.tiles[1] {
                    for first in (0..channels).step_by(LANES) {
                        let count = LANES.min(channels - first);
                        let at = tile * channels + first;
                        let mut columns = [[ZERO; 2]; 4];
                        for (j, column) in columns.iter_mut().enumerate() {
                            let mut lanes = [ZERO; 4];
                            for (i, lane) in lanes.iter_mut().enumerate() {
                                *lane = load(m[4 * i + j], at, count);
                            }
                            *column = output_column(lanes);
                        }
                        let bias = if finish.bias.is_empty() { ZERO } else { load(finish.bias, first, count) };
                        let mut y = [[ZERO; 2]; 2];
                        for (i, row) in y.iter_mut().enumerate() {
                            *row = output_column([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                            for lane in row {
                                *lane = add(*lane, bias);
                                if finish.relu {
                                    for value in lane {
                                        *value = rectified(*value);
                                    }
                                }
                            }
                        }
                        if finish.max_pool {
                            if ty < pooled[0] && tx < pooled[1] {
                                let at = (ty * pooled[1] + tx) * channels + first;
                                let (largest, position) = maximum(&y);
                                store(z, at, count, &largest);
                                let at = row * len + at;
                                for (argmax, position) in argmax[at..at + count].iter_mut().zip(&position) {
                                    *argmax = *position as u8;
                                }
                            }
                            continue;
                        }
                        for (i, row) in y.iter().enumerate() {
                            for (j, lane) in row.iter().enumerate() {
                                let (y, x) = (2 * ty + i, 2 * tx + j);
                                if y < height && x < width {
                                    store(z, (y * width + x) * channels + first, count, lane);
                                }
                            }
                        }
                    }
                    tile += 1;
                }
            }
        }
    }
}

/// The largest of four values, and its first position in row-major order.
#[inline(always)]
fn maximum(y: &[[Lane; 2]; 2]) -> (Lane, [u32; LANES]) {
    let mut largest = y[0][0];
    let mut position = [0_u32; LANES];
    for within in 1..4 {
        let lane = &y[within / 2][within % 2];
        for i in 0..LANES {
            let larger = lane[i] > largest[i];
            position[i] = if larger { within as u32 } else { position[i] };
            largest[i] = if larger { lane[i] } else { largest[i] };
        }
    }
    (largest, position)
}

/// `G w G^T` of some kernels: nine slices `[ky, kx]` to sixteen.
struct WeightTransform<'a> {
    w: [&'a [f32]; 9],
    out: [&'a mut [f32]; ELEMENTS],
}

impl pulp::NullaryFnOnce for WeightTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { w, out } = self;
        let len = out[0].len();
        for at in (0..len).step_by(LANES) {
            let count = LANES.min(len - at);
            let mut columns = [[ZERO; 4]; 3];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut lanes = [ZERO; 3];
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = load(w[3 * i + j], at, count);
                }
                *column = weight_column(lanes);
            }
            for i in 0..4 {
                let row = weight_column([columns[0][i], columns[1][i], columns[2][i]]);
                for (j, lane) in row.iter().enumerate() {
                    store(out[4 * i + j], at, count, lane);
                }
            }
        }
    }
}

/// `G^T u G` of some kernels: sixteen slices to nine.
struct WeightGradient<'a> {
    u: [&'a [f32]; ELEMENTS],
    out: [&'a mut [f32]; 9],
}

impl pulp::NullaryFnOnce for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { u, out } = self;
        let len = out[0].len();
        for at in (0..len).step_by(LANES) {
            let count = LANES.min(len - at);
            let mut columns = [[ZERO; 3]; 4];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut lanes = [ZERO; 4];
                for (i, lane) in lanes.iter_mut().enumerate() {
                    *lane = load(u[4 * i + j], at, count);
                }
                *column = weight_gradient_column(lanes);
            }
            for i in 0..3 {
                let row = weight_gradient_column([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                for (j, lane) in row.iter().enumerate() {
                    store(out[3 * i + j], at, count, lane);
                }
            }
        }
    }
}

/// Distance between two of the sixteen parts, in elements: the length of a part plus one cache line. With lengths that
/// are powers of two, all parts would use the same few cache sets.
fn stride(len: usize) -> usize {
    len.next_multiple_of(LANES) + LANES
}

/// Elements that sixteen parts of `len` take.
fn parts_len(len: usize) -> usize {
    ELEMENTS * stride(len)
}

/// Sixteen parts of `len`.
fn parts(values: &[f32], len: usize) -> [&[f32]; ELEMENTS] {
    let stride = stride(len);
    std::array::from_fn(|part| &values[part * stride..part * stride + len])
}

/// Sixteen parts of `len`.
fn parts_mut(values: &mut [f32], len: usize) -> [&mut [f32]; ELEMENTS] {
    let mut pieces = values.chunks_mut(stride(len));
    std::array::from_fn(|_| pieces.next().map_or(Default::default(), |piece| &mut piece[..len]))
}

/// The nine `[ky, kx]` matrices of some weights.
fn kernel_parts(weight: &[f32]) -> [&[f32]; 9] {
    let len = weight.len() / 9;
    std::array::from_fn(|part| &weight[part * len..(part + 1) * len])
}

/// The nine `[ky, kx]` matrices of some weights.
fn kernel_parts_mut(weight: &mut [f32]) -> [&mut [f32]; 9] {
    let mut pieces = weight.chunks_mut(weight.len() / 9);
    std::array::from_fn(|_| pieces.next().unwrap_or_default())
}

/// Kernels that one task transforms.
const KERNELS: usize = 1 << 14;

/// Cuts each of `N` slices into pieces of `len`, and gives the pieces at the same place together.
fn pieces_mut<const N: usize>(parts: [&mut [f32]; N], len: usize) -> Vec<[&mut [f32]; N]> {
    let count = parts[0].len().div_ceil(len);
    let mut chunks = parts.map(|part| part.chunks_mut(len));
    (0..count).map(|_| chunks.each_mut().map(|chunks| chunks.next().unwrap_or_default())).collect()
}

/// Weights `[ky, kx, in, out]` transformed, to be used many times.
pub struct Weights {
    u: Vec<f32>,
    len: usize,
}

impl Weights {
    /// Transforms weights.
    pub fn new(weight: &[f32]) -> Self {
        let len = weight.len() / 9;
        let mut u = vec![0.0; parts_len(len)];
        let weight = kernel_parts(weight);
        pieces_mut(parts_mut(&mut u, len), KERNELS).into_par_iter().enumerate().for_each(|(index, out)| {
            let range = index * KERNELS..index * KERNELS + out[0].len();
            vectorised(WeightTransform { w: weight.map(|w| &w[range.clone()]), out });
        });
        Self { u, len }
    }
}

/// Weights `[ky, kx, in, out]` of the convolution that gives the gradient of the input: turned round, in and out
/// exchanged.
pub fn turned(weight: &[f32], channels_in: usize, channels_out: usize) -> Vec<f32> {
    let mut out = super::layout::transpose_each(weight, channels_in, channels_out);
    let mut slices = kernel_parts_mut(&mut out);
    let (front, back) = slices.split_at_mut(4);
    for (a, b) in front.iter_mut().zip(back[1..].iter_mut().rev()) {
        a.swap_with_slice(b);
    }
    out
}

/// Scratch of one group of frames: transformed on the side of the inputs and of the outputs, and the gradient of the
/// outputs. Kept from group to group: fresh memory costs as much as a transform.
#[derive(Default)]
struct Scratch {
    v: Vec<f32>,
    m: Vec<f32>,
    da: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Runs `work` with this thread's scratch.
fn with_scratch<R>(tiling: Tiling, frames: usize, work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let tiles = frames * tiling.tiles_a_frame();
    for (buffer, channels) in [(&mut scratch.v, tiling.channels_in), (&mut scratch.m, tiling.channels_out)] {
        let len = parts_len(tiles * channels);
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
    }
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// Number of frames that one task transforms: few if the threads share a group (`shared`).
fn frames_a_task(tiling: Tiling, frames: usize, shared: bool) -> usize {
    if shared { (64 / tiling.tiles_a_frame()).max(1) } else { frames }
}

/// [`InputTransform`] of a group, in parallel where `shared`.
fn transform_input(tiling: Tiling, x: &[f32], v: [&mut [f32]; ELEMENTS], shared: bool) {
    let frames = frames_a_task(tiling, x.len() / tiling.input_len(), shared);
    let out = pieces_mut(v, frames * tiling.tiles_a_frame() * tiling.channels_in);
    let tasks = x.par_chunks(frames * tiling.input_len()).zip(out);
    tasks.for_each(|(x, out)| vectorised(InputTransform { tiling, x, out }));
}

/// [`GradientTransform`] of a group, in parallel where `shared`.
fn transform_gradient(tiling: Tiling, da: &[f32], m: [&mut [f32]; ELEMENTS], shared: bool) {
    let frames = frames_a_task(tiling, da.len() / tiling.output_len(), shared);
    let out = pieces_mut(m, frames * tiling.tiles_a_frame() * tiling.channels_out);
    let tasks = da.par_chunks(frames * tiling.output_len()).zip(out);
    tasks.for_each(|(da, out)| vectorised(GradientTransform { tiling, da, out }));
}

/// A group's outputs: finished maps, and the place of each maximum (empty without max-pool).
struct Outputs<'a> {
    frames: usize,
    z: &'a mut [f32],
    argmax: &'a mut [u8],
}

/// [`OutputTransform`] of a group, in parallel where `shared`.
fn transform_output(tiling: Tiling, finish: Finish<'_>, m: [&[f32]; ELEMENTS], outputs: Outputs<'_>, shared: bool) {
    let Outputs { frames, z, argmax } = outputs;
    let len = z.len() / frames;
    let frames = frames_a_task(tiling, frames, shared);
    let elements = frames * tiling.tiles_a_frame() * tiling.channels_out;
    let mut argmax = argmax.chunks_mut(frames * len);
    let tasks: Vec<_> = z.chunks_mut(frames * len).map(|z| (z, argmax.next().unwrap_or_default())).collect();
    tasks.into_par_iter().enumerate().for_each(|(index, (z, argmax))| {
        let m = m.map(|m| &m[index * elements..m.len().min((index + 1) * elements)]);
        vectorised(OutputTransform { tiling, finish, m, z, argmax });
    });
}

/// Runs `work` on the sixteen parts, in parallel where `shared`.
fn each_element(out: [&mut [f32]; ELEMENTS], shared: bool, work: impl Fn(usize, &mut [f32]) + Sync) {
    let at_least = if shared { 1 } else { ELEMENTS };
    out.into_par_iter().enumerate().with_min_len(at_least).for_each(|(element, out)| work(element, out));
}

/// Convolution of frames `x` `[rows, y, x, in]`; writes finished maps into `z`, and the place of each maximum into
/// `argmax` (empty without max-pool).
pub fn convolve(tiling: Tiling, weights: &Weights, x: &[f32], finish: Finish<'_>, z: &mut [f32], argmax: &mut [u8]) {
    let rows = x.len() / tiling.input_len();
    let (group, shared) = (tiling.group(rows), tiling.is_large());
    let (channels_in, channels_out) = (tiling.channels_in, tiling.channels_out);
    let u = parts(&weights.u, weights.len);
    let len = z.len() / rows;
    let one_group = |(x, z, argmax): (&[f32], &mut [f32], &mut [u8])| {
        let frames = x.len() / tiling.input_len();
        let tiles = frames * tiling.tiles_a_frame();
        with_scratch(tiling, frames, |Scratch { v, m, .. }| {
            transform_input(tiling, x, parts_mut(v, tiles * channels_in), shared);
            let v = parts(v, tiles * channels_in);
            each_element(parts_mut(m, tiles * channels_out), shared, |element, m| {
                let u = Matrix::new(u[element], channels_in, channels_out);
                matmul(m, Matrix::new(v[element], tiles, channels_in), u, false);
            });
            let outputs = Outputs { frames, z, argmax };
            transform_output(tiling, finish, parts(m, tiles * channels_out), outputs, shared);
        });
    };
    let mut argmax = argmax.chunks_mut(group * len);
    let groups = x.chunks(group * tiling.input_len()).zip(z.chunks_mut(group * len));
    let groups = groups.map(|(x, z)| (x, z, argmax.next().unwrap_or_default()));
    if shared {
        groups.for_each(one_group);
    } else {
        groups.collect::<Vec<_>>().into_par_iter().for_each(one_group);
    }
}

/// Gradient of the weights `[ky, kx, in, out]` from frames `x` and the gradient of the convolution's outputs, which
/// `fill` writes for so many rows from the given one, `[row, y, x, out]`.
pub fn weight_gradient(tiling: Tiling, x: &[f32], fill: impl Fn(usize, usize, &mut Vec<f32>) + Sync) -> Vec<f32> {
    let rows = x.len() / tiling.input_len();
    let shared = tiling.is_large();
    let (channels_in, channels_out) = (tiling.channels_in, tiling.channels_out);
    let rows_each = if shared { rows } else { rows.div_ceil(PARTIAL_SUMS) };
    let group = tiling.group(rows_each);
    let kernels = channels_in * channels_out;
    let one_part = |part: usize| {
        let mut du = vec![0.0; parts_len(kernels)];
        let end = rows.min((part + 1) * rows_each);
        for first in (part * rows_each..end).step_by(group) {
            let frames = group.min(end - first);
            let tiles = frames * tiling.tiles_a_frame();
            let x = &x[first * tiling.input_len()..(first + frames) * tiling.input_len()];
            with_scratch(tiling, frames, |Scratch { v, m, da }| {
                transform_input(tiling, x, parts_mut(v, tiles * channels_in), shared);
                fill(first, frames, da);
                transform_gradient(tiling, da, parts_mut(m, tiles * channels_out), shared);
                let (v, dm) = (parts(v, tiles * channels_in), parts(m, tiles * channels_out));
                each_element(parts_mut(&mut du, kernels), shared, |element, du| {
                    let v = Matrix::new(v[element], tiles, channels_in).transposed();
                    matmul(du, v, Matrix::new(dm[element], tiles, channels_out), first > part * rows_each);
                });
            });
        }
        du
    };
    let du = sum_in_order((0..rows.div_ceil(rows_each)).into_par_iter().map(one_part).collect());
    let mut gradient = vec![0.0; 9 * kernels];
    let u = parts(&du, kernels);
    pieces_mut(kernel_parts_mut(&mut gradient), KERNELS).into_par_iter().enumerate().for_each(|(index, out)| {
        let range = index * KERNELS..index * KERNELS + out[0].len();
        vectorised(WeightGradient { u: u.map(|u| &u[range.clone()]), out });
    });
    gradient
}

/// Returns the operations of a layer's block on its outputs.
pub fn finish_of<'a>(layer: &Layer, bias: &'a [f32]) -> Finish<'a> {
    Finish { bias, relu: layer.block.activation == Activation::Relu, max_pool: layer.block.max_pool.is_some() }
}
