//! BP-InfoNCE, as SimCLR (Chen et al. 2020; docs/paper.md 2.8): cosines of both views' top channel means through a
//! linear head, over a temperature, with the second views of all images; back-propagated through both views. The
//! stronger global baseline.
//!
//! Source: the CLAPP++ code, which has one head without bias for both views and one direction. SimCLR's non-linear head,
//! its batch normalisation and its second direction are left out, as there.

use super::bp_clapp_pp::{self, IS_BACK_PROPAGATION, NEEDS_BACK_PROPAGATION};
use super::{Choices, Contrasts, Cost, Head, LearningRule, Settings};
use crate::backend::Backend;
use crate::model::{Form, LayerValues, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use crate::step::backprop::{Backward, Through, back_propagate};
use crate::step::layer::learn;
use crate::step::{BatchOf, LayerOutcome, LayerTensors, Mode, ModeOf, ModelOf, OutcomeOf};
use clapp_core::network::Projection;
use clapp_data::rng::{Purpose, stream};

/// BP-InfoNCE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Its head.
    pub head: Head,
    /// Memory strategy of back-propagation.
    pub backward: Backward,
}

impl LearningRule for Rule {
    const CHOICES: Choices = Choices {
        name: "bp-infonce",
        summary: "BP-InfoNCE (as in SimCLR): InfoNCE on the top layer's channel means after a head, back-propagated",
        contrast: Contrasts::OtherLoss,
        projection: Projection::Identity,
        ..bp_clapp_pp::Rule::CHOICES
    };

    fn with(settings: &Settings) -> Self {
        Self { head: settings.head, backward: settings.backward }
    }

    /// Trained without the weight decay that the other rules have on Tiny ImageNet (docs/paper.md 5.1).
    fn optimizer(optimizer: Optimizer) -> Optimizer {
        match optimizer {
            Optimizer::AdamW { lr, beta1, beta2, eps, .. } => {
                Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay: 0.0 }
            }
            optimizer => optimizer,
        }
    }

    fn form(&self) -> Form {
        Form { head: Some(self.head.outputs), ..Self::CHOICES.form() }
    }

    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B> {
        let (rows, temperature) = (batch.rows, self.head.temperature);
        let mut top_loss =
            |model: &mut ModelOf<B>, p: &B::Tensor, mode: &mut ModeOf<'_, B>, kept: &mut LayerTensors<B::Tensor>| {
                let Some(head) = model.layers.last_mut().and_then(|layer| layer.head.as_mut()) else {
                    unreachable!("a model whose form has a head is uploaded with one")
                };
                let found = backend.info_nce(p, &head.value, temperature, rows);
                learn(backend, &mut [(head, &found.head)], mode);
                if let Mode::Record(_) = mode {
                    kept.push(TensorRole::Head, found.head);
                }
                (LayerOutcome { scores: vec![(TensorRole::Head, found.scores)], distance: None }, found.pooled)
            };
        back_propagate(backend, model, batch, self.backward, Through::Weights, &mut top_loss, mode)
    }

    fn first_values(&self, network: &NetworkSpec, seed: u64, values: &mut [LayerValues]) {
        let Some(top) = values.last_mut() else { return };
        let inputs = network.view().top_len();
        let bound = 1.0 / (inputs as f32).sqrt();
        // The heads of the probe have the same purpose and epoch, and count up from 0.
        let mut rng = stream(seed, Purpose::Init, u64::MAX, u64::MAX);
        top.head = (0..self.head.outputs * inputs).map(|_| rng.uniform(-bound, bound)).collect();
    }

    fn beyond_core(&self) -> Option<&'static str> {
        Some(NEEDS_BACK_PROPAGATION)
    }

    fn beyond_alignment(&self) -> Option<&'static str> {
        Some(IS_BACK_PROPAGATION)
    }

    fn cost(&self) -> Cost {
        bp_clapp_pp::Rule { backward: self.backward }.cost()
    }
}
