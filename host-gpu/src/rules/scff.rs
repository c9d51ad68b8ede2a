//! Self-Contrastive Forward-Forward (Chen et al. 2025, "Self-contrastive forward-forward algorithm";
//! docs/paper.md 1.4).
//!
//! The goodness of Forward-Forward, on cells. Of a pair, both images go through the same weights and are added up
//! ([`crate::draws::mix`]): an image with itself is a positive, with another one a negative. Every layer pairs anew what
//! the one below makes of each image ([`crate::backend::Backend::pair_anew`]), as the released code does where its
//! `concat` is on in all layers.
//!
//! That code standardises between layers (mean 0, deviation 1) where this divides by the length, takes the goodness at
//! each position, has two thresholds a layer and a penalty on the goodness's norm; those are left out.

use super::{Choices, Pooling, forward_forward};
use crate::model::Inputs;

/// The rule.
pub const CHOICES: Choices =
    Choices { name: "scff", inputs: Inputs::Sums, pooling: Pooling::Cells, ..forward_forward::CHOICES };
