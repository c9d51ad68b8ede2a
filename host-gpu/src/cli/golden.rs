//! `clapp golden`: checks a backend against golden vectors.

use super::BackendName;
use super::output::say;
use clap::Args;
use clapp_data::error::Error;
use clapp_engine::backend::{Backend, Job};
use clapp_engine::golden::report::Report;
use clapp_engine::golden::{core, on_backend, run as run_cases};
use clapp_gpu::choice::{BackendArguments, Computes, GpuArguments};
use std::path::PathBuf;

/// Arguments of `clapp golden`.
#[derive(Debug, Args)]
pub struct GoldenArguments {
    /// Golden files (.safetensors), or folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Backend that computes the cases.
    #[arg(long, value_enum, default_value_t = BackendName::Cpu)]
    backend: BackendName,
    /// Fill new GPU memory with NaN before use (the emulation always does).
    #[arg(long)]
    poison: bool,
    #[command(flatten)]
    gpu: GpuArguments,
}

/// Runs `clapp golden`. Exit code 0: all errors are within the limits. 1: an error is above its limit. 2: a file cannot
/// be read.
///
/// # Errors
/// Only if the output cannot be written. An error of a file is a row of the table.
pub fn run(arguments: &GoldenArguments) -> Result<u8, Error> {
    let (cuda, emulated) = (arguments.backend == BackendName::Cuda, arguments.backend == BackendName::Emulated);
    arguments.gpu.check(cuda, emulated)?;
    let backend = match arguments.backend {
        BackendName::Core => None,
        BackendName::Cpu => Some(Computes::Cpu),
        BackendName::Cuda => Some(Computes::Cuda),
        BackendName::Emulated => Some(Computes::Emulated),
    };
    let report = match backend {
        None => run_cases(&arguments.paths, &core::compute),
        Some(backend) => {
            let device = BackendArguments { backend, gpu: arguments.gpu }.open(None)?;
            if arguments.poison {
                device.poison();
            }
            device.run(Cases(&arguments.paths))?
        }
    };
    say(&report)?;
    Ok(report.exit_code())
}

/// The cases of some files.
struct Cases<'a>(&'a [PathBuf]);

impl Job for Cases<'_> {
    type Output = Report;

    fn run<B: Backend + 'static>(self, backend: B) -> Result<Report, Error> {
        Ok(run_cases(self.0, &|case| on_backend::compute(&backend, case)))
    }
}
