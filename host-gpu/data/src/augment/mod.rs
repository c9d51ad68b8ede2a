//! The random views of an image, as torchvision makes them of 8-bit PIL images.
//!
//! In this order: random resized crop, horizontal flip, colour jitter, grey-scale, Gaussian blur, scaling to `[0, 1]`
//! and normalisation (CLAPP++, released code). Each operation is a plain function over planes `[C, H, W]` of bytes.
//! [`ViewAugment::draw`] draws the random parameters and [`ViewAugment::apply`] applies them, so a test can choose the
//! parameters. Between operations an image consists of bytes again, as in the released code: the roundings are part of
//! the protocol.

use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rng::Rng;

mod blur;
mod colour;
mod crop;
mod flip;
mod hue;
mod jitter;
mod normalise;
mod resample;
mod testing;

pub use blur::{BlurRange, gaussian_blur};
pub use colour::{brightness, contrast, grey_scale, saturation};
pub use crop::{Crop, CropRange, resized_crop};
pub use flip::horizontal_flip;
pub use hue::hue;
pub use jitter::{Jitter, JitterOp, JitterRange};
pub use normalise::normalise;
pub use testing::{Sizes, TestTransform};

/// Augmentation of views: ranges and probabilities of every operation. Constructors for the known sets are in
/// `data/views.rs`. A configuration file can hold every field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewAugment {
    /// Height and width of a view in pixels.
    pub size: usize,
    /// Crop of the image.
    pub crop: CropRange,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Changes of brightness, contrast, saturation and hue.
    pub jitter: JitterRange,
    /// Probability that a colour image is made grey (three equal channels).
    pub grey: f32,
    /// Gaussian blur.
    pub blur: BlurRange,
    /// Mean of each channel, of values in `[0, 1]`.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of values in `[0, 1]`.
    pub std: Vec<f32>,
}

/// Random parameters of one view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The part to cut out.
    pub crop: Crop,
    /// `true` if to flip.
    pub flip: bool,
    /// Colour changes, if any.
    pub jitter: Option<Jitter>,
    /// `true` if to make the image grey.
    pub grey: bool,
    /// Width of the blur in pixels (standard deviation), if any.
    pub blur: Option<f32>,
}

/// Reason why an image could not be augmented.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AugmentError {
    /// A slice is not as long as its shape says.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Name of the slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length asked for.
        expected: usize,
    },
    /// The settings make no sense, or do not fit the images.
    #[error("augmentation settings: {0}")]
    Settings(String),
}

impl From<AugmentError> for Error {
    fn from(error: AugmentError) -> Self {
        Self::input(error)
    }
}

impl ViewAugment {
    /// Checks the settings against images of `shape`.
    ///
    /// # Errors
    /// [`AugmentError::Settings`] with the first thing that is wrong: channels other than 1 or 3, an empty image or
    /// view, a probability outside `[0, 1]`, a range that is empty or not finite, an even blur kernel or one that
    /// does not fit, a mean or deviation for another number of channels, a deviation that is not positive.
    pub fn check(&self, shape: Shape) -> Result<(), AugmentError> {
        let wrong = |text: String| Err(AugmentError::Settings(text));
        if !matches!(shape.channels, 1 | 3) {
            return wrong(format!("images have {} channels, expected 1 or 3", shape.channels));
        }
        if shape.height == 0 || shape.width == 0 || self.size == 0 {
            return wrong(format!("empty images: {}x{} cut to {}", shape.height, shape.width, self.size));
        }
        for (name, p) in [
            ("flip", self.flip),
            ("grey", self.grey),
            ("jitter", self.jitter.probability),
            ("blur", self.blur.probability),
        ] {
            if !(0.0..=1.0).contains(&p) {
                return wrong(format!("probability of {name} is {p}, expected 0 to 1"));
            }
        }
        self.crop.check().or_else(wrong)?;
        self.jitter.check().or_else(wrong)?;
        self.blur.check(self.size).or_else(wrong)?;
        if self.mean.len() != shape.channels || self.std.len() != shape.channels {
            return wrong(format!(
                "{} means and {} deviations for {} channels",
                self.mean.len(),
                self.std.len(),
                shape.channels
            ));
        }
        match self.mean.iter().zip(&self.std).find(|(mean, std)| !mean.is_finite() || !std.is_finite() || **std <= 0.0)
        {
            Some((mean, std)) => wrong(format!("mean {mean} with deviation {std}, expected finite and positive")),
            None => Ok(()),
        }
    }

    /// Shape of a view of images of `shape`: `[C, size, size]`.
    pub fn view_shape(&self, shape: Shape) -> Shape {
        Shape { channels: shape.channels, height: self.size, width: self.size }
    }

    /// Draws the parameters of one view of an image of `shape`. Always in the same order, whatever the channels.
    pub fn draw(&self, shape: Shape, rng: &mut Rng) -> Draw {
        let crop = self.crop.draw(shape.height, shape.width, rng);
        let flip = rng.chance(self.flip);
        let jitter = rng.chance(self.jitter.probability).then(|| self.jitter.draw(rng));
        let grey = rng.chance(self.grey);
        let blur = rng.chance(self.blur.probability).then(|| rng.uniform(self.blur.sigma[0], self.blur.sigma[1]));
        Draw { crop, flip, jitter, grey, blur }
    }

    /// The view of `image` (`shape` = `[C, H, W]` bytes) with the parameters of `draw`, before normalisation:
    /// `[C, size, size]` bytes.
    ///
    /// # Errors
    /// [`AugmentError`] if the settings do not fit, `image` is not `shape` long, or the crop is not inside it.
    pub fn apply(&self, image: &[u8], shape: Shape, draw: &Draw) -> Result<Vec<u8>, AugmentError> {
        self.check(shape)?;
        let channels = shape.channels;
        let mut view = resized_crop(image, shape, draw.crop, self.size, self.size)?;
        if draw.flip {
            horizontal_flip(&mut view, self.size);
        }
        if let Some(jitter) = &draw.jitter {
            jitter.apply(&mut view, channels);
        }
        if draw.grey {
            grey_scale(&mut view, channels);
        }
        if let Some(sigma) = draw.blur {
            gaussian_blur(&mut view, self.view_shape(shape), self.blur.kernel, sigma)?;
        }
        Ok(view)
    }

    /// One random view of `image` (`shape` = `[C, H, W]` bytes), normalised, into `out` (`[C, size, size]`).
    ///
    /// # Errors
    /// [`AugmentError`] if the settings do not fit, or a slice has the wrong length.
    pub fn view(&self, image: &[u8], shape: Shape, rng: &mut Rng, out: &mut [f32]) -> Result<(), AugmentError> {
        let draw = self.draw(shape, rng);
        let view = self.apply(image, shape, &draw)?;
        normalise(&view, &self.mean, &self.std, out)
    }
}
