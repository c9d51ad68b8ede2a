//! One part of a data set: images and, if any, their labels.

use std::sync::Arc;

use clapp_core::shape::Shape;
use rayon::prelude::*;

use super::DataError;
use super::encoded::Seen;
use super::images::Images;
use crate::augment::grey_scale;

/// `N` images of 8-bit planes `[C, H, W]`, each with a label or all without. Images may differ in height and width.
///
/// The pixels may be in memory or in files; a copy, and a part made by [`Split::take`] or [`Split::select`], shares
/// them with the whole.
#[derive(Debug, Clone)]
pub struct Split {
    images: Arc<Images>,
    /// Indices into `images`, in order; without them, the first `len` images.
    chosen: Option<Arc<[u32]>>,
    len: usize,
    /// At least `len` labels, or none.
    labels: Arc<[u16]>,
    /// Colour images are read as their grey.
    grey: bool,
    /// Shape of all stored images, if it is measured and the same for all.
    measured: Option<Shape>,
}

impl Split {
    /// Images of `shape`, one after another in `pixels`, with one label each. `None` if the lengths do not agree or the
    /// shape is empty.
    pub fn new(shape: Shape, pixels: Vec<u8>, labels: Vec<u16>) -> Option<Self> {
        let agrees = !shape.is_empty() && labels.len().checked_mul(shape.len()) == Some(pixels.len());
        agrees.then(|| Self::of(Images::Memory { shape, pixels }, labels))
    }

    /// Makes a part of `images` and `labels`, cut to the shorter of both. Without labels, keeps all images.
    pub(super) fn of(images: Images, labels: Vec<u16>) -> Self {
        let len = if labels.is_empty() { images.len() } else { images.len().min(labels.len()) };
        Self { images: Arc::new(images), chosen: None, len, labels: labels.into(), grey: false, measured: None }
    }

    /// The same images, those in colour as their grey (ITU-R BT.601, as Pillow converts).
    pub fn in_grey(&self) -> Self {
        Self { grey: true, ..self.clone() }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// `true` if there is no image.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shape of every image; `None` if they differ or are not known before they are decoded.
    pub fn shape(&self) -> Option<Shape> {
        self.measured.or_else(|| self.images.shape()).map(|shape| Shape { channels: self.channels(), ..shape })
    }

    /// The same images with their shape known where all have the same one: the headers of encoded images are read, up
    /// to the first that differs.
    pub fn measured(&self) -> Self {
        if self.shape().is_some() || self.is_empty() {
            return self.clone();
        }
        let first = self.images.measure(self.at(0));
        let same = first.is_some() && (1..self.len).into_par_iter().all(|i| self.images.measure(self.at(i)) == first);
        Self { measured: first.filter(|_| same), ..self.clone() }
    }

    /// Channels of every image: 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        if self.grey { 1 } else { self.images.channels() }
    }

    /// Reads image `i` as planes `[C, H, W]` into `out`, in place of what that held. Returns its shape.
    ///
    /// # Errors
    /// [`DataError`], with the name of the file, if it cannot be read or does not decode.
    ///
    /// # Panics
    /// Like a slice, if `i >= len()`.
    pub fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<Shape, DataError> {
        let shape = match self.measured {
            Some(shape) => self.images.read_measured(self.at(i), shape, out)?,
            None => self.images.read(self.at(i), out)?,
        };
        if !self.grey || shape.channels == 1 {
            return Ok(shape);
        }
        grey_scale(out, shape.channels);
        let grey = Shape { channels: 1, ..shape };
        out.truncate(grey.len());
        Ok(grey)
    }

    /// Decodes image `i` into `out` as [`Split::read`] does, in its own colours. Returns its shape and format.
    ///
    /// # Errors
    /// Same as [`Split::read`].
    ///
    /// # Panics
    /// Like a slice, if `i >= len()`.
    pub fn inspect(&self, i: usize, out: &mut Vec<u8>) -> Result<Seen, DataError> {
        self.images.inspect(self.at(i), out)
    }

    /// Returns the file name of image `i` below the root of the set, if each image has its own file.
    ///
    /// # Panics
    /// Like a slice, if `i >= len()`.
    pub fn file_name(&self, i: usize) -> Option<&str> {
        self.images.name(self.at(i))
    }

    /// Returns `true` if each image has its own file, which must be decoded.
    pub fn is_encoded(&self) -> bool {
        matches!(*self.images, Images::Encoded(_))
    }

    /// Returns `true` if the other part has the same images in the same order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.images, &other.images) && self.len == other.len && self.chosen == other.chosen
    }

    /// Returns a copy of image `i` as planes `[C, H, W]`.
    ///
    /// # Errors
    /// Same as [`Split::read`].
    ///
    /// # Panics
    /// Like a slice, if `i >= len()`.
    pub fn image(&self, i: usize) -> Result<Vec<u8>, DataError> {
        let mut pixels = Vec::new();
        self.read(i, &mut pixels)?;
        Ok(pixels)
    }

    /// Place of image `i` among all that are stored.
    fn at(&self, i: usize) -> usize {
        assert!(i < self.len, "image {i} of {}", self.len);
        self.chosen.as_ref().map_or(i, |chosen| chosen[i] as usize)
    }

    /// Returns `true` if every image has a label.
    pub fn is_labelled(&self) -> bool {
        self.labels.len() >= self.len
    }

    /// Label of image `i`, an index into the data set's classes.
    ///
    /// # Panics
    /// Like a slice, if `i >= len()` or there are no labels.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.labels()[i])
    }

    /// All labels; empty if the images have none.
    pub fn labels(&self) -> &[u16] {
        &self.labels[..self.len.min(self.labels.len())]
    }

    /// Returns the first `n` images, or all if there are fewer.
    pub fn take(&self, n: usize) -> Self {
        Self { len: n.min(self.len), ..self.clone() }
    }

    /// The images with these indices, in this order.
    ///
    /// # Panics
    /// Like a slice, if an index is not below `len()`.
    pub fn select(&self, indices: &[usize]) -> Self {
        let chosen = indices.iter().map(|&i| self.at(i) as u32).collect();
        let labels: Vec<u16> =
            if self.labels.is_empty() { Vec::new() } else { indices.iter().map(|&i| self.labels[i]).collect() };
        Self {
            images: self.images.clone(),
            chosen: Some(chosen),
            len: indices.len(),
            labels: labels.into(),
            grey: self.grey,
            measured: self.measured,
        }
    }
}

/// Mean and standard deviation of each channel of images of `shape`, one after another in `pixels`, of values scaled
/// to `[0, 1]`. A deviation below half a grey level is given as 1, so that a constant channel can be divided by it.
pub(super) fn statistics(pixels: &[u8], shape: Shape) -> (Vec<f32>, Vec<f32>) {
    let plane = (shape.height * shape.width).max(1);
    let mut sums = vec![(0_u64, 0_u64); shape.channels];
    for image in pixels.chunks_exact(shape.len().max(1)) {
        for (sum, values) in sums.iter_mut().zip(image.chunks_exact(plane)) {
            // Whole numbers: exact, in any order.
            sum.0 += values.iter().map(|&v| u64::from(v)).sum::<u64>();
            sum.1 += values.iter().map(|&v| u64::from(v) * u64::from(v)).sum::<u64>();
        }
    }
    let count = (pixels.len() / shape.channels.max(1)).max(1) as f64;
    sums.into_iter()
        .map(|(sum, squares)| {
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
            let scale = if deviation < 0.5 { 1.0 } else { deviation / 255.0 };
            ((mean / 255.0) as f32, scale as f32)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_read_as_its_grey_and_grey_as_it_is() {
        let pixels = vec![255, 0, 10, 0, 0, 10, 0, 255, 10];
        let split = Split::new(Shape::new(3, 1, 3), pixels, vec![7]).expect("one image");
        let grey = split.in_grey();
        assert_eq!((grey.channels(), grey.shape(), grey.label(0)), (1, Some(Shape::new(1, 1, 3)), 7));
        // ITU-R BT.601: 0.299 of red, 0.114 of blue.
        assert_eq!(grey.image(0).expect("in memory"), [76, 29, 10]);
        assert_eq!(grey.select(&[0]).image(0).expect("in memory"), [76, 29, 10]);
        let single = Split::new(Shape::new(1, 1, 2), vec![3, 4], vec![0]).expect("one image").in_grey();
        assert_eq!((single.channels(), single.image(0).expect("in memory")), (1, vec![3, 4]));
    }
}
