//! Ways in which layers hear of the top: direct feedback, its controls, and what stands beside back-propagation.

mod variants;

use super::accuracy::{self, Accuracy, Spread, above, reaches};
use super::encoder::config;
use super::table::{Cell, Column, Table};
use super::{Claim, Finding, Setting, Verdict};
use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
use clapp_data::error::Error;
use clapp_engine::alignment::cosine;
use clapp_engine::config::RuleName;
pub use variants::on_what_has_it;
use variants::{Measured, VARIANTS, measure};

/// Runs the experiment.
///
/// # Errors
/// Same as its encoders.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    let mut finding = Finding::new(
        "feedback",
        "Ways for the top's error to reach the layers below",
        "direct feedback and feedback matching",
        "The same network is trained with every way that this project has for layers below the top to hear of it, with \
         local learning without one, and with back-propagation. Of each: the accuracy of a linear probe on all layers, \
         and the alignment of its weights' gradients with those of its own top's loss, back-propagated, after training.",
    );
    let size = config(setting, RuleName::ClappPp)?;
    let images = size.images.map_or(data.pretrain.len(), |images| images.min(data.pretrain.len()));
    finding.set("data", format!("{}, {images} training images, {} test images", data.name, data.test.len()));
    finding.set("network", format!("VGG-6 at width {}", size.width));
    finding.set("training", format!("{} epochs in batches of {}", size.epochs, size.batch));
    finding.set("alignment", format!("{} batches of {} images", variants::BATCHES, size.batch));
    let mut all = Vec::new();
    for variant in &VARIANTS {
        all.push(measure(setting, variant, &data)?);
    }
    finding.claims = claims(&all);
    finding.tables = vec![table(&all, data.name == "cifar10"), mirrors(&all)];
    finding.figures = vec![figure(&all, data.name == "cifar10")];
    finding.notes = vec![
        accuracy::note(spread(&all)),
        "The spread of an alignment is the standard deviation over batches of its mean over the layers below the top, of \
         the first seed."
            .into(),
        "The published accuracies are of the full width, all images and 300 epochs; those of direct feedback alignment, the \
         weight mirror and of feedback that is frozen or matched were not published for CIFAR-10."
            .into(),
        "An alignment is with the rule's own top: its loss is on cells under clapp++ and clapp++dfb, and on the whole map \
         under the rules in which only the top has a loss."
            .into(),
    ];
    let of = |name| find(&all, name).map(|measured| &measured.accuracy);
    if let (Some(reached), Some(untrained)) = (of("bp-clapp++"), of("untrained")) {
        finding.notes.extend(accuracy::note_on_reached(&[reached], untrained, spread(&all)));
    }
    Ok(finding)
}

fn find<'a>(all: &'a [Measured], name: &str) -> Option<&'a Measured> {
    all.iter().find(|measured| measured.accuracy.name == name)
}

fn spread(all: &[Measured]) -> Spread {
    Spread::of(all.iter().map(|measured| &measured.accuracy))
}

/// The order of alignments that Figure 3b has.
fn order(all: &[Measured]) -> Option<Claim> {
    let names = ["clapp++dfb, matched", "clapp++dfb", "clapp++dfb, frozen"];
    let found: Vec<&Measured> = names.iter().map(|name| find(all, name)).collect::<Option<_>>()?;
    let (mut verdicts, mut smallest) = (Vec::new(), f64::INFINITY);
    for pair in found.windows(2) {
        // Each training seed by itself, judged by the errors over its batches.
        for (one, other) in pair[0].alignment.iter().zip(&pair[1].alignment) {
            let error = |std: f64| std / (variants::BATCHES as f64).sqrt();
            let (difference, error) = (one.0 - other.0, error(one.1).hypot(error(other.1)));
            smallest = smallest.min(difference);
            verdicts.push(accuracy::Difference { value: difference, error, errors: 2.0 }.above());
        }
    }
    let verdict = match () {
        () if verdicts.is_empty() || verdicts.contains(&Verdict::Open) => Verdict::Open,
        () if verdicts.contains(&Verdict::Failed) => Verdict::Failed,
        () => Verdict::Held,
    };
    let words = |measured: &&Measured| {
        let seeds: Vec<String> = measured.alignment.iter().map(|(mean, _)| format!("{mean:.3}")).collect();
        format!("{} {}", measured.accuracy.name, seeds.join(" and "))
    };
    let evidence: Vec<String> = found.iter().map(words).collect();
    let statement = "Matched feedback is better aligned with back-propagation than trained direct feedback, and that better \
                     than frozen random feedback (figure 3b), with each seed, beyond two standard errors over batches";
    let claim = Claim::new(statement, verdict, format!("mean cosine below the top: {}", evidence.join(", ")));
    Some(if smallest.is_finite() { claim.number(format!("cosine {smallest:+.2}")) } else { claim })
}

fn claims(all: &[Measured]) -> Vec<Claim> {
    let mirrored = find(all, "weight-mirror").map(|measured| {
        let cosines: Vec<f64> = measured.mirrors.iter().map(|(_, after)| *after).collect();
        let least = cosines.iter().fold(1.0_f64, |least, cosine| least.min(*cosine));
        let statement =
            "A weight mirror's kernels turn to the weights while these learn (this project: cosines above 0.9)";
        Claim::new(statement, Verdict::of(least > 0.9), format!("least cosine of a layer {least:.3}"))
            .number(format!("least cosine {least:.3}"))
    });
    let spread = spread(all);
    let pair = |test: fn(&str, &Accuracy, &Accuracy, Spread) -> Claim, one: &str, other: &str, statement: &str| {
        find(all, one).zip(find(all, other)).map(|(one, other)| test(statement, &one.accuracy, &other.accuracy, spread))
    };
    let all = [
        order(all),
        pair(reaches, "clapp++dfb", "bp-clapp++", "CLAPP++DFB reaches BP-CLAPP++ (docs/paper.md, section 8)"),
        pair(above, "clapp++dfb", "clapp++dfb, frozen", "Trained direct feedback beats frozen random feedback"),
        pair(above, "dfa", "untrained", "Direct feedback alignment on this loss learns more than nothing"),
        pair(reaches, "dfa", "bp-clapp++", "Direct feedback alignment reaches back-propagation"),
        mirrored,
        pair(
            reaches,
            "weight-mirror",
            "bp-clapp++",
            "Back-propagation through mirrors learns as much as through the weights",
        ),
        pair(
            above,
            "clapp++dfb-pc",
            "clapp++dfb",
            "Relaxing the top first helps direct feedback (this project's hybrid)",
        ),
    ];
    all.into_iter().flatten().collect()
}

fn table(all: &[Measured], is_cifar: bool) -> Table {
    let columns = vec![
        Column::new("rule", 0),
        Column::new("what comes down", 0),
        Column::new("probe, %", 1),
        Column::new("above untrained, points", 1),
        Column::new("seeds", 0),
        Column::new("alignment below the top", 3),
        Column::new("published for CIFAR-10, %", 2),
    ];
    let caption = "Accuracy of a linear probe on all layers, and mean cosine with back-propagation of the top's loss.";
    let mut table = Table::new("feedback", caption, columns);
    let spread = spread(all);
    let untrained = find(all, "untrained").map_or(0.0, |measured| measured.accuracy.mean());
    for measured in all {
        let Accuracy { name, seeds, .. } = &measured.accuracy;
        let (mean, error) = (measured.accuracy.mean(), measured.accuracy.error(spread));
        table.rows.push(vec![
            Cell::text(*name),
            Cell::text(measured.comes_down),
            Cell::spread(100.0 * mean, 100.0 * error),
            Cell::number(100.0 * (mean - untrained)),
            Cell::number(seeds.len() as f64),
            match measured.alignment.first() {
                Some((mean, std)) => Cell::spread(*mean, *std),
                None => Cell::none(),
            },
            measured.published.filter(|_| is_cifar).map_or(Cell::none(), Cell::number),
        ]);
    }
    table
}

/// Cosines of the mirrors with the weights.
fn mirrors(all: &[Measured]) -> Table {
    let columns = vec![
        Column::new("layer", 0),
        Column::new("cosine before", 3),
        Column::new("cosine after", 3),
        Column::new("angle after, degrees", 1),
    ];
    let caption = "weight-mirror: the kernels of the way back against the weights, before and after training.";
    let mut table = Table::new("mirrors", caption, columns);
    let mirrors = find(all, "weight-mirror").map_or(&[][..], |measured| &measured.mirrors);
    for (index, (before, after)) in mirrors.iter().enumerate() {
        let angle = after.clamp(-1.0, 1.0).acos().to_degrees();
        table.rows.push(vec![
            // Errors do not come down to the frames.
            Cell::text((index + 2).to_string()),
            Cell::number(*before),
            Cell::number(*after),
            Cell::number(angle),
        ]);
    }
    table
}

fn figure(all: &[Measured], is_cifar: bool) -> Figure {
    let spread = spread(all);
    let bar = |Measured { accuracy, .. }: &Measured| {
        Point::bar(accuracy.name, 100.0 * accuracy.mean(), Some(100.0 * accuracy.error(spread)))
    };
    let mut accuracy = vec![Series::new("ours", all.iter().map(bar).collect())];
    if is_cifar {
        let published = |measured: &Measured| Some(Point::bar(measured.accuracy.name, measured.published?, None));
        accuracy.push(Series::new("published", all.iter().filter_map(published).collect()).published());
    }
    let mean = |measured: &Measured| {
        let (mean, std) = measured.alignment.first()?;
        Some(Point::bar(measured.accuracy.name, *mean, Some(*std)))
    };
    let lines = |measured: &Measured| {
        let points: Vec<Point> = measured
            .layers
            .iter()
            .enumerate()
            .filter_map(|(layer, (mean, std))| Some(Point { error: *std, ..Point::new((layer + 1) as f64, (*mean)?) }))
            .collect();
        (!points.is_empty()).then(|| Series::new(measured.accuracy.name, points))
    };
    let layers = all.iter().map(|measured| measured.layers.len()).max().unwrap_or(0);
    let panel = |title: &str, kind, x, y, series| Panel { title: title.into(), kind, x, y, series };
    let caption = "Left: probe accuracy, with standard errors. Middle: mean cosine of the gradients below the top with \
                   back-propagation. Right: the same for each layer. Bars there are standard deviations over batches.";
    Figure::new(
        "feedback",
        caption,
        vec![
            panel("accuracy", Kind::Bars, Axis::default(), Axis::new("probe, %"), accuracy),
            panel(
                "alignment below the top",
                Kind::Bars,
                Axis::default(),
                Axis::new("cosine"),
                vec![Series::new("ours", all.iter().filter_map(mean).collect())],
            ),
            panel(
                "alignment by layer",
                Kind::Lines,
                Axis::layers(layers),
                Axis::between("cosine", -0.3, 1.05),
                all.iter().filter_map(lines).collect(),
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, accuracy: f64, alignment: f64) -> Measured {
        Measured {
            accuracy: Accuracy { name, seeds: vec![accuracy; 2], images: 10_000 },
            comes_down: "",
            published: None,
            alignment: vec![(alignment, 0.01); 2],
            layers: vec![(Some(alignment), Some(0.01)), (Some(1.0), Some(0.0))],
            mirrors: if name == "weight-mirror" { vec![(0.0, alignment)] } else { Vec::new() },
        }
    }

    #[test]
    fn claims_are_decided_by_differences_beyond_their_errors() {
        let all = |dfb: f64, frozen: f64| {
            vec![
                measured("untrained", 0.4, 0.1),
                measured("clapp++dfb", dfb, 0.4),
                measured("clapp++dfb, matched", 0.5, 0.6),
                measured("clapp++dfb, frozen", frozen, 0.2),
                measured("dfa", 0.3, 0.2),
                measured("weight-mirror", 0.5, 0.95),
                measured("bp-clapp++", 0.53, 1.0),
                measured("clapp++dfb-pc", 0.501, 0.4),
            ]
        };
        let verdicts = |all: &[Measured]| claims(all).iter().map(|claim| claim.verdict).collect::<Vec<_>>();
        use Verdict::{Failed, Held, Open};
        assert_eq!(verdicts(&all(0.5, 0.45)), [Held, Failed, Held, Failed, Failed, Held, Failed, Open]);
        assert_eq!(verdicts(&all(0.54, 0.53))[1..3], [Held, Open]);
        let finding = Finding {
            tables: vec![table(&all(0.5, 0.4), true), mirrors(&all(0.5, 0.4))],
            figures: vec![figure(&all(0.5, 0.4), true)],
            ..Finding::new("feedback", "", "", "")
        };
        finding.check(std::path::Path::new("")).unwrap();
    }
}
