//! The table and the figure.

use super::course::Storage;
use super::point::{BASE, BATCHES, DEPTHS, INPUTS, Point, Size, WIDTHS};
use super::{Shares, Summary};
use crate::data::Dataset;
use crate::device_plan::{Firmware, batch_bytes};
use crate::error::Error;
use crate::paper::figure::{Axis, Figure, Kind, Panel, Point as Dot, Series};
use crate::paper::table::{Cell, Column, Table};

/// Name of the table, and of its file.
pub const TABLE: &str = "micro";
/// Its columns, and the digits that the page shows.
pub const COLUMNS: [(&str, usize); 17] = [
    ("images", 0),
    ("channels", 0),
    ("depth", 0),
    ("input", 0),
    ("batch", 0),
    ("projections", 0),
    ("seeds", 0),
    ("untrained, %", 1),
    ("trained, %", 1),
    ("gain, points", 1),
    ("top layer untrained, %", 1),
    ("top layer trained, %", 1),
    ("nearest mean untrained, %", 1),
    ("nearest mean trained, %", 1),
    ("RAM, KiB", 1),
    ("flash, KiB", 0),
    ("instructions a frame, million", 2),
];
const KIB: f64 = 1024.0;

/// RAM of the firmware that learns as a point does, flash, and instructions of one frame of a stream.
fn cost(firmware: &Firmware, point: &Point, data: &Dataset) -> Result<(f64, f64, f64), Error> {
    let size = Size { images: 2, test: 2, epochs: 1 };
    let config = point.config(0, data, &size)?;
    let spec = config.network()?;
    let plan = firmware.plan(&spec, data.classes.len());
    let mut ram = plan.ram;
    if point.batch > 1 {
        // The frames of the batch come in place of the one.
        ram = ram - plan.learner - 4 * spec.input().len() + batch_bytes(&config)?;
        // Both moments of AdamW.
        ram += 8 * spec.view().parameter_len();
    }
    let mut flash = plan.flash;
    if point.storage == Storage::Bf16 {
        let halved = 2 * (spec.view().parameter_len() - spec.view().encoder_len());
        (ram, flash) = (ram - halved, flash - 2 * halved);
    }
    Ok((ram as f64 / KIB, flash as f64 / KIB, plan.instructions as f64 / 1e6))
}

/// All points.
///
/// # Errors
/// Where a network's cost cannot be worked out.
pub fn table(summaries: &[Summary], data: &Dataset) -> Result<Table, Error> {
    let firmware = Firmware::measured()?;
    let mut table = Table::new(
        TABLE,
        "Read-outs before and after learning (ridge regression on all layers, on the top layer alone, the nearest class \
         mean), and what each network takes. The spread of a gain is its standard error. \
         RAM is that of learning as measured: for batches of 4 and 32 the frames and maps of the whole batch and AdamW's \
         moments; rows of \
         batch 1 are what a device takes that learns from its stream. Storage in bf16 is emulated: clapp-core has none.",
        COLUMNS.iter().map(|(name, digits)| Column::new(name, *digits)).collect(),
    );
    for summary in summaries {
        let Point { channels, depth, input, batch, storage, .. } = summary.point;
        let (ram, flash, instructions) = cost(&firmware, &summary.point, data)?;
        let whole = |count: usize| Cell::number(count as f64);
        let share = |shares: Option<Shares>, of: usize| {
            shares.and_then(|shares| shares.get(of).copied()).map_or(Cell::none(), |share| Cell::number(100.0 * share))
        };
        let gain = summary.gain().map_or(Cell::none(), |gain| Cell::spread(100.0 * gain, 100.0 * summary.error));
        table.rows.push(vec![
            Cell::text(data.name.clone()),
            whole(channels),
            whole(depth),
            whole(input),
            whole(batch),
            Cell::text(storage.name()),
            whole(summary.seeds),
            share(Some(summary.untrained), 0),
            share(summary.trained, 0),
            gain,
            share(Some(summary.untrained), 1),
            share(summary.trained, 1),
            share(Some(summary.untrained), 2),
            share(summary.trained, 2),
            Cell::number(ram),
            Cell::number(flash),
            Cell::number(instructions),
        ]);
    }
    Ok(table)
}

/// Gains against each factor, and accuracy against RAM.
///
/// # Errors
/// Where a network's cost cannot be worked out.
pub fn figure(summaries: &[Summary], data: &Dataset) -> Result<Figure, Error> {
    let find = |point: Point| summaries.iter().find(|summary| summary.point == point);
    let line = |name: &str, values: &[usize], of: &dyn Fn(usize) -> Point| {
        let dot = |value: &usize| {
            let summary = find(of(*value))?;
            let (y, error) = (100.0 * summary.gain()?, Some(100.0 * summary.error));
            Some(Dot { x: *value as f64, y, error, label: None })
        };
        Series::new(name, values.iter().filter_map(dot).collect())
    };
    let gain = || Axis::new("gain over the untrained encoder, points");
    let marks = |values: &[usize]| values.iter().map(|value| *value as f64).collect::<Vec<_>>();
    let panel = |title: &str, x: Axis, series: Vec<Series>| Panel {
        title: title.into(),
        kind: Kind::Lines,
        x,
        y: gain(),
        series,
    };
    let panels = vec![
        panel(
            "width",
            Axis::log("channels", &marks(&WIDTHS)),
            vec![
                line("batches of 32", &WIDTHS, &|channels| Point { channels, ..BASE }),
                line("stream of single frames", &WIDTHS, &|channels| Point { channels, batch: 1, ..BASE }),
                nearest_means(summaries, "nearest mean, batches of 32", 32),
                nearest_means(summaries, "nearest mean, stream", 1),
            ],
        ),
        panel(
            "depth",
            Axis { ticks: DEPTHS.map(|depth| (depth as f64, depth.to_string())).into(), ..Axis::new("layers") },
            vec![
                line("batches of 32", &DEPTHS, &|depth| Point { depth, ..BASE }),
                line("batches of 32, 4 channels", &DEPTHS, &|depth| Point { depth, channels: 4, ..BASE }),
            ],
        ),
        panel(
            "size of the frame",
            Axis { ticks: INPUTS.map(|input| (input as f64, input.to_string())).into(), ..Axis::new("pixels a side") },
            vec![line("batches of 32", &INPUTS, &|input| Point { input, ..BASE })],
        ),
        panel(
            "batch and storage",
            Axis::log("images in a batch", &marks(&BATCHES)),
            [("projections in f32", Storage::F32), ("projections in bf16", Storage::Bf16)]
                .map(|(name, storage)| line(name, &BATCHES, &|batch| Point { batch, storage, ..BASE }))
                .into(),
        ),
        accuracies(summaries),
        against_ram(summaries, data)?,
    ];
    let caption = "Gain of a linear read-out of all layers over the untrained encoder, one factor at a time around 16 channels, 3 \
                   layers, 32x32 and batches of 32; error bars are standard errors. Last: accuracy against the RAM of \
                   a device that learns from its stream.";
    Ok(Figure::new("micro", caption, panels))
}

/// Gains of the firmware's read-out against width.
fn nearest_means(summaries: &[Summary], name: &str, batch: usize) -> Series {
    let dot = |channels: &usize| {
        let summary = summaries.iter().find(|summary| summary.point == Point { channels: *channels, batch, ..BASE })?;
        let (before, after) = (summary.untrained[2], summary.trained?[2]);
        Some(Dot::new(*channels as f64, 100.0 * (after - before)))
    };
    Series::new(name, WIDTHS.iter().filter_map(dot).collect())
}

/// Accuracy before and after against width.
fn accuracies(summaries: &[Summary]) -> Panel {
    let of = |name: &str, batch: usize, value: &dyn Fn(&Summary) -> Option<f64>| {
        let dot = |channels: &usize| {
            let summary =
                summaries.iter().find(|summary| summary.point == Point { channels: *channels, batch, ..BASE });
            Some(Dot::new(*channels as f64, 100.0 * value(summary?)?))
        };
        Series::new(name, WIDTHS.iter().filter_map(dot).collect())
    };
    Panel {
        title: "accuracy".into(),
        kind: Kind::Lines,
        x: Axis::log("channels", &WIDTHS.map(|channels| channels as f64)),
        y: Axis::new("linear read-out, %"),
        series: vec![
            of("untrained", 32, &|summary| Some(summary.untrained[0])),
            of("batches of 32", 32, &|summary| summary.trained.map(|trained| trained[0])),
            of("stream of single frames", 1, &|summary| summary.trained.map(|trained| trained[0])),
        ],
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
            let Some([trained, ..]) = summary.trained.filter(|_| own == batch && storage == Storage::F32) else {
                continue;
            };
            let (ram, ..) = cost(&firmware, &Point { batch: 1, ..summary.point }, data)?;
            let label = (batch == 32 && channels != 4).then(|| format!("{channels}x{depth} at {input}"));
            dots.push(Dot { x: ram, y: 100.0 * trained, error: None, label });
        }
        series.push(Series::new(name, dots));
    }
    Ok(Panel {
        title: "accuracy against RAM".into(),
        kind: Kind::Scatter,
        x: Axis::log("RAM of the firmware, KiB", &[64.0, 128.0, 256.0, 512.0, 1024.0]),
        y: Axis::new("linear read-out, %"),
        series,
    })
}
