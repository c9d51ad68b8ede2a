//! Commit words: what makes a checkpoint count.

use super::Unit;
use super::unit::{Checksum, halves};

/// Which of two commit words that are written one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first: on its own it may be the remnant of a write that was cut short.
    First,
    /// The second, begun only after the first was complete, which it thereby proves.
    Second,
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
