//! A device in memory: the firmware's own program over a board that is a pair of queues.
#![allow(dead_code, clippy::unwrap_used, reason = "every test file uses its own part; a failure is the end of a test")]

use clapp_firmware::app::App;
use clapp_firmware::board::Board;
use clapp_firmware::model::Statics;
use clapp_firmware::source::NoSensor;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::collections::VecDeque;

/// The board.
#[derive(Debug)]
pub struct Queues {
    to_device: VecDeque<u8>,
    to_host: VecDeque<u8>,
    sensor: NoSensor,
    flash: Option<RamFlash>,
}

/// Flash in memory.
#[derive(Debug)]
pub struct RamFlash(Vec<u8>);

impl ErrorType for RamFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for RamFlash {
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

impl NorFlash for RamFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xFF);
        Ok(())
    }
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Board for Queues {
    const NAME: &'static str = "queues";
    type Flash = RamFlash;
    type Sensor = NoSensor;
    fn receive(&mut self) -> Option<u8> {
        self.to_device.pop_front()
    }
    fn send(&mut self, bytes: &[u8]) {
        self.to_host.extend(bytes);
    }
    fn flash(&mut self) -> Option<&mut RamFlash> {
        self.flash.as_mut()
    }
    fn sensor(&mut self) -> &mut NoSensor {
        &mut self.sensor
    }
    fn show(&mut self, _: Option<u8>) {}
    fn idle(&mut self) {}
}

/// The device.
#[derive(Debug)]
pub struct Device(App<'static, Queues>);

impl Device {
    /// A device that has just been started, with empty flash, or with none.
    pub fn new(has_flash: bool) -> Self {
        let statics: &'static mut Statics = Box::leak(Box::new(Statics::new()));
        let (machine, line, words) = statics.parts().unwrap();
        let flash = has_flash.then(|| RamFlash(vec![0xFF; 256 * 1024]));
        let (to_device, to_host) = (VecDeque::new(), VecDeque::new());
        Self(App::new(Queues { to_device, to_host, sensor: NoSensor, flash }, machine, line, words))
    }

    /// Gives it bytes, and returns what it sends.
    pub fn talk(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.board().to_device.extend(bytes);
        self.0.poll();
        self.0.board().to_host.drain(..).collect()
    }

    /// Frames that it has learnt from.
    pub fn step(&self) -> u64 {
        self.0.machine().step()
    }
}
