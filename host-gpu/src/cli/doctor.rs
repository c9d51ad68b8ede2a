//! `clapp doctor`: what this machine has for training.

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
    /// Try what training on a GPU needs, one line each, on the GPU that is there: libraries, compilation, a launch, a
    /// product, convolutions, capture and replay, memory. Exit code 0: all is ok; else that of the first line that is not:
    /// 10 libraries and GPU, 11 compilation, 12 launch, 13 product, 14 convolution, 15 capture, 16 memory.
    #[arg(long)]
    deep: bool,
    /// Exit code 1 where something is missing for training on a GPU. --deep has exit codes of its own, 10 to 16, with it
    /// and without it.
    #[arg(long)]
    require_gpu: bool,
    #[command(flatten)]
    tried: deep::DeepArguments,
}

/// Runs `clapp doctor`: exit code 0, or 1 where a GPU is required and something is missing for it.
///
/// # Errors
/// Where the output cannot be written.
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

/// The instructions that element-wise work uses here; products choose from the same.
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
