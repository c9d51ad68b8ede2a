//! Read-outs in closed form: ridge regression of the classes on standardised features, and the nearest class mean.
//!
//! Small networks make activity of very different size, and a probe that descends a gradient for a few epochs measures
//! that, too. This one depends on neither scale nor rate: each feature has mean 0 and deviation 1 over the labelled
//! images, and the penalty is the best of a few on the last fifth of them. The nearest class mean is what the firmware
//! reads its classes by; it takes the features as they are.

use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::Config;
use clapp_engine::matmul::{Matrix, matmul};
use clapp_engine::model::LayerValues;
use clapp_engine::probe::{Features, Inputs, plain_features};
use clapp_engine::step::Model;
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
            // Rounding errors are no features.
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

/// `true` for each row whose largest score is that of its label.
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

/// Right answers on the test features, by a read-out that was learnt from the training features.
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

/// Right answers on the test features by the nearest class mean of the training features.
fn nearest_mean(train: &Table, labels: &[usize], test: &Table, test_labels: &[usize], classes: usize) -> Vec<bool> {
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
    let nearest = |row: &[f32]| {
        let all = (0..classes).map(|class| (distance(row, class), class));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, class)| class)
    };
    test.values.chunks_exact(columns).zip(test_labels).map(|(row, label)| nearest(row) == Some(*label)).collect()
}

/// Right answers of a read-out, for each test image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReadOut(pub Vec<bool>);

impl ReadOut {
    /// The share that is right, 0 to 1.
    pub fn share(&self) -> f64 {
        share(&self.0)
    }
}

/// Right answers on the test images from the features of an encoder, by three read-outs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadOuts {
    /// Ridge regression on all layers.
    pub all: ReadOut,
    /// Ridge regression on the top layer alone.
    pub top: ReadOut,
    /// Nearest class mean on all layers.
    pub nearest: ReadOut,
}

/// Standard error, over the test images, of the mean difference between pairs of read-outs of the same images. Each
/// image counts by how many more of the second read it rightly than of the first, so that an image that both read
/// alike adds nothing.
pub fn error_over_images(pairs: &[(&ReadOut, &ReadOut)]) -> f64 {
    let images = pairs.iter().map(|(before, after)| before.0.len().min(after.0.len())).min().unwrap_or(0);
    let of = |image: usize| {
        let gained: i32 =
            pairs.iter().map(|(before, after)| i32::from(after.0[image]) - i32::from(before.0[image])).sum();
        f64::from(gained) / pairs.len() as f64
    };
    let count = images.max(1) as f64;
    let mean = (0..images).map(of).sum::<f64>() / count;
    let variance = (0..images).map(|image| (of(image) - mean).powi(2)).sum::<f64>() / count;
    (variance / count).sqrt()
}

/// Reads the classes from an encoder.
///
/// # Errors
/// If images cannot be read.
pub fn read_outs(config: &Config, values: &[LayerValues], data: &Dataset) -> Result<ReadOuts, Error> {
    let (spec, pooled) = (config.network()?, config.probe_network()?);
    let model = Model::upload(&Cpu, spec, values);
    let layers: Vec<usize> = (0..pooled.layers().len()).collect();
    let features = |split: &Split| {
        let inputs = Inputs::new(&config.probe, split.shape(), pooled.input());
        plain_features(&Cpu, &model, &pooled, split, &inputs, &mut |_, _| Ok(()))
    };
    let (train, test) = (features(&data.train)?, features(&data.test)?);
    let classes_of = |split: &Split| (0..split.len()).map(|image| split.label(image)).collect::<Vec<_>>();
    let (labels, test_labels) = (classes_of(&data.train), classes_of(&data.test));
    let tables =
        |layers: &[usize]| (Table::of(&train, data.train.len(), layers), Table::of(&test, data.test.len(), layers));
    let (all, all_test) = tables(&layers);
    let classes = data.classes.len();
    if all.values.iter().chain(&all_test.values).any(|value| !value.is_finite()) {
        // Nothing can be read from what is no number: the first class for all.
        let first = ReadOut(test_labels.iter().map(|label| *label == 0).collect());
        return Ok(ReadOuts { all: first.clone(), top: first.clone(), nearest: first });
    }
    let (top, top_test) = tables(layers.get(layers.len().saturating_sub(1)..).unwrap_or_default());
    let nearest = ReadOut(nearest_mean(&all, &labels, &all_test, &test_labels, classes));
    let all = ReadOut(read_out(all, &labels, all_test, &test_labels, classes));
    let top = ReadOut(read_out(top, &labels, top_test, &test_labels, classes));
    Ok(ReadOuts { all, top, nearest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::rng::{Purpose, Rng, stream};

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
        let nearest = share(&nearest_mean(&train, &labels, &test, &test_labels, 3));
        assert!((0.5..0.9).contains(&nearest), "{nearest}");
    }

    #[test]
    fn the_error_of_a_difference_counts_what_only_one_reads() {
        let one = ReadOut(vec![true, true, false, false, true, true, false, true]);
        assert_eq!(error_over_images(&[(&one, &one)]), 0.0);
        let other = ReadOut(vec![false, true, true, false, true, true, false, true]);
        // One gained and one lost of eight: a difference of 0, whose variance is (1 + 1) / 8^2.
        let error = error_over_images(&[(&one, &other)]);
        assert!((error - 2.0_f64.sqrt() / 8.0).abs() < 1e-12);
        // A second seed that is the same says no more of the images; one that does not differ halves the difference.
        assert!((error_over_images(&[(&one, &other), (&one, &other)]) - error).abs() < 1e-12);
        assert!((error_over_images(&[(&one, &other), (&one, &one)]) - error / 2.0).abs() < 1e-12);
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
