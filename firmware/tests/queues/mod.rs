//! A board in memory: the line is a pair of queues, flash is a vector. The tests of the host's end of the line have it, too.

use clapp_firmware::board::Board;
use clapp_firmware::source::NoSensor;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::collections::VecDeque;

/// The board.
#[derive(Debug, Default)]
pub struct Queues<const WRITE: usize = 4, const ERASE: usize = 4096> {
    pub to_device: VecDeque<u8>,
    pub to_host: Vec<u8>,
    /// All predictions that were shown.
    pub shown: Vec<Option<u8>>,
    pub sensor: NoSensor,
    pub flash: Option<RamFlash<WRITE, ERASE>>,
}

/// Flash in memory, written and erased by so many bytes.
#[derive(Debug)]
pub struct RamFlash<const WRITE: usize = 4, const ERASE: usize = 4096>(pub Vec<u8>);

impl RamFlash {
    /// Erased.
    pub fn new() -> Self {
        Self(vec![0xFF; 256 * 1024])
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for RamFlash<WRITE, ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for RamFlash<WRITE, ERASE> {
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

impl<const WRITE: usize, const ERASE: usize> NorFlash for RamFlash<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xFF);
        Ok(())
    }
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (held, new) in self.0[offset as usize..].iter_mut().zip(bytes) {
            *held &= new;
        }
        Ok(())
    }
}

impl<const WRITE: usize, const ERASE: usize> Board for Queues<WRITE, ERASE> {
    const NAME: &'static str = "queues";
    type Flash = RamFlash<WRITE, ERASE>;
    type Sensor = NoSensor;
    fn receive(&mut self) -> Option<u8> {
        self.to_device.pop_front()
    }
    fn send(&mut self, bytes: &[u8]) {
        self.to_host.extend_from_slice(bytes);
    }
    fn flash(&mut self) -> Option<&mut RamFlash<WRITE, ERASE>> {
        self.flash.as_mut()
    }
    fn sensor(&mut self) -> &mut NoSensor {
        &mut self.sensor
    }
    fn show(&mut self, class: Option<u8>) {
        self.shown.push(class);
    }
    fn idle(&mut self) {}
}
