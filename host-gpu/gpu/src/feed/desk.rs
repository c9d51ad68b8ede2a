//! The memory that the making of one view takes, and which kernel has it.

use clapp_core::shape::Shape;
use clapp_data::augment::ViewAugment;

/// The kernels that have a view in their blocks' own memory: name, bytes of the view, bytes of the strip, ints for taps.
const SHARED: [(&str, usize, usize, usize); 3] =
    [("augment_32", 3072, 4096, 448), ("augment_64", 12_288, 8192, 896), ("augment_96", 27_648, 9216, 1344)];

/// Threads that add up a view's greys in the strip, at most.
const THREADS: usize = 1024;

/// Rows of a blurred view that are made at a time where there is no room for all, at least.
const BAND: usize = 16;

/// A kernel, and what of its memory is not its blocks' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Desk {
    /// The kernel.
    pub kernel: &'static str,
    /// For each view: bytes of the strip, ints for taps, and bytes of the view; none where the blocks' own memory does.
    pub scratch: Option<[usize; 3]>,
}

impl Desk {
    /// For views of images of shape `image`.
    pub(super) fn of(image: Shape, augment: &ViewAugment) -> Self {
        let size = augment.size;
        let pixels = image.channels * size * size;
        let blur = if augment.blur.probability > 0.0 { augment.blur.kernel } else { 1 };
        // Across: a crop's rows at the view's width. Then a word for each thread. Then floats for a row of the blur
        // and those that reach into it.
        let rows = |band: usize| 4 * size * (band + blur - 1).min(size);
        let strip = |band: usize| (image.height * size).max(4 * THREADS).max(rows(band));
        let taps = (size * (taps_of(image.width, size) + taps_of(image.height, size))).max(blur);
        let fits = |&&(_, most_pixels, most_strip, most_taps): &&(&str, usize, usize, usize)| {
            pixels <= most_pixels && strip(1) <= most_strip && taps <= most_taps
        };
        match SHARED.iter().find(fits) {
            Some(&(kernel, ..)) => Self { kernel, scratch: None },
            None => {
                let scratch = [strip(BAND).next_multiple_of(16), taps.next_multiple_of(4), pixels.next_multiple_of(16)];
                Self { kernel: "augment_any", scratch: Some(scratch) }
            }
        }
    }

    /// Bytes of scratch for so many views.
    pub(super) fn scratch_bytes(&self, views: usize) -> usize {
        self.scratch.map_or(0, |[strip, taps, pixels]| views * (strip + 4 * taps + pixels))
    }
}

/// Ints for each output of an axis: first and number of its inputs, and their weights (`most_taps` in
/// `kernels/resample.cu`).
fn taps_of(from: usize, to: usize) -> usize {
    2 + if from > to { 2 * (from / to) + 3 } else { 5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(image: [usize; 3], size: usize) -> Desk {
        let [channels, height, width] = image;
        let mean = vec![0.5; channels];
        Desk::of(Shape::new(channels, height, width), &ViewAugment::pretraining(size, 0.25, &mean, &mean))
    }

    #[test]
    fn views_of_the_known_sets_need_no_memory_but_their_blocks() {
        for (image, size, kernel) in [
            ([3, 32, 32], 32, "augment_32"),
            ([1, 28, 28], 28, "augment_32"),
            ([3, 64, 64], 64, "augment_64"),
            ([3, 64, 64], 32, "augment_64"),
            ([3, 96, 96], 96, "augment_96"),
        ] {
            assert_eq!(desk(image, size), Desk { kernel, scratch: None }, "{image:?} to {size}");
        }
    }

    #[test]
    fn larger_views_have_scratch() {
        let large = desk([3, 256, 300], 224);
        // A blur of 23 taps: 16 rows and 22 around them, in floats, are less than 256 rows of bytes.
        assert_eq!(large.scratch, Some([256 * 224, 224 * 14, 3 * 224 * 224]));
        assert_eq!(large.scratch_bytes(2), 2 * (256 * 224 + 4 * 224 * 14 + 3 * 224 * 224));
        assert_eq!(desk([3, 96, 1000], 96).kernel, "augment_any");
    }
}
