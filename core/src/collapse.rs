//! Whether a layer that learns is about to collapse: a few running means of what it has at hand anyway.
//!
//! A [`Watch`] is less than a hundred bytes a layer, whatever its size. It hears of each row of pooled activity and of each
//! report, and knows five signs. `clapp paper collapse` tries them on streams that something befalls; what each caught there
//! while its limit was chosen ([`Limits::DEFAULT`]) is said with it:
//!
//! - *dead*: most channels that answered at first answer to no frame any more, or nearly none is left. A layer whose first
//!   weights leave many channels silent is none the worse for it. Caught: ReLUs that never open again, and most learning
//!   rates a hundred times too large;
//! - *refused*: many updates are, by the guard. Caught: some rates a hundred times too large, pixels that are not scaled;
//! - *constant*: the activity does not change from frame to frame. Seen by sketches, the activity's products with fixed
//!   random signs, whose variance is zero exactly where the activity does not change (but for activity that changes
//!   within the planes of zero product, which random signs make improbable). Caught: a frozen camera, and most streams of
//!   white frames, none of which had cost accuracy yet; no other fault;
//! - *diverging*: the loss is far above what scores of 0 would cost, so that the layer does worse than one that says nothing.
//!   Caught: the same as *refused*, and earlier. The losses of first weights are let pass;
//! - *faded*: positives and negatives were told apart, and are not any more: the difference of their mean scores has fallen to
//!   a small part of the largest that it was, or its sign has turned. Caught: the same, and in streams never before
//!   *diverging*; it is there for batches, whose means are steadier.

use crate::contrast::silence;
use crate::guard::Refusal;
use crate::math::sqrt;
use crate::network::Rule;
use crate::observer::{LayerReport, Outcome};

/// Rows and reports over which most means run, about.
const WINDOW: f32 = 64.0;
/// Reports over which the scores' means run: positives and negatives vary more from frame to frame.
const SCORES: f32 = 256.0;
/// Rows, and reports, before a verdict.
const WARM_UP: u32 = 64;
/// A difference of scores that counts as telling apart, in units of the margin.
const APART: f32 = 0.1;
/// Scores before a verdict on the loss: that of first weights can be far above that of no scores.
const SETTLED: u32 = 256;
/// A share of dead channels of which it does not matter how it was at first.
const ALL: f32 = 0.95;
/// Sketches of the activity.
const SKETCHES: usize = 4;

/// What has become of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Condition {
    /// It answers, and differently to different frames.
    Sound,
    /// Most of its channels answer to nothing any more.
    Dead,
    /// Many of its updates are refused.
    Refused,
    /// It answers to every frame alike.
    Constant,
    /// It does worse than a layer that says nothing.
    Diverging,
    /// It does not tell apart any more what it could tell apart.
    Faded,
}

/// From where on a sign counts. `clapp paper collapse` says how often each is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Rise of the share of dead channels, at least.
    pub dead: f32,
    /// Share of refused updates, at least.
    pub refused: f32,
    /// Standard deviation of the sketches relative to the activity's length, at most.
    pub change: f32,
    /// Loss over that of scores of 0, as a part of it, at least.
    pub excess: f32,
    /// Part of the largest difference of scores that is left, at most.
    pub left: f32,
}

impl Limits {
    /// For streams of single frames: those that `clapp paper collapse` chooses by all streams of its seeds 20 to 27 on
    /// CIFAR-10, 72 of them healthy. What they catch and miss on other seeds is said in `docs/results.md`.
    pub const DEFAULT: Self = Self { dead: 0.5, refused: 0.1, change: 0.01, excess: 2.0, left: -0.5 };

    /// By which nothing counts.
    pub const NEVER: Self = Self {
        dead: f32::INFINITY,
        refused: f32::INFINITY,
        change: f32::NEG_INFINITY,
        excess: f32::INFINITY,
        left: f32::NEG_INFINITY,
    };

    /// For batches, whose mean scores vary much less than those of single frames.
    pub const BATCHES: Self = Self { excess: 0.5, left: 0.05, ..Self::DEFAULT };
}

/// The signs of a layer as numbers, each as [`Limits`] has it; `None` before there is a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// Rise of the share of dead channels over that of the first reports; 1 where nearly all are dead.
    pub dead: Option<f32>,
    /// Share of refused updates.
    pub refused: Option<f32>,
    /// Relative change of the activity.
    pub change: Option<f32>,
    /// Excess of the loss.
    pub excess: Option<f32>,
    /// What is left of the difference of scores.
    pub left: Option<f32>,
}

/// Running means of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    rows: u32,
    reports: u32,
    positives: u32,
    negatives: u32,
    dead: f32,
    /// That of the first reports.
    dead_at_first: f32,
    refused: f32,
    /// Loss relative to that of scores of 0.
    loss: f32,
    positive: f32,
    negative: f32,
    /// Largest difference of the two.
    apart: f32,
    /// Means of the sketches, and of their squared distances from the means.
    means: [f32; SKETCHES],
    variances: [f32; SKETCHES],
    /// Mean squared length of the activity.
    squares: f32,
}

/// 1 or -1 for each sketch, fixed for each place.
fn signs(at: usize) -> [f32; SKETCHES] {
    // Upper bits of Knuth's multiplicative hash, mixed once.
    let hash = (at as u32).wrapping_add(1).wrapping_mul(0x9E37_79B1);
    let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EB_CA6B);
    core::array::from_fn(|sketch| if (hash >> (28 + sketch)) & 1 == 0 { 1.0 } else { -1.0 })
}

/// Weight of a new value after `count`, itself included, in a mean over about `window`.
fn weight(count: u32, window: f32) -> f32 {
    1.0 / (count as f32).clamp(1.0, window)
}

impl Watch {
    /// Nothing seen yet.
    pub const NEW: Self = Self {
        rows: 0,
        reports: 0,
        positives: 0,
        negatives: 0,
        dead: 0.0,
        dead_at_first: 0.0,
        refused: 0.0,
        loss: 0.0,
        positive: 0.0,
        negative: 0.0,
        apart: 0.0,
        means: [0.0; SKETCHES],
        variances: [0.0; SKETCHES],
        squares: 0.0,
    };

    /// Hears of one row of pooled activity. One that is not finite is passed over.
    pub fn activity(&mut self, pooled: &[f32]) {
        let (mut sketches, mut squares) = ([0.0_f32; SKETCHES], 0.0);
        for (at, value) in pooled.iter().enumerate() {
            for (sketch, sign) in sketches.iter_mut().zip(signs(at)) {
                *sketch += sign * value;
            }
            squares += value * value;
        }
        if !squares.is_finite() || sketches.iter().any(|sketch| !sketch.is_finite()) {
            return;
        }
        self.rows = self.rows.saturating_add(1);
        let weight = weight(self.rows, WINDOW);
        // West 1979: variances about means that move on.
        for ((sketch, mean), variance) in sketches.iter().zip(&mut self.means).zip(&mut self.variances) {
            let distance = sketch - *mean;
            *mean += weight * distance;
            *variance = (1.0 - weight) * (*variance + weight * distance * distance);
        }
        self.squares += weight * (squares - self.squares);
    }

    /// Hears of a report on a layer that learns by `rule`.
    pub fn report(&mut self, report: &LayerReport, rule: &Rule) {
        self.reports = self.reports.saturating_add(1);
        let weight_of = weight(self.reports, WINDOW);
        // Of activity that is not finite, nobody knows.
        if report.outcome != Outcome::Refused(Refusal::Activity) {
            self.dead += weight_of * (report.dead - self.dead);
        }
        if self.reports <= WARM_UP {
            self.dead_at_first = self.dead;
        }
        let refused = if matches!(report.outcome, Outcome::Refused(_)) { 1.0 } else { 0.0 };
        self.refused += weight_of * (refused - self.refused);
        self.scores(report.loss, report.mean_positive, report.mean_negative, rule);
    }

    /// Hears of a loss and of mean scores alone, where there is no report. Numbers that are not finite are passed over.
    pub fn scores(&mut self, loss: f32, positive: Option<f32>, negative: Option<f32>, rule: &Rule) {
        let zero = silence(rule, positive.is_some(), negative.is_some());
        let scored = self.positives.saturating_add(self.negatives);
        if loss.is_finite() && zero > 0.0 {
            let weight = weight(scored.saturating_add(1), WINDOW);
            self.loss += weight * (loss / zero - self.loss);
        }
        let means =
            [(positive, &mut self.positives, &mut self.positive), (negative, &mut self.negatives, &mut self.negative)];
        for (score, count, mean) in means {
            if let Some(score) = score.filter(|score| score.is_finite()) {
                *count = count.saturating_add(1);
                *mean += weight(*count, SCORES) * (score - *mean);
            }
        }
        if self.tells() {
            self.apart = self.apart.max(self.positive - self.negative);
        }
    }

    /// Whether there are enough scores of both kinds.
    fn tells(&self) -> bool {
        self.positives.min(self.negatives) >= WARM_UP
    }

    /// Mean share of dead channels.
    pub fn dead(&self) -> f32 {
        self.dead
    }

    /// How much the activity changes from row to row, relative to its length.
    pub fn change(&self) -> f32 {
        let variances: f32 = self.variances.iter().sum();
        sqrt(variances / SKETCHES as f32 / self.squares.max(f32::MIN_POSITIVE))
    }

    /// The signs as they are now.
    pub fn signs(&self) -> Signs {
        let known = |enough: bool, value: f32| if enough { Some(value) } else { None };
        let reports = self.reports >= WARM_UP;
        let settled = self.positives.saturating_add(self.negatives) >= SETTLED;
        Signs {
            dead: known(reports, if self.dead >= ALL { 1.0 } else { self.dead - self.dead_at_first }),
            refused: known(reports, self.refused),
            change: known(self.rows >= WARM_UP, self.change()),
            excess: known(settled && self.loss > 0.0, self.loss - 1.0),
            left: known(self.tells() && self.apart >= APART, (self.positive - self.negative) / self.apart),
        }
    }

    /// What has become of the layer.
    pub fn condition(&self, limits: &Limits) -> Condition {
        self.signs().condition(limits)
    }
}

impl Signs {
    /// What has become of a layer with these signs: the first in this order that counts.
    pub fn condition(&self, limits: &Limits) -> Condition {
        let Self { dead, refused, change, excess, left } = *self;
        let (at_least, at_most) = (
            |sign: Option<f32>, limit: f32| sign.is_some_and(|sign| sign >= limit),
            |sign: Option<f32>, limit: f32| sign.is_some_and(|sign| sign <= limit),
        );
        if at_least(refused, limits.refused) {
            Condition::Refused
        } else if at_least(dead, limits.dead) {
            Condition::Dead
        } else if at_least(excess, limits.excess) {
            Condition::Diverging
        } else if at_most(change, limits.change) {
            Condition::Constant
        } else if at_most(left, limits.left) {
            Condition::Faded
        } else {
            Condition::Sound
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::NEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    const LIMITS: Limits = Limits::BATCHES;

    fn report(loss: f32, positive: Option<f32>, negative: Option<f32>) -> LayerReport {
        LayerReport {
            layer: 0,
            outcome: Outcome::Applied,
            loss,
            mean_positive: positive,
            mean_negative: negative,
            update_norm: 0.1,
            dead: 0.0,
            satisfied: 0.0,
        }
    }

    #[test]
    fn activity_that_changes_in_length_alone_changes() {
        let mut rng = stream(1, 0);
        let (mut narrow, mut constant) = (Watch::NEW, Watch::NEW);
        for _ in 0..500 {
            let length = rng.uniform(0.9, 1.1);
            narrow.activity(&core::array::from_fn::<f32, 64, _>(|at| length * (at % 7) as f32));
            constant.activity(&core::array::from_fn::<f32, 64, _>(|at| (at % 7) as f32));
        }
        assert_eq!(narrow.condition(&LIMITS), Condition::Sound);
        assert_eq!(constant.condition(&LIMITS), Condition::Constant);
    }

    #[test]
    fn channels_that_die_are_seen_and_those_that_never_answered_are_not() {
        let rule = Rule::clapp_pp();
        for (at_first, later, expected) in [
            (0.6, 0.7, Condition::Sound),
            (0.1, 0.5, Condition::Sound),
            (0.1, 0.7, Condition::Dead),
            (0.6, 1.0, Condition::Dead),
            (1.0, 1.0, Condition::Dead),
        ] {
            let mut watch = Watch::NEW;
            let mut hear = |dead: f32, count: u32| {
                (0..count).for_each(|_| watch.report(&LayerReport { dead, ..report(1.0, Some(0.1), None) }, &rule));
                watch.condition(&Limits::DEFAULT)
            };
            assert_eq!(hear(at_first, 63), Condition::Sound, "{at_first}");
            hear(at_first, 1);
            assert_eq!(hear(later, 400), expected, "{at_first} to {later}");
        }
    }

    /// As where the weights are new, or a learning rate warms up.
    #[test]
    fn a_loss_that_is_large_at_first_is_let_pass() {
        let (mut watch, rule) = (Watch::NEW, Rule::clapp_pp());
        for frame in 0..600 {
            let loss = if frame < 128 { 9.0 } else { 0.8 };
            watch.report(&report(loss, Some(0.1), None), &rule);
            assert_eq!(watch.condition(&Limits::DEFAULT), Condition::Sound, "{frame}");
        }
        let until = (0..600).position(|_| {
            watch.report(&report(9.0, Some(0.1), None), &rule);
            watch.condition(&Limits::DEFAULT) == Condition::Diverging
        });
        assert!(until.is_some_and(|until| until < 64), "{until:?}");
    }

    #[test]
    fn a_loss_above_that_of_silence_is_divergence_in_streams_and_batches() {
        let rule = Rule::clapp_pp();
        for factor in [0.9_f32, 1.2, 1.8] {
            let (mut streamed, mut batched) = (Watch::NEW, Watch::NEW);
            for frame in 0..300 {
                // Hinge: each term costs 1 at a score of 0.
                let (positive, negative) = if frame % 2 == 0 { (Some(0.1), None) } else { (None, Some(0.0)) };
                streamed.report(&report(factor, positive, negative), &rule);
                batched.report(&report(2.0 * factor, Some(0.1), Some(0.0)), &rule);
            }
            let expected = if factor > 1.5 { Condition::Diverging } else { Condition::Sound };
            assert_eq!(streamed.condition(&LIMITS), expected, "{factor}");
            assert_eq!(batched.condition(&LIMITS), expected, "{factor}");
            assert!(batched.signs().excess.is_some_and(|excess| (excess - (factor - 1.0)).abs() < 1e-4));
        }
    }

    #[test]
    fn scores_that_were_apart_and_are_not_any_more_have_faded() {
        let rule = Rule::clapp_pp();
        let mut watch = Watch::NEW;
        for _ in 0..100 {
            watch.scores(2.0, Some(0.0), Some(0.0), &rule);
        }
        // Never apart: slow, not faded.
        assert_eq!((watch.condition(&LIMITS), watch.signs().left), (Condition::Sound, None));
        for _ in 0..600 {
            watch.scores(1.0, Some(0.8), Some(-0.4), &rule);
        }
        assert_eq!(watch.condition(&LIMITS), Condition::Sound);
        assert!(watch.signs().left.is_some_and(|left| left > 0.9));
        let mut until = 0;
        while watch.condition(&LIMITS) == Condition::Sound {
            watch.scores(2.0, Some(0.3), Some(0.3), &rule);
            until += 1;
            assert!(until < 3000);
        }
        assert_eq!(watch.condition(&LIMITS), Condition::Faded);
        assert!(until > 256, "{until}");
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_means() {
        let (mut watch, rule, mut rng) = (Watch::NEW, Rule::clapp_pp(), stream(3, 0));
        for frame in 0..500 {
            let bad = if frame % 10 == 0 { f32::NAN } else { 1.0 };
            watch.activity(&core::array::from_fn::<f32, 8, _>(|_| rng.uniform(0.0, 1.0) * bad));
            watch.scores(bad, Some(0.5 * bad), Some(f32::INFINITY * bad), &rule);
        }
        let signs = watch.signs();
        assert!(signs.change.is_some_and(|change| change.is_finite() && change > 0.05), "{signs:?}");
        assert!(signs.excess.is_some_and(|excess| excess.abs() < 1.0), "{signs:?}");
    }

    #[test]
    fn a_watch_is_small() {
        assert!(size_of::<Watch>() <= 80, "{}", size_of::<Watch>());
    }
}
