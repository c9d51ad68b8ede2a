//! Health of the layers: the result of each for the last frame, and the verdict on collapse (defined in
//! [`clapp_core::collapse`]).

use clapp_core::collapse::{Limits, Watch, Watches};
use clapp_core::contrast::Phase;
use clapp_core::link::{LayerNews, MOST_LAYERS, Verdict};
use clapp_core::network::Rule;
use clapp_core::observer::{Activity, LayerReport, Observer};
use heapless::Vec;

pub use clapp_core::collapse::Condition;

/// Layers that are watched, from the input on; those above go without, and their stack space is saved.
const WATCHED: usize = 8;

/// Watches a learner as its observer.
#[derive(Debug)]
pub struct Health {
    news: Vec<LayerNews, MOST_LAYERS>,
    watches: Watches<WATCHED>,
}

impl Health {
    /// Makes the health of a network that learns by `rule`, before the first frame.
    pub const fn new(rule: Rule) -> Self {
        Self { news: Vec::new(), watches: Watches::new(rule, Limits::DEFAULT) }
    }

    /// Forgets all observations, for example after a load of other weights.
    pub fn forget(&mut self) {
        self.news.clear();
        self.watches.forget();
    }

    /// Looks at the next frame, and makes room for its reports.
    pub fn begin(&mut self, frame: &[f32], phase: Phase, modulator: f32) {
        self.news.clear();
        self.watches.frame(frame, phase, modulator);
    }

    /// Returns the result of each layer for the last frame.
    pub fn news(&self) -> &Vec<LayerNews, MOST_LAYERS> {
        &self.news
    }

    /// The condition of a layer.
    pub fn condition(&self, layer: usize) -> Condition {
        self.watches.condition(layer)
    }

    /// The first layer that has collapsed; else the first that is not sound.
    pub fn verdict(&self) -> Option<Verdict> {
        let (layer, condition) = self.watches.verdict()?;
        Some(Verdict { layer: u8::try_from(layer).unwrap_or(u8::MAX), condition })
    }

    /// Average share of dead channels of a layer.
    pub fn dead(&self, layer: usize) -> f32 {
        self.watches.layer(layer).map_or(0.0, Watch::dead)
    }

    /// Returns the change of a layer's activity from frame to frame, relative to its length.
    pub fn change(&self, layer: usize) -> f32 {
        self.watches.layer(layer).map_or(0.0, Watch::change)
    }
}

impl Observer for Health {
    fn activity(&mut self, activity: &Activity<'_>) {
        self.watches.activity(activity);
    }

    fn report(&mut self, report: &LayerReport) {
        self.watches.report(report);
        // A layer past the last that is reported on goes without.
        let _ = self.news.push(LayerNews::from(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_core::guard::Refusal;
    use clapp_core::observer::Outcome;
    use clapp_core::rng::{Rng, stream};

    /// A layer's health, and frames that are never alike.
    struct Seen {
        health: Health,
        rng: Rng,
    }

    impl Seen {
        fn new() -> Self {
            Self { health: Health::new(Rule::clapp_pp()), rng: stream(9, 0) }
        }

        fn see(&mut self, pooled: &[f32], dead: f32, outcome: Outcome) -> Option<Condition> {
            let frame: [f32; 16] = core::array::from_fn(|_| self.rng.normal());
            let modulator = if outcome == Outcome::Muted { 0.0 } else { 1.0 };
            self.health.begin(&frame, Phase::Fixation, modulator);
            self.health.activity(&Activity { layer: 0, rows: 1, output: pooled, pooled });
            self.health.report(&LayerReport {
                layer: 0,
                outcome,
                loss: 1.0,
                mean_positive: Some(0.5),
                mean_negative: None,
                update_norm: 0.1,
                dead,
                satisfied: 0.0,
            });
            assert_eq!(self.health.news().len(), 1);
            self.health.verdict().map(|verdict| verdict.condition)
        }

        fn applied(&mut self, pooled: &[f32], dead: f32) -> Option<Condition> {
            self.see(pooled, dead, Outcome::Applied)
        }
    }

    #[test]
    fn a_layer_that_varies_is_sound_and_one_that_does_not_is_constant() {
        let (mut seen, mut rng) = (Seen::new(), stream(1, 0));
        let mut pooled = [0.0; 32];
        for _ in 0..300 {
            pooled.iter_mut().for_each(|value| *value = rng.uniform(0.0, 1.0));
            assert_eq!(seen.applied(&pooled, 0.1), None);
        }
        assert!(seen.health.change(0) > 0.1);
        let until = (0..2000).find_map(|_| seen.applied(&pooled, 0.1));
        assert_eq!(until, Some(Condition::Constant));
    }

    #[test]
    fn silence_is_death() {
        let mut seen = Seen::new();
        for frame in 0..63 {
            assert_eq!(seen.applied(&[0.0; 8], 1.0), None, "frame {frame}");
        }
        assert_eq!(seen.applied(&[0.0; 8], 1.0), Some(Condition::Dead));
        seen.health.forget();
        assert_eq!(seen.health.verdict(), None);
    }

    #[test]
    fn nothing_is_said_while_nothing_is_learnt() {
        let mut seen = Seen::new();
        assert!((0..500).all(|_| seen.see(&[0.0; 8], 1.0, Outcome::Muted).is_none()));
    }

    #[test]
    fn updates_that_are_always_refused_are_said_even_without_activity() {
        let mut seen = Seen::new();
        let mut last = None;
        for frame in 0..200 {
            let outcome = if frame % 3 == 0 { Outcome::Applied } else { Outcome::Refused(Refusal::Activity) };
            last = seen.see(&[f32::INFINITY; 8], 0.0, outcome);
        }
        assert_eq!(last, Some(Condition::Refused));
    }

    /// Small changes around a large activity are not the behaviour of a constant layer.
    #[test]
    fn a_small_change_is_a_change() {
        let (mut seen, mut rng) = (Seen::new(), stream(2, 0));
        let sound = |_| seen.applied(&core::array::from_fn::<f32, 16, _>(|_| 5.0 + 0.1 * rng.normal()), 0.0).is_none();
        assert!((0..500).all(sound));
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_averages() {
        let (mut seen, mut rng) = (Seen::new(), stream(3, 0));
        for frame in 0..200 {
            let bad = if frame % 10 == 0 { f32::NAN } else { 1.0 };
            let pooled: [f32; 8] = core::array::from_fn(|_| rng.uniform(0.0, 1.0) * bad);
            seen.applied(&pooled, 0.0);
        }
        assert!(seen.health.change(0).is_finite() && seen.health.change(0) > 0.05);
    }
}
