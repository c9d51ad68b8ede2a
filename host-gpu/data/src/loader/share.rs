//! The images of a rank.
//!
//! An epoch is one list of batches, the same on any number of ranks (and what a single process works off one by one);
//! with `R` ranks, `R` consecutive batches are a step: rank `r` has batch `step * R + r`. In the last step of an
//! epoch there may be fewer batches than ranks. A rank without one computes on the last batch again and its result
//! counts for nothing, so that every rank takes part in every exchange. The last batch may be smaller; what it gives
//! then weighs less. A left-over of one image is dropped by the loader, as in a single process.

use super::pair_batches;

/// One rank's part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The rank, from 0.
    pub rank: usize,
    /// Number of ranks.
    pub ranks: usize,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, ranks: 1 };

    /// Returns the number of this rank's draws in a step (counted from 1). Each rank has its own number; with one rank
    /// it is the step's number.
    pub fn draw(self, step: u64) -> u64 {
        (step - 1) * self.ranks as u64 + self.rank as u64 + 1
    }

    /// The images of `order` that this rank uses in an epoch: all its batches one after the other.
    pub fn of_order(self, order: &[usize], batch: usize) -> Vec<usize> {
        let batches: Vec<&[usize]> = order.chunks(batch).collect();
        let steps = batches.len().div_ceil(self.ranks);
        let of_step = |step: usize| batches[(step * self.ranks + self.rank).min(batches.len() - 1)];
        // Only the last batch can be short, and it comes last in any rank's list: cutting that list gives the batches.
        (0..steps).flat_map(of_step).copied().collect()
    }
}

/// Steps of an epoch over `images` images.
pub fn steps_per_epoch(images: usize, batch: usize, ranks: usize) -> usize {
    pair_batches(images, batch).div_ceil(ranks.max(1))
}

/// Returns the number of images of each rank that count in step `step` (from 0) of an epoch over `images` images.
pub fn images_of_ranks(images: usize, batch: usize, step: usize, ranks: usize) -> Vec<usize> {
    // As the loader: a left-over of one image has nothing to be compared with.
    let images = if images % batch == 1 { images - 1 } else { images };
    let of_rank = |rank: usize| images.saturating_sub((step * ranks + rank).saturating_mul(batch)).min(batch);
    (0..ranks).map(of_rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranks_take_turns_in_the_batches() {
        let order: Vec<usize> = (0..10).collect();
        assert_eq!(Part { rank: 0, ranks: 2 }.of_order(&order, 4), [0, 1, 2, 3, 8, 9]);
        // In the second step there is no batch for it: it repeats the last one, and counts for nothing.
        assert_eq!(Part { rank: 1, ranks: 2 }.of_order(&order, 4), [4, 5, 6, 7, 8, 9]);
        assert_eq!(images_of_ranks(10, 4, 0, 2), [4, 4]);
        assert_eq!(images_of_ranks(10, 4, 1, 2), [2, 0]);
        // The ninth image alone is dropped.
        assert_eq!(images_of_ranks(9, 4, 1, 2), [0, 0]);
    }

    proptest! {
        #[test]
        fn every_image_counts_once(images in 2_usize..200, batch in 2_usize..20, ranks in 1_usize..9) {
            let kept = if images % batch == 1 { images - 1 } else { images };
            let order: Vec<usize> = (0..kept).rev().collect();
            let lists: Vec<Vec<usize>> = (0..ranks).map(|rank| Part { rank, ranks }.of_order(&order, batch)).collect();
            let steps = steps_per_epoch(images, batch, ranks);
            let mut seen = Vec::new();
            for step in 0..steps {
                let counts = images_of_ranks(images, batch, step, ranks);
                for (list, count) in lists.iter().zip(counts) {
                    let chunks: Vec<&[usize]> = list.chunks(batch).collect();
                    prop_assert_eq!(chunks.len(), steps);
                    prop_assert!(count == 0 || count == chunks[step].len());
                    seen.extend_from_slice(&chunks[step][..count]);
                }
            }
            prop_assert_eq!(seen, order);
            prop_assert_eq!(images_of_ranks(images, batch, steps, ranks), vec![0; ranks]);
        }
    }
}
