//! A network of the theory: layers one after another, linear or with a ReLU after each.

use super::layer::{Geometry, Layer};
use super::pool::Pool;
use nalgebra::DMatrix;

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// The layers, from the bottom up.
    pub layers: Vec<Layer>,
    /// `true`: a ReLU follows each layer, the last one included.
    pub relu: bool,
}

impl Net {
    /// A dense network without biases; `weights(layer, outputs, inputs)` makes its matrices.
    pub fn dense(
        inputs: usize,
        widths: &[usize],
        relu: bool,
        mut weights: impl FnMut(usize, usize, usize) -> DMatrix<f64>,
    ) -> Self {
        let below = std::iter::once(&inputs).chain(widths);
        let layer = |(at, (&inputs, &outputs))| Layer::new(Geometry::dense(inputs), weights(at, outputs, inputs));
        Self { layers: below.zip(widths).enumerate().map(layer).collect(), relu }
    }

    /// Values of every layer, `[values, samples]` each: the input first, the top last.
    ///
    /// # Panics
    /// If `x` does not fit the first layer.
    pub fn forward(&self, x: &DMatrix<f64>) -> Vec<DMatrix<f64>> {
        let mut values = Vec::with_capacity(self.layers.len() + 1);
        values.push(x.clone());
        for (layer, at) in self.layers.iter().zip(0..) {
            let mut z = layer.forward(&values[at]);
            if self.relu {
                z.apply(|value| *value = value.max(0.0));
            }
            values.push(z);
        }
        values
    }

    /// The gradient of a loss by a layer's sums (before the ReLU) from the gradient by its values.
    pub fn before_activation(&self, values: &DMatrix<f64>, error: &DMatrix<f64>) -> DMatrix<f64> {
        match self.relu {
            true => error.zip_map(values, |error, value| if value > 0.0 { error } else { 0.0 }),
            false => error.clone(),
        }
    }

    /// Gradients of a loss by the values of all layers (not of the input), from that by the top's: back-propagation.
    pub fn back_propagate(&self, values: &[DMatrix<f64>], top: DMatrix<f64>) -> Vec<DMatrix<f64>> {
        let mut errors = vec![top];
        for (layer, values) in self.layers.iter().zip(&values[1..]).skip(1).rev() {
            let above = &errors[errors.len() - 1];
            errors.push(layer.input_gradient(&self.before_activation(values, above)));
        }
        errors.reverse();
        errors
    }

    /// The gradient of a loss by the weights of layer `at` (from 0), from the gradient by its values.
    pub fn weight_gradient(&self, at: usize, values: &[DMatrix<f64>], error: &DMatrix<f64>) -> DMatrix<f64> {
        self.layers[at].gradient(&values[at], &self.before_activation(&values[at + 1], error)).0
    }

    /// `M_l`, the product of all weights above layer `at` (from 0), as a matrix on flattened maps (docs/paper.md 6.1);
    /// what ReLUs do is left out.
    pub fn map_above(&self, at: usize) -> DMatrix<f64> {
        let outputs = self.layers[at].outputs();
        let linear = |x: DMatrix<f64>, layer: &Layer| Layer { biases: None, ..layer.clone() }.forward(&x);
        self.layers[at + 1..].iter().fold(DMatrix::identity(outputs, outputs), linear)
    }

    /// Pooling of a layer's maps (from 0) by blocks of `kernel` pixels.
    pub fn pool(&self, at: usize, kernel: usize) -> Pool {
        let layer = &self.layers[at];
        let (height, width) = layer.geometry.output();
        Pool { channels: layer.channels(), height, width, kernel }
    }
}
