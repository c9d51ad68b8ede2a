//! The measures of continual learning, from a matrix of accuracies (Lopez-Paz and Ranzato 2017, "Gradient Episodic Memory
//! for Continual Learning", section 2).

/// `R[i][j]`: accuracy on the test images of stage `j` after stage `i`, from 0 to 1; not all of them are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    stages: usize,
    cells: Vec<Option<f64>>,
}

impl Matrix {
    /// A matrix of which nothing is measured.
    pub fn new(stages: usize) -> Self {
        Self { stages, cells: vec![None; stages * stages] }
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.stages
    }

    /// Accuracy on stage `on` after stage `after`, where it is measured.
    ///
    /// # Panics
    /// Like a slice, where there is no such stage.
    pub fn get(&self, after: usize, on: usize) -> Option<f64> {
        self.cells[after * self.stages..(after + 1) * self.stages][on]
    }

    /// Sets it.
    ///
    /// # Panics
    /// Same as [`Matrix::get`].
    pub fn set(&mut self, after: usize, on: usize, accuracy: f64) {
        self.cells[after * self.stages..(after + 1) * self.stages][on] = Some(accuracy);
    }

    /// Mean accuracy after a stage on the stages seen until then.
    pub fn seen(&self, after: usize) -> Option<f64> {
        mean((0..=after).map(|on| self.get(after, on)))
    }

    /// Average accuracy at the end: the mean of `R[T][j]` over all stages.
    pub fn average(&self) -> Option<f64> {
        self.seen(self.stages.checked_sub(1)?)
    }

    /// Forgetting: the mean of `R[j][j] - R[T][j]` over all stages but the last; backward transfer with its sign changed.
    pub fn forgetting(&self) -> Option<f64> {
        let last = self.stages.checked_sub(1)?;
        mean((0..last).map(|on| Some(self.get(on, on)? - self.get(last, on)?)))
    }

    /// Forward transfer: the mean of `R[j - 1][j] - b[j]` over all stages but the first, where `b[j]` is what `reference`
    /// has there.
    pub fn forward_transfer(&self, reference: &Self) -> Option<f64> {
        mean((1..self.stages).map(|on| Some(self.get(on - 1, on)? - reference.get(on - 1, on)?)))
    }
}

/// Mean of values that are all there; `None` where one is missing or there is none.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// Mean of values, and their standard deviation (0 for one value).
pub fn spread(values: &[f64]) -> [f64; 2] {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (squares / (count - 1.0).max(1.0)).sqrt()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand.
    fn by_hand() -> Matrix {
        let mut matrix = Matrix::new(3);
        let rows = [[0.9, 0.3, 0.0], [0.7, 0.8, 0.2], [0.5, 0.7, 0.6]];
        for (after, row) in rows.iter().enumerate() {
            for (on, accuracy) in row.iter().enumerate() {
                matrix.set(after, on, *accuracy);
            }
        }
        matrix
    }

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?}, not {expected}");
    }

    #[test]
    fn measures_of_a_matrix_by_hand() {
        let matrix = by_hand();
        near(matrix.average(), (0.5 + 0.7 + 0.6) / 3.0);
        near(matrix.seen(0), 0.9);
        near(matrix.seen(1), 0.75);
        // (0.9 - 0.5) and (0.8 - 0.7).
        near(matrix.forgetting(), 0.25);
        let mut chance = Matrix::new(3);
        chance.set(0, 1, 0.1);
        chance.set(1, 2, 0.1);
        // (0.3 - 0.1) and (0.2 - 0.1); the reference needs no other cell.
        near(matrix.forward_transfer(&chance), 0.15);
        near(matrix.forward_transfer(&matrix), 0.0);
    }

    #[test]
    fn what_is_not_measured_is_not_made_up() {
        let mut matrix = by_hand();
        assert_eq!(matrix.forward_transfer(&Matrix::new(3)), None);
        matrix.cells[2 * 3] = None;
        assert_eq!((matrix.average(), matrix.forgetting()), (None, None));
        near(matrix.seen(1), 0.75);
        let single = Matrix::new(1);
        assert_eq!((single.average(), single.forgetting()), (None, None));
        assert_eq!(Matrix::new(0).average(), None);
    }

    #[test]
    fn spreads_are_of_a_sample() {
        assert_eq!(spread(&[1.0, 3.0]), [2.0, 2.0_f64.sqrt()]);
        assert_eq!(spread(&[5.0]), [5.0, 0.0]);
    }
}
