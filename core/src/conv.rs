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
        let mut second = second.chunks_exact_mut(width);
        let mut probe = 0.0;
        // A wide tile and the weights of five columns together would not fit in the registers.
        let wide = layer.block.kernel[1] != 5;
        for (y, first) in first.chunks_exact_mut(width).enumerate() {
            let second = second.next().unwrap_or_default();
            let (skipped, row, rows) =
                clip(y, layer.block.stride[0], layer.block.padding[0], layer.block.kernel[0], layer.input.height);
            let mut x = 0;
            while x < width {
                // The last tile of a row moves back so far that it ends with the row.
                let remaining = width - x;
                let tile = if width >= WIDE && remaining > NARROW && wide { WIDE } else { NARROW };
                let at = if remaining < tile { width.saturating_sub(tile) } else { x };
                let left = (at * layer.block.stride[1]).wrapping_sub(layer.block.padding[1]);
                let window = Window { skipped, rows, start: row * layer.input.width, left };
                let out = [first.get_mut(at..), second.get_mut(at..)].map(Option::unwrap_or_default);
                probe += if tile == WIDE {
                    self.tile::<WIDE>(layer, input, window, out)
                } else {
                    self.tile::<NARROW>(layer, input, window, out)
                };
                x = at + tile;
            }
        }
        probe
    }

    /// One tile of `P` columns of both maps. Returns as [`Pair::forward`].
    fn tile<const P: usize>(
        self,
        layer: &Layer,
        input: &[f32],
        window: Window,
        [first, second]: [&mut [f32]; 2],
    ) -> f32 {
        let [padding, width] = [layer.block.padding[1], layer.conv.width];
        let fast = layer.block.stride[1] == 1 && width >= P;
        let sums = match layer.block.kernel[1] {
            3 if fast && padding <= 1 => self.row_by_row::<P, 3>(layer, input, window),
            5 if fast && padding <= 2 && P == NARROW => self.row_by_row::<P, 5>(layer, input, window),
            _ => self.tap_by_tap::<P>(layer, input, window),
        };
        let relu = matches!(layer.block.activation, Activation::Relu);
        let mut probe = 0.0;
        for ((out, sums), bias) in [first, second].into_iter().zip(sums).zip(self.bias) {
            for (out, sum) in out.iter_mut().zip(sums) {
                let value = sum + bias;
                // Infinities and NaN times 0 are NaN; LLVM may not leave this out.
                probe += value * 0.0;
                *out = if relu && value < 0.0 { 0.0 } else { value };
            }
        }
        probe
    }

    /// Sums of a tile for a kernel of `K` columns, stride 1 and at most `K / 2` columns of padding, on a map
    /// at least as wide as the tile: then all but the outer `K / 2` columns under a tile lie inside the map.
    #[inline(never)]
    fn row_by_row<const P: usize, const K: usize>(self, layer: &Layer, input: &[f32], window: Window) -> [[f32; P]; 2] {
        let mut sums = [[0.0_f32; P]; 2];
        let [first, second] = self.filters.map(|filter| filter.as_chunks::<K>().0);
        let mut planes = input.get(window.start..).unwrap_or_default();
        let mut first = first.get(window.skipped..).unwrap_or_default();
        let mut second = second.get(window.skipped..).unwrap_or_default();
        for _ in 0..layer.input.channels {
            let mut rest = planes;
            for (first, second) in first.iter().zip(second).take(window.rows) {
                let Some((row, after)) = rest.split_at_checked(layer.input.width) else { break };
                rest = after;
                tile_row(row, window.left, first, second, &mut sums);
            }
            planes = planes.get(layer.input.area()..).unwrap_or_default();
            first = first.get(layer.block.kernel[0]..).unwrap_or_default();
            second = second.get(layer.block.kernel[0]..).unwrap_or_default();
        }
        sums
    }

    /// Sums of a tile for any kernel, stride and padding.
    #[inline(never)]
    fn tap_by_tap<const P: usize>(self, layer: &Layer, input: &[f32], window: Window) -> [[f32; P]; 2] {
        let mut sums = [[0.0_f32; P]; 2];
        let [height, width] = layer.block.kernel;
        let [first, second] = self.filters;
        let stride = layer.block.stride[1];
        let (mut at, mut kernel) = (window.start, window.skipped * width);
        for _ in 0..layer.input.channels {
            let count = window.rows * width;
            let (Some(rows), Some(first), Some(second)) =
                (input.get(at..), first.get(kernel..kernel + count), second.get(kernel..kernel + count))
            else {
                break;
            };
            let rows = rows.chunks(layer.input.width.max(1));
            let taps = first.chunks_exact(width.max(1)).zip(second.chunks_exact(width.max(1)));
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

/// The gradient of a layer's weights and biases, one filter after the other.
///
/// * `rows` frames: `input` `[rows, in, height, width]`, `output` and `argmax` as [`forward`] left them.
/// * `pooled_error`: gradient of the pooled activity, `[rows, D]`.
/// * `scratch`: 2 output maps of one channel and one filter
///   ([`crate::network::NetworkView::gradient_scratch_len`]).
pub fn weight_gradient(
    layer: &Layer,
    input: &[f32],
    output: &[f32],
    argmax: &[u8],
    pooled_error: &[f32],
    scratch: &mut [f32],
    sink: &mut dyn FilterSink,
) {
    let out_area = layer.output.area();
    let (errors, rest) = scratch.split_at_mut_checked(out_area).unwrap_or_default();
    let (places, rest) = rest.split_at_mut_checked(out_area).unwrap_or_default();
    let gradient = rest.get_mut(..layer.fan_in()).unwrap_or_default();
    let input_len = layer.input.len().max(1);
    for filter in 0..layer.block.out_channels {
        gradient.fill(0.0);
        let mut bias = 0.0;
        let maps = channel(output, layer.output.len(), filter, out_area);
        let pooled = channel(pooled_error, layer.pooled.len(), filter, layer.pooled.area());
        let mut positions = channel(argmax, layer.output.len(), filter, out_area);
        for ((input, map), pooled) in input.chunks_exact(input_len).zip(maps).zip(pooled) {
            let positions = positions.next().unwrap_or_default();
            // A row whose margins are all satisfied has nothing to teach.
            if pooled.iter().all(|error| *error == 0.0) {
                continue;
            }
            pool::spread(pooled, layer.pooled, layer.block.loss_pool, layer.output, errors);
            let count = gather(layer, map, positions, errors, places);
            let (errors, places) = (errors.get(..count).unwrap_or_default(), places.get(..count).unwrap_or_default());
            bias += errors.iter().fold(0.0, |sum, error| sum + error);
            accumulate(layer, input, errors, places, gradient);
        }
        sink.filter(filter, gradient, bias);
    }
}

/// Channel `index` of each frame.
fn channel<T>(maps: &[T], frame: usize, index: usize, area: usize) -> impl Iterator<Item = &[T]> {
    maps.chunks_exact(frame.max(1)).map(move |maps| maps.get(index * area..(index + 1) * area).unwrap_or_default())
}

/// Marks in a position, an offset below 2^27, that the kernel reaches over an edge of the map.
const OVER_TOP: u32 = 1 << 31;
const OVER_BOTTOM: u32 = 1 << 30;
const OVER_LEFT: u32 = 1 << 29;
const OVER_RIGHT: u32 = 1 << 28;
const OVER_ANY: u32 = OVER_TOP | OVER_BOTTOM | OVER_LEFT | OVER_RIGHT;

/// Carries the gradient of one output map back to before max-pool and activation, and keeps what is not zero:
/// errors move to the front of `errors`, their positions (the bits of an integer) to `places`.
///
/// A position is the offset in an input channel of the kernel's first element where the kernel lies inside
/// the map, and else the offset in the map before the max-pool, with marks. Returns how many there are.
fn gather(layer: &Layer, map: &[f32], positions: &[u8], errors: &mut [f32], places: &mut [f32]) -> usize {
    let relu = matches!(layer.block.activation, Activation::Relu);
    let [pool_rows, pool_columns] = layer.block.max_pool.unwrap_or([1, 1]);
    let columns = pool_columns.clamp(1, 255) as u8;
    let mut positions = positions.iter();
    let mut at = 0;
    let mut count = 0;
    for (y, row) in map.chunks_exact(layer.output.width.max(1)).enumerate() {
        for (x, value) in row.iter().enumerate() {
            let position = positions.next().copied().unwrap_or(0);
            let Some(error) = errors.get(at).copied() else { return count };
            at += 1;
            if error == 0.0 || (relu && *value <= 0.0) {
                continue;
            }
            let (in_y, in_x) = (position / columns, position % columns);
            let (y, x) = (y * pool_rows + usize::from(in_y), x * pool_columns + usize::from(in_x));
            let (Some(slot), Some(kept)) = (errors.get_mut(count), places.get_mut(count)) else { return count };
            *slot = error;
            // Sizes are such that these bits are never those of a NaN, which some targets rewrite.
            *kept = f32::from_bits(place(layer, y, x));
            count += 1;
        }
    }
    count
}

/// The position of the kernel at `(y, x)` of the map before the max-pool, as in [`gather`].
fn place(layer: &Layer, y: usize, x: usize) -> u32 {
    let [height, width] = layer.block.kernel;
    let (skipped_y, top, rows) = clip(y, layer.block.stride[0], layer.block.padding[0], height, layer.input.height);
    let (skipped_x, left, columns) = clip(x, layer.block.stride[1], layer.block.padding[1], width, layer.input.width);
    let mut marks = 0;
    for (over, mark) in [
        (skipped_y > 0, OVER_TOP),
        (skipped_y + rows < height, OVER_BOTTOM),
        (skipped_x > 0, OVER_LEFT),
        (skipped_x + columns < width, OVER_RIGHT),
    ] {
        marks |= if over { mark } else { 0 };
    }
    let offset = if marks == 0 { top * layer.input.width + left } else { y * layer.conv.width + x };
    offset as u32 | marks
}

/// Adds the gradient of one frame to `gradient`: for every error, the input under its kernel times it.
fn accumulate(layer: &Layer, input: &[f32], errors: &[f32], places: &[f32], gradient: &mut [f32]) {
    let planes = input.chunks_exact(layer.input.area().max(1));
    let [height, width] = layer.block.kernel;
    let slices = gradient.chunks_exact_mut((height * width).max(1));
    for (plane, slice) in planes.zip(slices) {
        match (height, width) {
            (3, 3) => accumulate_3x3(layer, plane, errors, places, slice),
            (1, 3) => accumulate_row::<3>(layer, plane, errors, places, slice),
            (1, 5) => accumulate_row::<5>(layer, plane, errors, places, slice),
            _ => {
                for (error, place) in errors.iter().zip(places) {
                    accumulate_any(layer, plane, *error, place.to_bits(), slice);
                }
            }
        }
    }
}

/// All errors' part in one kernel slice of 3x3; the sum stays in registers.
#[inline(never)]
fn accumulate_3x3(layer: &Layer, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let width = layer.input.width;
    // Three views of the plane, a row apart and equally long, so that one check holds for all.
    let shared = plane.len().saturating_sub(2 * width);
    let rows = (plane.get(..shared), plane.get(width..width + shared), plane.get(2 * width..2 * width + shared));
    let (top, middle, bottom) = match rows {
        (Some(top), Some(middle), Some(bottom)) => (top, middle, bottom),
        // Less than three rows: all errors lie at an edge.
        _ => Default::default(),
    };
    // Errors at an edge, but for the common padding of 1, do without registers.
    let narrow = layer.block.padding == [1, 1] && layer.block.stride == [1, 1];
    let mut sums = [0.0_f32; 9];
    for (error, place) in errors.iter().zip(places) {
        let at = place.to_bits() as usize;
        let end = at.wrapping_add(3);
        if let (Some([a, b, c]), Some([d, e, f]), Some([g, h, i])) =
            (top.get(at..end), middle.get(at..end), bottom.get(at..end))
        {
            sums[0] += error * a;
            sums[1] += error * b;
            sums[2] += error * c;
            sums[3] += error * d;
            sums[4] += error * e;
            sums[5] += error * f;
            sums[6] += error * g;
            sums[7] += error * h;
            sums[8] += error * i;
        } else if narrow {
            accumulate_edge(width, plane, *error, place.to_bits(), &mut sums);
        } else {
            accumulate_any(layer, plane, *error, place.to_bits(), slice);
        }
    }
    for (slice, sum) in slice.iter_mut().zip(sums) {
        *slice += sum;
    }
}

/// One error's part in a 3x3 kernel slice at an edge, with stride 1 and a padding of 1: there the position
/// is that of the kernel's middle in the input.
#[inline(always)]
fn accumulate_edge(width: usize, plane: &[f32], error: f32, place: u32, sums: &mut [f32; 9]) {
    let middle = (place & !OVER_ANY) as usize;
    let [sums_top, sums_middle, sums_bottom] = sums.as_chunks_mut::<3>().0 else { return };
    let row = |sums: &mut [f32; 3], at: usize| {
        let value = |at: usize| plane.get(at).copied().unwrap_or(0.0);
        if place & OVER_LEFT == 0 {
            sums[0] += error * value(at.wrapping_sub(1));
        }
        sums[1] += error * value(at);
        if place & OVER_RIGHT == 0 {
            sums[2] += error * value(at + 1);
        }
    };
    if place & OVER_TOP == 0 {
        row(sums_top, middle.wrapping_sub(width));
    }
    row(sums_middle, middle);
    if place & OVER_BOTTOM == 0 {
        row(sums_bottom, middle + width);
    }
}

/// All errors' part in one kernel slice of one row of `K`; the sum stays in registers.
#[inline(never)]
fn accumulate_row<const K: usize>(layer: &Layer, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let mut sums = [0.0_f32; K];
    for (error, place) in errors.iter().zip(places) {
        let at = place.to_bits() as usize;
        if let Some(values) = plane.get(at..).and_then(|values| values.first_chunk::<K>()) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += error * value;
            }
        } else {
            accumulate_any(layer, plane, *error, place.to_bits(), slice);
        }
    }
    for (slice, sum) in slice.iter_mut().zip(sums) {
        *slice += sum;
    }
}

/// One error's part in one kernel slice `[kh, kw]` of any size.
#[inline(never)]
fn accumulate_any(layer: &Layer, plane: &[f32], error: f32, place: u32, slice: &mut [f32]) {
    let [height, width] = layer.block.kernel;
    let row_len = layer.input.width;
    let at = (place & !OVER_ANY) as usize;
    let (to, columns, from, rows) = if place & OVER_ANY == 0 {
        (0, width, at, height)
    } else {
        let (y, x) = (at / layer.conv.width.max(1), at % layer.conv.width.max(1));
        let [stride_y, stride_x] = layer.block.stride;
        let (skipped_y, top, rows) = clip(y, stride_y, layer.block.padding[0], height, layer.input.height);
        let (skipped_x, left, columns) = clip(x, stride_x, layer.block.padding[1], width, layer.input.width);
        (skipped_y * width + skipped_x, columns, top * row_len + left, rows)
    };
    for row in 0..rows {
        let (from, to) = (from + row * row_len, to + row * width);
        let (Some(values), Some(sums)) = (plane.get(from..from + columns), slice.get_mut(to..to + columns)) else {
            return;
        };
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += error * value;
        }
    }
}
