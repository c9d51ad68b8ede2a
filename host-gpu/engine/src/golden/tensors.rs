//! The tensors of a safetensors file, read by name, type and shape. A tensor that is not read is an error.

use super::GoldenError;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The inputs of a case that have not been taken yet.
pub(super) struct Tensors<'a> {
    path: &'a Path,
    left: BTreeMap<String, Raw<'a>>,
}

struct Raw<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

/// Elements of `N` little-endian bytes each.
fn elements<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
}

impl<'a> Tensors<'a> {
    /// The metadata of a file, its expected results (named without `expect.`), and its inputs.
    #[expect(clippy::type_complexity, reason = "three parts of one file")]
    pub fn read(
        path: &'a Path,
        bytes: &'a [u8],
    ) -> Result<(HashMap<String, String>, BTreeMap<String, Vec<f64>>, Self), GoldenError> {
        let format =
            |error: safetensors::SafeTensorError| GoldenError::Format { path: path.into(), reason: error.to_string() };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut tensors = Self { path, left: BTreeMap::new() };
        let mut expected = BTreeMap::new();
        for (name, view) in file.tensors() {
            let raw = Raw { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data() };
            let Some(of_result) = name.strip_prefix("expect.") else {
                tensors.left.insert(name, raw);
                continue;
            };
            let values = match raw.dtype {
                Dtype::F64 => elements(raw.bytes, f64::from_le_bytes),
                Dtype::F32 => elements(raw.bytes, |bytes| f64::from(f32::from_le_bytes(bytes))),
                other => return Err(GoldenError::field(path, name, format!("type {other:?}, not F64 or F32"))),
            };
            if values.is_empty() {
                return Err(GoldenError::field(path, name, "has no elements"));
            }
            expected.insert(of_result.to_owned(), values);
        }
        Ok((metadata.metadata().clone().unwrap_or_default(), expected, tensors))
    }

    /// An error about a tensor.
    pub fn error(&self, name: &str, reason: impl Into<String>) -> GoldenError {
        GoldenError::field(self.path, name, reason)
    }

    /// The shape of a tensor that must be there.
    pub fn shape(&self, name: &str) -> Result<&[usize], GoldenError> {
        self.left.get(name).map(|raw| raw.shape.as_slice()).ok_or_else(|| self.error(name, "missing"))
    }

    /// Returns `true` if a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Forgets a tensor that the case may hold but does not need.
    pub fn skip(&mut self, name: &str) {
        self.left.remove(name);
    }

    /// Finite single-precision values of a given shape.
    pub fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, GoldenError> {
        let raw = self.take(name, shape)?;
        if raw.dtype != Dtype::F32 {
            return Err(self.error(name, format!("type {:?}, not F32", raw.dtype)));
        }
        let values = elements(raw.bytes, f32::from_le_bytes);
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(self.error(name, format!("holds {value}"))),
            None => Ok(values),
        }
    }

    /// Whole numbers below `limit` of a given shape.
    pub fn indices(&mut self, name: &str, shape: &[usize], limit: usize) -> Result<Vec<usize>, GoldenError> {
        let raw = self.take(name, shape)?;
        let values = match raw.dtype {
            Dtype::I32 => elements(raw.bytes, |bytes| i64::from(i32::from_le_bytes(bytes))),
            Dtype::I64 => elements(raw.bytes, i64::from_le_bytes),
            other => return Err(self.error(name, format!("type {other:?}, not I32 or I64"))),
        };
        let index = |value: i64| usize::try_from(value).ok().filter(|&index| index < limit);
        values
            .into_iter()
            .map(|value| index(value).ok_or_else(|| self.error(name, format!("holds {value}, not in 0..{limit}"))))
            .collect()
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Raw<'a>, GoldenError> {
        let raw = self.left.remove(name).ok_or_else(|| self.error(name, "missing"))?;
        if raw.shape == shape {
            Ok(raw)
        } else {
            Err(self.error(name, format!("shape {:?}, but the description needs {shape:?}", raw.shape)))
        }
    }

    /// Refuses tensors that were not read.
    pub fn finish(self) -> Result<(), GoldenError> {
        match self.left.keys().next() {
            Some(name) => Err(self.error(name, "unknown tensor, or not used by this kind of case")),
            None => Ok(()),
        }
    }
}
