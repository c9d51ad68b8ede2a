//! What a configuration says to its rule, and what a rule makes of a network.

use super::lpl::Lpl;
use super::soft_hebb::SoftHebb;
use super::weight_mirror::Mirror;
use crate::model::Inputs;
use crate::optimizer::Optimizer;
use crate::step::backprop::Backward;
use crate::step::relax::Relaxation;
use clapp_core::network::{Context, Contrast, LossPool, Projection, Rule};
use serde::{Deserialize, Serialize};

/// The keys of a configuration that rules read. Keys that are `None` have the rule's own value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The contrast function.
    pub contrast: Option<Contrast>,
    /// What the projections are.
    pub projection: Option<Projection>,
    /// Factor on the positive term of hinge, soft hinge and goodness.
    pub pos_coeff: f32,
    /// `true` if of each row only its positive or only its negative term counts.
    pub either: bool,
    /// What the projections below the top learn from.
    pub feedback: Feedback,
    /// How gradients come down in rules that back-propagate.
    pub backward: Backward,
    /// How negatives are drawn.
    pub negatives: Negatives,
    /// `true` if all losses share them.
    pub negatives_shared: bool,
    /// The head of BP-InfoNCE, at the configured width.
    pub head: Head,
    /// The terms of LPL.
    pub lpl: Lpl,
    /// The competition of SoftHebb.
    pub soft_hebb: SoftHebb,
    /// How activities relax.
    pub relaxation: Relaxation,
    /// How kernels learn to mirror the weights.
    pub mirror: Mirror,
    /// Images of a batch.
    pub batch: usize,
    /// The optimiser of all tensors.
    pub optimizer: Optimizer,
}

/// The linear head of InfoNCE on the top's pooled activity (docs/paper.md 2.8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Rows of its matrix `[outputs, D_top]`; there is no bias.
    pub outputs: usize,
    /// Temperature of the softmax over cosines.
    pub temperature: f32,
}

/// How negatives are drawn (docs/paper.md 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negatives {
    /// The next row of the batch: always another image.
    Ring,
    /// That many rows for each context, uniformly over the batch.
    Uniform(usize),
}

impl Negatives {
    /// Negatives of each row.
    pub fn per_row(self) -> usize {
        match self {
            Self::Ring => 1,
            Self::Uniform(count) => count,
        }
    }
}

/// Source of the gradient of the projections below the top, in local rules with trainable projections
/// (docs/paper.md 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Their own layer's loss.
    #[default]
    Trained,
    /// Nothing: they keep their first values, and only the top's learn. The control with random feedback.
    Frozen,
    /// The distance of the error that they send from the one that back-propagation of the top's loss brings.
    Matched,
}

/// What a rule is made of, and which settings it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// The name in files and on the command line.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub summary: &'static str,
    /// Which contrast function it has.
    pub contrast: Contrasts,
    /// The projection where the configuration names none.
    pub projection: Projection,
    /// Whose activity is the context.
    pub context: Context,
    /// How what a layer learns from reaches it.
    pub signal: Signal,
    /// Which kinds of feedback it takes besides trained.
    pub feedback: FeedbackChoices,
    /// What the rows of a batch are.
    pub inputs: Inputs,
    /// `true` if a layer sees the output of the one below with a mean square of 1 in each row.
    pub normalise: bool,
    /// What the loss sees of a layer's output.
    pub pooling: Pooling,
    /// The learning rate in experiments of a small size, and wherever the rule has an update of its own; the one that
    /// all rules have in common where there is none.
    pub rate: Option<f32>,
}

/// Which contrast functions a rule takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contrasts {
    /// Any; this one where the configuration names none.
    Any(Contrast),
    /// This one alone, which makes the rule; its theta may be another.
    Own(Contrast),
    /// None: the rule has another loss.
    OtherLoss,
    /// None: the rule has no loss.
    NoLoss,
}

impl Contrasts {
    /// Returns `true` if the rule has a contrast at all.
    pub fn is_some(self) -> bool {
        matches!(self, Self::Any(_) | Self::Own(_))
    }
}

/// How what a layer learns from reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Every layer learns from its own loss: no gradient crosses a layer's border.
    Local,
    /// The top's loss is back-propagated through all blocks.
    BackPropagated,
    /// The top's error goes to every layer through a fixed random matrix.
    Broadcast,
    /// As back-propagated, through kernels of their own.
    Mirrored,
    /// Activities relax on an energy of prediction errors.
    Relaxed,
    /// Local, with the relaxed activity of the top as the context.
    TopRelaxed,
}

impl Signal {
    /// As tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::BackPropagated => "back-propagated",
            Self::Broadcast => "broadcast",
            Self::Mirrored => "through mirrors",
            Self::Relaxed => "prediction errors",
            Self::TopRelaxed => "relaxed top",
        }
    }

    /// Returns `true` if every layer has a loss; otherwise the top alone has one.
    pub fn every_layer_has_a_loss(self) -> bool {
        matches!(self, Self::Local | Self::TopRelaxed)
    }
}

/// Which kinds of [`Feedback`] a rule takes besides trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackChoices {
    /// None.
    TrainedOnly,
    /// Frozen.
    Frozen,
    /// Frozen and matched.
    All,
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

impl Choices {
    /// The contrast function under these settings; rules without one do not use it.
    pub fn contrast(&self, settings: &Settings) -> Contrast {
        settings.contrast.unwrap_or(match self.contrast {
            Contrasts::Any(contrast) | Contrasts::Own(contrast) => contrast,
            Contrasts::OtherLoss | Contrasts::NoLoss => Contrast::Hinge,
        })
    }

    /// The kind of projection under these settings.
    pub fn projection(&self, settings: &Settings) -> Projection {
        settings.projection.unwrap_or(self.projection)
    }

    /// The part of the rule that `clapp-core` knows, under these settings.
    pub fn core_rule(&self, settings: &Settings) -> Rule {
        Rule {
            contrast: self.contrast(settings),
            context: self.context,
            projection: self.projection(settings),
            pos_coeff: settings.pos_coeff,
        }
    }
}
