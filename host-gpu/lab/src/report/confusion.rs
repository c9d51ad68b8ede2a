//! Confusions of classes by a probe.

use super::tables::percent;
use clapp_engine::probe::ProbeRecord;
use maud::{Markup, html};

/// Classes of which the whole table is shown.
const WHOLE: usize = 20;

/// Pairs that are named where there are more classes.
const PAIRS: usize = 15;

/// The confusion of the head on all layers: as a table of shares of each class's test images, or with many classes the
/// most frequent mistakes; nothing where the file does not tell.
pub fn confusion(record: &ProbeRecord) -> Markup {
    let (counts, names) = (&record.report.confusion, &record.class_names);
    let balanced = record.report.all.balanced;
    html! {
        @if !counts.is_empty() {
            p.small {
                "Test images of each class (row) by the class that the probe on all layers gives them (column), after its \
                 final epoch"
                @if let Some(balanced) = balanced { "; balanced accuracy " (percent(balanced)) }
                "."
            }
            @if names.len() <= WHOLE { (table(counts, names)) } @else { (mistakes(counts, names)) }
        }
    }
}

fn table(counts: &[Vec<usize>], names: &[String]) -> Markup {
    html! {
        div.scroll {
            table.confusion data-table="confusion" {
                thead { tr {
                    th scope="col" { "class" }
                    @for name in names { th scope="col" class="number" { (name) } }
                } }
                tbody {
                    @for (row, name) in counts.iter().zip(names) {
                        @let images: usize = row.iter().sum();
                        tr {
                            th scope="row" { (name) }
                            @if images == 0 {
                                td colspan=(names.len()) { span.missing { "no test images" } }
                            } @else {
                                @for (count, name) in row.iter().zip(names) {
                                    td.number data-label=(name) title={ (count) " of " (images) }
                                        style=(format!("--share:{:.3}", *count as f64 / images as f64)) {
                                        (share(*count, images))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A share in whole per cent; nothing for none.
fn share(count: usize, images: usize) -> String {
    if count == 0 { String::new() } else { format!("{:.0} %", 100.0 * count as f64 / images as f64) }
}

fn mistakes(counts: &[Vec<usize>], names: &[String]) -> Markup {
    let mut pairs: Vec<(usize, usize, usize)> = Vec::new();
    for (class, row) in counts.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(given, count)| *given != class && **count > 0);
        pairs.extend(wrong.map(|(given, count)| (*count, class, given)));
    }
    pairs.sort_by(|one, other| other.0.cmp(&one.0).then((one.1, one.2).cmp(&(other.1, other.2))));
    let images = |class: usize| counts[class].iter().sum::<usize>();
    html! {
        ol.small data-table="mistakes" {
            @for (count, class, given) in pairs.into_iter().take(PAIRS) {
                li { (names[class]) " taken for " (names[given]) ": " (count) " of " (images(class)) }
            }
        }
        p.small { "The most frequent mistakes; the whole table is in the file of the probe." }
    }
}
