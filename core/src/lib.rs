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
//! # Example
//!
//! ```
//! use clapp_core::contrast::Phase;
//! use clapp_core::guard::Guard;
//! use clapp_core::init;
//! use clapp_core::learner::{Buffers, LayerState, Learner};
//! use clapp_core::network::{Block, LossPool::Block as Cells, Network, Rule};
//! use clapp_core::optimizer::Optimizer;
//! use clapp_core::shape::Shape;
//!
//! const NET: Network<2> = Network::new(
//!     Shape::new(1, 16, 16), // a network that does not fit together does not compile
//!     [
//!         Block::conv(8, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(Cells([4, 4])),
//!         Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(Cells([2, 2])),
//!     ],
//!     Rule::clapp_pp_dfb(), // the top layer's last activity is the context of every layer
//! );
//!
//! let net = NET.view(); // all lengths are const: on a device these arrays are statics
//! let (mut parameters, mut contexts) = ([0.0; NET.view().parameter_len()], [0.0; NET.view().context_len()]);
//! let (mut workspace, mut argmax) = ([0.0; NET.view().stream_len()], [0; NET.view().argmax_len()]);
//! let mut layers = [LayerState::NEW; 2];
//! init::uniform(&net, 1, &mut parameters).expect("as long as parameter_len says");
//! let buffers = Buffers {
//!     parameters: &mut parameters, state: &mut [], contexts: &mut contexts, layers: &mut layers,
//!     workspace: &mut workspace, argmax: &mut argmax,
//! };
//! let mut learner = Learner::new(net, Optimizer::sgd(0.01), Guard::default(), buffers)?;
//! for (time, value) in [0.1_f32, 0.2, 0.8].into_iter().enumerate() {
//!     let frame = [value; 256]; // from your sensor
//!     let phase = if time == 2 { Phase::Saccade } else { Phase::Fixation };
//!     let summary = learner.observe(&frame, phase, 1.0, &mut ())?; // 1.0: the modulator; (): no observer
//!     assert_eq!(summary.refused, 0);
//! }
//! assert_eq!(learner.features()?.len(), NET.view().feature_len()); // for a read-out learnt on the device
//! # Ok::<(), clapp_core::learner::Error>(())
//! ```
//!
//! `Learner::step` learns from a batch of pairs, as the paper does. `begin_frame` and `step_layer` learn one layer at a
//! time, for a program with a control loop. `docs/embedded.md` builds a whole program for a Cortex-M4F.
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
