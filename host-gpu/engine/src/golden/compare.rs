//! Errors of computed results, and their limits.

use super::Computed;
use super::case::Case;

/// Largest error of forward results, scores, losses and gradients.
pub const LIMIT: f64 = 1e-5;

/// Largest allowed error after several learning steps.
pub const LIMIT_AFTER_STEPS: f64 = 1e-4;

/// Smallest scale that an error is measured against.
const LEAST_SCALE: f64 = 1e-3;

/// The limit of an expected result, by its name.
pub fn limit(name: &str) -> f64 {
    let learnt = name == "losses" || ["after.", "final.", "probe."].iter().any(|group| name.starts_with(group));
    if learnt { LIMIT_AFTER_STEPS } else { LIMIT }
}

/// `max |got - want| / max(|want|_max, 1e-3)`; NaN if either holds NaN.
pub fn error(got: &[f64], want: &[f64]) -> f64 {
    // `f64::max` would drop a NaN.
    let larger = |a: f64, b: f64| if b.is_nan() || b > a { b } else { a };
    let scale = want.iter().fold(LEAST_SCALE, |scale, want| larger(scale, want.abs()));
    let most = got.iter().zip(want).fold(0.0, |most, (got, want)| larger(most, (got - want).abs()));
    most / scale
}

/// One compared tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Its name without `expect.`.
    pub tensor: String,
    /// Its error.
    pub error: f64,
    /// The error's limit.
    pub limit: f64,
}

impl Measured {
    /// Returns `true` if the error is a number and within its limit.
    pub fn is_within(&self) -> bool {
        self.error <= self.limit
    }

    /// The error as a share of its limit; infinite for NaN.
    pub fn share(&self) -> f64 {
        let share = self.error / self.limit;
        if share.is_nan() { f64::INFINITY } else { share }
    }
}

/// A case's results beside what it expects.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Name of the case.
    pub case: String,
    /// Every tensor that could be compared.
    pub measured: Vec<Measured>,
    /// Expected tensors that the backend neither computed nor declined, or computed with another length.
    pub failed: Vec<(String, String)>,
    /// Groups that the backend declined: name, reason, number of expected tensors in it.
    pub declined: Vec<(String, &'static str, usize)>,
    /// Fields of the case's description that are not known here.
    pub unknown: Vec<String>,
}

impl Comparison {
    /// The tensor whose error is largest relative to its limit.
    pub fn worst(&self) -> Option<&Measured> {
        self.measured.iter().max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    /// Returns `true` if all that the case expects was compared within its limits, or declined.
    pub fn is_within(&self) -> bool {
        self.failed.is_empty() && self.measured.iter().all(Measured::is_within)
    }
}

/// Holds what was computed against every tensor that the case expects.
pub fn compare(case: &Case, computed: &Computed) -> Comparison {
    let mut result = Comparison { case: case.name.clone(), unknown: case.unknown.clone(), ..Comparison::default() };
    let mut declined: Vec<_> = computed.not_mine.iter().map(|(group, reason)| (group.clone(), *reason, 0)).collect();
    for (name, want) in &case.expected {
        let got = computed.tensors.iter().find(|(computed, _)| computed == name);
        match got {
            Some((_, got)) if got.len() == want.len() => {
                result.measured.push(Measured { tensor: name.clone(), error: error(got, want), limit: limit(name) });
            }
            Some((_, got)) => {
                let reason = format!("{} elements computed, {} expected", got.len(), want.len());
                result.failed.push((name.clone(), reason));
            }
            None => match declined.iter_mut().find(|(group, ..)| is_in(name, group)) {
                Some((_, _, count)) => *count += 1,
                None => result.failed.push((name.clone(), "not computed".into())),
            },
        }
    }
    result.declined = declined.into_iter().filter(|(_, _, count)| *count > 0).collect();
    result
}

/// Returns `true` if `name` is `group` or lies in it: `grad.layer0.weight` lies in `grad`.
fn is_in(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
