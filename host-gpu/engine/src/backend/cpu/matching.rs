//! Feedback matching (docs/paper.md 3): distance of a layer's error from the ideal one, and its gradient by the
//! predictions, for all contrasts.
//!
//! `F = ||G - U q||^2` with the unpooling `U` and the pooled error `q`, which is a function of third factors `g` and
//! predictions `s`. With `r = dF/dq`, a prediction changes `F` directly, by `g r`, and through the scores that
//! determine the factors: `dF/dg` is `s . r`, times the second derivatives of the contrast, times the scored activity.

use super::RowScores;
use super::contrast::curvature;
use super::pool::Spreader;
use crate::backend::{Factors, Matching, Mismatch, Pairing};
use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use rayon::prelude::*;

/// Distance and errors of one layer; `ideal` is `[rows, position, channel]`, the rest `[rows, D]`.
pub fn matching(
    rule: &Rule,
    layer: &Layer,
    p: &[f32],
    losses: &[(Pairing<'_>, &Factors<Vec<f32>, RowScores>)],
    pooled: &[f64],
    ideal: &[f32],
    rows: usize,
) -> Matching<Vec<f32>, Mismatch> {
    let dimension = layer.pooled.len();
    let spreader = Spreader::new(layer);
    let mut slope = vec![0.0_f64; pooled.len()];
    let parts: Vec<[f64; 2]> = slope
        .par_chunks_mut(dimension)
        .zip(pooled.par_chunks(dimension))
        .zip(ideal.par_chunks(layer.output.len()))
        .map(|((slope, pooled), ideal)| spreader.distance(ideal, pooled, slope))
        .collect();
    let sum = |which: usize| parts.iter().map(|part| part[which]).sum();
    let errors = losses.iter().map(|(pairing, factors)| errors(rule, *pairing, p, factors, &slope, rows)).collect();
    Matching { distance: Mismatch { distance: sum(0), ideal: sum(1) }, errors }
}

/// `dF/ds`, given `slope`, which is `dF/dq`.
fn errors(
    rule: &Rule,
    pairing: Pairing<'_>,
    p: &[f32],
    factors: &Factors<Vec<f32>, RowScores>,
    slope: &[f64],
    rows: usize,
) -> Vec<f32> {
    let dimension = p.len() / rows;
    let range = |row: usize| row * dimension..(row + 1) * dimension;
    let mut errors = vec![0.0_f32; p.len()];
    errors.par_chunks_mut(dimension).enumerate().for_each_init(
        || vec![0.0_f64; dimension],
        |sum, (row, errors)| {
            let prediction = &factors.prediction[range(row)];
            // Rows scored with the prediction: the positive, then the negatives.
            let mut scored = vec![pairing.partner(row, rows)];
            scored.extend(
                pairing.negatives.iter().skip(row).step_by(rows).map(|negative| pairing.partner(*negative, rows)),
            );
            let mut g = vec![factors.scores.g_pos[row]];
            g.extend(factors.scores.g_neg.iter().skip(row).step_by(rows));
            let along = |row: &usize| {
                let terms = prediction.iter().zip(&slope[range(*row)]);
                terms.map(|(s, r)| f64::from(*s) * r).sum::<f64>()
            };
            let by_factor: Vec<f64> = scored.iter().map(along).collect();
            let by_score = curvature(rule, &g, &by_factor);
            sum.fill(0.0);
            for ((scored, g), by_score) in scored.iter().zip(&g).zip(&by_score) {
                for ((sum, r), p) in sum.iter_mut().zip(&slope[range(*scored)]).zip(&p[range(*scored)]) {
                    *sum += g * r + by_score * f64::from(*p);
                }
            }
            for (error, sum) in errors.iter_mut().zip(sum) {
                *error = (*sum / rows as f64) as f32;
            }
        },
    );
    errors
}
