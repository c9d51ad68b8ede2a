//! Shapes of feature maps and the arithmetic of sliding windows, all in `const fn`.

/// A feature map `[channels, height, width]`, stored row-major (channel, then row, then column).
///
/// A one-dimensional signal of `T` samples in `C` channels is `[C, 1, T]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub struct Shape {
    /// Number of channels.
    pub channels: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl Shape {
    /// A shape of `channels` x `height` x `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Number of elements. Networks are validated before their sizes are asked for, so a product
    /// that would not fit in `usize` has been refused by then.
    pub const fn len(&self) -> usize {
        self.channels.wrapping_mul(self.area())
    }

    /// `true` where any dimension is zero.
    pub const fn is_empty(&self) -> bool {
        self.channels == 0 || self.height == 0 || self.width == 0
    }

    /// Elements of one channel: height x width.
    pub const fn area(&self) -> usize {
        self.height.wrapping_mul(self.width)
    }
}

/// Number of positions of a window of `kernel` samples that moves by `stride` over `size` samples
/// with `padding` zeros on both sides; `None` where it does not fit once, or `stride` is zero.
pub const fn window_positions(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let Some(both) = padding.checked_mul(2) else { return None };
    let Some(padded) = size.checked_add(both) else { return None };
    if kernel == 0 || kernel > padded {
        return None;
    }
    match (padded - kernel).checked_div(stride) {
        Some(steps) => Some(steps + 1),
        None => None,
    }
}
