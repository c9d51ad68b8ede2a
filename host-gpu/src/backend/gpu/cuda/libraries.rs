//! The libraries of CUDA, which are loaded while the program runs: found, held against what is needed, or named as
//! missing. `cudarc` panics where a library or a function of it is missing, so nothing of it is called before
//! [`Library::require`] has said that all is there.

use super::super::executor::GpuError;
use super::folders;
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
    /// What several GPUs say to each other.
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
    /// Its version.
    pub version: Version,
}

const ALL: [Library; 5] = [Library::Driver, Library::Nvrtc, Library::CublasLt, Library::Cudnn, Library::Nccl];

impl Library {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Nvrtc => "NVRTC",
            Self::CublasLt => "cuBLASLt",
            Self::Cudnn => "cuDNN",
            Self::Nccl => "NCCL",
        }
    }

    /// What it is called in a sentence.
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

    /// What stands behind the names of its files.
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

    /// How to get it.
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

    /// The library, opened once: from the folders of `CLAPP_CUDA_LIBRARIES`, or from where the system looks.
    ///
    /// # Errors
    /// [`GpuError::Missing`] where it is not there, is too old, or is hidden by another.
    pub fn require(self) -> Result<&'static Open, GpuError> {
        static FOUND: [OnceLock<Result<Open, GpuError>>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        FOUND[self as usize].get_or_init(|| self.find(&folders::listed())).as_ref().map_err(Clone::clone)
    }

    fn find(self, folders: &[PathBuf]) -> Result<Open, GpuError> {
        let files = self.files();
        let in_folders = folders.iter().flat_map(|folder| files.iter().map(move |file| folder.join(file)));
        // A file that is there but cannot be opened says more than a name that nobody knows.
        let mut reason = None;
        for path in in_folders.filter(|path| path.is_file()) {
            match open(&path) {
                Ok(functions) => return self.check(functions, path.display().to_string()),
                Err(error) => reason = reason.or(Some(said(&error))),
            }
        }
        for file in &files {
            match open(Path::new(file)) {
                Ok(functions) => return self.check(functions, file.clone()),
                Err(error) => {
                    let text = said(&error);
                    let unknown = text.starts_with(&format!("{file}: ")) && text.contains("No such file");
                    reason = reason.or(if unknown { None } else { Some(text) });
                }
            }
        }
        Err(self.missing(reason.unwrap_or_else(|| format!("there is no {}", files.join(", no ")))))
    }

    fn check(self, functions: libloading::Library, name: String) -> Result<Open, GpuError> {
        let version = self.version(&functions).map_err(|error| self.missing(format!("{name}: {error}")))?;
        let oldest = self.oldest();
        if version < oldest {
            return Err(self.missing(format!("{name} is of version {version}, {oldest} or newer is needed")));
        }
        // NCCL is called by its own functions: cudarc does not know the name of its file.
        if self != Self::Nccl {
            self.is_what_cudarc_opens(&functions).map_err(|reason| self.missing(format!("{name}: {reason}")))?;
        }
        Ok(Open { functions, name, version })
    }

    /// `cudarc` opens libraries by name; it must come to this one.
    fn is_what_cudarc_opens(self, functions: &libloading::Library) -> Result<(), String> {
        let place = |library: &libloading::Library| {
            // SAFETY: the address is compared, and never used.
            unsafe { library.get::<*const ()>(self.probe()).ok()?.try_as_raw_ptr() }
        };
        let stems = if self == Self::Driver { &["cuda", "nvcuda"][..] } else { &[self.stem()][..] };
        let mut names = stems.iter().flat_map(|stem| cudarc::get_lib_name_candidates(stem));
        // SAFETY: as in `open`.
        let other = names.find_map(|name| unsafe { libloading::Library::new(name) }.ok());
        match other.as_ref().map(place) {
            None => Err("it is not found by its name; name its folder in LD_LIBRARY_PATH".into()),
            Some(found) if found.is_some() && found == place(functions) => Ok(()),
            Some(_) => {
                Err("another one, where the system looks, goes first; name its folder in LD_LIBRARY_PATH".into())
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
            return Err(format!("its version cannot be asked for: status {status}").into());
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

/// What the system said of it.
fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Opens a library so that others that need it by name find it open.
fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: what runs is the library's own start, as with any program that is linked with it; NVIDIA's libraries
    // may be opened at any time, by any thread, and are never closed here once they are in use.
    #[cfg(unix)]
    unsafe {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL).map(Into::into)
    }
    // SAFETY: as above.
    #[cfg(not(unix))]
    unsafe {
        libloading::Library::new(path)
    }
}
