//! The activity that a caller may look at while a layer learns, and the report that it gets afterwards.

use crate::guard::Refusal;

/// The activity that serves as a score's context (docs/paper.md 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Source {
    /// The layer's own.
    Same,
    /// The top layer's.
    Top,
}

/// Output of a layer, before its update; all of it finite.
#[derive(Debug, Clone, Copy)]
pub struct Activity<'a> {
    /// Index of the layer.
    pub layer: usize,
    /// Number of frames.
    pub rows: usize,
    /// Output after activation and max-pool, `[rows, C, H, W]`.
    pub output: &'a [f32],
    /// Output after loss pooling, `[rows, D]`.
    pub pooled: &'a [f32],
}

/// Scores of a layer and its gating factors, the third factor of the rule (docs/paper.md 2.1, 2.6), for one context.
///
/// In a stream there is one score, positive at a fixation and negative at a saccade; the other list is empty.
#[derive(Debug, Clone, Copy)]
pub struct Scores<'a> {
    /// Index of the layer.
    pub layer: usize,
    /// The context.
    pub source: Source,
    /// `u+` of each row.
    pub positive: &'a [f32],
    /// `u-`, `[rows, K]`.
    pub negative: &'a [f32],
    /// Derivative of a row's loss by its `u+`.
    pub positive_factor: &'a [f32],
    /// Derivative of a row's loss by each `u-`, times K (the loss takes the mean over negatives), `[rows, K]`.
    pub negative_factor: &'a [f32],
    /// Loss, the mean over rows.
    pub loss: f32,
}

/// The outcome of a layer's update.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// It happened.
    Applied,
    /// It did not, and parameters and optimiser state of the layer are what they were. Activity and scores that are
    /// not finite are said here before anything else, also where nothing was to be learnt.
    Refused(Refusal),
    /// The layer is frozen.
    Frozen,
    /// The modulator is zero.
    Muted,
    /// The first frame of a stream: nothing to compare it with, the frame became the context.
    NoContext,
}

/// A layer's part in one call.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerReport {
    /// Index of the layer.
    pub layer: usize,
    /// The outcome of its update.
    pub outcome: Outcome,
    /// Loss, the mean over rows, of both contexts together where there are two. 0 where there was no context, NaN
    /// where the activity was not finite.
    pub loss: f32,
    /// Mean `u+`, over rows and contexts; `None` without any.
    pub mean_positive: Option<f32>,
    /// Mean `u-`, over rows, negatives and contexts; `None` without any.
    pub mean_negative: Option<f32>,
    /// L2 norm of the change of the layer's parameters, 0 where there was none.
    pub update_norm: f32,
    /// Share of channels all of whose outputs are zero, in all frames of the call: after a ReLU those that were never above
    /// zero. 0 where the activity was not finite.
    pub dead: f32,
    /// Share of rows (over contexts) all of whose gating factors are zero: their margins are satisfied.
    pub satisfied: f32,
}

impl LayerReport {
    /// True if loss and mean scores are finite.
    pub(crate) fn is_finite(&self) -> bool {
        [Some(self.loss), self.mean_positive, self.mean_negative].into_iter().flatten().all(f32::is_finite)
    }
}

/// Sees each factor of the rule while it is at hand. All methods do nothing unless overridden.
pub trait Observer {
    /// A layer's activity, once per call and layer, unless it is not finite.
    fn activity(&mut self, activity: &Activity<'_>) {
        let _ = activity;
    }

    /// A layer's scores and gating factors, once per call, layer and context.
    fn scores(&mut self, scores: &Scores<'_>) {
        let _ = scores;
    }

    /// The end of a layer's part. Layers above one whose activity is not finite have none.
    fn report(&mut self, report: &LayerReport) {
        let _ = report;
    }
}

/// Looks at nothing.
impl Observer for () {}
