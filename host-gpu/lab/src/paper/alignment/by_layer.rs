//! `clapp paper fig4c`: alignment by layer, at initialisation and after training.

use super::{Cosines, FIGURE, Variant, below_top, describe, mean_and_std, measured};
use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
use crate::paper::table::{Cell, Column, Table};
use crate::paper::{Claim, Finding, Setting, Verdict, encoder};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::rules::Feedback;
use clapp_engine::trainer::initial_values;

/// Largest distance of the top's cosine from 1: what rounding may do on any backend.
const ROUNDING: f64 = 1e-4;

/// Measurements of a variant: the cosines of each seed.
struct Measured {
    name: &'static str,
    seeds: Vec<Cosines>,
}

/// Runs the experiment.
///
/// # Errors
/// Same as training and measuring; [`Error::Stopped`] if the user has stopped it.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    // Two runs of the same rule tell how much is luck; at full size one is long enough.
    let seeds: Vec<u64> = if setting.full { vec![setting.seed] } else { vec![setting.seed, setting.seed + 1] };
    let bar = setting.bar("alignment", (2 * FIGURE.len() * seeds.len()) as u64);
    let step = |found| {
        bar.inc(1);
        found
    };
    // Feedback of every kind begins with the same random matrices.
    let is_first = |variant: &&Variant| variant.feedback == Feedback::Trained;
    let mut initial = Vec::new();
    for variant in FIGURE.iter().filter(is_first) {
        initial.push(over_seeds(variant, &seeds, |seed| step(at_first(setting, variant, seed, &data)))?);
    }
    let mut trained = Vec::new();
    for variant in &FIGURE {
        trained.push(over_seeds(variant, &seeds, |seed| step(after_training(setting, variant, seed, &data)))?);
    }
    bar.finish_and_clear();
    finding(setting, &data, &seeds, &initial, &trained)
}

fn over_seeds(
    variant: &Variant,
    seeds: &[u64],
    measure: impl FnMut(u64) -> Result<Cosines, Error>,
) -> Result<Measured, Error> {
    Ok(Measured { name: variant.name, seeds: seeds.iter().copied().map(measure).collect::<Result<_, _>>()? })
}

fn at_first(setting: &Setting, variant: &Variant, seed: u64, data: &Dataset) -> Result<Cosines, Error> {
    let config = variant.config(setting, seed)?;
    measured(setting, &config, &initial_values(&config)?, data)
}

fn after_training(setting: &Setting, variant: &Variant, seed: u64, data: &Dataset) -> Result<Cosines, Error> {
    let config = variant.config(setting, seed)?;
    let encoder = encoder::train(setting, &format!("{}, seed {seed}", variant.name), &config, data)?;
    measured(setting, &config, &encoder.layers, data)
}

fn finding(
    setting: &Setting,
    data: &Dataset,
    seeds: &[u64],
    initial: &[Measured],
    trained: &[Measured],
) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "fig4c",
        "Alignment of local gradients with back-propagation",
        "Figure 4c",
        "Encoders learn by five local rules, with a top layer whose loss sees the whole map. On the first batches of the \
         training images, in their order and augmented, each layer's own gradient is compared with that of the top's \
         loss through the whole network: the same parameters, views and negatives, the weights without biases. Error \
         bars are standard deviations over batches (of all seeds).",
    );
    describe(setting, &mut finding, data, seeds)?;
    let layers = trained.first().and_then(|first| first.seeds.first()?.first()).map_or(0, Vec::len);
    let panel = |title: &str, list: &[Measured]| Panel {
        title: title.into(),
        kind: Kind::Lines,
        x: Axis::layers(layers),
        y: Axis::new("cosine"),
        series: list.iter().map(|measured| series(measured, layers)).collect(),
    };
    let panels = vec![panel("at initialisation", initial), panel("after training", trained)];
    let caption = "Cosine of each layer's own gradient with that of the top's loss, back-propagated";
    finding.figures.push(Figure::new("alignment", caption, panels));
    finding.tables.push(table(initial, trained, layers));
    finding.claims = claims(initial, trained, seeds);
    finding.notes.push(
        "The values of the published curves are not known to us, only their order. The paper's networks are wider, are \
         trained for longer, and on STL-10."
            .into(),
    );
    finding.notes.push(
        "At initialisation the three kinds of feedback are one: they begin with the same random matrices.".into(),
    );
    for measured in initial.iter().chain(trained) {
        let without = measured.seeds.iter().flatten().flatten().filter(|cosine| cosine.is_none()).count();
        if without > 0 {
            let note = format!("{}: a gradient was zero, and so without a cosine, {without} times.", measured.name);
            finding.notes.push(note);
        }
    }
    Ok(finding)
}

/// The cosines of a layer, over all batches of all seeds.
fn of_layer(measured: &Measured, layer: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    measured.seeds.iter().flatten().filter_map(move |batch| batch.get(layer).copied().flatten())
}

fn series(measured: &Measured, layers: usize) -> Series {
    let point = |layer: usize| {
        let (mean, std) = mean_and_std(of_layer(measured, layer))?;
        Some(Point { error: Some(std), ..Point::new((layer + 1) as f64, mean) })
    };
    Series::new(measured.name, (0..layers).filter_map(point).collect())
}

fn table(initial: &[Measured], trained: &[Measured], layers: usize) -> Table {
    let mut columns = vec![Column::new("rule", 0), Column::new("state", 0)];
    columns.extend((1..=layers).map(|layer| Column::new(&format!("layer {layer}"), 3)));
    columns.push(Column::new("mean below the top", 3));
    let caption = "Cosines: mean and standard deviation over batches (of all seeds)";
    let mut table = Table::new("alignment", caption, columns);
    let cell = |numbers: Option<(f64, f64)>| numbers.map_or(Cell::none(), |(mean, std)| Cell::spread(mean, std));
    for (state, list) in [("at initialisation", initial), ("after training", trained)] {
        for measured in list {
            let mut row = vec![Cell::text(measured.name), Cell::text(state)];
            row.extend((0..layers).map(|layer| cell(mean_and_std(of_layer(measured, layer)))));
            row.push(cell(mean_and_std(measured.seeds.iter().flat_map(below_top).flatten())));
            table.rows.push(row);
        }
    }
    table
}

fn claims(initial: &[Measured], trained: &[Measured], seeds: &[u64]) -> Vec<Claim> {
    let [pooled, spatial, dfb, matched, frozen] = trained else { return Vec::new() };
    let mut claims = vec![top_is_one(initial, trained)];
    for (statement, high, low) in [
        ("Spatial dependence aligns gradients better than pooling does (docs/paper.md, section 7)", spatial, pooled),
        (
            "Direct feedback from the top aligns at least as well as the context of the same layer \
             (docs/paper.md, section 7)",
            dfb,
            spatial,
        ),
        ("Matched feedback aligns at least as well as trained feedback (docs/paper.md, section 7)", matched, dfb),
        ("Trained feedback aligns better than frozen random feedback (the control of this project)", dfb, frozen),
    ] {
        claims.push(Claim { statement: format!("{statement}."), ..difference(high, low, seeds) });
    }
    claims
}

/// The invariant of the measurement.
fn top_is_one(initial: &[Measured], trained: &[Measured]) -> Claim {
    let tops = initial.iter().chain(trained).flat_map(|measured| &measured.seeds).flatten().map(|batch| batch.last());
    let (mut count, mut without, mut worst) = (0, 0, 0.0_f64);
    for top in tops {
        match top.copied().flatten() {
            Some(cosine) => (count, worst) = (count + 1, worst.max((cosine - 1.0).abs())),
            None => without += 1,
        }
    }
    let far = if worst == 0.0 { "exactly 1 in all of them".into() } else { format!("at most {worst:.1e} from 1") };
    let evidence = format!("{count} batches: {far}; {without} more in which the top's gradient is zero");
    let verdict = if count == 0 { Verdict::Open } else { Verdict::of(worst <= ROUNDING) };
    let claim =
        Claim::new("The top layer's cosine is 1 (docs/paper.md, section 7: by construction).", verdict, evidence);
    match (count, worst) {
        (0, _) => claim,
        (_, 0.0) => claim.number("exactly 1"),
        _ => claim.number(format!("{worst:.1e} from 1")),
    }
}

/// The claim, without its statement, that `high` is aligned better than `low`: by the mean over the layers below the top
/// of each batch. Both see the same images, so batches are compared one by one. The claim is decided if in every seed the
/// mean difference is two standard errors from 0, on the same side. Its number is the smallest difference of the seeds.
fn difference(high: &Measured, low: &Measured, seeds: &[u64]) -> Claim {
    let claim = |verdict, evidence: String| Claim::new("", verdict, evidence);
    let mean = |measured: &Measured| mean_and_std(measured.seeds.iter().flat_map(below_top).flatten());
    let (Some(one), Some(other)) = (mean(high), mean(low)) else {
        return claim(Verdict::Open, "no batch has a cosine below the top".into());
    };
    let mut evidence = format!(
        "mean below the top {:.3} ± {:.3} ({}) against {:.3} ± {:.3} ({}), standard deviations over batches; difference",
        one.0, one.1, high.name, other.0, other.1, low.name
    );
    let (mut above, mut below, mut smallest) = (true, true, f64::INFINITY);
    for ((one, other), seed) in high.seeds.iter().zip(&low.seeds).zip(seeds) {
        let pairs = below_top(one).into_iter().zip(below_top(other));
        let differences: Vec<f64> = pairs.filter_map(|(one, other)| Some(one? - other?)).collect();
        let Some((mean, std)) = mean_and_std(differences.iter().copied()) else {
            return claim(Verdict::Open, evidence);
        };
        let error = std / (differences.len() as f64).sqrt();
        above &= mean > 2.0 * error;
        below &= mean < -2.0 * error;
        smallest = smallest.min(mean);
        evidence += &format!(" {mean:+.3} ± {error:.3} (seed {seed}),");
    }
    evidence.pop();
    evidence += ", standard errors";
    let verdict = if above || below { Verdict::of(above) } else { Verdict::Open };
    claim(verdict, evidence).number(format!("cosine {smallest:+.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_engine::config::RuleName;

    fn measured(name: &'static str, seeds: &[[f64; 3]]) -> Measured {
        let seed = |batches: &[f64; 3]| batches.iter().map(|cosine| vec![Some(*cosine), Some(1.0)]).collect();
        Measured { name, seeds: seeds.iter().map(seed).collect() }
    }

    #[test]
    fn a_difference_is_decided_by_its_spread_in_every_seed() {
        let low = measured("low", &[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]);
        let verdict = |high: &[[f64; 3]]| difference(&measured("high", high), &low, &[1, 2]);
        // The batches go up and down together: the pairs tell what the means alone would not.
        let Claim { verdict: held, number, evidence, .. } = verdict(&[[0.2, 0.3, 0.41], [0.2, 0.31, 0.4]]);
        assert_eq!((held, number.as_deref()), (Verdict::Held, Some("cosine +0.103")), "{evidence}");
        for part in ["0.303 ± 0.092 (high)", "0.200 ± 0.089 (low)", "+0.103 ± 0.003 (seed 1)", "(seed 2), standard"]
        {
            assert!(evidence.contains(part), "{part}: {evidence}");
        }
        assert_eq!(verdict(&[[0.0, 0.1, 0.21], [0.0, 0.11, 0.2]]).verdict, Verdict::Failed);
        // Another sign in another seed, or as much spread as difference.
        let open = verdict(&[[0.2, 0.3, 0.41], [0.0, 0.11, 0.2]]);
        assert_eq!((open.verdict, open.number.as_deref()), (Verdict::Open, Some("cosine -0.097")));
        assert_eq!(verdict(&[[0.2, 0.3, 0.41], [0.4, 0.2, 0.1]]).verdict, Verdict::Open);
        let silent = Measured { name: "silent", seeds: vec![vec![vec![None, Some(1.0)]]] };
        assert_eq!(difference(&silent, &low, &[1]).verdict, Verdict::Open);
    }

    #[test]
    fn the_top_is_checked_in_every_batch() {
        let good = measured("good", &[[0.1, 0.2, 0.3]]);
        assert_eq!(top_is_one(&[], std::slice::from_ref(&good)).verdict, Verdict::Held);
        let mut bad = measured("bad", &[[0.1, 0.2, 0.3]]);
        bad.seeds[0][1][1] = Some(0.99);
        assert_eq!(top_is_one(&[good], &[bad]).verdict, Verdict::Failed);
    }

    #[test]
    fn the_claims_name_the_rules_of_the_figure() {
        let names = FIGURE.map(|variant| variant.name);
        assert_eq!(names, ["pooled", "spatial", "DFB", "DFB, matched", "DFB, frozen random"]);
        let rules = FIGURE.map(|variant| variant.rule);
        assert_eq!(rules[..2], [RuleName::ClappPpPooled, RuleName::ClappPp]);
        assert!(rules[2..].iter().all(|rule| *rule == RuleName::ClappPpDfb));
        let trained: Vec<Measured> = names.map(|name| measured(name, &[[0.1, 0.2, 0.3]])).into();
        assert_eq!(claims(&[], &trained, &[2]).len(), 5);
    }
}
