//! A device that QEMU emulates: the same program as on hardware, its UART on a socket.

use super::transport::Transport;
use crate::flash_image::is_flash;
use clapp_data::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The emulator.
const PROGRAM: &str = "qemu-system-arm";
/// Time limit for the start.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// The emulated board and its files.
#[derive(Debug, Clone)]
pub struct Emulation {
    /// QEMU's name of the board.
    pub machine: String,
    /// The firmware, an ELF file for that board.
    pub firmware: PathBuf,
    /// File that emulates the board's flash; without it the board has none.
    pub flash: Option<PathBuf>,
    /// File for the binary `defmt` log of the firmware.
    pub log: Option<PathBuf>,
}

/// QEMU at work; it ends when the value is dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    line: UnixStream,
    machine: String,
    /// Holds socket and logs.
    folder: tempfile::TempDir,
    /// The flash, locked against other programs.
    _flash: Option<File>,
}

impl Qemu {
    /// Starts the emulation.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where QEMU or the firmware is missing or QEMU refuses it; [`Error::File`] for the files.
    pub fn start(emulation: &Emulation) -> std::result::Result<Self, Error> {
        let Emulation { machine, firmware, flash, log } = emulation;
        let place = format!("QEMU {machine}");
        let missing = |message: String| Error::NoDevice { place: place.clone(), message };
        if !firmware.is_file() {
            let message =
                format!("firmware {} does not exist; build it with `cargo xtask firmware`", firmware.display());
            return Err(missing(message));
        }
        let locked = flash.as_deref().map(claim).transpose()?;
        let firmware = std::path::absolute(firmware).map_err(Error::file("read", firmware))?;
        let folder = tempfile::Builder::new().prefix("clapp-qemu-").tempdir();
        let folder = folder.map_err(Error::file("make folder", &std::env::temp_dir()))?;
        let socket = folder.path().join("uart");
        let listener = UnixListener::bind(&socket).map_err(Error::file("make socket", &socket))?;
        listener.set_nonblocking(true).map_err(Error::file("make socket", &socket))?;
        let errors = folder.path().join("errors");
        let log = log.clone().unwrap_or_else(|| folder.path().join("log"));
        let mut arguments = String::from("enable=on,target=native,arg=clapp");
        if let Some(flash) = flash {
            let flash = std::path::absolute(flash).map_err(Error::file("open", flash))?;
            arguments += &format!(",arg={}", quoted(&flash));
        }
        let mut command = Command::new(PROGRAM);
        command
            .args(["-machine", machine, "-display", "none", "-monitor", "none", "-parallel", "none"])
            .args([OsStr::new("-kernel"), firmware.as_os_str()])
            .args(["-serial", &format!("unix:{}", quoted(&socket))])
            .args(["-semihosting-config", &arguments])
            .stdin(Stdio::null())
            // The firmware's log arrives here by semihosting.
            .stdout(File::create(&log).map_err(Error::file("write", &log))?)
            .stderr(File::create(&errors).map_err(Error::file("write", &errors))?)
            // Ctrl-C is for this program, which ends QEMU once the device has been heard.
            .process_group(0);
        end_with_this(&mut command);
        let mut child = command.spawn().map_err(|error| {
            missing(format!(
                "{PROGRAM} cannot be started: {error}; `cargo xtask tools` installs it (Debian: qemu-system-arm)"
            ))
        })?;
        match connect(&listener, &mut child) {
            Ok(line) => Ok(Self { child, line, machine: machine.clone(), folder, _flash: locked }),
            Err(error) => {
                end(&mut child);
                let said = said(&errors);
                Err(missing(format!("{error}{said}")))
            }
        }
    }
}

/// Opens and locks a file for flash. Refuses a file that is not a flash image.
fn claim(path: &Path) -> std::result::Result<File, Error> {
    let wrong = |message: &str| Error::Checkpoint { path: path.into(), message: message.into() };
    if path.is_dir() {
        return Err(wrong("is a folder, expected a file for the device's flash"));
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = file.map_err(Error::file("open", path))?;
    file.try_lock().map_err(|_| wrong("is in use as the flash of an emulated device of another program"))?;
    let mut held = Vec::new();
    file.read_to_end(&mut held).map_err(Error::file("read", path))?;
    if is_flash(&held) { Ok(file) } else { Err(wrong("is not an image of a device's flash; name another file")) }
}

/// Makes the emulator end with this program, even if the program is killed.
fn end_with_this(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let listen = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
        // SAFETY: between fork and exec there is one system call, which touches no memory of this process.
        unsafe { command.pre_exec(listen) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// A path within an option of QEMU, where a comma is written twice.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// QEMU's end of the socket, once it has opened it.
fn connect(listener: &UnixListener, child: &mut Child) -> std::result::Result<UnixStream, String> {
    let begin = Instant::now();
    while begin.elapsed() < START {
        match listener.accept() {
            Ok((line, _)) => {
                return line.set_nonblocking(false).map(|()| line).map_err(|error| error.to_string());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("{PROGRAM} has ended ({status})"));
        }
        std::thread::sleep(POLL);
    }
    Err(format!("{PROGRAM} did not open its serial line within {} s", START.as_secs()))
}

/// The first line that QEMU has written to its standard error.
fn said(errors: &Path) -> String {
    let text = std::fs::read_to_string(errors).unwrap_or_default();
    text.lines().next().map_or_else(String::new, |line| format!(": {line}"))
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Qemu {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Transport for Qemu {
    fn place(&self) -> String {
        format!("QEMU {}", self.machine)
    }

    fn advice(&self) -> String {
        let said = said(&self.folder.path().join("errors"));
        format!("check that the firmware is built for this machine and still runs; --log FILE keeps its log{said}")
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.line.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> Result<usize> {
        self.line.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.line.read(bytes) {
            Ok(0) => Err(std::io::Error::other("QEMU has ended")),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Ok(0)
            }
            read => read,
        }
    }
}
