//! A network bound to buffers of the caller: streaming learning, and learning from batches.

use crate::contrast::{self, Phase};
use crate::error::{at_least, exactly};
use crate::guard::Guard;
use crate::infer::finite;
use crate::network::NetworkView;
use crate::observer::{LayerReport, Observer, Outcome};
use crate::optimizer::Optimizer;
use crate::rule::Pairing;

pub use crate::batch::{Batch, ring_negatives, uniform_negatives};
pub use crate::error::{Buffer, Error};
pub use crate::infer::infer;
pub use crate::pass::{Pass, Progress};

/// What a learner keeps about one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerState {
    /// The layer keeps its parameters; its activity and scores are worked out all the same.
    pub frozen: bool,
    /// Updates so far, for the bias correction of AdamW; to be restored together with the optimiser's state.
    pub steps: u32,
    /// Updates that the guard refused.
    pub refused: u32,
}

impl LayerState {
    /// A layer that learns and has not yet.
    pub const NEW: Self = Self { frozen: false, steps: 0, refused: 0 };
}

/// Memory of a learner.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// All parameters, [`NetworkView::parameter_len`], with their first values.
    pub parameters: &'a mut [f32],
    /// The optimiser's state, [`Optimizer::state_len`]; zeros at first.
    pub state: &'a mut [f32],
    /// Pooled activity of the previous frame, layer after layer, [`NetworkView::context_len`]: after
    /// [`Learner::observe`] the features of that frame for a read-out.
    pub contexts: &'a mut [f32],
    /// One element a layer.
    pub layers: &'a mut [LayerState],
    /// [`NetworkView::stream_len`], or [`NetworkView::batch_len`] where batches are learnt from.
    pub workspace: &'a mut [f32],
    /// [`NetworkView::argmax_len`], or [`NetworkView::batch_argmax_len`] where batches are learnt from.
    pub argmax: &'a mut [u8],
}

/// What [`Learner::observe`] and [`Learner::step`] did, over all layers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Summary {
    /// Sum of the layers' losses.
    pub loss: f32,
    /// Layers that learnt.
    pub applied: u32,
    /// Layers whose update was refused.
    pub refused: u32,
}

impl Summary {
    pub(crate) fn add(&mut self, report: &LayerReport) {
        self.loss += report.loss;
        self.applied += u32::from(matches!(report.outcome, Outcome::Applied));
        self.refused += u32::from(matches!(report.outcome, Outcome::Refused(_)));
    }
}

/// A network that learns in place, bound to buffers of the caller.
#[derive(Debug)]
pub struct Learner<'a> {
    pub(crate) network: NetworkView<'a>,
    pub(crate) optimizer: Optimizer,
    pub(crate) guard: Guard,
    pub(crate) buffers: Buffers<'a>,
    pub(crate) has_context: bool,
}

impl<'a> Learner<'a> {
    /// Binds a network to its buffers.
    ///
    /// # Errors
    /// A buffer is too short: parameters, state, contexts and layers must have their lengths exactly,
    /// workspace and positions of maxima at least those that streaming needs.
    pub fn new(
        network: NetworkView<'a>,
        optimizer: Optimizer,
        guard: Guard,
        buffers: Buffers<'a>,
    ) -> Result<Self, Error> {
        exactly(Buffer::Parameters, network.parameter_len(), buffers.parameters.len())?;
        exactly(Buffer::State, optimizer.state_len(&network), buffers.state.len())?;
        exactly(Buffer::Contexts, network.context_len(), buffers.contexts.len())?;
        exactly(Buffer::Layers, network.layer_count(), buffers.layers.len())?;
        at_least(Buffer::Workspace, network.stream_len(), buffers.workspace.len())?;
        at_least(Buffer::Argmax, network.argmax_len(), buffers.argmax.len())?;
        Ok(Self { network, optimizer, guard, buffers, has_context: false })
    }

    /// The network's description.
    pub fn network(&self) -> NetworkView<'a> {
        self.network
    }

    /// All parameters as they are now.
    pub fn parameters(&self) -> &[f32] {
        self.buffers.parameters
    }

    /// All parameters, to be replaced.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        self.buffers.parameters
    }

    /// The optimiser's state as it is now.
    pub fn state(&self) -> &[f32] {
        self.buffers.state
    }

    /// Parameters, the optimiser's state and what is kept about each layer, all to be replaced, as by what was saved.
    pub fn learnt_mut(&mut self) -> (&mut [f32], &mut [f32], &mut [LayerState]) {
        (self.buffers.parameters, self.buffers.state, self.buffers.layers)
    }

    /// What is kept about each layer.
    pub fn layers(&self) -> &[LayerState] {
        self.buffers.layers
    }

    /// What is kept about each layer, to freeze some.
    pub fn layers_mut(&mut self) -> &mut [LayerState] {
        self.buffers.layers
    }

    /// Pooled activity of all layers for the last frame observed.
    pub fn features(&self) -> &[f32] {
        self.buffers.contexts
    }

    /// Forgets the previous frame: the next one only becomes the context.
    pub fn clear_context(&mut self) {
        self.has_context = false;
    }

    /// Changes the optimiser's settings, such as the learning rate.
    ///
    /// # Errors
    /// The new optimiser needs a state of another length.
    pub fn set_optimizer(&mut self, optimizer: Optimizer) -> Result<(), Error> {
        exactly(Buffer::State, optimizer.state_len(&self.network), self.buffers.state.len())?;
        self.optimizer = optimizer;
        Ok(())
    }

    /// Changes the guard's settings.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = guard;
    }

    /// Learns from one frame of a stream and the one before it; all layers learn from the same forward pass.
    ///
    /// The first frame only becomes the context. `modulator` multiplies the update; at 0 nothing is learnt.
    ///
    /// # Errors
    /// A frame of the wrong length or with a number that is not finite, or such a modulator: nothing is changed.
    pub fn observe(
        &mut self,
        frame: &[f32],
        phase: Phase,
        modulator: f32,
        observer: &mut impl Observer,
    ) -> Result<Summary, Error> {
        Ok(self.begin_frame(frame, phase, modulator)?.finish(observer))
    }

    /// Learns from a batch of pairs: the paper's rule (spec 1.2), layer by layer (spec 3.1).
    ///
    /// `modulator` multiplies the update; at 0 nothing is learnt.
    ///
    /// # Errors
    /// Less than two pairs, lists or workspace that do not fit together, numbers that are not finite: nothing
    /// is changed.
    pub fn step(&mut self, batch: &Batch<'_>, modulator: f32, observer: &mut impl Observer) -> Result<Summary, Error> {
        Ok(self.begin_step(batch, modulator)?.finish(observer))
    }

    /// As [`Learner::observe`], but one layer at a time, whenever [`Pass::step_layer`] is called.
    ///
    /// A pass that is dropped before its end leaves the contexts of the layers above at the frame before.
    ///
    /// # Errors
    /// As [`Learner::observe`].
    pub fn begin_frame<'p>(
        &'p mut self,
        frame: &'p [f32],
        phase: Phase,
        modulator: f32,
    ) -> Result<Pass<'p, 'a>, Error> {
        exactly(Buffer::Frames, self.network.input().len(), frame.len())?;
        if !finite(frame) {
            return Err(Error::FrameNotFinite);
        }
        if !modulator.is_finite() {
            return Err(Error::ModulatorNotFinite);
        }
        Ok(Pass {
            learner: self,
            frames: frame,
            pairing: Pairing::Stream(phase),
            rows: 1,
            modulator,
            next: 0,
            prepare: false,
        })
    }

    /// As [`Learner::step`], but one layer at a time, whenever [`Pass::step_layer`] is called.
    ///
    /// # Errors
    /// As [`Learner::step`].
    pub fn begin_step<'p>(&'p mut self, batch: &Batch<'p>, modulator: f32) -> Result<Pass<'p, 'a>, Error> {
        let Batch { frames, negatives, keep_positive } = *batch;
        let frame_len = self.network.input().len().max(1);
        let pairs = frames.len() / frame_len / 2;
        let rows = 2 * pairs;
        exactly(Buffer::Frames, rows * frame_len, frames.len())?;
        if pairs < 2 {
            return Err(Error::TooFewPairs);
        }
        let per_row = negatives.len().checked_div(rows).unwrap_or(0).max(1);
        exactly(Buffer::Negatives, per_row * rows, negatives.len())?;
        if negatives.iter().any(|&negative| negative as usize >= rows) {
            return Err(Error::NegativeOutOfRange);
        }
        if let Some(keep) = keep_positive {
            exactly(Buffer::KeepPositive, rows, keep.len())?;
            if !contrast::has_separate_terms(self.network.rule().contrast) {
                return Err(Error::NoSeparateTerms);
            }
        }
        at_least(Buffer::Workspace, self.network.batch_len(pairs, per_row), self.buffers.workspace.len())?;
        at_least(Buffer::Argmax, self.network.batch_argmax_len(pairs), self.buffers.argmax.len())?;
        if !finite(frames) {
            return Err(Error::FrameNotFinite);
        }
        if !modulator.is_finite() {
            return Err(Error::ModulatorNotFinite);
        }
        let prepare = self.network.rule().context.has_top();
        let pairing = Pairing::Batch { pairs, negatives, keep_positive };
        Ok(Pass { learner: self, frames, pairing, rows, modulator, next: 0, prepare })
    }
}
