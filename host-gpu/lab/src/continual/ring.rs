//! A ring of frames that were seen, of a fixed size, to be shown again: every glance of the stream has the same chance to be
//! in it (reservoir sampling, Vitter 1985, algorithm R).

use super::stream::Glance;
use clapp_data::rng::Rng;

/// The ring.
#[derive(Debug, Clone)]
pub struct Ring {
    slots: Vec<Glance>,
    capacity: usize,
    offered: u64,
    rng: Rng,
}

impl Ring {
    /// An empty ring of as many glances as fit into `bytes`, where one takes `glance` bytes.
    pub fn new(bytes: usize, glance: usize, rng: Rng) -> Self {
        Self { slots: Vec::new(), capacity: bytes / glance.max(1), offered: 0, rng }
    }

    /// Bytes that a glance of so many frames of `pixels` bytes takes: the frames and a label.
    pub fn glance_bytes(frames: usize, pixels: usize) -> usize {
        frames * pixels + 1
    }

    /// Glances that it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The glances that it holds.
    pub fn held(&self) -> &[Glance] {
        &self.slots
    }

    /// Offers a glance, which takes the place of another where the ring is full and luck will have it.
    pub fn offer(&mut self, glance: &Glance) {
        self.offered += 1;
        if self.slots.len() < self.capacity {
            self.slots.push(glance.clone());
            return;
        }
        let place = self.rng.below(usize::try_from(self.offered).unwrap_or(usize::MAX));
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = glance.clone();
        }
    }

    /// A glance that it holds, all equally likely; `None` where it is empty.
    pub fn draw(&mut self) -> Option<Glance> {
        let place = self.rng.below(self.slots.len());
        self.slots.get(place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::rng::{Purpose, stream};

    fn glance(image: usize) -> Glance {
        Glance { image, class: 0, label: None, frames: Vec::new() }
    }

    #[test]
    fn every_glance_has_the_same_chance_to_be_held() {
        const OFFERED: usize = 40;
        const TRIALS: u64 = 4000;
        let mut held = [0_u32; OFFERED];
        for seed in 0..TRIALS {
            let mut ring = Ring::new(10 * 5, 10, stream(seed, Purpose::Replay, 0, 0));
            (0..OFFERED).for_each(|image| ring.offer(&glance(image)));
            assert_eq!(ring.held().len(), 5);
            ring.held().iter().for_each(|glance| held[glance.image] += 1);
        }
        // 500 of each are expected, with a deviation of 21.
        assert!(held.iter().all(|count| count.abs_diff(500) < 105), "{held:?}");
    }

    #[test]
    fn a_ring_keeps_to_its_bytes_and_draws_all_that_it_holds() {
        let bytes = Ring::glance_bytes(2, 1024);
        assert_eq!(bytes, 2049);
        let mut ring = Ring::new(4 * bytes + 2000, bytes, stream(1, Purpose::Replay, 0, 0));
        assert!(ring.draw().is_none());
        (0..100).for_each(|image| ring.offer(&glance(image)));
        assert_eq!((ring.capacity(), ring.held().len()), (4, 4));
        let mut drawn: Vec<usize> = (0..100).filter_map(|_| ring.draw()).map(|glance| glance.image).collect();
        drawn.sort_unstable();
        drawn.dedup();
        let mut held: Vec<usize> = ring.held().iter().map(|glance| glance.image).collect();
        held.sort_unstable();
        assert_eq!(drawn, held);
        let mut none = Ring::new(100, bytes, stream(1, Purpose::Replay, 0, 0));
        none.offer(&glance(1));
        assert!(none.draw().is_none());
    }
}
