//! The same training through `clapp-core` and through the CPU backend, compared after every step.
//!
//! Both start from the same values and see the same views and negatives. Neither is ever reset to the other:
//! differences may grow from step to step, and the bound holds for what has grown.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Pairing};
use crate::config::Config;
use crate::core_memory::CoreMemory;
use crate::data::Dataset;
use crate::error::Error;
use crate::loader;
use crate::model::{LayerValues, Learning};
use crate::step::{Mode, Model, step};
use crate::trainer::{draw_negatives, initial_values};
use clapp_core::learner::Batch;
use std::sync::Arc;

/// How far a tensor on one backend is from the other after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The step, from 1.
    pub step: u64,
    /// `layer{l}.{tensor}`.
    pub tensor: String,
    /// Largest absolute difference over the tensor's largest absolute value.
    pub largest: f64,
    /// Mean absolute difference over the tensor's mean absolute value.
    pub mean: f64,
}

/// Trains `steps` steps on both backends and compares all tensors after each.
///
/// # Errors
/// Where the configuration, the batches or the core refuse; back-propagation through the network is none of the
/// core's, so a global rule is refused.
pub fn parity(config: &Config, data: &Dataset, steps: u64) -> Result<Vec<Difference>, Error> {
    let refused = |message: String| Error::Config { origin: "parity".into(), message };
    if config.rule.learning() == Learning::Global {
        return Err(refused(format!(
            "{} needs back-propagation through the network, which clapp-core does not have; take a local rule",
            config.rule.name()
        )));
    }
    let spec = config.network()?;
    let values = initial_values(config)?;
    let optimizer = clapp_core::optimizer::Optimizer::from(&config.optimizer);
    let negatives_per_row = draw_negatives(config.negatives, 2, 0, 0).len() / 2;
    let mut memory = CoreMemory::new(&spec, &values, &optimizer, config.batch, negatives_per_row);
    let mut learner = memory.learner(&spec, optimizer).map_err(|error| refused(error.to_string()))?;
    let mut model = Model::upload(&Cpu, spec.clone(), &values);
    let images = Arc::new(data.train.clone());
    let mut differences = Vec::new();
    let mut count = 0;
    for epoch in 0.. {
        let batches = loader::pairs(images.clone(), &config.augment, config.batch, config.seed, epoch, 1)?;
        for batch in batches {
            if count == steps {
                return Ok(differences);
            }
            count += 1;
            let batch = batch?;
            let rows = 2 * batch.images.len();
            let negatives = draw_negatives(config.negatives, rows, config.seed, count);
            let for_core: Vec<u32> = negatives.iter().map(|&negative| negative as u32).collect();
            let frames = Batch { frames: &batch.x, negatives: &for_core, keep_positive: None };
            learner.step(&frames, 1.0, &mut ()).map_err(|error| refused(error.to_string()))?;
            let pairing = Pairing::views(&negatives, None);
            let x = Cpu.upload_frames(spec.input(), &batch.x);
            step(&Cpu, &mut model, x, rows, pairing, Mode::Update { optimizer: &config.optimizer, step: count });
            let core = spec.values_from_flat(learner.parameters());
            let cpu = model.download(&Cpu);
            for (layer, (core, cpu)) in spec.layers().iter().zip(core.iter().zip(&cpu)) {
                for (role, _) in spec.tensors(layer) {
                    let tensor = role.path(layer.index);
                    differences.push(difference(count, tensor, core, cpu, role));
                }
            }
        }
    }
    Ok(differences)
}

fn difference(
    step: u64,
    tensor: String,
    core: &LayerValues,
    cpu: &LayerValues,
    role: crate::model::TensorRole,
) -> Difference {
    let (mut most, mut sum, mut most_of, mut sum_of) = (0.0_f64, 0.0, 0.0_f64, 0.0);
    for (core, cpu) in core.get(role).iter().zip(cpu.get(role)) {
        let apart = (f64::from(*core) - f64::from(*cpu)).abs();
        // `max` would drop a NaN, and a NaN must not look like agreement.
        most = if apart > most || apart.is_nan() { apart } else { most };
        most_of = most_of.max(f64::from(core.abs()));
        sum += apart;
        sum_of += f64::from(core.abs());
    }
    let over = |value: f64, of: f64| if value == 0.0 { 0.0 } else { value / of };
    Difference { step, tensor, largest: over(most, most_of), mean: over(sum, sum_of) }
}
