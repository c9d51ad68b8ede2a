//! Back-propagation through all blocks, in three ways that give the same gradients and take different memory and time.

use super::layer::{Lesson, learn_block, outcome};
use super::{
    BatchOf, LayerOutcomeOf, LayerParameters, LayerTensors, ModeOf, Model, ModelOf, OutcomeOf, forward, no_outcomes,
};
use crate::backend::{ActivityOf, Backend, BlockGradient};
use clapp_core::plan::Layer;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::str::FromStr;

/// Memory strategy of back-propagation. The gradients are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backward {
    /// Keeps all maps until the gradients come down.
    #[default]
    Whole,
    /// Maps are kept at a few layers, and computed again between them.
    Checkpointed,
    /// Sends the images of a batch through the network in this number of parts, twice.
    Accumulated(usize),
}

impl FromStr for Backward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("accumulated=").map(str::parse)) {
            ("whole", _) => Ok(Self::Whole),
            ("checkpointed", _) => Ok(Self::Checkpointed),
            (_, Some(Ok(parts))) => Ok(Self::Accumulated(parts)),
            _ => Err("expected whole, checkpointed or accumulated=PARTS".into()),
        }
    }
}
/// The top layer's loss on its pooled activity. Returns the outcome and the gradient by that activity. Updates the
/// loss's own parameters, or keeps their gradient.
pub type TopLoss<'a, B> = dyn FnMut(
        &mut ModelOf<B>,
        &<B as Backend>::Tensor,
        &mut ModeOf<'_, B>,
        &mut LayerTensors<<B as Backend>::Tensor>,
    ) -> (LayerOutcomeOf<B>, <B as Backend>::PooledGradient)
    + 'a;

/// One step that back-propagates the loss of the top through all blocks.
pub fn back_propagate<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    batch: BatchOf<'_, B>,
    backward: Backward,
    through: Through,
    top_loss: &mut TopLoss<'_, B>,
    mut mode: ModeOf<'_, B>,
) -> OutcomeOf<B> {
    let layers = model.spec.layers().to_vec();
    let mut outcomes = no_outcomes::<B>(&layers);
    let mut kept: Vec<LayerTensors<B::Tensor>> = layers.iter().map(|_| LayerTensors::default()).collect();
    let Some(top) = layers.last() else { return outcomes };
    let pass = Backprop { backend, layers: &layers, rows: batch.rows, through };
    let of_top = &mut kept[top.index];
    let mut at_top = |model: &mut ModelOf<B>, p: &B::Tensor| {
        let (outcome, dp) = top_loss(model, p, &mut mode, of_top);
        outcomes[top.index] = outcome;
        dp
    };
    let gradients = match backward {
        Backward::Whole => pass.whole(model, &batch.x, &mut at_top),
        Backward::Checkpointed => pass.checkpointed(model, &batch.x, &mut at_top),
        Backward::Accumulated(parts) => pass.accumulated(model, &batch.x, parts, &mut at_top),
    };
    for ((layer, gradient), kept) in layers.iter().zip(gradients).zip(&mut kept) {
        learn_block(backend, &mut model.layers[layer.index], gradient, &mut mode, kept);
    }
    mode.keep(kept);
    outcomes
}

/// Same as [`back_propagate`], of the contrast of the network's rule at the top.
pub fn back_propagate_contrast<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    batch: BatchOf<'_, B>,
    backward: Backward,
    through: Through,
    mode: ModeOf<'_, B>,
) -> OutcomeOf<B> {
    let (rows, pairing) = (batch.rows, batch.pairing);
    let Some(top) = model.spec.layers().last().copied() else { return Vec::new() };
    let mut top_loss =
        |model: &mut ModelOf<B>, p: &B::Tensor, mode: &mut ModeOf<'_, B>, kept: &mut LayerTensors<B::Tensor>| {
            let lesson = Lesson { backend, layer: &top, rows, pairing, p, same: p, top: p };
            let losses = lesson.losses(model);
            let dp = lesson.pooled_gradient(&losses);
            lesson.learn_projections(model, &losses, None, mode, kept);
            (outcome::<B>(losses), dp)
        };
    back_propagate(backend, model, batch, backward, through, &mut top_loss, mode)
}

/// One pass of back-propagation.
struct Backprop<'a, B> {
    backend: &'a B,
    /// All layers, from the input to the top.
    layers: &'a [Layer],
    rows: usize,
    /// Kernels that send errors down.
    through: Through,
}

/// Kernels that send errors down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// The weights that activity came up by.
    Weights,
    /// Separate kernels.
    Mirrors,
}

/// Layers of a segment under checkpointing: about the root of their number.
pub fn segment_len(layers: usize) -> usize {
    (1..).find(|size| size * size >= layers).unwrap_or(1)
}

/// Maps the top layer's pooled activity to the gradient of the loss by it.
type AtTop<'a, B> =
    dyn FnMut(&mut Model<<B as Backend>::Tensor>, &<B as Backend>::Tensor) -> <B as Backend>::PooledGradient + 'a;

/// Gradients of all blocks, from the input to the top.
type Gradients<B> = Vec<BlockGradient<<B as Backend>::Tensor>>;

/// Outputs of `layers` one after the other.
pub fn activities<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layers: &[Layer],
    x: &B::Tensor,
    rows: usize,
) -> Vec<ActivityOf<B>> {
    let mut all: Vec<ActivityOf<B>> = Vec::with_capacity(layers.len());
    for layer in layers {
        let below = all.last().map_or(x, |activity| &activity.z);
        all.push(forward(backend, model, layer, below, rows));
    }
    all
}

impl<B: Backend> Backprop<'_, B> {
    /// Gradients of `layers` (some that follow each other) on the maps `x`, from the error `dz` of their last output;
    /// `pooled` is the same before it was spread, at the top. Gives them from the last to the first, and the error of
    /// `x`, which is not computed for frames.
    fn backward(
        &self,
        model: &Model<B::Tensor>,
        layers: &[Layer],
        x: &B::Tensor,
        mut activities: Vec<ActivityOf<B>>,
        mut dz: B::Tensor,
        mut pooled: Option<&B::PooledGradient>,
    ) -> (Gradients<B>, B::Tensor) {
        let backend = self.backend;
        let mut gradients = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let Some(activity) = activities.pop() else { break };
            let below = activities.last().map_or(x, |activity| &activity.z);
            gradients.push(match pooled.take() {
                Some(pooled) => backend.local_gradient(layer, below, &activity, pooled),
                None => backend.block_gradient(layer, below, &activity, &dz),
            });
            if layer.index > 0 {
                let LayerParameters { weight, mirror, .. } = &model.layers[layer.index];
                let kernels = match (self.through, mirror) {
                    (Through::Weights, _) => weight,
                    (Through::Mirrors, Some(mirror)) => mirror,
                    (Through::Mirrors, None) => unreachable!("a model with mirrors is uploaded with them"),
                };
                dz = backend.input_gradient(layer, &kernels.value, &activity, &dz);
            }
        }
        (gradients, dz)
    }

    fn top(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    /// Keeps all maps until the gradients have come down to them.
    fn whole(&self, model: &mut Model<B::Tensor>, x: &B::Tensor, at_top: &mut AtTop<'_, B>) -> Gradients<B> {
        let activities = activities(self.backend, model, self.layers, x, self.rows);
        let Some(activity) = activities.last() else { return Vec::new() };
        let p = self.backend.pool(self.top(), activity);
        let dp = at_top(model, &p);
        let dz = self.backend.spread(self.top(), &dp, self.rows);
        let (mut gradients, _) = self.backward(model, self.layers, x, activities, dz, Some(&dp));
        gradients.reverse();
        gradients
    }

    /// Only the maps between segments of about the root of the depth are kept; those inside a segment are computed again
    /// when the gradients come to it (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    fn checkpointed(&self, model: &mut Model<B::Tensor>, x: &B::Tensor, at_top: &mut AtTop<'_, B>) -> Gradients<B> {
        let segments: Vec<&[Layer]> = self.layers.chunks(segment_len(self.layers.len())).collect();
        let Some((last, before)) = segments.split_last() else { return Vec::new() };
        // Inputs of all segments but the first.
        let mut borders: Vec<B::Tensor> = Vec::with_capacity(before.len());
        for segment in before {
            let mut below: Option<B::Tensor> = None;
            for layer in *segment {
                let input = below.as_ref().or(borders.last()).unwrap_or(x);
                below = Some(forward(self.backend, model, layer, input, self.rows).z);
            }
            borders.extend(below);
        }
        let activities_of = |model: &Model<B::Tensor>, segment: &[Layer], borders: &[B::Tensor]| {
            activities(self.backend, model, segment, borders.last().unwrap_or(x), self.rows)
        };
        let activities = activities_of(model, last, &borders);
        let Some(activity) = activities.last() else { return Vec::new() };
        let p = self.backend.pool(self.top(), activity);
        let dp = at_top(model, &p);
        let dz = self.backend.spread(self.top(), &dp, self.rows);
        let (mut gradients, mut dz) =
            self.backward(model, last, borders.last().unwrap_or(x), activities, dz, Some(&dp));
        for segment in before.iter().rev() {
            borders.pop();
            let activities = activities_of(model, segment, &borders);
            let (more, below) = self.backward(model, segment, borders.last().unwrap_or(x), activities, dz, None);
            gradients.extend(more);
            dz = below;
        }
        gradients.reverse();
        gradients
    }

    /// The images go through the network in `parts`, twice. The first pass computes the loss, which compares all
    /// images. The second pass keeps the maps of one part, computes its gradients and adds them up (Gao et al. 2021,
    /// "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"). Plain accumulation would compare
    /// images only within their part.
    fn accumulated(
        &self,
        model: &mut Model<B::Tensor>,
        x: &B::Tensor,
        parts: usize,
        at_top: &mut AtTop<'_, B>,
    ) -> Gradients<B> {
        let (backend, rows, images) = (self.backend, self.rows, self.rows / 2);
        let parts: Vec<Range<usize>> = (0..parts)
            .map(|part| part * images / parts..(part + 1) * images / parts)
            .filter(|part| !part.is_empty())
            .collect();
        // Both views of a part's images.
        let views = |part: &Range<usize>| [part.clone(), images + part.start..images + part.end];
        let mut pooled = Vec::with_capacity(parts.len());
        for part in &parts {
            let mut maps = backend.gather_rows(&views(part).map(|range| (x, rows, range)));
            for layer in &self.layers[..self.layers.len() - 1] {
                maps = forward(backend, model, layer, &maps, 2 * part.len()).z;
            }
            let activity = forward(backend, model, self.top(), &maps, 2 * part.len());
            pooled.push(backend.pool(self.top(), &activity));
        }
        // All first views, then all second views.
        let mut pieces = Vec::with_capacity(2 * parts.len());
        for view in [0, 1] {
            for (p, part) in pooled.iter().zip(&parts) {
                pieces.push((p, 2 * part.len(), view * part.len()..(view + 1) * part.len()));
            }
        }
        let p = backend.gather_rows(&pieces);
        drop(pooled);
        let dp = at_top(model, &p);
        let mut sums: Gradients<B> = Vec::new();
        for part in &parts {
            let maps = backend.gather_rows(&views(part).map(|range| (x, rows, range)));
            let activities = activities(backend, model, self.layers, &maps, 2 * part.len());
            let dp = backend.gather_pooled(&dp, rows, &views(part));
            let dz = backend.spread(self.top(), &dp, 2 * part.len());
            let pass = Backprop { rows: 2 * part.len(), ..*self };
            let (mut gradients, _) = pass.backward(model, self.layers, &maps, activities, dz, Some(&dp));
            gradients.reverse();
            if sums.is_empty() {
                sums = gradients;
                continue;
            }
            for (sum, gradient) in sums.iter_mut().zip(gradients) {
                backend.add(&mut sum.weight, &gradient.weight);
                backend.add(&mut sum.bias, &gradient.bias);
            }
        }
        sums
    }
}
