//! The learning rules by name, one file each: where a rule comes from, its formula, what is taken of it and what is left
//! out, and its [`Choices`].
//!
//! Most rules are one loss (docs/paper.md 1.1) and one training step; what makes the rule is the contrast `f`, the
//! projection `B`, the context `c`, what counts as a positive and a negative, over which cells the loss pools, and how
//! far the gradient reaches. A new rule of this kind is one file here, its name in [`RuleName`], and its line in
//! [`RuleName::choices`].
//!
//! The paper's entries for Forward-Forward, SCFF and PhyLL are not confirmed (docs/paper.md 1.4): the CLAPP++ paper may
//! have run them differently.

mod bp_clapp_pp;
mod bp_info_nce;
mod clapp_pp;
mod clapp_pp_both;
mod clapp_pp_dfb;
mod clapp_pp_dfb_pc;
mod clapp_pp_pooled;
mod dfa;
mod forward_forward;
pub mod lpl;
mod phyll;
mod predictive_coding;
mod scff;
pub mod soft_hebb;
mod weight_mirror;

use crate::config::{ContrastName, ProjectionName};
use crate::model::{Inputs, Learning};
use clap::ValueEnum;
use clapp_core::network::{Context, LossPool};
use serde::{Deserialize, Serialize};

/// What a rule is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// The name in files and on the command line.
    pub name: &'static str,
    /// The loss.
    pub loss: Loss,
    /// The projection where the configuration names none.
    pub projection: ProjectionName,
    /// Where the context comes from.
    pub context: Context,
    /// How far the gradient reaches.
    pub learning: Learning,
    /// What the rows of a batch are.
    pub inputs: Inputs,
    /// Whether a layer sees the output of the one below with a mean square of 1 in each row.
    pub normalise: bool,
    /// What the loss sees of a layer's output.
    pub pooling: Pooling,
    /// The learning rate in experiments of a small size, and wherever the rule has an update of its own; the one that
    /// all rules have in common where there is none.
    pub rate: Option<f32>,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// A contrast of scores; this one where the configuration names none.
    Contrast(ContrastName),
    /// InfoNCE through a head (docs/paper.md 2.8), in place of contrast and projection.
    InfoNce,
    /// Distances of views, variances and covariances ([`lpl`]), in place of a contrast.
    Lpl,
    /// No loss: channels compete ([`soft_hebb`]).
    SoftHebb,
}

/// What a loss sees of a layer's output map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Means over the cells that the configuration gives each block: with spatial dependence.
    Cells,
    /// Means over the whole map, one a channel.
    Map,
    /// Every pixel.
    Pixels,
    /// Cells below the top, the whole map at the top.
    CellsBelowMap,
}

impl Pooling {
    /// The loss pooling of a block whose cells are `cells`, and which may be the top.
    pub fn of(self, cells: LossPool, is_top: bool) -> LossPool {
        match self {
            Self::CellsBelowMap if is_top => LossPool::Global,
            Self::Cells | Self::CellsBelowMap => cells,
            Self::Map => LossPool::Global,
            Self::Pixels => LossPool::Block([1, 1]),
        }
    }
}

/// A rule by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(into = "&'static str", try_from = "String")]
pub enum RuleName {
    /// CLAPP++: local, spatial dependence, context from the same layer.
    #[value(name = clapp_pp::CHOICES.name)]
    ClappPp,
    /// CLAPP++DFB: local, spatial dependence, context from the top layer.
    #[value(name = clapp_pp_dfb::CHOICES.name)]
    ClappPpDfb,
    /// CLAPP++both: the sum of the two.
    #[value(name = clapp_pp_both::CHOICES.name)]
    ClappPpBoth,
    /// CLAPP++ without spatial dependence: every layer's loss sees channel means.
    #[value(name = clapp_pp_pooled::CHOICES.name)]
    ClappPpPooled,
    /// PhyLL: local, a function of the difference of positive and negative, without a projection.
    #[value(name = phyll::CHOICES.name)]
    Phyll,
    /// Forward-Forward: local, goodness of images against that of hybrid images.
    #[value(name = forward_forward::CHOICES.name)]
    ForwardForward,
    /// Self-Contrastive Forward-Forward: local, goodness of an image with itself against that with another one.
    #[value(name = scff::CHOICES.name)]
    Scff,
    /// LPL: local, from distances between views, variances and covariances, without negatives.
    #[value(name = lpl::CHOICES.name)]
    Lpl,
    /// SoftHebb: local, by a competition of channels, without a loss.
    #[value(name = soft_hebb::CHOICES.name)]
    SoftHebb,
    /// BP-CLAPP++: the top layer's loss on channel means, back-propagated through the network.
    #[value(name = bp_clapp_pp::CHOICES.name)]
    BpClappPp,
    /// BP-InfoNCE (as SimCLR): InfoNCE of the top's channel means through a head, back-propagated.
    #[value(name = bp_info_nce::CHOICES.name)]
    BpInfoNce,
    /// Direct feedback alignment: the top's error reaches every layer through a fixed random matrix.
    #[value(name = dfa::CHOICES.name)]
    Dfa,
    /// Weight mirror: back-propagation through kernels that learn to mirror the weights.
    #[value(name = weight_mirror::CHOICES.name)]
    WeightMirror,
    /// Predictive coding: activities relax on prediction errors and the top's loss, then each layer learns from its error.
    #[value(name = predictive_coding::CHOICES.name)]
    PredictiveCoding,
    /// CLAPP++DFB whose top relaxes first, as under predictive coding.
    #[value(name = clapp_pp_dfb_pc::CHOICES.name)]
    ClappPpDfbPc,
}

impl RuleName {
    /// What the rule is made of.
    pub fn choices(self) -> &'static Choices {
        match self {
            Self::ClappPp => &clapp_pp::CHOICES,
            Self::ClappPpDfb => &clapp_pp_dfb::CHOICES,
            Self::ClappPpBoth => &clapp_pp_both::CHOICES,
            Self::ClappPpPooled => &clapp_pp_pooled::CHOICES,
            Self::Phyll => &phyll::CHOICES,
            Self::ForwardForward => &forward_forward::CHOICES,
            Self::Scff => &scff::CHOICES,
            Self::Lpl => &lpl::CHOICES,
            Self::SoftHebb => &soft_hebb::CHOICES,
            Self::BpClappPp => &bp_clapp_pp::CHOICES,
            Self::BpInfoNce => &bp_info_nce::CHOICES,
            Self::Dfa => &dfa::CHOICES,
            Self::WeightMirror => &weight_mirror::CHOICES,
            Self::PredictiveCoding => &predictive_coding::CHOICES,
            Self::ClappPpDfbPc => &clapp_pp_dfb_pc::CHOICES,
        }
    }

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        self.choices().name
    }
}

impl From<RuleName> for &'static str {
    fn from(rule: RuleName) -> Self {
        rule.name()
    }
}

impl TryFrom<String> for RuleName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let rules = Self::value_variants();
        rules.iter().find(|rule| rule.name() == name).copied().ok_or_else(|| {
            let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.name())).collect();
            format!("unknown rule `{name}`, expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_one_name_on_the_command_line_and_in_files() {
        let names: Vec<&str> = RuleName::value_variants().iter().map(|rule| rule.name()).collect();
        let old = ["clapp++", "clapp++dfb", "clapp++both", "clapp++pooled", "phyll", "forward-forward", "scff"];
        assert_eq!(names[..7], old, "names that files have");
        for (index, rule) in RuleName::value_variants().iter().enumerate() {
            assert!(!names[..index].contains(&rule.name()), "{} twice", rule.name());
            assert_eq!(RuleName::from_str(rule.name(), false), Ok(*rule));
            let text = serde_json::to_string(rule).unwrap();
            assert_eq!(text, format!("\"{}\"", rule.name()));
            assert_eq!(serde_json::from_str::<RuleName>(&text).unwrap(), *rule);
        }
        let error = serde_json::from_str::<RuleName>("\"clap\"").unwrap_err().to_string();
        assert!(error.contains("unknown rule `clap`, expected one of `clapp++`, `clapp++dfb`"), "{error}");
    }
}
