//! What `clapp doctor --deep` tries, and how: one probe a line of its report.

use clapp_data::words::readable;
use clapp_gpu::cuda::libraries::Library;
use clapp_gpu::cuda::{Cuda, compile, found};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::Pass;
use clapp_gpu::precision::Precision;
use clapp_gpu::proof::{self, Fault};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One thing that is tried.
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
    /// So does a product of matrices.
    Product(Precision),
    /// So does a pass of a convolution.
    Convolution(Pass, Precision, bool),
    /// So do all three, recorded once and run twice.
    Capture(Precision),
    /// Memory is taken, holds what is written, and is given back.
    Memory,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it should.
    Ok,
    /// It did not.
    Failed,
    /// It could not be tried: something that it needs is missing.
    NotRun,
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

impl Probe {
    /// All of them, in the order of the report.
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

    /// Its name in the report.
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

    /// The exit code of the program where this is the first that is not ok.
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

    /// Whether training on one GPU needs it.
    pub fn is_needed(self) -> bool {
        self != Self::Library(Library::Nccl)
    }

    /// Precision and mode of the executor that it runs on, if it runs on one.
    fn mode(self) -> Option<(Precision, bool)> {
        match self {
            Self::Library(_) | Self::Gpu | Self::Compilation => None,
            Self::Launch(precision) | Self::Product(precision) | Self::Capture(precision) => Some((precision, false)),
            Self::Convolution(_, precision, deterministic) => Some((precision, deterministic)),
            Self::Memory => Some((Precision::F32, false)),
        }
    }
}

/// Runs probes on a GPU, one after the other, and keeps the executor for the next one of the same mode.
pub struct Bench {
    device: usize,
    executor: Option<((Precision, bool), Cuda)>,
}

impl Bench {
    /// On the GPU of number `device`.
    pub fn new(device: usize) -> Self {
        Self { device, executor: None }
    }

    /// How a probe ends, in words, and after how many seconds.
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
            // Kernels are compiled for the GPU that is there; without one, for the newest that the compiler knows.
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
            // The one before gives its memory back first.
            self.executor = None;
            self.executor = Some((mode, Cuda::partial(self.device, mode.0, mode.1)?));
        }
        self.executor.as_ref().map(|(_, cuda)| cuda).ok_or_else(|| found::no_such(self.device))
    }
}

/// Algorithms that a library has offered and that fail are told, though another one has been taken.
fn with_dropped(said: String, dropped: &[String]) -> String {
    if dropped.is_empty() { said } else { format!("{said}; passed over: {}", dropped.join("; ")) }
}

/// A library that is missing has failed; what needs it was not run.
fn outcome(probe: Probe, error: &GpuError) -> Outcome {
    match (probe, error) {
        (Probe::Library(library), _) if library != Library::Nccl => Outcome::Failed,
        (_, GpuError::Missing { .. }) => Outcome::NotRun,
        _ => Outcome::Failed,
    }
}

/// Most bytes that the probe of memory takes.
const MOST: usize = 256 << 20;

/// Takes memory, writes to both ends and reads it back, and gives it back.
fn memory(on: &Cuda) -> proof::Outcome {
    let (free, total) = on.memory()?;
    // A multiple of what memory is handed out in.
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
        return Err(Fault::Values(format!("{} do not hold what is written to them", readable(bytes))));
    }
    let taken = on.taken();
    if (taken.now, taken.peak) != (before, before + bytes) {
        let [now, peak] = [taken.now, taken.peak].map(readable);
        return Err(Fault::Values(format!(
            "{} were taken and given back; counted are {now}, peak {peak}",
            readable(bytes)
        )));
    }
    let [peak, used, total] = [taken.peak, used, total].map(readable);
    Ok(format!("{peak} taken and given back; at the peak {used} of the GPU's {total} were in use, by all programs"))
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
