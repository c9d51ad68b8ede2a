//! Between the layouts of files (`[C, H, W]`, `[out, in, kh, kw]`) and of this backend, and rows of unit length.

use crate::matmul::dot;
use clapp_core::plan::Layer;
use rayon::prelude::*;
use std::ops::Range;

/// Transposes each `[rows, columns]` matrix of a batch to `[columns, rows]`.
pub fn transpose_each(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let len = rows * columns;
    out.par_chunks_mut(len).zip(values.par_chunks(len)).for_each(|(out, values)| {
        for (column, out) in out.chunks_exact_mut(rows).enumerate() {
            for (out, value) in out.iter_mut().zip(values.iter().skip(column).step_by(columns)) {
                *out = *value;
            }
        }
    });
    out
}

/// `[out, in, kh, kw]` to `[kh, kw, in, out]`.
pub fn weights_to_device(layer: &Layer, values: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (from, to) in weight_positions(layer) {
        out[to] = values[from];
    }
    out
}

/// `[kh, kw, in, out]` to `[out, in, kh, kw]`.
pub fn weights_from_device(layer: &Layer, weights: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; weights.len()];
    for (to, from) in weight_positions(layer) {
        out[to] = weights[from];
    }
    out
}

/// Pairs of positions (in `[out, in, kh, kw]`, in `[kh, kw, in, out]`).
fn weight_positions(layer: &Layer) -> impl Iterator<Item = (usize, usize)> {
    let outs = layer.block.out_channels;
    let ins = layer.input.channels;
    let area = layer.block.kernel[0] * layer.block.kernel[1];
    (0..outs * ins * area).map(move |from| {
        let (o, c, k) = (from / (ins * area), from / area % ins, from % area);
        (from, (k * ins + c) * outs + o)
    })
}

/// Some of a tensor's `rows` rows.
pub fn rows<'a, T>(values: &'a [T], rows: usize, range: &Range<usize>) -> &'a [T] {
    let len = values.len() / rows;
    &values[range.start * len..range.end * len]
}

/// Each of `rows` rows over the root of the mean of its squares; a row that is all zero stays so.
pub fn normalise(values: &[f32], rows: usize) -> Vec<f32> {
    let len = values.len() / rows;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(len).zip(values.par_chunks(len)).for_each(|(out, values)| {
        let square = dot(values, values) / len as f64;
        if square > 0.0 || square.is_nan() {
            let scale = (1.0 / square.sqrt()) as f32;
            for (out, value) in out.iter_mut().zip(values) {
                *out = value * scale;
            }
        }
    });
    out
}

/// The first half of the rows, then the mean of each of them and the one after it.
pub fn pair_anew(values: &[f32], rows: usize) -> Vec<f32> {
    let (len, half) = (values.len() / rows, rows / 2);
    let mut out = values.to_vec();
    out.par_chunks_mut(len).enumerate().skip(half).for_each(|(row, out)| {
        let (own, other) = (row - half, (row - half + 1) % half);
        for ((out, own), other) in out.iter_mut().zip(&values[own * len..]).zip(&values[other * len..]) {
            *out = 0.5 * (own + other);
        }
    });
    out
}
