//! A JSON object whose fields must all be read: a field left at the end is an error, or is listed.

use super::GoldenError;
use serde_json::{Map, Value};
use std::path::Path;

/// The fields of one object that have not been taken yet.
pub(super) struct Fields<'a> {
    path: &'a Path,
    scope: String,
    map: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which is called `scope` in errors.
    pub fn new(path: &'a Path, scope: impl Into<String>, value: Value) -> Result<Self, GoldenError> {
        let scope = scope.into();
        match value {
            Value::Object(map) => Ok(Self { path, scope, map }),
            other => Err(GoldenError::field(path, scope, format!("{other} is not an object"))),
        }
    }

    /// An error about a field.
    pub fn error(&self, name: &str, reason: impl Into<String>) -> GoldenError {
        GoldenError::field(self.path, format!("{}.{name}", self.scope), reason)
    }

    /// A field; `None` if it is absent or null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub fn required(&mut self, name: &str) -> Result<Value, GoldenError> {
        self.take(name).ok_or_else(|| self.error(name, "missing"))
    }

    /// Reads a field with `read`, if present.
    pub fn optional<T>(
        &mut self,
        name: &str,
        meaning: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, GoldenError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.error(name, format!("{value} is not {meaning}"))),
        }
    }

    /// A truth value; false where absent.
    pub fn flag(&mut self, name: &str) -> Result<bool, GoldenError> {
        Ok(self.optional(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A count.
    pub fn count(&mut self, name: &str) -> Result<Option<usize>, GoldenError> {
        self.optional(name, "a whole number of at least 0", count)
    }

    /// A finite number.
    pub fn number(&mut self, name: &str) -> Result<Option<f32>, GoldenError> {
        self.optional(name, "a finite number", number)
    }

    /// `[height, width]`, or one number for both.
    pub fn pair(&mut self, name: &str) -> Result<Option<[usize; 2]>, GoldenError> {
        self.optional(name, "a whole number or a pair of them", pair)
    }

    /// One of several words.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, GoldenError> {
        let meaning = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        self.optional(name, &format!("one of {meaning}"), |value| {
            words.iter().find(|(word, _)| value == word).map(|&(_, meaning)| meaning)
        })
    }

    /// All fields, where their names are up to the file.
    pub fn into_each(self) -> impl Iterator<Item = (String, Value)> {
        self.map.into_iter()
    }

    /// Returns the names of the fields that were not read.
    pub fn rest(self) -> Vec<String> {
        self.map.keys().map(|name| format!("{}.{name}", self.scope)).collect()
    }

    /// Refuses fields that were not read.
    pub fn finish(self) -> Result<(), GoldenError> {
        match self.map.keys().next() {
            Some(name) => Err(self.error(name, "unknown field")),
            None => Ok(()),
        }
    }
}

/// A whole number that fits.
pub(super) fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

/// A number that is finite in single precision.
pub(super) fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}

/// A pair of counts, or one count for both.
pub(super) fn pair(value: &Value) -> Option<[usize; 2]> {
    match value.as_array().map(Vec::as_slice) {
        Some([height, width]) => Some([count(height)?, count(width)?]),
        Some(_) => None,
        None => count(value).map(|both| [both, both]),
    }
}
