//! The operations that make a batch of views.

use super::super::op::{Arg, MapType, Op};
use super::{BLOCK, Clock, Feed, VIEW_BYTES, number};

/// Memory that the views are made of and with.
#[derive(Debug, Clone, Copy)]
pub struct ViewPlaces<P> {
    /// Step, epoch and settings.
    pub clock: Clock<P>,
    /// [`Feed::order`], [`Feed::order_bytes`].
    pub order: P,
    /// The images, [`Feed::image_bytes`]: all of the set, or those of the batch.
    pub images: P,
    /// Random draws of the views, [`Feed::drawn_bytes`].
    pub drawn: P,
    /// [`Feed::scratch_bytes`]; not touched where that is 0.
    pub scratch: P,
}

impl Feed {
    /// Bytes of what is drawn for the views of `count` images.
    pub fn drawn_bytes(&self, count: usize) -> usize {
        2 * count * VIEW_BYTES
    }

    /// Bytes of memory that making the views of `count` images takes besides; 0 where they fit in the blocks' own.
    pub fn scratch_bytes(&self, count: usize) -> usize {
        self.desk.scratch_bytes(2 * count)
    }

    /// Draws and makes two views of each of `count` images into `out`, [`Feed::batch_len`] elements: rows `0..count`
    /// are first views, row `count + i` is the second view of the image of row `i`.
    pub fn views<P: Copy>(&self, places: &ViewPlaces<P>, out: P, count: usize, maps: MapType) -> Vec<Op<P>> {
        let rows = 2 * count as u32;
        let [settings, control] = [places.clock.settings(), places.clock.control()];
        let order = Arg::In(places.order, self.order_bytes());
        let size = [self.image.height, self.image.width].map(number);
        let mut draw = vec![settings, control, order, Arg::Out(places.drawn, self.drawn_bytes(count))];
        draw.extend([number(count), number(self.batch)]);
        draw.extend(size);
        let mut make = Vec::new();
        if let Some(lens) = self.desk.scratch {
            make.push(Arg::Out(places.scratch, self.scratch_bytes(count)));
            make.extend(lens.map(number));
        }
        make.extend([Arg::In(places.images, self.image_bytes()), settings, control, order]);
        make.push(Arg::In(places.drawn, self.drawn_bytes(count)));
        make.push(Arg::Out(out, self.batch_len(count) * maps.bytes()));
        make.extend([number(count), number(self.batch), number(self.image.channels)]);
        make.extend(size);
        make.extend([self.augment.size, self.augment.blur.kernel, usize::from(self.resident)].map(number));
        // Few threads a block: a draw is long and the views are few, so they are spread over the device.
        let drawers = 32;
        vec![
            Op::Launch { kernel: "draw_views", grid: [rows.div_ceil(drawers), 1, 1], block: drawers, args: draw },
            Op::Launch { kernel: self.desk.kernel, grid: [rows, 1, 1], block: BLOCK, args: make },
        ]
    }
}
