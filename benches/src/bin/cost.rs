//! Measures speed and memory over depth and batch, for local learning and back-propagation: `cargo xtask cost`.
//!
//! The network is a plain stack of 64 channels on 16x16 maps, so that each layer adds the same work. Every point runs
//! in a separate process.

use clap::Parser;
use clapp_benches::measured::{Measured, json, sibling};
use clapp_lab::draw::{self, Axis, FIGURE, Figure, Kind, Panel, Series, svg};
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Images a second and memory over depth and batch.
#[derive(Parser)]
struct Arguments {
    /// The picture.
    #[arg(long)]
    svg: PathBuf,
    /// Timed steps a point.
    #[arg(long, default_value_t = 11)]
    steps: usize,
}

const DEPTHS: [usize; 4] = [3, 6, 9, 12];
const BATCHES: [usize; 5] = [8, 16, 32, 64, 128];
const RULES: [&str; 3] = ["clapp++", "clapp++dfb", "bp-clapp++"];
/// The batch for the panels over depth, and the depth for the panels over batch.
const BATCH: usize = 32;
const DEPTH: usize = 6;

/// One point of all panels.
struct Point {
    rule: usize,
    depth: usize,
    batch: usize,
    rate: f64,
    peak_mib: f64,
    /// Parameters and their two moments.
    parameters_mib: f64,
}

impl Point {
    /// Memory of the process without parameters and moments: maps, scratch, the program itself.
    fn rest_mib(&self) -> f64 {
        self.peak_mib - self.parameters_mib
    }
}

fn measure(rule: usize, depth: usize, batch: usize, steps: usize) -> Result<Point, Box<dyn Error>> {
    let [depth_text, batch_text, steps] = [depth, batch, steps].map(|number| number.to_string());
    let arguments = ["--rule", RULES[rule], "--depth", &depth_text, "--batch", &batch_text, "--steps", &steps];
    let measured: Measured = json(Command::new(sibling("peer_step")?).args(arguments))?;
    let parameters_mib = (3 * 4 * measured.parameters) as f64 / f64::from(1 << 20);
    Ok(Point { rule, depth, batch, rate: measured.rate(), peak_mib: measured.peak_mib, parameters_mib })
}

/// One panel: a line a rule.
fn panel(
    title: &str,
    labels: [&str; 2],
    points: &[Point],
    x: impl Fn(&Point) -> usize,
    y: impl Fn(&Point) -> f64,
) -> Panel {
    let axis = |name: &str, value: &dyn Fn(&Point) -> f64| {
        Axis::between(name, 0.0, 1.1 * points.iter().map(value).fold(0.0, f64::max))
    };
    let line = |rule: usize| {
        let of_rule = points.iter().filter(|point| point.rule == rule);
        Series::new(RULES[rule], of_rule.map(|point| draw::Point::new(x(point) as f64, y(point))).collect())
    };
    Panel {
        title: title.into(),
        kind: Kind::Lines,
        x: axis(labels[0], &|point| x(point) as f64),
        y: axis(labels[1], &y),
        series: (0..RULES.len()).map(line).collect(),
    }
}

fn draw(by_depth: &[Point], by_batch: &[Point]) -> Result<String, Box<dyn Error>> {
    let (depth, batch) = ("layers, 32 images a batch", "images a batch, 6 layers");
    let (rate, memory) = ("images/s", "peak beside the parameters, MiB");
    let panels = vec![
        panel("speed over depth", [depth, rate], by_depth, |point| point.depth, |point| point.rate),
        panel("memory over depth", [depth, memory], by_depth, |point| point.depth, Point::rest_mib),
        panel("speed over the batch", [batch, rate], by_batch, |point| point.batch, |point| point.rate),
        panel("memory over the batch", [batch, memory], by_batch, |point| point.batch, Point::rest_mib),
    ];
    svg(&Figure::new("cost", "", panels), &FIGURE)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let all = |sizes: Vec<(usize, usize)>| -> Result<Vec<Point>, Box<dyn Error>> {
        let points =
            sizes.into_iter().flat_map(|(depth, batch)| (0..RULES.len()).map(move |rule| (rule, depth, batch)));
        points.map(|(rule, depth, batch)| measure(rule, depth, batch, arguments.steps)).collect()
    };
    let by_depth = all(DEPTHS.map(|depth| (depth, BATCH)).to_vec())?;
    let by_batch = all(BATCHES.map(|batch| (DEPTH, batch)).to_vec())?;
    println!(
        "| layers | images a batch | rule | images/s, median step | peak memory, MiB | of which parameters and moments, MiB |"
    );
    println!("|---|---|---|---|---|---|");
    for point in by_depth.iter().chain(&by_batch) {
        println!(
            "| {} | {} | {} | {:.0} | {:.0} | {:.0} |",
            point.depth, point.batch, RULES[point.rule], point.rate, point.peak_mib, point.parameters_mib
        );
    }
    clapp_data::files::write_atomically(&arguments.svg, draw(&by_depth, &by_batch)?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_panels_show_all_rules() {
        let point = |size: usize, rule: usize| Point {
            rule,
            depth: size,
            batch: size,
            rate: 10.0 / size as f64,
            peak_mib: 9.0 + size as f64,
            parameters_mib: 3.0,
        };
        let points: Vec<Point> = (1..4).flat_map(|size| (0..RULES.len()).map(move |rule| point(size, rule))).collect();
        let svg = draw(&points, &points).expect("a picture");
        for text in ["speed over depth", "memory over depth", "speed over the batch", "memory over the batch"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(RULES.iter().all(|rule| svg.contains(rule)));
    }
}
