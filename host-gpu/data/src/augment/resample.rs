//! Bilinear resizing with antialiasing in fixed-point numbers, to the bit as Pillow resizes 8-bit images (up to version
//! 12.2; version 13.0 takes columns first where an image gets lower and wider, and differs by 1 there).
//!
//! Each output pixel is a weighted sum of the input pixels under a triangle around its centre; the triangle is as wide
//! as the step between outputs, but at least one input pixel to each side. Weights are rounded to 22 bits after the
//! point. Rows are resized first and rounded to bytes, then columns. An axis that keeps its size does not change.

/// Bits after the point of a weight: sums of bytes then fit in 32 bits.
const FRACTION: u32 = 32 - 8 - 2;

/// Weights of the input pixels for each output pixel along one axis.
struct Taps {
    /// For each output: first input, and the range of its weights in `weights`.
    outputs: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        let reach = step.max(1.0);
        let mut outputs = Vec::with_capacity(to);
        let mut weights = Vec::with_capacity(to * (2 * reach as usize + 2));
        let mut row = Vec::new();
        for output in 0..to {
            let centre = (output as f64 + 0.5) * step;
            // Casts of negative floats give 0, the border.
            let first = (centre - reach + 0.5) as usize;
            let last = ((centre + reach + 0.5) as usize).min(from);
            row.clear();
            row.extend((first..last).map(|input| (1.0 - ((input as f64 - centre + 0.5) / reach).abs()).max(0.0)));
            let sum: f64 = row.iter().sum();
            let start = weights.len();
            weights.extend(row.iter().map(|weight| (0.5 + weight / sum * f64::from(1 << FRACTION)) as i32));
            outputs.push((first, start..weights.len()));
        }
        Self { outputs, weights }
    }
}

/// Resizes planes of `height` x `width` to `new_height` x `new_width`. All sizes are positive.
pub(super) fn resample(image: Vec<u8>, height: usize, width: usize, new_height: usize, new_width: usize) -> Vec<u8> {
    let image = if width == new_width { image } else { rows(&image, width, new_width) };
    if height == new_height { image } else { columns(&image, height, new_height, new_width) }
}

/// Resizes each row from `width` to `new_width`.
fn rows(image: &[u8], width: usize, new_width: usize) -> Vec<u8> {
    let taps = Taps::new(width, new_width);
    let mut out = Vec::with_capacity(image.len() / width * new_width);
    for row in image.chunks_exact(width) {
        out.extend(taps.outputs.iter().map(|(first, range)| {
            let weights = &taps.weights[range.clone()];
            let sum: i32 = row[*first..].iter().zip(weights).map(|(&pixel, weight)| i32::from(pixel) * weight).sum();
            round(sum + (1 << (FRACTION - 1)))
        }));
    }
    out
}

/// Resizes each column from `height` to `new_height`; rows have `width` pixels.
fn columns(image: &[u8], height: usize, new_height: usize, width: usize) -> Vec<u8> {
    let taps = Taps::new(height, new_height);
    let mut out = Vec::with_capacity(image.len() / height * new_height);
    let mut sums = vec![0_i32; width];
    for plane in image.chunks_exact(height * width) {
        for (first, range) in &taps.outputs {
            sums.fill(1 << (FRACTION - 1));
            for (row, weight) in plane.chunks_exact(width).skip(*first).zip(&taps.weights[range.clone()]) {
                for (sum, &pixel) in sums.iter_mut().zip(row) {
                    *sum += i32::from(pixel) * weight;
                }
            }
            out.extend(sums.iter().map(|&sum| round(sum)));
        }
    }
    out
}

/// The whole part of a fixed-point number, kept in a byte.
fn round(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}
