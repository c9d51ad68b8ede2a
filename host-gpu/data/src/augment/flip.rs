//! Horizontal flip.

/// Mirrors every row of planes with rows of `width` pixels. Does nothing if `width` is 0.
pub fn horizontal_flip(image: &mut [u8], width: usize) {
    if width > 0 {
        image.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
}
