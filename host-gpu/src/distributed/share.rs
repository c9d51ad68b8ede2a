//! Which images a rank learns from.
//!
//! An epoch is one list of batches, the same on any number of ranks (and what a single process works off one by one);
//! with `R` ranks, `R` consecutive batches are a step: rank `r` has batch `step * R + r`. In the last step of an
//! epoch there may be fewer batches than ranks. A rank without one computes on the last batch again and its result
//! counts for nothing, so that every rank takes part in every exchange. The last batch may be smaller; what it gives
//! then weighs less. A left-over of one image is dropped by the loader, as in a single process.

/// The images of `order` that rank `rank` of `ranks` uses in an epoch: all its batches one after the other.
pub fn images_of_rank(order: &[usize], batch: usize, rank: usize, ranks: usize) -> Vec<usize> {
    let batches: Vec<&[usize]> = order.chunks(batch).collect();
    let steps = batches.len().div_ceil(ranks);
    // Only the last batch can be short, and it comes last in any rank's list: cutting that list gives the batches.
    (0..steps).flat_map(|step| batches[(step * ranks + rank).min(batches.len() - 1)]).copied().collect()
}

/// How many images of each rank count in step `step` (from 0) of an epoch over `images` images.
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
        assert_eq!(images_of_rank(&order, 4, 0, 2), [0, 1, 2, 3, 8, 9]);
        // In the second step there is no batch for it: it repeats the last one, and counts for nothing.
        assert_eq!(images_of_rank(&order, 4, 1, 2), [4, 5, 6, 7, 8, 9]);
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
            let lists: Vec<Vec<usize>> = (0..ranks).map(|rank| images_of_rank(&order, batch, rank, ranks)).collect();
            let steps = kept.div_ceil(batch).div_ceil(ranks);
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
