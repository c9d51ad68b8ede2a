//! The parts of CUDA that are on this machine.

use super::super::executor::GpuError;
use super::errors::{self, text};
use super::libraries::{self, Library, Version};
use cudarc::driver::{CudaContext, DriverError, sys};
use std::fmt;

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: [i32; 2],
    /// Bytes of memory: free, and in all.
    pub memory: [usize; 2],
}

/// A library that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// Its version.
    pub version: Version,
    /// Its file.
    pub name: &'static str,
}

/// All that was found, each with its version, or the reason why it cannot be used.
#[derive(Debug)]
pub struct Found {
    /// The GPUs that the driver knows.
    pub devices: Result<Vec<Device>, GpuError>,
    /// The driver and the libraries.
    pub libraries: Vec<(Library, Result<Usable, GpuError>)>,
    /// An error if versions of driver and libraries do not go together.
    pub together: Result<(), GpuError>,
}

/// The libraries that training on one GPU takes.
pub const NEEDED: [Library; 4] = [Library::Driver, Library::Nvrtc, Library::CublasLt, Library::Cudnn];

/// Looks for everything.
pub fn look() -> Found {
    let ask = |library: Library| library.require().map(|open| Usable { version: open.version, name: &open.name });
    let libraries = NEEDED.into_iter().chain([Library::Nccl]).map(|library| (library, ask(library))).collect();
    Found { devices: devices(), libraries, together: check_together() }
}

/// The driver must be as new as the version of CUDA that the libraries are made for.
///
/// # Errors
/// [`GpuError::Missing`] where it is older. What is missing altogether is not told here.
pub fn check_together() -> Result<(), GpuError> {
    [Library::Nvrtc, Library::CublasLt, Library::Cudnn].into_iter().try_for_each(goes_with_driver)
}

/// As [`check_together`], of one library.
///
/// # Errors
/// As there.
pub fn goes_with_driver(library: Library) -> Result<(), GpuError> {
    let (Ok(driver), Ok(open)) = (Library::Driver.require(), library.require()) else { return Ok(()) };
    let cuda = match library {
        Library::Nvrtc | Library::CublasLt => Some(open.version),
        Library::Cudnn => libraries::made_for(&open.functions),
        Library::Driver | Library::Nccl => None,
    };
    cuda.map_or(Ok(()), |cuda| check_driver(driver.version, library, cuda))
}

fn check_driver(driver: Version, library: Library, version: Version) -> Result<(), GpuError> {
    if driver.major >= version.major {
        return Ok(());
    }
    Err(GpuError::Missing {
        what: format!("a driver for CUDA {}", version.major),
        reason: format!("{} is of CUDA {}, the driver knows CUDA {driver}", library.name(), version.major),
        remedy: "install a newer driver, or libraries of the driver's CUDA, and name their folder in \
                 CLAPP_CUDA_LIBRARIES",
    })
}

/// The number of GPUs that the driver knows.
///
/// # Errors
/// [`GpuError::Missing`] where there is no driver or no GPU, [`GpuError::Failed`] where the driver refuses.
pub fn count() -> Result<usize, GpuError> {
    let none = |reason: String| GpuError::Missing {
        what: "a GPU of NVIDIA".into(),
        reason,
        remedy: "check that the card is seen (`nvidia-smi`), that CUDA_VISIBLE_DEVICES does not hide it, and in a \
                 container that it is passed on",
    };
    Library::Driver.require()?;
    match CudaContext::device_count() {
        Ok(0) => Err(none("the driver knows none".into())),
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Err(none(text(error))),
        Err(error) => Err(errors::driver("starting the CUDA driver")(error)),
    }
}

/// There is no GPU of this number.
pub fn no_such(device: usize) -> GpuError {
    let known = count().unwrap_or(0);
    GpuError::Missing {
        what: format!("GPU {device}"),
        reason: format!("the driver knows {known}, counted from 0"),
        remedy: "name one of those that `clapp doctor` lists",
    }
}

/// The GPUs that the driver knows.
///
/// # Errors
/// As [`count`].
pub fn devices() -> Result<Vec<Device>, GpuError> {
    let ask = |ordinal| device(ordinal).map_err(errors::driver(&format!("asking GPU {ordinal}")));
    (0..count()?).map(ask).collect()
}

fn device(ordinal: usize) -> Result<Device, DriverError> {
    let context = CudaContext::new(ordinal)?;
    let (major, minor) = context.compute_capability()?;
    let (free, total) = context.mem_get_info()?;
    Ok(Device { name: context.name()?, capability: [major, minor], memory: [free, total] })
}

impl Found {
    /// The missing parts for training on one GPU, in the order in which they are best installed.
    pub fn missing(&self) -> Vec<&GpuError> {
        let needed = self.libraries.iter().filter(|(library, _)| NEEDED.contains(library));
        let mut missing: Vec<&GpuError> = needed.filter_map(|(_, found)| found.as_ref().err()).collect();
        let driver = self.libraries.iter().any(|(library, found)| *library == Library::Driver && found.is_ok());
        missing.extend(self.devices.as_ref().err().filter(|_| driver));
        missing.extend(self.together.as_ref().err());
        missing
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, device) in self.devices.iter().flatten().enumerate() {
            let [major, minor] = device.capability;
            let [free, total] = device.memory.map(clapp_data::words::readable);
            let name = format!("GPU {index}");
            writeln!(f, "  {name:<14}{}, compute capability {major}.{minor}, {free} of {total} free", device.name)?;
        }
        if self.devices.is_err() {
            writeln!(f, "  {:<14}none", "GPU")?;
        }
        for (index, (library, found)) in self.libraries.iter().enumerate() {
            let shown = match found {
                Ok(Usable { version, .. }) if *library == Library::Driver => format!("CUDA {version}"),
                Ok(Usable { version, name }) => format!("{version} ({name})"),
                Err(_) if *library == Library::Nccl => "not found (several GPUs need it)".into(),
                Err(_) => "not found".into(),
            };
            let end = if index + 1 < self.libraries.len() { "\n" } else { "" };
            write!(f, "  {:<14}{shown}{end}", library.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: usize) -> Version {
        Version { major, minor: 4, patch: 0 }
    }

    #[test]
    fn an_older_driver_than_the_libraries_is_told() {
        assert_eq!(check_driver(version(13), Library::CublasLt, version(12)), Ok(()));
        let error = check_driver(version(12), Library::CublasLt, version(13)).unwrap_err().to_string();
        assert!(error.contains("the driver knows CUDA 12.4") && error.contains("cuBLASLt is of CUDA 13"), "{error}");
    }

    #[test]
    fn what_was_found_and_what_is_missing_are_told_apart() {
        let gone = GpuError::Missing { what: "x".into(), reason: "y".into(), remedy: "z" };
        let device = Device { name: "Card".into(), capability: [8, 6], memory: [1 << 34, 3 << 33] };
        let mut found = Found {
            devices: Ok(vec![device]),
            libraries: NEEDED.map(|library| (library, Ok(Usable { version: version(12), name: "lib.so" }))).to_vec(),
            together: Ok(()),
        };
        found.libraries.push((Library::Nccl, Err(gone.clone())));
        assert_eq!(found.missing(), Vec::<&GpuError>::new());
        let shown = found.to_string();
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.contains("GPU 0         Card, compute capability 8.6, 16.0 GiB of 24.0 GiB free"), "{shown}");
        assert!(shown.contains("  cuDNN         12.4 (lib.so)"), "{shown}");
        assert!(shown.contains("NCCL          not found (several"), "{shown}");
        found.libraries[1].1 = Err(gone.clone());
        found.devices = Err(gone.clone());
        assert_eq!(found.missing(), [&gone, &gone]);
        assert!(found.to_string().contains("GPU           none"));
        // Without a driver, that no GPU is seen is no news.
        found.libraries[0].1 = Err(gone.clone());
        assert_eq!(found.missing(), [&gone, &gone]);
    }
}
