//! Bytes to normalised floats.

use super::AugmentError;

/// Scales bytes to `[0, 1]` and normalises each channel: `out = (image / 255 - mean) / std`. `image` and `out` are
/// planes of as many channels as there are means.
///
/// # Errors
/// [`AugmentError`] if the lengths do not agree.
pub fn normalise(image: &[u8], mean: &[f32], std: &[f32], out: &mut [f32]) -> Result<(), AugmentError> {
    if out.len() != image.len() {
        return Err(AugmentError::Length { what: "view", found: out.len(), expected: image.len() });
    }
    if mean.is_empty() || mean.len() != std.len() || !image.len().is_multiple_of(mean.len()) {
        return Err(AugmentError::Settings(format!(
            "{} means and {} deviations for an image of {} values",
            mean.len(),
            std.len(),
            image.len()
        )));
    }
    let area = image.len() / mean.len();
    if area == 0 {
        return Ok(());
    }
    let channels = image.chunks_exact(area).zip(out.chunks_exact_mut(area)).zip(mean.iter().zip(std));
    for ((pixels, values), (mean, std)) in channels {
        for (value, &pixel) in values.iter_mut().zip(pixels) {
            *value = (f32::from(pixel) / 255.0 - mean) / std;
        }
    }
    Ok(())
}
