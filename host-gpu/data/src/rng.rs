//! Random numbers with values fixed for ever: one independent stream for each purpose.
//!
//! `(seed, purpose, epoch, index)` names a stream. The draws for one image therefore do not depend on the draws for
//! another image or on the thread. The generator is PCG-64 MCG (`rand_pcg`). This file itself converts its words to
//! floats, indices and permutations, so an update of a library cannot change a result.

use rand_core::Rng as _;
use rand_pcg::Pcg64Mcg;

/// Purpose of a stream. Two purposes never share numbers, for any seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights; index: the layer.
    Init,
    /// The order of the images in an epoch of pre-training.
    Shuffle,
    /// The augmentation of one view of an image in pre-training (0: first view, 1: second); index: the image.
    View(u8),
    /// The same for the batches that alignment is measured on; index: the image.
    FirstView(u8),
    /// The draw of negatives; epoch: the list of negatives, index: the step.
    Negatives,
    /// The term of each row that counts; index: the step.
    Either,
    /// The mask of a hybrid image; epoch: the image's place in the batch, index: the step.
    Mask,
    /// The order of the images in an epoch of probe training.
    ProbeShuffle,
    /// The augmentation of an image in probe training; index: the image.
    ProbeView,
    /// The training images of a generated set; index: the image.
    GenerateTrain,
    /// The test images of a generated set; index: the image.
    GenerateTest,
    /// The labelled images that a device is taught by, in order.
    Labels,
    /// The images that a device is tested on, in order.
    HeldBack,
    /// The views that a device sees of an image while it fixates it; index: the image.
    Fixation,
    /// The bytes that a faulty line damages.
    Faults,
    /// Orders under which a rank correlation is judged.
    Permutation,
    /// The images of a stream of continual learning, and their order.
    Stream,
    /// Samples that a learner keeps for replay, and the order of the replay.
    Replay,
    /// Networks, batches and views of the theory; epoch: what of it, index: which.
    Theory,
    /// Kernels that mirror a layer's weights: their first values, then the noise that they learn from; epoch: the layer,
    /// index: the step, 0 for the first values.
    Mirror,
    /// Anything else, told apart by a number.
    Other(u32),
}

impl Purpose {
    /// Returns the number of the purpose in the name of a stream. Numbers are never reassigned.
    fn code(self) -> u64 {
        match self {
            Self::Init => 1,
            Self::Shuffle => 2,
            Self::Negatives => 3,
            Self::ProbeShuffle => 4,
            Self::ProbeView => 5,
            Self::GenerateTrain => 6,
            Self::GenerateTest => 7,
            Self::Either => 8,
            Self::Mask => 9,
            Self::Labels => 10,
            Self::HeldBack => 11,
            Self::Fixation => 12,
            Self::Faults => 13,
            Self::Permutation => 0x300,
            Self::Stream => 14,
            Self::Replay => 15,
            Self::Theory => 0x400,
            Self::Mirror => 16,
            Self::View(view) => 0x100 + u64::from(view),
            Self::FirstView(view) => 0x200 + u64::from(view),
            Self::Other(number) => 0x1_0000_0000 + u64::from(number),
        }
    }
}

/// One stream of random numbers, made by [`stream`].
#[derive(Debug, Clone)]
pub struct Rng(Pcg64Mcg);

/// The stream named by `(seed, purpose, epoch, index)`: the same name gives the same numbers on every machine.
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Rng {
    let mut hash = mix(seed);
    for part in [purpose.code(), epoch, index] {
        // Not `mix(part)`: equal parts, such as seed 1 and purpose 1, would cancel.
        hash = mix(hash ^ part);
    }
    // A second word from the same name: the state has 128 bits, and streams start far apart in them.
    let high = mix(hash ^ 0x5851_F42D_4C95_7F2D);
    Rng(Pcg64Mcg::new(u128::from(high) << 64 | u128::from(hash)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014) after one step of its counter.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Rng {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A multiple of 2^-24 in `[0, 1)`, all equally likely.
    pub fn unit(&mut self) -> f32 {
        // The upper half of a PCG word is the better one; 24 bits are what an f32 holds exactly.
        let word = (self.bits() >> 32) as u32;
        (word >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A multiple of 2^-53 in `[0, 1)`, all equally likely.
    pub fn unit_f64(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform between `low` (included) and `high` (reached only by rounding).
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// `true` with probability `p` (never for `p <= 0`, always for `p >= 1`). Takes one number in any case.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// An integer in `0..n`, all equally likely; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        // Lemire 2019: the upper word of a product, with the few words refused that would make it uneven.
        let refused = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= refused {
                return (product >> 64) as usize;
            }
        }
    }

    /// Puts `items` in random order, all orders equally likely (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A normal number of mean 0 and variance 1 (Box-Muller). Its functions come from `libm`, the same on every machine.
    pub fn normal(&mut self) -> f32 {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - self.unit_f64())).sqrt();
        (radius * libm::cos(std::f64::consts::TAU * self.unit_f64())) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_what_they_were() {
        // Computed apart from this program: a change here changes every result of every seed.
        let mut rng = stream(1, Purpose::View(1), 2, 3);
        assert_eq!([rng.bits(), rng.bits()], [14_973_172_524_039_588_082, 13_170_943_391_145_740_055]);
    }

    #[test]
    fn names_that_differ_give_streams_that_differ() {
        let mut firsts = std::collections::HashSet::new();
        let purposes = [
            Purpose::Init,
            Purpose::Shuffle,
            Purpose::Negatives,
            Purpose::ProbeShuffle,
            Purpose::ProbeView,
            Purpose::GenerateTrain,
            Purpose::GenerateTest,
            Purpose::Either,
            Purpose::Mask,
            Purpose::Labels,
            Purpose::HeldBack,
            Purpose::Fixation,
            Purpose::Faults,
            Purpose::Stream,
            Purpose::Replay,
            Purpose::Theory,
            Purpose::Mirror,
            Purpose::View(0),
            Purpose::View(1),
            Purpose::Other(0),
            Purpose::Other(1),
        ];
        for seed in 0..8 {
            for purpose in purposes {
                for epoch in 0..8 {
                    for index in 0..8 {
                        assert!(firsts.insert(stream(seed, purpose, epoch, index).bits()));
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_even_over_their_range() {
        let mut rng = stream(2, Purpose::Other(0), 0, 0);
        let (mut sum, mut counts) = (0.0_f64, [0_u32; 6]);
        for _ in 0..60_000 {
            let unit = rng.unit();
            assert!((0.0..1.0).contains(&unit));
            sum += f64::from(unit);
            counts[rng.below(6)] += 1;
        }
        assert!((sum / 60_000.0 - 0.5).abs() < 0.005);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(!rng.chance(0.0) && rng.chance(1.0));
    }

    #[test]
    fn all_orders_are_equally_likely() {
        let mut rng = stream(3, Purpose::Other(0), 0, 0);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            *counts.entry(items).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut rng = stream(4, Purpose::Other(0), 0, 0);
        let mut moments = [0.0_f64; 4];
        for _ in 0..100_000 {
            let value = f64::from(rng.normal());
            for (power, moment) in moments.iter_mut().enumerate() {
                *moment += value.powi(power as i32 + 1) / 100_000.0;
            }
        }
        for (moment, (expected, margin)) in moments.iter().zip([(0.0, 0.015), (1.0, 0.02), (0.0, 0.05), (3.0, 0.15)]) {
            assert!((moment - expected).abs() < margin, "{moments:?}");
        }
    }
}
