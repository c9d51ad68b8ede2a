//! Shared code of the tests that span the crates of the workspace. The tests themselves are in `tests/`.

pub mod qemu;

use clapp_core::network::LossPool;
use clapp_core::shape::Shape;
use clapp_data::augment::{TestTransform, ViewAugment};
use clapp_data::data::{Dataset, LeftOuts, Split};
use clapp_data::rng::{Purpose, Rng, stream};
use clapp_engine::config::{BlockConfig, Config, DataSource, HeadConfig, Negatives, ProbeConfig, RuleName};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::Feedback;
use clapp_engine::rules::lpl::Lpl;
use clapp_engine::rules::soft_hebb::SoftHebb;
use clapp_engine::rules::weight_mirror::Mirror;
use clapp_engine::schedule::Schedule;
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::relax::Relaxation;

/// Height and width of the images of [`stripes`].
pub const SIZE: usize = 12;
/// Shape of the images of [`stripes`].
pub const SHAPE: Shape = Shape::new(3, SIZE, SIZE);

/// A repeatable source of numbers that no other part of the program draws from.
pub fn numbers(seed: u64) -> Rng {
    stream(seed, Purpose::Other(7), 0, 0)
}

/// `count` numbers between `-scale` and `scale`.
pub fn uniform(rng: &mut Rng, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|_| rng.uniform(-scale, scale)).collect()
}

/// A tiny data set of four classes: noisy stripes of four widths.
pub fn stripes(train: usize, test: usize) -> Dataset {
    let split = |count: usize, seed: u64| {
        let mut rng = numbers(seed);
        let mut pixels = Vec::new();
        for image in 0..count {
            let (steepness, phase) = (0.6 * (image % 4 + 1) as f32, rng.uniform(0.0, 6.0));
            for place in 0..SHAPE.len() {
                let wave = ((place % SIZE) as f32 * steepness + phase).sin();
                pixels.push((128.0 + 80.0 * wave + rng.uniform(-40.0, 40.0)) as u8);
            }
        }
        let labels = (0..count).map(|image| (image % 4) as u16).collect();
        Split::new(SHAPE, pixels, labels).expect("as many labels as images")
    };
    let train = split(train, 1);
    Dataset {
        name: "stripes".into(),
        source: "stripes of the tests".into(),
        classes: ["wide", "broad", "narrow", "fine"].map(String::from).to_vec(),
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
        pretrain: train.clone(),
        train,
        test: split(test, 2),
        folds: Vec::new(),
        left_out: LeftOuts::default(),
        skipped: Vec::new(),
    }
}

/// A network of three layers for [`stripes`], with every kind of loss pooling and a max-pool that leaves a rest.
pub fn small_config(rule: RuleName) -> Config {
    let block = |channels, kernel, padding, max_pool, loss_pool| BlockConfig {
        channels,
        kernel,
        stride: [1, 1],
        padding,
        bias: true,
        relu: true,
        max_pool,
        loss_pool,
        probe_pool: loss_pool,
    };
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    Config {
        name: "small".into(),
        rule,
        seed: 5,
        epochs: 1,
        batch: 6,
        width: 1.0,
        data: DataSource::Files,
        images: None,
        split: None,
        split_seed: None,
        skip_bad: false,
        negatives: Negatives::Ring,
        negatives_shared: true,
        either: false,
        contrast: None,
        pos_coeff: 1.0,
        projection: None,
        feedback: Feedback::Trained,
        backward: Backward::Whole,
        head: HeadConfig { outputs: 10, temperature: 0.1 },
        lpl: Lpl::default(),
        soft_hebb: SoftHebb::default(),
        relaxation: Relaxation::default(),
        mirror: Mirror::default(),
        schedule: Schedule::Constant,
        input: [SHAPE.channels, SHAPE.height, SHAPE.width],
        optimizer: Optimizer::adamw(1e-3),
        augment: ViewAugment::generated(SIZE, &mean, &std),
        probe: ProbeConfig {
            epochs: 5,
            batch: 8,
            lr: 1e-1,
            test: TestTransform::AsIs,
            augment: ViewAugment::probe(SIZE, &mean, &std),
        },
        blocks: vec![
            block(6, [3, 3], [1, 1], None, LossPool::Block([4, 4])),
            block(8, [3, 3], [0, 1], Some([3, 2]), LossPool::Adaptive([2, 2])),
            block(8, [2, 3], [1, 1], None, LossPool::Global),
        ],
    }
}
