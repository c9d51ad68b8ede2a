//! What of a configuration does not go with its rule, and what goes along with a change of rule.

use super::{Config, ContrastName, Negatives, ProjectionName};
use crate::model::{Backward, Feedback, Inputs, Learning, Mirror, Relaxation};
use crate::optimizer::Optimizer;
use crate::rules::{Loss, RuleName};
use clapp_core::contrast::has_separate_terms;
use std::mem::discriminant;

/// What of a configuration does not go with its rule, or with itself.
///
/// # Errors
/// The field, its value and what was expected.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let (rule, choices) = (config.rule.name(), config.rule.choices());
    let mixed = choices.inputs != Inputs::Views;
    let refuse = |field: &str, reason: &str| Err(format!("{field}: {reason} (rule {rule})"));
    if let Some(contrast) = config.contrast {
        let fits = match choices.loss {
            Loss::InfoNce | Loss::Lpl | Loss::SoftHebb => {
                return refuse("contrast", "the rule has none; leave it out");
            }
            // What makes these rules is their contrast; only its theta may be another.
            Loss::Contrast(own @ (ContrastName::Phyll { .. } | ContrastName::Goodness { .. })) => {
                discriminant(&own) == discriminant(&contrast)
            }
            Loss::Contrast(_) => true,
        };
        if !fits {
            return refuse("contrast", "another than the rule's; leave it out, or name the rule's to set theta");
        }
    }
    let contrasted = matches!(choices.loss, Loss::Contrast(_));
    if (mixed || !contrasted) && config.projection() != ProjectionName::Identity {
        return refuse("projection", "the rule has none; leave it out");
    }
    let separate = has_separate_terms(config.contrast().into());
    if config.pos_coeff != 1.0 && (!separate || !contrasted) {
        return refuse("pos-coeff", "weighs the positive term of hinge, soft-hinge and goodness only; expected 1");
    }
    if config.either && (!separate || mixed || !contrasted) {
        return refuse("either", "chooses between the two terms of hinge and soft-hinge; expected false");
    }
    let feedback = config.feedback;
    if feedback != Feedback::Trained {
        if !choices.context.has_top() || choices.learning.top_only() {
            return refuse("feedback", "is of the rules with a context from the top, clapp++dfb and clapp++both");
        }
        if config.projection() != ProjectionName::Trainable {
            return refuse("feedback", "needs trainable projections");
        }
        if feedback == Feedback::Matched && choices.learning != Learning::Local {
            return refuse("feedback", "cannot be matched where the top relaxes; expected trained or frozen");
        }
    }
    if choices.learning == Learning::Broadcast && config.projection() == ProjectionName::Identity {
        return refuse("projection", "the error goes through matrices; expected trainable or frozen");
    }
    let back_propagates = matches!(choices.learning, Learning::Global | Learning::Mirrored);
    if config.backward != Backward::Whole && !back_propagates {
        return refuse("backward", "is of the rules that back-propagate; expected whole");
    }
    if let Backward::Accumulated(parts) = config.backward
        && !(1..=config.batch).contains(&parts)
    {
        return Err(format!("backward.accumulated is {parts}, expected 1 to the images of a batch, {}", config.batch));
    }
    if !config.negatives_shared {
        if choices.learning.top_only() || mixed || !contrasted {
            return refuse("negatives-shared", "there is one list of negatives only; expected true");
        }
        if config.negatives == Negatives::Ring {
            return refuse("negatives-shared", "ring negatives are the same for all losses; expected true, or uniform");
        }
    }
    if mixed && matches!(config.negatives, Negatives::Uniform(count) if count > 1) {
        return refuse("negatives.uniform", "one negative is made of each image; expected 1");
    }
    config.lpl.check()?;
    config.soft_hebb.check()?;
    let plain = matches!(config.optimizer, Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, .. });
    if choices.loss == Loss::SoftHebb && !plain {
        return refuse("optimizer", "the rule has an update of its own; expected kind sgd with nothing but lr");
    }
    check_relaxation(config)?;
    check_mirror(config)
}

/// Largest number of iterations, and of rows of noise.
const MOST: usize = 1 << 14;

fn above_zero(field: &str, value: f32) -> Result<(), String> {
    let good = value.is_finite() && value > 0.0;
    if good { Ok(()) } else { Err(format!("{field} is {value}, expected a finite number above 0")) }
}

fn check_relaxation(config: &Config) -> Result<(), String> {
    let Relaxation { iterations, rate, weight, .. } = config.relaxation;
    let relaxes = matches!(config.rule.choices().learning, Learning::Relaxed | Learning::TopRelaxed);
    if !relaxes && config.relaxation != Relaxation::default() {
        let rule = config.rule.name();
        return Err(format!("relaxation: is of the rules with predictive coding; leave it out (rule {rule})"));
    }
    if !(1..=MOST).contains(&iterations) {
        return Err(format!("relaxation.iterations is {iterations}, expected 1 to {MOST}"));
    }
    // A step of 1 is the whole way to rest where the energy is round; longer ones overshoot, and all are taken back.
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(format!("relaxation.rate is {rate}, expected above 0, at most 1"));
    }
    above_zero("relaxation.weight", weight)
}

fn check_mirror(config: &Config) -> Result<(), String> {
    let Mirror { rows, amplitude, rate, decay, ahead } = config.mirror;
    if config.rule.choices().learning != Learning::Mirrored && config.mirror != Mirror::default() {
        return Err(format!("mirror: is of weight-mirror; leave it out (rule {})", config.rule.name()));
    }
    if !(1..=MOST).contains(&rows) {
        return Err(format!("mirror.rows is {rows}, expected 1 to {MOST}"));
    }
    if ahead > MOST {
        return Err(format!("mirror.ahead is {ahead}, expected 0 to {MOST}"));
    }
    above_zero("mirror.amplitude", amplitude)?;
    above_zero("mirror.rate", rate)?;
    if !(0.0..=1.0).contains(&decay) {
        return Err(format!("mirror.decay is {decay}, expected 0 to 1"));
    }
    Ok(())
}

impl Config {
    /// The configuration with another rule than its own, by the paper's protocol: BP-InfoNCE is trained without the
    /// weight decay that the other rules have on Tiny ImageNet (docs/paper.md 5.1). SoftHebb, which has an update of
    /// its own, gets that and its own learning rate.
    pub fn with_rule(self, rule: RuleName) -> Self {
        let optimizer = match self.optimizer {
            Optimizer::AdamW { lr, beta1, beta2, eps, .. }
                if rule == RuleName::BpInfoNce && self.rule != RuleName::BpInfoNce =>
            {
                Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay: 0.0 }
            }
            _ if rule == RuleName::SoftHebb && self.rule != RuleName::SoftHebb => {
                let lr = rule.choices().rate.unwrap_or_else(|| self.optimizer.learning_rate());
                Optimizer::Sgd { lr, momentum: 0.0, weight_decay: 0.0 }
            }
            optimizer => optimizer,
        };
        Self { rule, optimizer, ..self }
    }
}
