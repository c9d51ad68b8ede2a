//! Products of matrices through cuBLASLt.

use super::super::executor::GpuError;
use super::super::op::MapType;
use super::super::op::Product;
use super::super::precision::Precision;
use super::calls::{Owned, Status, check, done};
use super::cublaslt::{self, Algorithm, CublasLt, Found, Handle};
use super::errors::failed;
use super::trial::{self, Tried};
use cudarc::driver::CudaStream;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
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
    /// True if it is read transposed.
    transposed: bool,
}

impl Columns {
    /// A row-major matrix of `rows` by `columns`, as cuBLASLt sees it: the transposed.
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

/// A matrix's description.
fn matrix(lt: &CublasLt, of: &Columns) -> Result<Owned, Status> {
    let Columns { rows, columns, distance, .. } = *of;
    // SAFETY: it writes one pointer.
    let create = |raw| unsafe {
        (lt.cublasLtMatrixLayoutCreate)(raw, cublaslt::FLOAT, rows as u64, columns as u64, distance as i64)
    };
    Owned::new(create, lt.cublasLtMatrixLayoutDestroy)
}

/// A product's description.
fn description(lt: &CublasLt, compute: c_int, transposed: [bool; 2]) -> Result<Owned, Status> {
    // SAFETY: it writes one pointer.
    let create = |raw| unsafe { (lt.cublasLtMatmulDescCreate)(raw, compute, cublaslt::FLOAT) };
    let description = Owned::new(create, lt.cublasLtMatmulDescDestroy)?;
    for (attribute, transposed) in cublaslt::TRANSPOSED.into_iter().zip(transposed) {
        let operation = c_int::from(transposed);
        let value = (&raw const operation).cast::<c_void>();
        // SAFETY: the description has just been made; the attribute is an integer: 0 as it is, 1 transposed.
        done(unsafe { (lt.cublasLtMatmulDescSetAttribute)(description.raw, attribute, value, size_of::<c_int>()) })?;
    }
    Ok(description)
}

/// The conditions under which cuBLASLt chooses.
fn wishes(lt: &CublasLt, deterministic: bool) -> Result<Owned, Status> {
    // SAFETY: it writes one pointer.
    let create = |raw| unsafe { (lt.cublasLtMatmulPreferenceCreate)(raw) };
    let wishes = Owned::new(create, lt.cublasLtMatmulPreferenceDestroy)?;
    let set = |attribute, value: *const c_void, bytes| {
        // SAFETY: it lives, and the value is of the type that the attribute has.
        done(unsafe { (lt.cublasLtMatmulPreferenceSetAttribute)(wishes.raw, attribute, value, bytes) })
    };
    let (most, alignment, none) = (WORKSPACE, ALIGNMENT, 0_u32);
    set(cublaslt::MOST_WORKSPACE, (&raw const most).cast(), size_of::<usize>())?;
    for attribute in cublaslt::ALIGNMENTS {
        set(attribute, (&raw const alignment).cast(), size_of::<u32>())?;
    }
    if deterministic {
        // No sum is cut into parts that are added at the end.
        set(cublaslt::REDUCTIONS, (&raw const none).cast(), size_of::<u32>())?;
    }
    Ok(wishes)
}

/// Most ways to ask cuBLASLt for.
const MOST: usize = 8;

/// The way and the descriptions of one product.
#[derive(Debug)]
struct Plan {
    description: Owned,
    matrices: [Owned; 3],
    algorithm: Algorithm,
    workspace: usize,
}

/// cuBLASLt on a stream, with what it has decided so far.
#[derive(Debug)]
pub struct Products {
    plans: RefCell<HashMap<Product, Rc<Plan>>>,
    /// Ways that cuBLASLt has offered and that have failed when they were tried.
    dropped: RefCell<Vec<String>>,
    lt: &'static CublasLt,
    handle: Handle,
    compute: c_int,
    deterministic: bool,
    stream: Arc<CudaStream>,
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { (self.lt.cublasLtDestroy)(self.handle) };
    }
}

impl Products {
    /// On `stream`, whose context is the thread's.
    ///
    /// # Errors
    /// If cuBLASLt is missing or cannot start.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision, deterministic: bool) -> Result<Self, GpuError> {
        let compute = match precision {
            Precision::F32 | Precision::Tf32 => cublaslt::COMPUTE_F32,
            Precision::Bf16 => cublaslt::COMPUTE_BF16,
        };
        let lt = CublasLt::get()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: it writes one pointer.
        check("starting cuBLASLt", unsafe { (lt.cublasLtCreate)(&raw mut handle) }, |status| lt.words(status))?;
        let (plans, dropped, stream) = (RefCell::default(), RefCell::default(), Arc::clone(stream));
        Ok(Self { plans, dropped, lt, handle, compute, deterministic, stream })
    }

    /// Ways that were offered and have failed when they were tried, each with the product and the reason.
    pub fn dropped(&self) -> Vec<String> {
        self.dropped.borrow().clone()
    }

    /// Bytes of scratch that [`Products::run`] wants.
    ///
    /// # Errors
    /// If cuBLASLt offers no way to compute it.
    pub fn scratch(&self, product: &Product) -> Result<usize, GpuError> {
        Ok(self.plan(product)?.workspace)
    }

    /// Queues a product; the operands are `[a, b, out]`. The first time it chooses how, which must not be while the stream
    /// is captured.
    ///
    /// # Errors
    /// If the scratch is too small, or cuBLASLt refuses.
    ///
    /// # Safety
    /// The addresses are the device's, multiples of 16, with as many bytes as the product says, and stay until all
    /// that is queued has run.
    pub unsafe fn run(&self, product: &Product, operands: [u64; 3], scratch: (u64, usize)) -> Result<(), GpuError> {
        let plan = self.plan(product)?;
        if scratch.1 < plan.workspace {
            let reason = format!("{} bytes of scratch, {} are wanted", scratch.1, plan.workspace);
            return Err(failed(name(product), reason));
        }
        if operands.iter().chain([&scratch.0]).any(|address| address % u64::from(ALIGNMENT) != 0) {
            return Err(failed(name(product), format!("an operand is not at a multiple of {ALIGNMENT} bytes")));
        }
        // SAFETY: the caller's promise.
        match unsafe { self.execute(&plan, operands, scratch.0) } {
            0 => Ok(()),
            status => check(&name(product), status, |status| self.lt.words(status)),
        }
    }

    /// Queues a plan.
    ///
    /// # Safety
    /// As for [`Products::run`], with as much scratch as the plan wants.
    unsafe fn execute(&self, plan: &Plan, [a, b, out]: [u64; 3], scratch: u64) -> Status {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let [first, second, result] = &plan.matrices;
        // SAFETY: the plan's descriptions are those of the product and live; the rest is the caller's promise. The two
        // factors are read before the call returns.
        unsafe {
            (self.lt.cublasLtMatmul)(
                self.handle,
                plan.description.raw,
                one,
                b as *const c_void,
                first.raw,
                a as *const c_void,
                second.raw,
                zero,
                out as *const c_void,
                result.raw,
                out as *mut c_void,
                result.raw,
                &raw const plan.algorithm,
                scratch as *mut c_void,
                plan.workspace,
                self.stream.cu_stream().cast(),
            )
        }
    }

    fn plan(&self, product: &Product) -> Result<Rc<Plan>, GpuError> {
        if let Some(plan) = self.plans.borrow().get(product) {
            return Ok(Rc::clone(plan));
        }
        let plan = Rc::new(self.choose(product)?);
        self.plans.borrow_mut().insert(*product, Rc::clone(&plan));
        Ok(plan)
    }

    /// The first of the ways that cuBLASLt offers which works: each is run once before it is taken.
    fn choose(&self, product: &Product) -> Result<Plan, GpuError> {
        let what = name(product);
        let told = |status: Status| failed(&*what, self.lt.words(status));
        let found = self.offered(product).map_err(told)?;
        let Product { m, n, k, .. } = *product;
        let bytes = [m * k, k * n, m * n].map(|len| 4 * len);
        let mut reasons = Vec::new();
        for Found { algorithm, workspace, .. } in found.into_iter().filter(|way| way.state == 0) {
            let (description, matrices) = self.described(product).map_err(told)?;
            let plan = Plan { description, matrices, algorithm, workspace };
            let tried = trial::once(&self.stream, &what, bytes, workspace, MapType::F32, |memory| {
                // SAFETY: the memory is of the product's sizes, and stays until it has run.
                match unsafe { self.execute(&plan, memory.operands, memory.scratch.0) } {
                    0 => Ok(()),
                    status => Err(self.lt.words(status)),
                }
            })?;
            match tried {
                Tried::Works | Tried::NoRoom => return Ok(plan),
                Tried::Fails(reason) => {
                    self.dropped.borrow_mut().push(format!("a way of {what}: {reason}"));
                    reasons.push(reason);
                }
            }
        }
        let tried =
            if reasons.is_empty() { String::new() } else { format!("; those offered fail: {}", reasons.join("; ")) };
        Err(failed(&*what, format!("cuBLASLt has no way to compute it{tried}")))
    }

    fn described(&self, product: &Product) -> Result<(Owned, [Owned; 3]), Status> {
        let [first, second, out] = by_columns(product);
        let description = description(self.lt, self.compute, [first.transposed, second.transposed])?;
        let matrix = |of: &Columns| matrix(self.lt, of);
        Ok((description, [matrix(&first)?, matrix(&second)?, matrix(&out)?]))
    }

    /// The ways that cuBLASLt offers, best first.
    fn offered(&self, product: &Product) -> Result<Vec<Found>, Status> {
        let (description, matrices) = self.described(product)?;
        let wishes = wishes(self.lt, self.deterministic)?;
        let [a, b, c] = [&matrices[0], &matrices[1], &matrices[2]].map(|matrix| matrix.raw);
        let (mut list, mut count) = ([Found::default(); MOST], 0);
        // SAFETY: all of it has just been made and lives; it writes at most so many as it is told.
        done(unsafe {
            let (most, list_at, count_at) = (MOST as c_int, list.as_mut_ptr(), &raw mut count);
            (self.lt.cublasLtMatmulAlgoGetHeuristic)(
                self.handle,
                description.raw,
                a,
                b,
                c,
                c,
                wishes.raw,
                most,
                list_at,
                count_at,
            )
        })?;
        Ok(list[..usize::try_from(count).unwrap_or(0).min(MOST)].to_vec())
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

    /// The value of a matrix at a place, as a library reads it that counts by columns.
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
