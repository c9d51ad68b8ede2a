//! An image file that belongs to no set.

use super::DataError;
use super::encoded::decode;
use clapp_core::shape::Shape;
use std::path::Path;

/// Reads an image file as planes `[3, H, W]` into `out`, in place of what that held. Returns its shape.
///
/// # Errors
/// [`DataError::Image`] with the file's name where it cannot be read or is not a whole image.
pub fn read_image(path: &Path, out: &mut Vec<u8>) -> Result<Shape, DataError> {
    let wrong = |why: String| DataError::Image { file: path.display().to_string(), why };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    decode(&bytes, out).map(|seen| seen.shape).map_err(wrong)
}
