//! Learning as it happens: a bar with the loss of each layer and the share of right predictions, or lines for a log.

use super::client::wrong_with;
use clapp_core::link::{Observed, Update, Verdict};
use clapp_data::console::note;
use indicatif::{ProgressBar, ProgressStyle};

/// Frames over which the running means reach, about.
const WINDOW: f64 = 100.0;
/// Largest number of verdict changes that are printed in one part.
const MOST_TOLD: u32 = 8;
/// Lines for a log in the course of a part.
const LINES: u64 = 10;

/// A mean of all values at first, and then of the latest ones.
#[derive(Debug, Clone, Copy, Default)]
struct Running {
    mean: f64,
    count: f64,
}

impl Running {
    fn add(&mut self, value: f64) {
        self.count = (self.count + 1.0).min(WINDOW);
        self.mean += (value - self.mean) / self.count;
    }
}

/// One part of a lesson.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    losses: Vec<Running>,
    right: Running,
    verdict: Option<Verdict>,
    /// Changes of the verdict that were told.
    told: u32,
}

impl Live {
    /// A part called `name` of `frames` frames.
    pub fn new(name: &'static str, frames: u64) -> Self {
        let bar = ProgressBar::new(frames);
        let template = "{prefix} {bar:24} {pos}/{len} frames, {elapsed} ({eta} left)  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        Self { bar, losses: Vec::new(), right: Running::default(), verdict: None, told: 0 }
    }

    /// Shows the device's result for a frame: the loss of each layer that learnt, and the share of correct predictions.
    /// `right`: this prediction was correct, if known.
    pub fn frame(&mut self, observed: &Observed, right: Option<bool>) {
        self.losses.resize(self.losses.len().max(observed.layers.len()), Running::default());
        for (shown, news) in self.losses.iter_mut().zip(&observed.layers) {
            if matches!(news.update, Update::Applied | Update::Refused) && news.loss.is_finite() {
                shown.add(f64::from(news.loss));
            }
        }
        if let Some(right) = right {
            self.right.add(f64::from(u8::from(right)));
        }
        self.bar.inc(1);
        let learning = self.losses.iter().filter(|loss| loss.count > 0.0);
        let losses: Vec<String> = learning.map(|loss| format!("{:.2}", loss.mean)).collect();
        let mut parts = Vec::new();
        if !losses.is_empty() {
            parts.push(format!("loss {}", losses.join(" ")));
        }
        if self.right.count > 0.0 {
            parts.push(format!("{:.0} % right", 100.0 * self.right.mean));
        }
        let message = parts.join(", ");
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if self.bar.is_hidden() && done * LINES / all.max(1) > (done - 1) * LINES / all.max(1) {
            let name = self.bar.prefix();
            let behind = if message.is_empty() { String::new() } else { format!(", {message}") };
            note(format!("{name}: {done} of {all} frames{behind}"));
        }
        self.bar.set_message(message);
        if observed.verdict != self.verdict && self.told < MOST_TOLD {
            self.told += 1;
            let line = match observed.verdict {
                Some(verdict) => format!("warning: step {}: {}", observed.step, wrong_with(verdict)),
                None => format!("step {}: all layers of the device are healthy again", observed.step),
            };
            self.bar.suspend(|| note(line));
        }
        self.verdict = observed.verdict;
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
