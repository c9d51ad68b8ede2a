//! A network bound to buffers of the caller: streaming learning, and learning from batches.

use crate::contrast::{self, Phase};
use crate::error::{at_least, exactly};
use crate::guard::{Guard, Refusal};
use crate::infer::finite;
use crate::network::NetworkView;
use crate::observer::{LayerReport, Observer, Outcome};
use crate::optimizer::Optimizer;
use crate::rule::Pairing;

pub use crate::batch::{Batch, ring_negatives, uniform_negatives};
pub use crate::error::{Buffer, Error};
pub use crate::infer::infer;
pub use crate::pass::{Pass, Progress};

/// The state that a learner keeps of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerState {
    /// The layer keeps its parameters; its activity and scores are worked out all the same.
    pub frozen: bool,
    /// Updates so far, for the bias correction of AdamW; to be restored together with the optimiser's state.
    pub steps: u32,
    /// Updates that were refused. A first frame on which the layer's activity was not finite counts, too; passes in which
    /// the layer was not to learn, frozen or at modulator 0, do not.
    pub refused: u32,
}

impl LayerState {
    /// A layer that learns and has not yet.
    pub const NEW: Self = Self { frozen: false, steps: 0, refused: 0 };

    /// Counts what became of an update, if there was to be one.
    pub(crate) fn count(&mut self, outcome: Outcome, modulator: f32) {
        let learns = !self.frozen && modulator != 0.0;
        match outcome {
            Outcome::Applied => self.steps = self.steps.saturating_add(1),
            Outcome::Refused(_) if learns => self.refused = self.refused.saturating_add(1),
            Outcome::Refused(_) | Outcome::Frozen | Outcome::Muted | Outcome::NoContext => {}
        }
    }
}

/// Memory of a learner.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// All parameters, [`NetworkView::parameter_len`], with their first values.
    pub parameters: &'a mut [f32],
    /// The optimiser's state, [`Optimizer::state_len`]; zeros at first.
    pub state: &'a mut [f32],
    /// Pooled activity of the previous frame, layer after layer, [`NetworkView::context_len`]. To be read by
    /// [`Learner::features`], which says whether all of it is of one frame.
    pub contexts: &'a mut [f32],
    /// One element a layer.
    pub layers: &'a mut [LayerState],
    /// [`NetworkView::stream_len`], or [`NetworkView::batch_len`] where batches are learnt from.
    pub workspace: &'a mut [f32],
    /// [`NetworkView::argmax_len`], or [`NetworkView::batch_argmax_len`] where batches are learnt from.
    pub argmax: &'a mut [u8],
}

/// Result of [`Learner::observe`] and [`Learner::step`], over all layers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Summary {
    /// Sum of the losses of the layers up to [`Summary::unsound`] whose scores are finite.
    pub loss: f32,
    /// Layers that learnt.
    pub applied: u32,
    /// Layers whose update was refused, [`Summary::unsound`] among them.
    pub refused: u32,
    /// The first layer whose activity was not finite. The pass stopped there: neither it nor any layer above learnt.
    /// Layers below may have learnt, each from activity that was sound.
    pub unsound: Option<usize>,
}

impl Summary {
    pub(crate) fn add(&mut self, report: &LayerReport) {
        self.applied += u32::from(matches!(report.outcome, Outcome::Applied));
        self.refused += u32::from(matches!(report.outcome, Outcome::Refused(_)));
        if matches!(report.outcome, Outcome::Refused(Refusal::Activity)) {
            self.unsound = Some(report.layer);
        } else if report.is_finite() {
            self.loss = (self.loss + report.loss).clamp(-f32::MAX, f32::MAX);
        }
    }
}

/// The knowledge of a learner of the frame before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Previous {
    /// Nothing: the next frame only becomes the context.
    Nothing,
    /// The contexts are those of one frame, whole and sound.
    Frame,
    /// The activity of a layer was not finite.
    Unsound { layer: usize },
    /// A pass has begun and has not come to its end.
    Unfinished,
}

/// A network that learns in place, bound to buffers of the caller.
#[derive(Debug)]
pub struct Learner<'a> {
    pub(crate) network: NetworkView<'a>,
    pub(crate) optimizer: Optimizer,
    pub(crate) guard: Guard,
    pub(crate) buffers: Buffers<'a>,
    pub(crate) previous: Previous,
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
        Ok(Self { network, optimizer, guard, buffers, previous: Previous::Nothing })
    }

    /// The network's description.
    pub fn network(&self) -> NetworkView<'a> {
        self.network
    }

    /// All parameters as they are now.
    pub fn parameters(&self) -> &[f32] {
        self.buffers.parameters
    }

    /// All parameters, to be replaced. The previous frame is forgotten, since its activity is that of other parameters:
    /// the next one only becomes the context. [`Learner::adjust_parameters`] keeps it.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        self.clear_context();
        self.buffers.parameters
    }

    /// Changes parameters a little, as by rounding them to the format in which they are stored. The previous frame stays
    /// the context, as it does when a layer learns.
    pub fn adjust_parameters(&mut self, adjust: impl FnOnce(&mut [f32])) {
        adjust(self.buffers.parameters);
    }

    /// The optimiser's state as it is now.
    pub fn state(&self) -> &[f32] {
        self.buffers.state
    }

    /// Parameters, the optimiser's state and what is kept about each layer, all to be replaced, as by what was saved. The
    /// previous frame is forgotten: the next one only becomes the context.
    pub fn learnt_mut(&mut self) -> (&mut [f32], &mut [f32], &mut [LayerState]) {
        self.clear_context();
        (self.buffers.parameters, self.buffers.state, self.buffers.layers)
    }

    /// The state of each layer.
    pub fn layers(&self) -> &[LayerState] {
        self.buffers.layers
    }

    /// The state of each layer, to freeze some.
    pub fn layers_mut(&mut self) -> &mut [LayerState] {
        self.buffers.layers
    }

    /// Pooled activity of all layers for the last frame that was observed, [`NetworkView::feature_len`], as it was
    /// before the layers learnt from that frame.
    ///
    /// # Errors
    /// If there is no such frame, or its pass did not reach the top: [`Error::NoFrame`], [`Error::Unsound`],
    /// [`Error::Unfinished`]. The features of an earlier frame are never given in its place.
    pub fn features(&self) -> Result<&[f32], Error> {
        match self.previous {
            Previous::Frame => Ok(self.buffers.contexts),
            Previous::Nothing => Err(Error::NoFrame),
            Previous::Unsound { layer } => Err(Error::Unsound { layer }),
            Previous::Unfinished => Err(Error::Unfinished),
        }
    }

    /// Forgets the previous frame, its features included: the next one only becomes the context.
    pub fn clear_context(&mut self) {
        self.previous = Previous::Nothing;
    }

    /// Changes the optimiser's settings, such as the learning rate, or the optimiser.
    ///
    /// Another optimiser finds no state: a velocity of SGD with momentum is none of LARS. The state is set to zero then, and
    /// the layers' steps, by which AdamW corrects its bias, begin anew. The same optimiser keeps both.
    ///
    /// # Errors
    /// The new optimiser needs a state of another length.
    pub fn set_optimizer(&mut self, optimizer: Optimizer) -> Result<(), Error> {
        exactly(Buffer::State, optimizer.state_len(&self.network), self.buffers.state.len())?;
        if core::mem::discriminant(&optimizer) != core::mem::discriminant(&self.optimizer) {
            self.buffers.state.fill(0.0);
            self.buffers.layers.iter_mut().for_each(|layer| layer.steps = 0);
        }
        self.optimizer = optimizer;
        Ok(())
    }

    /// Changes the guard's settings.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = guard;
    }

    /// Learns from one frame of a stream and the one before it; all layers learn from the same forward pass.
    ///
    /// The first frame only becomes the context, and so does the one after a frame that was not sound: without that frame,
    /// nobody knows whether the gaze has moved. `modulator` multiplies the update; at 0 nothing is learnt.
    ///
    /// The pass stops at the first layer whose activity is not finite, frozen or not, whatever the modulator
    /// ([`Summary::unsound`]); [`Learner::features`] has nothing then.
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

    /// Learns from a batch of pairs: the paper's rule (docs/paper.md 1.2), layer by layer (docs/paper.md 3.1).
    ///
    /// `modulator` multiplies the update; at 0 nothing is learnt. The pass stops at the first layer whose activity is not
    /// finite ([`Summary::unsound`]); where the top layer is a context, no layer learns then. The frames of a
    /// stream and their features are left alone.
    ///
    /// # Errors
    /// Less than two pairs, lists or workspace that do not fit together, numbers that are not finite: nothing
    /// is changed.
    pub fn step(&mut self, batch: &Batch<'_>, modulator: f32, observer: &mut impl Observer) -> Result<Summary, Error> {
        Ok(self.begin_step(batch, modulator)?.finish(observer))
    }

    /// As [`Learner::observe`], but one layer at a time, whenever [`Pass::step_layer`] is called.
    ///
    /// A pass that is dropped before its end leaves the layers above without the frame: [`Learner::features`] has nothing
    /// then ([`Error::Unfinished`]), and the next frame only becomes the context.
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
        let compares = self.previous == Previous::Frame;
        self.previous = Previous::Unfinished;
        Ok(Pass {
            learner: self,
            frames: frame,
            pairing: Pairing::Stream(phase),
            rows: 1,
            modulator,
            next: 0,
            prepare: false,
            compares,
        })
    }

    /// As [`Learner::step`], but one layer at a time, whenever [`Pass::step_layer`] is called.
    ///
    /// A pass that is dropped before its end leaves the layers above as they were.
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
        Ok(Pass { learner: self, frames, pairing, rows, modulator, next: 0, prepare, compares: true })
    }
}
