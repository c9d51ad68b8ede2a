//! Charts of a report.

use super::course::Course;
use super::run::Run;
use crate::draw::{self, Axis, Figure, Kind as Shown, PAGE, Panel, Point, RGBColor, Series, layer_colour, run_colour};
use clapp_data::error::Error;
use clapp_engine::alignment;
use clapp_engine::probe::{Accuracy, Kind};
use maud::{Markup, PreEscaped, html};

/// Points of a curve: more than the pixels of a chart show nothing more.
const POINTS: usize = 300;

/// A chart with its caption.
fn figure(name: &str, caption: &str, kind: Shown, [x, y]: [Axis; 2], series: Vec<Series>) -> Result<Markup, Error> {
    let panel = Panel { title: String::new(), kind, x, y, series };
    let svg = draw::svg(&Figure::new(name, caption, vec![panel]), &PAGE)
        .map_err(|error| Error::Plot { path: name.into(), message: error.to_string() })?;
    Ok(html! {
        figure data-chart=(name) {
            div role="img" aria-label=(caption) { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    })
}

/// Lines over a common axis, with its name and that of the vertical one.
fn lines(name: &str, caption: &str, axes: [&str; 2], list: Vec<Series>) -> Result<Markup, Error> {
    figure(name, caption, Shown::Curves, axes.map(Axis::new), list)
}

/// Bars at these places.
fn bars(name: &str, caption: &str, places: Vec<String>, y: &str, list: Vec<Series>) -> Result<Markup, Error> {
    let ticks = places.into_iter().map(|place| (0.0, place)).collect();
    figure(name, caption, Shown::Columns, [Axis { ticks, ..Axis::default() }, Axis::new(y)], list)
}

/// The page has the legend.
fn unnamed(colour: RGBColor, points: Vec<Point>) -> Series {
    Series { colour: Some(colour), ..Series::new("", points) }
}

fn line(colour: RGBColor, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    unnamed(colour, points.into_iter().map(|(x, y)| Point::new(x, y)).collect())
}

/// Loss over steps, one chart a layer, one line a run.
pub fn losses_by_layer(runs: &[Run]) -> Result<Vec<Markup>, Error> {
    let layers = runs.iter().map(Run::layers).max().unwrap_or(0);
    let mut figures = Vec::new();
    for layer in 0..layers {
        let of_run = |(index, run): (usize, &Run)| {
            let points = run.course.as_ref()?.loss_curve(layer, POINTS);
            (!points.is_empty()).then(|| line(run_colour(index), points))
        };
        let list: Vec<Series> = runs.iter().enumerate().filter_map(of_run).collect();
        if !list.is_empty() {
            let name = format!("loss-layer-{layer}");
            figures.push(lines(&name, &format!("Loss of layer {layer}"), ["step", "loss"], list)?);
        }
    }
    Ok(figures)
}

/// Accuracy after the last epoch by layer, of runs that were probed alike, one colour a run.
pub fn accuracy_by_layer(
    runs: &[Run],
    name: &str,
    caption: &str,
    alike: &super::protocols::Group,
) -> Result<Option<Markup>, Error> {
    let probe = |index: usize| runs[index].record(alike.kind).filter(|_| alike.runs.contains(&index));
    let layers = (0..runs.len()).filter_map(&probe).map(|record| record.report.layers.len()).max().unwrap_or(0);
    if layers == 0 {
        return Ok(None);
    }
    let mut places: Vec<String> = (0..layers).map(|layer| format!("layer {layer}")).collect();
    let all = "all".to_string();
    let series = |index: usize| {
        let report = &probe(index)?.report;
        let heads = places.iter().zip(&report.layers).chain([(&all, &report.all)]);
        let bars = heads.map(|(place, head)| Point::bar(place, 100.0 * head.last, None));
        Some(unnamed(run_colour(index), bars.collect()))
    };
    let list = (0..runs.len()).filter_map(series).collect();
    places.push(all);
    bars(name, caption, places, "% of test images", list).map(Some)
}

/// Images a second, one bar a run.
pub fn speed(runs: &[Run]) -> Result<Option<Markup>, Error> {
    let places: Vec<String> = (1..=runs.len()).map(|number| number.to_string()).collect();
    let series = |(index, run): (usize, &Run)| {
        let speed = run.course.as_ref().and_then(Course::images_per_second)?;
        Some(unnamed(run_colour(index), vec![Point::bar(&places[index], speed, None)]))
    };
    let list: Vec<Series> = runs.iter().enumerate().filter_map(series).collect();
    if list.is_empty() {
        return Ok(None);
    }
    bars("images-per-second", "Images a second, by the run's number", places, "images/s", list).map(Some)
}

/// The charts of one run: loss of all its layers, their alignment where it was measured, and the accuracy of its probes over their epochs.
pub fn of_run(run: &Run, number: usize) -> Result<Vec<Markup>, Error> {
    let layers = run.layers();
    let mut figures = Vec::new();
    if let Some(course) = &run.course {
        let of_layer = |layer: usize| {
            let points = course.loss_curve(layer, POINTS);
            (!points.is_empty()).then(|| line(layer_colour(layer, layers), points))
        };
        let list: Vec<Series> = (0..layers).filter_map(of_layer).collect();
        if !list.is_empty() {
            let name = format!("run-{number}-loss");
            figures.push(lines(&name, "Loss of each layer", ["step", "loss"], list)?);
        }
    }
    if let Some(rows) = &run.alignment {
        let of_layer = |layer: usize| {
            let point = |row: &alignment::Row| Some((row.step as f64, (*row.means.get(layer)?)?));
            let points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
            (!points.is_empty()).then(|| line(layer_colour(layer, layers), points))
        };
        let list: Vec<Series> = (0..layers).filter_map(of_layer).collect();
        if !list.is_empty() {
            let name = format!("run-{number}-alignment");
            let caption = "Cosine of each layer's gradient with that of the top's loss, back-propagated";
            figures.push(lines(&name, caption, ["step", "cosine"], list)?);
        }
    }
    let probes = [
        (Kind::Augmented, "Probe accuracy over its epochs"),
        (Kind::Cached, "Probe accuracy over its epochs, cached features"),
        (Kind::Quick, "Probe accuracy over its epochs, quick probe"),
    ];
    for (kind, caption) in probes {
        let Some(record) = run.record(kind) else { continue };
        let kind = kind.stem();
        let course = |colour: RGBColor, head: &Accuracy| {
            let points = (1..).zip(&head.epochs).map(|(epoch, share): (u32, _)| (f64::from(epoch), 100.0 * share));
            line(colour, points)
        };
        let heads = record.report.layers.iter().enumerate();
        let mut list: Vec<Series> = heads.map(|(layer, head)| course(layer_colour(layer, layers), head)).collect();
        list.push(course(PAGE.ink, &record.report.all));
        let name = format!("run-{number}-{kind}");
        figures.push(lines(&name, caption, ["epoch of the probe", "% of test images"], list)?);
    }
    Ok(figures)
}
