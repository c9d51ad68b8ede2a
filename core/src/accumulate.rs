//! The gradient of a convolution's weights: the products of one frame. See [`crate::gradient`].

use crate::plan::Layer;
use crate::rows::{each_row, each_row_mut};

/// Errors of one output map that are not zero.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    pub errors: &'a [f32],
    /// For each the offset in a padded input channel of the kernel's first element, as the bits of an integer.
    pub places: &'a [f32],
}

impl List<'_> {
    pub const EMPTY: Self = Self { errors: &[], places: &[] };
}

/// Adds the gradients of one filter or of two in one frame: for every error, the input under its kernel times it.
///
/// `padded` is one channel with its padding, whose zeros stay in place, or empty without any.
pub(crate) fn accumulate(
    layer: &Layer,
    input: &[f32],
    lists: [List<'_>; 2],
    padded: &mut [f32],
    [first, second]: [&mut [f32]; 2],
) {
    if lists.iter().all(|list| list.errors.is_empty()) {
        return;
    }
    let [height, width] = layer.block.kernel;
    let planes = each_row(input, layer.input.area());
    let step = layer.padded_width();
    let mut second = each_row_mut(second, height * width);
    for (plane, first) in planes.zip(each_row_mut(first, height * width)) {
        let plane = if padded.is_empty() {
            plane
        } else {
            fill_padded(layer, plane, padded);
            &*padded
        };
        for (List { errors, places }, slice) in lists.into_iter().zip([first, second.next().unwrap_or_default()]) {
            match (height, width) {
                (3, 3) => {
                    if let Some(slice) = slice.first_chunk_mut() {
                        accumulate_3x3(step, plane, errors, places, slice);
                    }
                }
                (_, 3) => accumulate_rows::<3>(step, plane, errors, places, slice),
                (_, 5) => accumulate_rows::<5>(step, plane, errors, places, slice),
                _ => accumulate_any(step, width, plane, errors, places, slice),
            }
        }
    }
}

/// Copies a channel between its padding.
fn fill_padded(layer: &Layer, plane: &[f32], padded: &mut [f32]) {
    let [above, left] = layer.block.padding;
    let padded = padded.get_mut(above * layer.padded_width()..).unwrap_or_default();
    match (layer.input.width, left) {
        (4, 1) => fill_rows::<4, 4, 6>(plane, padded),
        (8, 1) => fill_rows::<8, 8, 10>(plane, padded),
        (16, 1) => fill_rows::<16, 16, 18>(plane, padded),
        (32, 1) => fill_rows::<16, 32, 34>(plane, padded),
        (width, _) => {
            let rows = each_row_mut(padded, layer.padded_width());
            for (from, to) in each_row(plane, width).zip(rows) {
                let to = to.get_mut(left..left + from.len()).unwrap_or_default();
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Copies rows of `W` behind the first column of rows of `S`, in parts that need no call of `memcpy`.
#[inline(never)]
fn fill_rows<const PART: usize, const W: usize, const S: usize>(plane: &[f32], padded: &mut [f32]) {
    for (from, to) in plane.as_chunks::<W>().0.iter().zip(padded.as_chunks_mut::<S>().0) {
        let to = to.get_mut(1..).unwrap_or_default();
        for (to, from) in to.as_chunks_mut::<PART>().0.iter_mut().zip(from.as_chunks::<PART>().0) {
            *to = *from;
        }
    }
}

/// All errors' part in one kernel slice of 3x3; the sum stays in registers.
#[inline(never)]
fn accumulate_3x3(step: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32; 9]) {
    // Three views of the plane, a row apart and equally long, so that one check holds for all.
    let shared = plane.len().saturating_sub(2 * step);
    let rows = (plane.get(..shared), plane.get(step..step + shared), plane.get(2 * step..2 * step + shared));
    let (Some(top), Some(middle), Some(bottom)) = rows else { return };
    let mut sums = [0.0_f32; 9];
    for (error, place) in errors.iter().zip(places) {
        let at = place.to_bits() as usize;
        let end = at.wrapping_add(3);
        let (Some([a, b, c]), Some([d, e, f]), Some([g, h, i])) =
            (top.get(at..end), middle.get(at..end), bottom.get(at..end))
        else {
            return;
        };
        sums[0] += error * a;
        sums[1] += error * b;
        sums[2] += error * c;
        sums[3] += error * d;
        sums[4] += error * e;
        sums[5] += error * f;
        sums[6] += error * g;
        sums[7] += error * h;
        sums[8] += error * i;
    }
    for (slice, sum) in slice.iter_mut().zip(sums) {
        *slice += sum;
    }
}

/// All errors' part in one kernel slice of rows of `K`, row by row; the sum of a row stays in registers.
#[inline(never)]
fn accumulate_rows<const K: usize>(step: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let mut plane = plane;
    for slice in slice.as_chunks_mut::<K>().0 {
        let mut sums = [0.0_f32; K];
        for (error, place) in errors.iter().zip(places) {
            let values = plane.get(place.to_bits() as usize..).and_then(|values| values.first_chunk::<K>());
            let Some(values) = values else { return };
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += error * value;
            }
        }
        for (slice, sum) in slice.iter_mut().zip(sums) {
            *slice += sum;
        }
        plane = plane.get(step..).unwrap_or_default();
    }
}

/// All errors' part in one kernel slice of any size, element by element; the sum of each stays in a register.
#[inline(never)]
fn accumulate_any(step: usize, width: usize, plane: &[f32], errors: &[f32], places: &[f32], slice: &mut [f32]) {
    let mut row = plane;
    for slice in each_row_mut(slice, width) {
        for (column, slice) in slice.iter_mut().enumerate() {
            let values = row.get(column..).unwrap_or_default();
            let products = errors
                .iter()
                .zip(places)
                .map(|(error, place)| error * values.get(place.to_bits() as usize).copied().unwrap_or(0.0));
            *slice += products.fold(0.0, |sum, product| sum + product);
        }
        row = row.get(step..).unwrap_or_default();
    }
}

/// Adds the gradients of two filters in one frame: every position of both, whether their errors are zero or not.
///
/// For kernels of 3x3 at stride 1 without max-pool ([`Layer::may_be_dense`]). `errors` are two output maps.
pub(crate) fn accumulate_dense(
    layer: &Layer,
    input: &[f32],
    errors: [&[f32]; 2],
    padded: &mut [f32],
    [first, second]: [&mut [f32]; 2],
) {
    let planes = each_row(input, layer.input.area());
    let slices = first.as_chunks_mut::<9>().0.iter_mut().zip(second.as_chunks_mut::<9>().0);
    for (plane, slices) in planes.zip(slices) {
        match (layer.block.padding, layer.input.width) {
            ([1, 1], 4) => dense_3x3::<4>(plane, errors, slices),
            ([1, 1], 8) => dense_3x3::<8>(plane, errors, slices),
            ([1, 1], 16) => dense_3x3::<16>(plane, errors, slices),
            ([1, 1], 32) => dense_3x3::<32>(plane, errors, slices),
            _ => {
                let plane = if padded.is_empty() {
                    plane
                } else {
                    fill_padded(layer, plane, padded);
                    &*padded
                };
                dense_3x3_of_any_width(layer.padded_width(), layer.output.width, plane, errors, slices);
            }
        }
    }
}

/// All errors of two maps of `W` columns, and their part in one kernel slice of 3x3 each, for the most common widths:
/// with one row and column of padding, of which no copy is needed.
#[inline(never)]
fn dense_3x3<const W: usize>(
    plane: &[f32],
    errors: [&[f32]; 2],
    (first_slice, second_slice): (&mut [f32; 9], &mut [f32; 9]),
) {
    let rows = plane.as_chunks::<W>().0;
    let [first, second] = errors.map(|errors| errors.as_chunks::<W>().0);
    let below = |rows| -> &[[f32; W]] { <[_]>::get(rows, 1..).unwrap_or_default() };
    // The rows that meet under the upper, the middle and the lower row of the kernel.
    let meetings = [(rows, below(first), below(second)), (rows, first, second), (below(rows), first, second)];
    let slices = first_slice.as_chunks_mut::<3>().0.iter_mut().zip(second_slice.as_chunks_mut::<3>().0);
    for ((rows, first, second), (first_slice, second_slice)) in meetings.into_iter().zip(slices) {
        let mut sums = [[0.0_f32; 3]; 2];
        let [first_sums, second_sums] = &mut sums;
        for (row, (first, second)) in rows.iter().zip(first.iter().zip(second)) {
            for (at, (first, second)) in first.iter().zip(second).enumerate() {
                for (column, (first_sum, second_sum)) in first_sums.iter_mut().zip(&mut *second_sums).enumerate() {
                    if let Some(value) = row.get((at + column).wrapping_sub(1)) {
                        *first_sum += first * value;
                        *second_sum += second * value;
                    }
                }
            }
        }
        for (slice, sums) in [first_slice, second_slice].into_iter().zip(sums) {
            slice.iter_mut().zip(sums).for_each(|(slice, sum)| *slice += sum);
        }
    }
}

/// All errors of two maps of `width` columns, and their part in one kernel slice of 3x3 each.
#[inline(never)]
fn dense_3x3_of_any_width(
    step: usize,
    width: usize,
    plane: &[f32],
    [first, second]: [&[f32]; 2],
    (first_slice, second_slice): (&mut [f32; 9], &mut [f32; 9]),
) {
    let mut sums = [[0.0_f32; 9]; 2];
    let mut rest = plane;
    for (first, second) in each_row(first, width).zip(each_row(second, width)) {
        // Equally long, so that one check holds for all.
        let row = |from: usize| rest.get(from..from + width + 2);
        let (Some(top), Some(middle), Some(bottom)) = (row(0), row(step), row(2 * step)) else { return };
        let rows = [top, middle, bottom];
        let (firsts, first_rest) = first.as_chunks::<2>();
        let (seconds, second_rest) = second.as_chunks::<2>();
        let mut at = 0;
        for (first, second) in firsts.iter().zip(seconds) {
            let Some(window) = window::<4>(rows, at) else { return };
            add_products(first, second, window, &mut sums);
            at += 2;
        }
        if let (&[first], &[second], Some(window)) = (first_rest, second_rest, window::<3>(rows, at)) {
            add_products(&[first], &[second], window, &mut sums);
        }
        rest = rest.get(step..).unwrap_or_default();
    }
    for (slice, sums) in [first_slice, second_slice].into_iter().zip(sums) {
        slice.iter_mut().zip(sums).for_each(|(slice, sum)| *slice += sum);
    }
}

/// `N` columns from column `at` on of three rows.
#[inline(always)]
fn window<const N: usize>(rows: [&[f32]; 3], at: usize) -> Option<[&[f32; N]; 3]> {
    let [top, middle, bottom] = rows.map(|row| row.get(at..).and_then(|row| row.first_chunk::<N>()));
    Some([top?, middle?, bottom?])
}

/// Adds the products of `P` errors of two filters with the `P + 2` columns under them.
#[inline(always)]
fn add_products<const P: usize, const N: usize>(
    first: &[f32; P],
    second: &[f32; P],
    window: [&[f32; N]; 3],
    [first_sums, second_sums]: &mut [[f32; 9]; 2],
) {
    let sums = first_sums.as_chunks_mut::<3>().0.iter_mut().zip(second_sums.as_chunks_mut::<3>().0);
    for (values, (first_sums, second_sums)) in window.iter().zip(sums) {
        for (values, (first, second)) in values.windows(3).zip(first.iter().zip(second)) {
            for ((value, first_sum), second_sum) in values.iter().zip(&mut *first_sums).zip(&mut *second_sums) {
                *first_sum += first * value;
                *second_sum += second * value;
            }
        }
    }
}
