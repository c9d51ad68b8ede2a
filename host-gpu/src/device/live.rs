//! Learning as it happens: a bar with the loss of each layer and the share of right predictions, or lines for a log.

use clapp_core::link::{Observed, Update};
use indicatif::{ProgressBar, ProgressStyle};

/// Weight of the newest frame in the running means that are shown.
const NEWEST: f64 = 0.01;
/// Lines for a log in the course of a part.
const LINES: u64 = 10;

/// One part of a lesson.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    losses: Vec<Option<f64>>,
    right: Option<f64>,
    collapsed: bool,
}

fn mix(old: Option<f64>, new: f64) -> Option<f64> {
    Some(old.map_or(new, |old| old + NEWEST * (new - old)))
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
        Self { bar, losses: Vec::new(), right: None, collapsed: false }
    }

    /// Shows what the device made of a frame, and whether its prediction was right, where there was one.
    pub fn frame(&mut self, observed: &Observed, right: Option<bool>) {
        self.losses.resize(observed.layers.len(), None);
        for (shown, news) in self.losses.iter_mut().zip(&observed.layers) {
            if news.update != Update::NoContext {
                *shown = mix(*shown, f64::from(news.loss));
            }
        }
        if let Some(right) = right {
            self.right = mix(self.right, f64::from(u8::from(right)));
        }
        self.bar.inc(1);
        let losses: Vec<String> = self.losses.iter().flatten().map(|loss| format!("{loss:.2}")).collect();
        let right = self.right.map_or_else(String::new, |right| format!(", {:.0} % right", 100.0 * right));
        let message = format!("loss {}{right}", losses.join(" "));
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if self.bar.is_hidden() && done * LINES / all.max(1) > (done - 1) * LINES / all.max(1) {
            eprintln!("{}: {done} of {all} frames, {message}", self.bar.prefix());
        }
        self.bar.set_message(message);
        if observed.collapsed && !self.collapsed {
            let warning = format!(
                "warning: step {}: a layer of the device has collapsed; it learns too fast, or its frames do not change",
                observed.step
            );
            self.bar.suspend(|| eprintln!("{warning}"));
        }
        self.collapsed = observed.collapsed;
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
