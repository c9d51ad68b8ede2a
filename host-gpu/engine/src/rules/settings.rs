//! The settings of a rule in a configuration, and the components of a rule.

use super::lpl::Lpl;
use super::soft_hebb::SoftHebb;
use super::weight_mirror::Mirror;
use crate::model::{Form, Inputs, LossLayers};
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
    /// Kind of the projections.
    pub projection: Option<Projection>,
    /// Factor on the positive term of hinge, soft hinge and goodness.
    pub pos_coeff: f32,
    /// `true` if of each row only its positive or only its negative term counts.
    pub either: bool,
    /// Error that trains the projections below the top layer.
    pub feedback: Feedback,
    /// Memory strategy of rules that back-propagate.
    pub backward: Backward,
    /// Sampling of the negatives.
    pub negatives: Negatives,
    /// `true` if all losses share them.
    pub negatives_shared: bool,
    /// The head of BP-InfoNCE, at the configured width.
    pub head: Head,
    /// The terms of LPL.
    pub lpl: Lpl,
    /// The competition of SoftHebb.
    pub soft_hebb: SoftHebb,
    /// Relaxation of the activities.
    pub relaxation: Relaxation,
    /// Learning of the mirror kernels.
    pub mirror: Mirror,
    /// Images of a batch.
    pub batch: usize,
    /// The optimiser of all tensors.
    pub optimizer: Optimizer,
}

/// The linear head of InfoNCE on the top layer's pooled activity (docs/paper.md 2.8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Rows of its matrix `[outputs, D_top]`; there is no bias.
    pub outputs: usize,
    /// Temperature of the softmax over cosines.
    pub temperature: f32,
}

/// Sampling of the negatives (docs/paper.md 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negatives {
    /// The next row of the batch: always another image.
    Ring,
    /// This number of rows for each context, uniformly over the batch.
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

/// Source of the gradient of the projections below the top layer, in local rules with trainable projections
/// (docs/paper.md 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Their own layer's loss.
    #[default]
    Trained,
    /// No error: they keep their initial values, and only the top layer's projections learn. This is the control with
    /// random feedback.
    Frozen,
    /// The distance between the error that they send and the error of back-propagation from the top layer's loss.
    Matched,
}

/// The components of a rule, and the settings that it accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// The name in files and on the command line.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub summary: &'static str,
    /// Contrast functions of the rule.
    pub contrast: Contrasts,
    /// Default kind of projection.
    pub projection: Projection,
    /// Whose activity is the context.
    pub context: Context,
    /// Path of the learning signal to a layer.
    pub signal: Signal,
    /// Kinds of feedback that it accepts, in addition to trained.
    pub feedback: FeedbackChoices,
    /// Content of the rows of a batch.
    pub inputs: Inputs,
    /// `true` if a layer sees the output of the one below with a mean square of 1 in each row.
    pub normalise: bool,
    /// Pooling of a layer's output for the loss.
    pub pooling: Pooling,
    /// Learning rate in small experiments, and wherever the rule has its own update. `None`: the rate of all other
    /// rules.
    pub rate: Option<f32>,
}

/// Contrast functions that a rule accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contrasts {
    /// Any; this one if the configuration names none.
    Any(Contrast),
    /// Only this one, which defines the rule; theta can be set.
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

/// Path of the learning signal to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Every layer learns from its own loss: no gradient crosses a layer's border.
    Local,
    /// The top layer's loss is back-propagated through all blocks.
    BackPropagated,
    /// The top layer's error goes to every layer through a fixed random matrix.
    Broadcast,
    /// Errors come down as in back-propagation, but through separate kernels.
    Mirrored,
    /// Activities relax on an energy of prediction errors.
    Relaxed,
    /// Local, with the relaxed activity of the top as the context.
    TopRelaxed,
}

impl Signal {
    /// Returns the name in tables.
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

    /// Returns `true` if every layer has a loss; otherwise only the top layer has one.
    pub fn every_layer_has_a_loss(self) -> bool {
        matches!(self, Self::Local | Self::TopRelaxed)
    }
}

/// Kinds of [`Feedback`] that a rule accepts, in addition to trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackChoices {
    /// None.
    TrainedOnly,
    /// Frozen.
    Frozen,
    /// Frozen and matched.
    All,
}

/// Pooling of a layer's output map for the loss.
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

    /// Returns the requirements on the network that follow from the choices.
    pub fn form(&self) -> Form {
        let every = self.signal.every_layer_has_a_loss();
        Form {
            losses: if every { LossLayers::EveryLayer } else { LossLayers::Top },
            inputs: self.inputs,
            normalise: self.normalise,
            ..Form::default()
        }
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
