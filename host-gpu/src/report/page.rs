//! The page as a whole.

use super::charts::{css, layer_colour};
use super::differences::differences;
use super::figures::{accuracy_by_layer, losses_by_layer, of_run, speed};
use super::run::{Run, Skipped, State};
use super::seeds::over_seeds;
use super::sets::{DataSet, data_sets, images};
use super::tables::{badge, differing_fields, layer_accuracies, losses, origins, percent, results};
use crate::error::Error;
use crate::probe::ProbeRecord;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded from anywhere and no script may run, whatever a name in a file says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page that compares `runs`, and says which were `skipped`.
///
/// # Errors
/// [`Error::Plot`] where a chart cannot be drawn, [`Error::Config`] where a configuration cannot be written as text.
pub fn render(runs: &[Run], skipped: &[Skipped]) -> Result<String, Error> {
    let title = if let [run] = runs { run.name() } else { format!("{} runs", runs.len()) };
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
                        h2 { "Where they come from" }
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

/// What there is, in a few numbers.
fn lead(runs: &[Run]) -> Markup {
    let count = |wanted: fn(&State) -> bool| runs.iter().filter(|run| wanted(&run.state())).count();
    let finished = count(|state| *state == State::Finished);
    let failed = count(|state| matches!(state, State::Failed(_)));
    let probed = runs.iter().filter(|run| run.probe.is_some() || run.cached_probe.is_some()).count();
    let sets = data_sets(runs);
    let best = |set: &DataSet| {
        let shares = set.runs.iter().filter_map(|index| Some((*index, runs[*index].probe.as_ref()?.report.all.last)));
        shares.max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))
    };
    html! {
        ul.tiles {
            li { b { (finished) " of " (runs.len()) } "finished" }
            @if failed > 0 { li.failed { b { (failed) } "failed" } }
            li { b { (probed) " of " (runs.len()) } "probed" }
            @for set in &sets {
                @if let Some((index, share)) = best(set) {
                    li {
                        b { (percent(share)) } "highest final accuracy"
                        @if sets.len() > 1 { " on " (set.name) }
                        ", run " (badge(index))
                    }
                }
            }
        }
    }
}

/// The runs' colours and numbers, above charts that name no run.
fn legend(runs: &[Run]) -> Markup {
    html! {
        ul.legend { @for (index, run) in runs.iter().enumerate() { li { (badge(index)) " " (run.name()) } } }
    }
}

fn accuracies(runs: &[Run]) -> Result<Markup, Error> {
    let figures = |name: &str, caption: &str, record: fn(&Run) -> Option<&ProbeRecord>| {
        let sets = data_sets(runs);
        let figure = |(number, set): (usize, &DataSet)| {
            let (name, caption) = match sets.len() {
                1 => (name.to_string(), caption.to_string()),
                _ => (format!("{name}-{}", number + 1), format!("On {}. {caption}", set.name)),
            };
            accuracy_by_layer(runs, &name, &caption, |index| set.runs.contains(&index).then(|| record(&runs[index]))?)
        };
        sets.iter().enumerate().filter_map(|numbered| figure(numbered).transpose()).collect::<Result<Vec<_>, _>>()
    };
    let plain = figures(
        "accuracy",
        "Linear probe after its final epoch; images augmented anew each epoch (the paper's protocol)",
        |run| run.probe.as_ref(),
    )?;
    let cached = figures(
        "accuracy-cached",
        "Linear probe after its final epoch; cached features without augmentation",
        |run| run.cached_probe.as_ref(),
    )?;
    Ok(html! {
        section {
            h2 { "Probe accuracy by layer" }
            @if plain.is_empty() && cached.is_empty() {
                p.missing { "No run has been probed yet: " code { "clapp eval RUN" } " does it." }
            } @else {
                (legend(runs))
                div.grid { @for figure in plain.iter().chain(&cached) { (figure) } }
                @if !plain.is_empty() {
                    h3 { "Augmented anew each epoch" }
                    (layer_accuracies("accuracies", runs, |run| run.probe.as_ref()))
                }
                @if !cached.is_empty() {
                    h3 { "Cached features" }
                    (layer_accuracies("accuracies-cached", runs, |run| run.cached_probe.as_ref()))
                }
            }
        }
    })
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
            h2 { "What differs in configurations and data" }
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
    let all = run.probe.is_some() || run.cached_probe.is_some();
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
    use crate::report::charts::{GRID, INK};

    #[test]
    fn the_style_sheet_replaces_the_charts_stand_ins_and_loads_nothing() {
        for colour in [INK, GRID] {
            assert!(STYLE.contains(&css(colour).to_uppercase()), "{}", css(colour));
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
    }
}
