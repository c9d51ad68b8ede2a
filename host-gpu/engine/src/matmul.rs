//! Matrix products on one thread, through the kernels of the `gemm` crates.
//!
//! Threads are given whole products by the callers: each product is then computed in one fixed order,
//! and results are the same bits for any number of threads.

/// A matrix view over a slice: element `(row, column)` is `data[row * row_stride + column * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * columns`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "a {rows}x{columns} matrix over {} elements", data.len());
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The columns of a range.
    ///
    /// # Panics
    /// If the range goes beyond the matrix, or the view is a transposed one.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        assert!(self.column_stride == 1 && range.end <= self.columns, "columns {range:?} of {}", self.columns);
        Self { data: &self.data[range.start..], columns: range.len(), ..self }
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, or `out += a b` where `accumulate`; `out` is row-major `[a.rows, b.columns]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn matmul(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "inner dimensions of a product");
    assert_eq!(out.len(), a.rows * b.columns, "elements of a product");
    // The kernels prefer contiguous columns: for a row-major product they compute the transpose.
    let (a, b, [out_columns, out_rows]) = match b.columns {
        0 | 1 => (a, b, [1, b.columns]),
        _ => (b.transposed(), a.transposed(), [b.columns, 1]),
    };
    let of_out = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: `Matrix::new` and `columns` have checked that each view's last element is within its slice. `out` was
    // checked above, and it cannot overlap `a` or `b` because it is borrowed mutably.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            out_columns as isize,
            out_rows as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            of_out,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Runs elementwise loops with the widest vectors that the processor has.
///
/// The default target has four lanes of `f32`. Wider lanes change no bit: each element is computed alike, and
/// nothing is fused. The loops must be in an `#[inline(always)]` method of `work`, or they are compiled for the
/// default target all the same.
pub fn vectorised<W: pulp::NullaryFnOnce<Output = ()>>(work: W) {
    pulp::Arch::new().dispatch(work);
}

/// Dot product in double precision with eight running sums, in a fixed order.
///
/// Scores are differences of large sums that nearly cancel; in single precision their rounding would show.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_transposes_and_accumulation() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, -1.0, 2.0, 1.0, 0.5];
        let mut out = [10.0; 4];
        matmul(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), true);
        assert_eq!(out, [10.0 + 1.0 - 2.0 + 3.0, 10.0 + 4.0 + 1.5, 10.0 + 4.0 - 5.0 + 6.0, 10.0 + 10.0 + 3.0]);
        let mut out = [0.0; 9];
        matmul(&mut out, Matrix::new(&a, 2, 3).transposed(), Matrix::new(&b, 2, 3), false);
        assert_eq!(out, [9.0, 4.0, 1.0, 12.0, 5.0, 0.5, 15.0, 6.0, 0.0]);
    }

    #[test]
    fn dot_of_a_length_that_is_no_multiple_of_the_lanes() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..37).map(|i| f64::from(i * i)).sum::<f64>());
    }
}
