//! `clapp completions`: a script that completes commands and options in a shell.

use super::Arguments;
use super::output::say;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clapp_data::error::Error;

/// Arguments of `clapp completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `clapp completions`.
///
/// # Errors
/// If the output cannot be written.
pub fn run(arguments: &CompletionsArguments) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "clapp", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}
