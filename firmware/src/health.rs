//! How the layers are: what each made of the last frame, and whether the network has collapsed
//! ([`clapp_core::collapse`] says what that means and how it is seen).

use clapp_core::collapse::{Limits, Watch};
use clapp_core::link::{LayerNews, MOST_LAYERS};
use clapp_core::network::Rule;
use clapp_core::observer::{Activity, LayerReport, Observer};
use heapless::Vec;

pub use clapp_core::collapse::Condition;

/// From where on a layer counts as collapsed.
const LIMITS: Limits = Limits::DEFAULT;

/// Watches a learner as its observer.
#[derive(Debug)]
pub struct Health {
    rule: Rule,
    news: Vec<LayerNews, MOST_LAYERS>,
    watches: [Watch; MOST_LAYERS],
}

impl Health {
    /// Nothing seen yet of a network that learns by `rule`.
    pub const fn new(rule: Rule) -> Self {
        Self { rule, news: Vec::new(), watches: [Watch::NEW; MOST_LAYERS] }
    }

    /// Forgets what was seen, as after other weights have been loaded.
    pub fn forget(&mut self) {
        *self = Self::new(self.rule);
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
        self.watches.get(layer).map_or(Condition::Sound, |watch| watch.condition(&LIMITS))
    }

    /// The first layer that is not sound.
    pub fn collapse(&self) -> Option<(usize, Condition)> {
        let conditions = self.watches.iter().map(|watch| watch.condition(&LIMITS));
        conditions.enumerate().find(|(_, condition)| *condition != Condition::Sound)
    }

    /// Average share of dead channels of a layer.
    pub fn dead(&self, layer: usize) -> f32 {
        self.watches.get(layer).map_or(0.0, Watch::dead)
    }

    /// How much a layer's activity changes from frame to frame, relative to its length.
    pub fn change(&self, layer: usize) -> f32 {
        self.watches.get(layer).map_or(0.0, Watch::change)
    }
}

impl Observer for Health {
    fn activity(&mut self, activity: &Activity<'_>) {
        if let Some(watch) = self.watches.get_mut(activity.layer) {
            watch.activity(activity.pooled);
        }
    }

    fn report(&mut self, report: &LayerReport) {
        if let Some(watch) = self.watches.get_mut(report.layer) {
            watch.report(report, &self.rule);
        }
        // A layer past the last that is reported on goes without.
        let _ = self.news.push(LayerNews::from(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_core::guard::Refusal;
    use clapp_core::observer::Outcome;
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
        let (mut health, mut rng) = (Health::new(Rule::clapp_pp()), stream(1, 0));
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
        let mut health = Health::new(Rule::clapp_pp());
        for frame in 0..64 {
            assert_eq!(health.collapse(), None, "frame {frame}");
            see(&mut health, &[0.0; 8], 1.0);
        }
        assert_eq!(health.collapse(), Some((0, Condition::Dead)));
        health.forget();
        assert_eq!(health.collapse(), None);
    }

    #[test]
    fn updates_that_are_always_refused_are_a_collapse_even_without_activity() {
        let mut health = Health::new(Rule::clapp_pp());
        for frame in 0..200 {
            let outcome = if frame % 3 == 0 { Outcome::Applied } else { Outcome::Refused(Refusal::Activity) };
            see_outcome(&mut health, &[f32::INFINITY; 8], 0.0, outcome);
        }
        assert_eq!(health.collapse(), Some((0, Condition::Refused)));
    }

    /// Activity that moves a little about something large is not what a constant layer does.
    #[test]
    fn a_small_change_is_a_change() {
        let (mut health, mut rng) = (Health::new(Rule::clapp_pp()), stream(2, 0));
        for _ in 0..500 {
            let pooled: [f32; 16] = core::array::from_fn(|_| 5.0 + 0.1 * rng.normal());
            see(&mut health, &pooled, 0.0);
        }
        assert_eq!(health.collapse(), None);
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_averages() {
        let (mut health, mut rng) = (Health::new(Rule::clapp_pp()), stream(3, 0));
        for frame in 0..200 {
            let bad = if frame % 10 == 0 { f32::NAN } else { 1.0 };
            let pooled: [f32; 8] = core::array::from_fn(|_| rng.uniform(0.0, 1.0) * bad);
            see(&mut health, &pooled, 0.0);
        }
        assert!(health.change(0).is_finite() && health.change(0) > 0.05);
    }
}
