//! Commit words: what makes a checkpoint count.

use super::Unit;
use super::unit::halves;
use crate::checksum::Checksum;

/// Which of two commit words that are written one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first: on its own it may be the remnant of a write that was cut short.
    First,
    /// The second, begun only after the first was complete, which it thereby proves.
    Second,
}

/// Distance of the number of the second word from that of the first.
///
/// A first word that was cut short may be hidden, and the next one then takes the number after the highest that can be
/// read: hidden words creep up one by one. A pair that is complete is beyond the reach of all of them.
const STRIDE: u64 = 1 << 12;

/// Distance of the numbers of two saves.
const SAVE_STRIDE: u64 = 1 << 16;

/// The lowest commit number of the save that has `sequence`.
pub(crate) const fn number_of(sequence: u64) -> u64 {
    sequence.saturating_mul(SAVE_STRIDE)
}

/// The sequence of the next save where `highest` is the highest commit number.
pub(crate) const fn sequence_after(highest: u64) -> u64 {
    (highest / SAVE_STRIDE).saturating_add(1)
}

/// A commit word, alone in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitWord {
    pub stage: Stage,
    /// Checksum of the contents that it commits, so that it commits no others.
    pub contents: u32,
    /// The higher number is the newer checkpoint.
    pub number: u64,
}

impl CommitWord {
    /// The two words, in the order of writing, that commit `contents` with `number`.
    pub fn pair(contents: u32, number: u64) -> [Self; 2] {
        let first = Self { stage: Stage::First, contents, number };
        [first, Self { stage: Stage::Second, number: number.saturating_add(STRIDE), ..first }]
    }

    /// The number of the first word that this one, if it is a second one, proves to be complete.
    pub fn proves(self) -> Option<u64> {
        match self.stage {
            Stage::First => None,
            Stage::Second => self.number.checked_sub(STRIDE),
        }
    }

    pub fn to_unit(self) -> Unit {
        let magic = match self.stage {
            Stage::First => *b"CMT1",
            Stage::Second => *b"CMT2",
        };
        let [low, high] = halves(self.number);
        let words = [magic, self.contents.to_le_bytes(), low, high];
        let mut checksum = Checksum::new();
        checksum.add(words.as_flattened());
        let [magic, contents, low, high] = words;
        let [.., blank] = Unit::BLANK.0;
        Unit([magic, contents, low, high, checksum.value().to_le_bytes(), blank, blank, blank])
    }

    /// The commit word that a unit holds; a unit that differs in any bit holds none.
    pub fn from_unit(unit: &Unit) -> Option<Self> {
        let [magic, contents, low, high, ..] = unit.0;
        let stage = match &magic {
            b"CMT1" => Stage::First,
            b"CMT2" => Stage::Second,
            _ => return None,
        };
        let word = Self { stage, contents: u32::from_le_bytes(contents), number: Unit::number(low, high) };
        (word.to_unit() == *unit).then_some(word)
    }
}
