//! The program `clapp`: parses arguments and calls one function a command.

use clap::Parser;
use clapp_host_gpu::cli::{Arguments, run};
use clapp_host_gpu::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        // Whoever read the output has seen enough.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
