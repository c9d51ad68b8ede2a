//! The projection's gradient (docs/paper.md 2.2), and its update that never writes the gradient out: the outer
//! product of a few rows is made in a small buffer and stepped at once.

use super::{RowScores, state_chunks};
use crate::backend::{Factors, Pairing, Parameter};
use crate::matmul::{Matrix, matmul};
use crate::optimizer::{self, Optimizer};
use rayon::prelude::*;

/// Rows and columns of a projection's tile: it and the contexts' columns should stay in the second-level cache.
const TILE: [usize; 2] = [32, 2048];

/// `Q_j = (g+_j zpos_j + sum_k g-_jk zneg_jk) / rows`, `[rows, D]`.
///
/// Written as `sum_k g-_jk (zneg_jk - zpos_j) + (g+_j + sum_k g-_jk) zpos_j`: if attraction and repulsion have the same
/// weight, the difference of two similar activities is taken before any rounding.
pub fn errors(pairing: Pairing<'_>, p: &[f32], factors: &Factors<Vec<f32>, RowScores>, rows: usize) -> Vec<f32> {
    let dimension = p.len() / rows;
    let row_of = |row: usize| &p[row * dimension..(row + 1) * dimension];
    let mut errors = vec![0.0; p.len()];
    errors.par_chunks_mut(dimension).enumerate().for_each(|(row, errors)| {
        let positive = row_of(pairing.partner(row, rows));
        let mut rest = factors.scores.g_pos[row];
        for (negative, factor) in pairing.negatives.iter().zip(&factors.scores.g_neg).skip(row).step_by(rows) {
            rest += factor;
            if *factor != 0.0 {
                let factor = (factor / rows as f64) as f32;
                let negative = row_of(pairing.partner(*negative, rows));
                for ((error, negative), positive) in errors.iter_mut().zip(negative).zip(positive) {
                    *error += factor * (negative - positive);
                }
            }
        }
        // The sum is zero in exact arithmetic; a small remainder is rounding.
        let rest = if rest.abs() < 1e-12 * factors.scores.g_pos[row].abs() { 0.0 } else { rest };
        if rest != 0.0 {
            let rest = (rest / rows as f64) as f32;
            for (error, positive) in errors.iter_mut().zip(positive) {
                *error += rest * positive;
            }
        }
    });
    errors
}

/// Columns `first..first + count` of the errors, `[rows, count]`.
fn columns(errors: &[f32], rows: usize, first: usize, count: usize) -> Vec<f32> {
    let mut columns = Vec::with_capacity(rows * count);
    for errors in errors.chunks_exact(errors.len() / rows) {
        columns.extend_from_slice(&errors[first..first + count]);
    }
    columns
}

/// `dL/dB = Q^T C`, `[D, D_src]`.
pub fn gradient(errors: &[f32], c: &[f32], rows: usize) -> Vec<f32> {
    let source = c.len() / rows;
    let mut gradient = vec![0.0; errors.len() / rows * source];
    gradient.par_chunks_mut(TILE[0] * source).enumerate().for_each(|(index, out)| {
        let count = out.len() / source;
        let errors = columns(errors, rows, index * TILE[0], count);
        matmul(out, Matrix::new(&errors, rows, count).transposed(), Matrix::new(c, rows, source), false);
    });
    gradient
}

/// The gradient and the optimiser's step, tile by tile.
pub fn update(
    errors: &[f32],
    c: &[f32],
    rows: usize,
    projection: &mut Parameter<Vec<f32>>,
    optimizer: &Optimizer,
    step: u64,
) {
    let source = c.len() / rows;
    let contexts = Matrix::new(c, rows, source);
    let Parameter { value, first, second } = projection;
    let len = TILE[0] * source;
    let count = value.len().div_ceil(len);
    let (first, second) = (state_chunks(first, len, count), state_chunks(second, len, count));
    (value.par_chunks_mut(len), first, second).into_par_iter().enumerate().for_each_init(
        || vec![0.0; TILE[0] * TILE[1]],
        |gradient, (index, (value, first, second))| {
            let count = value.len() / source;
            let errors = columns(errors, rows, index * TILE[0], count);
            let errors = Matrix::new(&errors, rows, count).transposed();
            for left in (0..source).step_by(TILE[1]) {
                let width = TILE[1].min(source - left);
                let gradient = &mut gradient[..count * width];
                matmul(gradient, errors, contexts.columns(left..left + width), false);
                for (row, gradient) in gradient.chunks_exact(width).enumerate() {
                    let range = row * source + left..row * source + left + width;
                    // Empty if the optimiser does not keep them.
                    let first = first.get_mut(range.clone()).unwrap_or_default();
                    let second = second.get_mut(range.clone()).unwrap_or_default();
                    optimizer::apply(optimizer, step, &mut value[range], first, second, gradient);
                }
            }
        },
    );
}
