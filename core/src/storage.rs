//! A store of checkpoints on flash that keeps old or new through any power cut, never a mix.
//!
//! Two slots lie on a [`NorFlash`], each a whole number of erase units. The second one is searched for, so that a program
//! with longer or shorter slots finds what the one before has saved. A save erases the slot that does
//! not hold the newest checkpoint, writes header and payload there, reads them back, and writes two commit words, each
//! in a unit of its own. A checkpoint counts once a commit word stands behind it and all checksums fit. Between two
//! erasures of a slot, no unit is written twice, as flash with error correction demands.
//!
//! # What a power cut leaves
//!
//! A unit whose write was cut short may read as anything, and as something else the next time. The same holds for a slot
//! whose erasure was cut short. So nothing is decided on such a unit:
//!
//! - The second commit word is begun when the first is complete, so it proves the first. Where the newest checkpoint has
//!   no such proof, [`Store::load`] and [`Store::save`] append one.
//! - Contents of a save that was cut short before its first commit word may yet read as committed. They are made void by
//!   words in the other slot, which name their checksum and so outrank nothing else.
//!
//! Only then is a checkpoint handed out, and only then is the other slot erased; where the flash does not take the
//! words, the save fails. `docs/checkpoint-format.md` has every rule, and says what is promised against which faults.
//!
//! # Wear
//!
//! A save erases one slot, and the slots take turns: each erase unit is erased at every second save. Flash for `C`
//! cycles lasts for `2 C` saves; at `N` saves a day and 10,000 cycles for 20,000 / `N` days, at 24 a day for more than two
//! years.

mod place;
mod scan;
#[cfg(doc)]
use crate::checkpoint::Lengths;
use crate::checkpoint::{
    self, COMMIT_AT, Contents, ContentsMut, DecodeError, Decoded, Header, Misfit, Reader, Unit, Word,
};
use embedded_storage::nor_flash::NorFlash;
use scan::{Missing, Next, Scan, Slot, WORDS_END};

/// The reason for which a flash or the place in it cannot hold a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Geometry {
    /// The flash is not read and written by 1, 2, 4, 8, 16 or 32 bytes.
    UnitSize,
    /// The start or the length of a slot is not a whole number of erase units, or a slot has no length.
    EraseUnits,
    /// Two slots do not fit between the start and the end of the flash.
    Capacity,
}

/// The reason for which a store did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error<E> {
    /// Nothing is saved, what is saved is corrupt, or it is something else than what was asked for.
    Checkpoint(checkpoint::Error),
    /// The store cannot be where it was put.
    Geometry(Geometry),
    /// The contents do not fit into a slot; nothing was changed.
    SlotTooSmall {
        /// Bytes that are needed, [`Lengths::stored_len`]; to be rounded up by [`Lengths::slot_len`].
        needed: usize,
        /// Bytes of a slot.
        given: usize,
    },
    /// The flash reads otherwise than what was just written; the last save is what it was.
    NotWritten,
    /// The flash did not read the same twice: the buffers of a load hold nothing of use. Another load may fall back
    /// to the older checkpoint.
    Unstable,
    /// Whole contents lie here, but no complete commit word stands behind them: their save was cut short, or its words
    /// are damaged. [`checkpoint::decode`] reads them all the same.
    Unproven {
        /// Their step.
        step: u64,
    },
    /// Both slots hold contents, and which of them is the last save cannot be told for sure; nothing was erased. It takes
    /// three power cuts within commit words. Another try may succeed; [`Store::erase`] goes on without either.
    Undecided,
    /// The number of the last save leaves none for another one, so it cannot come from a store; nothing was changed.
    /// [`Store::erase`] begins anew.
    Sequence,
    /// The flash refuses to read what may be the newest checkpoint; nothing was erased. It may be read another time;
    /// [`Store::give_up_unreadable`] goes on without it.
    Unreadable(E),
    /// The flash refused.
    Flash(E),
}

impl<E: core::fmt::Debug> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Checkpoint(error) => error.fmt(f),
            Self::Geometry(Geometry::UnitSize) => {
                f.write_str("the flash is not read and written by 1, 2, 4, 8, 16 or 32 bytes")
            }
            Self::Geometry(Geometry::EraseUnits) => {
                f.write_str("start and length of the slots must be whole numbers of erase units, at least one")
            }
            Self::Geometry(Geometry::Capacity) => f.write_str("two slots do not fit on the flash from their start"),
            Self::SlotTooSmall { needed, given } => {
                write!(f, "the checkpoint needs a slot of {needed} bytes, a slot has {given}")
            }
            Self::NotWritten => f.write_str("the flash reads otherwise than what was just written"),
            Self::Unstable => f.write_str("the flash did not read the same twice"),
            Self::Unproven { step } => {
                write!(
                    f,
                    "whole contents of step {step} lie here, but no commit word proves that their save was complete"
                )
            }
            Self::Undecided => {
                f.write_str("both slots hold contents, and which of them is the last save cannot be told")
            }
            Self::Sequence => f.write_str("the number of the last save leaves none for another one: erase the store"),
            Self::Unreadable(error) => {
                write!(f, "the flash refuses to read what may be the newest checkpoint: {error:?}")
            }
            Self::Flash(error) => write!(f, "the flash refused: {error:?}"),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for Error<E> {}

impl<E> From<checkpoint::Error> for Error<E> {
    fn from(error: checkpoint::Error) -> Self {
        Self::Checkpoint(error)
    }
}

/// Attempts to read a unit before it counts as refused.
const READS: u32 = 4;

/// The checkpoint that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Found {
    /// The checkpoint's header, with its step.
    pub header: Header,
    /// Its slot, 0 or 1.
    pub slot: u32,
    /// A newer one had been saved, but is damaged: this is the one before.
    pub fell_back: bool,
}

/// The checkpoint that was loaded, and the parts of it that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loaded {
    /// The checkpoint's header, with its step.
    pub header: Header,
    /// Its slot, 0 or 1.
    pub slot: u32,
    /// A newer one had been saved, but is damaged: this is the one before.
    pub fell_back: bool,
    /// `Ok` if the state of the optimiser was read; where it does not fit, its buffer is what it was.
    pub state: Result<(), Misfit>,
    /// `Ok` if numbers and counts of the read-out were read; where one does not fit, both buffers are what they were.
    pub read_out: Result<(), Misfit>,
}

/// Result of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Saved {
    /// The slot that was written, 0 or 1.
    pub slot: u32,
    /// Number of the save, ascending over the life of the store.
    pub sequence: u64,
    /// Erase units that were erased, each once: those of one slot, and more once after a change of the slots' length.
    pub erased: u32,
}

/// The contents of both slots, and the slot that a save may erase.
type Settled<E> = (Scan<E>, Result<u32, Error<E>>);

/// Two slots for the checkpoints of one network.
#[derive(Debug)]
pub struct Store<S> {
    flash: S,
    start: u32,
    slot_len: u32,
    /// Bytes from the first slot to the second one, as it was found last.
    second: u32,
    /// Bytes from the start in which the second slot is searched for.
    reach: u32,
    architecture: u64,
    /// True if what the flash refuses to read counts as damaged.
    despite_refusals: bool,
}

impl<S: NorFlash> Store<S> {
    /// Binds a store to the two slots of `slot_len` bytes ([`Lengths::slot_len`]) from `start` on, for checkpoints of
    /// the network that has `architecture` ([`checkpoint::architecture`]). Nothing is read or written.
    ///
    /// If a program with longer slots has saved from `start` on, a save uses as much room as that one did: twice the
    /// length of the checkpoint in the first slot.
    ///
    /// # Errors
    /// [`Error::Geometry`].
    pub fn open(flash: S, start: u32, slot_len: u32, architecture: u64) -> Result<Self, Error<S::Error>> {
        if !Unit::LEN.is_multiple_of(S::WRITE_SIZE) || !Unit::LEN.is_multiple_of(S::READ_SIZE) {
            return Err(Error::Geometry(Geometry::UnitSize));
        }
        let whole = |length: u32| {
            let length = length as usize;
            [S::ERASE_SIZE, S::WRITE_SIZE, S::READ_SIZE].iter().all(|&size| length.is_multiple_of(size))
        };
        if slot_len == 0 || !whole(start) || !whole(slot_len) {
            return Err(Error::Geometry(Geometry::EraseUnits));
        }
        let end = u64::from(start) + 2 * u64::from(slot_len);
        if end > flash.capacity() as u64 || end > u64::from(u32::MAX) {
            return Err(Error::Geometry(Geometry::Capacity));
        }
        let reach = slot_len.saturating_mul(2);
        Ok(Self { flash, start, slot_len, second: slot_len, reach, architecture, despite_refusals: false })
    }

    /// Says that the store owns all of the flash from its start to `end`, not two slots only. Checkpoints that a program
    /// with longer slots left there are then found, even where the first slot holds nothing.
    #[must_use]
    pub fn up_to(mut self, end: u32) -> Self {
        let end = (end as usize).min(self.flash.capacity()) as u32;
        let own = end.saturating_sub(self.start);
        // A rest that is no whole erase unit is not the store's.
        self.reach = self.reach.max(own - own.checked_rem(S::ERASE_SIZE as u32).unwrap_or(0));
        self
    }

    /// Gives the flash back.
    pub fn release(self) -> S {
        self.flash
    }

    /// Erase units erased by a save, each once; one more after the length of the slots changed. Every unit of a slot is
    /// erased at every second save.
    pub const fn erases_per_save(&self) -> u32 {
        match (self.slot_len as usize).checked_div(S::ERASE_SIZE) {
            Some(units) => units as u32,
            None => 0,
        }
    }

    /// From now on, what the flash refuses to read counts as damaged, as if its bytes were wrong.
    ///
    /// Without this, [`Store::load`] and [`Store::save`] fail where the flash refuses to read what may be the newest
    /// checkpoint, again and again: it may be read another time. With it the one before is loaded, and
    /// [`Loaded::fell_back`] says so; a save then goes over what cannot be read.
    pub fn give_up_unreadable(&mut self) {
        self.despite_refusals = true;
    }

    /// Finds the newest whole checkpoint and what it says about itself, of whatever network.
    ///
    /// After a power cut this may write some words, as may [`Store::load`] and [`Store::save`].
    ///
    /// # Errors
    /// [`checkpoint::Error::Empty`], [`Error::Unproven`], [`checkpoint::Error::Corrupt`] where something was saved and
    /// neither slot is whole, [`checkpoint::Error::OtherVersion`], [`Error::Unreadable`], and [`Error::Flash`] where nothing
    /// could be read at all.
    pub fn newest(&mut self) -> Result<Found, Error<S::Error>> {
        self.settle().0.newest()
    }

    /// Reads the newest whole checkpoint; this is also the way back to what was last saved.
    ///
    /// The parameters and the state of the layers are read or the load fails. State of the optimiser and read-out are read
    /// where their lengths are those of their buffers; else the buffers are left as they are, and [`Loaded`] says so.
    ///
    /// # Errors
    /// As [`Store::newest`], the other ones of [`checkpoint::Error`], and [`Error::Unstable`]. `into` is what it was
    /// after all errors but the last.
    pub fn load(&mut self, into: &mut ContentsMut<'_>) -> Result<Loaded, Error<S::Error>> {
        let Found { header, slot, fell_back } = self.newest()?;
        let architecture = self.architecture;
        match checkpoint::decode(|index, unit| self.read(slot, index, unit), architecture, into) {
            Ok(Decoded { header: read, state, read_out }) if read == header => {
                Ok(Loaded { header, slot, fell_back, state, read_out })
            }
            Ok(_) | Err(DecodeError::Source(_) | DecodeError::Checkpoint(checkpoint::Error::Corrupt)) => {
                Err(Error::Unstable)
            }
            Err(DecodeError::Checkpoint(error)) => Err(error.into()),
        }
    }

    /// Saves `contents`; they are safe when this returns. Reads both slots, erases one, writes it and reads it back. Once
    /// after a change of the slots' length, it may also copy the newest checkpoint to the first slot, and erase the head of
    /// the old second one.
    ///
    /// # Errors
    /// [`Error::SlotTooSmall`], [`Error::Undecided`], [`Error::Sequence`] and [`Error::Unreadable`] before anything is
    /// erased; [`Error::NotWritten`] or [`Error::Flash`], and then the next load gives what was saved before, or, where all
    /// but the last write had succeeded, these contents.
    pub fn save(&mut self, contents: &Contents<'_>) -> Result<Saved, Error<S::Error>> {
        let (needed, given) = (contents.lengths().stored_len(), self.slot_len as usize);
        if needed > given {
            return Err(Error::SlotTooSmall { needed, given });
        }
        let (mut scan, spare) = self.settle();
        if let Some(refusal) = scan.refusal() {
            return Err(refusal);
        }
        let mut slot = spare?;
        let (len, mut erased) = (Self::whole_units(needed), 0);
        if slot == 0 && len > self.second {
            // The other slot begins where a program with shorter slots put it: within what is to be written.
            match scan.counted(1) {
                Some((header, contents)) => {
                    erased = self.move_to_front(&header, contents)?;
                    (scan, slot) = (self.scan(), 1);
                }
                None => self.second = self.slot_len,
            }
        }
        let sequence = scan.next_sequence(slot).ok_or(Error::Sequence)?;
        if slot == 1 {
            // Behind what lies there, where that is longer than a slot.
            let kept = scan.whole(0).map_or(0, |(header, _)| Self::whole_units(header.stored_len()));
            let place = self.slot_len.max(kept);
            let room = self.capacity().saturating_sub(place);
            if len > room {
                return Err(Error::SlotTooSmall { needed, given: room as usize });
            }
            if place != self.second {
                erased += self.erase_head(1)?;
                self.second = place;
            }
        }
        erased += self.erase_slot(slot)?;
        let architecture = self.architecture;
        let written = checkpoint::encode(contents, architecture, sequence, |index, unit| self.write(slot, index, unit));
        let contents = written.map_err(Error::Flash)?;
        self.commit(slot, contents, sequence)?;
        Ok(Saved { slot, sequence, erased })
    }

    /// Erases all that is the store's, the newest checkpoint last: both slots, and with [`Store::up_to`] all to the end.
    ///
    /// # Errors
    /// [`Error::Flash`]; the newest checkpoint may then still be there, or read as corrupt.
    pub fn erase(&mut self) -> Result<(), Error<S::Error>> {
        let end = self.locate();
        let scan = self.scan();
        let newest = scan.newest_slot().unwrap_or(0);
        let from = self.offset(newest, 0).saturating_sub(self.start);
        let len = scan.counted(newest).map_or(0, |(header, _)| Self::whole_units(header.stored_len()));
        let to = from.saturating_add(len).min(end);
        for (from, to) in [(0, from), (to, end), (from, to)] {
            self.erase_range(from, to)?;
        }
        Ok(())
    }

    /// Looks at both slots, makes sure that what is found stays so, and names the slot that a save may erase.
    fn settle(&mut self) -> Settled<S::Error> {
        self.locate();
        let mut scan = self.scan();
        let spare = match scan.next() {
            Next::Erase(slot) => Ok(slot),
            Next::Void(slot) => {
                // What counts instead is to be proven, too; if it cannot be, it still counts.
                if !scan.is_proven(1 - slot) {
                    let proof = scan.proof(1 - slot);
                    self.add(&mut scan, proof).ok();
                }
                self.void(&mut scan, slot)
            }
            Next::Prove(slot) => {
                let proof = scan.proof(slot);
                match self.add(&mut scan, proof) {
                    Ok(true) => Ok(1 - slot),
                    _ if scan.is_vacant(1 - slot) => Ok(1 - slot),
                    // No room is left for a proof, which takes many power cuts: then the one that is proven counts.
                    Ok(false) if scan.is_proven(1 - slot) => {
                        scan.give_up(slot);
                        self.void(&mut scan, slot)
                    }
                    Ok(false) => Err(Error::Undecided),
                    Err(error) => Err(error),
                }
            }
            Next::Refused => Err(Error::Undecided),
        };
        (scan, spare)
    }

    /// Makes the contents of a slot void, as far as there is room for the words; the slot.
    fn void(&mut self, scan: &mut Scan<S::Error>, slot: u32) -> Result<u32, Error<S::Error>> {
        if !scan.is_void(slot) {
            let void = scan.void(slot);
            self.add(scan, void)?;
        }
        Ok(slot)
    }

    /// Adds words to a slot; whether there was room for them.
    ///
    /// # Errors
    /// If there is room, but the flash refuses.
    fn add(&mut self, scan: &mut Scan<S::Error>, missing: Option<Missing>) -> Result<bool, Error<S::Error>> {
        let Some(Missing { slot, free, first, firsts, last }) = missing else { return Ok(false) };
        let mut refusal = None;
        let mut left = firsts + 1;
        // A unit that was cut short may read as blank and still refuse to be written: then the next one serves.
        for index in free..WORDS_END {
            if WORDS_END - index < left {
                break;
            }
            match self.write_word(slot, index, if left > 1 { first } else { last }) {
                Ok(()) => left -= 1,
                Err(error) => refusal = Some(error),
            }
            scan.set_free(slot, index + 1);
            if left == 0 {
                return Ok(true);
            }
        }
        // Where little room was left, that may be torn units and no flash that refuses all.
        refusal.filter(|_| WORDS_END - free > firsts + 1).map_or(Ok(false), Err)
    }

    fn scan(&mut self) -> Scan<S::Error> {
        let (slot_len, architecture, capacity) = (self.slot_len as usize, self.architecture, self.capacity());
        let mut failure = None;
        let slots = [0, 1].map(|slot| {
            let room = capacity.saturating_sub(slot * self.second) as usize;
            let fits = |header: &Header| {
                header.stored_len() <= if header.architecture == architecture { room } else { slot_len }
            };
            Slot::read(fits, |index, unit| self.read(slot, index, unit), &mut failure)
        });
        Scan::new(slots, failure, self.despite_refusals)
    }

    /// Writes a word and reads it back.
    fn write_word(&mut self, slot: u32, index: u32, word: Word) -> Result<(), Error<S::Error>> {
        self.write(slot, index, &word.to_unit()).map_err(Error::Flash)?;
        let mut unit = Unit::BLANK;
        self.read(slot, index, &mut unit).map_err(Error::Flash)?;
        if unit == word.to_unit() { Ok(()) } else { Err(Error::NotWritten) }
    }

    /// Checksum of the contents of a slot, if they are whole.
    fn checksum(&mut self, slot: u32) -> Option<u32> {
        let (reader, _) = Reader::open(|index, unit: &mut Unit| self.read(slot, index, unit)).ok()?;
        reader.close().ok()?
    }

    /// Reads back what was written to a slot, and adds the words that make it count.
    fn commit(&mut self, slot: u32, contents: u32, sequence: u64) -> Result<(), Error<S::Error>> {
        if self.checksum(slot) != Some(contents) {
            return Err(Error::NotWritten);
        }
        for (index, word) in (COMMIT_AT..).zip(Word::pair(contents, sequence)) {
            self.write_word(slot, index, word)?;
        }
        Ok(())
    }

    /// Erases a slot, what makes it count first; the number of erase units.
    fn erase_slot(&mut self, slot: u32) -> Result<u32, Error<S::Error>> {
        let head = self.erase_head(slot)?;
        let (from, to) = self.extent(slot);
        let units = self.erase_range(from.saturating_add(Self::head_len()), to)?;
        Ok(head + units)
    }

    /// Erases what makes a slot count; the number of erase units.
    fn erase_head(&mut self, slot: u32) -> Result<u32, Error<S::Error>> {
        let (from, to) = self.extent(slot);
        self.erase_range(from, from.saturating_add(Self::head_len()).min(to))
    }

    /// Erases bytes, counted from the start of the store; the number of erase units. The only place that does, so that a
    /// driver's code is there once.
    #[inline(never)]
    fn erase_range(&mut self, from: u32, to: u32) -> Result<u32, Error<S::Error>> {
        if from >= to {
            return Ok(0);
        }
        self.flash.erase(self.start.saturating_add(from), self.start.saturating_add(to)).map_err(Error::Flash)?;
        Ok(((to - from) as usize).checked_div(S::ERASE_SIZE).unwrap_or(0) as u32)
    }

    fn offset(&self, slot: u32, index: u32) -> u32 {
        let within = index.saturating_mul(Unit::LEN as u32);
        self.start.saturating_add(slot.saturating_mul(self.second)).saturating_add(within)
    }

    /// Tries a few times: a glitch on a bus must not cost a checkpoint.
    fn read(&mut self, slot: u32, index: u32, unit: &mut Unit) -> Result<(), S::Error> {
        let offset = self.offset(slot, index);
        let mut read = self.flash.read(offset, unit.bytes_mut());
        for _ in 1..READS {
            if read.is_ok() {
                break;
            }
            read = self.flash.read(offset, unit.bytes_mut());
        }
        read
    }

    fn write(&mut self, slot: u32, index: u32, unit: &Unit) -> Result<(), S::Error> {
        self.flash.write(self.offset(slot, index), unit.bytes())
    }
}
