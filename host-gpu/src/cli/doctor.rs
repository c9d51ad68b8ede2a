//! `clapp doctor`: shows the hardware and libraries that training can use.

mod deep;
mod probe;

use super::output::say;
use clap::Args;
use clapp_data::error::Error;
use clapp_engine::memory;
use clapp_gpu::cuda::found;

/// Arguments of `clapp doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Test each part that training on a GPU needs, one line per test: libraries, compilation, a launch, a matrix
    /// product, convolutions, capture and replay, memory. Exit code 0: all tests are ok. Otherwise the code of the
    /// first failed test: 10 libraries and GPU, 11 compilation, 12 launch, 13 product, 14 convolution, 15 capture, 16
    /// memory.
    #[arg(long)]
    deep: bool,
    /// Return exit code 1 if something is missing for training on a GPU. With --deep, exit codes 10 to 16 replace it.
    #[arg(long)]
    require_gpu: bool,
    #[command(flatten)]
    tried: deep::DeepArguments,
}

/// Runs `clapp doctor`. Exit code 0: success. 1: a GPU is required and something is missing for it.
///
/// # Errors
/// If the output cannot be written.
pub fn run(arguments: &DoctorArguments) -> Result<u8, Error> {
    if arguments.deep {
        return deep::run(&arguments.tried);
    }
    let available = memory::available().map_or("unknown".into(), |bytes| clapp_data::words::readable(bytes as usize));
    say(format!(
        "CPU\n  {:<14}{}\n  {:<14}{}\n  {:<14}{available} available",
        "threads",
        rayon::current_num_threads(),
        "instructions",
        instructions(),
        "memory"
    ))?;
    let found = found::look();
    say(format!("CUDA\n{found}"))?;
    let missing = found.missing();
    if missing.is_empty() {
        say("training can run on the CPU and on CUDA")?;
        return Ok(0);
    }
    say("training can run on the CPU; for CUDA this is missing:")?;
    for error in missing {
        say(format!("  - {error}"))?;
    }
    Ok(u8::from(arguments.require_gpu))
}

/// Returns the instruction set of element-wise operations on this processor. Matrix products choose from the same sets.
fn instructions() -> &'static str {
    struct Name;
    impl pulp::WithSimd for Name {
        type Output = &'static str;

        fn with_simd<S: pulp::Simd>(self, _: S) -> &'static str {
            std::any::type_name::<S>()
        }
    }
    match pulp::Arch::new().dispatch(Name).rsplit("::").next().unwrap_or_default() {
        "V4" => "AVX-512 (x86-64-v4)",
        "V3" => "AVX2 with FMA (x86-64-v3)",
        "Scalar" => "those of every processor of this kind",
        other => other,
    }
}
