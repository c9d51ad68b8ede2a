//! A network bound to buffers of the caller: inference, streaming learning, learning from batches.

use crate::contrast::{self, Phase};
use crate::conv;
use crate::guard::{Guard, Refusal};
use crate::network::{Context, NetworkView, Projection};
use crate::observer::{Activity, LayerReport, Observer, Outcome, Source};
use crate::optimizer::Optimizer;
use crate::plan::Layer;
use crate::pool;
use crate::rule::{Lesson, Loss, Pairing, Target};

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

/// Why a call was refused; nothing has been changed then.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// A buffer is too short, or a list does not have the length that it must have.
    Length {
        /// Which one.
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
        }
    }
}

impl core::error::Error for Error {}

fn at_least(buffer: Buffer, needed: usize, given: usize) -> Result<(), Error> {
    if given < needed { Err(Error::Length { buffer, needed, given }) } else { Ok(()) }
}

fn exactly(buffer: Buffer, needed: usize, given: usize) -> Result<(), Error> {
    if given == needed { Ok(()) } else { Err(Error::Length { buffer, needed, given }) }
}

fn finite(values: &[f32]) -> bool {
    values.iter().fold(0.0, |probe, value| probe + value * 0.0) == 0.0
}

/// Cuts `len` elements off the front of what `rest` refers to; an empty slice where there are not so many.
fn cut<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    match core::mem::take(rest).split_at_mut_checked(len) {
        Some((front, back)) => {
            *rest = back;
            front
        }
        None => Default::default(),
    }
}

/// Weights and bias of a layer, from the encoder's part of the parameters (or all of them).
fn encoder_of<'a>(layer: &Layer, encoder: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let own = encoder.get(layer.encoder_offset..layer.encoder_offset + layer.encoder_len()).unwrap_or_default();
    own.split_at_checked(layer.weight_len()).unwrap_or_default()
}

/// Input and output of a layer among the two activation buffers: outputs of even layers are in the first.
fn in_and_out<'a>(index: usize, even: &'a mut [f32], odd: &'a mut [f32]) -> (&'a [f32], &'a mut [f32]) {
    if index.is_multiple_of(2) { (odd, even) } else { (even, odd) }
}

/// Pooled activity of all layers for one frame.
///
/// * `encoder`: the parameters' first part ([`NetworkView::encoder_len`]), readable in place from flash.
/// * `frame`: `[C, H, W]` as the network's input, `features`: [`NetworkView::feature_len`], layer after layer.
/// * `workspace`: [`NetworkView::inference_len`].
///
/// Returns whether all activity was finite (that of a frame of finite numbers under parameters that have not
/// been spoilt is).
///
/// # Errors
/// A buffer of the wrong length.
pub fn infer(
    network: &NetworkView<'_>,
    encoder: &[f32],
    frame: &[f32],
    workspace: &mut [f32],
    features: &mut [f32],
) -> Result<bool, Error> {
    at_least(Buffer::Parameters, network.encoder_len(), encoder.len())?;
    exactly(Buffer::Frames, network.input().len(), frame.len())?;
    at_least(Buffer::Workspace, network.inference_len(), workspace.len())?;
    exactly(Buffer::Features, network.feature_len(), features.len())?;
    let mut rest = workspace;
    let [even, odd] = network.activation_lens();
    let (even, odd) = (cut(&mut rest, even), cut(&mut rest, odd));
    let mut all_finite = true;
    for index in 0..network.layer_count() {
        let Some(layer) = network.layer(index) else { break };
        let (input, output) = in_and_out(index, even, odd);
        let input = if index == 0 { frame } else { input };
        let pooled = features.get_mut(layer.feature_offset..layer.feature_offset + layer.pooled.len());
        all_finite &= forward(&layer, 1, encoder, input, output, &mut [], rest, pooled.unwrap_or_default());
    }
    Ok(all_finite)
}

/// Output and pooled activity of a layer for `rows` frames. Returns whether all was finite.
#[allow(clippy::too_many_arguments, reason = "buffers side by side")]
fn forward(
    layer: &Layer,
    rows: usize,
    encoder: &[f32],
    input: &[f32],
    output: &mut [f32],
    argmax: &mut [u8],
    scratch: &mut [f32],
    pooled: &mut [f32],
) -> bool {
    let (weights, bias) = encoder_of(layer, encoder);
    let mut argmax = argmax.chunks_exact_mut(layer.output.len().max(1));
    let mut inputs = input.chunks_exact(layer.input.len().max(1));
    let mut pooled = pooled.chunks_exact_mut(layer.pooled.len().max(1));
    let mut all_finite = true;
    for output in output.chunks_exact_mut(layer.output.len().max(1)).take(rows) {
        let (Some(input), Some(pooled)) = (inputs.next(), pooled.next()) else { break };
        let argmax = argmax.next().unwrap_or_default();
        all_finite &= conv::forward(layer, weights, bias, input, output, argmax, scratch);
        pool::loss_pool(output, layer.output, layer.block.loss_pool, layer.pooled, pooled);
        all_finite &= finite(pooled);
    }
    all_finite
}

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
    fn add(&mut self, report: &LayerReport) {
        self.loss += report.loss;
        self.applied += u32::from(matches!(report.outcome, Outcome::Applied));
        self.refused += u32::from(matches!(report.outcome, Outcome::Refused(_)));
    }
}

/// A batch of pairs.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[2N, C, H, W]`: first all first views, then all second views in the same order.
    pub frames: &'a [f32],
    /// `[K, 2N]`: places in the list of positives, whose row `j` is the other view of row `j`
    /// ([`ring_negatives`], [`uniform_negatives`]).
    pub negatives: &'a [u32],
    /// For each row, whether only its positive (`true`) or only its negative term counts; `None` for both.
    pub keep_positive: Option<&'a [bool]>,
}

/// Fills `[K, 2N]` with the paper's ring of negatives: every row takes the next row's positive, or, for
/// further negatives, the one after that (spec 1.3). `rows` is `2N`.
pub fn ring_negatives(negatives: &mut [u32], rows: usize) {
    let rows = rows.max(1);
    for (k, list) in negatives.chunks_mut(rows).enumerate() {
        for (j, negative) in list.iter_mut().enumerate() {
            *negative = ((j + k + 1) % rows) as u32;
        }
    }
}

/// Fills `[K, 2N]` with negatives drawn uniformly and independently from all rows by `random`, a source of
/// uniform `u32` (spec 1.3). `rows` is `2N`.
pub fn uniform_negatives(negatives: &mut [u32], rows: usize, mut random: impl FnMut() -> u32) {
    for negative in negatives {
        // The high word of the product: uniform up to rows / 2^32.
        *negative = ((u64::from(random()) * rows as u64) >> 32) as u32;
    }
}

/// What [`Pass::step_layer`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// The forward pass of a layer, on the way to the top layer's activity, which is a context.
    Prepared {
        /// Index of the layer.
        layer: usize,
    },
    /// A layer's forward pass and update.
    Learnt(LayerReport),
}

/// A network that learns in place, bound to buffers of the caller.
#[derive(Debug)]
pub struct Learner<'a> {
    network: NetworkView<'a>,
    optimizer: Optimizer,
    guard: Guard,
    buffers: Buffers<'a>,
    has_context: bool,
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

/// A frame or a batch on its way through the layers.
#[derive(Debug)]
pub struct Pass<'p, 'a> {
    learner: &'p mut Learner<'a>,
    frames: &'p [f32],
    pairing: Pairing<'p>,
    rows: usize,
    modulator: f32,
    next: usize,
    /// The pass is on its first way up, for the top layer's activity.
    prepare: bool,
}

/// The workspace of one pass, cut up.
struct Parts<'w> {
    even: &'w mut [f32],
    odd: &'w mut [f32],
    pooled: &'w mut [f32],
    prediction: &'w mut [f32],
    error: &'w mut [f32],
    top: &'w mut [f32],
    scores: &'w mut [f32],
    scratch: &'w mut [f32],
}

impl Pass<'_, '_> {
    /// Does the next layer; `None` once all are done.
    pub fn step_layer(&mut self, observer: &mut impl Observer) -> Option<Progress> {
        let layer = self.learner.network.layer(self.next)?;
        self.next += 1;
        let is_top = self.next == self.learner.network.layer_count();
        if self.prepare {
            self.prepare_layer(&layer, is_top);
            if is_top {
                (self.prepare, self.next) = (false, 0);
            }
            return Some(Progress::Prepared { layer: layer.index });
        }
        let report = self.learn_layer(&layer, observer);
        observer.report(&report);
        if is_top && matches!(self.pairing, Pairing::Stream(_)) {
            self.learner.has_context = true;
        }
        Some(Progress::Learnt(report))
    }

    /// Does all layers that are left.
    pub fn finish(mut self, observer: &mut impl Observer) -> Summary {
        let mut summary = Summary::default();
        while let Some(progress) = self.step_layer(observer) {
            if let Progress::Learnt(report) = progress {
                summary.add(&report);
            }
        }
        summary
    }

    fn parts<'w>(network: &NetworkView<'_>, rows: usize, pairing: Pairing<'_>, workspace: &'w mut [f32]) -> Parts<'w> {
        let mut rest = workspace;
        let [even, odd] = network.activation_lens();
        let pooled = rows * network.largest_pooled();
        let (top, scores) = match pairing {
            Pairing::Stream(_) => (0, 0),
            Pairing::Batch { negatives, .. } => {
                let top = if network.rule().context.has_top() { rows * network.top_len() } else { 0 };
                let losses = if matches!(network.rule().context, Context::Both) { 2 } else { 1 };
                (top, losses * 2 * (rows + negatives.len()))
            }
        };
        Parts {
            even: cut(&mut rest, rows * even),
            odd: cut(&mut rest, rows * odd),
            pooled: cut(&mut rest, pooled),
            prediction: cut(&mut rest, pooled),
            error: cut(&mut rest, pooled),
            top: cut(&mut rest, top),
            scores: cut(&mut rest, scores),
            scratch: rest,
        }
    }

    fn prepare_layer(&mut self, layer: &Layer, is_top: bool) {
        let buffers = &mut self.learner.buffers;
        let Parts { even, odd, pooled, top, scratch, .. } =
            Self::parts(&self.learner.network, self.rows, self.pairing, buffers.workspace);
        let (input, output) = in_and_out(layer.index, even, odd);
        let input = if layer.index == 0 { self.frames } else { input };
        let pooled = if is_top { top } else { pooled };
        forward(layer, self.rows, buffers.parameters, input, output, &mut [], scratch, pooled);
    }

    fn learn_layer(&mut self, layer: &Layer, observer: &mut impl Observer) -> LayerReport {
        let rows = self.rows;
        let Learner { network, optimizer, guard, buffers, has_context } = &mut *self.learner;
        let Parts { even, odd, pooled, prediction, error, top, scores, scratch } =
            Self::parts(network, rows, self.pairing, buffers.workspace);
        let (input, output) = in_and_out(layer.index, even, odd);
        let len = layer.pooled.len();
        let input = if layer.index == 0 { self.frames } else { input };
        let input = input.get(..rows * layer.input.len()).unwrap_or_default();
        let output = output.get_mut(..rows * layer.output.len()).unwrap_or_default();
        let [pooled, prediction, error] =
            [pooled, prediction, error].map(|part| part.get_mut(..rows * len).unwrap_or_default());
        let argmax_len = if layer.block.max_pool.is_some() { rows * layer.output.len() } else { 0 };
        let argmax = buffers.argmax.get_mut(..argmax_len).unwrap_or_default();
        let sound = forward(layer, rows, buffers.parameters, input, output, argmax, scratch, pooled);
        observer.activity(&Activity { layer: layer.index, rows, output, pooled });

        let mut report = LayerReport {
            layer: layer.index,
            outcome: Outcome::NoContext,
            loss: 0.0,
            mean_positive: None,
            mean_negative: None,
            update_norm: 0.0,
            dead: dead_share(layer, output),
            satisfied: 0.0,
        };
        let streams = matches!(self.pairing, Pairing::Stream(_));
        if *has_context || !streams {
            // Room for the two scores and factors of a stream's frame.
            let mut frame_scores = [0.0_f32; 4];
            let room = if streams { &mut frame_scores } else { scores };
            let mut losses = losses(network, layer, self.pairing, rows, pooled, buffers.contexts, top, room);
            error.fill(0.0);
            for loss in losses.iter_mut().flatten() {
                loss.score(&network.rule(), self.pairing, buffers.parameters, len, pooled, prediction, error);
                observer.scores(&loss.scores(layer.index));
            }
            sum_up(&mut report, &losses);
            let sound = sound && losses.iter().flatten().all(Loss::is_finite);
            let state = buffers.layers.get_mut(layer.index);
            let frozen = state.as_ref().is_some_and(|state| state.frozen);
            report.outcome = if frozen {
                Outcome::Frozen
            } else if self.modulator == 0.0 {
                Outcome::Muted
            } else if !sound {
                Outcome::Refused(Refusal::Activity)
            } else {
                let lesson = Lesson {
                    network: *network,
                    layer: *layer,
                    pairing: self.pairing,
                    rows,
                    input,
                    output,
                    argmax,
                    pooled,
                    error,
                    losses,
                };
                let target =
                    Target { parameters: buffers.parameters, state: buffers.state, counterpart: prediction, scratch };
                let steps = state.as_ref().map_or(0, |state| state.steps);
                match lesson.learn(optimizer, guard, self.modulator, steps, target) {
                    Ok(norm) => {
                        report.update_norm = norm;
                        Outcome::Applied
                    }
                    Err(reason) => Outcome::Refused(reason),
                }
            };
            if let Some(state) = state {
                match report.outcome {
                    Outcome::Applied => state.steps = state.steps.saturating_add(1),
                    Outcome::Refused(_) => state.refused = state.refused.saturating_add(1),
                    Outcome::Frozen | Outcome::Muted | Outcome::NoContext => {}
                }
            }
        }
        if streams && sound {
            let context = buffers.contexts.get_mut(layer.feature_offset..layer.feature_offset + len);
            for (context, pooled) in context.unwrap_or_default().iter_mut().zip(pooled) {
                *context = *pooled;
            }
        }
        report
    }
}

/// The losses of a layer, same-layer context first. `room` holds scores and factors.
#[allow(clippy::too_many_arguments, reason = "buffers side by side")]
fn losses<'b>(
    network: &NetworkView<'_>,
    layer: &Layer,
    pairing: Pairing<'_>,
    rows: usize,
    pooled: &'b [f32],
    contexts: &'b [f32],
    top: &'b [f32],
    room: &'b mut [f32],
) -> [Option<Loss<'b>>; 2] {
    let rule = network.rule();
    let mut rest = room;
    let (positives, negatives) = match pairing {
        Pairing::Stream(Phase::Fixation) => (1, 0),
        Pairing::Stream(Phase::Saccade) => (0, 1),
        Pairing::Batch { negatives, .. } => (rows, negatives.len()),
    };
    let (same_context, top_context) = match pairing {
        Pairing::Stream(_) => {
            let of = |layer: &Layer| contexts.get(layer.feature_offset..layer.feature_offset + layer.pooled.len());
            (of(layer).unwrap_or_default(), network.top().and_then(|top| of(&top)).unwrap_or_default())
        }
        Pairing::Batch { .. } => (pooled, top),
    };
    let has_matrix = !matches!(rule.projection, Projection::Identity);
    let projection = network.projection_offset(layer);
    let mut loss = |source: Source, context: &'b [f32], context_len: usize, at: usize| Loss {
        source,
        context,
        context_len,
        matrix: has_matrix.then_some(at),
        positive: cut(&mut rest, positives),
        negative: cut(&mut rest, negatives),
        positive_factor: cut(&mut rest, positives),
        negative_factor: cut(&mut rest, negatives),
        value: 0.0,
    };
    let same = rule.context.has_same().then(|| loss(Source::Same, same_context, layer.pooled.len(), projection));
    let feedback = projection + network.same_len(layer);
    let top = rule.context.has_top().then(|| loss(Source::Top, top_context, network.top_len(), feedback));
    [same, top]
}

fn mean<'a>(values: impl Iterator<Item = &'a f32>) -> Option<f32> {
    let (sum, count) = values.fold((0.0_f32, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { None } else { Some(sum / count as f32) }
}

fn sum_up(report: &mut LayerReport, losses: &[Option<Loss<'_>>; 2]) {
    report.mean_positive = mean(losses.iter().flatten().flat_map(|loss| loss.positive.iter()));
    report.mean_negative = mean(losses.iter().flatten().flat_map(|loss| loss.negative.iter()));
    let (mut satisfied, mut rows) = (0, 0);
    for loss in losses.iter().flatten() {
        report.loss += loss.value;
        satisfied += loss.satisfied();
        rows += loss.positive_factor.len().max(1);
    }
    report.satisfied = satisfied as f32 / rows.max(1) as f32;
}

/// Share of channels without a positive value in any frame.
fn dead_share(layer: &Layer, output: &[f32]) -> f32 {
    let area = layer.output.area();
    let alive = |channel: &usize| {
        output.chunks_exact(layer.output.len().max(1)).any(|frame| {
            frame.get(channel * area..(channel + 1) * area).unwrap_or_default().iter().any(|value| *value > 0.0)
        })
    };
    let channels = layer.output.channels;
    (channels - (0..channels).filter(alive).count()) as f32 / channels.max(1) as f32
}
