//! Predictive coding: near back-propagation where it must be, on a supervised task, and on the self-supervised loss.

mod collapse;
mod supervised;

use super::accuracy::{self, Accuracy, Spread};
use super::encoder::{Trained, config, probe, train};
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
use crate::model::{Inference, LayerValues, Relaxation};
use crate::probe::features;
use crate::run::loader_threads;
use crate::step::Model;
use crate::trainer::initial_values;
use collapse::{Measures, measures};
use std::sync::Arc;
use supervised::{Task, Way};

/// Weights of a row's loss, for the limit of small errors.
const WEIGHTS: [f32; 6] = [100.0, 10.0, 1.0, 0.1, 0.01, 0.001];
/// Iterations by the errors there: until they rest.
const UNTIL_REST: usize = 30;
/// Iterations that both ways of inference are looked at after.
const ITERATIONS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Images whose features are looked at.
const LOOKED_AT: usize = 500;
/// Least cosine of a layer's gradient that counts as that of back-propagation.
const LIKE: f64 = 0.99;
/// Part of the supervised accuracy that predictive coding may lack.
const SUPERVISED: f64 = 0.03;

/// Inference with errors that are small.
const SMALL: Relaxation = Relaxation { by: Inference::Errors, iterations: 4, rate: 0.8, weight: 0.01 };

/// The classical inference, at the rate and with the iterations that it is trained with.
const BY_ACTIVITIES: Relaxation = Relaxation { by: Inference::Activities, iterations: 8, rate: 0.5, weight: 1.0 };

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
         learn useful representations. Its activities relax on the energy either by descent on the prediction errors \
         (Goemaere et al. 2025) or by the classical descent on the activities; where they rest is the same.",
    );
    let words = |Relaxation { iterations, rate, .. }: Relaxation| format!("{iterations} iterations at rate {rate}");
    finding.set("inference by the errors", words(Relaxation::default()));
    finding.set("inference by the activities", words(BY_ACTIVITIES));
    let weights = [Relaxation::default().weight, SMALL.weight].map(|weight| weight.to_string());
    finding.set("weight of a row's loss", format!("{}, or {} where small", weights[0], weights[1]));
    let size = config(setting, RuleName::PredictiveCoding)?;
    let images = size.images.map_or(data.pretrain.len(), |images| images.min(data.pretrain.len()));
    finding.set("data", format!("{}, {images} training images, {} test images", data.name, data.test.len()));
    finding.set("network", format!("VGG-6 at width {}", size.width));
    finding.set("training", format!("{} epochs in batches of {}", size.epochs, size.batch));
    let first = initial_values(&size)?;
    let taught = taught(setting, &data)?;
    finding.set("supervised task", &taught.size);
    let (encoders, back) = encoders(setting, &data)?;
    let limits = [limit(setting, &data, &first)?, limit(setting, &data, &back)?];
    let rest = rest(setting, &data, &back)?;
    finding.claims = claims(&limits, &rest, &taught.all, &encoders);
    finding.tables = vec![taught.table(), table(&encoders)];
    finding.figures = vec![figure(&limits, &rest)];
    finding.notes = vec![
        "The paper gives no numbers, no inference and no code for its predictive coding, so nothing of it could be taken \
         but the loss. Where predictive coding is at rest and the loss weighs little, it is back-propagation; what can go \
         wrong is an inference that stops before errors have reached the lower layers, or errors that are large. How \
         little is little changes while the network learns: the larger the derivatives of its blocks, the farther a \
         loss of the same weight moves the activities."
            .into(),
        format!("On the self-supervised loss: {}", accuracy::note(spread(&encoders))),
        "On the supervised task predictive coding by the errors has the small weight. Ways are compared by pairs of the same \
         seed, which begin with the same weights and see the same images in the same order."
            .into(),
    ];
    Ok(finding)
}

/// Cosines with back-propagation of each layer's gradient on the first batch of views, for a network with these values.
fn cosines(
    setting: &Setting,
    data: &Dataset,
    values: &[LayerValues],
    relaxation: Relaxation,
) -> Result<Vec<f64>, Error> {
    setting.check_stop()?;
    let config = Config { relaxation, ..config(setting, RuleName::PredictiveCoding)? };
    let images = Arc::new(data.pretrain.clone());
    let views = first_views(&config, &images, 1, config.batch, loader_threads())?;
    let mut model = Model::upload(&Cpu, config.network()?, values);
    let found = measure(&Cpu, &mut model, &views.collect::<Result<Vec<_>, _>>()?)?;
    Ok(found.iter().map(|layer| layer.mean().unwrap_or(0.0)).collect())
}

/// By weight of the loss: cosines of each layer.
type Limit = Vec<(f32, Vec<f64>)>;

fn limit(setting: &Setting, data: &Dataset, values: &[LayerValues]) -> Result<Limit, Error> {
    let bar = setting.bar("predictive-coding: weights of the loss", WEIGHTS.len() as u64);
    let limit = WEIGHTS.map(|weight| {
        let relaxation = Relaxation { iterations: UNTIL_REST, rate: 0.5, weight, ..Relaxation::default() };
        let cosines = cosines(setting, data, values, relaxation)?;
        bar.inc(1);
        Ok((weight, cosines))
    });
    bar.finish_and_clear();
    limit.into_iter().collect()
}

/// By way of inference and number of iterations, in a trained network: cosines of each layer.
type Rest = Vec<(Inference, Vec<(usize, Vec<f64>)>)>;

fn rest(setting: &Setting, data: &Dataset, values: &[LayerValues]) -> Result<Rest, Error> {
    let least = WEIGHTS[WEIGHTS.len() - 1];
    let bar = setting.bar("predictive-coding: iterations", 2 * ITERATIONS.len() as u64);
    let rest = [Relaxation::default(), BY_ACTIVITIES].map(|way| {
        let of = |iterations: usize| {
            let cosines = cosines(setting, data, values, Relaxation { iterations, weight: least, ..way })?;
            bar.inc(1);
            Ok((iterations, cosines))
        };
        Ok((way.by, ITERATIONS.map(of).into_iter().collect::<Result<_, Error>>()?))
    });
    bar.finish_and_clear();
    rest.into_iter().collect()
}

fn least(cosines: &[f64]) -> f64 {
    cosines.iter().fold(1.0, |least, cosine| least.min(*cosine))
}

/// The supervised task.
struct Taught {
    size: String,
    all: Vec<Accuracy>,
}

fn taught(setting: &Setting, data: &Dataset) -> Result<Taught, Error> {
    let (train, epochs, batch) = if setting.full { (50_000, 20, 32) } else { (1000, 8, 32) };
    let task = Task::new(data, train, data.test.len())?;
    // The classical inference takes the longest.
    let ways = [
        ("back-propagation", Way::BackPropagation, 4),
        ("predictive coding by the errors", Way::PredictiveCoding(SMALL), 4),
        ("predictive coding by the activities", Way::PredictiveCoding(BY_ACTIVITIES), 2),
    ];
    let batches = train.min(data.train.len()).div_ceil(batch) as u64;
    let runs: u64 = ways.iter().map(|(.., seeds)| seeds).sum();
    let bar = setting.bar("predictive-coding: supervised", runs * epochs * batches);
    let learn = |(name, way, seeds): (&'static str, Way, u64)| {
        let of_seed = |seed: u64| {
            task.learn(way, epochs, batch, setting.seed + seed, || {
                bar.inc(1);
                setting.check_stop()
            })
        };
        Ok(Accuracy { name, seeds: (0..seeds).map(of_seed).collect::<Result<_, Error>>()?, images: task.test_images() })
    };
    let all = ways.into_iter().map(learn).collect::<Result<_, Error>>()?;
    bar.finish_and_clear();
    let size = format!("{} training images, {epochs} epochs in batches of {batch}", train.min(data.train.len()));
    Ok(Taught { size, all })
}

impl Taught {
    fn table(&self) -> Table {
        let columns = vec![Column::new("way", 0), Column::new("test accuracy, %", 1), Column::new("seeds", 0)];
        let caption = "A supervised task: cross-entropy on the means of the top's maps, one channel a class.";
        let mut table = Table::new("supervised", caption, columns);
        let spread = Spread::of(&self.all);
        for accuracy in &self.all {
            let (mean, error) = (100.0 * accuracy.mean(), 100.0 * accuracy.error(spread));
            let seeds = Cell::number(accuracy.seeds.len() as f64);
            table.rows.push(vec![Cell::text(accuracy.name), Cell::spread(mean, error), seeds]);
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

/// All encoders, and the values of the first one that back-propagation has trained.
fn encoders(setting: &Setting, data: &Dataset) -> Result<(Vec<Encoder>, Vec<LayerValues>), Error> {
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
        let mut config = Config { relaxation, ..config(setting, rule)? };
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

/// Of the top's channel means, which its loss sees, on test images.
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

fn claims(limits: &[Limit; 2], rest: &Rest, taught: &[Accuracy], encoders: &[Encoder]) -> Vec<Claim> {
    let mut claims = vec![claim_limit(limits)];
    claims.extend(claim_rest(rest));
    if let [back, by_errors, by_activities] = taught {
        for (accuracy, what) in [(by_errors, "by the errors, small weight,"), (by_activities, "by the activities")] {
            let difference = accuracy.paired(back);
            let seeds = |accuracy: &Accuracy| {
                let seeds: Vec<String> = accuracy.seeds.iter().map(|seed| format!("{:.1}", 100.0 * seed)).collect();
                seeds.join(", ")
            };
            claims.push(Claim::new(
                format!(
                    "On a supervised task predictive coding {what} reaches back-propagation (Whittington and Bogacz 2017), \
                     within {} points",
                    100.0 * SUPERVISED
                ),
                difference.reaches(SUPERVISED),
                format!(
                    "{} %, back-propagation {} %, seed by seed: {}",
                    seeds(accuracy),
                    seeds(back),
                    difference.words()
                ),
            ));
        }
    }
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

fn claim_limit(limits: &[Limit; 2]) -> Claim {
    let words = |limit: &Limit| {
        let found: Vec<String> =
            limit.iter().map(|(weight, cosines)| format!("{:.4} at weight {weight}", least(cosines))).collect();
        found.join(", ")
    };
    let smallest = limits.iter().map(|limit| limit.last().map_or(0.0, |(_, cosines)| least(cosines)));
    let smallest = smallest.fold(1.0, f64::min);
    Claim::new(
        format!(
            "Where the loss weighs little, the gradients of predictive coding are those of back-propagation (Whittington \
             and Bogacz 2017): cosines of all layers above {LIKE} at the smallest weight, at initialisation and after training"
        ),
        Verdict::of(smallest > LIKE),
        format!(
            "least cosine of a layer on the first batch: {}; in a network that back-propagation has trained {}",
            words(&limits[0]),
            words(&limits[1])
        ),
    )
}

fn claim_rest(rest: &Rest) -> Option<Claim> {
    let of = |by: Inference, iterations: usize| {
        let (_, found) = rest.iter().find(|(way, _)| *way == by)?;
        found.iter().find(|(count, _)| *count == iterations).map(|(_, cosines)| least(cosines))
    };
    let few = Relaxation::default().iterations;
    let (errors, activities) = (of(Inference::Errors, few)?, of(Inference::Activities, BY_ACTIVITIES.iterations)?);
    let longest = ITERATIONS[ITERATIONS.len() - 1];
    let in_the_end = of(Inference::Activities, longest)?;
    Some(Claim::new(
        format!(
            "In a trained network the classical inference stops long before errors have come down (Goemaere et al. 2025): \
             cosines of all layers are above {LIKE} by the errors and not by the activities, at the smallest weight and with \
             the iterations that each is trained with"
        ),
        Verdict::of(errors > LIKE && activities <= LIKE),
        format!(
            "least cosine of a layer: {errors:.4} after {few} iterations by the errors, {activities:.4} after {} by the \
             activities, {in_the_end:.4} after {longest}",
            BY_ACTIVITIES.iterations
        ),
    ))
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

fn figure(limits: &[Limit; 2], rest: &Rest) -> Figure {
    // As a decimal: 0.1 in single precision is none.
    let decimal = |weight: f32| (f64::from(weight) * 1e6).round() / 1e6;
    let lines = |limit: &Limit| -> Vec<Series> {
        let layers = limit.first().map_or(0, |(_, cosines)| cosines.len());
        let line = |layer: usize| {
            let points = limit.iter().map(|(weight, cosines)| Point::new(decimal(*weight), cosines[layer]));
            Series::new(&format!("layer {}", layer + 1), points.collect())
        };
        (0..layers).map(line).collect()
    };
    let weight = || Axis::log("weight of the loss", &WEIGHTS.map(decimal));
    let lowest = |(by, found): &(Inference, Vec<(usize, Vec<f64>)>)| {
        let name = match by {
            Inference::Errors => "by the errors",
            Inference::Activities => "by the activities",
        };
        Series::new(
            name,
            found.iter().map(|(iterations, cosines)| Point::new(*iterations as f64, least(cosines))).collect(),
        )
    };
    let panel = |title: &str, x, y, series| Panel { title: title.into(), kind: Kind::Lines, x, y, series };
    Figure::new(
        "predictive-coding",
        "Cosine of predictive coding's gradients with back-propagation's on the self-supervised loss. At \
         rest, by the weight of the loss, at initialisation (left) and in a network that back-propagation has trained \
         (middle). Right: in the trained network, at the smallest weight, the lowest of all layers by the number of \
         iterations.",
        vec![
            panel("at initialisation", weight(), Axis::between("cosine", -0.5, 1.05), lines(&limits[0])),
            panel("after training", weight(), Axis::between("cosine", -0.5, 1.05), lines(&limits[1])),
            panel(
                "how long inference takes",
                Axis::log("iterations", &ITERATIONS.map(|iterations| iterations as f64)),
                Axis::between("lowest cosine of a layer", -0.5, 1.05),
                rest.iter().map(lowest).collect(),
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_numbers() {
        let accuracy = |name, seeds: &[f64]| Accuracy { name, seeds: seeds.to_vec(), images: 10_000 };
        let top = || Measures { norm: 1.0, likeness: 0.5, dimensions: 3.0, constant: 0.0 };
        let encoder = |seeds: &[f64]| Encoder { accuracy: accuracy("rule", seeds), top: top() };
        let limit: Limit = vec![(1.0, vec![0.9, 0.8]), (0.1, vec![0.999, 0.995])];
        let counts = |cosine: f64| ITERATIONS.map(|iterations| (iterations, vec![cosine, 1.0])).to_vec();
        let rest = vec![(Inference::Errors, counts(0.999)), (Inference::Activities, counts(0.4))];
        let taught =
            [accuracy("bp", &[0.40, 0.45]), accuracy("errors", &[0.40, 0.45]), accuracy("activities", &[0.30, 0.35])];
        let of = |seeds: &[&[f64]]| seeds.iter().map(|seeds| encoder(seeds)).collect::<Vec<_>>();
        let encoders = of(&[&[0.40, 0.41], &[0.45], &[0.45], &[0.40], &[0.45, 0.45]]);
        let verdicts = |limits: &[Limit; 2], rest, encoders: &[Encoder]| {
            claims(limits, rest, &taught, encoders).iter().map(|claim| claim.verdict).collect::<Vec<_>>()
        };
        use Verdict::{Failed, Held, Open};
        // Seeds differ by half a point, known with two degrees of freedom: half a point is not enough, 5 are.
        let limits = [limit.clone(), limit.clone()];
        let all = [Held, Held, Held, Failed, Failed, Failed, Open, Open];
        assert_eq!(verdicts(&limits, &rest, &encoders), all);
        let other = vec![(Inference::Errors, counts(0.98)), (Inference::Activities, counts(0.4))];
        let limits = [limit.clone(), limit[..1].to_vec()];
        assert_eq!(verdicts(&limits, &other, &encoders)[..2], [Failed, Failed]);
        let finding = Finding {
            tables: vec![table(&encoders)],
            figures: vec![figure(&limits, &rest)],
            ..Finding::new("predictive-coding", "", "", "")
        };
        finding.check(std::path::Path::new("")).unwrap();
    }
}
