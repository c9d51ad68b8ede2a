//! The encoders that are compared, and what is measured of each.

use super::super::accuracy::Accuracy;
use super::super::encoder::{Trained, config, probe, train};
use super::super::setting::Setting;
use super::cosine;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::alignment::{first_views, measure as measure_alignment, refusal};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, RuleName};
use clapp_engine::model::NetworkSpec;
use clapp_engine::rules::Feedback;
use clapp_engine::run::loader_threads;
use clapp_engine::step::Model;
use clapp_engine::trainer::initial_values;
use std::sync::Arc;

/// Batches that alignment is measured on.
pub const BATCHES: usize = 8;

/// One way to train the network.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    name: &'static str,
    comes_down: &'static str,
    rule: RuleName,
    feedback: Feedback,
    trained: bool,
    /// Training seeds: one where another would cost more time than it is worth.
    seeds: u64,
    /// Published accuracy on CIFAR-10, in per cent (docs/paper.md 8).
    published: Option<f64>,
}

const fn variant(name: &'static str, rule: RuleName, comes_down: &'static str, published: Option<f64>) -> Variant {
    Variant { name, comes_down, rule, feedback: Feedback::Trained, trained: true, seeds: 1, published }
}

/// All of them, in the order of the table.
pub const VARIANTS: [Variant; 9] = [
    Variant { trained: false, seeds: 4, ..variant("untrained", RuleName::ClappPp, "nothing is learnt", None) },
    variant("clapp++", RuleName::ClappPp, "nothing", Some(80.51)),
    Variant { seeds: 2, ..variant("clapp++dfb", RuleName::ClappPpDfb, "the top's activity", Some(80.65)) },
    Variant {
        feedback: Feedback::Matched,
        seeds: 2,
        ..variant("clapp++dfb, matched", RuleName::ClappPpDfb, "the top's activity, matched to errors", None)
    },
    Variant {
        feedback: Feedback::Frozen,
        seeds: 2,
        ..variant("clapp++dfb, frozen", RuleName::ClappPpDfb, "the top's activity, at random", None)
    },
    variant("clapp++dfb-pc", RuleName::ClappPpDfbPc, "the top's relaxed activity", None),
    variant("dfa", RuleName::Dfa, "the top's error, at random", None),
    variant("weight-mirror", RuleName::WeightMirror, "errors, through mirrors", None),
    Variant { seeds: 2, ..variant("bp-clapp++", RuleName::BpClappPp, "errors, through the weights", Some(80.49)) },
];

/// Measurements of a variant.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Name, and accuracies of the probe on all layers.
    pub accuracy: Accuracy,
    /// Signal from the top to the layers below.
    pub comes_down: &'static str,
    /// Published accuracy on CIFAR-10, in per cent.
    pub published: Option<f64>,
    /// Mean over the layers below the top of the cosines, and its standard deviation over batches, of each seed; empty
    /// where there is none.
    pub alignment: Vec<(f64, f64)>,
    /// The same of each layer, of the first seed.
    pub layers: Vec<(Option<f64>, Option<f64>)>,
    /// Cosines of the mirrors with the weights from layer 2 up, before and after training.
    pub mirrors: Vec<(f64, f64)>,
}

/// Trains (or finds) the encoders, and measures them.
pub fn measure(setting: &Setting, variant: &Variant, data: &Dataset) -> Result<Measured, Error> {
    let mut config = Config { feedback: variant.feedback, ..config(setting, variant.rule)? };
    if !variant.trained {
        config.epochs = 0;
    }
    let setting = &on_what_has_it(setting, &config)?;
    let accuracy = Accuracy { name: variant.name, seeds: Vec::new(), images: data.test.len() };
    let (comes_down, published) = (variant.comes_down, variant.published);
    let mut measured = Measured { accuracy, comes_down, published, alignment: vec![], layers: vec![], mirrors: vec![] };
    for seed in 0..variant.seeds {
        let config = Config { seed: setting.seed + seed, ..config.clone() };
        let encoder = train(setting, variant.name, &config, data)?;
        measured.accuracy.seeds.push(probe(setting, &encoder, data, !setting.full)?.all.last);
        let spec = config.network()?;
        if refusal(&spec).is_none() {
            let Alignment { layers, below } = alignment(&config, spec, &encoder, data)?;
            measured.alignment.extend(below);
            if seed == 0 {
                measured.layers = layers;
            }
        }
        if seed == 0 {
            let first = initial_values(&config)?;
            let pairs = first.iter().zip(&encoder.layers);
            measured.mirrors = pairs
                .filter_map(|(first, last)| {
                    Some((cosine(&first.mirror, &first.weight)?, cosine(&last.mirror, &last.weight)?))
                })
                .collect();
        }
    }
    Ok(measured)
}

/// Alignment of an encoder: means and standard deviations over batches.
struct Alignment {
    layers: Vec<(Option<f64>, Option<f64>)>,
    /// Mean over the layers below the top, with its deviation.
    below: Option<(f64, f64)>,
}

fn alignment(config: &Config, spec: NetworkSpec, encoder: &Trained, data: &Dataset) -> Result<Alignment, Error> {
    let images = Arc::new(data.pretrain.clone());
    let views = first_views(config, &images, BATCHES, config.batch, loader_threads())?;
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let mut model = Model::upload(&Cpu, spec, &encoder.layers);
    let found = measure_alignment(&Cpu, &mut model, &views)?;
    let below = &found[..found.len().saturating_sub(1)];
    let of_batch = |batch: usize| {
        let cosines: Vec<f64> = below.iter().filter_map(|layer| layer.cosines.get(batch).copied()?).collect();
        (cosines.len() == below.len()).then(|| cosines.iter().sum::<f64>() / below.len().max(1) as f64)
    };
    let layers = found.iter().map(|layer| (layer.mean(), layer.std())).collect();
    let below = mean_and_std(&(0..views.len()).filter_map(of_batch).collect::<Vec<_>>());
    Ok(Alignment { layers, below })
}

/// The CPU where the chosen backend does not have the rule.
pub fn on_what_has_it(setting: &Setting, config: &Config) -> Result<Setting, Error> {
    let backend = if config.learning_rule().beyond_gpu().is_some() { Default::default() } else { setting.backend };
    Ok(Setting {
        backend,
        sets: setting.sets.clone(),
        folder: setting.folder.clone(),
        stop: setting.stop.clone(),
        ..*setting
    })
}

/// Mean and standard deviation; `None` of fewer than two.
fn mean_and_std(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (mean, (squares / (count - 1.0)).sqrt()))
}
