//! CLAPP++DFB (docs/paper.md 1.4, 3): CLAPP++ whose context is the top layer, broadcast to all layers (direct
//! feedback).
//!
//! `L = f(<p_pos, B c>) + f(-<p_neg, B c>)` with a trainable `B` of `D x D_top` and the top's activity in the other view as
//! context. `feedback` in the configuration says what the projections below the top learn from: `trained`, `frozen`
//! (random feedback) or `matched` (to back-propagation).
//!
//! Source: the paper and its released code. Nothing is left out.

use super::{Choices, clapp_pp};
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices { name: "clapp++dfb", context: Context::Top, ..clapp_pp::CHOICES };
