//! The optimum `P*`, `Q*` of the projections of a layer, its activities given (docs/paper.md 6.2).
//!
//! For a linear contrast it is a formula. For any other smooth one it is found by L-BFGS. The gradient without the ridge
//! lies in the span of the matrices `ref_b z_a^T` of the loss's scores, so L-BFGS never leaves the span of these and of
//! where it began. It runs on coordinates of an orthonormal basis of that span (`Span`), where lengths, angles and hence
//! all steps are those of the matrices themselves, and a batch of 128 rows has 258 coordinates instead of tens or hundreds
//! of thousands.

use super::contrast::Contrast;
use super::loss::{Loss, Projections};
use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use clapp_data::error::Error;
use nalgebra::{DMatrix, DVector};

mod span;
use span::Span;

/// When L-BFGS stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The rule of the paper's code: history 100, gradient 1e-7, change of the loss 1e-9, 1000 iterations, three times in a row.
    Reference,
    /// The same, then Newton's method until no entry of the gradient by `P` and `Q` exceeds [`STRICT`]. L-BFGS alone does
    /// not get there: near the optimum the loss falls by less than its own rounding (about the square of the gradient
    /// over lambda), which a line search that compares losses cannot see.
    Strict,
}

/// Largest entry of the gradient under [`Rule::Strict`].
pub const STRICT: f64 = 1e-10;

/// Pairs of vectors that L-BFGS remembers.
const HISTORY: usize = 100;
/// Iterations of one call of L-BFGS.
const ITERATIONS: u64 = 1000;
/// Calls of L-BFGS.
const CALLS: usize = 3;
/// L-BFGS stops where the gradient is as short as this.
const GRADIENT: f64 = 1e-7;
/// L-BFGS stops where the loss changes by less.
const CHANGE: f64 = 1e-9;
/// Most of Newton's steps; it takes three to six.
const NEWTON: usize = 50;
/// Most halvings of one of them.
const HALVINGS: usize = 40;

/// Why there is no optimum.
#[derive(Debug, thiserror::Error)]
pub enum OptimumError {
    /// The library has failed.
    #[error("L-BFGS: {0}")]
    Library(String),
    /// The gradient is not small enough.
    #[error("the optimum of the projections was not reached: largest entry of the gradient {0:e}, expected {STRICT:e}")]
    NotReached(f64),
}

impl From<OptimumError> for Error {
    fn from(error: OptimumError) -> Self {
        Self::failure(error)
    }
}

/// An optimum, and how it was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// The projections.
    pub projections: Projections,
    /// Iterations of L-BFGS, over all calls; 0 where a formula gives the optimum.
    pub iterations: u64,
}

/// The optimum of `loss` for rows `z` (one a column) against `references`: by formula where the contrast is linear, else
/// by [`minimise`] from `start`.
///
/// # Errors
/// Same as [`minimise`].
pub fn optimum(
    loss: &Loss,
    z: &DMatrix<f64>,
    references: &DMatrix<f64>,
    rule: Rule,
    start: &Projections,
) -> Result<Optimum, OptimumError> {
    match loss.contrast {
        Contrast::Linear => Ok(Optimum { projections: closed_form(loss, z, references), iterations: 0 }),
        _ => minimise(loss, z, references, rule, start),
    }
}

/// The optimum of a linear contrast: its gradient without the ridge does not depend on the projections, so that
/// `P* = -(that gradient) / lambda`.
///
/// # Panics
/// If the contrast is another one.
pub fn closed_form(loss: &Loss, z: &DMatrix<f64>, references: &DMatrix<f64>) -> Projections {
    assert_eq!(loss.contrast, Contrast::Linear, "contrast with an optimum in closed form");
    let zero = Projections::zero(references.nrows(), z.nrows());
    loss.projection_gradient(&zero, z, references).map(|gradient| gradient * (-1.0 / loss.ridge))
}

/// The optimum of a smooth contrast by L-BFGS from `start`.
///
/// # Errors
/// [`OptimumError`] where the library fails or, under [`Rule::Strict`], the gradient does not get small enough.
pub fn minimise(
    loss: &Loss,
    z: &DMatrix<f64>,
    references: &DMatrix<f64>,
    rule: Rule,
    start: &Projections,
) -> Result<Optimum, OptimumError> {
    let span = Span::new(loss, z, references, start);
    let mut place = span.start().to_vec();
    let mut iterations = 0;
    for _ in 0..CALLS {
        let (best, taken) = descend(&InSpan { loss, span: &span }, place)?;
        place = best;
        iterations += taken;
    }
    if rule == Rule::Reference {
        return Ok(Optimum { projections: span.projections(&place, z, references), iterations });
    }
    let scores = newton(loss, &span, span.scores(&place));
    // At the optimum the gradient is 0: lambda P = -sum of slope x ref z^T.
    let weights = slopes(loss, &span, &scores) * (-1.0 / loss.ridge);
    let projections = span.sum(&weights, z, references);
    let gradient = loss.projection_gradient(&projections, z, references).largest();
    // Also where it is not a number.
    if gradient < STRICT { Ok(Optimum { projections, iterations }) } else { Err(OptimumError::NotReached(gradient)) }
}

/// One call of L-BFGS.
fn descend(problem: &InSpan<'_>, from: Vec<f64>) -> Result<(Vec<f64>, u64), OptimumError> {
    let failed = |error: argmin::core::Error| OptimumError::Library(error.to_string());
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), HISTORY)
        .with_tolerance_grad(GRADIENT)
        .and_then(|solver| solver.with_tolerance_cost(CHANGE))
        .map_err(failed)?;
    let configured = Executor::new(problem, solver).configure(|state| state.param(from).max_iters(ITERATIONS));
    let mut state = configured.run().map_err(failed)?.state;
    let iterations = state.get_iter();
    let best = state.take_best_param().ok_or_else(|| OptimumError::Library("gave no parameters".into()))?;
    Ok((best, iterations))
}

/// Slopes of the mean over the rows by the scores, score after score, row after row.
fn slopes(loss: &Loss, span: &Span, scores: &DVector<f64>) -> DVector<f64> {
    let mut slopes = DVector::zeros(scores.len());
    let rows = slopes.as_mut_slice().chunks_exact_mut(span.per_row());
    for (slopes, scores) in rows.zip(scores.as_slice().chunks_exact(span.per_row())) {
        loss.contrast.slopes(scores, slopes);
    }
    slopes / span.rows() as f64
}

/// Newton's method on the scores: those of the optimum solve `u + K g(u) / lambda = 0`, where `K` holds the inner
/// products of the scores' matrices and `g` the slopes.
fn newton(loss: &Loss, span: &Span, mut scores: DVector<f64>) -> DVector<f64> {
    let residual = |scores: &DVector<f64>| scores + span.gram() * slopes(loss, span, scores) / loss.ridge;
    let mut missing = residual(&scores);
    for _ in 0..NEWTON {
        let mut curvature = DMatrix::zeros(scores.len(), scores.len());
        let width = span.per_row();
        for (row, scores) in scores.as_slice().chunks_exact(width).enumerate() {
            let at = (row * width, row * width);
            curvature.view_mut(at, (width, width)).copy_from(&loss.contrast.curvature(scores));
        }
        let factor = 1.0 / (loss.ridge * span.rows() as f64);
        let jacobian = DMatrix::identity(scores.len(), scores.len()) + span.gram() * curvature * factor;
        let Some(step) = jacobian.lu().solve(&missing) else { break };
        let shorter = (0..HALVINGS).find_map(|halvings| {
            let next = &scores - &step * 0.5_f64.powi(halvings as i32);
            let left = residual(&next);
            (left.norm() < missing.norm()).then_some((next, left))
        });
        // No shorter residual: rounding is all that is left of it.
        let Some((next, left)) = shorter else { break };
        (scores, missing) = (next, left);
    }
    scores
}

/// The loss on coordinates of the span.
struct InSpan<'a> {
    loss: &'a Loss,
    span: &'a Span,
}

impl CostFunction for &InSpan<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, place: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        let scores = self.span.scores(place);
        let rows = scores.as_slice().chunks_exact(self.span.per_row());
        let sum: f64 = rows.map(|scores| self.loss.contrast.value(scores)).sum();
        let norm: f64 = place.iter().map(|value| value * value).sum();
        Ok(sum / self.span.rows() as f64 + 0.5 * self.loss.ridge * norm)
    }
}

impl Gradient for &InSpan<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, place: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        let mut gradient = self.span.by_place(&slopes(self.loss, self.span, &self.span.scores(place)));
        gradient.iter_mut().zip(place).for_each(|(gradient, value)| *gradient += self.loss.ridge * value);
        Ok(gradient)
    }
}
