//! Training of a network of the theory by local losses, all weights and projections at once (docs/paper.md 6.6).

use super::align::{Agreement, Context, Losses, Seen};
use super::layer::Layer;
use super::loss::{Loss, Negatives, Projections, references};
use super::net::Net;
use clapp_data::rng::Rng;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

/// Learning of the layers below the top; the top's loss and projections are the same in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// The context is the layer's own activity; projections follow their gradient.
    Lateral,
    /// The context is the top's activity; projections follow their gradient.
    Direct,
    /// Like direct, but the projections learn to make the local error the back-propagated one (docs/paper.md 3, feedback
    /// matching).
    Matched,
    /// Like direct, but the projections keep their first values.
    Frozen,
}

impl Feedback {
    /// Source of the contexts.
    pub fn context(self) -> Context {
        if self == Self::Lateral { Context::Lateral } else { Context::Feedback }
    }
}

/// A layer, its projections, and the moments of Adam of all four.
#[derive(Debug, Clone)]
struct Learner {
    layer: Layer,
    projections: Projections,
    moments: [Adam; 4],
}

/// A network that learns.
#[derive(Debug, Clone)]
pub struct Training {
    learners: Vec<Learner>,
    feedback: Feedback,
    losses: Losses,
    steps: i32,
}

impl Training {
    /// Begins with a network; its projections are uniform, as PyTorch's linear layers begin.
    ///
    /// # Panics
    /// If a layer's values are pooled.
    pub fn new(net: &Net, losses: Losses, feedback: Feedback, rng: &mut Rng) -> Self {
        assert!(losses.pools.iter().all(|&kernel| kernel == 1), "training of pooled layers");
        let losses = Losses { context: feedback.context(), ..losses };
        let top = net.layers.last().map_or(0, Layer::outputs);
        let learner = |layer: &Layer| {
            let columns = layer.outputs();
            let rows = if losses.context == Context::Lateral { columns } else { top };
            let projections = Projections::uniform(rows, columns, rng);
            Learner { layer: layer.clone(), projections, moments: Default::default() }
        };
        Self { learners: net.layers.iter().map(learner).collect(), feedback, losses, steps: 0 }
    }

    /// The network as it is now.
    pub fn net(&self) -> Net {
        Net { layers: self.learners.iter().map(|learner| learner.layer.clone()).collect(), relu: true }
    }

    /// Agreement of the local gradients with the back-propagated ones on a batch, layer by layer, with the present
    /// projections.
    pub fn agreements(&self, x: &DMatrix<f64>) -> Vec<Agreement> {
        let (net, negatives) = (self.net(), Negatives::ring(x.ncols()));
        let projections: Vec<Projections> = self.learners.iter().map(|learner| learner.projections.clone()).collect();
        Seen::new(&net, &self.losses, x, negatives).agreements(&projections)
    }

    /// One step of Adam on a batch (one row a column): all gradients are taken before anything changes.
    pub fn step(&mut self, x: &DMatrix<f64>, learning_rate: f64) {
        self.steps += 1;
        let net = self.net();
        let values = net.forward(x);
        let last = net.layers.len() - 1;
        let Losses { contrast, ridge, context, .. } = self.losses;
        let loss = Loss { contrast, negatives: Negatives::ring(x.ncols()), ridge };
        let top = references(&values[last + 1]);
        let ideal = (self.feedback == Feedback::Matched).then(|| {
            let error = loss.activity_gradient(&self.learners[last].projections, &values[last + 1], &top);
            net.back_propagate(&values, error)
        });
        let (feedback, steps) = (self.feedback, self.steps);
        self.learners.par_iter_mut().enumerate().for_each(|(at, learner)| {
            let z = &values[at + 1];
            let own = (context == Context::Lateral).then(|| references(z));
            let context = own.as_ref().unwrap_or(&top);
            let (error, by_projections) = loss.gradients(&learner.projections, z, context);
            let by_projections = match (feedback, &ideal) {
                (Feedback::Frozen, _) if at < last => None,
                (_, Some(ideal)) if at < last => Some(loss.mismatch(&learner.projections, z, context, &ideal[at]).1),
                _ => Some(by_projections),
            };
            let (weights, biases) = learner.layer.gradient(&values[at], &net.before_activation(z, &error));
            learner.update(&weights, biases.as_ref(), by_projections.as_ref(), learning_rate, steps);
        });
    }
}

impl Learner {
    fn update(
        &mut self,
        weights: &DMatrix<f64>,
        biases: Option<&DVector<f64>>,
        projections: Option<&Projections>,
        rate: f64,
        step: i32,
    ) {
        let [of_weights, of_biases, of_first, of_second] = &mut self.moments;
        of_weights.update(self.layer.weights.as_mut_slice(), weights.as_slice(), rate, step);
        if let (Some(own), Some(gradient)) = (&mut self.layer.biases, biases) {
            of_biases.update(own.as_mut_slice(), gradient.as_slice(), rate, step);
        }
        if let Some(gradient) = projections {
            of_first.update(self.projections.first.as_mut_slice(), gradient.first.as_slice(), rate, step);
            of_second.update(self.projections.second.as_mut_slice(), gradient.second.as_slice(), rate, step);
        }
    }
}

/// Adam's moments of one tensor, with PyTorch's defaults.
#[derive(Debug, Clone, Default)]
struct Adam {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    fn update(&mut self, values: &mut [f64], gradient: &[f64], rate: f64, step: i32) {
        const DECAY: (f64, f64) = (0.9, 0.999);
        const SMALL: f64 = 1e-8;
        self.first.resize(values.len(), 0.0);
        self.second.resize(values.len(), 0.0);
        let scale = rate / (1.0 - DECAY.0.powi(step));
        let spread = (1.0 - DECAY.1.powi(step)).sqrt();
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            *first += (1.0 - DECAY.0) * (gradient - *first);
            *second += (1.0 - DECAY.1) * (gradient * gradient - *second);
            *value -= scale * *first / (second.sqrt() / spread + SMALL);
        }
    }
}

/// Rate of an epoch: from `first` down to `last` along half a cosine over `epochs`.
pub fn rate(first: f64, last: f64, epoch: usize, epochs: usize) -> f64 {
    let turn = std::f64::consts::PI * epoch as f64 / epochs.max(1) as f64;
    last + 0.5 * (first - last) * (1.0 + libm::cos(turn))
}
