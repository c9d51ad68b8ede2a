//! The interface of a board.

use crate::source::FrameSource;
use embedded_storage::nor_flash::NorFlash;

/// A board: a line to the host, flash for the weights, a sensor, pins. One file in `boards/`.
pub trait Board {
    /// Its name, for the host.
    const NAME: &'static str;
    /// Flash that holds two slots of the store.
    type Flash: NorFlash;
    /// The sensor, with its pins; [`crate::source::NoSensor`] if there is none.
    type Sensor: FrameSource;

    /// Takes a byte from the host, if one has come. Never waits.
    fn receive(&mut self) -> Option<u8>;

    /// Sends bytes to the host; may wait for the line.
    fn send(&mut self, bytes: &[u8]);

    /// The flash, if any.
    fn flash(&mut self) -> Option<&mut Self::Flash>;

    /// The sensor.
    fn sensor(&mut self) -> &mut Self::Sensor;

    /// Shows the predicted class on its pins.
    fn show(&mut self, class: Option<u8>);

    /// Called after each layer of a frame: the place to feed a watchdog.
    fn between_layers(&mut self) {}

    /// Called if there is nothing to do until an interrupt.
    fn idle(&mut self);
}
