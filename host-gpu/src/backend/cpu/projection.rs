//! The projection's gradient (spec 2.2), and its update that never writes the gradient out: the outer
//! product of a few rows is made in a small buffer and stepped at once.

use super::state_chunks;
use crate::backend::{Factors, Pairing, Parameter};
use crate::matmul::{Matrix, matmul};
use crate::optimizer::{self, Optimizer};
use rayon::prelude::*;

/// Elements of a projection that one task works on at a time, about.
const TILE: usize = 1 << 16;

/// `Q_j = (g+_j zpos_j + sum_k g-_jk zneg_jk) / rows`, `[rows, D]`.
///
/// Written as `sum_k g-_jk (zneg_jk - zpos_j) + (g+_j + sum_k g-_jk) zpos_j`: where attraction and repulsion weigh
/// the same, the difference of two similar activities is taken before anything is rounded.
pub fn errors(pairing: Pairing<'_>, p: &[f32], factors: &Factors<Vec<f32>>, rows: usize) -> Vec<f32> {
    let dimension = p.len() / rows;
    let row_of = |row: usize| &p[row * dimension..(row + 1) * dimension];
    let mut errors = vec![0.0; p.len()];
    errors.par_chunks_mut(dimension).enumerate().for_each(|(row, errors)| {
        let positive = row_of(pairing.partner(row, rows));
        let mut rest = factors.g_pos[row];
        for (negative, factor) in pairing.negatives.iter().zip(&factors.g_neg).skip(row).step_by(rows) {
            rest += factor;
            if *factor != 0.0 {
                let factor = (factor / rows as f64) as f32;
                let negative = row_of(pairing.partner(*negative, rows));
                for ((error, negative), positive) in errors.iter_mut().zip(negative).zip(positive) {
                    *error += factor * (negative - positive);
                }
            }
        }
        // What is left of a sum that is zero in exact arithmetic is rounding.
        let rest = if rest.abs() < 1e-12 * factors.g_pos[row].abs() { 0.0 } else { rest };
        if rest != 0.0 {
            let rest = (rest / rows as f64) as f32;
            for (error, positive) in errors.iter_mut().zip(positive) {
                *error += rest * positive;
            }
        }
    });
    errors
}

/// Rows of a `[D, D_src]` matrix that make a tile.
fn tile_rows(source: usize) -> usize {
    (TILE / source).max(1)
}

/// Columns `first..first + count` of the errors as a `[count, rows]` matrix times the contexts.
fn outer(errors: &[f32], c: &[f32], rows: usize, first: usize, out: &mut [f32]) {
    let source = c.len() / rows;
    let dimension = errors.len() / rows;
    let count = out.len() / source;
    let mut columns = Vec::with_capacity(rows * count);
    for errors in errors.chunks_exact(dimension) {
        columns.extend_from_slice(&errors[first..first + count]);
    }
    matmul(out, Matrix::new(&columns, rows, count).transposed(), Matrix::new(c, rows, source), false);
}

/// `dL/dB = Q^T C`, `[D, D_src]`.
pub fn gradient(errors: &[f32], c: &[f32], rows: usize, gradient: &mut [f32]) {
    let source = c.len() / rows;
    let tile = tile_rows(source);
    gradient
        .par_chunks_mut(tile * source)
        .enumerate()
        .for_each(|(index, out)| outer(errors, c, rows, index * tile, out));
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
    let tile = tile_rows(source);
    let Parameter { value, first, second } = projection;
    let count = value.len().div_ceil(tile * source);
    let first = state_chunks(first, tile * source, count);
    let second = state_chunks(second, tile * source, count);
    (value.par_chunks_mut(tile * source), first, second).into_par_iter().enumerate().for_each_init(
        Vec::new,
        |gradient, (index, (value, first, second))| {
            gradient.resize(value.len(), 0.0);
            outer(errors, c, rows, index * tile, gradient);
            optimizer::apply(optimizer, step, value, first, second, gradient);
        },
    );
}
