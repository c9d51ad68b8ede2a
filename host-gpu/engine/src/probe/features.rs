//! Pooled activity of all layers, kept apart by layer.

use crate::backend::Backend;
use crate::model::NetworkSpec;
use crate::step::{Model, forward, passed_on};
use clapp_core::plan::Layer;

/// Features of some images: for each layer a matrix `[images, D]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Length of a row and the matrix, for each layer.
    pub layers: Vec<(usize, Vec<f32>)>,
}

impl Features {
    /// No images.
    pub fn empty(pooled: &NetworkSpec) -> Self {
        Self { layers: pooled.layers().iter().map(|layer| (layer.pooled.len(), Vec::new())).collect() }
    }

    /// Adds the images of `more` behind these.
    pub fn append(&mut self, more: Self) {
        for ((_, values), (_, more)) in self.layers.iter_mut().zip(more.layers) {
            values.extend(more);
        }
    }

    /// Values of all layers.
    pub fn value_count(&self) -> usize {
        self.layers.iter().map(|(_, values)| values.len()).sum()
    }

    /// The features of one layer, `[images, D]`.
    pub fn layer(&self, layer: usize) -> &[f32] {
        &self.layers[layer].1
    }

    /// The chosen images' features of the chosen layers, a `[images, D]` matrix each.
    pub fn rows(&self, layers: &[usize], images: &[usize]) -> Vec<Vec<f32>> {
        let gather = |layer: &usize| {
            let (dimension, values) = &self.layers[*layer];
            let mut rows = Vec::with_capacity(dimension * images.len());
            for image in images {
                rows.extend_from_slice(&values[image * dimension..(image + 1) * dimension]);
            }
            rows
        };
        layers.iter().map(gather).collect()
    }
}

/// Features of `rows` frames `x` (in the backend's layout), pooled as `pooled` says.
pub fn features<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    pooled: &NetworkSpec,
    x: B::Tensor,
    rows: usize,
) -> Features {
    let layers = features_there(backend, model, pooled, x, rows);
    let of = |(layer, there): (&Layer, B::Tensor)| (layer.pooled.len(), backend.download(&there));
    Features { layers: pooled.layers().iter().zip(layers).map(of).collect() }
}

/// Same as [`features`], left on the backend: a matrix `[rows, D]` a layer.
pub fn features_there<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    pooled: &NetworkSpec,
    x: B::Tensor,
    rows: usize,
) -> Vec<B::Tensor> {
    let mut x = x;
    let mut layers = Vec::with_capacity(pooled.layers().len());
    for layer in pooled.layers() {
        let activity = forward(backend, model, layer, &x, rows);
        layers.push(backend.pool(layer, &activity));
        x = passed_on(backend, model, activity);
    }
    layers
}
