//! Kernels by themselves against plain loops, on random shapes.

#![allow(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod reference;

use clapp_core::conv::{self, FilterSink, PooledGradient};
use clapp_core::network::{Activation, Block, LossPool, NetworkView, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_core::{dense, pool};
use proptest::prelude::*;
use reference::{Case, Numbers, Weights, case, distance, wide};

struct Gradient(Vec<f32>, Vec<f32>);

impl FilterSink for Gradient {
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32) {
        assert_eq!(index * gradient.len(), self.0.len());
        self.0.extend(gradient);
        self.1.push(bias);
    }
}

/// The first block over a wide input, so that whole tiles, their ends and both edges come up.
fn wide_case() -> impl Strategy<Value = Case> {
    (case(), 1..=40_usize).prop_map(|(mut case, width)| {
        case.input.width = case.input.width.max(width);
        case.blocks.truncate(1);
        case.rule = Rule::clapp_pp();
        case
    })
}

/// A block of 3x3 without max-pool over a map of any width up to 35, many of them the common ones, in two or three frames.
fn bits_case() -> impl Strategy<Value = Bits> {
    let width = prop_oneof![Just(4_usize), Just(8), Just(16), Just(32), 1..=35_usize];
    let flags = [any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()];
    (width, 1..=9_usize, 1..=3_usize, 1..=5_usize, 1..=3_usize, flags, any::<u64>()).prop_map(
        |(width, height, inputs, outputs, rows, [padded, relu, pools, bias], seed)| {
            let padding = if padded || width < 3 || height < 3 { [1, 1] } else { [0, 0] };
            let mut block = Block::conv(outputs, [3, 3]).padding(padding).loss_pool(LossPool::Adaptive([2, 2]));
            if !relu {
                block = block.activation(Activation::Identity);
            }
            if pools && width > 3 && height > 3 {
                block = block.max_pool([2, 2]);
            }
            let block = if bias { block } else { block.without_bias() };
            Bits { input: Shape::new(inputs, height, width), block, rows, seed }
        },
    )
}

#[derive(Debug)]
struct Bits {
    input: Shape,
    block: Block,
    rows: usize,
    seed: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolution_forward_and_gradient(case in wide_case()) {
        let network = case.network();
        let layer = network.layer(0).unwrap();
        let mut numbers = Numbers::new(case.seed);
        let weights = numbers.vec(layer.weight_len(), 1.0 / (layer.fan_in() as f32).sqrt());
        let bias = numbers.vec(layer.bias_len(), 0.5);
        let input = numbers.vec(layer.input.len(), 1.0);
        let plain = Weights { weight: wide(&weights), bias: wide(&bias), same: Vec::new(), feedback: Vec::new() };
        let want = reference::forward(&layer, &plain, &wide(&input));

        let mut output = vec![f32::NAN; layer.output.len()];
        let mut argmax = vec![u8::MAX; network.argmax_len()];
        let mut scratch = vec![f32::NAN; network.gradient_scratch_len()];
        let inference = &mut scratch[..network.inference_scratch_len()];
        prop_assert!(conv::forward(&layer, &weights, &bias, &input, &mut output, &mut argmax, inference));
        prop_assert!(distance(&output, &want.output) < 1e-5);

        prop_assume!(want.margin > 1e-5);
        let error = numbers.vec(layer.pooled.len(), 1.0);
        let mut gradient = Gradient(Vec::new(), Vec::new());
        let pooled_error = PooledGradient { value: &error, remainder: &[] };
        conv::weight_gradient(&layer, &input, &output, &argmax, pooled_error, &mut scratch, &mut gradient);
        // In double precision the bias's gradient is the same but for rounding.
        let mut exact = Gradient(Vec::new(), Vec::new());
        let remainder = vec![0.0; error.len()];
        let pooled_error = PooledGradient { value: &error, remainder: &remainder };
        conv::weight_gradient(&layer, &input, &output, &argmax, pooled_error, &mut scratch, &mut exact);
        prop_assert_eq!(&gradient.0, &exact.0);
        for (single, double) in gradient.1.iter().zip(&exact.1) {
            prop_assert!((single - double).abs() < 1e-4, "{single} {double}");
        }
        // The gradient is linear in each error: take the loss `error . pooled`, whose slopes are known.
        let step = 1e-6;
        for _ in 0..4 {
            let at = numbers.bits() as usize % weights.len();
            let loss = |step: f64| -> f64 {
                let mut moved = plain.clone();
                moved.weight[at] += step;
                let pooled = reference::forward(&layer, &moved, &wide(&input)).pooled;
                pooled.iter().zip(&error).map(|(p, e)| p * f64::from(*e)).sum()
            };
            let slope = (loss(step) - loss(-step)) / (2.0 * step);
            let got = f64::from(gradient.0[at]);
            prop_assert!((got - slope).abs() < 2e-5 * slope.abs().max(2.0), "{got} {slope}");
        }
        if !bias.is_empty() {
            let loss = |step: f64| -> f64 {
                let mut moved = plain.clone();
                moved.bias[0] += step;
                let pooled = reference::forward(&layer, &moved, &wide(&input)).pooled;
                pooled.iter().zip(&error).map(|(p, e)| p * f64::from(*e)).sum()
            };
            let slope = (loss(step) - loss(-step)) / (2.0 * step);
            prop_assert!((f64::from(gradient.1[0]) - slope).abs() < 2e-5 * slope.abs().max(2.0));
        }
    }

    /// Whichever way the kernels take, each sum is that of the plainest loop, in single precision and in the order
    /// that is promised: the same bits.
    #[test]
    fn sums_run_in_the_promised_order(case in bits_case()) {
        let blocks = [case.block];
        let network = NetworkView::try_new(case.input, &blocks, Rule::clapp_pp()).unwrap();
        let layer = network.layer(0).unwrap();
        let (input_len, output_len, area) = (layer.input.len(), layer.output.len(), layer.output.area());
        let mut numbers = Numbers::new(case.seed);
        let weights = numbers.vec(layer.weight_len(), 1.0);
        let bias = numbers.vec(layer.bias_len(), 0.5);
        let input = numbers.vec(case.rows * input_len, 1.0);
        let mut error = numbers.vec(case.rows * layer.pooled.len(), 1.0);
        // Some cells, and some whole filters, have nothing to teach.
        error.iter_mut().filter(|error| **error < -0.3).for_each(|error| *error = 0.0);

        let mut output = vec![f32::NAN; case.rows * output_len];
        let mut argmax = vec![u8::MAX; if case.block.max_pool.is_some() { output.len() } else { 0 }];
        let mut scratch = vec![f32::NAN; network.gradient_scratch_len()];
        for row in 0..case.rows {
            let argmax = if argmax.is_empty() { &mut [] } else { &mut argmax[row * output_len..][..output_len] };
            let (input, output) = (&input[row * input_len..][..input_len], &mut output[row * output_len..][..output_len]);
            prop_assert!(conv::forward(&layer, &weights, &bias, input, output, argmax, &mut scratch));
            prop_assert_eq!(bits(output), bits(&plain_forward(&layer, &weights, &bias, input)));
        }
        let mut got = Gradient(Vec::new(), Vec::new());
        let pooled_error = PooledGradient { value: &error, remainder: &[] };
        conv::weight_gradient(&layer, &input, &output, &argmax, pooled_error, &mut scratch, &mut got);

        let mut want = vec![0.0_f32; weights.len()];
        for row in 0..case.rows {
            let mut spread = vec![0.0; output_len];
            let pooled = &error[row * layer.pooled.len()..][..layer.pooled.len()];
            for (pooled, spread) in pooled.chunks(layer.pooled.area()).zip(spread.chunks_mut(area)) {
                pool::spread(pooled, layer.pooled, case.block.loss_pool, layer.output, spread);
            }
            for (at, want) in want.iter_mut().enumerate() {
                let filter = at / layer.fan_in();
                let mut sum = 0.0_f32;
                for place in filter * area..(filter + 1) * area {
                    let active = case.block.activation == Activation::Identity || output[row * output_len + place] > 0.0;
                    let position = argmax.get(row * output_len + place).map_or(0, |&at| usize::from(at));
                    let under = under(&layer, at % layer.fan_in(), place % area, position);
                    if let (true, Some(under)) = (active && spread[place] != 0.0, under) {
                        sum += spread[place] * input[row * input_len + under];
                    }
                }
                *want += sum;
            }
        }
        prop_assert_eq!(bits(&got.0), bits(&want));
    }

    #[test]
    fn matrix_times_vector(rows in 1..20_usize, columns in 1..20_usize, seed: u64) {
        let mut numbers = Numbers::new(seed);
        let (matrix, x) = (numbers.vec(rows * columns, 1.0), numbers.vec(columns, 1.0));
        let mut out = vec![f32::NAN; rows];
        dense::matrix_vector(&matrix, &x, &mut out);
        for (out, row) in out.iter().zip(matrix.chunks(columns)) {
            // The order of summation is fixed, hence equality.
            prop_assert_eq!(*out, row.iter().zip(&x).fold(0.0, |sum, (a, b)| sum + a * b));
        }
    }

    #[test]
    fn outer_products_in_pieces(rows in 1..5_usize, q_len in 1..9_usize, c_len in 1..70_usize, seed: u64) {
        let mut numbers = Numbers::new(seed);
        let (q, c) = (numbers.vec(rows * q_len, 1.0), numbers.vec(rows * c_len, 1.0));
        let mut got = Vec::new();
        dense::outer_products(&q, q_len, &c, c_len, &mut |at, piece| {
            assert_eq!(at, got.len());
            got.extend_from_slice(piece);
        });
        for i in 0..q_len {
            for j in 0..c_len {
                let want = (0..rows).fold(0.0, |sum, row| sum + q[row * q_len + i] * c[row * c_len + j]);
                prop_assert_eq!(got[i * c_len + j], want);
            }
        }
    }

    #[test]
    fn spreading_is_the_transpose_of_pooling_and_keeps_its_bound(case in case()) {
        let network = case.network();
        let layer = network.layer(0).unwrap();
        let mut numbers = Numbers::new(case.seed);
        let map = numbers.vec(layer.output.len(), 1.0);
        let error = numbers.vec(layer.pooled.len(), 1.0);
        let mut pooled = vec![f32::NAN; error.len()];
        pool::loss_pool(&map, layer.output, layer.block.loss_pool, layer.pooled, &mut pooled);
        let mut spread = vec![f32::NAN; map.len()];
        let channels = error.chunks(layer.pooled.area()).zip(spread.chunks_mut(layer.output.area()));
        for (error, spread) in channels {
            pool::spread(error, layer.pooled, layer.block.loss_pool, layer.output, spread);
        }
        let scale = 1e-5 * map.len() as f32;
        prop_assert!((dense::dot(&pooled, &error) - dense::dot(&map, &spread)).abs() < scale);
        let bound = pool::spread_bound(layer.block.loss_pool, layer.pooled, layer.output);
        prop_assert!(dense::squares(&spread) <= 1.001 * bound * dense::squares(&error));
    }
}

#[test]
fn max_pool_takes_the_first_of_equals() {
    let map = [1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 2.0, 2.0];
    let (mut out, mut at) = ([0.0; 2], [9; 2]);
    pool::max_pool(&map, 4, [2, 2], &mut out, 2, &mut at);
    assert_eq!((out, at), ([1.0, 2.0], [0, 1]));
    let (mut out, mut at) = ([0.0; 1], [9; 1]);
    pool::max_pool(&[0.0, 3.0, 3.0], 3, [1, 3], &mut out, 1, &mut at);
    assert_eq!((out, at), ([3.0], [1]));
    pool::max_pool(&[0.0, 0.0], 2, [1, 2], &mut out, 1, &mut at);
    assert_eq!((out, at), ([0.0], [0]));
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Offset in a frame of the input under an element of a kernel `[in, 3, 3]`, for an element of an output map that was
/// taken from `position` of its 2x2 window; `None` in the padding.
fn under(layer: &Layer, element: usize, place: usize, position: usize) -> Option<usize> {
    let [height, width] = layer.block.max_pool.unwrap_or([1, 1]);
    let y = place / layer.output.width * height + position / width + element / 3 % 3;
    let x = place % layer.output.width * width + position % width + element % 3;
    let (y, x) = (y.checked_sub(layer.block.padding[0])?, x.checked_sub(layer.block.padding[1])?);
    let inside = y < layer.input.height && x < layer.input.width;
    inside.then_some(element / 9 * layer.input.area() + y * layer.input.width + x)
}

fn plain_forward(layer: &Layer, weights: &[f32], bias: &[f32], input: &[f32]) -> Vec<f32> {
    let window = layer.block.max_pool.unwrap_or([1, 1]);
    let value = |filter: usize, place: usize, position: usize| {
        let filter_weights = &weights[filter * layer.fan_in()..][..layer.fan_in()];
        let mut sum = 0.0_f32;
        for (element, weight) in filter_weights.iter().enumerate() {
            if let Some(at) = under(layer, element, place, position) {
                sum += weight * input[at];
            }
        }
        let sum = sum + bias.get(filter).copied().unwrap_or(0.0);
        if layer.block.activation == Activation::Relu { sum.max(0.0) } else { sum }
    };
    let best = |filter: usize, place: usize| {
        (0..window[0] * window[1]).map(|position| value(filter, place, position)).fold(f32::NEG_INFINITY, f32::max)
    };
    let area = layer.output.area();
    (0..layer.output.len()).map(|at| best(at / area, at % area)).collect()
}
