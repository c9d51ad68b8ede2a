//! The figure: gains against each factor, and accuracy against RAM.

use super::course::Storage;
use super::point::{BASE, BATCHES, DEPTHS, INPUTS, Point, STREAM_WIDTHS, WIDTHS};
use super::show::cost;
use super::summary::{Reading, Summary};
use crate::draw::{Axis, Figure, Kind, Panel, Point as Dot, Series};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_device::device_plan::Firmware;

/// Gains against width by each read-out, and against the other factors on all layers; accuracy against RAM.
///
/// # Errors
/// If a network's cost cannot be worked out.
pub fn figure(summaries: &[Summary], data: &Dataset) -> Result<Figure, Error> {
    let line = |name: &str, reading: Reading, values: &[usize], of: &dyn Fn(usize) -> Point| {
        let dot = |value: &usize| {
            let gain = find(summaries, of(*value))?.gain(reading)?;
            let (y, error) = (100.0 * gain.value, Some(100.0 * gain.error));
            Some(Dot { x: *value as f64, y, error, label: None })
        };
        Series::new(name, values.iter().filter_map(dot).collect())
    };
    let all = |name: &str, values: &[usize], of: &dyn Fn(usize) -> Point| line(name, Reading::All, values, of);
    let marks = |values: &[usize]| values.iter().map(|value| *value as f64).collect::<Vec<_>>();
    let panel = |title: &str, x: Axis, series: Vec<Series>| Panel {
        title: title.into(),
        kind: Kind::Lines,
        x,
        y: Axis::new("gain over the untrained encoder, points"),
        series,
    };
    let by_width = |title: &str, reading: Reading| {
        let series = vec![
            line("batches of 32", reading, &WIDTHS, &|channels| Point { channels, ..BASE }),
            line("stream of single frames", reading, &STREAM_WIDTHS, &|channels| Point { channels, batch: 1, ..BASE }),
        ];
        panel(title, Axis::log("channels", &marks(&WIDTHS)), series)
    };
    let ticks = |values: &[usize]| {
        values.iter().map(|value| (*value as f64, value.to_string())).collect::<Vec<(f64, String)>>()
    };
    let panels = vec![
        by_width("width: all layers", Reading::All),
        by_width("width: top layer alone", Reading::Top),
        by_width("width: nearest class mean", Reading::Nearest),
        panel(
            "depth",
            Axis { ticks: ticks(&DEPTHS), ..Axis::new("layers") },
            vec![
                all("16 channels", &DEPTHS, &|depth| Point { depth, ..BASE }),
                all("4 channels", &DEPTHS, &|depth| Point { depth, channels: 4, ..BASE }),
            ],
        ),
        panel(
            "size of the frame",
            Axis { ticks: ticks(&INPUTS), ..Axis::new("pixels a side") },
            vec![all("batches of 32", &INPUTS, &|input| Point { input, ..BASE })],
        ),
        panel(
            "batch and storage",
            Axis::log("images in a batch", &marks(&BATCHES)),
            [("projections in f32", Storage::F32), ("projections in bf16", Storage::Bf16)]
                .map(|(name, storage)| all(name, &BATCHES, &|batch| Point { batch, storage, ..BASE }))
                .into(),
        ),
        accuracies(summaries),
        against_ram(summaries, data)?,
    ];
    let caption = "Gain over the untrained encoder, one factor at a time around 16 channels, 3 layers, 32x32 and batches of 32, \
                   of a linear read-out of all layers where nothing else is said; error bars are standard errors over \
                   seeds and test images. Last: accuracy against the RAM of a device that learns from its stream; \
                   named (channels x layers at pixels a side) is what no other beats with hardly more RAM (10 %).";
    Ok(Figure::new("micro", caption, panels))
}

fn find(summaries: &[Summary], point: Point) -> Option<&Summary> {
    summaries.iter().find(|summary| summary.point == point)
}

/// Accuracy before and after against width.
fn accuracies(summaries: &[Summary]) -> Panel {
    let before = |channels: &usize| {
        let summary = find(summaries, Point { channels: *channels, ..BASE })?;
        Some(Dot::new(*channels as f64, 100.0 * summary.untrained(Reading::All)))
    };
    let after = |name: &str, batch: usize| {
        let dot = |channels: &usize| {
            let accuracy = find(summaries, Point { channels: *channels, batch, ..BASE })?.accuracy()?;
            let (y, error) = (100.0 * accuracy.value, Some(100.0 * accuracy.error));
            Some(Dot { x: *channels as f64, y, error, label: None })
        };
        Series::new(name, WIDTHS.iter().filter_map(dot).collect())
    };
    Panel {
        title: "accuracy".into(),
        kind: Kind::Lines,
        x: Axis::log("channels", &WIDTHS.map(|channels| channels as f64)),
        y: Axis::new("linear read-out, %"),
        series: vec![
            Series::new("untrained", WIDTHS.iter().filter_map(before).collect()),
            after("batches of 32", 32),
            after("stream of single frames", 1),
        ],
    }
}

/// RAM that counts as no more, as a factor.
const HARDLY_MORE: f64 = 1.1;

/// Takes the labels of dots that another beats with hardly more RAM: there are too many to read, and nobody would choose
/// those.
fn keep_best_labels(dots: &mut [Dot]) {
    let all: Vec<(f64, f64)> = dots.iter().map(|dot| (dot.x, dot.y)).collect();
    for dot in dots {
        if all.iter().any(|&(ram, accuracy)| ram <= HARDLY_MORE * dot.x && accuracy > dot.y) {
            dot.label = None;
        }
    }
}

/// Accuracy against RAM of a device that carries the network and learns from its stream, whatever it was learnt with.
fn against_ram(summaries: &[Summary], data: &Dataset) -> Result<Panel, Error> {
    let firmware = Firmware::measured()?;
    let mut series = Vec::new();
    for (name, batch) in [("batches of 32", 32), ("stream of single frames", 1)] {
        let mut dots = Vec::new();
        for summary in summaries {
            let Point { storage, batch: own, channels, depth, input, .. } = summary.point;
            let wanted = own == batch && storage == Storage::F32;
            let Some(trained) = summary.trained(Reading::All).filter(|_| wanted) else {
                continue;
            };
            let ram = cost(&firmware, &Point { batch: 1, ..summary.point }, data)?.learning;
            let label = (batch == 32).then(|| format!("{channels}x{depth} at {input}"));
            dots.push(Dot { x: ram, y: 100.0 * trained, error: None, label });
        }
        keep_best_labels(&mut dots);
        series.push(Series::new(name, dots));
    }
    Ok(Panel {
        title: "accuracy against RAM".into(),
        kind: Kind::Scatter,
        x: Axis::log("RAM of the firmware, KiB", &[32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]),
        y: Axis::new("linear read-out, %"),
        series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_other_beats_with_hardly_more_ram_is_named() {
        let dot = |x, y| Dot { x, y, error: None, label: Some(format!("{x}")) };
        let mut dots = [dot(2.0, 50.0), dot(1.0, 40.0), dot(2.0, 45.0), dot(3.0, 49.0), dot(4.0, 60.0), dot(3.9, 59.0)];
        keep_best_labels(&mut dots);
        let named: Vec<_> = dots.iter().filter_map(|dot| dot.label.as_deref()).collect();
        assert_eq!(named, ["2", "1", "4"]);
    }
}
