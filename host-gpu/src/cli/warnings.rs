//! Warnings of a run whose layers are about to collapse.
//!
//! A run detects two of the conditions of [`clapp_core::collapse`]: a layer diverges, or its contrast has faded. Both
//! follow from the losses and scores that every step reports on any backend. Only a device measures the share of dead
//! channels, the share of refused updates and the change of activity. A run refuses no update, and the other two would
//! cost every step one more pass over the maps.

use clapp_core::collapse::{Condition, Limits, Watch};
use clapp_core::network::Rule;
use clapp_data::error::Error;
use clapp_engine::config::Config;
use clapp_engine::trainer::StepMetrics;

/// Watches the losses and scores of a run's layers. Warns once for each layer.
#[derive(Debug)]
pub struct Warnings {
    rule: Rule,
    /// `None` if the losses do not come from the rule's contrast.
    layers: Vec<Option<Watch>>,
}

impl Warnings {
    /// Makes a watch for a run of this configuration.
    ///
    /// # Errors
    /// [`Error::Network`] if it does not fit together.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let spec = config.network()?;
        let watched = spec.form().head.is_none();
        Ok(Self { rule: spec.rule(), layers: vec![watched.then_some(Watch::NEW); spec.layers().len()] })
    }

    /// Adds a step. Returns a warning for each layer that became unhealthy.
    pub fn step(&mut self, metrics: &StepMetrics) -> Vec<String> {
        let mut lines = Vec::new();
        for (layer, slot) in self.layers.iter_mut().enumerate() {
            let Some(watch) = slot else { continue };
            let of = |values: &[Option<f64>]| values.get(layer).copied().flatten().map(|value| value as f32);
            let Some(loss) = of(&metrics.losses) else { continue };
            watch.scores(loss, of(&metrics.u_pos), of(&metrics.u_neg), &self.rule);
            let what = match watch.condition(&Limits::BATCHES) {
                Condition::Diverging => {
                    "has a higher loss than before, and a higher one than a layer of constant output: a lower learning rate may help"
                }
                Condition::Faded => "no longer separates the views that it separated before: it may have collapsed",
                _ => continue,
            };
            lines.push(format!("warning: step {}: layer {layer} {what}", metrics.step));
            // Once is enough.
            *slot = None;
        }
        lines
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clapp_engine::config::{RuleName, preset};
    use std::time::Duration;

    fn metrics(step: u64, losses: [f64; 3], positive: f64, negative: f64) -> StepMetrics {
        StepMetrics {
            epoch: 0,
            step,
            steps_per_epoch: 1000,
            images: 32,
            losses: losses.map(Some).into(),
            u_pos: vec![Some(positive); 3],
            u_neg: vec![Some(negative); 3],
            mismatch: vec![None; 3],
            learning_rate: 1e-3,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_layer_that_diverges_is_named_once_and_the_others_are_not() {
        let mut warnings = Warnings::new(&preset("device").unwrap()).unwrap();
        let mut lines = Vec::new();
        for step in 1..=400 {
            let wild = if step > 100 { 9.0 } else { 1.9 };
            lines.extend(warnings.step(&metrics(step, [1.8, wild, 1.5], 0.4, -0.1)));
        }
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("layer 1 has a higher loss"), "{lines:?}");
    }

    #[test]
    fn what_was_told_apart_and_is_not_any_more_is_named() {
        let mut warnings = Warnings::new(&preset("device").unwrap()).unwrap();
        let told = (1..=600).flat_map(|step| warnings.step(&metrics(step, [1.2; 3], 0.8, -0.4))).count();
        assert_eq!(told, 0);
        let lines: Vec<String> =
            (601..=3000).flat_map(|step| warnings.step(&metrics(step, [2.0; 3], 0.1, 0.1))).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[2].contains("layer 2 no longer separates"), "{lines:?}");
    }

    /// InfoNCE is another contrast, with another loss.
    #[test]
    fn a_head_s_loss_is_not_judged() {
        let config = preset("cifar10").unwrap().with_rule(RuleName::BpInfoNce);
        let mut warnings = Warnings::new(&config).unwrap();
        let count = (1..=500).flat_map(|step| warnings.step(&metrics(step, [9.0; 3], 0.0, 0.0))).count();
        assert_eq!(count, 0);
    }
}
