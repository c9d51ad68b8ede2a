//! Generated sets: labelled images that need no download.
//!
//! [`shapes`] draws one figure an image, of ten classes (seven outlines, three textures within any of these
//! outlines), 32x32 in colour. Colour says nothing of the class; place, size, rotation, stretch, colours, background,
//! clutter, occlusion and noise vary strongly ([`Nuisance`]), so that pixels and random features tell the classes
//! apart badly. Image `i` of a seed is the same whatever the number of images and threads.

use clapp_core::shape::Shape;
use rayon::prelude::*;

use super::images::Images;
use super::split::statistics;
use super::{Dataset, LeftOuts, Split};
use crate::rng::{Purpose, Rng, stream};

mod figure;
mod scene;

use figure::Form;

/// Height and width of a generated image.
const SIZE: usize = 32;
const SHAPE: Shape = Shape::new(3, SIZE, SIZE);
const IMAGE: usize = SHAPE.len();
/// Largest number of images of one part (3 GB).
const MOST: usize = 1_000_000;

/// Variation between images of one class. Lengths are in pixels of the 32x32 image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nuisance {
    /// The figure's centre lies up to this far from the image's, along each axis.
    pub shift: f32,
    /// Smallest and largest radius of the figure.
    pub radius: [f32; 2],
    /// The figure is stretched along a random axis by up to this factor.
    pub stretch: f32,
    /// The figure turns by up to this part of a full turn, either way (0.5: any rotation).
    pub rotation: f32,
    /// Least difference in brightness (0 to 1) between figure and background; either may be the brighter one.
    pub contrast: f32,
    /// Amplitude (0 to 1) of the gradient and of the waves of the background.
    pub background: f32,
    /// Largest number of small distractors behind the figure, at most 100. At most half as many are in front of it.
    pub clutter: usize,
    /// Probability that a bar covers part of the figure.
    pub occlusion: f32,
    /// The whole image's brightness is multiplied by `1 ± light`.
    pub light: f32,
    /// Largest standard deviation (0 to 1) of the noise of each value; each image has its own, from 0 up.
    pub noise: f32,
}

impl Default for Nuisance {
    fn default() -> Self {
        Self {
            shift: 4.0,
            radius: [9.0, 13.0],
            stretch: 1.25,
            rotation: 0.5,
            contrast: 0.25,
            background: 0.08,
            clutter: 3,
            occlusion: 0.2,
            light: 0.2,
            noise: 0.04,
        }
    }
}

/// The set `shapes` with the default [`Nuisance`]: `train` and `test` images of ten classes in turn.
/// At most a million images of each part; more are cut to that.
pub fn shapes(seed: u64, train: usize, test: usize) -> Dataset {
    shapes_with(seed, train, test, &Nuisance::default())
}

/// Same as [`shapes`], with chosen nuisance.
pub fn shapes_with(seed: u64, train: usize, test: usize, nuisance: &Nuisance) -> Dataset {
    let pixels = part(seed, Purpose::GenerateTrain, train, nuisance);
    let (mean, std) = statistics(&pixels, SHAPE);
    let train = labelled(pixels);
    let test = labelled(part(seed, Purpose::GenerateTest, test, nuisance));
    Dataset {
        name: "shapes".into(),
        source: format!("generated shapes, seed {seed}: {} training and {} test images", train.len(), test.len()),
        classes: Form::CLASSES.iter().map(|form| form.name().to_string()).collect(),
        mean,
        std,
        pretrain: train.clone(),
        train,
        test,
        folds: Vec::new(),
        left_out: LeftOuts::default(),
        skipped: Vec::new(),
    }
}

/// Class of an image: in turn, so that any first part of them is balanced.
fn label(image: usize) -> usize {
    image % Form::CLASSES.len()
}

/// `count` images.
fn part(seed: u64, purpose: Purpose, count: usize, nuisance: &Nuisance) -> Vec<u8> {
    let mut pixels = vec![0; count.min(MOST) * IMAGE];
    pixels.par_chunks_exact_mut(IMAGE).enumerate().for_each(|(image, out)| {
        let mut rng: Rng = stream(seed, purpose, 0, image as u64);
        scene::draw(Form::CLASSES[label(image)], nuisance, &mut rng, out);
    });
    pixels
}

/// The images with their labels.
fn labelled(pixels: Vec<u8>) -> Split {
    let labels = (0..pixels.len() / IMAGE).map(|image| label(image) as u16).collect();
    Split::of(Images::Memory { shape: SHAPE, pixels }, labels)
}
