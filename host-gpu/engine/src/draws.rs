//! Random draws of a step, other than the views: negatives, the terms that count, and the mixtures of images that some
//! rules use as negatives. All draws are functions of seed and step.

use crate::backend::{Pairing, Partner};
use crate::config::Config;
use crate::model::Inputs;
use crate::rules::Negatives;
use clapp_core::shape::Shape;
use clapp_data::rng::{Purpose, Rng, stream};

/// The pairs of rows that one step compares.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    partner: Partner,
    negatives: Vec<usize>,
    lists: usize,
    keep_positive: Option<Vec<bool>>,
}

impl Draws {
    /// Draws for a step (counted from 1) on `rows` rows.
    pub fn new(config: &Config, rows: usize, step: u64) -> Self {
        let seed = config.seed;
        if config.rule.choices().inputs != Inputs::Views {
            // Every row is a positive or a negative by itself: the first half are images, the second half mixtures.
            return Self {
                partner: Partner::Itself,
                negatives: (0..rows).collect(),
                lists: 1,
                keep_positive: Some((0..rows).map(|row| row < rows / 2).collect()),
            };
        }
        // Two lists a layer, as `Pairing::lists` has them.
        let lists = if config.negatives_shared { 1 } else { 2 * config.blocks.len() };
        let list = |list: usize| draw_list(config.negatives, rows, seed, step, list as u64);
        let either = |mut rng: Rng| (0..rows).map(|_| rng.chance(0.5)).collect();
        Self {
            partner: Partner::OtherView,
            negatives: (0..lists).flat_map(list).collect(),
            lists,
            keep_positive: config.either.then(|| either(stream(seed, Purpose::Either, 0, step))),
        }
    }

    /// Returns the pairing for the step.
    pub fn pairing(&self) -> Pairing<'_> {
        Pairing {
            partner: self.partner,
            negatives: &self.negatives,
            lists: self.lists,
            list: 0,
            keep_positive: self.keep_positive.as_deref(),
        }
    }
}

/// The indices of the negatives of a batch of `rows` rows (docs/paper.md 1.3), `[K][rows]` flattened: the list that all
/// losses share.
pub fn draw_negatives(negatives: Negatives, rows: usize, seed: u64, step: u64) -> Vec<usize> {
    draw_list(negatives, rows, seed, step, 0)
}

fn draw_list(negatives: Negatives, rows: usize, seed: u64, step: u64, list: u64) -> Vec<usize> {
    match negatives {
        Negatives::Ring => (0..rows).map(|row| (row + 1) % rows).collect(),
        Negatives::Uniform(count) => {
            let mut rng = stream(seed, Purpose::Negatives, list, step);
            (0..count * rows).map(|_| rng.below(rows)).collect()
        }
    }
}

/// Makes the rule's positives and negatives from two views of each image (`x`, `[2N, C, H, W]`). The first half of the
/// rows stays, the second half becomes mixtures with other images.
///
/// - Hybrids (Hinton 2022): the second view of image `i` where a mask is 1, that of another image where it is 0. The mask
///   is random bits, blurred several times with `[1, 2, 1] / 4` along both axes and cut at a half, so that both images
///   show in large connected parts. Hinton does not say how often; here it is a quarter of the height.
/// - Sums (Chen et al. 2025): the mean of the first view of image `i` and the second view of another image. The released
///   code adds what shared weights make of both, `W x_i + W x_n`, which is `W (x_i + x_n)`; halved, the positive
///   `(x_i + x_i) / 2` is the image itself, and the network sees the same when it is evaluated.
///
/// The other image is the next one of the batch, or drawn from all others with [`Negatives::Uniform`].
pub fn mix(config: &Config, frame: Shape, step: u64, x: &mut [f32]) {
    let inputs = config.rule.choices().inputs;
    let len = frame.len();
    let images = x.len() / len / 2;
    if inputs == Inputs::Views || images < 2 {
        return;
    }
    let (first, second) = x.split_at_mut(images * len);
    let views = second.to_vec();
    let mut others = stream(config.seed, Purpose::Negatives, 0, step);
    for (image, out) in second.chunks_exact_mut(len).enumerate() {
        let away = match config.negatives {
            Negatives::Ring => 1,
            Negatives::Uniform(_) => 1 + others.below(images - 1),
        };
        let other = (image + away) % images * len;
        let other = &views[other..other + len];
        match inputs {
            Inputs::Views => {}
            Inputs::Sums => {
                for ((out, own), other) in out.iter_mut().zip(&first[image * len..]).zip(other) {
                    *out = 0.5 * (own + other);
                }
            }
            Inputs::Hybrids => {
                let mut rng = stream(config.seed, Purpose::Mask, image as u64, step);
                let mask = mask(frame.height, frame.width, &mut rng);
                for (out, other) in out.chunks_exact_mut(frame.area()).zip(other.chunks_exact(frame.area())) {
                    for ((out, other), own) in out.iter_mut().zip(other).zip(&mask) {
                        *out = if *own { *out } else { *other };
                    }
                }
            }
        }
    }
}

/// Large connected parts of an image, about half of it.
fn mask(height: usize, width: usize, rng: &mut Rng) -> Vec<bool> {
    let mut values: Vec<f32> = (0..height * width).map(|_| if rng.chance(0.5) { 1.0 } else { 0.0 }).collect();
    for _ in 0..(height / 4).max(1) {
        blur(&mut values, width, 1, width, height);
        blur(&mut values, 1, width, height, width);
    }
    values.into_iter().map(|value| value > 0.5).collect()
}

/// Blurs `lines` lines of `len` elements with `[1, 2, 1] / 4`, the edge repeated.
fn blur(values: &mut [f32], line_stride: usize, stride: usize, len: usize, lines: usize) {
    for line in 0..lines {
        let at = |index: usize| line * line_stride + index * stride;
        let mut before = values[at(0)];
        for index in 0..len {
            let (here, after) = (values[at(index)], values[at((index + 1).min(len - 1))]);
            values[at(index)] = 0.25 * before + 0.5 * here + 0.25 * after;
            before = here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_large_parts_of_about_half_the_image() {
        let mut kept = 0;
        for seed in 0..20 {
            let mask = mask(32, 24, &mut stream(seed, Purpose::Mask, 0, 1));
            kept += mask.iter().filter(|kept| **kept).count();
            // Neighbours mostly agree: a mask of single pixels would change at every second place.
            let changes =
                mask.chunks_exact(24).flat_map(|row| row.windows(2)).filter(|pair| pair[0] != pair[1]).count();
            assert!((8..32 * 23 / 5).contains(&changes), "{changes}");
        }
        let share = f64::from(u32::try_from(kept).unwrap()) / (20.0 * 32.0 * 24.0);
        assert!((0.4..0.6).contains(&share), "{share}");
    }

    #[test]
    fn blurring_keeps_what_is_even_and_spreads_a_point() {
        let mut even = vec![0.3; 12];
        blur(&mut even, 4, 1, 4, 3);
        assert_eq!(even, vec![0.3; 12]);
        let mut point = vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        blur(&mut point, 1, 2, 3, 2);
        assert_eq!(point, [0.25, 0.0, 0.5, 0.0, 0.25, 0.0]);
    }
}
