//! A simulated NOR flash whose power can be cut within any write unit and any erase unit.

#![allow(dead_code, reason = "each test program uses its part of this")]

use clapp_core::rng::{Rng, stream};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use embedded_storage::nor_flash::{check_erase, check_read, check_write};
use std::collections::BTreeMap;

/// What an interrupted write unit, or each write unit of an interrupted erase unit, reads as afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residue {
    /// What it was before.
    Previous,
    /// What it was to become.
    Finished,
    /// Half of the bits changed.
    Torn,
    /// Anything.
    Random,
    /// Nothing: error correction gives up and the read fails.
    Unreadable,
    /// Any of the above, another one whenever power comes back, until it is erased in full.
    Flaky,
}

impl Residue {
    pub const ALL: [Self; 6] =
        [Self::Previous, Self::Finished, Self::Torn, Self::Random, Self::Unreadable, Self::Flaky];
}

/// A write unit's content; `None` where it cannot be read.
type Content = Option<Vec<u8>>;

/// What has happened to a unit since it was last erased in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Erased,
    Interrupted,
    Written,
}

/// The cells, which outlive a power cut.
#[derive(Clone)]
pub struct Cells {
    units: Vec<Content>,
    /// What has happened to each unit since it was last erased in full.
    used: Vec<Use>,
    /// What flaky units may read as.
    flaky: BTreeMap<usize, Vec<Content>>,
    /// Erase units that have been interrupted and read alike.
    torn_erasures: Vec<usize>,
    /// How often each erase unit was erased.
    pub erasures: Vec<u32>,
    /// Error correction: a unit that was begun to be written refuses to be written again.
    ecc: bool,
    random: Rng,
}

/// A flash with `WRITE` bytes a write unit (and read unit) and `ERASE` bytes an erase unit, and power for some
/// operations.
pub struct Flash<'a, const WRITE: usize, const ERASE: usize> {
    pub cells: &'a mut Cells,
    /// Writes and erasures of single units until power fails, and what is left of the one that is interrupted.
    pub cut: Option<(usize, Residue)>,
    /// Power has failed.
    pub off: bool,
}

impl Cells {
    /// Erased cells of `len` bytes.
    pub fn new<const WRITE: usize, const ERASE: usize>(len: usize, ecc: bool, seed: u64) -> Self {
        Self {
            units: vec![Some(vec![0xff; WRITE]); len / WRITE],
            used: vec![Use::Erased; len / WRITE],
            flaky: BTreeMap::new(),
            torn_erasures: Vec::new(),
            erasures: vec![0; len / ERASE],
            ecc,
            random: stream(seed, 0),
        }
    }

    /// Cells with these bytes.
    pub fn with_bytes<const WRITE: usize, const ERASE: usize>(bytes: &[u8]) -> Self {
        let mut cells = Self::new::<WRITE, ERASE>(bytes.len(), false, 0);
        cells.units = bytes.chunks(WRITE).map(|unit| Some(unit.to_vec())).collect();
        cells
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.units.iter().flat_map(|unit| unit.clone().expect("a readable unit")).collect()
    }

    /// Flips a bit.
    pub fn flip(&mut self, bit: usize) {
        let size = self.units[0].as_ref().expect("a readable unit").len();
        self.units[bit / 8 / size].as_mut().expect("a readable unit")[bit / 8 % size] ^= 1 << (bit % 8);
    }

    /// Power for good.
    pub fn on<const WRITE: usize, const ERASE: usize>(&mut self) -> Flash<'_, WRITE, ERASE> {
        self.until::<WRITE, ERASE>(None)
    }

    /// Power comes back, until it is cut: flaky units read as something else.
    pub fn until<const WRITE: usize, const ERASE: usize>(
        &mut self,
        cut: Option<(usize, Residue)>,
    ) -> Flash<'_, WRITE, ERASE> {
        for (&unit, variants) in &self.flaky {
            self.units[unit] = variants[self.random.below(variants.len() as u32) as usize].clone();
        }
        // The cells of an erase unit are weak together: often all still read as before, or all as erased.
        for &start in &self.torn_erasures {
            let choice = self.random.below(3) as usize;
            for unit in start..start + ERASE / WRITE {
                if let (Some(variants), true) = (self.flaky.get(&unit), choice < 2) {
                    self.units[unit] = variants[choice].clone();
                }
            }
        }
        Flash { cells: self, cut, off: false }
    }

    /// Leaves a unit that was to go from `before` to `after` as an interruption leaves it.
    fn interrupt(&mut self, unit: usize, after: &[u8], residue: Residue) {
        let before = self.units[unit].clone();
        let known = before.clone().unwrap_or_else(|| after.iter().map(|byte| !byte).collect());
        let torn = known.iter().zip(after).map(|(before, after)| (before & 0x55) | (after & 0xaa)).collect();
        let random = (0..after.len()).map(|_| self.random.bits() as u8).collect();
        self.units[unit] = match residue {
            Residue::Previous => before,
            Residue::Finished => Some(after.to_vec()),
            Residue::Torn => Some(torn),
            Residue::Random => Some(random),
            // Without error correction every unit can be read.
            Residue::Unreadable => (!self.ecc).then_some(random),
            Residue::Flaky => {
                let earlier = self.flaky.remove(&unit).unwrap_or_default();
                let mut variants = vec![before.clone(), Some(after.to_vec()), Some(torn), Some(random)];
                variants.extend(earlier);
                self.flaky.insert(unit, variants);
                before
            }
        };
    }
}

impl<const WRITE: usize, const ERASE: usize> Flash<'_, WRITE, ERASE> {
    /// Counts an operation; what is left of it, if power fails in it.
    fn spend(&mut self) -> Option<Residue> {
        let (left, residue) = self.cut.as_mut()?;
        self.off = *left == 0;
        *left = left.saturating_sub(1);
        self.off.then_some(*residue)
    }

    fn powered(&self) -> Result<(), NorFlashErrorKind> {
        if self.off { Err(NorFlashErrorKind::Other) } else { Ok(()) }
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Flash<'_, WRITE, ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Flash<'_, WRITE, ERASE> {
    const READ_SIZE: usize = WRITE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.powered()?;
        check_read(self, offset, bytes.len())?;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks_mut(WRITE)) {
            bytes.copy_from_slice(self.cells.units[unit].as_ref().ok_or(NorFlashErrorKind::Other)?);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.units.len() * WRITE
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Flash<'_, WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.powered()?;
        check_erase(self, from, to)?;
        for erased in from as usize / ERASE..to as usize / ERASE {
            let residue = self.spend();
            let start = erased * ERASE / WRITE;
            for unit in start..start + ERASE / WRITE {
                match residue {
                    Some(residue) => self.cells.interrupt(unit, &[0xff; WRITE], residue),
                    None => {
                        self.cells.units[unit] = Some(vec![0xff; WRITE]);
                        self.cells.used[unit] = Use::Erased;
                        self.cells.flaky.remove(&unit);
                    }
                }
            }
            self.cells.torn_erasures.retain(|&torn| torn != start);
            if residue == Some(Residue::Flaky) {
                self.cells.torn_erasures.push(start);
            }
            self.cells.erasures[erased] += 1;
            self.powered()?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.powered()?;
        check_write(self, offset, bytes.len())?;
        for (unit, bytes) in (offset as usize / WRITE..).zip(bytes.chunks(WRITE)) {
            let blank = self.cells.units[unit].as_deref() == Some(&[0xff; WRITE]);
            assert!(blank, "a unit that is not erased is written");
            assert_ne!(self.cells.used[unit], Use::Written, "a unit is written twice");
            if self.cells.used[unit] == Use::Interrupted && self.cells.ecc {
                return Err(NorFlashErrorKind::Other);
            }
            self.cells.used[unit] = Use::Written;
            if let Some(residue) = self.spend() {
                self.cells.used[unit] = Use::Interrupted;
                self.cells.interrupt(unit, bytes, residue);
                return self.powered();
            }
            self.cells.units[unit] = Some(bytes.to_vec());
            // What an interrupted write left in the cells is still there.
            if let Some(variants) = self.cells.flaky.get_mut(&unit) {
                for variant in variants.iter_mut().flatten() {
                    variant.iter_mut().zip(bytes).for_each(|(left, new)| *left &= new);
                }
                variants.push(Some(bytes.to_vec()));
            }
        }
        Ok(())
    }
}
