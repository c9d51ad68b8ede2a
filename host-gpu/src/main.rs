//! The program `clapp`: parses arguments and calls one function a command.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use clapp_data::console::{note, printed};
use clapp_data::error::Error;
use clapp_engine::run_info::built_from;
use clapp_host_gpu::cli::{Arguments, run};
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;

fn main() -> ExitCode {
    built_from(env!("CLAPP_COMMIT"));
    // Ignore SIGXFSZ: a file above the size limit then fails as a write error, like a full disk, and does not kill the
    // process.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let done = Arguments::try_parse().map_or_else(|told| tell(&told), |arguments| run(&arguments));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            note(format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints help, the version, or the error in the arguments. Returns the exit code.
fn tell(told: &clap::Error) -> Result<u8, Error> {
    let written = told.print();
    // A message that cannot be written is lost, like all messages. The exit code still reports the error.
    if !told.use_stderr() {
        printed(written)?;
    }
    Ok(u8::try_from(told.exit_code()).unwrap_or(2))
}
