//! Colour jitter: brightness, contrast, saturation and hue changed by random amounts, in random order.

use serde::{Deserialize, Serialize};

use super::{brightness, contrast, hue, saturation};
use crate::rng::Rng;

/// Strengths of the jitter. A strength of 0 leaves its operation out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JitterRange {
    /// Probability of a jitter.
    pub probability: f32,
    /// The factor of brightness lies in `1 ± brightness` (not below 0).
    pub brightness: f32,
    /// The factor of contrast lies in `1 ± contrast` (not below 0).
    pub contrast: f32,
    /// The factor of saturation lies in `1 ± saturation` (not below 0).
    pub saturation: f32,
    /// The hue turns by `± hue` of the circle, at most 0.5.
    pub hue: f32,
}

/// One of the four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JitterOp {
    /// Uses [`Jitter::brightness`].
    Brightness,
    /// Uses [`Jitter::contrast`].
    Contrast,
    /// Uses [`Jitter::saturation`].
    Saturation,
    /// Uses [`Jitter::hue`].
    Hue,
}

/// A drawn jitter; `None` leaves an operation out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Order of the operations.
    pub order: [JitterOp; 4],
    /// Factor of brightness.
    pub brightness: Option<f32>,
    /// Factor of contrast.
    pub contrast: Option<f32>,
    /// Factor of saturation.
    pub saturation: Option<f32>,
    /// Turn of the hue, as part of the circle.
    pub hue: Option<f32>,
}

impl JitterRange {
    /// Checks the strengths.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, strength, most) in [
            ("brightness", self.brightness, f32::MAX),
            ("contrast", self.contrast, f32::MAX),
            ("saturation", self.saturation, f32::MAX),
            ("hue", self.hue, 0.5),
        ] {
            if !(0.0..=most).contains(&strength) {
                return Err(format!("jitter of {name} is {strength}, expected 0 to {most}"));
            }
        }
        Ok(())
    }

    /// Draws a jitter: the order, then the four amounts.
    pub fn draw(&self, rng: &mut Rng) -> Jitter {
        let mut order = [JitterOp::Brightness, JitterOp::Contrast, JitterOp::Saturation, JitterOp::Hue];
        rng.shuffle(&mut order);
        let mut factor = |strength: f32| {
            let drawn = rng.uniform((1.0 - strength).max(0.0), 1.0 + strength);
            (strength > 0.0).then_some(drawn)
        };
        let (brightness, contrast, saturation) =
            (factor(self.brightness), factor(self.contrast), factor(self.saturation));
        let turn = rng.uniform(-self.hue, self.hue);
        Jitter { order, brightness, contrast, saturation, hue: (self.hue > 0.0).then_some(turn) }
    }
}

impl Jitter {
    /// Changes the planes of `image` in place.
    pub fn apply(&self, image: &mut [u8], channels: usize) {
        for op in self.order {
            match op {
                JitterOp::Brightness => self.brightness.iter().for_each(|&factor| brightness(image, factor)),
                JitterOp::Contrast => self.contrast.iter().for_each(|&factor| contrast(image, channels, factor)),
                JitterOp::Saturation => self.saturation.iter().for_each(|&factor| saturation(image, channels, factor)),
                JitterOp::Hue => self.hue.iter().for_each(|&turn| hue(image, channels, turn)),
            }
        }
    }
}
