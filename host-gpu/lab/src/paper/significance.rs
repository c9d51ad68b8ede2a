//! From how many standard errors on a difference counts, where its spread is estimated.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Chance that a verdict is luck where nothing is there, over all that a claim tests.
pub const LEVEL: f64 = 0.05;

/// Standard errors beyond which one of `comparisons` differences counts, two-sided at [`LEVEL`] over all of them
/// (Bonferroni), where the spread was estimated with so many degrees of freedom: Student's quantile. With none of them
/// nothing is known of the spread, and no difference counts.
pub fn critical(comparisons: usize, freedom: usize) -> f64 {
    let share = 1.0 - LEVEL / 2.0 / comparisons.max(1) as f64;
    match StudentsT::new(0.0, 1.0, freedom as f64) {
        Ok(student) => student.inverse_cdf(share),
        Err(_) => f64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (comparisons, freedom, expected) in [
            (1, 1, 12.706),
            (1, 2, 4.303),
            (1, 5, 2.571),
            (1, 10, 2.228),
            (1, 30, 2.042),
            (1, 1_000_000, 1.960),
            (5, 10, 3.169),
            (5, 20, 2.845),
            (5, 40, 2.704),
            (50, 1_000_000, 3.291),
        ] {
            let found = critical(comparisons, freedom);
            assert!((found - expected).abs() < 0.001, "{comparisons} and {freedom}: {found}, expected {expected}");
        }
        assert_eq!(critical(1, 0), f64::MAX);
    }
}
