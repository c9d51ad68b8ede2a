//! Predictive coding: near back-propagation where it must be, on a supervised task, and on the self-supervised loss.

mod collapse;
mod supervised;

use super::accuracy::{self, Accuracy, Difference, Spread};
use super::encoder::{Trained, config, probe, standard_error, train};
use super::feedback::on_what_has_it;
use super::figure::{Axis, Figure, Kind, Panel, Point, Series};
use super::table::{Cell, Column, Table};
use super::{Claim, Finding, Setting, Verdict};
use crate::alignment::{first_views, measure};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::config::{Config, RuleName};
use crate::data::Dataset;
use crate::error::Error;
use crate::model::Relaxation;
use crate::probe::features;
use crate::run::loader_threads;
use crate::step::Model;
use crate::trainer::initial_values;
use collapse::{Measures, measures};
use std::sync::Arc;
use supervised::{Task, Way};

/// Weights of a row's loss, for the limit of small errors.
const WEIGHTS: [f32; 4] = [100.0, 10.0, 1.0, 0.1];
/// Iterations there: until the activities rest.
const UNTIL_REST: usize = 50;
/// Images whose features are looked at.
const LOOKED_AT: usize = 500;

/// Runs the experiment.
///
/// # Errors
/// As its encoders.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    let mut finding = Finding::new(
        "predictive-coding",
        "Predictive coding on the self-supervised loss",
        "section 3",
        "Predictive coding as this project has it is held against back-propagation in three ways: by its gradients where the \
         loss weighs little, by a supervised task, and on the loss of BP-CLAPP++, where the paper reports that it fails to \
         learn useful representations.",
    );
    let Relaxation { iterations, rate, weight } = Relaxation::default();
    finding.set("inference", format!("{iterations} iterations at rate {rate}, weight {weight} of a row's loss"));
    let limit = limit(setting, &data)?;
    let taught = taught(setting, &data)?;
    let encoders = encoders(setting, &data)?;
    finding.claims = vec![claim_limit(&limit), taught.claim(), claim_learns(&encoders), claim_reaches(&encoders)];
    finding.tables = vec![taught.table(), table(&encoders)];
    finding.figures = vec![figure(&limit, &taught)];
    finding.notes = vec![
        "The paper gives no numbers, no inference and no code for its predictive coding, so nothing of it could be taken \
         but the loss. Where the loss weighs little, prediction errors are back-propagation's, and so is what is learnt: \
         a failure on this loss then cannot come from predictive coding itself, but from errors that are large, an \
         inference that stops early, or another energy."
            .into(),
        format!("On the self-supervised loss: {}", accuracy::note(spread(&encoders))),
        "On the supervised task errors are those of the test images alone; there is one run of each way, from the same \
         first weights."
            .into(),
    ];
    Ok(finding)
}

/// Cosines with back-propagation, by weight of the loss: of each layer.
type Limit = Vec<(f64, Vec<Option<f64>>)>;

fn limit(setting: &Setting, data: &Dataset) -> Result<Limit, Error> {
    let bar = setting.bar("predictive-coding: weights of the loss", WEIGHTS.len() as u64);
    let mut limit = Vec::new();
    for weight in WEIGHTS {
        setting.check_stop()?;
        let relaxation = Relaxation { iterations: UNTIL_REST, rate: 0.5, weight };
        let config = Config { relaxation, ..config(setting, RuleName::PredictiveCoding)? };
        let images = Arc::new(data.pretrain.clone());
        let views = first_views(&config, &images, 1, config.batch, loader_threads())?;
        let mut model = Model::upload(&Cpu, config.network()?, &initial_values(&config)?);
        let found = measure(&Cpu, &mut model, &views.collect::<Result<Vec<_>, _>>()?)?;
        limit.push((f64::from(weight), found.iter().map(|layer| layer.mean()).collect()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(limit)
}

fn claim_limit(limit: &Limit) -> Claim {
    let least = |cosines: &[Option<f64>]| {
        cosines.iter().map(|cosine| cosine.unwrap_or(0.0)).fold(1.0_f64, |least, cosine| least.min(cosine))
    };
    let found: Vec<String> =
        limit.iter().map(|(weight, cosines)| format!("{:.4} at weight {weight}", least(cosines))).collect();
    let smallest = limit.last().map_or(0.0, |(_, cosines)| least(cosines));
    Claim::new(
        "Where the loss weighs little, the gradients of predictive coding are those of back-propagation (Whittington and \
         Bogacz 2017): cosines of all layers above 0.99",
        Verdict::of(smallest > 0.99),
        format!("least cosine of a layer on the first batch: {}", found.join(", ")),
    )
}

/// Accuracies on the supervised task after each epoch.
struct Taught {
    images: usize,
    ways: Vec<(String, Vec<f64>)>,
}

fn taught(setting: &Setting, data: &Dataset) -> Result<Taught, Error> {
    let (train, test, epochs, batch) = if setting.full { (50_000, 10_000, 20, 32) } else { (2000, 1000, 5, 32) };
    let task = Task::new(data, train, test)?;
    let ways = [
        ("back-propagation", Way::BackPropagation),
        ("predictive coding", Way::PredictiveCoding(Relaxation::default())),
        ("predictive coding, weight 100", Way::PredictiveCoding(Relaxation { weight: 100.0, ..Relaxation::default() })),
    ];
    let batches = train.min(data.train.len()).div_ceil(batch) as u64;
    let bar = setting.bar("predictive-coding: supervised", ways.len() as u64 * epochs * batches);
    let learn = |(name, way): (&str, Way)| {
        let accuracies = task.learn(way, epochs, batch, setting.seed, || {
            bar.inc(1);
            setting.check_stop()
        })?;
        Ok((name.to_owned(), accuracies))
    };
    let ways = ways.into_iter().map(learn).collect::<Result<_, Error>>()?;
    bar.finish_and_clear();
    Ok(Taught { images: task.test_images(), ways })
}

impl Taught {
    fn last(&self, at: usize) -> f64 {
        self.ways.get(at).and_then(|(_, epochs)| epochs.last().copied()).unwrap_or(0.0)
    }

    fn claim(&self) -> Claim {
        let (back, predictive) = (self.last(0), self.last(1));
        let error = |accuracy| standard_error(accuracy, self.images);
        let difference =
            Difference { value: predictive - back, error: error(back).hypot(error(predictive)), errors: 2.0 };
        Claim::new(
            "On a supervised task predictive coding reaches back-propagation (Whittington and Bogacz 2017), within 1 point",
            difference.reaches(),
            format!(
                "test images classified rightly: back-propagation {:.1} ± {:.1} %, predictive coding {:.1} ± {:.1} %: {}",
                100.0 * back,
                100.0 * error(back),
                100.0 * predictive,
                100.0 * error(predictive),
                difference.words()
            ),
        )
    }

    fn table(&self) -> Table {
        let columns = vec![Column::new("way", 0), Column::new("test accuracy, %", 1)];
        let caption = "A supervised task: cross-entropy, one channel of the top a class.";
        let mut table = Table::new("supervised", caption, columns);
        for (at, (name, _)) in self.ways.iter().enumerate() {
            let accuracy = self.last(at);
            let error = standard_error(accuracy, self.images);
            table.rows.push(vec![Cell::text(name), Cell::spread(100.0 * accuracy, 100.0 * error)]);
        }
        table
    }
}

/// The encoders of one rule on the self-supervised loss.
struct Encoder {
    accuracy: Accuracy,
    /// Of the first seed.
    top: Measures,
}

fn spread(encoders: &[Encoder]) -> Spread {
    Spread::of(encoders.iter().map(|encoder| &encoder.accuracy))
}

fn encoders(setting: &Setting, data: &Dataset) -> Result<Vec<Encoder>, Error> {
    // A step of predictive coding takes several times that of back-propagation: one seed.
    let all = [
        ("untrained", RuleName::ClappPp, 4),
        ("predictive-coding", RuleName::PredictiveCoding, 1),
        ("bp-clapp++", RuleName::BpClappPp, 2),
    ];
    let mut found = Vec::new();
    for (name, rule, seeds) in all {
        let mut config = config(setting, rule)?;
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
            }
        }
        found.extend(top.map(|top| Encoder { accuracy, top }));
    }
    Ok(found)
}

/// Of the top's channel means, which its loss sees, on test images.
fn measures_of_top(encoder: &Trained, data: &Dataset) -> Result<Measures, Error> {
    let global = Config { rule: RuleName::BpClappPp, ..encoder.config.clone() }.network()?;
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

fn claim_learns(encoders: &[Encoder]) -> Claim {
    let learns = accuracy::above(
        "Predictive coding fails to learn useful representations on this loss (the paper): it is not better than the \
         untrained network",
        &encoders[1].accuracy,
        &encoders[0].accuracy,
        spread(encoders),
    );
    // What is claimed is the failure.
    let verdict = match learns.verdict {
        Verdict::Held => Verdict::Failed,
        Verdict::Failed => Verdict::Held,
        Verdict::Open => Verdict::Open,
    };
    Claim { verdict, ..learns }
}

fn claim_reaches(encoders: &[Encoder]) -> Claim {
    accuracy::above(
        "Back-propagation learns more on this loss than predictive coding does",
        &encoders[2].accuracy,
        &encoders[1].accuracy,
        spread(encoders),
    )
}

fn table(encoders: &[Encoder]) -> Table {
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

fn figure(limit: &Limit, taught: &Taught) -> Figure {
    let layers = limit.first().map_or(0, |(_, cosines)| cosines.len());
    let line = |layer: usize| {
        let points = limit.iter().filter_map(|(weight, cosines)| Some(Point::new(*weight, cosines[layer]?)));
        Series::new(&format!("layer {}", layer + 1), points.collect())
    };
    let weights = WEIGHTS.map(|weight| (f64::from(weight) * 1e6).round() / 1e6);
    let course = |(name, accuracies): &(String, Vec<f64>)| {
        let points = accuracies.iter().enumerate();
        Series::new(name, points.map(|(epoch, accuracy)| Point::new((epoch + 1) as f64, 100.0 * accuracy)).collect())
    };
    let panel = |title: &str, x, y, series| Panel { title: title.into(), kind: Kind::Lines, x, y, series };
    Figure::new(
        "predictive-coding",
        "Left: cosine of predictive coding's gradients with back-propagation's on the self-supervised loss, at \
         initialisation, by the weight of the loss. Right: a supervised task, by epoch.",
        vec![
            panel(
                "the limit of small errors",
                Axis::log("weight of the loss", &weights),
                Axis::between("cosine", 0.0, 1.05),
                (0..layers).map(line).collect(),
            ),
            panel(
                "supervised",
                Axis::new("epoch"),
                Axis::new("test accuracy, %"),
                taught.ways.iter().map(course).collect(),
            ),
        ],
    )
}
