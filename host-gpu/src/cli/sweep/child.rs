//! One command of this program in a process of its own, so that whatever happens to it ends nothing else.

use clapp_data::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a command has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With exit code 0.
    Well,
    /// Otherwise; says how.
    Badly(String),
    /// Because the sweep is to stop.
    Stopped,
}

/// How often the process and the signal to stop are looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Names the process of a sweep to the commands that it runs.
const PARENT: &str = "CLAPP_SWEEP";

/// Ends this process with the sweep that runs it, however that ends: nobody else would wait for it. Training hears of
/// it as of any request to end, and writes a checkpoint first. Of no effect where no sweep runs this process.
pub fn end_with_sweep() {
    #[cfg(target_os = "linux")]
    if let Some(parent) = std::env::var(PARENT).ok().and_then(|parent| parent.parse::<i32>().ok()) {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        // Without it the next sweep waits for this process.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        if getppid().is_none_or(|found| found.as_raw_nonzero().get() != parent) {
            // The sweep has ended before it could be listened to.
            std::process::exit(i32::from(crate::cli::stop::INTERRUPTED));
        }
    }
}

/// Runs a command of this program to its end. Where `stop` is set it is told to end, and waited for.
///
/// # Errors
/// [`Error::File`] where it cannot be started.
pub fn run_child(command: &str, options: &[&OsStr], stop: &AtomicBool) -> Result<Ended, Error> {
    let program = std::env::current_exe().map_err(Error::file("find", Path::new("clapp")))?;
    let failed = |error| Error::file("run", &program)(error);
    let mut started = Command::new(&program);
    started.arg(command).args(options).stdin(Stdio::null()).env(PARENT, std::process::id().to_string());
    // In a group of its own, the terminal's signal reaches only the sweep: two of them would end training at once,
    // before it has written its checkpoint.
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

/// Asks a process to end: training then writes a checkpoint first.
#[cfg(unix)]
fn tell_to_end(child: &mut Child) {
    // Where it has ended meanwhile, there is nobody to ask.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}

/// Ends a process.
#[cfg(not(unix))]
fn tell_to_end(child: &mut Child) {
    let _ = child.kill();
}
