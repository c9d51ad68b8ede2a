//! `clapp golden`: a backend against golden vectors.

use super::BackendName;
use super::computes::GpuArguments;
use super::output::say;
use crate::backend::cpu::Cpu;
use crate::error::Error;
use crate::golden::{Backend, core, on_backend, run as run_cases};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `clapp golden`.
#[derive(Debug, Args)]
pub struct GoldenArguments {
    /// Golden files (.safetensors), or folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Which backend computes the cases.
    #[arg(long, value_enum, default_value_t = BackendName::Cpu)]
    backend: BackendName,
    /// Fill a GPU's fresh memory with NaN first (the emulation always does).
    #[arg(long)]
    poison: bool,
    #[command(flatten)]
    gpu: GpuArguments,
}

/// Runs `clapp golden`: exit code 0 within the limits, 1 above them, 2 where a file cannot be read.
///
/// # Errors
/// Only that of the output: what goes wrong with a file is a row of the table.
pub fn run(arguments: &GoldenArguments) -> Result<u8, Error> {
    let (cuda, emulated) = (arguments.backend == BackendName::Cuda, arguments.backend == BackendName::Emulated);
    arguments.gpu.check(cuda, emulated)?;
    let on = |backend: &Backend<'_>| run_cases(&arguments.paths, backend);
    let report = match arguments.backend {
        BackendName::Core => on(&core::compute),
        BackendName::Cpu => on(&|case| on_backend::compute(&Cpu, case)),
        BackendName::Cuda => {
            let gpu = arguments.gpu.cuda()?;
            if arguments.poison {
                gpu.poison();
            }
            on(&|case| on_backend::compute(&gpu, case))
        }
        BackendName::Emulated => {
            let gpu = arguments.gpu.emulated()?;
            on(&|case| on_backend::compute(&gpu, case))
        }
    };
    say(&report)?;
    Ok(report.exit_code())
}
