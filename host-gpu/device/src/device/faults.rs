//! A line made worse on purpose: bytes are lost, changed, and sent twice.

use super::transport::Transport;
use clapp_data::rng::{Purpose, Rng, stream};
use std::io::Result;
use std::time::Duration;

/// A line that spoils a share of its bytes, both ways.
#[derive(Debug)]
pub struct Faulty {
    inner: Box<dyn Transport>,
    share: f32,
    rng: Rng,
}

impl Faulty {
    /// Spoils `share` (0 to 1) of the bytes of `inner`: a third each is lost, has a bit flipped, or comes twice.
    pub fn new(inner: Box<dyn Transport>, share: f32, seed: u64) -> Self {
        Self { inner, share, rng: stream(seed, Purpose::Faults, 0, 0) }
    }

    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoilt = Vec::with_capacity(bytes.len() + 8);
        for &byte in bytes {
            if !self.rng.chance(self.share) {
                spoilt.push(byte);
                continue;
            }
            match self.rng.below(3) {
                0 => {}
                1 => spoilt.push(byte ^ (1 << self.rng.below(8))),
                _ => spoilt.extend([byte; 2]),
            }
        }
        spoilt
    }
}

impl Transport for Faulty {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn advice(&self) -> String {
        format!("{} (--faults damages bytes on purpose)", self.inner.advice())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let spoilt = self.spoil(bytes);
        self.inner.send(&spoilt)
    }

    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> Result<usize> {
        // Half the room: every byte may come twice.
        let half = bytes.len() / 2;
        let (room, _) = bytes.split_at_mut(half);
        let count = self.inner.receive(room, wait)?;
        let spoilt = self.spoil(&room[..count]);
        bytes[..spoilt.len()].copy_from_slice(&spoilt);
        if count > 0 && spoilt.is_empty() {
            // All that came is lost; nothing has been waited for.
            return self.receive(bytes, wait);
        }
        Ok(spoilt.len())
    }
}
