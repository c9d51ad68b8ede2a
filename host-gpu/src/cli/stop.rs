//! Signals that end the work, with a checkpoint if the command writes one.

use clapp_data::error::Error;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit code of work stopped by a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// Returns a flag that SIGINT (Ctrl-C), SIGTERM and SIGHUP (loss of the terminal) set. A second SIGINT or SIGTERM ends
/// the program at once. If the program was started to outlive its terminal (`nohup`), SIGHUP has no effect.
pub(crate) fn stop_by_signal() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let failed = |error| Error::file("handle", Path::new("signals"))(error);
    for signal in [SIGINT, SIGTERM] {
        register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&stop))
            .and_then(|_| register(signal, Arc::clone(&stop)))
            .map_err(failed)?;
    }
    #[cfg(unix)]
    if !is_ignored(signal_hook::consts::SIGHUP) {
        // SIGHUP often comes twice, from the terminal and from the shell. A second one does not end the program at
        // once.
        register(signal_hook::consts::SIGHUP, Arc::clone(&stop)).map_err(failed)?;
    }
    Ok(stop)
}

/// Returns `true` if the parent process made this program ignore a signal.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a zeroed action is valid memory for the system to fill, and the call changes nothing without a new
    // action.
    let (found, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action), action)
    };
    found == 0 && action.sa_sigaction == libc::SIG_IGN
}
