//! What is claimed, and what became of it.

use super::Summary;
use super::course::Storage;
use super::point::{BASE, BATCHES, DEPTHS, INPUTS, Point, WIDTHS};
use crate::paper::{Claim, Verdict};

/// A difference counts from so many standard errors on.
const ERRORS: f64 = 2.0;

/// A gain with its error in points, as text.
fn words(summary: &Summary) -> String {
    match summary.gain() {
        Some(gain) => format!("{:+.1} ± {:.1}", 100.0 * gain, 100.0 * summary.error),
        None => "diverged".into(),
    }
}

/// Whether a gain is above, below or within its error.
fn sign(summary: &Summary) -> i32 {
    match summary.gain() {
        Some(gain) if gain > ERRORS * summary.error => 1,
        Some(gain) if gain >= -ERRORS * summary.error => 0,
        _ => -1,
    }
}

/// That all points gain: it fails where one loses or diverges.
fn all_gain(statement: &str, names: &[String], summaries: &[Option<&Summary>]) -> Claim {
    let known: Vec<(&String, &Summary)> =
        names.iter().zip(summaries).filter_map(|(name, summary)| Some((name, (*summary)?))).collect();
    let lowest = known.iter().map(|(_, summary)| sign(summary)).min().unwrap_or(0);
    let verdict = match lowest {
        1 => Verdict::Held,
        0 => Verdict::Open,
        _ => Verdict::Failed,
    };
    let list: Vec<String> = known.iter().map(|(name, summary)| format!("{name}: {}", words(summary))).collect();
    let without: Vec<&str> =
        known.iter().filter(|(_, summary)| sign(summary) < 1).map(|(name, _)| name.as_str()).collect();
    let end = if without.is_empty() {
        "all above two standard errors".to_owned()
    } else {
        format!("not above two standard errors: {}", without.join(", "))
    };
    Claim::new(statement, verdict, format!("gain in points, {}; {end}", list.join(", ")))
}

/// That `one` is as good as `other`: it fails where it is worse by more than two standard errors of the difference.
fn no_worse(statement: &str, one: Option<&Summary>, other: Option<&Summary>) -> Option<Claim> {
    let (one, other) = (one?, other?);
    let error = one.error.hypot(other.error);
    let verdict = match (one.gain(), other.gain()) {
        (Some(a), Some(b)) if a - b > ERRORS * error => Verdict::Held,
        (Some(a), Some(b)) if a - b >= -ERRORS * error => Verdict::Open,
        _ => Verdict::Failed,
    };
    let evidence =
        format!("gain {} against {}, error of the difference {:.1}", words(one), words(other), 100.0 * error);
    Some(Claim::new(statement, verdict, evidence))
}

/// All claims; they are this project's own.
pub fn claims(summaries: &[Summary]) -> Vec<Claim> {
    let find = |point: Point| summaries.iter().find(|summary| summary.point == point);
    let over = |values: &[usize], of: &dyn Fn(usize) -> Point| -> Vec<Option<&Summary>> {
        values.iter().map(|value| find(of(*value))).collect()
    };
    let names = |values: &[usize], unit: &str| values.iter().map(|value| format!("{value} {unit}")).collect::<Vec<_>>();
    let base = find(BASE);
    let stream = find(Point { batch: 1, ..BASE });
    let mut claims = vec![
        all_gain(
            "learning gains at every width from 4 to 64 channels",
            &names(&WIDTHS, "channels"),
            &over(&WIDTHS, &|channels| Point { channels, ..BASE }),
        ),
        all_gain(
            "learning from a stream of single frames gains at every width that was tried",
            &names(&WIDTHS, "channels"),
            &over(&WIDTHS, &|channels| Point { channels, batch: 1, ..BASE }),
        ),
        all_gain(
            "learning gains at every depth from 2 to 6 layers of 16 channels",
            &names(&DEPTHS, "layers"),
            &over(&DEPTHS, &|depth| Point { depth, ..BASE }),
        ),
        all_gain(
            "learning gains at every depth from 2 to 6 layers of 4 channels",
            &names(&DEPTHS, "layers"),
            &over(&DEPTHS, &|depth| Point { depth, channels: 4, ..BASE }),
        ),
        all_gain(
            "learning gains with frames of 16, 24 and 32 pixels a side",
            &names(&INPUTS, "pixels"),
            &over(&INPUTS, &|input| Point { input, ..BASE }),
        ),
    ];
    claims.extend(no_worse("a stream of single frames teaches more than batches of 32", stream, base));
    for batch in BATCHES {
        let (stored, full) = (find(Point { storage: Storage::Bf16, batch, ..BASE }), find(Point { batch, ..BASE }));
        claims.extend(lossless(batch, stored, full));
    }
    claims
}

/// That projections in bf16 lose nothing: held where the difference is within its error and the error is small.
fn lossless(batch: usize, stored: Option<&Summary>, full: Option<&Summary>) -> Option<Claim> {
    let (stored, full) = (stored?, full?);
    let error = stored.error.hypot(full.error);
    let statement = format!("projections in bf16 lose less than two points, learnt by batches of {batch}");
    let verdict = match (stored.gain(), full.gain()) {
        (Some(a), Some(b)) if a - b > ERRORS * error - 0.02 => Verdict::Held,
        (Some(a), Some(b)) if a - b >= -0.02 - ERRORS * error => Verdict::Open,
        _ => Verdict::Failed,
    };
    let evidence = format!("gain {} in bf16, {} in f32, error of the difference {:.1}", words(stored), words(full), {
        100.0 * error
    });
    Some(Claim::new(statement, verdict, evidence))
}

/// What a reader should know.
pub fn notes() -> Vec<String> {
    [
        "Frames are grey: so are those of most sensors on such devices, and the first layer and every frame take a third \
         of the memory. The images are resized by an antialiased filter to the size of the frame.",
        "All follow the firmware's rule clapp++dfb: its projections are D x D_top, where those of clapp++ are D x D, 256 KiB \
         for the first layer of 16 channels. Streams learn by plain SGD, which has no state, as the firmware does; batches \
         by AdamW, as `clapp train` prepares a network, so that batch size and optimiser change together. Rates are the \
         same for all widths, depths and sizes: a network far from the base point may do better at another one.",
        "The read-out of all layers sees the first layer, whose random features are good already: the narrower and shorter \
         the course, the more of the accuracy is theirs. It depends on no scale of the features; a probe that descends a \
         gradient for a few epochs, or the nearest class mean, gains more where learning only brings features to an even \
         size.",
        "Single seeds beside the base point: a difference below two standard errors says nothing. Small networks on few \
         images and few epochs; the accuracies are not the paper's.",
        "What `clapp recommend` prints comes from the table of this experiment.",
    ]
    .map(String::from)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(point: Point, gain: Option<f64>, error: f64) -> Summary {
        let trained = gain.map(|gain| [0.3 + gain; 3]);
        Summary { point, untrained: [0.3; 3], trained, seeds: 1, error }
    }

    #[test]
    fn verdicts_follow_the_numbers() {
        let verdict = |gain: Option<f64>, error: f64| {
            let one = summary(BASE, gain, error);
            all_gain("s", &["a".into()], &[Some(&one)]).verdict
        };
        assert_eq!(verdict(Some(0.05), 0.01), Verdict::Held);
        assert_eq!(verdict(Some(0.015), 0.01), Verdict::Open);
        assert_eq!(verdict(Some(-0.03), 0.01), Verdict::Failed);
        assert_eq!(verdict(None, 0.01), Verdict::Failed);
        let (less, more) = (summary(BASE, Some(0.02), 0.005), summary(BASE, Some(0.05), 0.005));
        assert_eq!(no_worse("s", Some(&less), Some(&more)).map(|claim| claim.verdict), Some(Verdict::Failed));
        assert_eq!(no_worse("s", Some(&more), Some(&less)).map(|claim| claim.verdict), Some(Verdict::Held));
        assert_eq!(no_worse("s", Some(&more), Some(&more)).map(|claim| claim.verdict), Some(Verdict::Open));
        assert_eq!(lossless(1, Some(&more), Some(&more)).map(|claim| claim.verdict), Some(Verdict::Held));
        assert_eq!(lossless(1, Some(&less), Some(&more)).map(|claim| claim.verdict), Some(Verdict::Open));
        let lost = summary(BASE, Some(0.0), 0.002);
        assert_eq!(lossless(1, Some(&lost), Some(&more)).map(|claim| claim.verdict), Some(Verdict::Failed));
    }
}
