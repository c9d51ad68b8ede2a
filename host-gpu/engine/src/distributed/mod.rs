//! Data-parallel training over processes (MPI, feature `mpi`): every rank learns from its own part of each global
//! batch, and all ranks take the same optimiser step (docs/paper.md 5.1: the loss and the negatives are a device's own,
//! the gradients are averaged).
//!
//! The rules do not change: [`Shared`] is the CPU backend with gradients averaged layer by layer.
//! Without the feature, or in a single process, a program uses [`Ranks::alone`].

#[cfg_attr(not(feature = "mpi"), path = "no_link.rs")]
mod link;
mod ranks;
mod shared;

pub use ranks::Ranks;
pub use shared::Shared;
