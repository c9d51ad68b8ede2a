//! The named configurations.

use super::{BlockConfig, Config, DataSource, HeadConfig, Negatives, ProbeConfig, RuleName};
use crate::optimizer::Optimizer;
use crate::rules::Feedback;
use crate::rules::weight_mirror::Mirror;
use crate::rules::{lpl::Lpl, soft_hebb::SoftHebb};
use crate::schedule::Schedule;
use crate::step::backprop::Backward;
use crate::step::relax::Relaxation;
use clapp_core::network::LossPool;
use clapp_data::augment::{TestTransform, ViewAugment};

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 9] =
    ["cifar10", "cifar100", "stl10", "tiny-imagenet", "imagenet", "mnist", "fashion-mnist", "demo", "device"];

/// The configuration of that name.
pub fn preset(name: &str) -> Option<Config> {
    match name {
        "cifar10" => Some(cifar10()),
        "cifar100" => Some(cifar100()),
        "stl10" => Some(stl10()),
        "tiny-imagenet" => Some(tiny_imagenet()),
        "imagenet" => Some(imagenet()),
        "mnist" => Some(grey("mnist", 0.1307, 0.3081)),
        "fashion-mnist" => Some(grey("fashion-mnist", 0.2860, 0.3530)),
        "demo" => Some(demo()),
        "device" => Some(device()),
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
        loss_pool: LossPool::Block([cell, cell]),
        probe_pool: LossPool::Block([cell, cell]),
    }
}

/// VGG-6 on CIFAR-10 (docs/paper.md 4, 5).
fn cifar10() -> Config {
    let augment = ViewAugment::cifar10();
    let probe = probe(300, 32, &augment, TestTransform::AsIs);
    Config {
        name: "cifar10".into(),
        rule: RuleName::ClappPp,
        seed: 2,
        epochs: 300,
        batch: 32,
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
        head: HeadConfig::default(),
        lpl: Lpl::default(),
        soft_hebb: SoftHebb::default(),
        relaxation: Relaxation::default(),
        mirror: Mirror::default(),
        schedule: Schedule::Constant,
        input: [3, 32, 32],
        optimizer: Optimizer::adamw(2e-4),
        augment,
        probe,
        blocks: vgg6([4, 4, 4, 2, 2, 1]),
    }
}

/// VGG-6 (docs/paper.md 4.1) with cells of these sizes for loss and probe.
fn vgg6(cells: [usize; 6]) -> Vec<BlockConfig> {
    let blocks = [(128, false), (256, true), (256, false), (512, true), (1024, true), (1024, true)];
    blocks.into_iter().zip(cells).map(|((channels, halves), cell)| block(channels, halves, cell)).collect()
}

/// CIFAR-100 as CIFAR-10; the paper does not use it.
fn cifar100() -> Config {
    let augment = ViewAugment::cifar100();
    let probe = probe(300, 32, &augment, TestTransform::AsIs);
    Config { name: "cifar100".into(), augment, probe, ..cifar10() }
}

/// VGG-6 on STL-10: pre-training on the unlabelled images (docs/paper.md 4.2, 5).
fn stl10() -> Config {
    let augment = ViewAugment::stl10();
    let probe = probe(300, 32, &augment, TestTransform::ResizeCrop { resize: 105, crop: 96 });
    let blocks = vgg6([12, 12, 12, 6, 6, 3]);
    Config { name: "stl10".into(), input: [3, 96, 96], augment, probe, blocks, ..cifar10() }
}

/// VGG-6 on Tiny ImageNet (docs/paper.md 4.2, 5), with weight decay on all parameters.
fn tiny_imagenet() -> Config {
    let augment = ViewAugment::tiny_imagenet();
    let probe = probe(300, 32, &augment, TestTransform::AsIs);
    Config {
        name: "tiny-imagenet".into(),
        input: [3, 64, 64],
        optimizer: Optimizer::AdamW { lr: 2e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-5 },
        augment,
        probe,
        blocks: vgg6([8, 8, 8, 4, 4, 2]),
        ..cifar10()
    }
}

/// VGG-8 on ImageNet, by the newer of the paper's two recipes (S' in docs/paper.md 4.3, 5.1, 5.3).
fn imagenet() -> Config {
    let augment = ViewAugment::imagenet();
    let probe = probe(100, 128, &augment, TestTransform::ResizeCrop { resize: 246, crop: 224 });
    let blocks = [
        (128, false, 8),
        (256, true, 4),
        (512, true, 4),
        (512, false, 4),
        (1024, true, 2),
        (1024, true, 2),
        (1024, false, 1),
        (1024, true, 1),
    ];
    let vgg8 = blocks.map(|(channels, halves, cells)| BlockConfig {
        loss_pool: LossPool::Adaptive([cells, cells]),
        probe_pool: LossPool::Global,
        ..block(channels, halves, 1)
    });
    Config {
        name: "imagenet".into(),
        epochs: 100,
        batch: 64,
        input: [3, 224, 224],
        optimizer: Optimizer::Lars { lr: 0.3, momentum: 0.9, weight_decay: 1e-6, trust: 0.001 },
        schedule: Schedule::imagenet(),
        augment,
        probe,
        blocks: vgg8.into(),
        ..cifar10()
    }
}

/// A small network on grey images of 28x28, normalised by `mean` and `std`; the paper has none.
fn grey(name: &str, mean: f32, std: f32) -> Config {
    let augment = ViewAugment::grey_images(28, &[mean], &[std]);
    let mut probe = probe(30, 32, &augment, TestTransform::AsIs);
    probe.augment.flip = 0.0;
    Config {
        name: name.into(),
        epochs: 10,
        input: [1, 28, 28],
        optimizer: Optimizer::adamw(1e-3),
        augment,
        probe,
        blocks: vec![block(32, true, 7), block(64, true, 3), block(128, false, 3)],
        ..cifar10()
    }
}

/// The linear evaluation with views of the same size and normalisation as `pretraining`'s.
fn probe(epochs: u64, batch: usize, pretraining: &ViewAugment, test: TestTransform) -> ProbeConfig {
    let augment = ViewAugment::probe(pretraining.size, &pretraining.mean, &pretraining.std);
    ProbeConfig { epochs, batch, lr: 1e-3, test, augment }
}

/// A small network on the generated set, for the embedded default.
fn demo() -> Config {
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    let augment = ViewAugment::generated(32, &mean, &std);
    let probe = probe(30, 32, &augment, TestTransform::AsIs);
    Config {
        name: "demo".into(),
        data: DataSource::Generated,
        epochs: 10,
        augment,
        probe,
        optimizer: Optimizer::adamw(1e-3),
        blocks: vec![block(16, true, 4), block(32, true, 2), block(64, true, 1)],
        ..cifar10()
    }
}

/// The network in the firmware, with the firmware's scaling of pixels. It can be trained here on grey images and
/// continue to learn on the device. The probe reads the same features as the device's read-out.
fn device() -> Config {
    // pixel * 0.03 - 3.84, of pixels from 0 to 255.
    let (mean, std) = ([3.84 / 7.65], [1.0 / 7.65]);
    let augment = ViewAugment { flip: 0.5, ..ViewAugment::grey_images(32, &mean, &std) };
    let probe = probe(30, 32, &augment, TestTransform::AsIs);
    Config {
        name: "device".into(),
        rule: RuleName::ClappPpDfb,
        epochs: 10,
        input: [1, 32, 32],
        optimizer: Optimizer::adamw(1e-3),
        augment,
        probe,
        blocks: vec![block(8, true, 4), block(16, true, 4), block(16, true, 4)],
        ..cifar10()
    }
}
