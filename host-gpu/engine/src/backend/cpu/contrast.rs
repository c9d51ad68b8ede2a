//! Scores, third factors and losses, and the gradient that they send to the pooled activity (docs/paper.md 1.2, 2.1,
//! 2.3).

use super::RowScores;
use crate::backend::{Factors, Pairing, Partner};
use crate::matmul::{Matrix, dot, matmul};
use clapp_core::network::{Contrast, Rule};
use rayon::prelude::*;

/// Rows of a projection whose predictions one task computes at a time.
const PROJECTION_ROWS: usize = 64;

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Predictions `s = B c`, `[rows, D]`.
pub fn predictions(projection: &[f32], c: &[f32], rows: usize) -> Vec<f32> {
    let source = c.len() / rows;
    let dimension = projection.len() / source;
    // Computed as [D, rows], so that each task writes one piece of memory; from contexts as [D_src, rows], which the
    // product reads as they are, and the projection, much larger than they, just once.
    let mut by_unit = vec![0.0; dimension * rows];
    let contexts = super::layout::transpose_each(c, rows, source);
    let contexts = Matrix::new(&contexts, source, rows);
    by_unit
        .par_chunks_mut(PROJECTION_ROWS * rows)
        .zip(projection.par_chunks(PROJECTION_ROWS * source))
        .for_each(|(out, b)| matmul(out, Matrix::new(b, b.len() / source, source), contexts, false));
    super::layout::transpose_each(&by_unit, dimension, rows)
}

/// `max(x, 0)` that lets a NaN through.
fn rectified(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Loss and third factors of one row. If only one of the terms counts, the score of the other is left out.
fn contrast_row(rule: &Rule, keep: Option<bool>, u_pos: f64, u_neg: &[f64]) -> (f64, f64, Vec<f64>) {
    let share = 1.0 / u_neg.len() as f64;
    let (positive, negative) = (keep.unwrap_or(true), !keep.unwrap_or(false));
    let on = |kept: bool, value: f64| if kept { value } else { 0.0 };
    let step = |above: bool| if above { 1.0 } else { 0.0 };
    let pos_coeff = f64::from(rule.pos_coeff);
    let difference = || on(negative, share * u_neg.iter().sum::<f64>()) - on(positive, u_pos);
    match rule.contrast {
        Contrast::Hinge => {
            let loss_neg: f64 = u_neg.iter().map(|u| rectified(1.0 + u)).sum();
            let loss = on(positive, pos_coeff * rectified(1.0 - u_pos)) + on(negative, share * loss_neg);
            let g_neg = u_neg.iter().map(|u| on(negative, share * step(*u > -1.0))).collect();
            (loss, on(positive, -pos_coeff * step(u_pos < 1.0)), g_neg)
        }
        Contrast::SoftHinge => {
            let loss_neg: f64 = u_neg.iter().map(|u| softplus(1.0 + u)).sum();
            let loss = on(positive, pos_coeff * softplus(1.0 - u_pos)) + on(negative, share * loss_neg);
            let g_neg = u_neg.iter().map(|u| on(negative, share * sigmoid(1.0 + u))).collect();
            (loss, on(positive, -pos_coeff * sigmoid(1.0 - u_pos)), g_neg)
        }
        Contrast::Goodness { theta } => {
            let theta = f64::from(theta);
            let loss_neg: f64 = u_neg.iter().map(|u| softplus(u - theta)).sum();
            let loss = on(positive, pos_coeff * softplus(theta - u_pos)) + on(negative, share * loss_neg);
            let g_neg = u_neg.iter().map(|u| on(negative, share * sigmoid(u - theta))).collect();
            (loss, on(positive, -pos_coeff * sigmoid(theta - u_pos)), g_neg)
        }
        Contrast::Linear => (difference(), on(positive, -1.0), vec![on(negative, share); u_neg.len()]),
        Contrast::Phyll { theta } => {
            let theta = f64::from(theta);
            let gate = theta * sigmoid(theta * difference());
            let g_neg = vec![on(negative, gate * share); u_neg.len()];
            (softplus(theta * difference()), on(positive, -gate), g_neg)
        }
    }
}

/// Second derivatives of a contrast by the scores, times a vector: how the third factors `g` of one row (that of its
/// positive, then those of its negatives) change as the scores move along `direction`.
///
/// Read off the factors themselves, which are sigmoids wherever the contrast is curved: a term that does not count
/// has a factor of 0, and no curvature.
pub fn curvature(rule: &Rule, g: &[f64], direction: &[f64]) -> Vec<f64> {
    // `w s(x)` has the slope `w s(x) (1 - s(x))`.
    let logistic = |factor: f64, weight: f64| if weight > 0.0 { factor * (1.0 - factor / weight) } else { 0.0 };
    match rule.contrast {
        Contrast::Hinge | Contrast::Linear => vec![0.0; g.len()],
        Contrast::SoftHinge | Contrast::Goodness { .. } => {
            let share = 1.0 / (g.len() - 1) as f64;
            let weight = |index: usize| if index == 0 { f64::from(rule.pos_coeff) } else { share };
            let terms = g.iter().zip(direction).enumerate();
            terms.map(|(index, (g, direction))| logistic(g.abs(), weight(index)) * direction).collect()
        }
        Contrast::Phyll { theta } => {
            // All factors are one gate times the slopes of the one argument.
            let gate = g.iter().skip(1).sum::<f64>().max(-g[0]);
            if gate <= 0.0 {
                return vec![0.0; g.len()];
            }
            let along: f64 = g.iter().zip(direction).map(|(g, direction)| g / gate * direction).sum();
            let curve = logistic(gate, f64::from(theta)) * f64::from(theta) * along;
            g.iter().map(|g| curve * g / gate).collect()
        }
    }
}

/// Scores, third factors and loss of all rows.
pub fn contrast(
    rule: &Rule,
    pairing: Pairing<'_>,
    p: &[f32],
    c: &[f32],
    projection: Option<&[f32]>,
    rows: usize,
) -> Factors<Vec<f32>, RowScores> {
    let own = pairing.partner == Partner::Itself;
    let prediction = match projection {
        Some(projection) => predictions(projection, c, rows),
        None if own => c.iter().map(|value| value * (rows as f32 / c.len() as f32)).collect(),
        None => c.to_vec(),
    };
    let dimension = p.len() / rows;
    let row_of = |row: usize| &p[row * dimension..(row + 1) * dimension];
    let count = pairing.negatives.len() / rows;
    let per_row: Vec<_> = prediction
        .par_chunks(dimension)
        .enumerate()
        .map(|(row, s)| {
            let u_pos = dot(row_of(pairing.partner(row, rows)), s);
            let u_neg: Vec<f64> =
                (0..count).map(|k| dot(row_of(pairing.partner(pairing.negatives[k * rows + row], rows)), s)).collect();
            let keep = pairing.keep_positive.map(|keep| keep[row]);
            let (loss, g_pos, g_neg) = contrast_row(rule, keep, u_pos, &u_neg);
            // If activity and context are the same vector, the score changes with both.
            let live = if own { 2.0 } else { 1.0 };
            (u_pos, u_neg, loss, live * g_pos, g_neg.into_iter().map(|g| live * g).collect::<Vec<f64>>())
        })
        .collect();
    let mut scores = RowScores {
        u_pos: Vec::with_capacity(rows),
        u_neg: vec![0.0; count * rows],
        g_pos: Vec::with_capacity(rows),
        g_neg: vec![0.0; count * rows],
        loss: 0.0,
    };
    let mut loss_sum = 0.0_f64;
    for (row, (u_pos, u_neg, loss, g_pos, g_neg)) in per_row.into_iter().enumerate() {
        scores.u_pos.push(u_pos as f32);
        scores.g_pos.push(g_pos);
        for (k, (u, g)) in u_neg.into_iter().zip(g_neg).enumerate() {
            scores.u_neg[k * rows + row] = u as f32;
            scores.g_neg[k * rows + row] = g;
        }
        loss_sum += loss;
    }
    scores.loss = loss_sum / rows as f64;
    Factors { scores, prediction }
}

/// `dL/dp`, `[rows, D]`: each row gathers the predictions that were scored against it, in a fixed order.
///
/// In double precision: the gradients that a row receives as a positive and as a negative nearly cancel over the batch
/// if all rows are equally active, and the bias's gradient is the small remainder.
pub fn pooled_gradient(losses: &[(Pairing<'_>, &Factors<Vec<f32>, RowScores>)], rows: usize) -> Vec<f64> {
    // For each loss and row, the contexts that it is a negative of: context row, index into g_neg.
    let uses: Vec<Vec<Vec<(usize, usize)>>> = losses
        .iter()
        .map(|(pairing, _)| {
            let mut uses = vec![Vec::new(); rows];
            for (at, negative) in pairing.negatives.iter().enumerate() {
                uses[pairing.partner(*negative, rows)].push((at % rows, at));
            }
            uses
        })
        .collect();
    let dimension = losses.first().map_or(0, |(_, factors)| factors.prediction.len() / rows);
    let mut dp = vec![0.0; rows * dimension];
    dp.par_chunks_mut(dimension).enumerate().for_each(|(row, dp)| {
        let mut add = |factor: f64, s: &[f32]| {
            if factor != 0.0 {
                let factor = factor / rows as f64;
                for (dp, s) in dp.iter_mut().zip(s) {
                    *dp += factor * f64::from(*s);
                }
            }
        };
        for ((pairing, factors), uses) in losses.iter().zip(&uses) {
            let prediction = |row: usize| &factors.prediction[row * dimension..(row + 1) * dimension];
            let positive = pairing.partner(row, rows);
            add(factors.scores.g_pos[positive], prediction(positive));
            for (context, at) in &uses[row] {
                add(factors.scores.g_neg[*at], prediction(*context));
            }
        }
    });
    dp
}
