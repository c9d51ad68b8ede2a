//! Images of one shape in an uncompressed file, at equal distances: read by position, never all at once.

use std::fs::File;
use std::path::PathBuf;

use clapp_core::shape::Shape;

use super::DataError;
use super::files::{io_error, read_exact_at};

/// A part of a file that holds `count` images of `shape`, one after another.
#[derive(Debug)]
pub(super) struct Records {
    /// The file, for errors.
    pub path: PathBuf,
    /// The file, open.
    pub file: File,
    /// Position of the first image.
    pub start: u64,
    /// Images.
    pub count: usize,
    /// Shape of each image.
    pub shape: Shape,
    /// `true` if each plane is stored column after column, as STL-10 does.
    pub by_columns: bool,
    /// Address of a complete copy.
    pub hint: &'static str,
}

impl Records {
    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Shape of each image.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Image `i` as planes `[C, H, W]`, in place of what `out` held.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be read or has become shorter.
    ///
    /// # Panics
    /// Like a slice, if there is no image `i`.
    pub(super) fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<Shape, DataError> {
        assert!(i < self.count, "image {i} of {}", self.count);
        let len = self.shape.len();
        out.resize(len, 0);
        read_exact_at(&self.file, out, self.start + (i * len) as u64)
            .map_err(|error| io_error(&self.path, error, self.hint))?;
        if self.by_columns {
            transpose(out, self.shape.height, self.shape.width);
        }
        Ok(self.shape)
    }
}

/// Turns planes stored by columns (`[C, W, H]`) into planes `[C, H, W]`.
fn transpose(image: &mut [u8], height: usize, width: usize) {
    let mut rows = vec![0; height * width];
    for plane in image.chunks_exact_mut(height * width) {
        for (y, row) in rows.chunks_exact_mut(width).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = plane[x * height + y];
            }
        }
        plane.copy_from_slice(&rows);
    }
}
