//! Ours beside PyTorch's: ratios, and the bounds that they must keep.

use super::rows::{Case, Ours, Speed, Theirs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Least ratio of a step of PyTorch's best variant to ours, at batch 32.
const STEP: f64 = 1.5;
/// Least ratio of a step of PyTorch's with the paper-style loader to ours with its data.
const END_TO_END: f64 = 3.0;
/// Most memory beside PyTorch's of the same rule, at STL-10 size.
const MEMORY_SAME_RULE: f64 = 0.6;
/// Most memory beside PyTorch's back-propagation, at STL-10 size.
const MEMORY_BP: f64 = 0.5;
/// Most that the predicted peak may be off.
const PREDICTION: f64 = 0.1;

/// The batch of the bound on steps.
const SMALL_BATCH: usize = 32;
/// STL-10's frames.
const LARGE_FRAMES: usize = 96;
/// The rule whose memory is bounded.
const LOCAL: &str = "clapp++";
/// PyTorch's back-propagation without any saving.
const BP: &str = "bp-clapp++";

/// One case, ours beside PyTorch's. `None` where one of the two was not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    /// The combination.
    pub case: Case,
    /// Our fastest precision.
    pub ours: Option<Ours>,
    /// Smallest peak of our precisions.
    pub our_peak: Option<u64>,
    /// PyTorch's fastest variant.
    pub theirs: Option<Theirs>,
    /// Smallest peak of PyTorch's variants.
    pub their_peak: Option<u64>,
    /// Our fastest step with its data.
    pub our_end_to_end: Option<f64>,
    /// PyTorch's fastest step with its data.
    pub their_end_to_end: Option<f64>,
}

impl Beside {
    /// Ratio of PyTorch's step to ours.
    pub fn step_ratio(&self) -> Option<f64> {
        Some(self.theirs.as_ref()?.seconds_per_step? / self.ours.as_ref()?.seconds_per_step)
    }

    /// Ratio of PyTorch's step with its data to ours.
    pub fn end_to_end_ratio(&self) -> Option<f64> {
        Some(self.their_end_to_end? / self.our_end_to_end?)
    }

    /// Our peak over PyTorch's.
    pub fn memory_ratio(&self) -> Option<f64> {
        Some(self.our_peak? as f64 / self.their_peak? as f64)
    }
}

/// The row with the smallest value.
fn least<T: Clone>(rows: &[&T], value: impl Fn(&T) -> Option<f64>) -> Option<T> {
    let numbered = rows.iter().filter_map(|row| Some((value(row)?, *row)));
    numbered.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, row)| row.clone())
}

/// All cases of which anything was measured, in the order of their sizes.
pub fn beside(speed: &Speed) -> Vec<Beside> {
    let cases = speed.ours.iter().map(Ours::case).chain(speed.theirs.iter().map(Theirs::case));
    let cases: BTreeSet<Case> = cases.collect();
    cases
        .into_iter()
        .map(|case| {
            let ours: Vec<&Ours> = speed.ours.iter().filter(|row| row.case() == case).collect();
            let theirs: Vec<&Theirs> = speed.theirs.iter().filter(|row| row.case() == case).collect();
            let mode = |mode: &str| -> Vec<&Theirs> { theirs.iter().filter(|row| row.mode == mode).copied().collect() };
            let (steps, whole) = (mode("step"), mode("end-to-end"));
            Beside {
                our_peak: ours.iter().map(|row| row.peak_bytes).min(),
                their_peak: steps.iter().filter_map(|row| row.peak_bytes).min(),
                our_end_to_end: least(&ours, |row| row.end_to_end_seconds_per_step)
                    .and_then(|row| row.end_to_end_seconds_per_step),
                their_end_to_end: least(&whole, |row| row.seconds_per_step).and_then(|row| row.seconds_per_step),
                ours: least(&ours, |row| Some(row.seconds_per_step)),
                theirs: least(&steps, |row| row.seconds_per_step),
                case,
            }
        })
        .collect()
}

/// A bound, and whether it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The bounded quantity.
    pub what: String,
    /// The measured value; nothing where it could not be measured.
    pub value: Option<f64>,
    /// The bound, as text.
    pub bound: String,
    /// True if it is kept; nothing if the value is missing.
    pub kept: Option<bool>,
}

impl Bound {
    fn at_least(what: String, value: Option<f64>, bound: f64) -> Self {
        Self { what, value, bound: format!("at least {bound}"), kept: value.map(|value| value >= bound) }
    }

    fn at_most(what: String, value: Option<f64>, bound: f64) -> Self {
        Self { what, value, bound: format!("at most {bound}"), kept: value.map(|value| value <= bound) }
    }
}

/// All bounds of what was measured.
pub fn bounds(speed: &Speed) -> Vec<Bound> {
    let all = beside(speed);
    let mut bounds = Vec::new();
    for row in &all {
        let Case { size, batch, rule } = &row.case;
        let at = format!("{rule}, {size}x{size}, batch {batch}");
        if *batch == SMALL_BATCH {
            bounds.push(Bound::at_least(format!("step, times PyTorch's best: {at}"), row.step_ratio(), STEP));
        }
        if row.their_end_to_end.is_some() || row.our_end_to_end.is_some() {
            let what = format!("end to end, times the paper-style loader: {at}");
            bounds.push(Bound::at_least(what, row.end_to_end_ratio(), END_TO_END));
        }
        if *size == LARGE_FRAMES && rule == LOCAL {
            let same = format!("peak memory, part of PyTorch's same rule: {at}");
            bounds.push(Bound::at_most(same, row.memory_ratio(), MEMORY_SAME_RULE));
            let bp = all.iter().find(|other| other.case == Case { rule: BP.into(), ..row.case.clone() });
            let peaks = row.our_peak.zip(bp.and_then(|bp| bp.their_peak));
            let ratio = peaks.map(|(ours, theirs)| ours as f64 / theirs as f64);
            bounds.push(Bound::at_most(format!("peak memory, part of PyTorch's {BP}: {at}"), ratio, MEMORY_BP));
        }
    }
    for row in &speed.ours {
        let off = (row.predicted_bytes as f64 / row.peak_bytes as f64 - 1.0).abs();
        let Case { size, batch, rule } = row.case();
        let what = format!("predicted peak, part off: {rule}, {size}x{size}, batch {batch}, {}", row.precision);
        bounds.push(Bound::at_most(what, Some(off), PREDICTION));
    }
    bounds
}

#[cfg(test)]
pub mod tests {
    use super::super::rows::Ceilings;
    use super::*;

    /// A row of ours at size 96.
    pub fn ours(rule: &str, precision: &str, seconds: f64, peak: u64) -> Ours {
        Ours {
            backend: "cuda".into(),
            precision: precision.into(),
            rule: rule.into(),
            width: 1.0,
            input: [3, 96, 96],
            batch: 32,
            seconds_per_step: seconds,
            images_per_second: 32.0 / seconds,
            end_to_end_seconds_per_step: Some(1.25 * seconds),
            peak_bytes: peak,
            predicted_bytes: peak,
            flops: 1e12,
            bytes_moved: 1e9,
        }
    }

    /// A row of PyTorch's at size 96.
    pub fn theirs(rule: &str, variant: &str, mode: &str, seconds: Option<f64>, peak: u64) -> Theirs {
        Theirs {
            rule: rule.into(),
            size: 96,
            batch: 32,
            variant: variant.into(),
            mode: mode.into(),
            width: 1.0,
            torch: "2".into(),
            seconds_per_step: seconds,
            peak_bytes: seconds.map(|_| peak),
            reserved_bytes: seconds.map(|_| 2 * peak),
            workers: (mode == "end-to-end").then_some(16),
            without_graph: None,
            without_compiler: None,
            error: seconds.is_none().then(|| "out of memory".into()),
        }
    }

    /// Ceilings of a device.
    pub fn ceilings() -> Ceilings {
        Ceilings {
            device: "a device".into(),
            product_flops_f32: 5e13,
            product_flops_tf32: 4e14,
            product_flops_bf16: 8e14,
            convolution_flops_f32: 4e13,
            convolution_flops_tf32: 5e14,
            convolution_flops_bf16: 7e14,
            copy_bytes_per_second: 1e12,
        }
    }

    /// A measurement in which every bound is just kept.
    pub fn speed() -> Speed {
        Speed {
            ceilings: Some(ceilings()),
            ours: vec![ours("clapp++", "tf32", 0.012, 700), ours("clapp++", "bf16", 1.0 / 128.0, 600)],
            theirs: vec![
                theirs("clapp++", "as-is", "step", Some(0.040), 1400),
                theirs("clapp++", "best", "step", Some(1.5 / 128.0), 1000),
                theirs("clapp++", "as-is", "end-to-end", Some(3.75 / 128.0), 1400),
                theirs("bp-clapp++", "as-is", "step", Some(0.050), 2000),
                theirs("bp-clapp++", "best", "step", Some(0.020), 1200),
            ],
            ..Speed::default()
        }
    }

    fn kept(speed: &Speed) -> Vec<(String, Option<bool>)> {
        bounds(speed).into_iter().map(|bound| (bound.what, bound.kept)).collect()
    }

    #[test]
    fn our_fastest_stands_beside_their_fastest() {
        let rows = beside(&speed());
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].case.rule, LOCAL);
        assert_eq!(rows[1].step_ratio(), Some(1.5));
        assert_eq!(rows[1].end_to_end_ratio(), Some(3.0));
        assert_eq!(rows[1].memory_ratio(), Some(0.6));
        // Of back-propagation ours was not measured.
        assert_eq!([rows[0].step_ratio(), rows[0].memory_ratio()], [None, None]);
    }

    #[test]
    fn each_bound_is_kept_and_would_be_missed() {
        let sound = speed();
        let missed = |speed: &Speed| -> Vec<String> {
            kept(speed).into_iter().filter(|(_, kept)| *kept == Some(false)).map(|(what, _)| what).collect()
        };
        assert_eq!(missed(&sound), Vec::<String>::new());
        type Change = fn(&mut Speed);
        let changes: [(&str, Change); 5] = [
            ("step, times", |speed| speed.theirs[1].seconds_per_step = Some(1.49 / 128.0)),
            ("end to end, times", |speed| speed.theirs[2].seconds_per_step = Some(3.7 / 128.0)),
            ("peak memory, part of PyTorch's same", |speed| speed.theirs[1].peak_bytes = Some(999)),
            ("peak memory, part of PyTorch's bp-clapp++", |speed| speed.theirs[4].peak_bytes = Some(1199)),
            ("predicted peak", |speed| speed.ours[0].predicted_bytes = 771),
        ];
        for (what, change) in changes {
            let mut speed = sound.clone();
            change(&mut speed);
            let missed = missed(&speed);
            assert!(missed.len() == 1 && missed[0].starts_with(what), "{what}: {missed:?}");
        }
    }

    #[test]
    fn what_was_not_measured_keeps_no_bound_and_misses_none() {
        let mut speed = speed();
        // Their best variant fits into no memory: then nothing of it counts.
        speed.theirs[1] = theirs("clapp++", "best", "step", None, 0);
        speed.theirs[0] = theirs("clapp++", "as-is", "step", None, 0);
        let of = |what: &str| kept(&speed).into_iter().find(|(name, _)| name.starts_with(what)).map(|(_, kept)| kept);
        assert_eq!(of("step, times PyTorch's best: clapp++"), Some(None));
        assert_eq!(of("peak memory, part of PyTorch's same rule"), Some(None));
        assert_eq!(of("peak memory, part of PyTorch's bp-clapp++"), Some(Some(true)));
        assert!(bounds(&Speed::default()).is_empty());
    }

    #[test]
    fn the_floor_is_the_larger_of_work_and_traffic() {
        let (ceilings, row) = (ceilings(), ours("clapp++", "tf32", 1.0, 1));
        assert_eq!(ceilings.floor(&row), Some(1e12 / 5e14));
        assert_eq!(ceilings.floor(&Ours { bytes_moved: 1e11, ..row.clone() }), Some(0.1));
        assert_eq!(ceilings.floor(&Ours { precision: "f16".into(), ..row }), None);
    }

    #[test]
    fn numbers_that_cannot_be_are_found() {
        let row = ours("clapp++", "tf32", 0.5, 1);
        assert!(row.is_sound());
        assert!(!Ours { seconds_per_step: f64::NAN, ..row.clone() }.is_sound());
        assert!(!Ours { images_per_second: 1.0, ..row.clone() }.is_sound());
        assert!(!Ours { flops: 0.0, ..row }.is_sound());
        let row = theirs("clapp++", "best", "step", Some(0.1), 1);
        assert!(row.is_sound() && theirs("clapp++", "best", "step", None, 1).is_sound());
        assert!(!Theirs { error: Some("out of memory".into()), ..row.clone() }.is_sound());
        assert!(!Theirs { seconds_per_step: None, ..row.clone() }.is_sound());
        assert!(!Theirs { seconds_per_step: None, error: Some("failed: no compiler".into()), ..row }.is_sound());
    }
}
