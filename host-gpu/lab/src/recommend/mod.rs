//! Networks for a microcontroller, picked from what `clapp paper micro` has measured.
//!
//! Only networks that were measured are picked. RAM and flash are worked out for the input and the classes asked for;
//! accuracy and gain are those of measured frames, all of one size so that they can be compared, and say so. Accuracies
//! that differ by less than their error are no reason to take the larger network: the smallest of these comes first.

mod code;
mod measured;

pub use code::rust;
pub use measured::{Known, MEASURED, Row, rows};

use crate::paper::micro::point::blocks;
use clapp_core::network::{Block, Rule};
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use clapp_device::device_plan::{DevicePlan, Firmware};
use clapp_engine::model::NetworkSpec;
use clapp_engine::rules::local_network;

/// A difference counts from so many standard errors on.
const ERRORS: f64 = 2.0;

/// Place of learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Learns {
    /// On the device, from its stream of single frames.
    Device,
    /// On the host, by batches of 32 (`clapp train`); the device only infers.
    Host,
}

impl Learns {
    fn batch(self) -> usize {
        match self {
            Self::Device => 1,
            Self::Host => 32,
        }
    }

    /// Bytes of RAM that the device needs.
    pub fn ram(self, plan: &DevicePlan) -> usize {
        match self {
            Self::Device => plan.ram,
            Self::Host => plan.inference_ram,
        }
    }
}

/// Requirements of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes of RAM, stack and firmware included.
    pub ram: usize,
    /// Bytes of flash, firmware and saved weights included.
    pub flash: usize,
    /// Classes of the read-out.
    pub classes: usize,
    /// Shape of a frame.
    pub input: Shape,
    /// Place of learning.
    pub learns: Learns,
}

/// Gain by learning, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// More than `ERRORS` standard errors above the untrained network.
    Shown,
    /// Within its error.
    NotShown,
    /// Below the untrained network by more than its error.
    Loss,
}

impl Row {
    /// Verdict on learning.
    pub fn verdict(&self) -> Gain {
        let Known { value, error } = self.gain;
        match value {
            _ if value > ERRORS * error => Gain::Shown,
            _ if value < -ERRORS * error => Gain::Loss,
            _ => Gain::NotShown,
        }
    }
}

/// A network with its memory and measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The network for the input asked for.
    pub spec: NetworkSpec,
    /// Measurement at the nearest frame size that all networks were measured at: smaller frames make all of them less
    /// accurate.
    pub nearest: Row,
    /// Measurement at a frame size still nearer.
    pub nearer: Option<Row>,
    /// Memory of the network.
    pub plan: DevicePlan,
}

impl Candidate {
    /// Bytes that are missing, of RAM and of flash.
    pub fn missing(&self, wanted: &Wanted) -> [usize; 2] {
        [wanted.learns.ram(&self.plan).saturating_sub(wanted.ram), self.plan.flash.saturating_sub(wanted.flash)]
    }

    /// `true` if it fits.
    pub fn fits(&self, wanted: &Wanted) -> bool {
        self.missing(wanted) == [0, 0]
    }
}

/// All measured networks for what is asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranking {
    /// Networks that fit and are as accurate as the best of these, within the error: the smallest in RAM first.
    pub equal: Vec<Candidate>,
    /// Networks that fit and are less accurate: the most accurate first.
    pub lesser: Vec<Candidate>,
    /// Networks that do not fit: first the one with the fewest missing bytes of RAM and flash together.
    pub too_large: Vec<Candidate>,
    /// Accuracies that differ by no more than so many points are equal: two standard errors of the difference of two
    /// measured accuracies, by the largest error of all rows.
    pub tolerance: f64,
}

/// The network of a measured configuration for frames of another shape; `None` where they are too small for its layers.
pub fn network(channels: usize, depth: usize, input: Shape) -> Option<NetworkSpec> {
    let layers = blocks(channels, depth, [input.height, input.width]);
    let layers = layers.iter().map(|block| Block {
        loss_pool: block.loss_pool,
        max_pool: block.max_pool,
        ..Block::conv(channels, block.kernel).padding(block.padding)
    });
    local_network(input, layers.collect(), Rule::clapp_pp_dfb()).ok()
}

/// Ranks all measured networks.
///
/// # Errors
/// If the kept results of the firmware cannot be read.
pub fn ranked(wanted: &Wanted, measured: &[Row]) -> Result<Ranking, Error> {
    let firmware = Firmware::measured()?;
    let side = (wanted.input.area() as f64).sqrt();
    let distance = |row: &Row| (row.input as f64 / side).ln().abs();
    let of_mode = || measured.iter().filter(|row| row.batch == wanted.learns.batch());
    let name = |row: &Row| (row.channels, row.depth);
    let has_all =
        |side: usize| of_mode().all(|row| of_mode().any(|other| other.input == side && name(other) == name(row)));
    let common = of_mode().filter(|row| has_all(row.input)).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let mut candidates: Vec<Candidate> = Vec::new();
    for row in of_mode().filter(|row| common.is_some_and(|common| row.input == common.input)) {
        if candidates.iter().any(|candidate| name(&candidate.nearest) == name(row)) {
            continue;
        }
        let Some(spec) = network(row.channels, row.depth, wanted.input) else { continue };
        let nearer = of_mode()
            .filter(|other| name(other) == name(row) && distance(other) < distance(row))
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let plan = firmware.plan(&spec, wanted.classes);
        candidates.push(Candidate { spec, nearest: row.clone(), nearer: nearer.cloned(), plan });
    }
    // One error for all pairs: with one of its own for each, less room could make a larger network the smallest of the
    // equals.
    let error = candidates.iter().map(|candidate| candidate.nearest.trained.error).fold(0.0, f64::max);
    let tolerance = ERRORS * std::f64::consts::SQRT_2 * error;
    let (fit, mut too_large): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| candidate.fits(wanted));
    let accuracy = |candidate: &Candidate| candidate.nearest.trained.value;
    let best = fit.iter().map(accuracy).fold(f64::MIN, f64::max);
    let (mut equal, mut lesser): (Vec<_>, Vec<_>) =
        fit.into_iter().partition(|candidate| accuracy(candidate) >= best - tolerance);
    let smallest = |a: &Candidate, b: &Candidate| {
        let ram = |candidate: &Candidate| wanted.learns.ram(&candidate.plan);
        ram(a).cmp(&ram(b)).then(accuracy(b).total_cmp(&accuracy(a)))
    };
    equal.sort_by(smallest);
    let missing = |candidate: &Candidate| candidate.missing(wanted).iter().sum::<usize>();
    too_large.sort_by(|a, b| missing(a).cmp(&missing(b)).then(smallest(a, b)));
    lesser.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)).then(smallest(a, b)));
    Ok(Ranking { equal, lesser, too_large, tolerance })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WANTED: Wanted =
        Wanted { ram: 1 << 30, flash: 1 << 30, classes: 10, input: Shape::new(1, 32, 32), learns: Learns::Device };

    /// A measured network of three layers, by its width, accuracy and the error of that.
    fn row(channels: usize, trained: f64, error: f64) -> Row {
        Row {
            images: "images".into(),
            channels,
            depth: 3,
            input: 32,
            batch: 1,
            learnt_from: 1000,
            epochs: 1,
            rate: 0.001,
            seeds: 3,
            test_images: 10_000,
            trained: Known { value: trained, error },
            gain: Known { value: 1.0, error: 0.4 },
        }
    }

    fn widths(candidates: &[Candidate]) -> Vec<usize> {
        candidates.iter().map(|candidate| candidate.nearest.channels).collect()
    }

    #[test]
    fn of_equals_the_smallest_comes_first() {
        // Two standard errors of a difference are 1.41 points.
        let rows = [row(4, 44.0, 0.5), row(8, 48.7, 0.5), row(16, 49.0, 0.5), row(32, 50.0, 0.5), row(64, 47.0, 0.3)];
        let all = ranked(&WANTED, &rows).unwrap();
        assert_eq!(widths(&all.equal), [8, 16, 32]);
        assert_eq!(widths(&all.lesser), [64, 4]);
        assert!((all.tolerance - 2.0_f64.sqrt()).abs() < 1e-9);
        // The best that fits decides, not the best of all.
        let tight = Wanted { ram: all.equal[0].plan.ram, ..WANTED };
        let fit = ranked(&tight, &rows).unwrap();
        assert_eq!((widths(&fit.equal), widths(&fit.lesser)), (vec![8], vec![4]));
        assert_eq!(widths(&fit.too_large), [16, 32, 64]);
        let tight = Wanted { ram: 1000, ..WANTED };
        let none = ranked(&tight, &rows).unwrap();
        assert!(none.equal.is_empty() && none.lesser.is_empty());
        assert_eq!(widths(&none.too_large)[0], 4);
    }

    #[test]
    fn accuracies_are_compared_at_one_size_of_frames() {
        // At 32x32 the wider network is better; the narrow one alone was measured there only.
        let rows = [row(8, 47.0, 0.1), row(16, 53.0, 0.1), Row { input: 16, ..row(16, 46.0, 0.1) }];
        let small = Wanted { input: Shape::new(1, 16, 16), ..WANTED };
        let found = ranked(&small, &rows).unwrap();
        assert_eq!((widths(&found.equal), widths(&found.lesser)), (vec![16], vec![8]));
        assert_eq!(found.equal[0].nearest.input, 32);
        assert_eq!(found.equal[0].nearer.as_ref().map(|row| row.trained.value), Some(46.0));
        assert_eq!(found.lesser[0].nearer, None);
        assert_eq!(ranked(&WANTED, &rows).unwrap().equal[0].nearer, None);
    }

    #[test]
    fn of_what_does_not_fit_the_first_misses_least() {
        let rows = [row(4, 44.0, 0.5), Row { depth: 6, ..row(4, 45.0, 0.5) }, row(16, 49.0, 0.5)];
        for wanted in [Wanted { flash: 100, ..WANTED }, Wanted { ram: 100, ..WANTED }] {
            let found = ranked(&wanted, &rows).unwrap().too_large;
            let missing: Vec<usize> = found.iter().map(|candidate| candidate.missing(&wanted).iter().sum()).collect();
            assert!(missing.is_sorted() && missing[0] > 0, "{missing:?}");
        }
    }

    #[test]
    fn a_gain_is_shown_from_two_errors_on() {
        let of = |value, error| Row { gain: Known { value, error }, ..row(4, 40.0, 0.5) }.verdict();
        assert_eq!(of(1.0, 0.4), Gain::Shown);
        assert_eq!((of(0.7, 0.4), of(-0.7, 0.4)), (Gain::NotShown, Gain::NotShown));
        assert_eq!(of(-1.0, 0.4), Gain::Loss);
    }

    #[test]
    fn what_only_infers_takes_less_and_is_asked_for_less() {
        let rows = [row(16, 49.0, 0.5), Row { batch: 32, ..row(16, 50.0, 0.5) }];
        let device = ranked(&WANTED, &rows).unwrap().equal.remove(0);
        let plan = device.plan;
        assert!(plan.inference_ram < plan.ram);
        let tight = Wanted { ram: plan.inference_ram, ..WANTED };
        assert!(ranked(&tight, &rows).unwrap().equal.is_empty());
        let host = ranked(&Wanted { learns: Learns::Host, ..tight }, &rows).unwrap();
        assert_eq!(host.equal[0].nearest.trained.value, 50.0);
    }

    fn best(wanted: &Wanted, rows: &[Row]) -> Option<Candidate> {
        ranked(wanted, rows).unwrap().equal.into_iter().next()
    }

    /// Recommended networks fit, by a second plan, and less RAM never gives a larger network.
    fn less_room_takes_no_more(wanted: &Wanted, less: usize, rows: &[Row]) {
        let smaller = Wanted { ram: wanted.ram.saturating_sub(less), ..*wanted };
        let (large, small) = (best(wanted, rows), best(&smaller, rows));
        let takes = |candidate: &Candidate| {
            wanted.learns.ram(&Firmware::measured().unwrap().plan(&candidate.spec, wanted.classes))
        };
        if let Some(candidate) = &large {
            assert!(takes(candidate) <= wanted.ram && candidate.plan.flash <= wanted.flash);
        }
        match (large, small) {
            (None, Some(_)) => panic!("less room, and yet it fits"),
            (Some(large), Some(small)) => {
                assert!(takes(&small) <= smaller.ram && takes(&small) <= takes(&large));
                assert!(small.nearest.trained.value <= large.nearest.trained.value || small == large);
            }
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn what_is_recommended_fits_and_less_room_takes_no_more(
            ram in 20_usize..2000,
            less in 1_usize..400,
            flash in 100_usize..2000,
            classes in 2_usize..20,
            side in 8_usize..40,
            colour in any::<bool>(),
            host in any::<bool>(),
        ) {
            let input = Shape::new(if colour { 3 } else { 1 }, side, side);
            let learns = if host { Learns::Host } else { Learns::Device };
            let wanted = Wanted { ram: 1024 * ram, flash: 1024 * flash, classes, input, learns };
            less_room_takes_no_more(&wanted, 1024 * less, &rows(MEASURED).unwrap());
        }

        /// The same whatever was measured: with any accuracies and any errors.
        #[test]
        fn less_room_takes_no_more_whatever_was_measured(
            ram in 20_usize..500,
            less in 1_usize..300,
            measured in proptest::collection::vec((1_usize..24, 1_usize..5, 30.0..60.0, 0.1..2.0), 1..12),
        ) {
            let rows: Vec<Row> = measured
                .iter()
                .map(|(pairs, depth, trained, error)| Row { depth: *depth, ..row(2 * pairs, *trained, *error) })
                .collect();
            less_room_takes_no_more(&Wanted { ram: 1024 * ram, ..WANTED }, 1024 * less, &rows);
        }
    }
}
