//! The work of libraries on a GPU, as plain loops: convolutions and matrix products, summed in double precision and a
//! fixed order.

use crate::op::{Convolution, Pass, Product};
use clapp_engine::matmul::dot;
use rayon::prelude::*;

/// One row of a window; the window's elements before and behind it are padding.
#[derive(Clone, Copy)]
struct Piece {
    /// Its beginning in the frame, in elements.
    frame: usize,
    /// Its beginning in the window `[kh, kw, channels]`, in elements.
    window: usize,
    len: usize,
}

/// The rows of the window at one output position that lie inside the frame.
fn pieces(shape: &Convolution, y: usize, x: usize) -> impl Iterator<Item = Piece> {
    let Convolution { input: [height, width], channels, kernel: [kernel_h, kernel_w], stride, padding, .. } = *shape;
    let left = x * stride[1];
    let skip = padding[1].saturating_sub(left).min(kernel_w);
    let end = (width + padding[1]).saturating_sub(left).min(kernel_w).max(skip);
    (0..kernel_h).filter_map(move |ky| {
        let line = (y * stride[0] + ky).checked_sub(padding[0]).filter(|line| *line < height && end > skip)?;
        let frame = (line * width + left + skip - padding[1]) * channels;
        Some(Piece { frame, window: (ky * kernel_w + skip) * channels, len: (end - skip) * channels })
    })
}

fn positions(shape: &Convolution) -> impl Iterator<Item = (usize, usize)> {
    let [height, width] = shape.output;
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

fn add_scaled(sum: &mut [f64], factor: f32, values: &[f32]) {
    let factor = f64::from(factor);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * f64::from(*value);
    }
}

/// One of a convolution's products, of operands as [`Pass`] names them.
pub fn convolve(pass: Pass, shape: &Convolution, a: &[f32], b: &[f32]) -> Vec<f32> {
    match pass {
        Pass::Forward => forward(shape, a, b),
        Pass::WeightGradient => weight_gradient(shape, a, b),
        Pass::InputGradient => input_gradient(shape, a, b),
    }
}

fn forward(shape: &Convolution, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let frame = shape.input_len() / shape.rows;
    let filter = shape.weight_len() / shape.out_channels;
    let mut out = vec![0.0; shape.output_len()];
    out.par_chunks_mut(shape.output_len() / shape.rows).zip(x.par_chunks(frame)).for_each(|(out, x)| {
        for (out, (row, column)) in out.chunks_exact_mut(shape.out_channels).zip(positions(shape)) {
            let pieces: Vec<Piece> = pieces(shape, row, column).collect();
            for (out, weight) in out.iter_mut().zip(weight.chunks_exact(filter)) {
                let term = |p: &Piece| dot(&x[p.frame..p.frame + p.len], &weight[p.window..p.window + p.len]);
                *out = pieces.iter().map(term).sum::<f64>() as f32;
            }
        }
    });
    out
}

fn weight_gradient(shape: &Convolution, x: &[f32], da: &[f32]) -> Vec<f32> {
    let frame = shape.input_len() / shape.rows;
    let filter = shape.weight_len() / shape.out_channels;
    let mut out = vec![0.0; shape.weight_len()];
    out.par_chunks_mut(filter).enumerate().for_each(|(channel, out)| {
        let mut sum = vec![0.0_f64; filter];
        let frames = x.chunks_exact(frame).zip(da.chunks_exact(shape.output_len() / shape.rows));
        for (x, da) in frames {
            let da = da.iter().skip(channel).step_by(shape.out_channels);
            for (da, (row, column)) in da.zip(positions(shape)) {
                for p in pieces(shape, row, column) {
                    add_scaled(&mut sum[p.window..p.window + p.len], *da, &x[p.frame..p.frame + p.len]);
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = sum as f32;
        }
    });
    out
}

fn input_gradient(shape: &Convolution, weight: &[f32], da: &[f32]) -> Vec<f32> {
    let frame = shape.input_len() / shape.rows;
    let filter = shape.weight_len() / shape.out_channels;
    let mut out = vec![0.0; shape.input_len()];
    out.par_chunks_mut(frame).zip(da.par_chunks(shape.output_len() / shape.rows)).for_each(|(out, da)| {
        let mut sum = vec![0.0_f64; frame];
        for (da, (row, column)) in da.chunks_exact(shape.out_channels).zip(positions(shape)) {
            for p in pieces(shape, row, column) {
                for (da, weight) in da.iter().zip(weight.chunks_exact(filter)) {
                    add_scaled(&mut sum[p.frame..p.frame + p.len], *da, &weight[p.window..p.window + p.len]);
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = sum as f32;
        }
    });
    out
}

/// A matrix product.
pub fn multiply(product: &Product, a: &[f32], b: &[f32]) -> Vec<f32> {
    let Product { m, n, k, a_transposed, b_transposed } = *product;
    let mut out = vec![0.0; m * n];
    out.par_chunks_mut(n.max(1)).enumerate().for_each(|(row, out)| {
        let a: Vec<f32> = (0..k).map(|term| a[if a_transposed { term * m + row } else { row * k + term }]).collect();
        if b_transposed {
            for (out, b) in out.iter_mut().zip(b.chunks_exact(k)) {
                *out = dot(&a, b) as f32;
            }
            return;
        }
        let mut sum = vec![0.0_f64; n];
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            add_scaled(&mut sum, *a, b);
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = sum as f32;
        }
    });
    out
}
