//! CLAPP++both (docs/paper.md 1.4, 3): the sum of the losses of CLAPP++ and CLAPP++DFB, with a projection each and the
//! same negatives.
//!
//! `feedback` in the configuration is as in CLAPP++DFB.
//!
//! Source: the paper and its released code (there `extra_lateral_loss`). Nothing is left out.

use super::{Choices, clapp_pp};
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices { name: "clapp++both", context: Context::Both, ..clapp_pp::CHOICES };
