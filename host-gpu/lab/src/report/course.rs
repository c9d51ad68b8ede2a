//! The course of a run, as its metrics tell it.

use clapp_data::error::Error;
use clapp_engine::metrics::{Row, read_rows};
use std::path::Path;

/// The rows of a run, in the order of their steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Course {
    /// The rows.
    pub rows: Vec<Row>,
}

impl Course {
    /// Reads `metrics.csv`.
    ///
    /// # Errors
    /// Same as [`read_rows`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_rows(path).map(|rows| Self { rows })
    }

    /// The last row's losses.
    pub fn final_losses(&self) -> &[Option<f64>] {
        self.rows.last().map_or(&[], |row| &row.losses)
    }

    /// Median over the rows: a machine that was busy for a while does not move it.
    pub fn images_per_second(&self) -> Option<f64> {
        let mut speeds: Vec<f64> = self.rows.iter().map(|row| row.images_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        speeds.get(speeds.len() / 2).copied()
    }

    /// Step and loss of a layer, at most `most` points: each is the mean of as many rows as that takes.
    pub fn loss_curve(&self, layer: usize, most: usize) -> Vec<(f64, f64)> {
        let rows = self.rows.iter();
        let points: Vec<(f64, f64)> =
            rows.filter_map(|row| Some((row.step as f64, (*row.losses.get(layer)?)?))).collect();
        let mean = |points: &[(f64, f64)]| {
            let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
        };
        points.chunks(points.len().div_ceil(most).max(1)).map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_means_of_rows_and_speeds_their_median() {
        let row = |step, images_per_second, losses: [Option<f64>; 2]| {
            let none = || vec![None; 2];
            let losses = losses.to_vec();
            let (u_pos, u_neg, mismatch) = (none(), none(), none());
            Row { epoch: 0, step, images_per_second, losses, learning_rate: 0.1, u_pos, u_neg, mismatch }
        };
        let course = Course {
            rows: vec![
                row(5, 100.0, [Some(2.0), None]),
                row(10, 300.0, [Some(1.5), Some(1.25)]),
                row(15, 200.0, [Some(1.0), Some(1.0)]),
            ],
        };
        assert_eq!(course.final_losses(), [Some(1.0), Some(1.0)]);
        assert_eq!(course.images_per_second(), Some(200.0));
        assert_eq!(course.loss_curve(1, 9), [(10.0, 1.25), (15.0, 1.0)]);
        assert_eq!(course.loss_curve(0, 2), [(7.5, 1.75), (15.0, 1.0)]);
        assert_eq!(course.loss_curve(7, 2), []);
    }
}
