//! The same training through `clapp-core` and through the CPU backend, compared after every step.
//!
//! Both start from the same values and see the same views and negatives. Neither is ever reset to the other:
//! differences may grow from step to step, and the bound holds for what has grown.

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::config::Config;
use crate::core_memory::CoreMemory;
use crate::data::Dataset;
use crate::draws::Draws;
use crate::error::Error;
use crate::loader;
use crate::model::LayerValues;
use crate::step::{Mode, Model, step};
use crate::trainer::initial_values;
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
/// Where the configuration, the batches or the core refuse; what the core does not have by design is refused by name.
pub fn parity(config: &Config, data: &Dataset, steps: u64) -> Result<Vec<Difference>, Error> {
    let refused = |message: String| Error::Config { origin: "parity".into(), message };
    let spec = config.network()?;
    if let Some(reason) = spec.beyond_core() {
        let rule = config.rule.name();
        return Err(refused(format!("{rule} {reason}, which clapp-core does not have; take another rule")));
    }
    if !config.negatives_shared {
        return Err(refused(
            "negatives-shared is false, but clapp-core has one list of negatives for all losses".into(),
        ));
    }
    let values = initial_values(config)?;
    let optimizer = clapp_core::optimizer::Optimizer::from(&config.optimizer);
    let negatives_per_row = config.negatives.per_row();
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
            let draws = Draws::new(config, rows, count);
            let pairing = draws.pairing();
            let for_core: Vec<u32> = pairing.negatives.iter().map(|&negative| negative as u32).collect();
            let frames = Batch { frames: &batch.x, negatives: &for_core, keep_positive: pairing.keep_positive };
            learner.step(&frames, 1.0, &mut ()).map_err(|error| refused(error.to_string()))?;
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
