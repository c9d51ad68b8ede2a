//! SoftHebb (Moraitis et al. 2022, "SoftHebb: Bayesian inference in unsupervised Hebbian soft winner-take-all networks";
//! Journé et al. 2023, "Hebbian deep learning without feedback"; docs/paper.md 8).
//!
//! No loss and no gradient: at each position of a map the channels compete, and what each has won moves its weights
//! `w_k` (with `x` the window, `u_k = w_k x`):
//!
//! ```text
//! y_k  = softmax_k(u / temperature), the sign turned for all but the winner (anti-Hebbian, Journé et al.)
//! d_k  = sum over positions of y_k (x - u_k w_k)
//! w_k += rate ||w_k| - 1|^power d_k / max |d|
//! ```
//!
//! The factor `||w_k| - 1|^power` is their adaptive rate: the rule's weights end on the unit sphere, and learning slows as
//! they come near. `rate` is the learning rate of the configuration (optimiser `sgd` without momentum or decay: the rule
//! has an update of its own, and no state).
//!
//! First weights are `start` long, outside the sphere: there one channel wins nearly all of a position, and the losers'
//! wrong sign does no harm. Inside it, what loses everywhere is pushed away from the sphere. Theirs are 25 long; 5 is for
//! trainings of hundreds of steps instead of thousands. So is one rate for all layers, that of their first.
//!
//! Of their network, three things are not taken, as the table's blocks are the same for all rules: the widening by four
//! from layer to layer, batch normalisation, and the activation `Triangle`. Of batch normalisation two simple parts are:
//! `x` is what the layer below has made over the root of its mean square in each row, minus the mean of each channel over
//! the batch. The bias of channel `k` carries that: it follows `-w_k mean(x)` with a running mean, so that the block's
//! output is the rectified `u`. All layers learn at once; theirs learn one after the other.

use super::{Choices, Loss, Pooling};
use crate::config::ProjectionName;
use crate::model::{Inputs, Learning};
use clapp_core::network::Context;
use serde::{Deserialize, Serialize};

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "soft-hebb",
    loss: Loss::SoftHebb,
    projection: ProjectionName::Identity,
    context: Context::Same,
    learning: Learning::Local,
    inputs: Inputs::Views,
    normalise: true,
    pooling: Pooling::Map,
    rate: Some(0.08),
};

/// How its channels compete.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SoftHebb {
    /// Temperature of the softmax over channels.
    pub temperature: f32,
    /// Exponent of the distance from the unit sphere in the learning rate.
    pub power: f32,
    /// Length of a channel's first weights, about.
    pub start: f32,
}

impl Default for SoftHebb {
    fn default() -> Self {
        Self { temperature: 1.0, power: 0.5, start: 5.0 }
    }
}

impl SoftHebb {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field, its value and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(format!("soft-hebb.temperature is {}, expected a finite number above 0", self.temperature));
        }
        if !(0.0..=4.0).contains(&self.power) {
            return Err(format!("soft-hebb.power is {}, expected 0 to 4", self.power));
        }
        if !(0.01..=1000.0).contains(&self.start) {
            return Err(format!("soft-hebb.start is {}, expected 0.01 to 1000", self.start));
        }
        Ok(())
    }
}
