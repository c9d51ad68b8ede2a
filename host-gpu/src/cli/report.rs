//! `clapp report`: writes a page that compares runs.

use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFile, files_of_run};
use clap::Args;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_data::words::counted;
use clapp_lab::report::{Run, Skipped, find, render, tell_apart};
use std::path::PathBuf;

/// Arguments of `clapp report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Folders of runs by `clapp train`, or folders with such runs at any depth.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// File for the page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: OutputFile,
    #[command(flatten)]
    force: Force,
}

/// Runs `clapp report`. Exit code 1: a run could not be read and was left out.
///
/// # Errors
/// If a folder is not a run's, no run can be read, or the page cannot be written.
pub fn run(arguments: &ReportArguments) -> Result<u8, Error> {
    let found = find(&arguments.runs)?;
    let files: Vec<PathBuf> = found.runs.iter().flat_map(|folder| files_of_run(folder)).collect();
    let guard = Guard::new(arguments.force).keep(files.iter().map(PathBuf::as_path));
    let out = arguments.out.check("--out", Mark::REPORT, &guard)?;
    let (mut runs, mut skipped) = (Vec::new(), Vec::new());
    for folder in found.runs {
        match Run::read(&folder) {
            Ok(run) => runs.push(run),
            Err(error) => skipped.push((folder, error)),
        }
    }
    if runs.is_empty() && !skipped.is_empty() {
        return Err(skipped.swap_remove(0).1);
    }
    tell_apart(&mut runs);
    let unread = skipped.into_iter().map(|(folder, error)| Skipped { folder, reason: error.to_string() });
    let skipped: Vec<Skipped> = unread.chain(found.skipped).collect();
    write_atomically(out, render(&runs, &skipped)?.as_bytes())?;
    let count = counted(runs.len(), "run");
    say(format!("wrote {} ({count})", out.display()))?;
    for Skipped { folder, reason } in &skipped {
        note(format!("error: left out {}: {reason}", folder.display()));
    }
    Ok(u8::from(!skipped.is_empty()))
}
