//! A serial port.

use super::transport::Transport;
use clapp_data::error::Error;
use serial2::SerialPort;
use std::io::{ErrorKind, Result};
use std::time::Duration;

/// Longest time that a piece of a request may take to be sent.
const SEND: Duration = Duration::from_secs(10);

/// An open serial port.
pub struct Port {
    port: SerialPort,
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
        let port = alone(name, baud).map_err(|error| {
            let ports = SerialPort::available_ports().unwrap_or_default();
            let names: Vec<_> = ports.iter().map(|port| port.display().to_string()).collect();
            let there = match names.is_empty() {
                true => "this machine has no serial port: is the device plugged in?".into(),
                false => format!("available ports: {}", names.join(", ")),
            };
            let message = format!("cannot be opened: {}; {there}", error);
            Error::NoDevice { place: name.into(), message }
        })?;
        Ok(Self { port, name: name.into(), baud })
    }
}

/// Opens a port, and keeps other programs out of it: two that read one port each miss what the other has read.
fn alone(name: &str, baud: u32) -> Result<SerialPort> {
    let mut port = SerialPort::open(name, baud)?;
    #[cfg(unix)]
    {
        use rustix::termios::{ControlModes, OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr};
        ioctl_tiocexcl(&port)?;
        // A cable without modem lines never says that it carries.
        let mut settings = tcgetattr(&port)?;
        settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        tcsetattr(&port, OptionalActions::Now, &settings)?;
    }
    port.set_write_timeout(SEND)?;
    Ok(port)
}

#[cfg(unix)]
impl Drop for Port {
    fn drop(&mut self) {
        // Otherwise the port would stay closed to other programs while one of them has it open, too.
        let _ = rustix::termios::ioctl_tiocnxcl(&self.port);
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
        self.port.write_all(bytes)?;
        self.port.flush()
    }

    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> Result<usize> {
        self.port.set_read_timeout(wait)?;
        match self.port.read(bytes) {
            // A port that is gone reads as one that has ended.
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(0),
            read => read,
        }
    }
}
