//! Back-propagation with checkpointing and by parts: the gradients are those of the whole batch at once.

use clapp_core::network::{Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::Negatives;
use clapp_engine::draws::draw_negatives;
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::rules::Head;
use clapp_engine::rules::step;
use clapp_engine::rules::{AnyRule, bp_clapp_pp, bp_info_nce};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::{Mode, Model, StepBatch, StepReport, download_gradients, read};
use clapp_tests::{numbers, uniform};

const INPUT: Shape = Shape::new(3, 12, 12);
const IMAGES: usize = 7;

fn network(backward: Backward, head: Option<Head>) -> NetworkSpec {
    let block = |channels| Block::conv(channels, [3, 3]).padding([1, 1]).loss_pool(LossPool::Global);
    let blocks = vec![block(8), block(12).max_pool([2, 2]), block(10), block(9), block(6).max_pool([2, 2]), block(5)];
    let rule = Rule {
        contrast: Contrast::SoftHinge,
        context: Context::Same,
        projection: Projection::Trainable,
        pos_coeff: 1.0,
    };
    let by: AnyRule = match head {
        Some(head) => bp_info_nce::Rule { head, backward }.into(),
        None => bp_clapp_pp::Rule { backward }.into(),
    };
    by.network(INPUT, blocks, rule).expect("a network")
}

fn recorded(backward: Backward, head: Option<Head>) -> (StepReport, Vec<LayerValues>) {
    let spec = network(backward, head);
    let mut rng = numbers(5);
    let mut draw = |shape: &[usize]| {
        let bound = 1.5 / (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        uniform(&mut rng, shape.iter().product(), bound)
    };
    let mut values = Vec::new();
    for layer in spec.layers() {
        let mut of_layer = LayerValues::default();
        for (role, shape) in spec.tensors(layer) {
            *of_layer.get_mut(role) = draw(&shape);
        }
        values.push(of_layer);
    }
    let frames = draw(&[2 * IMAGES * INPUT.len()]);
    let negatives = draw_negatives(Negatives::Uniform(2), 2 * IMAGES, 3, 1);
    let pairing = Pairing::views(&negatives, None);
    let mut model = Model::upload(&Cpu, spec, &values);
    let mut gradients = Vec::new();
    let x = Cpu.upload_frames(INPUT, &frames);
    let outcome = step(&Cpu, &mut model, StepBatch { x, rows: 2 * IMAGES, pairing }, Mode::Record(&mut gradients));
    (read(&Cpu, pairing, &outcome), download_gradients(&Cpu, &model.spec, &gradients))
}

/// Euclidean distance over the length of the former.
fn apart(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference.sqrt() / square(&mut expected.iter().map(|value| f64::from(*value))).sqrt()
}

#[test]
fn checkpointing_gives_the_same_bits() {
    for head in [None, Some(Head { outputs: 4, temperature: 0.3 })] {
        let (report, gradients) = recorded(Backward::Whole, head);
        let (other, found) = recorded(Backward::Checkpointed, head);
        assert_eq!(gradients, found);
        assert_eq!(report.last().map(|layer| layer.loss()), other.last().map(|layer| layer.loss()));
        assert!(gradients.iter().all(|layer| layer.weight.iter().any(|gradient| *gradient != 0.0)), "all layers learn");
    }
}

#[test]
fn parts_give_the_gradients_of_the_whole_batch() {
    for head in [None, Some(Head { outputs: 4, temperature: 0.3 })] {
        let (report, gradients) = recorded(Backward::Whole, head);
        for parts in [1, 2, 3, IMAGES] {
            let (other, found) = recorded(Backward::Accumulated(parts), head);
            let losses = [&report, &other].map(|report| report.last().expect("a layer").loss());
            assert!((losses[0] - losses[1]).abs() < 1e-6 * losses[0].abs(), "{parts} parts: {losses:?}");
            for (index, (expected, found)) in gradients.iter().zip(&found).enumerate() {
                for role in TensorRole::ALL.into_iter().filter(|role| !expected.get(*role).is_empty()) {
                    let apart = apart(expected.get(role), found.get(role));
                    // Sums in single precision in another order, of terms that mostly cancel.
                    assert!(apart < 1e-5, "{parts} parts, layer {index}, {role:?}: {apart:e}");
                }
            }
        }
    }
}
