//! The contrast functions of the theory with their first and second derivatives (docs/paper.md 1.2, 2.1, 6.2).

use nalgebra::DMatrix;

/// Contrast of a loss: a function of the scores of one context, one positive and one or more negatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contrast {
    /// `mean u- - u+`.
    Linear,
    /// `log(1 + exp(1 - u+)) + mean log(1 + exp(1 + u-))`; called `logsig` in the paper's code.
    SoftHinge,
    /// `max(0, 1 - u+) + mean max(0, 1 + u-)`; gradient 0 at the kink.
    Hinge,
    /// `log(1 + exp(theta (mean u- - u+)))`.
    PhyLl {
        /// Sharpness.
        theta: f64,
    },
}

impl Contrast {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::SoftHinge => "softhinge",
            Self::Hinge => "hinge",
            Self::PhyLl { .. } => "phyll",
        }
    }

    /// The loss of one context; `scores` are `[u+, u-_1, …, u-_K]`.
    pub fn value(self, scores: &[f64]) -> f64 {
        let (positive, negatives) = (scores[0], &scores[1..]);
        match self {
            Self::Linear => mean(negatives, |u| u) - positive,
            Self::SoftHinge => softplus(1.0 - positive) + mean(negatives, |u| softplus(1.0 + u)),
            Self::Hinge => (1.0 - positive).max(0.0) + mean(negatives, |u| (1.0 + u).max(0.0)),
            Self::PhyLl { theta } => softplus(theta * (mean(negatives, |u| u) - positive)),
        }
    }

    /// Derivatives of [`Contrast::value`] by the scores, into `slopes`.
    pub fn slopes(self, scores: &[f64], slopes: &mut [f64]) {
        let share = 1.0 / (scores.len() - 1) as f64;
        let (positive, negatives) = (scores[0], &scores[1..]);
        let mut fill = |first: f64, other: &dyn Fn(f64) -> f64| {
            slopes[0] = first;
            for (slope, u) in slopes[1..].iter_mut().zip(negatives) {
                *slope = share * other(*u);
            }
        };
        match self {
            Self::Linear => fill(-1.0, &|_| 1.0),
            Self::SoftHinge => fill(-sigmoid(1.0 - positive), &|u| sigmoid(1.0 + u)),
            Self::Hinge => {
                fill(if positive < 1.0 { -1.0 } else { 0.0 }, &|u| if u > -1.0 { 1.0 } else { 0.0 });
            }
            Self::PhyLl { theta } => {
                let slope = theta * sigmoid(theta * (mean(negatives, |u| u) - positive));
                fill(-slope, &|_| slope);
            }
        }
    }

    /// Second derivatives of [`Contrast::value`], `[1 + K, 1 + K]`; 0 where the contrast is made of straight lines.
    pub fn curvature(self, scores: &[f64]) -> DMatrix<f64> {
        let share = 1.0 / (scores.len() - 1) as f64;
        let bend = |x: f64| sigmoid(x) * sigmoid(-x);
        match self {
            Self::Linear | Self::Hinge => DMatrix::zeros(scores.len(), scores.len()),
            Self::SoftHinge => DMatrix::from_fn(scores.len(), scores.len(), |i, j| match (i, j) {
                (0, 0) => bend(1.0 - scores[0]),
                _ if i == j => share * bend(1.0 + scores[i]),
                _ => 0.0,
            }),
            Self::PhyLl { theta } => {
                let bend = theta * theta * bend(theta * (mean(&scores[1..], |u| u) - scores[0]));
                let side = |i: usize| if i == 0 { -1.0 } else { share };
                DMatrix::from_fn(scores.len(), scores.len(), |i, j| bend * side(i) * side(j))
            }
        }
    }
}

fn mean(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    values.iter().map(|&value| f(value)).sum::<f64>() / values.len() as f64
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

fn sigmoid(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_finite_differences() {
        let contrasts = [Contrast::Linear, Contrast::SoftHinge, Contrast::Hinge, Contrast::PhyLl { theta: 2.0 }];
        // None within the step of a kink.
        for scores in [[0.3, -0.4, 1.7], [2.5, -3.0, -0.9], [-1.2, 0.1, 0.2]] {
            for contrast in contrasts {
                let mut slopes = [0.0; 3];
                contrast.slopes(&scores, &mut slopes);
                let curvature = contrast.curvature(&scores);
                let step = 1e-5;
                for i in 0..3 {
                    let (mut high, mut low) = (scores, scores);
                    high[i] += step;
                    low[i] -= step;
                    let slope = (contrast.value(&high) - contrast.value(&low)) / (2.0 * step);
                    assert!((slope - slopes[i]).abs() < 1e-9, "{contrast:?} {scores:?} {i}: {slope} {}", slopes[i]);
                    let (mut above, mut below) = ([0.0; 3], [0.0; 3]);
                    contrast.slopes(&high, &mut above);
                    contrast.slopes(&low, &mut below);
                    for j in 0..3 {
                        let bend = (above[j] - below[j]) / (2.0 * step);
                        assert!((bend - curvature[(i, j)]).abs() < 1e-9, "{contrast:?} {scores:?} {i} {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn kinks_have_no_slope_and_large_scores_no_overflow() {
        let mut slopes = [9.0; 2];
        Contrast::Hinge.slopes(&[1.0, -1.0], &mut slopes);
        assert_eq!(slopes, [0.0, 0.0]);
        assert_eq!(Contrast::SoftHinge.value(&[-1e3, 1e3]), 2002.0);
        assert_eq!(Contrast::PhyLl { theta: 1.0 }.value(&[1e3, -1e3]), 0.0);
    }
}
