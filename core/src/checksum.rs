//! The checksum of checkpoints and packets: CRC-32/ISO-HDLC, of which one table serves both.

use crc::{CRC_32_ISO_HDLC, Crc, Digest};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A checksum over what comes by in pieces.
#[derive(Clone)]
pub(crate) struct Checksum(Digest<'static, u32>);

impl Checksum {
    pub fn new() -> Self {
        Self(CRC.digest())
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all so far; more may follow.
    pub fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}
