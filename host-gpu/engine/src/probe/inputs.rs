//! Images as a network reads them when it is tested.

use crate::config::{Config, ProbeConfig};
use clapp_core::shape::Shape;
use clapp_data::augment::{TestTransform, normalise};
use clapp_data::error::Error;

/// Preparation of an image: size, channels and normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Input shape of the network.
    pub shape: Shape,
    /// Size.
    pub test: TestTransform,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Inputs {
    /// By a probe's normalisation, for a network that reads `shape`, from images of size `found` where all have it.
    pub fn new(config: &ProbeConfig, found: Option<Shape>, shape: Shape) -> Self {
        Self {
            shape,
            test: config.test.fitted(found, shape),
            mean: config.augment.mean.clone(),
            std: config.augment.std.clone(),
        }
    }

    /// Makes the inputs of a run, for images of any size, with the given transform.
    pub fn of_run(config: &Config, test: TestTransform) -> Self {
        let inputs = Self::new(&config.probe, None, config.input_shape());
        Self { test: test.fitted(None, inputs.shape), ..inputs }
    }

    /// Writes an image of `shape` into `out`, planes `[C, H, W]` of the network's input; `pixels` change on the way.
    ///
    /// # Errors
    /// If the image cannot be resized, or has other channels.
    pub fn prepare(&self, pixels: &mut Vec<u8>, shape: Shape, out: &mut [f32]) -> Result<(), Error> {
        self.test.apply(pixels, shape)?;
        Ok(normalise(pixels, &self.mean, &self.std, out)?)
    }
}
