//! The same training through several backends, compared after every step.
//!
//! All backends start from the same values and see the same views and negatives. No backend is reset to another:
//! differences can grow from step to step, and the bound applies to the accumulated difference.

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::config::Config;
use crate::core_memory::CoreMemory;
use crate::draws::{Draws, mix};
use crate::model::{LayerValues, NetworkSpec};
use crate::rules::step;
use crate::step::{LayerReport, Mode, Model, StepBatch, read};
use crate::trainer::initial_values;
use clapp_core::learner::Learner;
use clapp_core::observer::Observer;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::loader::{self, Batch};
use std::sync::Arc;

/// Difference of a tensor between one backend and the first one, after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The step, from 1.
    pub step: u64,
    /// Index of the backend, counted from 0.
    pub side: usize,
    /// `layer{l}.{tensor}`.
    pub tensor: String,
    /// Largest absolute difference over the tensor's largest absolute value.
    pub largest: f64,
    /// Mean absolute difference over the tensor's mean absolute value.
    pub mean: f64,
}

/// Difference of a layer's loss between one backend and the first one, in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct LossDifference {
    /// The step, from 1.
    pub step: u64,
    /// Index of the backend, counted from 0.
    pub side: usize,
    /// Index of the layer.
    pub layer: usize,
    /// Absolute difference over the loss on the first backend.
    pub relative: f64,
}

/// A network that one backend trains.
pub trait Side {
    /// Learns from a batch by the `step`-th draws, counted from 1. Returns the loss of each layer.
    ///
    /// # Errors
    /// If the backend fails or refuses.
    fn step(&mut self, batch: &Batch, draws: &Draws, step: u64) -> Result<Vec<f64>, Error>;

    /// All parameters.
    fn values(&self) -> Vec<LayerValues>;
}

fn refused(message: String) -> Error {
    Error::Config { origin: "parity".into(), message }
}

/// Memory of `clapp-core` for a configuration.
///
/// # Errors
/// Refuses, by name, features that the core does not have by design.
pub fn core_memory(config: &Config) -> Result<CoreMemory, Error> {
    let spec = config.network()?;
    if let Some(reason) = config.learning_rule().beyond_core() {
        let rule = config.rule.name();
        return Err(refused(format!("{rule} {reason}, which clapp-core does not have; take another rule")));
    }
    if !config.negatives_shared {
        return Err(refused(
            "negatives-shared is false, but clapp-core has one list of negatives for all losses".into(),
        ));
    }
    let optimizer = clapp_core::optimizer::Optimizer::from(&config.optimizer);
    let values = initial_values(config)?;
    Ok(CoreMemory::new(&spec, &values, &optimizer, config.batch, config.negatives.per_row()))
}

/// `clapp-core`.
pub struct OnCore<'a> {
    learner: Learner<'a>,
    spec: &'a NetworkSpec,
}

impl<'a> OnCore<'a> {
    /// In memory of [`core_memory`], for the configuration's network.
    ///
    /// # Errors
    /// If the core refuses.
    pub fn new(config: &Config, spec: &'a NetworkSpec, memory: &'a mut CoreMemory) -> Result<Self, Error> {
        let optimizer = clapp_core::optimizer::Optimizer::from(&config.optimizer);
        Ok(Self { learner: memory.learner(spec, optimizer).map_err(|error| refused(error.to_string()))?, spec })
    }
}

/// Keeps the loss of each layer.
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn report(&mut self, report: &clapp_core::observer::LayerReport) {
        self.0.push(report.loss.into());
    }
}

impl Side for OnCore<'_> {
    fn step(&mut self, batch: &Batch, draws: &Draws, _: u64) -> Result<Vec<f64>, Error> {
        let pairing = draws.pairing();
        let negatives: Vec<u32> = pairing.negatives.iter().map(|&negative| negative as u32).collect();
        let frames = clapp_core::learner::Batch {
            frames: &batch.x,
            negatives: &negatives,
            keep_positive: pairing.keep_positive,
        };
        let mut losses = Losses(Vec::new());
        self.learner.step(&frames, 1.0, &mut losses).map_err(|error| refused(error.to_string()))?;
        Ok(losses.0)
    }

    fn values(&self) -> Vec<LayerValues> {
        self.spec.values_from_flat(self.learner.parameters())
    }
}

/// The CPU backend.
pub struct OnCpu<'a> {
    config: &'a Config,
    model: Model<Vec<f32>>,
}

impl<'a> OnCpu<'a> {
    /// Makes a learner with the configuration's initial values.
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn new(config: &'a Config) -> Result<Self, Error> {
        Ok(Self { config, model: Model::upload(&Cpu, config.network()?, &initial_values(config)?) })
    }
}

impl Side for OnCpu<'_> {
    fn step(&mut self, batch: &Batch, draws: &Draws, count: u64) -> Result<Vec<f64>, Error> {
        let x = Cpu.upload_frames(self.model.spec.input(), &batch.x);
        let mode = Mode::Update { optimizer: &self.config.optimizer, step: count };
        let outcome =
            step(&Cpu, &mut self.model, StepBatch { x, rows: 2 * batch.images.len(), pairing: draws.pairing() }, mode);
        Ok(read(&Cpu, draws.pairing(), &outcome).iter().map(LayerReport::loss).collect())
    }

    fn values(&self) -> Vec<LayerValues> {
        self.model.download(&Cpu)
    }
}

/// `clapp-core` against the CPU backend.
///
/// # Errors
/// If the configuration, the batches or the core refuse; what the core does not have by design is refused by name.
pub fn parity(config: &Config, data: &Dataset, steps: u64) -> Result<Vec<Difference>, Error> {
    let mut memory = core_memory(config)?;
    let spec = config.network()?;
    let mut core = OnCore::new(config, &spec, &mut memory)?;
    let mut cpu = OnCpu::new(config)?;
    Ok(compare(config, data, steps, &mut [&mut core, &mut cpu])?.0)
}

/// Trains `steps` steps on all sides and compares all tensors and losses with those of the first after each.
///
/// # Errors
/// If the configuration, the batches or a side refuse.
pub fn compare(
    config: &Config,
    data: &Dataset,
    steps: u64,
    sides: &mut [&mut dyn Side],
) -> Result<(Vec<Difference>, Vec<LossDifference>), Error> {
    let spec = config.network()?;
    let images = Arc::new(data.train.clone());
    let (mut differences, mut losses) = (Vec::new(), Vec::new());
    let mut count = 0;
    for epoch in 0.. {
        let batches = loader::pairs(images.clone(), &config.augment, config.batch, config.seed, epoch, 1)?;
        for batch in batches {
            if count == steps {
                return Ok((differences, losses));
            }
            count += 1;
            let mut batch = batch?;
            mix(config, spec.input(), count, &mut batch.x);
            let draws = Draws::new(config, 2 * batch.images.len(), count);
            let found: Vec<Vec<f64>> =
                sides.iter_mut().map(|side| side.step(&batch, &draws, count)).collect::<Result<_, _>>()?;
            let [first, others @ ..] = &*sides else { continue };
            let reference = first.values();
            for (side, other) in (1..).zip(others) {
                for (layer, (expected, found)) in found[0].iter().zip(&found[side]).enumerate() {
                    let apart = (expected - found).abs();
                    let relative = if apart == 0.0 { 0.0 } else { apart / expected.abs() };
                    losses.push(LossDifference { step: count, side, layer, relative });
                }
                let values = other.values();
                for (layer, (reference, values)) in spec.layers().iter().zip(reference.iter().zip(&values)) {
                    for (role, _) in spec.tensors(layer) {
                        let tensor = role.path(layer.index);
                        let difference = difference(count, tensor, reference, values, role);
                        differences.push(Difference { side, ..difference });
                    }
                }
            }
        }
    }
    Ok((differences, losses))
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
    Difference { step, side: 0, tensor, largest: over(most, most_of), mean: over(sum, sum_of) }
}
