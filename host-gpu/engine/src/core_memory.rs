//! Memory on the host for a learner of `clapp-core`. Firmware keeps the same buffers in statics.

use crate::model::{LayerValues, NetworkSpec};
use clapp_core::guard::Guard;
use clapp_core::learner::{Buffers, Error, LayerState, Learner};
use clapp_core::optimizer::Optimizer;

/// A learner's buffers.
#[derive(Debug)]
pub struct CoreMemory {
    /// All parameters, as [`clapp_core::plan`] lays them out.
    pub parameters: Vec<f32>,
    /// The optimiser's state; the gradients after a step of [`Optimizer::Record`].
    pub state: Vec<f32>,
    contexts: Vec<f32>,
    /// One a layer.
    pub layers: Vec<LayerState>,
    workspace: Vec<f32>,
    argmax: Vec<u8>,
}

impl CoreMemory {
    /// Memory for batches of up to `pairs` pairs with `negatives` negatives a row; 0 pairs for streams only.
    ///
    /// Parameters that `values` lack (below the top in global learning) are 0.
    pub fn new(
        spec: &NetworkSpec,
        values: &[LayerValues],
        optimizer: &Optimizer,
        pairs: usize,
        negatives: usize,
    ) -> Self {
        let view = spec.view();
        let state = vec![0.0; optimizer.state_len(&view)];
        let layers = vec![LayerState::NEW; view.layer_count()];
        let memory = Self::holding(spec, spec.flat_from_values(values), state, layers);
        Self {
            workspace: vec![0.0; view.batch_len(pairs, negatives).max(view.stream_len())],
            argmax: vec![0; view.batch_argmax_len(pairs).max(view.argmax_len())],
            ..memory
        }
    }

    /// Memory for streams that goes on from what a learner held: parameters, its optimiser's state and its layers' state.
    pub fn holding(spec: &NetworkSpec, parameters: Vec<f32>, state: Vec<f32>, layers: Vec<LayerState>) -> Self {
        let view = spec.view();
        Self {
            parameters,
            state,
            contexts: vec![0.0; view.context_len()],
            layers,
            workspace: vec![0.0; view.stream_len()],
            argmax: vec![0; view.argmax_len()],
        }
    }

    /// The learner bound to this memory; step counts of its optimiser are kept here, too.
    ///
    /// # Errors
    /// The core's refusal.
    pub fn learner<'a>(&'a mut self, spec: &'a NetworkSpec, optimizer: Optimizer) -> Result<Learner<'a>, Error> {
        let buffers = Buffers {
            parameters: &mut self.parameters,
            state: &mut self.state,
            contexts: &mut self.contexts,
            layers: &mut self.layers,
            workspace: &mut self.workspace,
            argmax: &mut self.argmax,
        };
        // No cap on updates: other backends compute the plain rule.
        Learner::new(spec.view(), optimizer, Guard::UNCAPPED, buffers)
    }
}
