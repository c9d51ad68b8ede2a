//! The probes of `clapp doctor --deep`. Each probe is one line of the report.

use clapp_data::words::readable;
use clapp_gpu::cuda::libraries::Library;
use clapp_gpu::cuda::{Cuda, compile, found};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::Pass;
use clapp_gpu::precision::Precision;
use clapp_gpu::proof::{self, Fault};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A library is there, and new enough.
    Library(Library),
    /// The driver knows the GPU.
    Gpu,
    /// NVRTC compiles all kernels.
    Compilation,
    /// A kernel gives the right values.
    Launch(Precision),
    /// A matrix product gives the right values.
    Product(Precision),
    /// A pass of a convolution gives the right values.
    Convolution(Pass, Precision, bool),
    /// All three give the right values when recorded once and run twice.
    Capture(Precision),
    /// Memory can be allocated, written, read back and freed.
    Memory,
}

/// Outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The probe passed.
    Ok,
    /// The probe failed.
    Failed,
    /// The probe was not run: something that it needs is missing.
    NotRun,
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

impl Probe {
    /// Returns all probes, in the order of the report.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = found::NEEDED.into_iter().chain([Library::Nccl]).map(Self::Library).collect();
        all.extend([Self::Gpu, Self::Compilation]);
        all.extend(PRECISIONS.map(Self::Launch));
        all.extend(PRECISIONS.map(Self::Product));
        for precision in PRECISIONS {
            for deterministic in [false, true] {
                for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
                    all.push(Self::Convolution(pass, precision, deterministic));
                }
            }
        }
        all.extend(PRECISIONS.map(Self::Capture));
        all.push(Self::Memory);
        all
    }

    /// Returns the probe's name in the report.
    pub fn name(self) -> String {
        match self {
            Self::Library(library) => format!("library {}", library.name()),
            Self::Gpu => "GPU".into(),
            Self::Compilation => "compilation".into(),
            Self::Launch(precision) => format!("launch {precision}"),
            Self::Product(precision) => format!("product {precision}"),
            Self::Convolution(pass, precision, deterministic) => {
                let pass = match pass {
                    Pass::Forward => "forward",
                    Pass::InputGradient => "data gradient",
                    Pass::WeightGradient => "weight gradient",
                };
                format!("convolution {pass} {precision}{}", if deterministic { " deterministic" } else { "" })
            }
            Self::Capture(precision) => format!("capture and replay {precision}"),
            Self::Memory => "peak memory".into(),
        }
    }

    /// Returns the exit code of the program if this is the first probe that is not ok.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Library(_) | Self::Gpu => 10,
            Self::Compilation => 11,
            Self::Launch(_) => 12,
            Self::Product(_) => 13,
            Self::Convolution(..) => 14,
            Self::Capture(_) => 15,
            Self::Memory => 16,
        }
    }

    /// Returns `true` if training on one GPU needs it.
    pub fn is_needed(self) -> bool {
        self != Self::Library(Library::Nccl)
    }

    /// Returns the precision and mode of the executor that the probe runs on, if any.
    fn mode(self) -> Option<(Precision, bool)> {
        match self {
            Self::Library(_) | Self::Gpu | Self::Compilation => None,
            Self::Launch(precision) | Self::Product(precision) | Self::Capture(precision) => Some((precision, false)),
            Self::Convolution(_, precision, deterministic) => Some((precision, deterministic)),
            Self::Memory => Some((Precision::F32, false)),
        }
    }
}

/// Runs probes on a GPU, one after the other. Keeps the executor for the next probe of the same mode.
pub struct Bench {
    device: usize,
    executor: Option<((Precision, bool), Cuda)>,
}

impl Bench {
    /// Makes a runner for the GPU with number `device`.
    pub fn new(device: usize) -> Self {
        Self { device, executor: None }
    }

    /// Runs a probe. Returns the outcome, its description and the seconds that it took.
    pub fn run(&mut self, probe: Probe) -> (Outcome, String, f64) {
        let start = Instant::now();
        let (outcome, said) = match self.attempt(probe) {
            Ok(said) => (Outcome::Ok, said),
            Err(Fault::Values(said)) => (Outcome::Failed, said),
            Err(Fault::Device(error)) => (outcome(probe, &error), error.to_string()),
        };
        (outcome, said, start.elapsed().as_secs_f64())
    }

    fn attempt(&mut self, probe: Probe) -> proof::Outcome {
        match probe {
            Probe::Library(library) => {
                let open = library.require()?;
                let of = if library == Library::Driver { "CUDA " } else { "" };
                let path = open.path.as_ref().map_or(open.name.clone(), |path| path.display().to_string());
                Ok(format!("{of}{} ({path})", open.version))
            }
            Probe::Gpu => {
                let device = self.gpu()?;
                let [free, total] = device.memory.map(readable);
                let [major, minor] = device.capability;
                Ok(format!("{}, compute capability {major}.{minor}, {free} of {total} free", device.name))
            }
            // Compile the kernels for the GPU present; without a GPU, for the newest one that the compiler knows.
            Probe::Compilation => Ok(compile::check(self.gpu().ok().map(|device| device.capability))?),
            Probe::Launch(precision) => proof::launch(self.executor(probe)?, precision),
            Probe::Product(precision) => {
                let cuda = self.executor(probe)?;
                let before = cuda.dropped().len();
                let said = proof::product(cuda, precision)?;
                Ok(with_dropped(said, &cuda.dropped()[before..]))
            }
            Probe::Convolution(pass, precision, deterministic) => {
                let cuda = self.executor(probe)?;
                let before = cuda.dropped().len();
                let said = proof::convolution(cuda, pass, precision, deterministic)?;
                Ok(with_dropped(said, &cuda.dropped()[before..]))
            }
            Probe::Capture(precision) => proof::capture(self.executor(probe)?, precision),
            Probe::Memory => memory(self.executor(probe)?),
        }
    }

    fn gpu(&self) -> Result<found::Device, GpuError> {
        found::devices()?.into_iter().nth(self.device).ok_or_else(|| found::no_such(self.device))
    }

    fn executor(&mut self, probe: Probe) -> Result<&Cuda, GpuError> {
        let mode = probe.mode().unwrap_or_default();
        if self.executor.as_ref().is_none_or(|(of, _)| *of != mode) {
            // Free the previous executor's memory first.
            self.executor = None;
            self.executor = Some((mode, Cuda::partial(self.device, mode.0, mode.1)?));
        }
        self.executor.as_ref().map(|(_, cuda)| cuda).ok_or_else(|| found::no_such(self.device))
    }
}

/// Adds the algorithms that a library offered but that failed, although another one was used.
fn with_dropped(said: String, dropped: &[String]) -> String {
    if dropped.is_empty() { said } else { format!("{said}; passed over: {}", dropped.join("; ")) }
}

/// A missing library has failed. Probes that need it were not run.
fn outcome(probe: Probe, error: &GpuError) -> Outcome {
    match (probe, error) {
        (Probe::Library(library), _) if library != Library::Nccl => Outcome::Failed,
        (_, GpuError::Missing { .. }) => Outcome::NotRun,
        _ => Outcome::Failed,
    }
}

/// Largest allocation of the memory probe, in bytes.
const MOST: usize = 256 << 20;

/// Allocates memory, writes to both ends, reads it back and frees it.
fn memory(on: &Cuda) -> proof::Outcome {
    let (free, total) = on.memory()?;
    // A multiple of the allocation unit.
    let bytes = (free / 4).min(MOST) / 256 * 256;
    on.reset_peak();
    let before = on.taken().now;
    let address = on.allocate(bytes)?;
    let ends = [address, address + bytes as u64 - 256];
    let pattern: Vec<u8> = (0..=255).collect();
    let held = (|| -> Result<bool, GpuError> {
        ends.iter().try_for_each(|end| on.write(*end, &pattern))?;
        let mut found = vec![0; pattern.len()];
        for end in ends {
            on.read(end, &mut found)?;
            if found != pattern {
                return Ok(false);
            }
        }
        Ok(true)
    })();
    let used = total - on.memory()?.0;
    on.free(address, bytes);
    on.synchronise()?;
    if !held? {
        return Err(Fault::Values(format!("{} of memory do not keep the values written to them", readable(bytes))));
    }
    let taken = on.taken();
    if (taken.now, taken.peak) != (before, before + bytes) {
        let [now, peak] = [taken.now, taken.peak].map(readable);
        return Err(Fault::Values(format!(
            "{} were allocated and freed; the counters say {now} in use, peak {peak}",
            readable(bytes)
        )));
    }
    let [peak, used, total] = [taken.peak, used, total].map(readable);
    Ok(format!("{peak} allocated and freed; at the peak, all programs together used {used} of the GPU's {total}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_has_a_name_of_its_own() {
        let all = Probe::all();
        let names: Vec<String> = all.iter().map(|probe| probe.name()).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name) && !name.contains(','), "{name}");
        }
        let convolutions = all.iter().filter(|probe| matches!(probe, Probe::Convolution(..)));
        assert_eq!(convolutions.count(), 18);
        assert!(all.iter().all(|probe| probe.exit_code() >= 10));
    }
}
