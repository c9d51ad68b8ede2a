//! Progress, accuracy and remaining time of a probe: a bar, or plain lines without a terminal.

use crate::backend::{Backend, Job};
use crate::model::{LayerValues, NetworkSpec};
use crate::probe::{Kind, Outcome, ProbeTask, Progress, QUICK_EPOCHS, Speed, measure, probe, quick_images};
use crate::step::Model;
use clapp_data::console::note;
use clapp_data::error::Error;
use clapp_data::words::counted;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two lines for a log.
const PAUSE: Duration = Duration::from_secs(15);

/// Display of a probe on a terminal or in a log.
#[derive(Debug)]
pub struct ProbeProgress {
    bar: ProgressBar,
    epochs: u64,
    epoch: u64,
    accuracy: Option<f64>,
    /// When the heads began to learn.
    begun: Instant,
    told: Instant,
}

impl ProbeProgress {
    /// Makes a display for a probe of `epochs` epochs.
    pub fn new(epochs: u64) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:24} {percent}%, {elapsed} ({eta} left)") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, epochs, epoch: 0, accuracy: None, begun: now, told: now }
    }

    /// Shows the progress.
    pub fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Test { done, of } => self.features("test", done, of),
            Progress::Train { done, of } => self.features("labelled", done, of),
            Progress::Batch { done, of } => {
                self.bar.set_length(of);
                self.bar.set_message(self.text());
                self.bar.set_position(done);
                if self.told.elapsed() >= PAUSE {
                    self.line(done as f64 / of.max(1) as f64);
                }
            }
            Progress::Epoch { done, accuracy } => {
                (self.epoch, self.accuracy) = (done, Some(accuracy));
                self.bar.set_message(self.text());
                // Always print the first and the last epoch.
                if done == 1 || done == self.epochs || self.told.elapsed() >= PAUSE {
                    self.line(done as f64 / self.epochs as f64);
                }
            }
        }
    }

    fn features(&mut self, part: &str, done: usize, of: usize) {
        let text = format!("features of the {part} images");
        self.bar.set_length(of as u64);
        self.bar.set_message(text.clone());
        self.bar.set_position(done as u64);
        if done == of {
            self.begun = Instant::now();
            self.bar.reset();
        }
        if self.bar.is_hidden() && self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            note(format!("{text}: {done} of {of}"));
        }
    }

    fn text(&self) -> String {
        let accuracy =
            self.accuracy.map_or(String::new(), |share| format!(", {:.2} % of the test images correct", 100.0 * share));
        match (self.epoch, self.accuracy) {
            (0, _) => format!("probe: epoch 1 of {}", self.epochs),
            (done, _) => format!("probe: {done} of {} done{accuracy}", counted(self.epochs, "epoch")),
        }
    }

    /// A line for a log; `share` of the work is done.
    fn line(&mut self, share: f64) {
        if !self.bar.is_hidden() {
            return;
        }
        self.told = Instant::now();
        let gone = self.begun.elapsed();
        let left = gone.mul_f64(((1.0 - share) / share.max(1e-9)).clamp(0.0, 1e9));
        note(format!("{}, {} gone, {} left", self.text(), readable(gone), about(left)));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A time in words.
fn readable(time: Duration) -> String {
    if time < Duration::from_secs(1) { "less than a second".into() } else { HumanDuration(time).to_string() }
}

/// Same as [`readable`], of a time that is not measured.
fn about(time: Duration) -> String {
    if time < Duration::from_secs(1) { readable(time) } else { format!("about {}", readable(time)) }
}

/// Inputs of the estimates at the beginning.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// Epochs and labelled images of the paper's protocol.
    pub paper: (u64, usize),
    /// Labelled and test images of the set.
    pub all: [usize; 2],
}

/// The probe of an encoder, with its progress shown.
#[derive(Debug)]
pub struct ShownProbe<'a> {
    /// The encoder's network.
    pub spec: NetworkSpec,
    /// Its values.
    pub layers: &'a [LayerValues],
    /// The probe.
    pub task: &'a ProbeTask<'a>,
    /// Ends it after the batch under way.
    pub stop: &'a AtomicBool,
    /// Prints the estimated time, if there is one.
    pub estimate: Option<Estimate>,
}

impl Job for ShownProbe<'_> {
    type Output = Outcome;

    fn run<B: Backend + 'static>(self, backend: B) -> Result<Outcome, Error> {
        let Self { spec, layers, task, stop, estimate } = self;
        let model = Model::upload(&backend, spec, layers);
        if let Some(Estimate { paper, all }) = estimate {
            let speed = measure(&backend, &model, task)?;
            note(estimates(&speed, task, paper, all));
        }
        let mut shown = ProbeProgress::new(task.config.epochs);
        let outcome = probe(&backend, &model, task, &mut |progress| {
            shown.show(progress);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        shown.finish();
        outcome
    }
}

/// Describes the estimated times of this probe, of the paper's protocol (`paper`: epochs and labelled images), and of a
/// quick probe. `all`: labelled and test images of the set.
fn estimates(speed: &Speed, task: &ProbeTask<'_>, paper: (u64, usize), all: [usize; 2]) -> String {
    let about = |seconds: f64| about(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let classes = task.data.classes.len();
    let this = speed.seconds(task.kind, task.config.epochs, [task.data.train.len(), task.data.test.len()]);
    let mut text = format!("estimated from its first batches: this {} takes {}", task.kind, about(this));
    let (epochs, images) = paper;
    if task.kind != Kind::Augmented || (task.config.epochs, task.data.train.len()) != paper {
        let whole = speed.seconds(Kind::Augmented, epochs, [images, all[1]]);
        text += &format!(
            ", the paper's protocol ({} on {}, augmented) {}",
            counted(epochs, "epoch"),
            counted(images, "image"),
            about(whole)
        );
    } else {
        text += " (the paper's protocol)";
    }
    if task.kind == Kind::Augmented {
        let cached = speed.seconds(Kind::Cached, task.config.epochs, [task.data.train.len(), all[1]]);
        text += &format!(", --cached {}", about(cached));
    }
    if task.kind != Kind::Quick {
        let quick = about(speed.quick_seconds(all, classes));
        let [train, _] = quick_images(all[0], all[1], classes);
        text += &format!(", --quick ({QUICK_EPOCHS} epochs on {}, cached) {quick}", counted(train, "image"));
    }
    text
}
