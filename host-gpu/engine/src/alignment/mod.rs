//! Gradient alignment (docs/paper.md 7): cosine between each layer's local gradient and the back-propagated one.
//!
//! For each layer: the cosine between the rule's gradient of its weights and the gradient of the top layer's loss,
//! back-propagated through the whole network. Both use the same parameters, views and negatives. Biases are left out.
//! The reference is the top layer's loss as it is trained: the sum of two losses if the rule has two, on cells if the
//! top layer has cells. The paper's analysis pools the whole map of the top layer ([`Config::with_top_pooled`]); its
//! loss is then that of BP-CLAPP++.
//!
//! A gradient of zero has no direction: such a batch gives no cosine, and is counted apart.
//!
//! [`Config::with_top_pooled`]: crate::config::Config::with_top_pooled

mod course;
mod views;
mod watch;

pub use course::{ALIGNMENT, Course, Row, read_rows};
pub use views::{Views, first_views};
pub use watch::{BATCHES, Watch};

use crate::backend::{Backend, Pairing};
use crate::model::{LayerValues, NetworkSpec};
use crate::rules::{self, LearningRule, bp_clapp_pp, step};
use crate::step::backprop::Backward;
use crate::step::{Mode, Model, StepBatch, download_gradients};
use clapp_data::error::Error;

/// The alignment of one layer over some batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerAlignment {
    /// One entry a batch, in order; `None` if one of the gradients is zero.
    pub cosines: Vec<Option<f64>>,
}

impl LayerAlignment {
    /// The cosines of those batches that have one.
    fn found(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.cosines.iter().flatten().copied()
    }

    /// Batches that have a cosine.
    pub fn batches(&self) -> usize {
        self.found().count()
    }

    /// Batches that have none.
    pub fn without(&self) -> usize {
        self.cosines.len() - self.batches()
    }

    /// Mean of the cosines; `None` if no batch has one.
    pub fn mean(&self) -> Option<f64> {
        let count = self.batches();
        (count > 0).then(|| self.found().sum::<f64>() / count as f64)
    }

    /// Standard deviation of the cosines over the batches (divided by their number less one); `None` if fewer than two
    /// batches have one.
    pub fn std(&self) -> Option<f64> {
        let (count, mean) = (self.batches(), self.mean()?);
        let squares: f64 = self.found().map(|cosine| (cosine - mean).powi(2)).sum();
        (count > 1).then(|| (squares / (count - 1) as f64).sqrt())
    }
}

/// Returns the reason why a network has no alignment with back-propagation of its top layer's loss; `None` if it has
/// one.
pub fn refusal(spec: &NetworkSpec) -> Option<&'static str> {
    let normalised = "normalises activity between layers, and the alignment does not back-propagate through that";
    rules::of(spec).beyond_alignment().or(spec.form().normalise.then_some(normalised))
}

/// The cosine of two gradients; `None` if one of them is zero or not finite.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    (norms > 0.0 && norms.is_finite()).then(|| (dot(a, b) / norms).clamp(-1.0, 1.0))
}

/// The cosine of each layer's weights' gradient with the reference's.
pub fn cosines(gradients: &[LayerValues], reference: &[LayerValues]) -> Vec<Option<f64>> {
    gradients.iter().zip(reference).map(|(one, other)| cosine(&one.weight, &other.weight)).collect()
}

/// The gradients of weights and biases under the model's rule on frames `[rows, C, H, W]`; the model is left as it is.
/// Matched feedback gives the same ones, as only the projections learn otherwise.
pub fn local_gradients<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    frames: &[f32],
    rows: usize,
    pairing: Pairing<'_>,
) -> Vec<LayerValues> {
    let mut gradients = Vec::new();
    let x = backend.upload_frames(model.spec.input(), frames);
    let spec = model.spec.clone();
    // Gradients of projections are large, and nobody asks for them here.
    model.spec = rules::of(&spec).with_frozen_feedback().teach(spec.clone());
    step(backend, model, StepBatch { x, rows, pairing }, Mode::Record(&mut gradients));
    model.spec = spec;
    download_gradients(backend, &model.spec, &gradients)
}

/// The gradients of the top layer's loss through the whole network, likewise: the reference.
pub fn top_gradients<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    frames: &[f32],
    rows: usize,
    pairing: Pairing<'_>,
) -> Vec<LayerValues> {
    let mut gradients = Vec::new();
    let x = backend.upload_frames(model.spec.input(), frames);
    let descent = rules::of(&model.spec).cost().descent;
    let reference = bp_clapp_pp::Rule { backward: descent.map_or(Backward::Whole, |descent| descent.backward) };
    reference.step(backend, model, StepBatch { x, rows, pairing }, Mode::Record(&mut gradients));
    download_gradients(backend, &model.spec, &gradients)
}

/// The cosine of each layer on one batch, under the model's local rule; the model is left as it is.
///
/// # Errors
/// [`Error::Config`] if the rule has no alignment ([`refusal`]), or if the device fails.
pub fn of_batch<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    views: &Views,
) -> Result<Vec<Option<f64>>, Error> {
    let local = |backend: &B, model: &mut Model<B::Tensor>, views: &Views| {
        Ok(local_gradients(backend, model, &views.x, views.rows, views.draws.pairing()))
    };
    if let Some(reason) = refusal(&model.spec) {
        return Err(Error::Config { origin: "alignment".into(), message: format!("the rule {reason}") });
    }
    of_rule(backend, model, views, local)
}

/// The same for a rule of the caller's, which gives the gradients of all layers on the batch.
///
/// # Errors
/// Same as `gradients`, and if the device fails.
pub fn of_rule<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    views: &Views,
    gradients: impl FnOnce(&B, &mut Model<B::Tensor>, &Views) -> Result<Vec<LayerValues>, Error>,
) -> Result<Vec<Option<f64>>, Error> {
    let own = gradients(backend, model, views)?;
    let reference = top_gradients(backend, model, &views.x, views.rows, views.draws.pairing());
    backend.check()?;
    Ok(cosines(&own, &reference))
}

/// The alignment of each layer over `batches`, each the cosines of all layers.
pub fn over_batches(batches: &[Vec<Option<f64>>]) -> Vec<LayerAlignment> {
    let layers = batches.iter().map(Vec::len).max().unwrap_or(0);
    let of_layer =
        |layer: usize| batches.iter().map(|cosines| cosines.get(layer).copied().flatten()).collect::<Vec<_>>();
    (0..layers).map(|layer| LayerAlignment { cosines: of_layer(layer) }).collect()
}

/// The alignment of each layer over some batches, under the model's local rule; the model is left as it is.
///
/// # Errors
/// Same as [`of_batch`].
pub fn measure<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    batches: &[Views],
) -> Result<Vec<LayerAlignment>, Error> {
    let found = batches.iter().map(|views| of_batch(backend, model, views)).collect::<Result<Vec<_>, _>>()?;
    Ok(over_batches(&found))
}

/// The same for a rule of the caller's, as [`of_rule`].
///
/// # Errors
/// Same as [`of_rule`].
pub fn measure_rule<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    batches: &[Views],
    mut gradients: impl FnMut(&B, &mut Model<B::Tensor>, &Views) -> Result<Vec<LayerValues>, Error>,
) -> Result<Vec<LayerAlignment>, Error> {
    let found =
        batches.iter().map(|views| of_rule(backend, model, views, &mut gradients)).collect::<Result<Vec<_>, _>>()?;
    Ok(over_batches(&found))
}

#[cfg(test)]
mod tests;
