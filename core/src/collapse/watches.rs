//! The layers of a network that learns from a stream, all watched.

use super::frames::Frames;
use super::{Condition, Limits, Signs, Watch};
use crate::contrast::Phase;
use crate::network::Rule;
use crate::observer::{Activity, LayerReport, Observer};

/// Reports in a row under one verdict after which the layer as it is becomes its own reference.
pub const STRETCH: u32 = 4096;

/// A watch for each of up to `N` layers, and for the frames. It is the observer of the passes; [`Watches::frame`] comes
/// before each of them.
///
/// A verdict ends by itself: once the means have recovered, or, where the layer keeps to what it has become, after
/// [`STRETCH`] reports, from when on its present state is what it is held against. Signs that need no reference stay:
/// nearly all channels dead, activity that does not change, a loss of 48 times that of scores of 0 (with
/// [`Limits::DEFAULT`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watches<const N: usize> {
    rule: Rule,
    limits: Limits,
    frames: Frames,
    /// True if the frame at hand says anything of the layers.
    telling: bool,
    layers: [Watch; N],
    /// Reports in a row that found each layer collapsed.
    under: [u32; N],
}

impl<const N: usize> Watches<N> {
    /// Nothing seen yet of a network that learns by `rule`.
    pub const fn new(rule: Rule, limits: Limits) -> Self {
        Self { rule, limits, frames: Frames::NEW, telling: true, layers: [Watch::NEW; N], under: [0; N] }
    }

    /// Forgets what was seen, as after other weights have been loaded.
    pub fn forget(&mut self) {
        (self.frames, self.telling) = (Frames::NEW, true);
        // In place: a second one would take as much stack.
        for (watch, under) in self.layers.iter_mut().zip(&mut self.under) {
            (*watch, *under) = (Watch::NEW, 0);
        }
    }

    /// Hears of the next frame, before the pass through the layers. A frame from which nothing is learnt (`modulator` 0) is
    /// passed over, and so are blank frames and those that are said to be another picture and are the one before: they say
    /// nothing of the layers.
    pub fn frame(&mut self, frame: &[f32], phase: Phase, modulator: f32) {
        self.telling = modulator != 0.0 && self.frames.hear(frame, phase);
    }

    /// A layer's watch.
    pub fn layer(&self, layer: usize) -> Option<&Watch> {
        self.layers.get(layer)
    }

    /// A layer's signs. Where the frames hardly change, the layer's activity cannot.
    pub fn signs(&self, layer: usize) -> Option<Signs> {
        let signs = self.layers.get(layer)?.signs();
        let frames = self.frames.step();
        let still = frames.is_some_and(|step| step <= self.limits.frames);
        Some(Signs { frames, change: signs.change.filter(|_| !still), ..signs })
    }

    /// The condition of a layer.
    pub fn condition(&self, layer: usize) -> Condition {
        self.signs(layer).map_or(Condition::Sound, |signs| signs.condition(&self.limits))
    }

    /// The first layer that has collapsed; else the first that is not sound.
    pub fn verdict(&self) -> Option<(usize, Condition)> {
        let found = |wanted: fn(Condition) -> bool| {
            (0..N).map(|layer| (layer, self.condition(layer))).find(|(_, condition)| wanted(*condition))
        };
        found(Condition::is_collapse).or_else(|| found(|condition| condition != Condition::Sound))
    }
}

impl<const N: usize> Observer for Watches<N> {
    fn activity(&mut self, activity: &Activity<'_>) {
        if let Some(watch) = self.layers.get_mut(activity.layer).filter(|_| self.telling) {
            watch.activity(activity.pooled);
        }
    }

    fn report(&mut self, report: &LayerReport) {
        let Some(watch) = self.layers.get_mut(report.layer).filter(|_| self.telling) else { return };
        watch.report(report, &self.rule);
        let collapsed = self.condition(report.layer).is_collapse();
        let (Some(watch), Some(under)) = (self.layers.get_mut(report.layer), self.under.get_mut(report.layer)) else {
            return;
        };
        *under = if collapsed { under.saturating_add(1) } else { 0 };
        if *under >= STRETCH {
            watch.settle();
            *under = 0;
        }
    }
}
