//! Brightness, contrast, saturation and grey-scale of 8-bit images, as Pillow's `ImageEnhance` and `convert("L")`.
//!
//! All but brightness look at channels: 3 are red, green and blue planes, 1 is grey. On grey images saturation and
//! grey-scale change nothing.

/// Multiplies by `factor`, cuts off fractions, and keeps to bytes.
pub fn brightness(image: &mut [u8], factor: f32) {
    for pixel in image {
        *pixel = blend(0, *pixel, factor);
    }
}

/// Moves every value away from (`factor` > 1) or towards the rounded mean of the grey image.
pub fn contrast(image: &mut [u8], channels: usize, factor: f32) {
    let (sum, count) = match planes(image, channels) {
        Some([red, green, blue]) => {
            let greys = red.iter().zip(&*green).zip(&*blue).map(|((&r, &g), &b)| u64::from(luma(r, g, b)));
            (greys.sum::<u64>(), red.len())
        }
        None => (image.iter().map(|&pixel| u64::from(pixel)).sum(), image.len()),
    };
    if count == 0 {
        return;
    }
    let count = count as u64;
    let mean = ((2 * sum + count) / (2 * count)) as u8;
    for pixel in image {
        *pixel = blend(mean, *pixel, factor);
    }
}

/// Moves every pixel away from (`factor` > 1) or towards its own grey.
pub fn saturation(image: &mut [u8], channels: usize, factor: f32) {
    let Some([red, green, blue]) = planes(image, channels) else { return };
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let grey = luma(*r, *g, *b);
        *r = blend(grey, *r, factor);
        *g = blend(grey, *g, factor);
        *b = blend(grey, *b, factor);
    }
}

/// Gives every pixel its grey in all three channels.
pub fn grey_scale(image: &mut [u8], channels: usize) {
    let Some([red, green, blue]) = planes(image, channels) else { return };
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let grey = luma(*r, *g, *b);
        (*r, *g, *b) = (grey, grey, grey);
    }
}

/// The three planes of a colour image; `None` for any other number of channels.
pub(super) fn planes(image: &mut [u8], channels: usize) -> Option<[&mut [u8]; 3]> {
    if channels != 3 || !image.len().is_multiple_of(3) {
        return None;
    }
    let area = image.len() / 3;
    let (red, rest) = image.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    Some([red, green, blue])
}

/// ITU-R 601-2 luma in 16-bit fixed point, rounded: Pillow's conversion to grey.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

/// From `base` through `value` (`factor` 1) and beyond. The cast cuts off the fraction and saturates, as Pillow does.
fn blend(base: u8, value: u8, factor: f32) -> u8 {
    let base = f32::from(base);
    (base + factor * (f32::from(value) - base)) as u8
}
