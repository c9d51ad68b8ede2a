//! Cost of a rule's step, for estimates of memory and time.

use crate::step::backprop::Backward;

/// Cost of a step in addition to one forward pass and the gradients of the weights, layer by layer. The default is a
/// local rule without a context from the top layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// A separate forward pass comes first, for the top layer's activity or its error.
    pub first_pass: bool,
    /// Back-propagation through the network, if the rule has it.
    pub descent: Option<Descent>,
    /// Iterations of inference through the whole network in a step.
    pub iterations: usize,
    /// Only the top layer relaxes.
    pub top_relaxes: bool,
}

/// Values that a rule's step keeps in memory in addition to maps, gradients and the scratch memory of convolutions.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtraMemory {
    /// At the same time as maps and gradients.
    pub step: usize,
    /// Scratch memory.
    pub scratch: usize,
    /// In a phase after the step, when its maps are free.
    pub after_step: usize,
}

/// Back-propagation through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descent {
    /// Memory strategy for the maps.
    pub backward: Backward,
    /// The gradients of all blocks are written out before the first update.
    pub all_gradients: bool,
}
