//! Training steps as they are recorded for a device: their order, the lifetimes of their buffers, and the memory that
//! they take, for every preset and rule. No device is needed.

use clap::ValueEnum;
use clapp_data::data::Split;
use clapp_data::loader::Part;
use clapp_engine::backend::Backend;
use clapp_engine::config::{Config, PRESETS, RuleName, preset};
use clapp_engine::draws::Draws;
use clapp_engine::model::TensorRole;
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::Feedback;
use clapp_engine::rules::Signal;
use clapp_engine::rules::step;
use clapp_engine::step::{Mode, Model, StepBatch};
use clapp_engine::trainer::initial_values;
use clapp_gpu::Gpu;
use clapp_gpu::dry_run::DryRun;
use clapp_gpu::memory::Place;
use clapp_gpu::op::{Collective, MapType, Op, Pass};
use clapp_gpu::plan::plan;
use clapp_gpu::program::{Event, Recording};
use clapp_gpu::train::{batch_sizes, record_programs};
use clapp_gpu::training::StepProgram;
use clapp_gpu::verify::{name, verify};
use clapp_gpu::views::DeviceViews;

/// The programs of an epoch of a batch and a half.
fn programs(config: &Config, maps: MapType) -> Vec<StepProgram> {
    programs_among(config, maps, Part::WHOLE)
}

fn programs_among(config: &Config, maps: MapType, part: Part) -> Vec<StepProgram> {
    let gpu = Gpu::new(DryRun::new(maps)).expect("a device that is not there").among(part);
    let mut model = gpu.blank_model(config.network().expect("a network"));
    let sizes = batch_sizes(config.batch + config.batch / 2, config.batch);
    assert_eq!(sizes, [config.batch, config.batch / 2]);
    record_programs(&gpu, config, &mut model, &sizes, None).expect("recorded").1
}

/// The same with views that the device makes: of images that all lie there, or of those of one batch.
fn programs_with_views(config: &Config, maps: MapType) -> Vec<StepProgram> {
    let gpu = Gpu::new(DryRun::new(maps)).expect("a device that is not there");
    let mut model = gpu.blank_model(config.network().expect("a network"));
    let images = config.batch + config.batch / 2;
    let shape = config.input_shape();
    let split = Split::new(shape, vec![7; images * shape.len()], vec![0; images]).expect("as many labels as images");
    let views = DeviceViews::new(&gpu, config, &split).expect("views").expect("of one shape");
    record_programs(&gpu, config, &mut model, &batch_sizes(images, config.batch), Some(&views)).expect("recorded").1
}

fn is_without_kernels(config: &Config) -> bool {
    config.learning_rule().beyond_gpu().is_some()
}

#[test]
fn rules_without_kernels_are_refused_by_name() {
    let mut refused = Vec::new();
    for rule in RuleName::value_variants() {
        let config = preset("demo").expect("a preset").with_rule(*rule);
        if !is_without_kernels(&config) {
            continue;
        }
        let gpu = Gpu::new(DryRun::new(MapType::F32)).expect("a device that is not there");
        let mut model = gpu.blank_model(config.network().expect("a network"));
        let error = record_programs(&gpu, &config, &mut model, &[4], None).expect_err("no kernels").to_string();
        assert!(error.contains(rule.name()) && error.contains("--backend cpu"), "{error}");
        refused.push(rule.name());
        if config.learning_rule().beyond_alignment().is_none() {
            // Made of operations that a GPU has: only a recording cannot hold what they ask the host in between.
            continue;
        }
        // Nothing panics where a step is taken all the same, and the device says what it lacks.
        let model =
            &mut Model::upload(&gpu, config.network().expect("a network"), &initial_values(&config).expect("values"));
        let mode = Mode::Update { optimizer: &config.optimizer, step: 1 };
        let x = gpu.upload_frames(config.input_shape(), &vec![0.0; 4 * config.input_shape().len()]);
        step(&gpu, model, StepBatch { x, rows: 4, pairing: Draws::new(&config, 4, 1).pairing() }, mode);
        let error = gpu.check().expect_err("no kernels").to_string();
        assert!(error.contains(rule.name()), "{error}");
    }
    assert_eq!(refused, ["lpl", "soft-hebb", "weight-mirror", "predictive-coding", "clapp++dfb-pc"]);
}

/// Every rule on every preset, and the options that change what a step does.
fn configurations() -> Vec<Config> {
    let mut all = Vec::new();
    for name in PRESETS {
        for rule in RuleName::value_variants() {
            let config = preset(name).expect("a preset").with_rule(*rule);
            if config.check("test").is_err() || is_without_kernels(&config) {
                continue;
            }
            let top = [RuleName::ClappPpDfb, RuleName::ClappPpBoth].contains(rule);
            for feedback in [Feedback::Trained, Feedback::Frozen, Feedback::Matched] {
                if feedback == Feedback::Trained || top {
                    all.push(Config { feedback, ..config.clone() });
                }
            }
            if config.rule == RuleName::ClappPp {
                all.push(Config { optimizer: Optimizer::adamw(1e-3), ..config.clone() });
                all.push(Config {
                    optimizer: Optimizer::Lars { lr: 0.1, momentum: 0.9, weight_decay: 1e-4, trust: 1e-3 },
                    ..config.clone()
                });
                all.push(Config {
                    optimizer: Optimizer::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0 },
                    negatives_shared: false,
                    either: true,
                    contrast: None,
                    ..config.clone()
                });
            }
        }
    }
    all
}

fn said(config: &Config) -> String {
    format!("{} {} {:?} {:?}", config.name, config.rule.name(), config.feedback, config.optimizer)
}

#[test]
fn every_preset_and_rule_uses_memory_as_it_may() {
    let all = configurations();
    assert!(all.len() > 9 * PRESETS.len(), "{} configurations", all.len());
    for config in &all {
        for maps in [MapType::F32, MapType::Bf16] {
            for program in programs(config, maps).into_iter().chain(programs_with_views(config, maps)) {
                let StepProgram { recording, plan, .. } = &program;
                verify(recording, plan, maps).unwrap_or_else(|error| panic!("{}: {error}", said(config)));
                // The plan is not much larger than what is in use at once.
                assert!(
                    plan.bytes as f64 <= 1.1 * plan.least as f64,
                    "{}: {} {}",
                    said(config),
                    plan.bytes,
                    plan.least
                );
                assert!(!program.report.is_empty(), "{}", said(config));
            }
        }
    }
}

/// Names of the operations.
fn names(recording: &Recording) -> Vec<&'static str> {
    recording.ops().map(name).collect()
}

#[test]
fn local_rules_never_ask_for_the_gradient_of_an_input() {
    for config in configurations() {
        let asks = |op: &Op<Place>| matches!(op, Op::Convolve { pass: Pass::InputGradient, .. });
        let spec = config.network().expect("a network");
        let global = config.rule.choices().signal == Signal::BackPropagated || config.feedback == Feedback::Matched;
        for program in programs(&config, MapType::F32) {
            let count = program.recording.ops().filter(|op| asks(op)).count();
            let expected = if global { spec.layers().len() - 1 } else { 0 };
            assert_eq!(count, expected, "{}", said(&config));
        }
    }
}

#[test]
fn a_layer_has_learnt_before_the_next_one_begins() {
    let config = preset("cifar10").expect("a preset").with_rule(RuleName::ClappPp);
    let layers = config.network().expect("a network").layers().len();
    let program = programs(&config, MapType::F32).remove(0);
    let names: Vec<&str> = names(&program.recording)
        .into_iter()
        .filter(|name| ["scores", "outer_adamw", "adamw4"].contains(name))
        .collect();
    assert_eq!(names, ["scores", "outer_adamw", "adamw4"].repeat(layers));
    // `tick` comes first: all kernels of the step read what it writes; the report comes last.
    let all: Vec<&str> = program.recording.ops().map(name).collect();
    assert_eq!((all[0], all[all.len() - 1]), ("tick", "append_report"));
}

#[test]
fn processes_exchange_gradients_and_rows_and_one_process_nothing() {
    let without_share = |recording: &Recording| -> Vec<&'static str> {
        names(recording).into_iter().filter(|name| !["collective", "scale"].contains(name)).collect()
    };
    for config in configurations() {
        let said = said(&config);
        let alone = programs(&config, MapType::F32).remove(0);
        let two = programs_among(&config, MapType::F32, Part { rank: 1, ranks: 2 }).remove(0);
        verify(&two.recording, &two.plan, MapType::F32).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert!(!names(&alone.recording).contains(&"collective"), "{said}");
        assert_eq!(without_share(&two.recording), without_share(&alone.recording), "{said}");
        // Weights, biases and heads are summed; of each projection that learns, two operands are gathered.
        let spec = config.network().expect("a network");
        let tensors = spec.layers().iter().flat_map(|layer| spec.tensors(layer));
        let summed = [TensorRole::Weight, TensorRole::Bias, TensorRole::Head];
        let sums = tensors.filter(|(role, shape)| summed.contains(role) && shape.iter().product::<usize>() > 0).count();
        let learns = |name: &&str| ["outer_sgd", "outer_momentum", "outer_adamw"].contains(name);
        let gathers = 2 * names(&alone.recording).iter().filter(|name| learns(name)).count();
        let count = |wanted: Collective| {
            two.recording.ops().filter(|op| matches!(op, Op::Collect { what, .. } if *what == wanted)).count()
        };
        assert_eq!((count(Collective::Sum), count(Collective::Gather { ranks: 2 })), (sums, gathers), "{said}");
    }
}

/// A network of `depth` equal layers.
fn deep(depth: usize, rule: RuleName) -> Config {
    let mut config = preset("cifar10").expect("a preset").with_rule(rule);
    let mut block = config.blocks[0];
    block.channels = 32;
    block.max_pool = None;
    config.blocks = vec![block; depth];
    config.input = [32, 32, 32];
    config
}

#[test]
fn what_a_step_keeps_does_not_grow_with_depth() {
    let arena = |depth, rule| {
        let config = deep(depth, rule);
        let gpu = Gpu::new(DryRun::new(MapType::F32)).expect("a device that is not there");
        let mut model = gpu.blank_model(config.network().expect("a network"));
        record_programs(&gpu, &config, &mut model, &[16], None).expect("recorded").1[0].plan.bytes as f64
    };
    for rule in [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpPooled] {
        let [shallow, middle, large] = [3, 6, 12].map(|depth| arena(depth, rule));
        // What grows is what each layer reports: a few bytes.
        assert!(middle <= 1.001 * shallow && large <= 1.002 * shallow, "{rule:?}: {shallow} {middle} {large}");
    }
    // Back-propagation keeps the maps of all layers, as it must.
    let [shallow, large] = [3, 12].map(|depth| arena(depth, RuleName::BpClappPp));
    let map = f64::from(2 * 16 * 32 * 32 * 32 * 4);
    assert!(large - shallow >= 9.0 * map, "{shallow} {large}");
}

/// Whether a recording with other events is accepted.
fn accepted(recording: &Recording, change: impl FnOnce(&mut Vec<Event>)) -> Result<(), String> {
    let changed = recording.changed(change);
    verify(&changed, &plan(&changed), MapType::F32)
}

#[test]
fn programs_that_misuse_memory_are_refused() {
    let config = preset("demo").expect("a preset").with_rule(RuleName::ClappPpBoth);
    let program = programs(&config, MapType::F32).remove(0);
    let recording = &program.recording;
    verify(recording, &program.plan, MapType::F32).expect("as recorded");
    let position = |wanted: &dyn Fn(&Event) -> bool| recording.events().iter().position(wanted).expect("there is one");
    // A buffer is freed before its last use.
    let free = position(&|event| matches!(event, Event::Free(_)));
    let error = accepted(recording, |events| {
        let Event::Free(buffer) = events.remove(free) else { unreachable!() };
        let begun = events.iter().position(|event| *event == Event::Allocate(buffer)).expect("it was in use");
        events.insert(begun + 1, Event::Free(buffer));
    });
    assert!(error.as_ref().is_err_and(|error| error.contains("is not in use")), "{error:?}");
    // What writes a buffer is left out.
    let convolves = |op: &Op<Place>| matches!(op, Op::Convolve { .. });
    let writes = position(&|event| matches!(event, Event::Run(op) if convolves(op)));
    let error = accepted(recording, |events| drop(events.remove(writes)));
    assert!(error.as_ref().is_err_and(|error| error.contains("before they are written")), "{error:?}");
    // Two buffers lie on each other.
    let mut plan = program.plan.clone();
    plan.offsets.fill(0);
    let error = verify(recording, &plan, MapType::F32);
    assert!(error.as_ref().is_err_and(|error| error.contains("overlap")), "{error:?}");
    // An operation reaches out of its buffer.
    let error = accepted(recording, |events| {
        if let Event::Run(op) = &mut events[writes]
            && let Op::Convolve { shape, .. } = &mut **op
        {
            shape.rows += 1;
        }
    });
    assert!(error.as_ref().is_err_and(|error| error.contains("reach out of")), "{error:?}");
}
