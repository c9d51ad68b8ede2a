//! RAM, flash and instructions of the firmware with a network on a microcontroller.
//!
//! The network's part comes from `clapp-core`'s plan, exact to the byte. The rest was measured (`cargo xtask size`) and
//! is read from the stored results: the firmware's code, its statics without its built-in network, and the painted
//! stack.

use clapp_core::checkpoint::Lengths;
use clapp_core::learner::LayerState;
use clapp_core::network::NetworkView;
use clapp_core::optimizer::Optimizer;
use clapp_data::error::Error;
use clapp_engine::config::{Config, preset};
use clapp_engine::model::NetworkSpec;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Stored results of `cargo xtask size`.
const MEASURED: &str = include_str!("../../../benches/results/embedded.json");
/// The measured board: a Cortex-M4F in QEMU.
const BOARD: &str = "qemu-mps2-an386";
/// The whole firmware: learning, read-out, saving, link, telemetry.
const FIRMWARE: &str = "clapp-firmware";
/// Classes of the firmware's read-out.
const FIRMWARE_CLASSES: usize = 10;
/// Bytes that flash is erased by, as on the nRF52840.
const ERASE_SIZE: usize = 4096;
/// Words of a section that one packet of the link carries.
const MOST_WORDS: usize = 128;

/// A program's numbers; each has those that were measured of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Program {
    flash: usize,
    static_ram: usize,
    stack_used: Option<usize>,
    step_macs: Option<u64>,
    step_mean: Option<u64>,
}

/// Memory of the firmware without its network, and the cost of a step.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Bytes of code and constants.
    pub code: usize,
    /// Bytes of statics that no network changes: link, telemetry, health.
    pub statics: usize,
    /// Bytes of stack that learning has used.
    pub stack: usize,
    /// Multiply-accumulates of the plan and instructions of a learning step, for each network measured.
    steps: Vec<(u64, u64)>,
}

/// Needs of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePlan {
    /// Bytes of RAM of the learner: parameters, contexts, workspace, positions of maxima, state of the layers.
    pub learner: usize,
    /// Bytes of RAM in all: also a frame, read-out and packet, the program's statics and its stack.
    pub ram: usize,
    /// The same of a program that only infers, and reads its weights from flash.
    pub inference_ram: usize,
    /// Bytes of flash in all: the program, and two slots for what was learnt.
    pub flash: usize,
    /// Instructions of a learning step on one frame, about: the multiply-accumulates of the plan, by the instructions a
    /// multiply-accumulate of the measured network that is nearest in size.
    pub instructions: u64,
}

/// Bytes of a learner that learns from a stream by SGD, with its layers' states.
fn learner_bytes(view: &NetworkView<'_>) -> usize {
    view.stream_bytes() + view.layer_count() * size_of::<LayerState>()
}

/// Bytes of a frame, of the read-out (nearest class mean), and of the packet that brings a frame.
fn beside_bytes(view: &NetworkView<'_>, classes: usize) -> usize {
    let pixels = view.input().len();
    4 * pixels + 4 * classes * (view.feature_len() + 1) + pixels.max(4 * MOST_WORDS)
}

impl Firmware {
    /// The firmware as it was measured last.
    ///
    /// # Errors
    /// [`Error::Config`] if a needed value is missing in the stored results: a fault of this build.
    pub fn measured() -> Result<Self, Error> {
        let wrong = |message: String| Error::Config { origin: "embedded.json".into(), message };
        let mut boards: BTreeMap<String, BTreeMap<String, Program>> =
            serde_json::from_str(MEASURED).map_err(|error| wrong(error.to_string()))?;
        let programs = boards.remove(BOARD).unwrap_or_default();
        let firmware = programs.get(FIRMWARE).ok_or_else(|| wrong(format!("has no {BOARD}/{FIRMWARE}")))?;
        let built_in = preset("device").ok_or_else(|| wrong("preset `device` is missing".into()))?.network()?;
        let view = built_in.view();
        let network = learner_bytes(&view) + beside_bytes(&view, FIRMWARE_CLASSES);
        let statics = firmware
            .static_ram
            .checked_sub(network)
            .ok_or_else(|| wrong(format!("{FIRMWARE} has less RAM than its network, {network} bytes")))?;
        let stack = programs.values().filter_map(|program| program.stack_used).max();
        let steps: Vec<(u64, u64)> =
            programs.values().filter_map(|program| program.step_macs.zip(program.step_mean)).collect();
        match stack {
            Some(stack) if !steps.is_empty() => Ok(Self { code: firmware.flash, statics, stack, steps }),
            _ => Err(wrong("no network was measured".into())),
        }
    }

    /// Returns the needs of a network with a read-out of `classes` classes.
    pub fn plan(&self, spec: &NetworkSpec, classes: usize) -> DevicePlan {
        let view = spec.view();
        let learner = learner_bytes(&view);
        let rest = beside_bytes(&view, classes) + self.statics + self.stack;
        let (ram, inference_ram) = (learner + rest, view.inference_bytes() + rest);
        let lengths = Lengths::of(&view, &Optimizer::sgd(1.0), classes * view.feature_len(), classes);
        let flash = self.code + 2 * lengths.slot_len(ERASE_SIZE);
        DevicePlan { learner, ram, inference_ram, flash, instructions: self.instructions(view.stream_macs()) }
    }

    fn instructions(&self, macs: u64) -> u64 {
        let distance = |measured: u64| (measured.max(1) as f64 / macs.max(1) as f64).ln().abs();
        let nearest = self.steps.iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        nearest.map_or(0, |(measured, instructions)| {
            (macs as f64 * *instructions as f64 / (*measured).max(1) as f64) as u64
        })
    }
}

/// Bytes of RAM of a learner's own buffers for batches of `config.batch` pairs, with their frames.
///
/// # Errors
/// [`Error::Network`] if the configuration does not fit together.
pub fn batch_bytes(config: &Config) -> Result<usize, Error> {
    let spec = config.network()?;
    let view = spec.view();
    let layers = view.layer_count() * size_of::<LayerState>();
    Ok(view.batch_bytes(config.batch, config.negatives.per_row()) + layers + 8 * config.batch * view.input().len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The firmware's own network must come out at what was measured of it.
    #[test]
    fn the_firmware_s_network_takes_what_was_measured() {
        let firmware = Firmware::measured().unwrap();
        let boards: BTreeMap<String, BTreeMap<String, Program>> = serde_json::from_str(MEASURED).unwrap();
        let measured = &boards[BOARD][FIRMWARE];
        let plan = firmware.plan(&preset("device").unwrap().network().unwrap(), FIRMWARE_CLASSES);
        assert_eq!(plan.ram, measured.static_ram + firmware.stack);
        // Without learning, parameters, contexts and gradients are not there.
        assert!(
            plan.inference_ram < plan.ram - 4 * preset("device").unwrap().network().unwrap().view().parameter_len()
        );
        assert!(plan.flash > measured.flash && (plan.flash - measured.flash).is_multiple_of(2 * ERASE_SIZE));
        // The rest, for the link, the telemetry and the health of the layers, is small.
        assert!((500..8000).contains(&firmware.statics), "{}", firmware.statics);
    }

    #[test]
    fn a_measured_network_takes_its_own_instructions() {
        let firmware = Firmware::measured().unwrap();
        for (macs, instructions) in firmware.steps.clone() {
            assert_eq!(firmware.instructions(macs), instructions);
        }
    }

    /// `Firmware::plan` counts what the firmware's statics hold.
    #[test]
    fn the_plan_s_parts_are_the_firmware_s_statics() {
        use clapp_firmware::model::{CLASSES, NETWORK, Statics};
        let spec = preset("device").unwrap().network().unwrap();
        assert_eq!(spec.view(), NETWORK.view());
        assert_eq!(CLASSES, FIRMWARE_CLASSES);
        let view = spec.view();
        let counted = learner_bytes(&view) + beside_bytes(&view, CLASSES);
        // Beside these: the packet's overhead, the room of an answer, and the words of a section.
        let rest = size_of::<Statics>() - counted;
        assert!(rest < 2500, "{rest}");
    }
}
