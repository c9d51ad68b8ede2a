//! The gradient of a convolution's weights (docs/paper.md 2.5): lists a layer's errors and adds up their products with
//! the input. See [`crate::conv`].

use crate::accumulate::{List, accumulate, accumulate_dense};
use crate::infer::cut;
use crate::network::Activation;
use crate::plan::Layer;
use crate::pool;
use crate::rows::each_row;
use crate::shape::Shape;

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
    /// The correction to be added to `value` for twice the precision, as long as it, or empty. With it, gradients of
    /// biases are summed in double precision.
    pub remainder: &'a [f32],
}

/// The gradient of a layer's weights and biases, one filter after the other.
///
/// * `rows` frames: `input` `[rows, in, height, width]`, `output` and `argmax` as [`forward`](crate::conv::forward)
///   left them; all of `input` finite.
/// * `scratch`: errors of one filter or of two with their positions, one input channel with its padding, gradients of
///   these filters ([`crate::network::NetworkView::gradient_scratch_len`]).
pub fn weight_gradient(
    layer: &Layer,
    input: &[f32],
    output: &[f32],
    argmax: &[u8],
    pooled_error: PooledGradient<'_>,
    scratch: &mut [f32],
    sink: &mut dyn FilterSink,
) {
    let (out_area, fan_in) = (layer.output.area(), layer.fan_in());
    let (lists, filters) = layer.gradient_parts();
    let mut rest = scratch;
    let [first_errors, first_places] = [(); 2].map(|()| cut(&mut rest, out_area));
    let [second_errors, second_places] = [(); 2].map(|()| cut(&mut rest, if lists == 4 { out_area } else { 0 }));
    let plane = cut(&mut rest, layer.padded_len());
    let first_gradient = cut(&mut rest, fan_in);
    let second_gradient = cut(&mut rest, if filters == 2 { fan_in } else { 0 });
    plane.fill(0.0);
    let maps = Maps { layer, output, argmax, pooled_error };
    let mut filter = 0;
    while filter < layer.block.out_channels {
        let both = filters == 2 && filter + 1 < layer.block.out_channels;
        let mut biases = [Bias::default(); 2];
        let [first_bias, second_bias] = &mut biases;
        first_gradient.fill(0.0);
        second_gradient.fill(0.0);
        for (row, input) in each_row(input, layer.input.len()).enumerate() {
            if both && lists == 2 {
                // Positions are not needed yet, so that both maps of errors have room.
                let (first_count, first_sum) = maps.errors(row, filter, first_errors);
                let (second_count, second_sum) = maps.errors(row, filter + 1, first_places);
                // Visiting all costs about half as much a position as looking for those that count.
                if first_count + second_count >= out_area {
                    first_bias.add(first_sum);
                    second_bias.add(second_sum);
                    let errors = [&*first_errors, &*first_places];
                    accumulate_dense(layer, input, errors, plane, [first_gradient, second_gradient]);
                    continue;
                }
                let first = maps.list(row, filter, first_errors, first_places, first_bias);
                accumulate(layer, input, [first, List::EMPTY], plane, [first_gradient, &mut []]);
                let second = maps.list(row, filter + 1, first_errors, first_places, second_bias);
                accumulate(layer, input, [second, List::EMPTY], plane, [second_gradient, &mut []]);
                continue;
            }
            let first = maps.list(row, filter, first_errors, first_places, first_bias);
            let second =
                if both { maps.list(row, filter + 1, second_errors, second_places, second_bias) } else { List::EMPTY };
            accumulate(layer, input, [first, second], plane, [first_gradient, second_gradient]);
        }
        let single = pooled_error.remainder.is_empty();
        let [first_bias, second_bias] = biases.map(|bias| if single { bias.single } else { bias.double as f32 });
        sink.filter(filter, first_gradient, first_bias);
        if both {
            sink.filter(filter + 1, second_gradient, second_bias);
        }
        filter += 1 + usize::from(both);
    }
}

/// The gradient of a bias, in single precision, or in double precision where there are remainders.
#[derive(Debug, Clone, Copy, Default)]
struct Bias {
    single: f32,
    double: f64,
}

impl Bias {
    fn add(&mut self, other: Self) {
        self.single += other.single;
        self.double += other.double;
    }
}

/// Output maps of a layer, and what they are to learn from.
struct Maps<'a> {
    layer: &'a Layer,
    /// `[rows, out, height, width]`.
    output: &'a [f32],
    argmax: &'a [u8],
    pooled_error: PooledGradient<'a>,
}

impl Maps<'_> {
    /// Errors of one output map after max-pool and activation, zero where the neuron is silent: how many are not
    /// zero, and what the frame adds to the gradient of the bias.
    fn errors(&self, row: usize, filter: usize, errors: &mut [f32]) -> (usize, Bias) {
        let Layer { output, pooled, block, .. } = *self.layer;
        let pooled_error = piece(self.pooled_error.value, row, pooled, filter);
        // A row whose margins are all satisfied has nothing to teach.
        if pooled_error.iter().all(|error| *error == 0.0) {
            errors.fill(0.0);
            return (0, Bias::default());
        }
        let map = piece(self.output, row, output, filter);
        pool::spread(pooled_error, pooled, block.loss_pool, output, errors);
        let relu = matches!(block.activation, Activation::Relu);
        let (mut bias, mut count) = (Bias::default(), 0);
        for (error, value) in errors.iter_mut().zip(map) {
            if relu && *value <= 0.0 {
                *error = 0.0;
            }
            bias.single += *error;
            count += usize::from(*error != 0.0);
        }
        let remainder = piece(self.pooled_error.remainder, row, pooled, filter);
        if !remainder.is_empty() {
            bias.double = bias_gradient(self.layer, map, pooled_error, remainder);
        }
        (count, bias)
    }

    /// The errors of one output map that are not zero, with their positions, in the memory given. Adds what the frame adds
    /// to the gradient of the bias.
    fn list<'b>(
        &self,
        row: usize,
        filter: usize,
        errors: &'b mut [f32],
        places: &'b mut [f32],
        bias: &mut Bias,
    ) -> List<'b> {
        let (count, sum) = self.errors(row, filter, errors);
        bias.add(sum);
        let count = if count > 0 { self.gather(row, filter, errors, places) } else { 0 };
        List { errors: errors.get(..count).unwrap_or_default(), places: places.get(..count).unwrap_or_default() }
    }

    /// Carries errors back to before the max-pool, and keeps what is not zero: errors move to the front of `errors`,
    /// their positions (the bits of an integer) to `places`.
    ///
    /// A position is the offset in a padded input channel of the kernel's first element. Returns how many there are.
    fn gather(&self, row: usize, filter: usize, errors: &mut [f32], places: &mut [f32]) -> usize {
        let layer = self.layer;
        let pools = layer.block.max_pool.is_some();
        let positions = if pools { piece(self.argmax, row, layer.output, filter) } else { &[] };
        let [pool_rows, pool_columns] = layer.block.max_pool.unwrap_or([1, 1]);
        let columns = pool_columns.clamp(1, 255) as u8;
        let [stride_y, stride_x] = layer.block.stride;
        let row_step = stride_y * layer.padded_width();
        let (mut at, mut count) = (0, 0);
        for y in 0..layer.output.height {
            let mut place = y * pool_rows * row_step;
            for _ in 0..layer.output.width {
                let (here, mut first) = (at, place);
                place += pool_columns * stride_x;
                at += 1;
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
}

/// The map of one filter in one frame of `[rows, C, H, W]`; empty where there is none.
fn piece<T>(maps: &[T], row: usize, shape: Shape, filter: usize) -> &[T] {
    let start = row * shape.len() + filter * shape.area();
    maps.get(start..start + shape.area()).unwrap_or_default()
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
