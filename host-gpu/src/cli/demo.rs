//! `clapp demo`: trains networks on generated images and evaluates them with a linear probe.

use super::output::say;
use super::{GENERATED_TEST, GENERATED_TRAIN};
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::DataIdentity;
use clapp_engine::config::{Config, RuleName, preset};
use clapp_engine::distributed::Ranks;
use clapp_engine::metrics::Row;
use clapp_engine::probe::{Kind, ProbeReport, ProbeTask, probe};
use clapp_engine::progress::Progress;
use clapp_engine::run::{Begin, Interval, Outcome, Run, loader_threads};
use clapp_engine::run_info::{DataInfo, RunInfo};
use clapp_lab::draw::{Axis, FIGURE, Figure, Kind as Shown, Panel, Point, Series, svg};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Folder for the outputs of the demonstration.
const FOLDER: &str = "out/demo";

/// One row of the final table.
struct Entry {
    name: &'static str,
    rows: Vec<Row>,
    report: ProbeReport,
}

/// Runs the demonstration.
///
/// # Errors
/// If an output cannot be written or training diverges.
pub fn run() -> Result<u8, Error> {
    let begin = Instant::now();
    let Some(base) = preset("demo") else {
        return Err(Error::Config { origin: "preset demo".into(), message: "is missing".into() });
    };
    let data = generated::shapes(base.seed, GENERATED_TRAIN, GENERATED_TEST);
    say(format!(
        "{} generated images of {} classes; a network of {} layers learns from pairs of views, without labels,",
        data.train.len(),
        data.classes.len(),
        base.blocks.len()
    ))?;
    say("each layer from its own contrastive loss: no gradient crosses a layer's border.\n")?;
    let entries = [
        entry("untrained encoder", Config { epochs: 0, ..base.clone() }, &data)?,
        entry("CLAPP++", base.clone(), &data)?,
        entry("CLAPP++DFB", Config { rule: RuleName::ClappPpDfb, ..base.clone() }, &data)?,
    ];
    print_table(&entries)?;
    let picture = Path::new(FOLDER).join("demo.svg");
    let reports: Vec<(&str, &ProbeReport)> = entries.iter().map(|entry| (entry.name, &entry.report)).collect();
    let json = serde_json::to_string_pretty(&reports)
        .map_err(|error| Error::Config { origin: FOLDER.into(), message: error.to_string() })?;
    write_atomically(&Path::new(FOLDER).join("probe.json"), json.as_bytes())?;
    draw_picture(&entries, &picture)?;
    say(format!("\nwrote {} and, beside it, checkpoints, metrics and probe.json", picture.display()))?;
    say(format!("{:.0} s in all", begin.elapsed().as_secs_f64()))?;
    Ok(0)
}

/// Trains and probes one encoder.
fn entry(name: &'static str, config: Config, data: &Dataset) -> Result<Entry, Error> {
    let folder = match config.epochs {
        0 => PathBuf::from(FOLDER).join("untrained"),
        _ => PathBuf::from(FOLDER).join(config.rule.name()),
    };
    let mut progress = Progress::new(name, config.epochs);
    let images = Arc::new(data.pretrain.clone());
    let known = DataInfo {
        name: data.name.clone(),
        train_images: images.len(),
        test_images: data.test.len(),
        ..DataInfo::default()
    };
    let info = RunInfo::collect(&config, known);
    let run = Run {
        ranks: &Ranks::alone(),
        config: &config,
        images: &images,
        data: DataIdentity::of(&data.name, &images),
        info: &info,
        folder: &folder,
        begin: Begin::Overwrite,
        interval: Interval { epochs: Some(1), steps: None, time: None },
        align_every: None,
        stop: &AtomicBool::new(false),
    };
    let Outcome { model, metrics, .. } = run.train(|step| progress.step(step, config.epochs))?;
    progress.finish();
    let pooled = config.probe_network()?;
    let task = ProbeTask {
        pooled: &pooled,
        config: &config.probe,
        data,
        seed: config.seed,
        kind: Kind::Cached,
        fold: None,
        loader_threads: loader_threads(),
    };
    let report = probe(&Cpu, &model, &task, &mut |_| ControlFlow::Continue(()))?.report;
    if let (Some(first), Some(last)) = (metrics.rows().first(), metrics.rows().last()) {
        let text = |row: &Row| {
            let losses: Vec<String> = row.losses.iter().flatten().map(|loss| format!("{loss:.2}")).collect();
            losses.join(" ")
        };
        say(format!("{name}: losses of the layers from {} to {}", text(first), text(last)))?;
    }
    Ok(Entry { name, rows: metrics.rows().to_vec(), report })
}

fn print_table(entries: &[Entry]) -> Result<(), Error> {
    say("\nlinear probe, share of test images classified correctly (cached features, no augmentation)\n")?;
    let layers = entries.first().map_or(0, |entry| entry.report.layers.len());
    let heads: Vec<String> = (0..layers).map(|layer| format!("layer {layer}")).collect();
    say(format!("{:<20} all layers   {}", "encoder", heads.join("   ")))?;
    for entry in entries {
        let layers: Vec<String> =
            entry.report.layers.iter().map(|layer| format!("{:5.1} %", 100.0 * layer.last)).collect();
        say(format!("{:<20}    {:5.1} %   {}", entry.name, 100.0 * entry.report.all.last, layers.join("   ")))?;
    }
    Ok(())
}

/// Losses over the steps and accuracies, side by side.
fn draw_picture(entries: &[Entry], path: &Path) -> Result<(), Error> {
    let mut curves = Vec::new();
    for entry in entries {
        let layers = entry.rows.first().map_or(0, |row| row.losses.len());
        for layer in 0..layers {
            let point = |row: &Row| Some(Point::new(row.step as f64, (*row.losses.get(layer)?)?));
            let points = entry.rows.iter().filter_map(point).collect();
            curves.push(Series::new(&format!("{} layer {layer}", entry.name), points));
        }
    }
    let bar = |entry: &Entry| Point::bar(entry.name, 100.0 * entry.report.all.last, None);
    let bars = Series::new("all layers", entries.iter().map(bar).collect());
    let panel = |title: &str, kind, x, y, series| Panel { title: title.into(), kind, x, y, series };
    let panels = vec![
        panel("loss of each layer", Shown::Curves, Axis::new("step"), Axis::new("mean loss"), curves),
        panel(
            "linear probe on test images",
            Shown::Columns,
            Axis::default(),
            Axis::between("%", 0.0, 100.0),
            vec![bars],
        ),
    ];
    let text = svg(&Figure::new("demo", "", panels), &FIGURE)
        .map_err(|error| Error::Plot { path: path.into(), message: error.to_string() })?;
    write_atomically(path, text.as_bytes())
}
