//! Local contrastive learning of convolutional networks without heap.
//!
//! Start at [`network`] for the description of a network, [`learner`] for learning and inference, [`rule`]
//! for the learning rule itself.
#![no_std]

mod batch;
pub mod contrast;
pub mod conv;
pub mod dense;
mod error;
pub mod guard;
mod infer;
pub mod init;
pub mod learner;
pub mod math;
pub mod network;
pub mod observer;
pub mod optimizer;
mod pass;
pub mod plan;
pub mod pool;
pub mod readout;
pub mod rng;
mod rows;
pub mod rule;
pub mod shape;
