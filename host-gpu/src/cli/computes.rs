//! What a command computes on: `--backend` and what goes with it.

use crate::backend::gpu::Gpu;
use crate::backend::gpu::cuda::Cuda;
use crate::backend::gpu::cuda::group::Group;
use crate::backend::gpu::emulated::{Emulated, Settings};
use crate::backend::gpu::executor::Executor;
use crate::backend::gpu::precision::Precision;
use crate::distributed::Part;
use crate::error::Error;
use crate::run::OnGpu;
use clap::{Args, ValueEnum};

/// What computes.
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

/// Arguments that choose what computes.
#[derive(Debug, Clone, Copy, Args)]
pub struct BackendArguments {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Computes,
    #[command(flatten)]
    pub gpu: GpuArguments,
}

/// Arguments of a GPU.
#[derive(Debug, Clone, Copy, Args)]
pub struct GpuArguments {
    /// How exactly a GPU computes convolutions and products.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Order of all sums fixed and no contraction on a GPU: the same bits each time, more slowly.
    #[arg(long)]
    pub deterministic: bool,
    /// Which GPU, where there are several.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub device: usize,
}

impl GpuArguments {
    /// The GPU.
    ///
    /// # Errors
    /// Where the driver or a library is missing, or there is no such device.
    pub fn cuda(self) -> Result<Gpu<Cuda>, Error> {
        Gpu::new(Cuda::new(self.device, self.precision, self.deterministic)?)
    }

    /// The GPU, as one of those of the environment's group where there is one. Waits until all have come.
    ///
    /// # Errors
    /// As [`GpuArguments::cuda`], and where the others do not come.
    pub fn cuda_in_group(self, group: Option<&Group>) -> Result<Gpu<Cuda>, Error> {
        let Some(group) = group else { return self.cuda() };
        let mut device = Cuda::new(self.device, self.precision, self.deterministic)?;
        device.join(group)?;
        Ok(Gpu::new(device)?.among(Part { rank: group.rank, ranks: group.size }))
    }

    /// The emulated one.
    ///
    /// # Errors
    /// Where there is no C++ compiler.
    pub fn emulated(self) -> Result<Gpu<Emulated>, Error> {
        Gpu::new(Emulated::new(self.precision.maps(), Settings::default())?)
    }

    /// Training on a device, which checkpoints name by what it is and how it computes.
    pub fn trainer<E: Executor>(self, gpu: Gpu<E>, device: &str) -> OnGpu<E> {
        let deterministic = if self.deterministic { " deterministic" } else { "" };
        OnGpu { gpu, name: format!("{device} {}{deterministic}", self.precision) }
    }
}
