//! Means over the seeds of a configuration, with their errors.

use super::measure::Measured;
use super::point::Point;
use crate::paper::accuracy::{Spread, mean};
use crate::paper::encoder::standard_error;
use crate::paper::ridge::{ReadOut, ReadOuts, error_over_images};

/// A way to read classes from an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Ridge regression on all layers.
    All,
    /// Ridge regression on the top layer alone.
    Top,
    /// The nearest class mean on all layers: what the firmware reads its classes by.
    Nearest,
}

impl Reading {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::All, Self::Top, Self::Nearest];

    fn of(self, read: &ReadOuts) -> &ReadOut {
        match self {
            Self::All => &read.all,
            Self::Top => &read.top,
            Self::Nearest => &read.nearest,
        }
    }

    fn share(self, read: &ReadOuts) -> f64 {
        self.of(read).share()
    }
}

/// A share or a difference of shares, with its standard error over seeds and test images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean over the seeds.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

/// Spread over seeds: deviation of a gain by each reading, and of an accuracy on all layers.
///
/// Three seeds say little of their own spread, so that those of all points are pooled.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spreads {
    gain: [f64; 3],
    trained: f64,
    freedom: usize,
}

impl Spreads {
    /// The spread of groups; a group has the seeds of one point.
    fn of<'a>(groups: impl Iterator<Item = &'a [Measured]> + Clone) -> Self {
        let pooled = |of: &dyn Fn(&Measured) -> Option<f64>| {
            Spread::pooled(groups.clone().map(|group| group.iter().filter_map(of).collect::<Vec<f64>>()))
        };
        let gain = |reading: Reading| {
            pooled(&|one| Some(reading.share(one.trained.as_ref()?) - reading.share(&one.untrained))).deviation
        };
        let Spread { deviation: trained, freedom } = pooled(&|one| Some(one.trained.as_ref()?.all.share()));
        Self { gain: Reading::ALL.map(gain), trained, freedom }
    }

    /// The larger of each.
    fn max(self, other: Self) -> Self {
        let gain = [0, 1, 2].map(|at| self.gain[at].max(other.gain[at]));
        Self { gain, trained: self.trained.max(other.trained), freedom: self.freedom }
    }
}

/// All seeds of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The point. Its seed has no meaning here.
    pub point: Point,
    seeds: Vec<Measured>,
    spreads: Spreads,
}

impl Summary {
    /// Number of seeds.
    pub fn seeds(&self) -> usize {
        self.seeds.len()
    }

    /// Degrees of freedom of the spread over seeds.
    pub fn freedom(&self) -> usize {
        self.spreads.freedom
    }

    /// Mean share before learning.
    pub fn untrained(&self, reading: Reading) -> f64 {
        mean(&self.seeds.iter().map(|one| reading.share(&one.untrained)).collect::<Vec<_>>())
    }

    /// Pairs of read-outs before and after learning; `None` where a seed diverged.
    fn pairs(&self, reading: Reading) -> Option<Vec<(&ReadOut, &ReadOut)>> {
        self.seeds.iter().map(|one| Some((reading.of(&one.untrained), reading.of(one.trained.as_ref()?)))).collect()
    }

    /// Mean share after learning; `None` where a seed diverged.
    pub fn trained(&self, reading: Reading) -> Option<f64> {
        let pairs = self.pairs(reading)?;
        Some(mean(&pairs.iter().map(|(_, after)| after.share()).collect::<Vec<_>>()))
    }

    /// Accuracy on all layers after learning; its error is of the seeds and of all test images.
    pub fn accuracy(&self) -> Option<Estimate> {
        let value = self.trained(Reading::All)?;
        let images = self.seeds.first().map_or(1, |one| one.untrained.all.0.len());
        Some(Estimate { value, error: standard_error(value, images).hypot(self.over_seeds(self.spreads.trained)) })
    }

    /// Gain by learning; `None` if a seed diverged.
    pub fn gain(&self, reading: Reading) -> Option<Estimate> {
        let pairs = self.pairs(reading)?;
        let value = mean(&pairs.iter().map(|(before, after)| after.share() - before.share()).collect::<Vec<_>>());
        let of_seeds = self.over_seeds(self.spreads.gain[reading as usize]);
        Some(Estimate { value, error: error_over_images(&pairs).hypot(of_seeds) })
    }

    /// Accuracy after learning above that of another point with the same images and seeds; `None` if a seed diverged. The
    /// error treats the two as independent.
    pub fn over(&self, other: &Self, reading: Reading) -> Option<Estimate> {
        let (own, others) = (self.pairs(reading)?, other.pairs(reading)?);
        let pairs: Vec<_> = own.iter().zip(&others).map(|((_, own), (_, other))| (*other, *own)).collect();
        let value = mean(&pairs.iter().map(|(other, own)| own.share() - other.share()).collect::<Vec<_>>());
        let at = reading as usize;
        let of_seeds = self.over_seeds(self.spreads.gain[at]).hypot(other.over_seeds(other.spreads.gain[at]));
        Some(Estimate { value, error: error_over_images(&pairs).hypot(of_seeds) })
    }

    fn over_seeds(&self, spread: f64) -> f64 {
        spread / (self.seeds.len().max(1) as f64).sqrt()
    }
}

/// Sums up the seeds, which follow one another in `measured`. The spread over seeds is the larger of that pooled over all
/// points and that pooled over those of the same width.
pub fn summaries(measured: &[Measured]) -> Vec<Summary> {
    let groups: Vec<&[Measured]> = measured.chunk_by(|a, b| a.point.of_seed(0) == b.point.of_seed(0)).collect();
    let all = Spreads::of(groups.iter().copied());
    let summary = |seeds: &&[Measured]| {
        let point = seeds.first()?.point.of_seed(0);
        let like = |group: &&[Measured]| group.first().is_some_and(|one| one.point.channels == point.channels);
        let own = Spreads::of(groups.iter().copied().filter(like));
        Some(Summary { point, seeds: seeds.to_vec(), spreads: all.max(own) })
    };
    groups.iter().filter_map(summary).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::paper::micro::point::BASE;

    /// Read-outs of 10,000 images of which the first share is right.
    pub fn read(all: f64) -> ReadOuts {
        let of = |share: f64| ReadOut((0..10_000).map(|image| f64::from(image) < 10_000.0 * share).collect());
        ReadOuts { all: of(all), top: of(all / 2.0), nearest: of(all / 4.0) }
    }

    /// One seed; `None` where it diverged.
    pub fn one(point: Point, untrained: f64, trained: Option<f64>) -> Measured {
        Measured { point, untrained: read(untrained), trained: trained.map(read) }
    }

    #[test]
    fn seeds_are_summed_up_and_a_diverged_run_is_no_gain() {
        let narrow = Point { channels: 4, ..BASE };
        let measured = [
            one(BASE, 0.3, Some(0.36)),
            one(BASE.of_seed(1), 0.32, Some(0.42)),
            one(BASE.of_seed(2), 0.31, Some(0.39)),
            one(narrow, 0.2, Some(0.25)),
            one(narrow.of_seed(1), 0.2, None),
        ];
        let all = summaries(&measured);
        assert_eq!(all.len(), 2);
        let gain = all[0].gain(Reading::All).unwrap_or_else(|| panic!("no gain"));
        assert!((gain.value - 0.08).abs() < 1e-9);
        assert!((all[0].untrained(Reading::Top) - 0.155).abs() < 1e-3);
        // The gains are 6, 10 and 8 points: their deviation is 2. Each image counts by how many seeds have gained it.
        let gained = [(3000, 3600), (3200, 4200), (3100, 3900)];
        let of_image = |image: i32| {
            gained.iter().filter(|(from, to)| (*from..*to).contains(&image)).count() as f64 / gained.len() as f64
        };
        let variance = (0..10_000).map(|image| (of_image(image) - 0.08).powi(2)).sum::<f64>() / 10_000.0;
        let expected = (variance / 10_000.0).sqrt().hypot(0.02 / 3.0_f64.sqrt());
        assert!((gain.error - expected).abs() < 1e-6, "{} is not {expected}", gain.error);
        assert_eq!((all[1].gain(Reading::All), all[1].accuracy(), all[1].seeds()), (None, None, 2));
        assert_eq!(all[0].freedom(), 2);
        let accuracy = all[0].accuracy().unwrap_or_else(|| panic!("no accuracy"));
        // 36, 42 and 39 %: a deviation of 3 points, and 10,000 images.
        let expected = (0.39 * 0.61 / 10_000.0_f64).sqrt().hypot(0.03 / 3.0_f64.sqrt());
        assert!((accuracy.error - expected).abs() < 1e-9, "{accuracy:?}");
    }

    #[test]
    fn a_difference_of_two_points_pairs_their_seeds_and_images() {
        let stored = Point { channels: 32, ..BASE };
        let gains = [0.40, 0.41, 0.42];
        let seeds = |point: Point, less: f64| {
            gains.iter().enumerate().map(move |(at, gain)| one(point.of_seed(at as u64), 0.35, Some(gain - less)))
        };
        let all = summaries(&seeds(BASE, 0.0).chain(seeds(stored, 0.01)).collect::<Vec<_>>());
        let Some(lost) = all[1].over(&all[0], Reading::All) else { panic!("no difference") };
        assert!((lost.value + 0.01).abs() < 1e-9);
        // 1 % of the images by each seed, other ones by each; the seeds' deviation is one point at both.
        let of_images = ((0.03 / 9.0 - 0.01 * 0.01) / 10_000.0_f64).sqrt();
        assert!((lost.error - of_images.hypot(0.01 * (2.0 / 3.0_f64).sqrt())).abs() < 1e-6, "{lost:?}");
        assert_eq!(all[0].over(&all[0], Reading::Top).map(|none| none.value), Some(0.0));
    }
}
