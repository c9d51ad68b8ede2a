//! CLAPP++ with spatial dependence (docs/paper.md 1.2, 1.4): each layer's cells predict those of the other view.
//!
//! `L = f(<p_pos, B c>) + f(-<p_neg, B c>)` with `f(x) = max(0, 1 - x)`, a trainable `B` of `D x D`, and the layer's own
//! activity in the other view as context `c`. The positive is the other view, the negative another image.
//!
//! Source: the paper and its released code. Nothing is left out.

use super::{Choices, Loss, Pooling};
use crate::config::{ContrastName, ProjectionName};
use crate::model::{Inputs, Learning};
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "clapp++",
    loss: Loss::Contrast(ContrastName::Hinge),
    projection: ProjectionName::Trainable,
    context: Context::Same,
    learning: Learning::Local,
    inputs: Inputs::Views,
    normalise: false,
    pooling: Pooling::Cells,
    rate: None,
};
