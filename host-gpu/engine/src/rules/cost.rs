//! What a rule's step takes, for estimates of memory and time.

use crate::model::NetworkSpec;
use crate::step::backprop::Backward;

/// What a step takes beside one forward pass and the gradients of its weights, layer by layer: the default is a local rule
/// without a context from the top.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// A forward pass of its own comes first, for the top's activity or its error.
    pub first_pass: bool,
    /// How errors come down through the network, where they do.
    pub descent: Option<Descent>,
    /// Iterations of inference through the whole network in a step.
    pub iterations: usize,
    /// The top layer alone relaxes.
    pub top_relaxes: bool,
    /// Values that it keeps beside maps and gradients, of a network, so many rows and threads.
    pub beside: Option<fn(&NetworkSpec, usize, usize) -> usize>,
    /// Values of scratch memory beside that of convolutions, likewise.
    pub scratch: Option<fn(&NetworkSpec, usize, usize) -> usize>,
    /// Values of a phase after the step.
    pub after: Option<fn(&NetworkSpec) -> usize>,
}

/// How errors come down through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descent {
    /// What is kept of the maps until then.
    pub backward: Backward,
    /// The gradients of all blocks are written out before the first update.
    pub all_gradients: bool,
}
