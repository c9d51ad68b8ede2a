//! Max-pooling, and the mean pooling of a layer's output on which its loss acts (spec 2.4, 2.5).

use crate::network::LossPool;
use crate::shape::Shape;

/// Max-pool of one map `[height, width]` with a `[height, width]` window and the stride of the window;
/// rows and columns left over are dropped.
///
/// `out` is the pooled map; `positions` takes, for each of its elements, the place of the maximum in its
/// window in row-major order, the first one of equals, or is empty where nobody wants to know.
/// An element that is not a number is larger than any other, so that it is not lost.
pub fn max_pool(
    map: &[f32],
    width: usize,
    window: [usize; 2],
    out: &mut [f32],
    out_width: usize,
    positions: &mut [u8],
) {
    let [height, columns] = [window[0].max(1), window[1].max(1)];
    let mut positions = positions.chunks_exact_mut(out_width.max(1));
    let mut bands = map.chunks_exact(width.saturating_mul(height).max(1));
    for out in out.chunks_exact_mut(out_width.max(1)) {
        let Some(band) = bands.next() else { return };
        let positions = positions.next().unwrap_or_default();
        for (row, map) in band.chunks_exact(width.max(1)).enumerate() {
            let first = row * columns;
            if columns == 2 {
                // By far the most common width, worth its own loop without inner counter.
                let (pairs, _) = map.as_chunks::<2>();
                fold_row(pairs.iter().map(|pair| pair.as_slice()), first, out, positions);
            } else {
                fold_row(map.chunks_exact(columns), first, out, positions);
            }
        }
    }
}

/// Takes one row of every window of a band into the maxima so far; `first` is the place of the row's
/// first element in its window.
#[inline(always)]
fn fold_row<'a>(windows: impl Iterator<Item = &'a [f32]>, first: usize, out: &mut [f32], positions: &mut [u8]) {
    let mut positions = positions.iter_mut();
    for (best, window) in out.iter_mut().zip(windows) {
        let mut place = None;
        for (column, &value) in window.iter().enumerate() {
            let at = first + column;
            if at == 0 || value > *best || value.is_nan() {
                *best = value;
                place = Some(at as u8);
            }
        }
        if let (Some(position), Some(place)) = (positions.next(), place) {
            *position = place;
        }
    }
}

/// First row and number of rows (or columns) of adaptive cell `index` of `count` over `size`.
fn adaptive_cell(index: usize, count: usize, size: usize) -> (usize, usize) {
    let count = count.max(1);
    let first = index * size / count;
    (first, ((index + 1) * size).div_ceil(count).saturating_sub(first))
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

/// Mean pooling of a map of `shape` into `pooled`: `out` is `[channels, height, width]` of `pooled`.
///
/// A cell is summed row by row.
pub fn loss_pool(map: &[f32], shape: Shape, pool: LossPool, pooled: Shape, out: &mut [f32]) {
    let maps = map.chunks_exact(shape.area().max(1));
    for (map, out) in maps.zip(out.chunks_exact_mut(pooled.area().max(1))) {
        for (y, out) in out.chunks_exact_mut(pooled.width.max(1)).enumerate() {
            let (top, height) = cell(pool, 0, y, pooled.height, shape.height);
            for (x, out) in out.iter_mut().enumerate() {
                let (left, width) = cell(pool, 1, x, pooled.width, shape.width);
                let rows = map.chunks_exact(shape.width.max(1)).skip(top).take(height);
                let sum = rows.fold(0.0_f32, |sum, row| {
                    row.get(left..left + width).unwrap_or_default().iter().fold(sum, |sum, value| sum + value)
                });
                *out = sum / (height * width) as f32;
            }
        }
    }
}

/// The gradient of one channel's map from that of its pooled activity: every cell hands each of its
/// elements an equal share, overlapping cells add up, elements of no cell get 0.
///
/// `pooled_error` is one channel `[height, width]` of `pooled`, `error` one channel of `shape`.
pub fn spread(pooled_error: &[f32], pooled: Shape, pool: LossPool, shape: Shape, error: &mut [f32]) {
    error.fill(0.0);
    for (y, row_error) in pooled_error.chunks_exact(pooled.width.max(1)).enumerate() {
        let (top, height) = cell(pool, 0, y, pooled.height, shape.height);
        for (x, share) in row_error.iter().enumerate() {
            let (left, width) = cell(pool, 1, x, pooled.width, shape.width);
            let share = share / (height * width) as f32;
            for row in error.chunks_exact_mut(shape.width.max(1)).skip(top).take(height) {
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
