//! `clapp paper align-acc`: alignment after training against what the probe reads from the encoder.

use super::rank::{RankCorrelation, spearman};
use super::{FIGURE, Variant, below_top, describe, mean_and_std, measured};
use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
use crate::paper::encoder::{Trained, probe, standard_error, train};
use crate::paper::table::{Cell, Column, Table};
use crate::paper::{Claim, Finding, Setting, Verdict};
use clapp_core::network::Contrast;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::config::RuleName;

/// The name of the encoder without training.
const UNTRAINED: &str = "untrained";

/// Variants that are compared besides those of the figure.
const MORE: [Variant; 4] = [
    Variant::new("both", RuleName::ClappPpBoth),
    Variant { contrast: Some(Contrast::SoftHinge), ..Variant::new("spatial, soft hinge", RuleName::ClappPp) },
    Variant { contrast: Some(Contrast::SoftHinge), ..Variant::new("DFB, soft hinge", RuleName::ClappPpDfb) },
    Variant::new("PhyLL", RuleName::Phyll),
];

/// Largest p of a correlation that counts.
const SIGNIFICANT: f64 = 0.05;

/// Alignment and accuracy of a variant.
struct Entry {
    name: &'static str,
    /// Mean over layers and batches, and standard deviation over batches; `None` where no layer below the top has a
    /// cosine.
    alignment: Option<(f64, f64)>,
    /// Accuracy of the probe on all layers, 0 to 1, and its standard error.
    accuracy: (f64, f64),
}

/// Runs the experiment.
///
/// # Errors
/// Same as training, measuring and probing; [`Error::Stopped`] if the user has stopped it.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    let untrained = Variant::new(UNTRAINED, RuleName::ClappPp);
    let variants: Vec<Variant> = [untrained].into_iter().chain(FIGURE).chain(MORE).collect();
    let bar = setting.bar("alignment and accuracy", variants.len() as u64);
    let mut entries = Vec::with_capacity(variants.len());
    for variant in &variants {
        entries.push(entry(setting, variant, &data)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    finding(setting, &data, &entries)
}

fn entry(setting: &Setting, variant: &Variant, data: &Dataset) -> Result<Entry, Error> {
    let mut config = variant.config(setting, setting.seed)?;
    if variant.name == UNTRAINED {
        config.epochs = 0;
    }
    let encoder: Trained = train(setting, variant.name, &config, data)?;
    let cosines = measured(setting, &config, &encoder.layers, data)?;
    let accuracy = probe(setting, &encoder, data, !setting.full)?.all.last;
    let alignment = mean_and_std(below_top(&cosines).into_iter().flatten());
    Ok(Entry { name: variant.name, alignment, accuracy: (accuracy, standard_error(accuracy, data.test.len())) })
}

fn finding(setting: &Setting, data: &Dataset, entries: &[Entry]) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "align-acc",
        "Alignment with back-propagation, and accuracy",
        "section on gradient alignment",
        "Encoders that differ in their local rule alone are held against each other: the cosine between each layer's own \
         gradient and that of the top's loss through the whole network (after training, mean over the layers below the \
         top), and the accuracy of a linear probe on all layers. The top's loss sees the whole map in all of them, so \
         that the reference is the same.",
    );
    describe(setting, &mut finding, data, &[setting.seed])?;
    finding.set("probe", if setting.full { "augmented anew each epoch" } else { "cached features" });
    // A name in the legend each: labels beside points that lie close would cover each other.
    let series = |entry: &Entry| {
        let (accuracy, error) = entry.accuracy;
        let point = Point { error: Some(100.0 * error), ..Point::new(entry.alignment?.0, 100.0 * accuracy) };
        Some(Series::new(entry.name, vec![point]))
    };
    let panel = Panel {
        title: String::new(),
        kind: Kind::Scatter,
        x: Axis::new("cosine, mean over the layers below the top"),
        y: Axis::new("probe accuracy, %"),
        series: entries.iter().filter_map(series).collect(),
    };
    let caption = "Probe accuracy (with its standard error) against alignment after training";
    finding.figures.push(Figure::new("alignment-accuracy", caption, vec![panel]));
    let mut table = Table::new(
        "alignment-accuracy",
        "Alignment: mean and standard deviation over batches. Accuracy: with its standard error",
        vec![Column::new("rule", 0), Column::new("alignment", 3), Column::new("accuracy, %", 2)],
    );
    for Entry { name, alignment, accuracy: (accuracy, error) } in entries {
        let alignment = alignment.map_or(Cell::none(), |(mean, std)| Cell::spread(mean, std));
        table.rows.push(vec![Cell::text(*name), alignment, Cell::spread(100.0 * accuracy, 100.0 * error)]);
    }
    finding.tables.push(table);
    finding.claims = claims(entries);
    finding.notes.push(
        "One training run a rule: a rank correlation over so few rules is moved by the luck of each. The test asks how \
         many of all orders of the accuracies would have a rank correlation as far from 0 (both sides)."
            .into(),
    );
    finding.notes.push(
        "Rules that back-propagate are left out: their cosine is 1 by definition. So are those that normalise activity \
         between layers (Forward-Forward, SCFF), and those without a contrast at the top (LPL, SoftHebb)."
            .into(),
    );
    Ok(finding)
}

fn claims(entries: &[Entry]) -> Vec<Claim> {
    let pairs = |keep: fn(&Entry) -> bool| {
        let kept = entries.iter().filter(|entry| keep(entry));
        kept.filter_map(|entry| Some((entry.alignment?.0, entry.accuracy.0))).collect::<Vec<(f64, f64)>>()
    };
    let claim = |statement: &str, pairs: Vec<(f64, f64)>| match spearman(&pairs) {
        None => Claim::new(statement, Verdict::Open, format!("{} rules: no rank correlation", pairs.len())),
        Some(RankCorrelation { rho, p }) => {
            let evidence = format!("Spearman's rho {rho:+.3} over {} rules, p = {p:.4} (permutations)", pairs.len());
            let verdict = if p < SIGNIFICANT { Verdict::of(rho > 0.0) } else { Verdict::Open };
            Claim::new(statement, verdict, evidence).number(format!("rho {rho:+.3}"))
        }
    };
    vec![
        claim(
            "Rules whose gradients are better aligned give more accurate encoders (the paper's link).",
            pairs(|_| true),
        ),
        claim("The same among trained encoders.", pairs(|entry| entry.name != UNTRAINED)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[(f64, f64)]) -> Vec<Entry> {
        let entry = |(alignment, accuracy): &(f64, f64)| Entry {
            name: "a rule",
            alignment: Some((*alignment, 0.1)),
            accuracy: (*accuracy, 0.01),
        };
        numbers.iter().map(entry).collect()
    }

    #[test]
    fn the_verdict_follows_from_p_and_the_sign() {
        let verdict = |numbers: &[(f64, f64)]| claims(&entries(numbers))[0].verdict;
        let up: Vec<(f64, f64)> = (0..8).map(|at| (0.1 * f64::from(at), 0.3 + 0.01 * f64::from(at))).collect();
        let down: Vec<(f64, f64)> = up.iter().map(|(alignment, accuracy)| (-alignment, *accuracy)).collect();
        assert_eq!((verdict(&up), verdict(&down)), (Verdict::Held, Verdict::Failed));
        assert_eq!(verdict(&up[..3]), Verdict::Open);
        let mut silent = entries(&up[..2]);
        silent[0].alignment = None;
        assert_eq!(claims(&silent)[0].verdict, Verdict::Open);
        silent[1].name = UNTRAINED;
        assert!(claims(&silent)[1].evidence.starts_with("0 rules"));
    }

    #[test]
    fn at_least_eight_rules_are_compared_each_by_a_name_of_its_own() {
        let names: Vec<&str> = FIGURE.iter().chain(&MORE).map(|variant| variant.name).chain([UNTRAINED]).collect();
        let unique: std::collections::HashSet<&str> = names.iter().copied().collect();
        assert!(names.len() >= 8 && unique.len() == names.len(), "{names:?}");
    }
}
