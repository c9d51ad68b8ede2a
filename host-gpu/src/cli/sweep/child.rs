//! Runs one command of this program in a separate process, so that its failure does not end the sweep.

use clapp_data::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With exit code 0.
    Well,
    /// With another exit code or a signal; the text names it.
    Badly(String),
    /// The sweep was asked to stop.
    Stopped,
}

/// Interval at which the process and the stop signal are checked.
const PAUSE: Duration = Duration::from_millis(20);

/// Environment variable with the process number of the sweep, for its commands.
const PARENT: &str = "CLAPP_SWEEP";

/// Makes this process end when the sweep that runs it ends, in any way. Training gets the usual request to end and
/// writes a checkpoint first. Without a sweep, this function does nothing.
pub fn end_with_sweep() {
    #[cfg(target_os = "linux")]
    if let Some(parent) = std::env::var(PARENT).ok().and_then(|parent| parent.parse::<i32>().ok()) {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        // If this fails, the next sweep waits for this process.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        if getppid().is_none_or(|found| found.as_raw_nonzero().get() != parent) {
            // The sweep ended before this call.
            std::process::exit(i32::from(crate::cli::stop::INTERRUPTED));
        }
    }
}

/// Runs a command of this program to its end. If `stop` is set, asks the command to end and waits for it.
///
/// # Errors
/// [`Error::File`] if it cannot be started.
pub fn run_child(command: &str, options: &[&OsStr], stop: &AtomicBool) -> Result<Ended, Error> {
    let program = std::env::current_exe().map_err(Error::file("find", Path::new("clapp")))?;
    let failed = |error| Error::file("run", &program)(error);
    let mut started = Command::new(&program);
    started.arg(command).args(options).stdin(Stdio::null()).env(PARENT, std::process::id().to_string());
    // The child gets its own process group, so that the terminal's signal reaches only the sweep. Two signals would end
    // training at once, before it writes its checkpoint.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut started, 0);
    let mut child = started.spawn().map_err(failed)?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(match status.success() {
                _ if stop.load(Ordering::Relaxed) => Ended::Stopped,
                true => Ended::Well,
                false => Ended::Badly(format!("clapp {command}: {status}")),
            });
        }
        if !told && stop.load(Ordering::Relaxed) {
            tell_to_end(&mut child);
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks a process to end. Training then writes a checkpoint first.
#[cfg(unix)]
fn tell_to_end(child: &mut Child) {
    // If the process has already ended, the signal has no receiver.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}

/// Ends a process.
#[cfg(not(unix))]
fn tell_to_end(child: &mut Child) {
    let _ = child.kill();
}
