//! Forward-Forward (Hinton 2022, "The forward-forward algorithm: some preliminary investigations"; docs/paper.md 1.4).
//!
//! The goodness of a row is the mean of its squared activities, `u = <p, c>` with `c = p` and `B = 1 / D`. Positives cost
//! `-log sigma(u - theta)`, negatives `-log sigma(theta - u)`; `theta` is 2 by default. The mean makes one threshold serve
//! layers of any size; Hinton sums the squares, and his threshold grows with the layer. Context and activity are the same
//! vector and both live: the gradient is that of the goodness, twice what the unified form with its detached context would
//! give.
//!
//! Negatives are his unsupervised ones, hybrids of two images ([`crate::draws::mix`]). Each row is divided by the root of
//! its mean square before the next layer sees it, so that goodness does not tell the next layer what it was.

use super::{Choices, Loss, Pooling};
use crate::config::{ContrastName, ProjectionName};
use crate::model::{Inputs, Learning};
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "forward-forward",
    loss: Loss::Contrast(ContrastName::Goodness { theta: 2.0 }),
    projection: ProjectionName::Identity,
    context: Context::Same,
    learning: Learning::Local,
    inputs: Inputs::Hybrids,
    normalise: true,
    pooling: Pooling::Pixels,
    rate: None,
};
