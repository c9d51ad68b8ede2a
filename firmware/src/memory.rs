//! All memory of a network that learns from a stream, as one value for a static.

use clapp_core::guard::Guard;
use clapp_core::learner::{Buffers, Error, LayerState, Learner};
use clapp_core::network::NetworkView;
use clapp_core::optimizer::Optimizer;

/// Buffers of a learner and one frame; [`memory_of!`](crate::memory_of) names the type for a network.
#[derive(Debug)]
pub struct Memory<
    const FRAME: usize,
    const PARAMETERS: usize,
    const STATE: usize,
    const CONTEXTS: usize,
    const LAYERS: usize,
    const WORKSPACE: usize,
    const ARGMAX: usize,
> {
    /// A frame `[C, H, W]`.
    pub frame: [f32; FRAME],
    /// See [`Buffers::parameters`].
    pub parameters: [f32; PARAMETERS],
    /// See [`Buffers::state`].
    pub state: [f32; STATE],
    /// See [`Buffers::contexts`].
    pub contexts: [f32; CONTEXTS],
    /// See [`Buffers::layers`].
    pub layers: [LayerState; LAYERS],
    /// See [`Buffers::workspace`].
    pub workspace: [f32; WORKSPACE],
    /// See [`Buffers::argmax`].
    pub argmax: [u8; ARGMAX],
}

/// The type of the [`Memory`](crate::memory::Memory) of a network (a `const`) under an optimiser (a `const`).
#[macro_export]
macro_rules! memory_of {
    ($network:path, $optimizer:path) => {
        $crate::memory::Memory<
            { $network.view().input().len() },
            { $network.view().parameter_len() },
            { $optimizer.state_len(&$network.view()) },
            { $network.view().context_len() },
            { $network.view().layer_count() },
            { $network.view().stream_len() },
            { $network.view().argmax_len() },
        >
    };
}

impl<
    const FRAME: usize,
    const PARAMETERS: usize,
    const STATE: usize,
    const CONTEXTS: usize,
    const LAYERS: usize,
    const WORKSPACE: usize,
    const ARGMAX: usize,
> Memory<FRAME, PARAMETERS, STATE, CONTEXTS, LAYERS, WORKSPACE, ARGMAX>
{
    /// All zeros, so that a static of it takes no flash.
    pub const NEW: Self = Self {
        frame: [0.0; FRAME],
        parameters: [0.0; PARAMETERS],
        state: [0.0; STATE],
        contexts: [0.0; CONTEXTS],
        layers: [LayerState::NEW; LAYERS],
        workspace: [0.0; WORKSPACE],
        argmax: [0; ARGMAX],
    };

    /// The buffers without their lengths in the type: first the frame, then those of the learner.
    pub fn buffers(&mut self) -> (&mut [f32], Buffers<'_>) {
        let buffers = Buffers {
            parameters: &mut self.parameters,
            state: &mut self.state,
            contexts: &mut self.contexts,
            layers: &mut self.layers,
            workspace: &mut self.workspace,
            argmax: &mut self.argmax,
        };
        (&mut self.frame, buffers)
    }

    /// A learner in this memory, with the frame beside it.
    ///
    /// # Errors
    /// The memory is that of another network or optimiser.
    pub fn learner<'a>(
        &'a mut self,
        network: NetworkView<'a>,
        optimizer: Optimizer,
        guard: Guard,
    ) -> Result<(&'a mut [f32], Learner<'a>), Error> {
        let (frame, buffers) = self.buffers();
        Ok((frame, Learner::new(network, optimizer, guard, buffers)?))
    }
}
