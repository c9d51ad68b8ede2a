//! Measures of collapse of a representation: features of some images in one layer.

/// Measures of the features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Mean length of a feature vector.
    pub norm: f64,
    /// Mean cosine of two different images' features; 1 where all are alike.
    pub likeness: f64,
    /// Dimensions that vary: `(sum of l_i)^2 / sum of l_i^2` over the eigenvalues of the covariance (the participation
    /// ratio).
    pub dimensions: f64,
    /// Share of the units that are the same for all images, such as silent ones.
    pub constant: f64,
}

/// Measures of `features` `[images, units]`.
pub fn measures(features: &[f32], units: usize) -> Measures {
    let rows: Vec<Vec<f64>> =
        features.chunks(units.max(1)).map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
    let count = rows.len().max(1) as f64;
    let norm = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
    let mut mean = vec![0.0; units];
    // The sum of all unit vectors has the sum of their cosines for its square.
    let mut sum = vec![0.0; units];
    let mut directed = 0.0;
    for row in &rows {
        let length = norm(row);
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
        if length > 0.0 {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / length);
            directed += 1.0;
        }
    }
    let squares: f64 = sum.iter().map(|value| value * value).sum();
    let likeness = if directed > 1.0 { (squares - directed) / (directed * (directed - 1.0)) } else { 1.0 };
    let centred: Vec<Vec<f64>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(value, mean)| value - mean).collect()).collect();
    let covariance = |one: usize, other: usize| centred.iter().map(|row| row[one] * row[other]).sum::<f64>() / count;
    let variances: Vec<f64> = (0..units).map(|unit| covariance(unit, unit)).collect();
    let trace: f64 = variances.iter().sum();
    let off_diagonal = |one: usize| (one + 1..units).map(|other| covariance(one, other).powi(2)).sum::<f64>();
    let frobenius = variances.iter().map(|variance| variance * variance).sum::<f64>()
        + 2.0 * (0..units).map(off_diagonal).sum::<f64>();
    let constant = rows
        .first()
        .map_or(0, |first| (0..units).filter(|unit| rows.iter().all(|row| row[*unit] == first[*unit])).count());
    Measures {
        norm: rows.iter().map(|row| norm(row)).sum::<f64>() / count,
        likeness,
        dimensions: if frobenius > 0.0 { trace * trace / frobenius } else { 0.0 },
        constant: constant as f64 / units.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::rng::{Purpose, stream};

    #[test]
    fn measures_are_those_of_features_made_to_have_them() {
        // Two directions, equally often: one dimension varies, and pairs are alike or at right angles.
        let two = measures(&[3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0, 0.0], 3);
        assert!((two.norm - 3.0).abs() < 1e-12 && (two.dimensions - 1.0).abs() < 1e-12);
        assert!((two.likeness - 1.0 / 3.0).abs() < 1e-12, "{two:?}");
        assert!((two.constant - 1.0 / 3.0).abs() < 1e-12);
        let same = measures(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 2);
        assert!((same.likeness - 1.0).abs() < 1e-12 && same.dimensions == 0.0 && same.constant == 1.0);
        // Independent units of the same variance: all dimensions vary.
        let mut rng = stream(1, Purpose::Other(0), 0, 0);
        let values: Vec<f32> = (0..8 * 4000).map(|_| rng.normal()).collect();
        let free = measures(&values, 8);
        assert!((free.dimensions - 8.0).abs() < 0.1 && free.likeness.abs() < 0.01 && free.constant == 0.0, "{free:?}");
        assert_eq!(measures(&[0.0; 4], 2), Measures { norm: 0.0, likeness: 1.0, dimensions: 0.0, constant: 1.0 });
    }
}
