//! BP-CLAPP++ (docs/paper.md 1.4, 5.1): the loss of CLAPP++ on the top's channel means alone, back-propagated through
//! the network. The global baseline.
//!
//! The context stays detached, as in the released code: the gradient comes down on the side of the activity only.
//!
//! Source: the paper and its released code (there `ete_training`). Nothing is left out.

use super::{Choices, clapp_pp_pooled};
use crate::model::Learning;

/// The rule.
pub const CHOICES: Choices = Choices { name: "bp-clapp++", learning: Learning::Global, ..clapp_pp_pooled::CHOICES };
