//! What one layer learns from in one step, and its update: the same for every schedule.

use super::model::LayerParameters;
use super::{LayerReport, Mode, Model, Scores};
use crate::backend::{Backend, BlockGradient, Factors, Pairing, Parameter, Partner};
use crate::model::{LayerValues, TensorRole};
use clapp_core::plan::Layer;

/// The losses of one layer, one a context.
pub(super) type Losses<T> = Vec<(TensorRole, Factors<T>)>;

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
    pub fn losses(&self, model: &Model<B::Tensor>) -> Losses<B::Tensor> {
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
    pub fn pooled_gradient(&self, losses: &Losses<B::Tensor>) -> B::PooledGradient {
        self.backend.pooled_gradient(&self.paired(losses), self.rows)
    }

    /// The losses, each with its pairing.
    pub fn paired<'b>(&self, losses: &'b Losses<B::Tensor>) -> Vec<(Pairing<'b>, &'b Factors<B::Tensor>)>
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
        losses: &Losses<B::Tensor>,
        matched: Option<&[B::Tensor]>,
        mode: &mut Mode<'_>,
        kept: &mut LayerValues,
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
                    *kept.get_mut(*role) = backend.download(&backend.projection_gradient(errors, c, self.rows));
                }
            }
        }
    }

    /// Updates the layer's weights and biases, or keeps their gradients.
    pub fn learn_encoder(
        &self,
        model: &mut Model<B::Tensor>,
        gradient: &BlockGradient<B::Tensor>,
        mode: &mut Mode<'_>,
        kept: &mut LayerValues,
    ) {
        let LayerParameters { weight, bias, .. } = &mut model.layers[self.layer.index];
        learn(self.backend, weight, &gradient.weight, mode);
        learn(self.backend, bias, &gradient.bias, mode);
        if let Mode::Record(_) = mode {
            kept.weight = self.backend.download_weights(self.layer, &gradient.weight);
            kept.bias = self.backend.download(&gradient.bias);
        }
    }
}

/// The optimiser's step on a tensor, in a step that updates.
pub(super) fn learn<B: Backend>(
    backend: &B,
    parameter: &mut Parameter<B::Tensor>,
    gradient: &B::Tensor,
    mode: &Mode<'_>,
) {
    if let Mode::Update { optimizer, step } = mode {
        backend.update(parameter, gradient, optimizer, *step);
    }
}

/// What is reported of a layer's losses.
pub(super) fn report<T>(pairing: Pairing<'_>, losses: Losses<T>) -> LayerReport {
    let scores = |(role, Factors { mut u_pos, mut u_neg, loss, .. })| {
        // Where a row is a positive or a negative by itself, it has one score.
        if let (Partner::Itself, Some(keep)) = (pairing.partner, pairing.keep_positive) {
            let counting = |scores: Vec<f32>, which: bool| {
                let kept = scores.into_iter().zip(keep).filter(|(_, keep)| **keep == which);
                kept.map(|(score, _)| score).collect()
            };
            (u_pos, u_neg) = (counting(u_pos, true), counting(u_neg, false));
        }
        Scores { role, u_pos, u_neg, loss }
    };
    LayerReport { scores: losses.into_iter().map(scores).collect(), mismatch: None }
}
