//! Reasons for which a call is refused before it starts, or there are no features.

#[cfg(doc)]
use crate::{
    learner::{Learner, Pass, infer},
    network::NetworkView,
    optimizer::Optimizer,
};

/// A buffer or argument by name, for error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Buffer {
    /// Parameters: [`NetworkView::parameter_len`], or [`NetworkView::encoder_len`] for inference.
    Parameters,
    /// State of the optimiser: [`Optimizer::state_len`].
    State,
    /// Contexts: [`NetworkView::context_len`].
    Contexts,
    /// State of the layers: [`NetworkView::layer_count`].
    Layers,
    /// Workspace: [`NetworkView::inference_len`], [`NetworkView::stream_len`] or [`NetworkView::batch_len`].
    Workspace,
    /// Positions of maxima: [`NetworkView::argmax_len`] or [`NetworkView::batch_argmax_len`].
    Argmax,
    /// Features: [`NetworkView::feature_len`].
    Features,
    /// A frame, or a batch of frames: the length of the input shape times the number of frames.
    Frames,
    /// Negatives: a multiple, at least one, of the number of rows; each below that number.
    Negatives,
    /// One `keep_positive` a row.
    KeepPositive,
}

/// The reason for which a call was refused; nothing has been changed then. The last three say why there are no features.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// A buffer is too short, or a list does not have the length that it must have.
    Length {
        /// The one that it is about.
        buffer: Buffer,
        /// Elements that are needed.
        needed: usize,
        /// Elements that were given.
        given: usize,
    },
    /// The frame, or one of the batch, holds an infinity or NaN.
    FrameNotFinite,
    /// The modulator is infinite or NaN.
    ModulatorNotFinite,
    /// A batch of less than two pairs has no negatives.
    TooFewPairs,
    /// A negative does not lie below the number of rows.
    NegativeOutOfRange,
    /// `keep_positive` is given for a contrast that has no separate terms.
    NoSeparateTerms,
    /// There are no features yet: no frame has come since the learner was made, since
    /// [`Learner::clear_context`], or since parameters were replaced.
    NoFrame,
    /// There are no features of the last frame, or of the one given to [`infer`]: a layer's activity was not finite.
    Unsound {
        /// Index of the first such layer; the pass stopped there.
        layer: usize,
    },
    /// There are no features of the last frame, since its [`Pass`] was dropped before its end.
    Unfinished,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length { buffer, needed, given } => write!(f, "{buffer:?}: {needed} elements needed, {given} given"),
            Self::FrameNotFinite => f.write_str("a frame holds an infinity or NaN; nothing was learnt from it"),
            Self::ModulatorNotFinite => f.write_str("the modulator is infinite or NaN"),
            Self::TooFewPairs => f.write_str("a batch needs at least two pairs, since others are the negatives"),
            Self::NegativeOutOfRange => f.write_str("a negative does not lie below the number of rows"),
            Self::NoSeparateTerms => f.write_str("only hinge and soft hinge have terms to keep apart"),
            Self::NoFrame => f.write_str("there are no features yet, since no frame has been observed"),
            Self::Unsound { layer } => {
                write!(f, "there are no features of this frame: the activity of layer {layer} is not finite")
            }
            Self::Unfinished => f.write_str("there are no features of the last frame: its pass was dropped half-way"),
        }
    }
}

impl core::error::Error for Error {}

pub(crate) fn at_least(buffer: Buffer, needed: usize, given: usize) -> Result<(), Error> {
    if given < needed { Err(Error::Length { buffer, needed, given }) } else { Ok(()) }
}

pub(crate) fn exactly(buffer: Buffer, needed: usize, given: usize) -> Result<(), Error> {
    if given == needed { Ok(()) } else { Err(Error::Length { buffer, needed, given }) }
}
