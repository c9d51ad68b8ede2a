//! Gradient alignment (docs/paper.md 7): by layer ([`by_layer`]), and against the accuracy of the probe ([`accuracy`]).
//!
//! Both take the same encoders: those of the paper's analysis, whose top layer is pooled as a whole, so that the top's
//! loss is the same function of its map under every rule.

pub mod accuracy;
pub mod by_layer;
mod rank;

use super::encoder;
use super::setting::Setting;
use clapp_core::network::Contrast;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::alignment::{BATCHES, first_views};
use clapp_engine::config::{Config, RuleName};
use clapp_engine::model::LayerValues;
use clapp_engine::progress::ShownAlignment;
use clapp_engine::rules::Feedback;
use clapp_engine::run::loader_threads;
use std::sync::Arc;

/// Cosines of all layers, batch by batch; `None` where a gradient is zero.
type Cosines = Vec<Vec<Option<f64>>>;

/// A local rule with its options.
#[derive(Debug, Clone, Copy)]
struct Variant {
    name: &'static str,
    rule: RuleName,
    feedback: Feedback,
    contrast: Option<Contrast>,
}

impl Variant {
    const fn new(name: &'static str, rule: RuleName) -> Self {
        Self { name, rule, feedback: Feedback::Trained, contrast: None }
    }

    const fn with_feedback(name: &'static str, feedback: Feedback) -> Self {
        Self { feedback, ..Self::new(name, RuleName::ClappPpDfb) }
    }

    /// The experiments' network and protocol with a pooled top. Both experiments train many encoders: unless at full
    /// size, each is half as wide as the common one and sees half as many images.
    fn config(&self, setting: &Setting, seed: u64) -> Result<Config, Error> {
        let mut config = encoder::config(setting, self.rule)?.with_top_pooled();
        if !setting.full {
            (config.width, config.images) = (0.0625, Some(2000));
        }
        Ok(Config { seed, feedback: self.feedback, contrast: self.contrast, ..config })
    }
}

/// The rules of the paper's figure.
const FIGURE: [Variant; 5] = [
    Variant::new("pooled", RuleName::ClappPpPooled),
    Variant::new("spatial", RuleName::ClappPp),
    Variant::new("DFB", RuleName::ClappPpDfb),
    Variant::with_feedback("DFB, matched", Feedback::Matched),
    Variant::with_feedback("DFB, frozen random", Feedback::Frozen),
];

/// The alignment of an encoder on the first batches of the images that it is trained on.
fn measured(setting: &Setting, config: &Config, layers: &[LayerValues], data: &Dataset) -> Result<Cosines, Error> {
    setting.check_stop()?;
    let images = Arc::new(config.images.map_or_else(|| data.pretrain.clone(), |count| data.pretrain.take(count)));
    let views = first_views(config, &images, BATCHES, config.batch, loader_threads())?;
    setting.backend.run(ShownAlignment { spec: config.network()?, layers, views, batches: BATCHES })
}

/// The mean over the layers below the top of each batch; `None` where none of them has a cosine.
fn below_top(cosines: &Cosines) -> Vec<Option<f64>> {
    let of_batch = |layers: &Vec<Option<f64>>| {
        let below = layers.iter().rev().skip(1).flatten();
        let count = below.clone().count();
        (count > 0).then(|| below.sum::<f64>() / count as f64)
    };
    cosines.iter().map(of_batch).collect()
}

/// Mean of some numbers, and their standard deviation (divided by their number less one).
fn mean_and_std(numbers: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let count = numbers.clone().count();
    let mean = numbers.clone().sum::<f64>() / count as f64;
    let squares: f64 = numbers.map(|number| (number - mean).powi(2)).sum();
    (count > 0).then(|| (mean, (squares / (count - 1).max(1) as f64).sqrt()))
}

/// Writes data, network and training into the finding's setting.
fn describe(setting: &Setting, finding: &mut super::Finding, data: &Dataset, seeds: &[u64]) -> Result<(), Error> {
    let config = FIGURE[0].config(setting, setting.seed)?;
    let images = config.images.unwrap_or(data.pretrain.len()).min(data.pretrain.len());
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    finding.set("data", format!("{}, {images} training images, {} test images", data.name, data.test.len()));
    finding.set("network", format!("VGG-6 at width {}, top layer pooled as a whole", config.width));
    finding.set("training", format!("{} epochs in batches of {}", config.epochs, config.batch));
    finding.set("alignment", format!("first {BATCHES} batches of {}, augmented", config.batch));
    finding.set("seeds", seeds.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_below_the_top_leaves_out_the_top_and_what_has_no_cosine() {
        let cosines =
            vec![vec![Some(0.2), Some(0.4), Some(1.0)], vec![None, Some(0.5), Some(1.0)], vec![None, None, Some(1.0)]];
        let means = below_top(&cosines);
        assert!((means[0].unwrap() - 0.3).abs() < 1e-12 && means[1..] == [Some(0.5), None]);
        assert_eq!(mean_and_std([1.0, 3.0].into_iter()), Some((2.0, 2.0_f64.sqrt())));
        assert_eq!(mean_and_std([1.5].into_iter()), Some((1.5, 0.0)));
        assert_eq!(mean_and_std(std::iter::empty()), None);
    }
}
