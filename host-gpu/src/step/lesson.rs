//! What one layer learns from in one step, and its update: the same for every schedule.

use super::model::LayerParameters;
use super::{LayerOutcome, LayerOutcomeOf, LayerTensors, Mode, Model};
use crate::backend::{Backend, BlockGradient, FactorsOf, Pairing, Parameter};
use crate::model::TensorRole;
use clapp_core::plan::Layer;

/// The losses of one layer, one a context.
pub(super) type Losses<B> = Vec<(TensorRole, FactorsOf<B>)>;

/// One layer in one step.
pub(super) struct Lesson<'a, B: Backend> {
    pub backend: &'a B,
    pub layer: &'a Layer,
    pub rows: usize,
    pub pairing: Pairing<'a>,
    /// Its pooled activity.
    pub p: &'a B::Tensor,
    /// The context from the same layer.
    pub same: &'a B::Tensor,
    /// The context from the top.
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

    /// Updates the layer's projections, or keeps their gradients. `matched` has the rows of the gradient of each
    /// where it is to be another than that of the layer's own loss.
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
pub(super) fn learn_block<B: Backend>(
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
pub(super) fn learn<B: Backend>(
    backend: &B,
    tensors: &mut [(&mut Parameter<B::Tensor>, &B::Tensor)],
    mode: &Mode<'_, B::Tensor>,
) {
    if let Mode::Update { optimizer, step } = mode {
        backend.update(tensors, optimizer, *step);
    }
}

/// What is kept of a layer's losses after the step.
pub(super) fn outcome<B: Backend>(losses: Losses<B>) -> LayerOutcomeOf<B> {
    LayerOutcome { scores: losses.into_iter().map(|(role, factors)| (role, factors.scores)).collect(), distance: None }
}
