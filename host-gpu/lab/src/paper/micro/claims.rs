//! The claims and their verdicts.

use super::course::Storage;
use super::point::{BASE, DEPTHS, INPUTS, Point, STORED, STREAM_WIDTHS, WIDTHS};
use super::summary::{Estimate, Reading, Summary};
use crate::paper::accuracy::{Difference, MARGIN};
use crate::paper::significance::{LEVEL, critical};
use crate::paper::{Claim, Verdict};

/// A difference with its error in points, as text.
fn words(estimate: Option<Estimate>) -> String {
    match estimate {
        Some(Estimate { value, error }) => format!("{:+.1} ± {:.1}", 100.0 * value, 100.0 * error),
        None => "diverged".into(),
    }
}

/// The smallest of some differences, in points; a run that diverged is below all.
fn smallest(estimates: impl Iterator<Item = Option<Estimate>>) -> String {
    let values = estimates.map(|estimate| estimate.map_or(f64::NEG_INFINITY, |estimate| estimate.value));
    match values.min_by(f64::total_cmp) {
        Some(value) if value.is_finite() => format!("{:+.1} points", 100.0 * value),
        Some(_) => "diverged".into(),
        None => "no run".into(),
    }
}

/// Held where a difference is above a bound by more than its error, failed where below; diverged is below.
fn above(estimate: Option<Estimate>, bound: f64, errors: f64) -> Verdict {
    match estimate {
        Some(Estimate { value, error }) => Difference { value: value - bound, error, errors }.above(),
        None => Verdict::Failed,
    }
}

/// Verdict on a gain. It fails if the gain is surely below [`MARGIN`], the smallest gain of use.
fn gains(gain: Option<Estimate>, errors: f64) -> Verdict {
    match above(gain, 0.0, errors) {
        Verdict::Open if above(gain, MARGIN, errors) == Verdict::Failed => Verdict::Failed,
        verdict => verdict,
    }
}

/// The claim of a gain at all of some points. It fails if at one of them there is surely none.
fn all_gain(statement: &str, reading: Reading, named: &[(String, Option<&Summary>)]) -> Claim {
    let known: Vec<(&str, &Summary)> =
        named.iter().filter_map(|(name, summary)| Some((name.as_str(), (*summary)?))).collect();
    let freedom = known.first().map_or(1, |(_, summary)| summary.freedom());
    let errors = critical(known.len(), freedom);
    let found: Vec<(&str, Option<Estimate>, Verdict)> = known
        .iter()
        .map(|(name, summary)| {
            let gain = summary.gain(reading);
            (*name, gain, gains(gain, errors))
        })
        .collect();
    let of = |wanted: Verdict| -> Vec<&str> {
        found.iter().filter(|(.., verdict)| *verdict == wanted).map(|(name, ..)| *name).collect()
    };
    let (without, open) = (of(Verdict::Failed), of(Verdict::Open));
    let verdict = match (without.is_empty(), open.is_empty() && !found.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Open,
        (true, true) => Verdict::Held,
    };
    let list: Vec<String> = found.iter().map(|(name, gain, _)| format!("{name}: {}", words(*gain))).collect();
    let mut evidence = format!(
        "gain in points, {}; counted from {errors:.1} standard errors on, as there are {}",
        list.join(", "),
        found.len()
    );
    for (what, names) in [("none or a loss", without), ("not decided", open)] {
        if !names.is_empty() {
            evidence += &format!("; {what}: {}", names.join(", "));
        }
    }
    Claim::new(statement, verdict, evidence).number(smallest(found.iter().map(|(_, gain, _)| *gain)))
}

/// The claim that all of some differences are above a bound.
fn all_above(statement: &str, bound: f64, freedom: usize, named: &[(String, Option<Estimate>)]) -> Claim {
    let errors = critical(named.len(), freedom);
    let verdicts: Vec<Verdict> = named.iter().map(|(_, estimate)| above(*estimate, bound, errors)).collect();
    let list: Vec<String> = named.iter().map(|(name, estimate)| format!("{name}: {}", words(*estimate))).collect();
    let evidence = format!("difference in points, {}; counted from {errors:.1} standard errors on", list.join(", "));
    Claim::new(statement, Verdict::all(&verdicts), evidence)
        .number(smallest(named.iter().map(|(_, estimate)| *estimate)))
}

/// All claims; they are this project's own.
pub fn claims(summaries: &[Summary]) -> Vec<Claim> {
    let find = |point: Point| summaries.iter().find(|summary| summary.point == point);
    let named = |values: &[usize], unit: &str, of: &dyn Fn(usize) -> Point| -> Vec<(String, Option<&Summary>)> {
        values.iter().map(|value| (format!("{value} {unit}"), find(of(*value)))).collect()
    };
    let batches = named(&WIDTHS, "channels", &|channels| Point { channels, ..BASE });
    let streams = named(&STREAM_WIDTHS, "channels", &|channels| Point { channels, batch: 1, ..BASE });
    let mut claims = vec![
        all_gain("learning from batches gains at every width from 4 to 64 channels", Reading::All, &batches),
        all_gain(
            "learning from a stream of single frames gains at every width from 4 to 32 channels",
            Reading::All,
            &streams,
        ),
        all_gain("learning from batches betters the top layer alone at every width", Reading::Top, &batches),
        all_gain("learning from a stream betters the top layer alone at every width", Reading::Top, &streams),
        all_gain(
            "learning from a stream gains at every width with the firmware's read-out, the nearest class mean",
            Reading::Nearest,
            &streams,
        ),
        all_gain(
            "learning from batches gains at every depth from 2 to 6 layers of 16 channels",
            Reading::All,
            &named(&DEPTHS, "layers", &|depth| Point { depth, ..BASE }),
        ),
        all_gain(
            "learning from batches gains at every depth from 2 to 6 layers of 4 channels",
            Reading::All,
            &named(&DEPTHS, "layers", &|depth| Point { depth, channels: 4, ..BASE }),
        ),
        all_gain(
            "learning from batches gains with frames of 16, 24 and 32 pixels a side",
            Reading::All,
            &named(&INPUTS, "pixels", &|input| Point { input, ..BASE }),
        ),
    ];
    let base = find(BASE);
    let stream = find(Point { batch: 1, ..BASE });
    if let (Some(stream), Some(base)) = (stream, base) {
        claims.push(all_above(
            "a stream of single frames teaches as much as batches of 32, less a point at most",
            -MARGIN,
            base.freedom(),
            &[("16 channels".into(), stream.over(base, Reading::All))],
        ));
    }
    let stored = STORED.map(|batch| {
        let (stored, full) = (find(Point { storage: Storage::Bf16, batch, ..BASE }), find(Point { batch, ..BASE }));
        let name = if batch == 1 { "a stream".to_owned() } else { format!("batches of {batch}") };
        Some((name, stored?.over(full?, Reading::All)))
    });
    if let (Some(stored), Some(base)) = (stored.into_iter().collect::<Option<Vec<_>>>(), base) {
        let statement = "projections in bf16 lose less than a point";
        claims.push(all_above(statement, -MARGIN, base.freedom(), &stored));
    }
    claims
}

/// Notes for the reader.
pub fn notes() -> Vec<String> {
    let all = [
        "Errors are standard errors over seeds and test images together: the same images are read before and after learning, \
         so that only those count that one of the two reads rightly. Two or three seeds say little of their own spread: that \
         over all points is pooled, or that over the points of the same width where it is larger. A claim of several points \
         counts each from so many standard errors on that by luck alone it is wrong in one of twenty experiments \
         (Bonferroni, Student). It fails where at one of its points there surely is no gain of a point or more.",
        "Frames are grey: so are those of most sensors on such devices, and the first layer and every frame take a third \
         of the memory. The images are resized by an antialiased filter to the size of the frame.",
        "All follow the firmware's rule clapp++dfb: its projections are D x D_top, where those of clapp++ are D x D, 256 KiB \
         for the first layer of 16 channels. Streams learn by plain SGD, which has no state, as the firmware does; batches \
         by AdamW, as `clapp train` prepares a network, so that batch size and optimiser change together. Rates were chosen \
         on other seeds, by factors of three; a network far from those that were scanned may do better at another one.",
        "The read-out of all layers sees the first layer, whose random features are good already. The top layer alone shows \
         what learning makes of them on their way up. The ridge regression depends on no scale of the features; the nearest \
         class mean gains also where learning only brings features to an even size.",
        "`clapp recommend` takes its answers from the table of this experiment.",
    ];
    all.map(String::from).into()
}

/// Criterion of the claims, for the setting.
pub fn level() -> String {
    format!("{:.0} % a claim, two-sided, over all that it tests", 100.0 * LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::micro::summary::summaries;
    use crate::paper::micro::summary::tests::one;

    fn estimate(value: f64, error: f64) -> Option<Estimate> {
        Some(Estimate { value, error })
    }

    #[test]
    fn verdicts_follow_the_numbers() {
        assert_eq!(gains(estimate(0.02, 0.005), 3.0), Verdict::Held);
        assert_eq!(gains(estimate(0.014, 0.005), 3.0), Verdict::Open);
        assert_eq!(gains(estimate(-0.004, 0.005), 3.0), Verdict::Open);
        // A loss, and what is surely below a point.
        assert_eq!(gains(estimate(-0.02, 0.005), 3.0), Verdict::Failed);
        assert_eq!(gains(estimate(0.002, 0.002), 3.0), Verdict::Failed);
        assert_eq!(gains(None, 3.0), Verdict::Failed);
        // Half a point that is sure is one, be it small.
        assert_eq!(gains(estimate(0.005, 0.001), 3.0), Verdict::Held);
        let lossless = |value, error| {
            let named = [("a".to_owned(), estimate(0.0, 0.001)), ("b".to_owned(), estimate(value, error))];
            all_above("s", -0.01, 40, &named).verdict
        };
        assert_eq!(lossless(-0.002, 0.002), Verdict::Held);
        assert_eq!(lossless(-0.002, 0.01), Verdict::Open);
        assert_eq!(lossless(-0.02, 0.002), Verdict::Failed);
    }

    #[test]
    fn a_claim_is_only_as_good_as_its_worst_point() {
        let widths = [4, 8, 16];
        let claim = |trained: [Option<f64>; 3]| {
            let measured: Vec<_> = widths
                .iter()
                .zip(trained)
                .flat_map(|(channels, trained)| {
                    // Seeds that lie a point apart.
                    [0.0, 0.01, 0.02].map(|more| {
                        let seed = (100.0 * more) as u64;
                        let point = Point { channels: *channels, seed, ..BASE };
                        one(point, 0.30, trained.map(|trained| trained + more))
                    })
                })
                .collect();
            let all = summaries(&measured);
            let named: Vec<_> = widths.iter().zip(&all).map(|(width, one)| (width.to_string(), Some(one))).collect();
            all_gain("s", Reading::All, &named)
        };
        let held = claim([Some(0.35), Some(0.36), Some(0.37)]);
        assert_eq!(held.verdict, Verdict::Held, "{}", held.evidence);
        assert!(held.evidence.contains("as there are 3"), "{}", held.evidence);
        let lost = claim([Some(0.25), Some(0.36), None]);
        assert_eq!(lost.verdict, Verdict::Failed);
        assert!(lost.evidence.ends_with("none or a loss: 4, 16"), "{}", lost.evidence);
        let open = claim([Some(0.30), Some(0.36), Some(0.37)]);
        assert_eq!(open.verdict, Verdict::Open, "{}", open.evidence);
        assert!(open.evidence.ends_with("not decided: 4"), "{}", open.evidence);
        assert_eq!(all_gain("s", Reading::All, &[]).verdict, Verdict::Open);
    }
}
