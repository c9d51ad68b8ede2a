//! The views of a run's images. They are made on the device, of images that all lie there or of those of one batch; or
//! by the host, if the images differ in shape.

use super::Gpu;
use super::executor::Executor;
use super::feed::{Clock, Feed, MixPlaces, SETTINGS_BYTES, ViewPlaces, upload};
use super::memory::Tensor;
use super::needs::DeviceNeeds;
use super::training::StepMemory;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_engine::config::Config;

/// Bytes of a set that is kept on a device which does not say how much memory it has.
const SMALL_SET: usize = 1 << 30;

/// Makes views on the device.
#[derive(Debug)]
pub struct DeviceViews {
    pub(super) feed: Feed,
    /// Settings that depend on the epoch.
    settings: Tensor,
    /// The images of an epoch in their order.
    order: Tensor,
    /// All images, or those of a batch.
    pub(super) images: Tensor,
    /// True if all images are there.
    pub(super) resident: bool,
}

impl DeviceViews {
    /// For a run by `config` on `images`; `None` where the images differ in shape. All images are brought to the device
    /// if there is room for them beside the training.
    ///
    /// # Errors
    /// If the augmentation does not fit the images, an image cannot be read, or the device fails.
    pub fn new<E: Executor + 'static>(gpu: &Gpu<E>, config: &Config, images: &Split) -> Result<Option<Self>, Error> {
        let Some(shape) = images.shape() else { return Ok(None) };
        let feed = |resident| Feed::new(config, shape, images.len(), gpu.part(), resident);
        let all = feed(true)?;
        let resident = match gpu.executor().free_memory()? {
            Some(free) => {
                let needs = DeviceNeeds::of_part(config, gpu.executor().map_type(), gpu.part())?;
                // A part is left for the libraries.
                all.set_bytes() + needs.total() < free / 10 * 9
            }
            None => all.set_bytes() <= SMALL_SET,
        };
        let feed = if resident { all } else { feed(false)? };
        let views = Self {
            settings: gpu.device.fixed(SETTINGS_BYTES, 1),
            order: gpu.device.fixed(feed.order_bytes(), 1),
            images: gpu.device.fixed(feed.image_bytes(), 1),
            resident,
            feed,
        };
        if resident {
            let write = |offset: usize, bytes: &[u8]| {
                gpu.device.write(&views.images.part(offset, bytes.len()), bytes);
                Ok::<_, Error>(())
            };
            upload(images, write, |_| ())?;
        }
        Ok(Some(views))
    }

    /// Tells the device which epoch begins.
    ///
    /// # Errors
    /// If there are too few images.
    pub fn begin<E: Executor + 'static>(&self, gpu: &Gpu<E>, epoch: u64) -> Result<(), Error> {
        gpu.device.write(&self.settings, &self.feed.settings(epoch));
        gpu.device.write(&self.order, &self.feed.order(epoch)?);
        Ok(())
    }

    /// Records what makes a batch of `count` images, and all else that the step draws.
    pub(super) fn record<E: Executor + 'static>(&self, gpu: &Gpu<E>, memory: &StepMemory, count: usize) -> Tensor {
        let (device, feed, maps) = (&gpu.device, &self.feed, gpu.device.executor.map_type());
        let clock = Clock { control: device.place(&gpu.control), settings: device.place(&self.settings) };
        let views = gpu.map(feed.batch_len(count));
        let drawn = device.temporary(feed.drawn_bytes(count), 1);
        let scratch = device.temporary(feed.scratch_bytes(count), 1);
        let places = ViewPlaces {
            clock,
            order: device.place(&self.order),
            images: device.place(&self.images),
            drawn: device.place(&drawn),
            scratch: device.place(&scratch),
        };
        let made = feed.views(&places, device.place(&views), count, maps);
        let [negatives, keep] = [&memory.inputs.negatives, &memory.inputs.keep].map(|tensor| device.place(tensor));
        let drawing = feed.draws(&clock, negatives, keep, 2 * count);
        made.into_iter().chain(drawing).for_each(|op| device.run(op));
        drop((drawn, scratch));
        if !feed.mixes() {
            return views;
        }
        let mixed = gpu.map(views.len());
        let area = feed.view_area();
        let others = device.temporary(count, size_of::<i32>());
        let masks = device.temporary(count * area, 1);
        let scratch = gpu.floats(count * area);
        let places = MixPlaces {
            views: device.place(&views),
            others: device.place(&others),
            masks: device.place(&masks),
            scratch: device.place(&scratch),
            out: device.place(&mixed),
        };
        feed.mixture(&clock, &places, count, maps).into_iter().for_each(|op| device.run(op));
        mixed
    }
}
