//! Local contrastive learning of convolutional networks without heap: inference **and** learning on a
//! microcontroller, with the rules of CLAPP (Illing et al. 2021) and CLAPP++ (arXiv 2601.21683).
//!
//! Every layer learns from its own loss; no gradient crosses a layer's border, so two activation buffers and one
//! context vector a layer serve any depth. The caller owns all memory, and all lengths are `const fn` of the
//! network's description.
//!
//! Start at [`network`] for the description of a network, [`plan`] for what it needs, [`learner`] for inference
//! and learning, [`rule`] for the learning rule itself, [`readout`] for classifiers learnt on the device, [`checkpoint`] and
//! [`storage`] for what survives a power cut.
//!
//! # What there is
//!
//! * Convolutions of any kernel, stride and zero padding, ReLU or identity, max-pool; one-dimensional signals are
//!   `[C, 1, T]`. Loss pooling by cells, adaptive, or global.
//! * Learning from a stream of frames (fixations and saccades) and from batches of pairs, whole or layer by layer;
//!   hinge, soft hinge, PhyLL and linear contrast; context from the same layer, the top, or both.
//! * SGD in place, momentum, AdamW, LARS; a modulator (third factor from outside), an observer of every factor, a
//!   guard that refuses bad updates whole.
//!
//! # What there is not
//!
//! Back-propagation through the network (by design), integer arithmetic, more than one convolution a layer,
//! batch normalisation.
//!
//! # Bits
//!
//! Sums run in a fixed order, nothing is fused, maths goes through `libm`: the same seed and inputs give the same
//! bits on every platform. Sign and payload of a NaN, which do differ, decide nothing: a pass stops at the first layer whose
//! activity is not finite.
//!
//! # Features
//!
//! * `micromath`: approximate exponentials and logarithms, smaller and faster than `libm`'s; other bits.
//! * `defmt`: `defmt::Format` for reports and errors.
//! * `link`: what a host and a device say to each other over a serial line.
#![no_std]

mod accumulate;
mod batch;
pub mod checkpoint;
mod checksum;
pub mod collapse;
pub mod contrast;
pub mod conv;
pub mod dense;
mod error;
mod gradient;
pub mod guard;
mod infer;
pub mod init;
pub mod learner;
#[cfg(feature = "link")]
pub mod link;
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
pub mod storage;

/// The example of the README, so that it is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
