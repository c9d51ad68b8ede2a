//! The smallest networks that local self-supervised learning works for. Accuracy over the untrained encoder
//! against width, depth, size of the frame, batch and storage of the projections, with what each network takes of a
//! microcontroller.
//!
//! `micro.csv` is what `clapp recommend` picks from.

mod claims;
pub mod course;
mod measure;
mod picture;
pub mod point;
mod show;
mod summary;

pub use show::{COLUMNS, TABLE};

use super::{Finding, Setting};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use measure::Measured;
use point::{Point, Size};

/// Runs the experiment.
///
/// # Errors
/// Same as training and probe.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let size = Size::of(setting);
    let data = measure::images(setting, &size);
    let measured = measure::measure(setting, &data, &size, &point::all())?;
    finding(&size, &data, &measured)
}

/// The finding from the measured points.
fn finding(size: &Size, data: &Dataset, measured: &[Measured]) -> Result<Finding, Error> {
    let summaries = summary::summaries(measured);
    let mut finding = Finding::new(
        "micro",
        "The smallest networks that learn without labels",
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
    finding.set("labelled images for the read-outs", data.train.len());
    finding.set("images that the read-outs are tested on", data.test.len());
    let Point { channels, depth, input, batch, .. } = point::BASE;
    let seeds = point::BASE.seeds();
    finding.set(
        "base point",
        format!("{channels} channels, {depth} layers, {input}x{input}, batches of {batch}, f32; {seeds} seeds"),
    );
    finding.set("level", claims::level());
    finding.claims = claims::claims(&summaries);
    finding.tables = vec![show::table(&summaries, data, size)?];
    finding.figures = vec![picture::figure(&summaries, data)?];
    finding.notes = claims::notes();
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_point_fits_together_and_is_measured_once() {
        let data = clapp_data::data::generated::shapes(1, 4, 4).in_grey();
        let size = Size { images: 4, labelled: 4, test: 4, epochs: 1 };
        let points = point::all();
        // All seeds of a point are there, and follow one another.
        let seeds = points.chunk_by(|a, b| a.of_seed(0) == b.of_seed(0));
        assert!(seeds.clone().all(|seeds| seeds.len() as u64 == seeds[0].seeds() && seeds.len() > 1));
        let mut one = seeds.map(|seeds| seeds[0]).collect::<Vec<_>>();
        one.sort();
        one.dedup();
        assert_eq!(points.iter().filter(|point| point.seed == 0).count(), one.len());
        for (at, point) in points.iter().enumerate() {
            let config = point.config(1, &data, &size).unwrap_or_else(|error| panic!("{point:?}: {error}"));
            config.check("micro").unwrap_or_else(|error| panic!("{point:?}: {error}"));
            assert!(!points[..at].contains(point), "{point:?} is there twice");
            let spec = config.network().unwrap_or_else(|error| panic!("{point:?}: {error}"));
            assert_eq!(clapp_engine::rules::of(&spec).beyond_core(), None);
            assert_eq!(spec.layers()[0].pooled.area(), 16, "{point:?}");
        }
    }

    /// Whatever is measured, a diverged point included, all of it is shown, and `clapp recommend` reads the table.
    #[test]
    fn all_points_are_shown_and_read_again() {
        let data = clapp_data::data::generated::shapes(1, 4, 4).in_grey();
        let size = Size { images: 4, labelled: 4, test: 4, epochs: 2 };
        let lost = Point { channels: 64, ..point::BASE };
        let measured: Vec<Measured> = point::all()
            .into_iter()
            .map(|point| {
                let gain = 0.01 + 0.002 * point.seed as f64;
                let trained = (point.of_seed(0) != lost).then_some(0.4 + gain);
                summary::tests::one(point, 0.4, trained)
            })
            .collect();
        let finding = finding(&size, &data, &measured).unwrap_or_else(|error| panic!("{error}"));
        finding.check(Path::new("micro")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(finding.claims.len(), 10);
        assert!(finding.claims[0].evidence.contains("64 channels: diverged"), "{}", finding.claims[0].evidence);
        assert!(finding.figures[0].panels.iter().all(|panel| panel.series.iter().all(|line| !line.points.is_empty())));
        let csv = finding.tables[0].csv(Path::new("micro.csv")).unwrap_or_else(|error| panic!("{error}"));
        let rows = crate::recommend::rows(&String::from_utf8_lossy(&csv)).unwrap_or_else(|error| panic!("{error}"));
        let points = measured.iter().filter(|one| one.point.seed == 0 && one.trained.is_some());
        let stored = |one: &&Measured| one.point.storage == course::Storage::F32;
        assert_eq!(rows.len(), points.filter(stored).count());
        assert!((rows[0].gain.value - 1.2).abs() < 1e-6 && (rows[0].epochs, rows[0].seeds) == (2, 3), "{:?}", rows[0]);
        assert_eq!(rows.iter().find(|row| row.batch == 1).map(|row| row.rate), Some(0.001));
    }
}
