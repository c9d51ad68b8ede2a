//! `clapp report`: a page that compares runs.

use super::output::say;
use crate::error::Error;
use crate::files::{check_writable, write_atomically};
use crate::report::{Run, find, render};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `clapp report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Folders of runs that `clapp train` wrote, or folders of such folders.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
}

/// Runs `clapp report`.
///
/// # Errors
/// Where a folder is not a run's, a file in it is damaged, or the page cannot be written.
pub fn run(arguments: &ReportArguments) -> Result<u8, Error> {
    check_writable(&arguments.out)?;
    let runs = find(&arguments.runs)?.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<_>, _>>()?;
    write_atomically(&arguments.out, render(&runs)?.as_bytes())?;
    let count = if runs.len() == 1 { "1 run".into() } else { format!("{} runs", runs.len()) };
    say(format!("wrote {} ({count})", arguments.out.display()))?;
    Ok(0)
}
