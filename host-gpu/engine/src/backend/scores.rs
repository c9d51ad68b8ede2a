//! The scores and losses that a backend hands to the host.

use super::{Pairing, Partner};
use crate::model::TensorRole;

/// Scores and loss of one layer under one context.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Projection of the scores: the same layer's context, the top layer's context, or the head of InfoNCE.
    pub role: TensorRole,
    /// Scores of the positives, `[rows]`; the cosine of each pair under InfoNCE, `[N]`.
    pub u_pos: Vec<f32>,
    /// Scores of the negatives, `[K][rows]` flattened; the mean cosine with the other images under InfoNCE, `[N]`.
    pub u_neg: Vec<f32>,
    /// Mean loss over the rows.
    pub loss: f64,
}

impl Scores {
    /// Scores of all rows, of which those are kept that count.
    pub fn new(pairing: Pairing<'_>, role: TensorRole, u_pos: Vec<f32>, u_neg: Vec<f32>, loss: f64) -> Self {
        // A row that is its own positive or negative has one score.
        let (Partner::Itself, Some(keep)) = (pairing.partner, pairing.keep_positive) else {
            return Self { role, u_pos, u_neg, loss };
        };
        let counting = |scores: Vec<f32>, which: bool| {
            let kept = scores.into_iter().zip(keep).filter(|(_, keep)| **keep == which);
            kept.map(|(score, _)| score).collect()
        };
        Self { role, u_pos: counting(u_pos, true), u_neg: counting(u_neg, false), loss }
    }
}

/// Distance between the error of a layer's own losses and the back-propagated error (docs/paper.md 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mismatch {
    /// `F = ||G_ideal - G||^2`, summed over rows and elements of the layer's output.
    pub distance: f64,
    /// `||G_ideal||^2`.
    pub ideal: f64,
}

impl Mismatch {
    /// `F / ||G_ideal||^2`: 0 if the error equals that of back-propagation, 1 if the error is zero. 0 without an ideal
    /// error.
    pub fn relative(&self) -> f64 {
        if self.ideal > 0.0 { self.distance / self.ideal } else { 0.0 }
    }
}
