//! CLAPP++ without spatial dependence (docs/paper.md 1.4, 5.1): the loss of every layer sees channel means only, so
//! that the error is the same all over a map.
//!
//! Source: the paper and its released code. Nothing is left out.

use super::{Choices, Pooling, clapp_pp};

/// The rule.
pub const CHOICES: Choices = Choices { name: "clapp++pooled", pooling: Pooling::Map, ..clapp_pp::CHOICES };
