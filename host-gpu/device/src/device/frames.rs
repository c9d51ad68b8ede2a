//! Frames for a device: images cut to its input, grey where it has one channel, and of one contrast.
//!
//! A view is a random crop of the image, mirrored or not. Brightness and contrast carry little information about the
//! class, and a device that can separate frames by them alone learns nothing else. Therefore every frame gets the same
//! mean and, if it has any contrast, the same deviation.

use clapp_core::shape::Shape;
use clapp_data::augment::{AugmentError, Crop, CropRange, grey_scale, horizontal_flip, resized_crop};
use clapp_data::data::Dataset;
use clapp_data::rng::Rng;

/// Mean and standard deviation of the pixels of a frame.
const MEAN: f32 = 128.0;
const DEVIATION: f32 = 50.0;
/// Deviation below which an image counts as having no contrast, which is then not made larger.
const LEAST_DEVIATION: f32 = 4.0;
/// Smallest part of an image that a view shows.
const LEAST_AREA: f32 = 0.25;
/// Smallest and largest ratio of a part's proportions to the frame's.
const ASPECT: [f32; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// Conversion of images to frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    input: Shape,
    crop: CropRange,
    whole: CropRange,
    /// Probability that a view is mirrored.
    flip: f32,
}

impl Frames {
    /// Frames of shape `input` from the images of `data`.
    ///
    /// # Errors
    /// [`AugmentError::Settings`] if a frame has other channels than one or three.
    pub fn new(input: Shape, data: &Dataset) -> Result<Self, AugmentError> {
        if !matches!(input.channels, 1 | 3) || input.is_empty() {
            return Err(AugmentError::Settings(format!(
                "the device takes frames of {} x {} x {}, expected 1 (grey) or 3 channels",
                input.channels, input.height, input.width
            )));
        }
        let proportions = input.width as f32 / input.height as f32;
        let aspect = |range: [f32; 2]| range.map(|aspect| aspect * proportions);
        Ok(Self {
            input,
            crop: CropRange { area: [LEAST_AREA, 1.0], aspect: aspect(ASPECT) },
            whole: CropRange { area: [1.0, 1.0], aspect: aspect([1.0, 1.0]) },
            // A mirrored digit is another sign.
            flip: if data.name == "idx" { 0.0 } else { 0.5 },
        })
    }

    /// A random view of an image (`shape` = `[C, H, W]` bytes), `[C, H, W]` as the device's input.
    ///
    /// # Errors
    /// [`AugmentError`] if `image` is not `shape` long.
    pub fn view(&self, image: &[u8], shape: Shape, rng: &mut Rng) -> Result<Vec<u8>, AugmentError> {
        let crop = self.crop.draw(shape.height, shape.width, rng);
        let flip = rng.chance(self.flip);
        let mut frame = self.cut(image, shape, crop)?;
        if flip {
            horizontal_flip(&mut frame, self.input.width);
        }
        Ok(frame)
    }

    /// An image as it is tested: as much of its middle as has the proportions of a frame.
    ///
    /// # Errors
    /// Same as [`Frames::view`].
    pub fn whole(&self, image: &[u8], shape: Shape) -> Result<Vec<u8>, AugmentError> {
        self.cut(image, shape, self.whole.central(shape.height, shape.width))
    }

    fn cut(&self, image: &[u8], shape: Shape, crop: Crop) -> Result<Vec<u8>, AugmentError> {
        let mut frame = resized_crop(image, shape, crop, self.input.height, self.input.width)?;
        let area = self.input.area();
        match (shape.channels, self.input.channels) {
            (3, 1) => {
                grey_scale(&mut frame, 3);
                frame.truncate(area);
            }
            (1, 3) => frame = frame.repeat(3),
            _ => {}
        }
        even(&mut frame);
        Ok(frame)
    }
}

/// Gives the pixels the mean and the deviation that all frames have.
fn even(frame: &mut [u8]) {
    let count = frame.len().max(1) as f64;
    let (mut sum, mut squares) = (0_u64, 0_u64);
    for &pixel in &*frame {
        sum += u64::from(pixel);
        squares += u64::from(pixel) * u64::from(pixel);
    }
    let mean = sum as f64 / count;
    let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
    let factor = f64::from(DEVIATION) / deviation.max(f64::from(LEAST_DEVIATION));
    for pixel in frame {
        // The cast keeps to bytes.
        *pixel = ((f64::from(*pixel) - mean) * factor + f64::from(MEAN)).round() as u8;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clapp_data::data::generated;
    use clapp_data::rng::{Purpose, stream};

    fn statistics(frame: &[u8]) -> [f64; 2] {
        let count = frame.len() as f64;
        let mean = frame.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / count;
        let squares = frame.iter().map(|&pixel| (f64::from(pixel) - mean).powi(2)).sum::<f64>();
        [mean, (squares / count).sqrt()]
    }

    #[test]
    fn frames_have_the_input_s_shape_and_one_contrast() {
        let data = generated::shapes(1, 20, 0);
        let shape = data.shape().unwrap();
        for input in [Shape::new(1, 32, 32), Shape::new(3, 16, 16), Shape::new(1, 24, 32), Shape::new(1, 7, 3)] {
            let frames = Frames::new(input, &data).unwrap();
            let mut rng = stream(1, Purpose::Fixation, 0, 0);
            for image in 0..20 {
                let image = data.train.image(image).unwrap();
                let (view, whole) =
                    (frames.view(&image, shape, &mut rng).unwrap(), frames.whole(&image, shape).unwrap());
                for frame in [view, whole] {
                    assert_eq!(frame.len(), input.len());
                    let [mean, deviation] = statistics(&frame);
                    // Clipping at black and white, and rounding, explain the difference.
                    assert!((mean - 128.0).abs() < 12.0 && (deviation - 50.0).abs() < 12.0, "{mean} {deviation}");
                }
            }
        }
    }

    #[test]
    fn views_of_an_image_differ_and_the_whole_image_does_not() {
        let data = generated::shapes(2, 1, 0);
        let shape = data.shape().unwrap();
        let frames = Frames::new(Shape::new(1, 32, 32), &data).unwrap();
        let image = data.train.image(0).unwrap();
        let mut rng = stream(1, Purpose::Fixation, 0, 0);
        let one = frames.view(&image, shape, &mut rng).unwrap();
        assert_ne!(one, frames.view(&image, shape, &mut rng).unwrap());
        assert_eq!(one, frames.view(&image, shape, &mut stream(1, Purpose::Fixation, 0, 0)).unwrap());
        assert_eq!(frames.whole(&image, shape).unwrap(), frames.whole(&image, shape).unwrap());
    }

    #[test]
    fn brightness_and_contrast_do_not_matter_and_noise_is_not_made_large() {
        let ramp = |low: u8, factor: u8| -> Vec<u8> { (0..64).map(|place| low + factor * (place % 32)).collect() };
        let (mut dark, mut light) = (ramp(10, 1), ramp(100, 4));
        even(&mut dark);
        even(&mut light);
        let most = dark.iter().zip(&light).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(most <= 1, "{most}");
        let mut flat: Vec<u8> = (0..64).map(|place| 200 + place % 2).collect();
        even(&mut flat);
        let [mean, deviation] = statistics(&flat);
        assert!((mean - 128.0).abs() <= 1.0 && deviation < 10.0, "{mean} {deviation}");
    }

    #[test]
    fn other_channels_are_refused() {
        let data = generated::shapes(1, 1, 0);
        for channels in [0, 2, 4] {
            assert!(Frames::new(Shape::new(channels, 8, 8), &data).is_err());
        }
    }
}
