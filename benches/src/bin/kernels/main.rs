//! Compiles all kernels of this project as at run time, without a GPU, and prints the resources of each: `cargo xtask
//! kernels`, which installs the compiler.

mod compile;
mod usage;

use crate::compile::Variant;
use crate::usage::Usage;
use clap::Parser;
use clapp_gpu::cuda::libraries::Library;
use clapp_gpu::cuda::ready;
use clapp_gpu::kernels;
use clapp_gpu::op::MapType;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// NVRTC is looked for as the program itself does, first in the folders of `CLAPP_CUDA_LIBRARIES`.
#[derive(Parser)]
struct Arguments {
    /// The assembler.
    #[arg(long, required_unless_present = "cubins")]
    ptxas: Option<PathBuf>,
    /// Folder for the outputs.
    #[arg(long, required_unless_present = "cubins")]
    folder: Option<PathBuf>,
    /// Only compiles all kernels for Hopper GPUs into this folder, as the program keeps them in CLAPP_CACHE.
    #[arg(long, value_name = "FOLDER")]
    cubins: Option<PathBuf>,
}

/// Compute capabilities: Turing, Ampere, Hopper.
const CAPABILITIES: [u32; 3] = [75, 80, 90];

/// Maps and mode, as the table's columns name them.
const KINDS: [(MapType, bool, &str); 4] = [
    (MapType::F32, false, "f32"),
    (MapType::Bf16, false, "bf16"),
    (MapType::F32, true, "f32, deterministic"),
    (MapType::Bf16, true, "bf16, deterministic"),
];

/// Kernels that may have a stack frame, how many bytes, and why.
const STACK: [(&str, u64, &str); 0] = [];

/// More values at once than a block of 1024 threads has registers for.
const SPILLS: &str = r#"
#line 1 "deliberate.cu"
extern "C" __global__ void __launch_bounds__(1024) spills(float* x) {
    float values[128];
    #pragma unroll
    for (int i = 0; i < 128; i++) values[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 128; i++) x[i * 1024 + 1023 - threadIdx.x] = values[i] * values[127 - i];
}
"#;

/// A sum in the order in which threads come.
const ATOMIC: &str = r#"
#line 1 "deliberate.cu"
extern "C" __global__ void adds(float* x) { if (threadIdx.x > 2) atomicAdd(x, 1.0f); }
"#;

/// An error in a line that must be named.
const BROKEN: &str = r#"
#line 7 "deliberate.cu"
extern "C" __global__ void broken(float* x) { x[0] = unknown; }
"#;

/// Resources of a variant's kernels, by name.
type Built = (Variant, BTreeMap<String, Usage>);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (&arguments.cubins, &arguments.ptxas, &arguments.folder) {
        (Some(folder), ..) => cubins(folder),
        (None, Some(ptxas), Some(folder)) => check(ptxas, folder),
        (None, ..) => Err("expected --cubins, or --ptxas and --folder".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn cubins(folder: &Path) -> Result<(), String> {
    let sizes = ready::write(folder, [9, 0]).map_err(|error| error.to_string())?;
    println!("{}: kernels for sm_90, {sizes:?} bytes", folder.display());
    Ok(())
}

fn check(ptxas: &Path, folder: &Path) -> Result<(), String> {
    Library::Nvrtc.require().map_err(|error| error.to_string())?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    proves_something(ptxas, folder)?;
    let variants: Vec<Variant> = CAPABILITIES
        .iter()
        .flat_map(|&capability| KINDS.map(|(maps, deterministic, _)| Variant { capability, maps, deterministic }))
        .collect();
    let source = kernels::source();
    let built = |variant: &Variant| Ok((*variant, variant.build(&source, ptxas, folder)?));
    let built: Vec<Built> = variants.par_iter().map(built).collect::<Result<_, String>>()?;
    if built.iter().any(|(_, kernels)| kernels.is_empty()) {
        return Err("the source has no kernels".to_string());
    }
    println!("{}", table(&built));
    let wrong = wrong(&built);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Tests the checks themselves: they must refuse deliberate errors, for the right reason.
fn proves_something(ptxas: &Path, folder: &Path) -> Result<(), String> {
    let folder = folder.join("deliberate");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for capability in CAPABILITIES {
        let variant = Variant { capability, maps: MapType::F32, deterministic: false };
        let built = variant.build(SPILLS, ptxas, &folder)?;
        let refused = wrong(&[(variant, built)]);
        if !refused.iter().any(|reason| reason.starts_with("spills ") && reason.contains("spill")) {
            return Err(format!("sm_{capability}: a kernel that spills on purpose was not refused"));
        }
        for (source, reason) in [(ATOMIC, "adds has the instruction"), (BROKEN, "deliberate.cu(7)")] {
            match variant.build(source, ptxas, &folder) {
                Err(message) if message.contains(reason) => {}
                other => return Err(format!("sm_{capability}: expected \"{reason}\", got {other:?}")),
            }
        }
    }
    Ok(())
}

/// Kernels that spill, and those with a stack frame that is not allowed.
fn wrong(built: &[Built]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (variant, kernels) in built {
        for (kernel, usage) in kernels {
            let at = format!("{kernel} on {}, {} registers", variant.name(), usage.registers);
            let Usage { stack, spill_stores, spill_loads, .. } = *usage;
            let allowed = STACK.iter().find(|(name, ..)| name == kernel).map_or(0, |&(_, bytes, _)| bytes);
            if spill_stores + spill_loads > 0 {
                wrong.push(format!("{at}: {spill_stores} bytes of spill stores, {spill_loads} bytes of spill loads"));
            } else if stack > allowed {
                wrong.push(format!("{at}: {stack} bytes of stack, {allowed} allowed"));
            }
        }
    }
    wrong
}

fn table(built: &[Built]) -> String {
    let names: Vec<&String> = built.first().map(|(_, kernels)| kernels.keys().collect()).unwrap_or_default();
    let kinds = KINDS.map(|(_, _, kind)| kind).join(" | ");
    let mut lines = vec![
        format!(
            "| kernel | architecture | registers: {kinds} | shared memory | stack frame | spill stores | spill loads | \
             constant memory |"
        ),
        "|---".repeat(2 + KINDS.len() + 5) + "|",
    ];
    for name in names {
        for capability in CAPABILITIES {
            let kernels = built.iter().filter(|(variant, _)| variant.capability == capability);
            let usages: Vec<&Usage> = kernels.filter_map(|(_, kernels)| kernels.get(name)).collect();
            let registers: Vec<String> = usages.iter().map(|usage| usage.registers.to_string()).collect();
            let most = |what: fn(&Usage) -> u64| usages.iter().map(|usage| what(usage)).max().unwrap_or(0).to_string();
            let columns: [fn(&Usage) -> u64; 5] = [
                |usage| usage.shared,
                |usage| usage.stack,
                |usage| usage.spill_stores,
                |usage| usage.spill_loads,
                |usage| usage.constant,
            ];
            let most = columns.map(most).join(" | ");
            lines.push(format!("| {name} | sm_{capability} | {} | {most} |", registers.join(" | ")));
        }
    }
    lines.extend(
        STACK.iter().map(|(name, bytes, reason)| format!("\n`{name}` may have {bytes} bytes of stack: {reason}.")),
    );
    lines.join("\n")
}
