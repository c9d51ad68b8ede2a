//! Sources of frames.

use clapp_core::contrast::Phase;
use clapp_core::link::pixels_to_frame;

/// Data that comes with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub struct Arrival {
    /// Relation of the frame to the previous one.
    pub phase: Phase,
    /// The class that it shows, if anybody told.
    pub label: Option<u8>,
}

/// Reason why a source has no frame, now or ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum SourceError {
    /// The source has frames of another number of values.
    Length {
        /// Length of the source's frames.
        given: usize,
        /// Length of the network's input.
        needed: usize,
    },
    /// The bus or the sensor does not answer.
    Bus,
    /// There is no sensor.
    Missing,
}

/// Something that brings frames.
pub trait FrameSource {
    /// Writes the next frame, `[C, H, W]` as the network's input, to `frame`, if there is one. Never waits for one.
    ///
    /// # Errors
    /// The source is broken or does not fit the network; `frame` is then of no use.
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError>;
}

/// One frame of 8-bit pixels that came over the link.
#[derive(Debug)]
pub struct LinkFrame<'p> {
    pixels: Option<&'p [u8]>,
    arrival: Arrival,
    scale: f32,
    offset: f32,
}

impl<'p> LinkFrame<'p> {
    /// The frame of `pixels`, whose values are `pixel * scale + offset`.
    pub fn new(pixels: &'p [u8], arrival: Arrival, [scale, offset]: [f32; 2]) -> Self {
        Self { pixels: Some(pixels), arrival, scale, offset }
    }
}

impl FrameSource for LinkFrame<'_> {
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        let Some(pixels) = self.pixels.take() else { return Ok(None) };
        if pixels.len() != frame.len() {
            return Err(SourceError::Length { given: pixels.len(), needed: frame.len() });
        }
        pixels_to_frame(pixels, self.scale, self.offset, frame);
        Ok(Some(self.arrival))
    }
}

/// The source of a board without a sensor.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSensor;

impl FrameSource for NoSensor {
    fn poll(&mut self, _frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        Err(SourceError::Missing)
    }
}
