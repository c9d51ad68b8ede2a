//! Rules that walk back through the network, against finite differences of a second implementation in double
//! precision: feedback matching (docs/paper.md 3) for every contrast, and InfoNCE (docs/paper.md 2.8) with both views
//! live.

use crate::plain;

use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::rules::Feedback;
use clapp_engine::rules::Head;
use clapp_engine::rules::step;
use clapp_engine::rules::{AnyRule, bp_info_nce, clapp_pp_dfb};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::{Mode, Model, StepBatch, StepReport, download_gradients, read};
use clapp_tests::{numbers, uniform};
use plain::{Rows, Values};

/// Step of the finite differences.
const H: f64 = 1e-6;
/// Rounding of a gradient in single precision, relative to the largest of its tensor.
const TOLERANCE: f64 = 2e-5;

fn blocks() -> Vec<Block> {
    vec![
        Block::conv(4, [3, 2]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(3, [2, 3]).padding([1, 2]).stride([1, 2]).loss_pool(LossPool::Adaptive([3, 2])),
        Block::conv(4, [2, 2]).activation(Activation::Identity).without_bias(),
    ]
}

fn network(rule: Rule, by: impl Into<AnyRule>) -> NetworkSpec {
    by.into().network(Shape::new(2, 7, 6), blocks(), rule).expect("fits")
}

/// Values of all tensors, and frames of `pairs` pairs.
fn draw(spec: &NetworkSpec, pairs: usize, seed: u64) -> (Vec<LayerValues>, Vec<f32>) {
    let mut rng = numbers(seed);
    let layer_values = |layer: &clapp_core::plan::Layer| {
        let mut values = LayerValues::default();
        for (role, shape) in spec.tensors(layer) {
            *values.get_mut(role) = uniform(&mut rng, shape.iter().product(), 0.7);
        }
        values
    };
    let values = spec.layers().iter().map(layer_values).collect();
    (values, uniform(&mut rng, 2 * pairs * spec.input().len(), 1.0))
}

fn recorded(
    spec: &NetworkSpec,
    values: &[LayerValues],
    frames: &[f32],
    pairing: Pairing<'_>,
) -> (StepReport, Vec<LayerValues>) {
    let mut model = Model::upload(&Cpu, spec.clone(), values);
    let mut gradients = Vec::new();
    let rows = frames.len() / spec.input().len();
    let x = Cpu.upload_frames(spec.input(), frames);
    let outcome = step(&Cpu, &mut model, StepBatch { x, rows, pairing }, Mode::Record(&mut gradients));
    (read(&Cpu, pairing, &outcome), download_gradients(&Cpu, &model.spec, &gradients))
}

/// Outputs of all layers above the input.
fn outputs(spec: &NetworkSpec, values: &[Values], input: &Rows) -> Vec<Rows> {
    let mut outputs: Vec<Rows> = Vec::new();
    for layer in spec.layers() {
        let below = outputs.last().unwrap_or(input);
        outputs.push(plain::forward(layer, &values[layer.index], below));
    }
    outputs
}

/// Holds `got` against the slopes of `loss` over a tensor that `change` moves; gives how many were compared.
fn holds(name: &str, got: &[f32], mut loss: impl FnMut(usize, f64) -> f64) -> usize {
    let slopes: Vec<[f64; 2]> = (0..got.len())
        .map(|at| {
            let (below, here, above) = (loss(at, -H), loss(at, 0.0), loss(at, H));
            [(here - below) / H, (above - here) / H]
        })
        .collect();
    let size = slopes.iter().fold(1e-3, |most: f64, [left, right]| most.max((left + right).abs() / 2.0));
    let mut compared = 0;
    for (at, (got, [left, right])) in got.iter().zip(slopes).enumerate() {
        // Slopes that differ by more than curvature explains have a kink between them.
        if (left - right).abs() > TOLERANCE * size {
            continue;
        }
        let slope = (left + right) / 2.0;
        assert!((f64::from(*got) - slope).abs() <= TOLERANCE * size, "{name}[{at}]: {got}, not {slope} of {size}");
        compared += 1;
    }
    compared
}

/// The gradient of the top layer's losses by the outputs of a layer, by finite differences through the layers above.
fn ideal(spec: &NetworkSpec, values: &[Values], at: usize, outputs: &[Rows], task: &plain::Task<'_>) -> Rows {
    let layers = spec.layers();
    let top = &layers[layers.len() - 1];
    let context = plain::pool(top, &outputs[top.index]);
    let mut z = outputs[at].clone();
    let mut slope = z.clone();
    for row in 0..z.len() {
        for element in 0..z[row].len() {
            let mut with = |change: f64| {
                let kept = z[row][element];
                z[row][element] = kept + change;
                let mut x = z.clone();
                z[row][element] = kept;
                for layer in &layers[at + 1..] {
                    x = plain::forward(layer, &values[layer.index], &x);
                }
                task.loss(&values[top.index], &plain::pool(top, &x), &context, &context)
            };
            slope[row][element] = (with(H) - with(-H)) / (2.0 * H);
        }
    }
    slope
}

#[test]
fn matching_gradients_are_the_slopes_of_the_mismatch_for_every_contrast() {
    let contrasts = [
        Contrast::Hinge,
        Contrast::SoftHinge,
        Contrast::Linear,
        Contrast::Phyll { theta: 1.5 },
        Contrast::Goodness { theta: 0.4 },
    ];
    let mut seed = 0;
    let mut compared = 0;
    for contrast in contrasts {
        for context in [Context::Same, Context::Top, Context::Both] {
            for (per_row, keeps) in [(1, false), (3, false), (2, true)] {
                seed += 1;
                let rule = Rule { contrast, context, projection: Projection::Trainable, pos_coeff: 0.8 };
                let spec = network(rule, clapp_pp_dfb::Rule { feedback: Feedback::Matched });
                let mut rng = numbers(seed ^ 0x100);
                let negatives: Vec<usize> = (0..6 * per_row).map(|_| rng.below(6)).collect();
                let keeps = keeps && clapp_core::contrast::has_separate_terms(contrast);
                let keep: Option<Vec<bool>> = keeps.then(|| (0..6).map(|_| rng.chance(0.5)).collect());
                let (values, frames) = draw(&spec, 3, seed);
                let pairing = Pairing::views(&negatives, keep.as_deref());
                let (report, gradients) = recorded(&spec, &values, &frames, pairing);

                let task = plain::Task { rule, negatives: &negatives, keep: keep.as_deref() };
                let mut wide: Vec<Values> = values.iter().map(plain::wide).collect();
                let outputs = outputs(&spec, &wide, &plain::rows(&frames, spec.input().len()));
                let top = plain::pool(&spec.layers()[2], &outputs[2]);
                assert!(report[2].mismatch.is_none(), "the top's own error is back-propagation's");
                for layer in &spec.layers()[..2] {
                    let at = layer.index;
                    let ideal = ideal(&spec, &wide, at, &outputs, &task);
                    let p = plain::pool(layer, &outputs[at]);
                    let mismatch = |values: &Values| {
                        plain::distance(&ideal, &plain::unpool(layer, &task.error(values, &p, &p, &top)))
                    };
                    let got = report[at].mismatch.expect("below the top");
                    let want = [mismatch(&wide[at]), plain::distance(&ideal, &plain::unpool(layer, &plain::zeros(&p)))];
                    for (got, want) in [got.distance, got.ideal].into_iter().zip(want) {
                        assert!((got - want).abs() <= 1e-5 * want.max(1e-3), "{rule:?}, layer {at}: {got}, not {want}");
                    }
                    for role in [TensorRole::Projection, TensorRole::Feedback] {
                        let name = format!("{rule:?} {}", role.path(at));
                        let got = gradients[at].get(role);
                        assert_eq!(got.len(), wide[at].get(role).len());
                        compared += holds(&name, got, |element, change| {
                            wide[at].get_mut(role)[element] += change;
                            let distance = mismatch(&wide[at]);
                            wide[at].get_mut(role)[element] -= change;
                            distance
                        });
                    }
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared} compared");
}

#[test]
fn matched_feedback_changes_what_the_projections_below_the_top_learn_and_nothing_else() {
    let rule = Rule { contrast: Contrast::SoftHinge, ..Rule::clapp_pp_dfb() };
    let by = |feedback: Feedback| network(rule, clapp_pp_dfb::Rule { feedback });
    let (values, frames) = draw(&by(Feedback::Trained), 3, 9);
    let pairing = Pairing::views(&[1, 2, 3, 4, 5, 0], None);
    let under = |feedback: Feedback| recorded(&by(feedback), &values, &frames, pairing).1;
    let (trained, frozen, matched) = (under(Feedback::Trained), under(Feedback::Frozen), under(Feedback::Matched));
    for layer in 0..3 {
        for other in [&frozen, &matched] {
            assert_eq!(trained[layer].weight, other[layer].weight);
            assert_eq!(trained[layer].bias, other[layer].bias);
        }
        let [trained, frozen, matched] = [&trained, &frozen, &matched].map(|all| &all[layer].feedback);
        if layer == 2 {
            assert_eq!([trained, trained], [frozen, matched], "the top learns the same");
        } else {
            assert!(frozen.is_empty(), "no gradient for what does not learn");
            assert!(!matched.is_empty() && trained != matched);
        }
    }
}

#[test]
fn info_nce_gradients_are_the_slopes_of_its_loss_through_all_layers() {
    for (seed, pairs, temperature, outputs_of_head) in [(1, 2, 0.1, 5), (2, 4, 0.1, 3), (3, 5, 0.7, 7)] {
        let rule = Rule { projection: Projection::Identity, ..Rule::clapp_pp() };
        let head = Head { outputs: outputs_of_head, temperature };
        let spec = network(rule, bp_info_nce::Rule { head, backward: Backward::Whole });
        let (values, frames) = draw(&spec, pairs, seed);
        let pairing = Pairing::views(&[], None);
        let (report, gradients) = recorded(&spec, &values, &frames, pairing);

        let mut wide: Vec<Values> = values.iter().map(plain::wide).collect();
        let input = plain::rows(&frames, spec.input().len());
        let loss = |values: &[Values]| {
            let top = plain::pool(&spec.layers()[2], &outputs(&spec, values, &input)[2]);
            plain::info_nce(values[2].get(TensorRole::Head), &top, f64::from(temperature))
        };
        let want = loss(&wide);
        assert!((report[2].loss() - want).abs() < 1e-5 * want, "{} is not {want}", report[2].loss());
        assert!(report[..2].iter().all(|report| report.scores.is_empty()), "no loss below the top");
        for layer in spec.layers() {
            for (role, shape) in spec.tensors(layer) {
                let got = gradients[layer.index].get(role);
                assert_eq!(got.len(), shape.iter().product::<usize>());
                let compared = holds(&role.path(layer.index), got, |element, change| {
                    wide[layer.index].get_mut(role)[element] += change;
                    let loss = loss(&wide);
                    wide[layer.index].get_mut(role)[element] -= change;
                    loss
                });
                assert!(2 * compared > got.len(), "{}: {compared} compared", role.path(layer.index));
                assert!(got.iter().any(|gradient| gradient.abs() > 1e-4), "{} learns", role.path(layer.index));
            }
        }
    }
}

/// A head that maps everything to nothing: cosines of zero vectors are 0, and nothing may become NaN.
#[test]
fn info_nce_of_vectors_without_length_is_finite() {
    let rule = Rule { projection: Projection::Identity, ..Rule::clapp_pp() };
    let head = Head { outputs: 4, temperature: 0.1 };
    let spec = network(rule, bp_info_nce::Rule { head, backward: Backward::Whole });
    let (mut values, frames) = draw(&spec, 3, 4);
    values[2].head.fill(0.0);
    let (report, gradients) = recorded(&spec, &values, &frames, Pairing::views(&[], None));
    assert!((report[2].loss() - 3.0_f64.ln()).abs() < 1e-12);
    assert!(gradients.iter().all(|values| values.weight.iter().all(|gradient| *gradient == 0.0)));
    assert!(gradients[2].head.iter().all(|gradient| gradient.is_finite()));
}
