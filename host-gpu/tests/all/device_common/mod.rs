//! A device in memory: the firmware's own program over a board that is a pair of queues.
#![allow(dead_code, clippy::unwrap_used, reason = "every test file uses its own part; a failure is the end of a test")]

#[path = "../../../../firmware/tests/queues/mod.rs"]
mod queues;

use clapp_core::rng::{Rng, stream};
use clapp_device::device::transport::Transport;
use clapp_firmware::app::App;
use clapp_firmware::model::Statics;
use queues::{Queues, RamFlash};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Result as IoResult;
use std::rc::Rc;
use std::time::Duration;

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

/// Fault of the device during the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// No fault.
    Works,
    /// It stops replying after this number of received pieces.
    SilentAfter(usize),
    /// It is switched off and on before that piece.
    RestartedBefore(usize),
    /// Nobody is there, but the line is not quiet.
    Noise,
    /// Pieces from the first number up to the second are lost.
    DeafBetween(usize, usize),
}

/// A line to a device in memory, on which no time passes: waiting for nothing takes none.
#[derive(Debug)]
pub struct Memory {
    device: Rc<RefCell<Device>>,
    waiting: VecDeque<u8>,
    fate: Fate,
    sent: usize,
}

impl Transport for Memory {
    fn place(&self) -> String {
        "memory".into()
    }
    fn advice(&self) -> String {
        "look at the test".into()
    }
    fn send(&mut self, bytes: &[u8]) -> IoResult<()> {
        self.sent += 1;
        match self.fate {
            Fate::SilentAfter(most) if self.sent > most => return Ok(()),
            Fate::DeafBetween(from, to) if (from..to).contains(&self.sent) => return Ok(()),
            Fate::RestartedBefore(piece) if self.sent == piece => *self.device.borrow_mut() = Device::new(true),
            Fate::Noise => {
                self.waiting.extend((0..300_u32).map(|place| (place * place % 251) as u8));
                return Ok(());
            }
            _ => {}
        }
        self.waiting.extend(self.device.borrow_mut().talk(bytes));
        Ok(())
    }
    fn receive(&mut self, bytes: &mut [u8], _: Duration) -> IoResult<usize> {
        // Little at a time, as on a serial port.
        let count = self.waiting.len().min(bytes.len()).min(61);
        bytes.iter_mut().zip(self.waiting.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

impl Memory {
    /// A line to a device that is there already.
    pub fn to(device: Rc<RefCell<Device>>, fate: Fate) -> Self {
        Self { device, waiting: VecDeque::new(), fate, sent: 0 }
    }
}

/// A line in memory, and the device at its end.
pub fn memory(fate: Fate) -> (Box<dyn Transport>, Rc<RefCell<Device>>) {
    let device = Rc::new(RefCell::new(Device::new(true)));
    (Box::new(Memory::to(device.clone(), fate)), device)
}

/// A line that loses, doubles, holds back and repeats whole packets, both ways, and remembers all that it has carried, even
/// for other programs before. No time passes on it, and it counts the packets that it was given.
#[derive(Debug)]
pub struct Unruly {
    device: Rc<RefCell<Device>>,
    waiting: VecDeque<u8>,
    /// Packets to the device, of this program and of those before.
    carried: Rc<RefCell<Vec<Vec<u8>>>>,
    /// A packet to the device that comes late.
    held: Option<Vec<u8>>,
    rng: Rng,
    pub sent: Rc<RefCell<u64>>,
}

impl Unruly {
    /// A line to a device; `carried` is what it has carried before.
    pub fn to(device: Rc<RefCell<Device>>, carried: Rc<RefCell<Vec<Vec<u8>>>>, seed: u64) -> Self {
        let waiting = VecDeque::new();
        Self { device, waiting, carried, held: None, rng: stream(seed, 3), sent: Rc::default() }
    }

    fn deliver(&mut self, packet: &[u8]) {
        let answer = self.device.borrow_mut().talk(packet);
        match self.rng.below(8) {
            0 => {}
            1 => self.waiting.extend([&answer[..], &answer].concat()),
            _ => self.waiting.extend(answer),
        }
    }
}

impl Transport for Unruly {
    fn place(&self) -> String {
        "unruly".into()
    }
    fn advice(&self) -> String {
        "look at the test".into()
    }
    fn send(&mut self, bytes: &[u8]) -> IoResult<()> {
        *self.sent.borrow_mut() += 1;
        self.carried.borrow_mut().push(bytes.to_vec());
        let old = {
            let carried = self.carried.borrow();
            carried[self.rng.below(carried.len() as u32) as usize].clone()
        };
        let late = self.held.take();
        match self.rng.below(8) {
            0 => {}
            1 => self.held = Some(bytes.to_vec()),
            2 => (0..2).for_each(|_| self.deliver(bytes)),
            3 | 4 => {
                self.deliver(&old);
                self.deliver(bytes);
            }
            5 => {
                self.deliver(bytes);
                self.deliver(&old);
            }
            _ => self.deliver(bytes),
        }
        late.into_iter().for_each(|late| self.deliver(&late));
        Ok(())
    }
    fn receive(&mut self, bytes: &mut [u8], _: Duration) -> IoResult<usize> {
        let count = self.waiting.len().min(bytes.len()).min(61);
        bytes.iter_mut().zip(self.waiting.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}
