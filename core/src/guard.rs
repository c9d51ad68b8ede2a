//! What keeps a bad frame or a bad setting from spoiling what was learnt.
//!
//! A layer's update is refused whole where it would leave a parameter or the optimiser's state without a finite value,
//! or where its norm is above a cap. Since updates happen in place, the decision must come first. In
//! the usual case it costs next to nothing: by the inequality of Cauchy and Schwarz the gradient of the weights is no longer than
//! the errors' length times the input's, and that of a projection no longer than its two factors'; if that
//! already is within the cap and below 2^100, no sum can overflow and no parameter can leave the finite numbers. The
//! cost is one pass over the layer's input, and over parameters and state where the optimiser has state
//! or weight decay. Only where the bound is not enough, the gradient is worked out once more, beforehand,
//! to measure the update: this doubles the cost of the weight gradient for that call. Under AdamW the
//! bound is too loose for caps, so a cap there always costs the measurement.

/// Settings of the guard.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Guard {
    /// Largest L2 norm of one update of a layer: the change of its weights, biases and projections together.
    pub max_update_norm: Option<f32>,
}

/// Why an update was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// The layer's activity is not finite, so its parameters are not, or overflow on this input. The pass ends here.
    Activity,
    /// A score is not finite although the activity is: the projection's parameters are not, or overflow.
    Score,
    /// The update would leave a parameter or a part of the optimiser's state that is not finite.
    NotFinite,
    /// The update is longer than [`Guard::max_update_norm`].
    TooLong {
        /// The norm it would have had.
        norm: f32,
    },
}

/// Room for the rounding of a bound's few operations and of the sums that it bounds.
const SLACK: f32 = 1.01;

impl Guard {
    /// Whether `bound`, an upper bound of the update's norm, shows without measuring that it may happen.
    pub(crate) fn admits_bound(&self, bound: f32) -> bool {
        let bound = bound * SLACK;
        bound < crate::optimizer::UNBOUNDED && self.max_update_norm.is_none_or(|cap| bound <= cap)
    }

    /// Whether a measured update may happen.
    pub(crate) fn admits(&self, norm: f32, finite: bool) -> Result<(), Refusal> {
        if !finite {
            return Err(Refusal::NotFinite);
        }
        match self.max_update_norm {
            // A cap that is not a number lets nothing pass.
            Some(cap) if norm > cap || cap.is_nan() => Err(Refusal::TooLong { norm }),
            _ => Ok(()),
        }
    }
}
