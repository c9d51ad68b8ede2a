//! Gaussian blur as torchvision's: a normalised kernel of few taps, mirrored borders, rounded back to bytes.

use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};

use super::AugmentError;

/// Range of blurs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlurRange {
    /// Probability that a view is blurred.
    pub probability: f32,
    /// Taps of the kernel in each direction; odd, at most twice the size of a view.
    pub kernel: usize,
    /// Smallest and largest standard deviation, in pixels.
    pub sigma: [f32; 2],
}

impl Default for BlurRange {
    /// Half of the views, a kernel of 3, sigma from 0.1 to 2.
    fn default() -> Self {
        Self { probability: 0.5, kernel: 3, sigma: [0.1, 2.0] }
    }
}

impl BlurRange {
    /// Kernel size in the paper's code for views of `size`: a tenth of it, made odd.
    pub fn kernel_for(size: usize) -> usize {
        (size / 10) | 1
    }

    /// Checks the range for views of `size`.
    pub(super) fn check(&self, size: usize) -> Result<(), String> {
        let [low, high] = self.sigma;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(format!("blur sigma from {low} to {high}, expected positive and ascending"));
        }
        if self.probability > 0.0 && (self.kernel.is_multiple_of(2) || self.kernel / 2 >= size) {
            return Err(format!(
                "blur kernel of {} for views of {size}, expected odd and at most {}",
                self.kernel,
                2 * size - 1
            ));
        }
        Ok(())
    }
}

/// Blurs planes `shape` = `[C, H, W]` in place with a kernel of `taps` x `taps` and standard deviation `sigma`
/// (pixels).
///
/// # Errors
/// [`AugmentError`] if `image` is not `shape` long, `taps` is even or its half reaches past an opposite border, or
/// `sigma` is not positive.
pub fn gaussian_blur(image: &mut [u8], shape: Shape, taps: usize, sigma: f32) -> Result<(), AugmentError> {
    let Shape { channels, height, width } = shape;
    if image.len() != channels * height * width {
        return Err(AugmentError::Length { what: "image", found: image.len(), expected: channels * height * width });
    }
    let half = taps / 2;
    if taps.is_multiple_of(2) || half >= height || half >= width || !(sigma > 0.0 && sigma.is_finite()) {
        return Err(AugmentError::Settings(format!("blur of {taps} taps and sigma {sigma} for {height}x{width}")));
    }
    let kernel = kernel(taps, sigma);
    // The kernel is a product of one along each axis: two passes of `taps` instead of one of `taps` squared.
    let mut across = vec![0.0_f32; height * width];
    let mut bordered = vec![0.0_f32; width + 2 * half];
    let mut sums = vec![0.0_f32; width];
    for plane in image.chunks_exact_mut(height * width) {
        for (row, out) in plane.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            for (place, value) in bordered.iter_mut().enumerate() {
                *value = f32::from(row[mirror(place, half, width)]);
            }
            out.fill(0.0);
            for (tap, weight) in kernel.iter().enumerate() {
                for (sum, value) in out.iter_mut().zip(&bordered[tap..]) {
                    *sum += weight * value;
                }
            }
        }
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            sums.fill(0.0);
            for (tap, weight) in kernel.iter().enumerate() {
                let start = mirror(y + tap, half, height) * width;
                for (sum, value) in sums.iter_mut().zip(&across[start..][..width]) {
                    *sum += weight * value;
                }
            }
            for (pixel, sum) in row.iter_mut().zip(&sums) {
                *pixel = sum.round_ties_even() as u8;
            }
        }
    }
    Ok(())
}

/// `taps` samples of a Gaussian around the middle, of sum 1.
fn kernel(taps: usize, sigma: f32) -> Vec<f32> {
    let half = (taps / 2) as f32;
    let values: Vec<f32> = (0..taps)
        .map(|tap| {
            let place = (tap as f32 - half) / sigma;
            libm::expf(-0.5 * place * place)
        })
        .collect();
    let sum: f32 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

/// Returns the index of the sample at `place` of an axis with `half` mirrored samples before and after its `size`
/// samples. The border sample itself is not repeated. `half` < `size`.
fn mirror(place: usize, half: usize, size: usize) -> usize {
    let back = place.abs_diff(half);
    if back < size { back } else { 2 * (size - 1) - back }
}
