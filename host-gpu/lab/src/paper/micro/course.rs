//! Training that the shared encoders lack: a stream of single frames through `clapp-core`, and projections rounded to bf16
//! after every update.

use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::observer::Observer;
use clapp_core::optimizer::Optimizer;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader;
use clapp_engine::backend::Backend;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::Config;
use clapp_engine::core_memory::CoreMemory;
use clapp_engine::draws::Draws;
use clapp_engine::model::{LayerValues, NetworkSpec};
use clapp_engine::rules::step;
use clapp_engine::run::loader_threads;
use clapp_engine::step::{Mode, Model, StepBatch, read};
use clapp_engine::trainer::initial_values;
use std::sync::Arc;

/// Largest norm of one update of a layer in a stream, as in the firmware.
const MAX_UPDATE_NORM: f32 = 4.0;
/// Images that are made ready at a time for a stream.
const AHEAD: usize = 32;

/// Storage of the projections between updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Storage {
    /// Single precision, as computed.
    F32,
    /// The upper half of an f32, rounded to nearest, ties to even.
    Bf16,
}

/// The nearest bf16, ties to even.
pub fn to_bf16(value: f32) -> f32 {
    if value.is_nan() {
        return value;
    }
    let bits = value.to_bits();
    // Just below a half, or a half where the last bit that is kept is odd; infinities stay what they are.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    f32::from_bits(rounded & 0xffff_0000)
}

impl Storage {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Stores values.
    pub fn store(self, values: &mut [f32]) {
        if self == Self::Bf16 {
            values.iter_mut().for_each(|value| *value = to_bf16(*value));
        }
    }
}

/// Learns from batches as [`clapp_engine::trainer::train`], with projections stored as said. `after_step` hears of each step
/// and may end the course with an error.
///
/// # Errors
/// If batches cannot be made or `after_step` fails; [`Error::Diverged`] if a loss is not finite.
pub fn batches(
    config: &Config,
    images: &Arc<Split>,
    storage: Storage,
    mut after_step: impl FnMut(u64) -> Result<(), Error>,
) -> Result<Vec<LayerValues>, Error> {
    let mut model = Model::upload(&Cpu, config.network()?, &initial_values(config)?);
    let store = |model: &mut Model<Vec<f32>>| {
        let projections = model.layers.iter_mut().flat_map(|layer| [&mut layer.projection, &mut layer.feedback]);
        projections.flatten().for_each(|projection| storage.store(&mut projection.value));
    };
    store(&mut model);
    let mut count = 0;
    for epoch in 0..config.epochs {
        let batches =
            loader::pairs(images.clone(), &config.augment, config.batch, config.seed, epoch, loader_threads())?;
        for batch in batches {
            let batch = batch?;
            count += 1;
            let rows = 2 * batch.images.len();
            let draws = Draws::new(config, rows, count);
            let x = Cpu.upload_frames(model.spec.input(), &batch.x);
            let mode = Mode::Update { optimizer: &config.optimizer, step: count };
            let outcome = step(&Cpu, &mut model, StepBatch { x, rows, pairing: draws.pairing() }, mode);
            let losses: Vec<_> = read(&Cpu, draws.pairing(), &outcome).iter().map(|layer| Some(layer.loss())).collect();
            clapp_engine::trainer::check_losses(&losses, epoch, count)?;
            store(&mut model);
            after_step(count)?;
        }
    }
    Ok(model.download(&Cpu))
}

/// Learns from a stream of single frames as a device does it, by [`clapp_core::learner::Learner::observe`]: two views of
/// each image, the first after a saccade, the second while the gaze rests. The images come in the order of
/// [`batches`], and their views are the same. `after_frame` hears of each frame and sees the parameters.
///
/// # Errors
/// If views cannot be made, the network is none that the core can learn, or `after_frame` fails.
pub fn stream(
    config: &Config,
    images: &Arc<Split>,
    storage: Storage,
    observer: &mut impl Observer,
    mut after_frame: impl FnMut(u64, &NetworkSpec, &[f32]) -> Result<(), Error>,
) -> Result<Vec<LayerValues>, Error> {
    let spec = config.network()?;
    let refused = |error: clapp_core::learner::Error| Error::Config {
        origin: format!("{} on a device", config.name),
        message: error.to_string(),
    };
    let optimizer = Optimizer::sgd(config.optimizer.learning_rate());
    let mut memory = CoreMemory::new(&spec, &initial_values(config)?, &optimizer, 0, 0);
    let encoder = spec.view().encoder_len();
    storage.store(memory.parameters.get_mut(encoder..).unwrap_or_default());
    let mut learner = memory.learner(&spec, optimizer).map_err(refused)?;
    learner.set_guard(Guard { max_update_norm: Some(MAX_UPDATE_NORM) });
    let len = spec.input().len();
    let mut count = 0;
    for epoch in 0..config.epochs {
        for batch in loader::pairs(images.clone(), &config.augment, AHEAD, config.seed, epoch, 1)? {
            let batch = batch?;
            let rows = batch.images.len();
            for image in 0..rows {
                for (row, phase) in [(image, Phase::Saccade), (rows + image, Phase::Fixation)] {
                    let frame = batch.x.get(row * len..(row + 1) * len).unwrap_or_default();
                    learner.observe(frame, phase, 1.0, observer).map_err(refused)?;
                    learner.adjust_parameters(|all| storage.store(all.get_mut(encoder..).unwrap_or_default()));
                    count += 1;
                    after_frame(count, &spec, learner.parameters())?;
                }
            }
        }
    }
    let values = spec.values_from_flat(learner.parameters());
    Ok(values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_to_nearest_and_ties_go_to_even() {
        let pairs = [
            (0x3f80_0000, 0x3f80_0000),
            (0x3f80_7fff, 0x3f80_0000),
            (0x3f80_8000, 0x3f80_0000),
            (0x3f80_8001, 0x3f81_0000),
            (0x3f81_8000, 0x3f82_0000),
            (0xbf81_8000, 0xbf82_0000),
            (0x7f7f_ffff, 0x7f80_0000),
            (0x7f80_0000, 0x7f80_0000),
            (0x0000_0001, 0x0000_0000),
        ];
        for (from, to) in pairs {
            assert_eq!(to_bf16(f32::from_bits(from)).to_bits(), to, "{from:08x}");
        }
        assert!(to_bf16(f32::from_bits(0x7f80_0001)).is_nan());
        for value in [1.0e-3_f32, 0.3, 7.77, -123.456] {
            assert!((to_bf16(value) - value).abs() <= value.abs() / 256.0);
            assert_eq!(to_bf16(to_bf16(value)), to_bf16(value));
        }
    }
}
