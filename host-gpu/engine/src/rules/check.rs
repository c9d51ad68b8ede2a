//! The settings that do not go with a rule, and how their errors name them.

use super::settings::{Choices, Contrasts, Feedback, FeedbackChoices, Negatives, Settings, Signal};
use super::weight_mirror::Mirror;
use crate::model::Inputs;
use crate::step::backprop::Backward;
use crate::step::relax::Relaxation;
use clapp_core::contrast::has_separate_terms;
use clapp_core::network::Projection;
use std::mem::discriminant;

/// Largest number of iterations, and of rows of noise.
pub(super) const MOST: usize = 1 << 14;

/// Checks for settings that the rule does not have, or that exclude each other.
///
/// # Errors
/// A message with the field, its value and the expected values.
pub(super) fn check(choices: &Choices, settings: &Settings) -> Result<(), String> {
    let rule = choices.name;
    let mixed = choices.inputs != Inputs::Views;
    let refuse = |field: &str, reason: &str| Err(format!("{field}: {reason} (rule {rule})"));
    if let Some(contrast) = settings.contrast {
        let fits = match choices.contrast {
            Contrasts::OtherLoss | Contrasts::NoLoss => return refuse("contrast", "the rule has none; leave it out"),
            Contrasts::Own(own) => discriminant(&own) == discriminant(&contrast),
            Contrasts::Any(_) => true,
        };
        if !fits {
            return refuse("contrast", "another than the rule's; leave it out, or name the rule's to set theta");
        }
    }
    let contrasted = choices.contrast.is_some();
    let projection = choices.projection(settings);
    if (mixed || !contrasted) && projection != Projection::Identity {
        return refuse("projection", "the rule has none; leave it out");
    }
    let separate = has_separate_terms(choices.contrast(settings));
    if settings.pos_coeff != 1.0 && (!separate || !contrasted) {
        return refuse("pos-coeff", "applies only to the positive term of hinge, soft-hinge and goodness; expected 1");
    }
    if settings.either && (!separate || mixed || !contrasted) {
        return refuse("either", "applies only to hinge and soft-hinge, which have two terms; expected false");
    }
    if settings.feedback != Feedback::Trained {
        if choices.feedback == FeedbackChoices::TrainedOnly {
            return refuse(
                "feedback",
                "applies only to the rules with a context from the top layer, clapp++dfb and clapp++both",
            );
        }
        if projection != Projection::Trainable {
            return refuse("feedback", "needs trainable projections");
        }
        if settings.feedback == Feedback::Matched && choices.feedback != FeedbackChoices::All {
            return refuse(
                "feedback",
                "cannot be matched in a rule whose top layer relaxes; expected trained or frozen",
            );
        }
    }
    if choices.signal == Signal::Broadcast && projection == Projection::Identity {
        return refuse("projection", "the error goes through matrices; expected trainable or frozen");
    }
    let back_propagates = matches!(choices.signal, Signal::BackPropagated | Signal::Mirrored);
    if settings.backward != Backward::Whole && !back_propagates {
        return refuse("backward", "applies only to the rules that back-propagate; expected whole");
    }
    if let Backward::Accumulated(parts) = settings.backward
        && !(1..=settings.batch).contains(&parts)
    {
        return Err(format!("backward.accumulated is {parts}, expected 1 to the batch size, {}", settings.batch));
    }
    if !settings.negatives_shared {
        if !choices.signal.every_layer_has_a_loss() || mixed || !contrasted {
            return refuse("negatives-shared", "this rule has only one list of negatives; expected true");
        }
        if settings.negatives == Negatives::Ring {
            return refuse("negatives-shared", "ring negatives are the same for all losses; expected true, or uniform");
        }
    }
    if mixed && matches!(settings.negatives, Negatives::Uniform(count) if count > 1) {
        return refuse("negatives.uniform", "this rule makes one negative from each image; expected 1");
    }
    settings.lpl.check()?;
    settings.soft_hebb.check()?;
    Ok(())
}

/// Checks the settings of relaxation and mirrors, after the rule's own.
///
/// # Errors
/// A message with the field, its value and the expected values.
pub(super) fn check_last(choices: &Choices, settings: &Settings) -> Result<(), String> {
    let (rule, signal) = (choices.name, choices.signal);
    let relaxes = matches!(signal, Signal::Relaxed | Signal::TopRelaxed);
    if !relaxes && settings.relaxation != Relaxation::default() {
        return Err(format!(
            "relaxation: applies only to the rules with predictive coding; leave it out (rule {rule})"
        ));
    }
    check_relaxation(&settings.relaxation)?;
    if signal != Signal::Mirrored && settings.mirror != Mirror::default() {
        return Err(format!("mirror: applies only to weight-mirror; leave it out (rule {rule})"));
    }
    settings.mirror.check()
}

/// Refuses a number that is not above 0.
pub(super) fn above_zero(field: &str, value: f32) -> Result<(), String> {
    let good = value.is_finite() && value > 0.0;
    if good { Ok(()) } else { Err(format!("{field} is {value}, expected a finite number above 0")) }
}

fn check_relaxation(relaxation: &Relaxation) -> Result<(), String> {
    let Relaxation { iterations, rate, weight, .. } = *relaxation;
    if !(1..=MOST).contains(&iterations) {
        return Err(format!("relaxation.iterations is {iterations}, expected 1 to {MOST}"));
    }
    // On a round energy, a step of 1 reaches the minimum. Longer steps overshoot and would all be undone.
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(format!("relaxation.rate is {rate}, expected above 0, at most 1"));
    }
    above_zero("relaxation.weight", weight)
}
