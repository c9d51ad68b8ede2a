//! A backend that averages its gradients over all ranks.
//!
//! The ranks average the gradient of a block's weights and biases tensor by tensor, as soon as it is computed. They
//! never send a projection's gradient. It is `Q^T C` with a row for each row of the batch (docs/paper.md 2.2), so the
//! ranks exchange `Q` and `C`, and each computes the product over all rows in its fused update. At width 1.0 with 64
//! rows this sends 4 MB, not 268 MB, for the largest projection. The cost: a rank's product grows with the number of
//! ranks. For a few ranks it stays below the cost of the update itself (memory traffic).

use super::Ranks;
use crate::backend::{
    ActivityOf, Backend, BlockGradient, Custom, CustomOf, FactorsOf, InfoNce, Matching, Mismatch, PairedLosses,
    Pairing, Parameter, RowsOf, Scores,
};
use crate::model::TensorRole;
use crate::optimizer::Optimizer;
use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use std::ops::Range;

/// `backend`, with the gradients of one step averaged over `ranks`. Rank `r` has `counts[r]` images in this step. With
/// one rank, it changes nothing.
#[derive(Debug)]
pub struct Shared<'a, B> {
    /// The backend that computes.
    pub backend: &'a B,
    /// The processes.
    pub ranks: &'a Ranks,
    /// Images of each rank that count in this step.
    pub counts: &'a [usize],
}

impl<B: Backend> Shared<'_, B> {
    fn average(&self, gradient: B::Tensor) -> B::Tensor {
        if self.ranks.size() == 1 {
            return gradient;
        }
        let mut values = self.backend.download(&gradient);
        self.ranks.average(&mut values, self.counts);
        self.backend.upload(&values)
    }

    fn average_block(&self, gradient: BlockGradient<B::Tensor>) -> BlockGradient<B::Tensor> {
        BlockGradient { weight: self.average(gradient.weight), bias: self.average(gradient.bias) }
    }

    /// `Q` and `C` of all ranks with the number of their rows: `Q` so weighted that `Q^T C` is the averaged gradient.
    fn gather(&self, errors: &B::Tensor, c: &B::Tensor, rows: usize) -> (B::Tensor, B::Tensor, usize) {
        // Two views an image.
        let counts: Vec<usize> = self.counts.iter().map(|count| 2 * count).collect();
        let all = |own: &[f32]| self.backend.upload(&self.ranks.gather(own, own.len() / rows, &counts));
        (all(&self.weighted(errors)), all(&self.backend.download(c)), counts.iter().sum())
    }

    /// Values that are a mean over this rank's images, times its share of all images of the step.
    fn weighted(&self, values: &B::Tensor) -> Vec<f32> {
        let total: usize = self.counts.iter().sum();
        let weight = self.counts[self.ranks.rank()] as f32 / total as f32;
        let mut values = self.backend.download(values);
        values.iter_mut().for_each(|value| *value *= weight);
        values
    }
}

impl<B: Backend> Backend for Shared<'_, B> {
    type Tensor = B::Tensor;
    type PooledGradient = B::PooledGradient;
    type Argmax = B::Argmax;
    type Scores = B::Scores;
    type Distance = B::Distance;

    fn projection_gradient(&self, errors: &B::Tensor, c: &B::Tensor, rows: usize) -> B::Tensor {
        if self.ranks.size() == 1 {
            return self.backend.projection_gradient(errors, c, rows);
        }
        let (errors, c, rows) = self.gather(errors, c, rows);
        self.backend.projection_gradient(&errors, &c, rows)
    }

    fn update_projection(
        &self,
        errors: &B::Tensor,
        c: &B::Tensor,
        rows: usize,
        projection: &mut Parameter<B::Tensor>,
        optimizer: &Optimizer,
        step: u64,
    ) {
        if self.ranks.size() == 1 {
            return self.backend.update_projection(errors, c, rows, projection, optimizer, step);
        }
        let (errors, c, rows) = self.gather(errors, c, rows);
        self.backend.update_projection(&errors, &c, rows, projection, optimizer, step);
    }

    fn local_gradient(
        &self,
        layer: &Layer,
        x: &B::Tensor,
        activity: &ActivityOf<B>,
        pooled: &B::PooledGradient,
    ) -> BlockGradient<B::Tensor> {
        self.average_block(self.backend.local_gradient(layer, x, activity, pooled))
    }

    fn block_gradient(
        &self,
        layer: &Layer,
        x: &B::Tensor,
        activity: &ActivityOf<B>,
        dz: &B::Tensor,
    ) -> BlockGradient<B::Tensor> {
        self.average_block(self.backend.block_gradient(layer, x, activity, dz))
    }

    /// Each rank contrasts its own images; the head learns from all.
    fn info_nce(
        &self,
        p: &B::Tensor,
        head: &B::Tensor,
        temperature: f32,
        rows: usize,
    ) -> InfoNce<B::Tensor, B::PooledGradient, B::Scores> {
        let own = self.backend.info_nce(p, head, temperature, rows);
        InfoNce { head: self.average(own.head), ..own }
    }

    /// `F` sums squares of errors, and an error is a mean over the batch: in the batch of all ranks a rank's errors are
    /// smaller by its share, and so is their gradient (once more than by the share that [`Shared`] gives all gradients).
    fn matching(
        &self,
        rule: &Rule,
        layer: &Layer,
        p: &B::Tensor,
        losses: &PairedLosses<'_, B>,
        pooled: &B::PooledGradient,
        ideal: &B::Tensor,
        rows: usize,
    ) -> Matching<B::Tensor, B::Distance> {
        let own = self.backend.matching(rule, layer, p, losses, pooled, ideal, rows);
        if self.ranks.size() == 1 {
            return own;
        }
        let errors = own.errors.iter().map(|errors| self.backend.upload(&self.weighted(errors))).collect();
        Matching { errors, ..own }
    }

    fn over_processes(&self, gradient: B::Tensor) -> B::Tensor {
        self.average(gradient)
    }

    // All other operations are local to a rank.

    fn custom(&self, operation: &dyn Custom, inputs: &[&B::Tensor]) -> Option<CustomOf<Self>> {
        let CustomOf::<B> { tensors, pooled, scores } = self.backend.custom(operation, inputs)?;
        Some(CustomOf::<Self> { tensors, pooled, scores })
    }

    fn upload(&self, values: &[f32]) -> B::Tensor {
        self.backend.upload(values)
    }

    fn download(&self, tensor: &B::Tensor) -> Vec<f32> {
        self.backend.download(tensor)
    }

    fn upload_frames(&self, shape: Shape, values: &[f32]) -> B::Tensor {
        self.backend.upload_frames(shape, values)
    }

    fn download_frames(&self, shape: Shape, maps: &B::Tensor) -> Vec<f32> {
        self.backend.download_frames(shape, maps)
    }

    fn upload_weights(&self, layer: &Layer, values: &[f32]) -> B::Tensor {
        self.backend.upload_weights(layer, values)
    }

    fn download_weights(&self, layer: &Layer, weights: &B::Tensor) -> Vec<f32> {
        self.backend.download_weights(layer, weights)
    }

    fn forward(
        &self,
        layer: &Layer,
        weight: &B::Tensor,
        bias: &B::Tensor,
        x: &B::Tensor,
        rows: usize,
    ) -> ActivityOf<B> {
        self.backend.forward(layer, weight, bias, x, rows)
    }

    fn pool(&self, layer: &Layer, activity: &ActivityOf<B>) -> B::Tensor {
        self.backend.pool(layer, activity)
    }

    fn contrast(
        &self,
        rule: &Rule,
        pairing: Pairing<'_>,
        p: &B::Tensor,
        c: &B::Tensor,
        projection: Option<&B::Tensor>,
        rows: usize,
    ) -> FactorsOf<B> {
        self.backend.contrast(rule, pairing, p, c, projection, rows)
    }

    fn project(&self, matrix: &B::Tensor, c: &B::Tensor, rows: usize) -> B::Tensor {
        self.backend.project(matrix, c, rows)
    }

    fn pooled_gradient(&self, losses: &PairedLosses<'_, B>, rows: usize) -> B::PooledGradient {
        self.backend.pooled_gradient(losses, rows)
    }

    fn normalise(&self, z: &B::Tensor, rows: usize) -> B::Tensor {
        self.backend.normalise(z, rows)
    }

    fn pair_anew(&self, z: &B::Tensor, rows: usize) -> B::Tensor {
        self.backend.pair_anew(z, rows)
    }

    fn projection_errors(&self, pairing: Pairing<'_>, p: &B::Tensor, factors: &FactorsOf<B>, rows: usize) -> B::Tensor {
        self.backend.projection_errors(pairing, p, factors, rows)
    }

    fn spread(&self, layer: &Layer, pooled: &B::PooledGradient, rows: usize) -> B::Tensor {
        self.backend.spread(layer, pooled, rows)
    }

    fn input_gradient(&self, layer: &Layer, weight: &B::Tensor, activity: &ActivityOf<B>, dz: &B::Tensor) -> B::Tensor {
        self.backend.input_gradient(layer, weight, activity, dz)
    }

    fn gather_rows(&self, pieces: &[RowsOf<'_, B::Tensor>]) -> B::Tensor {
        self.backend.gather_rows(pieces)
    }

    fn gather_pooled(&self, pooled: &B::PooledGradient, rows: usize, ranges: &[Range<usize>]) -> B::PooledGradient {
        self.backend.gather_pooled(pooled, rows, ranges)
    }

    fn scaled_sum(&self, terms: &[(f32, &B::Tensor)]) -> B::Tensor {
        self.backend.scaled_sum(terms)
    }

    fn square_sum(&self, tensor: &B::Tensor) -> f64 {
        self.backend.square_sum(tensor)
    }

    fn add(&self, sum: &mut B::Tensor, more: &B::Tensor) {
        self.backend.add(sum, more);
    }

    fn update(&self, tensors: &mut [(&mut Parameter<B::Tensor>, &B::Tensor)], optimizer: &Optimizer, step: u64) {
        self.backend.update(tensors, optimizer, step);
    }

    fn read_scores(&self, pairing: Pairing<'_>, role: TensorRole, scores: &B::Scores) -> Scores {
        self.backend.read_scores(pairing, role, scores)
    }

    fn read_distance(&self, distance: &B::Distance) -> Mismatch {
        self.backend.read_distance(distance)
    }

    fn check(&self) -> Result<(), Error> {
        self.backend.check()
    }
}
