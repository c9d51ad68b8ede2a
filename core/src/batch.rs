//! Batches of pairs, and the negatives of each row (docs/paper.md 1.3).

/// A batch of pairs.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[2N, C, H, W]`: first all first views, then all second views in the same order.
    pub frames: &'a [f32],
    /// `[K, 2N]`: places in the list of positives, whose row `j` is the other view of row `j`
    /// ([`ring_negatives`], [`uniform_negatives`]).
    pub negatives: &'a [u32],
    /// For each row, whether only its positive (`true`) or only its negative term counts; `None` for both.
    pub keep_positive: Option<&'a [bool]>,
}

/// Fills `[K, 2N]` with the paper's ring of negatives: every row takes the next row's positive, or, for
/// further negatives, the one after that (docs/paper.md 1.3). `rows` is `2N`.
pub fn ring_negatives(negatives: &mut [u32], rows: usize) {
    let rows = rows.max(1);
    for (k, list) in negatives.chunks_mut(rows).enumerate() {
        for (j, negative) in list.iter_mut().enumerate() {
            *negative = ((j + k + 1) % rows) as u32;
        }
    }
}

/// Fills `[K, 2N]` with negatives drawn uniformly and independently from all rows by `random`, a source of
/// uniform `u32` (docs/paper.md 1.3). `rows` is `2N`.
pub fn uniform_negatives(negatives: &mut [u32], rows: usize, mut random: impl FnMut() -> u32) {
    for negative in negatives {
        // The high word of the product: uniform up to rows / 2^32.
        *negative = ((u64::from(random()) * rows as u64) >> 32) as u32;
    }
}
