//! The probe's heads on a device: features, weights and moments stay there.

use super::{Features, Head};
use crate::backend::{Backend, Parameter};
use crate::optimizer::Optimizer;

/// Test images that are scored at a time.
const ROWS: usize = 512;

/// Heads that learn on a device, with their training and test features.
#[derive(Debug)]
pub struct OnDevice<T> {
    heads: DeviceHeads<T>,
    test: DeviceFeatures<T>,
    train: Option<DeviceFeatures<T>>,
}

impl<T> OnDevice<T> {
    /// Copies the features to the device. `None` if the backend leaves heads to the host, or has no room.
    pub fn new<B: Backend<Tensor = T>>(
        backend: &B,
        heads: &[Head],
        test: (&Features, usize),
        train: Option<(&Features, usize)>,
    ) -> Option<Self> {
        let values = test.0.value_count() + train.map_or(0, |(features, _)| features.value_count());
        backend.teaches_heads(values).then(|| Self::anyway(backend, heads, test, train))
    }

    /// Same as [`OnDevice::new`], on any backend.
    pub fn anyway<B: Backend<Tensor = T>>(
        backend: &B,
        heads: &[Head],
        test: (&Features, usize),
        train: Option<(&Features, usize)>,
    ) -> Self {
        let upload = |(features, images)| DeviceFeatures::upload(backend, features, images);
        Self { heads: DeviceHeads::upload(backend, heads), test: upload(test), train: train.map(upload) }
    }

    /// A step on the chosen images of those to learn from.
    pub fn learn<B: Backend<Tensor = T>>(&mut self, backend: &B, images: &[usize], labels: &[usize], lr: f32) {
        if let Some(train) = &self.train {
            self.heads.learn(backend, &train.rows(backend, images), labels, lr);
        }
    }

    /// A step on features that were computed for it, a matrix `[rows, D]` a layer.
    pub fn learn_from<B: Backend<Tensor = T>>(&mut self, backend: &B, features: &[T], labels: &[usize], lr: f32) {
        self.heads.learn(backend, features, labels, lr);
    }

    /// Returns the class that each head predicts for each test image. Updates `heads` from the device.
    pub fn predictions<B: Backend<Tensor = T>>(&self, backend: &B, heads: &mut Vec<Head>) -> Vec<Vec<usize>> {
        *heads = self.heads.download(backend);
        self.heads.predictions(backend, &self.test)
    }
}

/// The features of some images: for each layer a matrix `[images, D]`.
#[derive(Debug)]
struct DeviceFeatures<T> {
    layers: Vec<(T, usize)>,
    images: usize,
}

impl<T> DeviceFeatures<T> {
    /// Copies the features of `images` images.
    fn upload<B: Backend<Tensor = T>>(backend: &B, features: &Features, images: usize) -> Self {
        let of = |(dimension, values): &(usize, Vec<f32>)| (backend.upload(values), *dimension);
        Self { layers: features.layers.iter().map(of).collect(), images }
    }

    /// The chosen images, in that order; a matrix `[images, D]` a layer.
    fn rows<B: Backend<Tensor = T>>(&self, backend: &B, images: &[usize]) -> Vec<T> {
        let all: Vec<(&T, usize)> = self.layers.iter().map(|(matrix, dimension)| (matrix, *dimension)).collect();
        backend.rows_at(&all, images)
    }
}

/// One head's parameters.
#[derive(Debug)]
struct Held<T> {
    layers: Vec<usize>,
    weights: Vec<Parameter<T>>,
    bias: Parameter<T>,
}

/// All heads.
#[derive(Debug)]
struct DeviceHeads<T> {
    heads: Vec<Held<T>>,
    classes: usize,
    step: u64,
}

impl<T> DeviceHeads<T> {
    /// Copies heads that have not learnt yet.
    fn upload<B: Backend<Tensor = T>>(backend: &B, heads: &[Head]) -> Self {
        let parameter = |values: &[f32]| Parameter {
            value: backend.upload(values),
            first: backend.upload(&vec![0.0; values.len()]),
            second: backend.upload(&vec![0.0; values.len()]),
        };
        let held = |head: &Head| Held {
            layers: head.layers().to_vec(),
            weights: (0..head.layers().len()).map(|part| parameter(head.weight(part))).collect(),
            bias: parameter(head.bias()),
        };
        let classes = heads.first().map_or(0, |head| head.bias().len());
        Self { heads: heads.iter().map(held).collect(), classes, step: 0 }
    }

    /// One step of Adam on the mean cross-entropy of a batch, as [`Head::learn`]; `features` are a matrix `[rows, D]` a
    /// layer.
    fn learn<B: Backend<Tensor = T>>(&mut self, backend: &B, features: &[T], labels: &[usize], lr: f32) {
        self.step += 1;
        let rows = labels.len();
        let mut gradients = Vec::new();
        for head in &self.heads {
            let logits = head.logits(backend, features, rows);
            let [errors, bias] = backend.softmax(&logits, &head.bias.value, labels);
            gradients
                .extend(head.layers.iter().map(|layer| backend.projection_gradient(&errors, &features[*layer], rows)));
            gradients.push(bias);
        }
        let parameters = self.heads.iter_mut().flat_map(|head| head.weights.iter_mut().chain([&mut head.bias]));
        let mut all: Vec<(&mut Parameter<T>, &T)> = parameters.zip(&gradients).collect();
        backend.update(&mut all, &Optimizer::adamw(lr), self.step);
    }

    /// The class that each head gives each image: the likeliest, the first of equals.
    fn predictions<B: Backend<Tensor = T>>(&self, backend: &B, features: &DeviceFeatures<T>) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::with_capacity(features.images); self.heads.len()];
        let biases: Vec<Vec<f32>> = self.heads.iter().map(|head| backend.download(&head.bias.value)).collect();
        for first in (0..features.images).step_by(ROWS) {
            let range = first..features.images.min(first + ROWS);
            let rows = range.len();
            let of = |(matrix, _): &(T, usize)| backend.gather_rows(&[(matrix, features.images, range.clone())]);
            let batch: Vec<T> = features.layers.iter().map(of).collect();
            for ((head, bias), out) in self.heads.iter().zip(&biases).zip(&mut all) {
                let logits = backend.download(&head.logits(backend, &batch, rows));
                out.extend(logits.chunks_exact(self.classes).map(|logits| likeliest(logits, bias)));
            }
        }
        all
    }

    /// Copies weights and biases back.
    fn download<B: Backend<Tensor = T>>(&self, backend: &B) -> Vec<Head> {
        let weights = |head: &Held<T>| head.weights.iter().map(|weight| backend.download(&weight.value)).collect();
        let head =
            |head: &Held<T>| Head::with_weights(head.layers.clone(), weights(head), backend.download(&head.bias.value));
        self.heads.iter().map(head).collect()
    }
}

impl<T> Held<T> {
    /// Scores `[rows, classes]` without the bias.
    fn logits<B: Backend<Tensor = T>>(&self, backend: &B, features: &[T], rows: usize) -> T {
        let part = |(weight, layer): (&Parameter<T>, &usize)| backend.project(&weight.value, &features[*layer], rows);
        let mut parts = self.weights.iter().zip(&self.layers).map(part);
        let Some(mut sum) = parts.next() else { return backend.upload(&[]) };
        parts.for_each(|part| backend.add(&mut sum, &part));
        sum
    }
}

fn likeliest(logits: &[f32], bias: &[f32]) -> usize {
    let score = |class: usize| logits[class] + bias[class];
    let larger = |best: usize, class: usize| if score(class) > score(best) { class } else { best };
    (1..logits.len()).fold(0, larger)
}
