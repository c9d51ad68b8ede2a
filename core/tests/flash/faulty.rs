//! A flash that fails in every way that the store is promised to bear: power cuts, units that read as something else each
//! time, writes that are refused while erasing works, and reads that fail.

#![allow(dead_code, reason = "each test program uses its part of this")]

use clapp_core::rng::Rng;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use embedded_storage::nor_flash::{check_erase, check_read, check_write};

const WRITE: usize = 32;

type Unit = [u8; WRITE];

const BLANK: Unit = [0xff; WRITE];
const NOISE: Unit = [0x5a; WRITE];

/// How torn units read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// As before what tore them.
    Hidden,
    /// As they were to become.
    Shown,
    /// As anything, each time.
    Random,
}

/// Cells, and all that is wrong with them at present.
#[derive(Debug, Clone)]
pub struct Faulty<const ERASE: usize> {
    /// What a unit reads as: what it was before a tear first, what it was to become last.
    units: Vec<Vec<Unit>>,
    pub torn: Torn,
    /// Writes and erasures of units until power fails in one, and whether that one leaves its unit torn.
    pub cut: Option<(usize, bool)>,
    /// Power has failed.
    pub off: bool,
    pub refuse_writes: bool,
    /// A unit that cannot be read, and how often.
    pub unreadable: Option<(usize, u32)>,
    /// In how many of 100 reads one fails, and once more with the same odds.
    pub glitches: u32,
    in_a_row: u32,
    random: Rng,
}

impl<const ERASE: usize> Faulty<ERASE> {
    pub fn new(len: usize, random: Rng) -> Self {
        Self {
            units: vec![vec![BLANK]; len / WRITE],
            torn: Torn::Random,
            cut: None,
            off: false,
            refuse_writes: false,
            unreadable: None,
            glitches: 0,
            in_a_row: 0,
            random,
        }
    }

    /// Power comes back, and nothing is wrong any more but the cells.
    pub fn restart(&mut self) {
        (self.cut, self.off, self.refuse_writes, self.unreadable, self.glitches) = (None, false, false, None, 0);
    }

    /// Units that are torn.
    pub fn torn_units(&self) -> Vec<usize> {
        (0..self.units.len()).filter(|&unit| self.units[unit].len() > 1).collect()
    }

    /// Replaces bytes.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (at, &byte) in (offset..).zip(bytes) {
            self.units[at / WRITE][0][at % WRITE] = byte;
        }
    }

    /// Counts an operation; what to leave of it if power fails in it.
    fn spend(&mut self) -> Option<bool> {
        let (left, torn) = self.cut.as_mut()?;
        self.off = *left == 0;
        *left = left.saturating_sub(1);
        self.off.then_some(*torn)
    }

    fn powered(&self) -> Result<(), NorFlashErrorKind> {
        if self.off { Err(NorFlashErrorKind::Other) } else { Ok(()) }
    }
}

impl<const ERASE: usize> ErrorType for Faulty<ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const ERASE: usize> ReadNorFlash for Faulty<ERASE> {
    const READ_SIZE: usize = WRITE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.powered()?;
        if self.in_a_row < 2 && self.random.below(100) < self.glitches {
            self.in_a_row += 1;
            return Err(NorFlashErrorKind::Other);
        }
        self.in_a_row = 0;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks_mut(WRITE)) {
            if let Some((failing, left)) = &mut self.unreadable
                && *failing == unit
                && *left > 0
            {
                *left -= 1;
                return Err(NorFlashErrorKind::Other);
            }
            let variants = &self.units[unit];
            let choice = match self.torn {
                Torn::Hidden => 0,
                Torn::Shown => variants.len() - 1,
                Torn::Random => self.random.below(variants.len() as u32) as usize,
            };
            bytes.copy_from_slice(&variants[choice]);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.units.len() * WRITE
    }
}

impl<const ERASE: usize> NorFlash for Faulty<ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for erased in from as usize / ERASE..to as usize / ERASE {
            self.powered()?;
            let torn = self.spend();
            for unit in &mut self.units[erased * ERASE / WRITE..(erased + 1) * ERASE / WRITE] {
                match torn {
                    None => *unit = vec![BLANK],
                    Some(true) if *unit != [BLANK] => unit.extend([NOISE, BLANK]),
                    Some(_) => {}
                }
            }
        }
        self.powered()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks(WRITE)) {
            self.powered()?;
            if self.refuse_writes {
                return Err(NorFlashErrorKind::Other);
            }
            let after = Unit::try_from(bytes).expect("a unit");
            let torn = self.spend();
            let variants = &mut self.units[unit];
            assert!(variants.contains(&BLANK), "a unit is written twice");
            match torn {
                Some(false) => {}
                Some(true) => variants.extend([NOISE, after]),
                None if *variants == [BLANK] => *variants = vec![after],
                // What a torn write left in the cells is still there.
                None => variants.push(after),
            }
        }
        self.powered()
    }
}
