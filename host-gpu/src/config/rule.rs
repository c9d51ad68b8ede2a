//! The rules of the paper's table by name.

use crate::model::Learning;
use clapp_core::network::{Context, LossPool};
use serde::{Deserialize, Serialize};

/// A rule of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum RuleName {
    /// CLAPP++: local, spatial dependence, context from the same layer.
    #[serde(rename = "clapp++")]
    #[value(name = "clapp++")]
    ClappPp,
    /// CLAPP++DFB: local, spatial dependence, context from the top layer.
    #[serde(rename = "clapp++dfb")]
    #[value(name = "clapp++dfb")]
    ClappPpDfb,
    /// CLAPP++both: the sum of the two.
    #[serde(rename = "clapp++both")]
    #[value(name = "clapp++both")]
    ClappPpBoth,
    /// CLAPP++ without spatial dependence: every layer's loss sees channel means.
    #[serde(rename = "clapp++pooled")]
    #[value(name = "clapp++pooled")]
    ClappPpPooled,
    /// BP-CLAPP++: the top layer's loss on channel means, back-propagated through the network.
    #[serde(rename = "bp-clapp++")]
    #[value(name = "bp-clapp++")]
    BpClappPp,
}

impl RuleName {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClappPp => "clapp++",
            Self::ClappPpDfb => "clapp++dfb",
            Self::ClappPpBoth => "clapp++both",
            Self::ClappPpPooled => "clapp++pooled",
            Self::BpClappPp => "bp-clapp++",
        }
    }

    /// The source of the context.
    pub fn context(self) -> Context {
        match self {
            Self::ClappPp | Self::ClappPpPooled | Self::BpClappPp => Context::Same,
            Self::ClappPpDfb => Context::Top,
            Self::ClappPpBoth => Context::Both,
        }
    }

    /// How far the gradient reaches.
    pub fn learning(self) -> Learning {
        match self {
            Self::BpClappPp => Learning::Global,
            _ => Learning::Local,
        }
    }

    /// The loss pooling of a block whose configuration says `spatial`.
    pub fn loss_pool(self, spatial: LossPool) -> LossPool {
        match self {
            Self::ClappPp | Self::ClappPpDfb | Self::ClappPpBoth => spatial,
            Self::ClappPpPooled | Self::BpClappPp => LossPool::Global,
        }
    }
}
