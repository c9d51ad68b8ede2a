//! InfoNCE on pooled activity (docs/paper.md 2.8), in double precision. Features of rectified units all have positive
//! directions, so their cosines are close to 1, and the gradient comes from small differences.

use super::RowScores;
use crate::backend::InfoNce;
use crate::matmul::dot;
use rayon::prelude::*;

/// Smallest norm that a vector is divided by.
const LEAST_NORM: f64 = 1e-9;

/// A head's output for one row: its direction and its length.
struct Embedding {
    direction: Vec<f64>,
    norm: f64,
}

impl Embedding {
    fn new(head: &[f32], p: &[f32]) -> Self {
        let mut direction: Vec<f64> = head.chunks_exact(p.len()).map(|row| dot(row, p)).collect();
        let norm = inner(&direction, &direction).sqrt();
        direction.iter_mut().for_each(|value| *value /= norm.max(LEAST_NORM));
        Self { direction, norm }
    }

    /// From the gradient by the direction to the gradient by the vector.
    fn gradient(&self, mut by_direction: Vec<f64>) -> Vec<f64> {
        // A norm below the least one is a constant: nothing flows through it.
        let along = if self.norm < LEAST_NORM { 0.0 } else { inner(&by_direction, &self.direction) };
        for (gradient, direction) in by_direction.iter_mut().zip(&self.direction) {
            *gradient = (*gradient - along * direction) / self.norm.max(LEAST_NORM);
        }
        by_direction
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `sum_i weights_i vectors_i`.
fn combination<'a>(terms: impl Iterator<Item = (f64, &'a [f64])>, len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for (weight, vector) in terms {
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += weight * value;
        }
    }
    sum
}

/// `log(sum(exp(x)))` of a row.
fn log_sum_exp(row: &[f64]) -> f64 {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + row.iter().map(|value| (value - most).exp()).sum::<f64>().ln()
}

/// Loss and gradients of `rows` rows of `p`, first views before second views, through `head`.
pub fn info_nce(p: &[f32], head: &[f32], temperature: f32, rows: usize) -> InfoNce<Vec<f32>, Vec<f64>, RowScores> {
    let temperature = f64::from(temperature);
    let (pairs, dimension) = (rows / 2, p.len() / rows);
    let outputs = head.len() / dimension;
    let embeddings: Vec<Embedding> = p.par_chunks(dimension).map(|p| Embedding::new(head, p)).collect();
    let (first, second) = embeddings.split_at(pairs);
    let cosines: Vec<Vec<f64>> = first
        .par_iter()
        .map(|first| second.iter().map(|second| inner(&first.direction, &second.direction)).collect())
        .collect();
    let logits = |row: &Vec<f64>| row.iter().map(|cosine| cosine / temperature).collect::<Vec<f64>>();
    let mut loss = 0.0;
    // Gradient by the cosines.
    let mut slopes = Vec::with_capacity(pairs);
    for (image, row) in cosines.iter().enumerate() {
        let logits = logits(row);
        let total = log_sum_exp(&logits);
        loss += total - logits[image];
        let scale = 1.0 / (pairs as f64 * temperature);
        let slope = |(other, logit): (usize, &f64)| {
            let target = if other == image { 1.0 } else { 0.0 };
            scale * ((logit - total).exp() - target)
        };
        slopes.push(logits.iter().enumerate().map(slope).collect::<Vec<f64>>());
    }
    let gradients: Vec<Vec<f64>> = (0..rows)
        .into_par_iter()
        .map(|row| {
            let by_direction = if row < pairs {
                let terms = slopes[row].iter().zip(second).map(|(slope, second)| (*slope, &second.direction[..]));
                combination(terms, outputs)
            } else {
                let terms = slopes.iter().zip(first).map(|(slopes, first)| (slopes[row - pairs], &first.direction[..]));
                combination(terms, outputs)
            };
            embeddings[row].gradient(by_direction)
        })
        .collect();
    let mut pooled = vec![0.0_f64; p.len()];
    pooled.par_chunks_mut(dimension).zip(&gradients).for_each(|(pooled, gradient)| {
        for (gradient, head) in gradient.iter().zip(head.chunks_exact(dimension)) {
            for (pooled, head) in pooled.iter_mut().zip(head) {
                *pooled += gradient * f64::from(*head);
            }
        }
    });
    let mut by_head = vec![0.0_f32; head.len()];
    by_head.par_chunks_mut(dimension).enumerate().for_each_init(
        || vec![0.0_f64; dimension],
        |sum, (output, by_head)| {
            sum.fill(0.0);
            for (gradient, p) in gradients.iter().zip(p.chunks_exact(dimension)) {
                for (sum, p) in sum.iter_mut().zip(p) {
                    *sum += gradient[output] * f64::from(*p);
                }
            }
            for (by_head, sum) in by_head.iter_mut().zip(sum) {
                *by_head = *sum as f32;
            }
        },
    );
    let with_others = |(image, row): (usize, &Vec<f64>)| {
        let sum: f64 = row.iter().sum::<f64>() - row[image];
        (sum / (pairs as f64 - 1.0)) as f32
    };
    let scores = RowScores {
        loss: loss / pairs as f64,
        u_pos: cosines.iter().enumerate().map(|(image, row)| row[image] as f32).collect(),
        u_neg: cosines.iter().enumerate().map(with_others).collect(),
        ..RowScores::default()
    };
    InfoNce { scores, pooled, head: by_head }
}
