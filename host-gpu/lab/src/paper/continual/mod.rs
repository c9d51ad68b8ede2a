//! `clapp paper continual`: learners of a stream that never comes back, on the network that is built into the firmware.

mod learners;
mod on_device;
mod report;

use super::encoder::{Trained, train_on};
use super::{Finding, Setting};
use crate::continual::Model;
use crate::continual::course::{Outcome, attend};
use crate::continual::stream::{Kind, Size, Stream, draw};
use crate::continual::student::{Student, memory};
use clapp_core::init;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::rng::Purpose;
use clapp_engine::config::{Config, preset};
use learners::{LEARNERS, Learner, Start};
use rayon::prelude::*;
use report::{Place, Results};
use std::path::Path;

/// The streams.
const KINDS: [Kind; 2] = [Kind::ClassIncremental, Kind::Drift];

/// Size of the streams and number of repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    size: Size,
    /// Images outside the stream that an encoder is pretrained on at most, and epochs.
    pretrain: (usize, u64),
    /// Seeds, each with images, weights and an order of its own; one more chooses the learning rates.
    seeds: u64,
}

impl Extent {
    fn of(setting: &Setting) -> Self {
        let size = Size { images: 250, fixation: 2, labels: 10, stages: 5, more_labels: 2, test: 50 };
        match setting.full {
            false => Self { size, pretrain: (1500, 6), seeds: 5 },
            true => Self { size: Size { images: 1000, test: 100, ..size }, pretrain: (20_000, 30), seeds: 10 },
        }
    }
}

/// Runs the experiment.
///
/// # Errors
/// If images or files cannot be read or written; [`Error::Stopped`].
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    run_with(setting, Extent::of(setting), &on_device::firmware())
}

fn run_with(setting: &Setting, extent: Extent, firmware: &Path) -> Result<Finding, Error> {
    let model = Model::built_in()?;
    let (sets, left_out) = sets(setting, &model, extent.size);
    let device = on_device::run(setting, &sets[0], firmware)?;
    let mut results = Vec::new();
    for set in &sets {
        // The last is of the seed that chooses the rates.
        let pretrained = (0..=extent.seeds)
            .map(|seed| pretrain(setting, set, extent, setting.seed + seed))
            .collect::<Result<Vec<_>, _>>()?;
        let (rates, outcomes) = learn(setting, &model, set, extent, &pretrained)?;
        results.push(Results { set, rates, outcomes, pretrained });
    }
    report::report(setting, extent, &model, &results, &left_out, device)
}

/// The sets given that have labels, no more classes than the built-in read-out, and enough images; else generated images.
/// Also what was left out and why.
fn sets(setting: &Setting, model: &Model, size: Size) -> (Vec<Dataset>, Vec<String>) {
    let (mut sets, mut left_out) = (Vec::new(), Vec::new());
    for set in &setting.sets {
        let classes = set.classes.len();
        let fits = |split, count, purpose| draw(split, &set.classes, count, setting.seed, purpose).map(|_| ());
        let reason = match classes {
            0 | 1 => Some(format!("has {classes} classes")),
            _ if classes > model.classes => {
                Some(format!("has {classes} classes, the read-out that is built in has {}", model.classes))
            }
            _ => fits(&set.train, size.images, Purpose::Stream)
                .and_then(|()| fits(&set.test, size.test, Purpose::HeldBack))
                .err()
                .map(|error| error.to_string()),
        };
        match reason {
            Some(reason) => left_out.push(format!("{} is left out: {reason}.", set.name)),
            None => sets.push(set.clone()),
        }
    }
    if sets.is_empty() {
        sets.push(setting.generated());
    }
    (sets, left_out)
}

/// The configuration of an encoder pretrained for the device.
fn config(extent: Extent, seed: u64) -> Result<Config, Error> {
    let missing = || Error::Config { origin: "preset device".into(), message: "is missing".into() };
    Ok(Config { seed, epochs: extent.pretrain.1, ..preset("device").ok_or_else(missing)? })
}

/// An encoder pretrained by CLAPP++DFB on images that the stream of a seed does not show: of all classes, mixed, without
/// labels.
fn pretrain(setting: &Setting, set: &Dataset, extent: Extent, seed: u64) -> Result<Trained, Error> {
    let mut rest = draw(&set.train, &set.classes, extent.size.images, seed, Purpose::Stream)?.rest;
    rest.truncate(extent.pretrain.0);
    let images = set.clone().in_grey().train.select(&rest);
    let name = format!("{}, pretraining, seed {seed}", set.name);
    train_on(setting, &name, &config(extent, seed)?, &set.name, images, set.test.len())
}

/// The rate that was chosen for each learner, `[kind][learner]`; `None` where nothing is learnt by one.
type Rates = Vec<Vec<Option<f32>>>;

/// Results of the learners, `[kind][seed][learner]`.
type Outcomes = Vec<Vec<Vec<Outcome>>>;

/// A learner on a stream, at a rate.
#[derive(Debug, Clone, Copy)]
struct Task {
    place: usize,
    learner: &'static Learner,
    rate: Option<f32>,
}

/// Chooses every learner's rate for each kind of stream, by the average accuracy on a stream of a seed of its own, and
/// gives what came of each on the streams of the other seeds.
fn learn(
    setting: &Setting,
    model: &Model,
    set: &Dataset,
    extent: Extent,
    pretrained: &[Trained],
) -> Result<(Rates, Outcomes), Error> {
    let seeds: Vec<u64> = (0..=extent.seeds).map(|seed| setting.seed + seed).collect();
    let places: Vec<Place> =
        KINDS.iter().flat_map(|kind| seeds.iter().map(|seed| Place { kind: *kind, seed: *seed })).collect();
    let input = model.spec.input();
    let streams = places
        .par_iter()
        .map(|place| Stream::new(place.kind, set, input, extent.size, place.seed))
        .collect::<Result<Vec<_>, _>>()?;
    let starts = seeds.iter().zip(pretrained).map(|(seed, pretrained)| starts(model, *seed, pretrained));
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    let run = |tasks: &[Task], what: &str| {
        let bar = setting.bar(&format!("{}: {what}", set.name), tasks.len() as u64);
        let outcomes = tasks.par_iter().map(|Task { place, learner, rate }| {
            let start = &starts[place % seeds.len()][learner.start as usize];
            let model = rate.map_or_else(|| model.clone(), |rate| learner.method.at_rate(model, rate));
            let mut memory = memory(&model, start);
            let seed = places[*place].seed;
            let mut student = Student::new(&model, &mut memory, learner.method, extent.size.fixation, seed)?;
            let outcome = attend(&mut student, &streams[*place], || setting.check_stop());
            bar.inc(1);
            outcome
        });
        let outcomes = outcomes.collect::<Result<Vec<Outcome>, Error>>();
        bar.finish_and_clear();
        outcomes
    };
    let of_kind = |kind: usize, seed: usize| kind * seeds.len() + seed;
    let judged = extent.seeds as usize;
    let mut tries = Vec::new();
    for kind in 0..KINDS.len() {
        for learner in &LEARNERS {
            let place = of_kind(kind, judged);
            tries.extend(learner.method.rates().iter().map(|rate| Task { place, learner, rate: Some(*rate) }));
        }
    }
    let mut found = tries.iter().zip(run(&tries, "choice of rates")?);
    let mut rates: Rates = Vec::new();
    for _ in KINDS {
        let best = |learner: &Learner| {
            let tried = found.by_ref().take(learner.method.rates().len());
            let head = learner.method.head();
            let accuracies = tried.map(|(task, outcome)| (task.rate, outcome.of(head).average().unwrap_or(0.0)));
            // The more careful of equal ones.
            let best = accuracies.reduce(|best, next| if next.1 > best.1 { next } else { best });
            best.and_then(|(rate, _)| rate)
        };
        rates.push(LEARNERS.iter().map(best).collect());
    }
    let mut tasks = Vec::new();
    for (kind, rates) in rates.iter().enumerate() {
        for seed in 0..judged {
            let task = |(learner, rate): (&'static Learner, &Option<f32>)| Task {
                place: of_kind(kind, seed),
                learner,
                rate: *rate,
            };
            tasks.extend(LEARNERS.iter().zip(rates).map(task));
        }
    }
    let outcomes = run(&tasks, "streams")?;
    let of_seed: Vec<Vec<Outcome>> = outcomes.chunks(LEARNERS.len()).map(<[_]>::to_vec).collect();
    Ok((rates, of_seed.chunks(judged).map(<[_]>::to_vec).collect()))
}

/// The first parameters of a seed: drawn as the firmware draws them, and pretrained.
fn starts(model: &Model, seed: u64, pretrained: &Trained) -> Result<[Vec<f32>; 2], Error> {
    let mut random = vec![0.0; model.spec.view().parameter_len()];
    init::orthogonal(&model.spec.view(), seed, &mut random)
        .map_err(|error| Error::Config { origin: "weights".into(), message: error.to_string() })?;
    let mut both = [const { Vec::new() }; 2];
    both[Start::Random as usize] = random;
    both[Start::Pretrained as usize] = model.spec.flat_from_values(&pretrained.layers);
    Ok(both)
}

#[cfg(test)]
mod tests;
