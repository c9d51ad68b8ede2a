//! Learning-rate schedules (docs/paper.md 5.1).

use serde::{Deserialize, Serialize};

/// Schedule of the learning rate over the epochs. The rate is constant within an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The optimiser's rate throughout.
    #[default]
    Constant,
    /// Linear from `least` to the optimiser's rate over the first epochs, then half a cosine down to `least`.
    #[serde(rename_all = "kebab-case")]
    WarmupCosine {
        /// Epochs of the linear part.
        #[serde(default = "warmup_epochs")]
        warmup_epochs: u64,
        /// Rate of the first epoch, and end of the cosine.
        #[serde(default = "least")]
        least: f32,
    },
}

fn warmup_epochs() -> u64 {
    5
}

fn least() -> f32 {
    1e-5
}

impl Schedule {
    /// The paper's schedule for ImageNet: 5 epochs of warm-up from 1e-5, cosine to 1e-5.
    pub fn imagenet() -> Self {
        Self::WarmupCosine { warmup_epochs: warmup_epochs(), least: least() }
    }

    /// The rate of `epoch` (from 0) of `epochs`, where the optimiser's own is `lr`.
    pub fn rate(&self, lr: f32, epoch: u64, epochs: u64) -> f32 {
        let Self::WarmupCosine { warmup_epochs, least } = *self else { return lr };
        let (least, span) = (f64::from(least), f64::from(lr) - f64::from(least));
        let share = if epoch < warmup_epochs {
            epoch as f64 / warmup_epochs as f64
        } else {
            let done = (epoch - warmup_epochs) as f64 / epochs.saturating_sub(warmup_epochs).max(1) as f64;
            // `libm`'s, so that the rate is the same on every machine.
            (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0
        };
        (least + span * share) as f32
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(&self, lr: f32) -> Result<(), String> {
        match *self {
            Self::WarmupCosine { least, .. } if !(least > 0.0 && least <= lr) => {
                Err(format!("warmup-cosine.least is {least}, expected above 0 and at most optimizer.lr, which is {lr}"))
            }
            _ => Ok(()),
        }
    }
}
