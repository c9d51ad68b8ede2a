//! The operations that draw what a step draws besides its views, and that mix images (`clapp_engine::draws`).

use super::super::op::{Arg, MapType, Op};
use super::{BLOCK, Clock, Feed, number};
use clapp_engine::config::Negatives;
use clapp_engine::model::Inputs;

/// Blocks of a kernel that goes through any number of elements, at most.
const BLOCKS: usize = 1024;

/// Memory of mixtures.
#[derive(Debug, Clone, Copy)]
pub struct MixPlaces<P> {
    /// The views, [`Feed::batch_len`] elements.
    pub views: P,
    /// With which image each is mixed, `int [N]`.
    pub others: P,
    /// The parts of an image that show, `unsigned char [N, size, size]`; touched for hybrids only.
    pub masks: P,
    /// `float [N, size, size]`; touched for hybrids only.
    pub scratch: P,
    /// The batch, [`Feed::batch_len`] elements: not where the views are.
    pub out: P,
}

impl Feed {
    /// Number of lists of negatives: as `Pairing::lists`.
    pub fn lists(&self) -> usize {
        if self.inputs == Inputs::Views { self.lists } else { 1 }
    }

    /// Negatives of each row.
    pub fn negatives_per_row(&self) -> usize {
        if self.inputs == Inputs::Views { self.negatives.per_row() } else { 1 }
    }

    /// Bytes of the negatives of `rows` rows, `int [lists][K][rows]`.
    pub fn negative_bytes(&self, rows: usize) -> usize {
        4 * self.lists() * self.negatives_per_row() * rows
    }

    /// True if only the positive or only the negative term of each row counts.
    pub fn keeps(&self) -> bool {
        self.either || self.inputs != Inputs::Views
    }

    /// Draws the negatives of `rows` rows into `negatives` ([`Feed::negative_bytes`]) and, where [`Feed::keeps`], which
    /// term of each row counts into `keep` (`rows` bytes; not touched else).
    pub fn draws<P: Copy>(&self, clock: &Clock<P>, negatives: P, keep: P, rows: usize) -> Vec<Op<P>> {
        let kind = match (self.inputs, self.negatives) {
            (Inputs::Hybrids | Inputs::Sums, _) => 2,
            (Inputs::Views, Negatives::Ring) => 0,
            (Inputs::Views, Negatives::Uniform(_)) => 1,
        };
        let mut args = vec![Arg::Out(negatives, self.negative_bytes(rows))];
        args.extend([clock.settings(), clock.control()]);
        args.extend([rows, self.negatives_per_row(), kind].map(number));
        args.extend(self.ranks());
        let grid = [self.lists() as u32, 1, 1];
        let mut ops = vec![Op::Launch { kernel: "draw_negatives", grid, block: BLOCK, args }];
        if self.keeps() {
            let mut args = vec![Arg::Out(keep, rows)];
            args.extend([clock.settings(), clock.control()]);
            args.extend([rows, usize::from(self.inputs != Inputs::Views)].map(number));
            args.extend(self.ranks());
            let grid = [(rows as u32).div_ceil(BLOCK), 1, 1];
            ops.push(Op::Launch { kernel: "draw_either", grid, block: BLOCK, args });
        }
        ops
    }

    /// True if views become mixtures of images.
    pub fn mixes(&self) -> bool {
        self.inputs != Inputs::Views
    }

    /// Makes of the views of `count` images (at least 2) what the rule takes for positives and negatives.
    pub fn mixture<P: Copy>(&self, clock: &Clock<P>, places: &MixPlaces<P>, count: usize, maps: MapType) -> Vec<Op<P>> {
        let view = self.view();
        let (masked, mask_bytes) = (self.inputs == Inputs::Hybrids, count * view.area());
        let mut args = vec![Arg::Out(places.others, 4 * count), clock.settings(), clock.control()];
        args.extend([count, usize::from(self.negatives != Negatives::Ring)].map(number));
        args.extend(self.ranks());
        let mut ops = vec![Op::Launch { kernel: "draw_others", grid: [1, 1, 1], block: BLOCK, args }];
        if masked {
            let mut args = vec![Arg::Out(places.masks, mask_bytes), Arg::Out(places.scratch, 4 * mask_bytes)];
            args.extend([clock.settings(), clock.control(), number(view.height), number(view.width)]);
            args.extend(self.ranks());
            ops.push(Op::Launch { kernel: "draw_masks", grid: [count as u32, 1, 1], block: BLOCK, args });
        }
        let bytes = self.batch_len(count) * maps.bytes();
        let mut args = vec![Arg::In(places.views, bytes), Arg::In(places.others, 4 * count)];
        args.push(if masked { Arg::In(places.masks, mask_bytes) } else { Arg::Null });
        args.push(Arg::Out(places.out, bytes));
        args.extend([count, view.area(), view.channels].map(number));
        let blocks = (count * view.len()).div_ceil(BLOCK as usize).min(BLOCKS);
        ops.push(Op::Launch { kernel: "mix", grid: [blocks as u32, 1, 1], block: BLOCK, args });
        ops
    }

    fn ranks<P>(&self) -> [Arg<P>; 2] {
        [self.part.rank, self.part.ranks].map(number)
    }
}
