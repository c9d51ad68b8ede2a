//! Images of a device's flash in memory, in the format of [`clapp_core::storage`].

use clapp_core::checkpoint::{self, ContentsMut, Lengths, Unit};
use clapp_core::learner::LayerState;
use clapp_core::storage::{Error, Found, Store};
use clapp_engine::checkpoint::device::DeviceState;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_read};

/// Flash in memory, so that images are made and read by the same code as on the device.
struct Memory(Vec<u8>);

impl ErrorType for Memory {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let erased = self.0.get_mut(from as usize..to as usize).ok_or(NorFlashErrorKind::OutOfBounds)?;
        erased.fill(ERASED);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Value of an erased byte.
pub const ERASED: u8 = 0xff;

/// Reason why an image cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is longer than two slots.
    #[error("{len} bytes, more than two slots of {slot_len}")]
    TooLong {
        /// Bytes of the image.
        len: usize,
        /// Bytes of a slot.
        slot_len: usize,
    },
    /// It would be longer than a device can address.
    #[error("two slots of {slot_len} bytes are more than 4 GiB")]
    Beyond {
        /// Bytes of a slot.
        slot_len: usize,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Error<NorFlashErrorKind>),
}

/// Bytes that are erased at a time on most microcontrollers, QEMU's board and the nRF52840 among them.
const USUAL_ERASE_SIZE: usize = 4096;

/// Returns `true` if `image` may be a device's flash: blank, or with a checkpoint, whole or not, at the start of an
/// erase unit.
pub fn is_flash(image: &[u8]) -> bool {
    let starts = |unit: &[u8]| unit.starts_with(&checkpoint::MAGIC);
    image.iter().all(|&byte| byte == ERASED) || image.chunks(USUAL_ERASE_SIZE).any(starts)
}

/// The shortest slot that anything fits into.
const LEAST: usize = Lengths { layers: 0, parameters: 0, state: 0, readout: 0, counts: 0 }.stored_len();

/// A store on `image`, filled up to two slots of `slot_len` bytes.
fn open(mut image: Vec<u8>, slot_len: usize, architecture: u64) -> Result<Store<Memory>, ImageError> {
    let (Ok(len), true) = (u32::try_from(slot_len), 2 * slot_len < u32::MAX as usize) else {
        return Err(ImageError::Beyond { slot_len });
    };
    image.resize(2 * slot_len, ERASED);
    Ok(Store::open(Memory(image), 0, len, architecture)?)
}

/// The image of a store of two slots of `slot_len` bytes with one checkpoint in the first, as after the first save; or
/// of that one slot, as short as it can be, without a length.
///
/// # Errors
/// [`Error::SlotTooSmall`], or [`ImageError::Beyond`].
pub fn encode(held: &DeviceState, architecture: u64, slot_len: Option<usize>) -> Result<Vec<u8>, ImageError> {
    let contents = held.contents();
    let needed = contents.lengths().stored_len();
    let mut store = open(Vec::new(), slot_len.unwrap_or(needed), architecture)?;
    store.save(&contents)?;
    let mut image = store.release().0;
    if slot_len.is_none() {
        image.truncate(needed);
    }
    Ok(image)
}

/// An open image, with the header of its newest checkpoint.
pub struct Image {
    store: Store<Memory>,
    /// The newest checkpoint.
    pub found: Found,
    /// Bytes before the store that do not belong to it.
    pub front: usize,
}

impl Image {
    /// Opens an image of both slots, or of one, perhaps with blank flash behind them and with anything in front, such
    /// as the rest of a chip. The slot length is optional: the function searches for the second slot, as the device
    /// does.
    ///
    /// # Errors
    /// The errors of [`Store::newest`]; [`ImageError::TooLong`] and [`ImageError::Beyond`].
    pub fn open(mut image: Vec<u8>, architecture: u64, slot_len: Option<u32>) -> Result<Self, ImageError> {
        let front = front_of(&image, slot_len.map(|len| len as usize));
        image.drain(..front);
        let (len, needed) = (image.len(), checkpoint_at(&image, 0).unwrap_or(0));
        let slot_len = match slot_len {
            None => len.div_ceil(2).max(needed).max(LEAST),
            Some(slot_len) => {
                let slot_len = (slot_len as usize).max(LEAST);
                if needed > slot_len || (2 * slot_len..len).any(|offset| checkpoint_at(&image, offset).is_some()) {
                    return Err(ImageError::TooLong { len, slot_len });
                }
                image.truncate(2 * slot_len);
                slot_len
            }
        };
        let mut store = open(image, slot_len, architecture)?;
        let found = store.newest()?;
        Ok(Self { store, found, front })
    }

    /// Reads the newest checkpoint.
    ///
    /// # Errors
    /// The errors of [`Store::load`].
    pub fn read(mut self) -> Result<DeviceState, ImageError> {
        let Lengths { layers, parameters, state, readout, counts } = self.found.header.lengths;
        let mut held = DeviceState {
            step: self.found.header.step,
            parameters: vec![0.0; parameters],
            state: vec![0.0; state],
            layers: vec![LayerState::NEW; layers],
            readout: vec![0.0; readout],
            counts: vec![0; counts],
        };
        self.store.load(&mut ContentsMut {
            parameters: &mut held.parameters,
            state: &mut held.state,
            layers: &mut held.layers,
            readout: &mut held.readout,
            counts: &mut held.counts,
        })?;
        Ok(held)
    }
}

/// Bytes of the checkpoint that begins at `offset`, if one does.
fn checkpoint_at(image: &[u8], offset: usize) -> Option<usize> {
    if !image.get(offset..)?.starts_with(&checkpoint::MAGIC) {
        return None;
    }
    let source = |index: u32, unit: &mut Unit| {
        let start = offset + index as usize * Unit::LEN;
        unit.bytes_mut().copy_from_slice(image.get(start..start + Unit::LEN).ok_or(())?);
        Ok::<(), ()>(())
    };
    checkpoint::header(source).map(|header| header.stored_len()).ok()
}

/// Bytes in front of a store that does not begin with the image.
///
/// The first header may be that of the second slot, behind a first one that is blank or damaged: then that one is long
/// enough for a checkpoint, and there is nothing behind the second one.
fn front_of(image: &[u8], slot_len: Option<usize>) -> usize {
    let header_from = |from: usize| (from..image.len()).find_map(|at| Some((at, checkpoint_at(image, at)?)));
    let Some((first, needs)) = header_from(0) else { return 0 };
    let behind = image.get(2 * first..).unwrap_or_default();
    let is_second = match slot_len {
        Some(slot_len) => first == slot_len,
        None => first >= needs && header_from(first + needs).is_none() && behind.iter().all(|&byte| byte == ERASED),
    };
    if is_second { 0 } else { first }
}
