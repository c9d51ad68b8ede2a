//! One training step of the CPU backend: beside textbook loops for a small network, beside back-propagation for
//! the paper's.

use clapp_benches::step_work::StepWork;
use clapp_benches::{apart, naive};
use clapp_core::network::{Block, LossPool, Rule};
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, RuleName, preset};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::local_network;
use clapp_engine::step::Model;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Three layers on images of 16 x 16, four images a batch, plain SGD.
fn beside_plain_loops(c: &mut Criterion) {
    const IMAGES: usize = 4;
    let lr = 1e-4;
    let block = |channels| Block::conv(channels, [3, 3]).padding([1, 1]).max_pool([2, 2]);
    let blocks = vec![
        block(8).loss_pool(LossPool::Block([4, 4])),
        block(16).loss_pool(LossPool::Block([2, 2])),
        block(32).loss_pool(LossPool::Block([2, 2])),
    ];
    let spec = local_network(Shape::new(3, 16, 16), blocks, Rule::clapp_pp()).expect("a network");
    let mut flat = vec![0.0; spec.view().parameter_len()];
    clapp_core::init::uniform(&spec.view(), 1, &mut flat).expect("parameters of this length");
    let values = spec.values_from_flat(&flat);
    let mut plain: Vec<naive::Parameters> = values
        .iter()
        .map(|values| naive::Parameters {
            weight: values.weight.clone(),
            bias: values.bias.clone(),
            projection: values.projection.clone(),
        })
        .collect();
    let layers = spec.layers().to_vec();
    let optimizer = Optimizer::Sgd { lr, momentum: 0.0, weight_decay: 0.0 };
    let mut work = StepWork::new(Model::upload(&Cpu, spec, &values), IMAGES, optimizer);
    let frames = work.frames.clone();
    let mut plain_step = || naive::local_step(&layers, &mut plain, &frames, 2 * IMAGES, lr);
    // The same step on both sides: two of them, so that the first one's updates count.
    for _ in 0..2 {
        let ours: Vec<f32> = work.step().iter().map(|layer| layer.loss() as f32).collect();
        assert!(apart(&ours, &plain_step()) < 1e-5, "losses");
    }
    let mut group = c.benchmark_group("cpu step, 3 layers 16x16, 4 images, CLAPP++");
    group.throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("ours", |b| b.iter(|| black_box(&mut work).step()));
    group.bench_function("naive", |b| b.iter(|| black_box(&mut plain_step)()));
    group.finish();
}

/// The paper's VGG-6 at an eighth of its channels, 16 images a batch, AdamW.
fn beside_back_propagation(c: &mut Criterion) {
    const IMAGES: usize = 16;
    let base = preset("cifar10").expect("a preset");
    let work = |rule: RuleName| StepWork::of(&Config { rule, width: 0.125, ..base.clone() }, IMAGES);
    for rule in [RuleName::ClappPp, RuleName::ClappPpDfb] {
        let (mut local, mut global) = (work(rule), work(RuleName::BpClappPp));
        let mut group = c.benchmark_group(format!("cpu step, VGG-6 width 0.125, 16 images, {}", rule.name()));
        group.sample_size(20);
        group.throughput(Throughput::Elements(IMAGES as u64));
        group.bench_function("ours", |b| b.iter(|| black_box(&mut local).step()));
        group.bench_function("bp-clapp++", |b| b.iter(|| black_box(&mut global).step()));
        group.finish();
    }
}

criterion_group! {
    name = steps;
    config = clapp_benches::short(Criterion::default());
    targets = beside_plain_loops, beside_back_propagation
}
criterion_main!(steps);
