//! Random weights of the theory: orthogonal ones, and the uniform ones that PyTorch begins with.

use clapp_data::rng::Rng;
use nalgebra::DMatrix;

/// A matrix of normal numbers.
pub fn gaussian(rows: usize, columns: usize, rng: &mut Rng) -> DMatrix<f64> {
    // `from_fn` goes column by column.
    DMatrix::from_fn(rows, columns, |_, _| f64::from(rng.normal()))
}

/// A random matrix with orthonormal rows, or orthonormal columns where there are fewer of these, all such matrices
/// equally likely: the Q of a Gaussian's QR, with the signs that make R's diagonal positive.
pub fn orthogonal(rows: usize, columns: usize, rng: &mut Rng) -> DMatrix<f64> {
    if rows < columns {
        return orthogonal(columns, rows, rng).transpose();
    }
    let qr = gaussian(rows, columns, rng).qr();
    let (mut q, r) = (qr.q(), qr.r());
    for (i, mut column) in q.column_iter_mut().enumerate() {
        if r[(i, i)] < 0.0 {
            column.neg_mut();
        }
    }
    q
}

/// Uniform between `±1 / sqrt(columns)`: what PyTorch's linear and convolutional layers begin with.
pub fn uniform(rows: usize, columns: usize, rng: &mut Rng) -> DMatrix<f64> {
    let bound = 1.0 / (columns as f64).sqrt();
    DMatrix::from_fn(rows, columns, |_, _| bound * (2.0 * rng.unit_f64() - 1.0))
}
