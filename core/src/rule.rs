//! The local learning rule of one layer.
//!
//! A layer learns from its input `x`, its pooled activity `p` and a context `c` (docs/paper.md 1.2, 2):
//!
//! ```text
//! s = B c                    prediction of the dendrites
//! u = p . s                  score
//! g = df/du                  gating factor: one number for all neurons of the layer
//! dL/dp = g s                spread over the pooling cells, routed to the maxima, cut where the neuron is silent
//! dL/dW = g s rho'(a) x      third factor, prediction, Hebbian pair (docs/paper.md 2.6)
//! dL/dB = g p c^T
//! ```
//!
//! In a stream, `p` and `c` belong to two successive frames. In a batch, row `j` is the context of its
//! partner (the other view of the same image) and of its negatives, and all is averaged over rows.

use crate::contrast::{self, Phase};
use crate::conv::{self, FilterSink};
use crate::dense;
use crate::guard::{Guard, Refusal};
use crate::learner::LayerState;
use crate::network::{NetworkView, Projection, Rule};
use crate::observer::{Scores, Source};
use crate::optimizer::{Optimizer, Scan, Step, TINY, Totals};
use crate::plan::Layer;
use crate::pool;
use crate::rows::{each_row, each_row_mut};

/// Who is compared with whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pairing<'a> {
    /// One frame with the one before it.
    Stream(Phase),
    /// Rows of a batch: `negatives` is `[K, rows]`, checked to lie below `rows`.
    Batch { pairs: usize, negatives: &'a [u32], keep_positive: Option<&'a [bool]> },
}

/// The partner of a row: the other view of the same image.
fn partner(row: usize, pairs: usize) -> usize {
    if row < pairs { row + pairs } else { row - pairs }
}

/// The row in the place of the `k`-th negative of row `j`.
fn negative_row(negatives: &[u32], rows: usize, pairs: usize, k: usize, j: usize) -> usize {
    let place = negatives.get(k * rows + j).copied().unwrap_or(0) as usize;
    partner(place, pairs)
}

/// Row `index` of a matrix with rows of `len`.
fn row(matrix: &[f32], len: usize, index: usize) -> &[f32] {
    matrix.get(index * len..(index + 1) * len).unwrap_or_default()
}

fn row_mut(matrix: &mut [f32], len: usize, index: usize) -> &mut [f32] {
    matrix.get_mut(index * len..(index + 1) * len).unwrap_or_default()
}

/// Mean of `u- - u+` over negatives, from the difference of the activities: closer than that of the scores. In double
/// precision, since what is left of terms of both signs may be little.
fn mean_gap<'a>(negatives: impl Iterator<Item = &'a [f32]>, positive: &[f32], prediction: &[f32]) -> f64 {
    let (mut sum, mut count) = (0.0_f64, 0_u32);
    for negative in negatives {
        for ((negative, positive), s) in negative.iter().zip(positive).zip(prediction) {
            sum += (f64::from(*negative) - f64::from(*positive)) * f64::from(*s);
        }
        count += 1;
    }
    sum / f64::from(count.max(1))
}

/// One loss of a layer: a context, the projection from it, scores and gating factors.
pub(crate) struct Loss<'a> {
    pub source: Source,
    /// `[rows, context_len]`.
    pub context: &'a [f32],
    pub context_len: usize,
    /// Offset of the projection in the parameters; the identity has none.
    pub matrix: Option<usize>,
    /// `[rows]`, or empty.
    pub positive: &'a mut [f32],
    /// `[rows, K]`, or empty.
    pub negative: &'a mut [f32],
    pub positive_factor: &'a mut [f32],
    /// Before the mean over the negatives is taken.
    pub negative_factor: &'a mut [f32],
    pub value: f32,
}

/// The gradient of the pooled activity, `[rows, D]`, and what single precision leaves out of it.
///
/// A row's errors as a positive and as a negative cancel over a batch wherever all rows are active alike.
/// The gradient of the bias is what is left over, and AdamW would turn mere rounding there into full steps.
pub(crate) struct PooledError<'a> {
    pub value: &'a mut [f32],
    /// As long as `value`, or empty in a stream, where nothing cancels.
    pub remainder: &'a mut [f32],
}

impl PooledError<'_> {
    /// Adds `scale * prediction` to row `index`.
    fn add(&mut self, len: usize, index: usize, scale: f64, prediction: &[f32]) {
        if scale == 0.0 {
            return;
        }
        let remainder = row_mut(self.remainder, len, index);
        for ((value, remainder), prediction) in
            row_mut(self.value, len, index).iter_mut().zip(remainder).zip(prediction)
        {
            let sum = f64::from(*value) + f64::from(*remainder) + scale * f64::from(*prediction);
            *value = sum as f32;
            *remainder = (sum - f64::from(*value)) as f32;
        }
    }
}

impl Loss<'_> {
    /// Predicts, scores and gates; adds this loss's part to the gradient of the pooled activity.
    ///
    /// `pooled`, `prediction` and `error` are `[rows, len]`; `parameters` all parameters of the network.
    #[allow(clippy::too_many_arguments, reason = "the parts of one formula")]
    pub fn score(
        &mut self,
        rule: &Rule,
        pairing: Pairing<'_>,
        parameters: &[f32],
        len: usize,
        pooled: &[f32],
        prediction: &mut [f32],
        error: &mut PooledError<'_>,
    ) {
        for (context, prediction) in each_row(self.context, self.context_len).zip(each_row_mut(prediction, len)) {
            match self.matrix {
                Some(at) => {
                    let matrix = parameters.get(at..at + len * self.context_len).unwrap_or_default();
                    dense::matrix_vector(matrix, context, prediction);
                }
                None => prediction.iter_mut().zip(context).for_each(|(prediction, context)| *prediction = *context),
            }
        }
        match pairing {
            Pairing::Stream(phase) => {
                let score = dense::dot(pooled, prediction);
                let (value, factor) = contrast::stream(rule, phase, score);
                // One of both lists is empty: the frame is a positive or a negative.
                for (u, g) in self.positive.iter_mut().zip(self.positive_factor.iter_mut()) {
                    (*u, *g) = (score, factor);
                }
                for (u, g) in self.negative.iter_mut().zip(self.negative_factor.iter_mut()) {
                    (*u, *g) = (score, factor);
                }
                self.value = value;
                dense::add_scaled(error.value, factor, prediction);
            }
            Pairing::Batch { pairs, negatives, keep_positive } => {
                self.score_batch(rule, pairs, negatives, keep_positive, len, pooled, prediction);
                let rows = 2 * pairs;
                let per_row = self.negatives_per_row();
                let share = 1.0 / rows.max(1) as f64;
                let negative_share = share / per_row.max(1) as f64;
                let mut gates = each_row(self.negative_factor, per_row);
                for (j, factor) in self.positive_factor.iter().enumerate() {
                    let prediction = row(prediction, len, j);
                    error.add(len, partner(j, pairs), f64::from(*factor) * share, prediction);
                    for (k, factor) in gates.next().unwrap_or_default().iter().enumerate() {
                        let other = negative_row(negatives, rows, pairs, k, j);
                        error.add(len, other, f64::from(*factor) * negative_share, prediction);
                    }
                }
            }
        }
    }

    fn negatives_per_row(&self) -> usize {
        self.negative.len().checked_div(self.positive.len()).unwrap_or(0)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one formula")]
    fn score_batch(
        &mut self,
        rule: &Rule,
        pairs: usize,
        negatives: &[u32],
        keep_positive: Option<&[bool]>,
        len: usize,
        pooled: &[f32],
        prediction: &[f32],
    ) {
        let rows = 2 * pairs;
        let per_row = self.negatives_per_row().max(1);
        // Rows' losses of both signs may leave little, so that their rounding would be most of it.
        let mut sum = 0.0_f64;
        let lists = each_row_mut(self.negative, per_row).zip(each_row_mut(self.negative_factor, per_row));
        let rows_of = self.positive.iter_mut().zip(self.positive_factor.iter_mut()).zip(lists);
        for (j, ((u, factor), (scores, factors))) in rows_of.enumerate() {
            let prediction = row(prediction, len, j);
            *u = dense::dot(row(pooled, len, partner(j, pairs)), prediction);
            for (k, score) in scores.iter_mut().enumerate() {
                *score = dense::dot(row(pooled, len, negative_row(negatives, rows, pairs, k, j)), prediction);
            }
            let keep = keep_positive.and_then(|keep| keep.get(j).copied());
            let positive = row(pooled, len, partner(j, pairs));
            let gap = || {
                let negatives = (0..per_row).map(|k| row(pooled, len, negative_row(negatives, rows, pairs, k, j)));
                mean_gap(negatives, positive, prediction)
            };
            let (value, slope) = contrast::pairs(rule, *u, scores, gap, keep, factors);
            *factor = slope;
            sum += value;
        }
        self.value = (sum / rows.max(1) as f64) as f32;
    }

    /// The factor beside the context in the projection's gradient, divided by the number of rows:
    /// `g p` in a stream, `g+ z+ + sum_k g- z-` in a batch (docs/paper.md 2.2); `[rows, len]`.
    fn counterpart(&self, pairing: Pairing<'_>, len: usize, pooled: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        match pairing {
            Pairing::Stream(_) => {
                for factor in self.positive_factor.iter().chain(self.negative_factor.iter()) {
                    dense::add_scaled(out, *factor, pooled);
                }
            }
            Pairing::Batch { pairs, negatives, .. } => {
                // Negatives are taken relative to the positive: where attraction and repulsion weigh the same,
                // the difference of two similar activities is taken before anything is rounded.
                let rows = 2 * pairs;
                let per_row = self.negatives_per_row();
                let share = 1.0 / (rows * per_row.max(1)).max(1) as f32;
                let mut gates = each_row(self.negative_factor, per_row);
                for ((j, factor), out) in self.positive_factor.iter().enumerate().zip(each_row_mut(out, len)) {
                    let positive = row(pooled, len, partner(j, pairs));
                    let mut rest = factor * per_row.max(1) as f32;
                    for (k, factor) in gates.next().unwrap_or_default().iter().enumerate() {
                        rest += factor;
                        let negative = row(pooled, len, negative_row(negatives, rows, pairs, k, j));
                        for ((out, negative), positive) in out.iter_mut().zip(negative).zip(positive) {
                            *out += factor * share * (negative - positive);
                        }
                    }
                    dense::add_scaled(out, rest * share, positive);
                }
            }
        }
    }

    /// Number of rows all of whose gating factors are zero.
    pub fn satisfied(&self) -> usize {
        let rows = self.positive_factor.len().max(1);
        let per_row = self.negative_factor.len().div_ceil(rows).max(1);
        let mut negative = self.negative_factor.chunks(per_row);
        let quiet = |factors: &[f32]| factors.iter().all(|factor| *factor == 0.0);
        (0..rows)
            .filter(|&row| {
                let positive = self.positive_factor.get(row).is_none_or(|factor| *factor == 0.0);
                quiet(negative.next().unwrap_or_default()) && positive
            })
            .count()
    }

    /// A view for an observer.
    pub fn scores(&self, layer: usize) -> Scores<'_> {
        Scores {
            layer,
            source: self.source,
            positive: self.positive,
            negative: self.negative,
            positive_factor: self.positive_factor,
            negative_factor: self.negative_factor,
            loss: self.value,
        }
    }
}

/// All that the update of one layer is worked out from.
pub(crate) struct Lesson<'a, 'b> {
    pub network: NetworkView<'a>,
    pub layer: Layer,
    pub pairing: Pairing<'a>,
    pub rows: usize,
    /// `[rows, in, height, width]`.
    pub input: &'b [f32],
    /// `[rows, out, height, width]`.
    pub output: &'b [f32],
    pub argmax: &'b [u8],
    /// `[rows, D]`, as `error`.
    pub pooled: &'b [f32],
    pub error: PooledError<'b>,
    pub losses: [Option<Loss<'b>>; 2],
}

/// An update that was made.
pub(crate) struct Learnt {
    /// L2 norm of the change.
    pub norm: f32,
    /// It was too long, and scaled down to the guard's cap.
    pub scaled: bool,
}

/// The data that an update works on: all parameters, all state, and a layer's scratch.
pub(crate) struct Target<'b> {
    pub parameters: &'b mut [f32],
    pub state: &'b mut [f32],
    /// `[rows, D]`.
    pub counterpart: &'b mut [f32],
    pub scratch: &'b mut [f32],
}

impl Lesson<'_, '_> {
    /// Updates the layer, or refuses to and lets the optimiser's state decay. Returns the norm of the update.
    pub fn learn(
        &self,
        optimizer: &Optimizer,
        guard: &Guard,
        modulator: f32,
        state: &LayerState,
        target: Target<'_>,
    ) -> Result<Learnt, Refusal> {
        let step = Step::new(optimizer, modulator, state.steps);
        let refusals = state.refused;
        let Target { parameters, state, counterpart, scratch } = target;
        let half = if matches!(optimizer, Optimizer::AdamW { .. }) { parameters.len() } else { state.len() };
        let (first, second) = state.split_at_mut_checked(half).unwrap_or_default();
        let mut update = Update {
            step,
            bases: self.bases(),
            bias: self.layer.block.bias,
            fan_in: self.layer.fan_in(),
            scales: [1.0; 4],
            mode: Mode::Measure,
            parameters,
            first,
            second,
            totals: Totals::default(),
            norms: [0.0; 4],
        };
        let quiet = self.losses.iter().flatten().all(|loss| loss.satisfied() == loss.positive_factor.len().max(1));
        if quiet && !step.needs_scan() && !matches!(optimizer, Optimizer::Record) {
            return Ok(Learnt { norm: 0.0, scaled: false });
        }
        let factor = match self.factor(optimizer, guard, refusals, &mut update, counterpart, scratch) {
            Ok(factor) => factor,
            Err(reason) => {
                self.each_tensor(&mut update, |step, _, first, second| step.decay(first, second));
                return Err(reason);
            }
        };
        let scaled = factor != 1.0;
        if scaled {
            update.step = step.scaled(factor);
        }
        update.mode = Mode::Apply;
        self.visit(&mut update, counterpart, scratch);
        Ok(Learnt { norm: crate::math::sqrt(update.totals.squares), scaled })
    }

    /// The factor of the update: 1, or less where it is too long and scaled down. Changes nothing.
    fn factor(
        &self,
        optimizer: &Optimizer,
        guard: &Guard,
        refusals: u32,
        update: &mut Update<'_>,
        counterpart: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<f32, Refusal> {
        let mut gradient = self.gradient_bound(counterpart);
        if let Optimizer::Lars { trust, .. } = *optimizer {
            gradient = self.scale_to_trust(trust, update, counterpart, scratch)?;
        }
        let mut scan = Scan::default();
        if update.step.needs_scan() {
            self.each_tensor(update, |step, parameters, first, second| step.scan(&mut scan, parameters, first, second));
        }
        if guard.admits_bound(update.step.bound(gradient, &scan)) {
            return Ok(1.0);
        }
        self.visit(update, counterpart, scratch);
        let Totals { squares, probe } = core::mem::take(&mut update.totals);
        guard.admits(crate::math::sqrt(squares), probe == 0.0, refusals)
    }

    /// Offsets of the layer's tensors in the parameters.
    fn bases(&self) -> [usize; 4] {
        let (network, layer) = (&self.network, &self.layer);
        let projection = network.projection_offset(layer);
        let weights = layer.encoder_offset;
        [weights, weights + layer.weight_len(), projection, projection + network.same_len(layer)]
    }

    /// Lengths of the layer's tensors that learn.
    fn lens(&self) -> [usize; 4] {
        let (network, layer) = (&self.network, &self.layer);
        let [same, feedback] = if matches!(network.rule.projection, Projection::Trainable) {
            [network.same_len(layer), network.feedback_len(layer)]
        } else {
            [0, 0]
        };
        [layer.weight_len(), layer.bias_len(), same, feedback]
    }

    /// Hands every piece of the gradient to `update`, in a fixed order.
    fn visit(&self, update: &mut Update<'_>, counterpart: &mut [f32], scratch: &mut [f32]) {
        let error = conv::PooledGradient { value: self.error.value, remainder: self.error.remainder };
        conv::weight_gradient(&self.layer, self.input, self.output, self.argmax, error, scratch, update);
        if !matches!(self.network.rule.projection, Projection::Trainable) {
            return;
        }
        let len = self.layer.pooled.len();
        for loss in self.losses.iter().flatten() {
            loss.counterpart(self.pairing, len, self.pooled, counterpart);
            let tensor = match loss.source {
                Source::Same => SAME,
                Source::Top => FEEDBACK,
            };
            dense::outer_products(counterpart, len, loss.context, loss.context_len, &mut |at, piece| {
                update.piece(tensor, at, piece);
            });
        }
    }

    /// An upper bound of the gradient's norm, by the inequality of Cauchy and Schwarz.
    fn gradient_bound(&self, counterpart: &mut [f32]) -> f32 {
        let layer = &self.layer;
        let [height, width] = layer.block.kernel;
        let spread = pool::spread_bound(layer.block.loss_pool, layer.pooled, layer.output);
        let positions = (self.rows * layer.output.area()) as f32;
        let inputs = (height * width) as f32 * dense::squares(self.input) + positions;
        // Norms are multiplied, and not their squares: a square may vanish whose factor is large.
        let mut bound = crate::math::sqrt(spread * inputs) * dense::norm(self.error.value);
        if matches!(self.network.rule.projection, Projection::Trainable) {
            for loss in self.losses.iter().flatten() {
                loss.counterpart(self.pairing, layer.pooled.len(), self.pooled, counterpart);
                bound += dense::norm(counterpart) * dense::norm(loss.context);
            }
        }
        bound + TINY
    }

    /// Visits parameters and state of each tensor that learns.
    fn each_tensor(&self, update: &mut Update<'_>, mut visit: impl FnMut(Step, &mut [f32], &mut [f32], &mut [f32])) {
        for (base, len) in self.bases().into_iter().zip(self.lens()) {
            let range = base..base + len;
            visit(
                update.step,
                update.parameters.get_mut(range.clone()).unwrap_or_default(),
                update.first.get_mut(range.clone()).unwrap_or_default(),
                update.second.get_mut(range).unwrap_or_default(),
            );
        }
    }

    /// Sets the scales of LARS (docs/paper.md 5.1) and returns the norm of the scaled gradient.
    fn scale_to_trust(
        &self,
        trust: f32,
        update: &mut Update<'_>,
        counterpart: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<f32, Refusal> {
        update.mode = Mode::Norms;
        self.visit(update, counterpart, scratch);
        update.mode = Mode::Measure;
        let mut squares = 0.0;
        let tensors = self.bases().into_iter().zip(self.lens()).zip(update.norms).zip(&mut update.scales);
        for (((base, len), gradient), scale) in tensors {
            let norm = dense::squares(update.parameters.get(base..base + len).unwrap_or_default());
            let (norm, gradient) = (crate::math::sqrt(norm), crate::math::sqrt(gradient));
            if norm > 0.0 && gradient > 0.0 {
                *scale = trust * (norm / gradient);
            }
            squares += (*scale * gradient) * (*scale * gradient);
        }
        if squares.is_finite() { Ok(crate::math::sqrt(squares) + TINY) } else { Err(Refusal::NotFinite) }
    }
}

/// Indices of a layer's tensors in the arrays of an [`Update`].
const WEIGHT: usize = 0;
const BIAS: usize = 1;
const SAME: usize = 2;
const FEEDBACK: usize = 3;

/// The use of pieces of the gradient.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The squares of every tensor's gradient, weight decay included, are summed up.
    Norms,
    /// The update is worked out, and nothing changed.
    Measure,
    /// Parameters and state change.
    Apply,
}

/// The destination of pieces of a layer's gradient.
struct Update<'a> {
    step: Step,
    bases: [usize; 4],
    bias: bool,
    fan_in: usize,
    scales: [f32; 4],
    mode: Mode,
    parameters: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    totals: Totals,
    norms: [f32; 4],
}

impl Update<'_> {
    /// Takes the gradient of a tensor's elements from `at` on.
    fn piece(&mut self, tensor: usize, at: usize, gradient: &[f32]) {
        let (Some(base), Some(scale), Some(norm)) =
            (self.bases.get(tensor), self.scales.get(tensor), self.norms.get_mut(tensor))
        else {
            return;
        };
        let range = base + at..base + at + gradient.len();
        let parameters = self.parameters.get_mut(range.clone()).unwrap_or_default();
        if self.mode == Mode::Norms {
            let decay = self.step.weight_decay();
            for (g, p) in gradient.iter().zip(parameters) {
                let g = g + decay * *p;
                *norm += g * g;
            }
            return;
        }
        let first = self.first.get_mut(range.clone()).unwrap_or_default();
        let second = self.second.get_mut(range).unwrap_or_default();
        let write = self.mode == Mode::Apply;
        self.step.take(gradient, *scale, parameters, first, second, write, &mut self.totals);
    }
}

impl FilterSink for Update<'_> {
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32) {
        self.piece(WEIGHT, index * self.fan_in, gradient);
        if self.bias {
            self.piece(BIAS, index, &[bias]);
        }
    }
}
