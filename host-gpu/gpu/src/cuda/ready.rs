//! Kernels compiled here for GPUs of another machine, as the program keeps them there: it then needs no NVRTC, nor the
//! seconds that this takes.

use super::super::cache::Cache;
use super::super::elf;
use super::super::executor::GpuError;
use super::super::kernels;
use super::super::op::MapType;
use super::compile::{Build, compile};
use super::errors::failed;
use std::path::Path;

/// Compiles all kernels, of both types of maps, deterministic and not, into a folder for `CLAPP_CACHE`; gives the bytes of
/// each.
///
/// # Errors
/// [`GpuError::Missing`] without NVRTC; [`GpuError::Failed`] where it does not know such a GPU.
pub fn write(folder: &Path, capability: [i32; 2]) -> Result<Vec<usize>, GpuError> {
    let (source, cache) = (kernels::source(), Cache::at(folder));
    let builds = [MapType::F32, MapType::Bf16].map(|maps| [false, true].map(|deterministic| (maps, deterministic)));
    let one = |(maps, deterministic): (MapType, bool)| {
        let image = compile(&source, &Build { capability, maps, deterministic }, &cache)?;
        let [major, minor] = capability;
        elf::check(&image).map_err(|reason| failed(format!("compiling for sm_{major}{minor}"), reason))?;
        Ok(image.len())
    };
    builds.into_iter().flatten().map(one).collect()
}
