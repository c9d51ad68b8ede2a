//! Writes the state of a device as a checkpoint, with the configuration that describes its network.

use super::description::Description;
use clapp_core::network::{Activation, Block, Context};
use clapp_core::optimizer::Optimizer as CoreOptimizer;
use clapp_data::augment::ViewAugment;
use clapp_data::error::Error;
use clapp_engine::checkpoint::device::{DeviceState, write as write_checkpoint};
use clapp_engine::config::{BlockConfig, Config, ProbeConfig, RuleName, preset};
use clapp_engine::optimizer::Optimizer;
use std::path::Path;

/// Writes the state of `device`, for `clapp export`, `clapp info` and `clapp eval`.
///
/// # Errors
/// [`Error::Config`] if no configuration can describe the device; [`Error::File`] if the file cannot be written.
pub fn write(path: &Path, device: &Description, seed: u64, held: &DeviceState) -> Result<(), Error> {
    write_checkpoint(path, &config(device, seed)?, 0, held)
}

/// Returns a configuration with the device's network, rule and optimiser. Its views scale pixels to the device's
/// values. All other settings come from a preset.
///
/// # Errors
/// [`Error::Config`] if a configuration cannot describe the device, for example frames that are not square.
pub fn config(device: &Description, seed: u64) -> Result<Config, Error> {
    let origin = format!("device {}", device.board);
    let wrong = |message: &str| Error::Config { origin: origin.clone(), message: message.into() };
    let input = device.spec.input();
    let name = if input.channels == 1 { "device" } else { "cifar10" };
    let base = preset(name).ok_or_else(|| wrong("its preset is missing"))?;
    // (pixel / 255 - mean) / std = pixel * scale + offset
    let std = vec![1.0 / (255.0 * device.scale); input.channels];
    let mean = vec![-device.offset / (255.0 * device.scale); input.channels];
    let rule = device.spec.rule();
    let config = Config {
        name: device.board.clone(),
        rule: match rule.context {
            Context::Same => RuleName::ClappPp,
            Context::Top => RuleName::ClappPpDfb,
            Context::Both => RuleName::ClappPpBoth,
        },
        seed,
        contrast: Some(rule.contrast),
        pos_coeff: rule.pos_coeff,
        projection: Some(rule.projection),
        width: 1.0,
        input: [input.channels, input.height, input.width],
        optimizer: optimizer(device.optimizer).ok_or_else(|| wrong("records gradients instead of learning"))?,
        augment: ViewAugment { size: input.height, mean: mean.clone(), std: std.clone(), ..base.augment.clone() },
        probe: ProbeConfig {
            augment: ViewAugment { size: input.height, mean, std, ..base.probe.augment.clone() },
            ..base.probe.clone()
        },
        blocks: device.spec.view().blocks().iter().map(block).collect(),
        ..base
    };
    config.check(&origin)?;
    Ok(config)
}

fn optimizer(optimizer: CoreOptimizer) -> Option<Optimizer> {
    match optimizer {
        CoreOptimizer::Sgd { lr, momentum, weight_decay } => Some(Optimizer::Sgd { lr, momentum, weight_decay }),
        CoreOptimizer::AdamW { lr, betas: [beta1, beta2], eps, weight_decay } => {
            Some(Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay })
        }
        CoreOptimizer::Lars { lr, momentum, weight_decay, trust } => {
            Some(Optimizer::Lars { lr, momentum, weight_decay, trust })
        }
        CoreOptimizer::Record => None,
    }
}

fn block(block: &Block) -> BlockConfig {
    BlockConfig {
        channels: block.out_channels,
        kernel: block.kernel,
        stride: block.stride,
        padding: block.padding,
        bias: block.bias,
        relu: block.activation == Activation::Relu,
        max_pool: block.max_pool,
        loss_pool: block.loss_pool,
        probe_pool: block.loss_pool,
    }
}
