//! The kernels as a library of this machine: compiled by the system's C++ compiler once, and kept on disk.

use crate::cache::Cache;
use crate::elf;
use crate::executor::GpuError;
use crate::kernels::{self, Parameter};
use crate::op::MapType;
use libloading::{Library, Symbol};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

const LAUNCH: &str = include_str!("launch.hpp");

/// Flags of the compiler. Nothing is contracted; what the language leaves undefined ends the launch with an error.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-fsanitize=alignment,null,bounds,signed-integer-overflow,shift,integer-divide-by-zero,float-cast-overflow",
    "-fno-sanitize-recover=all",
];

type Call = unsafe extern "C" fn(*const *mut c_void);
type Run = unsafe extern "C" fn(Call, *const *mut c_void, *const u32, u32, c_int, *mut c_char, usize) -> c_int;

/// The kernels for one type of maps. Launches take turns: shared memory is one for the process.
pub struct Kernels {
    library: Library,
    turn: Mutex<()>,
}

/// Kernels that have been loaded, for the whole process.
static LOADED: LazyLock<Mutex<HashMap<MapType, Arc<Kernels>>>> = LazyLock::new(Mutex::default);

fn failed(what: &str, reason: impl ToString) -> GpuError {
    GpuError::Failed { what: what.into(), reason: reason.to_string() }
}

impl Kernels {
    /// Compiles the kernels, or finds them compiled.
    ///
    /// # Errors
    /// [`GpuError::Missing`] without a C++ compiler, [`GpuError::Failed`] where it does not compile.
    pub fn load(maps: MapType) -> Result<Arc<Self>, GpuError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = loaded.get(&maps) {
            return Ok(found.clone());
        }
        let found = Arc::new(Self::compile(&kernels::source(), maps)?);
        loaded.insert(maps, found.clone());
        Ok(found)
    }

    /// As [`Kernels::load`], from a source of its own.
    fn compile(source: &str, maps: MapType) -> Result<Self, GpuError> {
        Ok(Self { library: build(&whole_source(source)?, maps)?, turn: Mutex::default() })
    }

    /// Runs one launch to its end; `values` are the parameters' values, one a word, as the kernel declares them.
    ///
    /// # Errors
    /// If a barrier is not reached by all threads, or a thread does what the language leaves undefined.
    ///
    /// # Safety
    /// Pointers among the values must be to memory that the kernel may use as it does.
    pub unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: u32,
        descending: bool,
        mut values: Vec<u64>,
    ) -> Result<(), GpuError> {
        let what = || format!("launch of {kernel}");
        if grid.contains(&0) || !(1..=1024).contains(&block) {
            return Err(failed(&what(), format!("{grid:?} blocks of {block} threads")));
        }
        let pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let mut text = [0; 512];
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: both symbols are of these types in `launch.hpp` and in the calls made by `whole_source`, which reads as
        // many values as there are parameters (checked by the caller), each from a word that is larger and aligned.
        let status = unsafe {
            let name = format!("clapp_call_{kernel}\0");
            let call: Symbol<Call> = self.library.get(name.as_bytes()).map_err(|error| failed(&what(), error))?;
            let run: Symbol<Run> = self.library.get(b"clapp_run\0").map_err(|error| failed(&what(), error))?;
            run(*call, pointers.as_ptr(), grid.as_ptr(), block, c_int::from(descending), text.as_mut_ptr(), text.len())
        };
        if status == 0 {
            return Ok(());
        }
        // SAFETY: `clapp_run` ends the text with a zero within its length.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        Err(failed(&what(), text.to_string_lossy()))
    }
}

/// The whole source: the stand-in for CUDA, the kernels, and a call of each.
fn whole_source(kernels: &str) -> Result<String, GpuError> {
    let mut text = format!("{LAUNCH}\nnamespace {{\n{kernels}\n}}\n");
    for (name, parameters) in kernels::scan(kernels).map_err(|reason| failed("reading the kernels", reason))? {
        let value = |(index, Parameter { c_type, .. }): (usize, &Parameter)| format!("*({c_type}*)a[{index}]");
        let values: Vec<String> = parameters.iter().enumerate().map(value).collect();
        let visible = "extern \"C\" __attribute__((visibility(\"default\")))";
        let values = values.join(", ");
        let written = writeln!(text, "{visible} void clapp_call_{name}(void* const* a) {{ {name}({values}); }}");
        written.map_err(|error| failed("writing the kernels' source", error))?;
    }
    Ok(text)
}

/// The compiler as a command line: `$CXX`, or the first of the usual ones; and its version.
fn compiler() -> Result<(Vec<String>, String), GpuError> {
    let named = std::env::var("CXX").ok().and_then(|text| shlex::split(&text)).filter(|words| !words.is_empty());
    let usual = || ["c++", "g++", "clang++"].map(|name| vec![name.to_owned()]).to_vec();
    let mut reasons = Vec::new();
    for words in named.map_or_else(usual, |words| vec![words]) {
        match Command::new(&words[0]).args(&words[1..]).arg("--version").output() {
            Ok(output) if output.status.success() => {
                return Ok((words, String::from_utf8_lossy(&output.stdout).into_owned()));
            }
            Ok(output) => reasons.push(format!("{}: {}", words[0], output.status)),
            Err(error) => reasons.push(format!("{}: {error}", words[0])),
        }
    }
    let remedy = "install g++ or clang++, or name one in CXX";
    Err(GpuError::Missing { what: "a C++ compiler".into(), reason: reasons.join("; "), remedy })
}

fn build(source: &str, maps: MapType) -> Result<Library, GpuError> {
    let what = "compiling the kernels for the host";
    let (compiler, version) = compiler()?;
    let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.into()).collect();
    flags.extend(kernels::definition(maps).map(|name| format!("-D{name}")));
    let words = (flags.join(" "), compiler.join(" "));
    let parts = [source, &words.0, &words.1, &version, std::env::consts::ARCH];
    let library = Cache::of_user().get(&parts, elf::check_library, || compiled(source, &compiler, &flags))?;
    // What is on disk may be damaged, or go away: what is loaded is a copy that has been looked at.
    let folder =
        tempfile::tempdir().map_err(|error| failed(what, format!("no folder for temporary files: {error}")))?;
    let path = folder.path().join("kernels.so");
    std::fs::write(&path, library).map_err(|error| failed(what, format!("{}: {error}", path.display())))?;
    load(&path)
}

/// The library's bytes.
fn compiled(source: &str, compiler: &[String], flags: &[String]) -> Result<Vec<u8>, GpuError> {
    let what = "compiling the kernels for the host";
    let folder =
        tempfile::tempdir().map_err(|error| failed(what, format!("no folder for temporary files: {error}")))?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("kernels.cpp"), source).map_err(|error| failed(what, error))?;
    let run = |args: &[&str]| {
        let mut command = Command::new(&compiler[0]);
        let output = command.args(&compiler[1..]).args(args).current_dir(folder.path()).output();
        match output.map_err(|error| failed(what, error))? {
            output if output.status.success() => Ok(()),
            output => Err(failed(what, String::from_utf8_lossy(&output.stderr))),
        }
    };
    let mut compile: Vec<&str> = flags.iter().map(String::as_str).collect();
    compile.extend(["-c", "kernels.cpp", "-o", "kernels.o"]);
    run(&compile)?;
    // Linked apart: what the checks call is in `launch.hpp`, not in a library.
    run(&["-shared", "kernels.o", "-o", "kernels.so"])?;
    std::fs::read(path("kernels.so")).map_err(|error| failed(what, error))
}

fn load(path: &Path) -> Result<Library, GpuError> {
    // SAFETY: the library is made by `build` from our own source, and has no initialisers.
    unsafe { Library::new(path) }.map_err(|error| failed("loading the kernels", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels that do what they must not, each in its own way.
    const WRONG: &str = r#"
extern "C" __global__ void fine(float* out, int n) {
    __shared__ float there[64];
    bool fresh = there[threadIdx.x] != there[threadIdx.x];
    __syncthreads();
    there[threadIdx.x] = (float)(blockIdx.x * 100 + blockIdx.y * 10 + blockIdx.z);
    __syncthreads();
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    float next = there[(threadIdx.x + 1) % blockDim.x];
    out[block * blockDim.x + threadIdx.x] = fresh ? next + (float)threadIdx.x / 100.0f : -1.0f;
}
extern "C" __global__ void early(float* out, int n) {
    if ((int)threadIdx.x < n) return;
    __syncthreads();
}
extern "C" __global__ void apart(float* out, int n) {
    if ((int)threadIdx.x < n) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}
extern "C" __global__ void beyond(float* out, int n) {
    __shared__ float there[8];
    there[threadIdx.x + n] = 1.0f;
    out[threadIdx.x] = there[threadIdx.x];
}
extern "C" __global__ void askew(float* out, int n) { *(float4*)(out + n) = make_float4(1.0f, 1.0f, 1.0f, 1.0f); }
extern "C" __global__ void rounded(float* out, int n) { out[0] = (float)(int)(out[0] * (float)n); }
extern "C" __global__ void racing(float* out, int n) {
    __shared__ float there[64];
    there[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = there[(threadIdx.x + 1) % blockDim.x];
}
"#;

    fn run(
        kernel: &str,
        grid: [u32; 3],
        block: u32,
        descending: bool,
        out: &mut [f32],
        n: i32,
    ) -> Result<(), GpuError> {
        static WRONG_ONES: LazyLock<Result<Kernels, GpuError>> =
            LazyLock::new(|| Kernels::compile(WRONG, MapType::F32));
        let kernels = WRONG_ONES.as_ref().map_err(GpuError::clone)?;
        let values = vec![out.as_mut_ptr().expose_provenance() as u64, u64::from(n.cast_unsigned())];
        // SAFETY: what these kernels write of the memory that they are given lies in it, for the grids below.
        unsafe { kernels.launch(kernel, grid, block, descending, values) }
    }

    #[test]
    fn threads_meet_at_barriers_and_shared_memory_is_fresh_in_every_block() {
        for descending in [false, true] {
            let mut out = [0.0; 24 * 8];
            run("fine", [2, 3, 4], 8, descending, &mut out, 0).expect("a launch");
            for (index, out) in out.iter().enumerate() {
                let (block, thread) = (index / 8, index % 8);
                let place = block % 2 * 100 + block / 2 % 3 * 10 + block / 6;
                assert_eq!(*out, place as f32 + thread as f32 / 100.0, "{block} {thread}");
            }
        }
    }

    #[test]
    fn what_a_device_would_not_forgive_is_an_error() {
        let mut out = [f32::NAN; 64];
        let mut error =
            |kernel: &str, n: i32| run(kernel, [1, 1, 1], 4, false, &mut out, n).expect_err(kernel).to_string();
        assert!(error("early", 1).contains("3 of the 4 threads"), "{}", error("early", 1));
        assert!(error("apart", 2).contains("wait at the barriers of lines"), "{}", error("apart", 2));
        assert!(error("beyond", 6).contains("an index is beyond its array (thread 2"), "{}", error("beyond", 6));
        assert!(error("askew", 1).contains("not aligned"), "{}", error("askew", 1));
        assert!(error("rounded", 1).contains("does not fit the integer"), "{}", error("rounded", 1));
        assert!(error("missing", 1).contains("missing"));
        // The device is none the worse for it.
        run("fine", [2, 1, 1], 4, false, &mut out, 0).expect("a launch");
        run("early", [1, 1, 1], 4, false, &mut out, 0).expect("all come to the barrier");
        assert!(run("fine", [0, 1, 1], 4, false, &mut out, 0).is_err(), "no blocks");
        assert!(run("fine", [1, 1, 1], 1025, false, &mut out, 0).is_err(), "too many threads");
    }

    #[test]
    fn a_missing_barrier_shows_in_one_of_the_two_orders() {
        let results = [false, true].map(|descending| {
            let mut out = [0.0; 64];
            run("racing", [1, 1, 1], 64, descending, &mut out, 0).expect("a launch");
            out.map(f32::to_bits)
        });
        assert_ne!(results[0], results[1]);
    }
}
