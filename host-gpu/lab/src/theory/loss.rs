//! The local loss as the theory's code has it (docs/paper.md 6.2): two projections that act on `z`, contexts that are
//! given.
//!
//! A batch is two halves; row `j`'s partner is the row half a batch further. `P` projects the rows of the first half, `Q`
//! those of the second. The context of row `j` is its partner's, `ref_j = c_{pi(j)}`, and
//! `u+_j = zproj_j . ref_j`, `u-_jk = zproj_{n_k(j)} . ref_j`; ring negatives are `n(j) = j + 1 mod M`.
//!
//! All sums over rows go through one matrix `S` of `[M, M]`: `S[b, a]` is the sum of the slopes of all scores that hold
//! row `a` against the context of row `b`.

use super::contrast::Contrast;
use super::weights::uniform;
use clapp_data::rng::Rng;
use nalgebra::{DMatrix, DVector};

/// Negatives of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negatives {
    /// `K` rows for each row.
    rows: Vec<Vec<usize>>,
}

impl Negatives {
    /// The next row, and the first one for the last.
    pub fn ring(rows: usize) -> Self {
        Self { rows: (0..rows).map(|row| vec![(row + 1) % rows]).collect() }
    }

    /// Any `count` rows for each of `rows`, the row itself and its partner included.
    pub fn uniform(rows: usize, count: usize, rng: &mut Rng) -> Self {
        Self { rows: (0..rows).map(|_| (0..count).map(|_| rng.below(rows)).collect()).collect() }
    }

    /// Rows of the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// `true` if there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows whose scores against the context of `row` its loss is made of: itself, then its negatives.
    pub fn candidates(&self, row: usize) -> impl Iterator<Item = usize> {
        std::iter::once(row).chain(self.rows[row].iter().copied())
    }
}

/// Contexts of all rows: those of their partners. The same exchange gives the contexts back.
///
/// # Panics
/// If the number of rows is odd.
pub fn references(context: &DMatrix<f64>) -> DMatrix<f64> {
    let rows = context.ncols();
    assert!(rows.is_multiple_of(2), "{rows} rows are no two halves");
    DMatrix::from_fn(context.nrows(), rows, |i, row| context[(i, (row + rows / 2) % rows)])
}

/// `P` and `Q`, each `[values of the context, values of the layer]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Projections {
    /// `P`, of the rows of the first half.
    pub first: DMatrix<f64>,
    /// `Q`, of those of the second.
    pub second: DMatrix<f64>,
}

impl Projections {
    /// Both 0.
    pub fn zero(rows: usize, columns: usize) -> Self {
        Self { first: DMatrix::zeros(rows, columns), second: DMatrix::zeros(rows, columns) }
    }

    /// Both uniform, as PyTorch's linear layers begin.
    pub fn uniform(rows: usize, columns: usize, rng: &mut Rng) -> Self {
        let first = uniform(rows, columns, rng);
        Self { first, second: uniform(rows, columns, rng) }
    }

    /// Applies `f` to both.
    pub fn map(&self, f: impl Fn(&DMatrix<f64>) -> DMatrix<f64>) -> Self {
        Self { first: f(&self.first), second: f(&self.second) }
    }

    /// Sum of the squares of all entries.
    pub fn norm_squared(&self) -> f64 {
        self.first.norm_squared() + self.second.norm_squared()
    }

    /// Largest absolute value.
    pub fn largest(&self) -> f64 {
        self.first.amax().max(self.second.amax())
    }

    /// `[P z_1 | Q z_2]` for rows `z` of both halves.
    pub fn project(&self, z: &DMatrix<f64>) -> DMatrix<f64> {
        let half = z.ncols() / 2;
        let mut projected = DMatrix::zeros(self.first.nrows(), z.ncols());
        projected.columns_mut(0, half).gemm(1.0, &self.first, &z.columns(0, half), 0.0);
        projected.columns_mut(half, half).gemm(1.0, &self.second, &z.columns(half, half), 0.0);
        projected
    }

    /// `[P^T v_1 | Q^T v_2]`, the adjoint of [`Projections::project`].
    pub fn project_back(&self, v: &DMatrix<f64>) -> DMatrix<f64> {
        let half = v.ncols() / 2;
        let mut back = DMatrix::zeros(self.first.ncols(), v.ncols());
        back.columns_mut(0, half).gemm_tr(1.0, &self.first, &v.columns(0, half), 0.0);
        back.columns_mut(half, half).gemm_tr(1.0, &self.second, &v.columns(half, half), 0.0);
        back
    }

    /// `v_1 z_1^T` and `v_2 z_2^T`: what a gradient by the projected rows is by the projections.
    pub fn outer(v: &DMatrix<f64>, z: &DMatrix<f64>) -> Self {
        let half = v.ncols() / 2;
        let of = |from| v.columns(from, half) * z.columns(from, half).transpose();
        Self { first: of(0), second: of(half) }
    }
}

/// A loss: what it makes of the scores, and which scores there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The contrast function.
    pub contrast: Contrast,
    /// The negatives.
    pub negatives: Negatives,
    /// `lambda`: `(lambda / 2) (||P||^2 + ||Q||^2)` is added to the mean over the rows.
    pub ridge: f64,
}

impl Loss {
    /// The loss of rows `z` (one a column) against the contexts `references`.
    pub fn value(&self, projections: &Projections, z: &DMatrix<f64>, references: &DMatrix<f64>) -> f64 {
        let mut sum = 0.0;
        self.for_each_row(&all_scores(projections, z, references), |_, scores, _| sum += self.contrast.value(scores));
        sum / z.ncols() as f64 + 0.5 * self.ridge * projections.norm_squared()
    }

    /// `S`: slopes of the loss by all scores, `[context, row]`.
    pub fn slopes(&self, projections: &Projections, z: &DMatrix<f64>, references: &DMatrix<f64>) -> DMatrix<f64> {
        let share = 1.0 / z.ncols() as f64;
        let mut slopes = DMatrix::zeros(z.ncols(), z.ncols());
        self.for_each_row(&all_scores(projections, z, references), |row, scores, slope| {
            self.contrast.slopes(scores, slope);
            for (candidate, slope) in self.negatives.candidates(row).zip(slope) {
                slopes[(row, candidate)] += share * *slope;
            }
        });
        slopes
    }

    /// Gradient by the projected rows: `references` times [`Loss::slopes`].
    fn by_projected(&self, projections: &Projections, z: &DMatrix<f64>, references: &DMatrix<f64>) -> DMatrix<f64> {
        references * self.slopes(projections, z, references)
    }

    /// Gradient by the rows `z`.
    pub fn activity_gradient(
        &self,
        projections: &Projections,
        z: &DMatrix<f64>,
        references: &DMatrix<f64>,
    ) -> DMatrix<f64> {
        projections.project_back(&self.by_projected(projections, z, references))
    }

    /// Gradient by the projections, ridge included.
    pub fn projection_gradient(
        &self,
        projections: &Projections,
        z: &DMatrix<f64>,
        references: &DMatrix<f64>,
    ) -> Projections {
        self.with_ridge(projections, Projections::outer(&self.by_projected(projections, z, references), z))
    }

    /// Both gradients at the cost of one.
    pub fn gradients(
        &self,
        projections: &Projections,
        z: &DMatrix<f64>,
        references: &DMatrix<f64>,
    ) -> (DMatrix<f64>, Projections) {
        let by_projected = self.by_projected(projections, z, references);
        let of_projections = self.with_ridge(projections, Projections::outer(&by_projected, z));
        (projections.project_back(&by_projected), of_projections)
    }

    fn with_ridge(&self, projections: &Projections, mut gradient: Projections) -> Projections {
        gradient.first += &projections.first * self.ridge;
        gradient.second += &projections.second * self.ridge;
        gradient
    }

    /// Feedback matching (docs/paper.md 3): `F = ||ideal - dL/dz||^2` where `ideal` is the back-propagated gradient by
    /// the rows, and its gradient by the projections. What the projections do to the scores, and these to their slopes,
    /// is included.
    pub fn mismatch(
        &self,
        projections: &Projections,
        z: &DMatrix<f64>,
        references: &DMatrix<f64>,
        ideal: &DMatrix<f64>,
    ) -> (f64, Projections) {
        let by_projected = self.by_projected(projections, z, references);
        let difference = projections.project_back(&by_projected) - ideal;
        let by_error = &difference * 2.0;
        let mut gradient = Projections::outer(&by_projected, &by_error);
        let by_slopes = references.tr_mul(&projections.project(&by_error));
        let share = 1.0 / z.ncols() as f64;
        let mut by_scores = DMatrix::zeros(z.ncols(), z.ncols());
        self.for_each_row(&all_scores(projections, z, references), |row, scores, _| {
            let by_slopes = self.negatives.candidates(row).map(|candidate| share * by_slopes[(row, candidate)]);
            let by_slopes = DVector::from_iterator(scores.len(), by_slopes);
            let of_row = self.contrast.curvature(scores) * by_slopes;
            for (candidate, value) in self.negatives.candidates(row).zip(&of_row) {
                by_scores[(row, candidate)] += value;
            }
        });
        let through_scores = Projections::outer(&(references * by_scores), z);
        gradient.first += through_scores.first;
        gradient.second += through_scores.second;
        (difference.norm_squared(), gradient)
    }

    /// Calls `each(row, its scores, room for their slopes)` for all rows.
    pub(super) fn for_each_row(&self, all: &DMatrix<f64>, mut each: impl FnMut(usize, &[f64], &mut [f64])) {
        let (mut scores, mut slopes) = (Vec::new(), Vec::new());
        for row in 0..all.nrows() {
            scores.clear();
            scores.extend(self.negatives.candidates(row).map(|candidate| all[(row, candidate)]));
            slopes.resize(scores.len(), 0.0);
            each(row, &scores, &mut slopes);
        }
    }
}

/// The score of every row against every context, `[context, row]`.
pub(super) fn all_scores(projections: &Projections, z: &DMatrix<f64>, references: &DMatrix<f64>) -> DMatrix<f64> {
    references.tr_mul(&projections.project(z))
}
