//! The words behind a header: what makes a checkpoint count, and what keeps another one from it.

use super::Unit;
use super::unit::halves;
use crate::checksum::Checksum;

/// Distance of the number of the second word of a save from that of the first.
const STRIDE: u64 = 1 << 12;

/// Distance of the numbers of two saves.
const SAVE_STRIDE: u64 = 1 << 16;

/// The highest sequence that a save may have: every number of its words fits into 64 bits.
pub(crate) const LAST_SEQUENCE: u64 = u64::MAX / SAVE_STRIDE - 1;

/// The lowest commit number of the save that has `sequence`.
pub(crate) const fn number_of(sequence: u64) -> u64 {
    sequence.saturating_mul(SAVE_STRIDE)
}

/// The highest commit number of the save that has `sequence`.
pub(crate) const fn last_number_of(sequence: u64) -> u64 {
    number_of(sequence).saturating_add(STRIDE)
}

/// The sequence of the save that has a commit word of `number`.
pub(crate) const fn sequence_of(number: u64) -> u64 {
    number / SAVE_STRIDE
}

/// A word, alone in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Commits contents. On its own it may be the remnant of a write that was cut short.
    First {
        /// Checksum of the contents, so that no others are committed.
        contents: u32,
        /// Number of the word.
        number: u64,
    },
    /// Commits contents, and was begun only after a first word was complete.
    Second {
        /// As that of the first.
        contents: u32,
        /// Number of the word.
        number: u64,
    },
    /// Says that the contents of the other slot do not count, unless they are proven.
    Void {
        /// Checksum of the contents that lie beside this word.
        contents: u32,
        /// Sequence of the contents that are void.
        sequence: u64,
        /// Checksum of the contents that are void.
        voided: u32,
        /// True if it was begun only after another one was complete.
        second: bool,
    },
}

impl Word {
    /// The two words, in the order of writing, that commit the contents of the save with `sequence`.
    pub fn pair(contents: u32, sequence: u64) -> [Self; 2] {
        let number = number_of(sequence);
        [Self::First { contents, number }, Self::Second { contents, number: last_number_of(sequence) }]
    }

    pub fn to_unit(self) -> Unit {
        let (magic, contents, number, voided) = match self {
            Self::First { contents, number } => (*b"CMT1", contents, number, None),
            Self::Second { contents, number } => (*b"CMT2", contents, number, None),
            Self::Void { contents, sequence, voided, second } => {
                (if second { *b"VOI2" } else { *b"VOI1" }, contents, sequence, Some(voided))
            }
        };
        let [low, high] = halves(number);
        let words = [magic, contents.to_le_bytes(), low, high];
        let mut checksum = Checksum::new();
        checksum.add(words.as_flattened());
        let [.., blank] = Unit::BLANK.0;
        let (fifth, sixth) = match voided {
            None => (checksum.value().to_le_bytes(), blank),
            Some(voided) => {
                checksum.add(&voided.to_le_bytes());
                (voided.to_le_bytes(), checksum.value().to_le_bytes())
            }
        };
        let [magic, contents, low, high] = words;
        Unit([magic, contents, low, high, fifth, sixth, blank, blank])
    }

    /// The word that a unit holds; a unit that differs in any bit holds none.
    pub fn from_unit(unit: &Unit) -> Option<Self> {
        let [magic, contents, low, high, fifth, ..] = unit.0;
        let (contents, number) = (u32::from_le_bytes(contents), Unit::number(low, high));
        let word = match &magic {
            b"CMT1" => Self::First { contents, number },
            b"CMT2" => Self::Second { contents, number },
            b"VOI1" | b"VOI2" => {
                let second = magic == *b"VOI2";
                Self::Void { contents, sequence: number, voided: u32::from_le_bytes(fifth), second }
            }
            _ => return None,
        };
        (word.to_unit() == *unit).then_some(word)
    }
}
