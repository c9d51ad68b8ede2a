//! A supervised task on which predictive coding stands beside back-propagation: classes by cross-entropy on the means of
//! the top's maps, one channel a class.

use clapp_core::network::{Activation, Block, Rule};
use clapp_core::shape::Shape;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::backend::Backend;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::model::{LayerValues, NetworkSpec};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::{AnyRule, bp_clapp_pp};
use clapp_engine::step::relax::Relaxation;
use clapp_engine::step::relax::Relaxed;
use clapp_engine::step::{Model, forward};

/// Images that are classified at a time.
const ROWS: usize = 100;
/// Learning rate at the beginning.
const RATE: f32 = 2e-3;

/// Source of the gradients of the layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// Back-propagation.
    BackPropagation,
    /// Predictive coding.
    PredictiveCoding(Relaxation),
}

/// Some images as frames, with their labels.
#[derive(Debug, Clone)]
struct Frames {
    x: Vec<f32>,
    labels: Vec<usize>,
}

/// Network and images.
#[derive(Debug, Clone)]
pub struct Task {
    spec: NetworkSpec,
    train: Frames,
    test: Frames,
}

impl Task {
    /// The task on the first images of a set.
    ///
    /// # Errors
    /// If an image cannot be read, or the network does not fit the images.
    pub fn new(data: &Dataset, train: usize, test: usize) -> Result<Self, Error> {
        let Some(shape) = data.shape() else {
            return Err(Error::Config { origin: data.name.clone(), message: "images differ in size".into() });
        };
        let conv = |channels| Block::conv(channels, [3, 3]).padding([1, 1]);
        let blocks = vec![
            conv(16).max_pool([2, 2]),
            conv(32).max_pool([2, 2]),
            conv(32).max_pool([2, 2]),
            conv(data.classes.len()).activation(Activation::Identity),
        ];
        let spec = AnyRule::from(bp_clapp_pp::Rule::default()).network(shape, blocks, Rule::clapp_pp())?;
        let frames = |split: &Split, count: usize| frames(data, &split.take(count), shape);
        Ok(Self { spec, train: frames(&data.train, train)?, test: frames(&data.test, test)? })
    }

    /// Images that are tested on.
    pub fn test_images(&self) -> usize {
        self.test.labels.len()
    }

    /// Trains for so many epochs in batches of `batch` images by AdamW, whose rate falls evenly to nothing, from the same
    /// first values and in the same order whatever the way; gives the share of test images classified rightly in the end,
    /// and hears of each batch.
    ///
    /// # Errors
    /// If `after_batch` has one.
    pub fn learn(
        &self,
        way: Way,
        epochs: u64,
        batch: usize,
        seed: u64,
        mut after_batch: impl FnMut() -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let mut model = Model::upload(&Cpu, self.spec.clone(), &self.first_values(seed));
        let frame = self.spec.input().len();
        let steps = (epochs as usize * self.train.labels.len().div_ceil(batch)) as f32;
        let mut step = 0;
        for epoch in 0..epochs {
            let mut order: Vec<usize> = (0..self.train.labels.len()).collect();
            stream(seed, Purpose::ProbeShuffle, epoch, 0).shuffle(&mut order);
            for images in order.chunks(batch) {
                let x: Vec<f32> = images.iter().flat_map(|&i| &self.train.x[i * frame..][..frame]).copied().collect();
                let labels: Vec<usize> = images.iter().map(|&i| self.train.labels[i]).collect();
                step += 1;
                let rate = RATE * (1.0 - (step - 1) as f32 / steps);
                self.step(&mut model, &x, &labels, way, &Optimizer::adamw(rate), step);
                after_batch()?;
            }
        }
        Ok(self.accuracy(&model))
    }

    /// First values: uniform, `1 / sqrt(fan_in)` (docs/paper.md 4).
    fn first_values(&self, seed: u64) -> Vec<LayerValues> {
        let layer = |layer: &clapp_core::plan::Layer| {
            let mut rng = stream(seed, Purpose::Init, u64::MAX, layer.index as u64);
            let bound = 1.0 / (layer.fan_in() as f32).sqrt();
            let mut draw = |count: usize| (0..count).map(|_| rng.uniform(-bound, bound)).collect();
            LayerValues { weight: draw(layer.weight_len()), bias: draw(layer.bias_len()), ..LayerValues::default() }
        };
        self.spec.layers().iter().map(layer).collect()
    }

    fn step(
        &self,
        model: &mut Model<Vec<f32>>,
        frames: &[f32],
        labels: &[usize],
        way: Way,
        optimizer: &Optimizer,
        step: u64,
    ) {
        let (layers, rows) = (self.spec.layers(), labels.len());
        let x = Cpu.upload_frames(self.spec.input(), frames);
        let mut state = Relaxed::forward(&Cpu, model, layers, &x, rows);
        let gradients = match way {
            Way::BackPropagation => {
                let (_, dp) = cross_entropy(&state.pooled(), labels);
                state.back_propagated(model, &dp)
            }
            Way::PredictiveCoding(settings) => {
                state.infer(model, settings, &mut |p| cross_entropy(p, labels));
                state.gradients()
            }
        };
        for (parameters, gradient) in model.layers.iter_mut().zip(&gradients) {
            let (weight, bias) = (&mut parameters.weight, &mut parameters.bias);
            Cpu.update(&mut [(weight, &gradient.weight), (bias, &gradient.bias)], optimizer, step);
        }
    }

    fn accuracy(&self, model: &Model<Vec<f32>>) -> f64 {
        let frame = self.spec.input().len();
        let right: usize = self
            .test
            .x
            .chunks(ROWS * frame)
            .zip(self.test.labels.chunks(ROWS))
            .map(|(x, labels)| {
                let mut maps = Cpu.upload_frames(self.spec.input(), x);
                let mut logits = Vec::new();
                for layer in self.spec.layers() {
                    let activity = forward(&Cpu, model, layer, &maps, labels.len());
                    logits = Cpu.pool(layer, &activity);
                    maps = activity.z;
                }
                let rows = logits.chunks(logits.len() / labels.len());
                rows.zip(labels).filter(|(row, label)| row.iter().all(|value| *value <= row[**label])).count()
            })
            .sum();
        right as f64 / self.test.labels.len().max(1) as f64
    }
}

/// Images as the network sees them: each channel with mean 0 and deviation 1 over the set.
fn frames(data: &Dataset, split: &Split, shape: Shape) -> Result<Frames, Error> {
    let mut x = Vec::with_capacity(split.len() * shape.len());
    for image in 0..split.len() {
        let pixels = split.image(image)?;
        for (plane, (mean, std)) in pixels.chunks(shape.area()).zip(data.mean.iter().zip(&data.std)) {
            x.extend(plane.iter().map(|value| (f32::from(*value) / 255.0 - mean) / std));
        }
    }
    Ok(Frames { x, labels: (0..split.len()).map(|image| split.label(image)).collect() })
}

/// Mean cross-entropy of `logits` `[rows, classes]`, and its gradient.
fn cross_entropy(logits: &[f32], labels: &[usize]) -> (f64, Vec<f64>) {
    let rows = labels.len();
    let mut gradient = Vec::with_capacity(logits.len());
    let mut loss = 0.0;
    for (row, &label) in logits.chunks(logits.len() / rows).zip(labels) {
        let most = row.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
        let powers: Vec<f64> = row.iter().map(|value| f64::from(value - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        loss += sum.ln() - f64::from(row[label] - most);
        let hit = |class: usize| if class == label { 1.0 } else { 0.0 };
        gradient.extend(powers.iter().enumerate().map(|(class, power)| (power / sum - hit(class)) / rows as f64));
    }
    (loss / rows as f64, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_engine::alignment::cosine;
    use clapp_engine::step::relax::Inference;

    #[test]
    fn the_gradient_of_cross_entropy_is_its_slope() {
        let logits = [0.3, -1.2, 2.0, 0.0, 0.5, -0.5];
        let (loss, gradient) = cross_entropy(&logits, &[2, 0]);
        let softmax = |row: &[f64], label: usize| -(row[label].exp() / row.iter().map(|v| v.exp()).sum::<f64>()).ln();
        assert!((loss - 0.5 * (softmax(&[0.3, -1.2, 2.0], 2) + softmax(&[0.0, 0.5, -0.5], 0))).abs() < 1e-6);
        for at in 0..6 {
            let mut moved = logits;
            moved[at] += 1e-2;
            let above = cross_entropy(&moved, &[2, 0]).0;
            moved[at] -= 2e-2;
            let slope = (above - cross_entropy(&moved, &[2, 0]).0) / 2e-2;
            assert!((gradient[at] - slope).abs() < 1e-4, "{at}: {}, not {slope}", gradient[at]);
        }
    }

    /// Noisy stripes of four widths.
    fn stripes(images: usize, seed: u64) -> Split {
        let shape = Shape::new(3, 12, 12);
        let mut rng = stream(seed, Purpose::Other(0), 0, 0);
        let mut pixels = Vec::new();
        for image in 0..images {
            let (steepness, phase) = (0.6 * (image % 4 + 1) as f32, rng.uniform(0.0, 6.0));
            for place in 0..shape.len() {
                let wave = ((place % 12) as f32 * steepness + phase).sin();
                pixels.push((128.0 + 60.0 * wave + rng.uniform(-60.0, 60.0)) as u8);
            }
        }
        Split::new(shape, pixels, (0..images).map(|image| (image % 4) as u16).collect()).unwrap()
    }

    #[test]
    fn predictive_coding_learns_about_as_much_as_back_propagation() {
        let (train, test) = (stripes(300, 1), stripes(200, 2));
        let data = Dataset {
            name: "stripes".into(),
            source: String::new(),
            classes: ["wide", "broad", "narrow", "fine"].map(String::from).to_vec(),
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
            pretrain: train.clone(),
            train,
            test,
            folds: Vec::new(),
            left_out: Default::default(),
            skipped: Vec::new(),
        };
        let task = Task::new(&data, 300, 200).unwrap();
        let learn = |way| task.learn(way, 6, 20, 3, || Ok(())).unwrap();
        let back = learn(Way::BackPropagation);
        let predictive = learn(Way::PredictiveCoding(Relaxation::default()));
        println!("{back:?} {predictive:?}");
        assert!(back > 0.9 && predictive > back - 0.05, "{predictive}, not about {back}");
    }

    /// With weights that have grown, inference by the errors is at rest after a few iterations, and that by the activities
    /// is not after many.
    #[test]
    fn in_a_trained_network_errors_come_down_by_descent_on_them_and_not_by_that_on_activities() {
        let data = clapp_data::data::generated::shapes(2, 64, 4);
        let task = Task::new(&data, 64, 4).unwrap();
        let mut model = Model::upload(&Cpu, task.spec.clone(), &task.first_values(3));
        let (layers, x, labels) = (task.spec.layers(), &task.train.x, &task.train.labels);
        for step in 1..=60 {
            task.step(&mut model, x, labels, Way::BackPropagation, &Optimizer::adamw(RATE), step);
        }
        let frames = Cpu.upload_frames(task.spec.input(), x);
        let mut forward = Relaxed::forward(&Cpu, &model, layers, &frames, labels.len());
        let (_, dp) = cross_entropy(&forward.pooled(), labels);
        let back = forward.back_propagated(&model, &dp);
        let cosines = |by: Inference, iterations: usize| -> Vec<f64> {
            let mut state = Relaxed::forward(&Cpu, &model, layers, &frames, labels.len());
            let settings = Relaxation { by, iterations, weight: 0.01, ..Relaxation::default() };
            state.infer(&model, settings, &mut |p| cross_entropy(p, labels));
            let gradients = state.gradients();
            gradients.iter().zip(&back).filter_map(|(own, back)| cosine(&own.weight, &back.weight)).collect()
        };
        let (by_errors, by_activities) = (cosines(Inference::Errors, 4), cosines(Inference::Activities, 16));
        assert!(by_errors.len() == 4 && by_errors.iter().all(|cosine| *cosine > 0.999), "{by_errors:?}");
        assert!(by_activities[0] < 0.9, "{by_activities:?}");
    }
}
