//! Spearman's rank correlation, and how likely it would be without a connection.

use clapp_data::rng::{Purpose, stream};

/// Pairs up to which all orders are tried: 3.6 million of ten.
const EXACT: usize = 10;

/// Orders that are drawn where there are more pairs.
const DRAWN: usize = 100_000;

/// A rank correlation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankCorrelation {
    /// Spearman's rho: the correlation of the ranks, ties at the mean of their places.
    pub rho: f64,
    /// Share of all orders of one side under which |rho| is at least as large (a permutation test of two sides).
    pub p: f64,
}

/// The rank correlation of pairs; `None` for fewer than three, or where one side is all the same.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<RankCorrelation> {
    let centred = |side: fn(&(f64, f64)) -> f64| {
        let ranks = ranks(&pairs.iter().map(side).collect::<Vec<_>>());
        let mean = (pairs.len() as f64 + 1.0) / 2.0;
        ranks.into_iter().map(|rank| rank - mean).collect::<Vec<f64>>()
    };
    let (x, mut y) = (centred(|pair| pair.0), centred(|pair| pair.1));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let norms = (dot(&x, &x) * dot(&y, &y)).sqrt();
    if pairs.len() < 3 || norms == 0.0 {
        return None;
    }
    let found = dot(&x, &y);
    // Ranks are halves of whole numbers, so products are exact, and orders that tie do so to the bit.
    let (mut as_large, mut all) = (0_u64, 0_u64);
    let mut count = |y: &[f64]| {
        all += 1;
        as_large += u64::from(dot(&x, y).abs() >= found.abs());
    };
    if pairs.len() <= EXACT {
        orders(&mut y, &mut count);
    } else {
        // The order that was found is one of them, so that p is never 0.
        count(&y);
        let mut rng = stream(0, Purpose::Permutation, 0, 0);
        for _ in 0..DRAWN {
            rng.shuffle(&mut y);
            count(&y);
        }
    }
    Some(RankCorrelation { rho: found / norms, p: as_large as f64 / all as f64 })
}

/// Ranks from 1; those that tie have the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
    let same = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
    values.iter().map(|value| below(*value) + (same(*value) + 1.0) / 2.0).collect()
}

/// All orders of a list, one after the other (Heap 1963).
fn orders(list: &mut [f64], visit: &mut impl FnMut(&[f64])) {
    let mut swaps = vec![0; list.len()];
    visit(list);
    let mut at = 1;
    while at < list.len() {
        if swaps[at] < at {
            list.swap(if at % 2 == 0 { 0 } else { swaps[at] }, at);
            visit(list);
            swaps[at] += 1;
            at = 1;
        } else {
            swaps[at] = 0;
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: &[f64], y: &[f64]) -> RankCorrelation {
        spearman(&x.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn known_values_are_met() {
        // Of 120 orders of five, 5 differ by at most one swap of neighbours, and as many from the reverse.
        let five = of(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0, 2.0, 3.0, 5.0, 4.0]);
        assert!((five.rho - 0.9).abs() < 1e-12 && (five.p - 10.0 / 120.0).abs() < 1e-12, "{five:?}");
        let down = of(&[1.0, 2.0, 3.0, 4.0], &[9.0, 7.0, 5.0, -3.0]);
        assert!((down.rho + 1.0).abs() < 1e-12 && (down.p - 2.0 / 24.0).abs() < 1e-12, "{down:?}");
        // A worked example in many textbooks: intelligence and hours of television.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let ten = of(&iq, &hours);
        assert!((ten.rho + 29.0 / 165.0).abs() < 1e-12, "{ten:?}");
        // Counted by another program, over subsets instead of orders: 2,293,916 of 10!.
        assert!((ten.p - 2_293_916.0 / 3_628_800.0).abs() < 1e-12, "{ten:?}");
    }

    #[test]
    fn ties_share_their_places() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        // By Pearson's formula on those ranks; 20 of their 24 orders give as much.
        let tied = of(&[1.0, 2.0, 3.0, 4.0], &[3.0, 1.0, 3.0, 2.0]);
        assert!((tied.rho + 1.0 / 22.5_f64.sqrt()).abs() < 1e-12, "{tied:?}");
        assert!((tied.p - 20.0 / 24.0).abs() < 1e-12, "{tied:?}");
        assert_eq!(spearman(&[(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]), None);
        assert_eq!(spearman(&[(1.0, 2.0), (2.0, 3.0)]), None);
    }

    #[test]
    fn many_pairs_are_judged_by_drawn_orders() {
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let mut y = x.clone();
        y.swap(0, 11);
        let much = of(&x, &y);
        // 1 - 6 * 242 / (12 * 143); the t distribution of ten degrees of freedom gives 0.633.
        assert!((much.rho - 0.153_846).abs() < 1e-5 && (much.p - 0.633).abs() < 0.02, "{much:?}");
        assert!(of(&x, &x).p < 1e-4 && of(&x, &x).p > 0.0);
        let mut seen = std::collections::HashSet::new();
        orders(&mut [1.0, 2.0, 3.0, 4.0], &mut |order| {
            seen.insert(order.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        });
        assert_eq!(seen.len(), 24);
    }
}
