//! Runs that differ in nothing but the seed: the mean of what they reach, and how far they scatter.

use super::protocols;
use super::run::Run;
use super::sets::images;
use super::tables::{badge, percent};
use clapp_data::error::Error;
use clapp_engine::config::Config;
use clapp_engine::probe::{Accuracy, Kind};
use maud::{Markup, html};

/// Runs of one configuration and data set.
struct Group {
    /// Indices of the runs.
    runs: Vec<usize>,
    /// For each kind of probe: accuracies after the final and the best epoch, with the protocol in words.
    columns: Vec<Option<(Scatter, String)>>,
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
    // For each kind of probe, the protocol of most runs: only equal protocols repeat each other.
    let probed = Kind::ALL.map(|kind| protocols::groups(runs, kind));
    let group = |(_, indices): (String, Vec<usize>)| {
        let is_whole = |kind, index: &&usize| {
            let run = &runs[**index];
            indices.contains(*index)
                && run.record(kind).is_some_and(|record| record.encoder_epochs == run.config.epochs)
        };
        let columns = probed.iter().zip(Kind::ALL).flat_map(|(alike, kind)| {
            let members = |group: &protocols::Group| {
                group.runs.iter().filter(|index| is_whole(kind, index)).copied().collect::<Vec<usize>>()
            };
            let lists = alike.iter().map(|group| (members(group), &group.protocol));
            // The first of equals.
            let most = lists.rev().max_by_key(|(members, _)| members.len());
            [last, best].map(|share: fn(&Accuracy) -> f64| {
                let (members, protocol) = most.as_ref()?;
                let heads = members.iter().filter_map(|index| runs[*index].record(kind));
                let shares: Vec<f64> = heads.map(|record| share(&record.report.all)).collect();
                Scatter::of(&shares).map(|scatter| (scatter, protocol.to_string()))
            })
        });
        Group { columns: columns.collect(), runs: indices.clone() }
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
/// [`Error::Config`] if a configuration cannot be written as text.
pub fn over_seeds(runs: &[Run]) -> Result<Markup, Error> {
    let groups = groups(runs)?;
    let names: Vec<String> =
        Kind::ALL.iter().flat_map(|kind| [format!("{kind}, final epoch"), format!("{kind}, best epoch*")]).collect();
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
                                            Some((scatter, protocol)) => {
                                                (cell(scatter, group.runs.len()))
                                                span.small.how { (protocol) }
                                            },
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
                "Runs that differ in the seed only: mean ± sample standard deviation of their accuracies, finished and \
                 equally probed runs only."
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
