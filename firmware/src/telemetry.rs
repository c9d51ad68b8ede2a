//! Log messages of the device through `defmt`. On the host nothing is logged.

use crate::machine::Machine;
use crate::source::SourceError;
use clapp_core::link::{Observed, Problem, Verdict};

/// Frames between two reports on all layers.
#[cfg(target_os = "none")]
const REPORT_EVERY: u64 = 100;

/// Reports on the layers every so often, and on a refused update at once.
#[cfg(target_os = "none")]
pub fn frame(machine: &Machine<'_>, observed: &Observed) {
    use clapp_core::link::Update;
    for (layer, news) in observed.layers.iter().enumerate() {
        if news.update == Update::Refused {
            defmt::warn!("step {}: layer {}: update refused", observed.step, layer);
        }
    }
    if !observed.step.is_multiple_of(REPORT_EVERY) || machine.modulator() == 0.0 {
        return;
    }
    for (layer, news) in observed.layers.iter().enumerate() {
        defmt::info!(
            "step {}: layer {}: loss {}, score {}, update {}, dead {}, change {}, refused {}",
            observed.step,
            layer,
            news.loss,
            news.score,
            news.update_norm,
            machine.health().dead(layer),
            machine.health().change(layer),
            machine.refused()
        );
    }
}

/// Does nothing on the host.
#[cfg(not(target_os = "none"))]
pub fn frame(_machine: &Machine<'_>, _observed: &Observed) {}

/// Reports a layer that has collapsed or is not sound, and that all are sound again.
pub fn verdict(step: u64, verdict: Option<Verdict>) {
    #[cfg(target_os = "none")]
    match verdict {
        Some(Verdict { layer, condition }) if condition.is_collapse() => {
            defmt::error!("step {}: collapse: layer {} is {}", step, layer, condition);
        }
        Some(Verdict { layer, condition }) => defmt::warn!("step {}: layer {} is {}", step, layer, condition),
        None => defmt::info!("step {}: all layers are sound again", step),
    }
    #[cfg(not(target_os = "none"))]
    let _ = (step, verdict);
}

/// Reports that the sensor did not deliver.
pub fn sensor(error: SourceError) {
    #[cfg(target_os = "none")]
    defmt::warn!("sensor: {}", error);
    #[cfg(not(target_os = "none"))]
    let _ = error;
}

/// Reports that a frame of the sensor was not learnt from.
pub fn frame_refused(problem: Problem) {
    #[cfg(target_os = "none")]
    defmt::warn!("frame: {}", problem);
    #[cfg(not(target_os = "none"))]
    let _ = problem;
}

/// Logs the origin of the weights.
pub fn start(machine: &Machine<'_>) {
    #[cfg(target_os = "none")]
    defmt::info!("step {}: weights from {}", machine.step(), machine.origin());
    #[cfg(not(target_os = "none"))]
    let _ = machine;
}

/// Reports a save.
pub fn saved(step: u64) {
    #[cfg(target_os = "none")]
    defmt::info!("step {}: saved", step);
    #[cfg(not(target_os = "none"))]
    let _ = step;
}

/// Reports a save that failed.
pub fn not_saved(problem: Problem) {
    #[cfg(target_os = "none")]
    defmt::error!("not saved: {}", problem);
    #[cfg(not(target_os = "none"))]
    let _ = problem;
}
