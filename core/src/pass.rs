//! The pass of one frame or one batch through the layers, one layer at a time (docs/paper.md 3.1): the work of
//! [`Learner::observe`] and [`Learner::step`].

use crate::contrast::Phase;
use crate::guard::Refusal;
use crate::infer::{cut, forward, in_and_out};
use crate::learner::{LayerState, Learner, Previous, Summary};
use crate::math::the_one_nan;
use crate::network::{Context, NetworkView, Projection};
use crate::observer::{Activity, LayerReport, Observer, Outcome, Source};
use crate::plan::Layer;
use crate::rows::each_row;
use crate::rule::{Learnt, Lesson, Loss, Pairing, PooledError, Target};

/// Result of [`Pass::step_layer`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// The forward pass of a layer, on the way to the top layer's activity, which is a context.
    Prepared {
        /// Index of the layer.
        layer: usize,
    },
    /// A layer's forward pass, and what became of its update. Where its activity is not finite
    /// ([`Refusal::Activity`]), the pass is at its end.
    Learnt(LayerReport),
}

/// A frame or a batch on its way through the layers.
#[must_use = "a pass that is dropped before its end leaves the layers above without the frame; call `finish`"]
#[derive(Debug)]
pub struct Pass<'p, 'a> {
    pub(crate) learner: &'p mut Learner<'a>,
    pub(crate) frames: &'p [f32],
    pub(crate) pairing: Pairing<'p>,
    pub(crate) rows: usize,
    pub(crate) modulator: f32,
    pub(crate) next: usize,
    /// The pass is on its first way up, for the top layer's activity.
    pub(crate) prepare: bool,
    /// There is a context.
    pub(crate) compares: bool,
}

/// The workspace of one pass, cut up.
struct Parts<'w> {
    even: &'w mut [f32],
    odd: &'w mut [f32],
    pooled: &'w mut [f32],
    prediction: &'w mut [f32],
    error: &'w mut [f32],
    remainder: &'w mut [f32],
    top: &'w mut [f32],
    scores: &'w mut [f32],
    scratch: &'w mut [f32],
}

impl Pass<'_, '_> {
    /// Does the next layer; `None` once all are done, or after a layer whose activity was not finite.
    pub fn step_layer(&mut self, observer: &mut impl Observer) -> Option<Progress> {
        let layer = self.learner.network.layer(self.next)?;
        self.next += 1;
        let is_top = self.next == self.learner.network.layer_count();
        let report = if self.prepare {
            if self.prepare_layer(&layer, is_top) {
                if is_top {
                    (self.prepare, self.next) = (false, 0);
                }
                return Some(Progress::Prepared { layer: layer.index });
            }
            self.refuse(&layer)
        } else {
            self.learn_layer(&layer, observer)
        };
        observer.report(&report);
        let sound = report.outcome != Outcome::Refused(Refusal::Activity);
        if !sound {
            self.next = self.learner.network.layer_count();
        }
        if matches!(self.pairing, Pairing::Stream(_)) {
            if !sound {
                self.learner.previous = Previous::Unsound { layer: layer.index };
            } else if is_top {
                self.learner.previous = Previous::Frame;
            }
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
        let (remainder, top, scores) = match pairing {
            Pairing::Stream(_) => (0, 0, 0),
            Pairing::Batch { negatives, .. } => {
                let top = if network.rule().context.has_top() { rows * network.top_len() } else { 0 };
                let losses = if matches!(network.rule().context, Context::Both) { 2 } else { 1 };
                (pooled, top, losses * 2 * (rows + negatives.len()))
            }
        };
        Parts {
            even: cut(&mut rest, rows * even),
            odd: cut(&mut rest, rows * odd),
            pooled: cut(&mut rest, pooled),
            prediction: cut(&mut rest, pooled),
            error: cut(&mut rest, pooled),
            remainder: cut(&mut rest, remainder),
            top: cut(&mut rest, top),
            scores: cut(&mut rest, scores),
            scratch: rest,
        }
    }

    /// The forward pass of a layer alone. Returns whether all was finite.
    fn prepare_layer(&mut self, layer: &Layer, is_top: bool) -> bool {
        let buffers = &mut self.learner.buffers;
        let Parts { even, odd, pooled, top, scratch, .. } =
            Self::parts(&self.learner.network, self.rows, self.pairing, buffers.workspace);
        let (input, output) = in_and_out(layer.index, even, odd);
        let input = if layer.index == 0 { self.frames } else { input };
        let pooled = if is_top { top } else { pooled };
        forward(layer, self.rows, buffers.parameters, input, output, &mut [], scratch, pooled)
    }

    /// Counts and reports a layer whose activity is not finite.
    fn refuse(&mut self, layer: &Layer) -> LayerReport {
        let outcome = Outcome::Refused(Refusal::Activity);
        if let Some(state) = self.learner.buffers.layers.get_mut(layer.index) {
            state.count(outcome, self.modulator);
        }
        LayerReport { loss: f32::NAN, ..report(layer, outcome, 0.0) }
    }

    fn learn_layer(&mut self, layer: &Layer, observer: &mut impl Observer) -> LayerReport {
        let rows = self.rows;
        let Learner { network, optimizer, guard, buffers, .. } = &mut *self.learner;
        let Parts { even, odd, pooled, prediction, error, remainder, top, scores, scratch } =
            Self::parts(network, rows, self.pairing, buffers.workspace);
        let (input, output) = in_and_out(layer.index, even, odd);
        let len = layer.pooled.len();
        let input = if layer.index == 0 { self.frames } else { input };
        let input = input.get(..rows * layer.input.len()).unwrap_or_default();
        let output = output.get_mut(..rows * layer.output.len()).unwrap_or_default();
        let [pooled, prediction, error] =
            [pooled, prediction, error].map(|part| part.get_mut(..rows * len).unwrap_or_default());
        let remainder = remainder.get_mut(..rows * len).unwrap_or_default();
        let argmax_len = if layer.block.max_pool.is_some() { rows * layer.output.len() } else { 0 };
        let argmax = buffers.argmax.get_mut(..argmax_len).unwrap_or_default();
        if !forward(layer, rows, buffers.parameters, input, output, argmax, scratch, pooled) {
            return self.refuse(layer);
        }
        observer.activity(&Activity { layer: layer.index, rows, output, pooled });

        let mut report = report(layer, Outcome::NoContext, dead_share(layer, output));
        let streams = matches!(self.pairing, Pairing::Stream(_));
        if self.compares {
            // Room for the two scores and factors of a stream's frame.
            let mut frame_scores = [0.0_f32; 4];
            let room = if streams { &mut frame_scores } else { scores };
            let mut losses = losses(network, layer, self.pairing, rows, pooled, buffers.contexts, top, room);
            error.fill(0.0);
            remainder.fill(0.0);
            let mut error = PooledError { value: error, remainder };
            for loss in losses.iter_mut().flatten() {
                loss.score(&network.rule(), self.pairing, buffers.parameters, len, pooled, prediction, &mut error);
                observer.scores(&loss.scores(layer.index));
            }
            sum_up(&mut report, &losses);
            let mut spare = LayerState::NEW;
            let state = buffers.layers.get_mut(layer.index).unwrap_or(&mut spare);
            // A score that is not finite leaves no finite mean.
            report.outcome = if !report.is_finite() {
                Outcome::Refused(Refusal::Score)
            } else if state.frozen {
                Outcome::Frozen
            } else if self.modulator == 0.0 {
                Outcome::Muted
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
                match lesson.learn(optimizer, guard, self.modulator, state, target) {
                    Ok(Learnt { norm, scaled }) => {
                        report.update_norm = norm;
                        if scaled {
                            state.refused = state.refused.saturating_add(1);
                        }
                        Outcome::Applied
                    }
                    Err(reason) => Outcome::Refused(reason),
                }
            };
            state.count(report.outcome, self.modulator);
        }
        if streams {
            let context = buffers.contexts.get_mut(layer.feature_offset..layer.feature_offset + len);
            for (context, pooled) in context.unwrap_or_default().iter_mut().zip(pooled) {
                *context = *pooled;
            }
        }
        report
    }
}

/// A report without scores.
fn report(layer: &Layer, outcome: Outcome, dead: f32) -> LayerReport {
    LayerReport {
        layer: layer.index,
        outcome,
        loss: 0.0,
        mean_positive: None,
        mean_negative: None,
        update_norm: 0.0,
        dead,
        satisfied: 0.0,
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
    if count == 0 { None } else { Some(the_one_nan(sum / count as f32)) }
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
    report.loss = the_one_nan(report.loss);
    report.satisfied = satisfied as f32 / rows.max(1) as f32;
}

/// Share of channels without a value other than zero in any frame. After a ReLU, such a value is positive.
fn dead_share(layer: &Layer, output: &[f32]) -> f32 {
    let area = layer.output.area();
    let alive = |channel: &usize| {
        each_row(output, layer.output.len()).any(|frame| {
            frame.get(channel * area..(channel + 1) * area).unwrap_or_default().iter().any(|value| *value != 0.0)
        })
    };
    let channels = layer.output.channels;
    (channels - (0..channels).filter(alive).count()) as f32 / channels.max(1) as f32
}
