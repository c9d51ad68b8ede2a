//! Where does local self-supervised learning stop working as networks shrink? Accuracy over the untrained encoder
//! against width, depth, size of the frame, batch and storage of the projections, with what each network takes of a
//! microcontroller.
//!
//! `micro.csv` is what `clapp recommend` picks from.

mod claims;
pub mod course;
mod measure;
pub mod point;
mod show;

pub use show::{COLUMNS, TABLE};

use super::ridge::ReadOuts;
use super::{Finding, Setting};
use crate::error::Error;
use measure::Measured;
use point::{Point, Size};

/// Read-outs: ridge regression on all layers, on the top layer alone, and the nearest class mean.
type Shares = [f64; 3];

/// All seeds of one configuration.
#[derive(Debug, Clone, PartialEq)]
struct Summary {
    /// What was measured; its seed says nothing.
    point: Point,
    /// Mean accuracies over the seeds, 0 to 1.
    untrained: Shares,
    /// After training; `None` where training diverged.
    trained: Option<Shares>,
    /// Number of seeds.
    seeds: usize,
    /// Standard error of the mean gain on all layers.
    error: f64,
}

impl Summary {
    /// Accuracy on all layers over that of the untrained encoder.
    fn gain(&self) -> Option<f64> {
        self.trained.map(|trained| trained[0] - self.untrained[0])
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Standard deviation of a sample; 0 of less than two values.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

fn shares(read: &ReadOuts) -> Shares {
    [read.all, read.top, read.nearest]
}

fn mean_shares(all: &[Shares]) -> Shares {
    [0, 1, 2].map(|of| mean(&all.iter().map(|shares| shares[of]).collect::<Vec<_>>()))
}

/// Sums up the seeds. A gain's error is that of two encoders on the same test images, or the deviation over the base
/// point's seeds where that is larger, over the root of the number of seeds.
fn summaries(measured: &[Measured]) -> Vec<Summary> {
    let of = |point: Point| -> Vec<&Measured> {
        measured.iter().filter(|one| one.point.of_seed(0) == point.of_seed(0)).collect()
    };
    let gain = |one: &&Measured| Some(one.trained.as_ref()?.all - one.untrained.all);
    let spread = deviation(&of(point::BASE).iter().filter_map(gain).collect::<Vec<_>>());
    let mut summaries: Vec<Summary> = Vec::new();
    for Measured { point, .. } in measured {
        if summaries.iter().any(|summary| summary.point == point.of_seed(0)) {
            continue;
        }
        let all = of(*point);
        let untrained = mean_shares(&all.iter().map(|one| shares(&one.untrained)).collect::<Vec<_>>());
        let trained: Option<Vec<Shares>> = all.iter().map(|one| one.trained.as_ref().map(shares)).collect();
        let errors: Vec<f64> =
            all.iter().filter_map(|one| Some(one.trained.as_ref()?.error_of_difference(&one.untrained))).collect();
        let error = mean(&errors).max(spread) / (all.len() as f64).sqrt();
        let trained = trained.map(|trained| mean_shares(&trained));
        summaries.push(Summary { point: point.of_seed(0), untrained, trained, seeds: all.len(), error });
    }
    summaries
}

/// Runs the experiment.
///
/// # Errors
/// As training and probe.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let size = Size::of(setting);
    let data = measure::images(setting, &size);
    let measured = measure::measure(setting, &data, &size, &point::all())?;
    let summaries = summaries(&measured);
    let mut finding = Finding::new(
        "micro",
        "How small a network still learns without labels",
        "",
        "Networks of 3x3 layers learn by clapp++dfb on grey frames, and linear read-outs tell the classes \
         from the features that a device has: ridge regression on all layers and on the top layer alone, and the \
         nearest class mean, which the firmware has. The gain is the accuracy on all layers over that of the untrained \
         encoder of the same seed. One factor at a time is changed around a base point; batches of 1 are a stream of \
         single frames through clapp-core, as a device learns. RAM and flash are those of the firmware with the network \
         and a read-out of the set's classes.",
    );
    finding.set("images", format!("{}, in grey", data.source));
    finding.set("images learnt from", size.images.min(data.pretrain.len()));
    finding.set("epochs", size.epochs);
    finding.set("images that the probe learns from", data.train.len());
    finding.set("images that the probe is tested on", data.test.len());
    let Point { channels, depth, input, batch, .. } = point::BASE;
    finding.set(
        "base point",
        format!(
            "{channels} channels, {depth} layers, {input}x{input}, batches of {batch}, f32; {} seeds",
            point::SEEDS
        ),
    );
    finding.claims = claims::claims(&summaries);
    finding.tables = vec![show::table(&summaries, &data)?];
    finding.figures = vec![show::figure(&summaries, &data)?];
    finding.notes = claims::notes();
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(all: f64) -> ReadOuts {
        let right = (0..1000).map(|image| f64::from(image) < 1000.0 * all).collect();
        ReadOuts { all, top: all / 2.0, nearest: all / 4.0, right }
    }

    #[test]
    fn seeds_are_summed_up_and_a_diverged_run_is_no_gain() {
        let one = |seed, untrained, trained| Measured {
            point: point::BASE.of_seed(seed),
            untrained: read(untrained),
            trained: Some(read(trained)),
        };
        let narrow = Point { channels: 4, ..point::BASE };
        let lost = Measured { point: narrow, untrained: read(0.2), trained: None };
        let all = summaries(&[one(0, 0.3, 0.36), one(1, 0.32, 0.42), one(2, 0.31, 0.39), lost]);
        assert_eq!(all.len(), 2);
        assert!((all[0].gain().unwrap_or(0.0) - 0.08).abs() < 1e-9);
        assert!((all[0].untrained[1] - 0.155).abs() < 1e-9);
        // The seeds' deviation, 0.02, is larger than the error on the images.
        assert!((all[0].error - 0.02 / 3.0_f64.sqrt()).abs() < 1e-4, "{}", all[0].error);
        assert_eq!((all[1].gain(), all[1].seeds), (None, 1));
    }

    #[test]
    fn every_point_fits_together_and_is_measured_once() {
        let data = crate::data::generated::shapes(1, 4, 4).in_grey();
        let size = Size { images: 4, test: 4, epochs: 1 };
        let points = point::all();
        for (at, point) in points.iter().enumerate() {
            let config = point.config(1, &data, &size).unwrap_or_else(|error| panic!("{point:?}: {error}"));
            config.check("micro").unwrap_or_else(|error| panic!("{point:?}: {error}"));
            assert!(!points[..at].contains(point), "{point:?} is there twice");
            let spec = config.network().unwrap_or_else(|error| panic!("{point:?}: {error}"));
            assert_eq!(spec.beyond_core(), None);
            assert_eq!(spec.layers()[0].pooled.area(), 16, "{point:?}");
        }
    }
}
