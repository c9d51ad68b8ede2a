//! The own kernels, compiled for the GPU that is there.

use super::super::cache::Cache;
use super::super::elf;
use super::super::executor::GpuError;
use super::super::kernels;
use super::super::op::MapType;
use super::errors::failed;
use super::found;
use super::libraries::{Library, Version};
use super::nvrtc::{Nvrtc, Output};
use clapp_data::words::readable;
use std::time::Instant;

/// Target and options of a compilation of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Compute capability of the GPU.
    pub capability: [i32; 2],
    /// Element type of the maps.
    pub maps: MapType,
    /// No product is contracted with a sum, so that roundings are those of the CPU.
    pub deterministic: bool,
}

/// The machine that is named to the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// The GPU's own: gives what it runs.
    Real(i32),
    /// One that it understands: the driver translates the rest of the way.
    Virtual(i32),
}

impl Build {
    /// The best that a compiler which knows `supported` can do.
    fn target(&self, supported: &[i32], version: Version) -> Result<Target, GpuError> {
        let [major, minor] = self.capability;
        let own = 10 * major + minor;
        if supported.contains(&own) {
            return Ok(Target::Real(own));
        }
        match supported.iter().filter(|known| **known < own).max() {
            Some(&known) => Ok(Target::Virtual(known)),
            None => Err(GpuError::Missing {
                what: format!("a compiler for compute capability {major}.{minor}"),
                reason: format!("NVRTC {version} begins with {:?}", supported.iter().min().unwrap_or(&0)),
                remedy: "install an older NVRTC with the libraries of its CUDA, and name their folder in \
                         CLAPP_CUDA_LIBRARIES",
            }),
        }
    }

    fn options(&self, target: &Target) -> Vec<String> {
        let machine = match target {
            Target::Real(number) => format!("sm_{number}"),
            Target::Virtual(number) => format!("compute_{number}"),
        };
        [vec![format!("--gpu-architecture={machine}")], kernels::options(self.maps, self.deterministic)].concat()
    }
}

/// All kernels as the driver loads them, kept in `cache`.
///
/// # Errors
/// [`GpuError::Missing`] without NVRTC, or with one that does not know the GPU; [`GpuError::Failed`] with the
/// compiler's words where it refuses the source.
pub fn kernels(build: &Build, cache: &Cache) -> Result<Vec<u8>, GpuError> {
    compile(&kernels::source(), build, cache)
}

/// As [`kernels()`], of any source. An image that the cache holds needs no compiler.
///
/// # Errors
/// As there.
pub fn compile(source: &str, build: &Build, cache: &Cache) -> Result<Vec<u8>, GpuError> {
    let [major, minor] = build.capability;
    let options = build.options(&Target::Real(10 * major + minor));
    let mut parts = vec![source];
    parts.extend(options.iter().map(String::as_str));
    cache.get(&parts, elf::check, || {
        let version = Library::Nvrtc.require()?.version;
        found::goes_with_driver(Library::Nvrtc)?;
        let nvrtc = Nvrtc::get()?;
        let what = "asking NVRTC for the machines that it knows";
        let target = build.target(&nvrtc.machines().map_err(|reason| failed(what, reason))?, version)?;
        let options = build.options(&target);
        let output = if matches!(target, Target::Real(_)) { Output::Cubin } else { Output::Ptx };
        let compiled = nvrtc.compile(source, &options, output);
        compiled.map_err(|reason| failed(format!("compiling the kernels ({})", options.join(" ")), reason))
    })
}

/// Compiles all kernels anew, for a GPU of this compute capability, else for the newest machine that NVRTC knows; says what
/// came out.
///
/// # Errors
/// As [`kernels()`].
pub fn check(capability: Option<[i32; 2]>) -> Result<String, GpuError> {
    let machines = Nvrtc::get()?.machines().map_err(|reason| failed("asking NVRTC for its machines", reason))?;
    let newest = machines.into_iter().max().unwrap_or(0);
    let build = Build {
        capability: capability.unwrap_or([newest / 10, newest % 10]),
        maps: MapType::F32,
        deterministic: false,
    };
    let start = Instant::now();
    let image = kernels(&build, &Cache::none())?;
    // Text for the driver is no ELF; what is meant for this GPU must be one.
    if !image.starts_with(b"//") {
        elf::check(&image)
            .map_err(|reason| failed("compiling the kernels", format!("the image is not whole: {reason}")))?;
    }
    let [major, minor] = build.capability;
    let seconds = start.elapsed().as_secs_f64();
    let size = readable(image.len());
    Ok(format!("all kernels, for compute capability {major}.{minor}, in {seconds:.1} s: {size}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Version = Version { major: 13, minor: 0, patch: 0 };

    fn build(capability: [i32; 2]) -> Build {
        Build { capability, maps: MapType::F32, deterministic: false }
    }

    #[test]
    fn the_machine_is_the_gpu_s_own_or_the_newest_that_it_understands() {
        let known = [75, 80, 86, 90, 100];
        assert_eq!(build([9, 0]).target(&known, VERSION), Ok(Target::Real(90)));
        assert_eq!(build([8, 9]).target(&known, VERSION), Ok(Target::Virtual(86)));
        assert_eq!(build([13, 0]).target(&known, VERSION), Ok(Target::Virtual(100)));
        let error = build([6, 1]).target(&known, VERSION).unwrap_err().to_string();
        assert!(error.contains("6.1") && error.contains("NVRTC 13.0 begins with 75"), "{error}");
    }

    #[test]
    fn options_follow_from_the_build() {
        let mut build = build([9, 0]);
        assert_eq!(build.options(&Target::Real(90)), ["--gpu-architecture=sm_90", "--std=c++17"]);
        build.maps = MapType::Bf16;
        build.deterministic = true;
        let options = ["--gpu-architecture=compute_80", "--std=c++17", "-DMAP_BF16", "--fmad=false"];
        assert_eq!(build.options(&Target::Virtual(80)), options);
    }

    /// Runs where NVRTC is found, as a package in a virtual environment or with the toolkit; says so where it is not.
    #[test]
    fn kernels_are_compiled_where_there_is_a_compiler() {
        if let Err(error) = Library::Nvrtc.require() {
            eprintln!("not run: {error}");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path());
        let source = "extern \"C\" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }";
        for capability in [[7, 5], [8, 0], [9, 0]] {
            let image = compile(source, &build(capability), &cache).unwrap();
            assert!(image.starts_with(b"\x7fELF"), "{capability:?}");
            assert_eq!(compile(source, &build(capability), &cache).unwrap(), image);
        }
        // A GPU that this compiler does not know yet is served with text that its driver translates; it is not kept.
        let image = compile(source, &build([99, 0]), &cache).unwrap();
        assert!(String::from_utf8_lossy(&image).contains(".entry twice("));
        assert_eq!(image.last(), Some(&0));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
        let error = compile("#line 7 \"own.cu\"\nint x = y;", &build([8, 0]), &cache).unwrap_err().to_string();
        assert!(error.contains("own.cu(7)") && error.contains("\"y\""), "{error}");
        for maps in [MapType::F32, MapType::Bf16] {
            for deterministic in [false, true] {
                kernels(&Build { capability: [8, 0], maps, deterministic }, &cache).unwrap();
            }
        }
    }
}
