//! Optimisers (docs/paper.md 5.1): from a gradient to new parameters and a new optimiser state.

use crate::dense::squares;
use crate::math::sqrt;
use crate::network::NetworkView;

/// The rule by which parameters follow their gradient `g`; `lr` is multiplied by the modulator of the call.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub enum Optimizer {
    /// `v <- momentum v + g + weight_decay p`, `p <- p - lr v`.
    Sgd {
        /// Learning rate.
        lr: f32,
        /// Share of the previous step that is kept; 0 needs no state.
        momentum: f32,
        /// Pull of every parameter towards zero, added to its gradient.
        weight_decay: f32,
    },
    /// AdamW with bias correction and decoupled weight decay: `p <- p - lr (m' / (sqrt(v') + eps) + weight_decay p)`.
    AdamW {
        /// Learning rate.
        lr: f32,
        /// Decay of the first and of the second moment.
        betas: [f32; 2],
        /// Added to the square root.
        eps: f32,
        /// Decoupled weight decay.
        weight_decay: f32,
    },
    /// SGD with momentum whose gradient (weight decay included) is scaled, tensor by tensor, to
    /// `trust |p|`, unless one of the norms is zero.
    Lars {
        /// Learning rate.
        lr: f32,
        /// Share of the previous step that is kept.
        momentum: f32,
        /// Pull of every parameter towards zero, added to its gradient.
        weight_decay: f32,
        /// Length of a step relative to the tensor's.
        trust: f32,
    },
    /// Writes every gradient to the state, laid out as the parameters are, and changes no parameter.
    Record,
}

impl Optimizer {
    /// Plain SGD without state.
    pub const fn sgd(lr: f32) -> Self {
        Self::Sgd { lr, momentum: 0.0, weight_decay: 0.0 }
    }

    /// AdamW as the paper uses it: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    pub const fn adam_w(lr: f32) -> Self {
        Self::AdamW { lr, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }

    /// Elements of state for the parameters of `network`: none for plain SGD, one a parameter for momentum,
    /// LARS and recording, two for AdamW (all first moments, then all second moments).
    pub const fn state_len(&self, network: &NetworkView<'_>) -> usize {
        match self {
            Self::Sgd { momentum: 0.0, .. } => 0,
            Self::Sgd { .. } | Self::Lars { .. } | Self::Record => network.parameter_len(),
            Self::AdamW { .. } => 2 * network.parameter_len(),
        }
    }
}

/// An optimiser's rule for one layer at one step, with all that does not depend on the element worked out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    kind: Kind,
    rate: f32,
    weight_decay: f32,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sgd { momentum: f32, keeps_state: bool },
    AdamW { betas: [f32; 2], complements: [f32; 2], first: f32, second: f32, eps: f32 },
    Record,
}

/// `1 - beta^steps` from `1 - beta`, by squaring and without the cancellation of the plain formula.
fn complement_of_power(complement: f32, steps: u32) -> f32 {
    let (mut result, mut power, mut rest) = (0.0_f32, complement, steps);
    while rest > 0 {
        if rest & 1 == 1 {
            result += power - result * power;
        }
        power += power - power * power;
        rest >>= 1;
    }
    result
}

/// The numbers that decide if a layer's update may happen, and the norms that LARS scales by.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scan {
    /// Sum of squares of the parameters.
    pub parameters: f32,
    /// Sum of squares of the state's first part.
    pub first: f32,
    /// Number of parameters.
    pub count: usize,
    /// AdamW: a second moment is not a finite number of at least zero.
    pub spoilt: bool,
    /// AdamW: a first moment is larger than its second moment allows, by [`Step::moments`].
    pub inconsistent: bool,
}

/// Room for what a sum of squares leaves out of a norm: squares too small for an `f32`.
pub(crate) const TINY: f32 = 1e-18;

impl Step {
    /// The rule after `steps` earlier steps of the layer, for updates multiplied by `modulator`.
    pub fn new(optimizer: &Optimizer, modulator: f32, steps: u32) -> Self {
        match *optimizer {
            Optimizer::Sgd { lr, momentum, weight_decay } => {
                Self { kind: Kind::Sgd { momentum, keeps_state: momentum != 0.0 }, rate: lr * modulator, weight_decay }
            }
            Optimizer::Lars { lr, momentum, weight_decay, .. } => {
                Self { kind: Kind::Sgd { momentum, keeps_state: true }, rate: lr * modulator, weight_decay }
            }
            Optimizer::AdamW { lr, betas, eps, weight_decay } => {
                let complements = betas.map(|beta| 1.0 - beta);
                let [first, second] = complements.map(|beta| complement_of_power(beta, steps.saturating_add(1)));
                let second = 1.0 / sqrt(second);
                Self {
                    kind: Kind::AdamW { betas, complements, first: 1.0 / first, second, eps },
                    rate: lr * modulator,
                    weight_decay,
                }
            }
            Optimizer::Record => Self { kind: Kind::Record, rate: 0.0, weight_decay: 0.0 },
        }
    }

    pub fn weight_decay(&self) -> f32 {
        self.weight_decay
    }

    /// True if a bound of the update needs norms of parameters or state.
    pub fn needs_scan(&self) -> bool {
        !matches!(self.kind, Kind::Sgd { keeps_state: false, .. } | Kind::Record) || self.weight_decay != 0.0
    }

    /// AdamW: an upper bound of `m^2 / v` of moments that began at zero, whatever the gradients were.
    ///
    /// By the inequality of Cauchy and Schwarz a step with gradient g leaves at most `r' = (b1^2 / b2) r + c1^2 / c2` of
    /// a ratio of r, with `c = 1 - b`; this is where r' = r.
    fn moments(&self) -> Option<f32> {
        let Kind::AdamW { betas: [b1, b2], complements: [c1, c2], .. } = self.kind else { return None };
        let kept = b1 * b1 / b2;
        (kept < 1.0 && c2 > 0.0).then(|| 1.01 * (c1 * c1 / c2) / (1.0 - kept))
    }

    /// Adds to `scan` the norms and checks of a tensor's parameters and state that the bound needs.
    #[inline(never)]
    pub fn scan(&self, scan: &mut Scan, parameters: &[f32], first: &[f32], second: &[f32]) {
        scan.parameters += squares(parameters);
        scan.first += squares(first);
        scan.count += parameters.len();
        let most = self.moments().unwrap_or(0.0);
        for (m, v) in first.iter().zip(second) {
            scan.spoilt |= !(*v >= 0.0 && v.is_finite());
            let ratio = m * m;
            scan.inconsistent |= ratio > most * v || ratio.is_nan();
        }
    }

    /// Lets the state decay as a gradient of zero would, and sets to zero what is not finite of it.
    #[inline(never)]
    pub fn decay(&self, first: &mut [f32], second: &mut [f32]) {
        let share = |share: f32| if (0.0..1.0).contains(&share) { share } else { 0.0 };
        let [first_share, second_share] = match self.kind {
            Kind::Sgd { momentum, .. } => [share(momentum), 0.0],
            Kind::AdamW { betas, .. } => betas.map(share),
            Kind::Record => return,
        };
        for (part, share) in [(first, first_share), (second, second_share)] {
            for value in part {
                *value = if value.is_finite() { share * *value } else { 0.0 };
            }
        }
    }

    /// The same rule with its updates scaled down by `factor`.
    pub fn scaled(self, factor: f32) -> Self {
        Self { rate: self.rate * factor, ..self }
    }

    /// An upper bound of the norm of the update of parameters with a gradient of norm `gradient` (after
    /// LARS's scaling); also bounds every intermediate result. Not finite where there is no useful bound.
    #[inline(never)]
    pub fn bound(&self, gradient: f32, scan: &Scan) -> f32 {
        let decay = self.weight_decay.abs();
        let parameters = if decay == 0.0 { 0.0 } else { decay * (sqrt(scan.parameters) + TINY) };
        let rate = self.rate.abs();
        let step = match self.kind {
            Kind::Sgd { momentum, keeps_state } => {
                let kept = if keeps_state { momentum.abs() * (sqrt(scan.first) + TINY) } else { 0.0 };
                gradient + parameters + kept
            }
            Kind::AdamW { betas, first, second, eps, .. } => {
                let means = sqrt(scan.first) + gradient;
                // The means must be means, and no square of a gradient may overflow either.
                let sound = betas.iter().all(|beta| (0.0..1.0).contains(beta)) && eps > 0.0 && !scan.spoilt;
                if !(sound && means <= 1e18) {
                    return f32::INFINITY;
                }
                let loose = means * first / eps;
                let tight = match self.moments() {
                    // A tenth more, for square roots that are approximate; and room for moments whose squares vanish.
                    Some(most) if !scan.inconsistent => {
                        (1.1 * sqrt(most) * first / second + TINY * first / eps) * sqrt(scan.count as f32)
                    }
                    _ => loose,
                };
                if tight < loose { tight + parameters } else { loose + parameters }
            }
            Kind::Record => return 0.0,
        };
        // The step itself counts too: it is worked out before the rate shrinks it.
        if step < UNBOUNDED { rate * step } else { f32::INFINITY }
    }

    /// Takes a piece of the gradient: with `write` it changes parameters and state, and always adds the
    /// squares of the change to `sum`, and 0, or NaN where something would not be finite, to `probe`.
    ///
    /// `scale` multiplies the gradient with its weight decay (LARS; 1 elsewhere). `first` and `second` are
    /// the state's parts for the same parameters, empty where the optimiser has none.
    #[allow(clippy::too_many_arguments, reason = "one inner loop, its operands side by side")]
    pub fn take(
        &self,
        gradient: &[f32],
        scale: f32,
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        write: bool,
        totals: &mut Totals,
    ) {
        let Self { rate, weight_decay, .. } = *self;
        // Pieces are summed up on their own, so that a long sum does not swallow its last terms.
        let (mut sum, mut probe) = (0.0_f32, 0.0_f32);
        match self.kind {
            Kind::Sgd { keeps_state: false, .. } => {
                for (p, g) in parameters.iter_mut().zip(gradient) {
                    let change = rate * (g + weight_decay * *p);
                    let next = *p - change;
                    sum += change * change;
                    probe += next * 0.0;
                    if write {
                        *p = next;
                    }
                }
            }
            Kind::Sgd { momentum, .. } => {
                for ((p, g), v) in parameters.iter_mut().zip(gradient).zip(first) {
                    let kept = momentum * *v + scale * (g + weight_decay * *p);
                    let change = rate * kept;
                    let next = *p - change;
                    sum += change * change;
                    probe += next * 0.0 + kept * 0.0;
                    if write {
                        (*p, *v) = (next, kept);
                    }
                }
            }
            Kind::AdamW { betas, complements, first: unbias, second: unbias_root, eps } => {
                for (((p, g), m), v) in parameters.iter_mut().zip(gradient).zip(first).zip(second) {
                    let mean = betas[0] * *m + complements[0] * g;
                    let square = betas[1] * *v + complements[1] * (g * g);
                    let change = rate * (mean * unbias / (sqrt(square) * unbias_root + eps) + weight_decay * *p);
                    let next = *p - change;
                    sum += change * change;
                    probe += next * 0.0 + mean * 0.0 + square * 0.0;
                    if write {
                        (*p, *m, *v) = (next, mean, square);
                    }
                }
            }
            Kind::Record => {
                for (g, kept) in gradient.iter().zip(first) {
                    probe += g * 0.0;
                    if write {
                        *kept = *g;
                    }
                }
            }
        }
        totals.squares += sum;
        totals.probe += probe;
    }
}

/// Running totals of [`Step::take`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Sum of squares of the change.
    pub squares: f32,
    /// 0, or NaN once something was not finite.
    pub probe: f32,
}

/// Below this, a change cannot carry a finite `f32` to infinity: it is less than half the distance of the
/// largest one (2^128) to its neighbour (2^104), so that the sum is rounded back.
pub(crate) const UNBOUNDED: f32 = 1.267_650_6e30;
