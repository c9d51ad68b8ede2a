//! BP-InfoNCE, as SimCLR (Chen et al. 2020; docs/paper.md 2.8): cosines of both views' top channel means through a
//! linear head, over a temperature, with the second views of all images; back-propagated through both views. The
//! stronger global baseline.
//!
//! Source: the CLAPP++ code, which has one head without bias for both views and one direction. SimCLR's non-linear head,
//! its batch normalisation and its second direction are left out, as there.

use super::{Choices, Loss, Pooling};
use crate::config::ProjectionName;
use crate::model::{Inputs, Learning};
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "bp-infonce",
    loss: Loss::InfoNce,
    projection: ProjectionName::Identity,
    context: Context::Same,
    learning: Learning::Global,
    inputs: Inputs::Views,
    normalise: false,
    pooling: Pooling::Map,
    rate: None,
};
