//! From CUDA C++ to machine code: NVRTC, then the assembler.

use crate::usage::{Usage, parse};
use clapp_gpu::cuda::nvrtc::{Nvrtc, Output};
use clapp_gpu::kernels;
use clapp_gpu::op::MapType;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Target of the kernels.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Compute capability.
    pub capability: u32,
    /// Element type of the maps.
    pub maps: MapType,
    /// `true` if no product is contracted with a sum.
    pub deterministic: bool,
}

impl Variant {
    /// The name of its files.
    pub fn name(&self) -> String {
        let maps = if self.maps == MapType::F32 { "f32" } else { "bf16" };
        format!("sm_{}-{maps}-{}", self.capability, if self.deterministic { "deterministic" } else { "fast" })
    }

    /// Compiles and assembles a source, writes `NAME.ptx` and `NAME.cubin` into `folder`, and returns the resources of
    /// each kernel.
    ///
    /// # Errors
    /// The compiler's log, which names file and line; what the assembler says; a kernel with an instruction that makes
    /// sums depend on the order of threads.
    pub fn build(&self, source: &str, ptxas: &Path, folder: &Path) -> Result<BTreeMap<String, Usage>, String> {
        let name = self.name();
        let ptx = self.ptx(source).map_err(|reason| format!("{name}: {reason}"))?;
        unordered(&ptx).map_err(|reason| format!("{name}: {reason}"))?;
        let [input, output] = ["ptx", "cubin"].map(|extension| folder.join(format!("{name}.{extension}")));
        std::fs::write(&input, &ptx).map_err(|error| format!("write {}: {error}", input.display()))?;
        let mut command = Command::new(ptxas);
        command.args(["--verbose", "--gpu-name", &format!("sm_{}", self.capability)]).arg(&input).arg("-o").arg(output);
        let run = command.output().map_err(|error| format!("{}: {error}", ptxas.display()))?;
        let printed = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if !run.status.success() {
            return Err(format!("{name}: ptxas ({})\n{printed}", run.status));
        }
        parse(&printed).map_err(|reason| format!("{name}: {reason}"))
    }

    fn ptx(&self, source: &str) -> Result<String, String> {
        let nvrtc = Nvrtc::get().map_err(|error| error.to_string())?;
        let machine = format!("--gpu-architecture=compute_{}", self.capability);
        let options = [vec![machine], kernels::options(self.maps, self.deterministic)].concat();
        let text = nvrtc.compile(source, &options, Output::Ptx).map_err(|reason| format!("NVRTC: {reason}"))?;
        Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_string())
    }
}

/// Fails if a kernel adds atomically or exchanges registers between threads. The kernels' contract forbids both.
fn unordered(ptx: &str) -> Result<(), String> {
    let mut kernel = "";
    for line in ptx.lines() {
        if let Some((_, rest)) = line.split_once(".entry ") {
            kernel = rest.split('(').next().unwrap_or(rest);
        }
        // After a predicate, if there is one.
        let instruction = line.split_whitespace().find(|word| !word.starts_with('@')).unwrap_or_default();
        if ["atom.", "red.", "shfl."].iter().any(|start| instruction.starts_with(start)) {
            return Err(format!("{kernel} has the instruction {instruction}: its sums would have no fixed order"));
        }
    }
    Ok(())
}
