//! Random resized crop: which part is cut out, and cutting and resizing it.

use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};

use super::AugmentError;
use super::resample::resample;
use crate::rng::Rng;

/// Number of tries before the centre crop is used.
const ATTEMPTS: usize = 10;

/// A rectangle of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Range of crops.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropRange {
    /// Smallest and largest area, as a part of the image's.
    pub area: [f32; 2],
    /// Smallest and largest width : height.
    pub aspect: [f32; 2],
}

impl Default for CropRange {
    /// From 8 % to the whole image, width : height from 3 : 4 to 4 : 3.
    fn default() -> Self {
        Self { area: [0.08, 1.0], aspect: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl CropRange {
    /// Checks the range.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, [low, high]) in [("area", self.area), ("aspect", self.aspect)] {
            if !(low > 0.0 && low <= high && high.is_finite()) {
                return Err(format!("crop {name} from {low} to {high}, expected positive and ascending"));
            }
        }
        Ok(())
    }

    /// Draws a crop of an image of `height` x `width`: area uniform, logarithm of the aspect uniform, rounded to
    /// pixels, then a place where it fits. After ten sizes that do not fit: the largest central crop with an
    /// allowed aspect.
    pub fn draw(&self, height: usize, width: usize, rng: &mut Rng) -> Crop {
        let [area_low, area_high] = self.area.map(f64::from);
        let [log_low, log_high] = self.aspect.map(|aspect| libm::log(f64::from(aspect)));
        for _ in 0..ATTEMPTS {
            let area = (height * width) as f64 * (area_low + (area_high - area_low) * rng.unit_f64());
            let aspect = libm::exp(log_low + (log_high - log_low) * rng.unit_f64());
            // Half to even, as in Python. Casts of floats saturate, so that nonsense does not fit below.
            let crop_width = (area * aspect).sqrt().round_ties_even() as usize;
            let crop_height = (area / aspect).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                let top = rng.below(height - crop_height + 1);
                let left = rng.below(width - crop_width + 1);
                return Crop { top, left, height: crop_height, width: crop_width };
            }
        }
        self.central(height, width)
    }

    /// The largest central crop of an image of `height` x `width` with an allowed aspect.
    pub fn central(&self, height: usize, width: usize) -> Crop {
        let [low, high] = self.aspect.map(f64::from);
        let aspect = width as f64 / height as f64;
        let (crop_height, crop_width) = if aspect < low {
            ((width as f64 / low).round_ties_even() as usize, width)
        } else if aspect > high {
            (height, (height as f64 * high).round_ties_even() as usize)
        } else {
            (height, width)
        };
        // An aspect between two pixels can round to nothing, or past the border.
        let (crop_height, crop_width) = (crop_height.clamp(1, height.max(1)), crop_width.clamp(1, width.max(1)));
        Crop {
            top: height.saturating_sub(crop_height) / 2,
            left: width.saturating_sub(crop_width) / 2,
            height: crop_height,
            width: crop_width,
        }
    }
}

/// Cuts `crop` out of `image` (`shape` = `[C, H, W]`) and resizes it to `height` x `width`, bilinear with
/// antialiasing. Pixels outside the crop have no influence.
///
/// # Errors
/// [`AugmentError`] if `image` is not `shape` long, the crop is empty or not inside, or the new size is empty.
pub fn resized_crop(
    image: &[u8],
    shape: Shape,
    crop: Crop,
    height: usize,
    width: usize,
) -> Result<Vec<u8>, AugmentError> {
    let area = shape.height * shape.width;
    if image.len() != shape.channels * area {
        return Err(AugmentError::Length { what: "image", found: image.len(), expected: shape.channels * area });
    }
    let fits = |start: usize, len: usize, whole: usize| len > 0 && len <= whole && start <= whole - len;
    if !fits(crop.top, crop.height, shape.height) || !fits(crop.left, crop.width, shape.width) {
        return Err(AugmentError::Settings(format!("{crop:?} is not inside {}x{}", shape.height, shape.width)));
    }
    if height == 0 || width == 0 {
        return Err(AugmentError::Settings(format!("cannot resize to {height}x{width}")));
    }
    let mut cut = Vec::with_capacity(shape.channels * crop.height * crop.width);
    for plane in image.chunks_exact(area) {
        for row in plane.chunks_exact(shape.width).skip(crop.top).take(crop.height) {
            cut.extend_from_slice(&row[crop.left..][..crop.width]);
        }
    }
    Ok(resample(cut, crop.height, crop.width, height, width))
}
