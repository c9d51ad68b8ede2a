//! Convolution (cross-correlation, as everywhere in deep learning) of one layer: forward with activation
//! and max-pool, and the gradient of its weights (spec 2.5).
//!
//! Both are written for cores with 32 floating-point registers and nothing else: the forward pass holds a
//! tile of the output of two filters in registers over the whole fan-in; the gradient visits only those
//! positions whose error is not zero, which after ReLU and a 2x2 max-pool are an eighth of them, and holds
//! the gradient of one kernel slice in registers meanwhile. Sums run over input channel, kernel row, kernel
//! column (forward) and over frame, then position (gradient), always in that order.

use crate::network::Activation;
use crate::plan::{FILTERS_AT_A_TIME, Layer};
use crate::pool;
use crate::rows::{each_row, each_row_mut};

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
/// Returns whether every value before the activation was finite. Each weight takes part in some of them
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
    probe == 0.0
}

/// Two filters `[in, kh, kw]` and their biases.
#[derive(Clone, Copy)]
struct Pair<'a> {
    filters: [&'a [f32]; 2],
    bias: [f32; 2],
}

/// Where a tile lies: a window of the input, one row of it a kernel row.
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
        } else {
            self.row_by_row::<P, K>(layer, input, window)
        };
        let relu = matches!(layer.block.activation, Activation::Relu);
        let mut probe = 0.0;
        for ((out, sums), bias) in [first, second].into_iter().zip(sums).zip(self.bias) {
            let sums = sums.map(|sum| sum + bias);
            // Infinities and NaN times 0 are NaN; without leave to reorder, the compiler keeps this.
            probe += sums.iter().fold(0.0, |probe, value| probe + value * 0.0);
            let values = if relu { sums.map(rectified) } else { sums };
            match out.first_chunk_mut::<P>() {
                Some(out) => *out = values,
                None => out.iter_mut().zip(values).for_each(|(out, value)| *out = value),
            }
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

/// `max(value, 0)` by its bits, which takes no comparison; NaN may become 0 here.
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

/// Which part of a kernel lies inside the map at output position `at` along one dimension: kernel
/// positions left out before it, input position under the first that is not, number of those inside.
fn clip(at: usize, stride: usize, padding: usize, kernel: usize, size: usize) -> (usize, usize, usize) {
    let start = at * stride;
    let skipped = padding.saturating_sub(start);
    let first = start.saturating_sub(padding);
    (skipped, first, size.saturating_sub(first).min(kernel.saturating_sub(skipped)))
}

/// Takes one finished piece of a gradient, summed over all frames and positions.
pub trait FilterSink {
    /// Gradient `[in, kh, kw]` of filter `index`, and of its bias (to be ignored where the layer has none).
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32);
}

/// The gradient of a layer's pooled activity, `[rows, D]`.
#[derive(Debug, Clone, Copy)]
pub struct PooledGradient<'a> {
    /// In single precision.
    pub value: &'a [f32],
    /// What has to be added to `value` for twice the precision, as long as it, or empty. With it, gradients of
    /// biases are summed in double precision.
    pub remainder: &'a [f32],
}

/// The gradient of a layer's weights and biases, one filter after the other.
///
/// * `rows` frames: `input` `[rows, in, height, width]`, `output` and `argmax` as [`forward`] left them.
/// * `scratch`: errors of one filter and their positions, one input channel with its padding, one filter
///   ([`crate::network::NetworkView::gradient_scratch_len`]).
pub fn weight_gradient(
    layer: &Layer,
    input: &[f32],
    output: &[f32],
    argmax: &[u8],
    pooled_error: PooledGradient<'_>,
    scratch: &mut [f32],
    sink: &mut dyn FilterSink,
) {
    let out_area = layer.output.area();
    let (errors, rest) = scratch.split_at_mut_checked(out_area).unwrap_or_default();
    let (places, rest) = rest.split_at_mut_checked(out_area).unwrap_or_default();
    let (plane, rest) = rest.split_at_mut_checked(layer.padded_len()).unwrap_or_default();
    let gradient = rest.get_mut(..layer.fan_in()).unwrap_or_default();
    plane.fill(0.0);
    for filter in 0..layer.block.out_channels {
        gradient.fill(0.0);
        let (mut bias, mut exact_bias) = (0.0, 0.0);
        let inputs = each_row(input, layer.input.len());
        let maps = channel(output, layer.output.len(), filter, out_area);
        let pooled = channel(pooled_error.value, layer.pooled.len(), filter, layer.pooled.area());
        let mut remainders = channel(pooled_error.remainder, layer.pooled.len(), filter, layer.pooled.area());
        let mut positions = channel(argmax, layer.output.len(), filter, out_area);
        for ((input, map), pooled) in inputs.zip(maps).zip(pooled) {
            let positions = positions.next().unwrap_or_default();
            let remainder = remainders.next().unwrap_or_default();
            // A row whose margins are all satisfied has nothing to teach.
            if pooled.iter().all(|error| *error == 0.0) {
                continue;
            }
            pool::spread(pooled, layer.pooled, layer.block.loss_pool, layer.output, errors);
            let count = gather(layer, map, positions, errors, places);
            let (errors, places) = (errors.get(..count).unwrap_or_default(), places.get(..count).unwrap_or_default());
            if remainder.is_empty() {
                bias += errors.iter().fold(0.0, |sum, error| sum + error);
            } else {
                exact_bias += bias_gradient(layer, map, pooled, remainder);
            }
            accumulate(layer, input, errors, places, plane, gradient);
        }
        sink.filter(filter, gradient, if pooled_error.remainder.is_empty() { bias } else { exact_bias as f32 });
    }
}

/// One frame's part of a bias's gradient: every cell's gradient times the share of it that is active.
fn bias_gradient(layer: &Layer, map: &[f32], pooled: &[f32], remainder: &[f32]) -> f64 {
    let relu = matches!(layer.block.activation, Activation::Relu);
    let mut cells = pooled.iter().zip(remainder);
    let mut sum = 0.0;
    pool::each_cell(map, layer.output, layer.block.loss_pool, layer.pooled, |rows, size| {
        let Some((value, remainder)) = cells.next() else { return };
        let active =
            rows.fold(0_u32, |sum, row| sum + row.iter().filter(|value| !relu || **value > 0.0).count() as u32);
        sum += (f64::from(*value) + f64::from(*remainder)) * (f64::from(active) / size as f64);
    });
    sum
}

/// Channel `index` of each frame.
fn channel<T>(maps: &[T], frame: usize, index: usize, area: usize) -> impl Iterator<Item = &[T]> {
    each_row(maps, frame).map(move |maps| maps.get(index * area..(index + 1) * area).unwrap_or_default())
}

/// Carries the gradient of one output map back to before max-pool and activation, and keeps what is not zero:
/// errors move to the front of `errors`, their positions (the bits of an integer) to `places`.
///
/// A position is the offset in a padded input channel of the kernel's first element. Returns how many there are.
fn gather(layer: &Layer, map: &[f32], positions: &[u8], errors: &mut [f32], places: &mut [f32]) -> usize {
    let relu = matches!(layer.block.activation, Activation::Relu);
    let [pool_rows, pool_columns] = layer.block.max_pool.unwrap_or([1, 1]);
    let columns = pool_columns.clamp(1, 255) as u8;
    let [stride_y, stride_x] = layer.block.stride;
    let row_step = stride_y * layer.padded_width();
    let pools = layer.block.max_pool.is_some();
    let (mut at, mut count) = (0, 0);
    for (y, row) in each_row(map, layer.output.width).enumerate() {
        let mut place = y * pool_rows * row_step;
        for value in row {
            let (here, mut first) = (at, place);
            place += pool_columns * stride_x;
            at += 1;
            if relu && *value <= 0.0 {
                continue;
            }
            let Some(error) = errors.get(here).copied() else { return count };
            if error == 0.0 {
                continue;
            }
            if pools {
                let position = positions.get(here).copied().unwrap_or(0);
                first += usize::from(position / columns) * row_step + usize::from(position % columns) * stride_x;
            }
            let (Some(slot), Some(kept)) = (errors.get_mut(count), places.get_mut(count)) else { return count };
            *slot = error;
            // Sizes stay below 2^27, so these bits are never those of a NaN, which some targets rewrite.
            *kept = f32::from_bits(first as u32);
            count += 1;
        }
    }
    count
}

/// Adds the gradient of one frame to `gradient`: for every error, the input under its kernel times it.
///
/// `padded` is one channel with its padding, whose zeros stay in place, or empty without any.
fn accumulate(layer: &Layer, input: &[f32], errors: &[f32], places: &[f32], padded: &mut [f32], gradient: &mut [f32]) {
    let [height, width] = layer.block.kernel;
    let planes = each_row(input, layer.input.area());
    let step = layer.padded_width();
    for (plane, slice) in planes.zip(each_row_mut(gradient, height * width)) {
        let plane = if padded.is_empty() {
            plane
        } else {
            fill_padded(layer, plane, padded);
            &*padded
        };
        match (height, width) {
            (3, 3) => accumulate_3x3(step, plane, errors, places, slice),
            (_, 3) => accumulate_rows::<3>(step, plane, errors, places, slice),
            (_, 5) => accumulate_rows::<5>(step, plane, errors, places, slice),
            _ => accumulate_any(step, width, plane, errors, places, slice),
        }
    }
}

/// Copies a channel between its padding.
fn fill_padded(layer: &Layer, plane: &[f32], padded: &mut [f32]) {
    let [above, left] = layer.block.padding;
    let rows = each_row_mut(padded, layer.padded_width()).skip(above);
    for (from, to) in each_row(plane, layer.input.width).zip(rows) {
        let to = to.get_mut(left..left + from.len()).unwrap_or_default();
        // In fours, which need the loop's own instructions a quarter as often.
        let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<4>(), to.as_chunks_mut::<4>());
        for ([a, b, c, d], [to_a, to_b, to_c, to_d]) in from.iter().zip(to) {
            (*to_a, *to_b, *to_c, *to_d) = (*a, *b, *c, *d);
        }
        to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
    }
}

/// All errors' part in one kernel slice of 3x3; the sum stays in registers.
#[inline(never)]
fn accumulate_3x3(step: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    // Three views of the plane, a row apart and equally long, so that one check holds for all.
    let shared = plane.len().saturating_sub(2 * step);
    let rows = (plane.get(..shared), plane.get(step..step + shared), plane.get(2 * step..2 * step + shared));
    let (Some(top), Some(middle), Some(bottom)) = rows else { return };
    let mut sums = [0.0_f32; 9];
    for (error, place) in errors.iter().zip(places) {
        let at = place.to_bits() as usize;
        let end = at.wrapping_add(3);
        let (Some([a, b, c]), Some([d, e, f]), Some([g, h, i])) =
            (top.get(at..end), middle.get(at..end), bottom.get(at..end))
        else {
            return;
        };
        sums[0] += error * a;
        sums[1] += error * b;
        sums[2] += error * c;
        sums[3] += error * d;
        sums[4] += error * e;
        sums[5] += error * f;
        sums[6] += error * g;
        sums[7] += error * h;
        sums[8] += error * i;
    }
    for (slice, sum) in slice.iter_mut().zip(sums) {
        *slice += sum;
    }
}

/// All errors' part in one kernel slice of rows of `K`, row by row; the sum of a row stays in registers.
#[inline(never)]
fn accumulate_rows<const K: usize>(step: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let mut plane = plane;
    for slice in slice.as_chunks_mut::<K>().0 {
        let mut sums = [0.0_f32; K];
        for (error, place) in errors.iter().zip(places) {
            let values = plane.get(place.to_bits() as usize..).and_then(|values| values.first_chunk::<K>());
            let Some(values) = values else { return };
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += error * value;
            }
        }
        for (slice, sum) in slice.iter_mut().zip(sums) {
            *slice += sum;
        }
        plane = plane.get(step..).unwrap_or_default();
    }
}

/// All errors' part in one kernel slice of any size, element by element; the sum of each stays in a register.
#[inline(never)]
fn accumulate_any(step: usize, width: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let mut row = plane;
    for slice in each_row_mut(slice, width) {
        for (column, slice) in slice.iter_mut().enumerate() {
            let values = row.get(column..).unwrap_or_default();
            let products = errors
                .iter()
                .zip(places)
                .map(|(error, place)| error * values.get(place.to_bits() as usize).copied().unwrap_or(0.0));
            *slice += products.fold(0.0, |sum, product| sum + product);
        }
        row = row.get(step..).unwrap_or_default();
    }
}
