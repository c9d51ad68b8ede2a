//! The same seed gives the same bits, whatever the number of threads that compute and that load.

use clapp_data::data::Dataset;
use clapp_engine::backend::Backend;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, Negatives, RuleName};
use clapp_engine::distributed::Ranks;
use clapp_engine::model::LayerValues;
use clapp_engine::probe::{Kind, ProbeReport, ProbeTask, features, probe};
use clapp_engine::rules::Feedback;
use clapp_engine::step::Model;
use clapp_engine::trainer::{State, StepMetrics, initial_values, train};
use clapp_tests::{SHAPE, numbers, small_config, stripes, uniform};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Computing threads and loading threads.
const THREADS: [[usize; 2]; 4] = [[1, 1], [2, 3], [3, 2], [5, 5]];

fn on<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(work)
}

/// Parameters after an epoch of a few steps, and the losses on the way.
fn trained(config: &Config, data: &Dataset, [computing, loading]: [usize; 2]) -> (Vec<LayerValues>, Vec<Option<f64>>) {
    let images = Arc::new(data.train.clone());
    on(computing, || {
        let mut losses = Vec::new();
        let mut state = State::first(&Cpu, config).expect("first values");
        let observe = |step: &StepMetrics, _: &mut State<_>, _| {
            losses.extend(step.losses.clone());
            Ok(ControlFlow::Continue(()))
        };
        train(&Ranks::alone(), config, &images, loading, &mut state, observe).expect("training");
        (state.model.download(&Cpu), losses)
    })
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let data = stripes(24, 4);
    let both = Config { negatives: Negatives::Uniform(3), ..small_config(RuleName::ClappPpBoth) };
    let configs = [
        small_config(RuleName::ClappPp),
        small_config(RuleName::ClappPpDfb),
        small_config(RuleName::ClappPpPooled),
        small_config(RuleName::BpClappPp),
        both,
        Config {
            negatives: Negatives::Uniform(2),
            negatives_shared: false,
            either: true,
            ..small_config(RuleName::ClappPpBoth)
        },
        Config { feedback: Feedback::Matched, ..small_config(RuleName::ClappPpDfb) },
        Config { feedback: Feedback::Frozen, ..small_config(RuleName::ClappPpDfb) },
        small_config(RuleName::Phyll),
        small_config(RuleName::ForwardForward),
        Config { negatives: Negatives::Uniform(1), ..small_config(RuleName::Scff) },
        small_config(RuleName::BpInfoNce),
        small_config(RuleName::Dfa),
        small_config(RuleName::WeightMirror),
        small_config(RuleName::PredictiveCoding),
        small_config(RuleName::ClappPpDfbPc),
    ];
    for config in configs {
        let one = trained(&config, &data, THREADS[0]);
        assert_ne!(one.0, initial_values(&config).expect("values"), "{:?} has learnt something", config.rule);
        for threads in &THREADS[1..] {
            assert_eq!(trained(&config, &data, *threads), one, "{:?} on {threads:?} threads", config.rule);
        }
    }
}

/// Wide enough that gradients, projections and steps are cut into several pieces each.
#[test]
fn training_of_a_wide_network_gives_the_same_bits_on_any_number_of_threads() {
    let data = stripes(12, 4);
    for rule in [RuleName::ClappPp, RuleName::BpClappPp] {
        let config = Config { width: 12.0, ..small_config(rule) };
        let one = trained(&config, &data, THREADS[0]);
        assert_eq!(trained(&config, &data, [2, 2]), one);
        assert_eq!(trained(&config, &data, [5, 1]), one);
    }
}

/// A probe's report, and the features of some images.
fn probed(config: &Config, data: &Dataset, cached: bool, [computing, loading]: [usize; 2]) -> (ProbeReport, Vec<f32>) {
    let spec = config.network().expect("a network");
    let pooled = config.probe_network().expect("a network");
    let values = initial_values(config).expect("values");
    on(computing, || {
        let model = Model::upload(&Cpu, spec, &values);
        let kind = if cached { Kind::Cached } else { Kind::Augmented };
        let (config, fold, loader_threads) = (&config.probe, None, loading);
        let task = ProbeTask { pooled: &pooled, config, data, seed: 3, kind, fold, loader_threads };
        let report = probe(&Cpu, &model, &task, &mut |_| ControlFlow::Continue(())).expect("a probe").report;
        let frames = uniform(&mut numbers(4), 9 * SHAPE.len(), 1.0);
        let seen = features(&Cpu, &model, &pooled, Cpu.upload_frames(SHAPE, &frames), 9);
        (report, (0..pooled.layers().len()).flat_map(|layer| seen.layer(layer).to_vec()).collect())
    })
}

#[test]
fn a_probe_gives_the_same_accuracies_and_features_on_any_number_of_threads() {
    let data = stripes(60, 80);
    let config = small_config(RuleName::ClappPp);
    for cached in [true, false] {
        let one = probed(&config, &data, cached, THREADS[0]);
        let classes = one.0.layers.iter().flat_map(|layer| &layer.classes);
        let mixed = classes.flatten().filter(|share| **share > 0.0 && **share < 1.0).count();
        assert!(mixed >= 3, "heads that all say the same class would make equality say little: {:?}", one.0);
        for threads in &THREADS[1..] {
            assert_eq!(probed(&config, &data, cached, *threads), one, "cached {cached}, {threads:?} threads");
        }
    }
}

#[test]
fn another_seed_gives_other_bits() {
    let data = stripes(12, 4);
    let config = small_config(RuleName::ClappPp);
    let other = Config { seed: config.seed + 1, ..config.clone() };
    assert_ne!(trained(&config, &data, [1, 1]).0, trained(&other, &data, [1, 1]).0);
}
