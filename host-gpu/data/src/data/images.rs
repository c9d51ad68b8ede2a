//! Storage of a set's pixels, and reading of one image.

use clapp_core::shape::Shape;

use super::DataError;
use super::encoded::{Encoded, Seen};
use super::records::Records;

/// The images of one part of a set. Any thread may read any of them.
#[derive(Debug)]
pub(super) enum Images {
    /// All of one shape, one after another in memory.
    Memory {
        /// Shape of each image.
        shape: Shape,
        /// Planes `[C, H, W]` of each image.
        pixels: Vec<u8>,
    },
    /// All of one shape, in a file of records of equal length; read when asked for.
    Records(Records),
    /// Files of the usual formats, of any size; read and decoded when asked for.
    Encoded(Encoded),
}

impl Images {
    /// Number of images.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory { shape, pixels } => pixels.len() / shape.len().max(1),
            Self::Records(records) => records.len(),
            Self::Encoded(encoded) => encoded.len(),
        }
    }

    /// Shape of every image; `None` if they differ or are not known before they are decoded.
    pub(super) fn shape(&self) -> Option<Shape> {
        match self {
            Self::Memory { shape, .. } => Some(*shape),
            Self::Records(records) => Some(records.shape()),
            Self::Encoded(_) => None,
        }
    }

    /// Channels of every image.
    pub(super) fn channels(&self) -> usize {
        self.shape().map_or(3, |shape| shape.channels)
    }

    /// Image `i` as planes `[C, H, W]`, in place of what `out` held.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read, is shorter than it was, or does not decode.
    pub(super) fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<Shape, DataError> {
        match self {
            Self::Memory { shape, pixels } => {
                out.clear();
                out.extend_from_slice(&pixels[i * shape.len()..][..shape.len()]);
                Ok(*shape)
            }
            Self::Records(records) => records.read(i, out),
            Self::Encoded(encoded) => encoded.read(i, out),
        }
    }

    /// Same as [`Images::read`], with the format of an encoded image.
    ///
    /// # Errors
    /// Same as [`Images::read`].
    pub(super) fn inspect(&self, i: usize, out: &mut Vec<u8>) -> Result<Seen, DataError> {
        match self {
            Self::Encoded(encoded) => encoded.inspect(i, out),
            _ => self.read(i, out).map(|shape| Seen { shape, format: "raw bytes" }),
        }
    }

    /// Returns the file name of image `i` below the root of the set, if it has its own file.
    pub(super) fn name(&self, i: usize) -> Option<&str> {
        match self {
            Self::Encoded(encoded) => Some(encoded.name(i)),
            Self::Memory { .. } | Self::Records(_) => None,
        }
    }

    /// Shape of image `i`, of encoded ones as its header says it; `None` if it has no usable header.
    pub(super) fn measure(&self, i: usize) -> Option<Shape> {
        match self {
            Self::Encoded(encoded) => encoded.measure(i),
            Self::Memory { .. } | Self::Records(_) => self.shape(),
        }
    }

    /// Same as [`Images::read`], of images that have all been found to be of one shape.
    ///
    /// # Errors
    /// The errors of [`Images::read`], and an error if the image has another shape now.
    pub(super) fn read_measured(&self, i: usize, expected: Shape, out: &mut Vec<u8>) -> Result<Shape, DataError> {
        match (self, self.read(i, out)?) {
            (Self::Encoded(encoded), found) if found != expected => Err(encoded.changed(i, found, expected)),
            (_, found) => Ok(found),
        }
    }
}
