//! Charts of a report.

use super::charts::{Group, INK, Line, bars, layer_colour, lines, run_colour};
use super::course::Course;
use super::run::Run;
use clapp_data::error::Error;
use clapp_engine::alignment;
use clapp_engine::probe::{Accuracy, Kind, ProbeRecord};
use maud::{Markup, PreEscaped, html};

/// Points of a curve: more than the pixels of a chart show nothing more.
const POINTS: usize = 300;

/// A chart with its caption.
pub fn figure(name: &str, caption: &str, svg: Result<String, Box<dyn std::error::Error>>) -> Result<Markup, Error> {
    let svg = svg.map_err(|error| Error::Plot { path: name.into(), message: error.to_string() })?;
    Ok(html! {
        figure data-chart=(name) {
            div role="img" aria-label=(caption) { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    })
}

/// Loss over steps, one chart a layer, one line a run.
pub fn losses_by_layer(runs: &[Run]) -> Result<Vec<Markup>, Error> {
    let layers = runs.iter().map(Run::layers).max().unwrap_or(0);
    let mut figures = Vec::new();
    for layer in 0..layers {
        let line = |(index, run): (usize, &Run)| {
            let points = run.course.as_ref()?.loss_curve(layer, POINTS);
            (!points.is_empty()).then(|| Line { colour: run_colour(index), points })
        };
        let list: Vec<Line> = runs.iter().enumerate().filter_map(line).collect();
        if !list.is_empty() {
            let name = format!("loss-layer-{layer}");
            figures.push(figure(&name, &format!("Loss of layer {layer}"), lines(&list, "step", "loss"))?);
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
    let group = |name: String, head: &dyn Fn(&ProbeRecord) -> Option<f64>| {
        let bar = |index: usize| Some((run_colour(index), probe(index).map(head)?));
        Group { name, bars: (0..runs.len()).filter_map(bar).collect() }
    };
    let percent = |head: &Accuracy| 100.0 * head.last;
    let mut groups: Vec<Group> = (0..layers)
        .map(|layer| group(format!("layer {layer}"), &|record| record.report.layers.get(layer).map(percent)))
        .collect();
    groups.push(group("all".into(), &|record| Some(percent(&record.report.all))));
    figure(name, caption, bars(&groups, "% of test images")).map(Some)
}

/// Images a second, one bar a run.
pub fn speed(runs: &[Run]) -> Result<Option<Markup>, Error> {
    let speeds = runs.iter().map(|run| run.course.as_ref().and_then(Course::images_per_second));
    let group = |(index, speed): (usize, Option<f64>)| Group {
        name: (index + 1).to_string(),
        bars: vec![(run_colour(index), speed)],
    };
    let groups: Vec<Group> = speeds.enumerate().map(group).collect();
    if groups.iter().flat_map(|group| &group.bars).all(|bar| bar.1.is_none()) {
        return Ok(None);
    }
    figure("images-per-second", "Images a second, by the run's number", bars(&groups, "images/s")).map(Some)
}

/// The charts of one run: loss of all its layers, their alignment where it was measured, and the accuracy of its probes over their epochs.
pub fn of_run(run: &Run, number: usize) -> Result<Vec<Markup>, Error> {
    let layers = run.layers();
    let mut figures = Vec::new();
    if let Some(course) = &run.course {
        let line = |layer: usize| {
            let points = course.loss_curve(layer, POINTS);
            (!points.is_empty()).then(|| Line { colour: layer_colour(layer, layers), points })
        };
        let list: Vec<Line> = (0..layers).filter_map(line).collect();
        if !list.is_empty() {
            let name = format!("run-{number}-loss");
            figures.push(figure(&name, "Loss of each layer", lines(&list, "step", "loss"))?);
        }
    }
    if let Some(rows) = &run.alignment {
        let line = |layer: usize| {
            let point = |row: &alignment::Row| Some((row.step as f64, (*row.means.get(layer)?)?));
            let points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
            (!points.is_empty()).then(|| Line { colour: layer_colour(layer, layers), points })
        };
        let list: Vec<Line> = (0..layers).filter_map(line).collect();
        if !list.is_empty() {
            let name = format!("run-{number}-alignment");
            let caption = "Cosine of each layer's gradient with that of the top's loss, back-propagated";
            figures.push(figure(&name, caption, lines(&list, "step", "cosine"))?);
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
        let points = |head: &Accuracy| {
            (1..).zip(&head.epochs).map(|(epoch, share): (u32, _)| (f64::from(epoch), 100.0 * share)).collect()
        };
        let heads = record.report.layers.iter().enumerate();
        let mut list: Vec<Line> =
            heads.map(|(layer, head)| Line { colour: layer_colour(layer, layers), points: points(head) }).collect();
        list.push(Line { colour: INK, points: points(&record.report.all) });
        let name = format!("run-{number}-{kind}");
        figures.push(figure(&name, caption, lines(&list, "epoch of the probe", "% of test images"))?);
    }
    Ok(figures)
}
