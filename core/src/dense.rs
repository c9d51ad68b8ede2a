//! Dense products on slices: dot product, matrix times vector, sums of squares.

use crate::math::sqrt;
use crate::rows::each_row;

/// Elements of a gradient that are summed up on the stack at a time.
const CHUNK: usize = 64;

/// `sum_i a_i b_i` over the shorter of both, from the first element to the last.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// `sum_i a_i^2`, in pieces, so that a long sum does not swallow its last terms.
// Called for a few long slices a layer: copies of it would fill the flash.
#[inline(never)]
pub fn squares(a: &[f32]) -> f32 {
    a.chunks(256).fold(0.0, |sum, piece| sum + dot(piece, piece))
}

/// `sqrt(sum_i a_i^2)`, also where the squares are too small for an `f32`. Infinite where they are too large.
#[inline(never)]
pub fn norm(a: &[f32]) -> f32 {
    let sum = squares(a);
    // Squares that were rounded to nothing, below 2^-149 each, are nothing beside this. A NaN stays one.
    if sum >= 1e-20 || sum.is_nan() {
        return sqrt(sum);
    }
    const SCALE: f32 = (1_u64 << 63) as f32;
    let scaled = a
        .chunks(256)
        .fold(0.0_f32, |sum, piece| sum + piece.iter().fold(0.0, |sum, a| sum + (a * SCALE) * (a * SCALE)));
    sqrt(scaled) / SCALE
}

/// `out_i += scale * a_i`.
pub fn add_scaled(out: &mut [f32], scale: f32, a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += scale * a;
    }
}

/// `out = matrix x`: `matrix` is `[out.len(), x.len()]`, row-major.
///
/// Every element of `matrix` takes part, also where `x` is zero, so that an infinite or undefined
/// element always shows in `out`. Four rows are worked on at a time, since that loads `x` a quarter as often.
pub fn matrix_vector(matrix: &[f32], x: &[f32], out: &mut [f32]) {
    let columns = x.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let mut rows = matrix;
    for four in fours {
        let Some((a, after)) = rows.split_at_checked(columns) else { return };
        let Some((b, after)) = after.split_at_checked(columns) else { return };
        let Some((c, after)) = after.split_at_checked(columns) else { return };
        let Some((d, after)) = after.split_at_checked(columns) else { return };
        let mut sums = [0.0_f32; 4];
        for ((((x, a), b), c), d) in x.iter().zip(a).zip(b).zip(c).zip(d) {
            sums[0] += a * x;
            sums[1] += b * x;
            sums[2] += c * x;
            sums[3] += d * x;
        }
        *four = sums;
        rows = after;
    }
    for (out, row) in rest.iter_mut().zip(each_row(rows, columns)) {
        *out = dot(row, x);
    }
}

/// The gradient of a matrix, `Q^T C`, handed to `sink` in pieces `(offset, piece)` of one row each,
/// every piece summed over all rows of `q` and `c` in order (docs/paper.md 2.2).
///
/// `q` is `[rows, q_len]`, `c` is `[rows, c_len]`, the matrix `[q_len, c_len]`. Only a piece exists at a time.
pub fn outer_products(q: &[f32], q_len: usize, c: &[f32], c_len: usize, sink: &mut dyn FnMut(usize, &[f32])) {
    for row in 0..q_len {
        let mut column = 0;
        while column < c_len {
            let mut sums = [0.0_f32; CHUNK];
            let count = CHUNK.min(c_len - column);
            let Some(piece) = sums.get_mut(..count) else { return };
            for (q, c) in each_row(q, q_len).zip(each_row(c, c_len)) {
                let (Some(&scale), Some(c)) = (q.get(row), c.get(column..column + count)) else { return };
                // Silent units and satisfied margins leave most of these out.
                if scale != 0.0 {
                    add_scaled(piece, scale, c);
                }
            }
            sink(row * c_len + column, piece);
            column += count;
        }
    }
}
