//! The contrast functions and their derivatives (docs/paper.md 1.2, 2.1): value and gating factors from scores.

use crate::math::{sigmoid, softplus};
use crate::network::{Contrast, Rule};

/// The gaze between two frames of a stream: it rests or it jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub enum Phase {
    /// The frame shows what the previous one showed: the score should be high.
    Fixation,
    /// The frame shows something else: the score should be low.
    Saccade,
}

fn positive_part(x: f32) -> f32 {
    // Not `x > 0`: a NaN must stay one.
    if x <= 0.0 { 0.0 } else { x }
}

/// Cost `f(u)` of one positive score and its derivative.
fn attract(contrast: Contrast, u: f32) -> (f32, f32) {
    match contrast {
        Contrast::Hinge => (positive_part(1.0 - u), if u < 1.0 { -1.0 } else { 0.0 }),
        Contrast::SoftHinge => (softplus(1.0 - u), -sigmoid(1.0 - u)),
        Contrast::Phyll { theta } => (softplus(-theta * u), -theta * sigmoid(-theta * u)),
        Contrast::Linear => (-u, -1.0),
        Contrast::Goodness { theta } => (softplus(theta - u), -sigmoid(theta - u)),
    }
}

/// Cost of one negative score and its derivative: `f(-u)`, but for goodness, whose threshold does not change its sign.
fn repel(contrast: Contrast, u: f32) -> (f32, f32) {
    if let Contrast::Goodness { theta } = contrast {
        return (softplus(u - theta), sigmoid(u - theta));
    }
    let (value, slope) = attract(contrast, -u);
    (value, -slope)
}

/// Contrast of one frame of a stream: the positive term at a fixation, the negative one at a saccade, and its derivative by `u`.
///
/// `pos_coeff` weighs the fixations of contrasts with separate terms.
pub fn stream(rule: &Rule, phase: Phase, u: f32) -> (f32, f32) {
    match phase {
        Phase::Fixation => {
            let weight = positive_weight(rule);
            let (value, slope) = attract(rule.contrast, u);
            (weight * value, weight * slope)
        }
        Phase::Saccade => repel(rule.contrast, u),
    }
}

fn positive_weight(rule: &Rule) -> f32 {
    match rule.contrast {
        Contrast::Hinge | Contrast::SoftHinge | Contrast::Goodness { .. } => rule.pos_coeff,
        Contrast::Phyll { .. } | Contrast::Linear => 1.0,
    }
}

/// True if a contrast is a sum of a positive and a negative term that can be kept apart
/// (`keep_positive`): hinge, soft hinge and goodness.
pub const fn has_separate_terms(contrast: Contrast) -> bool {
    matches!(contrast, Contrast::Hinge | Contrast::SoftHinge | Contrast::Goodness { .. })
}

/// Loss of a layer all of whose scores are 0, over its contexts: of positives, of negatives, or of both; 0 for the linear
/// contrast.
pub fn silence(rule: &Rule, positives: bool, negatives: bool) -> f32 {
    let contexts = if rule.context.has_same() && rule.context.has_top() { 2.0 } else { 1.0 };
    let both = positives && negatives;
    // A function of the difference costs once.
    let once = both && matches!(rule.contrast, Contrast::Phyll { .. } | Contrast::Linear);
    let positive = if positives { positive_weight(rule) * attract(rule.contrast, 0.0).0 } else { 0.0 };
    let negative = if negatives && !once { repel(rule.contrast, 0.0).0 } else { 0.0 };
    contexts * (positive + negative)
}

/// Contrast of one row of a batch: the score of its positive, `u`, against those of its negatives.
///
/// `gap` is the mean of `u- - u` over the negatives, which PhyLL and linear are functions of: a difference of
/// large scores, so it is for the caller to work it out without their rounding.
///
/// Writes the derivative by each negative score, times the number of negatives, to `negative_factors` (as long
/// as `negatives`) and returns the value and its derivative by `u`. Derivatives at a kink of the hinge are 0.
/// `keep` leaves only the positive (`true`) or only the negative term (`false`) of contrasts with separate terms.
pub fn pairs(
    rule: &Rule,
    u: f32,
    negatives: &[f32],
    gap: impl FnOnce() -> f64,
    keep: Option<bool>,
    negative_factors: &mut [f32],
) -> (f64, f32) {
    match rule.contrast {
        Contrast::Hinge | Contrast::SoftHinge | Contrast::Goodness { .. } => {
            let (mut value, mut factor) = (0.0, 0.0);
            if keep != Some(false) {
                let (cost, slope) = attract(rule.contrast, u);
                (value, factor) = (rule.pos_coeff * cost, rule.pos_coeff * slope);
            }
            let mut repelled = 0.0;
            for (out, u) in negative_factors.iter_mut().zip(negatives) {
                let (cost, slope) = repel(rule.contrast, *u);
                let kept = keep != Some(true);
                repelled += if kept { cost } else { 0.0 };
                *out = if kept { slope } else { 0.0 };
            }
            ((value + repelled / negatives.len().max(1) as f32).into(), factor)
        }
        Contrast::Phyll { theta } => {
            let argument = theta * gap() as f32;
            let slope = theta * sigmoid(argument);
            negative_factors.fill(slope);
            (softplus(argument).into(), -slope)
        }
        Contrast::Linear => {
            negative_factors.fill(1.0);
            (gap(), -1.0)
        }
    }
}
