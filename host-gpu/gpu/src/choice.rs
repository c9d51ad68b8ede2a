//! `--backend` and its options, and the only place that opens the chosen backend.

use super::Gpu;
use super::cuda::Cuda;
use super::cuda::group::Group;
use super::emulated::{Emulated, Settings};
use super::executor::Executor;
use super::needs::DeviceNeeds;
use super::precision::Precision;
use super::trainer::OnGpu;
use clap::{Args, ValueEnum};
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_data::words::readable;
use clapp_engine::backend::{Job, cpu::Cpu};
use clapp_engine::checkpoint;
use clapp_engine::config::Config;
use clapp_engine::memory;
use clapp_engine::metrics::Metrics;
use clapp_engine::run::{OnCpu, Outcome, Run};
use clapp_engine::trainer::StepMetrics;

/// A backend by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Computes {
    /// All cores of the CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// The GPU's programs and kernels on the CPU, slowly: to check them.
    Emulated,
}

impl Computes {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Emulated => "emulated",
        }
    }
}

/// Arguments that choose the backend.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct BackendArguments {
    /// Backend that computes.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Computes,
    /// Options of a GPU.
    #[command(flatten)]
    pub gpu: GpuArguments,
}

/// Arguments of a GPU.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct GpuArguments {
    /// Precision of convolutions and matrix products on a GPU [default: tf32]. The emulation computes tf32 as f32.
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// Fix the order of all sums on a GPU, without contraction: the same bits in every run, but slower.
    #[arg(long)]
    deterministic: bool,
    /// Number of the GPU [default: 0].
    #[arg(long, value_name = "NUMBER")]
    device: Option<usize>,
}

impl BackendArguments {
    /// Refuses options that the backend would not heed.
    ///
    /// # Errors
    /// [`Error::Config`] with the option.
    pub fn check(self) -> Result<(), Error> {
        self.gpu.check(self.backend == Computes::Cuda, self.backend == Computes::Emulated)
    }

    /// Returns the name of backend and precision in checkpoints.
    pub fn name(self) -> String {
        let deterministic = if self.gpu.deterministic { " deterministic" } else { "" };
        match self.backend {
            Computes::Cpu => checkpoint::CPU.into(),
            Computes::Cuda => format!("cuda {}{deterministic}", self.precision()),
            Computes::Emulated => format!("emulated {}{deterministic}", self.precision()),
        }
    }

    /// Returns the precision.
    pub fn precision(self) -> Precision {
        match self.backend {
            Computes::Cpu => Precision::F32,
            Computes::Cuda => self.gpu.precision.unwrap_or_default(),
            Computes::Emulated => self.gpu.emulated_precision(),
        }
    }

    /// The backend; with `group`, a GPU is one of those of that group, and waits until all have come.
    ///
    /// # Errors
    /// Where the driver, a library or a compiler is missing, there is no such device, or the others do not come.
    pub fn open(self, group: Option<&Group>) -> Result<Opened, Error> {
        let name = self.name();
        Ok(match self.backend {
            Computes::Cpu => Opened::Cpu,
            Computes::Cuda => Opened::Cuda(Box::new(OnGpu { gpu: self.gpu.cuda_in_group(group)?, name })),
            Computes::Emulated => Opened::Emulated(Box::new(OnGpu { gpu: self.gpu.emulated()?, name })),
        })
    }

    /// Does some work on the backend.
    ///
    /// # Errors
    /// As [`BackendArguments::open`] and the work.
    pub fn run<J: Job>(self, job: J) -> Result<J::Output, Error> {
        self.open(None)?.run(job)
    }

    /// The options that choose the same again.
    pub fn options(self) -> String {
        let mut text = String::new();
        if self.backend != Computes::Cpu {
            text += &format!(" --backend {}", self.backend.name());
        }
        if let Some(precision) = self.gpu.precision {
            text += &format!(" --precision {precision}");
        }
        if self.gpu.deterministic {
            text += " --deterministic";
        }
        if let Some(device) = self.gpu.device {
            text += &format!(" --device {device}");
        }
        text
    }
}

/// The backend that was asked for, ready.
pub enum Opened {
    /// All cores of the CPU.
    Cpu,
    /// An NVIDIA GPU.
    Cuda(Box<OnGpu<Cuda>>),
    /// The emulated one.
    Emulated(Box<OnGpu<Emulated>>),
}

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    /// True if all epochs are done; otherwise the run was stopped.
    pub finished: bool,
    /// Steps done, over all epochs.
    pub step: u64,
    /// The course, from the first step on.
    pub metrics: Metrics,
}

impl Opened {
    /// Does some work.
    ///
    /// # Errors
    /// As the work.
    pub fn run<J: Job>(self, job: J) -> Result<J::Output, Error> {
        match self {
            Self::Cpu => job.run(Cpu),
            Self::Cuda(trainer) => job.run(trainer.gpu),
            Self::Emulated(trainer) => job.run(trainer.gpu),
        }
    }

    /// Trains; `progress` hears of each step.
    ///
    /// # Errors
    /// As [`Run::train_on`].
    pub fn train(&self, run: &Run<'_>, progress: impl FnMut(&StepMetrics)) -> Result<Ended, Error> {
        match self {
            Self::Cpu => run.train_on(&OnCpu, progress).map(Ended::of),
            Self::Cuda(trainer) => run.train_on(&**trainer, progress).map(Ended::of),
            Self::Emulated(trainer) => run.train_on(&**trainer, progress).map(Ended::of),
        }
    }

    /// Refuses training that does not fit into the memory of a device; on the CPU, [`memory::Needs`] does so.
    ///
    /// # Errors
    /// As [`check_memory`].
    pub fn check_training(&self, config: &Config) -> Result<(), Error> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda(trainer) => check_memory(&trainer.gpu, config),
            Self::Emulated(trainer) => check_memory(&trainer.gpu, config),
        }
    }

    /// From now on a GPU's fresh memory is filled with NaN; the emulated one's always is.
    pub fn poison(&self) {
        if let Self::Cuda(trainer) = self {
            trainer.gpu.poison();
        }
    }
}

impl Ended {
    fn of<T>(outcome: Outcome<T>) -> Self {
        let Outcome { finished, step, metrics, .. } = outcome;
        Self { finished, step, metrics }
    }
}

/// Refuses training that does not fit into a device's memory; the emulated device's is the host's.
///
/// # Errors
/// [`Error::Memory`] where it does not, as far as there is telling.
pub fn check_memory<E: Executor + 'static>(gpu: &Gpu<E>, config: &Config) -> Result<(), Error> {
    let needs = DeviceNeeds::of_training(config, gpu.executor().map_type())?;
    let host = || memory::available().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let Some(available) = gpu.executor().free_memory()?.or_else(host) else { return Ok(()) };
    if needs.total() <= available {
        return Ok(());
    }
    let [parameters, step] = [needs.parameters, needs.step].map(readable);
    Err(Error::Memory {
        what: "training on the device",
        needed: readable(needs.total()),
        most: format!("parameters and optimiser {parameters}, a step {step}"),
        available: readable(available),
        lower: "lower --batch or --width",
    })
}

impl GpuArguments {
    /// Refuses options that no backend at work would heed.
    ///
    /// # Errors
    /// [`Error::Config`] with the option.
    pub fn check(self, cuda: bool, emulated: bool) -> Result<(), Error> {
        let given = [
            ("--precision", self.precision.is_some() && !cuda && !emulated),
            ("--deterministic", self.deterministic && !cuda && !emulated),
            ("--device", self.device.is_some() && !cuda),
        ];
        match given.into_iter().find(|(_, ignored)| *ignored) {
            None => Ok(()),
            Some((option, _)) => Err(Error::Config {
                origin: option.into(),
                message: "is of another backend than the one chosen; leave it out, or choose cuda".into(),
            }),
        }
    }

    /// Returns the precision of the emulation, which has no TF32.
    fn emulated_precision(self) -> Precision {
        match self.precision.unwrap_or_default() {
            Precision::F32 | Precision::Tf32 => Precision::F32,
            Precision::Bf16 => Precision::Bf16,
        }
    }

    fn open(self) -> Result<Cuda, Error> {
        Ok(Cuda::new(self.device.unwrap_or(0), self.precision.unwrap_or_default(), self.deterministic)?)
    }

    /// The GPU.
    ///
    /// # Errors
    /// Where the driver or a library is missing, or there is no such device.
    pub fn cuda(self) -> Result<Gpu<Cuda>, Error> {
        Gpu::new(self.open()?)
    }

    /// The GPU, as one of those of the environment's group where there is one. Waits until all have come.
    ///
    /// # Errors
    /// As [`GpuArguments::cuda`], and where the others do not come.
    pub fn cuda_in_group(self, group: Option<&Group>) -> Result<Gpu<Cuda>, Error> {
        let Some(group) = group else { return self.cuda() };
        let mut device = self.open()?;
        device.join(group)?;
        Ok(Gpu::new(device)?.among(Part { rank: group.rank, ranks: group.size }))
    }

    /// The emulated one.
    ///
    /// # Errors
    /// Where there is no C++ compiler.
    pub fn emulated(self) -> Result<Gpu<Emulated>, Error> {
        Gpu::new(Emulated::new(self.emulated_precision().maps(), Settings::default())?)
    }
}
