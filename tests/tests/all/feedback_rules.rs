//! Feedback rules other than back-propagation: direct feedback alignment, the weight mirror, predictive coding and its
//! hybrid with direct feedback. The tests compare them with finite differences of a second implementation in double
//! precision, and with back-propagation where both must agree.

use crate::plain;

use clapp_core::network::{Activation, Block, Contrast, LossPool, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::rules::step;
use clapp_engine::rules::weight_mirror::Mirror;
use clapp_engine::rules::{
    AnyRule, Feedback, LearningRule, bp_clapp_pp, clapp_pp_dfb, clapp_pp_dfb_pc, dfa, predictive_coding, weight_mirror,
};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::relax::Inference;
use clapp_engine::step::relax::Relaxation;
use clapp_engine::step::relax::{Course, ROUNDING, Relaxed};
use clapp_engine::step::{Mode, Model, StepBatch, download_gradients, read};
use clapp_tests::{numbers, uniform};
use plain::{Rows, Values};

/// Step of the finite differences.
const H: f64 = 1e-6;
/// Rounding of a gradient in single precision, relative to the largest of its tensor.
const TOLERANCE: f64 = 3e-5;
/// Images of a batch.
const PAIRS: usize = 3;
const ROWS: usize = 2 * PAIRS;
/// Ring negatives of [`ROWS`] rows.
const RING: [usize; ROWS] = [1, 2, 3, 4, 5, 0];

fn blocks() -> Vec<Block> {
    vec![
        Block::conv(4, [3, 2]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(5, [2, 3]).padding([1, 2]).stride([1, 2]).loss_pool(LossPool::Adaptive([3, 2])),
        Block::conv(4, [2, 2]).without_bias(),
    ]
}

fn spec(rule: Rule, by: impl Into<AnyRule>) -> NetworkSpec {
    by.into().network(Shape::new(2, 8, 7), blocks(), rule).expect("fits together")
}

const BACK_PROPAGATION: bp_clapp_pp::Rule = bp_clapp_pp::Rule { backward: Backward::Whole };

fn mirrored(mirror: Mirror) -> weight_mirror::Rule {
    weight_mirror::Rule { mirror, backward: Backward::Whole }
}

fn soft(rule: Rule) -> Rule {
    Rule { contrast: Contrast::SoftHinge, ..rule }
}

/// Values of all tensors, and frames.
fn draw(spec: &NetworkSpec, seed: u64) -> (Vec<LayerValues>, Vec<f32>) {
    let mut rng = numbers(seed);
    let layer_values = |layer: &Layer| {
        let mut values = LayerValues::default();
        for (role, shape) in spec.tensors(layer) {
            *values.get_mut(role) = uniform(&mut rng, shape.iter().product(), 0.5);
        }
        values
    };
    let values = spec.layers().iter().map(layer_values).collect();
    (values, uniform(&mut numbers(seed + 1), ROWS * spec.input().len(), 1.0))
}

fn pairing() -> Pairing<'static> {
    Pairing::views(&RING, None)
}

fn recorded(spec: &NetworkSpec, values: &[LayerValues], frames: &[f32]) -> Vec<LayerValues> {
    let mut model = Model::upload(&Cpu, spec.clone(), values);
    let mut gradients = Vec::new();
    let x = Cpu.upload_frames(spec.input(), frames);
    let outcome = step(&Cpu, &mut model, StepBatch { x, rows: ROWS, pairing: pairing() }, Mode::Record(&mut gradients));
    let report = read(&Cpu, pairing(), &outcome);
    assert!(report.last().is_some_and(|top| top.loss().is_finite() && !top.scores.is_empty()));
    assert!(model.download(&Cpu) == values, "a step that records changes nothing");
    download_gradients(&Cpu, spec, &gradients)
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

/// Holds a gradient against the slopes of `loss` over the tensor's values.
fn holds(name: &str, got: &[f32], values: &Values, role: TensorRole, loss: impl Fn(&Values) -> f64) {
    let mut values = values.clone();
    assert_eq!(got.len(), values.get(role).len(), "{name}");
    let slopes: Vec<[f64; 2]> = (0..got.len())
        .map(|at| {
            let mut with = |change: f64| {
                let kept = values.get(role)[at];
                values.get_mut(role)[at] = kept + change;
                let loss = loss(&values);
                values.get_mut(role)[at] = kept;
                loss
            };
            let (below, here, above) = (with(-H), with(0.0), with(H));
            [(here - below) / H, (above - here) / H]
        })
        .collect();
    let size = slopes.iter().fold(1e-3, |most: f64, [left, right]| most.max((left + right).abs() / 2.0));
    let mut compared = 0;
    for (at, (got, [left, right])) in got.iter().zip(&slopes).enumerate() {
        // Slopes that differ by more than curvature explains have a kink between them.
        if (left - right).abs() > 0.05 * size {
            continue;
        }
        let slope = (left + right) / 2.0;
        assert!((f64::from(*got) - slope).abs() <= TOLERANCE * size, "{name}[{at}]: {got}, not {slope} of {size}");
        compared += 1;
    }
    assert!(2 * compared > got.len(), "{name}: {compared} of {}", got.len());
    assert!(got.iter().any(|gradient| gradient.abs() > 1e-5), "{name} learns");
}

fn dot(a: &Rows, b: &Rows) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

fn encoder(layer: &Layer) -> Vec<TensorRole> {
    if layer.block.bias { vec![TensorRole::Weight, TensorRole::Bias] } else { vec![TensorRole::Weight] }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn norm(a: &[f32]) -> f64 {
    a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn layers_below_the_top_learn_from_its_error_through_their_fixed_matrices() {
    for rule in [Rule::clapp_pp_dfb(), soft(Rule::clapp_pp_dfb())] {
        let spec = spec(rule, dfa::Rule);
        let (values, frames) = draw(&spec, 11);
        let gradients = recorded(&spec, &values, &frames);
        let wide: Vec<Values> = values.iter().map(plain::wide).collect();
        let input = plain::rows(&frames, spec.input().len());
        let outputs = outputs(&spec, &wide, &input);
        let task = plain::Task { rule, negatives: &RING, keep: None };
        let [.., top] = spec.layers() else { panic!("three layers") };
        let p = plain::pool(top, &outputs[top.index]);
        let error = task.error(&wide[top.index], &p, &p, &p);
        for layer in spec.layers() {
            let below = if layer.index == 0 { &input } else { &outputs[layer.index - 1] };
            let feedback = wide[layer.index].get(TensorRole::Feedback);
            // F e, and a function of the block alone whose gradient by its pooled activity that is.
            let sent: Rows = error
                .iter()
                .map(|e| feedback.chunks(e.len()).map(|row| row.iter().zip(e).map(|(f, e)| f * e).sum()).collect())
                .collect();
            for role in encoder(layer) {
                holds(&role.path(layer.index), gradients[layer.index].get(role), &wide[layer.index], role, |values| {
                    let own = plain::pool(layer, &plain::forward(layer, values, below));
                    if layer.index == top.index { task.loss(values, &own, &p, &p) } else { dot(&sent, &own) }
                });
            }
            let learnt = gradients[layer.index].get(TensorRole::Feedback);
            assert_eq!(learnt.is_empty(), layer.index != top.index, "only the top's matrix learns");
        }
        let learnt = gradients[top.index].get(TensorRole::Feedback);
        holds("the top's projection", learnt, &wide[top.index], TensorRole::Feedback, |values| {
            task.loss(values, &p, &p, &p)
        });
    }
}

#[test]
fn errors_come_down_through_the_mirrors_and_not_through_the_weights() {
    let rule = Rule::clapp_pp();
    let global = spec(rule, BACK_PROPAGATION);
    let mirrored = spec(rule, mirrored(Mirror::default()));
    let (mut values, frames) = draw(&mirrored, 21);
    assert!(values[0].mirror.is_empty() && values[1].mirror.len() == values[1].weight.len());
    let other = recorded(&mirrored, &values, &frames);
    for layer in &mut values[1..] {
        layer.mirror.clone_from(&layer.weight);
    }
    let own = recorded(&mirrored, &values, &frames);
    let mut plain = values.clone();
    plain.iter_mut().for_each(|layer| layer.mirror.clear());
    let reference = recorded(&global, &plain, &frames);
    assert!(own == reference, "mirrors that are the weights give back-propagation, to the bit");
    assert!(other[2] == reference[2], "the top's error comes through none");
    assert!((0..2).all(|layer| other[layer].weight != reference[layer].weight));
    // Twice the mirror of layer 1 is twice the error of layer 0, and of no other.
    values[1].mirror.iter_mut().for_each(|value| *value *= 2.0);
    let twice = recorded(&mirrored, &values, &frames);
    assert!(twice[0].weight.iter().zip(&own[0].weight).all(|(twice, once)| *twice == 2.0 * once));
    assert!(twice[1..] == own[1..]);
}

#[test]
fn mirrors_turn_to_the_weights_and_to_their_length() {
    let blocks = vec![
        Block::conv(6, [3, 3]).padding([1, 1]).activation(Activation::Identity),
        Block::conv(8, [3, 3]).activation(Activation::Identity),
        Block::conv(8, [2, 2]).padding([1, 1]).max_pool([2, 2]),
    ];
    for (settings, length) in [
        (Mirror::default(), 1.0),
        (Mirror { amplitude: 2.0, ..Mirror::default() }, 4.0),
        (Mirror { decay: 0.4, ..Mirror::default() }, 0.5),
    ] {
        let by = mirrored(settings);
        let spec = AnyRule::from(by).network(Shape::new(2, 10, 10), blocks.clone(), Rule::clapp_pp());
        let spec = spec.expect("fits together");
        let (mut values, _) = draw(&spec, 31);
        by.first_values(&spec, 5, &mut values);
        let mut model = Model::upload(&Cpu, spec.clone(), &values);
        let cosines = |model: &Model<Vec<f32>>| -> Vec<f64> {
            let values = model.download(&Cpu);
            values[1..].iter().map(|layer| cosine(&layer.mirror, &layer.weight)).collect()
        };
        let before = cosines(&model);
        let mut ahead = Model::upload(&Cpu, spec.clone(), &values);
        by.before_first_step(&Cpu, &mut ahead, 5);
        assert!(cosines(&ahead).iter().all(|cosine| *cosine > 0.95), "before the first step");
        let mut last = before.clone();
        for round in 0..4 {
            for step in 0..25 {
                by.after_step(&Cpu, &mut model, 5, 25 * round + step + 1);
            }
            let now = cosines(&model);
            if round == 0 {
                assert!(now.iter().zip(&last).all(|(now, last)| now > last), "{now:?} after {last:?}");
            }
            last = now;
        }
        assert!(before.iter().all(|cosine| cosine.abs() < 0.3), "{before:?}");
        assert!(last.iter().all(|cosine| *cosine > 0.95), "{settings:?}: {last:?}");
        let after = model.download(&Cpu);
        for (layer, (after, first)) in after.iter().zip(&values).enumerate() {
            assert!(after.weight == first.weight && after.bias == first.bias, "only the mirrors change");
            if layer > 0 {
                // In each place the top layer's kernel sees the 8 x 8 pixels of its map from 9 x 9 positions.
                let length = if layer == 2 { length * 64.0 / 81.0 } else { length };
                let ratio = norm(&after.mirror) / norm(&after.weight);
                assert!((ratio / length - 1.0).abs() < 0.1, "{settings:?}, layer {layer}: {ratio}, not {length}");
            }
        }
    }
}

/// The network after its inference with its context, and the energy over the iterations.
fn inferred<'a>(
    spec: &'a NetworkSpec,
    model: &Model<Vec<f32>>,
    x: &'a Vec<f32>,
    settings: Relaxation,
) -> (Relaxed<'a, Cpu>, Vec<f32>, Course) {
    let rule = spec.rule();
    let mut state = Relaxed::forward(&Cpu, model, spec.layers(), x, ROWS);
    let context = state.pooled();
    let projection = &model.layers[2].projection.as_ref().expect("a projection").value;
    let course = state.infer(model, settings, &mut |p| {
        let factors = Cpu.contrast(&rule, pairing(), p, &context, Some(projection), ROWS);
        let loss = Cpu.read_scores(pairing(), TensorRole::Projection, &factors.scores).loss;
        (loss, Cpu.pooled_gradient(&[(pairing(), &factors)], ROWS))
    });
    (state, context, course)
}

#[test]
fn the_energy_is_what_its_definition_says_and_learning_descends_on_it() {
    let rule = soft(Rule::clapp_pp());
    for by in [Inference::Errors, Inference::Activities] {
        energy_and_gradients(rule, Relaxation { by, iterations: 5, rate: 0.3, weight: 20.0 });
    }
}

fn energy_and_gradients(rule: Rule, settings: Relaxation) {
    let spec = spec(rule, predictive_coding::Rule { relaxation: settings });
    let (values, frames) = draw(&spec, 41);
    let model = Model::upload(&Cpu, spec.clone(), &values);
    let x = Cpu.upload_frames(spec.input(), &frames);
    let (mut state, context, course) = inferred(&spec, &model, &x, settings);
    let z: Vec<Rows> = spec
        .layers()
        .iter()
        .zip(state.values())
        .map(|(layer, z)| plain::rows(&Cpu.download_frames(layer.output, z), layer.output.len()))
        .collect();
    let wide: Vec<Values> = values.iter().map(plain::wide).collect();
    let input = plain::rows(&frames, spec.input().len());
    let context = plain::rows(&context, 4);
    let task = plain::Task { rule, negatives: &RING, keep: None };
    let energy_of = |at: usize, values: &Values| {
        let below = if at == 0 { &input } else { &z[at - 1] };
        0.5 * plain::distance(&z[at], &plain::forward(&spec.layers()[at], values, below))
    };
    let top = plain::pool(&spec.layers()[2], &z[2]);
    let loss = |values: &Values| 20.0 * ROWS as f64 * task.loss(values, &top, &context, &context);
    let energy = (0..3).map(|at| energy_of(at, &wide[at])).sum::<f64>() + loss(&wide[2]);
    let found = course.energies[5];
    assert!((found - energy).abs() < 1e-5 * energy, "{found}, not {energy}");
    assert!(
        plain::rows(&state.pooled(), 4).iter().flatten().zip(top.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6)
    );
    let gradients = recorded(&spec, &values, &frames);
    let share = 1.0 / (20.0 * ROWS as f64);
    for layer in spec.layers() {
        let at = layer.index;
        for role in encoder(layer) {
            holds(&role.path(at), gradients[at].get(role), &wide[at], role, |values| share * energy_of(at, values));
        }
    }
    let learnt = gradients[2].get(TensorRole::Projection);
    holds("the projection", learnt, &wide[2], TensorRole::Projection, |values| share * loss(values));
}

#[test]
fn the_energy_never_rises() {
    for (rule, seed) in [(Rule::clapp_pp(), 51), (soft(Rule::clapp_pp()), 52), (Rule::clapp_pp(), 53)] {
        let spec = spec(rule, predictive_coding::Rule { relaxation: Relaxation::default() });
        let (values, frames) = draw(&spec, seed);
        let model = Model::upload(&Cpu, spec.clone(), &values);
        let x = Cpu.upload_frames(spec.input(), &frames);
        for by in [Inference::Errors, Inference::Activities] {
            let settings = Relaxation { by, iterations: 4, rate: 0.5, weight: 1.0 };
            let (_, _, course) = inferred(&spec, &model, &x, settings);
            assert_eq!((course.energies.len(), course.taken_back), (settings.iterations + 1, 0), "{course:?}");
            assert!(course.energies.windows(2).all(|pair| pair[1] < pair[0]), "{course:?}");
            // Far too large a rate: steps are taken back, and still it falls.
            let (_, _, course) = inferred(&spec, &model, &x, Relaxation { rate: 50.0, iterations: 20, ..settings });
            assert!(course.taken_back > 0, "{course:?}");
            assert!(course.energies.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + ROUNDING)), "{course:?}");
            assert!(course.energies[20] < course.energies[0]);
        }
    }
}

#[test]
fn where_the_loss_weighs_little_predictive_coding_is_back_propagation() {
    for (rule, seed) in [(Rule::clapp_pp(), 62), (soft(Rule::clapp_pp()), 62), (Rule::clapp_pp(), 64)] {
        let global = spec(rule, BACK_PROPAGATION);
        let (values, frames) = draw(&global, seed);
        let reference = recorded(&global, &values, &frames);
        for by in [Inference::Errors, Inference::Activities] {
            like_back_propagation(rule, by, &values, &frames, &reference);
        }
    }
}

/// The gradients come near to those of back-propagation as the weight of the loss falls.
fn like_back_propagation(rule: Rule, by: Inference, values: &[LayerValues], frames: &[f32], reference: &[LayerValues]) {
    let least = |cosines: &[f64]| cosines.iter().fold(1.0_f64, |least, cosine| least.min(*cosine));
    let cosines = |weight: f32| {
        let relaxation = Relaxation { by, iterations: 150, rate: 0.3, weight };
        let relaxed = spec(rule, predictive_coding::Rule { relaxation });
        let gradients = recorded(&relaxed, values, frames);
        let pairs = gradients.iter().zip(reference);
        let ratio = |(own, other): (&LayerValues, &LayerValues)| norm(&own.weight) / norm(&other.weight);
        let cosine = |(own, other): (&LayerValues, &LayerValues)| cosine(&own.weight, &other.weight);
        (pairs.clone().map(cosine).collect::<Vec<_>>(), pairs.map(ratio).collect::<Vec<_>>())
    };
    // Still less weight would leave errors that single precision cannot tell from activities.
    let [(far, _), (nearer, _), (near, ratios)] = [3.0, 0.3, 0.01].map(cosines);
    println!("{by:?}: {far:?} {nearer:?} {near:?} {ratios:?}");
    assert!(least(&far) < 0.99 && least(&far) < least(&nearer) && least(&nearer) < least(&near));
    assert!(least(&near) > 0.9999, "{near:?}");
    assert!(ratios.iter().all(|ratio| (ratio - 1.0).abs() < 0.02), "{ratios:?}");
}

#[test]
fn the_hybrid_relaxes_the_top_alone_and_teaches_all_others_with_it() {
    let rule = soft(Rule::clapp_pp_dfb());
    let settings = Relaxation { by: Inference::Errors, iterations: 4, rate: 0.4, weight: 10.0 };
    let hybrid = |relaxation| spec(rule, clapp_pp_dfb_pc::Rule { feedback: Feedback::Trained, relaxation });
    let spec = hybrid(settings);
    let (values, frames) = draw(&spec, 71);
    let gradients = recorded(&spec, &values, &frames);
    let wide: Vec<Values> = values.iter().map(plain::wide).collect();
    let input = plain::rows(&frames, spec.input().len());
    let outputs = outputs(&spec, &wide, &input);
    let task = plain::Task { rule, negatives: &RING, keep: None };
    let [.., top] = spec.layers() else { panic!("three layers") };
    let forward = plain::pool(top, &outputs[2]);
    // The same descent in double precision.
    let mut z = outputs[2].clone();
    for _ in 0..4 {
        let pull = plain::unpool(top, &task.error(&wide[2], &plain::pool(top, &z), &forward, &forward));
        for ((z, predicted), pull) in z.iter_mut().zip(&outputs[2]).zip(&pull) {
            for ((z, predicted), pull) in z.iter_mut().zip(predicted).zip(pull) {
                *z -= 0.4 * (*z - predicted + 10.0 * ROWS as f64 * pull);
            }
        }
    }
    let target = plain::pool(top, &z);
    assert!(plain::distance(&target, &forward) > 1e-3, "it moves");
    for layer in spec.layers() {
        let at = layer.index;
        let below = if at == 0 { &input } else { &outputs[at - 1] };
        for role in encoder(layer) {
            holds(&role.path(at), gradients[at].get(role), &wide[at], role, |values| {
                let own = plain::forward(layer, values, below);
                match at {
                    2 => 0.5 * plain::distance(&z, &own) / (10.0 * ROWS as f64),
                    _ => task.loss(values, &plain::pool(layer, &own), &target, &target),
                }
            });
        }
        let own = if at == 2 { target.clone() } else { plain::pool(layer, &outputs[at]) };
        let context = if at == 2 { &forward } else { &target };
        let learnt = gradients[at].get(TensorRole::Feedback);
        holds(&TensorRole::Feedback.path(at), learnt, &wide[at], TensorRole::Feedback, |values| {
            task.loss(values, &own, context, context)
        });
    }
    // With a weight of the loss near zero, the top layer does not move, and the rule equals direct feedback.
    let still = recorded(
        &hybrid(Relaxation { iterations: 60, rate: 0.5, weight: 1e-3, ..Relaxation::default() }),
        &values,
        &frames,
    );
    let feedback = recorded(&self::spec(rule, clapp_pp_dfb::Rule { feedback: Feedback::Trained }), &values, &frames);
    for (own, other) in still.iter().zip(&feedback) {
        assert!(cosine(&own.weight, &other.weight) > 0.9999);
        assert!((norm(&own.weight) / norm(&other.weight) - 1.0).abs() < 0.01);
    }
}
