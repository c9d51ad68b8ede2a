//! Weight mirror (Akrout et al. 2019) on the loss of BP-CLAPP++.
//!
//! Errors come down as under back-propagation, but through kernels `R^l` of their own: `dz^{l-1} = R^l * (dz^l relu')`
//! instead of `W^l`. The kernels begin at random and learn in a phase of their own after each step, from noise that each
//! layer is shown and what its convolution makes of it ([`crate::step::mirror`]), with decay, so that they turn to the
//! weights and follow them; before the first step they have some such phases (`ahead`), as errors that come down at
//! random do harm. No error sees a forward weight. `mirror` in the configuration has the noise's rows and
//! amplitude, the rate, the decay and the phases ahead; the defaults have the weights for their fixed point.
//!
//! Source: the primary literature; the released code has unused legacy code only (docs/paper.md 3). Akrout et al. use
//! Gaussian noise, here it is even; they centre activities that their biases keep off the ReLU's kink, here the phase
//! leaves ReLU and bias out, to the same end. Their whole phases of mirroring between epochs are one small phase a step
//! here.

use super::{Choices, bp_clapp_pp};
use crate::model::Learning;

/// The rule.
pub const CHOICES: Choices = Choices { name: "weight-mirror", learning: Learning::Mirrored, ..bp_clapp_pp::CHOICES };
