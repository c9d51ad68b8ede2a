//! The plasticity of SoftHebb on windows of maps, on the CPU. Work is cut by shape and added up in order, as everywhere on
//! that backend.

use super::{LearningRule, Rule, SoftHebb};
use crate::backend::cpu::{Cpu, RowScores, im2col, rows_at_a_time, sum_in_order};
use crate::backend::{Custom, CustomOf};
use crate::matmul::{Matrix, matmul};
use crate::model::NetworkSpec;
use clapp_core::plan::Layer;
use rayon::prelude::*;

/// The competition of a layer's channels for the windows of maps: from weights and maps to minus the change that is asked
/// for, as a mean over all positions and as the weights, and the mean of each input channel, `[in]`. As scores: of each row
/// the winners' mean share, and that of each other channel; as loss the mean distance of the weights from the unit sphere.
pub(super) struct Compete<'a> {
    pub settings: &'a SoftHebb,
    pub layer: &'a Layer,
    pub rows: usize,
}

impl Custom for Compete<'_> {
    fn rule(&self) -> &'static str {
        Rule::CHOICES.name
    }

    fn cpu(&self, inputs: &[&[f32]]) -> CustomOf<Cpu> {
        let Competition { gradient, centre, scores } =
            compete(self.settings, self.layer, inputs[0], inputs[1], self.rows);
        CustomOf::<Cpu> { tensors: vec![gradient, centre], pooled: None, scores: Some(scores) }
    }
}

/// The step that a competition asks for: from its gradient and centre, weights and biases to new weights and biases.
pub(super) struct Learn<'a> {
    pub settings: &'a SoftHebb,
    pub channels: usize,
    pub rate: f32,
}

impl Custom for Learn<'_> {
    fn rule(&self) -> &'static str {
        Rule::CHOICES.name
    }

    fn cpu(&self, inputs: &[&[f32]]) -> CustomOf<Cpu> {
        let (mut weight, mut bias) = (inputs[2].to_vec(), inputs[3].to_vec());
        learn(self.settings, self.rate, inputs[0], inputs[1], &mut weight, &mut bias, self.channels);
        CustomOf::<Cpu> { tensors: vec![weight, bias], pooled: None, scores: None }
    }
}

/// Results of a competition.
struct Competition {
    gradient: Vec<f32>,
    centre: Vec<f32>,
    scores: RowScores,
}

/// Pieces of a batch that are summed apart.
const PARTS: usize = 8;

/// Sums over the positions of some rows.
struct Part {
    /// `sum y_k x`, `[fan_in, out]`, of windows as they are.
    products: Vec<f32>,
    /// `sum y_k` and `sum y_k u_k`, `[out]`.
    shares: Vec<f64>,
    predictions: Vec<f64>,
    /// Mean share of the winners, and of each of the others, a row.
    winners: Vec<f32>,
    others: Vec<f32>,
}

/// Number of values of a competition in addition to the maps, in the largest layer, with `threads` threads: windows,
/// their responses, and sums of each part.
pub(super) fn competition_len(network: &NetworkSpec, rows: usize, threads: usize) -> usize {
    let of_layer = |layer: &Layer| {
        let rows_each = rows.div_ceil(PARTS).max(1);
        let positions = rows_at_a_time(layer, rows).min(rows_each) * layer.conv.area();
        let channels = layer.block.out_channels;
        rows.div_ceil(rows_each) * layer.weight_len() + threads * positions * (layer.fan_in() + channels)
    };
    network.layers().iter().map(of_layer).max().unwrap_or(0)
}

/// Computes the change of a layer's weights `[kh, kw, in, out]` for a batch of maps `x`, as a mean over all positions
/// and with the sign of a gradient: `-d_k`.
fn compete(
    settings: &SoftHebb,
    layer: &Layer,
    weight: &[f32],
    x: &[f32],
    rows: usize,
) -> Competition {
    let (fan_in, channels) = (layer.fan_in(), layer.block.out_channels);
    let centre = channel_means(x, rows, layer.input.channels);
    let bias = means_seen(weight, &centre, channels);
    let rows_each = rows.div_ceil(PARTS);
    let group = rows_at_a_time(layer, rows).min(rows_each);
    let parts: Vec<Part> = (0..rows.div_ceil(rows_each))
        .into_par_iter()
        .map(|part| {
            let end = rows.min((part + 1) * rows_each);
            let mut sums = Part::empty(fan_in * channels, channels);
            let (mut windows, mut u) = (Vec::new(), Vec::new());
            for first in (part * rows_each..end).step_by(group) {
                let count = group.min(end - first);
                im2col(layer, &x[first * layer.input.len()..(first + count) * layer.input.len()], &mut windows);
                let positions = count * layer.conv.area();
                u.resize(positions * channels, 0.0);
                matmul(&mut u, Matrix::new(&windows, positions, fan_in), Matrix::new(weight, fan_in, channels), false);
                sums.share(settings, &bias, layer.conv.area(), &mut u);
                let windows = Matrix::new(&windows, positions, fan_in).transposed();
                matmul(&mut sums.products, windows, Matrix::new(&u, positions, channels), first > part * rows_each);
            }
            sums
        })
        .collect();
    let winners = parts.iter().flat_map(|part| part.winners.clone()).collect();
    let others = parts.iter().flat_map(|part| part.others.clone()).collect();
    let shares = sum_in_order(parts.iter().map(|part| part.shares.clone()).collect());
    let predictions = sum_in_order(parts.iter().map(|part| part.predictions.clone()).collect());
    let mut gradient = sum_in_order(parts.into_iter().map(|part| part.products).collect());
    let mean = 1.0 / (rows * layer.conv.area()) as f64;
    for (tap, sums) in gradient.chunks_exact_mut(channels).enumerate() {
        let centre = f64::from(centre[tap % centre.len()]);
        for (k, (sum, weight)) in sums.iter_mut().zip(&weight[tap * channels..]).enumerate() {
            let change = f64::from(*sum) - shares[k] * centre - predictions[k] * f64::from(*weight);
            *sum = (-change * mean) as f32;
        }
    }
    let distances = norms(weight, channels).into_iter().map(|norm| (norm - 1.0).abs());
    let loss = distances.sum::<f64>() / channels as f64;
    Competition { gradient, centre, scores: RowScores { u_pos: winners, u_neg: others, loss, ..RowScores::default() } }
}

impl Part {
    fn empty(weights: usize, channels: usize) -> Self {
        Self {
            products: vec![0.0; weights],
            shares: vec![0.0; channels],
            predictions: vec![0.0; channels],
            winners: Vec::new(),
            others: Vec::new(),
        }
    }

    /// From what the windows of whole rows give `[position, channel]`, to each channel's signed share, in place.
    fn share(&mut self, settings: &SoftHebb, bias: &[f32], area: usize, u: &mut [f32]) {
        let channels = bias.len();
        let mut scores = vec![0.0_f32; channels];
        for row in u.chunks_exact_mut(area * channels) {
            let mut won = 0.0_f64;
            for u in row.chunks_exact_mut(channels) {
                scores.iter_mut().zip(&*u).zip(bias).for_each(|((score, u), bias)| *score = u - bias);
                let winner = first_largest(&scores);
                for (u, score) in u.iter_mut().zip(&scores) {
                    *u = ((score - scores[winner]) / settings.temperature).exp();
                }
                let total: f32 = u.iter().sum();
                for (k, (u, score)) in u.iter_mut().zip(&scores).enumerate() {
                    let share = *u / total;
                    *u = if k == winner { share } else { -share };
                    self.shares[k] += f64::from(*u);
                    self.predictions[k] += f64::from(*u) * f64::from(*score);
                }
                won += f64::from(u[winner]);
            }
            let won = won / area as f64;
            self.winners.push(won as f32);
            self.others.push(((1.0 - won) / (channels.max(2) - 1) as f64) as f32);
        }
    }
}

/// The step of weights by `rate ||w_k| - 1|^power d_k / max |d|`, with the gradient `-d`, and of biases towards what
/// takes the mean of the input away.
fn learn(
    settings: &SoftHebb,
    rate: f32,
    gradient: &[f32],
    centre: &[f32],
    weight: &mut [f32],
    bias: &mut [f32],
    channels: usize,
) {
    let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest > 0.0 || largest.is_nan() {
        let distance = |norm: f64| (norm - 1.0).abs().powf(f64::from(settings.power)) as f32;
        let rates: Vec<f32> = norms(weight, channels).into_iter().map(|norm| rate * distance(norm) / largest).collect();
        for (weight, gradient) in weight.chunks_exact_mut(channels).zip(gradient.chunks_exact(channels)) {
            for ((weight, gradient), rate) in weight.iter_mut().zip(gradient).zip(&rates) {
                *weight -= rate * gradient;
            }
        }
    }
    for (bias, mean) in bias.iter_mut().zip(means_seen(weight, centre, channels)) {
        *bias += NEWEST * (-mean - *bias);
    }
}

/// Weight of the newest batch in a bias, as in the running means of batch normalisation.
const NEWEST: f32 = 0.1;

/// The first of the largest.
fn first_largest(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (index, value)| if *value > values[best] { index } else { best })
}

/// Mean of each channel of maps `[row, position, channel]`.
fn channel_means(x: &[f32], rows: usize, channels: usize) -> Vec<f32> {
    let sums: Vec<Vec<f64>> = x
        .par_chunks(x.len() / rows)
        .map(|row| {
            let mut sums = vec![0.0_f64; channels];
            for pixel in row.chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            sums
        })
        .collect();
    let count = (x.len() / channels) as f64;
    sum_in_order(sums).into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Computes the response `[out]` of weights `[tap, out]` to windows in which each channel is at its mean.
fn means_seen(weight: &[f32], centre: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; channels];
    for (tap, weight) in weight.chunks_exact(channels).enumerate() {
        let centre = f64::from(centre[tap % centre.len()]);
        sums.iter_mut().zip(weight).for_each(|(sum, weight)| *sum += f64::from(*weight) * centre);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Length of each channel's weights.
fn norms(weight: &[f32], channels: usize) -> Vec<f64> {
    let mut squares = vec![0.0_f64; channels];
    for weight in weight.chunks_exact(channels) {
        squares.iter_mut().zip(weight).for_each(|(sum, weight)| *sum += f64::from(*weight) * f64::from(*weight));
    }
    squares.into_iter().map(f64::sqrt).collect()
}

#[cfg(test)]
mod tests;
