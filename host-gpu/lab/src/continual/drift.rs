//! Conditions under which a sensor sees the same things differently: rotation, blur, contrast, brightness, noise.

use clapp_core::shape::Shape;
use clapp_data::augment::{AugmentError, gaussian_blur};
use clapp_data::rng::Rng;

/// Changes of a frame. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Angle in radians, counter-clockwise about the middle.
    pub rotation: f32,
    /// Standard deviation of a Gaussian blur, in pixels; 0 for none.
    pub blur: f32,
    /// Share of the distance from mid-grey that is lost.
    pub fading: f32,
    /// Added to every pixel.
    pub brightness: f32,
    /// Standard deviation of the noise of every pixel.
    pub noise: f32,
}

/// Conditions at the end of a stream.
const WORST: Conditions = Conditions { rotation: 0.5, blur: 0.8, fading: 0.5, brightness: 30.0, noise: 12.0 };
/// Grey that fading leads to: the mean of a frame ([`clapp_device::device::frames`]).
const GREY: f32 = 128.0;
/// Taps of the blur.
const TAPS: usize = 5;

impl Conditions {
    /// Conditions at a severity from 0 (none) to 1, all in proportion.
    pub fn at(severity: f32) -> Self {
        Self {
            rotation: severity * WORST.rotation,
            blur: severity * WORST.blur,
            fading: severity * WORST.fading,
            brightness: severity * WORST.brightness,
            noise: severity * WORST.noise,
        }
    }

    /// A frame `[C, H, W]` under these conditions. What a rotation brings in from outside is the nearest pixel of the
    /// border.
    ///
    /// # Errors
    /// [`AugmentError`] where `frame` is not `shape` long or too small for the blur.
    pub fn apply(&self, frame: &[u8], shape: Shape, rng: &mut Rng) -> Result<Vec<u8>, AugmentError> {
        if frame.len() != shape.len() {
            return Err(AugmentError::Length { what: "frame", found: frame.len(), expected: shape.len() });
        }
        let mut out = match self.rotation {
            0.0 => frame.to_vec(),
            angle => frame.chunks_exact(shape.area().max(1)).flat_map(|plane| rotated(plane, shape, angle)).collect(),
        };
        if self.blur > 0.0 {
            gaussian_blur(&mut out, shape, TAPS, self.blur)?;
        }
        for pixel in &mut out {
            let faded = GREY + (1.0 - self.fading) * (f32::from(*pixel) - GREY) + self.brightness;
            let noise = if self.noise > 0.0 { self.noise * rng.normal() } else { 0.0 };
            // The cast keeps to bytes.
            *pixel = (faded + noise).round() as u8;
        }
        Ok(out)
    }
}

/// One plane `[H, W]`, turned about its middle and read between pixels in proportion.
fn rotated(plane: &[u8], shape: Shape, angle: f32) -> Vec<u8> {
    let (height, width) = (shape.height, shape.width);
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    let middle = [(height as f32 - 1.0) / 2.0, (width as f32 - 1.0) / 2.0];
    let pixel = |y: f32, x: f32| {
        let inside = |place: f32, size: usize| place.clamp(0.0, size as f32 - 1.0) as usize;
        f32::from(plane[inside(y, height) * width + inside(x, width)])
    };
    let mut out = Vec::with_capacity(plane.len());
    for place in 0..height * width {
        let (dy, dx) = ((place / width) as f32 - middle[0], (place % width) as f32 - middle[1]);
        let (y, x) = (middle[0] + cos * dy + sin * dx, middle[1] - sin * dy + cos * dx);
        let (top, left) = (y.floor(), x.floor());
        let (down, right) = (y - top, x - left);
        let upper = (1.0 - right) * pixel(top, left) + right * pixel(top, left + 1.0);
        let lower = (1.0 - right) * pixel(top + 1.0, left) + right * pixel(top + 1.0, left + 1.0);
        out.push(((1.0 - down) * upper + down * lower).round() as u8);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clapp_data::rng::{Purpose, stream};

    fn rng() -> Rng {
        stream(1, Purpose::Other(0), 0, 0)
    }

    #[test]
    fn a_quarter_turn_moves_every_pixel_and_none_is_lost() {
        let shape = Shape::new(1, 4, 4);
        let frame: Vec<u8> = (0..16).map(|place| 10 * place).collect();
        let quarter = Conditions { rotation: std::f32::consts::FRAC_PI_2, ..Conditions::default() };
        let once = quarter.apply(&frame, shape, &mut rng()).unwrap();
        // The right column is the top row now.
        assert_eq!(once[..4], [frame[3], frame[7], frame[11], frame[15]]);
        let mut four = frame.clone();
        for _ in 0..4 {
            four = quarter.apply(&four, shape, &mut rng()).unwrap();
        }
        assert_eq!(four, frame);
    }

    #[test]
    fn severity_grows_and_none_changes_nothing() {
        let shape = Shape::new(1, 16, 16);
        let frame: Vec<u8> = (0..256).map(|place| if place / 16 % 8 < 4 { 60 } else { 190 }).collect();
        let change = |severity: f32| {
            let out = Conditions::at(severity).apply(&frame, shape, &mut rng()).unwrap();
            out.iter().zip(&frame).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>()
        };
        let changes = [0.0, 0.25, 0.5, 1.0].map(change);
        assert_eq!(changes[0], 0);
        assert!(changes.is_sorted_by(|a, b| a < b), "{changes:?}");
        assert!(Conditions::at(0.5).apply(&frame, Shape::new(1, 16, 15), &mut rng()).is_err());
    }

    #[test]
    fn each_condition_does_what_it_says() {
        let shape = Shape::new(1, 16, 16);
        let frame: Vec<u8> = (0..256).map(|place| if place % 2 == 0 { 100 } else { 140 }).collect();
        let after = |conditions: Conditions| {
            let out = conditions.apply(&frame, shape, &mut rng()).unwrap();
            let mean = out.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / 256.0;
            let squares = out.iter().map(|&pixel| (f64::from(pixel) - mean).powi(2)).sum::<f64>();
            (mean, (squares / 256.0).sqrt())
        };
        let none = Conditions::default();
        assert_eq!(after(none), (120.0, 20.0));
        let (mean, deviation) = after(Conditions { fading: 0.5, ..none });
        assert_eq!((mean, deviation), (124.0, 10.0));
        assert_eq!(after(Conditions { brightness: 30.0, ..none }), (150.0, 20.0));
        let (_, deviation) = after(Conditions { noise: 15.0, ..none });
        assert!((deviation - 25.0).abs() < 2.0, "{deviation}");
        let (mean, deviation) = after(Conditions { blur: 1.0, ..none });
        assert!((mean - 120.0).abs() < 1.0 && deviation < 4.0, "{mean} {deviation}");
    }
}
