//! Runs that differ in nothing but the seed: the mean of what they reach, and how far they scatter.

use super::run::Run;
use super::sets::images;
use super::tables::{badge, percent};
use crate::config::Config;
use crate::error::Error;
use crate::probe::{Accuracy, ProbeRecord};
use maud::{Markup, html};

/// Runs of one configuration and data set.
struct Group {
    /// Indices of the runs.
    runs: Vec<usize>,
    /// What the probes of those that have one reached after the final and the best epoch; plain, then cached.
    columns: [Option<Scatter>; 4],
}

/// Mean and sample standard deviation over `count` runs, at least two.
struct Scatter {
    mean: f64,
    deviation: f64,
    count: usize,
}

impl Scatter {
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self { mean, deviation: (squares / (count - 1) as f64).sqrt(), count })
    }
}

/// The groups with a mean to show, in the order of their first runs.
fn groups(runs: &[Run]) -> Result<Vec<Group>, Error> {
    let mut known: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let key = images(run) + "\n" + &Config { seed: 0, ..run.config.clone() }.to_toml()?;
        match known.iter_mut().find(|(other, _)| *other == key) {
            Some((_, indices)) => indices.push(index),
            None => known.push((key, vec![index])),
        }
    }
    let group = |(_, indices): (String, Vec<usize>)| {
        // The same probe of the encoder after all epochs, or it is no repetition.
        let scatter = |record: fn(&Run) -> Option<&ProbeRecord>, share: fn(&Accuracy) -> f64| {
            let records = || indices.iter().filter_map(|index| record(&runs[*index]).map(|record| (*index, record)));
            let first = records().next()?.1;
            let same = records().filter(|(index, record)| {
                record.encoder_epochs == runs[*index].config.epochs
                    && (record.report.epochs, record.report.train_images)
                        == (first.report.epochs, first.report.train_images)
            });
            Scatter::of(&same.map(|(_, record)| share(&record.report.all)).collect::<Vec<f64>>())
        };
        let [plain, cached]: [fn(&Run) -> Option<&ProbeRecord>; 2] =
            [|run| run.probe.as_ref(), |run| run.cached_probe.as_ref()];
        let columns = [(plain, last as fn(&Accuracy) -> f64), (plain, best), (cached, last), (cached, best)]
            .map(|(record, share)| scatter(record, share));
        Group { runs: indices, columns }
    };
    let groups = known.into_iter().map(group);
    Ok(groups.filter(|group| group.columns.iter().any(Option::is_some)).collect())
}

fn last(head: &Accuracy) -> f64 {
    head.last
}

fn best(head: &Accuracy) -> f64 {
    head.best
}

/// A table with one row a group; nothing where no two runs are alike but for the seed.
///
/// # Errors
/// [`Error::Config`] where a configuration cannot be written as text.
pub fn over_seeds(runs: &[Run]) -> Result<Markup, Error> {
    let groups = groups(runs)?;
    let names = ["probe, final epoch", "probe, best epoch*", "cached probe, final epoch", "cached probe, best epoch*"];
    let shown: Vec<usize> =
        (0..names.len()).filter(|column| groups.iter().any(|group| group.columns[*column].is_some())).collect();
    Ok(html! {
        @if !groups.is_empty() {
            h3 { "Over seeds" }
            div.scroll {
                table data-table="seeds" {
                    thead { tr {
                        th scope="col" { "runs" }
                        @for name in ["rule", "width", "epochs", "data"] { th scope="col" { (name) } }
                        @for column in &shown { th scope="col" class="number" { (names[*column]) } }
                    } }
                    tbody {
                        @for group in &groups {
                            @let run = &runs[group.runs[0]];
                            tr {
                                th scope="row" { @for index in &group.runs { (badge(*index)) " " } }
                                td data-label="rule" { (run.info.rule) }
                                td data-label="width" { (run.info.width) }
                                td data-label="epochs" { (run.config.epochs) }
                                td data-label="data" { (images(run)) }
                                @for column in &shown {
                                    td.number data-label=(names[*column]) {
                                        @match &group.columns[*column] {
                                            Some(scatter) => (cell(scatter, group.runs.len())),
                                            None => span.missing { "fewer than two" },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            p.small {
                "Runs that differ in the seed only: mean ± sample standard deviation of their accuracies, finished \
                 and probed runs only."
            }
        }
    })
}

fn cell(scatter: &Scatter, runs: usize) -> Markup {
    html! {
        (percent(scatter.mean)) " ± " (format!("{:.2}", 100.0 * scatter.deviation))
        @if scatter.count < runs { span.note { (scatter.count) " of " (runs) " runs" } }
    }
}
