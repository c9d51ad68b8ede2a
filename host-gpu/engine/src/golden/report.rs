//! The outcome of a run as a table and an exit code.

use super::GoldenError;
use super::compare::Comparison;
use std::fmt;
use std::path::PathBuf;

/// Largest number of failed tensors that are listed for one case.
const MOST_LISTED: usize = 12;

/// The outcome of one file.
#[derive(Debug)]
pub struct Row {
    /// The file.
    pub file: PathBuf,
    /// The comparison, or the reason for its absence.
    pub outcome: Result<Comparison, GoldenError>,
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// One row a file.
    pub rows: Vec<Row>,
}

impl Report {
    /// 0: all within limits; 1: something is beyond its limit or missing; 2: a file could not be run, or there was none.
    pub fn exit_code(&self) -> u8 {
        if self.rows.is_empty() || self.rows.iter().any(|row| row.outcome.is_err()) {
            2
        } else if self.rows.iter().all(|row| row.outcome.as_ref().is_ok_and(Comparison::is_within)) {
            0
        } else {
            1
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparisons: Vec<&Comparison> = self.rows.iter().filter_map(|row| row.outcome.as_ref().ok()).collect();
        let width = comparisons.iter().map(|comparison| comparison.case.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "{:width$}  tensors  largest error  limit  of tensor", "case")?;
        for comparison in &comparisons {
            line(f, width, comparison)?;
        }
        for comparison in &comparisons {
            details(f, comparison)?;
        }
        for error in self.rows.iter().filter_map(|row| row.outcome.as_ref().err()) {
            writeln!(f, "error: {error}")?;
        }
        let within = comparisons.iter().filter(|comparison| comparison.is_within()).count();
        let compared: usize = comparisons.iter().map(|comparison| comparison.measured.len()).sum();
        write!(f, "{within} of {} cases within limits, {compared} tensors compared", self.rows.len())
    }
}

fn line(f: &mut fmt::Formatter<'_>, width: usize, comparison: &Comparison) -> fmt::Result {
    write!(f, "{:width$}  {:7}  ", comparison.case, comparison.measured.len())?;
    match comparison.worst() {
        Some(worst) => write!(f, "{:13.1e}  {:5.0e}  {}", worst.error, worst.limit, worst.tensor)?,
        None => write!(f, "{:>13}  {:>5}  no case for this backend", "-", "-")?,
    }
    if comparison.is_within() { writeln!(f) } else { writeln!(f, "  FAILED") }
}

fn details(f: &mut fmt::Formatter<'_>, comparison: &Comparison) -> fmt::Result {
    let beyond = comparison.measured.iter().filter(|measured| !measured.is_within());
    let beyond = beyond.map(|m| (&m.tensor, format!("error {:.1e}, limit {:.0e}", m.error, m.limit)));
    let failed = comparison.failed.iter().map(|(tensor, reason)| (tensor, reason.clone()));
    let mut faults = failed.chain(beyond);
    for (tensor, reason) in faults.by_ref().take(MOST_LISTED) {
        writeln!(f, "{}: {tensor}: {reason}", comparison.case)?;
    }
    match faults.count() {
        0 => {}
        more => writeln!(f, "{}: {more} more", comparison.case)?,
    }
    for field in &comparison.unknown {
        writeln!(f, "{}: field {field} is unknown and was ignored", comparison.case)?;
    }
    for (group, reason, count) in &comparison.declined {
        writeln!(f, "{}: this backend does not compute {group} ({count} tensors): {reason}", comparison.case)?;
    }
    Ok(())
}
