//! A device in memory: the firmware's own program over a board that is a pair of queues.
#![allow(dead_code, clippy::unwrap_used, reason = "every test file uses its own part; a failure is the end of a test")]

#[path = "../../../firmware/tests/queues/mod.rs"]
mod queues;

use clapp_firmware::app::App;
use clapp_firmware::model::Statics;
use queues::{Queues, RamFlash};

/// The device.
#[derive(Debug)]
pub struct Device(App<'static, Queues>);

impl Device {
    /// A device that has just been started, with empty flash, or with none.
    pub fn new(has_flash: bool) -> Self {
        let statics: &'static mut Statics = Box::leak(Box::new(Statics::new()));
        let (machine, line, words) = statics.parts().unwrap();
        let board = Queues { flash: has_flash.then(RamFlash::new), ..Queues::default() };
        Self(App::new(board, machine, line, words))
    }

    /// Gives it bytes, and returns what it sends.
    pub fn talk(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.board().to_device.extend(bytes);
        self.0.poll();
        std::mem::take(&mut self.0.board().to_host)
    }

    /// Frames that it has learnt from.
    pub fn step(&self) -> u64 {
        self.0.machine().step()
    }
}
