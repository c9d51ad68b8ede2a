//! Every image of a set decoded once: sizes, formats, and the images that cannot be used.

use std::collections::BTreeMap;

use clapp_core::shape::Shape;
use rayon::prelude::*;

use super::encoded::Seen;
use super::left_out::NAMED;
use super::{DataError, Dataset, Split};
use crate::words::counted;

/// Result of decoding all images.
#[derive(Debug, Default)]
pub struct Checked {
    /// Images that were decoded, good or bad.
    pub all: usize,
    /// Least and most height and width of the good ones.
    pub sizes: Option<[[usize; 2]; 2]>,
    /// Number of images of each format, by its name.
    pub formats: BTreeMap<&'static str, usize>,
    /// The images that cannot be used: those to learn from first.
    pub bad: Vec<Bad>,
}

/// An image that cannot be used.
#[derive(Debug)]
pub struct Bad {
    /// `true` if it is one to test on.
    pub test: bool,
    /// Its index in that part.
    pub image: usize,
    /// Name of its file below the root of the set.
    pub name: String,
    /// The reason; the message names the file.
    pub error: DataError,
}

impl Dataset {
    /// Decodes every image, on all threads, and calls `progress` after each. The result does not depend on the number
    /// of threads.
    pub fn check_images(&self, progress: impl Fn() + Sync) -> Checked {
        let mut checked = Checked::default();
        for (test, split) in [(false, &self.train), (true, &self.test)] {
            let read = |pixels: &mut Vec<u8>, image: usize| {
                progress();
                split.inspect(image, pixels)
            };
            let seen: Vec<Result<Seen, DataError>> =
                (0..split.len()).into_par_iter().map_init(Vec::new, read).collect();
            checked.all += seen.len();
            for (image, seen) in seen.into_iter().enumerate() {
                match seen {
                    Ok(seen) => checked.add(seen),
                    Err(error) => {
                        let name = split.file_name(image).unwrap_or_default().to_string();
                        checked.bad.push(Bad { test, image, name, error });
                    }
                }
            }
        }
        checked
    }

    /// The same set without the images that cannot be used; [`Dataset::skipped`] has their names.
    ///
    /// # Errors
    /// [`DataError::Images`] if no image to learn from, or none to test on, is left.
    pub fn without(mut self, checked: Checked) -> Result<Self, DataError> {
        if checked.bad.is_empty() {
            return Ok(self);
        }
        let shared = self.pretrain.is_same(&self.train);
        let rest = |split: &Split, test: bool| {
            let mut good = vec![true; split.len()];
            checked.bad.iter().filter(|bad| bad.test == test).for_each(|bad| good[bad.image] = false);
            let good: Vec<usize> = (0..split.len()).filter(|&image| good[image]).collect();
            split.select(&good)
        };
        let (train, test) = (rest(&self.train, false), rest(&self.test, true));
        if train.is_empty() || test.is_empty() && !self.test.is_empty() {
            return Err(checked.refusal(false));
        }
        if shared {
            self.pretrain = train.clone();
        }
        self.source += &format!(
            "; {} skipped, {} training and {} kept",
            counted(checked.bad.len(), "bad image"),
            train.len(),
            counted(test.len(), "test image")
        );
        (self.train, self.test) = (train, test);
        self.skipped.extend(checked.bad.into_iter().map(|bad| bad.name));
        Ok(self)
    }
}

impl Checked {
    fn add(&mut self, seen: Seen) {
        let Shape { height, width, .. } = seen.shape;
        let [least, most] = self.sizes.unwrap_or([[height, width]; 2]);
        let least = [least[0].min(height), least[1].min(width)];
        self.sizes = Some([least, [most[0].max(height), most[1].max(width)]]);
        *self.formats.entry(seen.format).or_default() += 1;
    }

    /// Returns the error for the images that cannot be used. `skippable`: the work can continue without them.
    pub fn refusal(self, skippable: bool) -> DataError {
        let (bad, all) = (self.bad.len(), self.all);
        let first = self.bad.into_iter().take(NAMED).map(|bad| bad.error.to_string()).collect();
        DataError::Images { bad, all, first, skippable }
    }

    /// Sizes as a table shows them.
    pub fn size(&self) -> String {
        match self.sizes {
            None => "none".into(),
            Some([least, most]) if least == most => format!("{} x {}", least[0], least[1]),
            Some([least, most]) => format!("{} to {} high and {} to {} wide", least[0], most[0], least[1], most[1]),
        }
    }
}
