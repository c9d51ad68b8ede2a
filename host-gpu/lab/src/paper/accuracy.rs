//! Accuracies of encoders over training seeds, their errors, and what may be said of a difference: the same tests for
//! every experiment that compares rules.

use super::encoder::standard_error;
use super::significance::critical;
use super::{Claim, Verdict};

/// One rule reaches another where it is less accurate by no more than this.
pub const MARGIN: f64 = 0.01;

/// Probe accuracies of one rule's encoders.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    /// Name of the rule.
    pub name: &'static str,
    /// Share of test images classified rightly, of each training seed.
    pub seeds: Vec<f64>,
    /// Test images, the same for all.
    pub images: usize,
}

/// Standard deviation of an accuracy over training seeds, in common for all rules: with two seeds of a rule alone it
/// would be known from one difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The deviation.
    pub deviation: f64,
    /// Degrees of freedom that it is known from.
    pub freedom: usize,
}

/// A difference of two mean accuracies, with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// First less second, 0 to 1.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
    /// Standard errors from which on it counts.
    pub errors: f64,
}

/// Mean; 0 of no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Accuracy {
    /// Mean over the seeds.
    pub fn mean(&self) -> f64 {
        mean(&self.seeds)
    }

    /// Squared standard error of the mean: of the seeds, and of the test images.
    fn variance(&self, spread: Spread) -> f64 {
        spread.deviation.powi(2) / self.seeds.len().max(1) as f64 + standard_error(self.mean(), self.images).powi(2)
    }

    /// Standard error of the mean.
    pub fn error(&self, spread: Spread) -> f64 {
        self.variance(spread).sqrt()
    }

    /// First less second. The test images are the same for both, so that the true error is somewhat smaller than this.
    pub fn less(&self, other: &Self, spread: Spread) -> Difference {
        Difference {
            value: self.mean() - other.mean(),
            error: (self.variance(spread) + other.variance(spread)).sqrt(),
            errors: spread.errors(),
        }
    }

    /// First less second, by pairs of the same training seed, where both begin alike and see the same images in the same
    /// order: the error is that of the pairs' mean.
    pub fn paired(&self, other: &Self) -> Difference {
        let differences: Vec<f64> = self.seeds.iter().zip(&other.seeds).map(|(one, other)| one - other).collect();
        let (value, spread) = (mean(&differences), Spread::pooled([&differences]));
        // One pair says nothing of how pairs differ.
        let error = match spread.freedom {
            0 => f64::INFINITY,
            _ => spread.deviation / (differences.len() as f64).sqrt(),
        };
        Difference { value, error, errors: spread.errors() }
    }

    /// In words, in per cent with the standard error.
    pub fn words(&self, spread: Spread) -> String {
        format!("{} {:.1} ± {:.1} %", self.name, 100.0 * self.mean(), 100.0 * self.error(spread))
    }
}

impl Spread {
    /// Pooled over all rules with more than one seed; 0 with no freedom where there is none.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Accuracy>) -> Self {
        Self::pooled(all.into_iter().map(|accuracy| &accuracy.seeds))
    }

    /// Pooled over groups of values, each about its own mean.
    pub fn pooled(groups: impl IntoIterator<Item = impl AsRef<[f64]>>) -> Self {
        let (mut squares, mut freedom) = (0.0, 0);
        for group in groups {
            let values = group.as_ref();
            let mean = mean(values);
            squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            freedom += values.len().saturating_sub(1);
        }
        Self { deviation: (squares / freedom.max(1) as f64).sqrt(), freedom }
    }

    /// Standard errors that a difference must be beyond: 95 % of Student's t with these degrees of freedom. The part of the
    /// test images is known better than that, so that this is on the careful side.
    pub fn errors(self) -> f64 {
        critical(1, self.freedom)
    }

    /// In words.
    pub fn words(self) -> String {
        format!("{:.2} points ({} degrees of freedom)", 100.0 * self.deviation, self.freedom)
    }
}

impl Difference {
    /// Held if the first is above the second.
    pub fn above(self) -> Verdict {
        if self.value > self.errors * self.error {
            Verdict::Held
        } else if self.value < -self.errors * self.error {
            Verdict::Failed
        } else {
            Verdict::Open
        }
    }

    /// Held if the first is above the second less `margin`.
    pub fn reaches(self, margin: f64) -> Verdict {
        Self { value: self.value + margin, ..self }.above()
    }

    /// In points.
    pub fn points(self) -> String {
        format!("{:+.1} points", 100.0 * self.value)
    }

    /// In points, with the smallest difference that counts.
    pub fn words(self) -> String {
        format!("{}, counted beyond {:.1}", self.points(), 100.0 * self.errors * self.error)
    }
}

/// A claim that one rule is above another.
pub fn above(statement: &str, one: &Accuracy, other: &Accuracy, spread: Spread) -> Claim {
    compared(statement, one, other, spread, Difference::above)
}

/// A claim that one rule reaches another, within [`MARGIN`].
pub fn reaches(statement: &str, one: &Accuracy, other: &Accuracy, spread: Spread) -> Claim {
    let statement = format!("{statement}, within {} point", 100.0 * MARGIN);
    compared(&statement, one, other, spread, |difference| difference.reaches(MARGIN))
}

fn compared(
    statement: &str,
    one: &Accuracy,
    other: &Accuracy,
    spread: Spread,
    verdict: impl Fn(Difference) -> Verdict,
) -> Claim {
    let difference = one.less(other, spread);
    let evidence = format!("{}, {}: {}", one.words(spread), other.words(spread), difference.words());
    Claim::new(statement, verdict(difference), evidence).number(difference.points())
}

/// A note on compared rules that are not shown to be above the untrained encoder: to reach these says little.
pub fn note_on_reached(reached: &[&Accuracy], untrained: &Accuracy, spread: Spread) -> Option<String> {
    let weak = reached.iter().filter(|rule| rule.less(untrained, spread).above() != Verdict::Held);
    let weak: Vec<String> = weak.map(|rule| rule.words(spread)).collect();
    (!weak.is_empty()).then(|| {
        format!(
            "To reach a rule says little where that is not shown to be above the untrained encoder itself ({}): {}.",
            untrained.words(spread),
            weak.join(", ")
        )
    })
}

/// A note on the errors.
pub fn note(spread: Spread) -> String {
    format!(
        "The error of an accuracy is that of its training seeds and that of its test images together. How seeds differ is \
         taken in common from all rules that were trained with more than one: {}. A difference counts beyond {:.2} standard \
         errors (95 % of Student's t); one rule reaches another where it is surely not more than {} point below.",
        spread.words(),
        spread.errors(),
        100.0 * MARGIN
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(seeds: &[f64]) -> Accuracy {
        Accuracy { name: "rule", seeds: seeds.to_vec(), images: 10_000 }
    }

    #[test]
    fn what_has_not_learnt_is_named() {
        let spread = Spread { deviation: 0.01, freedom: 10 };
        let (untrained, weak, good) = (accuracy(&[0.41]), accuracy(&[0.42]), accuracy(&[0.55]));
        assert_eq!(note_on_reached(&[&good], &untrained, spread), None);
        let note = note_on_reached(&[&good, &weak], &untrained, spread).unwrap_or_default();
        assert!(note.contains("rule 42.0") && !note.contains("55.0"), "{note}");
    }

    #[test]
    fn the_spread_is_pooled_over_rules_with_more_than_one_seed() {
        let all = [accuracy(&[0.40, 0.42]), accuracy(&[0.30, 0.30]), accuracy(&[0.9])];
        let spread = Spread::of(&all);
        assert_eq!(spread.freedom, 2);
        // Squares 0.0001 + 0.0001 of the first, over two degrees.
        assert!((spread.deviation - 0.01).abs() < 1e-12);
        assert!((spread.errors() - 4.303).abs() < 1e-3);
        // One seed of each says nothing of how seeds differ: no difference counts.
        let unknown = Spread::of(&all[2..]);
        assert_eq!(unknown, Spread { deviation: 0.0, freedom: 0 });
        assert_eq!(all[2].less(&all[0], unknown).above(), Verdict::Open);
    }

    #[test]
    fn the_error_has_both_the_seeds_and_the_images() {
        let (one, two) = (accuracy(&[0.5]), accuracy(&[0.5, 0.5]));
        let spread = Spread { deviation: 0.01, freedom: 5 };
        let images: f64 = 0.25 / 10_000.0;
        assert!((one.error(spread) - (0.0001 + images).sqrt()).abs() < 1e-12);
        assert!((two.error(spread) - (0.00005 + images).sqrt()).abs() < 1e-12);
        assert!((one.less(&two, spread).error - (0.00015 + 2.0 * images).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn pairs_of_the_same_seed_are_compared_by_their_differences() {
        // Seeds lie far apart, pairs do not: differences 1, 2 and 3 points.
        let difference = accuracy(&[0.31, 0.42, 0.53]).paired(&accuracy(&[0.3, 0.4, 0.5]));
        assert!((difference.value - 0.02).abs() < 1e-12 && (difference.errors - 4.303).abs() < 1e-3, "{difference:?}");
        assert!((difference.error - 0.01 / 3.0_f64.sqrt()).abs() < 1e-12, "{difference:?}");
        assert_eq!(accuracy(&[0.5]).paired(&accuracy(&[0.1])).above(), Verdict::Open);
    }

    #[test]
    fn verdicts_need_differences_beyond_their_errors() {
        use Verdict::{Failed, Held, Open};
        let verdicts = |value: f64| {
            let difference = Difference { value, error: 0.004, errors: 2.5 };
            [difference.above(), difference.reaches(MARGIN)]
        };
        assert_eq!(verdicts(0.011), [Held, Held]);
        assert_eq!(verdicts(0.001), [Open, Held]);
        assert_eq!(verdicts(-0.001), [Open, Open]);
        assert_eq!(verdicts(-0.011), [Failed, Open]);
        assert_eq!(verdicts(-0.021), [Failed, Failed]);
        let claim =
            reaches("one reaches two", &accuracy(&[0.5]), &accuracy(&[0.4]), Spread { deviation: 0.0, freedom: 5 });
        assert!(claim.statement.ends_with("within 1 point") && claim.verdict == Held, "{claim:?}");
        assert!(claim.evidence.contains("rule 50.0 ± 0.5 %") && claim.evidence.contains("+10.0 points"), "{claim:?}");
    }
}
