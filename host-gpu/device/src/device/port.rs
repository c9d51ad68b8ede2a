//! A serial port.

use super::transport::Transport;
use clapp_data::error::Error;
use serialport::SerialPort;
use std::io::{ErrorKind, Read, Result, Write};
use std::time::Duration;

/// Longest time that a piece of a request may take to be sent.
const SEND: Duration = Duration::from_secs(10);

/// An open serial port.
pub struct Port {
    port: Box<dyn SerialPort>,
    name: String,
    baud: u32,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("name", &self.name).field("baud", &self.baud).finish_non_exhaustive()
    }
}

impl Port {
    /// Opens a port: eight bits, no parity, one stop bit, no flow control.
    ///
    /// # Errors
    /// [`Error::NoDevice`], with the ports that there are.
    pub fn open(name: &str, baud: u32) -> std::result::Result<Self, Error> {
        let port = serialport::new(name, baud).timeout(SEND).open().map_err(|error| {
            let ports = serialport::available_ports().unwrap_or_default();
            let names: Vec<_> = ports.into_iter().map(|port| port.port_name).collect();
            let there = match names.is_empty() {
                true => "this machine has no serial port: is the device plugged in?".into(),
                false => format!("available ports: {}", names.join(", ")),
            };
            let message = format!("cannot be opened: {}; {there}", error.description);
            Error::NoDevice { place: name.into(), message }
        })?;
        Ok(Self { port, name: name.into(), baud })
    }
}

impl Transport for Port {
    fn place(&self) -> String {
        self.name.clone()
    }

    fn advice(&self) -> String {
        format!("check the port, that the device runs clapp-firmware, and that its rate is {} baud (--baud)", self.baud)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.port.set_timeout(SEND)?;
        self.port.write_all(bytes)?;
        self.port.flush()
    }

    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> Result<usize> {
        self.port.set_timeout(wait)?;
        match self.port.read(bytes) {
            // A port that is gone reads as one that has ended.
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(0),
            read => read,
        }
    }
}
