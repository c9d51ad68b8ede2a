//! A sweep as a SLURM array: one task a run. The scheduler is SLURM's; this writes its script.

use super::Cell;
use clapp_data::error::Error;
use std::fmt::Write;

/// Resources of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[group(requires = "slurm")]
pub struct Resources {
    /// Time limit of a task, such as 12:00:00. If it ends a task, submit the script again to continue.
    #[arg(long = "slurm-time", value_name = "TIME")]
    pub time: Option<String>,
    /// Processors of a task.
    #[arg(long = "slurm-cpus", value_name = "COUNT")]
    pub cpus: Option<String>,
    /// Memory of a task, such as 8G.
    #[arg(long = "slurm-mem", value_name = "SIZE")]
    pub mem: Option<String>,
    /// Generic resources of a task.
    #[arg(long = "slurm-gres", value_name = "LIST")]
    pub gres: Option<String>,
    /// Partition.
    #[arg(long = "slurm-partition", value_name = "NAME")]
    pub partition: Option<String>,
}

/// Seconds before the time limit at which a task gets the signal to stop. It then writes a checkpoint.
const NOTICE: u32 = 120;

/// Returns `true` if SLURM reads `text` as a time limit.
fn is_time(text: &str) -> bool {
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let fields: Vec<&str> = rest.split(':').collect();
    days.into_iter().chain(fields.iter().copied()).all(|field| field.parse::<u32>().is_ok() && !field.starts_with('+'))
        && fields.len() <= 3
}

/// Returns `true` if SLURM reads `text` as an amount of memory.
fn is_memory(text: &str) -> bool {
    let number = text.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']).unwrap_or(text);
    !number.starts_with('+') && number.parse::<u64>().is_ok()
}

/// The script: `command` (a program and its arguments) is called with `--only` and the task's index.
///
/// # Errors
/// [`Error::Config`] if a value cannot stand in a directive or an argument.
pub fn script(name: &str, cells: &[Cell], resources: &Resources, command: &[String]) -> Result<String, Error> {
    let mut directives = vec![
        format!("--job-name=clapp-{name}"),
        format!("--array=0-{}", cells.len().saturating_sub(1)),
        "--ntasks=1".into(),
        format!("--signal=B:TERM@{NOTICE}"),
    ];
    let Resources { time, cpus, mem, gres, partition } = resources;
    for (option, key, value) in [
        ("--slurm-time", "time", time),
        ("--slurm-cpus", "cpus-per-task", cpus),
        ("--slurm-mem", "mem", mem),
        ("--slurm-gres", "gres", gres),
        ("--slurm-partition", "partition", partition),
    ] {
        let Some(value) = value else { continue };
        // Directives know no quoting that all versions agree on.
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.,:=+/".contains(c)) {
            let message = format!("is {value:?}, expected letters, digits and _-.,:=+/");
            return Err(Error::Config { origin: option.into(), message });
        }
        let expected = match key {
            "time" if !is_time(value) => "minutes, MM:SS, HH:MM:SS, days-HH, days-HH:MM or days-HH:MM:SS",
            "cpus-per-task" if !value.parse::<u32>().is_ok_and(|count| count > 0) => "a whole number above 0",
            "mem" if !is_memory(value) => "a whole number, then K, M, G or T (or nothing: megabytes)",
            _ => "",
        };
        if !expected.is_empty() {
            return Err(Error::Config { origin: option.into(), message: format!("is {value:?}, expected {expected}") });
        }
        directives.push(format!("--{key}={value}"));
    }
    let mut text = String::from("#!/usr/bin/env bash\n");
    for directive in directives {
        let _ = writeln!(text, "#SBATCH {directive}");
    }
    text.push_str("#\n# Written by `clapp sweep`. A task trains and probes the run with its index, or continues it:\n");
    for (index, cell) in cells.iter().enumerate() {
        let _ = writeln!(text, "# {index:>5}  {}", cell.name);
    }
    let quoted = shlex::try_join(command.iter().map(String::as_str))
        .map_err(|error| Error::Config { origin: "--slurm".into(), message: format!("an argument: {error}") })?;
    text.push_str("set -eu\n");
    let _ = writeln!(text, "exec {quoted} --only \"${{SLURM_ARRAY_TASK_ID:?submit this script with sbatch}}\"");
    Ok(text)
}
