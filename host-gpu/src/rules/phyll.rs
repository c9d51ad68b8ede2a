//! PhyLL (Momeni et al. 2023, "Backpropagation-free training of deep physical neural networks"; docs/paper.md 1.4).
//!
//! `L = log(1 + exp(theta (u_neg - u_pos)))` of the scores `u = <p, c>`: the context is the row's own activity, the
//! projection the identity (`projection = "trainable"` is allowed). `theta` is 1 by default, as in the CLAPP++ code,
//! whose `f` this is.
//!
//! Momeni et al. compare by the cosine with a fixed random vector, on inputs that carry right and wrong labels, and take
//! `theta` 4. Without labels, the positive is the other view and the negative another image.

use super::{Choices, Loss, clapp_pp};
use crate::config::{ContrastName, ProjectionName};

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "phyll",
    loss: Loss::Contrast(ContrastName::Phyll { theta: 1.0 }),
    projection: ProjectionName::Identity,
    ..clapp_pp::CHOICES
};
