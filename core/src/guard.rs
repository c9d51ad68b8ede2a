//! The check that keeps a bad frame or a bad setting from spoiling what was learnt.
//!
//! A layer's update is refused whole where it would leave a parameter or the optimiser's state without a finite value,
//! or where its norm is above a cap. Since updates happen in place, the decision must come first. In
//! the usual case it costs next to nothing: by the inequality of Cauchy and Schwarz the gradient of the weights is no longer than
//! the errors' length times the input's, and that of a projection no longer than its two factors'; if that
//! already is within the cap and below 10^18, no sum can overflow and no parameter can leave the finite numbers. Under
//! AdamW no element moves by more than a multiple of the rate that the betas give. The cost is one pass over the
//! layer's input, and over parameters and state where the optimiser has state or weight decay. Only where the bound
//! is not enough, the gradient is worked out once more, beforehand, to measure the update: this doubles the cost of the
//! weight gradient for that call.
//!
//! # The way back
//! A refusal never leaves a layer where sound frames cannot reach it any more:
//! * Momentum and moments decay as after a gradient of zero, and what is not finite of them is set to zero. An update
//!   that was too long because of what they held is short enough again after some refusals.
//! * Of the updates of a layer that are too long, every 16th is made all the same, scaled down to the cap. A layer whose
//!   own parameters have become so large that its updates are all too long thus goes on learning.

/// Settings of the guard. The default has the cap [`Guard::CAP`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Guard {
    /// Largest L2 norm of one update of a layer: the change of its weights, biases and projections together. `None`: no
    /// cap; only what is not finite is refused. A cap below 1e-17 is shorter than an `f32` can measure and lets no
    /// update pass.
    pub max_update_norm: Option<f32>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { max_update_norm: Some(Self::CAP) }
    }
}

/// The reason for which an update was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// The layer's activity is not finite, so its parameters are not, or overflow on this input. The pass ends here.
    Activity,
    /// A score is not finite although the activity is, or a sum of scores: the projection's parameters are not, or
    /// overflow.
    Score,
    /// The update would leave a parameter or a part of the optimiser's state that is not finite, or its norm is not.
    NotFinite,
    /// The update is longer than [`Guard::max_update_norm`].
    TooLong {
        /// The norm it would have had.
        norm: f32,
    },
}

/// Room for the rounding of a bound's few operations and of the sums that it bounds.
const SLACK: f32 = 1.01;

/// Caps below this are shorter than the sum of an update's squares can tell from nothing.
const SHORTEST: f32 = 1e-17;

/// An update may be this long without being measured where there is no cap: its square is finite, and so is what it
/// changes.
const UNMEASURED: f32 = 1e18;

/// Of so many updates that are too long one is made, scaled down.
const PATIENCE: u32 = 16;

impl Guard {
    /// The default's cap. Learning that does not diverge stays below it: on CIFAR-10, updates of networks for devices
    /// (frames of 32x32, 8 to 32 channels; SGD at 0.003 to 0.05, with momentum, AdamW) were 0.001 to 0.08 long in
    /// the middle and at most 9.1; where learning diverged, they soon were 200 and more.
    pub const CAP: f32 = 10.0;

    /// No cap: for the rules as they are defined, on frames that are known to be sound.
    pub const UNCAPPED: Self = Self { max_update_norm: None };

    /// True if `bound`, an upper bound of the update's norm, shows without measuring that it may happen.
    pub(crate) fn admits_bound(&self, bound: f32) -> bool {
        let bound = bound * SLACK;
        bound < UNMEASURED && self.max_update_norm.is_none_or(|cap| bound <= cap && cap >= SHORTEST)
    }

    /// The factor of a measured update of a layer with so many refusals: 1, or less where it is scaled down.
    pub(crate) fn admits(&self, norm: f32, finite: bool, refusals: u32) -> Result<f32, Refusal> {
        if !(finite && norm.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        match self.max_update_norm {
            None => Ok(1.0),
            Some(cap) if cap >= SHORTEST && norm <= cap => Ok(1.0),
            Some(cap) if cap >= SHORTEST && refusals % PATIENCE == PATIENCE - 1 => Ok(cap / norm / SLACK),
            // A cap that is not a number lets nothing pass.
            Some(_) => Err(Refusal::TooLong { norm }),
        }
    }
}
