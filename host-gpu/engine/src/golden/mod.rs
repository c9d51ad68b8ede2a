//! Golden vectors: a backend against results that were computed elsewhere in double precision.
//!
//! ```text
//! case.safetensors -> Case -> a backend -> Computed -> Comparison -> Report
//! ```
//!
//! A file holds inputs, parameters and expected results of one case, and describes its network and rule in JSON
//! (`spec`). [`case`] reads and checks it, a backend (such as [`core::compute`]) computes all it can, [`compare`]
//! compares the results with the expected tensors, and [`report`] prints the table. The backend must compute every
//! expected tensor, or name it as not computed with a reason. Anything else is a failure, and so is a file that cannot
//! be read.

pub mod case;
pub mod compare;
pub mod core;
mod fields;
pub mod on_backend;
pub mod report;
mod spec;
mod tensors;

use case::Case;
use clapp_core::plan::NetworkError;
use compare::Comparison;
use report::{Report, Row};
use std::path::{Path, PathBuf};

/// Reason why a case cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file or folder cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A folder without golden files.
    #[error("{path}: no .safetensors file in this folder")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not in the safetensors format.
    #[error("{path}: not a readable safetensors file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A field of the description, or a tensor, is missing, unknown or wrong.
    #[error("{path}: {field}: {reason}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, such as `spec.layers[1].kernel`, or the tensor, such as `layer0.weight`.
        field: String,
        /// Reason.
        reason: String,
    },
    /// The network does not fit together.
    #[error("{path}: spec: {source}")]
    Network {
        /// The file.
        path: PathBuf,
        /// Error of the network.
        source: NetworkError,
    },
    /// The device that computes has failed.
    #[error("{0}")]
    Device(String),
    /// The backend refused the case.
    #[error("{path}: {reason}")]
    Backend {
        /// The file.
        path: PathBuf,
        /// The backend's reason.
        reason: String,
    },
}

impl GoldenError {
    fn field(path: &Path, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { path: path.into(), field: field.into(), reason: reason.into() }
    }

    /// A backend's refusal of `case`.
    pub fn backend(case: &Case, reason: impl std::fmt::Display) -> Self {
        Self::Backend { path: case.path.clone(), reason: reason.to_string() }
    }
}

/// Results of a backend for a case.
#[derive(Debug, Clone, Default)]
pub struct Computed {
    /// Results, named as in the file without `expect.`; more than the file expects does no harm.
    pub tensors: Vec<(String, Vec<f64>)>,
    /// Tensors that this backend does not compute, with the reason: a tensor (`loss`) or a group (`grad`,
    /// `after.lars`).
    pub not_mine: Vec<(String, &'static str)>,
}

impl Computed {
    /// Adds a result in single precision.
    pub fn push(&mut self, name: impl Into<String>, values: &[f32]) {
        self.tensors.push((name.into(), values.iter().map(|&value| f64::from(value)).collect()));
    }
}

/// A function that computes a case: [`core::compute`], or another backend's.
pub type Backend<'a> = dyn Fn(&Case) -> Result<Computed, GoldenError> + 'a;

/// Runs the cases of `paths`, each a file or a folder of `.safetensors` files, on a backend.
///
/// Whatever goes wrong is a row of the report.
pub fn run(paths: &[PathBuf], backend: &Backend<'_>) -> Report {
    let mut rows = Vec::new();
    for path in paths {
        match files(path) {
            Ok(files) => rows.extend(files.into_iter().map(|file| {
                let outcome = run_one(&file, backend);
                Row { file, outcome }
            })),
            Err(error) => rows.push(Row { file: path.clone(), outcome: Err(error) }),
        }
    }
    Report { rows }
}

fn run_one(file: &Path, backend: &Backend<'_>) -> Result<Comparison, GoldenError> {
    let case = Case::read(file)?;
    let computed = backend(&case)?;
    Ok(compare::compare(&case, &computed))
}

/// The file itself, or the golden files of a folder by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let read = |source| GoldenError::Read { path: path.into(), source };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(GoldenError::Empty { path: path.into() }) } else { Ok(files) }
}
