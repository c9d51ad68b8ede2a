//! A measure of the frames' own change: a layer cannot answer differently to frames that are all alike.

use super::change::{Sketch, weight};
use crate::contrast::Phase;
use crate::math::sqrt;

/// Frames over which the mean runs, about.
const WINDOW: f32 = 64.0;
/// Frames before a verdict.
const WARM_UP: u32 = 64;
/// Contrast, relative to the brightness, below which a frame is blank.
const BLANK: f32 = 1e-3;
/// Relative squared distance below which a frame is the one before.
const SAME: f32 = 1e-4;

/// Running means of the frames that a network learns from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frames {
    count: u32,
    last: Option<Sketch>,
    /// Mean relative squared distance from frame to frame.
    step: f32,
}

impl Frames {
    pub const NEW: Self = Self { count: 0, last: None, step: 0.0 };

    /// Hears of a frame; says whether a layer's answer to it says anything of the layer. It does not where the frame is
    /// blank, or is said to be another picture and is the one before.
    pub fn hear(&mut self, frame: &[f32], phase: Phase) -> bool {
        let mean = frame.iter().sum::<f32>() / frame.len().max(1) as f32;
        // The brightness is no picture.
        let Some(sketch) = Sketch::of(frame, mean) else { return false };
        let blank = sketch.squares <= BLANK * BLANK * mean * mean * frame.len() as f32;
        let step = self.last.map(|last| last.distance(&sketch));
        self.last = Some(sketch);
        if let Some(step) = step {
            let step = if blank { 0.0 } else { step };
            self.count = self.count.saturating_add(1);
            self.step += weight(self.count, WINDOW) * (step - self.step);
        }
        let repeated = phase == Phase::Saccade && step.is_some_and(|step| step < SAME);
        !blank && !repeated
    }

    /// Difference of a frame from the one before, relative to its contrast: 0 where all are alike, about 1 where they
    /// have nothing in common; `None` before there is a verdict.
    pub fn step(&self) -> Option<f32> {
        (self.count >= WARM_UP).then_some(sqrt(self.step))
    }
}
