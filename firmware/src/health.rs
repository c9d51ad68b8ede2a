//! How the layers are: what each made of the last frame, and whether the network has collapsed.
//!
//! A network has collapsed when a layer is *dead* (most of its channels answer to no frame), *constant* (it answers
//! to every frame alike), or *refused* (most of its updates are, by the guard: its numbers have grown beyond bounds). All
//! are watched in memory of a few numbers a layer, whatever its size: the shares of dead channels and of refused updates,
//! and a sketch of the activity, its product with fixed random signs, whose variance over frames is zero
//! exactly where the activity does not change (but for activity that changes within the plane of zero product, which
//! random signs make improbable).

use clapp_core::link::{LayerNews, MOST_LAYERS};
use clapp_core::math::sqrt;
use clapp_core::observer::{Activity, LayerReport, Observer, Outcome};
use heapless::Vec;

/// Frames over which the averages run, about.
const WINDOW: f32 = 64.0;
/// Frames before a verdict.
const WARM_UP: u32 = 64;
/// Average share of dead channels from which a layer counts as dead.
const DEAD: f32 = 0.5;
/// Average share of refused updates from which a layer counts as refused.
const REFUSED: f32 = 0.5;
/// Standard deviation of the sketch, relative to the length of the activity, under which a layer counts as constant.
const CONSTANT: f32 = 1e-3;

/// What has become of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum Condition {
    /// It answers, and differently to different frames.
    Sound,
    /// Most of its channels answer to nothing.
    Dead,
    /// Most of its updates are refused.
    Refused,
    /// It answers to every frame alike.
    Constant,
}

/// Averages of one layer.
#[derive(Debug, Clone, Copy, Default)]
struct Averages {
    frames: u32,
    reports: u32,
    dead: f32,
    refused: f32,
    /// Mean of the sketch and of its squared distance from the mean.
    mean: f32,
    variance: f32,
    /// Mean squared length of the activity.
    squares: f32,
}

/// Watches a learner as its observer.
#[derive(Debug, Default)]
pub struct Health {
    news: Vec<LayerNews, MOST_LAYERS>,
    averages: [Averages; MOST_LAYERS],
}

/// 1 or -1, fixed for each place.
fn sign(at: usize) -> f32 {
    // The upper bit of Knuth's multiplicative hash, mixed once.
    let hash = (at as u32).wrapping_add(1).wrapping_mul(0x9E37_79B1);
    if (hash ^ (hash >> 15)) & 1 == 0 { 1.0 } else { -1.0 }
}

/// Weight of a new value after `count`, itself included.
fn weight(count: u32) -> f32 {
    1.0 / (count as f32).clamp(1.0, WINDOW)
}

impl Averages {
    fn condition(&self) -> Condition {
        if self.reports < WARM_UP {
            Condition::Sound
        } else if self.refused >= REFUSED {
            Condition::Refused
        } else if self.dead >= DEAD {
            Condition::Dead
        } else if self.frames >= WARM_UP && self.variance <= CONSTANT * CONSTANT * self.squares {
            Condition::Constant
        } else {
            Condition::Sound
        }
    }
}

impl Health {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        const NEW: Averages =
            Averages { frames: 0, reports: 0, dead: 0.0, refused: 0.0, mean: 0.0, variance: 0.0, squares: 0.0 };
        Self { news: Vec::new(), averages: [NEW; MOST_LAYERS] }
    }

    /// Forgets what was seen, as after other weights have been loaded.
    pub fn forget(&mut self) {
        *self = Self::new();
    }

    /// Makes room for the next frame's reports.
    pub fn begin(&mut self) {
        self.news.clear();
    }

    /// What each layer made of the last frame.
    pub fn news(&self) -> &Vec<LayerNews, MOST_LAYERS> {
        &self.news
    }

    /// The condition of a layer.
    pub fn condition(&self, layer: usize) -> Condition {
        self.averages.get(layer).map_or(Condition::Sound, Averages::condition)
    }

    /// The first layer that is not sound.
    pub fn collapse(&self) -> Option<(usize, Condition)> {
        self.averages.iter().map(Averages::condition).enumerate().find(|(_, condition)| *condition != Condition::Sound)
    }

    /// Average share of dead channels of a layer.
    pub fn dead(&self, layer: usize) -> f32 {
        self.averages.get(layer).map_or(0.0, |averages| averages.dead)
    }

    /// How much a layer's activity changes from frame to frame, relative to its length.
    pub fn change(&self, layer: usize) -> f32 {
        self.averages
            .get(layer)
            .map_or(0.0, |averages| sqrt(averages.variance / averages.squares.max(f32::MIN_POSITIVE)))
    }
}

impl Observer for Health {
    fn activity(&mut self, activity: &Activity<'_>) {
        let Some(averages) = self.averages.get_mut(activity.layer) else { return };
        let (mut sketch, mut squares) = (0.0, 0.0);
        for (at, value) in activity.pooled.iter().enumerate() {
            sketch += sign(at) * value;
            squares += value * value;
        }
        if !squares.is_finite() || !sketch.is_finite() {
            return;
        }
        averages.frames = averages.frames.saturating_add(1);
        let weight = weight(averages.frames);
        let distance = sketch - averages.mean;
        averages.mean += weight * distance;
        // West 1979: the variance about a mean that moves on.
        averages.variance = (1.0 - weight) * (averages.variance + weight * distance * distance);
        averages.squares += weight * (squares - averages.squares);
    }

    fn report(&mut self, report: &LayerReport) {
        if let Some(averages) = self.averages.get_mut(report.layer) {
            averages.reports = averages.reports.saturating_add(1);
            let weight = weight(averages.reports);
            averages.dead += weight * (report.dead - averages.dead);
            let refused = if matches!(report.outcome, Outcome::Refused(_)) { 1.0 } else { 0.0 };
            averages.refused += weight * (refused - averages.refused);
        }
        // A layer past the last that is reported on goes without.
        let _ = self.news.push(LayerNews::from(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_core::guard::Refusal;
    use clapp_core::rng::stream;

    fn see(health: &mut Health, pooled: &[f32], dead: f32) {
        see_outcome(health, pooled, dead, Outcome::Applied);
    }

    fn see_outcome(health: &mut Health, pooled: &[f32], dead: f32, outcome: Outcome) {
        health.begin();
        health.activity(&Activity { layer: 0, rows: 1, output: pooled, pooled });
        health.report(&LayerReport {
            layer: 0,
            outcome,
            loss: 1.0,
            mean_positive: Some(0.5),
            mean_negative: None,
            update_norm: 0.1,
            dead,
            satisfied: 0.0,
        });
    }

    #[test]
    fn a_layer_that_varies_is_sound_and_one_that_does_not_is_constant() {
        let (mut health, mut rng) = (Health::new(), stream(1, 0));
        let mut pooled = [0.0; 32];
        for _ in 0..300 {
            pooled.iter_mut().for_each(|value| *value = rng.uniform(0.0, 1.0));
            see(&mut health, &pooled, 0.1);
            assert_eq!(health.collapse(), None);
        }
        assert!(health.change(0) > 0.1);
        let mut until = 0;
        while health.collapse().is_none() {
            see(&mut health, &pooled, 0.1);
            until += 1;
            assert!(until < 2000);
        }
        assert_eq!(health.collapse(), Some((0, Condition::Constant)));
    }

    #[test]
    fn silence_is_death() {
        let mut health = Health::new();
        for frame in 0..WARM_UP {
            assert_eq!(health.collapse(), None, "frame {frame}");
            see(&mut health, &[0.0; 8], 1.0);
        }
        assert_eq!(health.collapse(), Some((0, Condition::Dead)));
        health.forget();
        assert_eq!(health.collapse(), None);
    }

    #[test]
    fn updates_that_are_always_refused_are_a_collapse_even_without_activity() {
        let mut health = Health::new();
        for frame in 0..200 {
            let outcome = if frame % 3 == 0 { Outcome::Applied } else { Outcome::Refused(Refusal::Activity) };
            see_outcome(&mut health, &[f32::INFINITY; 8], 0.0, outcome);
        }
        assert_eq!(health.collapse(), Some((0, Condition::Refused)));
    }

    /// Activity that moves a little about something large is not what a constant layer does.
    #[test]
    fn a_small_change_is_a_change() {
        let (mut health, mut rng) = (Health::new(), stream(2, 0));
        for _ in 0..500 {
            let pooled: [f32; 16] = core::array::from_fn(|_| 5.0 + 0.1 * rng.normal());
            see(&mut health, &pooled, 0.0);
        }
        assert_eq!(health.collapse(), None);
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_averages() {
        let (mut health, mut rng) = (Health::new(), stream(3, 0));
        for frame in 0..200 {
            let bad = if frame % 10 == 0 { f32::NAN } else { 1.0 };
            let pooled: [f32; 8] = core::array::from_fn(|_| rng.uniform(0.0, 1.0) * bad);
            see(&mut health, &pooled, 0.0);
        }
        assert!(health.change(0).is_finite() && health.change(0) > 0.05);
    }
}
