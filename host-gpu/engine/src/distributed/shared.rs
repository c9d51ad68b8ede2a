//! The CPU backend with gradients averaged over all ranks.
//!
//! The ranks average the gradient of a block's weights and biases tensor by tensor, as soon as it is computed. They
//! never send a projection's gradient. It is `Q^T C` with a row for each row of the batch (docs/paper.md 2.2), so the
//! ranks exchange `Q` and `C`, and each computes the product over all rows in its fused update. At width 1.0 with 64
//! rows this sends 4 MB, not 268 MB, for the largest projection. The cost: a rank's product grows with the number of
//! ranks. For a few ranks it stays below the cost of the update itself (memory traffic).

use super::Ranks;
use crate::backend::cpu::Processes;
use std::borrow::Cow;

/// The CPU backend with the gradients of one step averaged over `ranks`. It stands for the step in which rank `r` has
/// `counts[r]` images; alone it changes nothing.
#[derive(Debug)]
pub struct Shared<'a> {
    /// The processes.
    pub ranks: &'a Ranks,
    /// Images of each rank that count in this step.
    pub counts: &'a [usize],
}

impl Processes for Shared<'_> {
    fn average(&self, mut gradient: Vec<f32>) -> Vec<f32> {
        self.ranks.average(&mut gradient, self.counts);
        gradient
    }

    fn of_all<'a>(&self, errors: &'a [f32], c: &'a [f32], rows: usize) -> (Cow<'a, [f32]>, Cow<'a, [f32]>, usize) {
        if self.ranks.size() == 1 {
            return (errors.into(), c.into(), rows);
        }
        // Two views an image.
        let counts: Vec<usize> = self.counts.iter().map(|count| 2 * count).collect();
        let all = |own: &[f32]| self.ranks.gather(own, own.len() / rows, &counts).into();
        let mut errors = errors.to_vec();
        self.share(&mut errors);
        (all(&errors), all(c), counts.iter().sum())
    }

    fn share(&self, values: &mut [f32]) {
        if self.ranks.size() > 1 {
            let weight = self.counts[self.ranks.rank()] as f32 / self.counts.iter().sum::<usize>() as f32;
            values.iter_mut().for_each(|value| *value *= weight);
        }
    }
}
