//! The contents of the two slots, and the decisions that follow.

use super::{Error, Found};
use crate::checkpoint::{self, COMMIT_AT, COMMIT_UNITS, DecodeError, Header, LAST_SEQUENCE, Reader, Unit, Word};
use crate::checkpoint::{last_number_of, number_of, sequence_of};

/// The unit behind the last one for words.
pub(super) const WORDS_END: u32 = COMMIT_AT + COMMIT_UNITS;

/// The degree to which contents can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing whole, or nothing that counts.
    Nothing,
    /// Whole contents without a commit word.
    Bare,
    /// Whole contents with commit words, all of which may be torn.
    Committed,
    /// Whole contents with commit words of which one at least is complete.
    Proven,
    /// The flash refuses to read what may be a save that was acknowledged.
    Refused,
}

/// The statement of a void word.
#[derive(Debug, Clone, Copy)]
struct Voided {
    contents: u32,
    sequence: u64,
    /// True for a second word.
    second: bool,
}

/// The contents of a slot.
#[derive(Debug)]
pub(super) struct Slot {
    header: Result<Header, checkpoint::Error>,
    /// Checksum of the contents, if they are whole.
    contents: Option<u32>,
    /// True if the flash refused to read header or payload.
    refused: bool,
    /// True if a first word commits these contents.
    first: bool,
    /// True if a second word commits these contents.
    second: bool,
    /// Highest number of a word that commits these contents.
    top: Option<u64>,
    /// Highest number of any first word, whatever it commits.
    any_first: Option<u64>,
    /// Highest number of any second word, whatever it commits.
    any_second: Option<u64>,
    /// Contents of the other slot that are void.
    voided: [Option<Voided>; COMMIT_UNITS as usize],
    /// True if the flash refuses to read the first, or the second, commit unit of the save itself.
    unread: [bool; 2],
    /// The first unit for words behind all that are not blank.
    free: u32,
    /// True if any unit could be read.
    readable: bool,
}

impl Slot {
    /// Looks at a slot through `source`, which fills the unit of an index; `fits` says if there is room for the contents of a
    /// header, `failure` becomes the last refusal of `source`.
    pub fn read<E>(
        fits: impl Fn(&Header) -> bool,
        mut source: impl FnMut(u32, &mut Unit) -> Result<(), E>,
        failure: &mut Option<E>,
    ) -> Self {
        let mut slot = Self {
            header: Err(checkpoint::Error::Corrupt),
            contents: None,
            refused: false,
            first: false,
            second: false,
            top: None,
            any_first: None,
            any_second: None,
            voided: [None; COMMIT_UNITS as usize],
            unread: [false; 2],
            free: COMMIT_AT,
            readable: false,
        };
        match Reader::open(&mut source) {
            Ok((reader, header)) => {
                slot.readable = true;
                slot.header = Ok(header);
                // A length beyond the slot is not this store's, whatever its checksum says.
                if fits(&header) {
                    match reader.close() {
                        Ok(contents) => slot.contents = contents,
                        Err(error) => (slot.refused, *failure) = (true, Some(error)),
                    }
                }
            }
            Err(DecodeError::Checkpoint(error)) => (slot.readable, slot.header) = (true, Err(error)),
            Err(DecodeError::Source(error)) => (slot.refused, *failure) = (true, Some(error)),
        }
        for index in COMMIT_AT..WORDS_END {
            slot.read_word(index, &mut source, failure);
        }
        slot
    }

    fn read_word<E>(
        &mut self,
        index: u32,
        source: &mut impl FnMut(u32, &mut Unit) -> Result<(), E>,
        failure: &mut Option<E>,
    ) {
        let mut unit = Unit::BLANK;
        if let Err(error) = source(index, &mut unit) {
            *failure = Some(error);
            let [first, second] = self.unread;
            self.unread = [first || index == COMMIT_AT, second || index == COMMIT_AT + 1];
            self.free = index + 1;
            return;
        }
        self.readable = true;
        if unit == Unit::BLANK {
            return;
        }
        self.free = index + 1;
        match Word::from_unit(&unit) {
            None => {}
            Some(Word::First { contents, number }) => {
                self.any_first = self.any_first.max(Some(number));
                if self.contents == Some(contents) {
                    self.first = true;
                    self.top = self.top.max(Some(number));
                }
            }
            Some(Word::Second { contents, number }) => {
                self.any_second = self.any_second.max(Some(number));
                if self.contents == Some(contents) {
                    self.second = true;
                    self.top = self.top.max(Some(number));
                }
            }
            Some(Word::Void { contents, sequence, voided, second }) => {
                let mine = self.contents.is_none_or(|own| own == contents);
                if let Some(free) = self.voided.iter_mut().find(|place| mine && place.is_none()) {
                    *free = Some(Voided { contents: voided, sequence, second });
                }
            }
        }
    }

    fn standing(&self) -> Standing {
        if self.contents.is_some() {
            if self.second {
                Standing::Proven
            } else if self.first {
                Standing::Committed
            } else if self.unread == [true; 2] {
                // A save that was acknowledged has a word in either unit.
                Standing::Refused
            } else {
                Standing::Bare
            }
        } else if self.refused && self.any_first.max(self.any_second).is_some() {
            Standing::Refused
        } else {
            Standing::Nothing
        }
    }

    /// The highest sequence that is known of here: a number that was given to contents once is never given again.
    fn highest(&self) -> u64 {
        let words = self.any_first.max(self.any_second).filter(|_| self.contents.is_none());
        let void = self.voided.iter().flatten().map(|word| word.sequence).max();
        self.sequence().max(sequence_of(self.top.max(words).unwrap_or(0))).max(void.unwrap_or(0))
    }

    /// The sequence of what lies here, as far as it can be read.
    fn sequence(&self) -> u64 {
        match self.header {
            Ok(header) => header.sequence,
            Err(_) => sequence_of(self.any_first.max(self.any_second).unwrap_or(0)),
        }
    }

    /// True if words here say that the contents of `upper` are void; and true if a second word does.
    ///
    /// Until version 0.1 of this library the lower contents were committed anew with a higher number instead.
    fn voids(&self, upper: &Self) -> [bool; 2] {
        let outnumbered = self.top.is_some_and(|top| top >= number_of(upper.sequence()));
        let names = |word: &&Voided| match upper.contents {
            Some(contents) => word.contents == contents,
            // What cannot be read is known by the number of its words.
            None => word.sequence == upper.sequence(),
        };
        let words = self.voided.iter().flatten().filter(names);
        words.fold([outnumbered; 2], |[_, known], word| [true, known || word.second])
    }

    /// True if there is no room for two more words.
    fn is_full(&self) -> bool {
        WORDS_END.saturating_sub(self.free) < 2
    }

    /// True if a save that was complete has been damaged here, and has a number above `number`.
    fn damaged_above(&self, number: u64) -> bool {
        self.contents.is_none() && self.any_second.is_some_and(|second| second > number)
    }
}

/// Words to be added to a slot, so that it can be told later that the first ones are complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    /// The slot.
    pub slot: u32,
    /// Its first free unit.
    pub free: u32,
    /// The word that comes first, and how often: one of the units may have been torn before and read as blank.
    pub first: Word,
    /// The number of times that this one comes.
    pub firsts: u32,
    /// The word that comes last.
    pub last: Word,
}

/// The step that must come before a slot may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: this one may be.
    Erase(u32),
    /// The contents of this one are to be proven; then the other one may be.
    Prove(u32),
    /// The contents of this one are to be void; then it may be.
    Void(u32),
    /// None may be: the flash refuses to read what may be the newest.
    Refused,
}

/// The contents of both slots.
#[derive(Debug)]
pub(super) struct Scan<E> {
    slots: [Slot; 2],
    /// The slot of the newest checkpoint.
    newest: Option<u32>,
    next: Next,
    /// The last refusal of the flash.
    failure: Option<E>,
}

impl<E> Scan<E> {
    /// `despite_refusals` takes what the flash refuses to read for damaged.
    pub fn new(slots: [Slot; 2], failure: Option<E>, despite_refusals: bool) -> Self {
        let [first, second] = &slots;
        let standings = [first, second].map(|slot| match slot.standing() {
            Standing::Refused if !despite_refusals => Standing::Refused,
            Standing::Refused if slot.contents.is_some() => Standing::Bare,
            Standing::Refused => Standing::Nothing,
            standing => standing,
        });
        // The one with the higher sequence, and the other; without contents, the one that is to be kept, and the other.
        let proven = standings.map(|standing| standing == Standing::Proven);
        let [upper, lower] = match standings {
            [Standing::Nothing, Standing::Nothing] if second.refused => [0, 1],
            [Standing::Nothing, _] => [1, 0],
            [_, Standing::Nothing] => [0, 1],
            _ if (second.sequence(), proven[1]) > (first.sequence(), proven[0]) => [1, 0],
            _ => [0, 1],
        };
        let [on_top, below] = if upper == 0 { standings } else { [standings[1], standings[0]] };
        let (up, low) = if upper == 0 { (first, second) } else { (second, first) };
        let [void, void_for_good] = low.voids(up);
        let (newest, next) = match (on_top, below) {
            // What cannot be read has a number that is not known: it is erased, not kept beside another save.
            (Standing::Nothing, _) if up.refused => {
                (None, if despite_refusals { Next::Erase(lower) } else { Next::Refused })
            }
            (Standing::Nothing, _) => (None, Next::Erase(lower)),
            // What is void, or was erased without void words for want of room, may read like this, too.
            (Standing::Refused, Standing::Proven) if void_for_good || (up.any_second.is_none() && low.is_full()) => {
                (Some(lower), Next::Erase(upper))
            }
            (Standing::Refused, _) => (None, Next::Refused),
            (Standing::Proven, _) => (Some(upper), Next::Erase(lower)),
            (Standing::Bare, Standing::Nothing | Standing::Bare) => (None, Next::Erase(lower)),
            (Standing::Bare, Standing::Refused) => (None, Next::Refused),
            (Standing::Bare, _) => (Some(lower), Next::Void(upper)),
            (Standing::Committed, _) if !void => (Some(upper), Next::Prove(upper)),
            (Standing::Committed, Standing::Nothing | Standing::Bare) => (Some(upper), Next::Prove(upper)),
            (Standing::Committed, Standing::Refused) => (None, Next::Refused),
            (Standing::Committed, _) => (Some(lower), Next::Void(upper)),
        };
        Self { slots, newest, next, failure }
    }

    fn slot(&self, slot: u32) -> &Slot {
        let [first, second] = &self.slots;
        if slot == 0 { first } else { second }
    }

    /// The step that must come before a slot may be erased.
    pub fn next(&self) -> Next {
        self.next
    }

    /// The slot of the newest checkpoint.
    pub fn newest_slot(&self) -> Option<u32> {
        self.newest
    }

    /// Gives up what is not proven: the other slot holds the newest checkpoint.
    pub fn give_up(&mut self, slot: u32) {
        self.newest = Some(1 - slot);
    }

    /// True if a slot holds nothing that may have been acknowledged.
    pub fn is_vacant(&self, slot: u32) -> bool {
        matches!(self.slot(slot).standing(), Standing::Nothing | Standing::Bare)
    }

    /// Header and checksum of the contents of a slot, if they may have been acknowledged.
    pub fn counted(&self, slot: u32) -> Option<(Header, u32)> {
        let counts = matches!(self.slot(slot).standing(), Standing::Committed | Standing::Proven);
        self.whole(slot).filter(|_| counts)
    }

    /// Header and checksum of the contents of a slot, if they are whole.
    pub fn whole(&self, slot: u32) -> Option<(Header, u32)> {
        let of = self.slot(slot);
        of.header.ok().zip(of.contents)
    }

    /// True if a slot holds contents that are proven.
    pub fn is_proven(&self, slot: u32) -> bool {
        self.slot(slot).standing() == Standing::Proven
    }

    /// The words that prove the contents of a slot.
    pub fn proof(&self, slot: u32) -> Option<Missing> {
        let of = self.slot(slot);
        let [first, last] = Word::pair(of.contents?, of.sequence());
        Some(Missing { slot, free: of.free, first, firsts: 2, last })
    }

    /// The words that make the contents of a slot void; they lie in the other one.
    pub fn void(&self, slot: u32) -> Option<Missing> {
        let (of, other) = (self.slot(slot), self.slot(1 - slot));
        let (contents, sequence, voided) = (other.contents?, of.sequence(), of.contents?);
        let [first, last] = [false, true].map(|second| Word::Void { contents, sequence, voided, second });
        Some(Missing { slot: 1 - slot, free: other.free, first, firsts: 1, last })
    }

    /// True if the contents of a slot are known to be void.
    pub fn is_void(&self, slot: u32) -> bool {
        let [_, known] = self.slot(1 - slot).voids(self.slot(slot));
        known
    }

    /// Notes the first free unit of a slot after words were added.
    pub fn set_free(&mut self, slot: u32, free: u32) {
        let [first, second] = &mut self.slots;
        (if slot == 0 { first } else { second }).free = free;
    }

    /// The sequence of the next save into `slot`.
    ///
    /// It is higher than all that can be read, except that a number beyond all that a save can have is passed over in the
    /// slot that is to be erased.
    pub fn next_sequence(&self, slot: u32) -> Option<u64> {
        let kept = self.slot(1 - slot).highest();
        let erased = Some(self.slot(slot).highest()).filter(|&highest| highest < LAST_SEQUENCE);
        kept.max(erased.unwrap_or(0)).checked_add(1).filter(|&next| next <= LAST_SEQUENCE)
    }

    /// The refusal of the flash, where nothing can be done for it.
    pub fn refusal(&mut self) -> Option<Error<E>> {
        if self.slots.iter().all(|slot| !slot.readable) {
            self.failure.take().map(Error::Flash)
        } else if self.next == Next::Refused {
            self.failure.take().map(Error::Unreadable)
        } else {
            None
        }
    }

    /// The newest checkpoint.
    pub fn newest(mut self) -> Result<Found, Error<E>> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if let Some(slot) = self.newest {
            let (newest, other) = (self.slot(slot), self.slot(1 - slot));
            let header = newest.header?;
            return Ok(Found { header, slot, fell_back: other.damaged_above(last_number_of(header.sequence)) });
        }
        for slot in &self.slots {
            if let Err(error @ checkpoint::Error::OtherVersion { .. }) = slot.header {
                return Err(error.into());
            }
        }
        let damaged = |slot: &Slot| slot.contents.is_none() && slot.any_first.max(slot.any_second).is_some();
        if self.slots.iter().any(damaged) {
            return Err(checkpoint::Error::Corrupt.into());
        }
        let whole = self.slots.iter().filter(|slot| slot.contents.is_some());
        if let Some(Ok(header)) = whole.map(|slot| slot.header).next() {
            return Err(Error::Unproven { step: header.step });
        }
        Err(checkpoint::Error::Empty.into())
    }
}
