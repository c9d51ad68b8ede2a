//! Optimisers over slices (docs/paper.md 5.1), in the order of operations of the paper's reference.

use crate::matmul::vectorised;
use serde::{Deserialize, Serialize};

/// An optimiser and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent: `v <- momentum v + g + decay p; p <- p - lr v`.
    Sgd {
        /// Learning rate.
        lr: f32,
        /// Momentum; 0 for none.
        #[serde(default)]
        momentum: f32,
        /// Weight decay, added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate.
        lr: f32,
        /// Decay of the first moment.
        #[serde(default = "beta1")]
        beta1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the root of the second moment.
        #[serde(default = "eps")]
        eps: f32,
        /// Decoupled weight decay.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Layer-wise adaptive rate scaling around SGD with momentum: the gradient of each tensor, decay
    /// included, is scaled by `trust * |p| / |g|` where both norms are above zero.
    Lars {
        /// Learning rate.
        lr: f32,
        /// Momentum.
        #[serde(default = "beta1")]
        momentum: f32,
        /// Weight decay, added to the gradient.
        #[serde(default)]
        weight_decay: f32,
        /// Trust coefficient.
        #[serde(default = "trust")]
        trust: f32,
    },
}

fn beta1() -> f32 {
    0.9
}

fn beta2() -> f32 {
    0.999
}

fn trust() -> f32 {
    0.001
}

fn eps() -> f32 {
    1e-8
}

impl Optimizer {
    /// AdamW with PyTorch's defaults and no weight decay.
    pub fn adamw(lr: f32) -> Self {
        Self::AdamW { lr, beta1: beta1(), beta2: beta2(), eps: eps(), weight_decay: 0.0 }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(&self) -> Result<(), String> {
        let positive = |name: &str, value: f32| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!("{name} is {value}, expected a finite number above 0"))
            }
        };
        let at_least_zero = |name: &str, value: f32| {
            if value.is_finite() && value >= 0.0 {
                Ok(())
            } else {
                Err(format!("{name} is {value}, expected a finite number of at least 0"))
            }
        };
        let below_one = |name: &str, value: f32| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} is {value}, expected at least 0 and below 1"))
            }
        };
        match *self {
            Self::Sgd { lr, momentum, weight_decay } => {
                positive("lr", lr)?;
                below_one("momentum", momentum)?;
                at_least_zero("weight_decay", weight_decay)
            }
            Self::AdamW { lr, beta1, beta2, eps, weight_decay } => {
                positive("lr", lr)?;
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)?;
                positive("eps", eps)?;
                at_least_zero("weight_decay", weight_decay)
            }
            Self::Lars { lr, momentum, weight_decay, trust } => {
                positive("lr", lr)?;
                below_one("momentum", momentum)?;
                at_least_zero("weight_decay", weight_decay)?;
                positive("trust", trust)
            }
        }
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f32 {
        match *self {
            Self::Sgd { lr, .. } | Self::AdamW { lr, .. } | Self::Lars { lr, .. } => lr,
        }
    }

    /// The same with another learning rate.
    pub fn with_learning_rate(mut self, rate: f32) -> Self {
        match &mut self {
            Self::Sgd { lr, .. } | Self::AdamW { lr, .. } | Self::Lars { lr, .. } => *lr = rate,
        }
        self
    }

    /// Returns `true` if first moments are kept.
    pub fn has_first(&self) -> bool {
        match self {
            Self::Sgd { momentum, .. } => *momentum != 0.0,
            Self::AdamW { .. } | Self::Lars { .. } => true,
        }
    }

    /// Returns `true` if second moments are kept.
    pub fn has_second(&self) -> bool {
        matches!(self, Self::AdamW { .. })
    }

    /// Returns `true` if an element's step depends only on its own gradient, so that a tensor can be updated in tiles.
    pub fn is_elementwise(&self) -> bool {
        !matches!(self, Self::Lars { .. })
    }
}

impl From<&Optimizer> for clapp_core::optimizer::Optimizer {
    fn from(optimizer: &Optimizer) -> Self {
        match *optimizer {
            Optimizer::Sgd { lr, momentum, weight_decay } => Self::Sgd { lr, momentum, weight_decay },
            Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay } => {
                Self::AdamW { lr, betas: [beta1, beta2], eps, weight_decay }
            }
            Optimizer::Lars { lr, momentum, weight_decay, trust } => Self::Lars { lr, momentum, weight_decay, trust },
        }
    }
}

/// One step over a slice; `step` counts from 1. `first` and `second` are as long as `value` if the optimiser keeps
/// them, and unused otherwise. For [`Optimizer::Lars`] the slice must be the whole tensor.
pub fn apply(
    optimizer: &Optimizer,
    step: u64,
    value: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
) {
    match *optimizer {
        Optimizer::Sgd { lr, momentum: 0.0, weight_decay } => {
            for (p, g) in value.iter_mut().zip(gradient) {
                *p -= lr * (g + weight_decay * *p);
            }
        }
        Optimizer::Sgd { lr, momentum, weight_decay } => {
            momentum_step(lr, momentum, weight_decay, 1.0, value, first, gradient);
        }
        Optimizer::AdamW { lr, beta1, beta2, eps, weight_decay } => {
            let exponent = i32::try_from(step).unwrap_or(i32::MAX);
            let correction1 = (1.0 - f64::from(beta1).powi(exponent)) as f32;
            let correction2 = (1.0 - f64::from(beta2).powi(exponent)).sqrt() as f32;
            let shrink = 1.0 - lr * weight_decay;
            let rate = lr / correction1;
            let betas = [beta1, beta2];
            vectorised(AdamWStep { betas, shrink, rate, correction2, eps, value, first, second, gradient });
        }
        Optimizer::Lars { lr, momentum, weight_decay, trust } => {
            let mut p_squared = 0.0_f64;
            let mut g_squared = 0.0_f64;
            for (p, g) in value.iter().zip(gradient) {
                let decayed = f64::from(g + weight_decay * p);
                p_squared += f64::from(*p) * f64::from(*p);
                g_squared += decayed * decayed;
            }
            let scale = if p_squared > 0.0 && g_squared > 0.0 {
                (f64::from(trust) * (p_squared / g_squared).sqrt()) as f32
            } else {
                1.0
            };
            momentum_step(lr, momentum, weight_decay, scale, value, first, gradient);
        }
    }
}

struct AdamWStep<'a> {
    betas: [f32; 2],
    /// Factor of a value after weight decay.
    shrink: f32,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// Root of the second moment's bias correction.
    correction2: f32,
    eps: f32,
    value: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
}

impl pulp::NullaryFnOnce for AdamWStep<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { betas: [beta1, beta2], shrink, rate, correction2, eps, value, first, second, gradient } = self;
        for (((p, m), v), g) in value.iter_mut().zip(first).zip(second).zip(gradient) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p = shrink * *p - rate * *m / (v.sqrt() / correction2 + eps);
        }
    }
}

fn momentum_step(
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    scale: f32,
    value: &mut [f32],
    first: &mut [f32],
    gradient: &[f32],
) {
    for ((p, m), g) in value.iter_mut().zip(first).zip(gradient) {
        *m = momentum * *m + scale * (g + weight_decay * *p);
        *p -= lr * *m;
    }
}
