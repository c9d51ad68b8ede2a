//! The CPU backend: `f32`, all cores through rayon, matrix products through `gemm`.
//!
//! Maps are kept as `[row, y, x, channel]`, so that a window's channels are contiguous, and weights as `[kh, kw, in,
//! out]`. Only the shape decides how work is split, not the number of threads, and partial sums are added in a fixed
//! order. Results therefore have the same bits on any number of threads.

mod contrast;
mod conv;
mod info_nce;
mod layout;
mod matching;
mod pool;
mod projection;
mod winograd;

pub use conv::scratch_len;
pub(crate) use conv::{im2col, rows_at_a_time, sum_in_order};

use super::{
    ActivityOf, Backend, BlockGradient, Custom, CustomOf, FactorsOf, InfoNce, Matching, Mismatch, PairedLosses,
    Pairing, Parameter, RowsOf, Scores,
};
use crate::model::TensorRole;
use crate::optimizer::{self, Optimizer};
use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Elements of a tensor that one task steps at a time.
const STEP_CHUNK: usize = 1 << 15;

/// The CPU backend in a process of its own; it has no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

/// What processes that train together do with each other's values. All that implement it are the CPU backend; this is all
/// that they differ in.
pub trait Processes {
    /// The mean of a gradient over the processes, weighted by their images.
    fn average(&self, gradient: Vec<f32>) -> Vec<f32> {
        gradient
    }

    /// Rows `errors` and `c` of all processes, and how many: `errors` so weighted that their product is the averaged
    /// gradient.
    fn of_all<'a>(&self, errors: &'a [f32], c: &'a [f32], rows: usize) -> (Cow<'a, [f32]>, Cow<'a, [f32]>, usize) {
        (errors.into(), c.into(), rows)
    }

    /// Values that are a mean over this process's images, times its share of all images of the step.
    fn share(&self, _values: &mut [f32]) {}
}

impl Processes for Cpu {}

fn average_block(processes: &impl Processes, gradient: BlockGradient<Vec<f32>>) -> BlockGradient<Vec<f32>> {
    BlockGradient { weight: processes.average(gradient.weight), bias: processes.average(gradient.bias) }
}

/// Scores, third factors and losses of all rows under one context.
#[derive(Debug, Clone, Default)]
pub struct RowScores {
    /// Scores of the positives, `[rows]`.
    pub u_pos: Vec<f32>,
    /// Scores of the negatives, `[K][rows]` flattened.
    pub u_neg: Vec<f32>,
    /// Third factors of the positives, `d loss_j / d u+_j` (docs/paper.md 2.1), `[rows]`.
    pub g_pos: Vec<f64>,
    /// Third factors of the negatives, `[K][rows]` flattened.
    pub g_neg: Vec<f64>,
    /// Mean loss over the rows.
    pub loss: f64,
}

/// Adds the moments that the optimiser keeps to a parameter without them, at zero.
fn ensure_state(parameter: &mut Parameter<Vec<f32>>, optimizer: &Optimizer) {
    let len = parameter.value.len();
    if optimizer.has_first() && parameter.first.len() != len {
        parameter.first = vec![0.0; len];
    }
    if optimizer.has_second() && parameter.second.len() != len {
        parameter.second = vec![0.0; len];
    }
}

/// Splits a state tensor like its parameter. Returns empty slices if the optimiser does not keep it.
fn state_chunks(state: &mut [f32], chunk: usize, count: usize) -> Vec<&mut [f32]> {
    if state.is_empty() {
        return (0..count).map(|_| Default::default()).collect();
    }
    state.chunks_mut(chunk).collect()
}

/// One optimiser step of one tensor.
fn update(parameter: &mut Parameter<Vec<f32>>, gradient: &[f32], optimizer: &Optimizer, step: u64) {
    ensure_state(parameter, optimizer);
    let Parameter { value, first, second } = parameter;
    if !optimizer.is_elementwise() || value.len() <= STEP_CHUNK {
        return optimizer::apply(optimizer, step, value, first, second, gradient);
    }
    let count = value.len().div_ceil(STEP_CHUNK);
    let first = state_chunks(first, STEP_CHUNK, count);
    let second = state_chunks(second, STEP_CHUNK, count);
    (value.par_chunks_mut(STEP_CHUNK), gradient.par_chunks(STEP_CHUNK), first, second)
        .into_par_iter()
        .for_each(|(value, gradient, first, second)| optimizer::apply(optimizer, step, value, first, second, gradient));
}

impl<P: Processes> Backend for P {
    type Tensor = Vec<f32>;
    type PooledGradient = Vec<f64>;
    type Argmax = Vec<u8>;
    type Scores = RowScores;
    type Distance = Mismatch;

    fn read_scores(&self, pairing: Pairing<'_>, role: TensorRole, scores: &RowScores) -> Scores {
        let RowScores { u_pos, u_neg, loss, .. } = scores;
        Scores::new(pairing, role, u_pos.clone(), u_neg.clone(), *loss)
    }

    fn read_distance(&self, distance: &Mismatch) -> Mismatch {
        *distance
    }

    fn upload(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn download(&self, tensor: &Vec<f32>) -> Vec<f32> {
        tensor.clone()
    }

    fn upload_frames(&self, shape: Shape, values: &[f32]) -> Vec<f32> {
        layout::transpose_each(values, shape.channels, shape.area())
    }

    fn download_frames(&self, shape: Shape, maps: &Vec<f32>) -> Vec<f32> {
        layout::transpose_each(maps, shape.area(), shape.channels)
    }

    fn upload_weights(&self, layer: &Layer, values: &[f32]) -> Vec<f32> {
        layout::weights_to_device(layer, values)
    }

    fn download_weights(&self, layer: &Layer, weights: &Vec<f32>) -> Vec<f32> {
        layout::weights_from_device(layer, weights)
    }

    fn forward(
        &self,
        layer: &Layer,
        weight: &Vec<f32>,
        bias: &Vec<f32>,
        x: &Vec<f32>,
        rows: usize,
    ) -> ActivityOf<Self> {
        conv::forward(layer, weight, bias, x, rows)
    }

    fn pool(&self, layer: &Layer, activity: &ActivityOf<Self>) -> Vec<f32> {
        pool::pool(layer, &activity.z, activity.rows)
    }

    fn contrast(
        &self,
        rule: &Rule,
        pairing: Pairing<'_>,
        p: &Vec<f32>,
        c: &Vec<f32>,
        projection: Option<&Vec<f32>>,
        rows: usize,
    ) -> FactorsOf<Self> {
        contrast::contrast(rule, pairing, p, c, projection.map(Vec::as_slice), rows)
    }

    fn project(&self, matrix: &Vec<f32>, c: &Vec<f32>, rows: usize) -> Vec<f32> {
        contrast::predictions(matrix, c, rows)
    }

    fn pooled_gradient(&self, losses: &PairedLosses<'_, Self>, rows: usize) -> Vec<f64> {
        contrast::pooled_gradient(losses, rows)
    }

    fn normalise(&self, z: &Vec<f32>, rows: usize) -> Vec<f32> {
        layout::normalise(z, rows)
    }

    fn pair_anew(&self, z: &Vec<f32>, rows: usize) -> Vec<f32> {
        layout::pair_anew(z, rows)
    }

    fn projection_errors(
        &self,
        pairing: Pairing<'_>,
        p: &Vec<f32>,
        factors: &FactorsOf<Self>,
        rows: usize,
    ) -> Vec<f32> {
        projection::errors(pairing, p, factors, rows)
    }

    fn projection_gradient(&self, errors: &Vec<f32>, c: &Vec<f32>, rows: usize) -> Vec<f32> {
        let (errors, c, rows) = self.of_all(errors, c, rows);
        projection::gradient(&errors, &c, rows)
    }

    fn update_projection(
        &self,
        errors: &Vec<f32>,
        c: &Vec<f32>,
        rows: usize,
        projection: &mut Parameter<Vec<f32>>,
        optimizer: &Optimizer,
        step: u64,
    ) {
        let (errors, c, rows) = self.of_all(errors, c, rows);
        if !optimizer.is_elementwise() {
            return update(projection, &projection::gradient(&errors, &c, rows), optimizer, step);
        }
        ensure_state(projection, optimizer);
        projection::update(&errors, &c, rows, projection, optimizer, step);
    }

    fn info_nce(
        &self,
        p: &Vec<f32>,
        head: &Vec<f32>,
        temperature: f32,
        rows: usize,
    ) -> InfoNce<Vec<f32>, Vec<f64>, RowScores> {
        let own = info_nce::info_nce(p, head, temperature, rows);
        InfoNce { head: self.average(own.head), ..own }
    }

    fn custom(&self, operation: &dyn Custom, inputs: &[&Vec<f32>]) -> Option<CustomOf<Self>> {
        let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.as_slice()).collect();
        Some(operation.cpu(&inputs))
    }

    fn over_processes(&self, gradient: Vec<f32>) -> Vec<f32> {
        self.average(gradient)
    }

    /// `F` sums squares of errors, and an error is a mean over the batch: in the batch of all processes its own errors are
    /// smaller by its share, and so is their gradient (once more than by the share that all gradients have).
    fn matching(
        &self,
        rule: &Rule,
        layer: &Layer,
        p: &Vec<f32>,
        losses: &PairedLosses<'_, Self>,
        pooled: &Vec<f64>,
        ideal: &Vec<f32>,
        rows: usize,
    ) -> Matching<Vec<f32>, Mismatch> {
        let mut own = matching::matching(rule, layer, p, losses, pooled, ideal, rows);
        own.errors.iter_mut().for_each(|errors| self.share(errors));
        own
    }

    fn spread(&self, layer: &Layer, pooled: &Vec<f64>, rows: usize) -> Vec<f32> {
        let spreader = pool::Spreader::new(layer);
        let mut dz = vec![0.0; rows * layer.output.len()];
        dz.par_chunks_mut(layer.output.len())
            .zip(pooled.par_chunks(layer.pooled.len()))
            .for_each(|(dz, dp)| spreader.spread(dp, None, dz));
        dz
    }

    fn local_gradient(
        &self,
        layer: &Layer,
        x: &Vec<f32>,
        activity: &ActivityOf<Self>,
        pooled: &Vec<f64>,
    ) -> BlockGradient<Vec<f32>> {
        let spreader = pool::Spreader::new(layer);
        average_block(self, conv::gradient(layer, x, activity, conv::Error::Pooled { spreader: &spreader, pooled }))
    }

    fn block_gradient(
        &self,
        layer: &Layer,
        x: &Vec<f32>,
        activity: &ActivityOf<Self>,
        dz: &Vec<f32>,
    ) -> BlockGradient<Vec<f32>> {
        average_block(self, conv::gradient(layer, x, activity, conv::Error::Maps(dz)))
    }

    fn input_gradient(&self, layer: &Layer, weight: &Vec<f32>, activity: &ActivityOf<Self>, dz: &Vec<f32>) -> Vec<f32> {
        conv::input_gradient(layer, weight, activity, dz)
    }

    fn gather_rows(&self, pieces: &[RowsOf<'_, Vec<f32>>]) -> Vec<f32> {
        let piece = |(tensor, rows, range): &RowsOf<'_, Vec<f32>>| layout::rows(tensor, *rows, range).to_vec();
        pieces.iter().flat_map(piece).collect()
    }

    fn gather_pooled(&self, pooled: &Vec<f64>, rows: usize, ranges: &[Range<usize>]) -> Vec<f64> {
        ranges.iter().flat_map(|range| layout::rows(pooled, rows, range).to_vec()).collect()
    }

    fn scaled_sum(&self, terms: &[(f32, &Vec<f32>)]) -> Vec<f32> {
        let mut sum = vec![0.0; terms.first().map_or(0, |(_, tensor)| tensor.len())];
        sum.par_chunks_mut(STEP_CHUNK).enumerate().for_each(|(chunk, sum)| {
            for (factor, tensor) in terms {
                let values = &tensor[chunk * STEP_CHUNK..][..sum.len()];
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
            }
        });
        sum
    }

    fn square_sum(&self, tensor: &Vec<f32>) -> f64 {
        let squares = |chunk: &[f32]| chunk.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        let chunks: Vec<f64> = tensor.par_chunks(STEP_CHUNK).map(squares).collect();
        chunks.iter().sum()
    }

    fn add(&self, sum: &mut Vec<f32>, more: &Vec<f32>) {
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    fn update(&self, tensors: &mut [(&mut Parameter<Vec<f32>>, &Vec<f32>)], optimizer: &Optimizer, step: u64) {
        for (parameter, gradient) in tensors {
            update(parameter, gradient, optimizer, step);
        }
    }
}
