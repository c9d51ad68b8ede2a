//! Products of matrices through cuBLASLt.

use super::super::executor::GpuError;
use super::super::op::Product;
use super::super::precision::Precision;
use super::errors::{cublas, failed};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulPreferenceAttributes_t as Preference,
};
use cudarc::driver::CudaStream;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes that cuBLASLt may want beside the operands.
const WORKSPACE: usize = 32 << 20;

/// Addresses are multiples of at least this.
const ALIGNMENT: u32 = 16;

/// A matrix as cuBLASLt sees it: columns one after the other, with the distance between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    rows: usize,
    columns: usize,
    distance: usize,
    /// Whether it is read transposed.
    transposed: bool,
}

impl Columns {
    /// What a row-major matrix of `rows` by `columns` is to it: the transposed.
    fn of_rows(rows: usize, columns: usize, transposed: bool) -> Self {
        Self { rows: columns, columns: rows, distance: columns, transposed }
    }
}

/// `out = a b` of row-major matrices is `out' = b' a'` of the transposed ones, which is what lies in memory for a
/// library that counts by columns: `[b, a, out]`.
fn by_columns(product: &Product) -> [Columns; 3] {
    let Product { m, n, k, a_transposed, b_transposed } = *product;
    let stored = |rows, columns, transposed| {
        if transposed { Columns::of_rows(columns, rows, true) } else { Columns::of_rows(rows, columns, false) }
    };
    [stored(k, n, b_transposed), stored(m, k, a_transposed), Columns::of_rows(m, n, false)]
}

/// A matrix's description, given back when it is no longer needed.
#[derive(Debug)]
struct Matrix(sys::cublasLtMatrixLayout_t);

impl Matrix {
    fn new(matrix: &Columns) -> Result<Self, CublasError> {
        let Columns { rows, columns, distance, .. } = *matrix;
        let kind = sys::cudaDataType::CUDA_R_32F;
        Ok(Self(result::create_matrix_layout(kind, rows as u64, columns as u64, distance as i64)?))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: it was made above and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// A product's description.
#[derive(Debug)]
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(compute: sys::cublasComputeType_t, transposed: [bool; 2]) -> Result<Self, CublasError> {
        let description = Self(result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?);
        let attributes = [Attribute::CUBLASLT_MATMUL_DESC_TRANSA, Attribute::CUBLASLT_MATMUL_DESC_TRANSB];
        for (attribute, transposed) in attributes.into_iter().zip(transposed) {
            let operation = i32::from(transposed);
            // SAFETY: the description has just been made; the attribute is an integer: 0 as it is, 1 transposed.
            unsafe {
                let value = (&raw const operation).cast::<c_void>();
                result::set_matmul_desc_attribute(description.0, attribute, value, size_of::<i32>())?;
            }
        }
        Ok(description)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: as for a matrix.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// What cuBLASLt looks at when it chooses.
struct Wishes(sys::cublasLtMatmulPreference_t);

impl Wishes {
    fn new(deterministic: bool) -> Result<Self, CublasError> {
        let wishes = Self(result::create_matmul_pref()?);
        wishes.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE)?;
        for attribute in [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            wishes.set(attribute, ALIGNMENT)?;
        }
        if deterministic {
            // No sum is cut into parts that are added at the end.
            wishes.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 0_u32)?;
        }
        Ok(wishes)
    }

    fn set<T>(&self, attribute: Preference, value: T) -> Result<(), CublasError> {
        // SAFETY: it lives, and the value is of the type that the attribute has (`size_t` or `uint32_t`).
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>()) }
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        // SAFETY: as for a matrix.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// How one product is computed.
#[derive(Debug)]
struct Plan {
    description: Description,
    matrices: [Matrix; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
}

/// cuBLASLt on a stream, with what it has decided so far.
#[derive(Debug)]
pub struct Products {
    plans: RefCell<HashMap<Product, Rc<Plan>>>,
    handle: sys::cublasLtHandle_t,
    compute: sys::cublasComputeType_t,
    deterministic: bool,
    stream: Arc<CudaStream>,
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Products {
    /// On `stream`, whose context is the thread's.
    ///
    /// # Errors
    /// Where cuBLASLt cannot start.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        let compute = match precision {
            Precision::F32 | Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let handle = result::create_handle().map_err(cublas("starting cuBLASLt"))?;
        Ok(Self { plans: RefCell::default(), handle, compute, deterministic, stream: Arc::clone(stream) })
    }

    /// Bytes of scratch that [`Products::run`] wants.
    ///
    /// # Errors
    /// Where cuBLASLt offers no way to compute it.
    pub fn scratch(&self, product: &Product) -> Result<usize, GpuError> {
        Ok(self.plan(product)?.workspace)
    }

    /// Queues a product; the operands are `[a, b, out]`.
    ///
    /// # Errors
    /// Where the scratch is too small, or cuBLASLt refuses.
    ///
    /// # Safety
    /// The addresses are the device's, multiples of 16, with as many bytes as the product says, and stay until all
    /// that is queued has run.
    pub unsafe fn run(&self, product: &Product, [a, b, out]: [u64; 3], scratch: (u64, usize)) -> Result<(), GpuError> {
        let plan = self.plan(product)?;
        let what = name(product);
        if scratch.1 < plan.workspace {
            return Err(failed(what, format!("{} bytes of scratch, {} are wanted", scratch.1, plan.workspace)));
        }
        if [a, b, out, scratch.0].iter().any(|address| address % u64::from(ALIGNMENT) != 0) {
            return Err(failed(what, format!("an operand is not at a multiple of {ALIGNMENT} bytes")));
        }
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let [first, second, result] = &plan.matrices;
        // SAFETY: the plan's descriptions are those of the product and live; the rest is the caller's promise. The two
        // factors are read before the call returns.
        unsafe {
            result::matmul(
                self.handle,
                plan.description.0,
                one,
                zero,
                b as *const c_void,
                first.0,
                a as *const c_void,
                second.0,
                out as *const c_void,
                result.0,
                out as *mut c_void,
                result.0,
                &raw const plan.algorithm,
                scratch.0 as *mut c_void,
                plan.workspace,
                self.stream.cu_stream().cast(),
            )
        }
        .map_err(cublas(&what))
    }

    fn plan(&self, product: &Product) -> Result<Rc<Plan>, GpuError> {
        if let Some(plan) = self.plans.borrow().get(product) {
            return Ok(Rc::clone(plan));
        }
        let plan = Rc::new(self.choose(product).map_err(cublas(&name(product)))?);
        self.plans.borrow_mut().insert(*product, Rc::clone(&plan));
        Ok(plan)
    }

    fn choose(&self, product: &Product) -> Result<Plan, CublasError> {
        let [first, second, out] = by_columns(product);
        let description = Description::new(self.compute, [first.transposed, second.transposed])?;
        let matrices = [Matrix::new(&first)?, Matrix::new(&second)?, Matrix::new(&out)?];
        let wishes = Wishes::new(self.deterministic)?;
        let [a, b, c] = [&matrices[0], &matrices[1], &matrices[2]].map(|matrix| matrix.0);
        // SAFETY: all of it has just been made and lives.
        let found = unsafe { result::get_matmul_algo_heuristic(self.handle, description.0, a, b, c, c, wishes.0) }?;
        Ok(Plan { description, matrices, algorithm: found.algo, workspace: found.workspaceSize })
    }
}

/// A product in words, for errors.
fn name(product: &Product) -> String {
    let Product { m, n, k, a_transposed, b_transposed } = product;
    let stored = |transposed: &bool| if *transposed { " (stored transposed)" } else { "" };
    format!("the product of {m}x{k}{} and {k}x{n}{}", stored(a_transposed), stored(b_transposed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a library that counts by columns reads at a place of a matrix.
    fn read(values: &[f64], matrix: &Columns, row: usize, column: usize) -> f64 {
        let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
        assert!(row < matrix.rows && column < matrix.columns && matrix.rows <= matrix.distance);
        values[column * matrix.distance + row]
    }

    proptest! {
        #[test]
        fn a_library_of_columns_gives_the_product_of_rows(
            [m, n, k] in prop::array::uniform3(1_usize..6), a_transposed: bool, b_transposed: bool, seed in 0_u32..1000,
        ) {
            let values = |len: usize, shift: u32| -> Vec<f64> {
                (0..len as u32).map(|index| f64::from((index * 37 + seed + shift) % 101) - 50.0).collect()
            };
            let (a, b) = (values(m * k, 0), values(k * n, 11));
            let product = Product { m, n, k, a_transposed, b_transposed };
            let [first, second, result] = by_columns(&product);
            let mut out = vec![f64::NAN; m * n];
            for column in 0..result.columns {
                for row in 0..result.rows {
                    let terms = (0..k).map(|i| read(&b, &first, row, i) * read(&a, &second, i, column));
                    out[column * result.distance + row] = terms.sum();
                }
            }
            for row in 0..m {
                for column in 0..n {
                    let a = |i: usize| if a_transposed { a[i * m + row] } else { a[row * k + i] };
                    let b = |i: usize| if b_transposed { b[column * k + i] } else { b[i * n + column] };
                    let wanted: f64 = (0..k).map(|i| a(i) * b(i)).sum();
                    prop_assert_eq!(out[row * n + column], wanted);
                }
            }
        }
    }

    #[test]
    fn an_error_names_the_product() {
        let product = Product { m: 2, n: 3, k: 4, a_transposed: true, b_transposed: false };
        assert_eq!(name(&product), "the product of 2x4 (stored transposed) and 4x3");
    }
}
