//! How speed and memory change with depth and batch, local learning against back-propagation: `cargo xtask cost`.
//!
//! The network is a plain stack of 64 channels on 16x16 maps, so that each layer adds the same work. Every point is a
//! process of its own.

use clap::Parser;
use clapp_benches::measured::{Measured, json, sibling};
use plotters::prelude::SeriesLabelPosition::{LowerRight, UpperLeft, UpperRight};
use plotters::prelude::*;
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
const RULES: [(&str, RGBColor); 3] =
    [("clapp++", RGBColor(31, 119, 180)), ("clapp++dfb", RGBColor(44, 160, 44)), ("bp-clapp++", RGBColor(214, 39, 40))];
/// The batch where depth varies, and the depth where the batch does.
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
    /// What the process needs beside its parameters and their moments: maps, scratch, the program itself.
    fn rest_mib(&self) -> f64 {
        self.peak_mib - self.parameters_mib
    }
}

fn measure(rule: usize, depth: usize, batch: usize, steps: usize) -> Result<Point, Box<dyn Error>> {
    let [depth_text, batch_text, steps] = [depth, batch, steps].map(|number| number.to_string());
    let arguments = ["--rule", RULES[rule].0, "--depth", &depth_text, "--batch", &batch_text, "--steps", &steps];
    let measured: Measured = json(Command::new(sibling("peer_step")?).args(arguments))?;
    let parameters_mib = (3 * 4 * measured.parameters) as f64 / f64::from(1 << 20);
    Ok(Point { rule, depth, batch, rate: measured.rate(), peak_mib: measured.peak_mib, parameters_mib })
}

/// One panel: a line a rule.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    caption: &str,
    labels: [&str; 2],
    legend: SeriesLabelPosition,
    lines: &[Vec<(f64, f64)>],
) -> Result<(), Box<dyn Error>> {
    let all = || lines.iter().flatten();
    let right = all().map(|point| point.0).fold(0.0, f64::max);
    let top = all().map(|point| point.1).fold(0.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..right * 1.05, 0.0..top)?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc(labels[0]).y_desc(labels[1]).x_label_formatter(&|x| format!("{x:.0}"));
    mesh.y_label_formatter(&|y| format!("{y:.0}")).light_line_style(WHITE).draw()?;
    for (line, (rule, colour)) in lines.iter().zip(RULES) {
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)).point_size(3))?
            .label(rule)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    let labels = &mut chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(WHITE).position(legend).draw()?;
    Ok(())
}

fn draw(by_depth: &[Point], by_batch: &[Point]) -> Result<String, Box<dyn Error>> {
    let lines = |points: &[Point], x: fn(&Point) -> usize, y: fn(&Point) -> f64| -> Vec<Vec<(f64, f64)>> {
        let of_rule = |rule| points.iter().filter(move |point| point.rule == rule);
        (0..RULES.len()).map(|rule| of_rule(rule).map(|point| (x(point) as f64, y(point))).collect()).collect()
    };
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (1000, 640)).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_evenly((2, 2));
        let (depth, batch) = ("layers, 32 images a batch", "images a batch, 6 layers");
        let (rate, memory) = ("images/s", "peak beside the parameters, MiB");
        panel(&areas[0], "speed over depth", [depth, rate], UpperRight, &lines(by_depth, |p| p.depth, |p| p.rate))?;
        panel(
            &areas[1],
            "memory over depth",
            [depth, memory],
            UpperLeft,
            &lines(by_depth, |p| p.depth, Point::rest_mib),
        )?;
        panel(&areas[2], "speed over the batch", [batch, rate], LowerRight, &lines(by_batch, |p| p.batch, |p| p.rate))?;
        panel(
            &areas[3],
            "memory over the batch",
            [batch, memory],
            UpperLeft,
            &lines(by_batch, |p| p.batch, Point::rest_mib),
        )?;
        root.present()?;
    }
    Ok(text)
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
            point.depth, point.batch, RULES[point.rule].0, point.rate, point.peak_mib, point.parameters_mib
        );
    }
    clapp_host_gpu::files::write_atomically(&arguments.svg, draw(&by_depth, &by_batch)?.as_bytes())?;
    Ok(())
}
