//! Inputs of one layer in one step, and its update.

use super::model::LayerParameters;
use super::{LayerOutcome, LayerOutcomeOf, LayerTensors, Mode, ModeOf, Model, ModelOf, forward, passed_on};
use crate::backend::{Backend, BlockGradient, FactorsOf, Pairing, Parameter};
use crate::model::{Inputs, TensorRole};
use clapp_core::plan::Layer;

/// Inputs of a layer in one step of a contrastive rule.
#[derive(Debug)]
pub struct Sees<'a, T> {
    /// Its input maps, in the backend's layout.
    pub x: &'a T,
    /// Number of rows.
    pub rows: usize,
    /// Pairs of rows that are compared.
    pub pairing: Pairing<'a>,
    /// The context from the same layer, `[rows, D]`; its own activity if there is none.
    pub same: Option<&'a T>,
    /// The context from the top layer, `[rows, D_top]`; its own activity if there is none.
    pub top: Option<&'a T>,
}

/// Forward pass, loss and update of one layer: gives its outcome, its pooled activity and its output. The maps below are
/// not needed after it.
pub fn learn_layer<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    layer: &Layer,
    sees: Sees<'_, B::Tensor>,
    mode: &mut ModeOf<'_, B>,
) -> (LayerOutcomeOf<B>, B::Tensor, B::Tensor) {
    let Sees { x, rows, pairing, same, top } = sees;
    let activity = forward(backend, model, layer, x, rows);
    let p = backend.pool(layer, &activity);
    let lesson = Lesson { backend, layer, rows, pairing, p: &p, same: same.unwrap_or(&p), top: top.unwrap_or(&p) };
    let losses = lesson.losses(model);
    let dp = lesson.pooled_gradient(&losses);
    let gradient = backend.local_gradient(layer, x, &activity, &dp);
    let mut kept = LayerTensors::default();
    lesson.learn_projections(model, &losses, None, mode, &mut kept);
    lesson.learn_encoder(model, gradient, mode, &mut kept);
    mode.keep_layer(kept);
    let z = passed_on(backend, model, activity);
    let z = if model.spec.form().inputs == Inputs::Sums { backend.pair_anew(&z, rows) } else { z };
    (outcome::<B>(losses), p, z)
}

/// Pooled activity of the top layer, by a forward pass that keeps nothing else.
pub fn top_activity<B: Backend>(
    backend: &B,
    model: &ModelOf<B>,
    layers: &[Layer],
    x: &B::Tensor,
    rows: usize,
) -> B::Tensor {
    let mut below: Option<B::Tensor> = None;
    let mut p = None;
    for layer in layers {
        let activity = forward(backend, model, layer, below.as_ref().unwrap_or(x), rows);
        if layer.index + 1 == layers.len() {
            p = Some(backend.pool(layer, &activity));
        }
        below = Some(passed_on(backend, model, activity));
    }
    p.unwrap_or_else(|| backend.upload(&[]))
}

/// The losses of one layer, one a context.
pub type Losses<B> = Vec<(TensorRole, FactorsOf<B>)>;

/// One layer in one step.
#[derive(Debug)]
pub struct Lesson<'a, B: Backend> {
    /// Backend of the computation.
    pub backend: &'a B,
    /// The layer.
    pub layer: &'a Layer,
    /// Number of rows.
    pub rows: usize,
    /// Pairs of rows that are compared.
    pub pairing: Pairing<'a>,
    /// Its pooled activity.
    pub p: &'a B::Tensor,
    /// The context from the same layer.
    pub same: &'a B::Tensor,
    /// The context from the top layer.
    pub top: &'a B::Tensor,
}

impl<'a, B: Backend> Lesson<'a, B> {
    fn context(&self, role: TensorRole) -> &B::Tensor {
        if role == TensorRole::Feedback { self.top } else { self.same }
    }

    /// Scores and third factors under each context.
    pub fn losses(&self, model: &Model<B::Tensor>) -> Losses<B> {
        let rule = model.spec.rule();
        let parameters = &model.layers[self.layer.index];
        let roles = [(rule.context.has_same(), TensorRole::Projection), (rule.context.has_top(), TensorRole::Feedback)];
        let score = |role: TensorRole| {
            let projection = parameters.get(role).map(|parameter| &parameter.value);
            let pairing = self.pairing.of(self.layer.index, role);
            let factors = self.backend.contrast(&rule, pairing, self.p, self.context(role), projection, self.rows);
            (role, factors)
        };
        roles.into_iter().filter(|(has, _)| *has).map(|(_, role)| score(role)).collect()
    }

    /// Gradient of all losses with respect to the pooled activity.
    pub fn pooled_gradient(&self, losses: &Losses<B>) -> B::PooledGradient {
        self.backend.pooled_gradient(&self.paired(losses), self.rows)
    }

    /// The mean loss of another pooled activity under the same contexts, and its gradient by that activity.
    pub fn loss_of(&self, model: &Model<B::Tensor>, p: &B::Tensor) -> (f64, B::PooledGradient) {
        let lesson = Lesson { p, ..*self };
        let losses = lesson.losses(model);
        let loss = |(role, factors): &(TensorRole, FactorsOf<B>)| {
            self.backend.read_scores(self.pairing, *role, &factors.scores).loss
        };
        (losses.iter().map(loss).sum(), lesson.pooled_gradient(&losses))
    }

    /// The losses, each with its pairing.
    pub fn paired<'b>(&self, losses: &'b Losses<B>) -> Vec<(Pairing<'b>, &'b FactorsOf<B>)>
    where
        'a: 'b,
    {
        losses.iter().map(|(role, factors)| (self.pairing.of(self.layer.index, *role), factors)).collect()
    }

    /// Updates the layer's projections, or keeps their gradients. `matched` holds the rows of a projection's gradient
    /// if it does not come from the layer's own loss.
    pub fn learn_projections(
        &self,
        model: &mut Model<B::Tensor>,
        losses: &Losses<B>,
        matched: Option<&[B::Tensor]>,
        mode: &mut Mode<'_, B::Tensor>,
        kept: &mut LayerTensors<B::Tensor>,
    ) {
        if !model.spec.projections_learn(self.layer) {
            return;
        }
        for (index, (role, factors)) in losses.iter().enumerate() {
            let Some(parameter) = model.layers[self.layer.index].get_mut(*role) else { continue };
            let (backend, c) = (self.backend, self.context(*role));
            let own;
            let errors = match matched.and_then(|matched| matched.get(index)) {
                Some(errors) => errors,
                None => {
                    let pairing = self.pairing.of(self.layer.index, *role);
                    own = backend.projection_errors(pairing, self.p, factors, self.rows);
                    &own
                }
            };
            match mode {
                Mode::Update { optimizer, step } => {
                    backend.update_projection(errors, c, self.rows, parameter, optimizer, *step);
                }
                Mode::Record(_) => {
                    kept.push(*role, backend.projection_gradient(errors, c, self.rows));
                }
            }
        }
    }

    /// Updates the layer's weights and biases, or keeps their gradients.
    pub fn learn_encoder(
        &self,
        model: &mut Model<B::Tensor>,
        gradient: BlockGradient<B::Tensor>,
        mode: &mut Mode<'_, B::Tensor>,
        kept: &mut LayerTensors<B::Tensor>,
    ) {
        learn_block(self.backend, &mut model.layers[self.layer.index], gradient, mode, kept);
    }
}

/// Updates a block's weights and biases, or keeps their gradients.
pub fn learn_block<B: Backend>(
    backend: &B,
    parameters: &mut LayerParameters<B::Tensor>,
    gradient: BlockGradient<B::Tensor>,
    mode: &mut Mode<'_, B::Tensor>,
    kept: &mut LayerTensors<B::Tensor>,
) {
    let LayerParameters { weight, bias, .. } = parameters;
    learn(backend, &mut [(weight, &gradient.weight), (bias, &gradient.bias)], mode);
    if let Mode::Record(_) = mode {
        kept.push(TensorRole::Weight, gradient.weight);
        kept.push(TensorRole::Bias, gradient.bias);
    }
}

/// The optimiser's step on some tensors, in a step that updates.
pub fn learn<B: Backend>(
    backend: &B,
    tensors: &mut [(&mut Parameter<B::Tensor>, &B::Tensor)],
    mode: &Mode<'_, B::Tensor>,
) {
    if let Mode::Update { optimizer, step } = mode {
        backend.update(tensors, optimizer, *step);
    }
}

/// Returns the part of a layer's losses that is kept after the step.
pub fn outcome<B: Backend>(losses: Losses<B>) -> LayerOutcomeOf<B> {
    LayerOutcome { scores: losses.into_iter().map(|(role, factors)| (role, factors.scores)).collect(), distance: None }
}
