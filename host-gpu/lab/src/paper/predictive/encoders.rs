//! Encoders of the self-supervised loss.

use super::super::accuracy::{self, Accuracy, Spread};
use super::super::encoder::{Trained, config, probe, train};
use super::super::feedback::on_what_has_it;
use super::super::table::{Cell, Column, Table};
use super::super::{Claim, Setting, Verdict};
use super::collapse::{Measures, measures};
use super::{BY_ACTIVITIES, SMALL};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::backend::Backend;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, RuleName};
use clapp_engine::model::LayerValues;
use clapp_engine::probe::features;
use clapp_engine::step::Model;
use clapp_engine::step::relax::Relaxation;

/// Images whose features are looked at.
const LOOKED_AT: usize = 500;

/// The encoders of one rule on the self-supervised loss.
pub(super) struct Encoder {
    pub accuracy: Accuracy,
    /// Measures of the first seed.
    pub top: Measures,
}

pub(super) fn spread(encoders: &[Encoder]) -> Spread {
    Spread::of(encoders.iter().map(|encoder| &encoder.accuracy))
}

/// All encoders, and the values of the first one that back-propagation has trained.
pub(super) fn encoders(setting: &Setting, data: &Dataset) -> Result<(Vec<Encoder>, Vec<LayerValues>), Error> {
    // A step of predictive coding takes several times that of back-propagation: one seed.
    let by_errors = Relaxation::default();
    let all = [
        ("untrained", RuleName::ClappPp, by_errors, 4),
        ("predictive-coding", RuleName::PredictiveCoding, by_errors, 1),
        ("predictive-coding, small weight", RuleName::PredictiveCoding, SMALL, 1),
        ("predictive-coding by the activities", RuleName::PredictiveCoding, BY_ACTIVITIES, 1),
        ("bp-clapp++", RuleName::BpClappPp, by_errors, 2),
    ];
    let (mut found, mut back) = (Vec::new(), Vec::new());
    for (name, rule, relaxation, seeds) in all {
        let mut config = Config { relaxation, ..size(setting, rule)? };
        if name == "untrained" {
            config.epochs = 0;
        }
        let setting = &on_what_has_it(setting, &config)?;
        let mut accuracy = Accuracy { name, seeds: Vec::new(), images: data.test.len() };
        let mut top = None;
        for seed in 0..seeds {
            let encoder = train(setting, name, &Config { seed: setting.seed + seed, ..config.clone() }, data)?;
            accuracy.seeds.push(probe(setting, &encoder, data, !setting.full)?.all.last);
            if top.is_none() {
                top = Some(measures_of_top(&encoder, data)?);
                if rule == RuleName::BpClappPp {
                    back = encoder.layers;
                }
            }
        }
        found.extend(top.map(|top| Encoder { accuracy, top }));
    }
    Ok((found, back))
}

/// Half the images that the experiments have in common: a step of predictive coding takes its time.
pub(super) fn size(setting: &Setting, rule: RuleName) -> Result<Config, Error> {
    let config = config(setting, rule)?;
    Ok(Config { images: config.images.map(|images| images / 2), ..config })
}

/// Measures of the top's channel means, the input of its loss, on test images.
fn measures_of_top(encoder: &Trained, data: &Dataset) -> Result<Measures, Error> {
    let relaxation = Relaxation::default();
    let global = Config { rule: RuleName::BpClappPp, relaxation, ..encoder.config.clone() }.network()?;
    let model = Model::upload(&Cpu, global.clone(), &encoder.layers);
    let mut top = Vec::new();
    for image in 0..LOOKED_AT.min(data.test.len()) {
        let pixels = data.test.image(image)?;
        let shape = global.input();
        let values = pixels.chunks(shape.area()).zip(data.mean.iter().zip(&data.std));
        let x: Vec<f32> = values
            .flat_map(|(plane, (mean, std))| plane.iter().map(move |value| (f32::from(*value) / 255.0 - mean) / std))
            .collect();
        let found = features(&Cpu, &model, &global, Cpu.upload_frames(shape, &x), 1);
        top.extend_from_slice(found.layer(global.layers().len() - 1));
    }
    Ok(measures(&top, global.view().top_len()))
}

/// Claims: each way of predictive coding learns, and one reaches back-propagation.
pub(super) fn claims(encoders: &[Encoder]) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let [untrained, by_errors, small, by_activities, back] = encoders {
        let spread = spread(encoders);
        for (encoder, what) in [
            (by_errors, "by the errors"),
            (small, "by the errors, small weight,"),
            (by_activities, "by the activities"),
        ] {
            let statement = format!(
                "Predictive coding {what} fails to learn useful representations on this loss (the paper, of an inference that \
                 it does not name): it is not better than the untrained network"
            );
            claims.push(fails(accuracy::above(&statement, &encoder.accuracy, &untrained.accuracy, spread)));
        }
        claims.push(accuracy::reaches(
            "Predictive coding by the errors with a small weight learns as much on this loss as back-propagation does",
            &small.accuracy,
            &back.accuracy,
            spread,
        ));
    }
    claims
}

/// The claim that something does not hold.
fn fails(claim: Claim) -> Claim {
    let verdict = match claim.verdict {
        Verdict::Held => Verdict::Failed,
        Verdict::Failed => Verdict::Held,
        Verdict::Open => Verdict::Open,
    };
    Claim { verdict, ..claim }
}

pub(super) fn table(encoders: &[Encoder]) -> Table {
    let columns = vec![
        Column::new("rule", 0),
        Column::new("probe, %", 1),
        Column::new("seeds", 0),
        Column::new("length of the top's features", 3),
        Column::new("cosine of different images", 3),
        Column::new("dimensions that vary", 1),
        Column::new("units that are constant, %", 1),
    ];
    let caption = "The self-supervised loss: a linear probe on all layers, and the top's channel means on test images.";
    let mut table = Table::new("encoders", caption, columns);
    for encoder in encoders {
        let Accuracy { name, seeds, .. } = &encoder.accuracy;
        let (mean, error) = (encoder.accuracy.mean(), encoder.accuracy.error(spread(encoders)));
        let Measures { norm, likeness, dimensions, constant } = encoder.top;
        table.rows.push(vec![
            Cell::text(*name),
            Cell::spread(100.0 * mean, 100.0 * error),
            Cell::number(seeds.len() as f64),
            Cell::number(norm),
            Cell::number(likeness),
            Cell::number(dimensions),
            Cell::number(100.0 * constant),
        ]);
    }
    table
}
