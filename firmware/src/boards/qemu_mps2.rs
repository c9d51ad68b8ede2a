//! QEMU's MPS2 boards: `mps2-an386` (Cortex-M4F) and `mps2-an500` (Cortex-M7).
//!
//! The line to the host is UART 0, the first `-serial`. Flash is a file on the host, reached by semihosting and named
//! as the program's first argument (`-semihosting-config arg=clapp,arg=FILE`); it keeps what it holds when QEMU is killed,
//! to the write unit. The predicted class is shown on LED 0 and 1. There is no sensor.

use super::received;
use crate::board::Board;
use crate::source::NoSensor;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use defmt_semihosting as _;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use semihosting::fs::File;
use semihosting::io::{Read, Seek, SeekFrom, Write};

/// UART 0 (Arm Cortex-M System Design Kit, APB UART).
const UART: *mut u32 = 0x4000_4000 as *mut u32;
const DATA: usize = 0;
const STATE: usize = 1;
const CONTROL: usize = 2;
const INTERRUPT: usize = 3;
const DIVISOR: usize = 4;
const TRANSMIT_FULL: u32 = 1 << 0;
const RECEIVE_FULL: u32 = 1 << 1;
/// Enables both directions and the interrupt of the receiver.
const ENABLE: u32 = 0b1011;
const RECEIVE_INTERRUPT: u32 = 1 << 1;
/// Interrupt of UART 0's receiver.
const RECEIVE_LINE: i16 = 0;
/// LEDs (Arm Application Note AN386, FPGA I/O).
const LEDS: *mut u32 = 0x4002_8000 as *mut u32;

#[allow(unsafe_code)]
fn read(register: usize) -> u32 {
    // SAFETY: a register of the UART, which has no effect on memory.
    unsafe { UART.add(register).read_volatile() }
}

#[allow(unsafe_code)]
fn write(register: usize, value: u32) {
    // SAFETY: a register of the UART, which has no effect on memory.
    unsafe { UART.add(register).write_volatile(value) }
}

/// The interrupts of the board: cortex-m-rt gives all that it knows no name of to this one.
#[exception]
#[allow(unsafe_code)]
unsafe fn DefaultHandler(line: i16) {
    if line != RECEIVE_LINE {
        // No other interrupt is enabled. An unexpected one would repeat for ever.
        defmt::panic!("interrupt {}", line);
    }
    write(INTERRUPT, RECEIVE_INTERRUPT);
    received::fill(|| (read(STATE) & RECEIVE_FULL != 0).then(|| read(DATA) as u8));
}

/// The board.
#[derive(Debug)]
pub struct QemuMps2 {
    flash: Option<FileFlash>,
    sensor: NoSensor,
}

impl QemuMps2 {
    /// Takes possession of the board, and opens the flash file, where one is named. `None` if somebody has it already.
    #[allow(unsafe_code)]
    pub fn take() -> Option<Self> {
        cortex_m::Peripherals::take()?;
        write(DIVISOR, 16);
        write(CONTROL, ENABLE);
        // SAFETY: the handler above shares nothing but a queue behind a mutex.
        unsafe { NVIC::unmask(Line(RECEIVE_LINE.cast_unsigned())) };
        let mut path = [0; PATH_LEN];
        let flash = named(&mut path).map(|path| match FileFlash::open(path, FLASH_LEN) {
            Ok(flash) => flash,
            Err(_) => defmt::panic!("the flash file named by the second argument cannot be opened or created"),
        });
        Some(Self { flash, sensor: NoSensor })
    }
}

/// An interrupt by its number.
#[derive(Clone, Copy)]
struct Line(u16);

#[allow(unsafe_code)]
// SAFETY: the number is that of an interrupt that the board has.
unsafe impl cortex_m::interrupt::InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}

impl Board for QemuMps2 {
    const NAME: &'static str = if cfg!(feature = "qemu-mps2-an500") { "qemu-mps2-an500" } else { "qemu-mps2-an386" };
    type Flash = FileFlash;
    type Sensor = NoSensor;

    fn receive(&mut self) -> Option<u8> {
        received::take()
    }

    fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            while read(STATE) & TRANSMIT_FULL != 0 {}
            write(DATA, u32::from(*byte));
        }
    }

    fn flash(&mut self) -> Option<&mut FileFlash> {
        self.flash.as_mut()
    }

    fn sensor(&mut self) -> &mut NoSensor {
        &mut self.sensor
    }

    #[allow(unsafe_code)]
    fn show(&mut self, class: Option<u8>) {
        // SAFETY: the register of the LEDs, which has no effect on memory.
        unsafe { LEDS.write_volatile(class.map_or(0, |class| u32::from(class) & 0b11)) }
    }

    fn idle(&mut self) {
        cortex_m::interrupt::disable();
        if received::is_empty() {
            // An interrupt that is pending ends the wait even while interrupts are off, so that none is missed.
            cortex_m::asm::wfi();
        }
        // SAFETY: they were on before.
        #[allow(unsafe_code)]
        unsafe {
            cortex_m::interrupt::enable();
        }
    }
}

/// Bytes of flash.
const FLASH_LEN: usize = 256 * 1024;

const PATH_LEN: usize = 1024;

/// The program's first argument, with the zero that the host wants at its end.
fn named(path: &mut [u8; PATH_LEN]) -> Option<&core::ffi::CStr> {
    let arguments = semihosting::experimental::env::args::<PATH_LEN>().ok()?;
    let name = (&arguments).nth(1)?.ok()?;
    path.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    core::ffi::CStr::from_bytes_until_nul(path).ok()
}

/// NOR flash in a file: bits are cleared by writing and set by erasing. Each write unit is one write to the file.
#[derive(Debug)]
pub struct FileFlash {
    file: File,
    capacity: usize,
}

/// The file, or the arguments.
#[derive(Debug, Clone, Copy)]
pub enum FileError {
    /// Wrong arguments.
    Kind(NorFlashErrorKind),
    /// The host.
    Host,
}

impl NorFlashError for FileError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Kind(kind) => *kind,
            Self::Host => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for FileError {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<semihosting::io::Error> for FileError {
    fn from(_: semihosting::io::Error) -> Self {
        Self::Host
    }
}

impl FileFlash {
    /// Opens the file, or creates one that is erased; a file that is too short, as after a kill while it was made, is filled up.
    fn open(path: &core::ffi::CStr, capacity: usize) -> Result<Self, FileError> {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(_) => File::options().read(true).write(true).create(true).truncate(true).open(path)?,
        };
        let mut flash = Self { file, capacity };
        let mut len = usize::try_from(flash.file.metadata()?.len()).unwrap_or(usize::MAX);
        flash.file.seek(SeekFrom::Start(len as u64))?;
        while len < capacity {
            let count = (capacity - len).min(64);
            flash.file.write_all(&[0xFF; 64][..count])?;
            len += count;
        }
        Ok(flash)
    }

    fn seek(&mut self, offset: u32) -> Result<(), FileError> {
        self.file.seek(SeekFrom::Start(u64::from(offset)))?;
        Ok(())
    }
}

impl ErrorType for FileFlash {
    type Error = FileError;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileError> {
        check_read(self, offset, bytes.len())?;
        self.seek(offset)?;
        Ok(self.file.read_exact(bytes)?)
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FileError> {
        check_erase(self, from, to)?;
        self.seek(from)?;
        for _ in (from..to).step_by(64) {
            self.file.write_all(&[0xFF; 64])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        check_write(self, offset, bytes.len())?;
        for (unit, at) in bytes.as_chunks::<{ Self::WRITE_SIZE }>().0.iter().zip((offset..).step_by(Self::WRITE_SIZE)) {
            let mut held = [0; Self::WRITE_SIZE];
            self.read(at, &mut held)?;
            for (held, new) in held.iter_mut().zip(unit) {
                *held &= new;
            }
            self.seek(at)?;
            self.file.write_all(&held)?;
        }
        Ok(())
    }
}

/// Ends QEMU, which then exits with 1.
pub fn stop() -> ! {
    semihosting::process::exit(1)
}
