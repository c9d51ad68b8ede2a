//! All local rules, and the two that back-propagate, on the same images, network and probe.

use super::encoder::{config, probe, standard_error, train};
use super::figure::{Axis, Figure, Kind, Panel, Point, Series};
use super::table::{Cell, Column, Table};
use super::{Claim, Finding, Setting, Verdict};
use crate::config::{Config, RuleName};
use crate::error::Error;
use crate::model::Learning;
use crate::rules::{Loss, Pooling};

/// The encoder that has not learnt, as a row of the table.
const UNTRAINED: &str = "untrained";

/// The rules, in the order of the table.
const RULES: [RuleName; 11] = [
    RuleName::ClappPpPooled,
    RuleName::ClappPp,
    RuleName::ClappPpDfb,
    RuleName::ClappPpBoth,
    RuleName::Phyll,
    RuleName::ForwardForward,
    RuleName::Scff,
    RuleName::Lpl,
    RuleName::SoftHebb,
    RuleName::BpClappPp,
    RuleName::BpInfoNce,
];

/// What the paper's main table has for CIFAR-10, in percent (spec 8).
fn published(rule: RuleName) -> Option<f64> {
    match rule {
        RuleName::ClappPpPooled => Some(73.21),
        RuleName::ClappPp => Some(80.51),
        RuleName::ClappPpDfb => Some(80.65),
        RuleName::ClappPpBoth => Some(81.18),
        RuleName::Scff => Some(80.60),
        RuleName::Lpl => Some(59.4),
        RuleName::SoftHebb => Some(80.31),
        RuleName::BpClappPp => Some(80.49),
        RuleName::BpInfoNce => Some(80.69),
        _ => None,
    }
}

/// One encoder and what its probe reached.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// None for the encoder that has not learnt.
    rule: Option<RuleName>,
    rate: f32,
    /// Share of test images that are classified rightly from all layers, and from the top alone.
    all: f64,
    top: f64,
    /// Test images.
    images: usize,
}

impl Row {
    fn name(&self) -> &'static str {
        self.rule.map_or(UNTRAINED, RuleName::name)
    }
}

/// Trains and probes them all.
///
/// # Errors
/// As [`train`] and [`probe`].
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    let mut rows = Vec::new();
    for rule in std::iter::once(None).chain(RULES.map(Some)) {
        let config = match rule {
            Some(rule) => config(setting, rule)?,
            None => Config { epochs: 0, ..config(setting, RuleName::ClappPp)? },
        };
        let encoder = train(setting, rule.map_or(UNTRAINED, RuleName::name), &config, &data)?;
        let report = probe(setting, &encoder, &data, false)?;
        rows.push(Row {
            rule,
            rate: config.optimizer.learning_rate(),
            all: report.all.last,
            top: report.layers.last().map_or(0.0, |layer| layer.last),
            images: report.test_images,
        });
    }
    let mut finding = found(&rows, &data.name);
    let size = config(setting, RuleName::ClappPp)?;
    finding.set("data", &data.source);
    finding.set("training images", size.images.map_or(data.pretrain.len(), |images| images.min(data.pretrain.len())));
    finding.set("test images", data.test.len());
    finding.set("network", format!("VGG-6 at {} of its width", size.width));
    finding.set("epochs", size.epochs);
    finding.set("images in a batch", size.batch);
    finding.set("epochs of the probe", size.probe.epochs);
    if !setting.full {
        finding.notes.push(format!(
            "Why our numbers are lower than the published ones: an encoder of {} of the width, {} epochs on {} images \
             instead of 300 on 50,000, and {} epochs of the probe on as few labelled images. `--full` is the paper's \
             size.",
            size.width,
            size.epochs,
            size.images.unwrap_or(data.pretrain.len()),
            size.probe.epochs
        ));
    }
    Ok(finding)
}

/// The finding that the rows of all rules make.
fn found(rows: &[Row], data: &str) -> Finding {
    let mut finding = Finding::new(
        "rules",
        "All local rules in one table",
        "main table of results, CIFAR-10",
        "Every local rule of the program and the two that back-propagate train the same network on the same views of the \
         same images; a linear probe reads all layers of each, with the same cells for all. Errors are standard errors \
         of an accuracy on so many test images; they do not contain what another seed would change.",
    );
    finding.claims = claims(rows);
    finding.figures.push(figure(rows, data));
    finding.tables.push(table(rows));
    finding.notes.extend(NOTES.map(String::from));
    finding
}

const NOTES: [&str; 4] = [
    "Differences are compared with twice their standard error, the root of the sum of both squares. All encoders are \
     tested on the same images, so that the true error of a difference is smaller.",
    "The probe reads all layers, among them the first, which serve an untrained encoder nearly as well: the column of \
     the top layer alone tells more of what depth has learnt.",
    "The published SoftHebb, SCFF and LPL are networks of their own, with widths, normalisations, activations and batches \
     that this table does not take over; each rule's file says what is taken. Here they are judged as rules on the \
     network of CLAPP++, which is not the one that they were made for.",
    "Adam's learning rate is the same for all rules, where a rule's file does not name one of its own; SoftHebb has an \
     update of its own. None was tuned for more than whether a rule learns at all.",
];

fn claims(rows: &[Row]) -> Vec<Claim> {
    let pair = |better: RuleName, worse: RuleName, statement: &str| {
        let row = |rule: RuleName| rows.iter().find(|row| row.rule == Some(rule));
        row(better).zip(row(worse)).map(|(better, worse)| compare(statement, better, worse))
    };
    let pairs = [
        pair(
            RuleName::ClappPp,
            RuleName::ClappPpPooled,
            "Spatial dependence of the losses helps: CLAPP++ above CLAPP++ on channel means.",
        ),
        pair(RuleName::ClappPpDfb, RuleName::ClappPp, "Direct feedback helps: CLAPP++DFB at least at CLAPP++."),
        pair(RuleName::ClappPpBoth, RuleName::ClappPpDfb, "Both contexts help: CLAPP++both at least at CLAPP++DFB."),
        pair(RuleName::ClappPp, RuleName::SoftHebb, "CLAPP++ is at least at SoftHebb."),
        pair(RuleName::ClappPp, RuleName::Scff, "CLAPP++ is at least at SCFF."),
        pair(
            RuleName::ClappPpBoth,
            RuleName::BpClappPp,
            "Local learning reaches back-propagation: CLAPP++both at least at BP-CLAPP++.",
        ),
        pair(
            RuleName::ClappPpBoth,
            RuleName::BpInfoNce,
            "Local learning reaches back-propagation: CLAPP++both at least at BP-InfoNCE.",
        ),
    ];
    pairs.into_iter().flatten().chain(learns(rows)).collect()
}

/// Difference of two accuracies and twice its standard error, in percentage points.
fn difference(better: &Row, worse: &Row) -> (f64, f64) {
    let [one, other] = [better, worse].map(|row| standard_error(row.all, row.images));
    (100.0 * (better.all - worse.all), 200.0 * one.hypot(other))
}

fn verdict(difference: f64, error: f64) -> Verdict {
    if difference.abs() <= error { Verdict::Open } else { Verdict::of(difference > 0.0) }
}

fn compare(statement: &str, better: &Row, worse: &Row) -> Claim {
    let (gain, error) = difference(better, worse);
    let evidence = format!(
        "{} {:.1} %, {} {:.1} %: {gain:+.1} points, two standard errors are {error:.1}.",
        better.name(),
        100.0 * better.all,
        worse.name(),
        100.0 * worse.all
    );
    Claim::new(statement, verdict(gain, error), evidence)
}

/// Whether each local rule is better than no learning at all.
fn learns(rows: &[Row]) -> Option<Claim> {
    let untrained = rows.iter().find(|row| row.rule.is_none())?;
    let local: Vec<&Row> =
        rows.iter().filter(|row| row.rule.is_some_and(|rule| rule.choices().learning == Learning::Local)).collect();
    let verdicts: Vec<Verdict> = local
        .iter()
        .map(|row| {
            let (gain, error) = difference(row, untrained);
            verdict(gain, error)
        })
        .collect();
    let all = match () {
        () if verdicts.contains(&Verdict::Failed) => Verdict::Failed,
        () if verdicts.contains(&Verdict::Open) => Verdict::Open,
        () => Verdict::Held,
    };
    let gains: Vec<String> = local
        .iter()
        .map(|row| {
            let (gain, error) = difference(row, untrained);
            format!("{} {gain:+.1} ± {error:.1}", row.name())
        })
        .collect();
    let evidence = format!("Points above it, ± two standard errors: {}.", gains.join(", "));
    Some(Claim::new("Every local rule learns features that are better than the untrained encoder's.", all, evidence))
}

fn figure(rows: &[Row], data: &str) -> Figure {
    let ours = |row: &Row| Point::bar(row.name(), 100.0 * row.all, Some(100.0 * standard_error(row.all, row.images)));
    let theirs = |row: &Row| row.rule.and_then(published).map(|value| Point::bar(row.name(), value, None));
    let mut y = Axis::new("accuracy of the linear probe, %");
    y.range = Some([0.0, 100.0]);
    let panel = Panel {
        title: String::new(),
        kind: Kind::Bars,
        x: Axis::new(""),
        y,
        series: vec![
            Series::new(&format!("here, {data}"), rows.iter().map(ours).collect()),
            Series::new("paper, CIFAR-10", rows.iter().filter_map(theirs).collect()).published(),
        ],
    };
    let caption = "Accuracy of a linear probe on all layers, by rule; error bars are one standard error. Beside it what \
                   the paper reports for CIFAR-10 at full size.";
    Figure::new("rules", caption, vec![panel])
}

fn table(rows: &[Row]) -> Table {
    let columns = vec![
        Column::new("rule", 0),
        Column::new("learning", 0),
        Column::new("loss sees", 0),
        Column::new("learning rate", 0),
        Column::new("all layers, %", 1),
        Column::new("above untrained, points", 1),
        Column::new("top layer alone, %", 1),
        Column::new("paper, CIFAR-10, %", 2),
    ];
    let caption = "All rules on the same images, network and probe; accuracies with their standard error.";
    let mut table = Table::new("rules", caption, columns);
    let untrained = rows.iter().find(|row| row.rule.is_none()).map(|row| row.all);
    let percent = |share: f64, images: usize| Cell::spread(100.0 * share, 100.0 * standard_error(share, images));
    for row in rows {
        let choices = row.rule.map(RuleName::choices);
        let text = |text: Option<&str>| text.map_or_else(Cell::none, Cell::text);
        table.rows.push(vec![
            Cell::text(row.name()),
            text(choices.map(|choices| match choices.learning {
                Learning::Local => "local",
                Learning::Global => "back-propagated",
                Learning::Broadcast => "broadcast",
                Learning::Mirrored => "through mirrors",
                Learning::Relaxed => "prediction errors",
                Learning::TopRelaxed => "relaxed top",
            })),
            text(choices.map(|choices| match (choices.loss, choices.pooling) {
                (Loss::SoftHebb, _) => "no loss",
                (_, Pooling::Cells) => "cells",
                (_, Pooling::Map) => "channel means",
                (_, Pooling::Pixels) => "pixels",
                (_, Pooling::CellsBelowMap) => "cells, map at the top",
            })),
            text(choices.map(|_| row.rate.to_string()).as_deref()),
            percent(row.all, row.images),
            match (untrained, choices) {
                (Some(untrained), Some(_)) => Cell::number(100.0 * (row.all - untrained)),
                _ => Cell::none(),
            },
            percent(row.top, row.images),
            row.rule.and_then(published).map_or_else(Cell::none, Cell::number),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(accuracy: impl Fn(Option<RuleName>) -> f64) -> Vec<Row> {
        let row = |rule| Row { rule, rate: 1e-3, all: accuracy(rule), top: 0.3, images: 10_000 };
        std::iter::once(None).chain(RULES.map(Some)).map(row).collect()
    }

    fn verdicts(rows: &[Row]) -> Vec<Verdict> {
        claims(rows).into_iter().map(|claim| claim.verdict).collect()
    }

    #[test]
    fn claims_are_decided_beyond_two_standard_errors_only() {
        use Verdict::{Failed, Held, Open};
        // All alike: nothing is decided.
        assert_eq!(verdicts(&rows(|_| 0.5)), [Open; 8]);
        // The published numbers, on as many test images: most of the paper's order is within the error.
        let paper = rows(|rule| rule.map_or(0.4, |rule| published(rule).unwrap_or(50.0) / 100.0));
        assert_eq!(verdicts(&paper), [Held, Open, Open, Open, Open, Open, Open, Held]);
        // One standard error of 0.5 on 10,000 images is half a point, that of a difference 0.71.
        let [above, within] =
            [0.0143, 0.0140].map(|gain| rows(|rule| if rule == Some(RuleName::ClappPp) { 0.5 + gain } else { 0.5 }));
        assert_eq!(verdicts(&above)[..2], [Held, Failed]);
        assert_eq!(verdicts(&within)[..2], [Open, Open]);
        // One rule that is worse than none fails the last claim, whatever the others do.
        let worse = rows(|rule| match rule {
            None => 0.4,
            Some(RuleName::Lpl) => 0.3,
            Some(_) => 0.5,
        });
        assert_eq!(verdicts(&worse)[7], Failed);
    }

    #[test]
    fn the_finding_holds_every_rule_with_its_published_number() {
        let rows = rows(|_| 0.45);
        let finding = found(&rows, "generated");
        finding.check(std::path::Path::new("out")).unwrap();
        let [table] = &finding.tables[..] else { panic!("one table") };
        assert_eq!(table.rows.len(), 12);
        let text = table.markdown();
        assert!(text.contains("| soft-hebb | local | no loss | 0.001 | 45.0 ± 0.5 | 0.0 | 30.0 ± 0.5 | 80.31 |"));
        assert!(text.contains("| untrained | - | - | - | 45.0 ± 0.5 | - | 30.0 ± 0.5 | - |"), "{text}");
        let [ours, theirs] = &finding.figures[0].panels[0].series[..] else { panic!("two series") };
        assert_eq!((ours.points.len(), theirs.points.len(), theirs.published), (12, 9, true));
    }
}
