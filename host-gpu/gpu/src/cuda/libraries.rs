//! The libraries of CUDA, which are loaded while the program runs: found, held against what is needed, or named as
//! missing.
//!
//! Files are tried in turn: those of the folders in `CLAPP_CUDA_LIBRARIES`, those that the system finds by their names,
//! those where NVIDIA's packages usually lie. The first is taken that opens, is new enough, has the functions that are
//! called, and passes a trial: NVRTC compiles a kernel, cuBLASLt and cuDNN make a descriptor. So a toolkit that is too old
//! or not whole does not hide the libraries that would do.
//!
//! Only the driver is called through `cudarc`, which opens it by name and panics where a function is missing: nothing of
//! it is called before [`Library::require`] has said that all is there.

use super::super::elf;
use super::super::executor::GpuError;
use super::cublaslt::CublasLt;
use super::cudnn::Cudnn;
use super::folders;
use super::nvrtc::{Nvrtc, Output};
use std::ffi::c_int;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A library of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The driver.
    Driver,
    /// The compiler of kernels.
    Nvrtc,
    /// Products of matrices.
    CublasLt,
    /// Convolutions.
    Cudnn,
    /// Communication between several GPUs.
    Nccl,
}

/// A version; of the driver it is the newest version of CUDA that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes what programs see.
    pub major: usize,
    /// Adds to it.
    pub minor: usize,
    /// Mends it.
    pub patch: usize,
}

impl Version {
    /// Of a number that keeps `unit` between major versions and 100 between minor ones.
    fn of(number: usize, unit: usize) -> Self {
        Self { major: number / unit, minor: number % unit / 100, patch: number % 100 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

/// A library that is open, for as long as the program runs.
#[derive(Debug)]
pub struct Open {
    /// Its functions.
    pub functions: libloading::Library,
    /// The file, as far as it was named.
    pub name: String,
    /// The file with its folder, links followed, where the system tells.
    pub path: Option<PathBuf>,
    /// Its version.
    pub version: Version,
    /// Libraries that it needs beside it.
    _companions: Vec<libloading::Library>,
}

/// A place where a library may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    /// A file that is there.
    File(PathBuf),
    /// A name for the system to look for.
    Name(String),
}

/// The outcome of opening a candidate.
enum Tried {
    /// It will do.
    Good(Open),
    /// It may do, where nothing better is found.
    Doubtful(Open),
    /// It will not, and why.
    Bad(String),
    /// There is no such file, or it has been tried under another name.
    Nothing,
}

const ALL: [Library; 5] = [Library::Driver, Library::Nvrtc, Library::CublasLt, Library::Cudnn, Library::Nccl];

impl Library {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Nvrtc => "NVRTC",
            Self::CublasLt => "cuBLASLt",
            Self::Cudnn => "cuDNN",
            Self::Nccl => "NCCL",
        }
    }

    /// Its name in a sentence.
    fn title(self) -> &'static str {
        match self {
            Self::Driver => "the CUDA driver (libcuda)",
            Self::Nvrtc => "NVRTC (libnvrtc)",
            Self::CublasLt => "cuBLASLt (libcublasLt)",
            Self::Cudnn => "cuDNN 9 (libcudnn)",
            Self::Nccl => "NCCL (libnccl)",
        }
    }

    /// The name of its file without what goes before and after.
    fn stem(self) -> &'static str {
        match self {
            Self::Driver if cfg!(windows) => "nvcuda",
            Self::Driver => "cuda",
            Self::Nvrtc => "nvrtc",
            Self::CublasLt => "cublasLt",
            Self::Cudnn => "cudnn",
            Self::Nccl => "nccl",
        }
    }

    /// Endings of the names of its files.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["", ".1"],
            Self::Nvrtc | Self::CublasLt => &["", ".13", ".12"],
            Self::Cudnn => &["", ".9"],
            Self::Nccl => &["", ".2"],
        }
    }

    /// Names of its files, in the order in which `cudarc` tries them.
    fn files(self) -> Vec<String> {
        if cfg!(windows) {
            return cudarc::get_lib_name_candidates(self.stem());
        }
        self.endings()
            .iter()
            .map(|ending| libloading::library_filename(self.stem()).to_string_lossy().into_owned() + ending)
            .collect()
    }

    /// Advice on how to install it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Driver => {
                "a GPU of NVIDIA needs NVIDIA's driver, 525 or newer: install the system's package of it, or the \
                 vendor's; in a container, pass the GPU on to it"
            }
            Self::Nvrtc => {
                "install the CUDA toolkit 12 or 13, or `pip install nvidia-cuda-nvrtc` (CUDA 12: \
                 nvidia-cuda-nvrtc-cu12) and name that environment's folder in CLAPP_CUDA_LIBRARIES"
            }
            Self::CublasLt => {
                "install the CUDA toolkit 12 or 13, or `pip install nvidia-cublas` (CUDA 12: nvidia-cublas-cu12) and \
                 name that environment's folder in CLAPP_CUDA_LIBRARIES"
            }
            Self::Cudnn => {
                "install cuDNN 9, or `pip install nvidia-cudnn-cu13` (CUDA 12: nvidia-cudnn-cu12) and name that \
                 environment's folder in CLAPP_CUDA_LIBRARIES"
            }
            Self::Nccl => {
                "install NCCL, or `pip install nvidia-nccl-cu13` (CUDA 12: nvidia-nccl-cu12) and name that \
                 environment's folder in CLAPP_CUDA_LIBRARIES"
            }
        }
    }

    /// The oldest version that has all that is called here.
    fn oldest(self) -> Version {
        let [major, minor] = match self {
            Self::Driver | Self::Nvrtc | Self::CublasLt => [12, 0],
            Self::Cudnn => [9, 0],
            Self::Nccl => [2, 18],
        };
        Version { major, minor, patch: 0 }
    }

    /// A function that every version has.
    fn probe(self) -> &'static [u8] {
        match self {
            Self::Driver => b"cuDriverGetVersion",
            Self::Nvrtc => b"nvrtcVersion",
            Self::CublasLt => b"cublasLtGetVersion",
            Self::Cudnn => b"cudnnGetVersion",
            Self::Nccl => b"ncclGetVersion",
        }
    }

    fn missing(self, reason: String) -> GpuError {
        GpuError::Missing { what: self.title().into(), reason, remedy: self.remedy() }
    }

    /// The library, opened once; see the module for where it is looked for.
    ///
    /// # Errors
    /// [`GpuError::Missing`] where none will do, with the reason for each that was found.
    pub fn require(self) -> Result<&'static Open, GpuError> {
        static FOUND: [OnceLock<Result<Open, GpuError>>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        let find = || self.find(&folders::listed(), &folders::usual());
        FOUND[self as usize].get_or_init(find).as_ref().map_err(Clone::clone)
    }

    /// The files to try, best first.
    fn candidates(self, listed: &[PathBuf], usual: &[PathBuf]) -> Vec<Candidate> {
        let names = self.files();
        let in_folder = |folder: &PathBuf| {
            let others = folders::files(folder).into_iter().filter(|name| self.is_named(name) && !names.contains(name));
            let all: Vec<PathBuf> = names.iter().cloned().chain(others).map(|name| folder.join(name)).collect();
            all.into_iter().filter(|path| path.is_file()).map(Candidate::File)
        };
        let listed: Vec<Candidate> = listed.iter().flat_map(in_folder).collect();
        let by_name = names.iter().cloned().map(Candidate::Name);
        // The driver comes with the system, never as a package.
        let usual = usual.iter().filter(|_| self != Self::Driver).flat_map(in_folder);
        listed.into_iter().chain(by_name).chain(usual).collect()
    }

    /// True if a file may be this library under a longer name: `libnvrtc.so.13.0.88`.
    fn is_named(self, file: &str) -> bool {
        let start = libloading::library_filename(self.stem()).to_string_lossy().into_owned() + ".";
        cfg!(unix) && file.starts_with(&start)
    }

    fn find(self, listed: &[PathBuf], usual: &[PathBuf]) -> Result<Open, GpuError> {
        let (mut reasons, mut seen, mut doubtful) = (Vec::new(), Vec::new(), None);
        for candidate in self.candidates(listed, usual) {
            match self.attempt(&candidate, &mut seen) {
                Tried::Good(open) => return Ok(open),
                Tried::Doubtful(open) => doubtful = doubtful.or(Some(open)),
                Tried::Bad(reason) => reasons.push(reason),
                Tried::Nothing => {}
            }
        }
        match doubtful {
            Some(open) => Ok(open),
            None if reasons.is_empty() => Err(self.missing(format!("there is no {}", self.files().join(", no ")))),
            None => Err(self.missing(reasons.join("; "))),
        }
    }

    fn attempt(self, candidate: &Candidate, seen: &mut Vec<PathBuf>) -> Tried {
        let (name, mut companions, functions, path);
        match candidate {
            Candidate::File(file) => {
                name = file.display().to_string();
                let real = file.canonicalize().unwrap_or_else(|_| file.clone());
                if seen.contains(&real) {
                    return Tried::Nothing;
                }
                seen.push(real.clone());
                companions = self.companions(&real, file);
                // By its own name: where it looks for others, it means its own folder.
                functions = match open(&real, false) {
                    Ok(functions) => functions,
                    Err(error) => return Tried::Bad(named(&name, &said(&error))),
                };
                path = Some(real);
            }
            Candidate::Name(file) => {
                name = file.clone();
                functions = match open(Path::new(file), false) {
                    Ok(functions) => functions,
                    Err(error) => {
                        let text = said(&error);
                        // A name that nobody knows is no news.
                        let unknown = text.starts_with(&format!("{file}: ")) && text.contains("No such file");
                        return if unknown { Tried::Nothing } else { Tried::Bad(named(&name, &text)) };
                    }
                };
                path = self.address(&functions).and_then(file_at);
                companions = Vec::new();
                if let Some(real) = &path {
                    if seen.contains(real) {
                        return Tried::Nothing;
                    }
                    seen.push(real.clone());
                    companions = self.companions(real, real);
                }
            }
        }
        let whole = path.as_deref().map_or(Ok(()), |path| self.is_whole(path, &mut companions));
        match whole.and_then(|()| self.check(&functions)) {
            Err(reason) => Tried::Bad(format!("{name} {reason}")),
            Ok((version, doubt)) => {
                let open = Open { functions, name, path, version, _companions: companions };
                if doubt { Tried::Doubtful(open) } else { Tried::Good(open) }
            }
        }
    }

    /// Libraries that this one opens by name, and does not always look for in its own folder.
    fn companion_stems(self) -> &'static [&'static str] {
        match self {
            // NVRTC 13.0 as a package does not find it.
            Self::Nvrtc => &["nvrtc-builtins"],
            // cuDNN ends the program where it does not find them, or finds those of another version.
            Self::Cudnn => &["cudnn_graph", "cudnn_ops", "cudnn_cnn"],
            Self::Driver | Self::CublasLt | Self::Nccl => &[],
        }
    }

    /// Opens the companions in the library's folder, so that it finds these by their names.
    fn companions(self, real: &Path, given: &Path) -> Vec<libloading::Library> {
        let mut opened = Vec::new();
        for stem in self.companion_stems() {
            let start = libloading::library_filename(stem).to_string_lossy().into_owned();
            let mut folders: Vec<&Path> = [real, given].into_iter().filter_map(Path::parent).collect();
            folders.dedup();
            for folder in folders {
                let files = folders::files(folder).into_iter().filter(|name| name.starts_with(&start));
                let known = self == Self::Nvrtc;
                opened.extend(files.filter_map(|name| open(&folder.join(name), known).ok()));
            }
        }
        opened
    }

    /// cuDNN's main file calls others, and ends the program where one of them is missing: they must be there first.
    fn is_whole(self, path: &Path, companions: &mut Vec<libloading::Library>) -> Result<(), String> {
        if self != Self::Cudnn || std::fs::metadata(path).is_ok_and(|found| found.len() > SMALL) {
            return Ok(());
        }
        let text = std::fs::read(path).unwrap_or_default();
        for stem in self.companion_stems() {
            let name = libloading::library_filename(stem).to_string_lossy().into_owned();
            let wants = text.windows(name.len()).any(|part| part == name.as_bytes());
            if wants && !companions.iter().any(|open| is_file_of(open, stem)) {
                let version = self.endings().iter().map(|ending| name.clone() + ending);
                let found = version.into_iter().find_map(|name| open(Path::new(&name), false).ok());
                companions.push(found.ok_or_else(|| format!("needs {name}, which is not beside it"))?);
            }
        }
        Ok(())
    }

    /// Its version, and whether there is a doubt about it: a library of a newer CUDA than the driver's, a compiler whose
    /// images are no ELF.
    fn check(self, functions: &libloading::Library) -> Result<(Version, bool), String> {
        let version = self.version(functions).map_err(|error| format!("does not tell its version: {error}"))?;
        let oldest = self.oldest();
        if version < oldest {
            return Err(format!("is of version {version}, {oldest} or newer is needed"));
        }
        let mut doubt = false;
        match self {
            Self::Driver => {
                self.has(functions, &DRIVER)?;
                self.is_what_cudarc_opens(functions)?;
            }
            Self::Nvrtc => doubt = self.is_too_new(version) | !trial(&Nvrtc::of(functions)?)?,
            Self::CublasLt => {
                CublasLt::of(functions)?.trial()?;
                doubt = self.is_too_new(version);
            }
            Self::Cudnn => {
                Cudnn::of(functions)?.trial()?;
                doubt = made_for(functions).is_some_and(|cuda| self.is_too_new(cuda));
            }
            Self::Nccl => self.has(functions, &NCCL)?,
        }
        Ok((version, doubt))
    }

    /// True if there is a driver that does not know the library's version of CUDA.
    fn is_too_new(self, cuda: Version) -> bool {
        Self::Driver.require().is_ok_and(|driver| driver.version.major < cuda.major)
    }

    fn has(self, functions: &libloading::Library, names: &[&str]) -> Result<(), String> {
        // SAFETY: the address is not used.
        let lacks = |name: &&&str| unsafe { functions.get::<*const ()>(name.as_bytes()) }.is_err();
        match names.iter().find(lacks) {
            None => Ok(()),
            Some(name) => Err(format!("lacks the function {name}")),
        }
    }

    /// Address of its first function in memory.
    fn address(self, functions: &libloading::Library) -> Option<usize> {
        // SAFETY: the address is compared, and never used.
        unsafe { functions.get::<*const ()>(self.probe()).ok()?.try_as_raw_ptr() }.map(|at| at as usize)
    }

    /// `cudarc` opens libraries by name; it must come to this one.
    fn is_what_cudarc_opens(self, functions: &libloading::Library) -> Result<(), String> {
        let mut names = ["cuda", "nvcuda"].into_iter().flat_map(cudarc::get_lib_name_candidates);
        // SAFETY: as in `open`.
        let other = names.find_map(|name| unsafe { libloading::Library::new(name) }.ok());
        match other.as_ref().map(|other| self.address(other)) {
            None => Err("is not found by its name; name its folder in LD_LIBRARY_PATH".into()),
            Some(found) if found.is_some() && found == self.address(functions) => Ok(()),
            Some(_) => {
                Err("is hidden by another one, which the system finds first (a toolkit's stub?); name its folder \
                            first in LD_LIBRARY_PATH"
                    .into())
            }
        }
    }

    /// Asks a library for its version.
    fn version(self, functions: &libloading::Library) -> Result<Version, Box<dyn std::error::Error>> {
        type AskStatus = unsafe extern "C" fn(*mut c_int) -> c_int;
        type AskParts = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
        type AskNumber = unsafe extern "C" fn() -> usize;
        let (mut first, mut second): (c_int, c_int) = (0, 0);
        // SAFETY: these are the types of the functions in the libraries' headers, in all versions of them; they write
        // to the integers that they are given, and need nothing that must be made ready before.
        let (status, number) = unsafe {
            match self {
                Self::Driver | Self::Nccl => (functions.get::<AskStatus>(self.probe())?(&mut first), 0),
                Self::Nvrtc => (functions.get::<AskParts>(self.probe())?(&mut first, &mut second), 0),
                Self::CublasLt | Self::Cudnn => (0, functions.get::<AskNumber>(self.probe())?()),
            }
        };
        if status != 0 {
            return Err(format!("status {status}").into());
        }
        let [first, second] = [first, second].map(|part| usize::try_from(part).unwrap_or(0));
        Ok(match self {
            // 12040 is 12.4.
            Self::Driver => Version::of(10 * first, 10_000),
            // 22703 is 2.27.3.
            Self::Nccl => Version::of(first, 10_000),
            Self::Nvrtc => Version { major: first, minor: second, patch: 0 },
            // 8902 was 8.9.2, 91002 is 9.10.2.
            Self::Cudnn if number < 10_000 => Version::of(number, 1000),
            Self::CublasLt | Self::Cudnn => Version::of(number, 10_000),
        })
    }
}

/// Above this, in bytes, cuDNN is all in one file.
const SMALL: u64 = 16 << 20;

/// Functions of the driver that `cudarc` calls for this program.
const DRIVER: [&str; 36] = [
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuDeviceGetDefaultMemPool",
    "cuMemPoolSetAttribute",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
];

/// Functions of NCCL that are called.
const NCCL: [&str; 6] =
    ["ncclGetUniqueId", "ncclCommInitRank", "ncclCommDestroy", "ncclAllReduce", "ncclAllGather", "ncclGetErrorString"];

/// Compiles a small kernel; true if the result is an ELF.
fn trial(nvrtc: &Nvrtc) -> Result<bool, String> {
    let machines = nvrtc.machines()?;
    let machine = machines.iter().filter(|machine| **machine <= 90).max().or(machines.first());
    let machine = machine.ok_or("knows no machine")?;
    let source = "extern \"C\" __global__ void trial(float* x) { x[threadIdx.x] *= 2.0f; }";
    let options = [format!("--gpu-architecture=sm_{machine}")];
    let image = nvrtc.compile(source, &options, Output::Cubin);
    Ok(elf::check(&image.map_err(|reason| format!("does not compile: {reason}"))?).is_ok())
}

/// The version of CUDA that a cuDNN was made for, where it tells.
pub fn made_for(cudnn: &libloading::Library) -> Option<Version> {
    type Ask = unsafe extern "C" fn() -> usize;
    // SAFETY: this is its type in all versions, and it needs nothing that must be made ready before.
    let number = unsafe { cudnn.get::<Ask>("cudnnGetCudartVersion").ok()?() };
    // 13010 is 13.1.
    Some(Version::of(10 * number, 10_000))
}

/// True if an open companion is the one of this stem: each has a function of its own.
fn is_file_of(open: &libloading::Library, stem: &str) -> bool {
    let function = match stem {
        "cudnn_graph" => "cudnnBackendCreateDescriptor",
        "cudnn_ops" => "cudnnCreateTensorDescriptor",
        _ => "cudnnConvolutionForward",
    };
    // SAFETY: the address is not used.
    unsafe { open.get::<*const ()>(function) }.is_ok()
}

/// The file whose code lies at an address of this program.
#[cfg(target_os = "linux")]
fn file_at(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).unwrap_or(0));
        let path = line.find('/').map(|at| PathBuf::from(&line[at..]));
        path.filter(|_| (from..to).contains(&address))
    })
}

/// As above, where the system does not tell.
#[cfg(not(target_os = "linux"))]
fn file_at(_address: usize) -> Option<PathBuf> {
    None
}

/// The system's text of an error.
fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A reason that begins with the file's name.
fn named(name: &str, reason: &str) -> String {
    if reason.starts_with(name) { reason.into() } else { format!("{name}: {reason}") }
}

/// Opens a library. Its functions are found in it alone, so that no other library takes them for its own; a companion's are
/// known to all (`known`).
fn open(path: &Path, known: bool) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: what runs is the library's own start, as with any program that is linked with it; NVIDIA's libraries
    // may be opened at any time, by any thread, and are never closed here once they are in use.
    #[cfg(unix)]
    unsafe {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
        Library::open(Some(path), RTLD_NOW | if known { RTLD_GLOBAL } else { RTLD_LOCAL }).map(Into::into)
    }
    // SAFETY: as above.
    #[cfg(not(unix))]
    unsafe {
        let _ = known;
        libloading::Library::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_those_listed_then_those_of_the_system_then_the_usual_ones() {
        let place = tempfile::tempdir().unwrap();
        let [listed, usual] = ["listed", "usual"].map(|name| place.path().join(name));
        let files = ["libnvrtc.so.13.0.88", "libnvrtc.so.12", "libnvrtc-builtins.so.13.0", "libnvrtc.alt.so.13"];
        for folder in [&listed, &usual] {
            std::fs::create_dir(folder).unwrap();
            files.iter().for_each(|file| std::fs::write(folder.join(file), "").unwrap());
        }
        let found = Library::Nvrtc.candidates(std::slice::from_ref(&listed), std::slice::from_ref(&usual));
        let in_folder =
            |folder: &Path| files[..2].iter().rev().map(|file| Candidate::File(folder.join(file))).collect();
        let names = Library::Nvrtc.files().into_iter().map(Candidate::Name).collect();
        let wanted: Vec<Vec<Candidate>> = vec![in_folder(&listed), names, in_folder(&usual)];
        assert_eq!(found, wanted.concat());
        assert!(Library::Driver.candidates(&[], &[usual]).iter().all(|one| matches!(one, Candidate::Name(_))));
    }

    #[test]
    fn files_that_will_not_do_are_all_named() {
        let place = tempfile::tempdir().unwrap();
        for name in ["libnccl.so", "libnccl.so.2"] {
            std::fs::write(place.path().join(name), "no library").unwrap();
        }
        let error = Library::Nccl.find(&[place.path().into()], &[]);
        // Where NCCL is installed it is found behind them.
        if let Err(error) = error.map(|open| open.version) {
            let text = error.to_string();
            for name in ["libnccl.so: ", "libnccl.so.2: "] {
                assert!(text.contains(name), "no {name} in: {text}");
            }
        }
    }
}
