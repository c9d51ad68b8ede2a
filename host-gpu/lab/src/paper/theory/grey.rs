//! Grey images of 28x28 for the theory's figures: MNIST where it is given, else the centres of other images.

use crate::paper::{Finding, Setting};
use clapp_core::shape::Shape;
use clapp_data::augment::{CropRange, resized_crop};
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, Rng, stream};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Height and width of an image.
const SIZE: usize = 28;
/// Height and width of a patch.
const PATCH: usize = 14;
/// Values of a patch.
pub const PATCH_VALUES: usize = PATCH * PATCH;
/// Height and width of a view.
pub const VIEW: usize = 16;
/// Mean and standard deviation by which the paper's code normalises MNIST.
const MNIST: (f64, f64) = (0.1307, 0.3081);
/// Areas and aspects of crops (docs/paper.md 6.5; aspects as torchvision has them).
const CROPS: CropRange = CropRange { area: [0.15, 1.0], aspect: [3.0 / 4.0, 4.0 / 3.0] };
/// Areas of what is erased, as a part of the view's (docs/paper.md 6.5), and its height : width as torchvision has it.
const ERASED: ([f64; 2], [f64; 2]) = ([0.04, 0.16], [0.3, 3.3]);
/// Number of draws of an area to erase; after these nothing is erased.
const ATTEMPTS: usize = 10;

/// Part of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Images to train on.
    Train,
    /// Images held back.
    Test,
}

/// Source of the images.
#[derive(Debug)]
pub struct Grey {
    set: Dataset,
    is_mnist: bool,
}

/// Images, one after another, and how they are normalised.
#[derive(Debug)]
pub struct Images {
    pixels: Vec<u8>,
    mean: f64,
    deviation: f64,
}

impl Grey {
    /// MNIST where it is given, else the first colour set given, else the generated set; these in grey.
    pub fn of(setting: &Setting) -> Self {
        match setting.set("mnist") {
            Some(set) => Self { set: set.clone(), is_mnist: true },
            None => Self::in_grey(setting.colour()),
        }
    }

    /// Any other set, in grey.
    pub fn in_grey(set: Dataset) -> Self {
        Self { set: set.in_grey(), is_mnist: false }
    }

    /// Says in a finding what the images are.
    pub fn say(&self, finding: &mut Finding) {
        if self.is_mnist {
            finding.set("images", "MNIST");
            return;
        }
        finding.set("images", format!("{} in grey, the central 28x28 pixels", self.set.name));
        finding.notes.push(format!(
            "The paper's figure is on MNIST. MNIST was not given, so these numbers are of {} in grey, cut to the central \
             28x28 pixels and normalised by their own mean and deviation: the order of the curves can be compared, their \
             values cannot. `--data` with the folder of MNIST's four IDX files makes the paper's own.",
            self.set.name
        ));
    }

    /// `true` for the paper's images.
    pub fn is_mnist(&self) -> bool {
        self.is_mnist
    }

    /// The first `count` images of a part, or all where there are fewer; normalised by the mean and deviation of the
    /// training images among them (MNIST: by the paper's).
    ///
    /// # Errors
    /// If an image cannot be read or is smaller than 28x28.
    pub fn images(&self, part: Part, count: usize) -> Result<Images, Error> {
        let train = pixels(&self.set.pretrain, count)?;
        let (mean, deviation) = if self.is_mnist { MNIST } else { moments(&train) };
        let pixels = if part == Part::Train { train } else { pixels(&self.set.test, count)? };
        Ok(Images { pixels, mean, deviation })
    }
}

/// The centres of the first `count` images.
fn pixels(split: &Split, count: usize) -> Result<Vec<u8>, Error> {
    let centre = |image: usize| {
        let mut pixels = Vec::new();
        let shape = split.read(image, &mut pixels)?;
        if shape.channels != 1 || shape.height < SIZE || shape.width < SIZE {
            return Err(Error::Config {
                origin: "--data".into(),
                message: format!(
                    "image {image} is [{}, {}, {}], expected grey images of at least {SIZE}x{SIZE}",
                    shape.channels, shape.height, shape.width
                ),
            });
        }
        let (top, left) = ((shape.height - SIZE) / 2, (shape.width - SIZE) / 2);
        let rows = (0..SIZE).flat_map(|row| pixels[(top + row) * shape.width + left..][..SIZE].to_vec());
        Ok(rows.collect::<Vec<u8>>())
    };
    let images = (0..count.min(split.len())).into_par_iter().map(centre).collect::<Result<Vec<_>, Error>>()?;
    Ok(images.concat())
}

/// Mean and standard deviation of values scaled to `[0, 1]`.
fn moments(pixels: &[u8]) -> (f64, f64) {
    let count = pixels.len().max(1) as f64;
    let sum = |f: fn(u64) -> u64| pixels.iter().map(|&value| f(u64::from(value))).sum::<u64>() as f64;
    let (mean, squares) = (sum(|v| v) / count, sum(|v| v * v) / count);
    let deviation = (squares - mean * mean).max(0.0).sqrt() / 255.0;
    (mean / 255.0, if deviation > 0.0 { deviation } else { 1.0 })
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / (SIZE * SIZE)
    }

    fn image(&self, at: usize) -> &[u8] {
        &self.pixels[at * SIZE * SIZE..][..SIZE * SIZE]
    }

    fn normal(&self, value: u8) -> f64 {
        (f64::from(value) / 255.0 - self.mean) / self.deviation
    }

    /// The four patches of these images, `[196, 4 x images]`: ordered by row of patches, column of patches, image, so that
    /// the two halves are the upper and the lower patches and partners lie in the same column of the same image
    /// (docs/paper.md 6.3).
    pub fn patches(&self, images: &[usize]) -> DMatrix<f64> {
        DMatrix::from_fn(PATCH_VALUES, 4 * images.len(), |pixel, row| {
            let (patch, image) = (row / images.len(), images[row % images.len()]);
            let (top, left) = (patch / 2 * PATCH, patch % 2 * PATCH);
            let place = (top + pixel / PATCH) * SIZE + left + pixel % PATCH;
            self.normal(self.image(image)[place])
        })
    }

    /// Two views of these images, `[256, 2 x images]`, the first views first: a random crop resized to 16x16, normalised,
    /// and with a probability of a half a rectangle set to 0 (docs/paper.md 6.5).
    ///
    /// # Errors
    /// None on images of this kind.
    pub fn views(&self, images: &[usize], seed: u64) -> Result<DMatrix<f64>, Error> {
        let mut views = DMatrix::zeros(VIEW * VIEW, 2 * images.len());
        for (row, mut view) in views.column_iter_mut().enumerate() {
            let image = images[row % images.len()];
            let rng = &mut stream(seed, Purpose::Theory, (row / images.len()) as u64, image as u64);
            let crop = CROPS.draw(SIZE, SIZE, rng);
            let cut = resized_crop(self.image(image), Shape::new(1, SIZE, SIZE), crop, VIEW, VIEW)?;
            view.iter_mut().zip(cut).for_each(|(to, value)| *to = self.normal(value));
            if let Some([top, left, height, width]) = erased(rng) {
                for y in top..top + height {
                    (left..left + width).for_each(|x| view[y * VIEW + x] = 0.0);
                }
            }
        }
        Ok(views)
    }
}

/// Area of a view to erase: top, left, height, width.
fn erased(rng: &mut Rng) -> Option<[usize; 4]> {
    if !rng.chance(0.5) {
        return None;
    }
    let ([least, most], [low, high]) = ERASED;
    for _ in 0..ATTEMPTS {
        let area = (VIEW * VIEW) as f64 * (least + (most - least) * rng.unit_f64());
        let (low, high) = (libm::log(low), libm::log(high));
        let aspect = libm::exp(low + (high - low) * rng.unit_f64());
        let height = (area * aspect).sqrt().round_ties_even() as usize;
        let width = (area / aspect).sqrt().round_ties_even() as usize;
        if height < VIEW && width < VIEW {
            return Some([rng.below(VIEW - height + 1), rng.below(VIEW - width + 1), height, width]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Images {
        let pixels = (0..3 * SIZE * SIZE).map(|i| (i % 251) as u8).collect();
        Images { pixels, mean: 0.5, deviation: 0.25 }
    }

    #[test]
    fn partners_are_the_lower_patches_of_the_same_column() {
        let images = counting();
        let patches = images.patches(&[2, 0]);
        assert_eq!((patches.nrows(), patches.ncols()), (196, 8));
        for (row, (image, patch_row, patch_column)) in
            [(2, 0, 0), (0, 0, 0), (2, 0, 1), (0, 0, 1), (2, 1, 0), (0, 1, 0), (2, 1, 1), (0, 1, 1)].iter().enumerate()
        {
            for (y, x) in [(0, 0), (3, 13), (13, 5)] {
                let at = image * 784 + (patch_row * 14 + y) * 28 + patch_column * 14 + x;
                let expected = (f64::from((at % 251) as u8) / 255.0 - 0.5) / 0.25;
                assert_eq!(patches[(y * 14 + x, row)], expected);
            }
        }
    }

    #[test]
    fn views_are_crops_some_with_a_hole() {
        let images = counting();
        let views = images.views(&[0, 1, 2], 4).unwrap();
        assert_eq!(views, images.views(&[0, 1, 2], 4).unwrap());
        assert_ne!(views, images.views(&[0, 1, 2], 5).unwrap());
        // A view does not depend on the batch that it is in.
        assert_eq!(views.column(5), images.views(&[2], 4).unwrap().column(1));
        let mut holes = 0;
        for seed in 0..100 {
            if let Some([top, left, height, width]) = erased(&mut stream(seed, Purpose::Theory, 0, 0)) {
                holes += 1;
                assert!(top + height <= VIEW && left + width <= VIEW);
                // 10.2 to 41 pixels before both sides are rounded, which adds or takes half a pixel at most.
                assert!((6..=49).contains(&(height * width)), "{height} x {width}");
            }
        }
        assert!((35..=65).contains(&holes), "{holes}");
    }
}
