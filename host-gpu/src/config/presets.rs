//! The named configurations.

use super::{BlockConfig, Config, ContrastName, DataSource, Negatives, Pool, ProbeConfig, ProjectionName, RuleName};
use crate::augment::{TestTransform, ViewAugment};
use crate::optimizer::Optimizer;

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 2] = ["cifar10", "demo"];

/// The configuration of that name.
pub fn preset(name: &str) -> Option<Config> {
    match name {
        "cifar10" => Some(cifar10()),
        "demo" => Some(demo()),
        _ => None,
    }
}

/// A 3x3 convolution that keeps the size, with the same pooling for loss and probe.
fn block(channels: usize, halves: bool, cell: usize) -> BlockConfig {
    BlockConfig {
        channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        bias: true,
        relu: true,
        max_pool: halves.then_some([2, 2]),
        loss_pool: Pool::Block([cell, cell]),
        probe_pool: Pool::Block([cell, cell]),
    }
}

/// VGG-6 on CIFAR-10, as spec sections 4 and 5.
fn cifar10() -> Config {
    let augment = ViewAugment::cifar10();
    let probe = ViewAugment::probe(32, &augment.mean, &augment.std);
    Config {
        name: "cifar10".into(),
        rule: RuleName::ClappPp,
        seed: 2,
        epochs: 300,
        batch: 32,
        width: 1.0,
        data: DataSource::Files,
        images: None,
        negatives: Negatives::Ring,
        contrast: ContrastName::Hinge,
        pos_coeff: 1.0,
        projection: ProjectionName::Trainable,
        input: [3, 32, 32],
        optimizer: Optimizer::adamw(2e-4),
        augment,
        probe: ProbeConfig { epochs: 300, batch: 32, lr: 1e-3, test: TestTransform::AsIs, augment: probe },
        blocks: vec![
            block(128, false, 4),
            block(256, true, 4),
            block(256, false, 4),
            block(512, true, 2),
            block(1024, true, 2),
            block(1024, true, 1),
        ],
    }
}

/// A small network on the generated set, for the embedded default.
fn demo() -> Config {
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    Config {
        name: "demo".into(),
        data: DataSource::Generated,
        epochs: 10,
        augment: ViewAugment::generated(32, &mean, &std),
        probe: ProbeConfig {
            epochs: 30,
            batch: 32,
            lr: 1e-3,
            test: TestTransform::AsIs,
            augment: ViewAugment::probe(32, &mean, &std),
        },
        optimizer: Optimizer::adamw(1e-3),
        blocks: vec![block(16, true, 4), block(32, true, 2), block(64, true, 1)],
        ..cifar10()
    }
}
