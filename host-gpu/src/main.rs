//! The program `clapp`: parses arguments and calls one function a command.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use clapp_host_gpu::cli::{Arguments, run};
use clapp_host_gpu::console::note;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;

fn main() -> ExitCode {
    // A file that reaches the limit on its size is then an error of the write, as a full disk is, and no death.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    match run(&Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            note(format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
