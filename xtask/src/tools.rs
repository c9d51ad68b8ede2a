//! Tools that the tests need beyond rustup and a C linker, and the Debian packages that bring them.

use crate::venv::entries;
use crate::{Failed, run};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool that some tests need.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The browser that opens the report's page.
    Chromium,
    /// Virtual environments of Python: the compiler of the GPU's kernels comes from PyPI into one.
    Kernels,
    /// Processes that train together: `mpirun`, the compiler wrapper, and libclang for the crate `mpi`.
    Mpi,
    /// The emulator that runs the firmware.
    Qemu,
}

/// All of them.
const TOOLS: [Tool; 4] = [Tool::Chromium, Tool::Kernels, Tool::Mpi, Tool::Qemu];

/// Programs of the browser; a test of the report looks for the same.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

impl Tool {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Kernels => "kernels",
            Self::Mpi => "mpi",
            Self::Qemu => "qemu",
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium"],
            Self::Kernels => &["python3-venv"],
            Self::Mpi => &["openmpi-bin", "libopenmpi-dev", "libclang-dev"],
            Self::Qemu => &["qemu-system-arm"],
        }
    }

    /// True if it is installed, from whatever source.
    fn is_there(self) -> bool {
        match self {
            Self::Chromium => BROWSERS.iter().any(|program| in_path(program)),
            Self::Kernels => has_venv(),
            Self::Mpi => in_path("mpirun") && in_path("mpicc") && libclang(),
            Self::Qemu => in_path("qemu-system-arm"),
        }
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Debian's Python has the module `venv`, but without this package not what it installs.
fn has_venv() -> bool {
    let output = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// True if the library is in a folder that the crate looks into which loads it.
fn libclang() -> bool {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        ["libclang.so", "libclang-", "libclang.dylib"].iter().any(|start| name.starts_with(start))
            && [".so", ".so.", ".dylib"].iter().any(|part| name.contains(part))
    };
    let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let versions = entries(Path::new("/usr/lib")).into_iter().filter(|path| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with("llvm") || name.contains("-linux-"))
    });
    let versions = versions.flat_map(|folder| [folder.join("lib"), folder]);
    let usual = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib"].map(PathBuf::from);
    named.into_iter().chain(versions).chain(usual).any(|folder| entries(&folder).iter().any(is_library))
}

/// The tools named in a list such as `chromium,mpi`.
pub fn parse(list: &str) -> Result<Vec<Tool>, Failed> {
    let find = |name: &str| {
        let known = || TOOLS.map(Tool::name).join(", ");
        let found = TOOLS.into_iter().find(|tool| tool.name() == name);
        found.ok_or_else(|| Failed(format!("--without {name}: unknown, expected some of {}", known())))
    };
    list.split(',').map(find).collect()
}

fn missing(without: &[Tool]) -> Vec<Tool> {
    TOOLS.into_iter().filter(|tool| !without.contains(tool) && !tool.is_there()).collect()
}

fn names(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(",")
}

/// Fails where a tool is missing that the tests will need.
pub fn check(without: &[Tool]) -> Result<(), Failed> {
    let missing = missing(without);
    if missing.is_empty() {
        return Ok(());
    }
    let names = names(&missing);
    Err(Failed(format!(
        "the tests need {names}: `cargo xtask tools` installs what is missing, `cargo xtask test --without {names}` \
         leaves its tests out"
    )))
}

/// Installs what is missing with Debian's package manager.
pub fn install() -> Result<(), Failed> {
    let missing = missing(&[]);
    if missing.is_empty() {
        println!("{}: installed already", names(&TOOLS));
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages()).copied().collect();
    if !in_path("apt-get") {
        return Err(Failed(format!(
            "no apt-get here; install {} with this system's package manager (Debian's packages: {})",
            names(&missing),
            packages.join(" ")
        )));
    }
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())?;
    check(&[])
}

/// Runs `apt-get`, as root.
fn apt(arguments: &[&str]) -> Result<(), Failed> {
    let id = Command::new("id").arg("-u").output().map_err(|error| Failed(format!("id: {error}")))?;
    let command = [&["DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    if id.stdout.trim_ascii() == b"0" {
        return run("env", &command, &[]);
    }
    if !in_path("sudo") {
        return Err(Failed(format!("not root, and no sudo here; run as root: apt-get {}", arguments.join(" "))));
    }
    run("sudo", &[&["env"], &command[..]].concat(), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_by_lists() {
        assert!(parse("chromium,kernels,mpi,qemu").is_ok_and(|tools| tools == TOOLS));
        assert!(parse("mpi").is_ok_and(|tools| tools == [Tool::Mpi]));
        let Err(Failed(message)) = parse("chromium,opera") else { panic!("an unknown name") };
        assert!(message.contains("opera") && message.contains("chromium, kernels, mpi, qemu"), "{message}");
    }
}
