//! The span of the matrices `ref_b z_a^T` that the scores of a loss are inner products with, and a basis of it, with one more
//! direction for each projection: what of its start lies outside. No score sees that; the ridge alone acts on it.

use super::super::loss::{Loss, Projections, all_scores};
use nalgebra::{DMatrix, DVector};

/// Directions of the span that are shorter than this part of the longest are left out of the basis: they are rounding.
const SMALLEST: f64 = 1e-12;

/// The span; scores are counted row after row, in each the positive first.
#[derive(Debug)]
pub struct Span {
    /// `(row, context)` of every score.
    pairs: Vec<(usize, usize)>,
    rows: usize,
    gram: DMatrix<f64>,
    /// Scores of the first half's projection, and of the second's.
    halves: [Half; 2],
    /// Coordinates of the start: those of `P` in its span, those of `Q`, the length of what lies outside of `P`, of `Q`.
    start: Vec<f64>,
    /// The part of the start outside the span.
    outside: Projections,
}

/// Data of one of the two projections.
#[derive(Debug)]
struct Half {
    /// Its scores.
    scores: Vec<usize>,
    /// From coordinates to these scores: `V sqrt(D)`, where `V D V^T` is their Gram matrix.
    forth: DMatrix<f64>,
    /// From coordinates to weights of the matrices: `V / sqrt(D)`.
    back: DMatrix<f64>,
}

impl Span {
    /// The span of a loss's scores for rows `z` (one a column) against `references`, and of `start`.
    pub fn new(loss: &Loss, z: &DMatrix<f64>, references: &DMatrix<f64>, start: &Projections) -> Self {
        let rows = z.ncols();
        let of_row = |row| loss.negatives.candidates(row).map(move |candidate| (candidate, row));
        let pairs: Vec<(usize, usize)> = (0..rows).flat_map(of_row).collect();
        let (of_z, of_references) = (z.tr_mul(z), references.tr_mul(references));
        let half = |row: usize| usize::from(row >= rows / 2);
        let gram = DMatrix::from_fn(pairs.len(), pairs.len(), |i, j| {
            let ((row, context), (other_row, other_context)) = (pairs[i], pairs[j]);
            match half(row) == half(other_row) {
                true => of_z[(row, other_row)] * of_references[(context, other_context)],
                false => 0.0,
            }
        });
        let halves = [0, 1].map(|which| {
            let scores: Vec<usize> = (0..pairs.len()).filter(|&score| half(pairs[score].0) == which).collect();
            Half::new(DMatrix::from_fn(scores.len(), scores.len(), |i, j| gram[(scores[i], scores[j])]), scores)
        });
        let mut span = Self { pairs, rows, gram, halves, start: Vec::new(), outside: Projections::zero(0, 0) };
        let all = all_scores(start, z, references);
        let scores: Vec<f64> = span.pairs.iter().map(|&(row, context)| all[(context, row)]).collect();
        span.start = span.gather(&DVector::from_vec(scores), |half| &half.back);
        let inside = span.sum(&span.weights(&span.start), z, references);
        span.outside = Projections { first: &start.first - inside.first, second: &start.second - inside.second };
        span.start.extend([span.outside.first.norm(), span.outside.second.norm()]);
        span
    }

    /// Coordinates of the start.
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Scores of a row.
    pub fn per_row(&self) -> usize {
        self.pairs.len() / self.rows
    }

    /// Inner products of the scores' matrices; 0 between those of `P` and those of `Q`.
    pub fn gram(&self) -> &DMatrix<f64> {
        &self.gram
    }

    /// Scores at a place.
    pub fn scores(&self, place: &[f64]) -> DVector<f64> {
        self.spread(place, |half| &half.forth)
    }

    /// The part of a place in the span of the scores' matrices, as weights of these.
    fn weights(&self, place: &[f64]) -> DVector<f64> {
        self.spread(place, |half| &half.back)
    }

    fn spread(&self, place: &[f64], matrix: impl Fn(&Half) -> &DMatrix<f64>) -> DVector<f64> {
        let mut values = DVector::zeros(self.pairs.len());
        let mut rest = place;
        for half in &self.halves {
            let (own, others) = rest.split_at(half.forth.ncols());
            rest = others;
            let of_half = matrix(half) * DVector::from_column_slice(own);
            half.scores.iter().zip(&of_half).for_each(|(&score, value)| values[score] = *value);
        }
        values
    }

    /// The adjoint of [`Span::spread`].
    fn gather(&self, by_score: &DVector<f64>, matrix: impl Fn(&Half) -> &DMatrix<f64>) -> Vec<f64> {
        let of_half = |half: &Half| {
            matrix(half).tr_mul(&DVector::from_iterator(half.scores.len(), half.scores.iter().map(|&i| by_score[i])))
        };
        self.halves.iter().flat_map(|half| of_half(half).as_slice().to_vec()).collect()
    }

    /// Gradient by the place from that by the scores.
    pub fn by_place(&self, by_score: &DVector<f64>) -> Vec<f64> {
        let mut gradient = self.gather(by_score, |half| &half.forth);
        gradient.extend([0.0, 0.0]);
        gradient
    }

    /// The weighted sum of the scores' matrices.
    pub fn sum(&self, weights: &DVector<f64>, z: &DMatrix<f64>, references: &DMatrix<f64>) -> Projections {
        let mut sums = DMatrix::zeros(self.rows, self.rows);
        for (&(row, context), weight) in self.pairs.iter().zip(weights) {
            sums[(context, row)] += weight;
        }
        Projections::outer(&(references * sums), z)
    }

    /// The projections at a place.
    pub fn projections(&self, place: &[f64], z: &DMatrix<f64>, references: &DMatrix<f64>) -> Projections {
        let mut projections = self.sum(&self.weights(place), z, references);
        let lengths = self.start.len() - 2;
        let part = |at: usize| if self.start[at] > 0.0 { place[at] / self.start[at] } else { 0.0 };
        projections.first += &self.outside.first * part(lengths);
        projections.second += &self.outside.second * part(lengths + 1);
        projections
    }
}

impl Half {
    fn new(gram: DMatrix<f64>, scores: Vec<usize>) -> Self {
        let eigen = gram.symmetric_eigen();
        let longest = eigen.eigenvalues.max();
        let kept: Vec<usize> = (0..scores.len()).filter(|&i| eigen.eigenvalues[i] > SMALLEST * longest).collect();
        let scaled = |power: i32| {
            let column = |i: &usize| eigen.eigenvectors.column(*i) * eigen.eigenvalues[*i].sqrt().powi(power);
            let columns: Vec<DVector<f64>> = kept.iter().map(column).collect();
            match columns.is_empty() {
                true => DMatrix::zeros(scores.len(), 0),
                false => DMatrix::from_columns(&columns),
            }
        };
        Self { forth: scaled(1), back: scaled(-1), scores }
    }
}
