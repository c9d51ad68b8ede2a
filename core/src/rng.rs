//! Random numbers whose values are fixed for ever, on every target: a seed written down in a lab book
//! gives the same network years later.
//!
//! The generator is PCG-XSH-RR 64/32 (`rand_pcg`). How a stream is named and how its words become floats
//! and indices is written here, so that an update of a library cannot change a value.

use rand_core::Rng as _;
use rand_pcg::Pcg32;

/// One stream of random numbers, made by [`stream`].
#[derive(Debug, Clone)]
pub struct Rng(Pcg32);

/// The stream number `stream` of `seed`. Streams of other numbers or other seeds start elsewhere.
///
/// PCG alone gives neighbouring seeds and streams numbers that look alike, so both are mixed first.
pub fn stream(seed: u64, stream: u64) -> Rng {
    let state = mix(mix(seed) ^ stream);
    Rng(Pcg32::new(state, mix(state ^ stream)))
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014) after one step of its counter.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Rng {
    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A multiple of 2^-24 in `[0, 1)`, all equally likely. Takes one word.
    pub fn unit(&mut self) -> f32 {
        // 24 bits are what an f32 holds exactly; the upper ones of a PCG word are the better ones.
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform between `low` (included) and `high` (reached only by rounding). Takes one word.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// An integer in `0..n`, all equally likely; 0 where `n` is 0. Takes one word, seldom more.
    pub fn below(&mut self, n: u32) -> u32 {
        // Lemire 2019: the upper half of a product, with the few words refused that would make it uneven.
        let Some(refused) = n.wrapping_neg().checked_rem(n) else { return 0 };
        loop {
            let product = u64::from(self.bits()) * u64::from(n);
            if product as u32 >= refused {
                return (product >> 32) as u32;
            }
        }
    }

    /// A normal number of mean 0 and variance 1 (polar method of Marsaglia and Bray 1964). Takes two words or more.
    pub fn normal(&mut self) -> f32 {
        loop {
            let x = self.uniform(-1.0, 1.0);
            let y = self.uniform(-1.0, 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                // libm whatever the features, so that drawn values never depend on them.
                return x * libm::sqrtf(-2.0 * libm::logf(square) / square);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a stream are part of every result that names a seed: these numbers, computed from the
    /// definitions by another program, never change.
    #[test]
    fn streams_are_fixed_for_ever() {
        let words = |seed, number| {
            let mut rng = stream(seed, number);
            [rng.bits(), rng.bits(), rng.bits()]
        };
        assert_eq!(words(0, 0), [0xa9b4_6ecb, 0xabf2_6e2c, 0xc128_7819]);
        assert_eq!(words(0, 1), [0xd96a_30fd, 0x7925_009e, 0xc7f9_6524]);
        assert_eq!(words(1, 0), [0xc6ec_cedb, 0x6339_fbe3, 0x4419_c190]);
        assert_eq!(words(u64::MAX, u64::MAX), [0x811c_7f5e, 0x196d_077f, 0xf203_eb46]);
        let mut rng = stream(7, 3);
        assert_eq!([rng.unit().to_bits(), rng.uniform(-2.0, 3.0).to_bits()], [0x3f2e_66d6, 0xbe90_c140]);
        // In double precision these are 0.43611442053 and 0.57361962388.
        assert_eq!([rng.normal(), rng.normal()], [0.436_114_4, 0.573_619_6]);
        assert_eq!([rng.below(10), rng.below(1000), rng.below(u32::MAX)], [2, 788, 2_678_164_772]);
    }

    /// The published check values of `pcg32` (O'Neill, `pcg32-demo`, seed 42, sequence 54): the library still is it.
    #[test]
    fn the_generator_is_pcg32() {
        let mut rng = Rng(Pcg32::new(42, 54));
        let published = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
        for word in published {
            assert_eq!(rng.bits(), word);
        }
    }

    #[test]
    fn unit_is_half_open() {
        let mut rng = stream(5, 0);
        let mut sum = 0.0;
        for _ in 0..10_000 {
            let u = rng.unit();
            assert!((0.0..1.0).contains(&u));
            sum += u;
        }
        // Standard error of the mean: 0.0029.
        assert!((sum / 10_000.0 - 0.5).abs() < 0.015);
    }

    #[test]
    fn below_is_even() {
        let mut rng = stream(5, 1);
        let mut counts = [0_i32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        // Standard deviation of a count: 91.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 460), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn normal_has_its_moments() {
        let mut rng = stream(5, 2);
        let (mut first, mut second, mut fourth) = (0.0, 0.0, 0.0);
        for _ in 0..20_000 {
            let x = f64::from(rng.normal());
            first += x / 20_000.0;
            second += x * x / 20_000.0;
            fourth += x * x * x * x / 20_000.0;
        }
        // Five standard errors each.
        assert!(first.abs() < 0.036 && (second - 1.0).abs() < 0.05 && (fourth - 3.0).abs() < 0.35);
    }
}
