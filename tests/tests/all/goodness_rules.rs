//! Goodness rules (Forward-Forward, SCFF) and PhyLL in training: their gradients against finite differences in double
//! precision on the training inputs of a batch, the activity between layers, and the random draws.

use crate::plain;

use clapp_core::network::Contrast;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::{Config, Negatives, RuleName};
use clapp_engine::draws::{Draws, mix};
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::probe::features;
use clapp_engine::rules::step;
use clapp_engine::step::{Mode, Model, StepBatch, StepReport, download_gradients, read};
use clapp_engine::trainer::initial_values;
use clapp_tests::{SHAPE, numbers, small_config, uniform};
use plain::{Rows, Values};

/// Step of the finite differences.
const H: f64 = 1e-6;
/// Rounding of a gradient in single precision, relative to the largest of its tensor.
const TOLERANCE: f64 = 2e-5;
/// Elements of a tensor that are compared; more are left out evenly.
const MOST: usize = 24;
/// Images of a batch.
const IMAGES: usize = 3;

/// A batch as training has it: views, mixed as the rule asks for.
fn batch(config: &Config) -> Vec<f32> {
    let mut x = uniform(&mut numbers(3), 2 * IMAGES * SHAPE.len(), 1.5);
    mix(config, SHAPE, 1, &mut x);
    x
}

fn recorded(
    spec: &NetworkSpec,
    values: &[LayerValues],
    x: &[f32],
    pairing: Pairing<'_>,
) -> (StepReport, Vec<LayerValues>) {
    let mut model = Model::upload(&Cpu, spec.clone(), values);
    let mut gradients = Vec::new();
    let rows = x.len() / SHAPE.len();
    let outcome = step(
        &Cpu,
        &mut model,
        StepBatch { x: Cpu.upload_frames(SHAPE, x), rows, pairing },
        Mode::Record(&mut gradients),
    );
    (read(&Cpu, pairing, &outcome), download_gradients(&Cpu, &model.spec, &gradients))
}

/// Rows with a mean square of 1.
fn unit(rows: &Rows) -> Rows {
    let scaled = |row: &Vec<f64>| {
        let square = row.iter().map(|value| value * value).sum::<f64>() / row.len() as f64;
        row.iter().map(|value| if square > 0.0 { value / square.sqrt() } else { 0.0 }).collect()
    };
    rows.iter().map(scaled).collect()
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The mean cost of the goodness of all rows, the first half positives.
fn goodness_loss(theta: f64, p: &Rows) -> f64 {
    let cost = |(row, p): (usize, &Vec<f64>)| {
        let goodness = p.iter().map(|value| value * value).sum::<f64>() / p.len() as f64;
        softplus(if 2 * row < 2 * IMAGES { theta - goodness } else { goodness - theta })
    };
    p.iter().enumerate().map(cost).sum::<f64>() / p.len() as f64
}

/// Holds the gradients of weights and biases of each layer against the slopes of `loss` of its pooled activity.
fn check(spec: &NetworkSpec, config: &Config, theta: f64, loss: impl Fn(usize, &Rows) -> f64) {
    let values = initial_values(config).expect("values");
    let x = batch(config);
    let draws = Draws::new(config, 2 * IMAGES, 1);
    let (report, gradients) = recorded(spec, &values, &x, draws.pairing());
    let mut wide: Vec<Values> = values.iter().map(plain::wide).collect();
    let mut input = plain::rows(&x, SHAPE.len());
    for layer in spec.layers() {
        let at = layer.index;
        let of = |values: &Values| loss(at, &plain::pool(layer, &plain::forward(layer, values, &input)));
        let want = of(&wide[at]);
        assert!((report[at].loss() - want).abs() <= 1e-5 * want, "layer {at}: {} is not {want}", report[at].loss());
        for role in [TensorRole::Weight, TensorRole::Bias] {
            let got = gradients[at].get(role);
            let elements: Vec<usize> = (0..got.len()).step_by(got.len().div_ceil(MOST)).collect();
            let slopes: Vec<[f64; 2]> = elements
                .iter()
                .map(|&element| {
                    let mut with = |change: f64| {
                        let kept = wide[at].get(role)[element];
                        wide[at].get_mut(role)[element] = kept + change;
                        let loss = of(&wide[at]);
                        wide[at].get_mut(role)[element] = kept;
                        loss
                    };
                    let (below, here, above) = (with(-H), with(0.0), with(H));
                    [(here - below) / H, (above - here) / H]
                })
                .collect();
            let size = slopes.iter().fold(1e-3, |most: f64, [left, right]| most.max((left + right).abs() / 2.0));
            let mut compared = 0;
            for (&element, [left, right]) in elements.iter().zip(slopes) {
                let got = got[element];
                if (left - right).abs() > TOLERANCE * size {
                    continue;
                }
                let slope = (left + right) / 2.0;
                assert!(
                    (f64::from(got) - slope).abs() <= TOLERANCE * size,
                    "{}, theta {theta}, {}[{element}]: {got}, not {slope} of {size}",
                    config.rule.name(),
                    role.path(at)
                );
                compared += 1;
            }
            assert!(2 * compared > elements.len(), "{}: {compared} of {}", role.path(at), elements.len());
            assert!(got.iter().any(|gradient| gradient.abs() > 1e-4), "{} learns", role.path(at));
        }
        let output = plain::forward(layer, &wide[at], &input);
        input = if spec.form().normalise { unit(&output) } else { output };
        if config.rule == RuleName::Scff {
            // Each layer makes new pairs from the activity of each image.
            for image in 0..IMAGES {
                let other = input[(image + 1) % IMAGES].clone();
                input[IMAGES + image] = input[image].iter().zip(other).map(|(a, b)| 0.5 * (a + b)).collect();
            }
        }
    }
}

#[test]
fn gradients_of_goodness_are_its_slopes_with_both_factors_live() {
    for rule in [RuleName::ForwardForward, RuleName::Scff] {
        for theta in [0.1_f32, 2.0] {
            let config = Config { contrast: Some(Contrast::Goodness { theta }), ..small_config(rule) };
            let theta = f64::from(theta);
            check(&config.network().expect("a network"), &config, theta, |_, p| goodness_loss(theta, p));
        }
    }
}

#[test]
fn gradients_of_phyll_are_its_slopes_with_the_reference_detached() {
    let config = Config { contrast: Some(Contrast::Phyll { theta: 1.5 }), ..small_config(RuleName::Phyll) };
    let spec = config.network().expect("a network");
    let values: Vec<Values> = initial_values(&config).expect("values").iter().map(plain::wide).collect();
    // The contexts, which stay where they are.
    let mut contexts = Vec::new();
    let mut input = plain::rows(&batch(&config), SHAPE.len());
    for layer in spec.layers() {
        input = plain::forward(layer, &values[layer.index], &input);
        contexts.push(plain::pool(layer, &input));
    }
    let other_view = |row: usize| (row + IMAGES) % (2 * IMAGES);
    check(&spec, &config, 1.5, |layer, p| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cost = |(row, c): (usize, &Vec<f64>)| {
            let negative = other_view((row + 1) % (2 * IMAGES));
            softplus(1.5 * (dot(&p[negative], c) - dot(&p[other_view(row)], c)))
        };
        contexts[layer].iter().enumerate().map(cost).sum::<f64>() / p.len() as f64
    });
}

#[test]
fn scores_of_goodness_are_told_apart_by_what_they_are_of() {
    let config = small_config(RuleName::Scff);
    let spec = config.network().expect("a network");
    let draws = Draws::new(&config, 2 * IMAGES, 1);
    let (report, _) = recorded(&spec, &initial_values(&config).expect("values"), &batch(&config), draws.pairing());
    for layer in report {
        let [scores] = layer.scores.as_slice() else { panic!("one context") };
        assert_eq!([scores.u_pos.len(), scores.u_neg.len()], [IMAGES, IMAGES]);
        assert!(scores.u_pos.iter().chain(&scores.u_neg).all(|goodness| *goodness > 0.0));
    }
}

/// The probe must see the same activity as training: an image twice as bright changes the first layer only, as far as
/// that layer is linear.
#[test]
fn the_probe_sees_activity_of_unit_length_between_layers() {
    let mut config = small_config(RuleName::ForwardForward);
    config.blocks.iter_mut().for_each(|block| block.bias = false);
    let values = initial_values(&config).expect("values");
    let features_of = |config: &Config, scale: f32| {
        let model = Model::upload(&Cpu, config.network().expect("a network"), &values);
        let x: Vec<f32> = uniform(&mut numbers(8), 2 * SHAPE.len(), 1.0).iter().map(|value| value * scale).collect();
        let seen = features(&Cpu, &model, &config.probe_network().expect("fits"), Cpu.upload_frames(SHAPE, &x), 2);
        (0..3).map(|layer| seen.layer(layer).to_vec()).collect::<Vec<_>>()
    };
    let (dim, bright) = (features_of(&config, 1.0), features_of(&config, 2.0));
    let apart =
        |a: &[f32], b: &[f32], scale: f32| a.iter().zip(b).all(|(a, b)| (scale * a - b).abs() <= 1e-6 * b.abs());
    assert!(apart(&dim[0], &bright[0], 2.0), "the first layer sees the image");
    for layer in [1, 2] {
        assert!(apart(&dim[layer], &bright[layer], 1.0), "layer {layer} sees what has unit length");
    }
    let plain = Config { rule: RuleName::ClappPp, ..config.clone() };
    let (dim, bright) = (features_of(&plain, 1.0), features_of(&plain, 2.0));
    assert!(apart(&dim[2], &bright[2], 2.0) && !apart(&dim[2], &bright[2], 1.0), "other rules pass lengths on");
}

#[test]
fn mixtures_are_made_of_two_images_and_leave_the_first_half_alone() {
    let x = uniform(&mut numbers(3), 2 * IMAGES * SHAPE.len(), 1.5);
    let image = |x: &[f32], row: usize| x[row * SHAPE.len()..(row + 1) * SHAPE.len()].to_vec();
    for negatives in [Negatives::Ring, Negatives::Uniform(1)] {
        for rule in [RuleName::ForwardForward, RuleName::Scff] {
            let config = Config { negatives, ..small_config(rule) };
            let mut mixed = x.clone();
            mix(&config, SHAPE, 7, &mut mixed);
            let mut again = x.clone();
            mix(&config, SHAPE, 7, &mut again);
            assert_eq!(mixed, again, "a function of seed and step");
            for row in 0..IMAGES {
                assert_eq!(image(&mixed, row), image(&x, row));
                let (got, own) = (image(&mixed, IMAGES + row), image(&x, IMAGES + row));
                let others: Vec<usize> = (0..IMAGES).filter(|other| *other != row).collect();
                let others = if negatives == Negatives::Ring { vec![(row + 1) % IMAGES] } else { others };
                let made_of = |other: &usize| {
                    let other = image(&x, IMAGES + other);
                    match rule {
                        RuleName::Scff => {
                            let mean =
                                image(&x, row).iter().zip(&other).map(|(a, b)| 0.5 * (a + b)).collect::<Vec<_>>();
                            got == mean
                        }
                        _ => {
                            let from_own = got.iter().zip(&own).filter(|(a, b)| a == b).count();
                            let from_other = got.iter().zip(&other).filter(|(a, b)| a == b).count();
                            let both = 0.2 * got.len() as f64;
                            from_own + from_other == got.len() && from_own as f64 > both && from_other as f64 > both
                        }
                    }
                };
                assert!(others.iter().any(made_of), "{rule:?} {negatives:?} row {row}");
            }
        }
    }
    let mut views = x.clone();
    mix(&small_config(RuleName::ClappPp), SHAPE, 7, &mut views);
    assert_eq!(views, x, "other rules take the views as they are");
}

#[test]
fn negatives_are_shared_or_fresh_for_every_layer_and_loss() {
    let rows = 12;
    let roles = [TensorRole::Projection, TensorRole::Feedback];
    let lists = |config: &Config, step: u64| {
        let draws = Draws::new(config, rows, step);
        let pairing = draws.pairing();
        let mut lists = Vec::new();
        for layer in 0..config.blocks.len() {
            lists.extend(roles.map(|role| pairing.of(layer, role).negatives.to_vec()));
        }
        lists
    };
    let shared = Config { negatives: Negatives::Uniform(2), ..small_config(RuleName::ClappPpBoth) };
    let fresh = Config { negatives_shared: false, ..shared.clone() };
    let same = lists(&shared, 4);
    assert!(same.iter().all(|list| *list == same[0] && list.len() == 2 * rows), "one list for all losses");
    let own = lists(&fresh, 4);
    assert_eq!(own, lists(&fresh, 4), "a function of seed and step");
    assert_ne!(own, lists(&fresh, 5));
    for (index, list) in own.iter().enumerate() {
        assert_eq!(list.len(), 2 * rows);
        assert!(list.iter().all(|negative| *negative < rows));
        assert!(own[..index].iter().all(|other| other != list), "list {index} is its own");
    }
    // The step takes each layer's own list: with the same values, layers with fresh negatives score others.
    let values = initial_values(&shared).expect("values");
    let x = uniform(&mut numbers(3), rows * SHAPE.len(), 1.5);
    let scores = |config: &Config| {
        let draws = Draws::new(config, rows, 4);
        let (report, _) = recorded(&config.network().expect("a network"), &values, &x, draws.pairing());
        report.into_iter().flat_map(|layer| layer.scores).map(|scores| scores.u_neg).collect::<Vec<_>>()
    };
    let (shared, fresh) = (scores(&shared), scores(&fresh));
    assert_eq!(shared[0], fresh[0], "the first list is the shared one");
    assert!(shared[1..].iter().zip(&fresh[1..]).all(|(shared, fresh)| shared != fresh));
}

#[test]
fn one_term_a_row_is_drawn_evenly_and_for_each_step() {
    let config = Config { either: true, ..small_config(RuleName::ClappPp) };
    let kept: Vec<bool> = (1..=100)
        .flat_map(|step| Draws::new(&config, 12, step).pairing().keep_positive.expect("drawn").to_vec())
        .collect();
    let positives = kept.iter().filter(|kept| **kept).count();
    assert!((500..700).contains(&positives), "{positives} of 1200");
    assert_ne!(kept[..12], kept[12..24]);
    assert!(Draws::new(&small_config(RuleName::ClappPp), 12, 1).pairing().keep_positive.is_none());
}
