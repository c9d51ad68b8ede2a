//! Thermal camera MLX90640 (Melexis, data sheet of 2019-12): 32 x 24 pixels over I2C.
//!
//! The learner needs no temperatures: it takes the raw words of the sensor's RAM, brought to mean 0 and variance 1
//! frame by frame, which leaves out the calibration (and its table of 3.3 KB) and keeps the picture. Each measurement
//! renews one half of the pixels, a chess pattern by default; a frame is given after every half. Frames are square, as
//! those of the host are: of each four rows, one is three rows' last one again.

use crate::source::{Arrival, FrameSource, SourceError};
use clapp_core::contrast::Phase;
use clapp_core::math::sqrt;
use embedded_hal::i2c::I2c;

/// Usual address on the bus.
pub const ADDRESS: u8 = 0x33;
/// Rows of the sensor.
pub const ROWS: usize = 24;
/// Columns of the sensor, and rows and columns of a frame.
pub const SIZE: usize = 32;

/// RAM of the pixels, two bytes a word, high byte first.
const RAM: u16 = 0x0400;
/// Status register; bit 3: new data in RAM; bits 0 to 2: subpage just measured.
const STATUS: u16 = 0x8000;
/// Control register 1; bits 7 to 9: refresh rate.
const CONTROL: u16 = 0x800D;
const NEW_DATA: u16 = 1 << 3;
/// Status bits that a program may write: overwriting of RAM is enabled, "new data" cleared.
const RENEW: u16 = 1 << 4;

/// Rate of half frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Rate {
    /// 1 Hz.
    Hz1 = 1,
    /// 2 Hz, the sensor's own default.
    Hz2 = 2,
    /// 4 Hz.
    Hz4 = 3,
    /// 8 Hz.
    Hz8 = 4,
    /// 16 Hz; needs a bus of 400 kHz or more.
    Hz16 = 5,
}

/// The camera as a source of frames of shape `[1, 32, 32]`.
#[derive(Debug)]
pub struct Mlx90640<I> {
    bus: I,
    address: u8,
}

impl<I: I2c> Mlx90640<I> {
    /// Sets the refresh rate and takes possession of the bus.
    ///
    /// # Errors
    /// [`SourceError::Bus`] if the sensor does not answer.
    pub fn new(bus: I, address: u8, rate: Rate) -> Result<Self, SourceError> {
        let mut camera = Self { bus, address };
        let control = camera.read(CONTROL)?;
        camera.write(CONTROL, control & !(0b111 << 7) | (rate as u16) << 7)?;
        Ok(camera)
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.bus
    }

    fn read(&mut self, register: u16) -> Result<u16, SourceError> {
        let mut word = [0; 2];
        self.bus.write_read(self.address, &register.to_be_bytes(), &mut word).map_err(|_| SourceError::Bus)?;
        Ok(u16::from_be_bytes(word))
    }

    fn write(&mut self, register: u16, value: u16) -> Result<(), SourceError> {
        let ([r0, r1], [v0, v1]) = (register.to_be_bytes(), value.to_be_bytes());
        self.bus.write(self.address, &[r0, r1, v0, v1]).map_err(|_| SourceError::Bus)
    }
}

impl<I: I2c> FrameSource for Mlx90640<I> {
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        if frame.len() != SIZE * SIZE {
            return Err(SourceError::Length { given: SIZE * SIZE, needed: frame.len() });
        }
        if self.read(STATUS)? & NEW_DATA == 0 {
            return Ok(None);
        }
        let mut address = RAM;
        let mut words = [0; 2 * SIZE];
        for (at, row) in frame.chunks_exact_mut(SIZE).enumerate() {
            // Three rows of the sensor make four of the frame.
            if at % 4 != 3 {
                self.bus.write_read(self.address, &address.to_be_bytes(), &mut words).map_err(|_| SourceError::Bus)?;
                address += SIZE as u16;
            }
            for (value, word) in row.iter_mut().zip(words.as_chunks::<2>().0) {
                *value = f32::from(i16::from_be_bytes(*word));
            }
        }
        self.write(STATUS, RENEW)?;
        normalise(frame);
        Ok(Some(Arrival { phase: Phase::Fixation, label: None }))
    }
}

/// Brings a frame to mean 0 and variance 1; one without contrast becomes zeros.
fn normalise(frame: &mut [f32]) {
    let count = frame.len().max(1) as f32;
    let mean = frame.iter().sum::<f32>() / count;
    let variance = frame.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / count;
    let factor = if variance > 0.0 { 1.0 / sqrt(variance) } else { 0.0 };
    frame.iter_mut().for_each(|value| *value = (*value - mean) * factor);
}
