//! Agreement of the gradient of a layer's own loss with that of the loss at the top, back-propagated
//! (docs/paper.md 6.1, 6.2).

use super::contrast::Contrast;
use super::loss::{Loss, Negatives, Projections, references};
use super::net::Net;
use super::optimum::{OptimumError, Rule, optimum};
use clapp_data::rng::Rng;
use nalgebra::DMatrix;

/// The layer whose activity is the context of a layer's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// The layer's own.
    Lateral,
    /// The top's: direct feedback.
    Feedback,
}

/// The losses of all layers of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// The contrast function of all layers.
    pub contrast: Contrast,
    /// `lambda` of all layers.
    pub ridge: f64,
    /// Source of the contexts.
    pub context: Context,
    /// Pixels of the blocks by which each layer's maps are pooled before its loss; 1 in dense networks.
    pub pools: Vec<usize>,
    /// When L-BFGS stops.
    pub rule: Rule,
}

/// Agreement of two gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Agreement {
    /// Cosine of the angle between the gradients by the weights.
    pub cosine: f64,
    /// Frobenius norm of their difference over that of the back-propagated one.
    pub distance: f64,
    /// Frobenius norm of the local gradient over that of the back-propagated one; 0 where that is 0.
    pub length: f64,
    /// Cosine between the gradients by the layer's values.
    pub of_errors: f64,
    /// Cosine between the weights' gradients of the errors' parts along the values of each row, which let a row's values
    /// grow or shrink.
    pub along: f64,
    /// The same of the parts across them, which turn a row's values.
    pub across: f64,
}

/// A batch seen through a network: the values of its layers, and their losses' rows and contexts.
#[derive(Debug)]
pub struct Seen<'a> {
    net: &'a Net,
    losses: &'a Losses,
    loss: Loss,
    values: Vec<DMatrix<f64>>,
    pooled: Vec<DMatrix<f64>>,
}

impl<'a> Seen<'a> {
    /// Sends rows `x` (one a column, two halves) through a network.
    ///
    /// # Panics
    /// If sizes do not fit.
    pub fn new(net: &'a Net, losses: &'a Losses, x: &DMatrix<f64>, negatives: Negatives) -> Self {
        assert_eq!(losses.pools.len(), net.layers.len(), "a pooling each layer");
        let values = net.forward(x);
        let pools = losses.pools.iter().enumerate();
        let pooled = pools.map(|(at, &kernel)| net.pool(at, kernel).forward(&values[at + 1])).collect();
        let loss = Loss { contrast: losses.contrast, negatives, ridge: losses.ridge };
        Self { net, losses, loss, values, pooled }
    }

    /// The network's layers.
    pub fn depth(&self) -> usize {
        self.pooled.len()
    }

    /// The layer whose activity is the context of layer `at`.
    fn source(&self, at: usize) -> usize {
        match self.losses.context {
            Context::Lateral => at,
            Context::Feedback => self.depth() - 1,
        }
    }

    fn references(&self, at: usize) -> DMatrix<f64> {
        references(&self.pooled[self.source(at)])
    }

    /// The optimum of layer `at`'s projections, from a random start.
    ///
    /// # Errors
    /// Same as [`optimum`].
    pub fn optimum(&self, at: usize, rng: &mut Rng) -> Result<Projections, OptimumError> {
        let (references, start) = (self.references(at), self.random(at, rng));
        Ok(optimum(&self.loss, &self.pooled[at], &references, self.losses.rule, &start)?.projections)
    }

    /// Projections of layer `at` as they begin.
    pub fn random(&self, at: usize, rng: &mut Rng) -> Projections {
        Projections::uniform(self.pooled[self.source(at)].nrows(), self.pooled[at].nrows(), rng)
    }

    /// The projections of the existence lemma: `P^l = M_l^T P^L M_l`, with direct feedback `P^L M_l`; with pooling at the
    /// top, `M_l` includes it (docs/paper.md 6.1).
    ///
    /// # Panics
    /// If layer `at` is pooled and not the top.
    pub fn lemma(&self, at: usize, top: &Projections) -> Projections {
        let last = self.depth() - 1;
        if at == last {
            return top.clone();
        }
        assert_eq!(self.losses.pools[at], 1, "pooling of a layer below the top");
        let map = self.net.pool(last, self.losses.pools[last]).forward(&self.net.map_above(at));
        match self.losses.context {
            Context::Lateral => top.map(|top| map.tr_mul(&(top * &map))),
            Context::Feedback => top.map(|top| top * &map),
        }
    }

    /// The gradient of layer `at`'s loss by its values, before pooling.
    pub fn local_error(&self, at: usize, projections: &Projections) -> DMatrix<f64> {
        let error = self.loss.activity_gradient(projections, &self.pooled[at], &self.references(at));
        self.net.pool(at, self.losses.pools[at]).backward(&error)
    }

    /// The gradients of the loss at the top by the values of all layers.
    pub fn back_propagated(&self, top: &Projections) -> Vec<DMatrix<f64>> {
        self.net.back_propagate(&self.values, self.local_error(self.depth() - 1, top))
    }

    /// The gradient by the weights of layer `at` from that by its values.
    pub fn by_weights(&self, at: usize, error: &DMatrix<f64>) -> DMatrix<f64> {
        self.net.weight_gradient(at, &self.values, error)
    }

    /// Agreement of each layer's gradient with the back-propagated one, given the projections of all layers.
    ///
    /// # Panics
    /// If there are not as many projections as layers.
    pub fn agreements(&self, projections: &[Projections]) -> Vec<Agreement> {
        assert_eq!(projections.len(), self.depth(), "projections each layer");
        let global = self.back_propagated(&projections[self.depth() - 1]);
        let of_layer = |at: usize| {
            let errors = [&self.local_error(at, &projections[at]), &global[at]];
            let [weights, expected] = errors.map(|error| self.by_weights(at, error));
            let values = &self.values[at + 1];
            let [along, along_expected] = errors.map(|error| self.by_weights(at, &along(error, values)));
            let norm = expected.norm();
            Agreement {
                cosine: cosine(&weights, &expected),
                distance: distance(&weights, &expected),
                length: if norm > 0.0 { weights.norm() / norm } else { 0.0 },
                of_errors: cosine(errors[0], errors[1]),
                along: cosine(&along, &along_expected),
                across: cosine(&(weights - along), &(expected - along_expected)),
            }
        };
        (0..self.depth()).map(of_layer).collect()
    }

    /// The optima of all layers, each from a random start of its own.
    ///
    /// # Errors
    /// Same as [`optimum`].
    pub fn optima(&self, rng: &mut Rng) -> Result<Vec<Projections>, OptimumError> {
        (0..self.depth()).map(|at| self.optimum(at, rng)).collect()
    }
}

/// The part of each row's error along its values (rows are columns here).
fn along(error: &DMatrix<f64>, values: &DMatrix<f64>) -> DMatrix<f64> {
    let mut along = values.clone();
    for ((mut along, values), error) in along.column_iter_mut().zip(values.column_iter()).zip(error.column_iter()) {
        let squares = values.norm_squared();
        along *= if squares > 0.0 { error.dot(&values) / squares } else { 0.0 };
    }
    along
}

/// Cosine of the angle between two matrices as vectors; 0 where one of them is 0.
pub fn cosine(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let norms = a.norm() * b.norm();
    if norms > 0.0 { a.dot(b) / norms } else { 0.0 }
}

/// The same between two pairs of projections, each pair as one vector.
pub fn cosine_of(a: &Projections, b: &Projections) -> f64 {
    let norms = (a.norm_squared() * b.norm_squared()).sqrt();
    if norms > 0.0 { (a.first.dot(&b.first) + a.second.dot(&b.second)) / norms } else { 0.0 }
}

/// Frobenius norm of the difference over that of `expected`, or of the difference alone where `expected` is 0.
pub fn distance(found: &DMatrix<f64>, expected: &DMatrix<f64>) -> f64 {
    let (difference, norm) = ((found - expected).norm(), expected.norm());
    if norm > 0.0 { difference / norm } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_split_along_and_across_the_values_of_each_row() {
        let values = DMatrix::from_column_slice(2, 3, &[3.0, 4.0, 0.0, 2.0, 0.0, 0.0]);
        let error = DMatrix::from_column_slice(2, 3, &[1.0, 2.0, -5.0, 1.0, 7.0, 7.0]);
        // 11 / 25 of the first row's values, half of the second's; a row without values has no direction.
        let expected = DMatrix::from_column_slice(2, 3, &[1.32, 1.76, 0.0, 1.0, 0.0, 0.0]);
        assert!((along(&error, &values) - expected).norm() < 1e-15);
    }
}
