//! The operations of [`clapp_engine::backend::Backend`] as operations of a device.

mod block;
mod contrast;
mod global;
mod optimizer;
mod probe;

pub(super) use optimizer::betas;

use super::op::Arg;
use clapp_core::plan::Layer;

/// Little-endian bytes of values.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// Values of bytes.
pub fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

/// Values of bytes, in double precision.
pub fn doubles_of(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|bytes| f64::from_ne_bytes(*bytes)).collect()
}

/// An `int`.
pub fn int<P>(value: usize) -> Arg<P> {
    // A size that does not fit would not fit the device's memory.
    Arg::I32(i32::try_from(value).unwrap_or(i32::MAX))
}

/// A count of elements.
pub fn count<P>(value: usize) -> Arg<P> {
    Arg::U64(value as u64)
}

/// `[out, in, kh, kw]` to `[out, kh, kw, in]`.
pub fn weights_to_device(layer: &Layer, values: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (from, to) in weight_positions(layer) {
        out[to] = values[from];
    }
    out
}

/// `[out, kh, kw, in]` to `[out, in, kh, kw]`.
pub fn weights_from_device(layer: &Layer, weights: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; weights.len()];
    for (to, from) in weight_positions(layer) {
        out[to] = weights[from];
    }
    out
}

/// Pairs of positions (in `[out, in, kh, kw]`, in `[out, kh, kw, in]`).
fn weight_positions(layer: &Layer) -> impl Iterator<Item = (usize, usize)> {
    let ins = layer.input.channels;
    let area = layer.block.kernel[0] * layer.block.kernel[1];
    (0..layer.block.out_channels * ins * area).map(move |from| {
        let (o, c, k) = (from / (ins * area), from / area % ins, from % area);
        (from, (o * area + k) * ins + c)
    })
}
