//! The loss of LPL and its gradient by the pooled activity, in double precision: variances of rectified units are small
//! differences.

use super::{LearningRule, Lpl, Rule};
use crate::backend::cpu::{Cpu, RowScores};
use crate::backend::{Custom, CustomOf, Pairing};
use crate::matmul::dot;
use rayon::prelude::*;

/// The loss of `rows` rows of pooled activity `[rows, M]`, first views before second views.
pub(super) struct Loss<'a> {
    pub lpl: Lpl,
    pub pairing: Pairing<'a>,
    pub rows: usize,
}

impl Custom for Loss<'_> {
    fn rule(&self) -> &'static str {
        Rule::CHOICES.name
    }

    fn cpu(&self, inputs: &[&[f32]]) -> CustomOf<Cpu> {
        let (scores, pooled) = loss(&self.lpl, self.pairing, inputs[0], self.rows);
        CustomOf::<Cpu> { tensors: Vec::new(), pooled: Some(pooled), scores: Some(scores) }
    }
}

/// Values of the three terms, before their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Terms {
    predictive: f64,
    hebbian: f64,
    decorrelation: f64,
}

/// The loss of `rows` rows of `p` `[rows, M]`, first views before second views, and its gradient by `p`.
fn loss(lpl: &Lpl, pairing: Pairing<'_>, p: &[f32], rows: usize) -> (RowScores, Vec<f64>) {
    let units = p.len() / rows;
    let wide: Vec<f64> = p.iter().map(|value| f64::from(*value)).collect();
    let (terms, pooled) = terms_and_gradient(lpl, &wide, rows);
    let [predictive, hebbian, decorrelation] = weights(lpl);
    let loss = predictive * terms.predictive + hebbian * terms.hebbian + decorrelation * terms.decorrelation;
    let row = |row: usize| &p[row * units..(row + 1) * units];
    // The nearer, the higher, as scores are.
    let nearness = |a: usize, b: usize| {
        let (a, b) = (row(a), row(b));
        (-(dot(a, a) + dot(b, b) - 2.0 * dot(a, b)) / units as f64) as f32
    };
    let positive = |row: usize| pairing.partner(row, rows);
    let u_pos = (0..rows).map(|row| nearness(positive(row), row)).collect();
    let negative = |(index, other): (usize, &usize)| nearness(positive(*other), index % rows);
    let u_neg = pairing.negatives.iter().enumerate().map(negative).collect();
    (RowScores { u_pos, u_neg, loss, ..RowScores::default() }, pooled)
}

fn weights(lpl: &Lpl) -> [f64; 3] {
    [lpl.predictive, lpl.hebbian, lpl.decorrelation].map(f64::from)
}

fn terms_and_gradient(lpl: &Lpl, p: &[f64], rows: usize) -> (Terms, Vec<f64>) {
    let (images, units) = (rows / 2, p.len() / rows);
    let [predictive, hebbian, decorrelation] = weights(lpl);
    let mut terms = Terms { predictive: 0.0, hebbian: 0.0, decorrelation: 0.0 };
    let mut gradient = vec![0.0; p.len()];
    let half = images * units;
    let scale = 1.0 / half.max(1) as f64;
    for index in 0..half {
        let difference = p[index] - p[half + index];
        terms.predictive += scale * difference * difference;
        let slope = 2.0 * predictive * scale * difference;
        gradient[index] = slope;
        gradient[half + index] = -slope;
    }
    // One image has no variance.
    if images < 2 {
        return (terms, gradient);
    }
    for (z, gradient) in p.chunks_exact(half).zip(gradient.chunks_exact_mut(half)) {
        let view = View::new(z, images);
        let (variances, covariances) = (view.variances(), view.covariances());
        terms.hebbian -= 0.5 * mean(variances.iter().map(|variance| (variance + f64::from(lpl.eps)).ln()), units);
        let hebbian = -hebbian / (units as f64 * (images - 1) as f64);
        let pairs = (units * units - units).max(1) as f64;
        terms.decorrelation += 0.5 * covariances.iter().map(|c| c * c).sum::<f64>() / pairs;
        let decorrelation = 2.0 * decorrelation / (pairs * (images - 1) as f64);
        gradient.par_chunks_mut(units).zip(view.deviations.par_chunks(units)).for_each(|(gradient, deviations)| {
            for (unit, gradient) in gradient.iter_mut().enumerate() {
                let covariances = &covariances[unit * units..(unit + 1) * units];
                let coupled: f64 = covariances.iter().zip(deviations).map(|(c, deviation)| c * deviation).sum();
                *gradient += hebbian * deviations[unit] / (variances[unit] + f64::from(lpl.eps));
                *gradient += decorrelation * coupled;
            }
        });
    }
    (terms, gradient)
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count as f64
}

/// One view of all images: deviations from each unit's mean, `[images, M]`.
struct View {
    images: usize,
    units: usize,
    deviations: Vec<f64>,
}

impl View {
    fn new(z: &[f64], images: usize) -> Self {
        let units = z.len() / images;
        let means: Vec<f64> =
            (0..units).map(|unit| mean(z.iter().skip(unit).step_by(units).copied(), images)).collect();
        let deviations = z.iter().enumerate().map(|(index, z)| z - means[index % units]).collect();
        Self { images, units, deviations }
    }

    fn variances(&self) -> Vec<f64> {
        let squares = |unit: usize| self.deviations.iter().skip(unit).step_by(self.units).map(|value| value * value);
        (0..self.units).map(|unit| mean(squares(unit), self.images - 1)).collect()
    }

    /// `[M, M]`, with 0 on the diagonal.
    fn covariances(&self) -> Vec<f64> {
        let mut covariances = vec![0.0; self.units * self.units];
        covariances.par_chunks_mut(self.units).enumerate().for_each(|(unit, row)| {
            for deviations in self.deviations.chunks_exact(self.units) {
                row.iter_mut().zip(deviations).for_each(|(sum, other)| *sum += deviations[unit] * other);
            }
            row.iter_mut().for_each(|sum| *sum /= (self.images - 1) as f64);
            row[unit] = 0.0;
        });
        covariances
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::rng::{Purpose, stream};

    fn activity(rows: usize, units: usize) -> Vec<f64> {
        let mut rng = stream(5, Purpose::Init, 0, 0);
        (0..rows * units).map(|_| f64::from(rng.uniform(-1.0, 2.0).max(0.0))).collect()
    }

    fn total(settings: &Lpl, p: &[f64], rows: usize) -> f64 {
        let (terms, _) = terms_and_gradient(settings, p, rows);
        let [a, b, c] = weights(settings);
        a * terms.predictive + b * terms.hebbian + c * terms.decorrelation
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_by_finite_differences() {
        let only = |predictive, hebbian, decorrelation| Lpl { predictive, hebbian, decorrelation, eps: 1e-2 };
        for settings in [only(1.0, 0.0, 0.0), only(0.0, 1.0, 0.0), only(0.0, 0.0, 1.0), Lpl::default()] {
            for (rows, units) in [(8, 5), (4, 1), (6, 3)] {
                let p = activity(rows, units);
                let (_, gradient) = terms_and_gradient(&settings, &p, rows);
                for index in 0..p.len() {
                    let moved = |step: f64| {
                        let mut p = p.clone();
                        p[index] += step;
                        total(&settings, &p, rows)
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    let error = (slope - gradient[index]).abs();
                    assert!(error <= 1e-6 * (1.0 + slope.abs()), "{settings:?}, {index}: {slope} {}", gradient[index]);
                }
            }
        }
    }

    #[test]
    fn terms_are_those_of_a_hand_worked_batch() {
        // Two images and two units; both views of the first unit vary, the second follows it in the first view only.
        let p = [1.0, 0.0, 3.0, 2.0, 1.0, 1.0, 2.0, 1.0];
        let (terms, _) = terms_and_gradient(&Lpl { eps: 1e-4, ..Lpl::default() }, &p, 4);
        assert!((terms.predictive - (0.0 + 1.0 + 1.0 + 1.0) / 4.0).abs() < 1e-12);
        // Variances 2, 2 and 0.5, 0.
        let logs = [2.0_f64, 2.0, 0.5, 0.0].map(|variance| (variance + f64::from(1e-4_f32)).ln());
        assert!((terms.hebbian + 0.5 * logs.iter().sum::<f64>() / 2.0).abs() < 1e-12);
        // The covariance of the first view is 2, that of the second 0; each counts twice in its matrix.
        assert!((terms.decorrelation - 0.5 * 4.0).abs() < 1e-12);
    }

    #[test]
    fn scores_say_how_near_the_other_view_and_another_image_are() {
        let p = [1.0, 0.0, 3.0, 2.0, 1.0, 1.0, 2.0, 1.0];
        let negatives = [1, 2, 3, 0];
        let (scores, _) = loss(&Lpl::default(), Pairing::views(&negatives, None), &p, 4);
        assert_eq!(scores.u_pos, [-0.5, -1.0, -0.5, -1.0]);
        assert_eq!(scores.u_neg, [-1.0, -4.0, -2.5, -0.5]);
    }
}
