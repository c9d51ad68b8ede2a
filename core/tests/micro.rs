//! The worked example of docs/paper.md 2.9, by hand: two layers of one pixel, hinge, ring negatives.

#![allow(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod reference;

use clapp_core::guard::Guard;
use clapp_core::learner::{Batch, Error, ring_negatives};
use clapp_core::network::{Block, Network, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use reference::run::{Memory, Seen};

/// The example gives the activity of both layers; a third channel carries the second layer's through the first.
const FRAMES: [f32; 12] = [1., 2., 1., 0., 1., 3., 2., 1., 2., 1., 0., 0.5];

fn network(rule: Rule) -> Network<2> {
    Network::new(Shape::new(3, 1, 1), [Block::conv(3, [1, 1]), Block::conv(1, [1, 1])], rule)
}

/// Identity for the first layer, the third channel for the second; then the projections.
fn parameters(projections: &[f32]) -> Vec<f32> {
    let encoder = [1., 0., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 0., 0., 1., 0.];
    encoder.iter().chain(projections).copied().collect()
}

fn close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() < 1e-6, "{got} is not {want}");
    }
}

/// `sum_i dp_i x_i^T` of the first layer's two channels over the three inputs.
fn weight_gradient(dp: [[f64; 2]; 4]) -> Vec<f64> {
    let mut gradient = vec![0.0; 6];
    for (dp, x) in dp.iter().zip(FRAMES.chunks(3)) {
        for (row, dp) in dp.iter().enumerate() {
            // A silent neuron learns nothing.
            if x[row] > 0.0 {
                for (column, x) in x.iter().enumerate() {
                    gradient[row * 3 + column] += dp * f64::from(*x);
                }
            }
        }
    }
    gradient
}

fn record(rule: Rule, projections: &[f32]) -> (Vec<f32>, Seen) {
    let network = network(rule);
    let mut negatives = [0; 4];
    ring_negatives(&mut negatives, 4);
    let batch = Batch { frames: &FRAMES, negatives: &negatives, keep_positive: None };
    let mut memory = Memory::new(&network.view(), Optimizer::Record, parameters(projections), 2, 1);
    let mut seen = Seen::default();
    memory.learner(network.view(), Guard::default()).step(&batch, 1.0, &mut seen).unwrap();
    (memory.state, seen)
}

#[test]
fn same_layer_context() {
    let (gradient, seen) = record(Rule::clapp_pp(), &[0.2, -0.1, 0., 0.3, 0.1, 0., 0., 0., 0., 0.4]);
    close(&[seen.reports[0].loss, seen.reports[1].loss], &[1.95, 2.35]);
    close(&[seen.reports[0].mean_positive.unwrap(), seen.reports[1].mean_positive.unwrap()], &[0.6, 0.7]);
    close(&[seen.reports[0].mean_negative.unwrap(), seen.reports[1].mean_negative.unwrap()], &[0.375, 1.05]);
    let projection = &gradient[16..];
    close(&[projection[0], projection[1], projection[3], projection[4]], &[0.25, -0.5, 0.25, 0.25]);
    close(&projection[9..], &[0.875]);
    close(&gradient[..6], &weight_gradient([[-0.025, 0.025], [0.025, 0.1], [0.05, -0.05], [0.025, 0.1]]));
    // The second layer's weight on the third channel: its dp times its activity 1, 3, 2, 0.5.
    close(&gradient[14..15], &[0.1 + 0.45 - 0.1 - 0.1]);
    close(&gradient[15..16], &[0.1 + 0.15 - 0.05 - 0.2]);
}

#[test]
fn direct_feedback() {
    let (gradient, seen) = record(Rule::clapp_pp_dfb(), &[0.1, -0.2, 0., 0.4]);
    close(&[seen.reports[0].loss, seen.reports[1].loss], &[1.8, 2.35]);
    close(&[seen.reports[0].mean_positive.unwrap(), seen.reports[0].mean_negative.unwrap()], &[-0.1, -0.3]);
    close(&gradient[16..18], &[-0.5, 0.75]);
    close(&gradient[19..], &[0.875]);
    close(&gradient[..6], &weight_gradient([[0.025, -0.05], [0.0375, -0.075], [-0.0125, 0.025], [-0.05, 0.1]]));
}

#[test]
fn one_pair_has_no_negatives() {
    let network = network(Rule::clapp_pp());
    let mut memory = Memory::new(&network.view(), Optimizer::sgd(0.1), parameters(&[0.0; 10]), 2, 1);
    let mut learner = memory.learner(network.view(), Guard::default());
    let batch = Batch { frames: &FRAMES[..6], negatives: &[0, 0], keep_positive: None };
    assert_eq!(learner.step(&batch, 1.0, &mut ()), Err(Error::TooFewPairs));
}
