//! Gradients after inference, by weight of the loss and by number of iterations.

use super::super::encoder::config;
use super::super::{Claim, Setting, Verdict};
use super::BY_ACTIVITIES;
use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::alignment::{first_views, measure};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, RuleName};
use clapp_engine::model::LayerValues;
use clapp_engine::run::loader_threads;
use clapp_engine::step::Model;
use clapp_engine::step::relax::Inference;
use clapp_engine::step::relax::Relaxation;
use std::sync::Arc;

/// Weights of a row's loss, for the limit of small errors.
const WEIGHTS: [f32; 6] = [100.0, 10.0, 1.0, 0.1, 0.01, 0.001];
/// Iterations by the errors there: until they rest.
const UNTIL_REST: usize = 30;
/// Iterations that both ways of inference are looked at after.
pub(super) const ITERATIONS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Least cosine of a layer's gradient that counts as that of back-propagation.
const LIKE: f64 = 0.99;

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

/// Cosines of each layer, by weight of the loss.
pub(super) type Limit = Vec<(f32, Vec<f64>)>;

pub(super) fn limit(setting: &Setting, data: &Dataset, values: &[LayerValues]) -> Result<Limit, Error> {
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

/// Cosines of each layer in a trained network, by way of inference and number of iterations.
pub(super) type Rest = Vec<(Inference, Vec<(usize, Vec<f64>)>)>;

pub(super) fn rest(setting: &Setting, data: &Dataset, values: &[LayerValues]) -> Result<Rest, Error> {
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

pub(super) fn claim_limit(limits: &[Limit; 2]) -> Claim {
    let words = |limit: &Limit| {
        let found: Vec<String> =
            limit.iter().map(|(weight, cosines)| format!("{:.4} at weight {weight}", least(cosines))).collect();
        found.join(", ")
    };
    let smallest = limits.iter().map(|limit| limit.last().map_or(0.0, |(_, cosines)| least(cosines)));
    let smallest = smallest.fold(1.0, f64::min);
    Claim::new(
        format!(
            "With a small weight of the loss, the gradients of predictive coding are those of back-propagation (Whittington \
             and Bogacz 2017): cosines of all layers above {LIKE} at the smallest weight, at initialisation and after training"
        ),
        Verdict::of(smallest > LIKE),
        format!(
            "least cosine of a layer on the first batch: {}; in a network that back-propagation has trained {}",
            words(&limits[0]),
            words(&limits[1])
        ),
    )
    .number(format!("least cosine {smallest:.4}"))
}

pub(super) fn claim_rest(rest: &Rest) -> Option<Claim> {
    let of = |by: Inference, iterations: usize| {
        let (_, found) = rest.iter().find(|(way, _)| *way == by)?;
        found.iter().find(|(count, _)| *count == iterations).map(|(_, cosines)| least(cosines))
    };
    let few = Relaxation::default().iterations;
    let (errors, activities) = (of(Inference::Errors, few)?, of(Inference::Activities, BY_ACTIVITIES.iterations)?);
    let longest = ITERATIONS[ITERATIONS.len() - 1];
    let in_the_end = of(Inference::Activities, longest)?;
    let claim = Claim::new(
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
    );
    Some(claim.number(format!("cosine {activities:.4} by the activities")))
}

pub(super) fn figure(limits: &[Limit; 2], rest: &Rest) -> Figure {
    // Through its decimal text: 0.1 in single precision is not 0.1 in double precision.
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
