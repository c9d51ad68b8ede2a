//! A flash whose torn units read as something else each time, and a search through all that they may read as.

#![allow(dead_code, reason = "each test program uses its part of this")]

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use embedded_storage::nor_flash::{check_erase, check_read, check_write};
use std::cell::RefCell;

/// Bytes of a unit that is written.
pub const WRITE: usize = 32;

type Bytes = [u8; WRITE];

/// Numbers of what units may read as: bits of a set.
const BLANK: u32 = 0;
const NOISE: u32 = 1;

/// Units of a slot: header, words, and one of payload.
pub const SLOT_UNITS: usize = 11;

/// A set of what a unit may read as.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Variants([u64; 4]);

const ERASED: Variants = Variants([1 << BLANK, 0, 0, 0]);

impl Variants {
    const BITS: u32 = 256;

    fn of(number: u32) -> Self {
        let mut set = Self([0; 4]);
        set.0[number as usize / 64] = 1 << (number % 64);
        set
    }

    fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own |= other);
        self
    }

    fn has(self, number: u32) -> bool {
        self.0[number as usize / 64] >> (number % 64) & 1 == 1
    }

    fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The number at a place among those in the set.
    fn nth(self, mut place: usize) -> u32 {
        for (mut word, base) in self.0.into_iter().zip((0..).step_by(64)) {
            let count = word.count_ones() as usize;
            if place < count {
                (0..place).for_each(|_| word &= word - 1);
                return base + word.trailing_zeros();
            }
            place -= count;
        }
        unreachable!("a place among those in the set")
    }

    /// The numbers in the set.
    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..Self::BITS).filter(move |&number| self.has(number))
    }
}

/// All that was ever written, by its number.
#[derive(Debug)]
pub struct Written(RefCell<Vec<Bytes>>);

impl Written {
    pub fn new() -> Self {
        Self(RefCell::new(vec![[0xff; WRITE], [0x5a; WRITE]]))
    }

    fn number(&self, bytes: &Bytes) -> u32 {
        let mut written = self.0.borrow_mut();
        let known = written.iter().position(|other| other == bytes);
        let number = known.unwrap_or_else(|| {
            written.push(*bytes);
            written.len() - 1
        });
        assert!((number as u32) < Variants::BITS, "no more different units are provided for");
        number as u32
    }
}

/// Forgets what was written and is no longer anywhere in `all`, and numbers the rest anew.
pub fn compact<const UNITS: usize>(written: &mut Written, all: &mut [&mut Cells<UNITS>]) {
    let noise = ERASED.with(Variants::of(NOISE));
    let used = all.iter().flat_map(|cells| cells.0).fold(noise, Variants::with);
    let kept: Vec<u32> = used.numbers().collect();
    for unit in all.iter_mut().flat_map(|cells| &mut cells.0) {
        let places = unit.numbers().filter_map(|number| kept.iter().position(|&old| old == number));
        *unit = places.fold(Variants([0; 4]), |set, place| set.with(Variants::of(place as u32)));
    }
    let bytes = written.0.get_mut();
    *bytes = kept.iter().map(|&number| bytes[number as usize]).collect();
}

/// The cells: for each unit all that it may read as, one thing alone where it is sound.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cells<const UNITS: usize>([Variants; UNITS]);

impl<const UNITS: usize> Cells<UNITS> {
    pub const NEW: Self = Self([ERASED; UNITS]);
}

/// What to choose where there is a choice: all sequences of choices, one after the other.
#[derive(Default)]
pub struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    /// One of `count`.
    fn choose(&mut self, count: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, count));
        }
        let (choice, of) = self.taken[self.at];
        assert_eq!(of, count, "the same choices lead to the same questions");
        self.at += 1;
        choice
    }

    /// The next sequence; whether there is one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, count)) = self.taken.pop() {
            if choice + 1 < count {
                self.taken.push((choice + 1, count));
                return true;
            }
        }
        false
    }
}

/// Runs `life` on copies of `cells` for all that torn units may read as, until power is cut in the operation `cut`; returns how
/// often.
pub fn all_readings<const UNITS: usize, const ERASE: usize>(
    written: &Written,
    cells: &Cells<UNITS>,
    cut: Option<usize>,
    mut life: impl FnMut(&mut Flash<'_, UNITS, ERASE>),
) -> u64 {
    let mut choices = Choices::default();
    let mut count = 0;
    loop {
        count += 1;
        life(&mut Flash { written, choices: &mut choices, cells: *cells, left: cut, off: false });
        if !choices.advance() {
            return count;
        }
    }
}

/// A flash that is erased by `ERASE` bytes.
pub struct Flash<'a, const UNITS: usize, const ERASE: usize> {
    written: &'a Written,
    choices: &'a mut Choices,
    pub cells: Cells<UNITS>,
    /// Writes and erasures until power fails in one.
    left: Option<usize>,
    /// Power has failed.
    pub off: bool,
}

impl<const UNITS: usize, const ERASE: usize> Flash<'_, UNITS, ERASE> {
    /// Counts an operation; whether power fails in it.
    fn fails(&mut self) -> bool {
        self.off = self.left == Some(0);
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.off
    }

    fn powered(&self) -> Result<(), NorFlashErrorKind> {
        if self.off { Err(NorFlashErrorKind::Other) } else { Ok(()) }
    }
}

impl<const UNITS: usize, const ERASE: usize> ErrorType for Flash<'_, UNITS, ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const UNITS: usize, const ERASE: usize> ReadNorFlash for Flash<'_, UNITS, ERASE> {
    const READ_SIZE: usize = WRITE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.powered()?;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks_mut(WRITE)) {
            let variants = self.cells.0[unit];
            let count = variants.count() as usize;
            let choice = if count == 1 { 0 } else { self.choices.choose(count) };
            let number = variants.nth(choice);
            bytes.copy_from_slice(&self.written.0.borrow()[number as usize]);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        UNITS * WRITE
    }
}

impl<const UNITS: usize, const ERASE: usize> NorFlash for Flash<'_, UNITS, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for erased in from as usize / ERASE..to as usize / ERASE {
            self.powered()?;
            let fails = self.fails();
            for unit in erased * ERASE / WRITE..(erased + 1) * ERASE / WRITE {
                if !fails {
                    self.cells.0[unit] = ERASED;
                } else if unit % SLOT_UNITS != 1 {
                    // The second unit of a header stays: whether there is one, the first one says.
                    self.cells.0[unit] = self.cells.0[unit].with(ERASED);
                }
            }
        }
        self.powered()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks(WRITE)) {
            self.powered()?;
            let after = Variants::of(self.written.number(&Bytes::try_from(bytes).expect("a unit")));
            let before = self.cells.0[unit];
            assert!(before.has(BLANK), "a unit is written twice");
            // What a torn write left in the cells is still there.
            let torn = self.fails() || before != ERASED;
            self.cells.0[unit] = if torn { before.with(after).with(ERASED).with(Variants::of(NOISE)) } else { after };
        }
        self.powered()
    }
}
