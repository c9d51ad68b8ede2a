//! Running means of one layer.

use super::change::{Change, Sketch, has_variance, weight};
use super::{Limits, Signs};
use crate::contrast::silence;
use crate::guard::Refusal;
use crate::math::sqrt;
use crate::network::Rule;
use crate::observer::{LayerReport, Outcome};

/// Reports over which most means run, about.
const WINDOW: f32 = 64.0;
/// Reports over which the slow means run: positives and negatives vary more from frame to frame.
const SLOW: f32 = 256.0;
/// Reports, and losses or scores of a kind, before a verdict.
const WARM_UP: u32 = 64;
/// A difference of scores that counts as telling apart, in units of the margin, and in standard errors of the difference.
const APART: f32 = 0.1;
const ERRORS: f32 = 4.0;
/// Largest loss, relative to that of scores of 0, that first weights can have.
const FIRST: f32 = 16.0;
/// A share of dead channels of which it does not matter how it was at first.
const ALL: f32 = 0.95;

/// Fixations of a glance after which another one begins.
const GLANCE: u32 = 16;

/// Losses of one kind (those of fixations, or those of saccades), relative to that of scores of 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Losses {
    count: u32,
    /// Mean of the latest.
    now: f32,
    /// Mean of more of them.
    slow: f32,
    /// The smallest that `slow` has been, from the warm-up on: the layer's own reference.
    best: f32,
}

impl Losses {
    const NEW: Self = Self { count: 0, now: 0.0, slow: 0.0, best: f32::INFINITY };

    fn hear(&mut self, loss: f32) {
        self.count = self.count.saturating_add(1);
        self.now += weight(self.count, WINDOW) * (loss - self.now);
        self.slow += weight(self.count, SLOW) * (loss - self.slow);
        if self.count >= WARM_UP {
            self.best = self.best.min(self.slow);
        }
    }

    /// Excess of the latest over the reference, as a part of it. A layer that does better than one that says nothing
    /// is held against that one.
    fn excess(&self) -> Option<f32> {
        (self.count >= WARM_UP).then_some(self.now / self.best.clamp(1.0, FIRST) - 1.0)
    }
}

/// Scores of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scores {
    count: u32,
    mean: f32,
    /// Mean squared distance from the mean.
    variance: f32,
}

impl Scores {
    const NEW: Self = Self { count: 0, mean: 0.0, variance: 0.0 };

    fn hear(&mut self, score: f32) {
        self.count = self.count.saturating_add(1);
        let (weight, distance) = (weight(self.count, SLOW), score - self.mean);
        self.mean += weight * distance;
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }

    /// Squared standard error of the mean.
    fn error(&self) -> f32 {
        // A running mean over a window weighs as many values as twice the window.
        self.variance / (self.count as f32).clamp(1.0, 2.0 * SLOW)
    }
}

/// Fixations on one picture, which are much alike: together they count as one. Means over each of them would be means
/// over a few pictures only.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Glance {
    count: u32,
    /// Mean; `None` for a contrast whose loss is not heard of.
    loss: Option<f32>,
    /// Mean.
    score: f32,
}

impl Glance {
    const NEW: Self = Self { count: 0, loss: None, score: 0.0 };

    fn hear(&mut self, loss: Option<f32>, score: f32) {
        self.count = self.count.saturating_add(1);
        let weight = 1.0 / self.count as f32;
        let before = self.loss.unwrap_or_default();
        self.loss = loss.map_or(self.loss, |loss| Some(before + weight * (loss - before)));
        self.score += weight * (score - self.score);
    }
}

/// Running means of one layer: at most 160 bytes, whatever its size.
///
/// It hears only of frames that the layer tried to learn from: reports of frozen layers, of a modulator of 0 and of a
/// first frame are passed over, with their activity. There is no verdict before the layer's parameters have changed once:
/// a layer that has not learnt cannot have collapsed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    /// Reports heard.
    reports: u32,
    /// True once an update has changed the layer.
    learnt: bool,
    /// The activity of which there is no report yet.
    seen: Option<Sketch>,
    change: Change,
    dead: f32,
    /// That of the first reports.
    dead_at_first: f32,
    refused: f32,
    glance: Glance,
    /// Of glances or batches, and of saccades.
    losses: [Losses; 2],
    positive: Scores,
    negative: Scores,
    /// Largest difference of the two means.
    apart: f32,
}

impl Watch {
    /// Nothing seen yet.
    pub const NEW: Self = Self {
        reports: 0,
        learnt: false,
        seen: None,
        change: Change::NEW,
        dead: 0.0,
        dead_at_first: 0.0,
        refused: 0.0,
        glance: Glance::NEW,
        losses: [Losses::NEW; 2],
        positive: Scores::NEW,
        negative: Scores::NEW,
        apart: 0.0,
    };

    /// Hears of one row of pooled activity, which counts once a report follows. One that is not finite is passed over.
    pub fn activity(&mut self, pooled: &[f32]) {
        self.seen = Sketch::of(pooled, 0.0);
    }

    /// Hears of a report on a layer that learns by `rule`.
    pub fn report(&mut self, report: &LayerReport, rule: &Rule) {
        let seen = self.seen.take();
        let refused = match report.outcome {
            Outcome::Applied => 0.0,
            Outcome::Refused(_) => 1.0,
            Outcome::Frozen | Outcome::Muted | Outcome::NoContext => return,
        };
        if let Some(sketch) = seen {
            self.change.hear(&sketch);
        }
        self.reports = self.reports.saturating_add(1);
        let weight = weight(self.reports, WINDOW);
        self.refused += weight * (refused - self.refused);
        // Of activity that is not finite, nobody knows.
        if report.outcome != Outcome::Refused(Refusal::Activity) {
            self.dead += weight * (report.dead - self.dead);
        }
        if self.reports <= WARM_UP {
            self.dead_at_first = self.dead;
        }
        self.learnt |= matches!(report.outcome, Outcome::Applied) && report.update_norm != 0.0;
        self.hear(report.loss, report.mean_positive, report.mean_negative, rule);
    }

    /// Hears of a loss and of mean scores alone, of a layer that learns and of which there is no report. Numbers that are
    /// not finite are passed over, and scores whose square is not.
    pub fn scores(&mut self, loss: f32, positive: Option<f32>, negative: Option<f32>, rule: &Rule) {
        self.learnt = true;
        self.hear(loss, positive, negative, rule);
    }

    fn hear(&mut self, loss: f32, positive: Option<f32>, negative: Option<f32>, rule: &Rule) {
        let zero = silence(rule, positive.is_some(), negative.is_some());
        // The linear contrast costs nothing at scores of 0: there is nothing to hold its loss against.
        let loss = if zero > 0.0 { Some(loss / zero).filter(|loss| loss.is_finite()) } else { None };
        let [of_glances, of_saccades] = &mut self.losses;
        if negative.is_some() || self.glance.count >= GLANCE {
            let Glance { count, loss, score } = core::mem::replace(&mut self.glance, Glance::NEW);
            if count > 0 {
                loss.into_iter().for_each(|loss| of_glances.hear(loss));
                self.positive.hear(score);
            }
        }
        let small = |score: Option<f32>| score.filter(|&score| has_variance(score));
        match (small(positive), small(negative)) {
            (Some(score), _) if negative.is_none() => self.glance.hear(loss, score),
            (one, other) => {
                let losses = if positive.is_some() { of_glances } else { of_saccades };
                loss.into_iter().for_each(|loss| losses.hear(loss));
                one.into_iter().for_each(|score| self.positive.hear(score));
                other.into_iter().for_each(|score| self.negative.hear(score));
            }
        }
        let difference = self.positive.mean - self.negative.mean;
        let error = sqrt(self.positive.error() + self.negative.error());
        if self.tells() && difference > ERRORS * error {
            self.apart = self.apart.max(difference);
        }
    }

    /// True if there are enough scores of both kinds.
    fn tells(&self) -> bool {
        self.positive.count.min(self.negative.count) >= WARM_UP
    }

    /// Takes the layer as it is now for what it was at first: what its signs are held against.
    pub fn settle(&mut self) {
        self.dead_at_first = self.dead;
        self.apart = 0.0;
        for losses in &mut self.losses {
            (losses.slow, losses.best) = (losses.now, losses.now);
        }
    }

    /// Mean share of dead channels.
    pub fn dead(&self) -> f32 {
        self.dead
    }

    /// Change of the activity from row to row, relative to its length.
    pub fn change(&self) -> f32 {
        self.change.relative()
    }

    /// The signs as they are now.
    pub fn signs(&self) -> Signs {
        let known = |enough: bool, value: f32| if enough && self.learnt { Some(value) } else { None };
        let reports = self.reports >= WARM_UP;
        let [fixations, saccades] = self.losses.map(|losses| losses.excess().filter(|_| self.learnt));
        Signs {
            dead: known(reports, if self.dead >= ALL { 1.0 } else { self.dead - self.dead_at_first }),
            // No matter of what has been learnt.
            refused: if reports { Some(self.refused) } else { None },
            change: known(self.change.rows >= WARM_UP, self.change()),
            excess: fixations.map_or(saccades, |excess| Some(saccades.map_or(excess, |other| excess.max(other)))),
            left: known(
                self.tells() && self.apart >= APART,
                (self.positive.mean - self.negative.mean) / self.apart.max(f32::MIN_POSITIVE),
            ),
            frames: None,
        }
    }

    /// The condition of the layer.
    pub fn condition(&self, limits: &Limits) -> super::Condition {
        self.signs().condition(limits)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::NEW
    }
}
