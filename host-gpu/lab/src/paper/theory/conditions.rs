//! Curves of the theory's figures: networks and their losses, measured on many batches.
//!
//! A figure is of one network, as the paper's. What is claimed is judged over several, because another network moves the
//! curves by more than another batch does.

use crate::draw::Series;
use crate::paper::accuracy::Difference;
use crate::paper::significance::critical;
use crate::paper::table::{Cell, Column, Table};
use crate::paper::{Finding, Setting, Verdict};
use crate::theory::align::{Agreement, Losses, Seen, cosine_of};
use crate::theory::loss::{Negatives, Projections};
use crate::theory::net::Net;
use crate::theory::optimum::OptimumError;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Random streams of the networks of figures.
pub const NETWORK: u64 = 0x200;
/// Random streams of projections before they are optimised.
const PROJECTIONS: u64 = 0x240;
/// Networks of a figure.
const NETWORKS: u64 = 8;
/// Batches on which networks after the first are measured.
const OTHERS: usize = 8;

/// The condition of a curve.
#[derive(Debug)]
pub struct Condition {
    /// Name in figure and table.
    pub name: &'static str,
    /// The network.
    pub net: Net,
    /// Its losses.
    pub losses: Losses,
    /// `true`: projections below the top keep their random first values. `false`: they are optimal.
    pub random: bool,
}

/// Agreements of each layer, batch by batch.
#[derive(Debug)]
pub struct Measured {
    /// Name of the condition.
    pub name: &'static str,
    batches: Vec<Vec<Agreement>>,
    /// Cosines between the projections and those of the existence lemma, in linear networks without pooling.
    projections: Option<Vec<Vec<f64>>>,
}

/// Mean and spread over batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Number of batches.
    pub count: usize,
}

impl Spread {
    /// Mean and deviation of some values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / count.saturating_sub(1).max(1) as f64).sqrt();
        Self { mean, deviation, count }
    }

    /// Half the length of the paper's error bar: `1.97 deviation / sqrt(batches)` (docs/paper.md 6.2).
    pub fn error(&self) -> f64 {
        self.error_of(1.97)
    }

    /// Half the length of the interval that has the true mean in 95 % of cases, by Student's t.
    pub fn sure(&self) -> f64 {
        self.error_of(critical(1, self.count.saturating_sub(1)))
    }

    /// Held if the mean is surely greater than `least`; open within [`Self::sure`].
    pub fn exceeds(&self, least: f64) -> Verdict {
        Difference { value: self.mean - least, error: self.sure(), errors: 1.0 }.above()
    }

    /// The same with another number of deviations.
    pub fn error_of(&self, deviations: f64) -> f64 {
        deviations * self.deviation / (self.count as f64).sqrt()
    }
}

impl Condition {
    /// The agreements of all layers on a batch, and the cosines between the projections and those of the existence lemma
    /// (none with ReLUs or pooling). `number` tells the batch's random projections from those of others.
    ///
    /// # Errors
    /// If an optimum is not reached.
    pub fn on(&self, x: &DMatrix<f64>, seed: u64, number: u64) -> Result<(Vec<Agreement>, Vec<f64>), OptimumError> {
        let seen = Seen::new(&self.net, &self.losses, x, Negatives::ring(x.ncols()));
        let last = seen.depth() - 1;
        let rng = &mut stream(seed, Purpose::Theory, PROJECTIONS, number);
        let projections: Vec<Projections> = match self.random {
            false => seen.optima(rng)?,
            true => {
                let mut projections: Vec<_> = (0..last).map(|at| seen.random(at, rng)).collect();
                projections.push(seen.optimum(last, rng)?);
                projections
            }
        };
        let lemma = match self.has_lemma() {
            true => (0..=last).map(|at| cosine_of(&projections[at], &seen.lemma(at, &projections[last]))).collect(),
            false => Vec::new(),
        };
        Ok((seen.agreements(&projections), lemma))
    }

    fn has_lemma(&self) -> bool {
        !self.net.relu && self.losses.pools.iter().all(|&kernel| kernel == 1)
    }
}

/// A figure's conditions in several networks; the first network is that of the figure.
#[derive(Debug)]
pub struct Networks(Vec<Vec<Measured>>);

/// Measures conditions, which are made for a network by its number, on batches of rows (one a column): the first network
/// on all, the others on some. `name` is for the progress bar.
///
/// # Errors
/// If an optimum is not reached, or the user has stopped the work.
pub fn measure(
    setting: &Setting,
    name: &str,
    conditions: impl Fn(u64) -> Vec<Condition>,
    batches: &[DMatrix<f64>],
) -> Result<Networks, Error> {
    let networks: Vec<Vec<Condition>> = (0..NETWORKS).map(conditions).collect();
    let batches_of = |network: usize| if network == 0 { batches } else { &batches[..OTHERS.min(batches.len())] };
    let pieces = networks.iter().enumerate().map(|(at, conditions)| conditions.len() * batches_of(at).len());
    let bar = setting.bar(name, pieces.sum::<usize>() as u64);
    let of_condition = |network: usize, condition: &Condition| {
        let of_batch = |(batch, x): (usize, &DMatrix<f64>)| {
            setting.check_stop()?;
            let found = condition.on(x, setting.seed, ((network as u64) << 32) + batch as u64)?;
            bar.inc(1);
            Ok(found)
        };
        let found = batches_of(network).par_iter().enumerate().map(of_batch).collect::<Result<Vec<_>, Error>>()?;
        let (batches, projections) = found.into_iter().unzip();
        let projections = condition.has_lemma().then_some(projections);
        Ok(Measured { name: condition.name, batches, projections })
    };
    let of_network = |(network, conditions): (usize, &Vec<Condition>)| {
        conditions.iter().map(|condition| of_condition(network, condition)).collect()
    };
    let measured = networks.iter().enumerate().map(of_network).collect::<Result<Vec<_>, Error>>();
    bar.finish_and_clear();
    Ok(Networks(measured?))
}

impl Networks {
    /// Takes conditions measured elsewhere, network by network, the same in each.
    pub fn new(networks: Vec<Vec<Measured>>) -> Self {
        Self(networks)
    }

    /// The conditions in the network of the figure.
    pub fn first(&self) -> &[Measured] {
        &self.0[0]
    }

    /// A number of every layer under a condition: mean over batches, then mean and spread over networks.
    pub fn layers(&self, condition: usize, number: impl Fn(&Agreement) -> f64) -> Vec<Spread> {
        let networks: Vec<Vec<Spread>> = self.0.iter().map(|measured| measured[condition].layers(&number)).collect();
        let of_layer = |at: usize| Spread::of(&networks.iter().map(|layers| layers[at].mean).collect::<Vec<_>>());
        (0..networks[0].len()).map(of_layer).collect()
    }

    /// Difference of a number between two conditions, mean over the layers below the top: mean and spread over networks.
    pub fn gain(&self, condition: usize, over: usize, number: impl Fn(&Agreement) -> f64) -> Spread {
        let mean = |measured: &Measured| Spread::of(&measured.below_top(&number)).mean;
        let gains = self.0.iter().map(|measured| mean(&measured[condition]) - mean(&measured[over]));
        Spread::of(&gains.collect::<Vec<_>>())
    }

    /// Rise of the cosine from each layer to the next one above: mean and spread over networks.
    pub fn rises(&self, condition: usize) -> Vec<Spread> {
        let cosines: Vec<Vec<Spread>> = self.0.iter().map(|measured| measured[condition].cosines()).collect();
        let rise = |at: usize| cosines.iter().map(|layers| layers[at].mean - layers[at - 1].mean).collect::<Vec<_>>();
        (1..cosines[0].len()).map(|at| Spread::of(&rise(at))).collect()
    }

    /// Says how many networks there are.
    pub fn say(&self, finding: &mut Finding) {
        let others = self.0[self.0.len() - 1].first().map_or(0, |measured| measured.batches.len());
        finding.set("networks", format!("{}, those after the first on {others} batches", self.0.len()));
        finding.notes.push(format!(
            "The figure is of one network on all batches, as the paper's is. Claims are judged by mean and spread over {} \
             networks, which differ by more than batches do: ± is the 95 % interval of the mean over networks, by Student's \
             t.",
            self.0.len()
        ));
    }

    /// Cosines and distances over the networks. `what` begins the caption.
    pub fn table(&self, name: &str, what: &str) -> Table {
        let columns = vec![
            Column::new("condition", 0),
            Column::new("layer", 0),
            Column::new("cosine", 3),
            Column::scientific("relative distance"),
        ];
        let caption = format!("{what} in {} networks: mean ± standard deviation over networks.", self.0.len());
        let mut table = Table::new(name, &caption, columns);
        for (at, condition) in self.first().iter().enumerate() {
            let (cosines, distances) = (self.layers(at, |a| a.cosine), self.layers(at, |a| a.distance));
            for (layer, (cosine, distance)) in cosines.iter().zip(&distances).enumerate() {
                let cell = |spread: &Spread| Cell::spread(spread.mean, spread.deviation);
                let layer = Cell::number((layer + 1) as f64);
                table.rows.push(vec![Cell::text(condition.name), layer, cell(cosine), cell(distance)]);
            }
        }
        table
    }
}

impl Measured {
    /// Agreements found elsewhere.
    pub fn new(name: &'static str, batches: Vec<Vec<Agreement>>) -> Self {
        Self { name, batches, projections: None }
    }

    /// A number of every layer over the batches.
    pub fn layers(&self, number: impl Fn(&Agreement) -> f64) -> Vec<Spread> {
        let of_layer =
            |at: usize| Spread::of(&self.batches.iter().map(|layers| number(&layers[at])).collect::<Vec<_>>());
        (0..self.batches.first().map_or(0, Vec::len)).map(of_layer).collect()
    }

    /// Cosines of every layer.
    pub fn cosines(&self) -> Vec<Spread> {
        self.layers(|agreement| agreement.cosine)
    }

    /// The mean over the layers below the top of a number, batch by batch.
    pub fn below_top(&self, number: impl Fn(&Agreement) -> f64) -> Vec<f64> {
        let mean = |layers: &Vec<Agreement>| {
            layers[..layers.len() - 1].iter().map(&number).sum::<f64>() / (layers.len() - 1) as f64
        };
        self.batches.iter().map(mean).collect()
    }

    /// The cosines as a line of a figure.
    pub fn line(&self) -> Series {
        let points: Vec<_> = self.cosines().iter().map(|spread| (spread.mean, Some(spread.error()))).collect();
        Series::by_layer(self.name, &points)
    }
}

/// All numbers of all conditions.
pub fn table(name: &str, caption: &str, measured: &[Measured]) -> Table {
    let columns = vec![
        Column::new("condition", 0),
        Column::new("layer", 0),
        Column::new("cosine", 4),
        Column::scientific("relative distance"),
        Column::scientific("relative length"),
        Column::new("cosine of the errors", 4),
        Column::new("cosine, along", 4),
        Column::new("cosine, across", 4),
        Column::new("cosine of the projections", 4),
    ];
    let mut table = Table::new(name, caption, columns);
    let cell = |spread: &Spread| Cell::spread(spread.mean, spread.deviation);
    for curve in measured {
        let numbers: [fn(&Agreement) -> f64; 6] =
            [|a| a.cosine, |a| a.distance, |a| a.length, |a| a.of_errors, |a| a.along, |a| a.across];
        let numbers = numbers.map(|number| curve.layers(number));
        for at in 0..numbers[0].len() {
            let projections = curve
                .projections
                .as_ref()
                .map(|batches| cell(&Spread::of(&batches.iter().map(|layers| layers[at]).collect::<Vec<_>>())));
            let mut row = vec![Cell::text(curve.name), Cell::number((at + 1) as f64)];
            row.extend(numbers.iter().map(|layers| cell(&layers[at])));
            row.push(projections.unwrap_or_else(Cell::none));
            table.rows.push(row);
        }
    }
    table
}

/// Meaning of the columns of [`table`], for its caption.
pub const COLUMNS: &str = "Cosine, relative Frobenius distance and relative length are those of a layer's local gradient by its \
     weights beside the back-propagated one; errors are gradients by the layer's values; along and across: cosine of the \
     weights' gradients that the parts of the errors along the values of each row make (these let the row's values grow or \
     shrink), and across them; projections are held against those of the existence lemma. Mean ± standard deviation over \
     batches.";

/// Values of layers as text: `0.12 0.34 …`.
pub fn listed(spreads: &[Spread]) -> String {
    spreads.iter().map(|spread| format!("{:.3}", spread.mean)).collect::<Vec<_>>().join(" ")
}
