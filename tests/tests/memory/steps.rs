//! The claim that local learning exists for: its activation memory does not grow with depth, while that of
//! back-propagation grows by one map a layer. Measured, not planned: every allocation of a step is counted.

use crate::{ALLOCATOR, ALONE};
use clapp_core::network::{Block, LossPool, Rule};
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::Negatives;
use clapp_engine::draws::draw_negatives;
use clapp_engine::model::NetworkSpec;
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::step;
use clapp_engine::rules::{AnyRule, Feedback, bp_clapp_pp, clapp_pp_dfb};
use clapp_engine::step::{Mode, Model, StepBatch};
use clapp_tests::{numbers, uniform};

const ROWS: usize = 32;
const MAP: Shape = Shape::new(8, 16, 16);
/// Bytes of one layer's output for the whole batch.
const MAP_BYTES: f64 = (4 * ROWS * MAP.len()) as f64;
/// Depths that are measured.
const DEPTHS: [usize; 4] = [3, 6, 9, 12];

/// A network of equal blocks whose projections (8 x 8) are negligible beside their maps.
fn network(depth: usize, rule: Rule, by: AnyRule) -> NetworkSpec {
    let block = Block::conv(MAP.channels, [3, 3]).padding([1, 1]).loss_pool(LossPool::Global);
    by.network(MAP, vec![block; depth], rule).expect("a network")
}

/// Returns the peak of bytes allocated during a step.
fn peak_of_a_step(spec: &NetworkSpec) -> f64 {
    let mut flat = vec![0.0; spec.view().parameter_len()];
    clapp_core::init::uniform(&spec.view(), 1, &mut flat).expect("parameters of this length");
    let mut model = Model::upload(&Cpu, spec.clone(), &spec.values_from_flat(&flat));
    let frames = uniform(&mut numbers(3), ROWS * MAP.len(), 1.0);
    let negatives = draw_negatives(Negatives::Ring, ROWS, 0, 0);
    // Plain SGD keeps no moments, which would grow with the parameters under any rule.
    let optimizer = Optimizer::Sgd { lr: 1e-3, momentum: 0.0, weight_decay: 0.0 };
    let mut peak = 0;
    // The first step also fills buffers that live as long as the thread; the second is the one that counts.
    for number in 1..=2 {
        let pairing = Pairing::views(&negatives, None);
        let x = Cpu.upload_frames(MAP, &frames);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let report = step(
            &Cpu,
            &mut model,
            StepBatch { x, rows: ROWS, pairing },
            Mode::Update { optimizer: &optimizer, step: number },
        );
        peak = ALLOCATOR.peak_usage() - before;
        assert!(report.last().is_some_and(|report| !report.scores.is_empty()), "the top layer has learnt");
    }
    peak as f64
}

/// Returns the growth of the peak per layer, in maps, between neighbouring depths.
fn maps_per_layer(pool: &rayon::ThreadPool, rule: Rule, by: AnyRule) -> Vec<f64> {
    let peaks = DEPTHS.map(|depth| pool.install(|| peak_of_a_step(&network(depth, rule, by))));
    println!("{:?} {by:?}: {peaks:?} bytes at depths {DEPTHS:?}, one map has {MAP_BYTES}", rule.context);
    let measured: Vec<(usize, f64)> = DEPTHS.into_iter().zip(peaks).collect();
    measured.windows(2).map(|pair| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0) as f64 / MAP_BYTES).collect()
}

#[test]
fn activation_memory_does_not_grow_with_depth_for_local_rules_and_does_for_back_propagation() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Use one thread: with several, the number of scratch buffers in use at once is random. Use one pool: the memory of
    // a pool's threads is freed some time after the pool is dropped, possibly during the next measurement.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    for rule in [Rule::clapp_pp(), Rule::clapp_pp_dfb(), Rule::clapp_pp_both()] {
        for maps in maps_per_layer(&pool, rule, clapp_pp_dfb::Rule { feedback: Feedback::Trained }.into()) {
            // Each layer's scores are reported and its shapes listed: about a kilobyte against a map's 256.
            assert!(maps.abs() < 0.02, "{rule:?}: a layer adds {maps} maps");
        }
    }
    for maps in maps_per_layer(&pool, Rule::clapp_pp(), bp_clapp_pp::Rule::default().into()) {
        assert!((maps - 1.0).abs() < 0.02, "back-propagation: a layer adds {maps} maps");
    }
}
