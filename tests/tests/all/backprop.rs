//! The CPU backend's gradients against finite differences of a second implementation, in double precision and in
//! the plainest loops: each layer's own loss for local learning, and the top loss through the whole network for
//! back-propagation, which takes the gradients of inputs in.

use crate::plain;

use std::cell::Cell;

use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::model::LossLayers;
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::rules::step;
use clapp_engine::rules::{AnyRule, Feedback, bp_clapp_pp, clapp_pp_dfb};
use clapp_engine::step::{Mode, Model, StepBatch, download_gradients};
use clapp_tests::{numbers, uniform};
use plain::{Rows, Values};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Step of the finite differences: its square and the rounding of the loss over it are both far below the tolerance.
const H: f64 = 1e-6;
/// Elements of a tensor that are compared; more are left out evenly.
const MOST: usize = 24;
/// Rounding of a gradient in single precision, relative to the largest of its tensor.
const TOLERANCE: f64 = 2e-5;
/// Gradients below this part of a score's terms are compared as if they were that large: sums of terms that cancel.
const SMALLEST: f64 = 1e-2;

fn local() -> AnyRule {
    clapp_pp_dfb::Rule { feedback: Feedback::Trained }.into()
}

fn global() -> AnyRule {
    bp_clapp_pp::Rule::default().into()
}

/// One network with values, frames and negatives.
#[derive(Debug, Clone)]
struct Case {
    spec: NetworkSpec,
    seed: u64,
    pairs: usize,
    negatives: Vec<usize>,
    keep: Option<Vec<bool>>,
}

fn block() -> impl Strategy<Value = Block> {
    let pool = prop_oneof![
        Just(LossPool::Global),
        [1_usize..3, 1_usize..3].prop_map(LossPool::Block),
        [1_usize..4, 1_usize..4].prop_map(LossPool::Adaptive)
    ];
    let max_pool = prop_oneof![
        2 => Just(None),
        1 => Just(Some([2, 2])),
        1 => Just(Some([1, 2])),
        1 => Just(Some([3, 2]))
    ];
    let geometry = ([1_usize..4, 1_usize..4], [1_usize..3, 1_usize..3], [0_usize..3, 0_usize..3]);
    (1_usize..4, geometry, any::<bool>(), prop::bool::weighted(0.7), max_pool, pool).prop_map(
        |(channels, (kernel, stride, padding), bias, relu, max_pool, loss_pool)| Block {
            out_channels: channels,
            kernel,
            stride,
            padding,
            bias,
            activation: if relu { Activation::Relu } else { Activation::Identity },
            max_pool,
            loss_pool,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let contrast = prop_oneof![
        Just(Contrast::Hinge),
        Just(Contrast::SoftHinge),
        Just(Contrast::Linear),
        Just(Contrast::Phyll { theta: 1.5 }),
        Just(Contrast::Goodness { theta: 0.4 })
    ];
    let context = prop_oneof![Just(Context::Same), Just(Context::Top), Just(Context::Both)];
    (contrast, context, 0.5_f32..2.0).prop_map(|(contrast, context, pos_coeff)| Rule {
        contrast,
        context,
        projection: Projection::Trainable,
        pos_coeff,
    })
}

fn case(learning: AnyRule) -> impl Strategy<Value = Case> {
    let input = (1_usize..3, 5_usize..9, 5_usize..9).prop_map(|(c, h, w)| Shape::new(c, h, w));
    let network = (input, prop::collection::vec(block(), 2..4), rule())
        .prop_filter_map("fits together", move |(input, blocks, rule)| learning.network(input, blocks, rule).ok());
    (network, any::<u64>(), 2_usize..4, 1_usize..3, any::<bool>()).prop_map(|(spec, seed, pairs, per_row, keeps)| {
        let mut rng = numbers(seed);
        let rows = 2 * pairs;
        let negatives = (0..per_row * rows).map(|_| rng.below(rows)).collect();
        let separate = clapp_core::contrast::has_separate_terms(spec.rule().contrast);
        let keep = (keeps && separate).then(|| (0..rows).map(|_| rng.chance(0.5)).collect());
        Case { spec, seed, pairs, negatives, keep }
    })
}

/// Values of all tensors that the description names, and frames.
fn draw(case: &Case) -> (Vec<LayerValues>, Vec<f32>) {
    let mut rng = numbers(case.seed ^ 1);
    let layer_values = |layer: &clapp_core::plan::Layer| {
        let mut values = LayerValues::default();
        for (role, shape) in case.spec.tensors(layer) {
            *values.get_mut(role) = uniform(&mut rng, shape.iter().product(), 0.7);
        }
        values
    };
    let values = case.spec.layers().iter().map(layer_values).collect();
    let frames = uniform(&mut numbers(case.seed ^ 2), 2 * case.pairs * case.spec.input().len(), 1.0);
    (values, frames)
}

/// Gradients of the backend.
fn recorded(case: &Case, values: &[LayerValues], frames: &[f32]) -> Vec<LayerValues> {
    let mut model = Model::upload(&Cpu, case.spec.clone(), values);
    let mut gradients = Vec::new();
    let pairing = Pairing::views(&case.negatives, case.keep.as_deref());
    let x = Cpu.upload_frames(case.spec.input(), frames);
    step(&Cpu, &mut model, StepBatch { x, rows: 2 * case.pairs, pairing }, Mode::Record(&mut gradients));
    download_gradients(&Cpu, &model.spec, &gradients)
}

/// The loss that a layer's parameters lower, as a function of that layer's values. Detached values are fixed to those
/// in `contexts`.
fn loss(case: &Case, values: &[Values], from: usize, input: &Rows, contexts: &[Rows]) -> f64 {
    let layers = case.spec.layers();
    let mut x = input.clone();
    let mut scored = from;
    for layer in &layers[from..] {
        x = plain::forward(layer, &values[layer.index], &x);
        scored = layer.index;
        if case.spec.form().losses == LossLayers::EveryLayer {
            break;
        }
    }
    let layer = &layers[scored];
    let pooled = plain::pool(layer, &x);
    let [same, top] = [&contexts[scored], &contexts[layers.len() - 1]];
    plain::loss(&case.spec.rule(), &values[scored], &pooled, same, top, &case.negatives, case.keep.as_deref())
}

/// Size of the terms that the scores of a layer sum, however they cancel: of the row with the largest, at least 1.
fn terms(values: &Values, pooled: &Rows, top: &Rows) -> f64 {
    let sum = |role: TensorRole, p: &[f64], context: &[f64]| {
        let rows = values.get(role).chunks(context.len()).zip(p);
        rows.map(|(row, p)| row.iter().zip(context).map(|(w, c)| (w * c * p).abs()).sum::<f64>()).sum::<f64>()
    };
    let of_row =
        |(p, top): (&Vec<f64>, &Vec<f64>)| sum(TensorRole::Projection, p, p).max(sum(TensorRole::Feedback, p, top));
    pooled.iter().zip(top).map(of_row).fold(1.0, f64::max)
}

/// The slope of a loss at 0 by differences, and how far a kink near 0 may have falsified it.
struct Slope {
    middle: f64,
    kink: f64,
}

impl Slope {
    /// Computes the slope of a loss as a function of the change of one element.
    ///
    /// The left and the right slope differ in proportion to the step under curvature, but not at a kink. The test
    /// compares two halvings of the step, because at one distance from 0 the difference at a kink also halves in one of
    /// them.
    fn of(loss: &mut impl FnMut(f64) -> f64) -> Slope {
        let here = loss(0.0);
        let [(middle, whole), (_, half), (_, quarter)] = [H, H / 2.0, H / 4.0].map(|step| {
            let (below, above) = (loss(-step), loss(step));
            ((above - below) / (2.0 * step), (above - here) / step - (here - below) / step)
        });
        Slope { middle, kink: (whole - 2.0 * half).abs().max((half - 2.0 * quarter).abs()) }
    }
}

/// Compares all tensors of all layers. Returns the numbers of elements compared, left out at kinks, and not zero.
fn compare(case: &Case) -> Result<[usize; 3], TestCaseError> {
    let (values, frames) = draw(case);
    let gradients = recorded(case, &values, &frames);
    let mut wide: Vec<Values> = values.iter().map(plain::wide).collect();
    let mut inputs: Vec<Rows> = vec![plain::rows(&frames, case.spec.input().len())];
    let mut contexts = Vec::new();
    for layer in case.spec.layers() {
        let output = plain::forward(layer, &wide[layer.index], &inputs[layer.index]);
        contexts.push(plain::pool(layer, &output));
        inputs.push(output);
    }
    let mut counts = [0; 3];
    for layer in case.spec.layers() {
        let scored = if case.spec.form().losses == LossLayers::EveryLayer { layer.index } else { contexts.len() - 1 };
        let smallest = SMALLEST * terms(&wide[scored], &contexts[scored], &contexts[contexts.len() - 1]);
        let mut of_weights = smallest;
        for (role, _) in case.spec.tensors(layer) {
            let at = layer.index;
            let got = gradients[at].get(role);
            prop_assert_eq!(got.len(), values[at].get(role).len());
            let mut slopes = Vec::new();
            for element in (0..got.len()).step_by(got.len().div_ceil(MOST)) {
                let mut with = |change: f64| {
                    let kept = wide[at].get(role)[element];
                    wide[at].get_mut(role)[element] = kept + change;
                    let loss = loss(case, &wide, at, &inputs[at], &contexts);
                    wide[at].get_mut(role)[element] = kept;
                    loss
                };
                slopes.push((element, Slope::of(&mut with)));
            }
            // A bias sums the errors in other proportions than the weights. Its sum can cancel when theirs do not, and
            // the rounding of its terms stays.
            let least = if role == TensorRole::Bias { of_weights } else { smallest };
            let size = slopes.iter().fold(least, |most, (_, slope)| most.max(slope.middle.abs()));
            if role == TensorRole::Weight {
                of_weights = size;
            }
            for (element, slope) in slopes {
                if slope.kink > TOLERANCE * size / 2.0 {
                    counts[1] += 1;
                    continue;
                }
                let (got, slope) = (f64::from(got[element]), slope.middle);
                counts[0] += 1;
                counts[2] += usize::from(slope.abs() > 1e-6);
                prop_assert!(
                    (got - slope).abs() <= TOLERANCE * size,
                    "layer {at} {}[{element}]: {got} but finite differences give {slope}",
                    role.name()
                );
            }
        }
    }
    Ok(counts)
}

/// Compares in many networks. Kinks are counted over all of them: in one small network a single unit at its kink is
/// a large part of all elements.
fn compare_many(learning: AnyRule) {
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let (compared, kinks) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&case(learning), |case| {
        let counts = compare(&case)?;
        compared.set(compared.get() + counts[0]);
        kinks.set(kinks.get() + counts[1]);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (compared, kinks) = (compared.get(), kinks.get());
    assert!(kinks * 50 <= compared, "{kinks} kinks beside {compared} comparisons");
}

#[test]
fn local_gradients_are_the_slopes_of_each_layers_own_loss() {
    compare_many(local());
}

#[test]
fn global_gradients_are_the_slopes_of_the_top_loss_through_all_layers() {
    compare_many(global());
}

/// A fixed network in which every layer is active, so that the comparison cannot be one of zeros.
#[test]
fn gradients_that_are_compared_are_mostly_not_zero() {
    let blocks = vec![
        Block::conv(3, [3, 2]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(3, [2, 3]).padding([1, 2]).stride([1, 2]).without_bias().loss_pool(LossPool::Adaptive([2, 2])),
        Block::conv(2, [2, 2]).activation(Activation::Identity),
    ];
    for learning in [local(), global()] {
        let spec = learning.network(Shape::new(2, 9, 7), blocks.clone(), Rule::clapp_pp_both()).expect("fits");
        let case = Case { spec, seed: 4, pairs: 3, negatives: vec![1, 2, 3, 4, 5, 0], keep: None };
        let [compared, _, not_zero] = compare(&case).expect("gradients agree");
        assert!(compared > 60 && not_zero * 10 > 7 * compared, "{learning:?}: {not_zero} of {compared}");
        // Layers below the top get only back-propagated errors, through the gradients of inputs.
        let (values, frames) = draw(&case);
        let below = recorded(&case, &values, &frames)[0].get(TensorRole::Weight).clone();
        assert!(below.iter().filter(|gradient| **gradient != 0.0).count() * 2 > below.len());
    }
}
