//! The supervised task, learnt in several ways.

use super::super::accuracy::{Accuracy, Spread};
use super::super::table::{Cell, Column, Table};
use super::super::{Claim, Setting};
use super::supervised::{Task, Way};
use super::{BY_ACTIVITIES, SMALL};
use clapp_data::data::Dataset;
use clapp_data::error::Error;

/// Part of the supervised accuracy that predictive coding may lack.
const SUPERVISED: f64 = 0.03;

/// The supervised task.
pub(super) struct Taught {
    pub size: String,
    pub all: Vec<Accuracy>,
}

pub(super) fn taught(setting: &Setting, data: &Dataset) -> Result<Taught, Error> {
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
    pub(super) fn table(&self) -> Table {
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

/// Each way of predictive coding against back-propagation.
pub(super) fn claims(taught: &[Accuracy]) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let [back, by_errors, by_activities] = taught {
        for (accuracy, what) in [(by_errors, "by the errors, small weight,"), (by_activities, "by the activities")] {
            let difference = accuracy.paired(back);
            let seeds = |accuracy: &Accuracy| {
                let seeds: Vec<String> = accuracy.seeds.iter().map(|seed| format!("{:.1}", 100.0 * seed)).collect();
                seeds.join(", ")
            };
            let claim = Claim::new(
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
            );
            claims.push(claim.number(difference.points()));
        }
    }
    claims
}
