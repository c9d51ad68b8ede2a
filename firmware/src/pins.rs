//! Pins: one marks a saccade, others give a label, others show the prediction.

use crate::source::{Arrival, FrameSource, SourceError};
use clapp_core::contrast::Phase;
use embedded_hal::digital::{InputPin, OutputPin};

/// Frames of a sensor whose phase and label are read from pins.
///
/// The saccade pin is high while the gaze moves: each frame that comes then is a saccade. The label pin is high while
/// somebody shows the class `class`.
#[derive(Debug)]
pub struct WithPins<S, P, Q> {
    /// The sensor.
    pub sensor: S,
    /// High during a saccade.
    pub saccade: P,
    /// High while the frame shows `class`.
    pub label: Q,
    /// The class of the label pin.
    pub class: u8,
}

impl<S: FrameSource, P: InputPin, Q: InputPin> FrameSource for WithPins<S, P, Q> {
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        let Some(arrival) = self.sensor.poll(frame)? else { return Ok(None) };
        let saccade = self.saccade.is_high().map_err(|_| SourceError::Bus)?;
        let labelled = self.label.is_high().map_err(|_| SourceError::Bus)?;
        let phase = if saccade { Phase::Saccade } else { Phase::Fixation };
        Ok(Some(Arrival { phase, label: if labelled { Some(self.class) } else { arrival.label } }))
    }
}

/// Shows a predicted class: its pin is high, all others are low; all are low without a prediction.
///
/// # Errors
/// The error of the first pin that fails. The other pins are still set.
pub fn show<P: OutputPin>(pins: &mut [P], class: Option<u8>) -> Result<(), P::Error> {
    let mut result = Ok(());
    for (at, pin) in pins.iter_mut().enumerate() {
        let set = if class.is_some_and(|class| usize::from(class) == at) { pin.set_high() } else { pin.set_low() };
        result = result.and(set);
    }
    result
}
