//! The linear contrast's loss is a small difference of large scores, with no constant in it: on random networks and
//! batches, both implementations against double precision. Its error is relative to the size of the scores, not to its
//! own size, because activity is in single precision, whatever the precision of the sums of scores.

use crate::plain;

use clapp_core::learner::Batch;
use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::observer::{Observer, Scores};
use clapp_core::shape::Shape;
use clapp_data::rng::Rng;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::core_memory::CoreMemory;
use clapp_engine::model::{LayerValues, NetworkSpec};
use clapp_engine::rules::clapp_pp_dfb;
use clapp_engine::rules::step;
use clapp_engine::step::{Mode, Model, StepBatch, read};
use clapp_tests::{numbers, uniform};

/// Networks and batches that are drawn.
const CASES: u64 = 150;
/// Largest error of a loss, as a share of the size of the scores.
const MOST: f64 = 6e-7;

struct Drawn {
    spec: NetworkSpec,
    values: Vec<LayerValues>,
    x: Vec<f32>,
    rows: usize,
    negatives: Vec<usize>,
}

fn below(rng: &mut Rng, count: usize) -> usize {
    (rng.uniform(0.0, count as f32) as usize).min(count - 1)
}

fn draw(seed: u64) -> Drawn {
    let mut rng = numbers(seed);
    let input = Shape::new(1 + below(&mut rng, 3), 8 + below(&mut rng, 5), 8 + below(&mut rng, 5));
    let layers = 2 + below(&mut rng, 2);
    let blocks = (0..layers).map(|layer| Block {
        out_channels: 4 + below(&mut rng, 17),
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        bias: true,
        activation: Activation::Relu,
        max_pool: (layer == 1).then_some([2, 2]),
        loss_pool: [LossPool::Global, LossPool::Block([2, 2]), LossPool::Adaptive([2, 2])][below(&mut rng, 3)],
    });
    let blocks = blocks.collect();
    let context = [Context::Same, Context::Top, Context::Both][below(&mut rng, 3)];
    let rule = Rule { contrast: Contrast::Linear, context, projection: Projection::Trainable, pos_coeff: 1.0 };
    let spec = clapp_pp_dfb::network(input, blocks, rule).expect("a network");
    let mut flat = vec![0.0; spec.view().parameter_len()];
    clapp_core::init::uniform(&spec.view(), seed, &mut flat).expect("values");
    let mut values = spec.values_from_flat(&flat);
    // As in the golden vectors: activity keeps its size from layer to layer.
    values.iter_mut().flat_map(|layer| layer.weight.iter_mut().chain(&mut layer.bias)).for_each(|value| *value *= 2.0);
    let rows = 2 * (2 + below(&mut rng, 7));
    let count = 1 + below(&mut rng, 4);
    let negatives = (0..count * rows).map(|_| below(&mut rng, rows)).collect();
    let x = uniform(&mut rng, rows * input.len(), 1.8);
    Drawn { x, spec, values, rows, negatives }
}

/// Loss and root of the mean square of the scores, in the order of layers and then of contexts.
#[derive(Default)]
struct Losses(Vec<(f64, f64)>);

fn size<'a>(scores: impl Iterator<Item = &'a f32>) -> f64 {
    let (count, sum) = scores.fold((0.0_f64, 0.0), |(count, sum), u| (count + 1.0, sum + f64::from(*u).powi(2)));
    (sum / count).sqrt()
}

impl Observer for Losses {
    fn scores(&mut self, scores: &Scores<'_>) {
        self.0.push((scores.loss.into(), size(scores.positive.iter().chain(scores.negative))));
    }
}

fn on_core(drawn: &Drawn) -> Vec<(f64, f64)> {
    let Drawn { spec, values, x, rows, negatives } = drawn;
    let negatives: Vec<u32> = negatives.iter().map(|row| *row as u32).collect();
    let optimizer = clapp_core::optimizer::Optimizer::Record;
    let mut memory = CoreMemory::new(spec, values, &optimizer, rows / 2, negatives.len() / rows);
    let mut losses = Losses::default();
    let batch = Batch { frames: x, negatives: &negatives, keep_positive: None };
    memory.learner(spec, optimizer).expect("a learner").step(&batch, 1.0, &mut losses).expect("a step");
    losses.0
}

fn on_cpu(drawn: &Drawn) -> Vec<(f64, f64)> {
    let Drawn { spec, values, x, rows, negatives } = drawn;
    let mut model = Model::upload(&Cpu, spec.clone(), values);
    let mut gradients = Vec::new();
    let x = Cpu.upload_frames(spec.input(), x);
    let pairing = Pairing::views(negatives, None);
    let outcome = step(&Cpu, &mut model, StepBatch { x, rows: *rows, pairing }, Mode::Record(&mut gradients));
    read(&Cpu, pairing, &outcome)
        .iter()
        .flat_map(|layer| {
            layer.scores.iter().map(|scores| (scores.loss, size(scores.u_pos.iter().chain(&scores.u_neg))))
        })
        .collect()
}

fn in_double_precision(drawn: &Drawn) -> Vec<f64> {
    let Drawn { spec, values, x, negatives, .. } = drawn;
    let values: Vec<plain::Values> = values.iter().map(plain::wide).collect();
    let mut maps = plain::rows(x, spec.input().len());
    let mut pooled = Vec::new();
    for layer in spec.layers() {
        maps = plain::forward(layer, &values[layer.index], &maps);
        pooled.push(plain::pool(layer, &maps));
    }
    let top = pooled.last().expect("a layer");
    let mut losses = Vec::new();
    for (values, p) in values.iter().zip(&pooled) {
        for (has, context) in
            [(spec.rule().context.has_same(), Context::Same), (spec.rule().context.has_top(), Context::Top)]
        {
            let rule = Rule { context, ..spec.rule() };
            if has {
                losses.push(plain::loss(&rule, values, p, p, top, negatives, None));
            }
        }
    }
    losses
}

#[test]
fn the_loss_of_the_linear_contrast_is_as_close_as_its_scores() {
    let mut worst = [0.0_f64; 2];
    for seed in 0..CASES {
        let drawn = draw(seed);
        let want = in_double_precision(&drawn);
        assert!(want.len() >= drawn.spec.layers().len());
        for (worst, got) in worst.iter_mut().zip([on_core(&drawn), on_cpu(&drawn)]) {
            assert_eq!(got.len(), want.len());
            for ((got, size), want) in got.iter().zip(&want) {
                *worst = worst.max((got - want).abs() / size);
            }
        }
    }
    println!("core {:e}, cpu {:e}", worst[0], worst[1]);
    assert!(worst.iter().all(|worst| *worst <= MOST), "{worst:?}");
}
