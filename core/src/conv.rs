//! Convolution (cross-correlation, as everywhere in deep learning) of one layer: forward with activation
//! and max-pool, and the gradient of its weights (docs/paper.md 2.5).
//!
//! Both are written for cores with 32 floating-point registers and nothing else: the forward pass holds a
//! tile of the output of two filters in registers over the whole fan-in; the gradient holds that of a kernel
//! slice in registers over all positions. It visits only those whose error is not zero, which after ReLU and a
//! 2x2 max-pool are an eighth of them; where most errors are not, it visits all, two filters at a time. Sums run
//! over input channel, kernel row, kernel column (forward) and over frame, then position (gradient), always in
//! that order: a sum in which products of zero take part is the same to the bit as one without them.

use crate::infer::zero_if_finite;
use crate::network::Activation;
use crate::plan::{FILTERS_AT_A_TIME, Layer};
use crate::pool;
use crate::rows::{each_row, each_row_mut};

pub use crate::gradient::{FilterSink, PooledGradient, weight_gradient};

/// Output columns of a tile.
const WIDE: usize = 8;
/// Output columns of a tile on maps narrower than [`WIDE`], and at the end of a row.
const NARROW: usize = 4;

/// Computes a layer's output from its input.
///
/// * `weights`: `[out, in, kh, kw]`, `bias`: `[out]` or empty, as [`crate::plan`] lays them out.
/// * `input`: `[in, height, width]`, `output`: after activation and max-pool.
/// * `argmax`: positions of the maxima, as long as `output`, or empty (inference).
/// * `scratch`: [`FILTERS_AT_A_TIME`] maps before the max-pool, or empty without one.
///
/// Returns whether every value before the activation was finite; where not, all of `output` is NaN. Each weight takes part in some of them
/// even where its input is zero, so this also says that the weights are finite (but for weights that only
/// ever meet padding).
pub fn forward(
    layer: &Layer,
    weights: &[f32],
    bias: &[f32],
    input: &[f32],
    output: &mut [f32],
    argmax: &mut [u8],
    scratch: &mut [f32],
) -> bool {
    let area = layer.conv.area().max(1);
    let (first_map, rest) = scratch.split_at_mut_checked(area).unwrap_or_default();
    let second_map = rest.get_mut(..area).unwrap_or_default();
    let out_area = layer.output.area().max(1);
    let mut positions = argmax.chunks_mut((FILTERS_AT_A_TIME * out_area).max(1));
    let mut filters = weights.chunks((FILTERS_AT_A_TIME * layer.fan_in()).max(1));
    let mut biases = bias.chunks(FILTERS_AT_A_TIME);
    let mut probe = 0.0;
    for out in output.chunks_mut((FILTERS_AT_A_TIME * out_area).max(1)) {
        let Some(filters) = filters.next() else { break };
        let bias = biases.next().unwrap_or_default();
        // An odd filter at the end is its own partner and the partner's result goes nowhere.
        let (first, second) = filters.split_at_checked(layer.fan_in()).unwrap_or_default();
        let second = if second.is_empty() { first } else { second };
        let first_bias = bias.first().copied().unwrap_or(0.0);
        let pair = Pair { filters: [first, second], bias: [first_bias, bias.get(1).copied().unwrap_or(first_bias)] };
        let (first_out, second_out) = out.split_at_mut_checked(out_area).unwrap_or_default();
        let Some(window) = layer.block.max_pool else {
            probe += pair.forward(layer, input, first_out, second_out);
            continue;
        };
        probe += pair.forward(layer, input, first_map, second_map);
        let positions = positions.next().unwrap_or_default();
        let (first_positions, second_positions) = positions.split_at_mut_checked(out_area).unwrap_or_default();
        let (width, out_width) = (layer.conv.width, layer.output.width);
        pool::max_pool(first_map, width, window, first_out, out_width, first_positions);
        pool::max_pool(second_map, width, window, second_out, out_width, second_positions);
    }
    let finite = probe == 0.0;
    if !finite {
        output.fill(f32::NAN);
    }
    finite
}

/// Two filters `[in, kh, kw]` and their biases.
#[derive(Clone, Copy)]
struct Pair<'a> {
    filters: [&'a [f32]; 2],
    bias: [f32; 2],
}

/// The place of a tile: a window of the input, one row of it a kernel row.
#[derive(Clone, Copy)]
struct Window {
    /// Input channels.
    channels: usize,
    /// First kernel row that lies inside the map.
    skipped: usize,
    /// Kernel rows that lie inside the map.
    rows: usize,
    /// Offset in a channel of the map's row under the first of them.
    start: usize,
    /// Column under the first kernel column at the tile's first output; wraps below zero in the padding.
    left: usize,
}

impl Pair<'_> {
    /// Activated maps of both filters; `second` may be empty. Returns 0, or NaN where a value before the
    /// activation was not finite.
    fn forward(self, layer: &Layer, input: &[f32], first: &mut [f32], second: &mut [f32]) -> f32 {
        let width = layer.conv.width.max(1);
        let mut second = each_row_mut(second, width);
        let mut probe = 0.0;
        // A wide tile and the weights of five columns together would not fit in the registers.
        let wide = layer.block.kernel[1] != 5;
        let height = layer.block.kernel[0];
        let signal = height == 1 && layer.input.height == 1 && layer.block.padding[0] == 0;
        for (y, first) in each_row_mut(first, width).enumerate() {
            let second = second.next().unwrap_or_default();
            let (skipped, row, rows) =
                clip(y, layer.block.stride[0], layer.block.padding[0], height, layer.input.height);
            let mut channels = layer.input.channels;
            // Channels of one row each lie like the rows of one channel, which is less to count.
            let rows = if signal { core::mem::replace(&mut channels, 1) } else { rows };
            let mut x = 0;
            while x < width {
                // The last tile of a row moves back so far that it ends with the row.
                let remaining = width - x;
                let tile = if width >= WIDE && remaining > NARROW && wide { WIDE } else { NARROW };
                let at = if remaining < tile { width.saturating_sub(tile) } else { x };
                let left = (at * layer.block.stride[1]).wrapping_sub(layer.block.padding[1]);
                let start = row * layer.input.width;
                let window = Window { channels, skipped, rows, start, left };
                let out = [first.get_mut(at..), second.get_mut(at..)].map(Option::unwrap_or_default);
                let fast = layer.block.stride[1] == 1 && width >= tile;
                let kernel = if fast { layer.block.kernel[1] } else { 0 };
                probe += match (kernel, layer.block.padding[1], tile) {
                    (3, 0 | 1, WIDE) => self.tile::<WIDE, 3>(layer, input, window, out),
                    (3, 0 | 1, _) => self.tile::<NARROW, 3>(layer, input, window, out),
                    (5, 0..=2, _) => self.tile::<NARROW, 5>(layer, input, window, out),
                    (_, _, WIDE) => self.tile::<WIDE, 0>(layer, input, window, out),
                    _ => self.tile::<NARROW, 0>(layer, input, window, out),
                };
                x = at + tile;
            }
        }
        probe
    }

    /// One tile of `P` columns of both maps, by the way for kernels of `K` columns, or for any (`K` = 0).
    /// Returns as [`Pair::forward`].
    #[inline(never)]
    fn tile<const P: usize, const K: usize>(
        self,
        layer: &Layer,
        input: &[f32],
        window: Window,
        [first, second]: [&mut [f32]; 2],
    ) -> f32 {
        let sums = if K == 0 {
            self.tap_by_tap::<P>(layer, input, window)
        } else if K == 3 && layer.block.kernel[0] == 3 && layer.block.padding[1] == 1 && layer.input.width == P {
            self.whole_rows::<P>(layer, input, window)
        } else {
            self.row_by_row::<P, K>(layer, input, window)
        };
        let relu = matches!(layer.block.activation, Activation::Relu);
        let mut probe = 0.0;
        for ((out, sums), bias) in [first, second].into_iter().zip(sums).zip(self.bias) {
            let sums = sums.map(|sum| sum + bias);
            let Some(out) = out.first_chunk_mut::<P>() else {
                probe += narrow(&sums, relu, out);
                continue;
            };
            probe += zero_if_finite(&sums);
            *out = if relu { sums.map(rectified) } else { sums };
        }
        probe
    }

    /// Sums of a tile for a kernel of `K` columns, stride 1 and at most `K / 2` columns of padding, on a map
    /// at least as wide as the tile: then all but the outer `K / 2` columns under a tile lie inside the map.
    #[inline(always)]
    fn row_by_row<const P: usize, const K: usize>(self, layer: &Layer, input: &[f32], window: Window) -> [[f32; P]; 2] {
        let mut sums = [[0.0_f32; P]; 2];
        let [first, second] = self.filters.map(|filter| filter.as_chunks::<K>().0);
        let height = layer.block.kernel[0];
        let mut planes = input.get(window.start..).unwrap_or_default();
        let mut first = first.get(window.skipped..).unwrap_or_default();
        let mut second = second.get(window.skipped..).unwrap_or_default();
        for _ in 0..window.channels {
            let mut rest = planes;
            for (first, second) in first.iter().zip(second).take(window.rows) {
                let Some((row, after)) = rest.split_at_checked(layer.input.width) else { break };
                rest = after;
                tile_row(row, window.left, first, second, &mut sums);
            }
            let (Some(next), Some(after_first), Some(after_second)) =
                (planes.get(layer.input.area()..), first.get(height..), second.get(height..))
            else {
                break;
            };
            (planes, first, second) = (next, after_first, after_second);
        }
        sums
    }

    /// Sums of a tile as wide as the map for a kernel of 3x3, stride 1 and one column of padding: which columns lie
    /// in the padding is then known to the compiler.
    #[inline(always)]
    fn whole_rows<const P: usize>(self, layer: &Layer, input: &[f32], window: Window) -> [[f32; P]; 2] {
        let mut sums = [[0.0_f32; P]; 2];
        let [first, second] = self.filters.map(|filter| filter.as_chunks::<9>().0);
        let planes = each_row(input, layer.input.area());
        for (plane, (first, second)) in planes.zip(first.iter().zip(second)) {
            let plane = plane.get(window.start..).unwrap_or_default();
            let taps = first.as_chunks::<3>().0.iter().zip(second.as_chunks::<3>().0);
            let rows = plane.as_chunks::<P>().0.iter().take(window.rows);
            for (row, (first, second)) in rows.zip(taps.skip(window.skipped)) {
                let [first_sums, second_sums] = &mut sums;
                for at in 0..P {
                    for column in 0..3 {
                        if let Some(value) = row.get((at + column).wrapping_sub(1)) {
                            first_sums[at] += first[column] * value;
                            second_sums[at] += second[column] * value;
                        }
                    }
                }
            }
        }
        sums
    }

    /// Sums of a tile for any kernel, stride and padding.
    #[inline(always)]
    fn tap_by_tap<const P: usize>(self, layer: &Layer, input: &[f32], window: Window) -> [[f32; P]; 2] {
        let mut sums = [[0.0_f32; P]; 2];
        let [height, width] = layer.block.kernel;
        let [first, second] = self.filters;
        let stride = layer.block.stride[1];
        let (mut at, mut kernel) = (window.start, window.skipped * width);
        for _ in 0..window.channels {
            let count = window.rows * width;
            let (Some(rows), Some(first), Some(second)) =
                (input.get(at..), first.get(kernel..kernel + count), second.get(kernel..kernel + count))
            else {
                break;
            };
            let rows = rows.chunks(layer.input.width.max(1));
            let taps = each_row(first, width).zip(each_row(second, width));
            for (row, (first, second)) in rows.zip(taps) {
                for (column, (first, second)) in first.iter().zip(second).enumerate() {
                    let left = window.left.wrapping_add(column);
                    let values = strided::<P>(row, left, stride);
                    let [sums_first, sums_second] = &mut sums;
                    for ((a, b), value) in sums_first.iter_mut().zip(sums_second).zip(values) {
                        *a += first * value;
                        *b += second * value;
                    }
                }
            }
            at += layer.input.area();
            kernel += height * width;
        }
        sums
    }
}

/// Puts the first sums of a tile into a map that is narrower than it. What is left of the tile belongs to no output and
/// counts for nothing. Returns as [`Pair::forward`].
#[inline(never)]
fn narrow(sums: &[f32], relu: bool, out: &mut [f32]) -> f32 {
    let mut probe = 0.0;
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = if relu { rectified(*sum) } else { *sum };
        probe += sum * 0.0;
    }
    probe
}

/// `max(value, 0)` by its bits, which takes no comparison. A NaN's sign would decide, and that differs from platform to
/// platform: [`forward`] leaves nothing of it.
fn rectified(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(bits & !((bits.cast_signed() >> 31).cast_unsigned()))
}

/// Adds one kernel row of both filters to a tile.
#[inline(always)]
fn tile_row<const P: usize, const K: usize>(
    row: &[f32],
    left: usize,
    first: &[f32; K],
    second: &[f32; K],
    [sums_first, sums_second]: &mut [[f32; P]; 2],
) {
    let side = K / 2;
    let Some(inside) = row.get(left.wrapping_add(side)..).and_then(|row| row.first_chunk::<P>()) else { return };
    for t in 0..P {
        for k in 0..K {
            let place = t + k;
            let value = if place >= side && place < side + P {
                inside[place - side]
            } else {
                row.get(left.wrapping_add(place)).copied().unwrap_or(0.0)
            };
            sums_first[t] += first[k] * value;
            sums_second[t] += second[k] * value;
        }
    }
}

/// `P` values of a row from column `left` on, `stride` apart; zero outside the row.
#[inline(always)]
fn strided<const P: usize>(row: &[f32], left: usize, stride: usize) -> [f32; P] {
    if stride == 1
        && let Some(values) = row.get(left..).and_then(|row| row.first_chunk::<P>())
    {
        return *values;
    }
    let mut at = left;
    [0.0; P].map(|_: f32| {
        let value = row.get(at).copied().unwrap_or(0.0);
        at = at.wrapping_add(stride);
        value
    })
}

/// The part of a kernel that lies inside the map at output position `at` along one dimension: kernel
/// positions left out before it, input position under the first that is not, number of those inside.
fn clip(at: usize, stride: usize, padding: usize, kernel: usize, size: usize) -> (usize, usize, usize) {
    let start = at * stride;
    let skipped = padding.saturating_sub(start);
    let first = start.saturating_sub(padding);
    (skipped, first, size.saturating_sub(first).min(kernel.saturating_sub(skipped)))
}
