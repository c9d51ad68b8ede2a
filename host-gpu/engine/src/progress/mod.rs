//! Progress displays of long work. For training: loss of each layer and images per second.

mod alignment;
mod probe;

pub use alignment::ShownAlignment;
pub use probe::{Estimate, ProbeProgress, ShownProbe};

use crate::trainer::StepMetrics;
use clapp_data::console::note;
use clapp_data::words::counted;
use indicatif::{ProgressBar, ProgressStyle};

/// Weight of the newest step in the running means that are shown.
const NEWEST: f64 = 0.05;

/// A bar over all steps of a run.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    losses: Vec<Option<f64>>,
    seconds_per_image: Option<f64>,
    begun: bool,
}

impl Progress {
    /// A bar for a run of `epochs`; its length is known with the first step.
    pub fn new(name: &str, epochs: u64) -> Self {
        let bar = ProgressBar::new(0);
        let epochs = counted(epochs, "epoch");
        let template =
            format!("{{prefix}} {{bar:24}} {{pos}}/{{len}} steps, {epochs}, {{elapsed}} ({{eta}} left)  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        Self { bar, losses: Vec::new(), seconds_per_image: None, begun: false }
    }

    /// Shows a step.
    pub fn step(&mut self, metrics: &StepMetrics, epochs: u64) {
        self.bar.set_length(epochs.saturating_mul(metrics.steps_per_epoch as u64));
        let mix = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| old + NEWEST * (new - old)));
        self.losses.resize(metrics.losses.len(), None);
        for (shown, loss) in self.losses.iter_mut().zip(&metrics.losses) {
            if let Some(loss) = loss {
                *shown = mix(*shown, *loss);
            }
        }
        self.seconds_per_image = mix(self.seconds_per_image, metrics.elapsed.as_secs_f64() / metrics.images as f64);
        let losses: Vec<String> = self.losses.iter().flatten().map(|loss| format!("{loss:.3}")).collect();
        let speed = self.seconds_per_image.map_or(0.0, |seconds| 1.0 / seconds);
        if !self.begun {
            // A resumed run begins later, and the remaining time is computed from there.
            self.bar.set_position(metrics.step - 1);
            self.bar.reset_eta();
            self.begun = true;
        }
        self.bar.set_message(format!("loss {}  {speed:.0} images/s", losses.join(" ")));
        self.bar.set_position(metrics.step);
        // Without a terminal, print one line per epoch, for a log.
        if self.bar.is_hidden() && metrics.step.is_multiple_of(metrics.steps_per_epoch as u64) {
            let (name, epoch) = (self.bar.prefix(), metrics.epoch + 1);
            note(format!("{name}: epoch {epoch} of {epochs}, loss {}, {speed:.0} images/s", losses.join(" ")));
        }
    }

    /// A line on standard error that stays, above the bar.
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| note(line));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
