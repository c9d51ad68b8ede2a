//! Networks for a microcontroller, picked from what `clapp paper micro` has measured.
//!
//! Only networks that were measured are picked. RAM and flash are worked out for the input and the classes asked for;
//! accuracy and gain are those of the measured frame that is nearest in size, and say so.

use crate::config::Config;
use crate::data::Dataset;
use crate::device_plan::{DevicePlan, Firmware};
use crate::error::Error;
use crate::model::{Learning, NetworkSpec};
use crate::paper::micro::point::blocks;
use crate::paper::micro::{COLUMNS, TABLE};
use clapp_core::network::{Block, Rule};
use clapp_core::shape::Shape;
use std::fmt::Write;

/// The kept table of `clapp paper micro`.
pub const MEASURED: &str = include_str!("../../benches/results/micro.csv");

/// Where a network learns before it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Learns {
    /// On the device, from its stream of single frames.
    Device,
    /// On the host, by batches of 32 (`clapp train`); the device carries it, and may go on from its stream.
    Host,
}

impl Learns {
    fn batch(self) -> usize {
        match self {
            Self::Device => 1,
            Self::Host => 32,
        }
    }
}

/// What is asked for.
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
    /// Where the network learns.
    pub learns: Learns,
}

/// A measured configuration; accuracies in percent, the gain and its error in points.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The images that it was measured on.
    pub images: String,
    /// Channels of every layer.
    pub channels: usize,
    /// Layers.
    pub depth: usize,
    /// Height and width of a frame.
    pub input: usize,
    /// Images in a batch; 1 is a stream.
    pub batch: usize,
    /// Accuracy after learning.
    pub trained: f64,
    /// Accuracy over the untrained encoder.
    pub gain: f64,
    /// Its standard error.
    pub error: f64,
}

/// A network with what it takes and what was measured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The network for the input asked for.
    pub spec: NetworkSpec,
    /// The nearest configuration that was measured.
    pub nearest: Row,
    /// What the network takes.
    pub plan: DevicePlan,
}

/// Reads the table of `clapp paper micro`: rows with projections in f32 that did not diverge.
///
/// # Errors
/// [`Error::Config`] with line and column where it is not such a table.
pub fn rows(text: &str) -> Result<Vec<Row>, Error> {
    let wrong = |message: String| Error::Config { origin: format!("{TABLE}.csv"), message };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let place = |name: &str| {
        let found = heads.iter().position(|head| head == name);
        found.ok_or_else(|| wrong(format!("has no column `{name}`; write it anew with `clapp paper micro`")))
    };
    for (name, _) in COLUMNS {
        place(name)?;
    }
    let spread = place("gain, points spread")?;
    let mut rows = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let text = |name: &str| Ok::<_, Error>(record.get(place(name)?).unwrap_or_default().to_owned());
        if text("projections")? != "f32" || text("trained, %")?.is_empty() {
            continue;
        }
        let number = |name: &str, text: &str| {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            value.ok_or_else(|| wrong(format!("row {}: {name} is `{text}`, expected a number", line + 1)))
        };
        let whole = |name: &str| Ok::<_, Error>(number(name, &text(name)?)? as usize);
        rows.push(Row {
            images: text("images")?,
            channels: whole("channels")?,
            depth: whole("depth")?,
            input: whole("input")?,
            batch: whole("batch")?,
            trained: number("trained, %", &text("trained, %")?)?,
            gain: number("gain, points", &text("gain, points")?)?,
            error: number("gain, points spread", record.get(spread).unwrap_or_default())?,
        });
    }
    Ok(rows)
}

/// The network of a measured configuration for frames of another shape; `None` where they are too small for its layers.
pub fn network(channels: usize, depth: usize, input: Shape) -> Option<NetworkSpec> {
    let layers = blocks(channels, depth, [input.height, input.width]);
    let layers = layers.iter().map(|block| Block {
        loss_pool: block.loss_pool.into(),
        max_pool: block.max_pool,
        ..Block::conv(channels, block.kernel).padding(block.padding)
    });
    NetworkSpec::new(input, layers.collect(), Rule::clapp_pp_dfb(), Learning::Local).ok()
}

/// All measured networks, the most accurate first, and of equals the one of less RAM: whether they fit or not.
///
/// # Errors
/// Where the kept results cannot be read.
pub fn ranked(wanted: &Wanted, measured: &[Row]) -> Result<Vec<Candidate>, Error> {
    let firmware = Firmware::measured()?;
    let side = ((wanted.input.area()) as f64).sqrt();
    let distance = |row: &Row| (row.input as f64 / side).ln().abs();
    let of_mode = || measured.iter().filter(|row| row.batch == wanted.learns.batch());
    let mut candidates: Vec<Candidate> = Vec::new();
    for row in of_mode() {
        let same = |other: &Row| (other.channels, other.depth) == (row.channels, row.depth);
        if candidates.iter().any(|candidate| same(&candidate.nearest)) {
            continue;
        }
        let nearest = of_mode().filter(|other| same(other)).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        if let (Some(nearest), Some(spec)) = (nearest, network(row.channels, row.depth, wanted.input)) {
            let plan = firmware.plan(&spec, wanted.classes);
            candidates.push(Candidate { spec, nearest: nearest.clone(), plan });
        }
    }
    candidates.sort_by(|a, b| b.nearest.trained.total_cmp(&a.nearest.trained).then(a.plan.ram.cmp(&b.plan.ram)));
    Ok(candidates)
}

impl Candidate {
    /// Whether it fits.
    pub fn fits(&self, wanted: &Wanted) -> bool {
        self.plan.ram <= wanted.ram && self.plan.flash <= wanted.flash
    }

    /// As a configuration for `clapp train`; `None` where frames are not square, which its views are.
    ///
    /// # Errors
    /// Where there is no preset to begin with.
    pub fn config(&self, data: &Dataset) -> Result<Option<Config>, Error> {
        use crate::paper::micro::point::{BASE, Point, Size};
        let input = self.spec.input();
        if input.height != input.width {
            return Ok(None);
        }
        let Row { channels, depth, .. } = self.nearest;
        let point = Point { channels, depth, input: input.height, ..BASE };
        let mut config = point.config(0, data, &Size { images: 2, test: 2, epochs: 10 })?;
        config.name = format!("micro-{channels}x{depth}");
        config.images = None;
        config.input[0] = input.channels;
        for augment in [&mut config.augment, &mut config.probe.augment] {
            augment.mean = vec![0.5; input.channels];
            augment.std = vec![0.25; input.channels];
        }
        config.check("the recommended configuration")?;
        Ok(Some(config))
    }

    /// As Rust for `clapp-core`; what it takes is checked when it is compiled.
    pub fn rust(&self) -> String {
        rust(&self.spec)
    }
}

/// A network of [`network`] as Rust for `clapp-core`.
pub fn rust(spec: &NetworkSpec) -> String {
    let (view, input) = (spec.view(), spec.input());
    let mut text = String::from(
        "use clapp_core::network::{Block, LossPool, Network, Rule};\nuse clapp_core::optimizer::Optimizer;\nuse \
         clapp_core::shape::Shape;\n\n",
    );
    // Writing to a string does not fail.
    let _ = writeln!(text, "pub const NETWORK: Network<{}> = Network::new(", view.layer_count());
    let _ = writeln!(text, "    Shape::new({}, {}, {}),\n    [", input.channels, input.height, input.width);
    for layer in spec.layers() {
        let block = layer.block;
        let _ = write!(
            text,
            "        Block::conv({}, {:?}).padding({:?})",
            block.out_channels, block.kernel, block.padding
        );
        if let Some(window) = block.max_pool {
            let _ = write!(text, ".max_pool({window:?})");
        }
        let _ = writeln!(text, ".loss_pool(LossPool::{:?}),", block.loss_pool);
    }
    let _ = writeln!(text, "    ],\n    Rule::clapp_pp_dfb(),\n);");
    let rate = crate::paper::micro::point::STREAM_RATE;
    let _ = writeln!(text, "pub const OPTIMIZER: Optimizer = Optimizer::sgd({rate:?});");
    let _ = writeln!(
        text,
        "// What it was recommended for: another build of clapp-core that takes more does not compile.\nconst _: () = \
         assert!(NETWORK.view().stream_bytes() <= {});",
        view.stream_bytes()
    );
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kept_table_is_read_whole() {
        let rows = rows(MEASURED).unwrap();
        assert!(rows.iter().any(|row| row.batch == 1) && rows.iter().any(|row| row.batch == 32));
        assert!(rows.len() >= 15, "{}", rows.len());
        for row in &rows {
            assert!((0.0..=100.0).contains(&row.trained) && row.error >= 0.0, "{row:?}");
        }
    }

    #[test]
    fn a_table_that_is_none_is_refused_by_column_or_row() {
        let refused = |text: &str| rows(text).unwrap_err().to_string();
        assert!(refused("a,b\n1,2\n").contains("no column `images`"));
        let spoilt =
            MEASURED.lines().next().unwrap().to_owned() + "\ncifar10,sixteen,3,32,32,f32,1,1,1,1,1,1,1,1,1,1,1,1\n";
        assert!(refused(&spoilt).contains("row 1: channels is `sixteen`"), "{}", refused(&spoilt));
        let short = MEASURED.lines().take(1).collect::<String>() + "\ncifar10,16\n";
        assert!(refused(&short).contains("record 1"), "{}", refused(&short));
    }

    fn best(wanted: &Wanted, rows: &[Row]) -> Option<Candidate> {
        ranked(wanted, rows).unwrap().into_iter().find(|candidate| candidate.fits(wanted))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// What is recommended fits, by a plan made anew, and less RAM never means a larger network.
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
            let rows = rows(MEASURED).unwrap();
            let input = Shape::new(if colour { 3 } else { 1 }, side, side);
            let learns = if host { Learns::Host } else { Learns::Device };
            let wanted = Wanted { ram: 1024 * ram, flash: 1024 * flash, classes, input, learns };
            let smaller = Wanted { ram: 1024 * ram.saturating_sub(less), ..wanted };
            let (large, small) = (best(&wanted, &rows), best(&smaller, &rows));
            if let Some(candidate) = &large {
                let plan = Firmware::measured().unwrap().plan(&candidate.spec, classes);
                prop_assert!(plan.ram <= wanted.ram && plan.flash <= wanted.flash);
            }
            match (large, small) {
                (None, Some(_)) => prop_assert!(false, "less room, and yet it fits"),
                (Some(large), Some(small)) => {
                    prop_assert!(small.plan.ram <= smaller.ram && small.nearest.trained <= large.nearest.trained);
                    prop_assert!(small.plan.ram <= large.plan.ram);
                }
                _ => {}
            }
        }
    }

    mod compiled {
        include!("../tests/fixtures/recommended.rs");
    }

    /// The code that is printed compiles, and is the network that was planned.
    #[test]
    fn the_rust_code_is_the_network() {
        let spec = network(16, 4, Shape::new(1, 32, 32)).unwrap();
        assert_eq!(rust(&spec), include_str!("../tests/fixtures/recommended.rs"));
        assert_eq!(compiled::NETWORK.view(), spec.view());
        assert_eq!(compiled::OPTIMIZER.state_len(&spec.view()), 0);
    }
}
