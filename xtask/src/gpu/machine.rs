//! The machine: driver, GPU, libraries.

use super::Bench;
use super::programs::watch;
use crate::Failed;
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::Instant;

/// Driver and libraries; `None` where it could not be found out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The driver's version.
    pub driver: Option<String>,
    /// The device's memory.
    pub memory: Option<String>,
    /// Version of CUDA that PyTorch was built for.
    pub torch_cuda: Option<String>,
    /// Version of cuDNN that PyTorch has loaded.
    pub torch_cudnn: Option<String>,
    /// Version of PyTorch.
    pub torch: Option<String>,
    /// Output of `clapp doctor`: the libraries that ours uses.
    pub doctor: String,
}

/// Prints three lines about PyTorch: its version, and those of its CUDA and cuDNN.
const TORCH: &str = "import torch
print(torch.__version__)
print(torch.version.cuda)
print(torch.backends.cudnn.version())";

/// Writes `gpu-machine.json`. Fails where something is missing for the GPU that is asked for.
pub fn run(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    let doctor = watch(&mut bench.clapp(&["doctor", "--deep", "--limit", "20"]), deadline, |_| {})?;
    let torch = bench.python.as_ref().and_then(|python| printed(Command::new(python).args(["-c", TORCH])));
    let mut torch = torch.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_string());
    let [version, cuda, cudnn] = [(); 3].map(|()| torch.next());
    let machine = Machine {
        driver: ask_driver("driver_version"),
        memory: ask_driver("memory.total"),
        torch_cuda: cuda,
        torch_cudnn: cudnn,
        torch: version,
        doctor: doctor.output.clone(),
    };
    bench.keep("machine", &machine)?;
    if bench.backend == "cuda" && !doctor.succeeded() {
        // One line: all of it is in the log, and in what is kept.
        let first = doctor.output.lines().find(|line| line.starts_with("FAILED"));
        let words = first.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let how = if doctor.stopped { "its time was over".into() } else { doctor.status.to_string() };
        return Err(Failed(format!("clapp doctor --deep ({how}): {words}")));
    }
    Ok(())
}

/// A field of the first GPU, from the driver's program.
pub fn ask_driver(field: &str) -> Option<String> {
    first_line(Command::new("nvidia-smi").args([&format!("--query-gpu={field}"), "--format=csv,noheader"]))
}

/// The first line that a program prints, if it is there and succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let text = printed(command)?.lines().next()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}

/// The output of a program, if it is there and succeeds.
fn printed(command: &mut Command) -> Option<String> {
    let run = command.output().ok().filter(|run| run.status.success())?;
    Some(String::from_utf8_lossy(&run.stdout).into_owned())
}
