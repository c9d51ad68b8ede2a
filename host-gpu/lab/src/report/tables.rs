//! The tables of a report. On a narrow screen each row becomes a card whose cells are named by `data-label`.

use super::differences::Difference;
use super::protocols::{Group, ranked};
use super::run::{Run, State};
use super::sets::images;
use crate::draw::{css, run_colour};
use clapp_data::words::counted;
use clapp_engine::probe::{Accuracy, Kind, ProbeRecord};
use maud::{Markup, html};

/// A column: its heading, its class, and the cell of each run.
struct Column<'a> {
    name: String,
    class: &'a str,
    cells: Vec<Cell>,
}

/// A cell: what decides whether the column differs, and what is shown.
struct Cell {
    key: String,
    shown: Markup,
    /// `true`: the cell has only the reason for a missing value.
    missing: bool,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        let key = text.into();
        Self { shown: html! { (key) }, key, missing: false }
    }

    fn missing(reason: &str) -> Self {
        Self { key: reason.into(), shown: html! { span.missing { (reason) } }, missing: true }
    }
}

fn column<'a>(name: &str, class: &'a str, runs: &[Run], cell: impl Fn(&Run) -> Cell) -> Column<'a> {
    Column { name: name.into(), class, cells: runs.iter().map(cell).collect() }
}

/// A run's colour and number.
pub fn badge(index: usize) -> Markup {
    html! { span.badge { i.swatch style={ "background:" (css(run_colour(index))) } {} (index + 1) } }
}

/// A table with one row for each of the `chosen` runs that has anything to show; cells of `setting` columns that differ
/// between all runs are marked.
fn table(name: &str, runs: &[Run], chosen: &[usize], columns: &[Column<'_>]) -> Markup {
    let differs = |column: &Column<'_>| {
        column.class.starts_with("setting")
            && column.cells.iter().any(|cell| Some(&cell.key) != column.cells.first().map(|cell| &cell.key))
    };
    let shown = |index: usize| columns.iter().any(|column| !column.cells[index].missing);
    html! {
        @if chosen.iter().any(|index| shown(*index)) { div.scroll {
            table data-table=(name) class=[columns.iter().all(|column| column.class.starts_with("number")).then_some("numbers")] {
                thead { tr {
                    th scope="col" { "run" }
                    @for column in columns { th scope="col" class=(column.class) { (column.name) } }
                } }
                tbody {
                    @for (index, run) in chosen.iter().map(|index| (*index, &runs[*index])).filter(|(index, _)| shown(*index)) {
                        tr data-run=(index + 1) {
                            th scope="row" { a href={ "#run-" (index + 1) } { (badge(index)) " " (run.name()) } }
                            @for column in columns {
                                @let cell = &column.cells[index];
                                td class={ (column.class) @if differs(column) { " differs" } } data-label=(column.name) { (cell.shown) }
                            }
                        }
                    }
                }
            }
        } }
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Rule, width, seed and how well each run did: a table for each protocol and data set, and one of the runs without a
/// probe. Numbers of different tables are not to be compared.
pub fn results(runs: &[Run]) -> Markup {
    let (groups, left) = ranked(runs);
    let several = groups.len() + usize::from(!left.is_empty()) > 1;
    html! {
        @for group in &groups {
            @if several { h3 { "On " (group.data) ", " (group.kind) ": " (group.protocol) } }
            (results_of(runs, &group.runs, Some(group.kind)))
        }
        @if !left.is_empty() {
            @if several { h3 { "Not probed" } }
            (results_of(runs, &left, None))
        }
        @if groups.len() > 1 {
            p.small { "Accuracies of different protocols or data sets are not comparable: each has a table of its own." }
        }
    }
}

/// The table of some runs, of which `main` is the probe that they are compared by.
fn results_of(runs: &[Run], chosen: &[usize], main: Option<Kind>) -> Markup {
    let text = |text: String| Cell::text(text);
    let mut columns = vec![
        column("rule", "setting", runs, |run| text(run.info.rule.clone())),
        column("width", "setting number", runs, |run| text(run.info.width.to_string())),
        column("seed", "setting number", runs, |run| text(run.info.seed.to_string())),
        column("epochs", "setting number", runs, |run| text(run.config.epochs.to_string())),
        column("data", "setting", runs, |run| text(images(run))),
        column("state", "", runs, state),
    ];
    for kind in Kind::ALL {
        // Without a single probe, there is only one pair of columns to say so.
        let is_there = |index: &usize| runs[*index].record(kind).is_some();
        if chosen.iter().any(is_there) || main.is_none() && kind == Kind::Augmented {
            columns.extend(accuracies(runs, kind, main == Some(kind)));
        }
    }
    columns.push(column("images/s", "number", runs, |run| {
        let speed = run.course.as_ref().and_then(super::course::Course::images_per_second);
        speed.map_or_else(|| Cell::missing("not measured"), |speed| text(format!("{speed:.1}")))
    }));
    table("results", runs, chosen, &columns)
}

/// Final epoch first, best epoch second, then the mean over classes where it is known, and how the probe was made. Bars
/// invite to compare: only the `main` probe, which is made by one protocol in all rows, has them.
fn accuracies<'a>(runs: &[Run], kind: Kind, main: bool) -> Vec<Column<'a>> {
    let cell = |run: &Run, share: fn(&Accuracy) -> Option<f64>, bar: bool| {
        let Some(record) = run.record(kind) else { return Cell::missing("no probe yet") };
        let Some(share) = share(&record.report.all) else { return Cell::missing("not measured") };
        // A probe of an earlier checkpoint says nothing about this one.
        let stale = !run.is_current(record);
        let shown = html! {
            (percent(share))
            @if bar && main { span.meter { i style=(format!("width:{:.2}%", 100.0 * share)) {} } }
            @if bar && stale { span.note { "of the encoder after " (record.encoder_epochs) " epochs" } }
        };
        Cell { key: share.to_string(), shown, missing: false }
    };
    let protocol = |run: &Run| match run.record(kind) {
        None => Cell::missing("no probe yet"),
        Some(record) => {
            let seed = run.protocol(kind, record).seed;
            Cell::text(format!("{}; seed {seed}", run.protocol_words(kind, record)))
        }
    };
    let mut columns = vec![
        column(&format!("{kind}, final epoch"), "number main", runs, |run| cell(run, |head| Some(head.last), true)),
        column(&format!("{kind}, best epoch*"), "number", runs, |run| cell(run, |head| Some(head.best), false)),
    ];
    if runs.iter().filter_map(|run| run.record(kind)).any(|record| record.report.all.balanced.is_some()) {
        columns
            .push(column(&format!("{kind}, balanced"), "number", runs, |run| cell(run, |head| head.balanced, false)));
    }
    if runs.iter().any(|run| run.record(kind).is_some()) {
        columns.push(column(&format!("{kind}, how"), "small how", runs, protocol));
    }
    columns
}

fn state(run: &Run) -> Cell {
    let planned = run.config.epochs;
    match run.state() {
        State::Finished if planned == 0 => Cell::text("untrained encoder"),
        State::Finished => Cell::text("finished"),
        State::Unfinished(done) => {
            let key = format!("{done} of {}: still going, or interrupted", counted(planned, "epoch"));
            Cell { shown: html! { span.warning { (key) } }, key, missing: false }
        }
        State::Failed(reason) => {
            Cell { shown: html! { span.failed { "failed: " (reason) } }, key: reason, missing: false }
        }
    }
}

fn everyone(runs: &[Run]) -> Vec<usize> {
    (0..runs.len()).collect()
}

/// Layers of the deepest network.
fn layers(runs: &[Run]) -> usize {
    runs.iter().map(Run::layers).max().unwrap_or(0)
}

/// The last losses, layer by layer.
pub fn losses(runs: &[Run]) -> Markup {
    let cell = |layer: usize, run: &Run| match run.course.as_ref().map(|course| course.final_losses()) {
        None | Some([]) => Cell::missing("no step yet"),
        Some(losses) => match losses.get(layer) {
            None => Cell::missing("no such layer"),
            Some(None) => Cell::missing("no loss of its own"),
            Some(Some(loss)) => Cell::text(format!("{loss:.4}")),
        },
    };
    let columns: Vec<Column<'_>> = (0..layers(runs))
        .map(|layer| column(&format!("layer {layer}"), "number", runs, |run| cell(layer, run)))
        .collect();
    table("losses", runs, &everyone(runs), &columns)
}

/// Accuracies after the last epoch of the probe, layer by layer, of runs that were probed alike.
pub fn layer_accuracies(name: &str, runs: &[Run], group: &Group) -> Markup {
    let cell = |run: &Run, head: &dyn Fn(&ProbeRecord) -> Option<f64>| match run.record(group.kind) {
        None => Cell::missing("no probe yet"),
        Some(record) => head(record).map_or_else(|| Cell::missing("no such layer"), |share| Cell::text(percent(share))),
    };
    let mut columns: Vec<Column<'_>> = (0..layers(runs))
        .map(|layer| {
            let head = move |record: &ProbeRecord| record.report.layers.get(layer).map(|head| head.last);
            column(&format!("layer {layer}"), "number", runs, |run| cell(run, &head))
        })
        .collect();
    let all = |record: &ProbeRecord| Some(record.report.all.last);
    columns.push(column("all layers", "number main", runs, |run| cell(run, &all)));
    table(name, runs, &group.runs, &columns)
}

/// Origin of each run.
pub fn origins(runs: &[Run]) -> Markup {
    let machine = |run: &Run| {
        let machine = &run.info.machine;
        let gib = machine.memory as f64 / f64::from(1 << 30);
        format!(
            "{}, {} threads on {} cores, {gib:.0} GiB, {}",
            machine.cpu, machine.threads, machine.logical_cores, machine.os
        )
    };
    let columns = [
        column("configuration", "setting", runs, |run| Cell::text(run.info.name.clone())),
        column("machine", "setting", runs, |run| Cell::text(machine(run))),
        column("commit", "setting", runs, |run| {
            Cell::text(format!("{} ({})", run.info.program.commit, run.info.program.version))
        }),
        column("started (UTC)", "", runs, |run| Cell::text(run.info.started.clone())),
        column("folder", "", runs, |run| Cell::text(run.folder.display().to_string())),
    ];
    table("origins", runs, &everyone(runs), &columns)
}

/// The fields that differ: each value with the runs that have it.
pub fn differing_fields(list: &[Difference]) -> Markup {
    html! {
        dl.differences {
            @for difference in list {
                div data-field=(difference.field) {
                    dt { code { (difference.field) } }
                    @for (value, runs) in &difference.values {
                        dd { code.differs { (value) } " " @for run in runs { (badge(*run)) " " } }
                    }
                }
            }
        }
    }
}
