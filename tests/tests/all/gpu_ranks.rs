//! Two emulated GPUs that train together: two devices, each in a separate thread, with collectives over both. Both have
//! the same states, equal to those of one CPU process with the joint batch.

use clapp_core::shape::Shape;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_data::loader::{Start, pairs_from};
use clapp_engine::backend::Backend;
use clapp_engine::backend::Pairing;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::DataIdentity;
use clapp_engine::config::{Config, Negatives, RuleName};
use clapp_engine::distributed::Ranks;
use clapp_engine::draws::{Draws, mix};
use clapp_engine::model::{LayerValues, TensorRole};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::Feedback;
use clapp_engine::rules::step;
use clapp_engine::run::{Begin, CHECKPOINT, Interval, Run};
use clapp_engine::run_info::{DataInfo, RunInfo};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::{Mode, Model, StepBatch, download_gradients};
use clapp_engine::trainer::{State, StepMetrics, initial_values};
use clapp_gpu::Gpu;
use clapp_gpu::emulated::{Emulated, Settings};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::memory::Tensor;
use clapp_gpu::op::{Collective, Convolution, MapType, Op, Pass, Product};
use clapp_gpu::train::train;
use clapp_gpu::trainer::OnGpu;
use clapp_tests::{small_config, stripes};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const RANKS: usize = 2;

/// Longer than one device may let the other wait; a test that fails on one must not hang on the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// An emulated device whose collectives are over two.
struct OneOfTwo {
    executor: Emulated,
    part: Part,
    to: Sender<(Collective, Vec<u8>)>,
    from: Receiver<(Collective, Vec<u8>)>,
    memory: Option<usize>,
}

impl OneOfTwo {
    fn collect(&self, what: Collective, input: u64, out: u64, len: usize) -> Result<(), GpuError> {
        let alone = |reason: String| GpuError::Failed { what: "a collective".into(), reason };
        let mut own = vec![0; 4 * len];
        self.executor.read(input, &mut own)?;
        self.to.send((what, own.clone())).map_err(|error| alone(error.to_string()))?;
        let (other_what, other) = self.from.recv_timeout(PATIENCE).map_err(|error| alone(error.to_string()))?;
        assert_eq!((what, own.len()), (other_what, other.len()), "both do the same");
        let [first, second] = if self.part.rank == 0 { [own, other] } else { [other, own] };
        let values =
            |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect() };
        let result = match what {
            Collective::Gather { ranks } => {
                assert_eq!(ranks, RANKS);
                [first, second].concat()
            }
            Collective::Sum => {
                values(&first).iter().zip(values(&second)).flat_map(|(a, b)| (a + b).to_ne_bytes()).collect()
            }
        };
        self.executor.write(out, &result)
    }
}

impl Executor for OneOfTwo {
    type Graph = Vec<Op<u64>>;

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
        match *op {
            Op::Collect { what, input, out, len } => self.collect(what, input, out, len),
            _ => self.executor.run(op),
        }
    }

    fn compile(&self, ops: Vec<Op<u64>>) -> Result<Self::Graph, GpuError> {
        Ok(ops)
    }

    fn launch(&self, graph: &Self::Graph) -> Result<(), GpuError> {
        graph.iter().try_for_each(|op| self.run(op))
    }

    fn synchronise(&self) -> Result<(), GpuError> {
        self.executor.synchronise()
    }
}

/// Runs `work` on two devices at once. Returns the results by rank.
fn on_two<T: Send>(memory: Option<usize>, work: impl Fn(Gpu<OneOfTwo>) -> T + Sync) -> [T; RANKS] {
    let ((to_1, from_0), (to_0, from_1)) = (channel(), channel());
    let work = &work;
    let device = move |rank, to, from| {
        let part = Part { rank, ranks: RANKS };
        let settings = Settings { strict: true, ..Settings::default() };
        let executor = Emulated::new(MapType::F32, settings).expect("a C++ compiler");
        work(Gpu::new(OneOfTwo { executor, part, to, from, memory }).expect("an emulated device").among(part))
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(move || device(1, to_0, from_0));
        let first = device(0, to_1, from_1);
        [first, other.join().expect("rank 1")]
    })
}

/// Parameters of both devices, and the report of each step.
type Trained = (Vec<LayerValues>, Vec<StepMetrics>);

fn trained_on_two(config: &Config, images: &Arc<Split>, memory: Option<usize>) -> [Trained; RANKS] {
    on_two(memory, |gpu| {
        let mut state = State::first(&gpu, config).expect("first values");
        let mut steps = Vec::new();
        let heard = |step: &StepMetrics, _: &mut State<_>, _: bool| {
            steps.push(step.clone());
            Ok(ControlFlow::Continue(()))
        };
        train(&gpu, config, images, 1, Some(3), &mut state, heard).expect("training");
        (state.model.download(&gpu), steps)
    })
}

/// A rank's batch of a step.
struct Batch {
    frames: Vec<f32>,
    draws: Draws,
}

/// The batches of both in every step.
fn batches(config: &Config, images: &Arc<Split>) -> Vec<[Batch; RANKS]> {
    let mut steps = Vec::new();
    for epoch in 0..config.epochs {
        let [first, second] = [0, 1].map(|rank| {
            let start = Start { epoch, batch: 0, part: Part { rank, ranks: RANKS } };
            pairs_from(images.clone(), &config.augment, config.batch, config.seed, start, 1).expect("a loader")
        });
        for (first, second) in first.zip(second) {
            let before = steps.len() * RANKS;
            let mut rank = 0;
            steps.push([first, second].map(|batch| {
                let mut batch = batch.expect("a batch");
                rank += 1;
                let draw = (before + rank) as u64;
                mix(config, config.input_shape(), draw, &mut batch.x);
                Batch { draws: Draws::new(config, 2 * batch.images.len(), draw), frames: batch.x }
            }));
        }
    }
    steps
}

/// Both batches as one: first views of both, then second views; every row keeps its negatives.
fn merged(config: &Config, both: &[Batch; RANKS]) -> (Vec<f32>, Vec<usize>) {
    let (half, rows) = (config.batch, 2 * RANKS * config.batch);
    let len = config.input_shape().len();
    let place = |rank: usize, row: usize| row / half * RANKS * half + rank * half + row % half;
    let (mut frames, mut negatives) = (vec![0.0; rows * len], Vec::new());
    for (rank, batch) in both.iter().enumerate() {
        let own = batch.draws.pairing().negatives;
        negatives.resize(own.len() * RANKS, 0);
        for (index, negative) in own.iter().enumerate() {
            let (round, row) = (index / (2 * half), index % (2 * half));
            negatives[round * rows + place(rank, row)] = place(rank, *negative);
        }
        for row in 0..2 * half {
            frames[place(rank, row) * len..][..len].copy_from_slice(&batch.frames[row * len..][..len]);
        }
    }
    (frames, negatives)
}

/// One process with the batch of both.
fn step_on_merged(config: &Config, model: &mut Model<Vec<f32>>, both: &[Batch; RANKS], count: u64) {
    let (frames, negatives) = merged(config, both);
    let x = Cpu.upload_frames(config.input_shape(), &frames);
    let mode = Mode::Update { optimizer: &config.optimizer, step: count };
    step(&Cpu, model, StepBatch { x, rows: 2 * RANKS * config.batch, pairing: Pairing::views(&negatives, None) }, mode);
}

/// InfoNCE contrasts an image with all others of its process, so that one batch of both would be another loss: the mean
/// of both gradients, applied by hand.
fn step_on_mean(config: &Config, model: &mut Model<Vec<f32>>, both: &[Batch; RANKS], count: u64) {
    let gradients = both.each_ref().map(|batch| {
        let mut gradients = Vec::new();
        let x = Cpu.upload_frames(config.input_shape(), &batch.frames);
        step(
            &Cpu,
            model,
            StepBatch { x, rows: 2 * config.batch, pairing: batch.draws.pairing() },
            Mode::Record(&mut gradients),
        );
        download_gradients(&Cpu, &model.spec, &gradients)
    });
    let layers = model.spec.layers().to_vec();
    for (index, parameters) in model.layers.iter_mut().enumerate() {
        for role in TensorRole::ALL {
            let Some(parameter) = parameters.get_mut(role) else { continue };
            let [first, second] = gradients.each_ref().map(|gradients| gradients[index].get(role));
            let mean: Vec<f32> = first.iter().zip(second).map(|(a, b)| 0.5 * (a + b)).collect();
            let mean = if role == TensorRole::Weight { Cpu.upload_weights(&layers[index], &mean) } else { mean };
            Cpu.update(&mut [(parameter, &mean)], &config.optimizer, count);
        }
    }
}

fn expected(config: &Config, images: &Arc<Split>) -> Vec<LayerValues> {
    let spec = config.network().expect("a network");
    let mut model = Model::upload(&Cpu, spec, &initial_values(config).expect("first values"));
    let steps = batches(config, images);
    for (both, count) in steps.iter().zip(1..) {
        let epoch = (count - 1) * config.epochs / steps.len() as u64;
        let rate = config.schedule.rate(config.optimizer.learning_rate(), epoch, config.epochs);
        let config = &Config { optimizer: config.optimizer.with_learning_rate(rate), ..config.clone() };
        match config.rule {
            RuleName::BpInfoNce => step_on_mean(config, &mut model, both, count),
            _ => step_on_merged(config, &mut model, both, count),
        }
    }
    model.download(&Cpu)
}

/// Largest distance of a tensor from the one expected, over that one's length (Euclidean).
fn apart(expected: &[LayerValues], found: &[LayerValues]) -> f64 {
    let mut worst = 0.0_f64;
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(found) {
        for role in TensorRole::ALL {
            let (expected, found) = (expected.get(role), found.get(role));
            assert_eq!(expected.len(), found.len(), "{role:?}");
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
            let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
            let length = square(&mut expected.iter().map(|value| f64::from(*value)));
            let relative = if difference == 0.0 { 0.0 } else { (difference / length).sqrt() };
            worst = if relative > worst || relative.is_nan() { relative } else { worst };
        }
    }
    worst
}

fn bits(values: &[LayerValues]) -> Vec<u32> {
    let all = values.iter().flat_map(|layer| TensorRole::ALL.map(|role| layer.get(role)));
    all.flatten().map(|value| value.to_bits()).collect()
}

fn sgd() -> Optimizer {
    Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 1e-3 }
}

fn holds(config: &Config, memory: Option<usize>) {
    let config = Config { batch: 4, epochs: 2, ..config.clone() };
    config.check("test").expect("a configuration");
    let images = Arc::new(stripes(16, 4).train);
    let [(values, heard), (others, heard_by_other)] = trained_on_two(&config, &images, memory);
    let said = format!("{} {:?} {:?}", config.rule.name(), config.optimizer, config.feedback);
    assert!(bits(&values) == bits(&others), "{said}: not the same bits");
    let far = apart(&expected(&config, &images), &values);
    let first = State::first(&Cpu, &config).expect("first values").model.download(&Cpu);
    let moved = apart(&first, &values);
    println!("{said}: {far:e} of {moved:e}");
    assert!(far < 1e-3 * moved, "{said}: {far:e} of {moved:e}");
    assert!(far < 1e-6, "{said}: {far:e}");
    // Four batches of four images are two steps.
    assert_eq!((heard.len(), heard_by_other.len()), (4, 4));
    assert!(heard.iter().all(|step| (step.steps_per_epoch, step.images) == (2, 8)));
    assert_ne!(heard[0].losses, heard_by_other[0].losses, "each has batches of its own");
}

#[test]
fn two_devices_learn_as_one_process_with_the_batch_of_both() {
    let adamw = Optimizer::AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-3, weight_decay: 1e-2 };
    for optimizer in [adamw, sgd()] {
        for rule in [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::BpClappPp] {
            holds(&Config { optimizer, ..small_config(RuleName::ClappPp) }.with_rule(rule), None);
        }
        let matched = Config { feedback: Feedback::Matched, ..small_config(RuleName::ClappPpDfb) };
        holds(&Config { optimizer, ..matched }, None);
    }
}

#[test]
fn two_devices_average_info_nce() {
    let adamw = Optimizer::AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-3, weight_decay: 0.0 };
    for optimizer in [sgd(), adamw] {
        holds(&Config { optimizer, ..small_config(RuleName::BpInfoNce) }, None);
    }
}

#[test]
fn draws_are_those_of_the_rank_and_batches_may_come_one_by_one() {
    let config = Config { optimizer: sgd(), negatives: Negatives::Uniform(2), ..small_config(RuleName::ClappPpBoth) };
    holds(&config, None);
    // Too little memory for all images.
    holds(&config, Some(1 << 16));
    let accumulated = Config { backward: Backward::Accumulated(2), ..small_config(RuleName::BpClappPp) };
    holds(&Config { optimizer: sgd(), ..accumulated }, None);
}

#[test]
fn a_set_that_does_not_divide_is_refused_with_the_number_that_does() {
    let config = Config { batch: 4, ..small_config(RuleName::ClappPp) };
    for (images, said) in [(23, "--images 16"), (20, "--images 16"), (6, "more images or fewer processes")] {
        let set = Arc::new(stripes(images, 4).train);
        for outcome in on_two(None, |gpu| {
            let mut state = State::first(&gpu, &config).expect("first values");
            let heard = |_: &StepMetrics, _: &mut State<Tensor>, _: bool| Ok(ControlFlow::Continue(()));
            train(&gpu, &config, &set, 1, None, &mut state, heard).map_err(|error| error.to_string())
        }) {
            let error = outcome.expect_err("it does not divide");
            assert!(error.contains(said) && error.contains("2 processes with 4 each"), "{error}");
        }
    }
}

#[test]
fn a_loss_that_is_no_number_on_one_device_ends_both() {
    // Only what rank 1 sees in its first batch leaves the numbers.
    let shape = Shape::new(3, 12, 12);
    let stripes = stripes(16, 4).train;
    let config = Config { batch: 4, epochs: 2, optimizer: sgd(), ..small_config(RuleName::ClappPp) };
    assert_eq!(stripes.shape(), Some(shape));
    let images = Arc::new(stripes);
    let outcomes = on_two(None, |gpu| {
        let mut state = State::first(&gpu, &config).expect("first values");
        if gpu.part().rank == 1 {
            let weight = &mut state.model.layers[0].weight.value;
            *weight = gpu.upload(&vec![f32::NAN; weight.len()]);
        }
        let heard = |_: &StepMetrics, _: &mut State<Tensor>, _: bool| Ok(ControlFlow::Continue(()));
        train(&gpu, &config, &images, 1, Some(1), &mut state, heard)
    });
    assert!(matches!(&outcomes[0], Err(Error::Elsewhere)), "{:?}", outcomes[0]);
    assert!(matches!(&outcomes[1], Err(Error::Diverged { .. })), "{:?}", outcomes[1]);
}

/// A run on one device of two, or on one alone, with checkpoints; stops after the step of that number.
fn run<E: Executor + 'static>(
    gpu: Gpu<E>,
    config: &Config,
    folder: &Path,
    begin: Begin,
    stop_at: Option<u64>,
) -> Result<(u64, Vec<u32>), Error> {
    let images = Arc::new(stripes(16, 4).train);
    let stop = AtomicBool::new(false);
    let info = RunInfo::collect(
        config,
        DataInfo { name: "stripes".into(), train_images: images.len(), test_images: 4, ..DataInfo::default() },
    );
    let run = Run {
        config,
        images: &images,
        data: DataIdentity::of("stripes", &images),
        info: &info,
        folder,
        begin,
        interval: Interval { epochs: Some(1), steps: Some(1), time: None },
        stop: &stop,
        align_every: None,
        ranks: &Ranks::alone(),
    };
    let trainer = OnGpu { gpu, name: "emulated f32".into() };
    let outcome = run.train_on(&trainer, |step| {
        if Some(step.step) == stop_at {
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    Ok((outcome.step, bits(&outcome.model.download(&trainer.gpu))))
}

#[test]
fn runs_of_two_devices_stop_and_go_on_together_and_not_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let config = Config { batch: 4, epochs: 2, optimizer: sgd(), ..small_config(RuleName::ClappPpDfb) };
    let folder = |name: &str, rank: usize| place.path().join(format!("{name}-{rank}"));
    let both = |name: &str, begin: Begin, stop_at: Option<u64>| {
        on_two(None, |gpu| {
            let rank = gpu.part().rank;
            // The signal comes to one of them.
            run(gpu, &config, &folder(name, rank), begin, stop_at.filter(|_| rank == 1))
        })
    };
    let whole = both("whole", Begin::New, None).map(|outcome| outcome.expect("a run"));
    assert_eq!((whole[0].0, &whole[0]), (4, &whole[1]));
    let stopped = both("cut", Begin::New, Some(3)).map(|outcome| outcome.expect("a run"));
    assert_eq!((stopped[0].0, &stopped[0]), (3, &stopped[1]));
    // Alone it would be another training.
    let alone =
        || Gpu::new(Emulated::new(MapType::F32, Settings::default()).expect("a C++ compiler")).expect("a device");
    let error = run(alone(), &config, &folder("cut", 0), Begin::Resume, None).expect_err("two ranks").to_string();
    assert!(error.contains("ranks: checkpoint has 2, this run has 1"), "{error}");
    let resumed = both("cut", Begin::Resume, None).map(|outcome| outcome.expect("a run"));
    assert_eq!(resumed, whole);
    let checkpoint = |rank: usize| std::fs::read(folder("cut", rank).join(CHECKPOINT)).expect("a checkpoint");
    assert!(checkpoint(0) == checkpoint(1), "both hold the same checkpoint");
    // And the other way round.
    for rank in 0..RANKS {
        run(alone(), &config, &folder("alone", rank), Begin::New, Some(2)).expect("a run");
    }
    for outcome in both("alone", Begin::Resume, None) {
        let error = outcome.expect_err("one rank").to_string();
        assert!(error.contains("ranks: checkpoint has 1, this run has 2"), "{error}");
    }
    // Two that have come unlike far.
    for (rank, step) in [(0, 1), (1, 2)] {
        std::fs::create_dir_all(folder("unlike", rank)).expect("a folder");
        assert!(both(&format!("until-{step}"), Begin::New, Some(step)).iter().all(Result::is_ok));
        let from = folder(&format!("until-{step}"), rank);
        for file in std::fs::read_dir(from).expect("a folder").map(|file| file.expect("a file").path()) {
            std::fs::copy(&file, folder("unlike", rank).join(file.file_name().expect("a name"))).expect("a copy");
        }
    }
    for outcome in both("unlike", Begin::Resume, None) {
        let error = outcome.expect_err("unlike steps").to_string();
        assert!(error.contains("process 1: ") && error.contains("is not that of process 0"), "{error}");
    }
}
