//! Preparation of test images: none, or torchvision's `Resize` and `CenterCrop`.

use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};

use super::resample::resample;
use super::{AugmentError, Crop, resized_crop};

/// Largest number of pixels of a resized image, so that a long and thin image cannot fill the memory.
const MOST_PIXELS: usize = 1 << 26;

/// Preparation of test images (docs/paper.md 5.3). In a configuration file `"as-is"`, or
/// `{ resize = 105, crop = 96 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum TestTransform {
    /// The image as it is, where it has the size of the network's input. Images of other sizes are made to fit as by
    /// [`TestTransform::ResizeCrop`], with the input's size for both numbers ([`TestTransform::fitted`]).
    #[default]
    AsIs,
    /// The shorter side is resized, bilinear with antialiasing, and the square in the middle cut out.
    ResizeCrop {
        /// New length of the shorter side in pixels.
        resize: usize,
        /// Side of the square in pixels, at most `resize`.
        crop: usize,
    },
}

/// [`TestTransform`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "test is neither \"as-is\" nor { resize = PIXELS, crop = PIXELS }")]
enum Written {
    Name(String),
    Sizes(Sizes),
}

/// The numbers of [`TestTransform::ResizeCrop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// New length of the shorter side in pixels.
    pub resize: usize,
    /// Side of the square in pixels.
    pub crop: usize,
}

impl From<Sizes> for TestTransform {
    fn from(Sizes { resize, crop }: Sizes) -> Self {
        Self::ResizeCrop { resize, crop }
    }
}

/// The name of [`TestTransform::AsIs`].
const AS_IS: &str = "as-is";

impl TryFrom<Written> for TestTransform {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Name(name) if name == AS_IS => Ok(Self::AsIs),
            Written::Name(name) => {
                Err(format!("test is {name:?}, expected {AS_IS:?} or {{ resize = PIXELS, crop = PIXELS }}"))
            }
            Written::Sizes(Sizes { resize, crop }) => Ok(Self::ResizeCrop { resize, crop }),
        }
    }
}

impl From<TestTransform> for Written {
    fn from(transform: TestTransform) -> Self {
        match transform {
            TestTransform::AsIs => Self::Name(AS_IS.into()),
            TestTransform::ResizeCrop { resize, crop } => Self::Sizes(Sizes { resize, crop }),
        }
    }
}

impl TestTransform {
    /// Returns the preparation of images for a network with input `input`. `found` is their shape, if all have the same
    /// known shape. `AsIs` images of another size than the input are resized and cropped to it; an image of the input's
    /// size does not change.
    pub fn fitted(self, found: Option<Shape>, input: Shape) -> Self {
        let fits = found.is_some_and(|found| (found.height, found.width) == (input.height, input.width));
        match self {
            Self::AsIs if !fits => Self::ResizeCrop { resize: input.height, crop: input.height },
            given => given,
        }
    }

    /// Returns the sizes; `None` for `AsIs`.
    pub fn sizes(self) -> Option<Sizes> {
        match self {
            Self::AsIs => None,
            Self::ResizeCrop { resize, crop } => Some(Sizes { resize, crop }),
        }
    }

    /// Checks the sizes for a network with input `input`.
    ///
    /// # Errors
    /// [`AugmentError::Settings`] if the crop is not the input's size, or larger than the resized image.
    pub fn check(&self, input: Shape) -> Result<(), AugmentError> {
        match *self {
            Self::AsIs => Ok(()),
            Self::ResizeCrop { crop, .. } if [crop; 2] != [input.height, input.width] => {
                Err(AugmentError::Settings(format!("crop is {crop}, but input is {} x {}", input.height, input.width)))
            }
            Self::ResizeCrop { resize, crop } if crop > resize || resize > 1 << 13 => {
                Err(AugmentError::Settings(format!("resize is {resize}, expected {crop} (crop) to {}", 1 << 13)))
            }
            Self::ResizeCrop { .. } => Ok(()),
        }
    }

    /// Changes `image` (`shape` = `[C, H, W]` bytes) in place and gives its new shape.
    ///
    /// # Errors
    /// [`AugmentError`] if `image` is not `shape` long or empty, or so thin that resizing it makes it huge.
    pub fn apply(&self, image: &mut Vec<u8>, shape: Shape) -> Result<Shape, AugmentError> {
        let Self::ResizeCrop { resize, crop } = *self else { return Ok(shape) };
        let Shape { channels, height, width } = shape;
        if image.len() != shape.len() || shape.is_empty() {
            return Err(AugmentError::Length { what: "image", found: image.len(), expected: shape.len() });
        }
        // torchvision: the long side is the quotient without its fraction.
        let (short, long) = (height.min(width), height.max(width));
        let new_long = resize * long / short;
        if resize.saturating_mul(new_long) > MOST_PIXELS {
            return Err(AugmentError::Settings(format!("an image of {height}x{width} is too thin to be resized")));
        }
        let (new_height, new_width) = if height <= width { (resize, new_long) } else { (new_long, resize) };
        let resized = resample(std::mem::take(image), height, width, new_height, new_width);
        let start = |whole: usize| ((whole - crop) as f64 / 2.0).round_ties_even() as usize;
        let part = Crop { top: start(new_height), left: start(new_width), height: crop, width: crop };
        *image = resized_crop(&resized, Shape::new(channels, new_height, new_width), part, crop, crop)?;
        Ok(Shape::new(channels, crop, crop))
    }
}
