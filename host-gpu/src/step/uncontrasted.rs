//! Local rules without a contrast: LPL, whose loss is of variances and distances, and SoftHebb, which has none.

use super::lesson::learn_block;
use super::{LayerOutcome, LayerOutcomeOf, LayerParameters, LayerTensors, Mode, Model};
use crate::backend::{ActivityOf, Backend, Competition, OwnLoss, Pairing};
use crate::model::{TensorRole, Uncontrasted};
use clapp_core::plan::Layer;

/// Update of one layer from its input `x`, its output and its pooled activity `p`.
#[expect(clippy::too_many_arguments, reason = "the factors of one layer's update")]
pub(super) fn learn_layer<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    rule: Uncontrasted,
    layer: &Layer,
    x: &B::Tensor,
    activity: &ActivityOf<B>,
    p: &B::Tensor,
    pairing: Pairing<'_>,
    mode: &mut Mode<'_, B::Tensor>,
    kept: &mut LayerTensors<B::Tensor>,
) -> LayerOutcomeOf<B> {
    let parameters = &mut model.layers[layer.index];
    let scores = match rule {
        Uncontrasted::Lpl(lpl) => {
            let OwnLoss { scores, pooled } = backend.lpl(&lpl, pairing, p, activity.rows);
            let gradient = backend.local_gradient(layer, x, activity, &pooled);
            learn_block(backend, parameters, gradient, mode, kept);
            scores
        }
        Uncontrasted::SoftHebb(settings) => {
            let Competition { gradient, centre, scores } =
                backend.compete(&settings, layer, &parameters.weight.value, x, activity.rows);
            match mode {
                Mode::Update { optimizer, .. } => {
                    let rate = optimizer.learning_rate();
                    let LayerParameters { weight, bias, .. } = parameters;
                    let [weight, bias] = [&mut weight.value, &mut bias.value];
                    backend.learn_by_competition(&settings, layer, rate, &gradient, &centre, weight, bias);
                }
                Mode::Record(_) => kept.push(TensorRole::Weight, gradient),
            }
            scores
        }
    };
    LayerOutcome { scores: vec![(TensorRole::Weight, scores)], distance: None }
}
