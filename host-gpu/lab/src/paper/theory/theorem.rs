//! The theory's statements as numeric certificates over random networks (docs/paper.md 6.1).

use crate::paper::table::{Cell, Column, Table};
use crate::paper::{Claim, Finding, Setting, Verdict};
use crate::theory::align::Context;
use crate::theory::certificates::{
    CONTEXTS, CONTRASTS, Windows, equality, existence, existence_convolutional, feedback, spatial,
};
use crate::theory::contrast::Contrast;
use crate::theory::optimum::Rule;
use clapp_data::error::Error;
use indicatif::ProgressBar;
use rayon::prelude::*;

/// Networks of a case, and with `--full`.
const NETWORKS: (u64, u64) = (50, 1000);
/// Contrasts whose optimum is smooth.
const SMOOTH: [Contrast; 3] = [Contrast::Linear, Contrast::SoftHinge, Contrast::PhyLl { theta: 2.0 }];
/// Relative error that rounding may make.
const ROUNDING: f64 = 1e-12;
/// Relative error where the optimum is found until its gradient is below 1e-10.
const STRICT: f64 = 1e-6;
/// Relative error where the optimum is found by the paper's stopping rule.
const REFERENCE: f64 = 2e-3;

/// Seeds of a case and the way to go through them.
struct Networks<'a> {
    setting: &'a Setting,
    bar: ProgressBar,
    count: u64,
}

impl Networks<'_> {
    /// Results of `of` for all networks, in order.
    fn each<T: Send>(&self, of: impl Fn(u64) -> Result<T, Error> + Sync) -> Result<Vec<T>, Error> {
        let one = |network: u64| {
            self.setting.check_stop()?;
            self.bar.inc(1);
            // Seeds of experiments are small numbers: networks of other seeds are others.
            of(self.setting.seed.wrapping_mul(1_000_003).wrapping_add(network))
        };
        (0..self.count).into_par_iter().map(one).collect()
    }
}

fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}

fn context(context: Context) -> &'static str {
    match context {
        Context::Lateral => "lateral",
        Context::Feedback => "direct feedback",
    }
}

/// Runs the experiment.
///
/// # Errors
/// If an optimum is not reached, or the user has stopped the work.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "theorem",
        "The theory's statements, checked on random networks",
        "Existence lemma, Theorems 3.1 and 3.3, Proposition 3.5",
        "Each statement is checked on random networks and random batches in double precision: the gradient of a layer's own \
         loss against the gradient of the loss at the top, back-propagated; the worst layer of the worst network counts.",
    );
    let count = if setting.full { NETWORKS.1 } else { NETWORKS.0 };
    let cases = 2 * CONTRASTS.len() * (CONTEXTS.len() + 1) + 2 * (SMOOTH.len() * 2 + 2) + 2 + 2;
    let networks = Networks { setting, bar: setting.bar("theorem", cases as u64 * count), count };
    finding.set("networks of each case", count);
    finding.set("lambda", "0.01");
    let columns = vec![
        Column::new("statement", 0),
        Column::new("case", 0),
        Column::new("networks", 0),
        Column::scientific("worst relative error"),
        Column::scientific("tolerance"),
    ];
    let caption =
        "Worst relative Frobenius error of a layer's gradient over all layers and networks, and what is tolerated.";
    let mut table = Table::new("certificates", caption, columns);
    existence_lemma(&networks, &mut finding, &mut table)?;
    theorem_31(&networks, &mut finding, &mut table)?;
    theorem_33(&networks, &mut finding)?;
    proposition_35(&networks, &mut finding, &mut table)?;
    finding.tables.insert(0, table);
    networks.bar.finish_and_clear();
    finding.notes.push(
        "The hinge is left out of Theorem 3.1: at its optimum many scores lie on the kink, where it has no gradient, so there \
         is nothing to compare. The existence lemma needs no optimum and holds for it."
            .into(),
    );
    Ok(finding)
}

fn add(table: &mut Table, statement: &str, case: String, networks: u64, worst: f64, tolerance: f64) {
    let numbers = [Cell::number(networks as f64), Cell::number(worst), Cell::number(tolerance)];
    table.rows.push([Cell::text(statement), Cell::text(case)].into_iter().chain(numbers).collect());
}

fn existence_lemma(networks: &Networks<'_>, finding: &mut Finding, table: &mut Table) -> Result<(), Error> {
    let mut worst: f64 = 0.0;
    for contrast in CONTRASTS {
        for about in CONTEXTS {
            // Every other network has uniform negatives.
            let dense = networks.each(|seed| Ok(existence(seed, contrast, about, seed % 2 == 1)))?;
            let dense = greatest(dense);
            let case = format!("dense, {}, {}", contrast.name(), context(about));
            add(table, "existence lemma", case, networks.count, dense, ROUNDING);
            let stacks = networks.each(|seed| {
                let windows = if seed % 4 < 2 { Windows::Apart } else { Windows::Padded };
                Ok(existence_convolutional(seed, contrast, about, windows, seed % 2 == 1))
            })?;
            let stacks = greatest(stacks);
            let case = format!("convolutions, {}, {}", contrast.name(), context(about));
            add(table, "existence lemma", case, networks.count, stacks, ROUNDING);
            worst = worst.max(dense).max(stacks);
        }
    }
    let claim = Claim::new(
        "Existence lemma: in a linear network, dense or convolutional, there are projections with which every layer's local \
         gradient is the back-propagated one, whatever the weights, the loss, the batch and the negatives",
        Verdict::of(worst <= ROUNDING),
        format!("largest relative error {worst:.1e} over {} networks and losses", 16 * networks.count),
    );
    finding.claims.push(claim.number(format!("relative error {worst:.1e}")));
    Ok(())
}

fn theorem_31(networks: &Networks<'_>, finding: &mut Finding, table: &mut Table) -> Result<(), Error> {
    let mut held = true;
    let (mut worst, mut loosest): (f64, f64) = (0.0, 0.0);
    for contrast in SMOOTH {
        let tolerance = if contrast == Contrast::Linear { ROUNDING } else { STRICT };
        for about in CONTEXTS {
            let found = networks.each(|seed| Ok(equality(seed, contrast, about, Rule::Strict, true)?))?;
            let distance = greatest(found.iter().map(|found| found.distance));
            let how = if contrast == Contrast::Linear { "formula" } else { "gradient below 1e-10" };
            let case = format!("{}, {}, {how}", contrast.name(), context(about));
            add(table, "Theorem 3.1", case, networks.count, distance, tolerance);
            held &= distance <= tolerance;
            worst = worst.max(distance);
        }
    }
    for about in CONTEXTS {
        let found = networks.each(|seed| Ok(equality(seed, Contrast::SoftHinge, about, Rule::Reference, true)?))?;
        let distance = greatest(found.iter().map(|found| found.distance));
        let case = format!("softhinge, {}, the paper's stopping rule", context(about));
        add(table, "Theorem 3.1", case, networks.count, distance, REFERENCE);
        held &= distance <= REFERENCE;
        loosest = loosest.max(distance);
    }
    let claim = Claim::new(
        "Theorem 3.1: with orthogonal weights above the first layer and projections at their optimum, every layer's local \
         gradient is the back-propagated one",
        Verdict::of(held),
        format!(
            "largest relative error {worst:.1e} where the optimum is exact, {loosest:.1e} with the paper's stopping rule; \
             tolerances in the table"
        ),
    );
    finding.claims.push(claim.number(format!("relative error {worst:.1e}")));
    let without = networks.each(|seed| Ok(equality(seed, Contrast::Linear, Context::Lateral, Rule::Strict, false)?))?;
    let least = without.iter().map(|found| found.distance).fold(f64::INFINITY, f64::min);
    let claim = Claim::new(
        "Theorem 3.1 needs its assumption: with uniform random weights the optimum is not enough (relative error above 0.1 \
         in every network)",
        Verdict::of(least > 0.1),
        format!("least error {least:.2} over {} networks, linear contrast", networks.count),
    );
    finding.claims.push(claim.number(format!("relative error {least:.2}")));
    Ok(())
}

fn theorem_33(networks: &Networks<'_>, finding: &mut Finding) -> Result<(), Error> {
    let caption = "Theorem 3.3, widths 24, 16, 12, 6, layers below the top: how often direct feedback is farther from \
         back-propagation than lateral contexts are, or at a greater angle; means over networks.";
    let columns = vec![
        Column::new("contrast", 0),
        Column::new("layer", 0),
        Column::new("networks", 0),
        Column::new("farther with feedback", 0),
        Column::new("distance, lateral", 3),
        Column::new("distance, feedback", 3),
        Column::new("lower cosine with feedback", 0),
        Column::new("cosine, lateral", 3),
        Column::new("cosine, feedback", 3),
    ];
    let mut table = Table::new("theorem-feedback", caption, columns);
    for contrast in [Contrast::Linear, Contrast::SoftHinge] {
        let found = networks.each(|seed| Ok(feedback(seed, contrast, Rule::Strict)?))?;
        let (mut farther, mut lower, mut pairs) = (0, 0, 0);
        for layer in 0..found.first().map_or(0, Vec::len) {
            let of: Vec<_> = found.iter().map(|layers| layers[layer]).collect();
            let far = of.iter().filter(|pair| pair.distances[1] > pair.distances[0] + ROUNDING).count();
            let low = of.iter().filter(|pair| pair.cosines[1] < pair.cosines[0]).count();
            let mean = |of_pair: &dyn Fn(usize) -> f64| {
                Cell::number((0..of.len()).map(of_pair).sum::<f64>() / of.len() as f64)
            };
            table.rows.push(vec![
                Cell::text(contrast.name()),
                Cell::number((layer + 1) as f64),
                Cell::number(of.len() as f64),
                Cell::number(far as f64),
                mean(&|i| of[i].distances[0]),
                mean(&|i| of[i].distances[1]),
                Cell::number(low as f64),
                mean(&|i| of[i].cosines[0]),
                mean(&|i| of[i].cosines[1]),
            ]);
            (farther, lower, pairs) = (farther + far, lower + low, pairs + of.len());
        }
        let statement = match contrast {
            Contrast::Linear => {
                "Theorem 3.3, linear contrast: with decreasing widths and semi-orthogonal weights, direct feedback is never \
                 farther from the back-propagated gradient than the layer's own context is"
            }
            _ => {
                "The same for softhinge, which the theorem may not cover: direct feedback is never farther from the \
                 back-propagated gradient"
            }
        };
        let evidence = format!("farther in {farther} of {pairs} layers of networks, lower cosine in {lower}");
        let claim = Claim::new(statement, Verdict::of(farther == 0), evidence);
        finding.claims.push(claim.number(format!("farther in {farther} of {pairs}")));
    }
    finding.tables.push(table);
    Ok(())
}

fn proposition_35(networks: &Networks<'_>, finding: &mut Finding, table: &mut Table) -> Result<(), Error> {
    let (mut unpooled, mut pooled): (f64, f64) = (0.0, f64::INFINITY);
    for windows in [Windows::Apart, Windows::Padded] {
        let found = networks.each(|seed| Ok(spatial(seed, Contrast::SoftHinge, Context::Lateral, windows)))?;
        let worst = greatest(found.iter().map(|found| found.unpooled));
        let name = if windows == Windows::Apart { "windows of 2x2" } else { "windows of 3x3" };
        add(table, "Proposition 3.5", format!("no pooling, {name}"), networks.count, worst, ROUNDING);
        unpooled = unpooled.max(worst);
        pooled = found.iter().map(|found| found.pooled).fold(pooled, f64::min);
    }
    let claim = Claim::new(
        "Proposition 3.5: with a loss on whole maps (2D spatial dependence) a layer's local error can be the back-propagated \
         one exactly",
        Verdict::of(unpooled <= ROUNDING),
        format!("largest relative error {unpooled:.1e} over {} networks", 2 * networks.count),
    );
    finding.claims.push(claim.number(format!("relative error {unpooled:.1e}")));
    let claim = Claim::new(
        "Proposition 3.5: with a loss on the maps' means it cannot, whatever the projections: the local error is the same on \
         all pixels (relative error of the nearest such above 0.1)",
        Verdict::of(pooled > 0.1),
        format!("no projections come nearer than {pooled:.2} in any layer of {} networks", 2 * networks.count),
    );
    finding.claims.push(claim.number(format!("relative error {pooled:.2}")));
    Ok(())
}
