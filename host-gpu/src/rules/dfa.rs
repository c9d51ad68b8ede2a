//! Direct feedback alignment (Lillicrap et al. 2016, Nøkland 2016) on the loss of BP-CLAPP++.
//!
//! The top learns from its own loss, as under BP-CLAPP++: pooled over the whole map, context detached. The gradient `e` of
//! that loss by the top's pooled activity is broadcast to every layer below, where `dp^l = F^l e` takes the place of the
//! gradient of its pooled activity, with `F^l` a random matrix `D_l x D_top` that never learns; from there it goes through
//! the layer's own pooling, max-pool and ReLU to its weights. Steps: [`crate::step::broadcast_step`].
//!
//! Source: the primary literature; the paper names the rule, but the released code does not contain it
//! (docs/paper.md 3). Nøkland gives every unit of a map a row of its own in `F`; here the units of a cell share one.
//! `F` has the distribution of the other projections.

use super::{Choices, Pooling, clapp_pp};
use crate::model::Learning;
use clapp_core::network::Context;

/// The rule.
pub const CHOICES: Choices = Choices {
    name: "dfa",
    // The matrices are those of direct feedback; at the top it is the projection of the loss.
    context: Context::Top,
    learning: Learning::Broadcast,
    pooling: Pooling::CellsBelowMap,
    // Of 1e-3, 3e-4 and 1e-4 the one whose features were best after a short training.
    rate: Some(3e-4),
    ..clapp_pp::CHOICES
};
