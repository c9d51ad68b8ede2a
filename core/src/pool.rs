//! Max-pooling, and the mean pooling of a layer's output on which its loss acts (docs/paper.md 2.4, 2.5).

use crate::network::LossPool;
use crate::rows::{each_row, each_row_mut};
use crate::shape::Shape;

/// Max-pool of one map `[height, width]` with a `[height, width]` window and the stride of the window;
/// rows and columns left over are dropped.
///
/// `out` is the pooled map; `positions` takes, for each of its elements, the place of the maximum in its
/// window in row-major order, the first one of equals, or is empty where nobody wants to know.
/// NaN is smaller than any number here, unless it comes first; whoever made the map has to say that it is
/// not finite.
pub fn max_pool(
    map: &[f32],
    width: usize,
    window: [usize; 2],
    out: &mut [f32],
    out_width: usize,
    positions: &mut [u8],
) {
    let mut positions = each_row_mut(positions, out_width);
    let bands = each_row(map, width.saturating_mul(window[0]));
    for (out, band) in each_row_mut(out, out_width).zip(bands) {
        let positions = positions.next().unwrap_or_default();
        match (window, band.split_at_checked(width)) {
            ([2, 2], Some((top, bottom))) => {
                let windows = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                max_of_windows(windows.map(|([a, b], [c, d])| [*a, *b, *c, *d]), out, positions);
            }
            ([1, 2], _) => max_of_windows(band.as_chunks::<2>().0.iter().copied(), out, positions),
            _ => {
                for (row, values) in each_row(band, width).enumerate() {
                    max_of_row(each_row(values, window[1]), row * window[1], out, positions);
                }
            }
        }
    }
}

/// Maxima of windows of a fixed size, for the most common ones.
#[inline(always)]
fn max_of_windows<const N: usize>(windows: impl Iterator<Item = [f32; N]>, out: &mut [f32], positions: &mut [u8]) {
    let mut positions = positions.iter_mut();
    for (out, window) in out.iter_mut().zip(windows) {
        let (mut best, mut place) = (f32::NEG_INFINITY, 0);
        for (at, value) in window.into_iter().enumerate() {
            if at == 0 || value > best {
                (best, place) = (value, at as u8);
            }
        }
        *out = best;
        if let Some(position) = positions.next() {
            *position = place;
        }
    }
}

/// Takes one row of every window of a band into the maxima so far; `first` is the place of the row's
/// first element in its window.
fn max_of_row<'a>(windows: impl Iterator<Item = &'a [f32]>, first: usize, out: &mut [f32], positions: &mut [u8]) {
    let mut positions = positions.iter_mut();
    for (best, window) in out.iter_mut().zip(windows) {
        let mut position = positions.next();
        for (at, &value) in (first..).zip(window) {
            if at == 0 || value > *best {
                *best = value;
                if let Some(position) = &mut position {
                    **position = at as u8;
                }
            }
        }
    }
}

/// First row and number of rows (or columns) of adaptive cell `index` of `count` over `size`.
fn adaptive_cell(index: usize, count: usize, size: usize) -> (usize, usize) {
    // The product of two sizes below 2^27 needs 64 bits.
    let [index, count, size] = [index, count, size].map(|size| size as u64);
    let first = (index * size).checked_div(count).unwrap_or(0);
    let end = ((index + 1) * size + count).saturating_sub(1).checked_div(count).unwrap_or(0);
    (first as usize, end.saturating_sub(first) as usize)
}

/// The cell (first, length) along one dimension under a pooling.
fn cell(pool: LossPool, dimension: usize, index: usize, count: usize, size: usize) -> (usize, usize) {
    match pool {
        LossPool::Global => (0, size),
        LossPool::Block([height, width]) => {
            let length = if dimension == 0 { height } else { width };
            (index * length, length)
        }
        LossPool::Adaptive(_) => adaptive_cell(index, count, size),
    }
}

/// Calls `visit` for each cell of one channel's map, in order, with the pieces of rows in it and its size.
pub(crate) fn each_cell<'m>(
    map: &'m [f32],
    shape: Shape,
    pool: LossPool,
    pooled: Shape,
    mut visit: impl FnMut(&mut dyn Iterator<Item = &'m [f32]>, usize),
) {
    for y in 0..pooled.height {
        let (top, height) = cell(pool, 0, y, pooled.height, shape.height);
        for x in 0..pooled.width {
            let (left, width) = cell(pool, 1, x, pooled.width, shape.width);
            let rows = each_row(map, shape.width).skip(top).take(height);
            visit(&mut rows.map(|row| row.get(left..left + width).unwrap_or_default()), height * width);
        }
    }
}

/// Mean pooling of a map of `shape` into `pooled`: `out` is `[channels, height, width]` of `pooled`.
///
/// A cell is summed row by row.
pub fn loss_pool(map: &[f32], shape: Shape, pool: LossPool, pooled: Shape, out: &mut [f32]) {
    let maps = each_row(map, shape.area());
    for (map, out) in maps.zip(each_row_mut(out, pooled.area())) {
        let mut out = out.iter_mut();
        each_cell(map, shape, pool, pooled, |rows, size| {
            let sum = rows.fold(0.0_f32, |sum, row| row.iter().fold(sum, |sum, value| sum + value));
            if let Some(out) = out.next() {
                *out = sum / size as f32;
            }
        });
    }
}

/// The gradient of one channel's map from that of its pooled activity: every cell hands each of its
/// elements an equal share, overlapping cells add up, elements of no cell get 0.
///
/// `pooled_error` is one channel `[height, width]` of `pooled`, `error` one channel of `shape`.
pub fn spread(pooled_error: &[f32], pooled: Shape, pool: LossPool, shape: Shape, error: &mut [f32]) {
    error.fill(0.0);
    if let LossPool::Block([height, width]) = pool {
        // Cells that do not overlap: every element gets its share once.
        let share = 1.0 / (height * width) as f32;
        let bands = each_row_mut(error, shape.width * height);
        for (band, row_error) in bands.zip(each_row(pooled_error, pooled.width)) {
            for row in each_row_mut(band, shape.width) {
                for (cell, error) in each_row_mut(row, width).zip(row_error) {
                    cell.fill(error * share);
                }
            }
        }
        return;
    }
    for (y, row_error) in each_row(pooled_error, pooled.width).enumerate() {
        let (top, height) = cell(pool, 0, y, pooled.height, shape.height);
        for (x, share) in row_error.iter().enumerate() {
            let (left, width) = cell(pool, 1, x, pooled.width, shape.width);
            let share = share / (height * width) as f32;
            for row in each_row_mut(error, shape.width).skip(top).take(height) {
                for error in row.get_mut(left..left + width).unwrap_or_default() {
                    *error += share;
                }
            }
        }
    }
}

/// An upper bound of `|error|^2 / |pooled_error|^2` under [`spread`], over all channels.
///
/// The square of an operator's norm is at most its largest row sum times its largest column sum; the rows
/// of a mean sum to 1, and an element's column sums what it gets from the cells that it lies in.
pub fn spread_bound(pool: LossPool, pooled: Shape, shape: Shape) -> f32 {
    let along = |dimension: usize, count: usize, size: usize| match pool {
        LossPool::Adaptive(_) if size >= count => 2.0 / size.checked_div(count).unwrap_or(1).max(1) as f32,
        LossPool::Adaptive(_) => count as f32,
        LossPool::Block(_) | LossPool::Global => 1.0 / cell(pool, dimension, 0, count, size).1.max(1) as f32,
    };
    along(0, pooled.height, shape.height) * along(1, pooled.width, shape.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions of a long signal, whose products with the number of cells need more than 32 bits.
    #[test]
    fn adaptive_cells_of_a_long_signal() {
        assert_eq!(adaptive_cell(65_535, 65_536, 65_536), (65_535, 1));
        assert_eq!(adaptive_cell(65_535, 65_536, 1 << 26), (65_535 << 10, 1 << 10));
        assert_eq!(adaptive_cell(2, 3, 65_537), (43_691, 21_846));
        assert_eq!(adaptive_cell(1, 3, 4), (1, 2));
        assert_eq!(adaptive_cell(4, 5, 2), (1, 1));
    }
}
