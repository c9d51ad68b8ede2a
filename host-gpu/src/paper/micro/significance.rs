//! From how many standard errors on a difference counts, where several are looked at and their spread is estimated.

/// Chance that a claim's verdict is luck where nothing is there, over all that it tests.
pub const LEVEL: f64 = 0.05;

/// Standard errors beyond which one of `comparisons` differences counts, two-sided at [`LEVEL`] over all of them
/// (Bonferroni), where the spread was estimated with so many degrees of freedom: Student's quantile by its expansion in
/// one over these (Abramowitz and Stegun 26.7.5), which is good to a hundredth from ten on.
pub fn critical(comparisons: usize, freedom: usize) -> f64 {
    let z = normal_quantile(1.0 - LEVEL / 2.0 / comparisons.max(1) as f64);
    let freedom = freedom.max(1) as f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

/// Where the normal distribution's chance to lie below is `share`, above a half, by halving.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        let below = 1.0 - 0.5 * libm::erfc(middle / std::f64::consts::SQRT_2);
        if below < share { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (comparisons, freedom, expected) in [
            (1, 1_000_000, 1.960),
            (5, 1_000_000, 2.576),
            (50, 1_000_000, 3.291),
            (1, 10, 2.228),
            (1, 30, 2.042),
            (5, 10, 3.169),
            (5, 20, 2.845),
            (5, 40, 2.704),
        ] {
            let found = critical(comparisons, freedom);
            assert!((found - expected).abs() < 0.01, "{comparisons} and {freedom}: {found}, expected {expected}");
        }
    }
}
