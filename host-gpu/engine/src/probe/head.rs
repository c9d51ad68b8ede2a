//! One linear layer with softmax cross-entropy and Adam, on the features of some layers.

use crate::matmul::{Matrix, matmul};
use crate::optimizer::{Optimizer, apply};
use clapp_data::rng::{Purpose, stream};

/// Weights `[classes, D]` of one layer's features, with Adam's moments.
#[derive(Debug, Clone)]
struct Part {
    dimension: usize,
    weight: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A linear classifier over the concatenated features of some layers.
#[derive(Debug, Clone)]
pub struct Head {
    layers: Vec<usize>,
    parts: Vec<Part>,
    bias: Part,
    classes: usize,
    step: u64,
}

impl Part {
    fn new(dimension: usize, weight: Vec<f32>) -> Self {
        let zeros = vec![0.0; weight.len()];
        Self { dimension, weight, first: zeros.clone(), second: zeros }
    }

    fn update(&mut self, gradient: &[f32], lr: f32, step: u64) {
        apply(&Optimizer::adamw(lr), step, &mut self.weight, &mut self.first, &mut self.second, gradient);
    }
}

impl Head {
    /// A head on `layers` (indices into `dimensions`), uniform in `1 / sqrt(features)`; `index` tells heads apart.
    pub fn new(dimensions: &[usize], layers: Vec<usize>, classes: usize, seed: u64, index: u64) -> Self {
        let total: usize = layers.iter().map(|layer| dimensions[*layer]).sum();
        let bound = 1.0 / (total as f32).sqrt();
        let mut rng = stream(seed, Purpose::Init, u64::MAX, index);
        let mut draw = |count: usize| (0..count).map(|_| rng.uniform(-bound, bound)).collect::<Vec<f32>>();
        let bias = Part::new(1, draw(classes));
        let parts = layers.iter().map(|layer| Part::new(dimensions[*layer], draw(dimensions[*layer] * classes)));
        let parts = parts.collect();
        Self { layers, parts, bias, classes, step: 0 }
    }

    /// A head with given weights `[classes, D]` (one matrix a layer) and biases.
    pub fn with_weights(layers: Vec<usize>, weights: Vec<Vec<f32>>, bias: Vec<f32>) -> Self {
        let classes = bias.len();
        let part = |weight: Vec<f32>| Part::new(weight.len() / classes, weight);
        Self { layers, parts: weights.into_iter().map(part).collect(), bias: Part::new(1, bias), classes, step: 0 }
    }

    /// The layers whose features it reads.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// Weights `[classes, D]` of the part with that index.
    pub fn weight(&self, part: usize) -> &[f32] {
        &self.parts[part].weight
    }

    /// Biases `[classes]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias.weight
    }

    /// Writes all weights and biases into `values`, in place of what that held.
    pub fn store(&self, values: &mut Vec<f32>) {
        values.clear();
        self.parts.iter().chain([&self.bias]).for_each(|part| values.extend_from_slice(&part.weight));
    }

    /// Takes the weights and biases that [`Head::store`] wrote for a head of the same size.
    pub fn restore(&mut self, values: &[f32]) {
        let mut rest = values;
        for part in self.parts.iter_mut().chain([&mut self.bias]) {
            let (own, others) = rest.split_at(part.weight.len().min(rest.len()));
            part.weight.clear();
            part.weight.extend_from_slice(own);
            rest = others;
        }
    }

    /// Scores `[rows, classes]`, before a softmax, of `rows` images whose features are a matrix `[rows, D]` a layer.
    pub fn logits(&self, features: &[Vec<f32>], rows: usize) -> Vec<f32> {
        let mut logits = self.bias.weight.repeat(rows);
        for (part, features) in self.parts.iter().zip(features) {
            let weight = Matrix::new(&part.weight, self.classes, part.dimension).transposed();
            matmul(&mut logits, Matrix::new(features, rows, part.dimension), weight, true);
        }
        logits
    }

    /// The likeliest class of each image; the first of equals.
    pub fn predict(&self, features: &[Vec<f32>], rows: usize) -> Vec<usize> {
        let likeliest = |logits: &[f32]| {
            let larger = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
            (1..logits.len()).fold(0, larger)
        };
        self.logits(features, rows).chunks_exact(self.classes).map(likeliest).collect()
    }

    /// One step of Adam on the mean cross-entropy of a batch. Returns the loss before it.
    pub fn learn(&mut self, features: &[Vec<f32>], labels: &[usize], lr: f32) -> f32 {
        let rows = labels.len();
        let mut errors = self.logits(features, rows);
        let mut loss = 0.0_f64;
        for (errors, label) in errors.chunks_exact_mut(self.classes).zip(labels) {
            let most = errors.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = errors.iter().map(|logit| (logit - most).exp()).sum();
            loss += f64::from(sum.ln() + most - errors[*label]);
            for (class, error) in errors.iter_mut().enumerate() {
                let target = if class == *label { 1.0 } else { 0.0 };
                *error = ((*error - most).exp() / sum - target) / rows as f32;
            }
        }
        self.step += 1;
        let transposed = Matrix::new(&errors, rows, self.classes).transposed();
        for (part, features) in self.parts.iter_mut().zip(features) {
            let mut gradient = vec![0.0; part.weight.len()];
            matmul(&mut gradient, transposed, Matrix::new(features, rows, part.dimension), false);
            part.update(&gradient, lr, self.step);
        }
        let mut gradient = vec![0.0; self.classes];
        for errors in errors.chunks_exact(self.classes) {
            for (sum, error) in gradient.iter_mut().zip(errors) {
                *sum += error;
            }
        }
        self.bias.update(&gradient, lr, self.step);
        (loss / rows as f64) as f32
    }
}
