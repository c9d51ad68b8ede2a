//! The rules of the paper's table by name.
//!
//! All local rules are one loss (spec 1.1) and one training step; a rule is a choice of the contrast `f`, the projection
//! `B`, the context `c`, and what counts as a positive and a negative:
//!
//! | rule | type, `f` | `B` | context | positive, negative | loss pooling | between layers | source |
//! |---|---|---|---|---|---|---|---|
//! | `clapp++` | 2, hinge | trainable | other view, same layer | other view, other image | cells | as it is | CLAPP++ code |
//! | `clapp++pooled` | 2, hinge | trainable | other view, same layer | as above | whole map | as it is | CLAPP++ code |
//! | `clapp++dfb` | 2, hinge | trainable | other view, top layer | as above | cells | as it is | CLAPP++ code |
//! | `clapp++both` | 2, hinge, twice | two | same layer and top | as above | cells | as it is | CLAPP++ code |
//! | `phyll` | 1, `log(1 + exp(-theta x))` | identity | other view, same layer | as above | cells | as it is | Momeni et al. 2023 |
//! | `forward-forward` | 2, threshold | identity over `D` | itself | image, hybrid of two images | none | unit length | Hinton 2022 |
//! | `scff` | 2, threshold | identity over `D` | itself | image with itself, with another | cells | unit length | Chen et al. 2025 |
//! | `bp-clapp++` | 2, hinge, top only | trainable | other view, top layer | other view, other image | whole map | back-propagated | CLAPP++ code |
//! | `bp-infonce` | InfoNCE, top only | head | both views live | other view, all other images | whole map | back-propagated | CLAPP++ code |
//!
//! `feedback` says what the projections below the top learn from in `clapp++dfb` and `clapp++both` (spec 3): `trained`,
//! `frozen` (random feedback) or `matched` (to back-propagation).
//!
//! The specification marks the table's entries for Forward-Forward, SCFF and PhyLL as not confirmed: whether the CLAPP++
//! paper ran them so is not known. What is taken here, from the primary literature:
//!
//! - **Forward-Forward.** The goodness of a row is the mean of its squared activities, `u = <p, c>` with `c = p` and
//!   `B = 1 / D`, so that one threshold `theta` (2 by default) serves layers of any size; Hinton sums the squares, and his
//!   threshold grows with the layer. Positives cost `-log sigma(u - theta)`, negatives `-log sigma(theta - u)`. Context and
//!   activity are the same vector and both live: the gradient is that of the goodness, twice what the unified form with
//!   its detached context would give. Negatives are his unsupervised ones, hybrids of two images ([`crate::draws::mix`]).
//!   Each row is divided by the root of its mean square before the next layer sees it.
//! - **SCFF.** The same goodness on cells. Of a pair, both images go through the same weights and are added up
//!   ([`crate::draws::mix`]). Every layer pairs anew what the one below makes of each image
//!   ([`crate::backend::Backend::pair_anew`]), as the released code does where its `concat` is on in all layers. That
//!   code standardises (mean 0, deviation 1) where this divides by the length, takes the goodness at each position, has
//!   two thresholds a layer and a penalty on the goodness's norm; those are left out.
//! - **PhyLL.** The released `f` of the CLAPP++ code with `theta` 1 by default. The reference is the row's own activity as
//!   context, the identity as projection (`projection = "trainable"` is allowed). Momeni et al. compare by the cosine with
//!   a fixed random vector, on inputs that carry right and wrong labels, and take `theta` 4; without labels, the positive
//!   is the other view and the negative another image.

use super::{Config, ContrastName, Negatives, ProjectionName};
use crate::model::{Backward, Feedback, Inputs, Learning};
use crate::optimizer::Optimizer;
use clapp_core::contrast::has_separate_terms;
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
    /// PhyLL: local, a function of the difference of positive and negative, without a projection.
    #[serde(rename = "phyll")]
    #[value(name = "phyll")]
    Phyll,
    /// Forward-Forward: local, goodness of images against that of hybrid images.
    #[serde(rename = "forward-forward")]
    #[value(name = "forward-forward")]
    ForwardForward,
    /// Self-Contrastive Forward-Forward: local, goodness of an image with itself against that with another one.
    #[serde(rename = "scff")]
    #[value(name = "scff")]
    Scff,
    /// BP-CLAPP++: the top layer's loss on channel means, back-propagated through the network.
    #[serde(rename = "bp-clapp++")]
    #[value(name = "bp-clapp++")]
    BpClappPp,
    /// BP-InfoNCE (as SimCLR): InfoNCE of the top's channel means through a head, back-propagated.
    #[serde(rename = "bp-infonce")]
    #[value(name = "bp-infonce")]
    BpInfoNce,
}

impl RuleName {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClappPp => "clapp++",
            Self::ClappPpDfb => "clapp++dfb",
            Self::ClappPpBoth => "clapp++both",
            Self::ClappPpPooled => "clapp++pooled",
            Self::Phyll => "phyll",
            Self::ForwardForward => "forward-forward",
            Self::Scff => "scff",
            Self::BpClappPp => "bp-clapp++",
            Self::BpInfoNce => "bp-infonce",
        }
    }

    /// The contrast where the configuration names none.
    pub fn contrast(self) -> ContrastName {
        match self {
            Self::Phyll => ContrastName::Phyll { theta: 1.0 },
            Self::ForwardForward | Self::Scff => ContrastName::Goodness { theta: 2.0 },
            // That of BP-InfoNCE is not used: its head is.
            _ => ContrastName::Hinge,
        }
    }

    /// The projection where the configuration names none.
    pub fn projection(self) -> ProjectionName {
        match self {
            Self::Phyll | Self::ForwardForward | Self::Scff | Self::BpInfoNce => ProjectionName::Identity,
            _ => ProjectionName::Trainable,
        }
    }

    /// The source of the context.
    pub fn context(self) -> Context {
        match self {
            Self::ClappPpDfb => Context::Top,
            Self::ClappPpBoth => Context::Both,
            _ => Context::Same,
        }
    }

    /// How far the gradient reaches.
    pub fn learning(self) -> Learning {
        match self {
            Self::BpClappPp | Self::BpInfoNce => Learning::Global,
            _ => Learning::Local,
        }
    }

    /// What the rows of a batch are.
    pub fn inputs(self) -> Inputs {
        match self {
            Self::ForwardForward => Inputs::Hybrids,
            Self::Scff => Inputs::Sums,
            _ => Inputs::Views,
        }
    }

    /// Whether activity has unit length between layers.
    pub fn normalises(self) -> bool {
        self.inputs() != Inputs::Views
    }

    /// The loss pooling of a block whose configuration says `spatial`.
    pub fn loss_pool(self, spatial: LossPool) -> LossPool {
        match self {
            Self::ClappPp | Self::ClappPpDfb | Self::ClappPpBoth | Self::Phyll | Self::Scff => spatial,
            Self::ClappPpPooled | Self::BpClappPp | Self::BpInfoNce => LossPool::Global,
            Self::ForwardForward => LossPool::Block([1, 1]),
        }
    }
}

/// What of a configuration does not go with its rule, or with itself.
///
/// # Errors
/// The field, its value and what was expected.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let rule = config.rule;
    let goodness = rule.inputs() != Inputs::Views;
    let refuse = |field: &str, reason: &str| Err(format!("{field}: {reason} (rule {})", rule.name()));
    if let Some(contrast) = config.contrast {
        let fits = match rule {
            RuleName::BpInfoNce => return refuse("contrast", "InfoNCE has none; leave it out"),
            RuleName::Phyll => matches!(contrast, ContrastName::Phyll { .. }),
            _ if goodness => matches!(contrast, ContrastName::Goodness { .. }),
            _ => true,
        };
        if !fits {
            return refuse("contrast", "another than the rule's; leave it out, or name the rule's to set theta");
        }
    }
    let without = goodness || rule == RuleName::BpInfoNce;
    if without && config.projection() != ProjectionName::Identity {
        return refuse("projection", "the rule has none; leave it out");
    }
    let separate = has_separate_terms(config.contrast().into());
    if config.pos_coeff != 1.0 && (!separate || rule == RuleName::BpInfoNce) {
        return refuse("pos-coeff", "weighs the positive term of hinge, soft-hinge and goodness only; expected 1");
    }
    if config.either && (!separate || goodness || rule == RuleName::BpInfoNce) {
        return refuse("either", "chooses between the two terms of hinge and soft-hinge; expected false");
    }
    let feedback = config.feedback;
    if feedback != Feedback::Trained {
        if !rule.context().has_top() {
            return refuse("feedback", "is of the rules with a context from the top, clapp++dfb and clapp++both");
        }
        if config.projection() != ProjectionName::Trainable {
            return refuse("feedback", "needs trainable projections");
        }
    }
    if config.backward != Backward::Whole && rule.learning() == Learning::Local {
        return refuse("backward", "is of the rules that back-propagate; expected whole");
    }
    if let Backward::Accumulated(parts) = config.backward
        && !(1..=config.batch).contains(&parts)
    {
        return Err(format!("backward.accumulated is {parts}, expected 1 to the images of a batch, {}", config.batch));
    }
    if !config.negatives_shared {
        if rule.learning() == Learning::Global || goodness {
            return refuse("negatives-shared", "there is one list of negatives only; expected true");
        }
        if config.negatives == Negatives::Ring {
            return refuse("negatives-shared", "ring negatives are the same for all losses; expected true, or uniform");
        }
    }
    if goodness && matches!(config.negatives, Negatives::Uniform(count) if count > 1) {
        return refuse("negatives.uniform", "one negative is made of each image; expected 1");
    }
    Ok(())
}

impl Config {
    /// The configuration with another rule than its own, by the paper's protocol: BP-InfoNCE is trained without the weight decay that
    /// the other rules have on Tiny ImageNet (spec 5.1).
    pub fn with_rule(self, rule: RuleName) -> Self {
        let optimizer = match self.optimizer {
            Optimizer::AdamW { lr, beta1, beta2, eps, .. }
                if rule == RuleName::BpInfoNce && self.rule != RuleName::BpInfoNce =>
            {
                Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay: 0.0 }
            }
            optimizer => optimizer,
        };
        Self { rule, optimizer, ..self }
    }
}
