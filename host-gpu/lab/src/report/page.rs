//! The page as a whole.

use super::confusion::confusion;
use super::differences::differences;
use super::figures::{accuracy_by_layer, losses_by_layer, of_run, speed};
use super::protocols::{Group, groups, ranked};
use super::run::{Run, Skipped, State};
use super::seeds::over_seeds;
use super::sets::images;
use super::tables::{badge, differing_fields, layer_accuracies, losses, origins, percent, results};
use crate::draw::{css, layer_colour};
use clapp_data::error::Error;
use clapp_data::words::counted;
use clapp_engine::probe::Kind;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded from anywhere and no script may run, whatever a name in a file says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page that compares `runs`, and says which were `skipped`.
///
/// # Errors
/// [`Error::Plot`] if a chart cannot be drawn, [`Error::Config`] if a configuration cannot be written as text.
pub fn render(runs: &[Run], skipped: &[Skipped]) -> Result<String, Error> {
    let title = if let [run] = runs { run.name() } else { counted(runs.len(), "run") };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · clapp report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.brand { "clapp report" }
                    h1 { (title) }
                    (lead(runs))
                    @for Skipped { folder, reason } in skipped {
                        p.failed { "Left out: " (folder.display()) ": " (reason) }
                    }
                }
                main {
                    section {
                        h2 { "Results" }
                        (results(runs))
                        p.small {
                            "Probe: share of test images that a linear classifier on the frozen encoder's layers, all \
                             together, classifies rightly. * The best epoch is selected on the test images themselves, \
                             which flatters it; the final epoch is the result."
                        }
                        @if runs.len() > 1 {
                            p.small { "Settings that differ between the runs are " span.differs { "marked" } "." }
                        }
                        (over_seeds(runs)?)
                    }
                    (accuracies(runs)?)
                    (courses(runs)?)
                    @if runs.len() > 1 { (configurations(runs)?) }
                    section {
                        h2 { "Origin of the runs" }
                        (origins(runs))
                    }
                    section {
                        h2 { @if runs.len() > 1 { "Run by run" } @else { "The run" } }
                        @for (index, run) in runs.iter().enumerate() { (card(index, run)?) }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// Overview in a few numbers.
fn lead(runs: &[Run]) -> Markup {
    let count = |wanted: fn(&State) -> bool| runs.iter().filter(|run| wanted(&run.state())).count();
    let finished = count(|state| *state == State::Finished);
    let failed = count(|state| matches!(state, State::Failed(_)));
    let probed = runs.iter().filter(|run| is_probed(run)).count();
    let (groups, _) = ranked(runs);
    let several = |of: fn(&Group) -> &str| groups.iter().any(|group| of(group) != of(&groups[0]));
    let (sets, protocols) = (several(|group| &group.data), several(|group| &group.protocol));
    html! {
        ul.tiles {
            li { b { (finished) " of " (runs.len()) } "finished" }
            @if failed > 0 { li.failed { b { (failed) } "failed" } }
            li { b { (probed) " of " (runs.len()) } "probed" }
            @for group in &groups {
                @if let Some(Best { run, share, among }) = best(runs, group) {
                    li {
                        b { (percent(share)) }
                        @if among > 1 { "highest final accuracy" } @else { "final accuracy" }
                        @if sets { " on " (group.data) }
                        ", run " (badge(run))
                        @if protocols { span.small { (group.kind) ": " (group.protocol) } }
                    }
                }
            }
        }
    }
}

fn is_probed(run: &Run) -> bool {
    Kind::ALL.iter().any(|kind| run.record(*kind).is_some())
}

/// The most accurate run of some that were probed alike.
struct Best {
    run: usize,
    share: f64,
    /// Runs that it was compared with, itself included.
    among: usize,
}

/// The highest accuracy of a group, where probes of encoders that have learnt on since do not count; the first of equals.
fn best(runs: &[Run], group: &Group) -> Option<Best> {
    let share = |run: &usize| {
        let record = runs[*run].record(group.kind).filter(|record| runs[*run].is_current(record))?;
        Some((*run, record.report.all.last))
    };
    let shares: Vec<(usize, f64)> = group.runs.iter().filter_map(share).collect();
    let (run, share) =
        shares.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))?;
    Some(Best { run, share, among: shares.len() })
}

/// The runs' colours and numbers, above charts that name no run.
fn legend(runs: &[Run]) -> Markup {
    html! {
        ul.legend { @for (index, run) in runs.iter().enumerate() { li { (badge(index)) " " (run.name()) } } }
    }
}

fn accuracies(runs: &[Run]) -> Result<Markup, Error> {
    let mut figures = Vec::new();
    let mut tables = Vec::new();
    for kind in Kind::ALL {
        let groups = groups(runs, kind);
        let [chart, table] = names(kind);
        for (number, group) in (1..).zip(&groups) {
            let name = if groups.len() == 1 { chart.to_string() } else { format!("{chart}-{number}") };
            let caption = format!("On {}. Linear probe after its final epoch; {}", group.data, group.protocol);
            figures.extend(accuracy_by_layer(runs, &name, &caption, group)?);
            tables.push(html! {
                h3 { "On " (group.data) ", " (kind) ": " (group.protocol) }
                (layer_accuracies(table, runs, group))
            });
        }
    }
    Ok(html! {
        section {
            h2 { "Probe accuracy by layer" }
            @if tables.is_empty() {
                p.missing { "No run has been probed yet: " code { "clapp eval RUN" } " does it." }
            } @else {
                (legend(runs))
                div.grid { @for figure in &figures { (figure) } }
                @for table in &tables { (table) }
            }
        }
    })
}

/// Names of a kind's charts and tables in the page.
fn names(kind: Kind) -> [&'static str; 2] {
    match kind {
        Kind::Augmented => ["accuracy", "accuracies"],
        Kind::Cached => ["accuracy-cached", "accuracies-cached"],
        Kind::Quick => ["accuracy-quick", "accuracies-quick"],
    }
}

fn courses(runs: &[Run]) -> Result<Markup, Error> {
    let by_layer = if runs.len() > 1 { losses_by_layer(runs)? } else { Vec::new() };
    let speed = speed(runs)?;
    Ok(html! {
        section {
            h2 { "Training" }
            h3 { "Final loss of each layer" }
            (losses(runs))
            @if !by_layer.is_empty() || speed.is_some() {
                (legend(runs))
                div.grid { @for figure in by_layer.iter().chain(&speed) { (figure) } }
                p.small {
                    "Losses of different rules are different functions: compare their courses, not their heights. \
                     Images a second: the median over the course of the run, loading included; it depends on the \
                     machine and on what else ran there."
                }
            } @else {
                p.missing { "No run has written metrics yet." }
            }
        }
    })
}

fn configurations(runs: &[Run]) -> Result<Markup, Error> {
    let list = differences(runs.iter().map(|run| (&run.config, images(run))))?;
    Ok(html! {
        section {
            h2 { "Differences in configurations and data" }
            @if list.is_empty() {
                p { "Nothing: the runs have the same configuration and data." }
            } @else {
                (differing_fields(&list))
                p.small { "All other fields are the same in all runs." }
            }
        }
    })
}

/// One run: its own charts and its whole configuration.
fn card(index: usize, run: &Run) -> Result<Markup, Error> {
    let figures = of_run(run, index + 1)?;
    let layers = run.layers();
    let all = is_probed(run);
    let confused = Kind::ALL.iter().find_map(|kind| run.record(*kind));
    Ok(html! {
        article id={ "run-" (index + 1) } {
            h3 { (badge(index)) " " (run.name()) }
            p.small { (run.info.rule) ", width " (run.info.width) ", seed " (run.info.seed) ", " (run.info.data.name) }
            @if let State::Failed(reason) = run.state() { p.failed { "Failed: " (reason) } }
            @if figures.is_empty() {
                p.missing { "No metrics and no probe yet." }
            } @else {
                ul.legend {
                    @for layer in 0..layers {
                        li { i.swatch style={ "background:" (css(layer_colour(layer, layers))) } {} "layer " (layer) }
                    }
                    @if all { li { i.swatch.ink {} "all layers" } }
                }
                div.grid { @for figure in &figures { (figure) } }
            }
            @if let Some(record) = confused.filter(|record| !record.report.confusion.is_empty()) {
                details {
                    summary { "Confusion of classes" }
                    (confusion(record))
                }
            }
            details {
                summary { "Configuration" }
                pre { code { (run.config.to_toml()?) } }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::PAGE;

    #[test]
    fn the_style_sheet_replaces_the_charts_stand_ins_and_loads_nothing() {
        for colour in [PAGE.ink, PAGE.axis, PAGE.grid] {
            assert!(STYLE.contains(&css(colour).to_uppercase()), "{}", css(colour));
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
    }
}
