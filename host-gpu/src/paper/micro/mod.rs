//! Where does local self-supervised learning stop working as networks shrink? Accuracy over the untrained encoder
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
mod significance;
mod summary;

pub use show::{COLUMNS, TABLE};

use super::{Finding, Setting};
use crate::error::Error;
use point::{Point, Size};

/// Runs the experiment.
///
/// # Errors
/// As training and probe.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let size = Size::of(setting);
    let data = measure::images(setting, &size);
    let measured = measure::measure(setting, &data, &size, &point::all())?;
    let summaries = summary::summaries(&measured);
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
    finding.tables = vec![show::table(&summaries, &data, &size)?];
    finding.figures = vec![picture::figure(&summaries, &data)?];
    finding.notes = claims::notes();
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_fits_together_and_is_measured_once() {
        let data = crate::data::generated::shapes(1, 4, 4).in_grey();
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
            assert_eq!(spec.beyond_core(), None);
            assert_eq!(spec.layers()[0].pooled.area(), 16, "{point:?}");
        }
    }
}
