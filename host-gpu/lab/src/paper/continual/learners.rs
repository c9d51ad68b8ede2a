//! The learners that are compared.

use crate::continual::backprop::Part;
use crate::continual::student::Method;

/// Bytes in which labelled glances are kept: all of those of a class-incremental stream fit.
const KEPT_BYTES: usize = 208 << 10;
/// Bytes of the ring.
const RING_BYTES: usize = 96 << 10;

/// First weights of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With orthogonal random weights, as the firmware.
    Random = 0,
    /// Pretrained on other images.
    Pretrained = 1,
}

/// A learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Learner {
    /// Its name in figures and tables.
    pub name: &'static str,
    pub method: Method,
    pub start: Start,
}

/// All of them; the places of those that claims speak of are named below.
pub(super) const LEARNERS: [Learner; 10] = [
    Learner { name: "streaming CLAPP++DFB", method: Method::Stream, start: Start::Random },
    Learner { name: "streaming CLAPP++DFB, labels kept", method: Method::Keep(KEPT_BYTES), start: Start::Random },
    Learner { name: "streaming CLAPP++DFB, ring", method: Method::Replay(RING_BYTES), start: Start::Random },
    Learner { name: "frozen random", method: Method::Frozen, start: Start::Random },
    Learner { name: "BP last block", method: Method::Backprop(Part::LastBlock), start: Start::Random },
    Learner { name: "frozen pretrained", method: Method::Frozen, start: Start::Pretrained },
    Learner { name: "pretrained, streaming CLAPP++DFB", method: Method::Stream, start: Start::Pretrained },
    Learner { name: "pretrained, labels kept", method: Method::Keep(KEPT_BYTES), start: Start::Pretrained },
    Learner { name: "pretrained, BP last block", method: Method::Backprop(Part::LastBlock), start: Start::Pretrained },
    Learner { name: "pretrained, BP biases", method: Method::Backprop(Part::Biases), start: Start::Pretrained },
];

pub(super) const STREAMING: usize = 0;
pub(super) const KEPT: usize = 1;
pub(super) const RINGED: usize = 2;
pub(super) const RANDOM: usize = 3;
pub(super) const BP: usize = 4;
pub(super) const PRETRAINED: usize = 5;
pub(super) const PRETRAINED_KEPT: usize = 7;
