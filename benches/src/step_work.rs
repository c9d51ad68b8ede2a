//! A training step of the CPU backend on random frames, for benchmarks: the model, a batch for it, and the kernel's
//! count of the process's memory.

use crate::numbers;
use clapp_core::network::Contrast;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::{Config, Negatives};
use clapp_engine::draws::draw_negatives;
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::step;
use clapp_engine::step::{Mode, Model, StepBatch, StepReport, read};
use clapp_engine::trainer::initial_values;

/// A network on the CPU backend with a batch for it.
pub struct StepWork {
    /// The network and its parameters.
    pub model: Model<Vec<f32>>,
    /// Frames `[rows, C, H, W]`: first views, then second views.
    pub frames: Vec<f32>,
    negatives: Vec<usize>,
    optimizer: Optimizer,
    steps: u64,
}

impl StepWork {
    /// `images` pairs of random frames for a model.
    pub fn new(model: Model<Vec<f32>>, images: usize, optimizer: Optimizer) -> Self {
        let rows = 2 * images;
        let frames = numbers(1, rows * model.spec.input().len(), 1.0);
        let negatives = draw_negatives(Negatives::Ring, rows, 0, 0);
        Self { model, frames, negatives, optimizer, steps: 0 }
    }

    /// The network of a configuration with its first values.
    ///
    /// # Panics
    /// If the configuration does not fit together.
    pub fn of(config: &Config, images: usize) -> Self {
        assert!(matches!(config.contrast(), Contrast::Hinge), "the references use the hinge");
        let spec = config.network().expect("a network");
        let values = initial_values(config).expect("values");
        Self::new(Model::upload(&Cpu, spec, &values), images, config.optimizer)
    }

    /// One step. The upload counts: a step starts with frames as they come from the loader.
    pub fn step(&mut self) -> StepReport {
        self.steps += 1;
        let x = Cpu.upload_frames(self.model.spec.input(), &self.frames);
        let pairing = Pairing::views(&self.negatives, None);
        let mode = Mode::Update { optimizer: &self.optimizer, step: self.steps };
        let outcome = step(&Cpu, &mut self.model, StepBatch { x, rows: self.negatives.len(), pairing }, mode);
        read(&Cpu, pairing, &outcome)
    }
}

/// Peak of this process's resident memory in MiB since [`clear_peak`], as the kernel counts it; NaN elsewhere than on
/// Linux.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Resets the peak memory, so that it does not include the set-up.
pub fn clear_peak() {
    // If the kernel refuses, the peak includes the set-up; it is then too large, never too small.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
