//! A measure of a vector's change from frame to frame, from four numbers a frame.
//!
//! A sketch is the product of the vector with fixed random signs. The variance of the sketches is zero where the vector
//! does not change, but for changes within the planes of zero product, which random signs make improbable.

use crate::math::sqrt;

/// Rows over which the means run, about.
const WINDOW: f32 = 64.0;
/// Sketches of a vector.
const SKETCHES: usize = 4;

/// 1 or -1 for each sketch, fixed for each place.
fn signs(at: usize) -> [f32; SKETCHES] {
    // Upper bits of Knuth's multiplicative hash, mixed once.
    let hash = (at as u32).wrapping_add(1).wrapping_mul(0x9E37_79B1);
    let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EB_CA6B);
    core::array::from_fn(|sketch| if (hash >> (28 + sketch)) & 1 == 0 { 1.0 } else { -1.0 })
}

/// Weight of a new value after `count`, itself included, in a mean over about `window`.
pub(super) fn weight(count: u32, window: f32) -> f32 {
    1.0 / (count as f32).clamp(1.0, window)
}

/// True for a value of which means and variances can be taken: squared distances, and sums of four of them, are finite.
pub(super) fn has_variance(value: f32) -> bool {
    const LARGEST: f32 = 4e18;
    value.abs() <= LARGEST
}

/// The sketches of one vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sketch {
    products: [f32; SKETCHES],
    /// Squared length of the vector.
    pub squares: f32,
}

impl Sketch {
    /// The sketches of `values`, less `mean` each; `None` where a sum is not finite, or its square.
    pub fn of(values: &[f32], mean: f32) -> Option<Self> {
        let mut sketch = Self { products: [0.0; SKETCHES], squares: 0.0 };
        for (at, value) in values.iter().enumerate() {
            let value = value - mean;
            for (product, sign) in sketch.products.iter_mut().zip(signs(at)) {
                *product += sign * value;
            }
            sketch.squares += value * value;
        }
        // Two lengths are added up, and products squared.
        let small = sketch.squares <= f32::MAX / 4.0 && sketch.products.iter().all(|&product| has_variance(product));
        small.then_some(sketch)
    }

    /// Squared distance of two vectors, estimated, as a part of their squared lengths: 0 where they are the same, about 1
    /// where they have nothing in common.
    pub fn distance(&self, other: &Self) -> f32 {
        let pairs = self.products.iter().zip(&other.products);
        let squared: f32 = pairs.map(|(one, two)| (one - two) * (one - two)).sum();
        let lengths = self.squares + other.squares;
        if lengths > 0.0 { squared / SKETCHES as f32 / lengths } else { 0.0 }
    }
}

/// Running means of the sketches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// Vectors heard of.
    pub rows: u32,
    means: [f32; SKETCHES],
    /// Mean squared distances from the means.
    variances: [f32; SKETCHES],
    /// Mean squared length.
    squares: f32,
}

impl Change {
    pub const NEW: Self = Self { rows: 0, means: [0.0; SKETCHES], variances: [0.0; SKETCHES], squares: 0.0 };

    pub fn hear(&mut self, sketch: &Sketch) {
        self.rows = self.rows.saturating_add(1);
        let weight = weight(self.rows, WINDOW);
        // West 1979: variances about means that move on.
        for ((product, mean), variance) in sketch.products.iter().zip(&mut self.means).zip(&mut self.variances) {
            let distance = product - *mean;
            *mean += weight * distance;
            *variance = (1.0 - weight) * (*variance + weight * distance * distance);
        }
        self.squares += weight * (sketch.squares - self.squares);
    }

    /// Standard deviation from row to row, relative to the length.
    pub fn relative(&self) -> f32 {
        let variances: f32 = self.variances.iter().sum();
        sqrt(variances / SKETCHES as f32 / self.squares.max(f32::MIN_POSITIVE))
    }
}
