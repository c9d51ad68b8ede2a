//! A store of checkpoints on flash that keeps old or new through any power cut, never a mix.
//!
//! Two slots lie side by side on a [`NorFlash`], each a whole number of erase units. A save erases the slot that does
//! not hold the newest checkpoint, writes header and payload there, reads them back, and writes two commit words, each
//! in a unit of its own. A checkpoint counts once a commit word stands behind it and all checksums fit; the one with
//! the higher commit number is the newer. Between two erasures of a slot, no unit is written twice, as flash with error
//! correction demands.
//!
//! # What a power cut leaves
//!
//! A unit whose write was cut short may read as anything, and as something else the next time: as valid when the
//! device starts, and as damaged a day later. The same holds for a slot whose erasure was cut short. So nothing is
//! decided on such a unit:
//!
//! - The second commit word is begun when the first is complete, so it proves the first. [`Store::load`] and
//!   [`Store::save`] first *settle* what they find: where the newest checkpoint has no such proof that it is newer than
//!   what the other slot may read as, they commit it once more, with two fresh words of higher numbers. Only then is it
//!   handed out, and only then is the other slot erased. There is room for this to be cut short three times in a row.
//! - The other slot may read as anything that was ever written into it since its last erasure. All of that carries
//!   lower numbers.
//!
//! What was handed out by a load or acknowledged by a save stays readable until a later save is; a save that was cut
//! short is seen whole or not at all. The tests hold this to every pair of cuts, however the units that they tore read
//! each time, and to thousands of cuts in a row that leave units which read the same each time.
//!
//! # Wear
//!
//! A save erases one slot, and the slots take turns: each erase unit is erased at every second save. Flash for `C`
//! cycles lasts for `2 C` saves; at `N` saves a day and 10,000 cycles for 20,000 / `N` days, at 24 a day for more than two
//! years.

mod scan;
#[cfg(doc)]
use crate::checkpoint::Lengths;
use crate::checkpoint::{self, COMMIT_AT, COMMIT_UNITS, CommitWord, Contents, ContentsMut, DecodeError, Header};
use crate::checkpoint::{Reader, Unit};
use embedded_storage::nor_flash::NorFlash;
use scan::Scan;

/// Why a flash or the place in it cannot hold a store.
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

/// Why a store did not do what it was asked for.
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

/// Which checkpoint was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loaded {
    /// What it says about itself, such as its step.
    pub header: Header,
    /// Its slot, 0 or 1.
    pub slot: u32,
    /// A newer one had been saved, but is damaged: this is the one before.
    pub fell_back: bool,
}

/// What a save did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Saved {
    /// The slot that was written, 0 or 1.
    pub slot: u32,
    /// Number of the save, ascending over the life of the store.
    pub sequence: u64,
    /// Erase units that were erased, each once: those of one slot.
    pub erased: u32,
}

/// Two slots for the checkpoints of one network.
#[derive(Debug)]
pub struct Store<S> {
    flash: S,
    start: u32,
    slot_len: u32,
    architecture: u64,
}

impl<S: NorFlash> Store<S> {
    /// Binds a store to the two slots of `slot_len` bytes ([`Lengths::slot_len`]) from `start` on, for checkpoints of
    /// the network that has `architecture` ([`checkpoint::architecture`]). Nothing is read or written.
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
        Ok(Self { flash, start, slot_len, architecture })
    }

    /// Gives the flash back.
    pub fn release(self) -> S {
        self.flash
    }

    /// Erase units that a save erases, each once. Every unit of a slot is erased at every second save.
    pub const fn erases_per_save(&self) -> u32 {
        match (self.slot_len as usize).checked_div(S::ERASE_SIZE) {
            Some(units) => units as u32,
            None => 0,
        }
    }

    /// Finds the newest whole checkpoint and what it says about itself, of whatever network.
    ///
    /// After a power cut this may write a commit word or two, as may [`Store::load`] and [`Store::save`].
    ///
    /// # Errors
    /// [`checkpoint::Error::Empty`], [`checkpoint::Error::Corrupt`] where something was saved and neither slot is
    /// whole, [`checkpoint::Error::OtherVersion`], and [`Error::Flash`] where nothing could be read at all.
    pub fn newest(&mut self) -> Result<Loaded, Error<S::Error>> {
        self.settle().newest()
    }

    /// Reads the newest whole checkpoint; this is also the way back to what was last saved.
    ///
    /// # Errors
    /// As [`Store::newest`], the other ones of [`checkpoint::Error`], and [`Error::Unstable`]. `into` is what it was
    /// after all errors but the last.
    pub fn load(&mut self, into: &mut ContentsMut<'_>) -> Result<Loaded, Error<S::Error>> {
        let found = self.newest()?;
        let architecture = self.architecture;
        let read = checkpoint::decode(|index, unit| self.read(found.slot, index, unit), architecture, into);
        match read {
            Ok(header) if header == found.header => Ok(found),
            Ok(_) | Err(DecodeError::Source(_) | DecodeError::Checkpoint(checkpoint::Error::Corrupt)) => {
                Err(Error::Unstable)
            }
            Err(DecodeError::Checkpoint(error)) => Err(error.into()),
        }
    }

    /// Saves `contents`; they are safe when this returns. Reads both slots, erases one, writes it and reads it back.
    ///
    /// # Errors
    /// [`Error::SlotTooSmall`] before anything is changed; [`Error::NotWritten`] or [`Error::Flash`], and then the next
    /// load gives what was saved before, or, where all but the last write had succeeded, these contents.
    pub fn save(&mut self, contents: &Contents<'_>) -> Result<Saved, Error<S::Error>> {
        let (needed, given) = (contents.lengths().stored_len(), self.slot_len as usize);
        if needed > given {
            return Err(Error::SlotTooSmall { needed, given });
        }
        let scan = self.settle();
        let (slot, sequence) = (scan.spare(), checkpoint::sequence_after(scan.highest()));
        self.erase_slot(slot)?;
        let architecture = self.architecture;
        let written = checkpoint::encode(contents, architecture, sequence, |index, unit| self.write(slot, index, unit));
        let contents = written.map_err(Error::Flash)?;
        if self.checksum(slot) != Some(contents) {
            return Err(Error::NotWritten);
        }
        for (index, word) in (COMMIT_AT..).zip(CommitWord::pair(contents, checkpoint::number_of(sequence))) {
            self.commit(slot, index, word)?;
        }
        Ok(Saved { slot, sequence, erased: self.erases_per_save() })
    }

    /// Erases both slots, the older one first.
    ///
    /// # Errors
    /// [`Error::Flash`]; the newest checkpoint may then still be there, or read as corrupt.
    pub fn erase(&mut self) -> Result<(), Error<S::Error>> {
        let older = self.scan().spare();
        self.erase_slot(older)?;
        self.erase_slot(1 - older)
    }

    /// Looks at both slots, and makes sure that what is found stays so.
    fn settle(&mut self) -> Scan<S::Error> {
        let scan = self.scan();
        if let Some((slot, contents, free)) = scan.unsettled() {
            let mut words = CommitWord::pair(contents, scan.highest().saturating_add(1)).into_iter().peekable();
            // A unit that was cut short may read as blank and still refuse to be written: then the next one serves.
            // Without any left, or on flash that can no longer be written, the checkpoint is still worth having.
            for index in free..COMMIT_AT + COMMIT_UNITS {
                let Some(&word) = words.peek() else { break };
                if self.commit(slot, index, word).is_ok() {
                    words.next();
                }
            }
        }
        scan
    }

    fn scan(&mut self) -> Scan<S::Error> {
        let slot_len = self.slot_len as usize;
        Scan::new([0, 1].map(|slot| scan::Slot::read(slot_len, |index, unit| self.read(slot, index, unit))))
    }

    /// Writes a commit word and reads it back.
    fn commit(&mut self, slot: u32, index: u32, word: CommitWord) -> Result<(), Error<S::Error>> {
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

    /// Erases a slot, what makes it count first.
    fn erase_slot(&mut self, slot: u32) -> Result<(), Error<S::Error>> {
        let start = self.offset(slot, 0);
        let end = start.saturating_add(self.slot_len);
        let head = ((COMMIT_AT + COMMIT_UNITS) as usize * Unit::LEN).checked_next_multiple_of(S::ERASE_SIZE);
        let head = head.map_or(end, |head| start.saturating_add(head as u32).min(end));
        self.flash.erase(start, head).map_err(Error::Flash)?;
        if head < end { self.flash.erase(head, end).map_err(Error::Flash) } else { Ok(()) }
    }

    fn offset(&self, slot: u32, index: u32) -> u32 {
        let within = index.saturating_mul(Unit::LEN as u32);
        self.start.saturating_add(slot.saturating_mul(self.slot_len)).saturating_add(within)
    }

    /// Tries twice: a glitch on a bus must not cost a checkpoint.
    fn read(&mut self, slot: u32, index: u32, unit: &mut Unit) -> Result<(), S::Error> {
        let offset = self.offset(slot, index);
        self.flash.read(offset, unit.bytes_mut()).or_else(|_| self.flash.read(offset, unit.bytes_mut()))
    }

    fn write(&mut self, slot: u32, index: u32, unit: &Unit) -> Result<(), S::Error> {
        self.flash.write(self.offset(slot, index), unit.bytes())
    }
}
