//! Predictive coding (Rao and Ballard 1999; Whittington and Bogacz 2017; Millidge et al. 2022) on the loss of BP-CLAPP++.
//!
//! The energy is half the squared prediction errors of all blocks plus the loss of the top; activities relax on it, then
//! each layer's weights descend on it by its own error ([`crate::step::relax`]). The context of the loss is the forward
//! pass's, as it is detached elsewhere. `relaxation` in the configuration has by what it descends, the number of
//! iterations, the rate, and the weight of a row's loss; with a small weight the gradients are those of back-propagation.
//!
//! Source: the primary literature; the paper reports the rule as a baseline, but its code does not contain it
//! (docs/paper.md 3). It is not known whether the paper's form has free activities or fixed predictions, nor its number
//! of iterations and weights.

use super::{Choices, bp_clapp_pp};
use crate::model::Learning;

/// The rule.
pub const CHOICES: Choices = Choices { name: "predictive-coding", learning: Learning::Relaxed, ..bp_clapp_pp::CHOICES };
