//! The places of the slots: a program with other lengths may have put the second one elsewhere.

use super::scan::WORDS_END;
use super::{Error, Store};
use crate::checkpoint::{
    self, COMMIT_AT, DecodeError, Header, LAST_SEQUENCE, MAGIC, PAYLOAD_AT, Unit, Word, sequence_of,
};
use embedded_storage::nor_flash::NorFlash;

/// Evidence that a place is that of the second slot, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Evidence {
    /// Contents are or were whole. A header alone may be torn, and then have a number that was given again.
    whole: bool,
    sequence: u64,
    /// A second commit word lies there.
    second: bool,
    /// A first commit word lies there.
    first: bool,
    /// The header can be read.
    header: bool,
}

/// A commit word.
#[derive(Debug, Clone, Copy)]
struct Commit {
    /// Checksum of the contents.
    contents: u32,
    /// Sequence of the save.
    sequence: u64,
    /// True for a second word.
    second: bool,
}

impl<S: NorFlash> Store<S> {
    /// Finds the second slot; the first one lies at the start whatever its length. Returns how many bytes from the start
    /// belong to the store.
    ///
    /// It begins at any erase unit behind what lies in the first one. Of several places the one with the highest sequence
    /// is right: a save goes to another place only once the first slot holds the newest checkpoint, so that what is left
    /// at the old one is older.
    pub(super) fn locate(&mut self) -> u32 {
        let kept = match self.header(0) {
            Some(header) if header.architecture == self.architecture => Self::whole_units(header.stored_len()),
            _ => 0,
        };
        let kept = if kept > self.capacity() / 2 { 0 } else { kept };
        let end = self.reach.max(kept.saturating_mul(2)).min(self.capacity());
        let usual = self.slot_len.max(kept);
        let (mut place, mut best) = (usual, None);
        let step = (S::ERASE_SIZE as u32).max(1);
        // Within whole contents lie numbers, whatever they look like.
        let inside = if kept > step && self.checksum(0).is_some() { kept } else { 0 };
        let mut at = step.max(inside);
        while at.saturating_add(WORDS_END * Unit::LEN as u32) <= end {
            self.second = at;
            let found = if at == usual { None } else { self.evidence(false) };
            if found > best {
                (place, best) = (at, found);
            }
            at = at.saturating_add(step);
        }
        if best.is_some() {
            self.second = usual;
            if self.evidence(true) >= best {
                place = usual;
            }
        }
        self.second = place;
        end
    }

    /// The evidence that `self.second` is the place of the second slot.
    fn evidence(&mut self, usual: bool) -> Option<Evidence> {
        // Most places end here. A header that is damaged is known by the first word.
        let mut unit = Unit::BLANK;
        let read = self.read(1, 0, &mut unit).is_ok();
        let (begins, blank) = (read && unit.bytes().starts_with(&MAGIC), read && unit == Unit::BLANK);
        let named = if blank { None } else { self.word_at(COMMIT_AT).filter(|word| !word.second) };
        if !begins && named.is_none() {
            return None;
        }
        let header = self.header(1);
        if header.is_some_and(|header| header.architecture != self.architecture) && !usual {
            return None;
        }
        // Words of another place may lie here, too: only those count that commit what lies at this one.
        let contents = match (named, header) {
            (Some(word), None) => Some(word.contents),
            (Some(word), Some(header)) if word.sequence == header.sequence => Some(word.contents),
            (_, Some(header)) => self.closing(&header),
            (None, None) => None,
        };
        let (mut first, mut second, mut highest) = (false, false, 0);
        for index in COMMIT_AT..WORDS_END {
            let Some(word) = self.word_at(index).filter(|word| Some(word.contents) == contents) else { continue };
            (first, second) = (first || !word.second, second || word.second);
            highest = word.sequence.max(highest);
        }
        let sequence = header.map_or(highest, |header| header.sequence);
        let known = header.is_some() || first || second;
        let whole = first || second || (header.is_some() && self.checksum(1).is_some());
        // A number that no store gives proves nothing of another place.
        (known && (usual || sequence < LAST_SEQUENCE)).then_some(Evidence {
            whole,
            sequence,
            second,
            first,
            header: header.is_some(),
        })
    }

    /// The commit word in a unit of the second slot.
    fn word_at(&mut self, index: u32) -> Option<Commit> {
        let mut unit = Unit::BLANK;
        self.read(1, index, &mut unit).ok()?;
        match Word::from_unit(&unit)? {
            Word::First { contents, number } => Some(Commit { contents, sequence: sequence_of(number), second: false }),
            Word::Second { contents, number } => Some(Commit { contents, sequence: sequence_of(number), second: true }),
            Word::Void { .. } => None,
        }
    }

    /// The checksum that closes the contents of the second slot, by its header.
    fn closing(&mut self, header: &Header) -> Option<u32> {
        let last = u32::try_from(header.stored_len() / Unit::LEN).ok()?.checked_sub(1)?;
        let mut unit = Unit::BLANK;
        self.read(1, last, &mut unit).ok()?;
        Some(unit.last())
    }

    /// The header of a slot, if it can be read.
    fn header(&mut self, slot: u32) -> Option<Header> {
        let read: Result<Header, DecodeError<S::Error>> =
            checkpoint::header(|index, unit| self.read(slot, index, unit));
        read.ok()
    }

    /// Copies the newest checkpoint from the second slot to the first one, and makes it count there; the number of erase
    /// units that were erased.
    pub(super) fn move_to_front(&mut self, header: &Header, contents: u32) -> Result<u32, Error<S::Error>> {
        let needed = header.stored_len();
        if Self::whole_units(needed) > self.second {
            return Err(Error::SlotTooSmall { needed, given: self.second as usize });
        }
        let erased = self.erase_slot(0)?;
        let end = (needed / Unit::LEN) as u32;
        for index in (0..COMMIT_AT).chain(PAYLOAD_AT..end) {
            let mut unit = Unit::BLANK;
            self.read(1, index, &mut unit).map_err(Error::Flash)?;
            self.write(0, index, &unit).map_err(Error::Flash)?;
        }
        self.commit(0, contents, header.sequence)?;
        Ok(erased)
    }

    /// From where to where a slot may be erased, in bytes from the start of the store.
    pub(super) fn extent(&self, slot: u32) -> (u32, u32) {
        let (from, end) = if slot == 0 { (0, self.second) } else { (self.second, self.capacity()) };
        let room = end.saturating_sub(from);
        let whole = room - room.checked_rem(S::ERASE_SIZE as u32).unwrap_or(0);
        (from, from.saturating_add(self.slot_len.min(whole)))
    }

    /// Bytes of flash from the start of the store on.
    pub(super) fn capacity(&self) -> u32 {
        let room = (self.flash.capacity().min(u32::MAX as usize) as u32).saturating_sub(self.start);
        room - room.checked_rem(S::ERASE_SIZE as u32).unwrap_or(0)
    }

    /// Bytes of header and words in whole erase units.
    pub(super) fn head_len() -> u32 {
        Self::whole_units(WORDS_END as usize * Unit::LEN)
    }

    /// `len` in whole erase units.
    pub(super) fn whole_units(len: usize) -> u32 {
        len.checked_next_multiple_of(S::ERASE_SIZE).and_then(|len| u32::try_from(len).ok()).unwrap_or(u32::MAX)
    }
}
