//! What the two slots hold, and which of them is the newest.

use super::{Error, Loaded};
use crate::checkpoint::{self, COMMIT_AT, COMMIT_UNITS, CommitWord, DecodeError, Header, Reader, Unit};

/// What a slot holds.
pub(super) struct Slot<E> {
    header: Result<Header, checkpoint::Error>,
    /// Checksum of the contents, if they are whole.
    contents: Option<u32>,
    /// Highest number of a commit word for these contents.
    top: Option<u64>,
    /// Highest number of a commit word for these contents that a second one proves to be complete.
    proven: Option<u64>,
    /// Highest number of any commit word.
    committed: Option<u64>,
    /// The first unit for commit words behind all that are not blank.
    free: u32,
    /// Whether any unit could be read.
    readable: bool,
    /// The last refusal of the flash.
    failure: Option<E>,
}

impl<E> Slot<E> {
    /// Looks at a slot of `slot_len` bytes through `source`, which fills the unit of an index.
    pub fn read(slot_len: usize, mut source: impl FnMut(u32, &mut Unit) -> Result<(), E>) -> Self {
        let mut slot = Self {
            header: Err(checkpoint::Error::Corrupt),
            contents: None,
            top: None,
            proven: None,
            committed: None,
            free: COMMIT_AT,
            readable: false,
            failure: None,
        };
        match Reader::open(&mut source) {
            Ok((reader, header)) => {
                slot.readable = true;
                slot.header = Ok(header);
                // A length beyond the slot is not this store's, whatever its checksum says.
                if header.stored_len() <= slot_len {
                    match reader.close() {
                        Ok(contents) => slot.contents = contents,
                        Err(error) => slot.failure = Some(error),
                    }
                }
            }
            Err(DecodeError::Checkpoint(error)) => {
                slot.readable = true;
                slot.header = Err(error);
            }
            Err(DecodeError::Source(error)) => slot.failure = Some(error),
        }
        for index in COMMIT_AT..COMMIT_AT + COMMIT_UNITS {
            slot.read_commit(index, &mut source);
        }
        slot
    }

    fn read_commit(&mut self, index: u32, source: &mut impl FnMut(u32, &mut Unit) -> Result<(), E>) {
        let mut unit = Unit::BLANK;
        match source(index, &mut unit) {
            Err(error) => self.failure = Some(error),
            Ok(()) => {
                self.readable = true;
                if unit == Unit::BLANK {
                    return;
                }
            }
        }
        self.free = index + 1;
        let Some(word) = CommitWord::from_unit(&unit) else { return };
        self.committed = self.committed.max(Some(word.number));
        if self.contents == Some(word.contents) {
            self.top = self.top.max(Some(word.number));
            self.proven = self.proven.max(word.proves());
        }
    }

    /// The highest commit number that can be read here, or belongs to what is saved here.
    fn highest(&self) -> u64 {
        let saved = self.header.as_ref().map_or(0, |header| checkpoint::number_of(header.sequence));
        saved.max(self.committed.unwrap_or(0))
    }

    /// The highest number that these contents may read as another time; none where they are not whole, because nothing
    /// is committed before it is whole.
    fn claim(&self) -> Option<u64> {
        self.contents.map(|_| self.highest())
    }
}

/// What both slots hold.
pub(super) struct Scan<E> {
    slots: [Slot<E>; 2],
    /// The slot of the newest checkpoint.
    newest: Option<u32>,
}

impl<E> Scan<E> {
    pub fn new(slots: [Slot<E>; 2]) -> Self {
        let newest = match slots.each_ref().map(|slot| slot.top) {
            [None, None] => None,
            [first, second] => Some(u32::from(second > first)),
        };
        Self { slots, newest }
    }

    /// The newest checkpoint's slot and the other one.
    fn by_age(&self) -> Option<(u32, &Slot<E>, &Slot<E>)> {
        let [first, second] = &self.slots;
        self.newest.map(|slot| if slot == 0 { (slot, first, second) } else { (slot, second, first) })
    }

    /// The newest checkpoint with its checksum and free unit, if it is to be committed once more.
    pub fn unsettled(&self) -> Option<(u32, u32, u32)> {
        let (slot, newest, other) = self.by_age()?;
        let settled = newest.proven.is_some() && newest.proven > other.claim();
        newest.contents.filter(|_| !settled).map(|contents| (slot, contents, newest.free))
    }

    /// The highest commit number on the flash; every later one must be higher.
    pub fn highest(&self) -> u64 {
        let [first, second] = &self.slots;
        first.highest().max(second.highest())
    }

    /// The slot for the next save.
    pub fn spare(&self) -> u32 {
        let [first, second] = &self.slots;
        match self.newest {
            Some(slot) => 1 - slot,
            // Rather not one that a save may have been about to commit, or that may only be hard to read.
            None => {
                let doubtful = |slot: &Slot<E>| slot.contents.is_some() || slot.failure.is_some();
                u32::from(doubtful(first) && !doubtful(second))
            }
        }
    }

    pub fn newest(self) -> Result<Loaded, Error<E>> {
        if let Some((slot, newest, other)) = self.by_age() {
            let fell_back = other.committed > newest.top;
            return Ok(Loaded { header: newest.header?, slot, fell_back });
        }
        let [first, second] = self.slots;
        for slot in [&first, &second] {
            if let Err(error @ checkpoint::Error::OtherVersion { .. }) = slot.header {
                return Err(error.into());
            }
        }
        if first.committed.is_some() || second.committed.is_some() {
            return Err(checkpoint::Error::Corrupt.into());
        }
        match first.failure.or(second.failure) {
            Some(failure) if !first.readable && !second.readable => Err(Error::Flash(failure)),
            _ => Err(checkpoint::Error::Empty.into()),
        }
    }
}
