//! The input of a training step on the device: its views, made of 8-bit images there, and all other random draws. The
//! streams are those of the CPU, so that both see the same views, negatives and mixtures.
//!
//! The images are either all on the device ([`upload`]), or those of one batch are copied there before each step, as
//! [`clapp_data::loader::raw_from`] brings them. At the start of an epoch the host writes [`Feed::settings`] and
//! [`Feed::order`]; within it, the operations of [`Feed::views`], [`Feed::draws`] and [`Feed::mixture`] need nothing
//! of the host. They find the step and its place in the epoch in the device's `control`, after `tick`.

mod desk;
mod draws;
mod settings;
mod upload;
mod views;

pub use draws::MixPlaces;
pub use settings::SETTINGS_BYTES;
pub use upload::upload;
pub use views::ViewPlaces;

use super::CONTROL_BYTES;
use super::op::Arg;
use clapp_core::shape::Shape;
use clapp_data::augment::ViewAugment;
use clapp_data::loader::Part;
use clapp_data::loader::{LoaderError, pair_order};
use clapp_engine::config::{Config, Negatives};
use clapp_engine::model::Inputs;
use desk::Desk;

/// Bytes of what is drawn for one view.
const VIEW_BYTES: usize = 64;
/// Threads of a block.
const BLOCK: u32 = 256;

/// Memory of the numbers that all draws depend on.
#[derive(Debug, Clone, Copy)]
pub struct Clock<P> {
    /// [`CONTROL_BYTES`], which `tick` has counted on for this step.
    pub control: P,
    /// [`Feed::settings`], [`SETTINGS_BYTES`].
    pub settings: P,
}

impl<P: Copy> Clock<P> {
    fn settings(&self) -> Arg<P> {
        Arg::In(self.settings, SETTINGS_BYTES)
    }

    fn control(&self) -> Arg<P> {
        Arg::In(self.control, CONTROL_BYTES)
    }
}

/// Makes the batches of a run on the device.
#[derive(Debug, Clone)]
pub struct Feed {
    augment: ViewAugment,
    seed: u64,
    batch: usize,
    /// Shape of every image, before it is cut.
    image: Shape,
    /// Images of the set.
    images: usize,
    part: Part,
    /// Images of an epoch of this process.
    epoch_len: usize,
    /// True if all images of the set are on the device.
    resident: bool,
    desk: Desk,
    negatives: Negatives,
    lists: usize,
    inputs: Inputs,
    either: bool,
}

impl Feed {
    /// For a run by `config` on `images` images of shape `image`, of whose batches this process makes `part`.
    ///
    /// # Errors
    /// [`LoaderError`] where the augmentation does not fit the images, there are fewer than 2 of them, or something is
    /// too large to be counted by the kernels: a view or an image with 2^30 values, or 2^31 images.
    pub fn new(config: &Config, image: Shape, images: usize, part: Part, resident: bool) -> Result<Self, LoaderError> {
        config.augment.check(image)?;
        let view = config.augment.view_shape(image);
        for (what, found, most) in [
            ("values of an image", image.len(), 1 << 30),
            ("values of a view", view.len(), 1 << 30),
            ("images", images, (1 << 31) - 1),
            ("images in a batch", config.batch, 1 << 24),
        ] {
            if found > most {
                return Err(LoaderError::Request(format!("{found} {what}, a device takes {most} at most")));
            }
        }
        // Wrong sizes are found here, not in the first epoch.
        let epoch_len = pair_order(images, config.batch, config.seed, 0, part)?.len();
        Ok(Self {
            augment: config.augment.clone(),
            seed: config.seed,
            batch: config.batch,
            image,
            images,
            part,
            epoch_len,
            resident,
            desk: Desk::of(image, &config.augment),
            negatives: config.negatives,
            lists: if config.negatives_shared { 1 } else { 2 * config.blocks.len() },
            inputs: config.rule.choices().inputs,
            either: config.either,
        })
    }

    /// Bytes of all images of the set.
    pub fn set_bytes(&self) -> usize {
        self.images * self.image.len()
    }

    /// Bytes of the images that the operations read: all of the set, or one batch of it.
    pub fn image_bytes(&self) -> usize {
        if self.resident { self.set_bytes() } else { self.batch * self.image.len() }
    }

    /// Elements of a batch of views of `count` images, `[2 count, size, size, C]`.
    pub fn batch_len(&self, count: usize) -> usize {
        2 * count * self.view().len()
    }

    /// Pixels of a view.
    pub fn view_area(&self) -> usize {
        self.view().area()
    }

    /// Shape of a view.
    fn view(&self) -> Shape {
        self.augment.view_shape(self.image)
    }

    /// The order of an epoch's images, as the operations read it: `int` values, [`Feed::order_bytes`] in all.
    ///
    /// # Errors
    /// As [`clapp_data::loader::pairs`].
    pub fn order(&self, epoch: u64) -> Result<Vec<u8>, LoaderError> {
        let order = pair_order(self.images, self.batch, self.seed, epoch, self.part)?;
        Ok(order.into_iter().flat_map(|image| (image as i32).to_le_bytes()).collect())
    }

    /// Bytes of [`Feed::order`], the same in all epochs.
    pub fn order_bytes(&self) -> usize {
        4 * self.epoch_len
    }

    /// The bytes that the operations read in an epoch besides the order: seed, epoch, and settings of the views.
    pub fn settings(&self, epoch: u64) -> [u8; SETTINGS_BYTES] {
        settings::bytes(&self.augment, self.seed, epoch)
    }
}

fn number<P>(value: usize) -> Arg<P> {
    Arg::I32(value as i32)
}
