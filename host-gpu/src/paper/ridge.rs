//! Read-outs in closed form: ridge regression of the classes on standardised features, and the nearest class mean.
//!
//! Small networks make activity of very different size, and a probe that descends a gradient for a few epochs measures
//! that, too. This one depends on neither scale nor rate: each feature has mean 0 and deviation 1 over the labelled
//! images, and the penalty is the best of a few on the last fifth of them. The nearest class mean is what the firmware
//! reads its classes by; it takes the features as they are.

use crate::backend::cpu::Cpu;
use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::error::Error;
use crate::matmul::{Matrix, matmul};
use crate::model::LayerValues;
use crate::probe::{Features, plain_features};
use crate::step::Model;
use nalgebra::{Cholesky, DMatrix};
use serde::{Deserialize, Serialize};

/// Penalties that are tried, relative to the number of images.
const PENALTIES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];

/// Features or classes of some images, `[rows, columns]`.
#[derive(Debug, Clone, PartialEq)]
struct Table {
    values: Vec<f32>,
    columns: usize,
}

impl Table {
    /// The features of some layers side by side.
    fn of(features: &Features, rows: usize, layers: &[usize]) -> Self {
        let all: Vec<usize> = (0..rows).collect();
        let parts = features.rows(layers, &all);
        let widths: Vec<usize> = parts.iter().map(|part| part.len() / rows.max(1)).collect();
        let columns = widths.iter().sum();
        let mut values = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for (part, width) in parts.iter().zip(&widths) {
                values.extend_from_slice(&part[row * width..(row + 1) * width]);
            }
        }
        Self { values, columns }
    }

    /// One-hot classes less the shares of the classes.
    fn of_labels(labels: &[usize], classes: usize) -> Self {
        let mut values = vec![0.0; labels.len() * classes];
        for class in 0..classes {
            let share = labels.iter().filter(|label| **label == class).count() as f32 / labels.len().max(1) as f32;
            for (row, label) in labels.iter().enumerate() {
                values[row * classes + class] = f32::from(u8::from(*label == class)) - share;
            }
        }
        Self { values, columns: classes }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.rows(), self.columns)
    }

    /// The rows of a range.
    fn part(&self, rows: std::ops::Range<usize>) -> Self {
        let values = self.values[rows.start * self.columns..rows.end * self.columns].to_vec();
        Self { values, columns: self.columns }
    }

    /// Mean and one over the deviation of each column; 0 of a column that does not change.
    fn statistics(&self) -> Vec<(f64, f64)> {
        let count = self.rows().max(1) as f64;
        let of = |column: usize| {
            let values = || self.values.iter().skip(column).step_by(self.columns).map(|value| f64::from(*value));
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            // What is left of rounding is no feature.
            let least = 1e-12 * mean * mean + f64::MIN_POSITIVE;
            (mean, if variance > least { 1.0 / variance.sqrt() } else { 0.0 })
        };
        (0..self.columns).map(of).collect()
    }

    fn standardise(&mut self, statistics: &[(f64, f64)]) {
        for row in self.values.chunks_exact_mut(self.columns.max(1)) {
            for (value, (mean, scale)) in row.iter_mut().zip(statistics) {
                *value = ((f64::from(*value) - mean) * scale) as f32;
            }
        }
    }

    /// `self^T other`.
    fn product(&self, other: &Self) -> DMatrix<f64> {
        let mut out = vec![0.0_f32; self.columns * other.columns];
        matmul(&mut out, self.matrix().transposed(), other.matrix(), false);
        DMatrix::from_row_iterator(self.columns, other.columns, out.into_iter().map(f64::from))
    }
}

/// Weights `[D, classes]` under a penalty; `None` where the matrix is not positive definite.
fn solve(gram: &DMatrix<f64>, products: &DMatrix<f64>, penalty: f64) -> Option<Table> {
    let mut gram = gram.clone();
    for at in 0..gram.nrows() {
        gram[(at, at)] += penalty;
    }
    let weights = Cholesky::new(gram)?.solve(products);
    let columns = weights.ncols();
    let values = weights.transpose().iter().map(|weight| *weight as f32).collect();
    Some(Table { values, columns })
}

/// Whether each row's largest score is that of its label.
fn right(features: &Table, weights: &Table, labels: &[usize]) -> Vec<bool> {
    let mut scores = vec![0.0; labels.len() * weights.columns];
    matmul(&mut scores, features.matrix(), weights.matrix(), false);
    let largest =
        |scores: &[f32]| (1..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
    scores.chunks_exact(weights.columns.max(1)).zip(labels).map(|(row, label)| largest(row) == *label).collect()
}

/// The share that is right.
fn share(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
}

/// Which test features a read-out learnt from the others reads rightly.
fn read_out(mut train: Table, labels: &[usize], mut test: Table, test_labels: &[usize], classes: usize) -> Vec<bool> {
    let statistics = train.statistics();
    train.standardise(&statistics);
    test.standardise(&statistics);
    let (rows, targets) = (train.rows(), Table::of_labels(labels, classes));
    let kept = rows - rows / 5;
    let (fit, held) = (train.part(0..kept), train.part(kept..rows));
    let (gram, products) = (train.product(&train), train.product(&targets));
    let (fit_gram, fit_products) = (fit.product(&fit), fit.product(&targets.part(0..kept)));
    let held_labels = &labels[kept..];
    let mut best: Option<(f64, f64)> = None;
    for penalty in PENALTIES {
        let weights = solve(&fit_gram, &fit_products, penalty * kept as f64);
        let share = weights.map_or(0.0, |weights| share(&right(&held, &weights, held_labels)));
        if best.is_none_or(|(most, _)| share > most) {
            best = Some((share, penalty));
        }
    }
    let penalty = best.map_or(1.0, |(_, penalty)| penalty);
    match solve(&gram, &products, penalty * rows as f64) {
        Some(weights) => right(&test, &weights, test_labels),
        None => vec![false; test_labels.len()],
    }
}

/// Accuracy on the test features of the nearest class mean of the others, 0 to 1.
fn nearest_mean(train: &Table, labels: &[usize], test: &Table, test_labels: &[usize], classes: usize) -> f64 {
    let columns = train.columns.max(1);
    let mut means = vec![0.0_f64; classes * columns];
    for (row, label) in train.values.chunks_exact(columns).zip(labels) {
        let mean = &mut means[label * columns..(label + 1) * columns];
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value));
    }
    for (class, mean) in means.chunks_exact_mut(columns).enumerate() {
        let count = labels.iter().filter(|label| **label == class).count().max(1) as f64;
        mean.iter_mut().for_each(|mean| *mean /= count);
    }
    let distance = |row: &[f32], class: usize| -> f64 {
        let mean = &means[class * columns..(class + 1) * columns];
        row.iter().zip(mean).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum()
    };
    let rows = test.values.chunks_exact(columns).zip(test_labels);
    let hits = rows.filter(|(row, label)| {
        (0..classes).min_by(|a, b| distance(row, *a).total_cmp(&distance(row, *b))) == Some(**label)
    });
    hits.count() as f64 / test_labels.len().max(1) as f64
}

/// How well the classes of the test images can be read from the features of an encoder: shares, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadOuts {
    /// By ridge regression on all layers.
    pub all: f64,
    /// By ridge regression on the top layer alone.
    pub top: f64,
    /// By the nearest class mean, on all layers.
    pub nearest: f64,
    /// Which test images `all` reads rightly.
    pub right: Vec<bool>,
}

impl ReadOuts {
    /// Standard error of the difference between two encoders' `all` on the same images: only those count that one
    /// reads rightly and the other does not.
    pub fn error_of_difference(&self, other: &Self) -> f64 {
        let count = self.right.len().min(other.right.len()).max(1) as f64;
        let only = |mine: bool| {
            self.right.iter().zip(&other.right).filter(|(own, other)| own != other && **own == mine).count() as f64
        };
        let (gained, lost) = (only(true), only(false));
        ((gained + lost) - (gained - lost).powi(2) / count).max(0.0).sqrt() / count
    }
}

/// Reads the classes from an encoder.
///
/// # Errors
/// Where images cannot be read.
pub fn read_outs(config: &Config, values: &[LayerValues], data: &Dataset) -> Result<ReadOuts, Error> {
    let (spec, pooled) = (config.network()?, config.probe_network()?);
    let model = Model::upload(&Cpu, spec, values);
    let layers: Vec<usize> = (0..pooled.layers().len()).collect();
    let features = |split| plain_features(&Cpu, &model, &pooled, split, &config.probe);
    let (train, test) = (features(&data.train)?, features(&data.test)?);
    let classes_of = |split: &Split| (0..split.len()).map(|image| split.label(image)).collect::<Vec<_>>();
    let (labels, test_labels) = (classes_of(&data.train), classes_of(&data.test));
    let tables =
        |layers: &[usize]| (Table::of(&train, data.train.len(), layers), Table::of(&test, data.test.len(), layers));
    let (all, all_test) = tables(&layers);
    let classes = data.classes.len();
    if all.values.iter().chain(&all_test.values).any(|value| !value.is_finite()) {
        // Nothing can be read from what is no number: the first class for all.
        let right: Vec<bool> = test_labels.iter().map(|label| *label == 0).collect();
        let first = share(&right);
        return Ok(ReadOuts { all: first, top: first, nearest: first, right });
    }
    let (top, top_test) = tables(layers.get(layers.len().saturating_sub(1)..).unwrap_or_default());
    let nearest = nearest_mean(&all, &labels, &all_test, &test_labels, classes);
    let right = read_out(all, &labels, all_test, &test_labels, classes);
    let top = share(&read_out(top, &labels, top_test, &test_labels, classes));
    Ok(ReadOuts { all: share(&right), top, nearest, right })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng, stream};

    /// Two features of very different size and place, of which the sum tells three classes apart, and one that is noise.
    fn features(rng: &mut Rng, rows: usize) -> (Table, Vec<usize>) {
        let labels: Vec<usize> = (0..rows).map(|_| rng.below(3)).collect();
        let values = labels.iter().flat_map(|label| {
            let (noise, place) = (rng.normal(), *label as f32 - 1.0);
            let first = if place == 0.0 { 3.0 } else { 0.0 };
            [1000.0 + 500.0 * (first + 0.2 * noise), 1e-4 * (3.0 * place + 0.2 * rng.normal()), rng.normal(), 7.0]
        });
        (Table { values: values.collect(), columns: 4 }, labels)
    }

    #[test]
    fn classes_are_read_whatever_the_scale_of_the_features() {
        let mut rng = stream(1, Purpose::Other(7), 0, 0);
        let (train, labels) = features(&mut rng, 500);
        let (test, test_labels) = features(&mut rng, 500);
        let right = read_out(train.clone(), &labels, test.clone(), &test_labels, 3);
        assert!(share(&right) > 0.97, "{}", share(&right));
        // Labels that have nothing to do with the features are not read from them.
        let drawn: Vec<usize> = (0..500).map(|_| rng.below(3)).collect();
        let right = read_out(train, &drawn, test, &test_labels, 3);
        assert!(share(&right) < 0.5, "{}", share(&right));
        // Two features of the size of thousands and of ten thousandths: the means see the first alone.
        let (train, labels) = features(&mut rng, 500);
        let (test, test_labels) = features(&mut rng, 500);
        let nearest = nearest_mean(&train, &labels, &test, &test_labels, 3);
        assert!((0.5..0.9).contains(&nearest), "{nearest}");
    }

    #[test]
    fn the_error_of_a_difference_counts_what_only_one_reads() {
        let of = |right: &[bool]| ReadOuts { all: share(right), top: 0.0, nearest: 0.0, right: right.to_vec() };
        let one = of(&[true, true, false, false, true, true, false, true]);
        assert_eq!(one.error_of_difference(&one), 0.0);
        let other = of(&[false, true, true, false, true, true, false, true]);
        // One gained and one lost of eight: a difference of 0, whose variance is (1 + 1) / 8^2.
        assert!((one.error_of_difference(&other) - 2.0_f64.sqrt() / 8.0).abs() < 1e-12);
    }

    #[test]
    fn the_solution_is_that_of_the_normal_equations() {
        let mut rng = stream(2, Purpose::Other(7), 0, 0);
        let mut table = |rows: usize, columns: usize| Table {
            values: (0..rows * columns).map(|_| rng.normal()).collect(),
            columns,
        };
        let (x, y) = (table(40, 6), table(40, 3));
        let (gram, products) = (x.product(&x), x.product(&y));
        let weights = solve(&gram, &products, 2.0).unwrap_or_else(|| panic!("no solution"));
        let solution = DMatrix::from_row_iterator(6, 3, weights.values.iter().map(|weight| f64::from(*weight)));
        let rest = &gram * &solution + 2.0 * &solution - &products;
        assert!(rest.amax() < 1e-4, "{}", rest.amax());
    }
}
