//! The unit in which checkpoints are written and read.

/// The bytes that a checkpoint is written and read by, a multiple of every write size of up to 32 bytes.
///
/// On every flash the same bytes lie at the same places, and nothing is ever written into a unit twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(4))]
pub struct Unit(pub(super) [[u8; 4]; Unit::WORDS]);

impl Unit {
    /// Bytes of a unit.
    pub const LEN: usize = 32;

    /// 32-bit words of a unit.
    pub(super) const WORDS: usize = Self::LEN / 4;

    /// Erased flash.
    pub const BLANK: Self = Self([[0xff; 4]; Self::WORDS]);

    /// The bytes, [`Unit::LEN`] of them.
    pub const fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// The bytes, to be filled.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_flattened_mut()
    }

    /// The last word, where a checksum stands.
    pub(crate) fn last(&self) -> u32 {
        self.split().1
    }

    /// The last word, where a checksum stands, and what is before it.
    pub(super) fn split(&self) -> (&[u8], u32) {
        let [words @ .., last] = &self.0;
        (words.as_flattened(), u32::from_le_bytes(*last))
    }

    /// Two words as one number, the lower one first.
    pub(super) fn number(low: [u8; 4], high: [u8; 4]) -> u64 {
        u64::from(u32::from_le_bytes(low)) | u64::from(u32::from_le_bytes(high)) << 32
    }
}

/// The lower and the upper word of a number.
pub(super) fn halves(number: u64) -> [[u8; 4]; 2] {
    [(number as u32).to_le_bytes(), ((number >> 32) as u32).to_le_bytes()]
}
