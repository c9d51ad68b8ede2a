//! The GPU's programs, on its emulation, against the CPU backend: the same training, step by step, for every rule,
//! optimiser and option; and single steps whose gradients are looked at.
//!
//! The emulation checks memory strictly: memory read before it is written is NaN, and an undeclared write of an
//! operation is an error.

use clap::ValueEnum;
use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::shape::Shape;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::{Config, Negatives, RuleName};
use clapp_engine::distributed::Ranks;
use clapp_engine::draws::draw_negatives;
use clapp_engine::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::parity::{OnCpu, compare};
use clapp_engine::probe::{Features, Head, OnDevice};
use clapp_engine::rules::Feedback;
use clapp_engine::rules::step;
use clapp_engine::rules::{AnyRule, bp_clapp_pp, clapp_pp_dfb};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::{Mode, Model, StepBatch, StepReport, download_gradients, read};
use clapp_engine::trainer::{self, State, StepMetrics};
use clapp_gpu::Gpu;
use clapp_gpu::emulated::{Emulated, Settings};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::{Convolution, MapType, Op, Pass, Product};
use clapp_gpu::parity::OnGpu;
use clapp_gpu::train::train as gpu_train;
use clapp_tests::{numbers, small_config, stripes, uniform};
use std::ops::ControlFlow;
use std::sync::Arc;

fn device(maps: MapType) -> Gpu<Emulated> {
    let settings = Settings { strict: true, descending: true, ..Settings::default() };
    Gpu::new(Emulated::new(maps, settings).expect("a C++ compiler")).expect("an emulated device")
}

fn sgd(momentum: f32) -> Optimizer {
    Optimizer::Sgd { lr: 0.05, momentum, weight_decay: 1e-3 }
}

/// Largest differences of a tensor and of a loss over three steps, the last of which has a smaller batch.
fn worst(config: &Config) -> [f64; 2] {
    let data = stripes(11, 4);
    let config = Config { batch: 4, ..config.clone() };
    let gpu = device(MapType::F32);
    let mut cpu = OnCpu::new(&config).expect("a network");
    let mut other = OnGpu::new(&gpu, &config, data.train.len()).expect("a network");
    let (differences, losses) = compare(&config, &data, 3, &mut [&mut cpu, &mut other]).expect("three steps");
    let most = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |most: f64, value| if value > most || value.is_nan() { value } else { most })
    };
    assert!(!differences.is_empty() && !losses.is_empty());
    [
        most(&mut differences.iter().map(|difference| difference.largest)),
        most(&mut losses.iter().map(|loss| loss.relative)),
    ]
}

fn holds(config: &Config) {
    config.check("test").expect("a configuration");
    let [tensor, loss] = worst(config);
    let said = format!("{} {:?} {:?}", config.rule.name(), config.optimizer, config.feedback);
    println!("{said}: tensors {tensor:e}, losses {loss:e}");
    assert!(tensor < 1e-4 && loss < 1e-5, "{said}: tensors {tensor:e}, losses {loss:e}");
}

#[test]
fn every_rule_learns_the_same() {
    for rule in RuleName::value_variants() {
        let config = Config { optimizer: sgd(0.0), ..small_config(RuleName::ClappPp) }.with_rule(*rule);
        if config.learning_rule().beyond_gpu().is_none() {
            holds(&config);
        }
    }
}

#[test]
fn every_optimiser_learns_the_same() {
    let adamw = Optimizer::AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-3, weight_decay: 1e-2 };
    let lars = Optimizer::Lars { lr: 0.5, momentum: 0.9, weight_decay: 1e-3, trust: 0.02 };
    for optimizer in [adamw, lars, sgd(0.9)] {
        for rule in [RuleName::ClappPpBoth, RuleName::BpInfoNce] {
            holds(&Config { optimizer, ..small_config(rule) });
        }
    }
}

#[test]
fn every_option_learns_the_same() {
    for feedback in [Feedback::Frozen, Feedback::Matched] {
        holds(&Config { optimizer: sgd(0.0), feedback, ..small_config(RuleName::ClappPpDfb) });
    }
    for backward in [Backward::Checkpointed, Backward::Accumulated(3)] {
        for rule in [RuleName::BpClappPp, RuleName::BpInfoNce] {
            holds(&Config { optimizer: sgd(0.0), backward, ..small_config(rule) });
        }
    }
    let config = Config { optimizer: sgd(0.0), ..small_config(RuleName::ClappPpBoth) };
    holds(&Config { negatives: Negatives::Uniform(3), negatives_shared: false, ..config.clone() });
    holds(&Config { either: true, pos_coeff: 2.5, ..config });
}

/// Shapes that do not divide: odd sizes, strides, cells that overlap and positions that none covers.
fn odd(rule: Rule, by: AnyRule) -> NetworkSpec {
    let blocks = vec![
        Block::conv(5, [3, 2]).padding([1, 1]).max_pool([2, 3]).loss_pool(LossPool::Adaptive([3, 2])),
        Block::conv(4, [2, 3]).padding([1, 2]).stride([1, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(3, [2, 2]).activation(Activation::Identity).without_bias(),
    ];
    by.network(Shape::new(3, 13, 11), blocks, rule).expect("a network")
}

fn recorded<B: Backend>(
    backend: &B,
    spec: &NetworkSpec,
    values: &[LayerValues],
    frames: &[f32],
    pairing: Pairing<'_>,
) -> (StepReport, Vec<LayerValues>) {
    let mut model = Model::upload(backend, spec.clone(), values);
    let mut gradients = Vec::new();
    let x = backend.upload_frames(spec.input(), frames);
    let rows = frames.len() / spec.input().len();
    let outcome = step(backend, &mut model, StepBatch { x, rows, pairing }, Mode::Record(&mut gradients));
    let read = (read(backend, pairing, &outcome), download_gradients(backend, spec, &gradients));
    backend.check().expect("the device works");
    read
}

#[test]
fn gradients_are_the_same_on_odd_shapes_for_every_contrast() {
    let contrasts = [
        Contrast::Hinge,
        Contrast::SoftHinge,
        Contrast::Linear,
        Contrast::Phyll { theta: 0.7 },
        Contrast::Goodness { theta: 1.3 },
    ];
    let mut rng = numbers(7);
    let gpu = device(MapType::F32);
    let narrow = device(MapType::Bf16);
    for contrast in contrasts {
        for (by, context) in [
            (clapp_pp_dfb::Rule { feedback: Feedback::Trained }.into(), Context::Both),
            (clapp_pp_dfb::Rule { feedback: Feedback::Matched }.into(), Context::Top),
            (bp_clapp_pp::Rule::default().into(), Context::Same),
        ] {
            let rule = Rule { contrast, context, projection: Projection::Trainable, pos_coeff: 1.0 };
            let spec = odd(rule, by);
            let mut values = Vec::new();
            for layer in spec.layers() {
                let mut of_layer = LayerValues::default();
                for (role, shape) in spec.tensors(layer) {
                    *of_layer.get_mut(role) = uniform(&mut rng, shape.iter().product(), 0.6);
                }
                values.push(of_layer);
            }
            let rows = 10;
            let frames = uniform(&mut rng, rows * spec.input().len(), 1.0);
            let negatives = draw_negatives(Negatives::Uniform(2), rows, 1, 1);
            let pairing = Pairing::views(&negatives, None);
            let (report, gradients) = recorded(&Cpu, &spec, &values, &frames, pairing);
            // If attraction and repulsion have the same weight, a gradient is a small difference, and formats of few
            // bits lose it.
            let cancels = matches!(contrast, Contrast::Linear | Contrast::Phyll { .. } | Contrast::Hinge);
            for (device, bound) in [(&gpu, 3e-5), (&narrow, 0.2)] {
                if cancels && bound > 0.1 {
                    continue;
                }
                let (found_report, found) = recorded(device, &spec, &values, &frames, pairing);
                for (expected, found) in report.iter().zip(&found_report) {
                    for (expected, found) in expected.scores.iter().zip(&found.scores) {
                        assert!(apart(&expected.u_pos, &found.u_pos) < bound, "{contrast:?} {by:?}: scores");
                        assert!(apart(&expected.u_neg, &found.u_neg) < bound, "{contrast:?} {by:?}: scores");
                    }
                    if let (Some(expected), Some(found)) = (expected.mismatch, found.mismatch) {
                        let relative = (expected.distance - found.distance).abs() / expected.distance;
                        assert!(relative < bound, "{contrast:?}: mismatch {relative:e}");
                    }
                }
                for (layer, (expected, found)) in gradients.iter().zip(&found).enumerate() {
                    for role in TensorRole::ALL.into_iter().filter(|role| !expected.get(*role).is_empty()) {
                        let apart = apart(expected.get(role), found.get(role));
                        assert!(apart < bound, "{contrast:?} {by:?} layer {layer} {role:?}: {apart:e}");
                    }
                }
            }
        }
    }
}

/// Euclidean distance over the length of the first; 0 if both are zero.
fn apart(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    if difference == 0.0 {
        0.0
    } else {
        (difference / square(&mut expected.iter().map(|value| f64::from(*value)))).sqrt()
    }
}

/// Parameters after two epochs of which the second ends with a smaller batch.
fn trained_on_cpu(config: &Config, images: &Arc<Split>) -> (Vec<LayerValues>, Vec<StepMetrics>) {
    let mut state = State::first(&Cpu, config).expect("first values");
    let mut steps = Vec::new();
    let heard = |step: &StepMetrics, _: &mut State<_>, _: bool| {
        steps.push(step.clone());
        Ok(ControlFlow::Continue(()))
    };
    trainer::train(&Ranks::alone(), config, images, 1, &mut state, heard).expect("training");
    (state.model.download(&Cpu), steps)
}

fn trained_on_gpu(config: &Config, images: &Arc<Split>, memory: Option<usize>) -> (Vec<LayerValues>, Vec<StepMetrics>) {
    let settings = Settings { strict: true, ..Settings::default() };
    let executor = Emulated::new(MapType::F32, settings).expect("a C++ compiler");
    let gpu = Gpu::new(OnlySoMuch { executor, memory }).expect("an emulated device");
    let mut state = State::first(&gpu, config).expect("first values");
    let mut steps = Vec::new();
    let heard = |step: &StepMetrics, _: &mut State<_>, _: bool| {
        steps.push(step.clone());
        Ok(ControlFlow::Continue(()))
    };
    gpu_train(&gpu, config, images, 1, Some(3), &mut state, heard).expect("training");
    (state.model.download(&gpu), steps)
}

/// An emulated device that says how much memory it has left.
struct OnlySoMuch {
    executor: Emulated,
    memory: Option<usize>,
}

impl Executor for OnlySoMuch {
    type Graph = <Emulated as Executor>::Graph;

    fn free_memory(&self) -> Result<Option<usize>, GpuError> {
        Ok(self.memory)
    }

    fn map_type(&self) -> MapType {
        self.executor.map_type()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, GpuError> {
        self.executor.allocate(bytes)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.executor.free(address, bytes);
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.executor.write(address, bytes)
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.executor.read(address, bytes)
    }

    fn convolution_scratch(&self, pass: Pass, shape: &Convolution) -> Result<usize, GpuError> {
        self.executor.convolution_scratch(pass, shape)
    }

    fn product_scratch(&self, product: &Product) -> Result<usize, GpuError> {
        self.executor.product_scratch(product)
    }

    fn run(&self, op: &Op<u64>) -> Result<(), GpuError> {
        self.executor.run(op)
    }

    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Self::Graph, GpuError> {
        self.executor.compile(ops)
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), GpuError> {
        self.executor.launch(graph)
    }

    fn synchronise(&self) -> Result<(), GpuError> {
        self.executor.synchronise()
    }
}

#[test]
fn training_on_views_that_the_device_makes_is_training_on_those_of_the_host() {
    let images = Arc::new(stripes(11, 4).train);
    for rule in [RuleName::ClappPpBoth, RuleName::ForwardForward, RuleName::Scff, RuleName::BpInfoNce] {
        let config = Config { batch: 4, epochs: 2, optimizer: sgd(0.9), ..small_config(RuleName::ClappPp) };
        let config = config.with_rule(rule);
        let config = if rule == RuleName::ClappPpBoth {
            Config { negatives: Negatives::Uniform(2), negatives_shared: false, either: true, ..config }
        } else {
            config
        };
        let (expected, heard) = trained_on_cpu(&config, &images);
        // All images on the device; one batch at a time.
        for memory in [None, Some(1 << 16)] {
            let (found, steps) = trained_on_gpu(&config, &images, memory);
            for (layer, (expected, found)) in expected.iter().zip(&found).enumerate() {
                for role in TensorRole::ALL.into_iter().filter(|role| !expected.get(*role).is_empty()) {
                    let apart = apart(expected.get(role), found.get(role));
                    assert!(apart < 1e-4, "{rule:?} layer {layer} {role:?}: {apart:e}");
                }
            }
            assert_eq!(heard.len(), steps.len());
            for (expected, found) in heard.iter().zip(&steps) {
                assert_eq!((expected.epoch, expected.step, expected.images), (found.epoch, found.step, found.images));
                assert_eq!(expected.learning_rate, found.learning_rate);
                let of = |step: &StepMetrics| [step.losses.clone(), step.u_pos.clone(), step.u_neg.clone()].concat();
                for (expected, found) in of(expected).into_iter().zip(of(found)) {
                    assert_eq!(expected.is_some(), found.is_some(), "{rule:?}");
                    let [expected, found] = [expected, found].map(Option::unwrap_or_default);
                    assert!((expected - found).abs() < 1e-4 * (1.0 + expected.abs()), "{rule:?}: {expected} {found}");
                }
            }
        }
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_training_and_is_told() {
    let images = Arc::new(stripes(11, 4).train);
    let optimizer = Optimizer::Sgd { lr: 1e20, momentum: 0.0, weight_decay: 0.0 };
    let config = Config { batch: 4, epochs: 40, optimizer, ..small_config(RuleName::ClappPp) };
    let executor = Emulated::new(MapType::F32, Settings::default()).expect("a C++ compiler");
    let gpu = Gpu::new(executor).expect("an emulated device");
    let mut state = State::first(&gpu, &config).expect("first values");
    let going_on = |_: &StepMetrics, _: &mut State<_>, _: bool| Ok(ControlFlow::Continue(()));
    let error = gpu_train(&gpu, &config, &images, 1, None, &mut state, going_on).expect_err("it diverges");
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}

const CLASSES: usize = 5;
const DIMENSIONS: [usize; 2] = [12, 7];
const IMAGES: usize = 40;

/// Heads of a probe learn on a backend and on the host, in batches of a shuffled order with a short one at the end.
fn compare_heads<B: Backend>(backend: &B) {
    let mut rng = stream(1, Purpose::Other(9), 0, 0);
    let mut layer =
        |dimension: usize| (dimension, (0..IMAGES * dimension).map(|_| rng.uniform(-1.0, 2.0)).collect::<Vec<f32>>());
    let features = Features { layers: DIMENSIONS.iter().map(|dimension| layer(*dimension)).collect() };
    let layers = [vec![0, 1], vec![0], vec![1]];
    let head = |(index, layers): (usize, &Vec<usize>)| Head::new(&DIMENSIONS, layers.clone(), CLASSES, 3, index as u64);
    let mut host: Vec<Head> = layers.iter().enumerate().map(head).collect();
    let mut found = host.clone();
    let mut device = OnDevice::anyway(backend, &host, (&features, IMAGES), Some((&features, IMAGES)));
    let label = |image: usize| (image * 3 + image / 7) % CLASSES;
    for epoch in 0..4 {
        let mut order: Vec<usize> = (0..IMAGES).collect();
        stream(5, Purpose::ProbeShuffle, epoch, 0).shuffle(&mut order);
        for batch in order.chunks(16) {
            let labels: Vec<usize> = batch.iter().map(|image| label(*image)).collect();
            for head in &mut host {
                head.learn(&features.rows(head.layers(), batch), &labels, 0.01);
            }
            device.learn(backend, batch, &labels, 0.01);
        }
    }
    let all: Vec<usize> = (0..IMAGES).collect();
    let expected: Vec<Vec<usize>> =
        host.iter().map(|head| head.predict(&features.rows(head.layers(), &all), IMAGES)).collect();
    assert_eq!(device.predictions(backend, &mut found), expected);
    for (found, expected) in found.iter().zip(&host) {
        assert_eq!(found.layers(), expected.layers());
        let parts = (0..expected.layers().len()).map(|part| (found.weight(part), expected.weight(part)));
        for (found, expected) in parts.chain([(found.bias(), expected.bias())]) {
            let most = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // The limit of `clapp parity`.
            assert!(found.len() == expected.len() && far <= 1e-4 * most, "{far} of {most}");
        }
    }
}

#[test]
fn heads_on_a_device_learn_as_those_of_the_host() {
    compare_heads(
        &Gpu::new(Emulated::new(MapType::F32, Settings::default()).expect("a C++ compiler")).expect("a device"),
    );
}

#[test]
fn heads_over_the_cpu_s_operations_learn_the_same() {
    compare_heads(&Cpu);
}
