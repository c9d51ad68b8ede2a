//! CLAPP++DFB with a relaxed top: this project's own hybrid of direct feedback and predictive coding.
//!
//! The top's activity alone relaxes on `1/2 ||z^L - f_L(z^{L-1})||^2 + w sum_rows loss(z^L)`, with the layers below and the
//! context as the forward pass has them. The relaxed activity is then the context that all layers below learn with, as
//! under CLAPP++DFB, and the target of the top, which learns from its prediction error as under predictive coding
//! ([`crate::step::relaxed_top_step`]). So the feedback carries where the top should be rather than where it is. Nothing
//! but the top iterates, and no error goes down through a block. With a small weight `w` it is CLAPP++DFB.
//!
//! Source: nobody's; the simplest form that has both parts.

use super::{Choices, clapp_pp_dfb};
use crate::model::Learning;

/// The rule.
pub const CHOICES: Choices = Choices { name: "clapp++dfb-pc", learning: Learning::TopRelaxed, ..clapp_pp_dfb::CHOICES };
