use super::*;
use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, NetworkView, Projection, Rule};
use clapp_core::shape::Shape;
use clapp_data::rng::{Purpose, stream};

fn layer(input: Shape, channels: usize, stride: usize) -> Layer {
    let block = Block {
        out_channels: channels,
        kernel: [3, 3],
        stride: [stride, stride],
        padding: [1, 1],
        bias: true,
        activation: Activation::Relu,
        max_pool: None,
        loss_pool: LossPool::Global,
    };
    let rule =
        Rule { contrast: Contrast::Hinge, context: Context::Same, projection: Projection::Identity, pos_coeff: 1.0 };
    NetworkView::try_new(input, &[block], rule).unwrap().layer(0).unwrap()
}

/// Maps that are not centred, and whose pixels resemble their neighbours'.
fn maps(input: Shape, rows: usize) -> Vec<f32> {
    let mut rng = stream(11, Purpose::Init, 0, 0);
    let mut before = 0.0;
    (0..rows * input.len())
        .map(|_| {
            before = 0.5 * before + rng.uniform(-1.0, 1.0);
            before + 0.4
        })
        .collect()
}

fn weights(layer: &Layer, bound: f32) -> Vec<f32> {
    let mut rng = stream(12, Purpose::Init, 0, 0);
    (0..layer.weight_len()).map(|_| rng.uniform(-bound, bound)).collect()
}

/// `sum y_k (x - u_k w_k) / positions` in double precision, position by position, from the formula alone. The input
/// beyond the border is 0 before the mean of its channel is taken away.
fn reference(settings: &SoftHebb, layer: &Layer, weight: &[f32], x: &[f32], rows: usize) -> Vec<f64> {
    let (shape, out, channels) = (layer.input, layer.conv, layer.block.out_channels);
    let mean = |channel: usize| {
        let values = x.iter().skip(channel).step_by(shape.channels);
        values.clone().map(|value| f64::from(*value)).sum::<f64>() / values.count() as f64
    };
    let means: Vec<f64> = (0..shape.channels).map(mean).collect();
    let mut change = vec![0.0; weight.len()];
    for row in 0..rows {
        for position in 0..out.area() {
            let (y, column) = (position / out.width, position % out.width);
            let mut window = Vec::new();
            for tap in 0..9 {
                let at = |place: usize, stride: usize, offset: usize| (place * stride + offset).checked_sub(1);
                let line = at(y, layer.block.stride[0], tap / 3).filter(|line| *line < shape.height);
                let place = at(column, layer.block.stride[1], tap % 3).filter(|place| *place < shape.width);
                for (channel, mean) in means.iter().enumerate() {
                    let pixel = line.zip(place).map_or(0.0, |(line, place)| {
                        let pixel = (row * shape.height + line) * shape.width + place;
                        f64::from(x[pixel * shape.channels + channel])
                    });
                    window.push(pixel - mean);
                }
            }
            let weight = |tap: usize, k: usize| f64::from(weight[tap * channels + k]);
            let u: Vec<f64> =
                (0..channels).map(|k| window.iter().enumerate().map(|(tap, x)| x * weight(tap, k)).sum()).collect();
            let exponentials: Vec<f64> = u.iter().map(|u| (u / f64::from(settings.temperature)).exp()).collect();
            let largest = u.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for k in 0..channels {
                let sign = if u[k] == largest { 1.0 } else { -1.0 };
                let share = sign * exponentials[k] / exponentials.iter().sum::<f64>();
                for (tap, x) in window.iter().enumerate() {
                    change[tap * channels + k] += share * (x - u[k] * weight(tap, k));
                }
            }
        }
    }
    change.iter().map(|sum| sum / (rows * out.area()) as f64).collect()
}

#[test]
fn the_change_is_that_of_the_formula() {
    for (shape, channels, stride, temperature) in
        [(Shape::new(3, 7, 5), 4, 1, 1.0), (Shape::new(2, 6, 6), 1, 2, 0.5), (Shape::new(5, 4, 4), 9, 2, 0.2)]
    {
        let settings = SoftHebb { temperature, ..SoftHebb::default() };
        let layer = layer(shape, channels, stride);
        let (x, weight) = (maps(shape, 6), weights(&layer, 0.5));
        let found = compete(&settings, &layer, &weight, &x, 6);
        let expected = reference(&settings, &layer, &weight, &x, 6);
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.gradient.iter().zip(&expected) {
            assert!((f64::from(*found) + expected).abs() < 2e-5 * largest, "{found} {expected}, of {largest}");
        }
        // The shares of a position add up to 1.
        for (won, lost) in found.scores.u_pos.iter().zip(&found.scores.u_neg) {
            let total = won + lost * (channels - 1) as f32;
            assert!((total - 1.0).abs() < 1e-5 || channels == 1, "{total}");
        }
    }
}

#[test]
fn a_step_is_scaled_by_the_distance_from_the_sphere_and_biases_take_the_mean_away() {
    // One input channel of one tap, two channels, of which the second is on the sphere.
    let settings = SoftHebb { temperature: 1.0, ..SoftHebb::default() };
    let (mut weight, mut bias) = (vec![1.25, 1.0], vec![0.0, 1.0]);
    learn(&settings, 0.1, &[-2.0, -4.0], &[3.0], &mut weight, &mut bias, 2);
    // 0.1 * sqrt(0.25) * 2 / 4.
    assert_eq!(weight, [1.25 + 0.025, 1.0]);
    assert!((bias[0] - 0.1 * -3.0 * 1.275).abs() < 1e-6 && (bias[1] - (1.0 + 0.1 * (-3.0 - 1.0))).abs() < 1e-6);
    // Nothing to change leaves weights as they are.
    learn(&settings, 0.1, &[0.0, 0.0], &[0.0], &mut weight, &mut bias, 2);
    assert_eq!(weight, [1.25 + 0.025, 1.0]);
}

/// Lengths of all channels' weights after many steps on the same maps.
fn learnt(layer: &Layer, mut weight: Vec<f32>, x: &[f32], rows: usize) -> Vec<f64> {
    let channels = layer.block.out_channels;
    let mut bias = vec![0.0; channels];
    let far = norms(&weight, channels).into_iter().fold(f64::INFINITY, |least, norm| least.min((norm - 1.0).abs()));
    assert!(far > 0.3, "begins on the sphere: {far}");
    let settings = SoftHebb { temperature: 0.3, ..SoftHebb::default() };
    for _ in 0..2000 {
        let found = compete(&settings, layer, &weight, x, rows);
        learn(&settings, 0.02, &found.gradient, &found.centre, &mut weight, &mut bias, channels);
    }
    norms(&weight, channels)
}

#[test]
fn weights_come_to_the_unit_sphere() {
    let shape = Shape::new(2, 8, 8);
    let layer = layer(shape, 6, 1);
    for bound in [0.8, 5.0] {
        for norm in learnt(&layer, weights(&layer, bound), &maps(shape, 8), 8) {
            assert!((norm - 1.0).abs() < 0.02, "from {bound}: {norm}");
        }
    }
}

#[test]
fn channels_that_win_come_to_the_sphere_from_inside_too() {
    // Bright and dark frames, and a channel for each.
    let layer = layer(Shape::new(1, 6, 6), 2, 1);
    let x: Vec<f32> = (0..4 * 36).map(|index| if index / 36 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let weight = (0..layer.weight_len()).map(|index| if index % 2 == 0 { 0.1 } else { -0.1 }).collect();
    for norm in learnt(&layer, weight, &x, 4) {
        assert!((norm - 1.0).abs() < 0.02, "{norm}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = Shape::new(3, 9, 9);
    let layer = layer(shape, 5, 1);
    let (x, weight) = (maps(shape, 10), weights(&layer, 0.5));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| compete(&SoftHebb::default(), &layer, &weight, &x, 10));
        (found.gradient, found.centre, found.scores.loss)
    };
    assert_eq!(on(1), on(3));
}
