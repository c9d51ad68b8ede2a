//! CLAPP++ with spatial dependence (docs/paper.md 1.2, 1.4): each layer's cells predict those of the other view.
//!
//! A layer has an activity `z = relu(W * x)`, pooled over cells to `p`, `D` numbers per row. Its context `c` is its own
//! pooled activity for the other view of the same image. `B` is a trainable matrix `[D, D]`. For a row `j`, the
//! positive `p+` is the activity of the other view, and the negative `p-` that of another image:
//!
//! ```text
//! u+ = <p+, B c>      u- = <p-, B c>                     scores
//! L  = f(u+) + f(-u-) with f(x) = max(0, 1 - x)          loss of a row; the layer's loss is the mean over rows
//! g+ = dL/du+         g- = dL/du-                        third factors: -1, 0 or 1 over the number of rows
//! dp+ = g+ B c        dp- = g- B c                       gradient by the activity; the context is a constant
//! dB = sum (g+ p+ + g- p-) c^T
//! dW = sum dp spread over its cells, times relu', times x
//! ```
//!
//! No gradient crosses the layer's border: a layer sees the output of the one below, not its loss.
//!
//! The same in plain loops, for one layer with a kernel and a map of one pixel (so `W * x` is a product, `z` equals
//! `p`, and no spreading is needed):
//!
//! ```
//! use clapp_engine::backend::{Backend, Pairing, cpu::Cpu};
//! use clapp_engine::model::LayerValues;
//! use clapp_engine::rules::{AnyRule, clapp_pp, step};
//! use clapp_engine::step::{StepBatch, Mode, Model, download_gradients};
//! use clapp_core::{network::{Block, Rule}, shape::Shape};
//!
//! /// Gradients of `w` `[d][n]` and `b` `[d][d]` on rows `x` `[rows][n]`: first views, then second views.
//! fn plain(w: &[[f32; 3]; 2], b: &[[f32; 2]; 2], x: &[[f32; 3]; 4], negatives: &[usize; 4]) -> ([[f32; 3]; 2], [[f32; 2]; 2]) {
//!     let (mut dw, mut db, mut p, mut dp) = ([[0.0; 3]; 2], [[0.0; 2]; 2], [[0.0_f32; 2]; 4], [[0.0_f32; 2]; 4]);
//!     for row in 0..4 {
//!         for d in 0..2 {
//!             p[row][d] = (0..3).map(|n| w[d][n] * x[row][n]).sum::<f32>().max(0.0);
//!         }
//!     }
//!     for row in 0..4 {
//!         let c = p[row];
//!         let s = [0, 1].map(|d| b[d][0] * c[0] + b[d][1] * c[1]); // what the context predicts
//!         let (positive, negative) = ((row + 2) % 4, (negatives[row] + 2) % 4); // both in the other view
//!         let score = |p: [f32; 2]| p[0] * s[0] + p[1] * s[1];
//!         let g_pos = if score(p[positive]) < 1.0 { -0.25 } else { 0.0 };
//!         let g_neg = if score(p[negative]) > -1.0 { 0.25 } else { 0.0 };
//!         for d in 0..2 {
//!             dp[positive][d] += g_pos * s[d];
//!             dp[negative][d] += g_neg * s[d];
//!             for e in 0..2 {
//!                 db[d][e] += (g_pos * p[positive][d] + g_neg * p[negative][d]) * c[e];
//!             }
//!         }
//!     }
//!     for row in 0..4 {
//!         for d in 0..2 {
//!             for n in 0..3 {
//!                 dw[d][n] += if p[row][d] > 0.0 { dp[row][d] * x[row][n] } else { 0.0 };
//!             }
//!         }
//!     }
//!     (dw, db)
//! }
//!
//! let w = [[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]];
//! let b = [[0.7, -0.3], [0.2, 0.9]];
//! let x = [[1.0, 0.2, 0.3], [0.4, 0.9, 0.1], [0.8, 0.3, 0.2], [0.1, 1.1, -0.2]];
//! let negatives = [1, 2, 3, 0];
//! let (dw, db) = plain(&w, &b, &x, &negatives);
//!
//! let blocks = vec![Block::conv(2, [1, 1]).without_bias()];
//! let network = AnyRule::from(clapp_pp::Rule).network(Shape::new(3, 1, 1), blocks, Rule::clapp_pp()).unwrap();
//! let values = LayerValues { weight: w.concat(), projection: b.concat(), ..Default::default() };
//! let mut model = Model::upload(&Cpu, network.clone(), &[values]);
//! let mut kept = Vec::new();
//! let x = Cpu.upload_frames(network.input(), &x.concat());
//! let batch = StepBatch { x, rows: 4, pairing: Pairing::views(&negatives, None) };
//! step(&Cpu, &mut model, batch, Mode::Record(&mut kept));
//! let found = &download_gradients(&Cpu, &network, &kept)[0];
//! let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
//! assert!(near(&found.weight, &dw.concat()), "{:?} {dw:?}", found.weight);
//! assert!(near(&found.projection, &db.concat()), "{:?} {db:?}", found.projection);
//! ```
//!
//! Source: the paper and its released code. Nothing is left out.

use super::{Choices, Contrasts, FeedbackChoices, LearningRule, Pooling, Settings, Signal};
use crate::backend::Backend;
use crate::model::Inputs;
use crate::step::layer::{Sees, learn_layer, top_activity};
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::{Context, Contrast, Projection};

/// CLAPP++; it has no settings of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule;

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "clapp++",
        summary: "CLAPP++: local, spatial dependence, context from the same layer",
        contrast: Contrasts::Any(Contrast::Hinge),
        projection: Projection::Trainable,
        context: Context::Same,
        signal: Signal::Local,
        feedback: FeedbackChoices::TrainedOnly,
        inputs: Inputs::Views,
        normalise: false,
        pooling: Pooling::Cells,
        rate: None,
    };

    fn with(_: &Settings) -> Self {
        Self
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        local_step(backend, model, batch, mode)
    }
}

/// The step of all contrastive local rules: one layer after the other, each from its own loss. Nothing of the layers
/// below is kept. A context from the top layer needs a separate forward pass first.
pub fn local_step<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    batch: BatchOf<'_, B>,
    mut mode: ModeOf<'_, B>,
) -> OutcomeOf<B> {
    let BatchOf::<B> { mut x, rows, pairing } = batch;
    let layers = model.spec.layers().to_vec();
    let has_top = model.spec.rule().context.has_top();
    let top = has_top.then(|| top_activity(backend, model, &layers, &x, rows));
    let mut outcomes = Vec::with_capacity(layers.len());
    for layer in &layers {
        let sees = Sees { x: &x, rows, pairing, same: None, top: top.as_ref() };
        let (outcome, _, z) = learn_layer(backend, model, layer, sees, &mut mode);
        outcomes.push(outcome);
        x = z;
    }
    outcomes
}
